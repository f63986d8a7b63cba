//! Committed states: a device goes on that was told one, and what no device has said is refused.

use super::*;
use crate::Device;
use crate::device::{Completion, MOST_REQUEST_BYTES};
use crate::random::Tested;
use crate::snapshot::RestoreFault;
use crate::testing::{RandomWords, random_words, state_of};
use crate::virtio::console::Console;
use crate::virtio::entropy::Entropy;
use crate::virtio::net::Net;
use crate::virtio::testing::DATA;
use access::GuestMemory;
use spec::Gpa;
use spec::virtio::block::request;
use std::boxed::Box;
use std::vec::Vec;

const PACKED: u64 = USUAL;
const SPLIT: u64 = USUAL & !feature::RING_PACKED;

fn drive() -> Transport<Block> {
    let config = Config {
        sectors: 64,
        block_bytes: 512,
        segment_bytes: MOST_REQUEST_BYTES,
        writable: true,
        can_discard: false,
        can_write_zeroes: false,
        most_discarded: 1,
        queues: 2,
        name: [b'n'; 20],
    };
    Transport::new(Block::new(config), 3, false)
}

/// A drive with three requests at the medium, one of them of two pieces, and one that was answered.
fn working(features: u64) -> Guest<Block> {
    let mut guest = Guest::new(drive(), VecMedium::new(64 * 512));
    guest.start(features, 64, true);
    guest.bench.hold = true;
    for (queue, pieces, sector) in [(0, 1, 1_u64), (1, 2, 3), (0, 1, 5), (0, 0, 0)] {
        let Guest { bench, rings } = &mut guest;
        let ring = &mut rings[usize::from(queue)];
        let header = ring.header(ring.next_head(4, true).unwrap());
        let kind = if pieces == 0 { request::GET_ID } else { request::IN };
        let bytes = u128::from(kind) | u128::from(sector) << 64;
        bench.memory.write(Gpa(header), &bytes.to_le_bytes()).unwrap();
        let data =
            (0..pieces.max(1)).map(|piece| (DATA + 0x1000 * piece, if pieces == 0 { 20 } else { 512 }));
        let chain: Vec<_> = [(header, 16)].into_iter().chain(data).chain([(header + 16, 1)]).collect();
        ring.add(&bench.memory, &chain, chain.len() - 1, true).unwrap();
        guest.kick(queue);
    }
    assert_eq!(guest.bench.waiting.len(), 4);
    guest
}

fn restored(words: &[u64]) -> Result<Transport<Block>, RestoreFault> {
    let mut device = drive();
    device.restore_words(words).map(|()| device)
}

#[test]
fn a_device_says_what_it_was_told() {
    for features in [SPLIT, PACKED] {
        let mut guest = working(features);
        let words = state_of(&mut guest.bench.device);
        let mut next = restored(&words).unwrap();
        assert_eq!(state_of(&mut next), words);
        guest.bench.device = next;
        while guest.bench.serve() {}
        let Guest { bench, rings } = &mut guest;
        for (ring, answers) in rings.iter_mut().zip([3, 1]) {
            assert_eq!(core::iter::from_fn(|| ring.take_used(&bench.memory)).count(), answers);
        }
    }
}

/// A drive has two queues: how far they are is in words 1 to 4, the registers are in 5 to 9, where they are in 10 to
/// 17, whose turn it is in 18, and a request in 19 to 22 and so on.
#[test]
fn what_no_device_has_said_is_refused() {
    type Forge = fn(&mut [u64]);
    let forgeries: [(Forge, &str); 26] = [
        (|words| words[0] |= 1 << 26, "bits that mean nothing"),
        (|words| words[0] |= 0x20, "a reserved bit of the status"),
        (|words| words[0] |= 0x80 << 8, "a reserved bit of the ISR"),
        (|words| words[0] |= 1 << (32 + 3), "a message is due"),
        (|words| words[0] &= !8, "without features"),
        (|words| words[1] += 1, "as far"),
        (|words| words[1] += 1 << 16, "as far"),
        (|words| words[1] += 1 << 48, "as far"),
        (|words| words[1] = u64::MAX, "as far"),
        (|words| words[2] |= 1 << 18, "as far"),
        (|words| words[6] |= 1 << 63, "features"),
        (|words| words[7] = 3, "a vector"),
        (|words| words[7] |= 1 << 32, "bits that mean nothing"),
        (|words| words[8] |= 0x100, "reserved in configuration space"),
        (|words| words[10] += 1, "a size"),
        (|words| words[10] = words[10] & !0xffff | 256, "a size"),
        (|words| words[10] |= 0xff << 16, "a vector"),
        (|words| words[10] |= 1 << 33, "enabled and being reset"),
        (|words| words[10] |= 1 << 34, "bits that mean nothing"),
        (|words| words[11] += 8, "where none"),
        (|words| words[18] = 3, "the turn"),
        (|words| words[19] ^= 1, "the tag of another"),
        (|words| words[19] |= 6 << 48, "failed in no way"),
        (|words| words[19] &= !(0xffff << 32), "waits for no request"),
        (|words| words[20] |= 2 << 32, "a queue that is not there"),
        (|words| words[20] |= 3 << 16, "were not taken"),
    ];
    let words = state_of(&mut working(SPLIT).bench.device);
    for (place, (forge, said)) in forgeries.into_iter().enumerate() {
        let mut forged = words.clone();
        forge(&mut forged);
        match restored(&forged) {
            Err(RestoreFault::Impossible(what)) => assert!(what.contains(said), "{place}: {what}"),
            other => panic!("{place}: {:?}", other.err()),
        }
    }
    // The last slot is free, so nothing is looked at behind its first word.
    for count in 0..words.len() - 3 {
        assert_eq!(restored(&words[..count]).err(), Some(RestoreFault::Malformed), "{count}");
    }
}

/// One of each type, with a text in the middle of which the console is.
fn device(kind: usize) -> Box<dyn Device> {
    let mac = MacAddress([2, 0, 0, 0, 0, 9]);
    let net = net::Config { mac, mtu: 1500, any_source: true };
    match kind {
        0 => Box::new(drive()),
        1 => Box::new(Transport::new(Net::with_pairs(net, 2), 6, true)),
        2 => Box::new(Transport::new(Console::new(), 3, false)),
        _ => {
            let source = RandomWords::new(random_words()).0;
            Box::new(Transport::new(Entropy::new(Tested::new(Box::new(source)).unwrap()), 2, false))
        }
    }
}

/// Each type as it works.
fn working_words(kind: usize) -> Vec<u64> {
    if kind == 0 {
        return state_of(&mut working(PACKED).bench.device);
    }
    let mut guest = crate::virtio::testing::Driver::new(Dyn(device(kind)), VecMedium::new(0));
    guest.start(SPLIT, 8, true);
    let crate::virtio::testing::Driver { bench, rings } = &mut guest;
    for ring in rings.iter_mut() {
        ring.add(&bench.memory, &[(DATA, 8), (DATA + 8, 8)], 0, true).unwrap();
    }
    let mut piece = [0; 3];
    bench.with(|device, context| device.output(&mut piece, context));
    state_of(&mut *bench.device.0)
}

/// What a device in a box has to be here.
struct Dyn(Box<dyn Device>);

impl Device for Dyn {
    fn most_effects(&self) -> usize {
        self.0.most_effects()
    }
    fn read(&mut self, offset: u64, width: Width, context: &mut Context<'_>) -> u64 {
        self.0.read(offset, width, context)
    }
    fn write(&mut self, offset: u64, width: Width, value: u64, context: &mut Context<'_>) {
        self.0.write(offset, width, value, context);
    }
    fn complete(&mut self, completion: Completion, context: &mut Context<'_>) {
        self.0.complete(completion, context);
    }
    fn line(&self) -> bool {
        self.0.line()
    }
    fn reset(&mut self) {
        self.0.reset();
    }
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        self.0.poll(context)
    }
    fn output(&mut self, into: &mut [u8], context: &mut Context<'_>) -> usize {
        self.0.output(into, context)
    }
    fn transmit(&mut self, frame: &mut Frame, context: &mut Context<'_>) -> bool {
        self.0.transmit(frame, context)
    }
}

proptest! {
    /// No words are more than a state that can be used, or an error.
    #[test]
    fn no_words_do_harm(
        kind in 0_usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_u32..64, any::<u16>()), 1..4),
        tag in any::<u32>(),
    ) {
        let mut words = working_words(kind);
        for (at, shift, bits) in changes {
            let at = at.index(words.len().min(80));
            words[at] ^= u64::from(bits) << shift;
        }
        let mut device = device(kind);
        if device.restore_words(&words).is_ok() {
            // What no bit of it means anything for is not said again.
            let said = state_of(&mut *device);
            prop_assert_eq!(said.len(), words.len());
            let mut guest = crate::virtio::testing::Driver::new(Dyn(device), VecMedium::new(1 << 20));
            guest.bench.line = guest.bench.device.line();
            for tag in (0..4).chain([tag]) {
                guest.bench.complete(Completion { tag, outcome: Ok(()) });
            }
            guest.bench.poll();
            let mut piece = [0; 20];
            guest.bench.with(|device, context| device.output(&mut piece, context));
            let mut frame = Frame::new();
            guest.bench.with(|device, context| device.transmit(&mut frame, context));
            for queue in 0..4 {
                guest.kick(queue);
            }
            guest.bench.reset();
            prop_assert_eq!(guest.status(), 0);
        }
    }
}
