//! A submission queue and the completion queue that belongs to it (section 4.1).

use crate::error::Error;
use access::{DmaBuffer, DmaMemory, RegisterWindow};
use alloc::boxed::Box;
use spec::nvme::register::{completion_doorbell, submission_doorbell};
use spec::nvme::{Command, Completion, PAGE_BYTES, command, completion};

/// A command that the controller has.
#[derive(Clone, Copy, Debug)]
struct Flight {
    identifier: u16,
    opcode: u8,
    until_ns: u64,
}

/// A pair of queues in memory that the controller reads and writes.
#[derive(Debug)]
pub(crate) struct Queue<B> {
    number: u16,
    submissions: B,
    completions: B,
    /// How many entries there is room for, and how many the controller is told of.
    room: u16,
    entries: u16,
    tail: u16,
    head: u16,
    /// What the phase tag of an entry is that is new.
    phase: bool,
    doorbells: [usize; 2],
    flights: Box<[Option<Flight>]>,
    /// How many there are, and which slots have one, by bits: what is asked in each turn looks at no list.
    in_flight: u16,
    taken: [u64; 4],
    /// No command is late before this; none is in flight without it.
    deadline_ns: Option<u64>,
    /// Counts commands, so that two of one slot differ in their identifiers.
    turn: u8,
}

impl Queue<()> {
    /// What a pair of `entries` entries each takes, in bytes: each queue whole pages.
    pub const fn bytes(entries: u16) -> usize {
        let (entries, page) = (entries as usize, PAGE_BYTES as usize);
        ((entries * command::ENTRY_BYTES).div_ceil(page) + (entries * completion::ENTRY_BYTES).div_ceil(page))
            * page
    }
}

impl<B: DmaBuffer> Queue<B> {
    /// Allocates a pair with the number `number` of `entries` entries each, 2 to 256.
    pub fn new<D: DmaMemory<Buffer = B>>(dma: &mut D, number: u16, entries: u16) -> Result<Self, Error> {
        let mut allocate = |entry_bytes| {
            let bytes = usize::from(entries) * entry_bytes;
            dma.allocate(bytes, PAGE_BYTES as usize).ok_or(Error::NoMemory)
        };
        Ok(Self {
            number,
            submissions: allocate(command::ENTRY_BYTES)?,
            completions: allocate(completion::ENTRY_BYTES)?,
            room: entries,
            entries,
            tail: 0,
            head: 0,
            phase: true,
            doorbells: [0; 2],
            flights: core::iter::repeat_n(None, usize::from(entries.saturating_sub(1))).collect(),
            in_flight: 0,
            taken: [0; 4],
            deadline_ns: None,
            turn: 0,
        })
    }

    /// Makes it empty, for a controller that allows `most` entries (at least 2) and whose
    /// doorbells are `stride` (CAP.DSTRD) apart.
    pub fn clear(&mut self, most: u32, stride: u32) -> Result<(), Error> {
        for entry in 0..usize::from(self.room) {
            self.completions.write(entry * completion::ENTRY_BYTES, &[0; completion::ENTRY_BYTES])?;
        }
        self.entries = u16::try_from(most).unwrap_or(u16::MAX).min(self.room);
        (self.tail, self.head, self.phase) = (0, 0, true);
        self.doorbells = [submission_doorbell(self.number, stride), completion_doorbell(self.number, stride)]
            .map(|offset| offset as usize);
        self.forget();
        Ok(())
    }

    /// Has nothing in flight any more.
    pub fn forget(&mut self) {
        self.flights.fill(None);
        (self.in_flight, self.taken, self.deadline_ns) = (0, [0; 4], None);
    }

    /// Where the submission and the completion queue are, and how many entries each has.
    pub fn places(&self) -> (u64, u64, u32) {
        (self.submissions.iova().0, self.completions.iova().0, self.entries.into())
    }

    /// How many commands are in flight.
    pub const fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// When [`check_late`](Self::check_late) is due: no later than the first command is late.
    pub const fn deadline(&self) -> Option<u64> {
        self.deadline_ns
    }

    /// The command that is late at `now_ns`, as an error.
    pub fn check_late(&mut self, now_ns: u64) -> Result<(), Error> {
        if let Some(flight) = self.flights.iter().flatten().find(|flight| flight.until_ns <= now_ns) {
            return Err(Error::Late { queue: self.number, opcode: flight.opcode });
        }
        self.deadline_ns = self.flights.iter().flatten().map(|flight| flight.until_ns).min();
        Ok(())
    }

    /// A slot for one more command. One entry of a queue stays empty, so that a full one is
    /// none; and what was completed was fetched, in order, so the entry is free too.
    pub fn free_slot(&self) -> Option<usize> {
        let (word, taken) = self.taken.iter().enumerate().find(|(_, taken)| **taken != u64::MAX)?;
        let slot = word * 64 + taken.trailing_ones() as usize;
        (slot + 1 < self.entries.into()).then_some(slot)
    }

    /// Puts `command` into the queue under an identifier of `slot`, which is free, for the
    /// controller to complete before `until_ns`. It sees it with the next [`ring`](Self::ring).
    pub fn push(&mut self, slot: usize, mut command: Command, until_ns: u64) -> Result<(), Error> {
        self.turn = self.turn.wrapping_add(1);
        command.identifier = u16::from_le_bytes([slot as u8, self.turn]);
        let flight = self.flights.get_mut(slot).ok_or(Error::Buffer)?;
        if flight
            .replace(Flight { identifier: command.identifier, opcode: command.opcode, until_ns })
            .is_none()
        {
            self.in_flight += 1;
        }
        self.mark(slot, true);
        self.deadline_ns = self.deadline_ns.into_iter().chain([until_ns]).min();
        self.submissions.write(usize::from(self.tail) * command::ENTRY_BYTES, &command.encode())?;
        self.tail = next(self.tail, self.entries);
        Ok(())
    }

    /// Tells the controller of the commands that were put in.
    pub fn ring<R: RegisterWindow, D: DmaMemory>(&self, registers: &R, dma: &D) {
        let [submission, _] = self.doorbells;
        dma.write_barrier();
        registers.write32(submission, self.tail.into());
    }

    /// Takes the next completion, and the slot of its command, which is free from now on.
    pub fn take<D: DmaMemory>(&mut self, dma: &D) -> Result<Option<(usize, Completion)>, Error> {
        let start = usize::from(self.head) * completion::ENTRY_BYTES;
        // The phase tag first, and in one access with what belongs to it; the rest only behind it.
        let last = self.completions.read32(start + 12)?;
        if (last >> 16 & 1 != 0) != self.phase {
            return Ok(None);
        }
        dma.read_barrier();
        let mut bytes = [0; completion::ENTRY_BYTES];
        self.completions.read(start, &mut bytes)?;
        spec::nvme::put(&mut bytes, 12, last.to_le_bytes());
        let completion = Completion::decode(&bytes);
        let slot = self.check(&completion)?;
        self.head = next(self.head, self.entries);
        self.phase ^= self.head == 0;
        Ok(Some((slot, completion)))
    }

    /// The slot of the command that `completion` names, if all that it says can be.
    fn check(&mut self, completion: &Completion) -> Result<usize, Error> {
        let queue = self.number;
        if completion.submission_queue != queue {
            return Err(Error::WrongQueue { queue, named: completion.submission_queue });
        }
        if completion.submission_head >= self.entries {
            let (head, entries) = (completion.submission_head, self.entries);
            return Err(Error::HeadBeyondQueue { queue, head, entries });
        }
        let identifier = completion.identifier;
        let [slot, _] = identifier.to_le_bytes().map(usize::from);
        match self.flights.get_mut(slot).and_then(|flight| flight.take_if(|f| f.identifier == identifier)) {
            Some(_) => {
                self.in_flight = self.in_flight.saturating_sub(1);
                if self.in_flight == 0 {
                    self.deadline_ns = None;
                }
                self.mark(slot, false);
                Ok(slot)
            }
            None => Err(Error::UnknownCommand { queue, identifier }),
        }
    }

    /// Whether a command has the slot.
    fn mark(&mut self, slot: usize, is_taken: bool) {
        if let Some(word) = self.taken.get_mut(slot / 64) {
            let bit = 1 << (slot % 64);
            *word = if is_taken { *word | bit } else { *word & !bit };
        }
    }

    /// Tells the controller which completions were taken.
    pub fn acknowledge<R: RegisterWindow>(&self, registers: &R) {
        let [_, completion] = self.doorbells;
        registers.write32(completion, self.head.into());
    }
}

/// The entry behind `entry` in a queue of `entries`.
fn next(entry: u16, entries: u16) -> u16 {
    if entry + 1 < entries { entry + 1 } else { 0 }
}
