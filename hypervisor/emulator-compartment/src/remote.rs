//! Ring 0's side: an interpreter that is in a compartment.

use crate::answer::{self, Answer, Before, Over, Request, changed};
use crate::area::{self, DATA_BYTES, MOST_REPLIES, Write, at, copy, data, of, part, put};
use crate::call::{self, Call, Segments};
use crate::first::First;
use access::vcpu::{ControlRegisters, NestedAccess, PortAccess, ProcessorState};
use alloc::boxed::Box;
use compartment::{Compartment, Counter, Ended, Restarts};
use devices::ended::Account;
use emulator::{Bus, CodeSize, Moved, Outcome, Ports};
use spec::Gpa;

/// How often in a row a compartment is made anew for one entry. What ends more of them is the instruction.
const MOST_ATTEMPTS: usize = 2;
const NO_AREA: Ended = Ended::Answer("no area");

/// What is outside of memory, and answers at once.
trait Outside {
    fn reply(&mut self, request: Request, data: &mut [u8]) -> u64;
    fn write(&mut self, write: Write);
    fn load(&mut self, gpa: Gpa, load: &emulator::Load) -> u64;
}

struct OnBus<'a, B>(&'a mut B);

impl<B: Bus> Outside for OnBus<'_, B> {
    fn reply(&mut self, request: Request, _: &mut [u8]) -> u64 {
        match request {
            Request::Read(gpa, width) => self.0.read(gpa, width).unwrap_or(width.mask()) & width.mask(),
            Request::Input(_) | Request::Output(_) => 0,
        }
    }
    fn write(&mut self, Write { place, width, value }: Write) {
        self.0.write(place, width, value);
    }
    fn load(&mut self, gpa: Gpa, load: &emulator::Load) -> u64 {
        self.0.read(gpa, load.from).unwrap_or(load.from.mask()) & load.from.mask()
    }
}

struct AtPort<'a, P>(&'a mut P, PortAccess);

impl<P: Ports> Outside for AtPort<'_, P> {
    fn reply(&mut self, request: Request, data: &mut [u8]) -> u64 {
        let Self(ports, PortAccess { port, width, .. }) = self;
        let moved = match request {
            Request::Read(..) => {
                return ports.input(*port, *width).map_or(u64::MAX, u64::from) & width.mask();
            }
            Request::Input(bytes) => {
                ports.input_string(*port, *width, data.get_mut(..bytes).unwrap_or_default())
            }
            Request::Output(bytes) => {
                ports.output_string(*port, *width, data.get(..bytes).unwrap_or_default())
            }
        };
        u64::from(moved == Moved::All)
    }
    fn write(&mut self, Write { value, .. }: Write) {
        self.0.output(self.1.port, self.1.width, value as u32);
    }
    fn load(&mut self, _: Gpa, load: &emulator::Load) -> u64 {
        load.from.mask()
    }
}

/// What one instruction was told so far. It is ring 0's, so that a compartment that is made anew is told the same.
struct Told {
    replies: [u64; MOST_REPLIES],
    count: usize,
    data: Box<[u8; DATA_BYTES]>,
    has_data: bool,
}

/// An interpreter in a compartment: that of one virtual processor.
pub struct RemoteEmulator {
    compartment: Box<dyn Compartment>,
    told: Told,
    /// The bytes that were no instruction, and how many.
    unsupported: ([u8; 15], u8),
    restarts: Counter,
    account: Account,
    is_killed: bool,
}

impl RemoteEmulator {
    /// In a compartment, which is told its guest's memory first, and is made anew so often.
    ///
    /// # Errors
    /// It does not understand.
    pub fn begin(
        mut compartment: Box<dyn Compartment>,
        first: &First,
        restarts: Restarts,
    ) -> Result<Self, Ended> {
        first.enter(&mut *compartment)?;
        let account = Account { own_bytes: compartment.own_bytes(), ..Account::default() };
        let data = Box::new([0; DATA_BYTES]);
        let told = Told { replies: [0; MOST_REPLIES], count: 0, data, has_data: false };
        let restarts = Counter::new(restarts);
        Ok(Self { compartment, told, unsupported: ([0; 15], 0), restarts, account, is_killed: false })
    }

    /// As [`emulator::memory_access`]; `now` says when it is, in the ticks that restarts are counted by.
    ///
    /// # Errors
    /// Why the compartment is no more, and the instruction is not carried out. What it has read is lost; nothing else of it
    /// was done.
    pub fn memory_access<V: ProcessorState, B: Bus>(
        &mut self,
        cpu: &mut V,
        bus: &mut B,
        (fault, access): (Gpa, NestedAccess),
        now: impl Fn() -> u64,
    ) -> Result<Outcome, Ended> {
        // Code on a device, or page tables there: nothing to decode.
        if matches!(access, NestedAccess::Fetch | NestedAccess::Walk) {
            self.unsupported.1 = 0;
            return Ok(Outcome::Unsupported);
        }
        self.carry_out(cpu, Call::Memory(fault, access), &mut OnBus(bus), now)
    }

    /// As [`emulator::string_port`].
    ///
    /// # Errors
    /// As [`memory_access`](Self::memory_access).
    pub fn string_port<V: ProcessorState, P: Ports>(
        &mut self,
        cpu: &mut V,
        ports: &mut P,
        access: PortAccess,
        now: impl Fn() -> u64,
    ) -> Result<Outcome, Ended> {
        self.carry_out(cpu, Call::String(access), &mut AtPort(ports, access), now)
    }

    /// What was fetched for the last access that was [`Outcome::Unsupported`].
    pub fn unsupported(&self) -> &[u8] {
        let (bytes, count) = &self.unsupported;
        bytes.get(..usize::from(*count)).unwrap_or(bytes)
    }

    /// What became of its compartment so far.
    pub const fn account(&self) -> Account {
        self.account
    }

    /// Has the compartment end as soon as it is entered.
    pub const fn kill(&mut self) {
        self.is_killed = true;
    }

    fn carry_out<V: ProcessorState>(
        &mut self,
        cpu: &mut V,
        call: Call,
        outside: &mut impl Outside,
        now: impl Fn() -> u64,
    ) -> Result<Outcome, Ended> {
        (self.told.count, self.told.has_data) = (0, false);
        let before = Before { call, size: CodeSize::of(cpu), rip: cpu.rip(), rflags: cpu.rflags() };
        let mut has = if before.size == CodeSize::Bits64 { Segments::Code } else { Segments::All };
        let mut attempts = 0;
        self.say(call, cpu, has)?;
        loop {
            match self.enter(&before) {
                Ok(Answer::Over(over)) => return self.finish(cpu, &over, outside),
                Ok(Answer::Asks(request)) if self.told.count < MOST_REPLIES => {
                    self.reply(request, outside)?;
                    attempts = 0;
                }
                Ok(Answer::Segments) if has == Segments::Code => {
                    (has, attempts) = (Segments::All, 0);
                    self.say(call, cpu, has)?;
                }
                other => {
                    let ended =
                        other.err().unwrap_or(Ended::Answer("more questions than an instruction has"));
                    attempts += 1;
                    self.revive(ended, attempts <= MOST_ATTEMPTS, &now)?;
                    self.say(call, cpu, has)?;
                }
            }
        }
    }

    /// Writes the call, with what was told already.
    fn say<V: ProcessorState>(&mut self, call: Call, cpu: &V, has: Segments) -> Result<(), Ended> {
        let words = of(self.compartment.area()).ok_or(NO_AREA)?;
        call::write(words, call, cpu, has);
        let Told { replies, count, data: told, has_data } = &self.told;
        if *count != 0 {
            words[at::REPLY_COUNT] = *count as u64;
            put(words, at::REPLIES, replies);
        }
        if *has_data {
            copy(data(words), told.as_slice());
        }
        Ok(())
    }

    fn enter(&mut self, before: &Before) -> Result<Answer, Ended> {
        if core::mem::take(&mut self.is_killed) {
            return Err(Ended::Killed);
        }
        self.account.entries += 1;
        self.compartment.enter()?;
        answer::read(of(self.compartment.area()).ok_or(NO_AREA)?, before)
    }

    /// Reads what is asked for, and says it.
    #[cold]
    fn reply(&mut self, request: Request, outside: &mut impl Outside) -> Result<(), Ended> {
        let words = of(self.compartment.area()).ok_or(NO_AREA)?;
        let Told { replies, count, data: told, has_data } = &mut self.told;
        if let Request::Output(bytes) = request {
            copy(told.get_mut(..bytes).unwrap_or_default(), data(words));
        }
        let value = outside.reply(request, told.as_mut_slice());
        if let Request::Input(_) = request {
            *has_data = true;
            copy(data(words), told.as_slice());
        }
        *replies.get_mut(*count).ok_or(NO_AREA)? = value;
        *count += 1;
        words[at::REPLY_COUNT] = *count as u64;
        put(words, at::REPLIES, replies);
        Ok(())
    }

    /// Makes the compartment anew that ended so, if it may be.
    #[cold]
    fn revive(&mut self, ended: Ended, may: bool, now: impl Fn() -> u64) -> Result<(), Ended> {
        self.account.last = Some(ended);
        let is_over = self.account.is_gone || !may || !self.restarts.take(now());
        self.compartment.ended(ended, is_over);
        if is_over {
            self.account.is_gone = true;
            return Err(ended);
        }
        self.account.restarts += 1;
        self.compartment.restart().inspect_err(|ended| {
            self.account.last = Some(*ended);
            self.account.is_gone = true;
        })
    }

    /// Takes over what the instruction made of the processor, and does what it wants done.
    #[inline]
    fn finish<V: ProcessorState>(
        &mut self,
        cpu: &mut V,
        over: &Over,
        outside: &mut impl Outside,
    ) -> Result<Outcome, Ended> {
        let words = of(self.compartment.area()).ok_or(NO_AREA)?;
        let mut written = over.changed & changed::REGISTERS;
        let values: &[u64; 16] = part(words, at::NEW_REGISTERS);
        while written != 0 {
            let index = written.trailing_zeros() as usize;
            written &= written - 1;
            cpu.set_register(index, values.get(index).copied().unwrap_or(0));
        }
        if over.changed & changed::RIP != 0 {
            cpu.set_rip(words[at::NEW_RIP]);
        }
        if over.changed & changed::RFLAGS != 0 {
            cpu.set_rflags(words[at::NEW_RFLAGS]);
        }
        if over.changed & changed::CR2 != 0 {
            cpu.set_control(ControlRegisters { cr2: words[at::NEW_CR2], ..cpu.control() });
        }
        if over.changed & changed::SHADOW != 0 {
            cpu.clear_interrupt_shadow();
        }
        if let Some((gpa, load)) = &over.load {
            let value = outside.load(*gpa, load);
            load.finish(cpu, value);
        }
        answer::writes(words, over).for_each(|write| outside.write(write));
        if over.outcome == Outcome::Unsupported {
            self.unsupported = area::bytes(words, at::BYTES);
        }
        Ok(over.outcome)
    }
}
