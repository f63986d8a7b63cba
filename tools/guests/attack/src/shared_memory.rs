//! Memory that two guests share: what one writes the other reads, and each interrupts the other by its
//! doorbell. In between each does what it must not, of which the other is to notice nothing.

use crate::Environment;
use support::cpu::{enable_interrupts, read32, write8, write32};
use support::pci::{self, Function};
use support::time::wait_until;
use support::trap::hits;
use support::{paging, println};

const IVSHMEM: u32 = 0x1110_1af4;
/// Registers of BAR 0.
const POSITION: u64 = 8;
const DOORBELL: u64 = 12;
/// Memory decode and bus mastering.
const DECODE: u16 = 2;
const MASTER: u16 = 4;
const VECTOR: u8 = 0x70;
const ROUNDS: u32 = 200;
const SECOND: u64 = 1_000_000;
/// Where a peer writes the number of its round, in bytes from the start of the memory.
const PLACES: [u64; 2] = [0, 0x1000];
/// Where peer 1 says that it takes messages.
const READY: u64 = 0x2000;
/// Doorbells of peers and vectors that are not there.
const NOBODY: [u32; 6] = [2 << 16, 0xffff << 16, 8, 1 << 16 | 8, 0xffff, u32::MAX];

struct Peer {
    function: Function,
    registers: u64,
    memory: u64,
    position: usize,
}

impl Peer {
    fn find() -> Option<Self> {
        let function = pci::find(IVSHMEM, 0)?;
        function.command(0, DECODE | MASTER);
        let (registers, memory) = (function.bar(0), function.bar(2));
        if !paging::map(registers) || !paging::map(memory) {
            return None;
        }
        let position = read32(registers + POSITION) as usize;
        let has_messages = function.enable_msix(pci::msi_address(0), VECTOR.into());
        (position < 2 && has_messages).then_some(Self { function, registers, memory, position })
    }

    fn ring(&self, value: u32) {
        write32(self.registers + DOORBELL, value);
    }

    /// Writes where the other one reads, and rings.
    fn tell(&self, round: u32) {
        write32(self.memory + PLACES[self.position], round);
        let other = 1 - self.position as u32;
        self.ring(other << 16 | round % 8);
    }

    fn told(&self) -> u32 {
        read32(self.memory + PLACES[1 - self.position])
    }

    /// Rings at nobody's, by wrong widths, and writes where nothing is to be written.
    fn misbehave(&self) {
        NOBODY.into_iter().for_each(|value| self.ring(value));
        (0..16).for_each(|at| write8(self.registers + at, 1));
        write32(self.registers + POSITION, 7);
        (16..64).step_by(4).for_each(|at| write32(self.registers + at, 1 << 16));
    }

    /// Turns the decode of the memory off, moves it, where it must not be too, and brings it back.
    fn move_about(&self) {
        const BAR: u16 = 0x18;
        let low = self.function.read(BAR);
        let high = self.function.read(BAR + 4);
        self.function.command(DECODE, 0);
        self.function.command(0, DECODE);
        for (low, high) in [(0, 0), (0xfee0_0000, 0), (0xfffe_0000, 0xffff_ffff), (low + (2 << 20), high)] {
            self.function.write(BAR, low);
            self.function.write(BAR + 4, high);
        }
        self.function.write(BAR, low);
        self.function.write(BAR + 4, high);
    }
}

/// Both peers at once, each in its guest.
pub fn run(_: &Environment) {
    let Some(peer) = Peer::find() else {
        println!("shared-memory: WRONG, there is no such function");
        return;
    };
    enable_interrupts();
    println!("shared-memory: peer {}", peer.position);
    // Peer 0 begins, and a doorbell at one that takes no messages yet is lost.
    if peer.position == 1 {
        write32(peer.memory + READY, 1);
    } else if !wait_until(60 * SECOND, || read32(peer.memory + READY) == 1) {
        println!("shared-memory: WRONG, the other peer does not come");
        return;
    }
    for round in 1..=ROUNDS {
        // Peer 0 begins each round.
        let waits_first = peer.position == 1;
        if waits_first && !comes(&peer, round) {
            return;
        }
        peer.tell(round);
        if !waits_first && !comes(&peer, round) {
            return;
        }
        if round % 20 == 0 {
            peer.misbehave();
            peer.move_about();
        }
    }
    let unasked = hits(VECTOR).saturating_sub(ROUNDS.into());
    if read32(peer.registers + POSITION) as usize != peer.position || unasked != 0 {
        println!("shared-memory: WRONG, {unasked} interrupts too many");
        return;
    }
    println!("shared-memory: {ROUNDS} doorbells each way");
    println!("attack shared-memory: held");
}

/// Waits for the other's round and its interrupt.
fn comes(peer: &Peer, round: u32) -> bool {
    let came =
        wait_until(20 * SECOND, || peer.told() == round && u64::from(hits(VECTOR)) >= u64::from(round));
    if !came {
        println!("shared-memory: WRONG, round {round}: told {}, {} interrupts", peer.told(), hits(VECTOR));
    }
    came
}
