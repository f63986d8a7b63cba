//! An NVMe drive whose doorbells are in memory where the controller can have them there (NVMe 1.4, section 7.13).

use super::{ARENA, DATA, Reader, SLOT_BYTES, VECTOR, spin_until};
use core::sync::atomic::{Ordering, fence};
use support::cpu::{read16, read32, write32, write64};
use support::pci::{self, Function};
use support::time::wait_until;

const ID: u32 = 0x0010_1b36;
const CONFIGURATION: u64 = 0x14;
const STATUS: u64 = 0x1c;
const ADMIN_ATTRIBUTES: u64 = 0x24;
const ADMIN_SUBMISSION: u64 = 0x28;
const ADMIN_COMPLETION: u64 = 0x30;
const DOORBELLS: u64 = 0x1000;
const READY: u32 = 1;
const ENABLE: u32 = 4 << 20 | 6 << 16 | 1;
const SECOND: u64 = 1_000_000;
/// Entries of every queue.
const SIZE: u32 = 64;
/// Queue 0 is for administration, queue 1 for data.
const SUBMISSIONS: [u64; 2] = [ARENA, ARENA + 0x1000];
const COMPLETIONS: [u64; 2] = [ARENA + 0x2000, ARENA + 0x3000];
/// Doorbells in memory, and when the controller wants the others.
const SHADOWS: u64 = ARENA + 0x4000;
const EVENTS: u64 = ARENA + 0x5000;
const IDENTITY: u64 = ARENA + 0x6000;
/// Lists of pages, one for each request.
const LISTS: u64 = ARENA + 0x1_0000;
const PAGE: u64 = 0x1000;

const CREATE_SUBMISSIONS: u32 = 1;
const READ: u32 = 2;
const CREATE_COMPLETIONS: u32 = 5;
const IDENTIFY: u32 = 6;
const DOORBELL_BUFFERS: u32 = 0x7c;
/// In the identity: what else the controller can (OACS), and that the doorbells are.
const ABILITIES: u64 = 256;
const CAN_SHADOW: u16 = 1 << 8;

/// A pair of queues.
#[derive(Clone, Copy)]
struct Queue {
    number: usize,
    tail: u32,
    head: u32,
    phase: u32,
}

pub struct Nvme {
    function: Function,
    base: u64,
    queues: [Queue; 2],
    has_shadows: bool,
    blocks: u64,
    next: u64,
}

impl Nvme {
    pub fn start() -> Option<Self> {
        let function = pci::find(ID, 0)?;
        function.command(0, 6);
        function.enable_msix(pci::msi_address(0), VECTOR.into());
        let queue = |number| Queue { number, tail: 0, head: 0, phase: 1 };
        let base = function.reachable_bar(0)?;
        let mut drive =
            Self { function, base, queues: [queue(0), queue(1)], has_shadows: false, blocks: 0, next: 0 };
        drive.bring_up().then_some(drive)
    }

    fn bring_up(&mut self) -> bool {
        let base = self.function.bar(0);
        write32(base + CONFIGURATION, 0);
        wait_until(SECOND, || read32(base + STATUS) & READY == 0);
        (ARENA..ARENA + 0x8000).step_by(8).for_each(|at| write64(at, 0));
        write32(base + ADMIN_ATTRIBUTES, (SIZE - 1) << 16 | (SIZE - 1));
        for (register, place) in [(ADMIN_SUBMISSION, SUBMISSIONS[0]), (ADMIN_COMPLETION, COMPLETIONS[0])] {
            write32(base + register, place as u32);
            write32(base + register + 4, 0);
        }
        write32(base + CONFIGURATION, ENABLE);
        if !wait_until(SECOND, || read32(base + STATUS) & READY != 0)
            || !self.administer(IDENTIFY, 0, [IDENTITY, 0], [1, 0])
        {
            return false;
        }
        let can_shadow = read16(IDENTITY + ABILITIES) & CAN_SHADOW != 0;
        let shadows = can_shadow && self.administer(DOORBELL_BUFFERS, 0, [SHADOWS, EVENTS], [0, 0]);
        if !self.administer(IDENTIFY, 1, [IDENTITY, 0], [0, 0]) {
            return false;
        }
        self.blocks = read32(IDENTITY).into();
        let sizes = (SIZE - 1) << 16 | 1;
        let is_up = self.administer(CREATE_COMPLETIONS, 0, [COMPLETIONS[1], 0], [sizes, 1 << 16 | 3])
            && self.administer(CREATE_SUBMISSIONS, 0, [SUBMISSIONS[1], 0], [sizes, 1 << 16 | 1]);
        self.has_shadows = shadows;
        is_up
    }

    /// Puts a command into a queue; the controller is not told.
    fn put(&mut self, queue: usize, command: u32, namespace: u32, prp: [u64; 2], dwords: [u32; 3]) {
        let Queue { tail, .. } = self.queues[queue];
        let at = SUBMISSIONS[queue] + 64 * u64::from(tail);
        write64(at, u64::from(namespace) << 32 | u64::from(command));
        write64(at + 8, 0);
        write64(at + 16, 0);
        write64(at + 24, prp[0]);
        write64(at + 32, prp[1]);
        write64(at + 40, u64::from(dwords[1]) << 32 | u64::from(dwords[0]));
        write64(at + 48, dwords[2].into());
        write64(at + 56, 0);
        self.queues[queue].tail = (tail + 1) % SIZE;
    }

    /// Rings a doorbell, which stood at `old`, where that is wanted.
    fn ring(&self, queue: usize, is_completion: bool, old: u32, new: u32) {
        let place = 8 * self.queues[queue].number as u64 + 4 * u64::from(is_completion);
        let is_wanted = !self.has_shadows || queue == 0 || {
            write32(SHADOWS + place, new);
            fence(Ordering::SeqCst);
            let event = read32(EVENTS + place) as u16;
            (new as u16).wrapping_sub(event).wrapping_sub(1) < (new as u16).wrapping_sub(old as u16)
        };
        if is_wanted {
            write32(self.base + DOORBELLS + place, new);
        }
    }

    /// Takes the next answer, if there is one: its status.
    fn answer(&mut self, queue: usize) -> Option<u32> {
        let Queue { head, phase, .. } = self.queues[queue];
        let status = read32(COMPLETIONS[queue] + 16 * u64::from(head) + 12) >> 16;
        if status & 1 != phase {
            return None;
        }
        let head = (head + 1) % SIZE;
        self.queues[queue].head = head;
        self.queues[queue].phase ^= u32::from(head == 0);
        Some(status >> 1)
    }

    fn administer(&mut self, command: u32, namespace: u32, prp: [u64; 2], dwords: [u32; 2]) -> bool {
        let old = self.queues[0].tail;
        self.put(0, command, namespace, prp, [dwords[0], dwords[1], 0]);
        self.ring(0, false, old, self.queues[0].tail);
        let mut status = None;
        spin_until(|| {
            status = self.answer(0);
            status.is_some()
        });
        let Queue { head, .. } = self.queues[0];
        self.ring(0, true, head, head);
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
        self.put(1, u32::from(slot) << 16 | READ, 1, [data, second], [self.next as u32, 0, blocks - 1]);
        self.next += u64::from(blocks);
    }
}

impl Reader for Nvme {
    fn read(&mut self, count: u16, bytes: u32) -> bool {
        let old = self.queues[1].tail;
        (0..count).for_each(|slot| self.put_read(slot, bytes));
        self.ring(1, false, old, self.queues[1].tail);
        let (mut left, mut is_read) = (count, true);
        spin_until(|| {
            let old = self.queues[1].head;
            while let Some(status) = self.answer(1) {
                is_read &= status == 0;
                left -= 1;
            }
            let head = self.queues[1].head;
            if head != old {
                self.ring(1, true, old, head);
            }
            left == 0
        }) && is_read
    }
}
