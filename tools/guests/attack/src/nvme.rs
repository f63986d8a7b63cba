//! An emulated NVMe drive that is told everything wrong, by two processors at once.

use crate::Environment;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use support::cpu::{read32, write8, write32};
use support::nvme::command::{IDENTIFY, READ};
use support::nvme::register::{CONFIGURATION, DOORBELLS, STATUS};
use support::nvme::{Command, Controller, FATAL, Queue};
use support::pci::Function;
use support::time::wait_until;
use support::{apic, println, smp};

const VECTOR: u8 = 0x61;
/// Entries of each queue.
const SIZE: u32 = 16;
const SUBMISSION: u64 = 0x60_0000;
const COMPLETION: u64 = 0x60_1000;
const DATA: u64 = 0x60_2000;
/// What nothing but the attack could change.
const CANARY_PLACE: u64 = 0x60_8000;
const CANARY: u32 = 0x5afe_5afe;
/// Nowhere: behind the guest's memory, behind every processor's, at its local APIC.
const NOWHERE: [u64; 5] = [0x3000_0000, 1 << 45, 0xffff_ffff_ffff_f000, 0xfee0_0000, 0xfec0_0000];
const SECOND: u64 = 1_000_000;

/// Queue 1, for data.
const IO_SUBMISSION: u64 = 0x60_a000;
const IO_COMPLETION: u64 = 0x60_b000;
/// Pages from [`DATA`] on that are read into.
const PAGES: u64 = 5;
/// What is in them when no transfer may reach them any more.
const PATTERN: u32 = 0x0bad_f00d;

/// In the first dword of an identify command: the controller.
const CONTROLLER: u32 = 1;

/// The drive with its queues.
struct Drive {
    controller: Controller,
    admin: Queue,
    data: Queue,
}

impl Drive {
    fn find() -> Option<Self> {
        let admin = Queue::new(0, SUBMISSION, COMPLETION, SIZE);
        let data = Queue::new(1, IO_SUBMISSION, IO_COMPLETION, SIZE);
        Some(Self { controller: Controller::find(VECTOR)?, admin, data })
    }

    /// Enables the controller with its admin queues there; whether it got ready.
    fn enable(&mut self, submission: u64, completion: u64) -> bool {
        self.controller.disable();
        self.admin.clear();
        self.controller.enable(submission, completion, SIZE)
    }

    /// Puts a command into the admin queue and rings its doorbell.
    fn submit(&mut self, command: Command) {
        self.admin.put(command);
        self.controller.ring(&self.admin);
    }

    /// The status of the next answer, if one comes.
    fn answer(&mut self) -> Option<u32> {
        let mut status = None;
        wait_until(SECOND, || {
            status = self.admin.answer();
            status.is_some()
        });
        if status.is_some() {
            self.controller.ring_back(&self.admin);
        }
        status
    }

    fn status_of(&mut self, opcode: u32, namespace: u32, prp: [u64; 2], dwords: [u32; 2]) -> Option<u32> {
        self.submit((opcode, namespace, prp, [dwords[0], dwords[1], 0]));
        self.answer()
    }

    /// Asks for the queues of data, and waits for no answer.
    fn ask_for_queues(&mut self) {
        self.submit(self.data.create_completions(None));
        self.submit(self.data.create_submissions());
    }

    /// Enables the controller with queues of data. Whether it has them.
    fn enable_for_data(&mut self) -> bool {
        self.data.clear();
        if !self.enable(SUBMISSION, COMPLETION) {
            return false;
        }
        self.ask_for_queues();
        self.answer() == Some(0) && self.answer() == Some(0)
    }

    /// Puts a read of 8 blocks into place `place` of the queue.
    fn put_read(&self, place: u32, memory: u64, block: u32) {
        self.data.put_at(place, (place << 16 | READ, 1, [memory, 0], [block, 0, 7]));
    }

    /// Has it take what is in the queue up to `tail`.
    fn ring_for_data(&self, tail: u32) {
        self.controller.write(DOORBELLS + 8, tail);
    }

    /// The status of the answer in place `place`, if one comes.
    fn data_answer(&self, place: u32) -> Option<u32> {
        let mut status = None;
        wait_until(SECOND, || {
            status = self.data.answer_at(place);
            status.is_some()
        });
        status
    }

    /// Whether it is as it should be, after everything.
    fn is_well(&mut self) -> bool {
        write32(DATA, 0);
        self.enable(SUBMISSION, COMPLETION)
            && self.status_of(IDENTIFY, 0, [DATA, 0], [CONTROLLER, 0]) == Some(0)
            && read32(DATA) == 0x1b36_1b36
    }
}

static STOP: AtomicBool = AtomicBool::new(false);
static FUNCTION: AtomicU32 = AtomicU32::new(0);
static HOME: AtomicU64 = AtomicU64::new(0);
static ROUNDS: AtomicU32 = AtomicU32::new(0);

/// The second processor takes decode, bus mastering and place away from a drive at work, and
/// rings its doorbells.
fn disturb() -> ! {
    let function = Function(FUNCTION.load(Ordering::Relaxed) as u16);
    let home = HOME.load(Ordering::Relaxed);
    while !STOP.load(Ordering::Relaxed) {
        let round = ROUNDS.fetch_add(1, Ordering::Relaxed);
        for command in [0, 2, 4, 6] {
            function.write_ecam(4, command);
        }
        function.write_ecam(0x10, if round % 2 == 0 { CANARY_PLACE as u32 } else { 0xfee0_0000 });
        function.write_ecam(0x10, home as u32);
        write32(home + DOORBELLS + u64::from(round % 16) * 4, round.wrapping_mul(0x9e37_79b9));
        write32(home + CONFIGURATION, round & 1);
        // MSI-X on and off, masked and not.
        function.write_ecam(0x40, round << 30);
    }
    support::cpu::halt()
}

/// Tries it all; then the drive must answer as at first, and nothing else have changed.
pub fn run(environment: &Environment) {
    let Some(mut drive) = Drive::find() else {
        println!("attack nvme: BROKEN, no drive to attack");
        return;
    };
    let function = drive.controller.function;
    write32(CANARY_PLACE, CANARY);
    let version = apic::read(apic::VERSION);
    let broken = by_one(&mut drive)
        .or_else(|| transfers(function, &mut drive))
        .or_else(|| by_two(function, &mut drive, environment))
        .or_else(|| match (read32(CANARY_PLACE), apic::read(apic::VERSION)) {
            (CANARY, now) if now == version => None,
            _ => Some("what is none of its business changed"),
        });
    match broken {
        None => println!("attack nvme: held"),
        Some(what) => println!("attack nvme: BROKEN, {what}"),
    }
}

fn by_one(drive: &mut Drive) -> Option<&'static str> {
    if !drive.is_well() {
        return Some("the drive does not work to begin with");
    }
    // Data and lists that are nowhere: an error, and the next command works.
    for place in NOWHERE.into_iter().chain([drive.controller.base, drive.controller.base + 0x2000, DATA + 1])
    {
        if drive.status_of(IDENTIFY, 0, [place, place], [CONTROLLER, 0]) == Some(0) && place != DATA + 1 {
            return Some("it wrote where nothing is");
        }
        // Opcodes that there are not, namespaces that there are not, queues of any size anywhere.
        for opcode in [0x00, 0x01, 0x04, 0x05, 0x10, 0x7f, 0x80, 0xff] {
            drive.status_of(opcode, u32::MAX, [place, place], [u32::MAX, 3]);
            drive.status_of(opcode, 2, [place, place], [0x003f_0001, 0x001f_0003]);
        }
        if !drive.is_well() {
            return Some("a command broke the drive");
        }
    }
    // Queues that are nowhere: the controller is dead until its reset.
    for place in NOWHERE {
        drive.enable(place, place);
        write32(drive.controller.base + DOORBELLS, 3);
        if drive.controller.read(STATUS) & FATAL == 0 {
            return Some("it read a queue where nothing is");
        }
        if !drive.is_well() {
            return Some("a queue that is nowhere broke the drive");
        }
    }
    // Every register in turn, of every width.
    for value in [0, u32::MAX, 0x8000_0001, 0x0f0f_0f0f] {
        for offset in (0..0x4000).step_by(4) {
            write32(drive.controller.base + offset, value);
            write8(drive.controller.base + offset + 1, value as u8);
            let _ = read32(drive.controller.base + offset);
        }
        if !drive.is_well() {
            return Some("a register broke the drive");
        }
    }
    None
}

/// Reads that are wrong, and reads that are under way when the controller is reset, or may not master
/// the bus any more: from then on no byte of them may come.
fn transfers(function: Function, drive: &mut Drive) -> Option<&'static str> {
    if !drive.enable_for_data() {
        return Some("it has no queues for data");
    }
    let wrong = NOWHERE.map(|place| (place, 0)).into_iter().chain([(DATA, u32::MAX), (DATA, 0x0fff_ffff)]);
    for (place, (memory, block)) in (0..).zip([(DATA, 0)].into_iter().chain(wrong)) {
        drive.put_read(place, memory, block);
        drive.ring_for_data(place + 1);
        match (place, drive.data_answer(place)) {
            (_, None) => return Some("it does not answer a read"),
            (0, Some(status)) if status != 0 => return Some("it does not read"),
            (1.., Some(0)) => return Some("it read to where nothing is"),
            _ => {}
        }
    }
    for round in 0..60 {
        if !drive.enable_for_data() {
            return Some("it has no queues for data after a reset");
        }
        (0..SIZE - 1)
            .for_each(|place| drive.put_read(place, DATA + u64::from(place) % PAGES * 0x1000, place));
        drive.ring_for_data(SIZE - 1);
        if round % 2 == 0 {
            drive.controller.disable();
        } else {
            function.write_ecam(4, 2);
        }
        let memory = (DATA..DATA + PAGES * 0x1000).step_by(4);
        memory.clone().for_each(|at| write32(at, PATTERN));
        wait_until(3000, || false);
        if memory.into_iter().any(|at| read32(at) != PATTERN) {
            return Some("it wrote when it might not any more");
        }
        function.write_ecam(4, 6);
    }
    if drive.is_well() { None } else { Some("reads that were cut off broke the drive") }
}

fn by_two(function: Function, drive: &mut Drive, environment: &Environment) -> Option<&'static str> {
    FUNCTION.store(function.0.into(), Ordering::Relaxed);
    HOME.store(drive.controller.base, Ordering::Relaxed);
    if !smp::start(1, disturb) {
        return Some("the second processor did not come");
    }
    for _ in 0..environment.number("rounds", 200) {
        // No wait for answers: the drive is mostly off, or elsewhere.
        drive.controller.start(SUBMISSION, COMPLETION, SIZE);
        for place in [DATA, NOWHERE[1]] {
            drive.submit((IDENTIFY, 0, [place, 0], [CONTROLLER, 0, 0]));
        }
        drive.ask_for_queues();
        (0..4).for_each(|place| drive.put_read(place, DATA, place));
        drive.ring_for_data(4);
    }
    STOP.store(true, Ordering::Relaxed);
    let rounds = ROUNDS.load(Ordering::Relaxed);
    let settled = wait_until(SECOND, || {
        function.write_ecam(0x10, drive.controller.base as u32);
        function.write_ecam(4, 6);
        drive.is_well()
    });
    match (rounds, settled) {
        (0, _) => Some("the second processor did nothing"),
        (_, false) => Some("the drive does not come back"),
        _ => None,
    }
}
