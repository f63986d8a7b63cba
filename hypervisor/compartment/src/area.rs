//! The memory that ring 0 and a compartment have in common: words for a call and its answer, room for
//! effects, a buffer of the device's, and data of the call.

use crate::ended::Ended;
use crate::operation::Operation;
use devices::Blueprint;
use devices::device::{Accepts, Work};
use devices::journal::record_words;
use serde::{Deserialize, Serialize};

/// Words of a call's or an answer's arguments.
pub(crate) const ARGUMENTS: usize = 5;
/// Words of an effect.
pub(crate) const EFFECT_WORDS: usize = 5;
/// Words of what is published: where, with its bytes in the upper 8 bits, and what.
pub(crate) const PUBLISHED_WORDS: usize = 2;
/// The most that one call publishes at its end. What is more is written when it comes.
pub(crate) const MOST_PUBLISHED: usize = 256;
/// Bytes of a word.
const WORD_BYTES: usize = size_of::<u64>();

/// Words by their place.
mod at {
    use super::ARGUMENTS;

    pub const OPERATION: usize = 0;
    pub const NOW: usize = 1;
    pub const REACHES_MEMORY: usize = 2;
    pub const ROOM: usize = 3;
    pub const CALL: usize = 4;
    pub const CALL_BYTES: usize = CALL + ARGUMENTS;
    pub const ANSWER: usize = CALL_BYTES + 1;
    pub const ANSWER_BYTES: usize = ANSWER + ARGUMENTS;
    pub const LINES: usize = ANSWER_BYTES + 1;
    pub const ACCEPTS: usize = LINES + 1;
    pub const WORK: usize = ACCEPTS + 1;
    pub const EFFECTS: usize = WORK + 3;
    pub const OVERFLOW: usize = EFFECTS + 1;
    pub const PUBLISHED: usize = OVERFLOW + 1;
    pub const RECORDS: usize = PUBLISHED + 1;
    pub const FIRST_PUBLISHED: usize = RECORDS + 1;
    pub const FIRST_EFFECT: usize = FIRST_PUBLISHED + super::PUBLISHED_WORDS * super::MOST_PUBLISHED;
}

/// How large the parts of an area are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sizes {
    /// Effects of one call at most.
    pub effects: usize,
    /// Bytes of the device's own buffer, which requests may move data to and from.
    pub buffer_bytes: usize,
    /// Bytes that a call or its answer can have with it.
    pub data_bytes: usize,
    /// Words of the device's committed state.
    pub state_words: usize,
}

impl Sizes {
    /// Those of an area of the device of this blueprint.
    pub fn of(blueprint: &Blueprint) -> Self {
        let needs = blueprint.needs();
        Self {
            effects: needs.effects.max(needs.requests),
            buffer_bytes: needs.buffer_bytes,
            data_bytes: needs.data_bytes,
            state_words: needs.state_words,
        }
    }

    /// Words of the area.
    pub const fn words(self) -> usize {
        self.records_at().saturating_add(record_words(self.state_words))
    }

    const fn records_at(self) -> usize {
        self.data_at().saturating_add(self.data_bytes.div_ceil(WORD_BYTES))
    }

    const fn buffer_at(self) -> usize {
        at::FIRST_EFFECT.saturating_add(self.effects.saturating_mul(EFFECT_WORDS))
    }

    const fn data_at(self) -> usize {
        self.buffer_at().saturating_add(self.buffer_bytes.div_ceil(WORD_BYTES))
    }
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    pub operation: u64,
    /// Guest time, in ticks of the time-stamp counter.
    pub now: u64,
    /// Whether the device may reach its guest's memory.
    pub reaches_memory: bool,
    /// How many effects there is room for.
    pub room: usize,
    pub arguments: [u64; ARGUMENTS],
    /// Bytes of data with it.
    pub bytes: usize,
}

impl Call {
    pub const fn new(operation: Operation, arguments: [u64; ARGUMENTS]) -> Self {
        Self {
            operation: operation as u64,
            now: 0,
            reaches_memory: false,
            room: usize::MAX,
            arguments,
            bytes: 0,
        }
    }
}

/// What is answered, beside effects.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Answer {
    pub arguments: [u64; ARGUMENTS],
    pub bytes: usize,
    /// A bit for each line that the device asserts.
    pub lines: u64,
    pub accepts: Accepts,
    pub work: Work,
    /// How many effects there are, and whether more were lost.
    pub effects: usize,
    pub has_overflowed: bool,
    /// What it publishes.
    pub published: usize,
    /// Whether it is to be asked to tell of that.
    pub is_untold: bool,
    /// Words of the changes of its state.
    pub records: usize,
}

/// The area, as either side sees it.
pub struct Area<'a> {
    words: &'a mut [u64],
    sizes: Sizes,
}

impl<'a> Area<'a> {
    /// The area in these words. `None` where they are too few.
    pub fn new(words: &'a mut [u64], sizes: Sizes) -> Option<Self> {
        (words.len() >= sizes.words()).then_some(Self { words, sizes })
    }

    /// The area for the first call, before which the compartment does not know of any sizes: all that is left of
    /// these words is data.
    pub(crate) fn for_build(words: &'a mut [u64]) -> Option<Self> {
        let data_words = words.len().checked_sub(at::FIRST_EFFECT)?;
        Self::new(
            words,
            Sizes {
                effects: 0,
                buffer_bytes: 0,
                data_bytes: data_words.checked_mul(WORD_BYTES)?,
                state_words: 0,
            },
        )
    }

    /// How large its parts are.
    pub const fn sizes(&self) -> Sizes {
        self.sizes
    }

    fn word(&self, at: usize) -> u64 {
        self.words.get(at).copied().unwrap_or(0)
    }

    fn put(&mut self, at: usize, value: u64) {
        if let Some(word) = self.words.get_mut(at) {
            *word = value;
        }
    }

    fn arguments(&self, first: usize) -> [u64; ARGUMENTS] {
        core::array::from_fn(|index| self.word(first + index))
    }

    fn put_arguments(&mut self, first: usize, arguments: [u64; ARGUMENTS]) {
        for (at, value) in (first..).zip(arguments) {
            self.put(at, value);
        }
    }

    pub(crate) fn call(&self) -> Call {
        Call {
            operation: self.word(at::OPERATION),
            now: self.word(at::NOW),
            reaches_memory: self.word(at::REACHES_MEMORY) != 0,
            room: self.word(at::ROOM) as usize,
            arguments: self.arguments(at::CALL),
            bytes: self.word(at::CALL_BYTES) as usize,
        }
    }

    pub(crate) fn set_call(&mut self, call: &Call) {
        self.put(at::OPERATION, call.operation);
        self.put(at::NOW, call.now);
        self.put(at::REACHES_MEMORY, call.reaches_memory.into());
        self.put(at::ROOM, call.room as u64);
        self.put_arguments(at::CALL, call.arguments);
        self.put(at::CALL_BYTES, call.bytes as u64);
    }

    /// What was answered, where it is within the area's bounds.
    pub(crate) fn answer(&self) -> Result<Answer, Ended> {
        let within = |value: u64, most: usize, what| {
            usize::try_from(value).ok().filter(|value| *value <= most).ok_or(Ended::Answer(what))
        };
        let accepts = self.word(at::ACCEPTS);
        let [requests, bytes, errors] = core::array::from_fn(|index| self.word(at::WORK + index));
        Ok(Answer {
            arguments: self.arguments(at::ANSWER),
            bytes: within(
                self.word(at::ANSWER_BYTES),
                self.sizes.data_bytes,
                "more data than there is room for",
            )?,
            lines: self.word(at::LINES),
            accepts: Accepts {
                checksum: accepts & 1 != 0,
                tcp4: accepts & 2 != 0,
                tcp6: accepts & 4 != 0,
                largest_bytes: within(accepts >> 8, network::LARGEST_BYTES, "frames larger than any")?,
            },
            work: Work { requests, bytes, errors },
            effects: within(self.word(at::EFFECTS), self.sizes.effects, "more effects than it may have")?,
            has_overflowed: self.word(at::OVERFLOW) != 0,
            published: within(self.word(at::PUBLISHED) >> 1, MOST_PUBLISHED, "more to publish than it may")?,
            is_untold: self.word(at::PUBLISHED) & 1 != 0,
            records: within(
                self.word(at::RECORDS),
                record_words(self.sizes.state_words),
                "more changes of its state than it may have",
            )?,
        })
    }

    pub(crate) fn set_answer(&mut self, answer: &Answer) {
        let Answer { accepts, work, .. } = answer;
        let flags = u64::from(accepts.checksum) | u64::from(accepts.tcp4) << 1 | u64::from(accepts.tcp6) << 2;
        self.put_arguments(at::ANSWER, answer.arguments);
        self.put(at::ANSWER_BYTES, answer.bytes as u64);
        self.put(at::LINES, answer.lines);
        self.put(at::ACCEPTS, flags | (accepts.largest_bytes as u64) << 8);
        for (at, value) in (at::WORK..).zip([work.requests, work.bytes, work.errors]) {
            self.put(at, value);
        }
        self.put(at::EFFECTS, answer.effects as u64);
        self.put(at::OVERFLOW, answer.has_overflowed.into());
        self.put(at::PUBLISHED, (answer.published as u64) << 1 | u64::from(answer.is_untold));
        self.put(at::RECORDS, answer.records as u64);
    }

    /// What is published, from the first on.
    pub(crate) fn published(&self, count: usize) -> &[[u64; PUBLISHED_WORDS]] {
        let words = self.words.get(at::FIRST_PUBLISHED..at::FIRST_EFFECT).unwrap_or_default();
        let (published, _) = words.as_chunks();
        published.get(..count).unwrap_or_default()
    }

    pub(crate) fn set_published(&mut self, index: usize, [place, value]: [u64; PUBLISHED_WORDS]) {
        let at = at::FIRST_PUBLISHED.saturating_add(index.saturating_mul(PUBLISHED_WORDS));
        if at < at::FIRST_EFFECT {
            self.put(at, place);
            self.put(at + 1, value);
        }
    }

    /// Where the changes of the state are, and where a state is to be restored from.
    pub(crate) fn records(&mut self) -> &mut [u64] {
        let words = self.words.get_mut(self.sizes.records_at()..).unwrap_or_default();
        words.get_mut(..record_words(self.sizes.state_words)).unwrap_or_default()
    }

    /// The words of an effect.
    pub(crate) fn effect(&self, index: usize) -> [u64; EFFECT_WORDS] {
        self.arguments(at::FIRST_EFFECT.saturating_add(index.saturating_mul(EFFECT_WORDS)))
    }

    pub(crate) fn set_effect(&mut self, index: usize, words: [u64; EFFECT_WORDS]) {
        self.put_arguments(at::FIRST_EFFECT.saturating_add(index.saturating_mul(EFFECT_WORDS)), words);
    }

    /// The device's buffer.
    pub(crate) fn buffer(&mut self) -> &mut [u8] {
        let (at, bytes) = (self.sizes.buffer_at(), self.sizes.buffer_bytes);
        self.bytes_at(at, bytes)
    }

    /// The data of the call or its answer.
    pub(crate) fn data(&mut self) -> &mut [u8] {
        let (at, bytes) = (self.sizes.data_at(), self.sizes.data_bytes);
        self.bytes_at(at, bytes)
    }

    fn bytes_at(&mut self, word: usize, bytes: usize) -> &mut [u8] {
        bytes_at(self.words, word, bytes)
    }
}

fn bytes_at(words: &mut [u64], word: usize, bytes: usize) -> &mut [u8] {
    let words = words.get_mut(word..).unwrap_or_default();
    let all = bytemuck::try_cast_slice_mut(words).unwrap_or_default();
    all.get_mut(..bytes).unwrap_or_default()
}

const _: () = assert!(EFFECT_WORDS == ARGUMENTS);
