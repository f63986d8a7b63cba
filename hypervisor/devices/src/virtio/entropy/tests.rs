use super::*;
use crate::random::{Fault, Tested};
use crate::snapshot::RestoreFault;
use crate::testing::{RandomWords, VecMedium, random_words};
use crate::virtio::Transport;
use crate::virtio::testing::{DATA, Guest, MEMORY, describe};
use access::GuestMemory;
use proptest::prelude::*;
use spec::Gpa;
use spec::virtio::pci::isr;
use spec::virtio::split::{DESCRIPTOR_NEXT, DESCRIPTOR_WRITE, Descriptor};
use spec::virtio::{feature, status};
use std::boxed::Box;
use std::sync::mpsc::Receiver;
use std::vec;
use std::vec::Vec;

const USUAL: u64 = feature::VERSION_1 | feature::INDIRECT_DESCRIPTORS | feature::EVENT_INDEX;

/// A device with its driver, that has these words once it is started; and what is said of its source.
fn guest_with(words: impl Iterator<Item = u64> + Send + 'static) -> (Guest<Entropy>, Receiver<Fault>) {
    let start = random_words().take(crate::random::WORDS_AT_START.into());
    let (source, told) = RandomWords::new(start.chain(words));
    let source = Tested::new(Box::new(source)).expect("the words at the start pass");
    let device = Transport::new(Entropy::new(source), 2, false);
    (Guest::new(device, VecMedium::new(0)), told)
}

fn guest() -> Guest<Entropy> {
    let (mut guest, _) = guest_with(words());
    guest.start(USUAL, QUEUE_SIZE, true);
    guest
}

/// The words after those of the start.
fn words() -> impl Iterator<Item = u64> + Clone + Send {
    random_words().skip(5000)
}

fn expected(bytes: usize) -> Vec<u8> {
    words().flat_map(u64::to_le_bytes).take(bytes).collect()
}

fn add(guest: &mut Guest<Entropy>, segments: &[(u64, u32)]) -> Option<u16> {
    guest.rings[0].add(&guest.bench.memory, segments, segments.len(), false)
}

fn used(guest: &mut Guest<Entropy>) -> Option<(u16, u32)> {
    guest.rings[0].take_used(&guest.bench.memory)
}

fn bytes(guest: &Guest<Entropy>, at: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    guest.bench.memory.read(Gpa(at), &mut bytes).unwrap();
    bytes
}

fn needs_reset(guest: &mut Guest<Entropy>) -> bool {
    guest.status() & status::NEEDS_RESET != 0
}

#[test]
fn a_buffer_is_filled_by_the_access_that_tells_of_it() {
    let mut guest = guest();
    let head = add(&mut guest, &[(DATA, 64)]).unwrap();
    assert!(guest.notify(0));
    assert_eq!(used(&mut guest), Some((head, 64)));
    assert_eq!(guest.bench.messages, [1]);
    assert_eq!(bytes(&guest, DATA, 64), expected(64));
    assert_eq!(guest.bench.wakes, 0, "nobody is asked to poll");
}

#[test]
fn buffers_of_any_size_are_filled_as_far_as_one_request_goes() {
    for (segments, written) in [
        (&[(DATA, 1)][..], 1),
        (&[(DATA, 7), (DATA + 7, 2)], 9),
        (&[(DATA, 64), (DATA + 64, 64)], 64),
        (&[(DATA, 0x10_0000)], 64),
        (&[(DATA, 3), (DATA + 3, 0xffff_0000)], 64),
    ] {
        let mut guest = guest();
        add(&mut guest, segments).unwrap();
        guest.notify(0);
        assert_eq!(used(&mut guest).map(|(_, written)| written), Some(written), "{segments:x?}");
        let count = written as usize;
        assert_eq!(bytes(&guest, DATA, count), expected(count));
        assert_eq!(bytes(&guest, DATA + count as u64, 64), [0; 64], "and nothing behind");
        assert!(!needs_reset(&mut guest));
    }
}

/// A full queue is served by one access; what is made available meanwhile has a notification of its own.
#[test]
fn an_access_gives_no_more_than_the_queue_holds() {
    let mut guest = guest();
    for number in 0..QUEUE_SIZE {
        add(&mut guest, &[(DATA + u64::from(number) * 0x1000, 4096)]).unwrap();
    }
    assert!(guest.notify(0));
    let given: u32 = core::iter::from_fn(|| used(&mut guest)).map(|(_, written)| written).sum();
    assert_eq!(given as usize, usize::from(QUEUE_SIZE) * MOST_BYTES);
    assert!(guest.rings[0].is_idle());
}

#[test]
fn by_its_line_where_there_are_no_messages() {
    let (mut guest, _) = guest_with(words());
    guest.start(feature::VERSION_1, QUEUE_SIZE, false);
    add(&mut guest, &[(DATA, 8)]).unwrap();
    guest.notify(0);
    assert!(guest.bench.line);
    assert_eq!(guest.bench.read(0x1000, spec::Width::Byte), u64::from(isr::QUEUE));
    assert!(!guest.bench.line);
}

/// A source that fails: the buffer stays the device's, the driver is told, and a reset does not help.
#[test]
fn a_source_that_fails_gives_nothing_any_more() {
    for (rest, fault) in [
        (Box::new(core::iter::repeat(3_u64)) as Box<dyn Iterator<Item = u64> + Send>, Fault::Repetition),
        (Box::new(core::iter::empty()), Fault::Silent),
    ] {
        let (mut guest, told) = guest_with(words().take(9).chain(rest));
        guest.start(USUAL, QUEUE_SIZE, true);
        add(&mut guest, &[(DATA, 64)]).unwrap();
        guest.notify(0);
        assert!(used(&mut guest).is_some());
        for _ in 0..3 {
            add(&mut guest, &[(DATA + 0x1000, 64)]).unwrap();
            guest.kick(0);
            assert_eq!(used(&mut guest), None);
            assert!(needs_reset(&mut guest));
            assert_eq!(bytes(&guest, DATA + 0x1000, 64), [0; 64]);
            assert_eq!(guest.bench.messages.last(), Some(&0));
            assert!(guest.reset());
            guest.start(USUAL, QUEUE_SIZE, true);
        }
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [fault], "it is said once");
    }
}

/// What no driver may give (section 5.4.6.1), and what is no memory.
#[test]
fn buffers_that_are_none_need_a_reset() {
    let read_only =
        |guest: &mut Guest<Entropy>| guest.rings[0].add(&guest.bench.memory, &[(DATA, 8)], 0, false);
    let mixed = |guest: &mut Guest<Entropy>| {
        guest.rings[0].add(&guest.bench.memory, &[(DATA, 8), (DATA + 8, 8)], 1, false)
    };
    let empty = |guest: &mut Guest<Entropy>| add(guest, &[(DATA, 0)]);
    let nowhere = |guest: &mut Guest<Entropy>| add(guest, &[(0xffff_0000, 64)]);
    let beyond = |guest: &mut Guest<Entropy>| add(guest, &[(MEMORY as u64 - 8, 64)]);
    type Add = fn(&mut Guest<Entropy>) -> Option<u16>;
    let adds: [Add; 5] = [read_only, mixed, empty, nowhere, beyond];
    for (number, add_to) in adds.into_iter().enumerate() {
        let mut guest = guest();
        add_to(&mut guest).unwrap();
        guest.kick(0);
        assert!(needs_reset(&mut guest), "{number}");
        assert_eq!(used(&mut guest), None);
        assert!(guest.reset());
        guest.start(USUAL, QUEUE_SIZE, true);
        add(&mut guest, &[(DATA, 8)]).unwrap();
        guest.notify(0);
        assert!(used(&mut guest).is_some(), "{number}");
    }
}

/// Rings that lie: circles, indices out of range, tables in tables, more than the queue holds.
#[test]
fn rings_that_break_a_rule_need_a_reset() {
    let with = |flags: u16, next: u16, bytes: u32| Descriptor { gpa: Gpa(DATA), bytes, flags, next };
    for descriptor in [
        with(DESCRIPTOR_NEXT | DESCRIPTOR_WRITE, 0, 8),
        with(DESCRIPTOR_NEXT | DESCRIPTOR_WRITE, QUEUE_SIZE, 8),
        with(spec::virtio::split::DESCRIPTOR_INDIRECT, 0, 24),
        with(spec::virtio::split::DESCRIPTOR_INDIRECT | DESCRIPTOR_NEXT, 1, 16),
        Descriptor { gpa: Gpa(u64::MAX - 8), ..with(DESCRIPTOR_WRITE, 0, 64) },
    ] {
        let mut guest = guest();
        let table = guest.rings[0].descriptors();
        describe(&guest.bench.memory, table, 0, descriptor);
        guest.rings[0].offer(&guest.bench.memory, 0);
        guest.kick(0);
        assert!(needs_reset(&mut guest), "{descriptor:x?}");
    }
    for heads in [&[QUEUE_SIZE][..], &[0; 9]] {
        let mut guest = guest();
        let table = guest.rings[0].descriptors();
        describe(&guest.bench.memory, table, 0, with(DESCRIPTOR_WRITE, 0, 8));
        heads.iter().for_each(|head| guest.rings[0].offer(&guest.bench.memory, *head));
        guest.kick(0);
        assert!(needs_reset(&mut guest), "{heads:?}");
    }
}

fn save(device: &Transport<Entropy>) -> Vec<u8> {
    let mut state = [0; STATE_BYTES];
    let length = device.save(&mut state).unwrap();
    state[..length].to_vec()
}

#[test]
fn a_saved_device_goes_on() {
    let mut guest = guest();
    add(&mut guest, &[(DATA, 64)]).unwrap();
    guest.notify(0);
    let state = save(&guest.bench.device);
    let (other, _) = guest_with(words());
    guest.bench.device = other.bench.device;
    guest.bench.device.restore(&state).unwrap();
    assert_eq!(save(&guest.bench.device), state);
    assert!(used(&mut guest).is_some());
    guest.rings[0].want_interrupt(&guest.bench.memory, true);
    add(&mut guest, &[(DATA, 64)]).unwrap();
    guest.notify(0);
    assert!(used(&mut guest).is_some());
    assert_eq!(guest.bench.messages, [1, 1]);
}

/// Where it is longest a state fits, and what cannot be is refused.
#[test]
fn what_no_device_can_be_is_refused() {
    let mut guest = guest();
    let state = guest.bench.device.registers().unwrap();
    let encode = |state: &crate::virtio::transport::state::Registers| {
        let mut bytes = [0; STATE_BYTES];
        let length = crate::snapshot::encode(3, state, &mut bytes).unwrap();
        bytes[..length].to_vec()
    };
    let mut taken = state;
    let queue = taken.queues[0].as_mut().unwrap();
    let progress = queue.progress.as_mut().unwrap();
    (progress.next_available, progress.outstanding) = (1, 1);
    let mut two = state;
    two.queues[1] = two.queues[0];
    for bad in [taken, two] {
        let refused = guest.bench.device.restore(&encode(&bad));
        assert!(matches!(refused, Err(RestoreFault::Impossible(_))), "{refused:?}");
        assert_eq!(save(&guest.bench.device), encode(&state));
    }
    let mut long = state;
    (long.device_select, long.driver_select, long.driver_features) = (u32::MAX, u32::MAX, u64::MAX);
    (long.queue_select, long.unsent, long.config_vector) = (u16::MAX, u32::MAX, u16::MAX);
    let queue = long.queues[0].as_mut().unwrap();
    (queue.vector, queue.size) = (u16::MAX, u16::MAX);
    (queue.descriptors, queue.driver, queue.device) = (u64::MAX, u64::MAX, u64::MAX);
    let progress = queue.progress.as_mut().unwrap();
    (progress.next_available, progress.next_used) = (u16::MAX, u16::MAX);
    (progress.untold, progress.outstanding) = (u16::MAX, u16::MAX);
    encode(&long);
    assert_eq!(guest.bench.device.restore(&[]), Err(RestoreFault::Malformed));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Whatever buffers come, each is given back once, with at least a byte and no more than it has room
    /// for, and nothing else is written.
    #[test]
    fn each_buffer_comes_back(
        sizes in prop::collection::vec(prop::collection::vec(1_u32..200, 1..5), 1..40),
        event_index: bool,
        is_packed: bool,
        every in 1_usize..9,
    ) {
        let (mut guest, _) = guest_with(words());
        let features = if event_index { USUAL } else { USUAL & !feature::EVENT_INDEX };
        let features = if is_packed { features | feature::RING_PACKED } else { features };
        guest.start(features, QUEUE_SIZE, true);
        let mut flights: Vec<(u16, u32)> = vec![];
        for (number, sizes) in sizes.iter().enumerate() {
            let segments: Vec<_> = sizes.iter().scan(DATA + number as u64 * 0x1000, |at, bytes| {
                let segment = (*at, *bytes);
                *at += u64::from(*bytes);
                Some(segment)
            }).collect();
            let Some(head) = add(&mut guest, &segments) else { continue };
            flights.push((head, sizes.iter().sum()));
            if number % every == 0 {
                guest.notify(0);
                while let Some((head, written)) = used(&mut guest) {
                    let place = flights.iter().position(|(own, _)| *own == head).unwrap();
                    let (_, room) = flights.swap_remove(place);
                    prop_assert_eq!(written, room.min(MOST_BYTES as u32));
                }
                prop_assert!(flights.is_empty());
                let Guest { bench, rings } = &mut guest;
                rings[0].want_interrupt(&bench.memory, true);
            }
        }
        prop_assert!(!needs_reset(&mut guest));
    }

    /// Any bytes as a state: refused, and nothing changed, or a device that works after a reset.
    #[test]
    fn any_state_is_refused_or_works(flips in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6)) {
        let mut guest = guest();
        let before = save(&guest.bench.device);
        let mut state = before.clone();
        for (place, value) in flips {
            let place = place % state.len();
            state[place] = value;
        }
        if guest.bench.device.restore(&state).is_err() {
            prop_assert_eq!(save(&guest.bench.device), before);
        }
        guest.bench.line = crate::Device::line(&guest.bench.device);
        prop_assert!(guest.reset());
        guest.start(USUAL, QUEUE_SIZE, true);
        add(&mut guest, &[(DATA, 64)]).unwrap();
        guest.kick(0);
        prop_assert!(used(&mut guest).is_some());
    }
}
