//! How much a network interface of each kind is given, wherever its driver is.

use driver_compartment::NicSizes;
use spec::ethernet::{HEADER_BYTES, PAYLOAD_BYTES, TAG_BYTES};

/// Frames that an interface has room for, of either kind: as many as its rings have at most.
pub const RINGS: u16 = 256;
/// The sizes of the rings of an 82574, or an 82576.
pub const FRAMES: e1000e::Sizes = e1000e::Sizes { transmit: RINGS, receive: RINGS };
/// Those of a virtio interface.
pub const VIRTIO_FRAMES: virtio_net::Sizes = virtio_net::Sizes { transmit: RINGS, receive: RINGS };
/// Those on their way to a driver in ring 3, and from it: more than a turn gives and takes, so that the rings are what
/// senders wait for.
pub const APART: NicSizes = NicSizes { frames: 128, frame_bytes: HEADER_BYTES + TAG_BYTES + PAYLOAD_BYTES };
/// The BAR with the registers of an 82574, or an 82576.
pub const REGISTERS_BAR: u8 = 0;
