use super::*;
use proptest::prelude::*;

const IIR: u8 = 2;
const FCR: u8 = 2;
const LCR: u8 = 3;
const MCR: u8 = 4;
const LSR: u8 = 5;
const MSR: u8 = 6;

/// FIFOs on with the trigger at 8 bytes, OUT2 on.
fn uart(ier: u8) -> Uart {
    let mut uart = Uart::new();
    uart.write(FCR, 0x87);
    uart.write(MCR, 0x0b);
    uart.write(1, ier);
    uart
}

#[test]
fn sends_what_is_written() {
    let mut uart = Uart::new();
    assert_eq!(uart.write(0, b'x'), Some(b'x'));
    assert_eq!(uart.read(LSR), 0x60);
}

#[test]
fn the_divisor_hides_the_data() {
    let mut uart = Uart::new();
    uart.write(LCR, 0x83);
    assert_eq!((uart.write(0, 12), uart.write(1, 1)), (None, None));
    assert_eq!((uart.read(0), uart.read(1)), (12, 1));
    uart.write(LCR, 0x03);
    assert_eq!((uart.read(0), uart.read(1), uart.read(LCR)), (0, 0, 3));
}

#[test]
fn the_transmitter_interrupt_is_ended_by_reading_its_cause() {
    let mut uart = uart(ENABLE_TRANSMITTER);
    assert!(uart.line());
    assert_eq!(uart.read(IIR), 0xc2);
    assert!(!uart.line());
    assert_eq!(uart.read(IIR), 0xc1);
    uart.write(0, b'a');
    assert!(uart.line());
    // Enabling it once more raises it only from off.
    uart.read(IIR);
    uart.write(1, ENABLE_TRANSMITTER);
    assert!(!uart.line());
    uart.write(1, 0);
    uart.write(1, ENABLE_TRANSMITTER);
    assert!(uart.line());
}

#[test]
fn received_bytes_interrupt_by_timeout_then_by_level() {
    let mut uart = uart(ENABLE_RECEIVED);
    assert!(!uart.line());
    assert!(uart.receive(b'a'));
    assert_eq!((uart.line(), uart.read(IIR), uart.read(LSR)), (true, 0xcc, 0x61));
    for _ in 1..8 {
        assert!(uart.receive(b'b'));
    }
    assert_eq!(uart.read(IIR), 0xc4);
    assert_eq!(uart.read(0), b'a');
    for _ in 1..8 {
        assert_eq!(uart.read(0), b'b');
    }
    assert_eq!((uart.line(), uart.read(LSR), uart.read(0)), (false, 0x60, 0));
}

#[test]
fn the_queue_is_bounded() {
    for (fcr, room) in [(0x00, 1), (0x01, FIFO_BYTES)] {
        let mut uart = Uart::new();
        uart.write(FCR, fcr);
        (0..room as u8).for_each(|byte| assert!(uart.receive(byte)));
        // Nothing of what was refused is there, and nothing overran.
        assert_eq!(uart.read(LSR), 0x61);
        for byte in 0..room as u8 {
            assert_eq!(uart.read(0), byte);
        }
        assert!(uart.receive(7));
    }
}

#[test]
fn what_is_pasted_waits_and_arrives_whole() {
    for fifo in [0, 1] {
        let mut uart = uart(ENABLE_RECEIVED);
        uart.write(FCR, fifo);
        let room = if fifo == 1 { FIFO_BYTES } else { 1 };
        let pasted: std::vec::Vec<u8> = (0..2 * WAITING_BYTES).map(|place| (place * 7) as u8).collect();
        let (mut taken, mut read) = (0, std::vec::Vec::new());
        while read.len() < pasted.len() {
            while taken < pasted.len() && uart.receive(pasted[taken]) {
                taken += 1;
            }
            assert!(taken - read.len() == WAITING_BYTES + room || taken == pasted.len());
            for _ in 0..1000 {
                if uart.read(LSR) & 1 == 0 {
                    break;
                }
                assert!(uart.line(), "while something waits it interrupts");
                read.push(uart.read(0));
            }
        }
        assert!(read == pasted);
        assert_eq!((uart.read(LSR), uart.line()), (0x60, false));
    }
}

#[test]
fn emptying_the_fifo_lets_in_what_waits() {
    let mut uart = uart(ENABLE_RECEIVED);
    (0..20).for_each(|byte| assert!(uart.receive(byte)));
    uart.write(FCR, 0x83);
    assert_eq!((uart.read(0), uart.read(0)), (16, 17));
    uart.write(MCR, 0x1b);
    assert_eq!(uart.write(0, b'l'), None);
    assert_eq!((uart.read(0), uart.read(0), uart.read(0), uart.read(0)), (18, 19, b'l', 0));
}

#[test]
fn causes_come_in_order_of_priority() {
    let mut uart = uart(0x0f);
    uart.write(MCR, 0x10); // loopback: the modem lines drop
    for byte in 0..17 {
        uart.write(0, byte);
    }
    uart.write(MCR, 0x0b);
    assert_eq!(uart.read(IIR), 0xc6);
    assert_eq!(uart.read(LSR), 0x63);
    assert_eq!(uart.read(IIR), 0xc4);
    uart.write(FCR, 0x83); // empty the FIFO
    assert_eq!(uart.read(IIR), 0xc2);
    assert_eq!(uart.read(IIR), 0xc0);
    assert_eq!(uart.read(MSR), 0xbb);
    assert_eq!((uart.read(IIR), uart.read(MSR)), (0xc1, 0xb0));
}

#[test]
fn loopback_turns_the_lines_around() {
    let mut uart = uart(ENABLE_RECEIVED);
    uart.write(MCR, 0x1a);
    assert_eq!(uart.read(MSR) & 0xf0, 0x90);
    assert_eq!(uart.write(0, b'l'), None);
    assert!(!uart.line(), "the interrupt pin is off");
    assert_eq!(uart.read(IIR), 0xcc);
    assert_eq!(uart.read(0), b'l');
    // The input is cut off.
    assert!(uart.receive(b'z'));
    assert_eq!(uart.read(LSR), 0x60);
}

#[test]
fn out2_connects_the_interrupt() {
    let mut uart = uart(ENABLE_TRANSMITTER);
    uart.write(MCR, 0x03);
    assert!(!uart.line());
    uart.write(MCR, 0x0b);
    assert!(uart.line());
}

#[test]
fn looks_like_a_16550a_to_a_probe() {
    let mut uart = Uart::new();
    uart.write(7, 0x5a);
    assert_eq!(uart.read(7), 0x5a);
    uart.write(1, 0xff);
    assert_eq!(uart.read(1), 0x0f);
    uart.write(FCR, 0x01);
    assert_eq!(uart.read(IIR) >> 6, 3);
    // Not a 16750: bit 5 stays clear.
    uart.write(FCR, 0x21);
    assert_eq!(uart.read(IIR) & 0x20, 0);
    uart.write(FCR, 0);
    assert_eq!(uart.read(IIR) >> 6, 0);
    assert_eq!((uart.read(8), uart.write(8, 1)), (0xff, None));
}

proptest! {
    #[test]
    fn survives_anything(accesses in proptest::collection::vec((0..20u8, any::<u8>()), 0..300)) {
        let mut uart = Uart::new();
        for (what, value) in accesses {
            match what {
                0..8 => { uart.read(what); }
                8..16 => { uart.write(what - 8, value); }
                _ => { uart.receive(value); }
            }
            prop_assert!(usize::from(uart.used) <= FIFO_BYTES && usize::from(uart.first) < FIFO_BYTES);
            // The line has a cause that the guest can find and end.
            if uart.line() {
                prop_assert_eq!(uart.clone().read(IIR) & 1, 0);
            }
        }
    }
}
