//! The driver's side of a virtio device, for tests of the device's: rings in the order in which Linux
//! writes and reads them, and the registers.

use super::transport::{Function, Transport};
use crate::testing::{Bench, VecMedium};
use access::GuestMemory;
use access::memory::VecMemory;
use spec::virtio::pci::common;
use spec::virtio::split::{
    AVAILABLE_NO_INTERRUPT, DESCRIPTOR_INDIRECT, DESCRIPTOR_NEXT, DESCRIPTOR_WRITE, Descriptor, RING_ENTRIES,
    RING_FLAGS, RING_INDEX, USED_NO_NOTIFY, passed,
};
use spec::virtio::{feature, status};
use spec::{Gpa, Width};
use std::vec::Vec;

/// Bytes of the guest's memory.
pub const MEMORY: usize = 0x40_0000;
/// Where the data of requests may be, to the end of the memory.
pub const DATA: u64 = 0x30_0000;
/// Where the rings are; each has so many bytes.
const RINGS: u64 = 0x1_0000;
const RING_BYTES: u64 = 0x2000;
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
    number: u64,
    /// Its descriptors.
    pub size: u16,
    /// Whether event indexes were agreed on.
    pub event_index: bool,
    free: Vec<u16>,
    /// The descriptors of each chain, by its head.
    chains: Vec<Vec<u16>>,
    available: u16,
    used: u16,
    notified: u16,
}

impl Ring {
    /// Queue `number` (0 to 3), of `size` descriptors (a power of two up to 128).
    pub fn new(number: u16, size: u16, event_index: bool) -> Self {
        Self {
            number: number.into(),
            size,
            event_index,
            free: (0..size).collect(),
            chains: std::vec![Vec::new(); size.into()],
            available: 0,
            used: 0,
            notified: 0,
        }
    }

    /// Where its descriptor table is.
    pub const fn descriptors(&self) -> u64 {
        RINGS + self.number * RING_BYTES
    }

    /// Where its available ring is.
    pub const fn available(&self) -> u64 {
        self.descriptors() + 0x800
    }

    /// Where its used ring is.
    pub const fn used(&self) -> u64 {
        self.descriptors() + 0x1000
    }

    /// 16 bytes for the header of chain `head`, and behind them its status.
    pub fn header(&self, head: u16) -> u64 {
        HEADERS + (self.number * MOST + u64::from(head)) * 0x20
    }

    /// The head that the next chain gets, which has so many segments; `None` where it has no place.
    pub fn next_head(&self, segments: usize, indirect: bool) -> Option<u16> {
        let own = if indirect { 1 } else { segments };
        self.free.get(self.free.len().checked_sub(own)?).copied()
    }

    /// Whether all chains came back.
    pub fn is_idle(&self) -> bool {
        self.free.len() == usize::from(self.size)
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
        let numbers = self.free.split_off(self.free.len() - own);
        let place = TABLES + (self.number * MOST + u64::from(head)) * TABLE_BYTES;
        let table = if indirect { place } else { self.descriptors() };
        for (place, &(gpa, bytes)) in segments.iter().enumerate() {
            let number = |place: usize| if indirect { place as u16 } else { numbers[place] };
            let last = place + 1 == segments.len();
            let mut flags = if last { 0 } else { DESCRIPTOR_NEXT };
            flags |= if place + writable >= segments.len() { DESCRIPTOR_WRITE } else { 0 };
            let next = if last { 0xffff } else { number(place + 1) };
            describe(memory, table, number(place), Descriptor { gpa: Gpa(gpa), bytes, flags, next });
        }
        if indirect {
            let bytes = (segments.len() * Descriptor::BYTES) as u32;
            let descriptor = Descriptor { gpa: Gpa(table), bytes, flags: DESCRIPTOR_INDIRECT, next: 0 };
            describe(memory, self.descriptors(), head, descriptor);
        }
        self.chains[usize::from(head)] = numbers;
        self.offer(memory, head);
        Some(head)
    }

    /// Makes the chain that begins at `head` available, whatever it is.
    pub fn offer(&mut self, memory: &dyn GuestMemory, head: u16) {
        let entry = self.available() + RING_ENTRIES + u64::from(self.available % self.size) * 2;
        set(memory, entry, head);
        self.available = self.available.wrapping_add(1);
        set(memory, self.available() + RING_INDEX, self.available);
    }

    /// Whether the device is to be told of what was made available since this was last asked.
    pub fn must_notify(&mut self, memory: &dyn GuestMemory) -> bool {
        let old = core::mem::replace(&mut self.notified, self.available);
        if self.event_index {
            let event = get(memory, self.used() + RING_ENTRIES + u64::from(self.size) * 8);
            passed(event, old, self.available)
        } else {
            old != self.available && get(memory, self.used() + RING_FLAGS) & USED_NO_NOTIFY == 0
        }
    }

    /// Takes what was used next: head and bytes.
    pub fn take_used(&mut self, memory: &dyn GuestMemory) -> Option<(u16, u32)> {
        if get(memory, self.used() + RING_INDEX) == self.used {
            return None;
        }
        let place = self.used() + RING_ENTRIES + u64::from(self.used % self.size) * 8;
        let entry = memory.read64(Gpa(place)).expect("a ring in memory");
        self.used = self.used.wrapping_add(1);
        let head = entry as u16;
        let numbers = core::mem::take(&mut self.chains[usize::from(head)]);
        assert!(!numbers.is_empty(), "chain {head} was not the device's");
        self.free.extend(numbers);
        Some((head, (entry >> 32) as u32))
    }

    /// Asks for an interrupt with the next chain that is used, or for none.
    pub fn want_interrupt(&self, memory: &dyn GuestMemory, wanted: bool) {
        if self.event_index {
            // No interrupt is the one that is longest ago.
            let event = if wanted { self.used } else { self.used.wrapping_sub(1) };
            set(memory, self.available() + RING_ENTRIES + u64::from(self.size) * 2, event);
        } else {
            let flags = if wanted { 0 } else { AVAILABLE_NO_INTERRUPT };
            set(memory, self.available() + RING_FLAGS, flags);
        }
    }
}

/// Writes descriptor `index` of the table at `table`.
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

/// A device with its driver.
pub struct Guest<F: Function, M = VecMemory> {
    /// The device, its memory and its medium.
    pub bench: Bench<Transport<F>, M>,
    /// Its queues.
    pub rings: Vec<Ring>,
}

impl<F: Function> Guest<F> {
    /// A device at power-up.
    pub fn new(device: Transport<F>, medium: VecMedium) -> Self {
        Self::with_memory(device, VecMemory::new(MEMORY), medium)
    }
}

impl<F: Function, M: GuestMemory> Guest<F, M> {
    /// A device at power-up, that reaches a memory of at least [`MEMORY`] bytes.
    pub fn with_memory(device: Transport<F>, memory: M, medium: VecMedium) -> Self {
        Self { bench: Bench::new(device, memory, medium), rings: Vec::new() }
    }

    /// Reads a register of the common configuration.
    pub fn common(&mut self, offset: u64, width: Width) -> u64 {
        self.bench.read(offset, width)
    }

    /// Writes a register of the common configuration.
    pub fn set_common(&mut self, offset: u64, width: Width, value: u64) {
        self.bench.write(offset, width, value);
    }

    /// `device_status`.
    pub fn status(&mut self) -> u8 {
        self.common(common::STATUS, Width::Byte) as u8
    }

    /// Adds bits to `device_status`, as drivers do.
    pub fn add_status(&mut self, bits: u8) {
        let value = self.status() | bits;
        self.set_common(common::STATUS, Width::Byte, value.into());
    }

    /// The features that the device offers.
    pub fn offered(&mut self) -> u64 {
        (0..2).fold(0, |all, select| {
            self.set_common(common::DEVICE_FEATURE_SELECT, Width::Dword, select);
            all | self.common(common::DEVICE_FEATURE, Width::Dword) << (32 * select)
        })
    }

    /// Takes features. Whether the device agrees.
    pub fn negotiate(&mut self, features: u64) -> bool {
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
        for select in 0..2 {
            self.set_common(common::DRIVER_FEATURE_SELECT, Width::Dword, select);
            self.set_common(common::DRIVER_FEATURE, Width::Dword, features >> (32 * select) & 0xffff_ffff);
        }
        self.add_status(status::FEATURES_OK);
        self.status() & status::FEATURES_OK != 0
    }

    /// Puts a queue where it belongs and enables it.
    pub fn enable(&mut self, number: u16, size: u16, vector: u16, event_index: bool) {
        let ring = Ring::new(number, size, event_index);
        self.set_common(common::QUEUE_SELECT, Width::Word, number.into());
        self.set_common(common::QUEUE_SIZE, Width::Word, size.into());
        self.set_common(common::QUEUE_VECTOR, Width::Word, vector.into());
        for (offset, gpa) in [
            (common::QUEUE_DESCRIPTORS, ring.descriptors()),
            (common::QUEUE_DRIVER, ring.available()),
            (common::QUEUE_DEVICE, ring.used()),
        ] {
            self.set_common(offset, Width::Dword, gpa & 0xffff_ffff);
            self.set_common(offset + 4, Width::Dword, gpa >> 32);
        }
        self.set_common(common::QUEUE_ENABLE, Width::Word, 1);
        let zeros = [0; RING_BYTES as usize];
        self.bench.memory.write(Gpa(ring.descriptors()), &zeros).expect("a ring in memory");
        self.rings.retain(|other| other.number != ring.number);
        self.rings.push(ring);
        self.rings.sort_by_key(|ring| ring.number);
    }

    /// All of it: every queue of `size` descriptors, with the messages from 1 on, or without messages.
    pub fn start(&mut self, features: u64, size: u16, has_messages: bool) {
        assert!(self.negotiate(features), "the device does not agree");
        let queues = self.common(common::QUEUES, Width::Word) as u16;
        if has_messages {
            self.set_common(common::CONFIG_VECTOR, Width::Word, 0);
        }
        for number in 0..queues {
            let vector = if has_messages { 1 + number } else { spec::virtio::pci::NO_VECTOR };
            self.enable(number, size, vector, features & feature::EVENT_INDEX != 0);
        }
        self.add_status(status::DRIVER_OK);
    }

    /// Tells the device of what was made available in a queue, if it wants to know. Whether it did.
    pub fn notify(&mut self, queue: u16) -> bool {
        let Some(ring) = self.rings.get_mut(usize::from(queue)) else { return false };
        let wants = ring.must_notify(&self.bench.memory);
        if wants {
            self.kick(queue);
        }
        wants
    }

    /// Tells the device of a queue, whether it wants to know or not.
    pub fn kick(&mut self, queue: u16) {
        let notify = super::transport::NOTIFY + u64::from(queue) * 4;
        self.bench.write(notify, Width::Word, queue.into());
    }

    /// Writes 0 to `device_status`. Whether the reset is over.
    pub fn reset(&mut self) -> bool {
        self.set_common(common::STATUS, Width::Byte, 0);
        self.status() == 0
    }
}
