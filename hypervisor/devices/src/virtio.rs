//! The device side of virtio (Virtual I/O Device, version 1.2; sections are cited at each item).
//!
//! A queue is memory that the guest can change at any time, from another processor and while the
//! device looks: each field is copied once, and the copy is checked and used.

pub mod block;
pub mod chain;
pub mod console;
mod copy;
pub mod entropy;
pub mod net;
pub mod packed;
mod places;
pub mod queue;
pub mod ring;
pub mod split;
#[cfg(any(test, feature = "fakes"))]
#[allow(clippy::indexing_slicing, clippy::expect_used, reason = "what a test gets wrong shall fail it")]
pub mod testing;
pub mod transport;

pub use chain::{Chain, Segment, Taken};
pub use packed::Packed;
pub use places::Places;
pub use queue::Queue;
pub use ring::Ring;
pub use split::Split;
pub use transport::Transport;

/// The driver broke a rule of the queue's, or the queue is not in the guest's memory: nothing in the
/// queue can be relied on, and the device needs a reset (section 2.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken;
