//! An NVMe controller as its driver sees it (NVM Express 1.4), which may do everything wrong: nothing is checked
//! here.

use crate::cpu::{read32, write32, write64};
use crate::pci::{self, Function};
use crate::time::wait_until;

const ID: u32 = 0x0010_1b36;
/// How long it may take to be ready, or not to be, in microseconds.
const PATIENCE: u64 = 1_000_000;

/// Registers, from the start of the BAR.
pub mod register {
    /// The controller's configuration.
    pub const CONFIGURATION: u64 = 0x14;
    /// Its status.
    pub const STATUS: u64 = 0x1c;
    /// Entries of the admin queues.
    pub const ADMIN_ATTRIBUTES: u64 = 0x24;
    /// Where the admin submission queue is; 8 bytes.
    pub const ADMIN_SUBMISSION: u64 = 0x28;
    /// Where the admin completion queue is; 8 bytes.
    pub const ADMIN_COMPLETION: u64 = 0x30;
    /// Of each queue its tail and its head; 4 bytes each.
    pub const DOORBELLS: u64 = 0x1000;
}
use register::*;

/// Of the status.
pub const READY: u32 = 1;
/// Of the status: it does nothing until its reset.
pub const FATAL: u32 = 2;
/// Of the configuration: entries of 64 and of 16 bytes; enabled.
pub const ENABLE: u32 = 4 << 20 | 6 << 16 | 1;

/// What commands are to do.
pub mod command {
    /// Creates a submission queue.
    pub const CREATE_SUBMISSIONS: u32 = 1;
    /// Reads blocks, in a queue for data.
    pub const READ: u32 = 2;
    /// Creates a completion queue.
    pub const CREATE_COMPLETIONS: u32 = 5;
    /// Says what the controller is, or a namespace.
    pub const IDENTIFY: u32 = 6;
    /// Doorbells are in memory from now on.
    pub const DOORBELL_BUFFERS: u32 = 0x7c;
}
use command::{CREATE_COMPLETIONS, CREATE_SUBMISSIONS};

/// What to do for whom and with what: opcode and identifier, namespace, both data pointers, and dwords 10 to 12.
pub type Command = (u32, u32, [u64; 2], [u32; 3]);

/// A submission queue with its completion queue, a page of memory each.
#[derive(Clone, Copy)]
pub struct Queue {
    /// 0 is for administration.
    pub number: u16,
    submissions: u64,
    completions: u64,
    /// Entries of each.
    pub size: u32,
    /// Where the next command is put.
    pub tail: u32,
    /// Where the next answer comes.
    pub head: u32,
    phase: u32,
}

impl Queue {
    /// An empty queue there; its memory is to be [cleared](Self::clear).
    pub const fn new(number: u16, submissions: u64, completions: u64, size: u32) -> Self {
        Self { number, submissions, completions, size, tail: 0, head: 0, phase: 1 }
    }

    /// Forgets all that was put and answered.
    pub fn clear(&mut self) {
        for page in [self.submissions, self.completions] {
            (page..page + 0x1000).step_by(8).for_each(|at| write64(at, 0));
        }
        (self.tail, self.head, self.phase) = (0, 0, 1);
    }

    /// Writes a command to a place of the queue.
    pub fn put_at(&self, place: u32, (what, namespace, data, dwords): Command) {
        let at = self.submissions + 64 * u64::from(place);
        write64(at, u64::from(namespace) << 32 | u64::from(what));
        write64(at + 8, 0);
        write64(at + 16, 0);
        write64(at + 24, data[0]);
        write64(at + 32, data[1]);
        write64(at + 40, u64::from(dwords[1]) << 32 | u64::from(dwords[0]));
        write64(at + 48, dwords[2].into());
        write64(at + 56, 0);
    }

    /// Puts a command into the queue; the controller is not told.
    pub fn put(&mut self, command: Command) {
        self.put_at(self.tail, command);
        self.tail = (self.tail + 1) % self.size;
    }

    /// The status of the answer in a place of the queue, if it came in the lap of this phase.
    fn status_at(&self, place: u32, phase: u32) -> Option<u32> {
        let status = read32(self.completions + 16 * u64::from(place) + 12) >> 16;
        (status & 1 == phase).then_some(status >> 1)
    }

    /// The status of the answer in a place of the queue, if it came in the first lap.
    pub fn answer_at(&self, place: u32) -> Option<u32> {
        self.status_at(place, 1)
    }

    /// Takes the next answer, if there is one: its status. The controller is not told.
    pub fn answer(&mut self) -> Option<u32> {
        let status = self.status_at(self.head, self.phase)?;
        self.head = (self.head + 1) % self.size;
        self.phase ^= u32::from(self.head == 0);
        Some(status)
    }

    /// What creates its completion queue, which interrupts by `message` if by any.
    pub const fn create_completions(&self, message: Option<u16>) -> Command {
        let how = match message {
            Some(message) => (message as u32) << 16 | 3,
            None => 1,
        };
        (CREATE_COMPLETIONS, 0, [self.completions, 0], [self.shape(), how, 0])
    }

    /// What creates its submission queue.
    pub const fn create_submissions(&self) -> Command {
        let how = (self.number as u32) << 16 | 1;
        (CREATE_SUBMISSIONS, 0, [self.submissions, 0], [self.shape(), how, 0])
    }

    const fn shape(&self) -> u32 {
        (self.size - 1) << 16 | self.number as u32
    }
}

/// The controller.
#[derive(Clone, Copy)]
pub struct Controller {
    /// In configuration space.
    pub function: Function,
    /// Address of its registers.
    pub base: u64,
}

impl Controller {
    /// The guest's first one, which decodes memory and masters the bus from now on, and interrupts by `vector`
    /// of the first processor.
    pub fn find(vector: u8) -> Option<Self> {
        let function = pci::find(ID, 0)?;
        function.command(0, 6);
        function.enable_msix(pci::msi_address(0), vector.into());
        Some(Self { function, base: function.reachable_bar(0)? })
    }

    /// Reads a register.
    pub fn read(self, register: u64) -> u32 {
        read32(self.base + register)
    }

    /// Writes a register.
    pub fn write(self, register: u64, value: u32) {
        write32(self.base + register, value);
    }

    /// Resets it; whether that ended.
    pub fn disable(self) -> bool {
        self.write(CONFIGURATION, 0);
        wait_until(PATIENCE, || self.read(STATUS) & READY == 0)
    }

    /// Enables it with admin queues of so many entries there; whether it got ready.
    pub fn enable(self, submissions: u64, completions: u64, size: u32) -> bool {
        self.start(submissions, completions, size);
        wait_until(PATIENCE, || self.read(STATUS) & READY != 0)
    }

    /// The same, which waits for nothing.
    pub fn start(self, submissions: u64, completions: u64, size: u32) {
        self.write(ADMIN_ATTRIBUTES, (size - 1) << 16 | (size - 1));
        for (register, place) in [(ADMIN_SUBMISSION, submissions), (ADMIN_COMPLETION, completions)] {
            self.write(register, place as u32);
            self.write(register + 4, (place >> 32) as u32);
        }
        self.write(CONFIGURATION, ENABLE);
    }

    /// The doorbell of a queue's tail.
    pub fn ring(self, queue: &Queue) {
        self.write(DOORBELLS + 8 * u64::from(queue.number), queue.tail);
    }

    /// The doorbell of a queue's head.
    pub fn ring_back(self, queue: &Queue) {
        self.write(DOORBELLS + 8 * u64::from(queue.number) + 4, queue.head);
    }
}
