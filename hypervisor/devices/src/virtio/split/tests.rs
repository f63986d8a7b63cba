use super::*;
use access::memory::VecMemory;
use proptest::prelude::*;
use std::vec::Vec;

const SIZE: u16 = 8;
const MEMORY: usize = 0x8000;
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const TABLES: u64 = 0x4000;

fn places(indirect: bool, event_index: bool) -> Places {
    Places {
        size: SIZE,
        descriptors: Gpa(DESCRIPTORS),
        driver: Gpa(AVAILABLE),
        device: Gpa(USED),
        indirect,
        event_index,
    }
}

/// A driver of the queue, in the order in which Linux does it.
struct Driver {
    memory: VecMemory,
    event_index: bool,
    free: Vec<u16>,
    /// The descriptors of each chain, by its head.
    chains: [Vec<u16>; SIZE as usize],
    available: u16,
    used: u16,
    notified: u16,
}

impl Driver {
    fn new(event_index: bool) -> Self {
        Self {
            memory: VecMemory::new(MEMORY),
            event_index,
            free: (0..SIZE).collect(),
            chains: Default::default(),
            available: 0,
            used: 0,
            notified: 0,
        }
    }

    fn get(&self, at: u64) -> u16 {
        let mut bytes = [0; 2];
        self.memory.read(Gpa(at), &mut bytes).unwrap();
        u16::from_le_bytes(bytes)
    }

    fn set(&self, at: u64, value: u16) {
        self.memory.write(Gpa(at), &value.to_le_bytes()).unwrap();
    }

    fn describe(&self, table: u64, index: u16, descriptor: Descriptor) {
        let at = Gpa(table + u64::from(index) * DESCRIPTOR_BYTES);
        self.memory.write(at, &descriptor.encode()).unwrap();
    }

    fn offer(&mut self, head: u16) {
        self.set(AVAILABLE + RING_ENTRIES + u64::from(self.available % SIZE) * 2, head);
        self.available = self.available.wrapping_add(1);
        self.set(AVAILABLE + RING_INDEX, self.available);
    }

    /// Makes a chain of segments available, the last `writable` of them for the device to write.
    fn add(&mut self, segments: &[Segment], writable: usize, indirect: bool) -> Option<u16> {
        let own = if indirect { 1 } else { segments.len() };
        if own > self.free.len() {
            return None;
        }
        let numbers = self.free.split_off(self.free.len() - own);
        let head = numbers[0];
        let table = if indirect { TABLES + u64::from(head) * 0x100 } else { DESCRIPTORS };
        for (place, segment) in segments.iter().enumerate() {
            let number = |place: usize| if indirect { place as u16 } else { numbers[place] };
            let last = place + 1 == segments.len();
            let mut flags = if last { 0 } else { DESCRIPTOR_NEXT };
            flags |= if place + writable >= segments.len() { DESCRIPTOR_WRITE } else { 0 };
            let next = if last { 0xffff } else { number(place + 1) };
            let descriptor = Descriptor { gpa: segment.gpa, bytes: segment.bytes, flags, next };
            self.describe(table, number(place), descriptor);
        }
        if indirect {
            let bytes = (segments.len() * Descriptor::BYTES) as u32;
            let descriptor = Descriptor { gpa: Gpa(table), bytes, flags: DESCRIPTOR_INDIRECT, next: 0 };
            self.describe(DESCRIPTORS, head, descriptor);
        }
        self.chains[head as usize] = numbers;
        self.offer(head);
        Some(head)
    }

    /// Whether the device is to be told of what was made available since this was last asked.
    fn must_notify(&mut self) -> bool {
        let old = core::mem::replace(&mut self.notified, self.available);
        if self.event_index {
            passed(self.get(USED + RING_ENTRIES + u64::from(SIZE) * 8), old, self.available)
        } else {
            old != self.available && self.get(USED + RING_FLAGS) & USED_NO_NOTIFY == 0
        }
    }

    /// Takes what was used next: head and bytes.
    fn take_used(&mut self) -> Option<(u16, u32)> {
        if self.get(USED + RING_INDEX) == self.used {
            return None;
        }
        let mut entry = [0; 8];
        self.memory.read(Gpa(USED + RING_ENTRIES + u64::from(self.used % SIZE) * 8), &mut entry).unwrap();
        let entry = u64::from_le_bytes(entry);
        self.used = self.used.wrapping_add(1);
        let head = entry as u16;
        self.free.append(&mut self.chains[head as usize]);
        Some((head, (entry >> 32) as u32))
    }

    fn want_interrupt(&self) {
        self.set(AVAILABLE + RING_ENTRIES + u64::from(SIZE) * 2, self.used);
    }
}

fn queue(indirect: bool, event_index: bool) -> (Split, Driver, Chain) {
    let split = Split::new(places(indirect, event_index)).unwrap();
    (split, Driver::new(event_index), Chain::with_capacity(SIZE))
}

fn of(head: u16) -> Taken {
    Taken { head, entries: 1 }
}

fn buffer(number: u64) -> Segment {
    Segment { gpa: Gpa(0x6000 + number * 0x100), bytes: 0x100 }
}

/// What taking descriptor 0 gives if the first descriptors are these.
fn take_of(descriptors: &[(u64, u32, u16, u16)]) -> Result<bool, Broken> {
    let (mut split, mut driver, mut chain) = queue(true, false);
    for (index, &(gpa, bytes, flags, next)) in descriptors.iter().enumerate() {
        driver.describe(DESCRIPTORS, index as u16, Descriptor { gpa: Gpa(gpa), bytes, flags, next });
    }
    driver.offer(0);
    split.take(&driver.memory, &mut chain)
}

#[test]
fn a_queue_is_only_where_it_can_be() {
    let good = places(true, true);
    assert!(Split::new(good).is_ok());
    for bad in [
        Places { size: 0, ..good },
        Places { size: 7, ..good },
        Places { descriptors: Gpa(8), ..good },
        Places { driver: Gpa(1), ..good },
        Places { device: Gpa(2), ..good },
        Places { device: Gpa(u64::MAX - 3), ..good },
        Places { descriptors: Gpa(u64::MAX - 15), ..good },
    ] {
        assert_eq!(Split::new(bad), Err(Broken), "{bad:?}");
    }
}

#[test]
fn a_chain_that_breaks_a_rule_is_refused() {
    const NEXT: u16 = DESCRIPTOR_NEXT;
    const WRITE: u16 = DESCRIPTOR_WRITE;
    const INDIRECT: u16 = DESCRIPTOR_INDIRECT;
    assert_eq!(take_of(&[(0x6000, 16, NEXT, 1), (0x7000, 1, WRITE, 0)]), Ok(true));
    assert_eq!(take_of(&[(0x6000, 16, NEXT, 0)]), Err(Broken), "a circle");
    assert_eq!(take_of(&[(0x6000, 0, NEXT, 0)]), Err(Broken), "a circle without bytes");
    assert_eq!(take_of(&[(0x6000, 16, NEXT, SIZE)]), Err(Broken), "a descriptor that is none");
    assert_eq!(take_of(&[(0x6000, 16, NEXT | WRITE, 1), (0x7000, 1, 0, 0)]), Err(Broken), "read after write");
    assert_eq!(take_of(&[(u64::MAX, 2, 0, 0)]), Err(Broken), "an end beyond the address space");
    assert_eq!(take_of(&[(0, u32::MAX, NEXT, 1), (0, 1, 0, 0)]), Err(Broken), "more than 2^32 bytes");
    // Descriptor 1 is the one of the indirect table.
    let table = DESCRIPTORS + DESCRIPTOR_BYTES;
    assert_eq!(take_of(&[(table, 16, INDIRECT, 0), (0x6000, 16, 0, 0)]), Ok(true));
    assert_eq!(
        take_of(&[(table, 16, INDIRECT | WRITE, 0), (0x6000, 16, 0, 0)]),
        Ok(true),
        "the flag says nothing"
    );
    assert_eq!(take_of(&[(table, 16, INDIRECT | NEXT, 0), (0x6000, 16, 0, 0)]), Err(Broken));
    assert_eq!(take_of(&[(table, 16, INDIRECT, 0), (table, 16, INDIRECT, 0)]), Err(Broken), "nested");
    assert_eq!(
        take_of(&[(table, 16, INDIRECT, 0), (0x6000, 16, NEXT, 1)]),
        Err(Broken),
        "outside of the table"
    );
    assert_eq!(take_of(&[(table, 0, INDIRECT, 0)]), Err(Broken), "an empty table");
    assert_eq!(take_of(&[(table, 17, INDIRECT, 0)]), Err(Broken), "a part of a descriptor");
    let many = (u32::from(SIZE) + 1) * 16;
    assert_eq!(take_of(&[(table, many, INDIRECT, 0)]), Err(Broken), "longer than the queue");
    assert_eq!(take_of(&[(MEMORY as u64, 16, INDIRECT, 0)]), Err(Broken), "no memory");
}

#[test]
fn an_indirect_table_is_refused_unless_it_was_agreed_on() {
    let (mut split, mut driver, mut chain) = queue(false, false);
    driver.add(&[buffer(0)], 0, true).unwrap();
    assert_eq!(split.take(&driver.memory, &mut chain), Err(Broken));
}

#[test]
fn a_table_may_end_a_chain_of_descriptors() {
    assert_eq!(
        take_of(&[
            (0x6000, 16, DESCRIPTOR_NEXT, 1),
            (DESCRIPTORS + 32, 16, DESCRIPTOR_INDIRECT, 0),
            (0x7000, 16, DESCRIPTOR_WRITE, 0),
        ]),
        Ok(true)
    );
}

#[test]
fn an_index_that_jumps_and_a_descriptor_offered_twice_are_refused() {
    let (mut split, mut driver, mut chain) = queue(true, true);
    driver.set(AVAILABLE + RING_INDEX, SIZE + 1);
    assert_eq!(split.take(&driver.memory, &mut chain), Err(Broken));
    assert_eq!(split.want_notifications(true, &driver.memory), Err(Broken));
    driver.set(AVAILABLE + RING_INDEX, 0);
    driver.describe(DESCRIPTORS, 0, Descriptor { gpa: Gpa(0x6000), bytes: 1, flags: 0, next: 0 });
    for _ in 0..SIZE {
        driver.offer(0);
        assert_eq!(split.take(&driver.memory, &mut chain), Ok(true));
    }
    assert_eq!(split.outstanding(), SIZE);
    driver.offer(0);
    assert_eq!(split.take(&driver.memory, &mut chain), Err(Broken));
}

#[test]
fn what_is_untaken_is_taken_again_and_several_are_seen_at_once() {
    let (mut split, mut driver, mut chain) = queue(true, true);
    let heads = [0, 1, 2].map(|place| driver.add(&[buffer(place)], 1, false).unwrap());
    for head in [heads[0], heads[1]] {
        assert_eq!(split.take(&driver.memory, &mut chain), Ok(true));
        assert_eq!(chain.taken.head, head);
    }
    assert_eq!(split.untake(3), Err(Broken), "two were taken");
    split.untake(1).unwrap();
    for head in [heads[1], heads[2]] {
        assert_eq!(split.take(&driver.memory, &mut chain), Ok(true));
        assert_eq!(chain.taken.head, head);
    }
    assert_eq!(split.put_all(&driver.memory, &[(of(0), 0); 4]), Err(Broken), "three were taken");
    split.put_all(&driver.memory, &heads.map(|head| (of(head), 7))).unwrap();
    assert_eq!(split.outstanding(), 0);
    for head in heads {
        assert_eq!(driver.take_used(), Some((head, 7)));
    }
}

#[test]
fn nothing_can_be_put_that_was_not_taken() {
    let (mut split, driver, _) = queue(true, true);
    assert_eq!(split.put_all(&driver.memory, &[(of(0), 0)]), Err(Broken));
    assert_eq!(driver.get(USED + RING_INDEX), 0);
}

#[test]
fn flags_suppress_where_there_are_no_event_indexes() {
    let (mut split, mut driver, mut chain) = queue(true, false);
    assert_eq!(split.want_notifications(false, &driver.memory), Ok(false));
    let head = driver.add(&[buffer(0)], 1, false).unwrap();
    assert!(!driver.must_notify());
    assert_eq!(split.want_notifications(true, &driver.memory), Ok(true), "it came before");
    assert_eq!(split.take(&driver.memory, &mut chain), Ok(true));
    driver.set(AVAILABLE + RING_FLAGS, AVAILABLE_NO_INTERRUPT);
    split.put_all(&driver.memory, &[(of(head), 3)]).unwrap();
    assert_eq!(split.take_interrupt(&driver.memory), Ok(false));
    assert_eq!(driver.take_used(), Some((head, 3)));
    driver.set(AVAILABLE + RING_FLAGS, 0);
    assert_eq!(split.take_interrupt(&driver.memory), Ok(false), "there is nothing new");
    driver.add(&[buffer(0)], 1, false).unwrap();
    assert!(driver.must_notify());
    assert_eq!(split.take(&driver.memory, &mut chain), Ok(true));
    split.put_all(&driver.memory, &[(of(chain.taken.head), 0)]).unwrap();
    assert_eq!(split.take_interrupt(&driver.memory), Ok(true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever order chains are used in, each comes back once with its bytes, and nobody sleeps
    /// while the other side waits for it: across the wrap of the indexes too.
    #[test]
    fn every_chain_comes_back_once(
        event_index: bool,
        start in prop_oneof![Just(0_u16), Just(0xfff0)],
        steps in proptest::collection::vec((0_u8..3, 1_usize..6, any::<prop::sample::Index>(), any::<bool>()), 0..200),
    ) {
        let (mut split, mut driver, mut chain) = queue(true, event_index);
        (split.next_available, split.next_used) = (start, start);
        (driver.available, driver.used, driver.notified) = (start, start, start);
        driver.set(AVAILABLE + RING_INDEX, start);
        driver.set(USED + RING_INDEX, start);
        driver.want_interrupt();
        prop_assert_eq!(split.want_notifications(true, &driver.memory), Ok(false));
        let mut taken: Vec<u16> = Vec::new();
        let mut expected = std::collections::VecDeque::new();
        for (step, segments, which, indirect) in steps {
            match step {
                0 => {
                    let segments: Vec<_> = (0..segments as u64).map(buffer).collect();
                    let writable = which.index(segments.len() + 1);
                    let Some(head) = driver.add(&segments, writable, indirect) else { continue };
                    prop_assert!(driver.must_notify(), "the device sleeps");
                    prop_assert_eq!(split.take(&driver.memory, &mut chain), Ok(true));
                    prop_assert_eq!(chain.taken.head, head);
                    let (readable, written) = segments.split_at(segments.len() - writable);
                    prop_assert_eq!(chain.readable(), readable);
                    prop_assert_eq!(chain.writable(), written);
                    prop_assert_eq!(split.take(&driver.memory, &mut chain), Ok(false));
                    prop_assert_eq!(split.want_notifications(true, &driver.memory), Ok(false));
                    taken.push(head);
                }
                1 if !taken.is_empty() => {
                    let head = taken.swap_remove(which.index(taken.len()));
                    split.put_all(&driver.memory, &[(of(head), segments as u32)]).unwrap();
                    let slept = expected.is_empty();
                    expected.push_back((head, segments as u32));
                    prop_assert_eq!(split.take_interrupt(&driver.memory), Ok(slept || !event_index));
                }
                _ => {
                    while let Some(used) = driver.take_used() {
                        prop_assert_eq!(Some(used), expected.pop_front());
                    }
                    prop_assert!(expected.is_empty());
                    driver.want_interrupt();
                }
            }
            prop_assert_eq!(usize::from(split.outstanding()), taken.len());
        }
    }

    /// Garbage in the rings ends in a chain within its bounds or in a refusal.
    #[test]
    fn garbage_is_bounded(
        bytes in proptest::collection::vec(any::<u8>(), 0x400),
        index in 0_u16..12,
        event_index: bool,
    ) {
        let (_, driver, mut chain) = queue(true, event_index);
        // All parts lie in the same garbage, so what is put changes what is taken.
        let mut at = places(true, event_index);
        (at.descriptors, at.driver, at.device) = (Gpa(0x1000), Gpa(0x1080), Gpa(0x10c0));
        for (place, chunk) in bytes.chunks(16).enumerate() {
            // Few bits are set, so that chains go on.
            let mut descriptor = Descriptor::decode(chunk.try_into().unwrap());
            descriptor = Descriptor {
                gpa: Gpa(0x1000 + descriptor.gpa.0 % 0x400),
                bytes: descriptor.bytes % 160,
                flags: descriptor.flags & 7,
                next: descriptor.next % (SIZE + 1),
            };
            driver.describe(0x1000, place as u16, descriptor);
        }
        driver.set(0x1080 + RING_INDEX, index);
        let mut split = Split::new(at).unwrap();
        for _ in 0..32 {
            let before = split;
            match split.take(&driver.memory, &mut chain) {
                Ok(true) => {
                    prop_assert!(chain.readable().len() + chain.writable().len() <= usize::from(SIZE));
                    prop_assert!(split.outstanding() <= SIZE);
                }
                Ok(false) => break,
                Err(Broken) => {
                    prop_assert_eq!(split, before, "what is refused is not taken");
                    break;
                }
            }
            split.put_all(&driver.memory, &[(of(chain.taken.head), 0)]).unwrap();
            let _ = split.take_interrupt(&driver.memory);
            let _ = split.want_notifications(true, &driver.memory);
        }
    }
}
