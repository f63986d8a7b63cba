//! Effects in words, and which of them a call can have.

use crate::area::EFFECT_WORDS;
use crate::call::Call;
use devices::Effect;
use devices::ioapic::PINS;
use spec::apic::{DeliveryMode, Destination, InterruptMessage};

const MESSAGE: u64 = 1;
const RESAMPLE: u64 = 2;
const EXTERNAL: u64 = 3;
const TRANSMIT: u64 = 4;
const POWER_OFF: u64 = 5;
const RESET: u64 = 6;

/// Whom a message is for; the number is above.
const PHYSICAL: u64 = 0;
const LOGICAL: u64 = 1;
const ALL: u64 = 2;
const IS_LEVEL: u64 = 1 << 24;

/// Puts an effect in words. What is no effect of a chipset's becomes one that is refused.
pub(crate) fn encode(effect: Effect) -> [u64; EFFECT_WORDS] {
    match effect {
        Effect::Message(InterruptMessage { destination, mode, vector, level }) => {
            let (kind, number) = match destination {
                Destination::Physical(number) => (PHYSICAL, number),
                Destination::Logical(number) => (LOGICAL, number),
                Destination::All => (ALL, 0),
                // Those are an ICR's.
                Destination::ToSelf | Destination::AllButSelf => return [0, 0],
            };
            let is_level = if level { IS_LEVEL } else { 0 };
            let how = u64::from(vector) | (mode as u64) << 8 | kind << 16 | is_level;
            [MESSAGE, how | u64::from(number) << 32]
        }
        Effect::Resample(gsi) => [RESAMPLE, gsi.into()],
        Effect::External(level) => [EXTERNAL, level.into()],
        Effect::Transmit(byte) => [TRANSMIT, byte.into()],
        Effect::PowerOff { sleep_type } => [POWER_OFF, sleep_type.into()],
        Effect::Reset => [RESET, 0],
    }
}

/// The effect of these words, where `call` can have it of a chipset to which the lines of `machine` were asserted, a bit each.
pub(crate) fn decode([kind, value]: [u64; EFFECT_WORDS], call: Call, machine: u32) -> Option<Effect> {
    let is_write = matches!(call, Call::PortWrite(..));
    // An I/O APIC sends; what it sends, it can send again.
    let ends = matches!(call, Call::IoapicWrite(..) | Call::EndOfInterrupt(_));
    let sends = !matches!(call, Call::IoapicRead(_) | Call::DeassertLine(_) | Call::Acknowledge);
    let drives_lines = sends && !ends && !matches!(call, Call::AssertLine(_));
    let narrow = u8::try_from(value);
    match kind {
        MESSAGE if sends => decode_message(value).map(Effect::Message),
        RESAMPLE if ends => {
            let gsi = narrow.ok().filter(|gsi| *gsi < PINS && machine >> gsi & 1 != 0)?;
            Some(Effect::Resample(gsi))
        }
        EXTERNAL if drives_lines && value <= 1 => Some(Effect::External(value == 1)),
        TRANSMIT if is_write => narrow.ok().map(Effect::Transmit),
        POWER_OFF if is_write => {
            let sleep_type = narrow.ok().filter(|sleep_type| *sleep_type <= 7)?;
            Some(Effect::PowerOff { sleep_type })
        }
        RESET if is_write && value == 0 => Some(Effect::Reset),
        _ => None,
    }
}

/// A message, where an I/O APIC sends such.
fn decode_message(word: u64) -> Option<InterruptMessage> {
    /// An identifier has 15 bits in an entry.
    const IDENTIFIERS: u32 = 1 << 15;
    const BITS: u64 = 0xffff_ffff_0103_07ff;
    let number = (word >> 32) as u32;
    let destination = match word >> 16 & 3 {
        PHYSICAL => Destination::Physical(number),
        LOGICAL => Destination::Logical(number),
        ALL if number == 0 => Destination::All,
        _ => return None,
    };
    let mode = DeliveryMode::from_bits((word >> 8) as u8).filter(|mode| *mode != DeliveryMode::StartUp)?;
    let level = word & IS_LEVEL != 0;
    let can_be_level = matches!(mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority);
    let is_sound = word & !BITS == 0 && number < IDENTIFIERS && (can_be_level || !level);
    is_sound.then_some(InterruptMessage { destination, mode, vector: word as u8, level })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What is let through says the same words again.
        #[test]
        fn what_is_an_effect_is_one(kind in 0..8_u64, value in any::<u64>(), narrow in any::<u64>()) {
            let words = [kind, value & narrow];
            for call in [Call::PortWrite(0x3f8, spec::Width::Byte, 0), Call::EndOfInterrupt(3), Call::Tick] {
                if let Some(effect) = decode(words, call, u32::MAX) {
                    prop_assert_eq!(encode(effect), words);
                }
            }
        }
    }
}
