//! The parts of a packed virtqueue (section 2.8).

use crate::Gpa;

/// The most descriptors of a queue; the number need not be a power of two (section 2.8.10.1).
pub const MOST_DESCRIPTORS: u16 = 32768;

/// Where the descriptor ring may start: at multiples of this many bytes (section 2.8.10.1).
pub const DESCRIPTORS_ALIGN: u64 = 16;
/// Where either side's event suppression may start (section 2.8.10.1).
pub const EVENT_ALIGN: u64 = 4;
/// Bytes of an [`Event`] (section 2.8.10.1).
pub const EVENT_BYTES: u64 = 4;

/// `flags` of a descriptor: its list goes on with the next one in the ring (section 2.8.6).
pub const DESCRIPTOR_NEXT: u16 = 1 << 0;
/// `flags` of a descriptor: the device writes the buffer, and does not read it; in a used one, that it
/// has written (section 2.8.3).
pub const DESCRIPTOR_WRITE: u16 = 1 << 1;
/// `flags` of a descriptor: the buffer is a table of descriptors (section 2.8.7).
pub const DESCRIPTOR_INDIRECT: u16 = 1 << 2;
/// `flags` of a descriptor: the driver's wrap counter when it was made available (section 2.8.1).
pub const DESCRIPTOR_AVAILABLE: u16 = 1 << 7;
/// `flags` of a descriptor: the device's wrap counter when it was used, and before that its inverse
/// (section 2.8.1).
pub const DESCRIPTOR_USED: u16 = 1 << 15;

/// Bytes from the start of a descriptor to the word of its length, ID and flags.
pub const DESCRIPTOR_STATE: u64 = 8;
/// Bytes from the start of a descriptor to its flags.
pub const DESCRIPTOR_FLAGS: u64 = 14;

/// One descriptor (section 2.8.13).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// Where the buffer is.
    pub gpa: Gpa,
    /// Its length, ID and flags, which are written at once.
    pub state: State,
}

/// The second half of a descriptor: 8 bytes that are aligned, so that they can be read and written at
/// once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// Bytes of the buffer; in a used descriptor those that were written.
    pub bytes: u32,
    /// What the driver knows the list by, in its last descriptor and in the used one.
    pub id: u16,
    /// `DESCRIPTOR_*`.
    pub flags: u16,
}

impl State {
    /// What `value` says.
    pub const fn decode(value: u64) -> Self {
        Self { bytes: value as u32, id: (value >> 32) as u16, flags: (value >> 48) as u16 }
    }

    /// The value in memory.
    pub const fn encode(self) -> u64 {
        self.bytes as u64 | (self.id as u64) << 32 | (self.flags as u64) << 48
    }

    /// Whether it is available to a device whose wrap counter is `wrap` (section 2.8.1).
    pub const fn is_available(self, wrap: bool) -> bool {
        let (available, used) = (self.flags & DESCRIPTOR_AVAILABLE != 0, self.flags & DESCRIPTOR_USED != 0);
        available == wrap && used != wrap
    }

    /// Whether it is used as a driver sees it whose counter for that is `wrap` (section 2.8.1).
    pub const fn is_used(self, wrap: bool) -> bool {
        let (available, used) = (self.flags & DESCRIPTOR_AVAILABLE != 0, self.flags & DESCRIPTOR_USED != 0);
        available == wrap && used == wrap
    }
}

impl Descriptor {
    /// Bytes of a descriptor in memory.
    pub const BYTES: usize = 16;

    /// The bytes that it is in memory.
    pub const fn encode(&self) -> [u8; Self::BYTES] {
        (self.gpa.0 as u128 | (self.state.encode() as u128) << 64).to_le_bytes()
    }
}

/// A place in the ring with the wrap counter that belongs to it: there are twice as many as descriptors.
/// Those of the first lap, whose counter is 1, come first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Which descriptor.
    pub offset: u16,
    /// The wrap counter.
    pub wrap: bool,
}

impl Place {
    /// The place `position` places behind the start of the first lap, of a ring of `size` descriptors.
    pub const fn at(position: u16, size: u16) -> Self {
        match position.checked_sub(size) {
            None => Self { offset: position, wrap: true },
            Some(offset) => Self { offset, wrap: false },
        }
    }
}

/// When a side wants to be told (section 2.8.14).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Of everything.
    Always,
    /// Of nothing.
    Never,
    /// Of what is done with this descriptor, with VIRTIO_F_EVENT_IDX alone.
    At(Place),
    /// That is reserved.
    Reserved,
}

impl Event {
    /// What `value` says.
    pub const fn decode(value: u32) -> Self {
        match value >> 16 & 3 {
            0 => Self::Always,
            1 => Self::Never,
            2 => Self::At(Place { offset: value as u16 & 0x7fff, wrap: value & 0x8000 != 0 }),
            _ => Self::Reserved,
        }
    }

    /// The value in memory.
    pub const fn encode(self) -> u32 {
        match self {
            Self::Always => 0,
            Self::Never => 1 << 16,
            Self::At(Place { offset, wrap }) => 2 << 16 | (wrap as u32) << 15 | (offset & 0x7fff) as u32,
            Self::Reserved => 3 << 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_where_the_specification_has_them() {
        let state = State { bytes: 0x0c0b_0a09, id: 0x0e0d, flags: 0x100f };
        let descriptor = Descriptor { gpa: Gpa(0x0807_0605_0403_0201), state };
        assert_eq!(descriptor.encode(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        assert_eq!(State::decode(state.encode()), state);
        let place = Place { offset: 0x1234, wrap: true };
        assert_eq!(Event::At(place).encode(), 0x0002_9234);
        for event in [Event::Always, Event::Never, Event::At(place), Event::Reserved] {
            assert_eq!(Event::decode(event.encode()), event);
        }
        assert_eq!(Event::decode(0xfffc_0000), Event::Always, "the rest of the flags is reserved");
    }

    #[test]
    fn a_descriptor_belongs_to_one_side() {
        let state = |flags| State { bytes: 0, id: 0, flags };
        const AVAILABLE: u16 = DESCRIPTOR_AVAILABLE;
        const USED: u16 = DESCRIPTOR_USED;
        for (flags, available, used) in [
            (0, [false, false], [true, false]),
            (AVAILABLE, [false, true], [false, false]),
            (USED, [true, false], [false, false]),
            (AVAILABLE | USED, [false, false], [false, true]),
        ] {
            for wrap in [false, true] {
                assert_eq!(
                    state(flags).is_available(wrap),
                    available[usize::from(wrap)],
                    "{flags:#x} {wrap}"
                );
                assert_eq!(state(flags).is_used(wrap), used[usize::from(wrap)], "{flags:#x} {wrap}");
            }
        }
    }
}
