//! Network interfaces (section 5.1).

/// The type of the device (section 5).
pub const DEVICE_TYPE: u16 = 1;

/// Features (section 5.1.3).
pub mod feature {
    /// The device computes checksums that the driver left out.
    pub const CHECKSUM: u64 = 1 << 0;
    /// The driver takes frames whose checksum is missing, or was checked.
    pub const GUEST_CHECKSUM: u64 = 1 << 1;
    /// `MTU` of the configuration holds.
    pub const MTU: u64 = 1 << 3;
    /// `MAC` of the configuration holds.
    pub const MAC: u64 = 1 << 5;
    /// The driver takes TCP over IPv4 that is not cut into segments.
    pub const GUEST_TCP4: u64 = 1 << 7;
    /// The same over IPv6.
    pub const GUEST_TCP6: u64 = 1 << 8;
    /// The device cuts TCP over IPv4 into segments.
    pub const HOST_TCP4: u64 = 1 << 11;
    /// The same over IPv6.
    pub const HOST_TCP6: u64 = 1 << 12;
    /// A frame may be received into several buffers.
    pub const MERGEABLE: u64 = 1 << 15;
    /// `STATUS` of the configuration holds.
    pub const STATUS: u64 = 1 << 16;
    /// There is a control queue.
    pub const CONTROL_QUEUE: u64 = 1 << 17;
    /// The control queue sets filters.
    pub const CONTROL_RECEIVE: u64 = 1 << 18;
    /// There are several pairs of queues.
    pub const MULTI_QUEUE: u64 = 1 << 22;
    /// The control queue sets the address.
    pub const CONTROL_MAC: u64 = 1 << 23;
}

/// The configuration: bytes from its start (section 5.1.4).
pub mod config {
    /// The address; 6 bytes.
    pub const MAC: usize = 0;
    /// [`LINK_UP`]; 2 bytes.
    pub const STATUS: usize = 6;
    /// Pairs of queues; 2 bytes.
    pub const PAIRS: usize = 8;
    /// The largest payload of a frame; 2 bytes.
    pub const MTU: usize = 10;
    /// Bytes of all.
    pub const BYTES: usize = 12;
    /// STATUS: the link is up.
    pub const LINK_UP: u16 = 1;
}

/// Queues of the first pair; each pair has two (section 5.1.2).
pub mod queue {
    /// Buffers for frames that the driver receives.
    pub const RECEIVE: usize = 0;
    /// Frames that it sends.
    pub const TRANSMIT: usize = 1;
    /// Commands; with several pairs, which the driver knows of, behind the last of them.
    pub const CONTROL: usize = 2;
}

/// What is before each frame (section 5.1.6).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Header {
    /// `FLAG_*`.
    pub flags: u8,
    /// `CUT_*`.
    pub cut: u8,
    /// Bytes before the payload of a frame that is to be cut.
    pub header_bytes: u16,
    /// Bytes of payload in each segment of a frame that is to be cut.
    pub segment_bytes: u16,
    /// Where what is summed begins.
    pub checksum_start: u16,
    /// Where behind that the checksum is.
    pub checksum_offset: u16,
    /// Into how many buffers a frame was received.
    pub buffers: u16,
}

impl Header {
    /// Bytes of it in memory.
    pub const BYTES: usize = 12;
    /// Where in memory [`buffers`](Self::buffers) are.
    pub const BUFFERS: usize = 10;
    /// `flags`: the checksum is missing.
    pub const FLAG_NEEDS_CHECKSUM: u8 = 1;
    /// `flags`: the checksum was checked.
    pub const FLAG_VALID: u8 = 2;
    /// `cut`: it is not to be cut.
    pub const CUT_NONE: u8 = 0;
    /// `cut`: TCP over IPv4.
    pub const CUT_TCP4: u8 = 1;
    /// `cut`: TCP over IPv6.
    pub const CUT_TCP6: u8 = 4;

    /// The header that `bytes` are.
    pub const fn decode(bytes: [u8; Self::BYTES]) -> Self {
        let [flags, cut, a, b, c, d, e, f, g, h, i, j] = bytes;
        Self {
            flags,
            cut,
            header_bytes: u16::from_le_bytes([a, b]),
            segment_bytes: u16::from_le_bytes([c, d]),
            checksum_start: u16::from_le_bytes([e, f]),
            checksum_offset: u16::from_le_bytes([g, h]),
            buffers: u16::from_le_bytes([i, j]),
        }
    }

    /// The bytes that it is in memory.
    pub const fn encode(&self) -> [u8; Self::BYTES] {
        let [a, b] = self.header_bytes.to_le_bytes();
        let [c, d] = self.segment_bytes.to_le_bytes();
        let [e, f] = self.checksum_start.to_le_bytes();
        let [g, h] = self.checksum_offset.to_le_bytes();
        let [i, j] = self.buffers.to_le_bytes();
        [self.flags, self.cut, a, b, c, d, e, f, g, h, i, j]
    }
}

/// Commands of the control queue: class, command and what it says, all of which the device reads, and an
/// answer of a byte (section 5.1.6.5).
pub mod control {
    /// Receive everything, or do not (a byte).
    pub const PROMISCUOUS: (u8, u8) = (0, 0);
    /// Receive what goes to any group, or do not (a byte).
    pub const ALL_GROUPS: (u8, u8) = (0, 1);
    /// Receive what goes to these addresses: two tables, of stations and of groups, each with the number of
    /// its entries before it (4 bytes).
    pub const SET_TABLES: (u8, u8) = (1, 0);
    /// The address is this from now on.
    pub const SET_ADDRESS: (u8, u8) = (1, 1);
    /// So many pairs of queues are used (2 bytes).
    pub const SET_PAIRS: (u8, u8) = (4, 0);
    /// The answer: it is done.
    pub const OK: u8 = 0;
    /// The answer: it is not.
    pub const ERROR: u8 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_as_the_specification_has_it() {
        let bytes = [1, 4, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
        let header = Header::decode(bytes);
        assert_eq!((header.flags, header.cut, header.header_bytes), (1, 4, 0x0302));
        assert_eq!((header.segment_bytes, header.checksum_start), (0x0504, 0x0706));
        assert_eq!((header.checksum_offset, header.buffers), (0x0908, 0x0b0a));
        assert_eq!(header.encode(), bytes);
        assert_eq!(header.encode()[Header::BUFFERS..], [10, 11]);
    }
}
