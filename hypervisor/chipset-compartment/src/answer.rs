//! What the compartment says, and what of that can be so.

use crate::area::{EFFECT_WORDS, MOST_EFFECTS, PARTS, Words, at, part};
use crate::call::{Call, SERVED};
use crate::effects;
use compartment::Ended;
use devices::Effect;
use devices::chipset::parts::Part;
use devices::ioapic::PINS;

/// The level of INTR, beside the lines that are asserted.
pub(crate) const EXTERNAL: u64 = 1 << 32;
/// No tick is wanted.
pub(crate) const NEVER: u64 = u64::MAX;

/// What was answered, where it can be so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub value: u64,
    /// Lines that are asserted, a bit each.
    pub asserted: u32,
    /// The level of INTR.
    pub external: bool,
    pub deadline: Option<u64>,
    pub effects: usize,
    /// How many bytes the parts have that changed.
    pub used: [Option<u16>; PARTS],
}

/// Reads an answer to `call`, which was made at `now`, of a chipset to which the lines of `machine` were asserted.
///
/// # Errors
/// What of it cannot be.
pub(crate) fn read(words: &Words, call: Call, now: u64, machine: u32) -> Result<Answer, Ended> {
    const LINES: u64 = (1 << PINS) - 1;
    if words[at::ANSWER] != SERVED {
        return Err(Ended::Answer("not that the call was served"));
    }
    let value = words[at::VALUE];
    if value > call.most_value() {
        return Err(Ended::Answer("a value that is too large"));
    }
    let lines = words[at::LINES];
    if lines & !(LINES | EXTERNAL) != 0 {
        return Err(Ended::Answer("lines that there are not"));
    }
    let deadline = words[at::DEADLINE];
    if call == Call::Tick && deadline <= now {
        return Err(Ended::Answer("a tick for the time that it is"));
    }
    let effects = words[at::EFFECT_COUNT];
    if effects > MOST_EFFECTS as u64 {
        return Err(Ended::Answer("more effects than a call has"));
    }
    let effects = effects as usize;
    if !all_effects(words, effects, call, machine).all(|effect| effect.is_some()) {
        return Err(Ended::Answer("an effect that the call cannot have"));
    }
    Ok(Answer {
        value,
        asserted: (lines & LINES) as u32,
        external: lines & EXTERNAL != 0,
        deadline: (deadline != NEVER).then_some(deadline),
        effects,
        used: read_used(words)?,
    })
}

/// How many bytes the parts have that changed.
pub(crate) fn read_used(words: &Words) -> Result<[Option<u16>; PARTS], Ended> {
    let changed = words[at::CHANGED];
    if changed >> PARTS != 0 {
        return Err(Ended::Answer("parts that a chipset has not"));
    }
    let mut all = [None; PARTS];
    let said = part::<PARTS>(words, at::USED);
    for ((part, used), said) in Part::ALL.into_iter().zip(&mut all).zip(said) {
        if changed >> part as u8 & 1 == 0 {
            continue;
        }
        let fits = u16::try_from(*said).ok().filter(|said| usize::from(*said) <= part.bytes());
        *used = Some(fits.ok_or(Ended::Answer("a state that is too long"))?);
    }
    Ok(all)
}

fn all_effects(
    words: &Words,
    count: usize,
    call: Call,
    machine: u32,
) -> impl Iterator<Item = Option<Effect>> + '_ {
    let words = words.get(at::EFFECTS..at::STATE).unwrap_or_default().as_chunks::<EFFECT_WORDS>().0;
    words.iter().take(count).map(move |words| effects::decode(*words, call, machine))
}

/// The effects of an answer that was found sound.
pub(crate) fn effects(
    words: &Words,
    answer: &Answer,
    call: Call,
    machine: u32,
) -> impl Iterator<Item = Effect> {
    all_effects(words, answer.effects, call, machine).flatten()
}
