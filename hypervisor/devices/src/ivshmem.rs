//! Memory that several guests share, and the doorbells by which they interrupt each other: QEMU's ivshmem,
//! revision 1.
//!
//! The memory is behind a BAR of its own, which the guests reach without us; here are the registers. Who
//! rings notes it here, and whoever serves the devices carries it to the peer: no two devices are locked
//! at a time, and a doorbell that was not carried yet is rung once however often it is pulled.

use crate::device::{Completion, Context, Device, DeviceEffect, Doorbell, Work};
use crate::journal::Journal;
use crate::rest::Rest;
use crate::snapshot::RestoreFault;
use access::GuestMemory;
use alloc::boxed::Box;
use spec::Width;
use spec::ivshmem::{doorbell, register};

mod state;

pub use state::STATE_BYTES;
pub(crate) use state::state_words;

/// How many messages a peer has.
pub const VECTORS: u16 = 8;

/// The registers of one peer.
pub struct Ivshmem {
    position: u16,
    /// The vectors of each peer that were rung and not carried, a bit each.
    rung: Box<[u8]>,
    /// The driver's mask of the pin, which revision 1 has not.
    mask: u32,
    /// Doorbells that were taken since it was made.
    taken: u64,
}

impl Ivshmem {
    /// The registers of peer `position` of so many.
    pub fn new(position: u16, peers: u16) -> Self {
        let rung = core::iter::repeat_n(0, peers.into()).collect();
        Self { position, rung, mask: 0, taken: 0 }
    }

    /// Notes a doorbell. Whether there is such a one that was not rung yet.
    fn ring(&mut self, value: u32) -> bool {
        let vector = value & ((1 << doorbell::PEER_SHIFT) - 1);
        let peer = self.rung.get_mut((value >> doorbell::PEER_SHIFT) as usize);
        let (Some(peer), true) = (peer, vector < VECTORS.into()) else { return false };
        let before = *peer;
        *peer |= 1 << vector;
        *peer != before
    }
}

impl Device for Ivshmem {
    fn most_effects(&self) -> usize {
        1
    }

    fn most_requests(&self) -> usize {
        0
    }

    fn read(&mut self, offset: u64, width: Width, _: &mut Context<'_>) -> u64 {
        if offset >= register::BYTES {
            return width.mask();
        }
        let value: u32 = match offset & !3 {
            register::INTERRUPT_MASK => self.mask,
            register::POSITION => self.position.into(),
            // The doorbell is for writing.
            _ => 0,
        };
        u64::from(value) >> (8 * (offset & 3)) & width.mask()
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, context: &mut Context<'_>) {
        match (offset, width) {
            (register::INTERRUPT_MASK, Width::Dword) => self.mask = value as u32,
            (register::DOORBELL, Width::Dword) if self.ring(value as u32) => {
                context.effects.push(DeviceEffect::Wake);
            }
            _ => {}
        }
    }

    fn complete(&mut self, _: Completion, _: &mut Context<'_>) {}

    fn line(&self) -> bool {
        false
    }

    fn reset(&mut self) {
        self.rung.fill(0);
        self.mask = 0;
    }

    fn work(&self) -> Work {
        Work { requests: self.taken, ..Work::default() }
    }

    fn rests(&self, _: &mut Rest, _: &dyn GuestMemory) -> bool {
        self.rung.iter().all(|rung| *rung == 0)
    }

    fn take_doorbell(&mut self) -> Option<Doorbell> {
        let (peer, rung) = (0..).zip(&mut self.rung).find(|(_, rung)| **rung != 0)?;
        let vector = rung.trailing_zeros() as u16;
        *rung &= *rung - 1;
        self.taken += 1;
        Some(Doorbell { peer, vector })
    }

    fn state_words(&self) -> usize {
        state_words(self.rung.len())
    }

    fn journal(&mut self, journal: &mut Journal<'_>) {
        self.say(journal);
    }

    fn restore_words(&mut self, words: &[u64]) -> Result<(), RestoreFault> {
        self.take_over(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Effects;
    use crate::snapshot::SaveFault;
    use access::memory::VecMemory;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    /// Calls with a context. What the device wanted done.
    fn with<R>(call: impl FnOnce(&mut Context<'_>) -> R) -> (R, Vec<DeviceEffect>) {
        let (memory, mut effects) = (VecMemory::new(0), Effects::with_capacity(1));
        let result = call(&mut Context { memory: &memory, now: 0, effects: &mut effects });
        (result, std::iter::from_fn(|| effects.pop()).collect())
    }

    fn write(device: &mut Ivshmem, offset: u64, width: Width, value: u64) -> Vec<DeviceEffect> {
        with(|context| device.write(offset, width, value, context)).1
    }

    fn read(device: &mut Ivshmem, offset: u64, width: Width) -> u64 {
        with(|context| device.read(offset, width, context)).0
    }

    #[test]
    fn a_peer_knows_who_it_is() {
        let mut device = Ivshmem::new(2, 3);
        assert_eq!(read(&mut device, register::POSITION, Width::Dword), 2);
        assert_eq!(read(&mut device, register::POSITION, Width::Word), 2);
        assert_eq!(read(&mut device, register::DOORBELL, Width::Dword), 0);
        assert_eq!(read(&mut device, register::INTERRUPT_STATUS, Width::Dword), 0);
        assert_eq!(read(&mut device, register::BYTES, Width::Dword), 0xffff_ffff, "nothing is behind them");
        write(&mut device, register::INTERRUPT_MASK, Width::Dword, 5);
        assert_eq!(read(&mut device, register::INTERRUPT_MASK, Width::Dword), 5);
    }

    #[test]
    fn a_doorbell_is_rung_once_until_it_is_carried() {
        let mut device = Ivshmem::new(0, 2);
        assert_eq!(write(&mut device, register::DOORBELL, Width::Dword, 1 << 16 | 3), [DeviceEffect::Wake]);
        assert_eq!(write(&mut device, register::DOORBELL, Width::Dword, 1 << 16 | 3), []);
        assert_eq!(device.take_doorbell(), Some(Doorbell { peer: 1, vector: 3 }));
        assert_eq!(device.take_doorbell(), None);
        assert_eq!(write(&mut device, register::DOORBELL, Width::Dword, 1 << 16 | 3), [DeviceEffect::Wake]);
        device.reset();
        assert_eq!(device.take_doorbell(), None);
    }

    fn save(device: &Ivshmem) -> Vec<u8> {
        let mut bytes = std::vec![0; STATE_BYTES + device.rung.len()];
        let length = device.save(&mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn a_state_is_taken_as_a_whole_or_not_at_all() {
        let mut device = Ivshmem::new(u16::MAX, 3);
        write(&mut device, register::INTERRUPT_MASK, Width::Dword, u32::MAX.into());
        write(&mut device, register::DOORBELL, Width::Dword, 2 << 16 | 7);
        let bytes = save(&device);
        let mut other = Ivshmem::new(u16::MAX, 3);
        let before = save(&other);
        for length in 0..bytes.len() {
            assert!(other.restore(&bytes[..length]).is_err(), "{length}");
        }
        assert_eq!(other.restore(&[&[2], &bytes[1..]].concat()), Err(RestoreFault::Version(2)));
        assert_eq!(other.restore(&[&bytes[..], &[0]].concat()), Err(RestoreFault::Malformed));
        assert_eq!(save(&other), before);
        assert_eq!(Ivshmem::new(1, 3).restore(&bytes), Err(RestoreFault::Configuration));
        for room in 0..bytes.len() {
            assert_eq!(device.save(&mut std::vec![0; room]), Err(SaveFault::TooLong));
        }
        assert_eq!(other.restore(&bytes), Ok(()));
        assert_eq!(read(&mut other, register::INTERRUPT_MASK, Width::Dword), u32::MAX.into());
        assert_eq!(other.take_doorbell(), Some(Doorbell { peer: 2, vector: 7 }));
        assert_eq!(other.take_doorbell(), None);
    }

    proptest! {
        /// Whatever was rung is rung of what is restored; and no bytes ring what is not there.
        #[test]
        fn any_state_comes_back(
            peers in 0_u16..5,
            writes in prop::collection::vec((0_u64..0x10, any::<u32>()), 0..50),
            damage in prop::collection::vec(any::<u8>(), 0..12),
        ) {
            let mut device = Ivshmem::new(0, peers);
            for (offset, value) in writes {
                write(&mut device, offset, Width::Dword, u64::from(value & 0x3_000f));
            }
            let mut other = Ivshmem::new(0, peers);
            other.restore(&save(&device)).unwrap();
            prop_assert_eq!(save(&other), save(&device));
            if other.restore(&damage).is_err() {
                prop_assert_eq!(save(&other), save(&device));
            }
            while let Some(Doorbell { peer, vector }) = other.take_doorbell() {
                prop_assert!(peer < peers && vector < VECTORS);
            }
        }

        /// Whatever is written where, only doorbells that there are ring, each once.
        #[test]
        fn nobody_rings_what_is_not_there(
            peers in 0_u16..5,
            writes in prop::collection::vec((0_u64..0x20, 0_u64..4, prop_oneof![0_u64..0x6_000a, any::<u64>()]), 0..50),
        ) {
            let mut device = Ivshmem::new(0, peers);
            let mut expected = BTreeSet::new();
            for (offset, width, value) in writes {
                let width = [Width::Byte, Width::Word, Width::Dword, Width::Qword][width as usize];
                write(&mut device, offset, width, value);
                let (peer, vector) = ((value as u32 >> 16) as u16, value as u16);
                if (offset, width) == (register::DOORBELL, Width::Dword) && peer < peers && vector < VECTORS {
                    expected.insert((peer, vector));
                }
            }
            let rung: Vec<_> = std::iter::from_fn(|| device.take_doorbell()).collect();
            let rung: Vec<_> = rung.iter().map(|rung| (rung.peer, rung.vector)).collect();
            prop_assert_eq!(rung, Vec::from_iter(expected));
        }
    }
}
