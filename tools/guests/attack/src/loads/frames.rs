//! A virtio network interface with the offloads that Linux takes, and the peer that it sends to.

use super::{ARENA, DEPTH, VECTOR, phase, spin, spin_until};
use crate::Environment;
use core::sync::atomic::{AtomicU64, Ordering};
use support::cpu::{
    self, enable_interrupts, rdtsc, read8, read16, read32, write8, write16, write32, write64,
};
use support::time::tsc_hz;
use support::trap::hits;
use support::virtio::register::{QUEUE_SELECT, QUEUE_VECTOR};
use support::virtio::{CONFIG, EVENT_INDEX, Ring, VERSION_1, Virtio};
use support::{pci, println};

const KIND: u32 = 1;
/// Checksums and segments are left to the device, and taken as they are; one frame in several buffers.
const OFFLOADS: u64 = 1 | 1 << 1 | 1 << 7 | 1 << 11 | 1 << 15;
const MAC: u64 = 1 << 5;
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const RECEIVE_SIZE: u16 = 256;
const TRANSMIT_SIZE: u16 = 64;
const HEADER: u64 = 12;

/// Where an interface has its memory, and how much.
const MEMORY: u64 = ARENA + 0x20_0000;
pub const MEMORY_BYTES: u64 = 0x80_0000;
/// From there on: what was received, and what is sent.
const BUFFERS: u64 = 0x1_0000;
const BUFFER_BYTES: u64 = 0x1000;
const FRAMES: u64 = BUFFERS + RECEIVE_SIZE as u64 * BUFFER_BYTES;
const FRAME_BYTES: u64 = 0x1_2000;

pub type Address = [u8; 6];
/// The peer's interface, and an NE2000.
pub const PEER: Address = [0x52, 0x54, 0, 0, 0x0b, 2];
/// See [`PEER`].
pub const CARD: Address = [0x52, 0x54, 0, 0, 0x0b, 3];
/// Who is outside: the host of QEMU's network, by its address there and its number.
const OUTSIDE: [u8; 4] = [10, 0, 2, 2];

/// The type of the frames here, which is for experiments.
pub const TYPE: u16 = 0x88b5;
/// What the peer does with a frame.
pub const NOTHING: u8 = 0;
/// It sends one as large back, with the number of frames that it got so far.
pub const ANSWER: u8 = 1;
/// It ends.
pub const END: u8 = 2;
/// Where that stands in a frame, and the number.
const WHAT: u64 = 14;
const NUMBER: u64 = 16;

/// Bytes of the frames: the smallest, the largest, and one that is yet to be cut into segments.
pub const SIZES: [(&str, u32); 3] = [("64 bytes", 60), ("1,500 bytes", 1514), ("64 KiB", CUT_BYTES)];
const SEGMENT_BYTES: u16 = 1460;
const CUT_HEADERS: u32 = 54;
const CUT_BYTES: u32 = CUT_HEADERS + 44 * SEGMENT_BYTES as u32;

/// An interface with a receive and a transmit queue.
pub struct Interface {
    device: Virtio,
    at: u64,
    receive: Ring,
    transmit: Ring,
    pub address: Address,
}

impl Interface {
    /// The `n`th one, started.
    pub fn start(n: usize, offloads: bool) -> Option<Self> {
        let device = Virtio::find(KIND, n)?;
        device.function.enable_msix(pci::msi_address(0), VECTOR.into());
        let wanted = if offloads { OFFLOADS } else { 1 << 15 };
        if !device.agree(VERSION_1 | MAC | EVENT_INDEX | wanted) {
            return None;
        }
        let at = MEMORY + MEMORY_BYTES * n as u64;
        let (receive, transmit) = (Ring::new(at, RECEIVE_SIZE), Ring::new(at + 0x8000, TRANSMIT_SIZE));
        for (queue, ring) in [(RECEIVE, receive), (TRANSMIT, transmit)] {
            write16(device.base + QUEUE_SELECT, queue);
            write16(device.base + QUEUE_VECTOR, 1 + queue);
            device.enable(queue, ring.size, ring.places());
        }
        let address = core::array::from_fn(|byte| read8(device.base + CONFIG + byte as u64));
        let mut interface = Self { device, at, receive, transmit, address };
        (0..RECEIVE_SIZE).for_each(|index| interface.free(index));
        device.start();
        device.kick(RECEIVE);
        interface.receive.ask_for_interrupt();
        Some(interface)
    }

    fn free(&mut self, index: u16) {
        let buffer = self.at + BUFFERS + BUFFER_BYTES * u64::from(index);
        self.receive.describe(index, buffer, BUFFER_BYTES as u32, support::virtio::WRITE, 0);
        self.receive.offer(index);
    }

    /// Where frame `slot` that is to be sent is, behind its header.
    pub const fn frame(&self, slot: u16) -> u64 {
        self.at + FRAMES + FRAME_BYTES * slot as u64 + HEADER
    }

    /// Writes a frame of so many bytes to place `slot`.
    pub fn write(&self, slot: u16, to: Address, bytes: u32, what: u8, number: u32) {
        let at = self.frame(slot);
        (at - HEADER..at + 64).for_each(|place| write8(place, 0));
        write_addresses(at, to, self.address, TYPE);
        write8(at + WHAT, what);
        write32(at + NUMBER, number);
        if bytes > 1514 {
            // A segment of TCP over IPv4, to be cut (Virtio 1.2, section 5.1.6).
            write_addresses(at, to, self.address, 0x0800);
            write_segment(at + 14, bytes - 14);
            let (checksum, tcp4) = (1, 1);
            write8(at - HEADER, checksum);
            write8(at - HEADER + 1, tcp4);
            for (place, value) in [(2, CUT_HEADERS as u16), (4, SEGMENT_BYTES), (6, 34), (8, 16)] {
                write16(at - HEADER + place, value);
            }
        }
    }

    /// Puts the frame of place `slot` into the queue; the device is not told.
    pub fn put(&mut self, slot: u16, bytes: u32) {
        let at = self.frame(slot) - HEADER;
        self.transmit.describe(slot, at, HEADER as u32 + bytes, 0, 0);
        self.transmit.offer(slot);
    }

    /// How many frames were ever put into the queue.
    pub const fn offered(&self) -> u16 {
        self.transmit.next
    }

    /// Tells the device of them, if it wants to know.
    pub fn tell(&self, old: u16) {
        if self.transmit.wants_kick(old) {
            self.device.kick(TRANSMIT);
        }
    }

    /// The next frame that is sent.
    pub fn sent(&mut self) -> Option<u16> {
        self.transmit.used().map(|(slot, _)| slot)
    }

    /// Sends the frames of the first `count` places, all at once, and waits until the device has taken
    /// them.
    pub fn send(&mut self, count: u16, bytes: u32) -> bool {
        let old = self.offered();
        (0..count).for_each(|slot| self.put(slot, bytes));
        self.tell(old);
        let mut left = count;
        spin_until(|| {
            while self.sent().is_some() {
                left -= 1;
            }
            left == 0
        })
    }

    /// Shows each frame that came, at most `most`: where it is and its bytes. Those in several buffers
    /// are shown as far as the first goes.
    pub fn take(&mut self, most: u16, mut look: impl FnMut(u64, u32)) -> u16 {
        let (mut taken, mut more, old) = (0, 0, self.receive.next);
        while more > 0 || taken < most {
            let Some((index, bytes)) = self.receive.used() else { break };
            let index = index % RECEIVE_SIZE;
            let at = self.at + BUFFERS + BUFFER_BYTES * u64::from(index);
            if more == 0 {
                more = read16(at + 10).max(1);
                taken += 1;
                look(at + HEADER, bytes.saturating_sub(HEADER as u32));
            }
            more -= 1;
            self.free(index);
        }
        if taken > 0 {
            self.receive.ask_for_interrupt();
            if self.receive.wants_kick(old) {
                self.device.kick(RECEIVE);
            }
        }
        taken
    }

    /// Waits for a frame for this interface: the number in it.
    pub fn answer(&mut self) -> Option<u32> {
        self.answer_within(200_000_000)
    }

    /// The same, where it is looked for so often at most.
    fn answer_within(&mut self, times: u64) -> Option<u32> {
        let (own, mut number) = (self.address, None);
        spin(times, || {
            self.take(u16::MAX, |at, _| {
                if read_address(at) == own {
                    number = Some(read32(at + NUMBER));
                }
            });
            number.is_some()
        });
        number
    }
}

pub fn write_addresses(at: u64, to: Address, from: Address, kind: u16) {
    for (place, byte) in (at..).zip(to.into_iter().chain(from).chain(kind.to_be_bytes())) {
        write8(place, byte);
    }
}

fn read_address(at: u64) -> Address {
    core::array::from_fn(|byte| read8(at + byte as u64))
}

/// The headers of a TCP segment over IPv4 in `bytes` bytes.
fn write_segment(at: u64, bytes: u32) {
    let [_, _, high, low] = bytes.to_be_bytes();
    let ip = [0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2];
    let tcp = [0x10, 0, 0x10, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0];
    for (place, byte) in (at..).zip(ip.into_iter().chain(tcp)) {
        write8(place, byte);
    }
}

/// Asks who is outside (ARP, RFC 826), by a frame to all or to whom it is.
fn ask_outside(interface: &mut Interface, to: Address) -> bool {
    let at = interface.frame(0);
    interface.write(0, to, 60, NOTHING, 0);
    write_addresses(at, to, interface.address, 0x0806);
    let head = [0, 1, 8, 0, 6, 4, 0, 1];
    let rest = interface.address.into_iter().chain([10, 0, 2, 15]).chain([0; 6]).chain(OUTSIDE);
    for (place, byte) in (at + 14..).zip(head.into_iter().chain(rest)) {
        write8(place, byte);
    }
    interface.send(1, 60) && interface.answer().is_some()
}

/// The address of who is outside, once it has answered.
fn outside(interface: &mut Interface) -> Option<Address> {
    if !ask_outside(interface, [0xff; 6]) {
        return None;
    }
    // QEMU makes it of the number.
    Some([0x52, 0x55, 10, 0, 2, 2])
}

/// How many frames the peer had when it was asked last.
static PEER_GOT: AtomicU64 = AtomicU64::new(0);

/// Asks the peer how many frames it has got. The question is lost where its interface is not started yet, or has no room
/// behind a flood: then it is asked again.
fn ask_peer(interface: &mut Interface) -> Option<u32> {
    let number = (0..1000).find_map(|_| {
        interface.write(0, PEER, 60, ANSWER, 0);
        if interface.send(1, 60) { interface.answer_within(1_000_000) } else { None }
    });
    PEER_GOT.store(number.unwrap_or(0).into(), Ordering::Relaxed);
    number
}

/// Frames to the peer, of each size, alone and at once; there and back; and outside.
pub fn run() {
    let Some(mut interface) = Interface::start(0, true) else { return };
    if ask_peer(&mut interface).is_none() {
        println!("load: FAILED, nobody is at the network");
        return;
    }
    for (size, bytes) in SIZES {
        send_to_peer(&mut interface, size, bytes);
    }
    phase("virtio-net, 64 bytes, there and back", 512, || {
        (0..256).all(|_| ask_peer(&mut interface).is_some())
    });
    if let Some(address) = outside(&mut interface) {
        // QEMU's network would answer each segment of the largest.
        for (size, bytes) in SIZES.into_iter().filter(|(_, bytes)| *bytes < CUT_BYTES) {
            (0..DEPTH).for_each(|slot| interface.write(slot, address, bytes, NOTHING, 0));
            let name = super::Name::of(&["virtio-net, ", size, ", outside, alone"]);
            phase(name.text(), 128, || (0..128).all(|_| interface.send(1, bytes)));
            let name = super::Name::of(&["virtio-net, ", size, ", outside, 32 at once"]);
            phase(name.text(), 512, || (0..16).all(|_| interface.send(DEPTH, bytes)));
        }
        phase("virtio-net, 64 bytes, outside and back", 256, || {
            (0..128).all(|_| ask_outside(&mut interface, address))
        });
    }
}

fn send_to_peer(interface: &mut Interface, size: &str, bytes: u32) {
    (0..DEPTH).for_each(|slot| interface.write(slot, PEER, bytes, NOTHING, 0));
    let name = super::Name::of(&["virtio-net, ", size, ", alone"]);
    phase(name.text(), 128, || (0..128).all(|_| interface.send(1, bytes)));
    let before = ask_peer(interface).unwrap_or(0);
    (0..DEPTH).for_each(|slot| interface.write(slot, PEER, bytes, NOTHING, 0));
    let name = super::Name::of(&["virtio-net, ", size, ", 32 at once"]);
    phase(name.text(), 512, || (0..16).all(|_| interface.send(DEPTH, bytes)));
    let got = ask_peer(interface).unwrap_or(0).wrapping_sub(before).saturating_sub(1);
    println!("load: {}: {got} frames came", name.text());
}

/// Tells the peer that it is over.
pub fn end() {
    if let Some(mut interface) = Interface::start(0, true) {
        interface.write(0, PEER, 60, END, 0);
        interface.send(1, 60);
    }
}

/// Takes whatever comes, answers who asks, and ends when it is told to.
pub fn peer(_: &Environment) {
    let Some(mut interface) = Interface::start(0, true) else {
        println!("load: FAILED, the peer has no interface");
        return;
    };
    enable_interrupts();
    let (mut is_over, mut got) = (false, 0_u32);
    while !is_over {
        let (mut asked, mut count) = ([(PEER, 0); 32], 0);
        let taken = interface.take(DEPTH, |at, bytes| {
            if read16(at + 12).swap_bytes() == TYPE {
                match read8(at + WHAT) {
                    ANSWER if count < asked.len() => {
                        asked[count] = (read_address(at + 6), bytes);
                        count += 1;
                    }
                    END => is_over = true,
                    _ => {}
                }
            }
        });
        got += u32::from(taken);
        for (to, bytes) in &asked[..count] {
            interface.write(0, *to, *bytes, NOTHING, got);
            interface.send(1, *bytes);
        }
        if taken == 0 {
            sleep(&mut interface);
        }
    }
}

/// Sleeps until something comes.
fn sleep(interface: &mut Interface) {
    let before = hits(VECTOR);
    interface.receive.ask_for_interrupt();
    cpu::disable_interrupts();
    if interface.receive.is_empty() && hits(VECTOR) == before {
        cpu::wait_for_interrupt();
    }
    enable_interrupts();
}

/// Sends as many frames as the peer takes, of each size, for `milliseconds` each, and says how many of them came: where time is
/// that of a clock.
pub fn rate(environment: &Environment) {
    let (hz, milliseconds) = (tsc_hz(), environment.number("milliseconds", 1000));
    enable_interrupts();
    let Some(mut interface) = Interface::start(0, true) else {
        println!("load: FAILED, there is no interface");
        return;
    };
    if ask_peer(&mut interface).is_none() {
        println!("load: FAILED, nobody is at the network");
        return;
    }
    for (size, bytes) in SIZES {
        let before = ask_peer(&mut interface).unwrap_or(0);
        (0..DEPTH).for_each(|slot| interface.write(slot, PEER, bytes, NOTHING, 0));
        let (start, end) = (rdtsc(), hz / 1000 * milliseconds);
        let mut sent = 0_u64;
        while rdtsc() - start < end && interface.send(DEPTH, bytes) {
            sent += u64::from(DEPTH);
        }
        let ticks = rdtsc() - start;
        let came = ask_peer(&mut interface).unwrap_or(0).wrapping_sub(before).saturating_sub(1);
        println!("rate: {size}: {sent} sent, {came} came in {} us", ticks * 1000 / (hz / 1000));
    }
    end();
    write64(ARENA, 0);
}
