//! AMD-V: the secure virtual machine extension (AMD APM vol. 2 chapter 15).
//!
//! `control` and `permissions` only compute and are tested on the host; `world`
//! holds the assembly; `vcpu` joins them behind [`access::vcpu::Vcpu`].

pub mod control;
pub mod features;
pub mod permissions;
#[cfg(target_os = "none")]
pub mod vcpu;
#[cfg(target_os = "none")]
mod world;

pub use features::{Features, Unsupported};
#[cfg(target_os = "none")]
pub use vcpu::{SvmFrames, SvmVcpu, enable};
