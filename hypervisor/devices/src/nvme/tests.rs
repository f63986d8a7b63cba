//! The controller as its guest sees it.

use super::config::EVENT_REQUESTS;
use super::*;
use crate::device::RequestFault;
use crate::testing::{Bench, VecMedium};
use access::GuestMemory;
use access::memory::VecMemory;
use spec::nvme::command::{self, admin, nvm};
use spec::nvme::register::{self as at, completion_doorbell, submission_doorbell};
use spec::nvme::{Command, Completion as Entry, completion};
use std::vec;
use std::vec::Vec;

mod admin_commands;
mod arbitrary;
mod data;
mod doorbells;
mod faults;
mod reset;
mod saving;
mod words;

/// Where the submission queues are, a page each, and the completion queues behind them.
const SUBMISSIONS: u64 = 0x1_0000;
const COMPLETIONS: u64 = 0x2_0000;
/// Where data is, and what the guest has of memory.
const DATA: u64 = 0x4_0000;
const MEMORY: usize = 0x8_0000;
const BLOCKS: u64 = 1024;

fn config() -> Config {
    Config {
        blocks: BLOCKS,
        block: BlockSize::Bytes512,
        writable: true,
        messages: 5,
        serial: *b"B-0001              ",
        uuid: core::array::from_fn(|place| place as u8 + 0x10),
        vendor: 0x1b36,
        subsystem_vendor: 0x1af4,
        is_polled: false,
    }
}

/// A driver as plain as can be, with a controller.
struct Guest {
    bench: Bench<Nvme, VecMemory>,
    sizes: [u16; QUEUES],
    tails: [u16; QUEUES],
    heads: [u16; QUEUES],
    phases: [bool; QUEUES],
    identifier: u16,
}

impl Guest {
    /// With a controller at power-up, and a medium of which each block holds its number.
    fn new(config: Config) -> Self {
        let mut medium = VecMedium::new((config.blocks() << config.block.shift()) as usize);
        for (place, block) in medium.bytes.chunks_exact_mut(1 << config.block.shift()).enumerate() {
            block.fill(place as u8);
            block[..8].copy_from_slice(&(place as u64).to_le_bytes());
        }
        medium.read_only = !config.writable;
        Self {
            bench: Bench::new(Nvme::new(config), VecMemory::new(MEMORY), medium),
            sizes: [64; QUEUES],
            tails: [0; QUEUES],
            heads: [0; QUEUES],
            phases: [true; QUEUES],
            identifier: 0,
        }
    }

    /// With a controller that is enabled.
    fn enabled(config: Config) -> Self {
        let mut guest = Self::new(config);
        guest.enable();
        guest
    }

    /// With as many pairs of queues as there can be, each with its own message.
    fn with_queues(config: Config) -> Self {
        let mut guest = Self::enabled(config);
        for queue in 1..=IO_QUEUES {
            guest.create(queue, 64);
        }
        guest.bench.messages.clear();
        guest
    }

    fn enable(&mut self) {
        self.dword(at::ADMIN_QUEUE_ATTRIBUTES, aqa::of(self.sizes[0].into(), self.sizes[0].into()));
        self.bench.write(at::ADMIN_SUBMISSION_QUEUE, Width::Qword, SUBMISSIONS);
        self.bench.write(at::ADMIN_COMPLETION_QUEUE, Width::Qword, COMPLETIONS);
        self.dword(at::CONFIGURATION, cc::ENABLE | cc::NVM_ENTRIES);
        self.forget();
    }

    /// Starts at the first entry of every queue.
    fn forget(&mut self) {
        self.bench.memory.0.borrow_mut()[COMPLETIONS as usize..][..QUEUES * 0x1000].fill(0);
        (self.tails, self.heads) = ([0; QUEUES], [0; QUEUES]);
        self.phases = [true; QUEUES];
    }

    fn create(&mut self, queue: u16, entries: u16) {
        self.sizes[usize::from(queue)] = entries;
        let vector = queue % self.bench.device.config.messages;
        let completions = COMPLETIONS + u64::from(queue) * 0x1000;
        let create = Command::create_completion_queue(0, queue, entries.into(), completions, Some(vector));
        assert_eq!(self.status(0, create), Status::SUCCESS);
        let submissions = SUBMISSIONS + u64::from(queue) * 0x1000;
        let create = Command::create_submission_queue(0, queue, entries.into(), submissions, queue);
        assert_eq!(self.status(0, create), Status::SUCCESS);
    }

    fn dword(&mut self, offset: u64, value: u32) {
        self.bench.write(offset, Width::Dword, value.into());
    }

    fn read(&mut self, offset: u64) -> u32 {
        self.bench.read(offset, Width::Dword) as u32
    }

    /// Puts a command into a queue without telling the controller. Its identifier is made up here.
    fn put(&mut self, queue: u16, command: Command) -> u16 {
        self.identifier += 1;
        let command = Command { identifier: self.identifier, ..command };
        let place = usize::from(queue);
        let base = Gpa(SUBMISSIONS + u64::from(queue) * 0x1000);
        let entry = command::entry_at(base, self.tails[place].into(), command::ENTRY_BYTES).unwrap();
        self.bench.memory.write(entry, &command.encode()).unwrap();
        self.tails[place] = (self.tails[place] + 1) % self.sizes[place];
        command.identifier
    }

    fn ring(&mut self, queue: u16) {
        self.dword(submission_doorbell(queue, 0), self.tails[usize::from(queue)].into());
    }

    fn send(&mut self, queue: u16, command: Command) -> u16 {
        let identifier = self.put(queue, command);
        self.ring(queue);
        identifier
    }

    /// The next answer of a queue, which is left there.
    fn peek(&self, queue: u16) -> Option<Entry> {
        let place = usize::from(queue);
        let base = Gpa(COMPLETIONS + u64::from(queue) * 0x1000);
        let mut bytes = [0; completion::ENTRY_BYTES];
        let entry = command::entry_at(base, self.heads[place].into(), completion::ENTRY_BYTES).unwrap();
        self.bench.memory.read(entry, &mut bytes).unwrap();
        let entry = Entry::decode(&bytes);
        (entry.phase == self.phases[place]).then_some(entry)
    }

    /// Takes the next answer of a queue.
    fn take(&mut self, queue: u16) -> Option<Entry> {
        let entry = self.peek(queue)?;
        let place = usize::from(queue);
        self.heads[place] = (self.heads[place] + 1) % self.sizes[place];
        self.phases[place] ^= self.heads[place] == 0;
        self.dword(completion_doorbell(queue, 0), self.heads[place].into());
        Some(entry)
    }

    /// Carries out a command.
    fn run(&mut self, queue: u16, command: Command) -> Entry {
        let identifier = self.send(queue, command);
        let entry = self.take(queue).expect("an answer");
        assert_eq!((entry.identifier, entry.submission_queue), (identifier, queue));
        assert_eq!(entry.submission_head, self.tails[usize::from(queue)]);
        entry
    }

    /// Its status without "do not retry".
    fn status(&mut self, queue: u16, command: Command) -> Status {
        let status = self.run(queue, command).status;
        Status::new(status.kind(), status.code())
    }

    fn bytes(&self, gpa: u64, bytes: usize) -> Vec<u8> {
        let mut copy = vec![0; bytes];
        self.bench.memory.read(Gpa(gpa), &mut copy).unwrap();
        copy
    }

    fn write_list(&self, gpa: u64, entries: &[u64]) {
        for (place, entry) in entries.iter().enumerate() {
            self.bench.memory.write64(Gpa(gpa + place as u64 * 8), *entry).unwrap();
        }
    }

    fn is_fatal(&mut self) -> bool {
        self.read(at::STATUS) & csts::FATAL != 0
    }
}

/// Blocks of the medium as the guest would find them.
fn expected(first: u64, blocks: u64) -> Vec<u8> {
    let block = |number: u64| {
        let mut block = [number as u8; 512];
        block[..8].copy_from_slice(&number.to_le_bytes());
        block
    };
    (first..first + blocks).flat_map(block).collect()
}

fn transfer(opcode: u8, first: u64, blocks: u32, prps: [u64; 2]) -> Command {
    Command::transfer(opcode, 0, 1, first, blocks, prps)
}

#[test]
fn a_driver_finds_its_drive_and_reads_blocks() {
    let mut guest = Guest::new(config());
    let capabilities = guest.bench.read(at::CAPABILITIES, Width::Qword);
    assert_eq!(cap::queue_entries(capabilities), 64);
    assert_eq!(guest.read(at::VERSION), 0x1_0400);
    assert_eq!(guest.read(at::STATUS), 0);
    guest.enable();
    assert_eq!(guest.read(at::STATUS), csts::READY);

    assert_eq!(guest.status(0, Command::identify(0, 1, 0, DATA)), Status::SUCCESS);
    assert_eq!(&guest.bytes(DATA, 4096)[4..10], b"B-0001");
    assert_eq!(guest.bench.messages, [0]);
    guest.create(1, 16);
    guest.bench.messages.clear();

    // 20 blocks into the middle of a page, two others, and a page that follows one of those.
    guest.write_list(0x3_0000, &[DATA + 0x5000, DATA + 0x6000]);
    let read = transfer(nvm::READ, 100, 20, [DATA + 0xe00, 0x3_0000]);
    assert_eq!(guest.status(1, read), Status::SUCCESS);
    let blocks = expected(100, 20);
    assert_eq!(guest.bytes(DATA + 0xe00, 512), blocks[..512]);
    assert_eq!(guest.bytes(DATA + 0x5000, 8192), blocks[512..512 + 8192]);
    assert_eq!(guest.bytes(DATA + 0x7000, 16), [0; 16], "three pages were asked for");
    assert_eq!(guest.bench.messages, [1]);
}

#[test]
fn what_was_written_is_read_again() {
    let mut guest = Guest::with_queues(config());
    let data: Vec<u8> = (0..4096_u32).map(|place| (place % 251) as u8).collect();
    guest.bench.memory.write(Gpa(DATA + 0x100), &data).unwrap();
    let prps = [DATA + 0x100, DATA + 0x1000];
    assert_eq!(guest.status(2, transfer(nvm::WRITE, 1016, 8, prps)), Status::SUCCESS);
    assert_eq!(guest.bench.medium.bytes[1016 * 512..], data);
    assert_eq!(guest.status(3, transfer(nvm::READ, 1016, 8, [DATA + 0x4000, 0])), Status::SUCCESS);
    assert_eq!(guest.bytes(DATA + 0x4000, 4096), data);
}

#[test]
fn a_queue_goes_round_and_round() {
    let mut guest = Guest::enabled(config());
    guest.create(1, 3);
    for block in 0..20 {
        assert_eq!(guest.status(1, transfer(nvm::READ, block, 1, [DATA, 0])), Status::SUCCESS);
        assert_eq!(guest.bytes(DATA, 512), expected(block, 1));
    }
}

#[test]
fn blocks_of_4_kib() {
    let mut guest = Guest::with_queues(Config { blocks: 16, block: BlockSize::Bytes4096, ..config() });
    assert_eq!(guest.status(0, Command::identify(0, 0, 1, DATA)), Status::SUCCESS);
    let page = guest.bytes(DATA, 4096);
    assert_eq!((page[0], page[128..132].to_vec()), (16, vec![0, 0, 12, 0]));
    assert_eq!(guest.status(1, transfer(nvm::READ, 15, 1, [DATA, 0])), Status::SUCCESS);
    assert_eq!(guest.bytes(DATA + 8, 4088), [15; 4088]);
    assert_eq!(guest.status(1, transfer(nvm::READ, 15, 2, [DATA, DATA])), Status::BLOCK_OUT_OF_RANGE);
}
