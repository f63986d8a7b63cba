//! A virtio block device, used as Linux does: indirect descriptors and event indices.

use super::{ARENA, DATA, Reader, SLOT_BYTES, VECTOR, spin_until};
use support::cpu::{read8, write8, write16, write64};
use support::pci;
use support::virtio::register::{QUEUE_SELECT, QUEUE_VECTOR};
use support::virtio::{
    EVENT_INDEX, INDIRECT, INDIRECT_DESCRIPTORS, Ring, VERSION_1, Virtio, chain, config64,
};

const KIND: u32 = 2;
const SIZE: u16 = 128;
/// Of each request: a table of descriptors, then its header and status.
const TABLES: u64 = ARENA + 0x4000;
const HEADERS: u64 = ARENA + 0x8000;
const SECTOR: u64 = 512;

pub struct Blk {
    device: Virtio,
    ring: Ring,
    sectors: u64,
    next: u64,
}

impl Blk {
    pub fn start() -> Option<Self> {
        let device = Virtio::find(KIND, 0)?;
        device.function.enable_msix(pci::msi_address(0), VECTOR.into());
        if !device.agree(VERSION_1 | EVENT_INDEX | INDIRECT_DESCRIPTORS) {
            return None;
        }
        let ring = Ring::new(ARENA, SIZE);
        write16(device.base + QUEUE_SELECT, 0);
        write16(device.base + QUEUE_VECTOR, 1);
        device.enable(0, SIZE, ring.places());
        device.start();
        Some(Self { device, ring, sectors: config64(&device, 0), next: 0 })
    }

    /// Puts a read into the queue; the device is not told.
    pub fn put(&mut self, slot: u16, bytes: u32) {
        let (table, header) = (TABLES + 0x80 * u64::from(slot), HEADERS + 0x20 * u64::from(slot));
        let status = header + 16;
        if self.next + u64::from(bytes) / SECTOR > self.sectors {
            self.next = 0;
        }
        write64(header, 0);
        write64(header + 8, self.next);
        write8(status, 0xff);
        self.next += u64::from(bytes) / SECTOR;
        let data = DATA + SLOT_BYTES * u64::from(slot % super::DEPTH);
        chain(table, 0, &[(header, 16, false), (data, bytes, true), (status, 1, true)]);
        self.ring.describe(slot, table, 48, INDIRECT, 0);
        self.ring.offer(slot);
    }

    /// Tells the device of what was put into the queue since there were `old`, if it wants to know.
    pub fn tell(&self, old: u16) {
        self.ring.ask_for_interrupt();
        if self.ring.wants_kick(old) {
            self.device.kick(0);
        }
    }

    /// How many were ever put there.
    pub const fn offered(&self) -> u16 {
        self.ring.next
    }

    /// The next that is done.
    pub fn done(&mut self) -> Option<u16> {
        self.ring.used().map(|(slot, _)| slot)
    }

    /// Whether it was read.
    pub fn is_read(slot: u16) -> bool {
        read8(HEADERS + 0x20 * u64::from(slot) + 16) == 0
    }
}

impl Reader for Blk {
    fn read(&mut self, count: u16, bytes: u32) -> bool {
        let old = self.offered();
        (0..count).for_each(|slot| self.put(slot, bytes));
        self.tell(old);
        let mut left = count;
        spin_until(|| {
            let before = left;
            while self.done().is_some() {
                left -= 1;
            }
            if left != before {
                self.ring.ask_for_interrupt();
            }
            left == 0
        }) && (0..count).all(Self::is_read)
    }
}
