//! Ethernet frames between guests and network interfaces.
//!
//! A [`Frame`] is room for the largest frame there is, allocated once; it holds one frame after
//! the other, with what its sender left to do, its [`Offload`]. Who takes it does that by hardware,
//! by [`Frame::finish_checksum`], or by [`Frame::segments`].
//!
//! All bytes of a frame are its sender's to choose, a guest's or a stranger's on the wire. What
//! makes no sense in them is refused.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod checksum;
mod frame;
mod mac;
mod offload;
mod segments;
mod vlan;

pub use frame::{Frame, LARGEST_BYTES};
pub use mac::{MacAddress, ParseError};
pub use offload::{Checksum, Offload, SegmentKind, Segmentation};
pub use segments::{SMALLEST_SEGMENT_BYTES, Segments};
pub use vlan::{Parts, Tagging, Vlan};
