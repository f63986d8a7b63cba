//! A virtio device over PCI as its driver sees it (Virtio 1.2, sections 2.7 and 4.1), which may do
//! everything wrong: nothing is checked here.

use crate::cpu::{read8, read16, read32, read64, write8, write16, write32, write64};
use crate::pci::{self, Function};
use crate::time::wait_until;
use core::sync::atomic::{Ordering, fence};

/// Registers of the common configuration.
pub mod register {
    /// Which half of the device's features shows; 4 bytes.
    pub const DEVICE_SELECT: u64 = 0x00;
    /// Features that it offers; 4 bytes.
    pub const DEVICE_FEATURES: u64 = 0x04;
    /// Which half of the driver's features shows; 4 bytes.
    pub const DRIVER_SELECT: u64 = 0x08;
    /// Features that the driver takes; 4 bytes.
    pub const DRIVER_FEATURES: u64 = 0x0c;
    /// 1 byte.
    pub const STATUS: u64 = 0x14;
    /// Which queue the next registers are of; 2 bytes.
    pub const QUEUE_SELECT: u64 = 0x16;
    /// 2 bytes.
    pub const QUEUE_SIZE: u64 = 0x18;
    /// 2 bytes.
    pub const QUEUE_VECTOR: u64 = 0x1a;
    /// 2 bytes.
    pub const QUEUE_ENABLE: u64 = 0x1c;
    /// Descriptors, available ring, used ring; 8 bytes each.
    pub const QUEUE_PLACES: u64 = 0x20;
    /// 2 bytes.
    pub const QUEUE_RESET: u64 = 0x3a;
}
use register::*;

/// From the start of the window to the configuration of the type of device.
pub const CONFIG: u64 = 0x2000;
/// From there to where the driver notifies.
pub const NOTIFY: u64 = 0x3000;
const NOTIFY_BYTES: u64 = 4;

/// `STATUS`: the driver is set up, with what comes before that.
pub const RUNNING: u8 = 15;
const FEATURES_OK: u8 = 8;
const NEEDS_RESET: u8 = 64;

/// A descriptor may stand for a table of them.
pub const INDIRECT_DESCRIPTORS: u64 = 1 << 28;
/// Each side tells by an index when it wants to be told.
pub const EVENT_INDEX: u64 = 1 << 29;
/// What every driver has to take.
pub const VERSION_1: u64 = 1 << 32;
/// Queues are packed.
pub const RING_PACKED: u64 = 1 << 34;
/// A queue can be reset alone.
pub const RING_RESET: u64 = 1 << 40;

/// Flag of a descriptor: it goes on.
pub const NEXT: u16 = 1;
/// Flag of a descriptor: the device writes it.
pub const WRITE: u16 = 2;
/// Flag of a descriptor: it is a table of descriptors.
pub const INDIRECT: u16 = 4;
/// Flag of a descriptor of a packed queue: made available in an odd lap.
pub const AVAILABLE: u16 = 1 << 7;
/// Flag of a descriptor of a packed queue: used in an odd lap, or made available in an even one.
pub const USED: u16 = 1 << 15;

/// How long a reset may take, in microseconds.
const PATIENCE: u64 = 10_000_000;

/// A device.
#[derive(Clone, Copy)]
pub struct Virtio {
    /// In configuration space.
    pub function: Function,
    /// Address of its registers.
    pub base: u64,
}

impl Virtio {
    /// The `n`th device of a type, which decodes memory and masters the bus from now on. QEMU's have the
    /// same registers in the same order behind another BAR.
    pub fn find(kind: u32, n: usize) -> Option<Self> {
        const OF_QEMU: u16 = 4;
        let function = pci::find((0x1040 + kind) << 16 | 0x1af4, n)?;
        function.command(0, 6);
        let base = function.reachable_bar(0).or_else(|| function.reachable_bar(OF_QEMU))?;
        Some(Self { function, base })
    }

    /// Resets it; whether that ended.
    pub fn reset(&self) -> bool {
        write8(self.base + STATUS, 0);
        wait_until(PATIENCE, || self.status() == 0)
    }

    /// Resets it and takes these features; whether it agreed.
    pub fn agree(&self, features: u64) -> bool {
        if !self.reset() {
            return false;
        }
        write8(self.base + STATUS, 1);
        write8(self.base + STATUS, 3);
        for half in 0..2 {
            write32(self.base + DRIVER_SELECT, half);
            write32(self.base + DRIVER_FEATURES, (features >> (32 * half)) as u32);
        }
        write8(self.base + STATUS, 3 | FEATURES_OK);
        self.status() & FEATURES_OK != 0
    }

    /// Features that it offers.
    pub fn offers(&self) -> u64 {
        let half = |number| {
            write32(self.base + DEVICE_SELECT, number);
            u64::from(read32(self.base + DEVICE_FEATURES))
        };
        half(0) | half(1) << 32
    }

    /// Puts a queue there, and enables it.
    pub fn enable(&self, queue: u16, size: u16, places: [u64; 3]) {
        self.place(queue, size, places);
        write16(self.base + QUEUE_ENABLE, 1);
    }

    /// Writes a queue's registers.
    pub fn place(&self, queue: u16, size: u16, places: [u64; 3]) {
        write16(self.base + QUEUE_SELECT, queue);
        write16(self.base + QUEUE_SIZE, size);
        for (register, place) in (0_u64..).zip(places) {
            write32(self.base + QUEUE_PLACES + 8 * register, place as u32);
            write32(self.base + QUEUE_PLACES + 8 * register + 4, (place >> 32) as u32);
        }
    }

    /// What a queue's registers read.
    pub fn places(&self, queue: u16) -> (u16, [u64; 3]) {
        write16(self.base + QUEUE_SELECT, queue);
        let place = |register: u64| {
            let at = self.base + QUEUE_PLACES + 8 * register;
            u64::from(read32(at)) | u64::from(read32(at + 4)) << 32
        };
        (read16(self.base + QUEUE_SIZE), [place(0), place(1), place(2)])
    }

    /// Says that the driver is set up.
    pub fn start(&self) {
        write8(self.base + STATUS, RUNNING);
    }

    /// Resets one queue; whether that ended.
    pub fn reset_queue(&self, queue: u16) -> bool {
        write16(self.base + QUEUE_SELECT, queue);
        write16(self.base + QUEUE_RESET, 1);
        wait_until(PATIENCE, || read16(self.base + QUEUE_RESET) == 0 && read16(self.base + QUEUE_ENABLE) == 0)
    }

    /// Notifies of a queue.
    pub fn kick(&self, queue: u16) {
        write16(self.base + NOTIFY + NOTIFY_BYTES * u64::from(queue), queue);
    }

    /// `device_status`.
    pub fn status(&self) -> u8 {
        read8(self.base + STATUS)
    }

    /// Whether it says that the driver broke a rule.
    pub fn needs_reset(&self) -> bool {
        self.status() & NEEDS_RESET != 0
    }
}

/// A part of a chain: address, bytes, whether the device writes it.
pub type Part = (u64, u32, bool);

/// A queue in three pages of memory, split or packed. Of a packed one chains are written to a fourth page, as
/// if that were a split one's table, and copied from there to the ring's next places when they are offered.
#[derive(Clone, Copy)]
pub struct Ring {
    at: u64,
    /// Descriptors.
    pub size: u16,
    /// The available ring's index; of a packed queue the next place, counted through two laps.
    pub next: u16,
    seen: u16,
    is_packed: bool,
}

impl Ring {
    /// An empty queue of so many descriptors (256 at most) there.
    pub fn new(at: u64, size: u16) -> Self {
        (at..at + 0x3000).step_by(8).for_each(|place| write64(place, 0));
        Self { at, size, next: 0, seen: 0, is_packed: false }
    }

    /// The same of the kind that was agreed on with these features.
    pub fn agreed(at: u64, size: u16, features: u64) -> Self {
        Self { is_packed: features & RING_PACKED != 0, ..Self::new(at, size) }
    }

    /// Where its three parts are.
    pub const fn places(&self) -> [u64; 3] {
        [self.at, self.at + 0x1000, self.at + 0x2000]
    }

    /// Where chains are written.
    const fn table(&self) -> u64 {
        if self.is_packed { self.at + 0x3000 } else { self.at }
    }

    /// Writes a descriptor.
    pub fn describe(&self, index: u16, gpa: u64, bytes: u32, flags: u16, next: u16) {
        describe(self.table(), index, gpa, bytes, flags, next);
    }

    /// Writes a chain into the descriptors from `first` on.
    pub fn chain(&self, first: u16, parts: &[Part]) {
        chain(self.table(), first, parts);
    }

    /// Makes the chain of `head` available.
    pub fn offer(&mut self, head: u16) {
        if self.is_packed {
            return self.offer_list(head);
        }
        let [_, available, _] = self.places();
        write16(available + 4 + 2 * u64::from(self.next % self.size), head);
        self.next = self.next.wrapping_add(1);
        write16(available + 2, self.next);
    }

    /// Copies the chain of `head`, whose descriptors follow each other, to a packed ring, the first one last.
    fn offer_list(&mut self, head: u16) {
        let count = self.descriptors_of(head);
        for index in (0..count).rev() {
            let from = self.table() + 16 * u64::from(head + index);
            let (place, is_odd_lap) = self.place(self.next, index);
            let lap = if is_odd_lap { AVAILABLE } else { USED };
            let flags = read16(from + 12) | lap;
            describe(self.at, place, read64(from), read32(from + 8), head, flags);
        }
        self.next = (self.next + count) % (2 * self.size);
    }

    /// How many descriptors the chain of `head` has.
    fn descriptors_of(&self, head: u16) -> u16 {
        let goes_on = |index: &u16| read16(self.table() + 16 * u64::from(*index) + 12) & NEXT != 0;
        1 + (head..self.size - 1).take_while(goes_on).count() as u16
    }

    /// The place in a packed ring `by` behind one that is counted through two laps, and whether it is in the
    /// first of the two.
    const fn place(&self, from: u16, by: u16) -> (u16, bool) {
        let place = (from + by) % (2 * self.size);
        (place % self.size, place < self.size)
    }

    /// The next list of a packed ring that came back.
    fn used_list(&mut self) -> Option<(u16, u32)> {
        let (place, is_odd_lap) = self.place(self.seen, 0);
        let at = self.at + 16 * u64::from(place);
        let flags = read16(at + 14) & (AVAILABLE | USED);
        if flags != if is_odd_lap { AVAILABLE | USED } else { 0 } {
            return None;
        }
        let (bytes, head) = (read32(at + 8), read16(at + 12));
        let count = self.descriptors_of(head % self.size);
        self.seen = (self.seen + count) % (2 * self.size);
        Some((head, bytes))
    }

    /// Says that so many more chains are available.
    pub fn jump(&mut self, chains: u16) {
        self.next = self.next.wrapping_add(chains);
        let [_, available, _] = self.places();
        write16(available + 2, self.next);
    }

    /// Whether the device wants to be notified of a chain that was offered since there were `old`, with
    /// [`EVENT_INDEX`].
    pub fn wants_kick(&self, old: u16) -> bool {
        let [_, _, used] = self.places();
        fence(Ordering::SeqCst);
        let event = read16(used + 4 + 8 * u64::from(self.size));
        self.next.wrapping_sub(event).wrapping_sub(1) < self.next.wrapping_sub(old)
    }

    /// Asks for an interrupt by the next chain that comes back, with [`EVENT_INDEX`].
    pub fn ask_for_interrupt(&self) {
        let [_, available, _] = self.places();
        write16(available + 4 + 2 * u64::from(self.size), self.seen);
        fence(Ordering::SeqCst);
    }

    /// Whether none came back.
    pub fn is_empty(&self) -> bool {
        let [_, _, used] = self.places();
        read16(used + 2) == self.seen
    }

    /// The next chain that came back, and how many bytes were written to it.
    pub fn used(&mut self) -> Option<(u16, u32)> {
        if self.is_packed {
            return self.used_list();
        }
        let [_, _, used] = self.places();
        if read16(used + 2) == self.seen {
            return None;
        }
        let entry = used + 4 + 8 * u64::from(self.seen % self.size);
        self.seen = self.seen.wrapping_add(1);
        Some((read32(entry) as u16, read32(entry + 4)))
    }

    /// The same, where one comes within so many microseconds.
    pub fn wait_used(&mut self, microseconds: u64) -> Option<(u16, u32)> {
        let mut came = None;
        wait_until(microseconds, || {
            came = self.used();
            came.is_some()
        });
        came
    }
}

/// Writes descriptor `index` of the table at `table`.
pub fn describe(table: u64, index: u16, gpa: u64, bytes: u32, flags: u16, next: u16) {
    let at = table + 16 * u64::from(index);
    write64(at, gpa);
    write64(at + 8, u64::from(bytes) | u64::from(flags) << 32 | u64::from(next) << 48);
}

/// Writes a chain into the descriptors from `first` on of the table at `table`.
pub fn chain(table: u64, first: u16, parts: &[Part]) {
    for (index, (gpa, bytes, written)) in (first..).zip(parts) {
        let more = if usize::from(index - first) + 1 < parts.len() { NEXT } else { 0 };
        let direction = if *written { WRITE } else { 0 };
        describe(table, index, *gpa, *bytes, more | direction, index + 1);
    }
}

/// 8 bytes of a device's configuration.
pub fn config64(device: &Virtio, offset: u64) -> u64 {
    read64(device.base + CONFIG + offset)
}
