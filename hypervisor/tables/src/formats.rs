//! The formats, one file each.

mod amdvi;
mod ept;
mod npt;
mod vtd;

pub use amdvi::AmdVi;
pub use ept::Ept;
pub use npt::Npt;
pub use vtd::VtdSecondLevel;
