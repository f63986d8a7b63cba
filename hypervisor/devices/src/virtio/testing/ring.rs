//! A queue as its driver has it, of either kind, written and read in the order in which Linux does it.

use access::GuestMemory;
use spec::Gpa;
use spec::virtio::feature;
use spec::virtio::packed::{
    self, DESCRIPTOR_AVAILABLE, DESCRIPTOR_STATE, DESCRIPTOR_USED, Event, Place, State,
};
use spec::virtio::split::{
    AVAILABLE_NO_INTERRUPT, DESCRIPTOR_INDIRECT, DESCRIPTOR_NEXT, DESCRIPTOR_WRITE, Descriptor, RING_ENTRIES,
    RING_FLAGS, RING_INDEX, USED_NO_NOTIFY, passed,
};
use std::vec::Vec;

/// Where the rings are; each has [`RING_BYTES`].
const RINGS: u64 = 0x1_0000;
/// Bytes of a ring with all its parts.
pub const RING_BYTES: u64 = 0x2000;
/// Where a chain has place for its header and its status.
const HEADERS: u64 = 0x4_0000;
/// Where the indirect table of a chain is.
const TABLES: u64 = 0x10_0000;
const TABLE_BYTES: u64 = 0x800;
/// The most descriptors of a queue.
const MOST: u64 = 128;

/// One queue, as its driver has it.
#[derive(Clone, Debug)]
pub struct Ring {
    pub(super) number: u64,
    /// Its descriptors.
    pub size: u16,
    /// Whether event indexes were agreed on.
    pub event_index: bool,
    /// Whether it is packed.
    pub is_packed: bool,
    /// Numbers of descriptors, or IDs, that are nobody's.
    free: Vec<u16>,
    /// Descriptors that the device does not have.
    room: u16,
    /// The descriptors of each chain, by its head; of a packed queue in the order of the ring.
    chains: Vec<Vec<u16>>,
    /// The index, or in a packed queue the position in two laps, to make available next.
    pub available: u16,
    /// The same for what is used next.
    pub used: u16,
    notified: u16,
}

impl Ring {
    /// Queue `number` (0 to 3), of `size` descriptors (up to 128), of the kind that `features` say.
    pub fn new(number: u16, size: u16, features: u64) -> Self {
        Self {
            number: number.into(),
            size,
            event_index: features & feature::EVENT_INDEX != 0,
            is_packed: features & feature::RING_PACKED != 0,
            free: (0..size).collect(),
            room: size,
            chains: std::vec![Vec::new(); size.into()],
            available: 0,
            used: 0,
            notified: 0,
        }
    }

    /// Where its descriptors are.
    pub const fn descriptors(&self) -> u64 {
        RINGS + self.number * RING_BYTES
    }

    /// Where the driver's area is: the available ring, or what it says of events.
    pub const fn driver_area(&self) -> u64 {
        self.descriptors() + 0x800
    }

    /// Where the device's area is: the used ring, or what it says of events.
    pub const fn device_area(&self) -> u64 {
        self.descriptors() + 0x1000
    }

    /// 16 bytes for the header of chain `head`, and behind them its status.
    pub fn header(&self, head: u16) -> u64 {
        HEADERS + (self.number * MOST + u64::from(head)) * 0x20
    }

    /// The head that the next chain gets, which has so many segments; `None` where it has no place.
    pub fn next_head(&self, segments: usize, indirect: bool) -> Option<u16> {
        let own = if indirect { 1 } else { segments };
        if own > self.room.into() {
            return None;
        }
        let last = if self.is_packed { 1 } else { own };
        self.free.get(self.free.len().checked_sub(last)?).copied()
    }

    /// Whether all chains came back.
    pub fn is_idle(&self) -> bool {
        self.free.len() == usize::from(self.size) && self.room == self.size
    }

    /// The descriptor that a chain begins with whose head is to be `head` and that is written by hand:
    /// in a packed queue the next one of the ring.
    pub fn first(&self, head: u16) -> u16 {
        if self.is_packed { self.place(self.available).offset } else { head }
    }

    /// Makes a chain of segments available, each an address and bytes, the last `writable` of them for
    /// the device to write.
    pub fn add(
        &mut self,
        memory: &dyn GuestMemory,
        segments: &[(u64, u32)],
        writable: usize,
        indirect: bool,
    ) -> Option<u16> {
        let head = self.next_head(segments.len(), indirect)?;
        let own = if indirect { 1 } else { segments.len() };
        let numbers: Vec<u16> = if self.is_packed {
            self.free.pop();
            (0..own as u16).map(|place| self.place(self.sum(self.available, place)).offset).collect()
        } else {
            self.free.split_off(self.free.len() - own)
        };
        self.room -= own as u16;
        let own_table = TABLES + (self.number * MOST + u64::from(head)) * TABLE_BYTES;
        let table = if indirect { own_table } else { self.descriptors() };
        for (place, &(gpa, bytes)) in segments.iter().enumerate() {
            let number = |place: usize| if indirect { place as u16 } else { numbers[place] };
            let last = place + 1 == segments.len();
            let mut flags = if last || indirect && self.is_packed { 0 } else { DESCRIPTOR_NEXT };
            flags |= if place + writable >= segments.len() { DESCRIPTOR_WRITE } else { 0 };
            let next = match last {
                _ if self.is_packed => head,
                true => 0xffff,
                false => number(place + 1),
            };
            self.describe_in(memory, table, number(place), Descriptor { gpa: Gpa(gpa), bytes, flags, next });
        }
        if indirect {
            let bytes = (segments.len() * Descriptor::BYTES) as u32;
            let next = if self.is_packed { head } else { 0 };
            let descriptor = Descriptor { gpa: Gpa(table), bytes, flags: DESCRIPTOR_INDIRECT, next };
            self.describe(memory, numbers[0], descriptor);
        }
        self.chains[usize::from(head)] = numbers;
        self.offer(memory, head);
        Some(head)
    }

    /// Makes the chain that begins at `head`, or in a packed queue at the next place of the ring,
    /// available, whatever it is.
    pub fn offer(&mut self, memory: &dyn GuestMemory, head: u16) {
        if self.is_packed {
            return self.offer_next(memory);
        }
        let entry = self.driver_area() + RING_ENTRIES + u64::from(self.available % self.size) * 2;
        set(memory, entry, head);
        self.available = self.available.wrapping_add(1);
        set(memory, self.driver_area() + RING_INDEX, self.available);
    }

    /// The flags of the first descriptor are written last.
    fn offer_next(&mut self, memory: &dyn GuestMemory) {
        let first = self.available;
        let mut flags = Vec::new();
        for place in 0..self.size {
            let at = self.place(self.sum(first, place));
            let state = self.state(memory, at.offset);
            let lap = if at.wrap { DESCRIPTOR_AVAILABLE } else { DESCRIPTOR_USED };
            flags.push(state.flags & !(DESCRIPTOR_AVAILABLE | DESCRIPTOR_USED) | lap);
            if state.flags & DESCRIPTOR_NEXT == 0 {
                break;
            }
        }
        for (place, flags) in flags.iter().enumerate().rev() {
            let offset = self.place(self.sum(first, place as u16)).offset;
            set(memory, self.descriptors() + u64::from(offset) * 16 + 14, *flags);
        }
        self.available = self.sum(first, flags.len() as u16);
    }

    /// Whether the device is to be told of what was made available since this was last asked.
    pub fn must_notify(&mut self, memory: &dyn GuestMemory) -> bool {
        let old = core::mem::replace(&mut self.notified, self.available);
        if self.is_packed {
            let event = memory.read32(Gpa(self.device_area())).expect("a ring in memory");
            return match Event::decode(event) {
                Event::At(place) if self.event_index => {
                    let lap = if place.wrap { 0 } else { self.size };
                    self.distance(old, place.offset + lap) < self.distance(old, self.available)
                }
                event => old != self.available && event != Event::Never,
            };
        }
        if self.event_index {
            let event = get(memory, self.device_area() + RING_ENTRIES + u64::from(self.size) * 8);
            passed(event, old, self.available)
        } else {
            old != self.available && get(memory, self.device_area() + RING_FLAGS) & USED_NO_NOTIFY == 0
        }
    }

    /// Takes what was used next: head and bytes.
    pub fn take_used(&mut self, memory: &dyn GuestMemory) -> Option<(u16, u32)> {
        let (head, written) = if self.is_packed {
            let place = self.place(self.used);
            let state = self.state(memory, place.offset);
            if !state.is_used(place.wrap) {
                return None;
            }
            assert_eq!(state.flags & DESCRIPTOR_WRITE != 0, state.bytes != 0);
            (state.id, state.bytes)
        } else {
            if get(memory, self.device_area() + RING_INDEX) == self.used {
                return None;
            }
            let place = self.device_area() + RING_ENTRIES + u64::from(self.used % self.size) * 8;
            let entry = memory.read64(Gpa(place)).expect("a ring in memory");
            (entry as u16, (entry >> 32) as u32)
        };
        let numbers = core::mem::take(&mut self.chains[usize::from(head)]);
        assert!(!numbers.is_empty(), "chain {head} was not the device's");
        self.room += numbers.len() as u16;
        if self.is_packed {
            self.used = self.sum(self.used, numbers.len() as u16);
            self.free.push(head);
        } else {
            self.used = self.used.wrapping_add(1);
            self.free.extend(numbers);
        }
        Some((head, written))
    }

    /// Asks for an interrupt with the next chain that is used, or for none.
    pub fn want_interrupt(&self, memory: &dyn GuestMemory, wanted: bool) {
        if self.is_packed {
            let event = match wanted {
                false => Event::Never,
                true if self.event_index => Event::At(self.place(self.used)),
                true => Event::Always,
            };
            memory.write32(Gpa(self.driver_area()), event.encode()).expect("a ring in memory");
        } else if self.event_index {
            // No interrupt is the one that is longest ago.
            let event = if wanted { self.used } else { self.used.wrapping_sub(1) };
            set(memory, self.driver_area() + RING_ENTRIES + u64::from(self.size) * 2, event);
        } else {
            let flags = if wanted { 0 } else { AVAILABLE_NO_INTERRUPT };
            set(memory, self.driver_area() + RING_FLAGS, flags);
        }
    }

    /// Writes descriptor `index` of the ring; in a packed one `next` is its ID, and whose it is stays.
    pub fn describe(&self, memory: &dyn GuestMemory, index: u16, descriptor: Descriptor) {
        self.describe_in(memory, self.descriptors(), index, descriptor);
    }

    fn describe_in(&self, memory: &dyn GuestMemory, table: u64, index: u16, descriptor: Descriptor) {
        if !self.is_packed {
            return describe(memory, table, index, descriptor);
        }
        let Descriptor { gpa, bytes, flags, next: id } = descriptor;
        let owner = DESCRIPTOR_AVAILABLE | DESCRIPTOR_USED;
        let old = if table == self.descriptors() { self.state(memory, index).flags & owner } else { 0 };
        let state = State { bytes, id, flags: flags & !owner | old };
        let at = Gpa(table + u64::from(index) * Descriptor::BYTES as u64);
        memory.write(at, &packed::Descriptor { gpa, state }.encode()).expect("a table in memory");
    }

    fn state(&self, memory: &dyn GuestMemory, index: u16) -> State {
        let at = self.descriptors() + u64::from(index) * Descriptor::BYTES as u64 + DESCRIPTOR_STATE;
        State::decode(memory.read64(Gpa(at)).expect("a ring in memory"))
    }

    const fn place(&self, position: u16) -> Place {
        Place::at(position, self.size)
    }

    fn sum(&self, position: u16, entries: u16) -> u16 {
        ((u32::from(position) + u32::from(entries)) % (2 * u32::from(self.size))) as u16
    }

    fn distance(&self, from: u16, to: u16) -> u32 {
        let all = 2 * u32::from(self.size);
        (u32::from(to) + all - u32::from(from)) % all
    }
}

/// Writes descriptor `index` of the table at `table` of a split queue.
pub fn describe(memory: &dyn GuestMemory, table: u64, index: u16, descriptor: Descriptor) {
    let at = Gpa(table + u64::from(index) * Descriptor::BYTES as u64);
    memory.write(at, &descriptor.encode()).expect("a table in memory");
}

fn get(memory: &dyn GuestMemory, at: u64) -> u16 {
    let mut bytes = [0; 2];
    memory.read(Gpa(at), &mut bytes).expect("a ring in memory");
    u16::from_le_bytes(bytes)
}

fn set(memory: &dyn GuestMemory, at: u64, value: u16) {
    memory.write(Gpa(at), &value.to_le_bytes()).expect("a ring in memory");
}
