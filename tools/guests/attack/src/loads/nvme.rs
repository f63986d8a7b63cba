//! An NVMe drive whose doorbells are in memory where the controller can have them there (NVMe 1.4, section 7.13).

use super::{ARENA, DATA, Reader, SLOT_BYTES, VECTOR, spin_until};
use core::sync::atomic::{Ordering, fence};
use support::cpu::{read16, read32, write32, write64};
use support::nvme::command::{DOORBELL_BUFFERS, IDENTIFY, READ};
use support::nvme::register::DOORBELLS;
use support::nvme::{Command, Controller, Queue};

/// Entries of every queue.
const SIZE: u32 = 64;
/// Doorbells in memory, and when the controller wants the others.
const SHADOWS: u64 = ARENA + 0x4000;
const EVENTS: u64 = ARENA + 0x5000;
const IDENTITY: u64 = ARENA + 0x6000;
/// Lists of pages, one for each request.
const LISTS: u64 = ARENA + 0x1_0000;
const PAGE: u64 = 0x1000;

/// In the identity: what else the controller can (OACS), and that the doorbells are.
const ABILITIES: u64 = 256;
const CAN_SHADOW: u16 = 1 << 8;

pub struct Nvme {
    controller: Controller,
    admin: Queue,
    data: Queue,
    has_shadows: bool,
    blocks: u64,
    next: u64,
}

impl Nvme {
    pub fn start() -> Option<Self> {
        let controller = Controller::find(VECTOR)?;
        let queue = |number| {
            let at = ARENA + PAGE * u64::from(number);
            Queue::new(number, at, at + 2 * PAGE, SIZE)
        };
        let mut drive =
            Self { controller, admin: queue(0), data: queue(1), has_shadows: false, blocks: 0, next: 0 };
        drive.bring_up().then_some(drive)
    }

    fn bring_up(&mut self) -> bool {
        self.controller.disable();
        (ARENA..ARENA + 0x8000).step_by(8).for_each(|at| write64(at, 0));
        if !self.controller.enable(ARENA, ARENA + 2 * PAGE, SIZE)
            || !self.administer((IDENTIFY, 0, [IDENTITY, 0], [1, 0, 0]))
        {
            return false;
        }
        let can_shadow = read16(IDENTITY + ABILITIES) & CAN_SHADOW != 0;
        let shadows = can_shadow && self.administer((DOORBELL_BUFFERS, 0, [SHADOWS, EVENTS], [0; 3]));
        if !self.administer((IDENTIFY, 1, [IDENTITY, 0], [0; 3])) {
            return false;
        }
        self.blocks = read32(IDENTITY).into();
        let is_up = self.administer(self.data.create_completions(Some(1)))
            && self.administer(self.data.create_submissions());
        self.has_shadows = shadows;
        is_up
    }

    /// Rings a doorbell of the queue for data, which stood at `old`, where that is wanted.
    fn ring(&self, is_completion: bool, old: u32, new: u32) {
        let place = 8 * u64::from(self.data.number) + 4 * u64::from(is_completion);
        let is_wanted = !self.has_shadows || {
            write32(SHADOWS + place, new);
            fence(Ordering::SeqCst);
            let event = read32(EVENTS + place) as u16;
            (new as u16).wrapping_sub(event).wrapping_sub(1) < (new as u16).wrapping_sub(old as u16)
        };
        if is_wanted {
            self.controller.write(DOORBELLS + place, new);
        }
    }

    fn administer(&mut self, command: Command) -> bool {
        self.admin.put(command);
        self.controller.ring(&self.admin);
        let mut status = None;
        spin_until(|| {
            status = self.admin.answer();
            status.is_some()
        });
        self.controller.ring_back(&self.admin);
        status == Some(0)
    }

    fn put_read(&mut self, slot: u16, bytes: u32) {
        let (data, list) = (DATA + SLOT_BYTES * u64::from(slot), LISTS + PAGE * u64::from(slot));
        let blocks = bytes / 512;
        if self.next + u64::from(blocks) > self.blocks {
            self.next = 0;
        }
        let pages = u64::from(bytes) / PAGE;
        (1..pages).for_each(|page| write64(list + 8 * (page - 1), data + PAGE * page));
        let second = match pages {
            1 => 0,
            2 => data + PAGE,
            _ => list,
        };
        let dwords = [self.next as u32, 0, blocks - 1];
        self.data.put((u32::from(slot) << 16 | READ, 1, [data, second], dwords));
        self.next += u64::from(blocks);
    }
}

impl Reader for Nvme {
    fn read(&mut self, count: u16, bytes: u32) -> bool {
        let old = self.data.tail;
        (0..count).for_each(|slot| self.put_read(slot, bytes));
        self.ring(false, old, self.data.tail);
        let (mut left, mut is_read) = (count, true);
        spin_until(|| {
            let old = self.data.head;
            while let Some(status) = self.data.answer() {
                is_read &= status == 0;
                left -= 1;
            }
            let head = self.data.head;
            if head != old {
                self.ring(true, old, head);
            }
            left == 0
        }) && is_read
    }
}
