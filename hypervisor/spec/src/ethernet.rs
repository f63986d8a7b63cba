//! Ethernet frames (IEEE 802.3-2018, clause 3) and VLAN tags (IEEE 802.1Q-2018, clause 9).
//!
//! Offsets are in bytes from the destination address. The frame check sequence, which network
//! interfaces add and remove, is never part of a frame here. Numbers are big-endian.

/// Bytes of an address (802.3, 3.2.3).
pub const ADDRESS_BYTES: usize = 6;
/// The destination address.
pub const DESTINATION: usize = 0;
/// The source address.
pub const SOURCE: usize = 6;
/// The type of the payload, 16 bits; of a tagged frame [`TYPE_VLAN`] (802.3, 3.2.6).
pub const TYPE: usize = 12;
/// Bytes before the payload of an untagged frame.
pub const HEADER_BYTES: usize = 14;
/// Bytes that a VLAN tag puts between source address and type (802.1Q, 9.4).
pub const TAG_BYTES: usize = 4;
/// The largest payload of a frame that is not a jumbo frame (802.3, 3.2.7).
pub const PAYLOAD_BYTES: usize = 1500;
/// The smallest frame on a wire, to which interfaces pad: 64 bytes less the frame check sequence
/// (802.3, 4.2.3.3).
pub const SMALLEST_BYTES: usize = 60;

/// TYPE: an IPv4 packet (RFC 894).
pub const TYPE_IPV4: u16 = 0x0800;
/// TYPE: an IPv6 packet (RFC 2464).
pub const TYPE_IPV6: u16 = 0x86dd;
/// TYPE: a VLAN tag of a customer follows (802.1Q, table 9-1).
pub const TYPE_VLAN: u16 = 0x8100;
/// TYPE: a VLAN tag of a service provider follows (802.1Q, table 9-1).
pub const TYPE_VLAN_SERVICE: u16 = 0x88a8;

/// VID of a tag's control information: the VLAN; bits 0 to 11 (802.1Q, 9.6).
pub const VLAN_MASK: u16 = 0x0fff;
/// VID: no VLAN, the tag gives a priority only (802.1Q, table 9-2).
pub const VLAN_NONE: u16 = 0;
/// VID: reserved (802.1Q, table 9-2).
pub const VLAN_RESERVED: u16 = 0x0fff;

/// The first five bytes of the sixteen group addresses that a bridge does not forward
/// (802.1Q, table 8-1); the sixth is 0 to 15.
pub const RESERVED_GROUP: [u8; 5] = [0x01, 0x80, 0xc2, 0x00, 0x00];
/// Bit of an address's first byte: a group (802.3, 3.2.3).
pub const GROUP: u8 = 1;
