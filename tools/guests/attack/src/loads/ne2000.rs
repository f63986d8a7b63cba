//! An NE2000 with the registers that Linux reads and writes for a frame.

use super::frames::{ANSWER, Address, CARD, NOTHING, PEER, TYPE, write_addresses};
use super::{ARENA, phase, spin_until};
use support::cpu::{read8, read16, write8};
use support::ne2000::register::{STATUS, TRANSMIT_PAGE};
use support::ne2000::{Card, FIRST, RING};

// Of the interrupt status.
const RECEIVED: u8 = 1;
const SENT: u8 = 2;
const COPIED: u8 = 0x40;
/// Frames for everybody are taken.
const TAKES_BROADCAST: u8 = 4;
const FRAME: u64 = ARENA + 0x1_0000;
const CAME: u64 = ARENA + 0x1_1000;
/// Where the first 4 bytes of a received frame, its header, are.
const HEADER: u64 = CAME + 0x1000;

/// The driver.
struct Driver {
    card: Card,
    /// The page of the next frame that comes.
    next: u8,
}

impl Driver {
    fn start() -> Option<Self> {
        let card = Card::find()?;
        card.set_up(CARD, TAKES_BROADCAST);
        Some(Self { card, next: RING.0 + 1 })
    }

    /// Whether the card says so in time. Polls are no business of a driver that is interrupted, so there are
    /// few of them.
    fn is_told(&self, event: u8) -> bool {
        spin_until(|| {
            (0..1000).for_each(|_| core::hint::spin_loop());
            self.card.read(STATUS) & event != 0
        })
    }

    /// Copies the frame to the card and has it sent; waits for the card's word.
    fn send(&self, bytes: u16) -> bool {
        let card = self.card;
        card.put(u16::from(FIRST) << 8, FRAME, bytes);
        if !spin_until(|| card.read(STATUS) & COPIED != 0) {
            return false;
        }
        card.write(STATUS, COPIED);
        card.send_from(FIRST, bytes);
        let is_sent = self.is_told(SENT);
        let _ = card.read(TRANSMIT_PAGE);
        card.write(STATUS, SENT);
        is_sent
    }

    /// Waits for a frame and copies it from the card: its bytes.
    fn receive(&mut self) -> Option<u16> {
        if !self.is_told(RECEIVED) {
            return None;
        }
        self.card.write(STATUS, RECEIVED);
        if self.card.current() == self.next {
            return None;
        }
        let at = u16::from(self.next) << 8;
        self.copy(at, 4, HEADER);
        let (behind, bytes) = (read8(HEADER + 1), read16(HEADER + 2).saturating_sub(4));
        self.copy(at + 4, bytes, CAME);
        self.next = behind;
        self.card.free_until(behind);
        Some(bytes)
    }

    fn copy(&self, at: u16, bytes: u16, to: u64) {
        self.card.get(at, to, bytes);
        self.card.write(STATUS, COPIED);
    }
}

fn write_frame(to: Address, bytes: u16, what: u8) {
    (FRAME..FRAME + u64::from(bytes)).for_each(|at| write8(at, 0));
    write_addresses(FRAME, to, CARD, TYPE);
    write8(FRAME + 14, what);
}

/// Frames to the peer, and there and back.
pub fn run() {
    let Some(mut driver) = Driver::start() else { return };
    for (size, bytes) in [("64 bytes", 60), ("1,500 bytes", 1514)] {
        write_frame(PEER, bytes, NOTHING);
        let name = super::Name::of(&["NE2000, ", size, ", sent"]);
        phase(name.text(), 64, || (0..64).all(|_| driver.send(bytes)));
        write_frame(PEER, bytes, ANSWER);
        let name = super::Name::of(&["NE2000, ", size, ", there and back"]);
        phase(name.text(), 128, || (0..64).all(|_| driver.send(bytes) && driver.receive().is_some()));
    }
}
