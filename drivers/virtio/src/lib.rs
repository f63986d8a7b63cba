//! What drivers of virtio devices have in common (Virtual I/O Device, version 1.2): where a PCI function
//! has its registers, [`Layout`]; the registers, [`Transport`]; and the driver's side of a split
//! virtqueue, [`Queue`].
//!
//! The device is not trusted. What it says is read once, into a copy, and checked; nothing of a queue is
//! read back but the used ring. It is taken only if its accesses to memory go through the IOMMU
//! (VIRTIO_F_ACCESS_PLATFORM): one that does not offer that reaches all of the machine.
//!
//! The crate `virtio-drivers` is not used. Its `Hal` is an unsafe trait of functions without a `self`, so
//! that neither the domain of a device nor its memory can be told to it without a static and unsafe code;
//! its drivers take Rust slices, which memory of guests that others write can never be; and a device
//! that writes nonsense is met with a panic or a wait.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(any(test, feature = "fakes")),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)
)]

#[cfg(any(test, feature = "fakes"))]
extern crate std;

mod error;
mod layout;
mod queue;
#[cfg(any(test, feature = "fakes"))]
pub mod testing;
mod transport;

pub use error::Error;
pub use layout::Layout;
pub use queue::{Queue, Used};
pub use transport::{RESET_LOOK_NS, RESET_NS, Transport};
