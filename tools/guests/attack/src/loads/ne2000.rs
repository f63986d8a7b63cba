//! An NE2000 with the registers that Linux reads and writes for a frame.

use super::frames::{ANSWER, Address, CARD, NOTHING, PEER, TYPE, write_addresses};
use super::{ARENA, count_port, phase, spin_until};
use support::cpu::{in8, in16_all, out8, out16_all, read8, read16, write8};
use support::pci;

const ID: u32 = 0x8029_10ec;
const DATA_PORT: u16 = 0x10;
const RESET_PORT: u16 = 0x1f;
const PAGE_START: u16 = 1;
const PAGE_STOP: u16 = 2;
const BOUNDARY: u16 = 3;
const TRANSMIT_PAGE: u16 = 4;
const TRANSMIT_BYTES: u16 = 5;
const STATUS: u16 = 7;
const REMOTE_ADDRESS: u16 = 8;
const REMOTE_BYTES: u16 = 10;
const RECEIVE_CONFIG: u16 = 12;
const TRANSMIT_CONFIG: u16 = 13;
const DATA_CONFIG: u16 = 14;
/// Of page 1.
const CURRENT: u16 = 7;

const STOP: u8 = 0x21;
const START: u8 = 0x22;
const TRANSMIT: u8 = 0x26;
const READ: u8 = 0x0a;
const WRITE: u8 = 0x12;
const PAGE1: u8 = 0x62;

const RECEIVED: u8 = 1;
const SENT: u8 = 2;
const COPIED: u8 = 0x40;
/// Where the frame to send is, and where the ring begins and ends, in pages.
const FIRST: u8 = 0x40;
const RING: (u8, u8) = (0x46, 0x80);
const FRAME: u64 = ARENA + 0x1_0000;
const CAME: u64 = ARENA + 0x1_1000;
/// Where the first 4 bytes of a received frame, its header, are.
const HEADER: u64 = CAME + 0x1000;

struct Card {
    port: u16,
    /// The page of the next frame that comes.
    next: u8,
}

impl Card {
    fn find() -> Option<Self> {
        let function = pci::find(ID, 0)?;
        function.command(0, 5);
        Some(Self { port: (function.read(0x10) & !3) as u16, next: RING.0 + 1 })
    }

    fn write(&self, register: u16, value: u8) {
        count_port();
        out8(self.port + register, value);
    }

    fn read(&self, register: u16) -> u8 {
        count_port();
        in8(self.port + register)
    }

    fn set_up(&self) {
        let _ = self.read(RESET_PORT);
        self.write(RESET_PORT, 0);
        for (register, value) in
            [(0, STOP), (DATA_CONFIG, 0x49), (PAGE_START, RING.0), (PAGE_STOP, RING.1), (BOUNDARY, RING.0)]
        {
            self.write(register, value);
        }
        self.write(STATUS, 0xff);
        self.write(0, PAGE1 & !2 | 1);
        for (register, byte) in (1..).zip(CARD) {
            self.write(register, byte);
        }
        self.write(CURRENT, RING.0 + 1);
        self.write(0, START);
        self.write(TRANSMIT_CONFIG, 0);
        self.write(RECEIVE_CONFIG, 0x04);
    }

    fn remote(&self, command: u8, at: u16, bytes: u16) {
        self.write(0, START);
        self.write(REMOTE_BYTES, bytes as u8);
        self.write(REMOTE_BYTES + 1, (bytes >> 8) as u8);
        self.write(REMOTE_ADDRESS, at as u8);
        self.write(REMOTE_ADDRESS + 1, (at >> 8) as u8);
        self.write(0, command);
    }

    /// Copies the frame to the card and has it sent; waits for the card's word.
    fn send(&self, bytes: u16) -> bool {
        self.remote(WRITE, u16::from(FIRST) << 8, bytes);
        count_port();
        out16_all(self.port + DATA_PORT, FRAME, u64::from(bytes / 2));
        if !spin_until(|| self.read(STATUS) & COPIED != 0) {
            return false;
        }
        self.write(STATUS, COPIED);
        self.write(0, START);
        self.write(TRANSMIT_BYTES, bytes as u8);
        self.write(TRANSMIT_BYTES + 1, (bytes >> 8) as u8);
        self.write(TRANSMIT_PAGE, FIRST);
        self.write(0, TRANSMIT);
        // Polls are no business of a driver that is interrupted, so there are few of them.
        let is_sent = spin_until(|| {
            (0..1000).for_each(|_| core::hint::spin_loop());
            self.read(STATUS) & SENT != 0
        });
        let _ = self.read(TRANSMIT_PAGE);
        self.write(STATUS, SENT);
        is_sent
    }

    /// Waits for a frame and copies it from the card: its bytes.
    fn receive(&mut self) -> Option<u16> {
        let has_come = spin_until(|| {
            (0..1000).for_each(|_| core::hint::spin_loop());
            self.read(STATUS) & RECEIVED != 0
        });
        if !has_come {
            return None;
        }
        self.write(STATUS, RECEIVED);
        self.write(0, PAGE1);
        let current = self.read(CURRENT);
        self.write(0, START);
        if current == self.next {
            return None;
        }
        self.copy(u16::from(self.next) << 8, 4, HEADER);
        let (behind, bytes) = (read8(HEADER + 1), read16(HEADER + 2).saturating_sub(4));
        self.copy((u16::from(self.next) << 8) + 4, bytes.next_multiple_of(2), CAME);
        self.next = behind;
        self.write(BOUNDARY, if behind == RING.0 { RING.1 - 1 } else { behind - 1 });
        Some(bytes)
    }

    fn copy(&self, at: u16, bytes: u16, to: u64) {
        self.remote(READ, at, bytes);
        count_port();
        in16_all(self.port + DATA_PORT, to, u64::from(bytes / 2));
        self.write(STATUS, COPIED);
    }
}

fn write_frame(to: Address, bytes: u16, what: u8) {
    (FRAME..FRAME + u64::from(bytes)).for_each(|at| write8(at, 0));
    write_addresses(FRAME, to, CARD, TYPE);
    write8(FRAME + 14, what);
}

/// Frames to the peer, and there and back.
pub fn run() {
    let Some(mut card) = Card::find() else { return };
    card.set_up();
    for (size, bytes) in [("64 bytes", 60), ("1,500 bytes", 1514)] {
        write_frame(PEER, bytes, NOTHING);
        let name = super::Name::of(&["NE2000, ", size, ", sent"]);
        phase(name.text(), 64, || (0..64).all(|_| card.send(bytes)));
        write_frame(PEER, bytes, ANSWER);
        let name = super::Name::of(&["NE2000, ", size, ", there and back"]);
        phase(name.text(), 128, || (0..64).all(|_| card.send(bytes) && card.receive().is_some()));
    }
}
