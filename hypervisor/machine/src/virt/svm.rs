//! AMD-V: the secure virtual machine extension (AMD APM vol. 2 chapter 15).
//!
//! `avic`, `control`, `entry` and `permissions` only compute and are tested on the host;
//! `world` holds the assembly; `vcpu` joins them behind [`access::vcpu::Vcpu`].

pub mod avic;
#[cfg(target_os = "none")]
mod backend;
pub mod control;
pub mod entry;
pub mod features;
pub mod permissions;
#[cfg(target_os = "none")]
mod vcpu;
#[cfg(any(target_os = "none", test))]
pub(crate) mod world;

#[cfg(target_os = "none")]
pub use backend::Svm;
pub use features::{Features, Unsupported};
