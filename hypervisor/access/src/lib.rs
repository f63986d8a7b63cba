//! Traits to reach hardware and guest memory, and scripted fakes of them.
//!
//! Everything above `machine` sees the machine only through these, so it is
//! built and tested on the host. With the `fakes` feature (tests use it) each
//! trait comes with an implementation that a test scripts.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "fakes"))]
extern crate std;

pub mod clock;
pub mod config_space;
pub mod device;
pub mod dma;
#[cfg(any(test, feature = "fakes"))]
pub mod fake_dma;
#[cfg(any(test, feature = "fakes"))]
pub mod fake_pci;
#[cfg(any(test, feature = "fakes"))]
pub mod fake_processor;
pub mod frames;
pub mod memory;
pub mod registers;
pub mod vcpu;

pub use clock::{Clock, TimedOut, wait_until};
pub use config_space::ConfigSpace;
pub use device::DeviceAccess;
pub use dma::{DmaBuffer, DmaMemory};
pub use frames::TableMemory;
pub use memory::{GuestMemory, OutOfBounds};
pub use registers::RegisterWindow;
