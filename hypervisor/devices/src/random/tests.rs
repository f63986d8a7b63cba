use super::*;
use crate::testing::{RandomWords, random_words};
use proptest::prelude::*;

/// How many words of `words` pass, and what fails then.
fn passed(words: impl IntoIterator<Item = u64>) -> (usize, Option<Fault>) {
    let mut health = Health::default();
    for (number, word) in words.into_iter().enumerate() {
        if let Err(fault) = health.check(word) {
            return (number, Some(fault));
        }
    }
    (usize::MAX, None)
}

/// Logarithm to base 2 of the probability that the first of a window comes `count` times or more, where
/// each sample has `bits` bits.
fn chance(count: u16, bits: f64) -> f64 {
    let others = u32::from(WINDOW) - 1;
    let (hit, miss) = ((-bits).exp2().log2(), (1.0 - (-bits).exp2()).log2());
    let log_of = |hits: u32| {
        let ways: f64 = (0..hits).map(|k| (f64::from(others - k) / f64::from(k + 1)).log2()).sum();
        ways + f64::from(hits) * hit + f64::from(others - hits) * miss
    };
    (u32::from(count) - 1..=others).map(|hits| log_of(hits).exp2()).sum::<f64>().log2()
}

/// The cutoffs are those of the standard for a chance of 2^-40, and no smaller ones would do.
#[test]
fn a_source_that_gives_what_is_claimed_passes() {
    let a_word = f64::from(CLAIMED_BITS);
    assert!(a_word * f64::from(MOST_REPEATED - 1) >= 40.0);
    assert!(a_word * f64::from(MOST_REPEATED - 2) < 40.0);
    for (most, bits, is) in [(MOST_SAME_WORDS, a_word, -47.0), (MOST_SAME_BYTES, a_word / 8.0, -41.0)] {
        assert!(chance(most, bits) <= -40.0, "{most}");
        assert!(chance(most - 1, bits) > -40.0, "{most}");
        assert!((chance(most, bits) - is).abs() < 0.1, "{most}: {}", chance(most, bits));
        assert!(chance(most, 2.0 * bits) < -100.0, "{most}");
    }
}

#[test]
fn words_that_stay_the_same_are_found_by_the_third() {
    assert_eq!(passed([u64::MAX; 9]), (2, Some(Fault::Repetition)));
    assert_eq!(passed([0; 9]), (2, Some(Fault::Repetition)));
    // Good ones before do not help.
    assert_eq!(passed(random_words().take(300).chain([7; 9])), (302, Some(Fault::Repetition)));
    assert_eq!(passed(random_words().take(300).chain([7; 2])), (usize::MAX, None));
}

#[test]
fn words_that_take_turns_are_found() {
    let pair = [0x0123_4567_89ab_cdef, 0x1032_5476_98ba_dcfe];
    assert_eq!(passed(pair.into_iter().cycle()), (4, Some(Fault::SameWord)));
    // A circle is found where the first of a window comes round twice.
    let circle = random_words().take(200);
    assert_eq!(passed(circle.cycle()).1, Some(Fault::SameWord));
}

#[test]
fn a_byte_that_is_stuck_is_found() {
    for place in 0..8 {
        let stuck = random_words().map(move |word| word & !(0xff << (8 * place)));
        assert_eq!(passed(stuck.take(100_000)).1, Some(Fault::SameByte), "{place}");
    }
    assert_eq!(passed(random_words().map(|word| word & 0x0f0f_0f0f_0f0f_0f0f).take(10_000)).1, None);
    assert_eq!(
        passed(random_words().map(|word| word & 0x0303_0303_0303_0303).take(10_000)).1,
        Some(Fault::SameByte)
    );
}

#[test]
fn a_source_is_given_up_once_and_for_ever() {
    let (source, told) = RandomWords::new(random_words().take(1030).chain([5; 3]).chain(random_words()));
    let mut tested = Tested::new(Box::new(source)).expect("its first words pass");
    for expected in random_words().skip(usize::from(WORDS_AT_START)).take(6) {
        assert_eq!(tested.word(), Ok(expected));
    }
    assert_eq!([tested.word(), tested.word()], [Ok(5), Ok(5)]);
    assert_eq!([tested.word(), tested.word()], [Err(Fault::Repetition); 2]);
    assert_eq!(told.try_iter().collect::<std::vec::Vec<_>>(), [Fault::Repetition]);
}

#[test]
fn a_source_that_fails_at_the_start_is_none() {
    for (words, fault) in [(0, Fault::Silent), (1023, Fault::Silent)] {
        let (source, told) = RandomWords::new(random_words().take(words));
        assert_eq!(Tested::new(Box::new(source)).err(), Some(fault));
        assert_eq!(told.try_recv(), Ok(fault));
    }
    let (source, _) = RandomWords::new(core::iter::repeat(u64::MAX));
    assert_eq!(Tested::new(Box::new(source)).err(), Some(Fault::Repetition));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    /// What is random passes, wherever it begins.
    #[test]
    fn what_is_random_passes(from in 0_usize..100_000) {
        prop_assert_eq!(passed(random_words().skip(from).take(50_000)).1, None);
    }
}
