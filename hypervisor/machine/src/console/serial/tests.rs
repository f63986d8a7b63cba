//! Where the crate's way with a port is not ours, and that ours ends.

use super::*;
use core::cell::Cell;

/// More looks at a register than anybody needs who has a bound.
const MANY: u32 = 4 * POLLS;

/// Registers that keep what is written, but for the line status, which is fixed.
#[derive(Debug)]
struct Fake {
    line_status: u8,
    /// The port was pulled: everything reads ones.
    is_gone: Cell<bool>,
    bytes: [Cell<u8>; 8],
    looks: Cell<u32>,
}

impl Fake {
    fn new(line_status: u8) -> Self {
        Self { line_status, is_gone: Cell::new(false), bytes: Default::default(), looks: Cell::new(0) }
    }
}

impl presence::Registers for Fake {
    fn read(&self, register: u8) -> u8 {
        self.looks.set(self.looks.get() + 1);
        assert!(self.looks.get() < MANY, "it waits without end");
        match register {
            _ if self.is_gone.get() => NOBODY,
            LINE_STATUS => self.line_status,
            _ => self.bytes[usize::from(register)].get(),
        }
    }

    fn write(&self, register: u8, value: u8) {
        self.bytes[usize::from(register)].set(value);
    }
}

/// The registers as they are, without our bound.
#[derive(Debug)]
struct Plain(Fake);

impl Backend for Plain {
    unsafe fn read(&mut self, register: u8) -> u8 {
        self.0.read(register)
    }
    unsafe fn write(&mut self, register: u8, value: u8) {
        self.0.write(register, value);
    }
}

/// A transmitter that is never empty, with nothing received.
const BUSY: u8 = 0;
/// One that is empty.
const EMPTY: u8 = 0x60;

#[test]
#[should_panic(expected = "it waits without end")]
fn the_crate_waits_for_a_transmitter_without_end() {
    // SAFETY: the registers are a structure of this test.
    let mut uart = unsafe { Uart16550::new_with_backend(Plain(Fake::new(BUSY))) };
    let _ = uart.init(Config::DEFAULT);
}

#[test]
#[should_panic(expected = "it waits without end")]
fn its_test_of_the_loopback_waits_likewise() {
    // SAFETY: as above.
    let mut uart = unsafe { Uart16550::new_with_backend(Plain(Fake::new(EMPTY))) };
    uart.init(Config::DEFAULT).expect("it is set up");
    // Nothing comes back, as with the management controllers whose loopback is left out.
    let _ = uart.test_loopback();
}

#[test]
fn bounded_registers_end_its_wait() {
    let bounded = Bounded { registers: Fake::new(BUSY), polls: 0 };
    // SAFETY: as above.
    let mut uart = unsafe { Uart16550::new_with_backend(bounded) };
    assert!(uart.init(Config::DEFAULT).is_ok());
    assert_eq!(uart.backend().polls, POLLS, "which is how a stuck port is known");
    // SAFETY: as above.
    let mut uart = unsafe { Uart16550::new_with_backend(Bounded { registers: Fake::new(EMPTY), polls: 0 }) };
    assert!(uart.init(Config::DEFAULT).is_ok());
    assert_eq!(uart.backend().polls, 0);
}

#[test]
fn the_crate_receives_from_nobody_without_end() {
    // SAFETY: as above.
    let mut uart = unsafe { Uart16550::new_with_backend(Plain(Fake::new(EMPTY))) };
    uart.init(Config::DEFAULT).expect("it is set up");
    assert!(uart.try_receive_byte().is_err());
    // A card is pulled: all ones say that a byte is there, and that there is room.
    uart.backend().0.is_gone.set(true);
    assert!((0..10_000).all(|_| uart.try_receive_byte() == Ok(NOBODY)));
    assert_eq!(uart.send_bytes(b"lost"), 4);
    // So it is the line status that is looked at here.
    assert!(!has_received(NOBODY));
    assert!(has_received(EMPTY | 1) && !has_received(EMPTY));
}
