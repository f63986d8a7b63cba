//! Ring 0's side: a chipset that is in a compartment.

use crate::answer::{self, Answer};
use crate::area::{at, of, state};
use crate::call::{Call, SERVED};
use crate::state::Committed;
use alloc::boxed::Box;
use compartment::{Compartment, Counter, Ended, Kind, Restarts};
use devices::ioapic::PINS;
use devices::snapshot::SaveFault;
use devices::{Chipset, Effects};
use spec::Width;

/// How often in a row a compartment is made anew for one call. What ends more of them is the call.
const MOST_ATTEMPTS: usize = 2;
const NO_AREA: Ended = Ended::Answer("no area");

/// What the last answer said, so that nobody has to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Known {
    /// Lines that are asserted, a bit each.
    asserted: u32,
    /// The level of INTR.
    external: bool,
    /// When a tick is wanted.
    deadline: Option<u64>,
}

impl Known {
    fn of(chipset: &Chipset) -> Self {
        Self {
            asserted: chipset.asserted(),
            external: chipset.external_pending(),
            deadline: chipset.deadline(),
        }
    }
}

/// A chipset in a compartment. Its methods are those of [`Chipset`]; where the compartment is gone, reads are ones and nothing else
/// happens.
pub struct RemoteChipset {
    compartment: Box<dyn Compartment>,
    committed: Committed,
    known: Known,
    /// Lines that were asserted for the machine's, a bit each.
    machine: u32,
    /// The time, for calls that have none.
    now: u64,
    restarts: Counter,
    is_gone: bool,
    /// Why, until that was asked.
    end: Option<Ended>,
}

impl RemoteChipset {
    /// In a compartment that was not entered yet, and is made anew so often: a chipset as `chipset` is.
    ///
    /// # Errors
    /// It does not understand.
    pub fn begin(
        compartment: Box<dyn Compartment>,
        chipset: &Chipset,
        restarts: Restarts,
    ) -> Result<Self, Ended> {
        let mut remote = Self {
            compartment,
            committed: Committed::new(),
            known: Known::of(chipset),
            machine: 0,
            now: 0,
            restarts: Counter::new(restarts),
            is_gone: false,
            end: None,
        };
        remote.commit(chipset)?;
        remote.first()?;
        Ok(remote)
    }

    /// Becomes as `chipset` is, in a compartment that is made anew.
    pub fn replace(&mut self, chipset: &Chipset) {
        (self.known, self.machine, self.end) = (Known::of(chipset), 0, None);
        let made = self.commit(chipset).and_then(|()| self.make());
        self.is_gone = false;
        made.unwrap_or_else(|ended| self.lose(ended));
    }

    /// It is `now`, in ticks of the guest's time.
    #[inline]
    pub const fn set_time(&mut self, now: u64) {
        self.now = now;
    }

    /// Why the compartment is no more, which is told once.
    #[inline]
    pub const fn take_end(&mut self) -> Option<Ended> {
        self.end.take()
    }

    /// As [`Chipset::save`].
    ///
    /// # Errors
    /// The place is too small.
    pub fn save(&self, into: &mut [u8]) -> Result<usize, SaveFault> {
        self.committed.save(into)
    }

    /// As [`Chipset::port_read`].
    pub fn port_read(&mut self, port: u16, width: Width, out: &mut Effects) -> u32 {
        let call = Call::PortRead(port, width);
        match Chipset::decodes(port, width) {
            true => self.call(call, out) as u32,
            false => call.value_of_nobody() as u32,
        }
    }

    /// As [`Chipset::port_write`].
    pub fn port_write(&mut self, port: u16, width: Width, value: u32, out: &mut Effects) {
        if Chipset::decodes(port, width) {
            self.call(Call::PortWrite(port, width, value), out);
        }
    }

    /// As [`Chipset::ioapic_read`].
    pub fn ioapic_read(&mut self, offset: u32, out: &mut Effects) -> u32 {
        self.call(Call::IoapicRead(offset), out) as u32
    }

    /// As [`Chipset::ioapic_write`].
    pub fn ioapic_write(&mut self, offset: u32, value: u32, out: &mut Effects) {
        self.call(Call::IoapicWrite(offset, value), out);
    }

    /// As [`Chipset::end_of_interrupt`].
    pub fn end_of_interrupt(&mut self, vector: u8, out: &mut Effects) {
        self.call(Call::EndOfInterrupt(vector), out);
    }

    /// As [`Chipset::set_line`].
    pub fn set_line(&mut self, gsi: u8, level: bool, out: &mut Effects) {
        // What is no line of the I/O APIC's is none of the 8259As' either.
        if gsi < PINS && (self.known.asserted >> gsi & 1 != 0) != level {
            self.call(Call::SetLine(gsi, level), out);
        }
    }

    /// As [`Chipset::assert_line`].
    pub fn assert_line(&mut self, gsi: u8, out: &mut Effects) {
        if gsi < PINS {
            self.machine |= 1 << gsi;
            self.call(Call::AssertLine(gsi), out);
        }
    }

    /// As [`Chipset::deassert_line`].
    pub fn deassert_line(&mut self, gsi: u8, out: &mut Effects) {
        if gsi < PINS && self.machine >> gsi & 1 != 0 {
            self.call(Call::DeassertLine(gsi), out);
        }
    }

    /// As [`Chipset::acknowledge_external`].
    pub fn acknowledge_external(&mut self, out: &mut Effects) -> u8 {
        self.call(Call::Acknowledge, out) as u8
    }

    /// As [`Chipset::receive`].
    pub fn receive(&mut self, byte: u8, out: &mut Effects) -> bool {
        self.call(Call::Receive(byte), out) != 0
    }

    /// As [`Chipset::tick`].
    pub fn tick(&mut self, out: &mut Effects) {
        self.call(Call::Tick, out);
    }

    /// As [`Chipset::external_pending`].
    pub const fn external_pending(&self) -> bool {
        self.known.external
    }

    /// As [`Chipset::deadline`].
    #[inline]
    pub const fn deadline(&self) -> Option<u64> {
        self.known.deadline
    }

    /// Makes a call, once more where the compartment died of it.
    fn call(&mut self, call: Call, out: &mut Effects) -> u64 {
        let mut attempts = 0;
        while !self.is_gone {
            match self.attempt(call, out) {
                Ok(value) => return value,
                Err(ended) => self.revive(ended, attempts < MOST_ATTEMPTS),
            }
            attempts += 1;
        }
        call.value_of_nobody()
    }

    /// Makes a call, and applies the answer once all of it was found sound.
    fn attempt(&mut self, call: Call, out: &mut Effects) -> Result<u64, Ended> {
        let words = of(self.compartment.area()).ok_or(NO_AREA)?;
        call.write(self.now, words);
        self.compartment.enter()?;
        let words = of(self.compartment.area()).ok_or(NO_AREA)?;
        let answer = answer::read(words, call, self.now, self.machine)?;
        if answer.used.iter().any(Option::is_some) {
            self.committed.change(&answer.used, state(words))?;
        }
        answer::effects(words, &answer, call, self.machine).for_each(|effect| out.push(effect));
        let Answer { value, asserted, external, deadline, .. } = answer;
        self.known = Known { asserted, external, deadline };
        Ok(value)
    }

    fn commit(&mut self, chipset: &Chipset) -> Result<(), Ended> {
        self.committed.take(chipset).map_err(|_| Ended::Answer("a state that is too long"))
    }

    /// Tells a compartment that was not entered yet the state that its chipset has.
    fn first(&mut self) -> Result<(), Ended> {
        let words = of(self.compartment.area()).ok_or(NO_AREA)?;
        words.fill(0);
        words[at::OPERATION] = Kind::Chipset.word();
        let used = self.committed.save(state(words));
        words[at::ARGUMENTS] = used.map_err(|_| Ended::Answer("a state that is too long"))? as u64;
        self.compartment.enter()?;
        let words = of(self.compartment.area()).ok_or(NO_AREA)?;
        if words[at::ANSWER] == SERVED { Ok(()) } else { Err(Ended::Answer("not that it is ready")) }
    }

    fn make(&mut self) -> Result<(), Ended> {
        self.compartment.restart()?;
        self.first()
    }

    /// Makes the compartment anew that ended so, if it may be.
    #[cold]
    fn revive(&mut self, ended: Ended, may: bool) {
        if !may || !self.restarts.take(self.now) {
            return self.lose(ended);
        }
        self.compartment.ended(ended, false);
        self.make().unwrap_or_else(|ended| self.lose(ended));
    }

    /// It is gone, for this reason.
    #[cold]
    fn lose(&mut self, ended: Ended) {
        self.compartment.ended(ended, true);
        (self.is_gone, self.end) = (true, Some(ended));
        self.known = Known::default();
    }
}
