//! Both kinds of ring against the same driver's side.

use super::*;
use crate::virtio::Segment;
use crate::virtio::testing::{DATA, MEMORY, Ring as Driver};
use access::memory::VecMemory;
use proptest::prelude::*;
use spec::Gpa;
use spec::virtio::split::RING_INDEX;
use std::collections::VecDeque;
use std::vec::Vec;

const SIZE: u16 = 8;
const SPLIT: u64 = feature::VERSION_1 | feature::INDIRECT_DESCRIPTORS;
const PACKED: u64 = SPLIT | feature::RING_PACKED;

struct World {
    memory: VecMemory,
    features: u64,
    ring: Ring,
    driver: Driver,
    chain: Chain,
}

impl World {
    fn new(features: u64) -> Self {
        Self::at(features, SIZE, 0)
    }

    /// A queue of which so many entries were used before.
    fn at(features: u64, size: u16, start: u16) -> Self {
        let memory = VecMemory::new(MEMORY);
        let mut driver = Driver::new(0, size, features);
        (driver.available, driver.used) = (start, start);
        let places = Places {
            size,
            descriptors: Gpa(driver.descriptors()),
            driver: Gpa(driver.driver_area()),
            device: Gpa(driver.device_area()),
            indirect: features & feature::INDIRECT_DESCRIPTORS != 0,
            event_index: features & feature::EVENT_INDEX != 0,
        };
        if !is_packed(features) {
            for area in [driver.driver_area(), driver.device_area()] {
                memory.write(Gpa(area + RING_INDEX), &start.to_le_bytes()).unwrap();
            }
        } else {
            // What was used in the first lap says so.
            for place in 0..u64::from(start) {
                memory.write(Gpa(driver.descriptors() + 16 * place + 14), &[0x80, 0x80]).unwrap();
            }
        }
        let progress = Progress { next_available: start, next_used: start, untold: 0, outstanding: 0 };
        let ring = Ring::restored(places, features, progress).unwrap();
        // What was made available before was told of.
        driver.must_notify(&memory);
        Self { memory, features, ring, driver, chain: Chain::with_capacity(size) }
    }

    fn add(&mut self, segments: &[(u64, u32)], writable: usize, indirect: bool) -> Option<u16> {
        self.driver.add(&self.memory, segments, writable, indirect)
    }

    fn take(&mut self) -> Result<bool, Broken> {
        self.ring.take(&self.memory, &mut self.chain)
    }

    /// What the chain that is taken next is given back by.
    fn taken(&mut self) -> Taken {
        assert_eq!(self.take(), Ok(true));
        self.chain.taken
    }

    fn put(&mut self, taken: Taken, written: u32) {
        self.ring.put_all(&self.memory, &[(taken, written)]).unwrap();
    }
}

fn buffer(number: u64) -> (u64, u32) {
    (DATA + number * 0x100, 0x100)
}

fn segments(list: &[(u64, u32)]) -> Vec<Segment> {
    list.iter().map(|&(gpa, bytes)| Segment { gpa: Gpa(gpa), bytes }).collect()
}

/// With either kind, and with event indexes or without.
fn with_all(test: impl Fn(World)) {
    for features in [SPLIT, PACKED] {
        for events in [0, feature::EVENT_INDEX] {
            test(World::new(features | events));
        }
    }
}

#[test]
fn an_indirect_table_is_refused_unless_it_was_agreed_on() {
    with_all(|world| {
        let mut world = World::new(world.features & !feature::INDIRECT_DESCRIPTORS);
        world.add(&[buffer(0)], 0, true).unwrap();
        assert_eq!(world.take(), Err(Broken));
    });
}

#[test]
fn what_is_untaken_is_taken_again_and_several_are_seen_at_once() {
    with_all(|mut world| {
        let lists = [&[buffer(0), buffer(1)][..], &[buffer(2), buffer(3), buffer(4)], &[buffer(5)]];
        let heads = lists.map(|list| world.add(list, 1, false).unwrap());
        let (first, second) = (world.taken(), world.taken());
        assert_eq!([first.head, second.head], [heads[0], heads[1]]);
        let before = world.ring;
        assert_eq!(world.ring.untake(9), Err(Broken), "so many were not taken");
        assert_eq!(world.ring, before);
        world.ring.untake(second.entries).unwrap();
        let again = [world.taken(), world.taken()];
        assert_eq!(again.map(|taken| taken.head), [heads[1], heads[2]]);
        assert_eq!(world.chain.writable(), segments(&[buffer(5)]));
        let before = world.ring;
        assert_eq!(
            world.ring.put_all(&world.memory, &[(second, 0); 5]),
            Err(Broken),
            "so many were not taken"
        );
        assert_eq!(world.ring, before);
        assert_eq!(world.driver.take_used(&world.memory), None);
        let all = [(again[1], 9), (first, 0), (again[0], 7)];
        world.ring.put_all(&world.memory, &all).unwrap();
        assert_eq!(world.ring.outstanding(), 0);
        for (taken, written) in all {
            assert_eq!(world.driver.take_used(&world.memory), Some((taken.head, written)));
        }
        assert!(world.driver.is_idle());
    });
}

#[test]
fn nothing_can_be_put_that_was_not_taken() {
    with_all(|mut world| {
        let taken = Taken { head: 0, entries: 1 };
        assert_eq!(world.ring.put_all(&world.memory, &[(taken, 0)]), Err(Broken));
        assert_eq!(world.driver.take_used(&world.memory), None);
        assert_eq!(world.ring.put_all(&world.memory, &[]), Ok(()));
        assert_eq!(world.ring.take_interrupt(&world.memory), Ok(false));
    });
}

/// Nothing is taken before it was admitted, and of what comes later the driver tells.
#[test]
fn what_is_admitted_is_taken_and_no_more() {
    with_all(|mut world| {
        world.ring.hold();
        world.add(&[buffer(0), buffer(1)], 1, false).unwrap();
        assert_eq!(world.take(), Ok(false));
        assert!(world.driver.must_notify(&world.memory));
        world.ring.admit(&world.memory).unwrap();
        world.add(&[buffer(2)], 1, false).unwrap();
        assert!(world.driver.must_notify(&world.memory), "it was not admitted");
        let taken = world.taken();
        assert_eq!(world.take(), Ok(false));
        world.put(taken, 0);
        world.ring.admit(&world.memory).unwrap();
        world.taken();
        assert_eq!(world.take(), Ok(false));
    });
}

#[test]
fn flags_suppress_where_there_are_no_event_indexes() {
    for features in [SPLIT, PACKED] {
        let mut world = World::new(features);
        assert_eq!(world.ring.want_notifications(false, &world.memory), Ok(false));
        let head = world.add(&[buffer(0)], 1, false).unwrap();
        assert!(!world.driver.must_notify(&world.memory));
        assert_eq!(world.ring.want_notifications(true, &world.memory), Ok(true), "it came before");
        let taken = world.taken();
        world.driver.want_interrupt(&world.memory, false);
        world.put(taken, 3);
        assert_eq!(world.ring.take_interrupt(&world.memory), Ok(false));
        assert_eq!(world.driver.take_used(&world.memory), Some((head, 3)));
        world.driver.want_interrupt(&world.memory, true);
        assert_eq!(world.ring.take_interrupt(&world.memory), Ok(false), "there is nothing new");
        world.add(&[buffer(0)], 1, false).unwrap();
        assert!(world.driver.must_notify(&world.memory));
        let taken = world.taken();
        world.put(taken, 0);
        assert_eq!(world.ring.take_interrupt(&world.memory), Ok(true));
    }
}

/// A packed queue has any size, a split one a power of two.
#[test]
fn a_ring_that_is_packed_has_any_size() {
    for size in [1, 3, 7, 100, 127] {
        let mut world = World::at(PACKED | feature::EVENT_INDEX, size, 0);
        world.driver.want_interrupt(&world.memory, true);
        for round in 0..3 * u32::from(size) {
            world.ring.want_notifications(true, &world.memory).unwrap();
            let head = world.add(&[buffer(0)], 1, false).unwrap();
            assert!(world.driver.must_notify(&world.memory), "{round}");
            let taken = world.taken();
            world.put(taken, 1);
            assert_eq!(world.ring.take_interrupt(&world.memory), Ok(true), "{round}");
            assert_eq!(world.driver.take_used(&world.memory), Some((head, 1)));
            world.driver.want_interrupt(&world.memory, true);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever order chains are used in, each comes back once with its bytes, and nobody sleeps
    /// while the other side waits for it: across the wrap of the indexes too.
    #[test]
    fn every_chain_comes_back_once(
        features in prop_oneof![Just(SPLIT), Just(PACKED)],
        event_index: bool,
        size in prop_oneof![Just(SIZE), Just(7_u16)],
        start in 0_usize..3,
        steps in proptest::collection::vec((0_u8..3, 1_usize..6, any::<prop::sample::Index>(), any::<bool>()), 0..200),
    ) {
        let size = if is_packed(features) { size } else { SIZE };
        let start = if is_packed(features) { [0, size - 1, size] } else { [0, 0xfff0, 0xffff] }[start];
        let events = if event_index { feature::EVENT_INDEX } else { 0 };
        let mut world = World::at(features | events, size, start);
        world.driver.want_interrupt(&world.memory, true);
        prop_assert_eq!(world.ring.want_notifications(true, &world.memory), Ok(false));
        let mut taken: Vec<Taken> = Vec::new();
        let mut expected = VecDeque::new();
        for (step, count, which, indirect) in steps {
            match step {
                0 => {
                    let list: Vec<_> = (0..count as u64).map(buffer).collect();
                    let writable = which.index(list.len() + 1);
                    let Some(head) = world.add(&list, writable, indirect) else { continue };
                    prop_assert!(world.driver.must_notify(&world.memory), "the device sleeps");
                    taken.push(world.taken());
                    prop_assert_eq!(world.chain.taken.head, head);
                    let (readable, written) = list.split_at(list.len() - writable);
                    prop_assert_eq!(world.chain.readable(), segments(readable));
                    prop_assert_eq!(world.chain.writable(), segments(written));
                    prop_assert_eq!(world.take(), Ok(false));
                    prop_assert_eq!(world.ring.want_notifications(true, &world.memory), Ok(false));
                }
                1 if !taken.is_empty() => {
                    let one = taken.swap_remove(which.index(taken.len()));
                    world.put(one, count as u32);
                    let slept = expected.is_empty();
                    expected.push_back((one.head, count as u32));
                    prop_assert_eq!(world.ring.take_interrupt(&world.memory), Ok(slept || !event_index));
                }
                _ => {
                    while let Some(used) = world.driver.take_used(&world.memory) {
                        prop_assert_eq!(Some(used), expected.pop_front());
                    }
                    prop_assert!(expected.is_empty());
                    world.driver.want_interrupt(&world.memory, true);
                }
            }
            let entries: u16 = taken.iter().map(|taken| taken.entries).sum();
            prop_assert_eq!(world.ring.outstanding(), entries);
            let progress = world.ring.progress();
            prop_assert!(is_at_rest(&progress, size, world.features));
        }
    }

    /// Garbage in the rings ends in a chain within its bounds or in a refusal.
    #[test]
    fn garbage_is_bounded(
        features in prop_oneof![Just(SPLIT), Just(PACKED)],
        bytes in proptest::collection::vec(any::<u8>(), 0x400),
        index in 0_u16..12,
        event_index: bool,
        held: bool,
    ) {
        let events = if event_index { feature::EVENT_INDEX } else { 0 };
        let memory = VecMemory::new(0x2000);
        // All parts lie in the same garbage, so what is put changes what is taken.
        let (descriptors, driver, device) = (Gpa(0x1000), Gpa(0x1080), Gpa(0x10c0));
        let indirect = true;
        let places = Places { size: SIZE, descriptors, driver, device, indirect, event_index };
        for (place, chunk) in bytes.as_chunks::<16>().0.iter().enumerate() {
            // Few bits are set, so that chains go on.
            let value = u128::from_le_bytes(*chunk);
            let gpa = 0x1000 + u128::from(value as u64 % 0x400);
            let length = u128::from((value >> 64) as u32 % 160);
            let (low, high) = ((value >> 96) as u16, (value >> 112) as u16);
            let words = if is_packed(features) {
                u128::from(low) | u128::from(high & 0x8087 | 0x80) << 16
            } else {
                u128::from(low & 7) | u128::from(high % (SIZE + 1)) << 16
            };
            let value = gpa | length << 64 | words << 96;
            memory.write(Gpa(0x1000 + 16 * place as u64), &value.to_le_bytes()).unwrap();
        }
        if !is_packed(features) {
            memory.write(Gpa(0x1080 + RING_INDEX), &index.to_le_bytes()).unwrap();
        }
        let mut chain = Chain::with_capacity(SIZE);
        let mut ring = Ring::new(places, features | events).unwrap();
        if held {
            ring.hold();
        }
        for _ in 0..32 {
            if held {
                let _ = ring.admit(&memory);
            }
            let before = ring;
            match ring.take(&memory, &mut chain) {
                Ok(true) => {
                    prop_assert!(chain.readable().len() + chain.writable().len() <= usize::from(SIZE));
                    prop_assert!(ring.outstanding() <= SIZE);
                }
                Ok(false) => break,
                Err(Broken) => {
                    prop_assert_eq!(ring, before, "what is refused is not taken");
                    break;
                }
            }
            ring.put_all(&memory, &[(chain.taken, 0)]).unwrap();
            let _ = ring.take_interrupt(&memory);
            let _ = ring.want_notifications(true, &memory);
        }
    }
}
