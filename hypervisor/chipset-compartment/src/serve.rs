//! The compartment's side: the chipset, and what ring 0 says.

use crate::answer::{EXTERNAL, NEVER};
use crate::area::{EFFECT_WORDS, Words, at, of, put, range_of, state};
use crate::call::{Call, SERVED};
use crate::effects::encode;
use alloc::boxed::Box;
use devices::chipset::parts::Part;
use devices::{Chipset, Effects};

/// The chipset, from the first call on.
pub struct ChipsetServer {
    chipset: Box<Chipset>,
    /// As ring 0 was told that it is.
    said: Box<Chipset>,
    effects: Effects,
}

impl ChipsetServer {
    /// Serves the first call in the words of the area, which has the state that the chipset begins with. `None` where that is
    /// none.
    pub fn begin(words: &mut [u64]) -> Option<Self> {
        let words = of(words)?;
        let used = usize::try_from(words[at::ARGUMENTS]).ok()?;
        let chipset = read(state(words).get(..used)?)?;
        let said = chipset.clone();
        words[at::ANSWER] = SERVED;
        Some(Self { chipset, said, effects: Effects::new() })
    }

    /// Serves a later call. False where there is none, or where the chipset does what it said that it never does.
    pub fn serve(&mut self, words: &mut [u64]) -> bool {
        let Some(words) = of(words) else { return false };
        let Some((call, now)) = Call::read(words) else { return false };
        words[at::VALUE] = self.carry_out(call, now);
        let Self { chipset, effects, .. } = self;
        let external = if chipset.external_pending() { EXTERNAL } else { 0 };
        words[at::LINES] = u64::from(chipset.asserted()) | external;
        words[at::DEADLINE] = chipset.deadline().unwrap_or(NEVER);
        let mut count = 0;
        while let Some(effect) = effects.pop() {
            put(words, at::EFFECTS + EFFECT_WORDS * count, &encode(effect));
            count += 1;
        }
        words[at::EFFECT_COUNT] = count as u64;
        let is_whole = !effects.take_overflow() && self.say_changes(call, words);
        words[at::ANSWER] = SERVED;
        is_whole
    }

    fn carry_out(&mut self, call: Call, now: u64) -> u64 {
        let Self { chipset, effects, .. } = self;
        match call {
            Call::PortRead(port, width) => return chipset.port_read(port, width, now, effects).into(),
            Call::PortWrite(port, width, value) => chipset.port_write(port, width, value, now, effects),
            Call::IoapicRead(offset) => return chipset.ioapic_read(offset).into(),
            Call::IoapicWrite(offset, value) => chipset.ioapic_write(offset, value, effects),
            Call::EndOfInterrupt(vector) => chipset.end_of_interrupt(vector, effects),
            Call::SetLine(gsi, level) => chipset.set_line(gsi, level, effects),
            Call::AssertLine(gsi) => chipset.assert_line(gsi, effects),
            Call::DeassertLine(gsi) => chipset.deassert_line(gsi),
            Call::Acknowledge => return chipset.acknowledge_external().into(),
            Call::Receive(byte) => return chipset.receive(byte, effects).into(),
            Call::Tick => chipset.tick(now, effects),
        }
        0
    }

    /// Says the state of the parts that are otherwise, after this call, than ring 0 knows. False where one does not fit.
    fn say_changes(&mut self, call: Call, words: &mut Words) -> bool {
        let mut changed = 0;
        for part in Part::ALL.into_iter().filter(|part| call.can_change(*part)) {
            if !self.chipset.differs(part, &self.said) {
                continue;
            }
            let place = state(words).get_mut(range_of(part)).unwrap_or_default();
            let Ok(used) = self.chipset.save_part(part, place) else { return false };
            put(words, at::USED + part as usize, &[used as u64]);
            changed |= 1 << part as u8;
            self.said.take_part(part, &self.chipset);
        }
        words[at::CHANGED] = changed;
        true
    }
}

/// The chipset that was saved so. It is as large as much of a stack, and more than once there while it is read.
#[inline(never)]
fn read(state: &[u8]) -> Option<Box<Chipset>> {
    Chipset::of_state(state).ok().map(Box::new)
}
