//! A virtio network interface that is driven as it should be, and the frames by which attacker and
//! neighbour know each other's.

use super::{PATIENCE, SECOND};
use support::cpu::{read8, read16, read32, read64, write8, write32, write64};
use support::time::wait_until;
use support::virtio::{CONFIG, Ring, VERSION_1, Virtio};

const KIND: u32 = 1;
/// The interface has an address of its own.
pub const MAC: u64 = 1 << 5;

/// A station's address.
pub type Address = [u8; 6];
/// Everybody's.
pub const BROADCAST: Address = [0xff; 6];
/// Those of the neighbour's two interfaces, and of the attacker's.
pub const NEIGHBOUR: Address = [0x52, 0x54, 0, 0, 0x0a, 1];
/// See [`NEIGHBOUR`].
pub const NEIGHBOUR_TOO: Address = [0x52, 0x54, 0, 0, 0x0a, 2];
/// See [`NEIGHBOUR`].
pub const ATTACKER: Address = [0x52, 0x54, 0, 0, 0x0a, 3];
/// See [`NEIGHBOUR`].
pub const ATTACKER_TOO: Address = [0x52, 0x54, 0, 0, 0x0a, 4];

/// The type of the frames here, which is for experiments.
pub const TYPE: u16 = 0x88b5;
/// What their payload begins with.
const MARK: u32 = 0x4b4c_5542;
/// What follows: the neighbour is to answer.
pub const PING: u32 = 1;
/// It does.
pub const PONG: u32 = 2;
/// One of the neighbour's interfaces talks to the other.
pub const OWN: u32 = 3;
/// Nobody may receive it.
pub const EVIL: u32 = 4;
/// The attack is over.
pub const END: u32 = 5;
/// It may come or not.
pub const NOISE: u32 = 6;

/// Bytes of the header before each frame.
pub const HEADER: u64 = 12;
/// Queues.
pub const RECEIVE: u16 = 0;
/// See [`RECEIVE`].
pub const TRANSMIT: u16 = 1;
/// See [`RECEIVE`].
pub const CONTROL: u16 = 2;
/// Descriptors of each.
pub const SIZE: u16 = 64;
const BUFFER: u64 = 0x800;
/// Bytes of the smallest frame that interfaces send.
pub const SMALLEST: u32 = 60;

/// A frame that came.
#[derive(Clone, Copy)]
pub struct Seen {
    /// Bytes of it.
    pub bytes: u32,
    pub to: Address,
    pub from: Address,
    /// What its type field says.
    pub kind: u16,
    /// What of ours it is, and its number; `None` if it is none of ours.
    pub ours: Option<(u32, u64)>,
}

impl Seen {
    /// The frame of so many bytes at `at`.
    pub fn at(at: u64, bytes: u32) -> Self {
        let address = |from: u64| core::array::from_fn(|byte| read8(from + byte as u64));
        let ours = (read32(at + 14) == MARK).then(|| (read32(at + 18), read64(at + 22)));
        Self { bytes, to: address(at), from: address(at + 6), kind: read16(at + 12).swap_bytes(), ours }
    }
}

/// Writes a frame of ours to `at`, filled up to [`SMALLEST`] bytes.
pub fn write_frame(at: u64, to: Address, from: Address, kind: u32, number: u64) {
    for (place, byte) in (at..).zip(to.into_iter().chain(from).chain(TYPE.to_be_bytes())) {
        write8(place, byte);
    }
    write32(at + 14, MARK);
    write32(at + 18, kind);
    write64(at + 22, number);
    (at + 30..at + u64::from(SMALLEST)).for_each(|place| write8(place, number as u8));
}

/// An interface with a receive and a transmit queue.
pub struct Station {
    pub device: Virtio,
    pub address: Address,
    /// Memory of it.
    at: u64,
    receive: Ring,
    pub transmit: Ring,
    number: u64,
}

impl Station {
    /// The guest's `n`th one, with 256 KiB of memory there; it is not started.
    pub fn find(n: usize, at: u64) -> Option<Self> {
        let device = Virtio::find(KIND, n)?;
        let address = core::array::from_fn(|byte| read8(device.base + CONFIG + byte as u64));
        let (receive, transmit) = (Ring::new(at, SIZE), Ring::new(at + 0x4000, SIZE));
        Some(Self { device, address, at, receive, transmit, number: 0 })
    }

    /// Where a frame to send is to be, with the header before it.
    pub const fn room(&self) -> u64 {
        self.at + 0xc000
    }

    const fn buffer(&self, index: u16) -> u64 {
        self.at + 0x1_0000 + index as u64 * BUFFER
    }

    /// Resets it and sets up its queues but `left_out`; it is not started.
    pub fn prepare(&mut self, features: u64, left_out: u16) -> bool {
        if !self.device.agree(features | MAC | VERSION_1) {
            return false;
        }
        self.receive = Ring::agreed(self.at, SIZE, features);
        self.transmit = Ring::agreed(self.at + 0x4000, SIZE, features);
        if left_out != RECEIVE {
            self.device.enable(RECEIVE, SIZE, self.receive.places());
            for index in 0..SIZE {
                self.receive.chain(index, &[(self.buffer(index), BUFFER as u32, true)]);
                self.receive.offer(index);
            }
        }
        if left_out != TRANSMIT {
            self.device.enable(TRANSMIT, SIZE, self.transmit.places());
        }
        true
    }

    /// Resets it and starts it.
    pub fn restart(&mut self, features: u64) -> bool {
        let is_prepared = self.prepare(features, CONTROL);
        self.device.start();
        is_prepared
    }

    /// Sends what is in [`room`](Self::room): a header, and a frame of so many bytes. Whether the device
    /// is done with it.
    pub fn send(&mut self, bytes: u32) -> bool {
        self.send_parts(&[(self.room(), HEADER as u32 + bytes, false)])
    }

    /// The same of what is elsewhere.
    pub fn send_parts(&mut self, parts: &[support::virtio::Part]) -> bool {
        self.transmit.chain(0, parts);
        self.transmit.offer(0);
        self.device.kick(TRANSMIT);
        let (ring, device) = (&mut self.transmit, &self.device);
        let mut polls = 0;
        let mut is_done = false;
        wait_until(PATIENCE, || {
            is_done = ring.used().is_some();
            polls += 1;
            // To ask the device costs more than to look at memory.
            is_done || polls % 64 == 0 && device.needs_reset()
        });
        is_done
    }

    /// Sends a frame of ours.
    pub fn say(&mut self, to: Address, kind: u32, number: u64) -> bool {
        let room = self.room();
        (room..room + HEADER).step_by(4).for_each(|at| write32(at, 0));
        write_frame(room + HEADER, to, self.address, kind, number);
        self.send(SMALLEST)
    }

    /// Has a frame of ours sent, and does not wait for it.
    pub fn throw(&mut self, to: Address, kind: u32) {
        let room = self.room();
        (room..room + HEADER).step_by(4).for_each(|at| write32(at, 0));
        write_frame(room + HEADER, to, self.address, kind, 0);
        self.transmit.chain(0, &[(room, HEADER as u32 + SMALLEST, false)]);
        self.transmit.offer(0);
        self.device.kick(TRANSMIT);
    }

    /// Shows every frame that came.
    pub fn receive(&mut self, mut look: impl FnMut(Seen)) {
        while let Some((index, bytes)) = self.receive.used() {
            let index = index % SIZE;
            look(Seen::at(self.buffer(index) + HEADER, bytes.saturating_sub(HEADER as u32)));
            self.receive.offer(index);
        }
    }

    /// Whether the neighbour answers, within so many tenths of a second.
    pub fn is_answered(&mut self, tenths: u32) -> bool {
        (0..tenths).any(|_| {
            self.number += 1;
            let (asked, mut is_answered) = (self.number, false);
            self.say(NEIGHBOUR, PING, asked)
                && wait_until(SECOND / 10, || {
                    self.receive(|frame| is_answered |= frame.ours == Some((PONG, asked)));
                    is_answered
                })
        })
    }
}
