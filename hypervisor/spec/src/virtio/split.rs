//! The parts of a split virtqueue (section 2.7).

use crate::Gpa;

/// The most descriptors of a queue; the number is a power of two (section 2.7).
pub const MOST_DESCRIPTORS: u16 = 32768;

/// Where the descriptor table may start: at multiples of this many bytes (section 2.7).
pub const DESCRIPTORS_ALIGN: u64 = 16;
/// Where the available ring may start (section 2.7).
pub const AVAILABLE_ALIGN: u64 = 2;
/// Where the used ring may start (section 2.7).
pub const USED_ALIGN: u64 = 4;

/// `flags` of a descriptor: its chain goes on at `next` (section 2.7.5).
pub const DESCRIPTOR_NEXT: u16 = 1 << 0;
/// `flags` of a descriptor: the device writes the buffer, and does not read it (section 2.7.5).
pub const DESCRIPTOR_WRITE: u16 = 1 << 1;
/// `flags` of a descriptor: the buffer is a table of descriptors (section 2.7.5.3).
pub const DESCRIPTOR_INDIRECT: u16 = 1 << 2;

/// `flags` of the available ring: the driver wants no interrupt when a chain is used (section 2.7.6).
pub const AVAILABLE_NO_INTERRUPT: u16 = 1 << 0;
/// `flags` of the used ring: the device wants no notification of available chains (section 2.7.8).
pub const USED_NO_NOTIFY: u16 = 1 << 0;

/// Bytes from the start of either ring to its `flags` (sections 2.7.6 and 2.7.8).
pub const RING_FLAGS: u64 = 0;
/// Bytes from the start of either ring to its `idx` (sections 2.7.6 and 2.7.8).
pub const RING_INDEX: u64 = 2;
/// Bytes from the start of either ring to its entries (sections 2.7.6 and 2.7.8).
pub const RING_ENTRIES: u64 = 4;
/// Bytes of an entry of the available ring: the number of a descriptor (section 2.7.6).
pub const AVAILABLE_ENTRY_BYTES: u64 = 2;
/// Bytes of an entry of the used ring: the number of a descriptor and the bytes written, 4 bytes
/// each (section 2.7.8).
pub const USED_ENTRY_BYTES: u64 = 8;
/// Bytes of the event index behind the entries of either ring (sections 2.7.6 and 2.7.8).
pub const EVENT_BYTES: u64 = 2;

/// One descriptor (section 2.7.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// Where the buffer is.
    pub gpa: Gpa,
    /// Its bytes.
    pub bytes: u32,
    /// `DESCRIPTOR_*`.
    pub flags: u16,
    /// The descriptor behind it, with [`DESCRIPTOR_NEXT`].
    pub next: u16,
}

impl Descriptor {
    /// Bytes of a descriptor in memory.
    pub const BYTES: usize = 16;

    /// The descriptor that `bytes` are.
    pub const fn decode(bytes: [u8; Self::BYTES]) -> Self {
        let value = u128::from_le_bytes(bytes);
        Self {
            gpa: Gpa(value as u64),
            bytes: (value >> 64) as u32,
            flags: (value >> 96) as u16,
            next: (value >> 112) as u16,
        }
    }

    /// The bytes that it is in memory.
    pub const fn encode(&self) -> [u8; Self::BYTES] {
        let value = self.gpa.0 as u128
            | (self.bytes as u128) << 64
            | (self.flags as u128) << 96
            | (self.next as u128) << 112;
        value.to_le_bytes()
    }
}

/// Whether an index that went from `old` to `new` went past `event`, so that the other side is to be
/// told (sections 2.7.7 and 2.7.10).
pub const fn passed(event: u16, old: u16, new: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_where_the_specification_has_them() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        let descriptor = Descriptor::decode(bytes);
        assert_eq!(descriptor.gpa, Gpa(0x0807_0605_0403_0201));
        assert_eq!(descriptor.bytes, 0x0c0b_0a09);
        assert_eq!((descriptor.flags, descriptor.next), (0x0e0d, 0x100f));
        assert_eq!(descriptor.encode(), bytes);
    }

    /// An index passes exactly the events that it counted over.
    #[test]
    fn an_index_passes_what_it_counts_over() {
        for old in [0_u16, 1, 0x7ffe, 0xfffd, 0xffff] {
            for steps in 0..8 {
                for ahead in 0..12 {
                    let event = old.wrapping_add(ahead);
                    assert_eq!(passed(event, old, old.wrapping_add(steps)), ahead < steps);
                }
            }
        }
    }
}
