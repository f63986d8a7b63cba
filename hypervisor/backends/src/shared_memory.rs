//! Memory that several guests share: who its peers are, and how a doorbell gets from one to another.

use crate::disk::Clients;
use alloc::boxed::Box;
use alloc::string::String;
use devices::device::Doorbell;

/// A peer's device: its guest's number, and its own among the guest's endpoints.
type Peer = Option<(usize, usize)>;

/// One such memory.
pub struct SharedMemory {
    /// Its name in the configuration.
    pub name: String,
    /// By position.
    peers: Box<[Peer]>,
    /// The vectors of each that were rung, a bit each.
    rung: Box<[u32]>,
}

impl SharedMemory {
    /// A memory with room for so many peers, none of which is there yet.
    pub fn new(name: String, peers: u16) -> Self {
        let count = usize::from(peers);
        Self {
            name,
            peers: core::iter::repeat_n(None, count).collect(),
            rung: core::iter::repeat_n(0, count).collect(),
        }
    }

    /// How many peers it has room for.
    pub fn room(&self) -> usize {
        self.peers.len()
    }

    /// An endpoint of a guest is the peer at `position`. Whether there is such a place.
    pub fn add_peer(&mut self, position: u16, guest: usize, endpoint: usize) -> bool {
        let place = self.peers.get_mut(usize::from(position));
        place.map(|place| *place = Some((guest, endpoint))).is_some()
    }

    /// Whether an endpoint, of a guest's number and its own, is one of them.
    pub fn serves(&self, whose: (usize, usize)) -> bool {
        self.peers.contains(&Some(whose))
    }

    /// Forgets the peers of a guest that is not built after all.
    pub fn remove_peers(&mut self, guest: usize) {
        let theirs = self.peers.iter_mut().filter(|peer| peer.is_some_and(|(other, _)| other == guest));
        theirs.for_each(|peer| *peer = None);
    }

    /// Carries each doorbell that was rung. Whether there was one.
    pub fn turn(&mut self, clients: &mut dyn Clients) -> bool {
        let Self { peers, rung, .. } = self;
        for (guest, endpoint) in peers.iter().flatten() {
            clients.with(*guest, *endpoint, &mut |endpoint, _| {
                // Each bell of each peer rings once; a model in ring 3 may say for ever that there is one more.
                for _ in 0..peers.len().saturating_mul(u32::BITS as usize) {
                    let Some(Doorbell { peer, vector }) = endpoint.take_doorbell() else { break };
                    let bit = 1_u32.checked_shl(vector.into()).unwrap_or(0);
                    if let Some(rung) = rung.get_mut(usize::from(peer)) {
                        *rung |= bit;
                    }
                }
            });
        }
        let mut worked = false;
        for (peer, rung) in peers.iter().zip(rung) {
            let mut vectors = core::mem::take(rung);
            worked |= vectors != 0;
            let Some((guest, endpoint)) = peer.filter(|_| vectors != 0) else { continue };
            clients.with(guest, endpoint, &mut |endpoint, around| {
                while vectors != 0 {
                    endpoint.ring(vectors.trailing_zeros() as u16, around);
                    vectors &= vectors - 1;
                }
            });
        }
        worked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::memory::VecMemory;
    use devices::device::{Completion, Context};
    use devices::ivshmem::{Ivshmem, VECTORS};
    use devices::{Backend, Device, Endpoint, Surroundings};
    use spec::Width;
    use std::vec::Vec;

    const TABLE: u64 = 0x1000;
    const DOORBELL: u64 = 12;

    /// Endpoints of guests of one each, and the vectors that they were interrupted with.
    struct Guests(Vec<(Endpoint, Vec<u8>)>);

    impl Clients for Guests {
        fn with(
            &mut self,
            guest: usize,
            _: usize,
            serve: &mut dyn FnMut(&mut Endpoint, &mut Surroundings<'_>),
        ) {
            let Some((endpoint, vectors)) = self.0.get_mut(guest) else { return };
            let memory = VecMemory::new(0);
            let mut send = |message: spec::apic::InterruptMessage| vectors.push(message.vector);
            serve(
                endpoint,
                &mut Surroundings { memory: &memory, now: 0, send: &mut send, print: &mut |_| () },
            );
        }
    }

    /// Peers whose vector V is interrupt 0x40 + V.
    fn peers(count: u16) -> (SharedMemory, Guests) {
        let mut memory = SharedMemory::new("board".into(), count);
        let guests = (0..count).map(|position| {
            assert!(memory.add_peer(position, position.into(), 0));
            let device = Box::new(Ivshmem::new(position, count));
            (Endpoint::new(device, Backend::Served, VECTORS, TABLE, 0x2000), Vec::new())
        });
        let mut guests = Guests(guests.collect());
        for guest in 0..count.into() {
            guests.with(guest, 0, &mut |endpoint, around| {
                for vector in 0..u64::from(VECTORS) {
                    let entry = TABLE + 16 * vector;
                    for (at, value) in [(0, 0xfee0_0000), (8, 0x40 + vector), (12, 0)] {
                        endpoint.write(entry + at, Width::Dword, value, around);
                    }
                }
                endpoint.set_enables(true, true, false, around);
            });
        }
        (memory, guests)
    }

    impl Guests {
        fn pull(&mut self, guest: usize, value: u64) -> bool {
            let mut wakes = false;
            self.with(guest, 0, &mut |endpoint, around| {
                endpoint.write(DOORBELL, Width::Dword, value, around);
                wakes = endpoint.take_wants_service();
            });
            wakes
        }
        fn taken(&mut self, guest: usize) -> Vec<u8> {
            core::mem::take(&mut self.0[guest].1)
        }
    }

    #[test]
    fn a_doorbell_interrupts_its_peer_and_nobody_else() {
        let (mut memory, mut guests) = peers(3);
        assert!(!memory.turn(&mut guests));
        assert!(guests.pull(0, 2 << 16 | 5));
        assert!(guests.pull(2, 1));
        assert!(guests.pull(2, 2));
        assert!(guests.pull(1, 1 << 16), "itself");
        assert!(memory.turn(&mut guests));
        assert_eq!(guests.taken(0), [0x41, 0x42]);
        assert_eq!(guests.taken(1), [0x40]);
        assert_eq!(guests.taken(2), [0x45]);
        assert!(!memory.turn(&mut guests), "once");
    }

    #[test]
    fn who_is_not_there_hears_nothing() {
        let (mut memory, mut guests) = peers(2);
        memory.remove_peers(1);
        for value in [1 << 16, 2 << 16, 8, 0xffff_ffff] {
            guests.pull(0, value);
        }
        memory.turn(&mut guests);
        assert_eq!((guests.taken(0), guests.taken(1)), (Vec::new(), Vec::new()));
        assert!(!memory.add_peer(2, 0, 0));
        assert_eq!(memory.room(), 2);
    }

    /// A model that its guest has taken over.
    struct Ringing;

    impl Device for Ringing {
        fn most_effects(&self) -> usize {
            0
        }
        fn read(&mut self, _: u64, width: Width, _: &mut Context<'_>) -> u64 {
            width.mask()
        }
        fn write(&mut self, _: u64, _: Width, _: u64, _: &mut Context<'_>) {}
        fn complete(&mut self, _: Completion, _: &mut Context<'_>) {}
        fn line(&self) -> bool {
            false
        }
        fn reset(&mut self) {}
        fn take_doorbell(&mut self) -> Option<Doorbell> {
            Some(Doorbell { peer: 1, vector: 3 })
        }
    }

    #[test]
    fn one_that_rings_for_ever_interrupts_once_a_turn() {
        let (mut memory, mut guests) = peers(2);
        guests.0[0].0 = Endpoint::new(Box::new(Ringing), Backend::Served, VECTORS, TABLE, 0x2000);
        for _ in 0..3 {
            assert!(memory.turn(&mut guests));
            assert_eq!(guests.taken(1), [0x43]);
        }
    }
}
