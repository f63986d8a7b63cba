//! A virtio drive: queues that break a rule, requests that make no sense, resets in the middle of
//! them, and a second processor that rewrites both.

use super::rings::{self, DATA, DATA_BYTES, RING, Target};
use super::{Outcome, PATIENCE, PATTERN, config_access, fill, hold, is_filled, nowhere, second};
use crate::Environment;
use support::cpu::{read8, read32, write8, write32, write64};
use support::time::{wait_until, wait_us};
use support::virtio::{
    EVENT_INDEX, INDIRECT_DESCRIPTORS, Part, RING_PACKED, RING_RESET, Ring, VERSION_1, Virtio, config64,
    describe,
};

const KIND: u32 = 2;
const READ_ONLY: u64 = 1 << 5;
const FLUSH: u64 = 1 << 9;
const DISCARD: u64 = 1 << 13;
const WRITE_ZEROES: u64 = 1 << 14;

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSHES: u32 = 4;
const NAME: u32 = 8;
const DISCARDS: u32 = 11;
const ZEROES: u32 = 13;

const OK: u8 = 0;
const ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;
/// No answer yet.
const OPEN: u8 = 0xee;

const SIZE: u16 = 128;
/// The most segments of a request's data.
const SEGMENTS: u16 = 64;
const HEADER: u64 = DATA;
/// Where the device says what came of a request.
const ANSWER: u64 = DATA + 0x10;
const PAGE: u64 = DATA + 0x1000;
const SECTOR: u64 = 512;
/// A table of descriptors, for requests longer than the queue.
const TABLE: u64 = DATA + DATA_BYTES;

/// The drive with its first queue.
pub struct Disk {
    pub device: Virtio,
    ring: Ring,
    pub sectors: u64,
    pub is_writable: bool,
    /// What the first page of the disk holds, where it takes no writes.
    sum: Option<u32>,
    /// Tells what is written each time from what was before.
    turn: u32,
}

impl Disk {
    /// The guest's first one, started.
    pub fn find() -> Option<Self> {
        let device = Virtio::find(KIND, 0)?;
        let is_writable = device.offers() & READ_ONLY == 0;
        let ring = Ring::new(RING, SIZE);
        let sectors = config64(&device, 0);
        let mut disk = Self { device, ring, sectors, is_writable, sum: None, turn: 0 };
        disk.restart(0).then_some(disk)
    }

    fn agree(&self, features: u64) -> bool {
        let mine = FLUSH | DISCARD | WRITE_ZEROES | INDIRECT_DESCRIPTORS;
        self.device.agree(self.device.offers() & mine | features | VERSION_1)
    }

    /// Resets it and sets it up anew.
    pub fn restart(&mut self, features: u64) -> bool {
        if !self.agree(features) {
            return false;
        }
        self.ring = Ring::agreed(RING, SIZE, features);
        self.device.enable(0, SIZE, self.ring.places());
        self.device.start();
        true
    }

    fn header(&self, kind: u32, sector: u64) {
        write32(HEADER, kind);
        write32(HEADER + 4, 0);
        write64(HEADER + 8, sector);
        write8(ANSWER, OPEN);
    }

    /// Puts a request into an indirect table and offers it.
    fn offer(&mut self, kind: u32, sector: u64, data: &[Part]) {
        self.header(kind, sector);
        let parts = [(HEADER, 16, false)].into_iter().chain(data.iter().copied());
        let mut count = 0;
        for (gpa, bytes, written) in parts.chain([(ANSWER, 1, true)]) {
            let is_last = usize::from(count) == data.len() + 1;
            describe(TABLE, count, gpa, bytes, u16::from(!is_last) | u16::from(written) << 1, count + 1);
            count += 1;
        }
        self.ring.describe(0, TABLE, 16 * u32::from(count), 4, 0);
        self.ring.offer(0);
        self.device.kick(0);
    }

    /// What comes of a request with this data, if something does.
    pub fn request(&mut self, kind: u32, sector: u64, data: &[Part]) -> Option<u8> {
        self.offer(kind, sector, data);
        self.ring.wait_used(PATIENCE)?;
        Some(read8(ANSWER))
    }

    /// Resets it, and reads what it should hold; where it takes writes, writes that first.
    fn is_well(&mut self) -> bool {
        let page = [(PAGE, 0x1000, true)];
        if !self.restart(0) {
            return false;
        }
        if !self.is_writable {
            let is_read = self.request(IN, 0, &page) == Some(OK);
            let sum =
                (PAGE..PAGE + 0x1000).step_by(4).fold(1, |sum: u32, at| sum.wrapping_mul(31) ^ read32(at));
            return is_read && *self.sum.get_or_insert(sum) == sum;
        }
        self.turn = self.turn.wrapping_add(0x0101);
        let sector = u64::from(self.turn) % (self.sectors - 8);
        fill(PAGE, 0x1000, self.turn);
        let is_written = self.request(OUT, sector, &[(PAGE, 0x1000, false)]) == Some(OK)
            && self.request(FLUSHES, 0, &[]) == Some(OK);
        fill(PAGE, 0x1000, PATTERN);
        is_written && self.request(IN, sector, &page) == Some(OK) && is_filled(PAGE, 0x1000, self.turn)
    }
}

/// Tries it all; the drive must work as at first afterwards.
pub fn run(environment: &Environment) -> Outcome {
    let mut disk = Disk::find().ok_or("there is no virtio drive")?;
    hold(disk.is_well(), "the drive does not work to begin with")?;
    queues(&mut disk, environment)?;
    requests(&mut disk, environment)?;
    hold(disk.is_well(), "a request broke the drive")?;
    unfreed(&mut disk)?;
    resets(&mut disk)?;
    config_access::run(&disk.device, environment.number("rounds", 200))?;
    hold(disk.is_well(), "its registers in configuration space broke it")?;
    by_two(&mut disk, environment)
}

fn queues(disk: &mut Disk, environment: &Environment) -> Outcome {
    let device = disk.device;
    for features in [INDIRECT_DESCRIPTORS, INDIRECT_DESCRIPTORS | EVENT_INDEX, 0] {
        let target = Target {
            device,
            queue: 0,
            size: SIZE,
            good: &[(HEADER, 16, false), (ANSWER, 1, true)],
            uses_each: true,
            stops_polling: true,
            memory_end: environment.memory_end,
            prepare: &|| device.agree(VERSION_1 | features),
            provoke: &|| {},
        };
        rings::run(&target, &mut || disk.is_well())?;
        let prepare = || device.agree(VERSION_1 | INDIRECT_DESCRIPTORS | RING_PACKED | features);
        rings::run_packed(&Target { prepare: &prepare, ..target }, &mut || disk.is_well())?;
    }
    // What has no byte for an answer.
    for parts in [&[(HEADER, 16, false)][..], &[(HEADER, 16, false), (PAGE, 512, false)], &[(PAGE, 0, true)]]
    {
        hold(disk.restart(0), "it does not start")?;
        disk.header(IN, 0);
        disk.ring.chain(0, parts);
        disk.ring.offer(0);
        device.kick(0);
        hold(wait_until(PATIENCE, || device.needs_reset()), "a request without an answer")?;
    }
    // An answer, and only that, that goes nowhere.
    for place in nowhere(device.base) {
        hold(disk.restart(0), "it does not start")?;
        disk.header(IN, 0);
        disk.ring.chain(0, &[(HEADER, 16, false), (PAGE, 512, true), (place, 1, true)]);
        disk.ring.offer(0);
        device.kick(0);
        hold(wait_until(PATIENCE, || device.needs_reset()), "an answer to nowhere")?;
    }
    hold(disk.is_well(), "requests without an answer broke it")
}

/// Requests that are wrong: the answer says so, and the next one works.
fn requests(disk: &mut Disk, environment: &Environment) -> Outcome {
    let (end, base) = (disk.sectors, disk.device.base);
    hold(disk.restart(0), "it does not start")?;
    let one = [(PAGE, 512, true)];
    let two = [(PAGE, 1024, true)];
    for sector in [end, end - 1, u64::MAX, u64::MAX / SECTOR, u64::MAX / SECTOR + 1, 1 << 63, end | 1 << 55] {
        hold(disk.request(IN, sector, &two) == Some(ERROR), "a read past the end")?;
        hold(disk.request(OUT, sector, &[(PAGE, 1024, false)]) == Some(ERROR), "a write past the end")?;
    }
    hold(disk.request(IN, end - 1, &one) == Some(OK), "the last sector")?;
    for bytes in [0, 1, 511, 513, 0x1001] {
        hold(disk.request(IN, 0, &[(PAGE, bytes, true)]) == Some(ERROR), "a part of a sector")?;
    }
    let all = u32::try_from(DATA_BYTES).unwrap_or(0) - 0x1000;
    hold(disk.request(IN, end - 2, &[(PAGE, all, true)]) == Some(ERROR), "a read over the end")?;
    // Memory that is none, or in part.
    let holes = nowhere(base).into_iter().chain([environment.memory_end, environment.memory_end - 512]);
    for place in holes {
        hold(disk.request(IN, 0, &[(place, 1024, true)]) == Some(ERROR), "it read to where nothing is")?;
        let written = disk.request(OUT, 0, &[(place, 1024, false)]);
        hold(written == Some(ERROR), "it wrote what is nowhere")?;
        disk.header(IN, 0);
        disk.ring.chain(0, &[(place, 16, false), (PAGE, 512, true), (ANSWER, 1, true)]);
        disk.ring.offer(0);
        disk.device.kick(0);
        hold(disk.ring.wait_used(PATIENCE).is_some(), "no answer to a header that is nowhere")?;
        // 16 bytes before the end are there.
        hold(place == environment.memory_end - 512 || read8(ANSWER) == ERROR, "a header that is nowhere")?;
    }
    let segments = [(PAGE, 512, true); SEGMENTS as usize + 1];
    hold(disk.request(IN, 0, &segments[1..]) == Some(OK), "as many segments as it said")?;
    hold(disk.request(IN, 0, &segments) == Some(ERROR), "more segments than it said")?;
    for kind in [2, 3, 5, 6, 7, 9, 10, 12, 14, 0x100, u32::MAX] {
        hold(disk.request(kind, 0, &one) == Some(UNSUPPORTED), "a request that there is not")?;
    }
    hold(disk.request(NAME, 0, &[(PAGE, 1, true)]) == Some(OK), "a name of a byte")?;
    ranges(disk)
}

/// Ranges that make no sense, to discard and to write zeroes to.
fn ranges(disk: &mut Disk) -> Outcome {
    let end = disk.sectors;
    let ranges =
        [(end, 1), (end - 1, 2), (u64::MAX, 1), (u64::MAX / SECTOR, u32::MAX), (0, u32::MAX), (0, 0)];
    for kind in [DISCARDS, ZEROES] {
        for (sector, sectors) in ranges {
            write64(PAGE, sector);
            write32(PAGE + 8, sectors);
            for flags in [0, 1, 2, u32::MAX] {
                write32(PAGE + 12, flags);
                let answer = disk.request(kind, 0, &[(PAGE, 16, false)]);
                hold(matches!(answer, Some(ERROR | UNSUPPORTED)), "a range that is not there")?;
            }
        }
        for bytes in [0, 1, 15, 17, 0x8000] {
            let answer = disk.request(kind, 0, &[(PAGE, bytes, false)]);
            hold(matches!(answer, Some(ERROR | UNSUPPORTED)), "a range and a half")?;
        }
    }
    Ok(())
}

/// A driver that never looks at what came back: it can fill its queue, and no more.
fn unfreed(disk: &mut Disk) -> Outcome {
    for _ in 0..4 {
        hold(disk.restart(EVENT_INDEX), "it does not start")?;
        disk.header(IN, 0);
        for number in 0..SIZE / 4 {
            let first = 4 * number;
            disk.ring.chain(first, &[(HEADER, 16, false), (PAGE, 512, true), (ANSWER, 1, true)]);
            // The same one again, while it is at work.
            (0..4).for_each(|_| disk.ring.offer(first));
            disk.device.kick(0);
        }
        wait_us(2000);
        disk.ring.jump(SIZE);
        disk.device.kick(0);
    }
    hold(disk.is_well(), "a queue that is never emptied broke it")
}

/// Reads that are under way when the drive or its queue is reset, or may not master the bus any more: from
/// then on no byte of them may come.
fn resets(disk: &mut Disk) -> Outcome {
    let device = disk.device;
    let count = SIZE / 4;
    for round in 0..40 {
        hold(disk.restart(RING_RESET), "it does not start after a reset")?;
        disk.header(IN, 0);
        for number in 0..count {
            let memory = PAGE + u64::from(number % 8) * 0x1000;
            disk.ring.chain(4 * number, &[(HEADER, 16, false), (memory, 0x1000, true), (ANSWER, 1, true)]);
            disk.ring.offer(4 * number);
        }
        device.kick(0);
        match round % 3 {
            0 => hold(device.reset(), "a reset does not end")?,
            1 => hold(device.reset_queue(0), "a reset of a queue does not end")?,
            _ => device.function.write_ecam(4, 2),
        }
        fill(DATA, 0x9000, PATTERN);
        wait_us(3000);
        hold(is_filled(DATA, 0x9000, PATTERN), "it wrote when it might not any more")?;
        device.function.write_ecam(4, 6);
    }
    hold(disk.is_well(), "reads that were cut off broke it")
}

fn by_two(disk: &mut Disk, environment: &Environment) -> Outcome {
    let rounds = environment.number("rounds", 200);
    for registers in [false, true] {
        let started = rings::start_disturbance(&disk.device, 0, SIZE, registers);
        hold(started, "the second processor did not come")?;
        for round in 0..rounds {
            let ring = if round % 4 < 2 { RING_RESET } else { RING_RESET | RING_PACKED };
            let features = if round % 2 == 0 { ring | EVENT_INDEX } else { ring };
            disk.agree(features);
            disk.ring = Ring::agreed(RING, SIZE, features);
            disk.device.enable(0, SIZE, disk.ring.places());
            disk.device.start();
            for number in 0..16 {
                write32(HEADER, (round % 2) as u32);
                disk.ring.chain(number % 13, &[(HEADER, 16, false), (PAGE, 512, true), (ANSWER, 1, true)]);
                disk.ring.offer(number % 13);
                disk.device.kick(0);
            }
        }
        hold(second::stop(), "the second processor did nothing")?;
        let settled = wait_until(PATIENCE, || {
            disk.device.function.write_ecam(4, 6);
            disk.is_well()
        });
        hold(settled, "the drive does not come back")?;
    }
    Ok(())
}
