//! Ethernet frames between guests and network interfaces.
//!
//! A [`Frame`] is room for the largest frame there is, allocated once; it holds one frame after
//! the other, with what its sender left to do, its [`Offload`]. Who takes it does that by hardware,
//! by [`Frame::finish_checksum`], or by [`Frame::segments`].
//!
//! A [`Switch`] says which ports a frame goes to. It holds no frames: who has one asks, copies it
//! to each port, and tells what came of that.
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
mod counters;
mod frame;
mod learning;
mod mac;
mod offload;
mod port;
mod rate;
mod segments;
mod switch;
mod vlan;

pub use counters::{Counters, Dropped, Traffic};
pub use frame::{Frame, LARGEST_BYTES};
pub use mac::{MacAddress, ParseError};
pub use offload::{Checksum, Offload, SegmentKind, Segmentation};
pub use port::{PortConfig, PortId, PortVlan};
pub use rate::RateLimit;
pub use segments::{Cut, SMALLEST_SEGMENT_BYTES, Segments};
pub use switch::{Delivery, Error, Switch, Way};
pub use vlan::{Parts, Tagging, Vlan};
