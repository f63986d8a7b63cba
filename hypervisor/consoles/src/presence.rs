//! Is there a 16550 (National PC16550D data sheet), and what does it divide its clock by?

/// The registers of something that may be a 16550.
pub trait Registers {
    /// Reads one.
    fn read(&self, register: u8) -> u8;
    /// Writes one.
    fn write(&self, register: u8, value: u8);
}

/// Why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absent {
    /// The line status has all bits, as where nobody answers.
    Floating,
    /// The scratch register does not keep what is written.
    Forgets,
    /// In loopback mode the modem's inputs are not the outputs.
    NoLoopback,
    /// Its transmitter is never empty.
    Stuck,
    /// Its registers cannot be mapped.
    Unmapped,
}

impl core::fmt::Display for Absent {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Floating => "nobody answers",
            Self::Forgets => "its scratch register keeps nothing",
            Self::NoLoopback => "its loopback mode does not loop back",
            Self::Stuck => "its transmitter is never empty",
            Self::Unmapped => "its registers cannot be mapped",
        })
    }
}

const MODEM_CONTROL: u8 = 4;
const LINE_STATUS: u8 = 5;
const MODEM_STATUS: u8 = 6;
const SCRATCH: u8 = 7;
/// What reads where nobody answers.
pub const NOBODY: u8 = 0xff;

/// Modem control: loopback, in which the outputs DTR, RTS, OUT1, OUT2 (bits 0 to 3) are the
/// inputs DSR, CTS, RI, DCD (modem status bits 5, 4, 6, 7).
const LOOPBACK: u8 = 1 << 4;
const LOOPS: [(u8, u8); 3] = [(0b1010, 0x90), (0b0101, 0x60), (0, 0)];
/// Looks until the inputs have followed.
const LOOKS: u32 = 1000;

/// Whether a 16550 answers. `at_pc_port`: the registers are at one of the four places where
/// nothing but a serial port is ever, and its maker may have left the loopback out, as some
/// management controllers' have; there Linux does not ask for it either. Elsewhere what keeps
/// a scratch byte may be memory.
///
/// Interrupts that loopback may raise are whoever's who left them enabled.
///
/// # Errors
/// Why there is none.
pub fn test(registers: &impl Registers, at_pc_port: bool) -> Result<(), Absent> {
    if registers.read(LINE_STATUS) == NOBODY {
        return Err(Absent::Floating);
    }
    for pattern in [0x55, 0xaa] {
        registers.write(SCRATCH, pattern);
        // What is on the bus must be something else before it is read again.
        let _ = registers.read(LINE_STATUS);
        if registers.read(SCRATCH) != pattern {
            return Err(Absent::Forgets);
        }
    }
    if at_pc_port || loops_back(registers) { Ok(()) } else { Err(Absent::NoLoopback) }
}

fn loops_back(registers: &impl Registers) -> bool {
    const INPUTS: u8 = 0xf0;
    let before = registers.read(MODEM_CONTROL);
    let follows = LOOPS.iter().all(|(outputs, inputs)| {
        registers.write(MODEM_CONTROL, LOOPBACK | outputs);
        (0..LOOKS).any(|_| registers.read(MODEM_STATUS) & INPUTS == *inputs)
    });
    registers.write(MODEM_CONTROL, before & !LOOPBACK);
    follows
}

/// What a port divides its clock by to have a rate, with 16 samples a bit; `None` where it
/// cannot have it to within a twentieth, as much as a receiver bears.
pub fn divisor(clock_hz: u32, baud: u32) -> Option<u16> {
    let wanted = u64::from(baud).checked_mul(16).filter(|wanted| *wanted != 0)?;
    let clock = u64::from(clock_hz);
    let divisor = u16::try_from(clock.saturating_add(wanted / 2) / wanted).ok().filter(|it| *it != 0)?;
    let had = u64::from(divisor).saturating_mul(wanted);
    (had.abs_diff(clock) <= clock / 20).then_some(divisor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::{Cell, RefCell};
    use std::vec::Vec;

    /// What is behind the registers.
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Uart,
        WithoutLoopback,
        Nobody,
        Zeros,
        Memory,
        /// The last byte on the bus.
        Echo,
    }

    struct Fake {
        kind: Kind,
        bytes: RefCell<[u8; 8]>,
        bus: Cell<u8>,
        writes: RefCell<Vec<(u8, u8)>>,
        reads: Cell<u32>,
    }

    impl Fake {
        fn new(kind: Kind) -> Self {
            let mut bytes = [0; 8];
            (bytes[4], bytes[5], bytes[6]) = (0x0b, 0x60, 0xb0);
            let (bytes, writes) = (RefCell::new(bytes), RefCell::default());
            Self { kind, bytes, bus: Cell::new(0), writes, reads: Cell::new(0) }
        }
    }

    impl Registers for Fake {
        fn read(&self, register: u8) -> u8 {
            self.reads.set(self.reads.get() + 1);
            let bytes = self.bytes.borrow();
            let control = bytes[4];
            match self.kind {
                Kind::Nobody => 0xff,
                Kind::Zeros => 0,
                Kind::Echo => self.bus.replace(0x13),
                Kind::Uart if register == 6 && control & 0x10 != 0 => {
                    (control & 0xc) << 4 | (control & 2) << 3 | (control & 1) << 5
                }
                _ => bytes[usize::from(register)],
            }
        }

        fn write(&self, register: u8, value: u8) {
            self.writes.borrow_mut().push((register, value));
            self.bus.set(value);
            let is_status = self.kind != Kind::Memory && (5..7).contains(&register);
            if !is_status {
                self.bytes.borrow_mut()[usize::from(register)] = value;
            }
        }
    }

    #[test]
    fn a_uart_answers_and_is_left_as_it_was() {
        for (kind, at_pc_port) in [(Kind::Uart, false), (Kind::Uart, true), (Kind::WithoutLoopback, true)] {
            let fake = Fake::new(kind);
            assert_eq!(test(&fake, at_pc_port), Ok(()));
            assert_eq!(fake.bytes.borrow()[4], 0x0b);
            assert!(
                fake.writes.borrow().iter().all(|(register, _)| matches!(register, 4 | 7)),
                "nothing is sent"
            );
        }
    }

    #[test]
    fn what_is_none_is_told_and_soon() {
        for (kind, at_pc_port, why) in [
            (Kind::Nobody, true, Absent::Floating),
            (Kind::Nobody, false, Absent::Floating),
            (Kind::Zeros, true, Absent::Forgets),
            (Kind::Echo, true, Absent::Forgets),
            (Kind::Memory, false, Absent::NoLoopback),
            (Kind::WithoutLoopback, false, Absent::NoLoopback),
        ] {
            let fake = Fake::new(kind);
            assert_eq!(test(&fake, at_pc_port), Err(why));
            assert!(fake.reads.get() < 10 * LOOKS);
            assert_eq!(fake.bytes.borrow()[4] & LOOPBACK, 0);
        }
    }

    #[test]
    fn memory_whose_status_is_what_loopback_gives_first_is_no_uart() {
        let fake = Fake::new(Kind::Memory);
        fake.bytes.borrow_mut()[6] = 0x90;
        assert_eq!(test(&fake, false), Err(Absent::NoLoopback));
    }

    #[test]
    fn rates_of_known_clocks() {
        for (clock, baud, expected) in [
            (1_843_200, 115_200, Some(1)),
            (1_843_200, 9600, Some(12)),
            (14_745_600, 115_200, Some(8)),
            (48_000_000, 115_200, Some(26)),
            (48_000_000, 3_000_000, Some(1)),
            (1_843_200, 57_600, Some(2)),
            (1_843_200, 100_000, None),
            (1_843_200, 1_000_000, None),
            (u32::MAX, 1, None),
            (0, 115_200, None),
            (1_843_200, 0, None),
            (1_843_200, u32::MAX, None),
        ] {
            assert_eq!(divisor(clock, baud), expected, "{clock} Hz, {baud} baud");
        }
    }
}
