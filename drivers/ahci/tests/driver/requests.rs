//! Reading, writing and flushing, on a drive that behaves.

use crate::bench::*;
use block::{Operation, Refused, Tag};
use spec::ahci::port;
use spec::ata::{command, identify};

#[test]
fn what_is_written_is_read_back_and_nothing_beside_it() {
    for is_simple in [false, true] {
        let mut bench = Bench::bent(|port| {
            if is_simple {
                port.set_simple();
            }
        });
        let before = bench.medium(0..BLOCKS as usize * 512);
        let data: Vec<u8> = (0..5 * 512).map(|byte| (byte % 253) as u8).collect();
        let tag = bench.submit_write(7, &data);
        bench.deliver();
        let done = bench.done();
        assert_eq!(
            (done.tag, done.operation, done.bytes, done.outcome),
            (tag, Operation::Write, 2560, Ok(()))
        );
        assert_eq!(bench.read(7, 5), data);
        let after = bench.medium(0..BLOCKS as usize * 512);
        assert_eq!(after[..7 * 512], before[..7 * 512]);
        assert_eq!(after[7 * 512..12 * 512], data);
        assert_eq!(after[12 * 512..], before[12 * 512..]);
        assert_eq!(bench.fake.domain.refused(), 0);
        let expected = if is_simple { [0xec, 0x35, 0x25] } else { [0xec, 0x61, 0x60] };
        assert_eq!(bench.codes(), expected);
    }
}

#[test]
fn queued_commands_are_in_flight_at_the_same_time_and_end_in_any_order() {
    let mut bench = Bench::ready();
    bench.fake.port().holds = true;
    let tags: Vec<Tag> = (0..6).map(|block| bench.submit_read(block, 1)).collect();
    assert_eq!(bench.fake.port().pending.len(), 6);
    for place in [3, 0, 3, 1, 0, 0] {
        bench.fake.complete(0, place);
        bench.deliver();
    }
    let ended: Vec<Tag> = (0..6).map(|_| bench.done().tag).collect();
    assert_eq!(ended, [3, 0, 5, 2, 1, 4].map(|place: usize| tags[place]));
}

/// A read of a register takes as long as hundreds of instructions, and a drive that is polled beside others
/// is polled in each turn.
#[test]
fn a_drive_that_is_polled_reads_no_more_than_one_register_until_something_is_done() {
    for is_simple in [false, true] {
        let mut bench = Bench::bent(|port| {
            if is_simple {
                port.set_simple();
            }
        });
        let reads = |bench: &mut Bench, times| {
            let before = bench.fake.state().reads;
            for _ in 0..times {
                let now = bench.now;
                bench.drive().poll(now);
                bench.drive().kick(now);
            }
            bench.fake.state().reads - before
        };
        assert_eq!(reads(&mut bench, 10), 0, "it has nothing to do");
        bench.fake.port().holds = true;
        let tag = bench.submit_read(3, 1);
        assert_eq!(reads(&mut bench, 10), 10);
        bench.fake.complete(0, 0);
        bench.fake.state().messages = 0;
        assert!(reads(&mut bench, 1) > 1);
        assert_eq!(bench.done().tag, tag, "its message was lost");
        bench.now += 10 * SECOND;
        assert_eq!(reads(&mut bench, 10), 0);
    }
}

#[test]
fn several_requests_cost_one_doorbell() {
    let mut bench = Bench::ready();
    for block in 0..5 {
        let tag = bench.drive().reserve().unwrap();
        bench.drive().submit(tag, Operation::Read, block, 1).unwrap();
    }
    bench.fake.port().doorbells.clear();
    assert_eq!(bench.hba.deadline(), None, "the drive has nothing yet");
    let now = bench.now;
    bench.drive().kick(now);
    assert_eq!(bench.fake.port().doorbells, [(port::ACTIVE, 0x1f), (port::ISSUE, 0x1f)]);
    bench.drive().kick(now);
    assert_eq!(bench.fake.port().doorbells.len(), 2, "a kick for nothing rings nothing");
}

#[test]
fn no_more_are_queued_than_both_sides_have_room_for() {
    for (slots, depth, expected) in [(32, 32, 8), (32, 4, 4), (3, 32, 3), (1, 32, 1), (32, 1, 1)] {
        let mut bench = Bench::started(|fake| {
            fake.state().capabilities &= !(0x1f << 8);
            fake.state().capabilities |= (slots - 1) << 8;
            fake.port().set_word(identify::QUEUE_DEPTH, depth - 1);
        });
        bench.fake.port().holds = true;
        (0..8).for_each(|block| {
            bench.submit_read(block, 1);
        });
        assert_eq!(bench.fake.port().pending.len(), expected, "{slots} {depth}");
        // The rest comes as there is room.
        for _ in 0..8 {
            bench.fake.complete(0, 0);
            bench.deliver();
        }
        for _ in 0..8 {
            assert_eq!(bench.done().outcome, Ok(()));
        }
    }
}

#[test]
fn without_a_queue_on_both_sides_one_command_is_in_flight() {
    for is_hba in [false, true] {
        let mut bench = Bench::started(|fake| {
            if is_hba {
                fake.state().capabilities &= !spec::ahci::cap::NATIVE_QUEUING;
            } else {
                fake.port().set_simple();
            }
        });
        bench.fake.port().holds = true;
        (0..3).for_each(|block| {
            bench.submit_read(block, 1);
        });
        for block in 0..3 {
            let pending = bench.fake.port().pending.clone();
            assert_eq!((pending.len(), pending[0].registers.lba), (1, block));
            assert_eq!(pending[0].registers.command, command::READ_DMA_EXT);
            bench.fake.work();
            bench.deliver();
            assert_eq!(bench.done().outcome, Ok(()));
        }
    }
}

#[test]
fn a_flush_waits_for_what_is_in_flight_and_holds_back_what_comes_behind_it() {
    let mut bench = Bench::ready();
    bench.codes();
    bench.fake.port().holds = true;
    let now = bench.now;
    bench.submit_write(0, &[1; 512]);
    bench.submit_write(1, &[1; 512]);
    let flush = bench.submit_flush();
    bench.submit_write(2, &[1; 512]);
    assert_eq!(bench.codes(), [command::WRITE_FPDMA_QUEUED; 2]);
    bench.fake.complete(0, 1);
    bench.deliver();
    assert_eq!(bench.codes(), [], "one is still in flight");
    bench.fake.complete(0, 0);
    bench.deliver();
    assert_eq!(bench.codes(), [command::FLUSH_CACHE_EXT]);
    bench.drive().kick(now);
    bench.fake.work();
    bench.deliver();
    assert_eq!(bench.codes(), [command::WRITE_FPDMA_QUEUED]);
    bench.fake.work();
    bench.deliver();
    let done: Vec<_> = (0..4).map(|_| bench.done()).collect();
    assert!(done.iter().all(|done| done.outcome.is_ok()));
    assert_eq!(done[2].tag, flush);
}

#[test]
fn a_drive_is_flushed_by_the_command_that_it_has() {
    let sets = identify::VALID | identify::LBA48;
    for (sets, has_cache, expected) in [
        (sets | identify::FLUSH_EXT | identify::FLUSH, true, vec![command::FLUSH_CACHE_EXT]),
        (sets | identify::FLUSH_EXT, false, vec![command::FLUSH_CACHE_EXT]),
        (sets | identify::FLUSH, true, vec![command::FLUSH_CACHE]),
        (sets, false, vec![]),
    ] {
        let mut bench = Bench::bent(|port| {
            port.set_word(identify::COMMAND_SETS, sets);
            port.set_word(identify::COMMAND_SETS_ENABLED, if has_cache { identify::WRITE_CACHE } else { 0 });
        });
        bench.codes();
        let tag = bench.submit_flush();
        bench.deliver();
        assert_eq!((bench.done().tag, bench.codes()), (tag, expected));
        assert_eq!(bench.read(0, 1), bench.medium(0..512));
    }
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut bench = Bench::ready();
    bench.codes();
    let now = bench.now;
    let drive = bench.drive();
    assert_eq!(drive.read(0, 0, now), Err(Refused::NoBlocks));
    assert_eq!(drive.write(0, &[], now), Err(Refused::NoBlocks));
    assert_eq!(drive.read(0, 513, now), Err(Refused::TooLarge(256 << 10)));
    assert_eq!(drive.write(0, &[0; (256 << 10) + 512], now), Err(Refused::TooLarge(256 << 10)));
    assert_eq!(drive.next_done(), None);
    assert_eq!(bench.codes(), []);
}

#[test]
fn a_request_is_reserved_while_the_drive_is_ready_only() {
    let mut bench = Bench::new(1, |_| {});
    assert_eq!(bench.drive().reserve(), Err(Refused::NotReady));
    bench.hba.start(bench.now);
    assert_eq!(bench.drive().reserve(), Err(Refused::NotReady));
    bench.run();
    let tag = bench.drive().reserve().unwrap();
    let now = bench.now;
    bench.drive().start(now);
    assert_eq!(bench.drive().submit(tag, Operation::Read, 0, 1), Err(Refused::NotReady));
    bench.run();
    assert_eq!(bench.drive().submit(tag, Operation::Read, 0, 1), Ok(()), "it is still reserved");
}

#[test]
fn a_lost_interrupt_is_made_up_for() {
    let mut bench = Bench::ready();
    bench.submit_read(0, 1);
    bench.fake.state().messages = 0;
    assert_eq!(bench.hba.deadline(), Some(bench.now + SECOND));
    bench.pass(SECOND);
    assert_eq!(bench.done().outcome, Ok(()));
    assert_eq!(bench.hba.deadline(), None);
}

#[test]
fn drives_of_one_hba_are_apart() {
    let mut bench = Bench::new(3, |fake| {
        for number in 0..3 {
            fake.port_at(number).medium.fill(number as u8);
        }
    });
    bench.hba.start(bench.now);
    bench.run();
    bench.fake.port_at(1).holds = true;
    let now = bench.now;
    for index in [1, 0, 2] {
        bench.hba.drive(index).unwrap().read(0, 1, now).unwrap();
    }
    bench.deliver();
    assert_eq!(bench.hba.drive(1).unwrap().next_done(), None);
    bench.fake.complete(1, 0);
    bench.deliver();
    for index in 0..3 {
        let drive = bench.hba.drive(index).unwrap();
        assert_eq!(drive.number(), index as u32);
        let done = drive.next_done().unwrap();
        let mut byte = [0xff];
        drive.get(done.tag, 511, &mut byte).unwrap();
        assert_eq!(byte, [index as u8]);
    }
    assert_eq!(bench.fake.state().interrupts, 0);
}

#[test]
fn drives_that_were_taken_apart_work_by_themselves() {
    let mut bench = Bench::new(2, |fake| fake.port_at(1).medium.fill(1));
    bench.hba.start(bench.now);
    assert!(bench.hba.is_up());
    let (fake, mut now) = (bench.fake, bench.now);
    let mut drives = bench.hba.into_drives();
    for drive in &mut drives {
        drive.start(now);
        while let Some(deadline) = drive.status().deadline_ns {
            now = deadline;
            drive.poll(now);
        }
        assert!(matches!(drive.status().state, block::State::Ready(_)), "{:?}", drive.failure());
    }
    fake.state().messages = 0;
    drives[1].read(0, 1, now).unwrap();
    assert_eq!(fake.state().messages, 1);
    assert_eq!(fake.state().interrupts, 0b10);
    for drive in &mut drives {
        drive.interrupt(0, now);
    }
    assert_eq!(fake.state().interrupts, 0);
    assert_eq!(drives[0].next_done(), None);
    let done = drives[1].next_done().unwrap();
    let mut byte = [0];
    drives[1].get(done.tag, 511, &mut byte).unwrap();
    assert_eq!(byte, [1]);
}

#[test]
fn blocks_are_trimmed_where_the_drive_does_that() {
    let mut bench = Bench::ready();
    let now = bench.now;
    assert!(!bench.geometry().can_discard && !bench.geometry().can_write_zeroes);
    assert_eq!(bench.drive().ask(Operation::Discard, 0, 1, &[], now), Err(Refused::Unsupported));

    let mut bench = Bench::bent(|port| {
        port.set_word(identify::DATA_SET_MANAGEMENT, identify::TRIM);
        port.set_blocks(1 << 40);
    });
    assert!(bench.geometry().can_discard && !bench.geometry().can_write_zeroes);
    bench.codes();
    let most = 64 * 65535;
    let now = bench.now;
    for (first, blocks, commands) in [
        (5, 1, 1),
        (5, 65535, 1),
        (0, 65536, 1),
        ((1 << 40) - 200_000, 200_000, 1),
        (7, most, 1),
        (7, most + 1, 2),
        (1 << 33, 3 * most + 70_000, 4),
    ] {
        bench.fake.port().trimmed.clear();
        let tag = bench.drive().ask(Operation::Discard, first, blocks, &[], now).unwrap();
        bench.deliver();
        assert_eq!((bench.done().tag, bench.codes()), (tag, vec![command::DATA_SET_MANAGEMENT; commands]));
        let mut next = first;
        for (start, count) in bench.fake.port().trimmed.drain(..) {
            assert_eq!(start, next);
            next += count;
        }
        assert_eq!(next, first + blocks);
    }
    assert_eq!(bench.drive().ask(Operation::Discard, 1 << 40, 1, &[], now), Err(Refused::BeyondEnd));
    assert_eq!(bench.drive().ask(Operation::WriteZeroes, 0, 1, &[], now), Err(Refused::Unsupported));
}

#[test]
fn a_trim_is_alone_and_its_failure_its_own() {
    let mut bench = Bench::bent(|port| port.set_word(identify::DATA_SET_MANAGEMENT, identify::TRIM));
    bench.codes();
    bench.fake.port().holds = true;
    bench.fake.port().judge =
        Some(Box::new(|registers| (registers.command == command::DATA_SET_MANAGEMENT).then_some(0x0441)));
    let now = bench.now;
    bench.submit_write(0, &[1; 512]);
    let trim = bench.drive().ask(Operation::Discard, 8, 8, &[], now).unwrap();
    bench.submit_write(1, &[1; 512]);
    assert_eq!(bench.codes(), [command::WRITE_FPDMA_QUEUED]);
    for _ in 0..3 {
        bench.fake.complete(0, 0);
        bench.deliver();
    }
    assert_eq!(bench.done().outcome, Ok(()));
    let done = bench.done();
    assert_eq!((done.tag, done.outcome.unwrap_err().to_string()), (trim, "aborted (status 0x441)".into()));
    assert_eq!(bench.done().outcome, Ok(()));
}
