//! The memory that ring 0 and a compartment have in common: words for a call and its answer, room for
//! effects, a buffer of the device's, and data of the call.

use crate::ended::Ended;
use crate::kind::Kind;
use crate::operation::Operation;
use devices::Blueprint;
use devices::device::{Accepts, LINES, Work};
use devices::journal::record_words;
use devices::rest::{MOST_PLACES, Place, Rest, Watch, Wish};
use serde::{Deserialize, Serialize};
use spec::Gpa;

/// Words of a call's or an answer's arguments.
pub(crate) const ARGUMENTS: usize = 5;
/// Words of an effect.
pub(crate) const EFFECT_WORDS: usize = 5;
/// Words of what is published: where, with its bytes in the upper 8 bits, and what.
pub(crate) const PUBLISHED_WORDS: usize = 2;
/// The most that one call publishes at its end. What is more is written when it comes.
pub(crate) const MOST_PUBLISHED: usize = 256;
/// Words of a place that is watched, or that says whether the guest is to tell: where, with these bits, and values
/// of 32 bits.
const PLACE_WORDS: usize = 2;
/// It has 4 bytes.
const IS_WIDE: u64 = 1 << 63;
/// There is a second value.
const HAS_SECOND: u64 = 1 << 62;
/// Bytes of a word.
const WORD_BYTES: usize = size_of::<u64>();

/// Words of the header, by their place.
mod at {
    use super::ARGUMENTS;

    pub const OPERATION: usize = 0;
    pub const NOW: usize = 1;
    pub const REACHES_MEMORY: usize = 2;
    pub const ROOM: usize = 3;
    pub const CALL_BYTES: usize = 4;
    pub const CALL: usize = 5;
    pub const ANSWER: usize = CALL + ARGUMENTS;
    pub const ANSWER_BYTES: usize = ANSWER + ARGUMENTS;
    pub const FLAGS: usize = ANSWER_BYTES + 1;
    pub const COUNTS: usize = FLAGS + 1;
    pub const ACCEPTS: usize = COUNTS + 1;
    pub const WORK: usize = ACCEPTS + 1;
    pub const END: usize = WORK + 3;
}

/// Words behind the header.
const FIRST_WISH: usize = PLACE_WORDS * MOST_PLACES;
const FIRST_PUBLISHED: usize = FIRST_WISH + PLACE_WORDS * MOST_PLACES;
const FIRST_EFFECT: usize = FIRST_PUBLISHED + PUBLISHED_WORDS * MOST_PUBLISHED;

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
        Places::of(self).words
    }
}

/// Where the parts of an area are: words behind its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Places {
    pub(crate) sizes: Sizes,
    buffer_at: usize,
    data_at: usize,
    records_at: usize,
    /// Words of all of it.
    words: usize,
}

impl Places {
    /// Those of an area whose parts have these sizes.
    pub const fn of(sizes: Sizes) -> Self {
        let buffer_at = FIRST_EFFECT.saturating_add(sizes.effects.saturating_mul(EFFECT_WORDS));
        let data_at = buffer_at.saturating_add(sizes.buffer_bytes.div_ceil(WORD_BYTES));
        let records_at = data_at.saturating_add(sizes.data_bytes.div_ceil(WORD_BYTES));
        let words = at::END.saturating_add(records_at).saturating_add(record_words(sizes.state_words));
        Self { sizes, buffer_at, data_at, records_at, words }
    }

    /// Those of so many words for the first call, before which the compartment does not know of any sizes: all that
    /// is left of these words is data.
    pub(crate) const fn for_build(words: usize) -> Self {
        let data_bytes = words.saturating_sub(at::END + FIRST_EFFECT).saturating_mul(WORD_BYTES);
        Self::of(Sizes { effects: 0, buffer_bytes: 0, data_bytes, state_words: 0 })
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
        Self { operation: operation as u64, arguments, ..Self::first() }
    }

    /// The first: the data says what the compartment is for.
    pub const fn first() -> Self {
        Self {
            operation: Kind::Model.word(),
            now: 0,
            reaches_memory: false,
            room: usize::MAX,
            arguments: [0; ARGUMENTS],
            bytes: 0,
        }
    }

    /// Whether it is an [`Access`].
    pub const fn is_access(&self) -> bool {
        is_access(self.operation)
    }
}

const fn is_access(operation: u64) -> bool {
    const READ: u64 = Operation::Read as u64;
    const WRITE: u64 = Operation::Write as u64;
    matches!(operation, READ | WRITE)
}

/// What an access to a register asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access {
    /// As those of a [`Call`].
    pub now: u64,
    pub reaches_memory: bool,
    pub room: usize,
    /// `offset`, bytes of the width, the value that is written.
    pub arguments: [u64; 3],
}

impl Access {
    /// As a call like any other.
    pub const fn call(&self, operation: Operation) -> Call {
        let Self { now, reaches_memory, room, arguments: [offset, width, value] } = *self;
        Call { now, reaches_memory, room, ..Call::new(operation, [offset, width, value, 0, 0]) }
    }
}

/// How many there are of what an answer has besides.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Counts {
    pub effects: usize,
    /// What it publishes.
    pub published: usize,
    /// Words of the changes of its state.
    pub records: usize,
    /// Places that the device watches while it rests, and by which its guest is told.
    pub watches: usize,
    pub wishes: usize,
}

impl Counts {
    fn decode(word: u64) -> Self {
        let part = |shift: u32| usize::from((word >> shift) as u16);
        Self {
            effects: part(0),
            published: part(16),
            records: part(32),
            watches: part(48) & 0xff,
            wishes: part(56),
        }
    }

    /// `None` where there are more than can be said.
    fn encode(self) -> Option<u64> {
        let Self { effects, published, records, watches, wishes } = self;
        let part = |count: usize| u16::try_from(count).map(u64::from).ok();
        let byte = |count: usize| u8::try_from(count).map(u64::from).ok();
        let places = byte(watches)? << 48 | byte(wishes)? << 56;
        Some(part(effects)? | part(published)? << 16 | part(records)? << 32 | places)
    }
}

/// What an answer says in bits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Flags(u64);

impl Flags {
    /// Effects were lost, or more of something than can be said.
    pub const OVERFLOW: u64 = 1 << 8;
    /// It is to be asked to tell of what it publishes.
    pub const UNTOLD: u64 = 1 << 9;
    /// The device [rests](devices::Device::rests).
    pub const RESTS: u64 = 1 << 10;
    /// What it accepts and what it has done is said as well.
    pub const SAYS_DONE: u64 = 1 << 11;
    /// There is more to the answer than a value. Without it nothing else is looked at.
    const HAS_MORE: u64 = 1 << 12;

    /// Of a device with these lines.
    pub fn new(lines: [bool; LINES]) -> Self {
        Self((0..).zip(lines).fold(0, |all, (line, level)| all | u64::from(level) << line))
    }

    pub const fn has(self, which: u64) -> bool {
        self.0 & which != 0
    }

    pub const fn set(&mut self, which: u64, is_so: bool) {
        if is_so {
            self.0 |= which;
        }
    }

    pub fn lines(self) -> [bool; LINES] {
        core::array::from_fn(|line| self.0 >> line & 1 != 0)
    }
}

/// What is answered, beside what it has counts of.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Answer {
    pub arguments: [u64; ARGUMENTS],
    pub bytes: usize,
    pub flags: Flags,
    pub counts: Counts,
}

/// What a device says of itself where that may have changed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Done {
    pub accepts: Accepts,
    pub work: Work,
}

/// The area, as either side sees it.
pub struct Area<'a> {
    header: &'a mut [u64; at::END],
    /// Behind it.
    rest: &'a mut [u64],
    places: &'a Places,
}

impl<'a> Area<'a> {
    /// The area in these words. `None` where they are too few.
    #[inline]
    pub fn new(words: &'a mut [u64], places: &'a Places) -> Option<Self> {
        if words.len() < places.words {
            return None;
        }
        let (header, rest) = words.split_first_chunk_mut()?;
        Some(Self { header, rest, places })
    }

    /// How large its parts are.
    pub const fn sizes(&self) -> Sizes {
        self.places.sizes
    }

    #[inline]
    pub(crate) fn call(&self) -> Call {
        let [operation, now, reaches_memory, room, bytes, arguments @ ..] =
            *self.header.first_chunk::<{ at::ANSWER }>().unwrap_or(&[0; at::ANSWER]);
        Call {
            operation,
            now,
            reaches_memory: reaches_memory != 0,
            room: room as usize,
            arguments,
            bytes: bytes as usize,
        }
    }

    #[inline]
    pub(crate) const fn set_call(&mut self, call: &Call) {
        self.header[at::OPERATION] = call.operation;
        self.header[at::NOW] = call.now;
        self.header[at::REACHES_MEMORY] = call.reaches_memory as u64;
        self.header[at::ROOM] = call.room as u64;
        self.header[at::CALL_BYTES] = call.bytes as u64;
        [
            self.header[at::CALL],
            self.header[at::CALL + 1],
            self.header[at::CALL + 2],
            self.header[at::CALL + 3],
            self.header[at::CALL + 4],
        ] = call.arguments;
    }

    /// Says what an access is: a call without data.
    #[inline]
    pub(crate) const fn set_access(&mut self, operation: Operation, access: &Access) {
        self.header[at::OPERATION] = operation as u64;
        self.header[at::NOW] = access.now;
        self.header[at::REACHES_MEMORY] = access.reaches_memory as u64;
        self.header[at::ROOM] = access.room as u64;
        [self.header[at::CALL], self.header[at::CALL + 1], self.header[at::CALL + 2]] = access.arguments;
    }

    /// What the access is that the call is, and whether it is a read, if it is one.
    #[inline]
    pub(crate) const fn access(&self) -> Option<(bool, Access)> {
        let operation = self.header[at::OPERATION];
        if !is_access(operation) {
            return None;
        }
        let access = Access {
            now: self.header[at::NOW],
            reaches_memory: self.header[at::REACHES_MEMORY] != 0,
            room: self.header[at::ROOM] as usize,
            arguments: [self.header[at::CALL], self.header[at::CALL + 1], self.header[at::CALL + 2]],
        };
        Some((operation == Operation::Read as u64, access))
    }

    /// The value that was answered, if that is all.
    #[inline]
    pub(crate) const fn value(&self) -> Option<u64> {
        if self.header[at::FLAGS] == 0 { Some(self.header[at::ANSWER]) } else { None }
    }

    /// Answers a value and nothing else: nothing is to be done, and the device says the same of itself as before.
    #[inline]
    pub(crate) const fn set_value(&mut self, value: u64) {
        self.header[at::ANSWER] = value;
        self.header[at::FLAGS] = 0;
    }

    /// What was answered, where it is within the area's bounds.
    #[inline]
    pub(crate) fn answer(&self) -> Result<Answer, Ended> {
        let bytes = self.header[at::ANSWER_BYTES];
        if bytes > self.places.sizes.data_bytes as u64 {
            return Err(Ended::Answer("more data than there is room for"));
        }
        let counts = self.header[at::COUNTS];
        let counts = if counts == 0 { Counts::default() } else { self.counts(counts)? };
        let arguments = [
            self.header[at::ANSWER],
            self.header[at::ANSWER + 1],
            self.header[at::ANSWER + 2],
            self.header[at::ANSWER + 3],
            self.header[at::ANSWER + 4],
        ];
        Ok(Answer { arguments, bytes: bytes as usize, flags: Flags(self.header[at::FLAGS]), counts })
    }

    fn counts(&self, word: u64) -> Result<Counts, Ended> {
        let counts = Counts::decode(word);
        let Sizes { effects, state_words, .. } = self.places.sizes;
        for (count, most, what) in [
            (counts.effects, effects, "more effects than it may have"),
            (counts.published, MOST_PUBLISHED, "more to publish than it may"),
            (counts.records, record_words(state_words), "more changes of its state than it may have"),
            (counts.watches.max(counts.wishes), MOST_PLACES, "more to watch than it may"),
        ] {
            if count > most {
                return Err(Ended::Answer(what));
            }
        }
        Ok(counts)
    }

    #[inline]
    pub(crate) fn set_answer(&mut self, answer: &Answer) {
        let Answer { arguments, bytes, mut flags, counts } = *answer;
        let words = counts.encode();
        flags.set(Flags::OVERFLOW, words.is_none());
        flags.set(Flags::HAS_MORE, true);
        self.header[at::ANSWER..at::ANSWER_BYTES].copy_from_slice(&arguments);
        self.header[at::ANSWER_BYTES] = bytes as u64;
        self.header[at::FLAGS] = flags.0;
        self.header[at::COUNTS] = words.unwrap_or(0);
    }

    /// What the device says of itself, where the answer has that.
    pub(crate) fn done(&self) -> Result<Done, Ended> {
        let accepts = self.header[at::ACCEPTS];
        let largest = accepts >> 8;
        if largest > network::LARGEST_BYTES as u64 {
            return Err(Ended::Answer("frames larger than any"));
        }
        Ok(Done {
            accepts: Accepts {
                checksum: accepts & 1 != 0,
                tcp4: accepts & 2 != 0,
                tcp6: accepts & 4 != 0,
                largest_bytes: largest as usize,
            },
            work: Work {
                requests: self.header[at::WORK],
                bytes: self.header[at::WORK + 1],
                errors: self.header[at::WORK + 2],
            },
        })
    }

    pub(crate) fn set_done(&mut self, Done { accepts, work }: &Done) {
        let flags = u64::from(accepts.checksum) | u64::from(accepts.tcp4) << 1 | u64::from(accepts.tcp6) << 2;
        self.header[at::ACCEPTS] = flags | (accepts.largest_bytes as u64) << 8;
        self.header[at::WORK] = work.requests;
        self.header[at::WORK + 1] = work.bytes;
        self.header[at::WORK + 2] = work.errors;
    }

    /// What the device waits for while it rests: what `rest` then says.
    pub(crate) fn rest(&self, counts: Counts, rest: &mut Rest) {
        rest.clear();
        for [place, value] in self.places_at(0).iter().take(counts.watches) {
            rest.watch(Watch { place: place_of(*place), value: *value as u32 });
        }
        for [place, values] in self.places_at(FIRST_WISH).iter().take(counts.wishes) {
            let unwanted = (place & HAS_SECOND != 0).then_some((values >> 32) as u32);
            rest.wish(Wish { place: place_of(*place), wanted: *values as u32, unwanted });
        }
    }

    pub(crate) fn set_rest(&mut self, rest: &Rest) {
        let (places, _) = self.rest.as_chunks_mut();
        let (watches, wishes) = places.split_at_mut_checked(MOST_PLACES).unwrap_or_default();
        for (to, Watch { place, value }) in watches.iter_mut().zip(rest.watches()) {
            *to = [word_of(*place), (*value).into()];
        }
        for (to, Wish { place, wanted, unwanted }) in wishes.iter_mut().zip(rest.wishes()) {
            let second = if unwanted.is_some() { HAS_SECOND } else { 0 };
            let values = u64::from(*wanted) | u64::from(unwanted.unwrap_or(0)) << 32;
            *to = [word_of(*place) | second, values];
        }
    }

    fn places_at(&self, at: usize) -> &[[u64; PLACE_WORDS]] {
        self.rest.get(at..FIRST_PUBLISHED).unwrap_or_default().as_chunks().0
    }

    /// What is published, from the first on.
    pub(crate) fn published(&self, count: usize) -> &[[u64; PUBLISHED_WORDS]] {
        let words = self.rest.get(FIRST_PUBLISHED..FIRST_EFFECT).unwrap_or_default();
        let (published, _) = words.as_chunks();
        published.get(..count).unwrap_or_default()
    }

    pub(crate) fn set_published(&mut self, index: usize, entry: [u64; PUBLISHED_WORDS]) {
        let words = self.rest.get_mut(FIRST_PUBLISHED..FIRST_EFFECT).unwrap_or_default();
        let (published, _) = words.as_chunks_mut();
        if let Some(place) = published.get_mut(index) {
            *place = entry;
        }
    }

    /// Where the changes of the state are, and where a state is to be restored from.
    #[inline]
    pub(crate) fn records(&mut self) -> &mut [u64] {
        let Places { records_at, sizes, .. } = *self.places;
        let words = self.rest.get_mut(records_at..).unwrap_or_default();
        words.get_mut(..record_words(sizes.state_words)).unwrap_or_default()
    }

    /// The words of an effect.
    pub(crate) fn effect(&self, index: usize) -> [u64; EFFECT_WORDS] {
        let (effects, _) = self.rest.get(FIRST_EFFECT..).unwrap_or_default().as_chunks();
        effects.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn set_effect(&mut self, index: usize, words: [u64; EFFECT_WORDS]) {
        let (effects, _) = self.rest.get_mut(FIRST_EFFECT..).unwrap_or_default().as_chunks_mut();
        if let Some(place) = effects.get_mut(index) {
            *place = words;
        }
    }

    /// The device's buffer.
    pub(crate) fn buffer(&mut self) -> &mut [u8] {
        let Places { buffer_at, sizes, .. } = *self.places;
        bytes_at(self.rest, buffer_at, sizes.buffer_bytes)
    }

    /// The data of the call or its answer.
    pub(crate) fn data(&mut self) -> &mut [u8] {
        let Places { data_at, sizes, .. } = *self.places;
        bytes_at(self.rest, data_at, sizes.data_bytes)
    }
}

/// A place in the guest's memory. There are fewer than 2^52 bytes of it.
const fn place_of(word: u64) -> Place {
    Place { gpa: Gpa(word & !(IS_WIDE | HAS_SECOND)), is_wide: word & IS_WIDE != 0 }
}

const fn word_of(place: Place) -> u64 {
    place.gpa.0 & !(IS_WIDE | HAS_SECOND) | if place.is_wide { IS_WIDE } else { 0 }
}

fn bytes_at(words: &mut [u64], word: usize, bytes: usize) -> &mut [u8] {
    let words = words.get_mut(word..).unwrap_or_default();
    let all = bytemuck::try_cast_slice_mut(words).unwrap_or_default();
    all.get_mut(..bytes).unwrap_or_default()
}
