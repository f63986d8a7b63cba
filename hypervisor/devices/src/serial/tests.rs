use super::*;
use crate::snapshot::{RestoreFault, SaveFault};
use crate::testing::{Bench, VecMedium};
use access::memory::VecMemory;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const IER: u64 = 1;
const IIR: u64 = 2;
const FCR: u64 = 2;
const LCR: u64 = 3;
const MCR: u64 = 4;
const LSR: u64 = 5;

fn port() -> Bench<Serial, VecMemory> {
    Bench::new(Serial::new(), VecMemory::new(0), VecMedium::new(0))
}

/// As Linux leaves it that has opened the port: FIFOs, interrupts for what is received, OUT2.
fn open() -> Bench<Serial, VecMemory> {
    let mut port = port();
    for (register, value) in [(FCR, 0x81), (LCR, 0x03), (MCR, 0x0b), (IER, 0x05)] {
        port.write(register, Width::Byte, value);
    }
    port
}

fn type_in(port: &mut Bench<Serial, VecMemory>, byte: u8) -> bool {
    port.with(|device, context| device.input(byte, context))
}

#[test]
fn what_is_written_is_printed() {
    let mut port = open();
    let mut printed = vec![];
    for byte in b"hello\r\n" {
        assert_eq!(port.read(LSR, Width::Byte), 0x60, "the transmitter is empty");
        port.write(0, Width::Byte, u64::from(*byte));
        printed.extend(port.output(256));
    }
    assert_eq!(printed, b"hello\r\n");
    // The divisor is not printed.
    port.write(LCR, Width::Byte, 0x80);
    port.write(0, Width::Byte, 1);
    assert!(!port.has_output);
    assert_eq!(port.device.work(), Work { bytes: 7, ..Work::default() });
}

#[test]
fn what_is_typed_interrupts_by_the_line() {
    let mut port = open();
    assert!(type_in(&mut port, b'a'));
    assert!(port.line);
    assert_eq!(port.read(IIR, Width::Byte), 0xcc);
    assert_eq!(port.read(LSR, Width::Byte), 0x61);
    assert_eq!(port.read(0, Width::Byte), b'a'.into());
    assert!(!port.line);
    // OUT2 connects the line.
    port.write(MCR, Width::Byte, 0x03);
    assert!(type_in(&mut port, b'b') && !port.line);
    port.write(MCR, Width::Byte, 0x0b);
    assert!(port.line);
}

/// A port that nobody reads takes what it has room for, and then nothing until it is read.
#[test]
fn what_is_typed_waits_for_its_driver() {
    let mut port = open();
    let taken = (0..10_000_u32).take_while(|byte| type_in(&mut port, *byte as u8)).count();
    assert_eq!(taken, crate::uart::FIFO_BYTES + crate::uart::WAITING_BYTES);
    let read: Vec<u8> = (0..taken).map(|_| port.read(0, Width::Byte) as u8).collect();
    assert!(read.iter().zip(0_u32..).all(|(byte, number)| *byte == number as u8));
    assert!(type_in(&mut port, 1));
}

#[test]
fn wide_accesses_reach_registers_behind_one_another() {
    let mut port = port();
    port.write(4, Width::Dword, 0x5a_00_00_13);
    assert_eq!(port.read(7, Width::Byte), 0x5a);
    assert_eq!(port.read(4, Width::Byte), 0x13);
    port.write(7, Width::Dword, 0xffff_ff77);
    assert_eq!(port.read(7, Width::Dword), 0xffff_ff77, "behind the last there is nothing");
    assert_eq!(port.read(8, Width::Byte), 0xff);
    port.write(u64::MAX, Width::Dword, 0);
    assert_eq!(port.read(u64::MAX, Width::Word), 0xffff);
}

/// Whoever prints is slower than the guest: what there is no room for is lost, and counted.
#[test]
fn what_nobody_takes_is_lost() {
    let mut port = open();
    (0..20).for_each(|byte| port.write(0, Width::Byte, byte));
    assert_eq!(port.output(3), (0..PRINTED_BYTES as u8).collect::<Vec<_>>());
    assert_eq!(port.device.work().errors, 4);
}

#[test]
fn a_reset_is_a_new_port() {
    let mut port = open();
    type_in(&mut port, b'a');
    port.write(0, Width::Byte, b'b'.into());
    port.reset();
    assert!(!port.line);
    assert_eq!(port.read(LSR, Width::Byte), 0x60);
    assert_eq!(port.output(16), b"");
}

fn save(device: &Serial) -> Vec<u8> {
    let mut state = [0; STATE_BYTES];
    let length = device.save(&mut state).unwrap();
    state[..length].to_vec()
}

#[test]
fn a_saved_port_goes_on() {
    let mut port = open();
    (0..300_u32).for_each(|byte| assert!(type_in(&mut port, byte as u8)));
    port.write(0, Width::Byte, b'x'.into());
    assert_eq!(port.device.save(&mut [0; STATE_BYTES]), Err(SaveFault::Busy));
    assert_eq!(port.output(16), b"x");
    let state = save(&port.device);
    port.device = Serial::new();
    port.device.restore(&state).unwrap();
    assert_eq!(save(&port.device), state);
    assert!(port.device.line());
    let read: Vec<u8> = (0..300).map(|_| port.read(0, Width::Byte) as u8).collect();
    assert!(read.iter().zip(0_u32..).all(|(byte, number)| *byte == number as u8));
}

#[test]
fn what_is_no_state_is_refused() {
    let mut port = open();
    let state = save(&port.device);
    assert_eq!(port.device.restore(&state[..state.len() - 1]), Err(RestoreFault::Malformed));
    let mut other = state.clone();
    other[0] ^= 2;
    assert!(matches!(port.device.restore(&other), Err(RestoreFault::Version(_))));
    // More in the FIFO than it holds.
    let mut full = state.clone();
    full[18] = 17;
    assert!(matches!(port.device.restore(&full), Err(RestoreFault::Impossible(_))));
    assert_eq!(save(&port.device), state);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Any accesses, in between what is typed: they end, the line is told of, and after a reset the port
    /// works.
    #[test]
    fn any_accesses_leave_a_port_that_works(
        steps in prop::collection::vec((0_u64..12, 0_u8..4, any::<u32>(), 0_u8..4), 0..300)
    ) {
        let mut port = open();
        for (register, width, value, step) in steps {
            let width = [Width::Byte, Width::Word, Width::Dword, Width::Qword][usize::from(width)];
            match step {
                0 => prop_assert_eq!(port.read(register, width) & !width.mask(), 0),
                1 => drop(port.output(1 + value as usize % 20)),
                2 => drop(type_in(&mut port, value as u8)),
                _ => port.write(register, width, value.into()),
            }
        }
        port.output(16);
        let state = save(&port.device);
        let mut other = Serial::new();
        prop_assert!(other.restore(&state).is_ok());
        prop_assert_eq!(other.line(), port.line);
        port.reset();
        port.write(0, Width::Byte, b'x'.into());
        prop_assert_eq!(port.output(16), b"x");
    }
}
