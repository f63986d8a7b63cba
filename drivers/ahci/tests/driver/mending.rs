//! Commands that fail: which request that ends, and that all others are carried out.

use crate::bench::*;
use ahci::Error;
use block::{Cause, Fault, Tag};
use spec::ahci::port::{self, interrupt};
use spec::ata::command;

/// Fails what reads or writes from this block on.
fn fails_at(block: u64, fault: u16) -> Option<Judge> {
    let moves = [
        command::READ_FPDMA_QUEUED,
        command::WRITE_FPDMA_QUEUED,
        command::READ_DMA_EXT,
        command::WRITE_DMA_EXT,
    ];
    Some(Box::new(move |registers| {
        (moves.contains(&registers.command) && registers.lba == block).then_some(fault)
    }))
}

/// Submits reads of the blocks 0 to 5, of which the one at block 2 fails, and takes what comes of
/// them by their blocks.
fn outcomes(bench: &mut Bench) -> Vec<Result<(), Fault>> {
    bench.codes();
    bench.fake.port().judge = fails_at(2, 0x4041);
    bench.fake.port().holds = true;
    let tags: Vec<Tag> = (0..6).map(|block| bench.submit_read(block, 1)).collect();
    bench.fake.port().holds = false;
    bench.fake.work();
    bench.deliver();
    bench.pass(20 * SECOND);
    let mut outcomes: Vec<_> = (0..6)
        .map(|_| {
            let done = bench.drive().next_done().expect("it is over");
            let place = tags.iter().position(|tag| *tag == done.tag).unwrap();
            if done.outcome.is_ok() {
                assert_eq!(bench.data(done.tag, 512), bench.medium(place * 512..(place + 1) * 512));
            } else {
                assert_eq!(bench.drive().get(done.tag, 0, &mut [0]), None);
            }
            bench.drive().release(done.tag);
            (place, done.outcome)
        })
        .collect();
    outcomes.sort_by_key(|(place, _)| *place);
    assert_eq!(bench.hba.deadline(), None);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

const UNREADABLE: Fault = Fault::Medium(Cause { name: "uncorrectable error", code: 0x4041 });
const EXPECTED: [Result<(), Fault>; 6] = [Ok(()), Ok(()), Err(UNREADABLE), Ok(()), Ok(()), Ok(())];

#[test]
fn the_log_says_which_queued_command_failed() {
    let mut bench = Bench::ready();
    assert_eq!(outcomes(&mut bench), EXPECTED);
    let read = command::READ_FPDMA_QUEUED;
    let mut codes = vec![read; 6];
    codes.push(command::READ_LOG_EXT);
    // Those behind it were in flight, and are issued again.
    codes.extend([read; 3]);
    assert_eq!(bench.codes(), codes);
    assert_eq!(bench.fake.port().link_resets, 1, "of the start alone");
    assert_eq!(bench.read(0, 8), bench.medium(0..4096));
}

#[test]
fn where_there_is_no_log_what_failed_is_found_by_trying_one_at_a_time() {
    let mut bench = Bench::bent(|port| port.has_no_log = true);
    assert_eq!(outcomes(&mut bench), EXPECTED);
    let mut codes = vec![command::READ_FPDMA_QUEUED; 6];
    codes.extend([command::READ_LOG_EXT, command::IDENTIFY_DEVICE]);
    codes.extend([command::READ_DMA_EXT; 4]);
    assert_eq!(bench.codes(), codes);
    assert_eq!(bench.fake.port().link_resets, 2);
    // After that they are queued again.
    assert_eq!(bench.read(0, 8), bench.medium(0..4096));
    assert_eq!(bench.codes(), [command::READ_FPDMA_QUEUED]);
}

#[test]
fn a_log_that_names_nothing_in_flight_names_nothing() {
    for log in [[0x82, 0, 0x41, 0x40], [9, 0, 0x41, 0x40], [31, 0, 0, 0]] {
        let mut bench = Bench::ready();
        bench.fake.port().holds = true;
        bench.fake.port().judge = fails_at(1, 0x4041);
        let tags: Vec<Tag> = (0..3).map(|block| bench.submit_read(block, 1)).collect();
        bench.fake.work();
        bench.fake.port().log = Some(log);
        bench.fake.port().holds = false;
        bench.deliver();
        bench.pass(20 * SECOND);
        let done: Vec<_> = (0..3).map(|_| bench.done()).collect();
        for (place, tag) in tags.iter().enumerate() {
            let outcome = done.iter().find(|done| done.tag == *tag).unwrap().outcome;
            assert_eq!(outcome, if place == 1 { Err(UNREADABLE) } else { Ok(()) });
        }
    }
}

#[test]
fn a_command_that_is_not_queued_fails_alone_whether_or_not_its_bit_falls() {
    for clears_failed in [false, true] {
        let mut bench = Bench::bent(|port| {
            port.set_simple();
            port.clears_failed = clears_failed;
        });
        assert_eq!(outcomes(&mut bench), EXPECTED);
        assert_eq!(bench.codes(), [command::READ_DMA_EXT; 6]);
        assert_eq!(bench.fake.port().link_resets, 1);
    }
}

#[test]
fn a_failed_flush_is_told() {
    let mut bench = Bench::ready();
    bench.fake.port().judge =
        Some(Box::new(|registers| (registers.command == command::FLUSH_CACHE_EXT).then_some(0x0441)));
    bench.submit_flush();
    let behind = bench.submit_write(0, &[1; 512]);
    bench.deliver();
    let cause = Cause { name: "aborted", code: 0x0441 };
    assert_eq!(bench.done().outcome, Err(Fault::Command(cause)));
    let done = bench.done();
    assert_eq!((done.tag, done.outcome), (behind, Ok(())));
}

#[test]
fn what_a_drive_says_of_a_failure_has_words() {
    for (fault, words) in [
        (0x4041_u16, "uncorrectable error (status 0x4041)"),
        (0x1041, "address not found (status 0x1041)"),
        (0x8441, "interface CRC error (status 0x8441)"),
        (0x0441, "aborted (status 0x441)"),
        (0x0041, "error (status 0x041)"),
        (0x0461, "device fault (status 0x461)"),
    ] {
        let mut bench = Bench::ready();
        bench.fake.port().judge = fails_at(0, fault);
        bench.submit_read(0, 1);
        bench.deliver();
        assert_eq!(bench.done().outcome.unwrap_err().to_string(), words);
    }
}

#[test]
fn a_transfer_that_the_link_failed_resets_it_and_is_tried_alone() {
    for cause in
        [interrupt::INTERFACE_FATAL, interrupt::MEMORY_DATA, interrupt::MEMORY_FATAL, interrupt::OVERFLOW]
    {
        let mut bench = Bench::ready();
        bench.fake.port().holds = true;
        bench.codes();
        for block in 0..3 {
            bench.submit_read(block, 1);
        }
        *bench.fake.port().register(port::INTERRUPT_STATUS) |= cause;
        bench.fake.signal(0);
        bench.fake.port().holds = false;
        bench.deliver();
        bench.pass(20 * SECOND);
        for _ in 0..3 {
            assert_eq!(bench.done().outcome, Ok(()));
        }
        let mut codes = vec![command::READ_FPDMA_QUEUED; 3];
        codes.push(command::IDENTIFY_DEVICE);
        codes.extend([command::READ_DMA_EXT; 3]);
        assert_eq!(bench.codes(), codes);
    }
}

#[test]
fn one_that_the_link_failed_while_it_was_alone_fails() {
    let mut bench = Bench::ready();
    bench.fake.port().holds = true;
    bench.submit_read(0, 1);
    *bench.fake.port().register(port::INTERRUPT_STATUS) |= interrupt::INTERFACE_FATAL;
    bench.fake.signal(0);
    bench.deliver();
    let outcome = bench.done().outcome;
    assert_eq!(outcome.unwrap_err().to_string(), "interface error (status 0x040)");
}

#[test]
fn a_drive_that_stays_busy_after_a_failure_is_reset() {
    let mut bench = Bench::ready();
    bench.fake.port().holds = true;
    let tag = bench.submit_read(0, 1);
    bench.submit_read(1, 1);
    let mut port = bench.fake.port();
    *port.register(port::TASK_FILE) = 0xd1;
    *port.register(port::INTERRUPT_STATUS) |= interrupt::TASK_FILE_ERROR;
    port.holds = false;
    drop(port);
    bench.fake.signal(0);
    bench.deliver();
    bench.pass(20 * SECOND);
    assert_eq!(bench.fake.port().link_resets, 2);
    let done = bench.done();
    assert_eq!((done.tag, done.outcome), (tag, Ok(())));
    assert_eq!(bench.done().outcome, Ok(()));
}

#[test]
fn another_drive_after_a_reset_is_not_taken_for_the_first() {
    let mut bench = Bench::ready();
    bench.fake.port().holds = true;
    bench.submit_write(0, &[1; 512]);
    bench.submit_write(1, &[1; 512]);
    let before = bench.medium(0..1024);
    *bench.fake.port().register(port::INTERRUPT_STATUS) |= interrupt::INTERFACE_FATAL;
    bench.fake.port().set_text(spec::ata::identify::SERIAL, b"S2  ");
    bench.fake.port().holds = false;
    bench.fake.signal(0);
    bench.deliver();
    bench.pass(20 * SECOND);
    assert_eq!(bench.error(), Error::Changed);
    assert_eq!(bench.done().outcome, Err(Fault::Drive));
    assert_eq!(bench.done().outcome, Err(Fault::Drive));
    assert_eq!(bench.medium(0..1024), before);
}

#[test]
fn requests_are_taken_while_it_is_mended_and_carried_out_then() {
    let mut bench = Bench::bent(|port| port.has_no_log = true);
    bench.fake.port().holds = true;
    bench.fake.port().judge = fails_at(0, 0x4041);
    bench.submit_read(0, 1);
    bench.submit_read(1, 1);
    bench.fake.work();
    bench.fake.port().judge = None;
    bench.deliver();
    bench.geometry();
    let late = bench.submit_read(2, 1);
    bench.fake.port().holds = false;
    bench.fake.work();
    bench.deliver();
    bench.pass(20 * SECOND);
    let ended: Vec<_> = (0..3).map(|_| bench.done()).collect();
    assert!(ended.iter().any(|done| done.tag == late && done.outcome == Ok(())));
}

#[test]
fn a_cause_that_is_left_in_the_hba_does_not_hold_the_next_message_back() {
    let mut bench = Bench::ready();
    // Nothing of the port's is left, and the bit of the port is.
    bench.fake.state().interrupts = 1;
    bench.fake.port().holds = true;
    let now = bench.now;
    bench.drive().start(now);
    while bench.fake.port().pending.is_empty() {
        bench.now = bench.hba.deadline().unwrap();
        bench.hba.poll(bench.now);
    }
    assert_eq!(bench.fake.state().interrupts, 0);
}
