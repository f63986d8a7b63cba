//! What ring 0 says: which of the chipset's methods it is.

use crate::area::{Words, at, part, put};
use devices::chipset::parts::Part;
use devices::chipset::{SERIAL, SERIAL_LAST};
use spec::Width;

/// A method of the chipset's, and its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    PortRead(u16, Width),
    PortWrite(u16, Width, u32),
    IoapicRead(u32),
    IoapicWrite(u32, u32),
    EndOfInterrupt(u8),
    SetLine(u8, bool),
    AssertLine(u8),
    DeassertLine(u8),
    Acknowledge,
    Receive(u8),
    Tick,
}

/// What is answered to what was served.
pub(crate) const SERVED: u64 = 0x6368_0002;

mod operation {
    pub const PORT_READ: u64 = 1;
    pub const PORT_WRITE: u64 = 2;
    pub const IOAPIC_READ: u64 = 3;
    pub const IOAPIC_WRITE: u64 = 4;
    pub const END_OF_INTERRUPT: u64 = 5;
    pub const SET_LINE: u64 = 6;
    pub const ASSERT_LINE: u64 = 7;
    pub const DEASSERT_LINE: u64 = 8;
    pub const ACKNOWLEDGE: u64 = 9;
    pub const RECEIVE: u64 = 10;
    pub const TICK: u64 = 11;
}

impl Call {
    fn encode(self) -> [u64; 4] {
        match self {
            Self::PortRead(port, width) => [operation::PORT_READ, port.into(), width.bytes(), 0],
            Self::PortWrite(port, width, value) => {
                [operation::PORT_WRITE, port.into(), width.bytes(), value.into()]
            }
            Self::IoapicRead(offset) => [operation::IOAPIC_READ, offset.into(), 0, 0],
            Self::IoapicWrite(offset, value) => [operation::IOAPIC_WRITE, offset.into(), value.into(), 0],
            Self::EndOfInterrupt(vector) => [operation::END_OF_INTERRUPT, vector.into(), 0, 0],
            Self::SetLine(gsi, level) => [operation::SET_LINE, gsi.into(), level.into(), 0],
            Self::AssertLine(gsi) => [operation::ASSERT_LINE, gsi.into(), 0, 0],
            Self::DeassertLine(gsi) => [operation::DEASSERT_LINE, gsi.into(), 0, 0],
            Self::Acknowledge => [operation::ACKNOWLEDGE, 0, 0, 0],
            Self::Receive(byte) => [operation::RECEIVE, byte.into(), 0, 0],
            Self::Tick => [operation::TICK, 0, 0, 0],
        }
    }

    /// Writes it, made at `now`.
    pub fn write(self, now: u64, words: &mut Words) {
        let [operation, arguments @ ..] = self.encode();
        put(words, at::OPERATION, &[operation, now]);
        put(words, at::ARGUMENTS, &arguments);
        words[at::ANSWER] = 0;
    }

    /// Reads it, and when it was made.
    pub fn read(words: &Words) -> Option<(Self, u64)> {
        let [operation, now] = *part(words, at::OPERATION);
        let [first, second, third] = *part::<3>(words, at::ARGUMENTS);
        let (byte, long) = (first as u8, first as u32);
        let call = match operation {
            operation::PORT_READ => Self::PortRead(first as u16, width_of(second)?),
            operation::PORT_WRITE => Self::PortWrite(first as u16, width_of(second)?, third as u32),
            operation::IOAPIC_READ => Self::IoapicRead(long),
            operation::IOAPIC_WRITE => Self::IoapicWrite(long, second as u32),
            operation::END_OF_INTERRUPT => Self::EndOfInterrupt(byte),
            operation::SET_LINE => Self::SetLine(byte, second != 0),
            operation::ASSERT_LINE => Self::AssertLine(byte),
            operation::DEASSERT_LINE => Self::DeassertLine(byte),
            operation::ACKNOWLEDGE => Self::Acknowledge,
            operation::RECEIVE => Self::Receive(byte),
            operation::TICK => Self::Tick,
            _ => return None,
        };
        Some((call, now))
    }

    /// Whether it can change this part of the state. What is typed, and its own ports, alone reach the serial port, whose
    /// state is most of all.
    pub const fn can_change(self, part: Part) -> bool {
        match (part, self) {
            (Part::Uart, Self::PortRead(port, width) | Self::PortWrite(port, width, _)) => {
                let end = port as u64 + width.bytes();
                port <= SERIAL_LAST && end > SERIAL as u64
            }
            (Part::Uart, call) => matches!(call, Self::Receive(_)),
            _ => true,
        }
    }

    /// The largest value that can be answered.
    pub const fn most_value(self) -> u64 {
        match self {
            Self::PortRead(_, width) => width.mask() & u32::MAX as u64,
            Self::IoapicRead(_) => u32::MAX as u64,
            Self::Acknowledge => u8::MAX as u64,
            Self::Receive(_) => 1,
            _ => 0,
        }
    }

    /// What is answered where there is no chipset any more: reads are ones, what is typed is taken, and so is no interrupt.
    pub const fn value_of_nobody(self) -> u64 {
        self.most_value()
    }
}

const fn width_of(bytes: u64) -> Option<Width> {
    match bytes {
        1 => Some(Width::Byte),
        2 => Some(Width::Word),
        4 => Some(Width::Dword),
        8 => Some(Width::Qword),
        _ => None,
    }
}
