//! VT-x: Intel's virtual machine extensions (Intel SDM vol. 3 chapters 23 to 31).
//!
//! `world` holds the assembly, `host` tells it where an exit leads; `vcpu` joins them
//! behind [`access::vcpu::Vcpu`], and `backend` switches it all on. All other modules only
//! compute and are tested on the host.

#[cfg(target_os = "none")]
mod backend;
pub mod control_registers;
pub mod events;
pub mod exits;
pub mod features;
pub mod guest_state;
#[cfg(target_os = "none")]
mod host;
pub mod invalidation;
pub mod permissions;
pub mod posting;
pub mod segments;
#[cfg(target_os = "none")]
mod vcpu;
#[cfg(any(target_os = "none", test))]
pub(crate) mod world;

#[cfg(target_os = "none")]
pub use backend::Vmx;
pub use features::{Features, Unsupported};
