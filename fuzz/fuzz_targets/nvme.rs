//! The emulated NVMe controller: any registers, any queues in memory, a medium that answers late or
//! never.
#![no_main]

use access::GuestMemory;
use access::memory::VecMemory;
use devices::Device;
use devices::device::{Completion, RequestFault};
use devices::nvme::{BlockSize, Config, Nvme, STATE_BYTES, WINDOW_BYTES};
use devices::testing::{Bench, VecMedium};
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use spec::nvme::register::{self, aqa, cc, csts};
use spec::nvme::{Command, Status, command, completion};
use spec::{Gpa, Width};

const MEMORY: u64 = 0x4_0000;
const MEDIUM: usize = 0x1_0000;
/// A page for each queue.
const SUBMISSIONS: u64 = 0x1_0000;
const COMPLETIONS: u64 = 0x2_0000;
const QUEUES: usize = 5;
const ENTRIES: u16 = 64;

struct World {
    bench: Bench<Nvme, VecMemory>,
    /// Where the next command of each queue goes.
    tails: [u16; QUEUES],
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let shape = input.u8();
    let block = if shape & 1 == 0 { BlockSize::Bytes512 } else { BlockSize::Bytes4096 };
    let config = Config {
        blocks: MEDIUM as u64 >> block.shift(),
        block,
        writable: shape & 2 == 0,
        messages: u16::from(shape >> 3),
        serial: [shape; 20],
        uuid: [shape; 16],
        vendor: 0x1b36,
        subsystem_vendor: 0x1af4,
        is_polled: shape & 0x80 != 0,
    };
    let mut medium = VecMedium::new(MEDIUM);
    medium.read_only = !config.writable;
    let bench = Bench::new(Nvme::new(config), VecMemory::new(MEMORY as usize), medium);
    let mut world = World { bench, tails: [0; QUEUES] };
    if shape & 4 == 0 {
        world.enable();
        world.create_queues();
    }
    while !input.is_empty() {
        world.step(&mut input);
    }
    world.check_that_it_still_works();
});

impl World {
    fn dword(&mut self, offset: u64, value: u32) {
        self.bench.write(offset, Width::Dword, value.into());
    }

    fn enable(&mut self) {
        self.tails = [0; QUEUES];
        let entries = u32::from(ENTRIES);
        self.dword(register::ADMIN_QUEUE_ATTRIBUTES, aqa::of(entries, entries));
        self.bench.write(register::ADMIN_SUBMISSION_QUEUE, Width::Qword, SUBMISSIONS);
        self.bench.write(register::ADMIN_COMPLETION_QUEUE, Width::Qword, COMPLETIONS);
        self.dword(register::CONFIGURATION, cc::ENABLE | cc::NVM_ENTRIES);
    }

    fn create_queues(&mut self) {
        let entries = u32::from(ENTRIES);
        for queue in 1..QUEUES as u16 {
            let page = u64::from(queue) * 0x1000;
            self.send(0, Command::create_completion_queue(0, queue, entries, COMPLETIONS + page, Some(0)));
            self.send(0, Command::create_submission_queue(0, queue, entries, SUBMISSIONS + page, queue));
        }
        self.dword(register::completion_doorbell(0, 0), 2 * (QUEUES as u32 - 1));
    }

    fn send(&mut self, queue: u16, command: Command) {
        let Some(tail) = self.tails.get_mut(usize::from(queue)) else { return };
        let base = Gpa(SUBMISSIONS + u64::from(queue) * 0x1000);
        let entry = command::entry_at(base, (*tail).into(), command::ENTRY_BYTES).expect("a page");
        self.bench.memory.write(entry, &command.encode()).expect("memory");
        *tail = (*tail + 1) % ENTRIES;
        let tail = *tail;
        self.dword(register::submission_doorbell(queue, 0), tail.into());
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0 => {
                let (offset, width) = (input.u16().into(), input.width());
                assert_eq!(self.bench.read(offset, width) & !width.mask(), 0);
            }
            1 => self.bench.write(u64::from(input.u8() & 0x3f), input.width(), input.u64()),
            2 => self.bench.write(input.u64() % (WINDOW_BYTES + 16), input.width(), input.u64()),
            3 | 4 => {
                let queue = u16::from(input.u8()) % QUEUES as u16;
                self.dword(register::completion_doorbell(queue, 0), u32::from(input.u8()) % 66);
            }
            5 => {
                let queue = u16::from(input.u8()) % QUEUES as u16;
                let tail = input.u8() % 66;
                self.tails[usize::from(queue)] = u16::from(tail) % ENTRIES;
                self.dword(register::submission_doorbell(queue, 0), tail.into());
            }
            6 => {
                let (at, bytes) = (address(input), input.u8());
                let _ = self.bench.memory.write(Gpa(at), input.bytes(bytes.into()));
            }
            7 => {
                let at = address(input);
                for place in 0..u64::from(input.u8() & 0x3f) {
                    let entry = address(input);
                    let _ = self.bench.memory.write64(Gpa(at.wrapping_add(place * 8)), entry);
                }
            }
            8 => match input.u8() & 7 {
                0 => self.bench.reset(),
                1 => self.create_queues(),
                2 => self.bench.medium.fault = input.pick(&[None, Some(RequestFault::Medium)]),
                3 => self.dword(register::CONFIGURATION, cc::NVM_ENTRIES),
                4 => self.bench.complete(Completion { tag: u32::MAX - input.u32(), outcome: Ok(()) }),
                5 => self.bench.hold = !self.bench.hold,
                6 => self.restore(input),
                _ => self.enable(),
            },
            9 | 10 => {
                for _ in 0..=input.u8() & 0x1f {
                    self.bench.serve();
                }
                self.bench.poll();
                let wanted = input.u8() & 1 == 0;
                self.bench.with(|device, context| device.want_notifications(wanted, context));
            }
            kind => {
                let queue = if kind == 11 { 0 } else { u16::from(input.u8()) % QUEUES as u16 };
                let command = any_command(input, queue == 0);
                for _ in 0..=if input.u8() & 7 == 0 { 40 } else { 0 } {
                    self.send(queue, command);
                }
            }
        }
    }

    /// Saves the controller, and restores it, mostly with some bytes changed: that is refused and
    /// changes nothing, or the controller goes on from there.
    fn restore(&mut self, input: &mut Input<'_>) {
        let mut state = [0; STATE_BYTES];
        let Ok(length) = self.bench.device.save(&mut state) else { return };
        let before = state;
        for _ in 0..input.u8() & 3 {
            let place = usize::from(input.u16()) % length;
            state[place] = input.u8();
        }
        let is_same = state == before;
        match self.bench.device.restore(&state[..length]) {
            Ok(()) => self.bench.line = self.bench.device.line(),
            Err(fault) => {
                assert!(!is_same, "{fault}");
                let mut after = [0; STATE_BYTES];
                assert_eq!(self.bench.device.save(&mut after), Ok(length));
                assert_eq!(after, before);
            }
        }
    }

    /// Everything at the medium ends, and after a reset the controller answers.
    fn check_that_it_still_works(&mut self) {
        self.bench.hold = false;
        while self.bench.serve() {}
        self.dword(register::CONFIGURATION, 0);
        assert_eq!(self.bench.read(register::STATUS, Width::Dword), 0, "the reset does not end");
        self.enable();
        assert_eq!(self.bench.read(register::STATUS, Width::Dword), u64::from(csts::READY));
        self.send(0, Command { identifier: 0x1234, ..Command::identify(0, 1, 0, 0) });
        let mut bytes = [0; completion::ENTRY_BYTES];
        self.bench.memory.read(Gpa(COMPLETIONS), &mut bytes).expect("memory");
        let entry = completion::Completion::decode(&bytes);
        assert_eq!((entry.identifier, entry.status, entry.phase), (0x1234, Status::SUCCESS, true));
    }
}

/// Mostly a page of memory; also the end of one, something close by, anything.
fn address(input: &mut Input<'_>) -> u64 {
    let page = u64::from(input.u8() & 0x3f) << 12;
    match input.u8() & 7 {
        0 => page + 0xff8,
        1 => page + u64::from(input.u16() & 0xfff),
        2 => input.u64(),
        3 => u64::MAX << 12,
        _ => page,
    }
}

fn any_command(input: &mut Input<'_>, is_admin: bool) -> Command {
    const ADMIN: [u8; 12] = [0x06, 0x00, 0x01, 0x02, 0x04, 0x05, 0x08, 0x09, 0x0a, 0x0c, 0x10, 0x7c];
    let opcode = match input.u8() {
        0xff => input.u8(),
        place if is_admin => ADMIN[usize::from(place) % ADMIN.len()],
        place => [2, 1, 0][usize::from(place) % 3],
    };
    let small = |input: &mut Input<'_>| match input.u8() {
        0xff => input.u32(),
        0xfe => u32::from(input.u8()) << 16,
        value => value.into(),
    };
    let dwords = if is_admin {
        let low = small(input) & 0xffff | (small(input) & 0xffff) << 16;
        [low, small(input) & 0xffff | small(input) << 16, small(input), 0, 0, 0]
    } else {
        [small(input), small(input) / 0xff, small(input) | u32::from(input.u8() & 1) << 30, 0, 0, 0]
    };
    Command {
        opcode,
        flags: if input.u8() == 0xff { input.u8() } else { 0 },
        identifier: input.u16(),
        namespace: input.pick(&[1, 1, 1, 0, u32::MAX, 2]),
        metadata: 0,
        prp1: address(input),
        prp2: address(input),
        dwords,
    }
}
