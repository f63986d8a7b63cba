//! The compartment's side: the interpreter, on what ring 0 says.

use crate::answer::{Request, changed, encode_event, encode_load, kind};
use crate::area::{
    ACCESS_WORDS, DATA_BYTES, MOST_REPLIES, MOST_WRITES, Words, Write, at, copy, data, of, part, put,
    put_bytes,
};
use crate::call::{self, Call};
use crate::mirror::Mirror;
use crate::seen::{Memory, Seen};
use access::GuestMemory;
use access::vcpu::{ControlRegisters, ProcessorState};
use core::cell::{Cell, RefCell};
use emulator::{Bus, Load, Moved, Outcome, Ports, Recent};
use spec::{Gpa, Width};

/// What is kept from one entry to the next. All of it only saves work, but for an instruction that waits.
pub struct EmulatorServer {
    recent: Recent,
    seen: Seen,
}

impl Default for EmulatorServer {
    fn default() -> Self {
        Self { recent: Recent::default(), seen: Seen::new() }
    }
}

impl EmulatorServer {
    /// Serves a call in the words of the area, for a guest with this memory. False where there is none.
    pub fn serve(&mut self, memory: &impl GuestMemory, words: &mut [u64]) -> bool {
        let Some(words) = of(words) else { return false };
        let Some(call) = Call::decode(words) else { return false };
        let lacks = Cell::new(false);
        let mut mirror = Mirror::new(call::state(words), &lacks);
        let mut outside = Outside::new(words);
        if outside.replies_left == 0 {
            self.seen.forget();
        }
        let keeps = outside.replies_left != 0;
        let mut outcome = self.attempt((call, keeps), memory, &mut mirror, &mut outside);
        if outcome == Outcome::Waiting && !keeps && !lacks.get() {
            // It will be carried out again: from here on it is what it is now. Nothing was done yet.
            mirror = Mirror::new(call::state(outside.words), &lacks);
            outside = Outside::new(outside.words);
            outcome = self.attempt((call, true), memory, &mut mirror, &mut outside);
        }
        match lacks.get() {
            true => outside.words[at::ANSWER] = kind::SEGMENTS,
            false => self.answer(outcome, &mirror, outside),
        }
        true
    }

    /// Carries out the instruction, which goes on seeing what it saw where `keeps`.
    fn attempt(
        &mut self,
        (call, keeps): (Call, bool),
        memory: &impl GuestMemory,
        mirror: &mut Mirror<'_>,
        outside: &mut Outside<'_>,
    ) -> Outcome {
        let seen = keeps.then(|| RefCell::new(&mut self.seen));
        let memory = Memory { memory, seen, lacks: mirror.lacks };
        match call {
            Call::Memory(gpa, access) => {
                emulator::memory_access(mirror, &memory, outside, &mut self.recent, gpa, access)
            }
            Call::String(access) => emulator::string_port(mirror, &memory, outside, &mut self.recent, access),
        }
    }

    fn answer(&self, outcome: Outcome, mirror: &Mirror<'_>, outside: Outside<'_>) {
        let Outside { words, asks, load, writes, .. } = outside;
        let answer = match outcome {
            Outcome::Done => kind::DONE,
            Outcome::Retry => kind::RETRY,
            Outcome::Inject(event) => {
                words[at::EVENT] = encode_event(event);
                kind::INJECT
            }
            Outcome::Unsupported => {
                put_bytes(words, at::BYTES, self.recent.unsupported().as_slice());
                kind::UNSUPPORTED
            }
            Outcome::Waiting => kind::ASKS,
        };
        words[at::ANSWER] = answer;
        words[at::WRITE_COUNT] = writes as u64;
        match (asks.filter(|_| answer == kind::ASKS), load) {
            (Some(asks), _) => put(words, at::READ, &asks.encode()),
            (None, Some((gpa, load))) => put(words, at::READ, &encode_load(gpa, load)),
            (None, None) => put(words, at::READ, &[0; ACCESS_WORDS]),
        }
        put_changes(words, mirror);
    }
}

/// Says what the instruction made of its processor.
fn put_changes(words: &mut Words, mirror: &Mirror<'_>) {
    let [rip, rflags, _, cr2, ..] = *part::<7>(words, at::RIP);
    let ControlRegisters { cr2: new_cr2, .. } = mirror.control();
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    words[at::CHANGED] = u64::from(mirror.written)
        | flag(mirror.rip() != rip, changed::RIP)
        | flag(mirror.rflags() != rflags, changed::RFLAGS)
        | flag(new_cr2 != cr2, changed::CR2)
        | flag(mirror.shadow_ended, changed::SHADOW);
    put(words, at::NEW_RIP, &[mirror.rip(), mirror.rflags(), new_cr2]);
    if mirror.written != 0 {
        put(words, at::NEW_REGISTERS, &mirror.state.registers);
    }
}

/// What is not memory: replies that there are, and what is written down for ring 0.
struct Outside<'a> {
    words: &'a mut Words,
    /// Replies that were not taken yet, and where the next one is.
    replies_left: usize,
    next: usize,
    asks: Option<Request>,
    load: Option<(Gpa, Load)>,
    writes: usize,
}

impl<'a> Outside<'a> {
    fn new(words: &'a mut Words) -> Self {
        let replies_left = (words[at::REPLY_COUNT] as usize).min(MOST_REPLIES);
        Self { words, replies_left, next: at::REPLIES, asks: None, load: None, writes: 0 }
    }

    /// The reply to a request, if there is one already. Only the first that has none is asked.
    fn ask(&mut self, request: Request) -> Option<u64> {
        if self.replies_left == 0 {
            self.asks.get_or_insert(request);
            return None;
        }
        let reply = self.words.get(self.next).copied();
        self.replies_left -= 1;
        self.next += 1;
        reply
    }

    fn put(&mut self, write: Write) {
        assert!(self.writes < MOST_WRITES, "an instruction writes more than it can");
        put(self.words, at::WRITES + ACCESS_WORDS * self.writes, &write.encode());
        self.writes += 1;
    }
}

impl Bus for Outside<'_> {
    fn read(&mut self, gpa: Gpa, width: Width) -> Option<u64> {
        self.ask(Request::Read(gpa, width))
    }

    fn write(&mut self, place: Gpa, width: Width, value: u64) {
        self.put(Write { place, width, value });
    }

    fn takes_over(&mut self, gpa: Gpa, load: Load) -> bool {
        self.load = Some((gpa, load));
        true
    }
}

impl Ports for Outside<'_> {
    fn input(&mut self, _: u16, width: Width) -> Option<u32> {
        self.ask(Request::Read(Gpa(0), width)).map(|value| value as u32)
    }

    fn output(&mut self, port: u16, width: Width, value: u32) {
        self.put(Write { place: Gpa(port.into()), width, value: u64::from(value) & width.mask() });
    }

    fn input_string(&mut self, _: u16, _: Width, bytes: &mut [u8]) -> Moved {
        let count = bytes.len().min(DATA_BYTES);
        let moved = self.ask(Request::Input(count));
        if moved == Some(1) {
            copy(bytes, data(self.words));
        }
        moved_of(moved)
    }

    fn output_string(&mut self, _: u16, _: Width, bytes: &[u8]) -> Moved {
        let moved = self.ask(Request::Output(bytes.len().min(DATA_BYTES)));
        if moved.is_none() {
            copy(data(self.words), bytes);
        }
        moved_of(moved)
    }
}

fn moved_of(reply: Option<u64>) -> Moved {
    match reply {
        Some(1) => Moved::All,
        Some(_) => Moved::Nothing,
        None => Moved::Waiting,
    }
}
