//! What the compartment says, and what of that can be so.

use crate::area::{ACCESS_WORDS, DATA_BYTES, MOST_WRITES, Words, Write, at, is_within_page, part, width_of};
use crate::call::Call;
use access::vcpu::Event;
use compartment::Ended;
use emulator::decode::{Extension, Register};
use emulator::{CodeSize, Load, Outcome};
use spec::{Gpa, Width};

/// What follows.
pub(crate) mod kind {
    pub const DONE: u64 = 1;
    pub const RETRY: u64 = 2;
    pub const INJECT: u64 = 3;
    pub const UNSUPPORTED: u64 = 4;
    /// All segments are needed.
    pub const SEGMENTS: u64 = 5;
    /// Something is to be read first.
    pub const ASKS: u64 = 6;
}

/// What changed, beside a bit for each general register.
pub(crate) mod changed {
    pub const REGISTERS: u64 = 0xffff;
    pub const RIP: u64 = 1 << 16;
    pub const RFLAGS: u64 = 1 << 17;
    pub const CR2: u64 = 1 << 18;
    pub const SHADOW: u64 = 1 << 19;
    pub const ALL: u64 = (1 << 20) - 1;
}

/// The flags that arithmetic leaves: CF, PF, AF, ZF, SF and OF.
pub(crate) const ARITHMETIC: u64 = 0x8d5;
const HAS_ERROR: u64 = 1 << 8;

/// What is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// So much, there; or at the port that the guest named.
    Read(Gpa, Width),
    /// So many bytes from the port, over and over.
    Input(usize),
    /// So many bytes of data are to be written to the port, over and over: whether they were.
    Output(usize),
}

const LOAD: u64 = 1;
const READ: u64 = 2;
const INPUT: u64 = 3;
const OUTPUT: u64 = 4;
const HIGH_BYTE: u64 = 1 << 12;
const SIGN: u64 = 1 << 24;
const SWAP: u64 = 1 << 25;

impl Request {
    pub const fn encode(self) -> [u64; ACCESS_WORDS] {
        match self {
            Self::Read(gpa, width) => [gpa.0, width.bytes(), READ],
            Self::Input(bytes) => [0, bytes as u64, INPUT],
            Self::Output(bytes) => [0, bytes as u64, OUTPUT],
        }
    }

    /// What an instruction can ask for that exited so.
    fn decode([place, count, what]: [u64; ACCESS_WORDS], call: Call) -> Option<Self> {
        match (what, call) {
            (READ, Call::Memory(..)) => {
                let width = width_of(count)?;
                is_within_page(place, width).then_some(Self::Read(Gpa(place), width))
            }
            (READ, Call::String(access)) if access.input => Some(Self::Read(Gpa(0), access.width)),
            (INPUT | OUTPUT, Call::String(access)) if access.input == (what == INPUT) => {
                let bytes = usize::try_from(count).ok().filter(|count| (1..=DATA_BYTES).contains(count))?;
                let is_whole = bytes.is_multiple_of(access.width.bytes() as usize);
                is_whole.then_some(if access.input { Self::Input(bytes) } else { Self::Output(bytes) })
            }
            _ => None,
        }
    }
}

/// A load that is left.
pub(crate) fn encode_load(gpa: Gpa, load: Load) -> [u64; ACCESS_WORDS] {
    let Load { from, register: Register { index, high_byte }, to, extension, swap } = load;
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    let how = from.bytes() | u64::from(index) << 8 | flag(high_byte, HIGH_BYTE) | to.bytes() << 16;
    [gpa.0, how | flag(extension == Extension::Sign, SIGN) | flag(swap, SWAP), LOAD]
}

fn decode_load([place, how, _]: [u64; ACCESS_WORDS]) -> Option<(Gpa, Load)> {
    let (from, to) = (width_of(how & 0xff)?, width_of(how >> 16 & 0xff)?);
    let register = Register { index: (how >> 8 & 0xf) as u8, high_byte: how & HIGH_BYTE != 0 };
    let extension = if how & SIGN != 0 { Extension::Sign } else { Extension::Zero };
    let is_sound = is_within_page(place, from) && (!register.high_byte || to == Width::Byte);
    let load = Load { from, register, to, extension, swap: how & SWAP != 0 };
    is_sound.then_some((Gpa(place), load))
}

/// An event, as one word.
pub(crate) fn encode_event(event: Event) -> u64 {
    match event {
        Event::Exception { vector, error: None } => vector.into(),
        Event::Exception { vector, error: Some(error) } => {
            u64::from(vector) | HAS_ERROR | u64::from(error) << 32
        }
        // No instruction raises them; nobody takes it for an event.
        Event::Interrupt(_) | Event::Nmi => u64::MAX,
    }
}

/// The event, where an instruction that is interpreted can raise it.
fn decode_event(word: u64) -> Option<Event> {
    /// All bits of a page fault's error code that the interpreter knows.
    const PAGE_FAULT_ERRORS: u32 = 0x1f;
    let (vector, error) = (word as u8, (word >> 32) as u32);
    let can_be = match (vector, word & HAS_ERROR != 0) {
        // #DB behind it.
        (1, false) => error == 0,
        // #SS(0) and #GP(0).
        (12 | 13, true) => error == 0,
        (14, true) => error & !PAGE_FAULT_ERRORS == 0,
        _ => false,
    };
    let is_all = word & 0xffff_fe00 == 0;
    let error = (word & HAS_ERROR != 0).then_some(error);
    (can_be && is_all).then_some(Event::Exception { vector, error })
}

/// What was answered, where it can be so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Segments,
    Asks(Request),
    Over(Over),
}

/// An instruction that is over but for what ring 0 does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Over {
    pub outcome: Outcome,
    pub changed: u64,
    /// Accesses that write.
    pub writes: usize,
    pub load: Option<(Gpa, Load)>,
}

/// What an answer is held against.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    pub call: Call,
    pub size: CodeSize,
    pub rip: u64,
    pub rflags: u64,
}

/// Reads an answer.
///
/// # Errors
/// What of it cannot be.
#[inline]
pub(crate) fn read(words: &Words, before: &Before) -> Result<Answer, Ended> {
    let outcome = match words[at::ANSWER] {
        kind::DONE => Outcome::Done,
        kind::RETRY => Outcome::Retry,
        kind::UNSUPPORTED => Outcome::Unsupported,
        kind::INJECT => {
            let event = decode_event(words[at::EVENT]);
            Outcome::Inject(event.ok_or(Ended::Answer("an event that no instruction raises"))?)
        }
        kind::SEGMENTS => return Ok(Answer::Segments),
        kind::ASKS => {
            let request = Request::decode(*part(words, at::READ), before.call);
            return Ok(Answer::Asks(request.ok_or(Ended::Answer("a question about nothing"))?));
        }
        _ => return Err(Ended::Answer("nothing that an instruction comes to")),
    };
    let changed = words[at::CHANGED];
    if changed & !changed::ALL != 0 {
        return Err(Ended::Answer("changes of what an instruction does not change"));
    }
    if changed & changed::RIP != 0 && !is_behind(before, words[at::NEW_RIP]) {
        return Err(Ended::Answer("an instruction pointer that is behind no instruction"));
    }
    // Behind an instruction the flag is clear that its faults are resumed with.
    let rflags = words[at::NEW_RFLAGS] ^ before.rflags;
    let resumes = rflags & spec::processor::RFLAGS_RF;
    if changed & changed::RFLAGS != 0
        && (rflags & !(ARITHMETIC | resumes) != 0 || resumes & !before.rflags != 0)
    {
        return Err(Ended::Answer("flags that no instruction changes"));
    }
    let faults = matches!(outcome, Outcome::Inject(Event::Exception { vector: 14, .. }));
    if changed & changed::CR2 != 0 && !faults {
        return Err(Ended::Answer("the address of a page fault that there is not"));
    }
    let writes = words[at::WRITE_COUNT];
    if writes > MOST_WRITES as u64 {
        return Err(Ended::Answer("more accesses than an instruction has"));
    }
    let load = part(words, at::READ);
    let load = match (load[2], before.call) {
        (0, _) => None,
        (LOAD, Call::Memory(..)) if writes == 0 => {
            Some(decode_load(*load).ok_or(Ended::Answer("a load of nothing"))?)
        }
        _ => return Err(Ended::Answer("a load of nothing")),
    };
    let over = Over { outcome, changed, writes: writes as usize, load };
    if writes != 0 && !all_writes(words, over.writes).all(|write| can_be(write, before.call)) {
        return Err(Ended::Answer("an access that no instruction makes"));
    }
    Ok(Answer::Over(over))
}

/// Whether RIP stayed, or is behind an instruction there.
fn is_behind(before: &Before, rip: u64) -> bool {
    let length = rip.wrapping_sub(before.rip) as u32;
    length <= 15 && (rip == before.rip || before.size.rip_after(before.rip, length as u8) == rip)
}

fn all_writes(words: &Words, count: usize) -> impl Iterator<Item = Option<Write>> + '_ {
    let words = words.get(at::WRITES..at::DATA).unwrap_or_default().as_chunks().0;
    words.iter().take(count).map(|words| Write::decode(*words))
}

fn can_be(write: Option<Write>, call: Call) -> bool {
    match (write, call) {
        (None, _) => false,
        (Some(_), Call::Memory(..)) => true,
        (Some(write), Call::String(access)) => !access.input && write.width == access.width,
    }
}

/// The accesses that write, of an answer that was found sound.
pub(crate) fn writes(words: &Words, over: &Over) -> impl Iterator<Item = Write> {
    all_writes(words, over.writes).flatten()
}
