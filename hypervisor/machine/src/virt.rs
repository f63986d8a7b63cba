//! The processors' virtualisation: [`svm`] and [`vmx`] behind one trait, `Backend`, and `choose`, the one
//! place that knows which vendors there are. The other modules are what both use.

pub mod apic_page;
#[cfg(target_os = "none")]
pub mod backend;
#[cfg(target_os = "none")]
mod choice;
#[cfg(any(test, target_os = "none"))]
pub mod guest_registers;
pub mod passed_msrs;
pub mod svm;
pub mod vmx;

#[cfg(target_os = "none")]
pub use backend::{Backend, NotEnabled, OutOfMemory, Place};
#[cfg(target_os = "none")]
pub use choice::{WithBackend, choose};
