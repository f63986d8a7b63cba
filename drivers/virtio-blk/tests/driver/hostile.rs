//! A device that breaks the rules, fails, or is gone.

use crate::bench::*;
use access::GuestMemory;
use block::testing::Ask;
use block::{Drive, Fault, Operation, State};
use spec::virtio::pci::common;
use spec::virtio::split::{RING_ENTRIES, RING_INDEX, USED_ENTRY_BYTES};
use spec::virtio::status;
use spec::{Gpa, Iova};
use virtio_blk::Error;

/// The used ring, as the driver told the device, and its next entry.
struct Used<'b> {
    bench: &'b Bench,
    ring: u64,
}

impl<'b> Used<'b> {
    fn of(bench: &'b Bench) -> Self {
        let writes = bench.registers.lies.writes.borrow();
        let last = |register| writes.iter().rfind(|(offset, _)| *offset == register).unwrap().1;
        let ring = last(common::QUEUE_DEVICE) | last(common::QUEUE_DEVICE + 4) << 32;
        Self { bench, ring }
    }

    fn index(&self) -> u16 {
        let mut bytes = [0; 2];
        self.bench.domain.read(Gpa(self.ring + RING_INDEX), &mut bytes).unwrap();
        u16::from_le_bytes(bytes)
    }

    fn set_index(&self, index: u16) {
        self.bench.domain.write(Gpa(self.ring + RING_INDEX), &index.to_le_bytes()).unwrap();
    }

    /// Says to be done with a chain.
    fn put(&self, id: u32, bytes: u32) {
        let index = self.index();
        // The queue has 64 descriptors: room for a request's 33 segments and two more.
        let at = Gpa(self.ring + RING_ENTRIES + u64::from(index % 64) * USED_ENTRY_BYTES);
        self.bench.domain.write(at, &id.to_le_bytes()).unwrap();
        self.bench.domain.write(at + 4, &bytes.to_le_bytes()).unwrap();
        self.set_index(index.wrapping_add(1));
    }
}

/// A device with a read of a block in flight, in slot 0.
fn with_a_read() -> Bench {
    let mut bench = Bench::new(CONFIG);
    bench.machine.borrow_mut().hold = true;
    bench.driver.read(0, 1, bench.now).unwrap();
    bench
}

/// It is failed with `error`, its request with it, and it comes back.
fn check_failed(mut bench: Bench, error: Error) {
    bench.driver.poll(bench.now);
    assert_eq!(bench.error(), error);
    assert_eq!(bench.done().0.outcome, Err(Fault::Drive));
    assert!(bench.domain.is_blocked());
    let mut machine = bench.machine.borrow_mut();
    machine.hold = false;
    while machine.serve() {}
    drop(machine);
    bench.start();
    assert_eq!(bench.read(8, 8), bench.medium(4096..8192));
}

#[test]
fn an_index_that_jumps_fails_it() {
    for jump in [2, 3, 100, 0x7fff, 0xffff] {
        let bench = with_a_read();
        let used = Used::of(&bench);
        used.set_index(used.index().wrapping_add(jump));
        check_failed(bench, Error::UsedIndex { queue: 0, ahead: jump });
    }
}

#[test]
fn a_request_that_it_was_not_given_fails_it() {
    for id in [1, 4, 5, 63, 64, 0xffff, 0x1_0000, u32::MAX] {
        let bench = with_a_read();
        Used::of(&bench).put(id, 513);
        check_failed(bench, Error::NotGiven { queue: 0, id });
    }
}

#[test]
fn a_request_that_ends_twice_fails_it() {
    let mut bench = Bench::new(CONFIG);
    bench.machine.borrow_mut().hold = true;
    bench.driver.read(0, 1, bench.now).unwrap();
    bench.driver.read(1, 1, bench.now).unwrap();
    let used = Used::of(&bench);
    used.put(0, 513);
    used.put(0, 513);
    bench.driver.poll(bench.now);
    assert_eq!(bench.error(), Error::NotGiven { queue: 0, id: 0 });
    // The first had no status yet, the other was lost.
    assert!(matches!(bench.done().0.outcome, Err(Fault::Command(cause)) if cause.code == 0xff));
    assert_eq!(bench.done().0.outcome, Err(Fault::Drive));
}

#[test]
fn more_bytes_than_there_was_room_for_fail_it() {
    for bytes in [514, 0x1_0000, u32::MAX] {
        let bench = with_a_read();
        Used::of(&bench).put(0, bytes);
        check_failed(bench, Error::Length { queue: 0, bytes });
    }
}

#[test]
fn less_data_than_was_asked_for_is_no_data() {
    // What the medium had before may stand in the buffer.
    for bytes in [0, 1, 512] {
        let mut bench = with_a_read();
        let status = {
            let writes = bench.registers.lies.writes.borrow();
            let last = |register| writes.iter().rfind(|(offset, _)| *offset == register).unwrap().1;
            let table = last(common::QUEUE_DESCRIPTORS) | last(common::QUEUE_DESCRIPTORS + 4) << 32;
            let table = bench.domain.read64(Gpa(table)).unwrap();
            bench.domain.read64(Gpa(table + 32)).unwrap()
        };
        bench.domain.write(Gpa(status), &[0]).unwrap();
        Used::of(&bench).put(0, bytes);
        bench.driver.poll(bench.now);
        let outcome = bench.done().0.outcome;
        assert_eq!(outcome.unwrap_err().to_string(), "less data than was asked for (status 0x000)");
        assert!(matches!(bench.driver.status().state, State::Ready(_)));
    }
}

#[test]
fn a_configuration_that_never_settles_is_not_waited_for() {
    let mut bench = Bench::off(CONFIG, 2, SIZES);
    // Each look at the generation is a change of the link, as it were: it is another one each time.
    bench.registers.lies.is_restless.set(true);
    bench.driver.start(bench.now);
    bench.run();
    assert_eq!(bench.error(), Error::Generation);
}

#[test]
fn a_medium_that_never_answers_is_given_up() {
    let mut bench = with_a_read();
    bench.pass();
    assert_eq!(bench.error(), Error::Late(0));
    assert!(bench.now >= 30 * SECOND);
    check_failed(bench, Error::Late(0));
}

#[test]
fn one_that_needs_a_reset_is_failed_by_its_message_and_comes_back() {
    let mut bench = with_a_read();
    let needs = u64::from(status::NEEDS_RESET | status::DRIVER_OK);
    bench.registers.lies.reads.borrow_mut().insert(common::STATUS, needs);
    bench.driver.interrupt(0, bench.now);
    bench.registers.lies.reads.borrow_mut().clear();
    check_failed(bench, Error::NeedsReset);
}

#[test]
fn one_that_was_reset_by_somebody_is_found() {
    let mut bench = with_a_read();
    bench.registers.lies.reads.borrow_mut().insert(common::STATUS, 0);
    bench.now += SECOND;
    bench.driver.poll(bench.now);
    bench.registers.lies.reads.borrow_mut().clear();
    check_failed(bench, Error::Reset);
}

#[test]
fn one_that_is_gone_is_failed_and_not_touched() {
    let mut bench = with_a_read();
    bench.registers.lies.is_gone.set(true);
    bench.now += SECOND;
    bench.driver.poll(bench.now);
    assert_eq!(bench.error(), Error::Removed);
    assert_eq!(bench.done().0.outcome, Err(Fault::Drive));
    bench.driver.start(bench.now);
    assert_eq!(bench.error(), Error::Removed);
    bench.registers.lies.is_gone.set(false);
    let mut machine = bench.machine.borrow_mut();
    machine.hold = false;
    while machine.serve() {}
    drop(machine);
    bench.start();
    assert_eq!(bench.read(8, 8), bench.medium(4096..8192));
}

#[test]
fn it_is_started_again_with_requests_at_the_medium() {
    let mut bench = with_a_read();
    bench.driver.start(bench.now);
    assert_eq!(bench.done().0.outcome, Err(Fault::Drive));
    assert!(bench.domain.is_blocked(), "it was not reset yet");
    // The medium ends what it was given before the device says that it is reset.
    bench.machine.borrow_mut().hold = false;
    while bench.machine.borrow_mut().serve() {}
    bench.start();
    assert_eq!(bench.read(8, 8), bench.medium(4096..8192));
}

#[test]
fn memory_that_was_lent_is_given_back_once_nobody_writes_it() {
    let mut bench = Bench::new(CONFIG);
    let place = Iova(0x9_0000_0000);
    bench.domain.lend(place, 4096);
    bench.machine.borrow_mut().hold = true;
    let tag = bench.driver.reserve().unwrap();
    assert!(bench.driver.lend(tag, &mut core::iter::once((place, 512))));
    bench.driver.submit(tag, Operation::Read, 0, 1).unwrap();
    bench.driver.kick(bench.now);
    // Its domain cannot be taken away, so it may still write.
    bench.domain.hold(true);
    bench.pass();
    assert_eq!(bench.error(), Error::Late(0));
    assert_eq!(bench.driver.next_done(), None);
    bench.domain.hold(false);
    bench.driver.start(bench.now);
    assert_eq!(bench.done().0.outcome, Err(Fault::Drive));
}
