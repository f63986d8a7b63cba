//! The formats, one file each.

mod ept;
mod npt;
mod vtd;

pub use ept::Ept;
pub use npt::Npt;
pub use vtd::VtdSecondLevel;
