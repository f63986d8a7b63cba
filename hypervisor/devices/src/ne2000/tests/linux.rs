//! What Linux's ne2k-pci does, step by step.

use super::*;

/// First page, first page of the receive ring, page behind the last.
const START: u8 = 0x40;
const RING: u8 = 0x4c;
const STOP: u8 = 0x80;
const ALL: u8 = 0x3f;

/// The driver, by the book of its source.
pub struct Driver {
    pub card: Card,
    pub calls: usize,
}

impl Driver {
    fn out(&mut self, port: u64, value: u8) {
        out(&mut self.card, port, value);
    }

    fn input(&mut self, port: u64) -> u8 {
        input(&mut self.card, port)
    }

    /// Finds the card, resets it, and reads its address.
    fn probe() -> Self {
        Self::probe_of(card())
    }

    fn probe_of(card: Card) -> Self {
        let mut driver = Self { card, calls: 0 };
        let first = driver.input(0);
        assert_ne!(first, 0xff);
        driver.out(0, 0x61);
        driver.out(0xd, 0xff);
        driver.out(0, 0x20);
        driver.input(0xd);
        assert_eq!(driver.input(0xd), 0, "a counter that was read is clear");
        let value = driver.input(RESET_PORT);
        driver.out(RESET_PORT, value);
        assert_ne!(driver.input(7) & 0x80, 0, "it is in reset");
        driver.out(7, 0xff);
        for (value, port) in [
            (0x21, 0),
            (0x49, 0xe),
            (0, 0xa),
            (0, 0xb),
            (0, 0xf),
            (0xff, 7),
            (0x20, 0xc),
            (0x02, 0xd),
            (32, 0xa),
            (0, 0xb),
            (0, 8),
            (0, 9),
            (0x0a, 0),
        ] {
            driver.out(port, value);
        }
        let prom: Vec<u8> = (0..32).map(|_| driver.input(DATA_PORT)).collect();
        assert_eq!(prom[..6], MAC.0);
        assert_eq!(prom[14..16], [0x57; 2]);
        driver.out(0xe, 0x49);
        driver
    }

    /// `NS8390_init`.
    fn start(&mut self) {
        for (value, port) in [
            (0x21, 0),
            (0x49, 0xe),
            (0, 0xa),
            (0, 0xb),
            (0x20, 0xc),
            (0x02, 0xd),
            (START, 4),
            (RING, 1),
            (STOP - 1, 3),
            (STOP, 2),
            (0xff, 7),
            (0, 0xf),
            (0x61, 0),
        ] {
            self.out(port, value);
        }
        for (port, byte) in (1..).zip(MAC.0) {
            self.out(port, byte);
            assert_eq!(self.input(port), byte, "the address reads as it was written");
        }
        for (value, port) in [(RING, 7), (0x21, 0), (0xff, 7), (ALL, 0xf), (0x22, 0), (0, 0xd), (4, 0xc)] {
            self.out(port, value);
        }
        self.set_filter(4, 0);
        assert_eq!(self.input(7), 0, "it left the reset");
    }

    fn set_filter(&mut self, config: u8, filter: u8) {
        self.out(0xc, config);
        self.out(0, 0x60);
        for port in 8..16 {
            self.out(port, filter);
            assert_eq!(self.input(port), filter, "the filter reads as it was written");
        }
        self.out(0, 0x20);
        self.out(0xc, config);
    }

    fn remote(&mut self, at: u16, count: usize, command: u8) {
        self.out(0, 0x22);
        let ([low, high], [at_low, at_high]) = ((count as u16).to_le_bytes(), at.to_le_bytes());
        for (value, port) in [(low, 0xa), (high, 0xb), (at_low, 8), (at_high, 9), (command, 0)] {
            self.out(port, value);
        }
    }

    /// `ne2k_pci_block_output`, and the command to send.
    pub fn send(&mut self, frame: &[u8]) {
        let mut bytes = frame.to_vec();
        bytes.resize(frame.len().max(60), 0);
        let length = bytes.len();
        bytes.resize(length.next_multiple_of(2), 0);
        self.remote(u16::from(START) << 8, bytes.len(), 0x12);
        let (whole, rest) = bytes.split_at(bytes.len() & !3);
        self.calls += self.card.write_string(DATA_PORT, Width::Dword, whole);
        if let [low, high] = rest {
            self.card.write(DATA_PORT, Width::Word, u16::from_le_bytes([*low, *high]).into());
        }
        assert_ne!(self.input(7) & 0x40, 0, "the copy is complete");
        self.out(7, 0x40);
        self.out(0, 0x20);
        assert_eq!(self.input(0) & 4, 0, "nothing is being sent");
        let [low, high] = (length as u16).to_le_bytes();
        for (value, port) in [(low, 5), (high, 6), (START, 4), (0x26, 0)] {
            self.out(port, value);
        }
    }

    /// Bytes out of the ring as `block_input` reads them.
    fn block_input(&mut self, at: u16, count: usize) -> Vec<u8> {
        self.remote(at, count, 0x0a);
        let mut bytes = std::vec![0; count & !3];
        self.calls += self.card.read_string(DATA_PORT, Width::Dword, &mut bytes);
        if count & 2 != 0 {
            bytes.extend((self.card.read(DATA_PORT, Width::Word) as u16).to_le_bytes());
        }
        if count & 1 != 0 {
            bytes.push(self.input(DATA_PORT));
        }
        assert_ne!(self.input(7) & 0x40, 0, "the copy is complete");
        self.out(7, 0x40);
        bytes
    }

    /// `ei_receive`.
    pub fn receive_all(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for _ in 0..10 {
            self.out(0, 0x60);
            let current = self.input(7);
            self.out(0, 0x20);
            let page = self.input(3) + 1;
            let page = if page >= STOP { RING } else { page };
            if page == current {
                break;
            }
            self.remote(u16::from(page) << 8, 4, 0x0a);
            let [status, next, low, high] = (self.card.read(DATA_PORT, Width::Dword) as u32).to_le_bytes();
            self.out(7, 0x40);
            let length = usize::from(u16::from_le_bytes([low, high])) - 4;
            assert!((60..=1518).contains(&length) && status & 0xf == 1 && next < STOP);
            frames.push(self.block_input((u16::from(page) << 8) + 4, length));
            self.out(3, next - 1);
        }
        self.out(7, 5);
        frames
    }

    /// `ei_interrupt`, but for what it does with frames.
    fn interrupt(&mut self) -> Vec<Vec<u8>> {
        assert!(self.card.line);
        let mut frames = Vec::new();
        self.out(0, 0x20);
        for _ in 0..12 {
            let causes = self.input(7);
            if causes == 0 {
                break;
            }
            if causes & 0x10 != 0 {
                frames.extend(self.overrun());
            } else if causes & 5 != 0 {
                frames.extend(self.receive_all());
            }
            if causes & 2 != 0 {
                assert_eq!(self.input(4) & 1, 1);
            }
            self.out(7, causes & 0x2a);
        }
        self.out(0, 0x22);
        assert!(!self.card.line);
        frames
    }

    /// `ei_rx_overrun`.
    fn overrun(&mut self) -> Vec<Vec<u8>> {
        let was_sending = self.input(0) & 4 != 0;
        for (value, port) in [(0x21, 0), (0, 0xa), (0, 0xb)] {
            self.out(port, value);
        }
        let must_resend = was_sending && self.input(7) & 0xa == 0;
        self.out(0, 0x22);
        self.out(0xd, 2);
        let frames = self.receive_all();
        self.out(7, 0x10);
        self.out(0xd, 0);
        if must_resend {
            self.out(0, 0x26);
        }
        frames
    }
}

pub fn started() -> Driver {
    let mut driver = Driver::probe();
    driver.start();
    driver
}

/// A card that somebody else had.
pub fn take_over(card: Card) -> Driver {
    let mut driver = Driver::probe_of(card);
    driver.start();
    driver
}

#[test]
fn the_driver_finds_the_card_and_starts_it() {
    let mut driver = started();
    assert_eq!((driver.input(0xa), driver.input(0xb)), (b'P', b'C'));
    driver.out(0, 0xa0);
    assert_eq!(
        [1, 2, 4, 0xc, 0xd, 0xe, 0xf].map(|port| driver.input(port)),
        [RING, STOP, START, 4, 0, 0x49, ALL]
    );
    // Full duplex, as the driver asks an RTL8029 for it.
    for (port, value) in [(0, 0xe0), (1, 0xc0), (6, 0x40), (1, 0)] {
        driver.out(port, value);
    }
    assert_eq!((driver.input(6), driver.input(0xe), driver.input(0xf)), (0x40, 0x29, 0x80));
    driver.out(0, 0x20);
    assert_eq!(driver.input(0), 0x22);
}

#[test]
fn frames_are_sent_by_one_string_each() {
    let mut driver = started();
    for length in [14, 60, 61, 62, 63, 1499, 1514] {
        let bytes = bytes_to([0xff; 6], length);
        driver.calls = 0;
        driver.send(&bytes);
        assert_eq!(driver.calls, 1);
        assert_eq!((driver.card.wakes, driver.card.line), (1, false));
        assert_eq!(driver.input(0) & 4, 4, "it is being sent");
        assert!(driver.card.with(|card, context| card.want_notifications(true, context)));
        let mut padded = bytes;
        padded.resize(length.max(60), 0);
        assert_eq!(transmit(&mut driver.card), Some(padded));
        assert_eq!(transmit(&mut driver.card), None);
        assert!(driver.interrupt().is_empty());
        driver.card.wakes = 0;
    }
}

#[test]
fn frames_come_through_the_wrap_of_the_ring() {
    let mut driver = started();
    for length in (14..1515).step_by(25).chain([1514; 8]) {
        let bytes = bytes_to(MAC.0, length);
        driver.calls = 0;
        assert_eq!(receive(&mut driver.card, &bytes), Reception::Taken);
        let mut padded = bytes;
        padded.resize(length.max(60), 0);
        assert_eq!(driver.interrupt(), [padded]);
        assert_eq!(driver.calls, 1);
    }
}

#[test]
fn a_full_ring_is_told_of_once_the_driver_has_looked_and_then_it_goes_on() {
    let mut driver = started();
    let bytes = bytes_to(MAC.0, 60);
    let mut taken = 0;
    while receive(&mut driver.card, &bytes) == Reception::Taken {
        taken += 1;
    }
    assert_eq!(taken, 50, "52 pages, of which one is the boundary and one keeps full and empty apart");
    assert_eq!(driver.input(7), 1, "the driver has not looked yet");
    assert_eq!(driver.interrupt().len(), 10, "it takes ten at a time, and clears the cause");
    for _ in 0..10 {
        assert_eq!(receive(&mut driver.card, &bytes), Reception::Taken);
    }
    driver.out(7, 1);
    assert_eq!(receive(&mut driver.card, &bytes), Reception::NoRoom);
    assert_eq!(driver.input(7) & 0x11, 0x10);
    let mut left = 50;
    // A frame was to be sent meanwhile, and is sent once.
    driver.send(&bytes);
    while left > 0 {
        let frames = driver.interrupt().len();
        assert!(frames > 0 && frames <= 20);
        left -= frames;
        // What is left in the ring is found with the next frame.
        if left > 0 {
            assert_eq!(receive(&mut driver.card, &bytes), Reception::Taken);
            left += 1;
        }
    }
    assert_eq!(transmit(&mut driver.card), Some(bytes));
    assert_eq!(transmit(&mut driver.card), None);
    assert_eq!(driver.input(0xf), 2, "frames were missed");
    assert_eq!(driver.input(0xf), 0);
}

#[test]
fn filters_are_the_drivers() {
    let mut driver = started();
    let other = bytes_to([2, 0, 0, 0, 0, 7], 60);
    let group = bytes_to([1, 0, 0x5e, 0, 0, 1], 60);
    let of = |driver: &mut Driver, bytes: &[u8]| {
        assert_eq!(receive(&mut driver.card, bytes), Reception::Taken);
        driver.receive_all().len()
    };
    assert_eq!((of(&mut driver, &other), of(&mut driver, &group)), (0, 0));
    assert_eq!(of(&mut driver, &bytes_to([0xff; 6], 60)), 1);
    driver.set_filter(0x0c, 0xff);
    assert_eq!((of(&mut driver, &other), of(&mut driver, &group)), (0, 1));
    driver.set_filter(0x1c, 0xff);
    assert_eq!((of(&mut driver, &other), of(&mut driver, &group)), (1, 1));
    // Monitor mode counts, and a counter of 128 interrupts; it stops at 192.
    driver.set_filter(0x34, 0);
    for _ in 0..127 {
        assert_eq!(of(&mut driver, &other), 0);
    }
    assert!(!driver.card.line);
    for _ in 0..100 {
        assert_eq!(of(&mut driver, &other), 0);
    }
    assert!(driver.card.line);
    assert_eq!(driver.input(0xf), 192);
}

#[test]
fn nothing_comes_and_goes_without_a_link() {
    let mut driver = started();
    driver.card.with(|card, context| card.set_link(false, context));
    driver.send(&[7; 60]);
    assert_eq!((driver.card.wakes, transmit(&mut driver.card)), (0, None));
    assert_eq!(driver.input(4), 0x11, "no carrier");
    assert_eq!(receive(&mut driver.card, &bytes_to(MAC.0, 60)), Reception::Down);
    driver.interrupt();
    driver.card.with(|card, context| card.set_link(true, context));
    driver.send(&[7; 60]);
    driver.card.with(|card, context| card.set_link(false, context));
    assert_eq!(transmit(&mut driver.card), None, "the link went first");
    driver.interrupt();
}
