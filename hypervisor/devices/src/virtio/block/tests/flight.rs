//! Requests at the medium: as many as fit, resets meanwhile, and when the driver is told.

use super::*;
use crate::Device;
use crate::virtio::testing::{MEMORY, Ring, describe};
use access::OutOfBounds;
use access::memory::VecMemory;
use core::cell::Cell;
use spec::virtio::pci::common;
use spec::virtio::split::Descriptor;

/// Either kind of ring, with event indexes and without.
const EACH_RING: [u64; 4] = [USUAL, INDIRECT, USUAL | PACKED, INDIRECT | PACKED];
const PACKED: u64 = common_feature::RING_PACKED;
const RESET: u64 = common_feature::RING_RESET;

fn wants(drive: &mut Drive, wanted: bool) -> bool {
    drive.guest.bench.want_notifications(wanted)
}

/// More requests than fit wait in the queue, and go on as others end.
#[test]
fn what_has_no_room_goes_on_later() {
    for (pieces, at_medium) in [(1_u64, 64), (60, 240)] {
        let mut drive = Drive::new(config());
        drive.guest.bench.hold = true;
        let into: Vec<_> = (0..pieces).map(|place| (DATA + place * 0x1000, 512)).collect();
        for sector in 0..100 {
            drive.send(0, request::IN, sector, &[], &into);
        }
        assert_eq!(drive.guest.bench.waiting.len(), at_medium);
        let mut done = 0;
        while drive.guest.bench.serve() {
            assert!(drive.guest.bench.waiting.len() <= drive.guest.bench.device.most_requests());
            done += core::iter::from_fn(|| drive.take(0)).inspect(|done| assert_eq!(done.status, 0)).count();
        }
        assert_eq!(done, 100);
        assert!(drive.guest.rings[0].is_idle());
    }
}

/// As many requests as a queue holds that are answered without the medium, with one notification.
#[test]
fn a_full_queue_of_answers_needs_one_notification() {
    for features in EACH_RING {
        let mut drive = Drive::with(config(), features, false);
        for _ in 0..2 {
            for _ in 0..128 {
                drive.add(0, request::GET_ID, 0, &[], &[(DATA, 20)]);
            }
            assert!(drive.guest.notify(0));
            assert_eq!(core::iter::from_fn(|| drive.take(0)).count(), 128);
        }
    }
}

/// Where nobody polls, the driver has to know that it must tell of each chain.
#[test]
fn without_a_poller_every_request_is_noticed() {
    for features in EACH_RING {
        let mut drive = Drive::with(config(), features, false);
        for sector in 0..300 {
            assert_eq!(drive.outcome(request::IN, sector, &[], &[(DATA, 512)]), (status::OK, 513));
        }
        assert_eq!(drive.guest.bench.messages.len(), 300);
    }
}

/// Where somebody polls, a notification wakes, and nothing else happens before the poll.
#[test]
fn a_notification_wakes_whoever_polls() {
    for features in EACH_RING {
        let mut drive = Drive::with(config(), features, true);
        assert!(!wants(&mut drive, true));
        let before = drive.guest.bench.wakes;
        drive.send(0, request::IN, 3, &[], &[(DATA, 512)]);
        assert_eq!(drive.guest.bench.wakes, before + 1);
        assert_eq!(drive.take(0), None);
        drive.guest.bench.poll();
        assert_eq!(drive.take(0).unwrap().status, status::OK);
        // What the medium did meanwhile is told of by the next poll.
        drive.guest.bench.poll();
        assert_eq!(drive.guest.bench.messages, [1]);
        drive.guest.bench.poll();
        assert_eq!(drive.guest.bench.messages, [1]);
    }
}

/// While somebody polls the driver does not tell; once it has to tell again, nothing that it put
/// there meanwhile is forgotten.
#[test]
fn while_somebody_polls_nothing_is_told() {
    for features in EACH_RING {
        let mut drive = Drive::with(config(), features, true);
        assert!(!wants(&mut drive, true));
        drive.send(0, request::IN, 0, &[], &[(DATA, 512)]);
        drive.guest.bench.poll();
        wants(&mut drive, false);
        let before = drive.guest.bench.wakes;
        for sector in 1..20 {
            drive.add(0, request::IN, sector, &[], &[(DATA, 512)]);
            assert!(!drive.guest.notify(0));
            drive.guest.bench.poll();
        }
        drive.add(0, request::IN, 20, &[], &[(DATA, 512)]);
        assert!(!drive.guest.notify(0));
        assert!(wants(&mut drive, true), "one waits");
        drive.guest.bench.poll();
        assert!(!wants(&mut drive, true));
        assert_eq!(drive.guest.bench.wakes, before);
        assert_eq!(core::iter::from_fn(|| drive.take(0)).count(), 21);
        drive.add(0, request::IN, 21, &[], &[(DATA, 512)]);
        assert!(drive.guest.notify(0));
        assert_eq!(drive.guest.bench.wakes, before + 1);
    }
}

/// A driver that is busy asks for no interrupt, and one for many is enough.
#[test]
fn interrupts_come_as_the_driver_wants_them() {
    for features in EACH_RING {
        let mut drive = Drive::with(config(), features, true);
        drive.guest.bench.hold = true;
        for sector in 0..32 {
            drive.send(0, request::IN, sector, &[], &[(DATA, 512)]);
        }
        drive.guest.bench.poll();
        while drive.guest.bench.serve() {}
        drive.guest.bench.poll();
        assert_eq!(drive.guest.bench.messages, [1], "one for all");
        while drive.take(0).is_some() {}
        let Guest { bench, rings } = &mut drive.guest;
        rings[0].want_interrupt(&bench.memory, false);
        drive.send(0, request::IN, 0, &[], &[(DATA, 512)]);
        drive.guest.bench.poll();
        while drive.guest.bench.serve() {}
        drive.guest.bench.poll();
        assert_eq!(drive.guest.bench.messages, [1]);
    }
}

/// A driver that never takes what comes back gets no more than its queue holds.
#[test]
fn a_driver_that_never_looks_fills_its_own_queue() {
    let mut drive = Drive::new(config());
    for sector in 0..128 {
        drive.send(0, request::IN, sector, &[], &[(DATA, 512)]);
    }
    // Heads again that are done but were not taken: nothing but its own ring suffers.
    let Guest { bench, rings } = &mut drive.guest;
    for head in 0..128 {
        rings[0].offer(&bench.memory, head);
    }
    drive.guest.kick(0);
    assert!(!drive.needs_reset());
    drive.guest.bench.hold = true;
    for round in 0..3 {
        let Guest { bench, rings } = &mut drive.guest;
        for head in 0..128 {
            rings[0].offer(&bench.memory, head);
        }
        drive.guest.kick(0);
        assert_eq!(drive.needs_reset(), round > 0, "more than the queue holds");
    }
}

/// `device_status` reads 0 when nothing of the driver's is at the medium any more, and not before;
/// until then nothing is put into the rings, and nothing is told (section 2.4.1).
#[test]
fn a_reset_waits_for_the_medium() {
    for is_polled in [false, true] {
        for has_messages in [false, true] {
            let mut drive = Drive::at_power_up(config(), is_polled);
            drive.guest.start(USUAL, 128, has_messages);
            drive.guest.bench.hold = true;
            for sector in 0..3 {
                drive.send(0, request::IN, sector, &[], &[(DATA, 512), (DATA + 0x1000, 512)]);
            }
            drive.guest.bench.poll();
            assert!(drive.guest.bench.serve() && drive.guest.bench.serve());
            drive.guest.bench.poll();
            let told = drive.guest.bench.messages.len();
            assert_eq!(drive.guest.bench.line, !has_messages);
            assert!(!drive.guest.reset());
            assert!(!drive.guest.bench.line, "a device that is reset holds no line");
            assert_eq!(drive.guest.bench.read(0x1000, Width::Byte), 0);
            assert!(!drive.guest.reset(), "a second one changes nothing");
            assert_ne!(drive.guest.status(), 0);
            drive.guest.add_status(0xff);
            drive.guest.kick(0);
            for left in [3, 2, 1, 0] {
                assert!(drive.guest.bench.serve());
                drive.guest.bench.poll();
                assert_eq!(drive.guest.status() == 0, left == 0);
            }
            assert!(drive.take(0).is_some(), "the one that was done before");
            assert_eq!(drive.take(0), None);
            assert_eq!(drive.guest.bench.messages.len(), told);
            assert!(!drive.guest.bench.line);
            drive.guest.bench.hold = false;
            drive.guest.start(USUAL, 128, has_messages);
            drive.send(0, request::IN, 9, &[], &[(DATA, 512)]);
            drive.guest.bench.poll();
            assert_eq!(drive.take(0).unwrap().status, status::OK);
        }
    }
}

/// A reset from outside (of the function, or the guest) is at once, and what was at the medium
/// answers nothing afterwards.
#[test]
fn what_is_from_before_a_hard_reset_answers_nothing() {
    let mut drive = Drive::new(config());
    drive.guest.bench.hold = true;
    for sector in 0..64 {
        drive.send(0, request::IN, sector, &[], &[(DATA, 512)]);
    }
    drive.guest.bench.reset();
    assert_eq!(drive.guest.status(), 0);
    drive.guest.start(USUAL, 128, true);
    for sector in 0..64 {
        drive.send(0, request::IN, sector, &[], &[(DATA, 512)]);
    }
    let waiting = &mut drive.guest.bench.waiting;
    assert_eq!(waiting.len(), 128);
    for _ in 0..64 {
        assert!(drive.guest.bench.serve());
        assert_eq!(drive.take(0), None);
    }
    while drive.guest.bench.serve() {}
    assert_eq!(core::iter::from_fn(|| drive.take(0)).count(), 64);
}

/// A ring that breaks while requests are at the medium.
#[test]
fn a_device_that_needs_a_reset_takes_nothing_and_resets() {
    let mut drive = Drive::new(config());
    drive.guest.bench.hold = true;
    for sector in 0..3 {
        drive.send(0, request::OUT, sector, &[(DATA, 512)], &[]);
    }
    drive.guest.rings[0].offer(&drive.guest.bench.memory, 0x7fff);
    drive.guest.kick(0);
    assert!(drive.needs_reset());
    assert_eq!(drive.guest.bench.messages, [0]);
    drive.send(1, request::IN, 0, &[], &[(DATA, 512)]);
    drive.guest.kick(1);
    assert_eq!(drive.guest.bench.waiting.len(), 3);
    assert!(!drive.guest.reset());
    while drive.guest.bench.serve() {}
    assert_eq!(drive.guest.status(), 0);
    assert_eq!(drive.guest.bench.messages, [0]);
}

#[test]
fn a_completion_that_nobody_waits_for_is_ignored() {
    let mut drive = Drive::new(config());
    for tag in [0, 63, 64, u32::MAX] {
        drive.guest.bench.complete(Completion { tag, outcome: Ok(()) });
    }
    assert_eq!(drive.outcome(request::IN, 0, &[], &[(DATA, 512)]), (status::OK, 513));
}

/// Not each piece of a request is an answer, and one that failed is enough.
#[test]
fn the_first_fault_counts() {
    let mut drive = Drive::new(config());
    drive.guest.bench.hold = true;
    drive.send(0, request::IN, 0, &[], &[(DATA, 512), (DATA + 0x1000, 512), (DATA + 0x2000, 512)]);
    assert!(drive.guest.bench.serve());
    drive.guest.bench.medium.fault = Some(RequestFault::Medium);
    assert!(drive.guest.bench.serve());
    drive.guest.bench.medium.fault = None;
    assert_eq!(drive.take(0), None);
    assert!(drive.guest.bench.serve());
    let done = drive.take(0).unwrap();
    assert_eq!((done.status, done.length), (status::IO_ERROR, 0));
}

/// A memory in which another processor makes each chain available again as soon as it is used.
struct Feeding {
    memory: VecMemory,
    feeds: Cell<bool>,
}

/// The first queue's, as [`Ring`] has them.
const AVAILABLE: u64 = 0x1_0800;
const USED: u64 = 0x1_1000;

impl GuestMemory for Feeding {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        self.memory.read(gpa, bytes)
    }
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        self.memory.write(gpa, bytes)?;
        if gpa == Gpa(USED + 2) && self.feeds.get() {
            let mut index = [0; 2];
            self.memory.read(Gpa(AVAILABLE + 2), &mut index)?;
            let index = u16::from_le_bytes(index);
            // All chains are alike, and which is which is all the same.
            self.memory.write(Gpa(AVAILABLE + 4 + u64::from(index % 128) * 2), &[0, 0])?;
            self.memory.write(Gpa(AVAILABLE + 2), &index.wrapping_add(1).to_le_bytes())?;
        }
        Ok(())
    }
    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        self.memory.contains(gpa, bytes)
    }
}

/// What one access does where nobody polls is bounded by what the queues held at its begin: another
/// processor that goes on filling them has to notify, and does the work itself.
#[test]
fn an_access_ends_while_another_processor_fills_the_queue() {
    for features in [USUAL, INDIRECT] {
        let memory = Feeding { memory: VecMemory::new(MEMORY), feeds: Cell::new(false) };
        let device = Transport::new(Block::new(config()), 3, false);
        let mut guest = Guest::with_memory(device, memory, VecMedium::new(SECTORS as usize * 512));
        guest.start(features, 128, true);
        let header = guest.rings[0].header(0);
        for kind in [request::IN, request::GET_ID] {
            guest.bench.memory.write(Gpa(header), &kind.to_le_bytes()).unwrap();
            let chain = [(header, 16), (DATA, 512), (header + 16, 1)];
            for (place, &(gpa, bytes)) in chain.iter().enumerate() {
                let flags = [1, 3, 2][place];
                let descriptor = Descriptor { gpa: Gpa(gpa), bytes, flags, next: place as u16 + 1 };
                describe(&guest.bench.memory, guest.rings[0].descriptors(), place as u16, descriptor);
            }
            for _ in 0..100 {
                guest.rings[0].offer(&guest.bench.memory, 0);
            }
            guest.bench.memory.feeds.set(true);
            let used = |guest: &Guest<Block, Feeding>| {
                let mut index = [0; 2];
                guest.bench.memory.read(Gpa(USED + 2), &mut index).unwrap();
                u16::from_le_bytes(index)
            };
            let before = used(&guest);
            guest.kick(0);
            assert_eq!(used(&guest).wrapping_sub(before), 100);
            // The other processor finds that it has to notify of the first that it added.
            guest.bench.memory.feeds.set(false);
            let mut event = [0; 2];
            guest.bench.memory.read(Gpa(USED + 4 + 128 * 8), &mut event).unwrap();
            if features == USUAL {
                assert_eq!(u16::from_le_bytes(event).wrapping_sub(before), 100);
            }
            guest.kick(0);
            assert_eq!(used(&guest).wrapping_sub(before), 200);
            guest.rings[0] = Ring::new(0, 128, features);
            assert!(guest.reset());
            guest.start(features, 128, true);
        }
    }
}

/// Section 2.6.1: what the medium has of a queue is done before its reset is over, the driver hears nothing
/// of it, the other queue goes on, and the queue works again once it is enabled.
#[test]
fn a_reset_of_a_queue_waits_for_the_medium() {
    for (features, is_polled) in EACH_RING.into_iter().flat_map(|all| [(all, false), (all, true)]) {
        let mut drive = Drive::with(config(), features | RESET, is_polled);
        drive.guest.bench.hold = true;
        for queue in [0, 1, 0] {
            drive.send(queue, request::IN, 3, &[], &[(DATA, 512), (DATA + 0x1000, 512)]);
        }
        drive.guest.bench.poll();
        assert_eq!(drive.guest.bench.waiting.len(), 6);
        assert!(!drive.guest.reset_queue(0));
        assert!(!drive.guest.reset_queue(0), "a second time changes nothing");
        for served in 1..=6 {
            // Nothing is enabled while it waits.
            drive.guest.set_common(common::QUEUE_DESCRIPTORS, Width::Qword, 0x5000);
            drive.guest.set_common(common::QUEUE_ENABLE, Width::Word, 1);
            assert_eq!(drive.guest.common(common::QUEUE_RESET, Width::Word), 1, "{served}");
            assert_eq!(drive.guest.common(common::QUEUE_ENABLE, Width::Word), 0);
            assert!(drive.guest.bench.serve());
            drive.guest.bench.poll();
        }
        assert_eq!(drive.guest.common(common::QUEUE_RESET, Width::Word), 0);
        assert_eq!(drive.guest.common(common::QUEUE_ENABLE, Width::Word), 0);
        assert_eq!(drive.guest.common(common::QUEUE_DESCRIPTORS, Width::Qword), 0);
        assert_eq!(drive.guest.common(common::QUEUE_VECTOR, Width::Word), 0xffff);
        assert_eq!((drive.take(0), drive.take(1).map(|done| done.status)), (None, Some(status::OK)));
        assert_eq!(drive.guest.bench.messages, [2]);
        drive.guest.enable(0, 64, 1, features);
        drive.guest.bench.hold = false;
        drive.send(0, request::IN, 3, &[], &[(DATA, 512)]);
        drive.guest.bench.poll();
        assert_eq!(drive.take(0).map(|done| done.status), Some(status::OK));
        drive.guest.bench.poll();
        assert_eq!(drive.guest.bench.messages, [2, 1]);
        assert!(!drive.needs_reset());
    }
}

/// Without the feature there is no such register, and a reset of the device is over all.
#[test]
fn a_reset_of_a_queue_is_agreed_on() {
    let mut drive = Drive::with(config(), USUAL, false);
    drive.guest.reset_queue(0);
    assert_eq!(drive.guest.common(common::QUEUE_ENABLE, Width::Word), 1);
    let mut drive = Drive::with(config(), USUAL | RESET, false);
    drive.guest.bench.hold = true;
    drive.send(0, request::IN, 3, &[], &[(DATA, 512)]);
    assert!(!drive.guest.reset_queue(0));
    assert!(!drive.guest.reset());
    drive.guest.bench.serve();
    assert_eq!(drive.guest.status(), 0);
    drive.guest.set_common(common::QUEUE_SELECT, Width::Word, 0);
    assert_eq!(drive.guest.common(common::QUEUE_RESET, Width::Word), 0);
    assert!(drive.guest.bench.messages.is_empty());
}
