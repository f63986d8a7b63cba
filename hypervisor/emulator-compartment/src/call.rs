//! What ring 0 says: why the guest exited, and the state of its processor.

use crate::area::{Words, at, bytes, part, put, put_bytes, width_of};
use access::vcpu::{ControlRegisters, NestedAccess, PortAccess, ProcessorState, Segment, SegmentName};
use spec::Gpa;

/// Why the guest exited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    /// It reached for this address, where it has no memory.
    Memory(Gpa, NestedAccess),
    /// A string instruction for a port.
    String(PortAccess),
}

const MEMORY: u64 = 1;
const STRING: u64 = 2;
const ACCESSES: [NestedAccess; 4] =
    [NestedAccess::Read, NestedAccess::Write, NestedAccess::Fetch, NestedAccess::Walk];
const IS_INPUT: u64 = 1 << 8;
const IS_STRING: u64 = 1 << 9;
const REPEATS: u64 = 1 << 10;

impl Call {
    fn encode(self) -> [u64; 3] {
        match self {
            Self::Memory(gpa, access) => [MEMORY, gpa.0, access as u64],
            Self::String(PortAccess { port, width, input, string, repeat }) => {
                let flag = |is_set, flag| if is_set { flag } else { 0 };
                let flags = flag(input, IS_INPUT) | flag(string, IS_STRING) | flag(repeat, REPEATS);
                [STRING, port.into(), width.bytes() | flags]
            }
        }
    }

    pub fn decode(words: &Words) -> Option<Self> {
        let [operation, place, how] = *part(words, at::OPERATION);
        match operation {
            MEMORY => Some(Self::Memory(Gpa(place), *ACCESSES.get(usize::try_from(how).ok()?)?)),
            STRING => Some(Self::String(PortAccess {
                port: u16::try_from(place).ok()?,
                width: width_of(how & 0xff)?,
                input: how & IS_INPUT != 0,
                string: how & IS_STRING != 0,
                repeat: how & REPEATS != 0,
            })),
            _ => None,
        }
    }
}

/// Which segments are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Segments {
    /// That of code, which is all that most instructions of 64 bits need.
    Code,
    /// All six.
    All,
}

/// Segments, by their number in [`SegmentName`].
pub(crate) const SEGMENTS: [SegmentName; 6] =
    [SegmentName::Es, SegmentName::Cs, SegmentName::Ss, SegmentName::Ds, SegmentName::Fs, SegmentName::Gs];
const HAS_ALL: u64 = 1 << 16;

/// The state of a processor that interpreting an instruction can ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct State {
    pub rip: u64,
    pub rflags: u64,
    pub control: ControlRegisters,
    pub registers: [u64; 16],
    pub segments: [Segment; 6],
    pub has: Segments,
    pub level: u8,
    /// The bytes that the processor gave, and how many.
    pub fetched: ([u8; 15], u8),
}

/// Writes a call and the state of a processor.
pub(crate) fn write(words: &mut Words, call: Call, cpu: &impl ProcessorState, has: Segments) {
    put(words, at::OPERATION, &call.encode());
    let all = if has == Segments::All { HAS_ALL } else { 0 };
    words[at::PRESENT] = all | u64::from(cpu.privilege_level());
    words[at::REPLY_COUNT] = 0;
    let ControlRegisters { cr0, cr2, cr3, cr4, efer } = cpu.control();
    put(words, at::RIP, &[cpu.rip(), cpu.rflags(), cr0, cr2, cr3, cr4, efer]);
    put(words, at::REGISTERS, &core::array::from_fn::<_, 16, _>(|index| cpu.register(index)));
    match has {
        Segments::Code => write_segment(words, SegmentName::Cs, cpu.segment(SegmentName::Cs)),
        Segments::All => {
            SEGMENTS.into_iter().for_each(|name| write_segment(words, name, cpu.segment(name)));
        }
    }
    put_bytes(words, at::FETCHED, cpu.fetched_bytes());
}

fn write_segment(words: &mut Words, name: SegmentName, segment: Segment) {
    let Segment { selector, attributes, limit, base } = segment;
    let first = u64::from(selector) | u64::from(attributes) << 16 | u64::from(limit) << 32;
    put(words, at::SEGMENTS + 2 * name as usize, &[first, base]);
}

/// Reads the state of the processor.
pub(crate) fn state(words: &Words) -> State {
    let [rip, rflags, cr0, cr2, cr3, cr4, efer] = *part(words, at::RIP);
    let segments = core::array::from_fn(|number| {
        let [first, base] = *part(words, at::SEGMENTS + 2 * number);
        let (attributes, limit) = ((first >> 16) as u16, (first >> 32) as u32);
        Segment { selector: first as u16, attributes, limit, base }
    });
    let present = words[at::PRESENT];
    State {
        rip,
        rflags,
        control: ControlRegisters { cr0, cr2, cr3, cr4, efer },
        registers: *part(words, at::REGISTERS),
        segments,
        has: if present & HAS_ALL != 0 { Segments::All } else { Segments::Code },
        level: present as u8 & 3,
        fetched: bytes(words, at::FETCHED),
    }
}
