use super::*;
use access::GuestMemory;
use access::fake_dma::{FakeBuffer, FakeDma, FakeDomain};
use spec::Gpa;
use spec::virtio::split::RING_INDEX;
use std::rc::Rc;
use std::vec::Vec;

const ENTRIES: u16 = 8;

struct Bench {
    queue: Queue<FakeBuffer>,
    dma: FakeDma,
    domain: Rc<FakeDomain>,
    used: u16,
}

impl Bench {
    fn new(has_event_index: bool) -> Self {
        let (mut dma, domain) = FakeDma::new(1 << 20);
        let mut queue = Queue::new(&mut dma, 3, ENTRIES).unwrap();
        queue.clear(ENTRIES, has_event_index).unwrap();
        Self { queue, dma, domain, used: 0 }
    }

    fn at(&self, place: usize, offset: u64) -> Gpa {
        Gpa(self.queue.places()[place].0 + offset)
    }

    fn read16(&self, place: usize, offset: u64) -> u16 {
        let mut bytes = [0; 2];
        self.domain.read(self.at(place, offset), &mut bytes).unwrap();
        u16::from_le_bytes(bytes)
    }

    /// The device's side of an offer: the chains that it sees.
    fn available(&self) -> Vec<u16> {
        let index = self.read16(1, RING_INDEX);
        (self.used..index)
            .map(|index| self.read16(1, RING_ENTRIES + u64::from(index % ENTRIES) * AVAILABLE_ENTRY_BYTES))
            .collect()
    }

    /// The device is done with a chain.
    fn put_used(&mut self, id: u32, bytes: u32) {
        let at = self.at(2, RING_ENTRIES + u64::from(self.used % ENTRIES) * USED_ENTRY_BYTES);
        self.domain.write(at, &id.to_le_bytes()).unwrap();
        self.domain.write(at + 4, &bytes.to_le_bytes()).unwrap();
        self.set_used(self.used.wrapping_add(1));
    }

    fn set_used(&mut self, index: u16) {
        self.used = index;
        self.domain.write(self.at(2, RING_INDEX), &index.to_le_bytes()).unwrap();
    }

    fn offer(&mut self, head: u16) -> bool {
        self.queue.offer(head).unwrap();
        self.queue.publish(&self.dma).unwrap()
    }

    fn event(&self) -> u16 {
        self.read16(1, RING_ENTRIES + u64::from(ENTRIES) * AVAILABLE_ENTRY_BYTES)
    }
}

#[test]
fn what_is_offered_is_seen_and_what_is_used_comes_back() {
    for has_event_index in [false, true] {
        let mut bench = Bench::new(has_event_index);
        // More than the indices count to.
        for turn in 0..70_000_u32 {
            let head = (turn % 5) as u16;
            bench.offer(head);
            assert_eq!(bench.queue.in_flight(), 1);
            if turn < 100 {
                assert_eq!(bench.available(), [head]);
            }
            bench.put_used(head.into(), turn);
            assert_eq!(bench.queue.take(&bench.dma), Ok(Some(Used { head, bytes: turn })));
            assert_eq!(bench.queue.take(&bench.dma), Ok(None));
        }
        assert!(bench.domain.is_published());
    }
}

#[test]
fn nothing_is_seen_before_it_is_published() {
    let mut bench = Bench::new(true);
    bench.queue.offer(1).unwrap();
    bench.queue.offer(2).unwrap();
    assert_eq!(bench.available(), []);
    assert_eq!(bench.queue.in_flight(), 0);
    assert!(bench.queue.publish(&bench.dma).unwrap());
    assert_eq!(bench.available(), [1, 2]);
    assert!(!bench.queue.publish(&bench.dma).unwrap(), "there is nothing new");
}

#[test]
fn a_device_that_looks_anyway_is_not_notified() {
    let mut bench = Bench::new(false);
    assert!(bench.offer(0));
    bench.domain.write(bench.at(2, 0), &USED_NO_NOTIFY.to_le_bytes()).unwrap();
    assert!(!bench.offer(1));
    let mut bench = Bench::new(true);
    // It wants to know of the third.
    let event = RING_ENTRIES + u64::from(ENTRIES) * USED_ENTRY_BYTES;
    bench.domain.write(bench.at(2, event), &2_u16.to_le_bytes()).unwrap();
    assert_eq!([bench.offer(0), bench.offer(1), bench.offer(2), bench.offer(3)], [false, false, true, false]);
}

#[test]
fn messages_are_asked_for_and_nothing_is_missed() {
    let mut bench = Bench::new(true);
    (0..3).for_each(|head| assert!(bench.offer(head) || head > 0));
    assert_eq!(bench.event(), 0, "the first causes one");
    bench.put_used(0, 0);
    bench.queue.take(&bench.dma).unwrap();
    bench.put_used(1, 0);
    assert!(bench.queue.arm(&bench.dma).unwrap(), "one is there already");
    assert_eq!(bench.event(), 1);
    bench.queue.take(&bench.dma).unwrap();
    assert!(!bench.queue.arm(&bench.dma).unwrap());
    assert_eq!(bench.event(), 2);
    bench.queue.set_quiet(true).unwrap();
    assert!(!passed(bench.event(), 2, 3) && !passed(bench.event(), 2, 100), "it sends none");
    bench.put_used(2, 0);
    assert!(!bench.queue.arm(&bench.dma).unwrap(), "nobody wants to know");
    bench.queue.set_quiet(false).unwrap();
    assert!(bench.queue.arm(&bench.dma).unwrap());
}

#[test]
fn without_event_indices_messages_are_wanted_or_not() {
    let mut bench = Bench::new(false);
    assert_eq!(bench.read16(1, 0), 0);
    bench.queue.set_quiet(true).unwrap();
    assert_eq!(bench.read16(1, 0), AVAILABLE_NO_INTERRUPT);
    bench.offer(1);
    assert_eq!((bench.read16(1, 0), bench.available()), (AVAILABLE_NO_INTERRUPT, [1].to_vec()));
    bench.queue.set_quiet(false).unwrap();
    assert_eq!((bench.read16(1, 0), bench.available()), (0, [1].to_vec()));
}

#[test]
fn an_index_that_jumps_is_found() {
    for jump in [2, 3, 8, 9, 0x7fff, 0x8000, 0xffff] {
        let mut bench = Bench::new(true);
        bench.offer(0);
        bench.set_used(jump);
        let error = Error::UsedIndex { queue: 3, ahead: jump };
        assert_eq!(bench.queue.take(&bench.dma), Err(error));
    }
    let mut bench = Bench::new(true);
    bench.set_used(1);
    assert_eq!(bench.queue.take(&bench.dma), Err(Error::UsedIndex { queue: 3, ahead: 1 }));
}

#[test]
fn a_chain_that_is_none_is_found() {
    for id in [8, 0x1_0000, u32::MAX] {
        let mut bench = Bench::new(true);
        bench.offer(0);
        bench.put_used(id, 0);
        assert_eq!(bench.queue.take(&bench.dma), Err(Error::NotGiven { queue: 3, id }));
    }
}

#[test]
fn a_device_with_fewer_descriptors_has_a_smaller_queue() {
    let mut bench = Bench::new(true);
    bench.queue.clear(4, true).unwrap();
    assert_eq!(bench.queue.size(), 4);
    let descriptor = Descriptor { gpa: Gpa(1), bytes: 2, flags: 0, next: 0 };
    assert_eq!(bench.queue.describe(4, descriptor), Err(Error::Buffer));
    bench.queue.describe(3, descriptor).unwrap();
    bench.queue.clear(64, true).unwrap();
    assert_eq!(bench.queue.size(), ENTRIES);
    assert_eq!(bench.queue.clear(1, true), Err(Error::Size { queue: 3, entries: 1 }));
    let (mut dma, _) = FakeDma::new(1 << 20);
    for entries in [0, 1, 3, 512] {
        assert_eq!(Queue::new(&mut dma, 0, entries).err(), Some(Error::Sizes));
    }
}
