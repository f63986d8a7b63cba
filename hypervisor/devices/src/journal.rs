//! What a model would have to be told to go on after it was lost: its committed state, as words.
//!
//! A model that is called over and over changes few of its words each time. So it says the changes alone
//! ([`Journal::put`]), and whoever keeps the words ([`apply`]) always has all of them. Other than a
//! [snapshot](crate::snapshot) they hold what is at the medium, and they never leave the machine.

use crate::snapshot::{RestoreFault, has};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of a word.
const WORD_BYTES: usize = 8;
/// Where a record says how many words it has; below is which is the first of them.
const COUNT_SHIFT: u32 = 32;

/// The changes of one call.
pub struct Journal<'a> {
    /// The words as they were said last.
    said: &'a mut [u64],
    /// Where the records go: a word that says which words follow, and these.
    records: &'a mut [u64],
    used: usize,
    /// Where the last record begins, and which word would go on with it.
    last: usize,
    next: usize,
    has_overflowed: bool,
}

impl<'a> Journal<'a> {
    /// Of a model whose words were said to be `said`; the changes are written to `records`, of which
    /// [`record_words`] are always enough.
    pub const fn new(said: &'a mut [u64], records: &'a mut [u64]) -> Self {
        Self { said, records, used: 0, last: 0, next: usize::MAX, has_overflowed: false }
    }

    /// Word `at` is `value`.
    #[inline]
    pub fn put(&mut self, at: usize, value: u64) {
        match self.said.get_mut(at) {
            Some(said) if *said == value => {}
            Some(said) => {
                *said = value;
                self.record(at, value);
            }
            None => self.has_overflowed = true,
        }
    }

    /// Words that follow one another are of one record.
    fn record(&mut self, at: usize, value: u64) {
        if at != self.next {
            (self.last, self.next) = (self.used, at);
            self.append(at as u64);
        }
        self.append(value);
        if let Some(head) = self.records.get_mut(self.last) {
            *head += 1 << COUNT_SHIFT;
        }
        self.next += 1;
    }

    fn append(&mut self, word: u64) {
        match self.records.get_mut(self.used) {
            Some(place) => {
                *place = word;
                self.used += 1;
            }
            None => self.has_overflowed = true,
        }
    }

    /// The words from `at` on are these.
    pub fn put_all(&mut self, at: usize, words: &[u64]) {
        for (at, word) in (at..).zip(words) {
            self.put(at, *word);
        }
    }

    /// The words from `at` on are these bytes, which are whole words. They are written whether they have
    /// changed or not: whoever calls knows that they have.
    pub fn put_bytes(&mut self, at: usize, bytes: &[u8]) {
        let (words, _) = bytes.as_chunks::<WORD_BYTES>();
        if words.is_empty() {
            return;
        }
        let end = self.used.saturating_add(1).saturating_add(words.len());
        let Some([head, places @ ..]) = self.records.get_mut(self.used..end) else {
            self.has_overflowed = true;
            return;
        };
        *head = at as u64 | (words.len() as u64) << COUNT_SHIFT;
        places.iter_mut().zip(words).for_each(|(place, word)| *place = u64::from_le_bytes(*word));
        (self.used, self.next) = (end, usize::MAX);
    }

    /// The words from `at` on are `state`, which has at most `BYTES` bytes, and zeros behind it.
    pub fn encode<T: Serialize, const BYTES: usize>(&mut self, at: usize, state: &T) {
        let mut bytes = [0; BYTES];
        self.has_overflowed |= postcard::to_slice(state, &mut bytes).is_err();
        let (words, _) = bytes.as_chunks::<WORD_BYTES>();
        for (at, word) in (at..).zip(words) {
            self.put(at, u64::from_le_bytes(*word));
        }
    }

    /// How many words of records there are. `None` where there was no room for all.
    pub const fn finish(self) -> Option<usize> {
        if self.has_overflowed { None } else { Some(self.used) }
    }
}

/// Words of records that are enough for `words` words, whatever changes.
pub const fn record_words(words: usize) -> usize {
    words.saturating_mul(2)
}

/// Changes `kept` as the records say. `None`, and nothing changes, where they make no sense.
pub fn apply(records: &[u64], kept: &mut [u64]) -> Option<()> {
    let mut rest = records;
    while let Some((words, behind)) = next(rest) {
        kept.get(range(*rest.first()?, words.len())?)?;
        rest = behind;
    }
    if !rest.is_empty() {
        return None;
    }
    let mut rest = records;
    while let Some((words, behind)) = next(rest) {
        kept.get_mut(range(*rest.first()?, words.len())?)?.copy_from_slice(words);
        rest = behind;
    }
    Some(())
}

/// The words of the first record, and the other records.
fn next(records: &[u64]) -> Option<(&[u64], &[u64])> {
    let (head, rest) = records.split_first()?;
    rest.split_at_checked((head >> COUNT_SHIFT) as usize)
}

fn range(head: u64, count: usize) -> Option<core::ops::Range<usize>> {
    let at = head as u32 as usize;
    Some(at..at.checked_add(count)?)
}

/// Reads what [`Journal::encode`] wrote to the words from `at` on.
///
/// # Errors
/// These words are no such state.
pub fn decode<T: DeserializeOwned, const BYTES: usize>(words: &[u64], at: usize) -> Result<T, RestoreFault> {
    let mut bytes = [0; BYTES];
    copy(words, at, &mut bytes)?;
    postcard::take_from_bytes(&bytes).map(|(state, _)| state).map_err(|_| RestoreFault::Malformed)
}

/// Copies the words from `at` on to `bytes`, which are whole words.
///
/// # Errors
/// There are not so many.
pub fn copy(words: &[u64], at: usize, bytes: &mut [u8]) -> Result<(), RestoreFault> {
    let (places, _) = bytes.as_chunks_mut::<WORD_BYTES>();
    let words = words.get(at..).and_then(|words| words.get(..places.len())).ok_or(RestoreFault::Malformed)?;
    places.iter_mut().zip(words).for_each(|(place, word)| *place = word.to_le_bytes());
    Ok(())
}

/// Word `at`.
///
/// # Errors
/// There are not so many.
pub fn word(words: &[u64], at: usize) -> Result<u64, RestoreFault> {
    words.get(at).copied().ok_or(RestoreFault::Malformed)
}

/// The bit `at` of a word.
pub const fn bit(word: u64, at: u32) -> bool {
    word >> at & 1 != 0
}

/// Whether nothing is said by the bits from `at` on.
///
/// # Errors
/// Something is.
pub const fn ends(word: u64, at: u32) -> Result<(), RestoreFault> {
    has(word >> at == 0, "a word has bits that mean nothing")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    proptest! {
        /// Whoever applies all changes has the words that were said.
        #[test]
        fn what_is_kept_is_what_was_said(
            calls in prop::collection::vec(prop::collection::vec((0_usize..16, 0_u64..3), 0..20), 0..10),
            bytes: [u8; 32],
        ) {
            let (mut said, mut kept, mut words) = ([0; 16], [0; 20], [0_u64; 16]);
            for call in calls {
                let mut records = vec![0; record_words(20) + 8];
                let mut journal = Journal::new(&mut said, &mut records);
                for (at, value) in &call {
                    words[*at] = *value;
                }
                words.iter().enumerate().for_each(|(at, word)| journal.put(at, *word));
                journal.put_bytes(16, &bytes);
                let used = journal.finish().unwrap();
                prop_assert!(apply(&records[..used], &mut kept).is_some());
                prop_assert_eq!(&kept[..16], &words);
                let mut back = [0; 32];
                prop_assert_eq!(copy(&kept, 16, &mut back), Ok(()));
                prop_assert_eq!(back, bytes);
            }
        }

        /// Records that make no sense change nothing, and nothing else than what is kept.
        #[test]
        fn no_record_harms(records in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..9, (0_u64..9).prop_map(|at| at | 1 << 32)], 0..12)) {
            let mut kept = [7; 8];
            if apply(&records, &mut kept).is_none() {
                prop_assert_eq!(kept, [7; 8]);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let (mut said, mut records) = ([0; 4], [0; 3]);
        let mut journal = Journal::new(&mut said, &mut records);
        journal.put_all(0, &[1, 2]);
        assert_eq!(journal.finish(), Some(3), "two words that follow one another");
        assert_eq!(records, [2 << COUNT_SHIFT, 1, 2]);
        let mut journal = Journal::new(&mut said, &mut records);
        journal.put_all(1, &[1, 2, 3]);
        assert_eq!(journal.finish(), None);
        let mut journal = Journal::new(&mut said, &mut records);
        journal.put_all(0, &[2, 1, 2, 4]);
        assert_eq!(journal.finish(), None, "a record each");
        let mut journal = Journal::new(&mut said, &mut records);
        journal.put(4, 1);
        assert_eq!(journal.finish(), None);
        let mut journal = Journal::new(&mut said, &mut records);
        journal.encode::<_, 8>(0, &Vec::from([1_u8; 9]));
        assert_eq!(journal.finish(), None);
    }
}
