//! Random numbers of the processor's (Intel SDM vol. 1, section 7.3.17; AMD APM vol. 3, RDRAND and RDSEED).

use super::registers;
use core::arch::x86_64::{_rdrand64_step, _rdseed64_step};

/// How often RDSEED is tried before RDRAND is: it gives nothing while others have taken all that there is.
const SEED_TRIES: u32 = 10;
/// How often RDRAND is tried: one that gives nothing so often in a row does not work (Intel Digital Random
/// Number Generator Software Implementation Guide, section 5.2.1).
const RANDOM_TRIES: u32 = 10;

/// The generator of this machine's processors.
#[derive(Clone, Copy, Debug)]
pub struct Generator {
    has_seed: bool,
    has_random: bool,
}

impl Generator {
    /// That of the processor that runs this, of which all others are taken to be; `None` where it has none.
    pub fn detect() -> Option<Self> {
        let has_random = registers::has(|info| info.has_rdrand());
        let features = registers::cpu_id().get_extended_feature_info();
        let has_seed = features.is_some_and(|features| features.has_rdseed());
        (has_seed || has_random).then_some(Self { has_seed, has_random })
    }

    /// The instructions that it is used by, for the log.
    pub const fn name(self) -> &'static str {
        match (self.has_seed, self.has_random) {
            (true, true) => "RDSEED, or RDRAND while that has none",
            (true, false) => "RDSEED",
            (false, _) => "RDRAND",
        }
    }

    /// A word: of the noise source if it has one, else of the generator that it seeds. `None` where neither
    /// gives one, which is a fault of the processor's.
    pub fn word(self) -> Option<u64> {
        let seed = if self.has_seed { attempt(SEED_TRIES, seed) } else { None };
        seed.or_else(|| if self.has_random { attempt(RANDOM_TRIES, random) } else { None })
    }
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

    #[test]
    fn a_step_is_tried_so_often_and_no_more() {
        fn never() -> Option<u64> {
            COUNT.with(|count| count.set(count.get() + 1));
            None
        }
        std::thread_local! { static COUNT: core::cell::Cell<u32> = const { core::cell::Cell::new(0) } }
        assert_eq!(attempt(7, never), None);
        assert_eq!(COUNT.get(), 7);
        assert_eq!(attempt(7, || Some(5)), Some(5));
    }

    /// Where the processor of the tests has one, its words differ.
    #[test]
    fn a_generator_gives_words() {
        let Some(generator) = Generator::detect() else { return };
        let words: std::vec::Vec<_> = (0..16).map_while(|_| generator.word()).collect();
        assert_eq!(words.len(), 16);
        assert!(words.windows(2).all(|pair| pair[0] != pair[1]), "{words:x?}");
    }
}
