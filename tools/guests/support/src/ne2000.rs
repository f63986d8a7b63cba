//! An NE2000 as its driver sees it (DP8390D, National Semiconductor), with the registers that Linux reads and
//! writes. It may do everything wrong: nothing is checked here. Accesses are counted ([`ports`]).

use crate::{pci, ports};

const ID: u32 = 0x8029_10ec;

/// Registers, from the card's first port: those of every page, and of page 0 where nothing else is said.
pub mod register {
    /// The command, of every page.
    pub const COMMAND: u16 = 0;
    /// First page of the ring.
    pub const PAGE_START: u16 = 1;
    /// The page behind the ring.
    pub const PAGE_STOP: u16 = 2;
    /// The last page of the ring that the driver is done with.
    pub const BOUNDARY: u16 = 3;
    /// Page of the frame to send; read, what became of it.
    pub const TRANSMIT_PAGE: u16 = 4;
    /// Bytes of it; 2 registers.
    pub const TRANSMIT_BYTES: u16 = 5;
    /// The interrupt status.
    pub const STATUS: u16 = 7;
    /// Where remote DMA begins; 2 registers.
    pub const REMOTE_ADDRESS: u16 = 8;
    /// Bytes of it; 2 registers.
    pub const REMOTE_BYTES: u16 = 10;
    /// Which frames are taken.
    pub const RECEIVE_CONFIG: u16 = 12;
    /// How frames are sent.
    pub const TRANSMIT_CONFIG: u16 = 13;
    /// The width of the data port.
    pub const DATA_CONFIG: u16 = 14;
    /// Of page 1: where the next frame comes to.
    pub const CURRENT: u16 = 7;
    /// Of page 1: which multicast groups are taken; 8 registers.
    pub const GROUPS: u16 = 8;
    /// Remote DMA, of every page.
    pub const DATA: u16 = 0x10;
    /// Read and written, it resets the card.
    pub const RESET: u16 = 0x1f;
}
use register::*;

/// Commands, of page 0 but for the last.
pub mod command {
    /// Nothing is sent or received.
    pub const STOP: u8 = 0x21;
    /// Frames are received.
    pub const START: u8 = 0x22;
    /// One is sent.
    pub const TRANSMIT: u8 = 0x26;
    /// Remote DMA to the driver.
    pub const READ: u8 = 0x0a;
    /// Remote DMA to the card.
    pub const WRITE: u8 = 0x12;
    /// [`START`], and page 1.
    pub const PAGE1: u8 = 0x62;
}
use command::*;

/// The page where a frame to send is, and where the ring begins and ends.
pub const FIRST: u8 = 0x40;
/// See [`FIRST`].
pub const RING: (u8, u8) = (0x46, 0x80);

/// The card at these ports.
#[derive(Clone, Copy)]
pub struct Card {
    /// The first of its ports.
    pub port: u16,
}

impl Card {
    /// The guest's first one, which decodes its ports from now on.
    pub fn find() -> Option<Self> {
        let function = pci::find(ID, 0)?;
        function.command(0, 5);
        Some(Self { port: (function.read(0x10) & !3) as u16 })
    }

    /// Writes a register.
    pub fn write(self, register: u16, value: u8) {
        ports::write8(self.port + register, value);
    }

    /// Reads a register.
    pub fn read(self, register: u16) -> u8 {
        ports::read8(self.port + register)
    }

    /// Gives a command.
    pub fn command(self, value: u8) {
        self.write(COMMAND, value);
    }

    /// Resets it.
    pub fn reset(self) {
        let _ = self.read(RESET);
        self.write(RESET, 0);
    }

    /// As a driver does after power-up: a station of this address, which takes what `receive_config` says.
    pub fn set_up(self, address: [u8; 6], receive_config: u8) {
        self.reset();
        self.command(STOP);
        self.write(DATA_CONFIG, 0x49);
        self.set_ring(RING.0, RING.1, RING.0);
        self.write(STATUS, 0xff);
        self.command(PAGE1 & !2 | 1);
        for (register, byte) in (1..).zip(address) {
            self.write(register, byte);
        }
        (GROUPS..GROUPS + 8).for_each(|register| self.write(register, 0xff));
        self.write(CURRENT, RING.0 + 1);
        self.command(START);
        self.write(TRANSMIT_CONFIG, 0);
        self.write(RECEIVE_CONFIG, receive_config);
    }

    /// Says where the ring is, in pages.
    pub fn set_ring(self, start: u8, stop: u8, boundary: u8) {
        self.write(PAGE_START, start);
        self.write(PAGE_STOP, stop);
        self.write(BOUNDARY, boundary);
    }

    /// Starts remote DMA of so many bytes of the card's memory.
    pub fn remote(self, command: u8, at: u16, bytes: u16) {
        self.command(START);
        self.write(REMOTE_BYTES, bytes as u8);
        self.write(REMOTE_BYTES + 1, (bytes >> 8) as u8);
        self.write(REMOTE_ADDRESS, at as u8);
        self.write(REMOTE_ADDRESS + 1, (at >> 8) as u8);
        self.command(command);
    }

    /// Copies bytes from `address` to the card's memory: as many whole words as they are in.
    pub fn put(self, at: u16, address: u64, bytes: u16) {
        self.remote(WRITE, at, bytes.next_multiple_of(2));
        self.put_words(address, u64::from(bytes.div_ceil(2)));
    }

    /// Copies bytes of the card's memory to `address`, as many whole words as they are in.
    pub fn get(self, at: u16, address: u64, bytes: u16) {
        self.remote(READ, at, bytes.next_multiple_of(2));
        self.get_words(address, u64::from(bytes.div_ceil(2)));
    }

    /// Writes words to the data port, whatever the card does with them.
    pub fn put_words(self, address: u64, words: u64) {
        ports::write16_all(self.port + DATA, address, words);
    }

    /// Reads words of the data port.
    pub fn get_words(self, address: u64, words: u64) {
        ports::read16_all(self.port + DATA, address, words);
    }

    /// Starts to send so many bytes of the card's memory, from this page on.
    pub fn send_from(self, page: u8, bytes: u16) {
        self.command(START);
        self.write(TRANSMIT_BYTES, bytes as u8);
        self.write(TRANSMIT_BYTES + 1, (bytes >> 8) as u8);
        self.write(TRANSMIT_PAGE, page);
        self.command(TRANSMIT);
    }

    /// The page where the next frame comes to.
    pub fn current(self) -> u8 {
        self.command(PAGE1);
        let current = self.read(CURRENT);
        self.command(START);
        current
    }

    /// The driver is done with the frames before page `next`.
    pub fn free_until(self, next: u8) {
        self.write(BOUNDARY, if next == RING.0 { RING.1 - 1 } else { next - 1 });
    }
}
