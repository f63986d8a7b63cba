//! Headers of IPv4 (RFC 791), IPv6 (RFC 8200) and TCP (RFC 9293): what segmentation and checksums need.
//!
//! Offsets are in bytes from the header's start. Numbers are big-endian.

/// Protocol and next header: TCP.
pub const PROTOCOL_TCP: u8 = 6;

/// IPv4 (RFC 791, section 3.1).
pub mod v4 {
    /// Version, bits 4 to 7, and IHL, the header's length in units of 4 bytes, bits 0 to 3.
    pub const VERSION_LENGTH: usize = 0;
    /// Bytes of header and payload, 16 bits.
    pub const TOTAL_LENGTH: usize = 2;
    /// Identification, 16 bits.
    pub const IDENTIFICATION: usize = 4;
    /// Flags, bits 13 to 15, and fragment offset, bits 0 to 12; 16 bits.
    pub const FRAGMENT: usize = 6;
    /// FRAGMENT: what a packet that is no fragment has clear: MF and the offset.
    pub const FRAGMENT_MASK: u16 = 0x3fff;
    /// Protocol, 8 bits.
    pub const PROTOCOL: usize = 9;
    /// Checksum of the header, 16 bits.
    pub const CHECKSUM: usize = 10;
    /// Source and destination address, 4 bytes each.
    pub const ADDRESSES: usize = 12;
    /// Bytes of a header without options.
    pub const HEADER_BYTES: usize = 20;
}

/// IPv6 (RFC 8200, section 3).
pub mod v6 {
    /// Version, bits 4 to 7; the rest is part of the traffic class.
    pub const VERSION: usize = 0;
    /// Bytes behind the header, 16 bits.
    pub const PAYLOAD_LENGTH: usize = 4;
    /// Next header, 8 bits.
    pub const NEXT_HEADER: usize = 6;
    /// Source and destination address, 16 bytes each.
    pub const ADDRESSES: usize = 8;
    /// Bytes of the header.
    pub const HEADER_BYTES: usize = 40;
}

/// TCP (RFC 9293, section 3.1).
pub mod tcp {
    /// Sequence number, 32 bits.
    pub const SEQUENCE: usize = 4;
    /// Data offset: the header's length in units of 4 bytes; bits 4 to 7.
    pub const DATA_OFFSET: usize = 12;
    /// Control bits, 8 bits.
    pub const FLAGS: usize = 13;
    /// Checksum, 16 bits.
    pub const CHECKSUM: usize = 16;
    /// Bytes of a header without options.
    pub const HEADER_BYTES: usize = 20;

    /// FLAGS: no more data from the sender.
    pub const FIN: u8 = 1 << 0;
    /// FLAGS: push.
    pub const PSH: u8 = 1 << 3;
    /// FLAGS: congestion window reduced, said once (RFC 3168, section 6.1.2).
    pub const CWR: u8 = 1 << 7;
}
