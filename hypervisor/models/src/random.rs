//! Random numbers of the processor's, whose instructions ring 3 may execute too (Intel SDM vol. 1, section 7.3.17;
//! AMD APM vol. 3, RDRAND and RDSEED).

use core::arch::x86_64::{__cpuid, __cpuid_count, _rdrand64_step, _rdseed64_step};
use devices::random::{Fault, Source};

/// How often RDSEED is tried before RDRAND is: it gives nothing while others have taken all that there is.
const SEED_TRIES: u32 = 10;
/// How often RDRAND is tried: one that gives nothing so often in a row does not work (Intel Digital Random
/// Number Generator Software Implementation Guide, section 5.2.1).
const RANDOM_TRIES: u32 = 10;
/// CPUID leaf 1, ECX: RDRAND.
const HAS_RANDOM: u32 = 1 << 30;
/// CPUID leaf 7, EBX: RDSEED.
const HAS_SEED: u32 = 1 << 18;

/// The processor's generator.
pub struct Generator {
    has_seed: bool,
    has_random: bool,
}

impl Generator {
    /// That of the processor that runs this; `None` where it has none.
    pub fn detect() -> Option<Self> {
        let has_random = __cpuid(1).ecx & HAS_RANDOM != 0;
        let has_seed = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ebx & HAS_SEED != 0;
        (has_seed || has_random).then_some(Self { has_seed, has_random })
    }
}

impl Source for Generator {
    fn word(&mut self) -> Option<u64> {
        let seed = if self.has_seed { attempt(SEED_TRIES, seed) } else { None };
        seed.or_else(|| if self.has_random { attempt(RANDOM_TRIES, random) } else { None })
    }

    /// Nobody can be told why: the device counts it among its errors.
    fn given_up(&mut self, _: Fault) {}
}

fn attempt(tries: u32, step: fn() -> Option<u64>) -> Option<u64> {
    (0..tries).find_map(|_| {
        let word = step();
        if word.is_none() {
            core::hint::spin_loop();
        }
        word
    })
}

/// Only for a processor that has RDSEED.
fn seed() -> Option<u64> {
    let mut word = 0;
    // SAFETY: `Generator::word` gets here only where CPUID says that there is RDSEED, which touches nothing
    // but its operand and flags.
    let done = unsafe { _rdseed64_step(&mut word) };
    (done == 1).then_some(word)
}

/// Only for a processor that has RDRAND.
fn random() -> Option<u64> {
    let mut word = 0;
    // SAFETY: as in `seed`, for RDRAND.
    let done = unsafe { _rdrand64_step(&mut word) };
    (done == 1).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the processor of the tests has one, its words differ.
    #[test]
    fn a_generator_gives_words() {
        let Some(mut generator) = Generator::detect() else { return };
        let words: Vec<_> = (0..16).map_while(|_| generator.word()).collect();
        assert_eq!(words.len(), 16);
        assert!(words.windows(2).all(|pair| pair[0] != pair[1]), "{words:x?}");
    }
}
