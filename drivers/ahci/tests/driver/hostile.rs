//! HBAs and drives that are broken, gone, or mean harm. Whatever they do ends in words, with all
//! requests over.

use crate::bench::*;
use ahci::Error;
use block::{Fault, Refused, State};
use proptest::prelude::*;
use spec::ahci::port::{self, cmd, interrupt, link};
use spec::ata::command;

/// Submits a read that the drive does not answer.
fn with_a_read_in_flight() -> Bench {
    let mut bench = Bench::ready();
    bench.fake.port().holds = true;
    bench.submit_read(0, 8);
    bench
}

/// Checks that it failed with `error`, that the read is over, and that it can be started again.
fn check_failed(mut bench: Bench, error: Error, words: &str) {
    assert_eq!(bench.error(), error);
    assert_eq!(error.to_string(), words);
    assert_eq!(bench.hba.deadline(), None);
    assert_eq!(bench.done().outcome, Err(Fault::Drive));
    assert_eq!(bench.drive().next_done(), None);
    assert_eq!(bench.drive().reserve(), Err(Refused::NotReady));
    bench.fake.state().is_gone = false;
    if error != Error::Removed {
        assert_eq!(*bench.fake.port().register(port::COMMAND) & cmd::START, 0, "it is stopped");
        assert_eq!(*bench.fake.port().register(port::INTERRUPT_ENABLE), 0);
    }
    bench.fake.port().signature = Some(port::signature::ATA);
    bench.fake.port().holds = false;
    let now = bench.now;
    bench.drive().start(now);
    bench.run();
    assert_eq!(bench.read(8, 8), bench.medium(4096..8192));
}

#[test]
fn one_that_never_answers_a_read_is_given_up() {
    let mut bench = with_a_read_in_flight();
    let started = bench.now;
    bench.pass(29 * SECOND);
    bench.geometry();
    bench.pass(60 * SECOND);
    assert_eq!(bench.now - started, 30 * SECOND);
    let error = Error::Late(command::READ_FPDMA_QUEUED);
    check_failed(bench, error, "it did not complete command 0x60 in time");
}

#[test]
fn a_flush_has_more_time() {
    let mut bench = Bench::ready();
    bench.fake.port().holds = true;
    let started = bench.now;
    bench.submit_flush();
    bench.pass(90 * SECOND);
    assert_eq!(bench.now - started, 60 * SECOND);
    check_failed(bench, Error::Late(command::FLUSH_CACHE_EXT), "it did not complete command 0xea in time");
}

#[test]
fn an_hba_that_was_pulled_is_found_within_a_second() {
    let mut bench = with_a_read_in_flight();
    bench.fake.state().is_gone = true;
    bench.pass(SECOND);
    check_failed(bench, Error::Removed, "its registers read ones: it is not there any more");
}

#[test]
fn an_hba_that_was_pulled_is_found_by_an_interrupt() {
    let mut bench = with_a_read_in_flight();
    bench.fake.state().is_gone = true;
    bench.hba.interrupt(bench.now);
    assert_eq!(bench.hba.failure(), Some(Error::Removed));
    assert_eq!(bench.error(), Error::Removed);
    bench.fake.state().is_gone = false;
    bench.fake.port().holds = false;
    bench.hba.start(bench.now);
    bench.run();
    bench.geometry();
}

#[test]
fn a_drive_that_was_unplugged_is_found_at_once() {
    let words = "the link to it is lost: it was unplugged, or lost power";
    let mut bench = with_a_read_in_flight();
    bench.fake.port().unplug();
    bench.fake.signal(0);
    bench.deliver();
    check_failed(bench, Error::Unplugged, words);
    // Also where nothing is in flight.
    let mut bench = Bench::ready();
    bench.fake.port().unplug();
    bench.fake.signal(0);
    bench.deliver();
    assert_eq!(bench.error(), Error::Unplugged);
}

#[test]
fn a_link_that_is_lost_without_a_word_is_found_within_a_second() {
    let mut bench = with_a_read_in_flight();
    *bench.fake.port().register(port::LINK_STATUS) = 1;
    bench.pass(SECOND);
    assert_eq!(bench.error(), Error::Unplugged);
}

#[test]
fn a_drive_that_went_and_came_back_may_have_lost_what_it_had_in_its_cache() {
    let mut bench = Bench::ready();
    bench.submit_write(0, &[1; 512]);
    bench.deliver();
    assert_eq!(bench.done().outcome, Ok(()));
    *bench.fake.port().register(port::INTERRUPT_STATUS) |= interrupt::CONNECT_CHANGE;
    bench.fake.signal(0);
    bench.deliver();
    assert_eq!(bench.error(), Error::Unplugged);
}

#[test]
fn bits_of_commands_that_nobody_issued_are_found() {
    for register in [port::ACTIVE, port::ISSUE] {
        let mut bench = with_a_read_in_flight();
        *bench.fake.port().register(register) |= 0x8000_0100;
        let now = bench.now;
        bench.drive().interrupt(0, now);
        let words = "it has commands in flight that nobody issued (slots 0x80000100)";
        check_failed(bench, Error::UnknownCommands(0x8000_0100), words);
    }
}

#[test]
fn a_command_whose_bit_never_falls_is_late() {
    for register in [port::ACTIVE, port::ISSUE] {
        let mut bench = with_a_read_in_flight();
        bench.fake.port().pending.clear();
        *bench.fake.port().register(port::ACTIVE) = 0;
        *bench.fake.port().register(port::ISSUE) = 0;
        *bench.fake.port().register(register) = 1;
        for _ in 0..100 {
            bench.hba.interrupt(bench.now);
        }
        assert_eq!(bench.drive().next_done(), None);
        bench.pass(60 * SECOND);
        assert_eq!(bench.error(), Error::Late(command::READ_FPDMA_QUEUED));
    }
}

#[test]
fn what_is_received_into_memory_decides_nothing() {
    let mut bench = with_a_read_in_flight();
    let mut address = *bench.fake.port().register(port::RECEIVED_FIS);
    address &= !0xff;
    let high = u64::from(*bench.fake.port().register(port::RECEIVED_FIS_HIGH)) << 32;
    for place in 0..64 {
        let at = spec::Gpa((high | u64::from(address)) + 4 * place);
        access::GuestMemory::write32(&bench.fake.domain, at, 0xffff_ffff).unwrap();
    }
    let now = bench.now;
    bench.drive().interrupt(0, now);
    bench.geometry();
    assert_eq!(bench.drive().next_done(), None);
    bench.fake.work();
    bench.deliver();
    assert_eq!(bench.done().outcome, Ok(()));
}

#[test]
fn commands_that_change_in_memory_change_nothing_of_what_the_driver_knows() {
    let mut bench = with_a_read_in_flight();
    for (iova, bytes) in bench.fake.domain.buffers() {
        let garbage = vec![0xa5; bytes];
        access::GuestMemory::write(&bench.fake.domain, spec::Gpa(iova.0), &garbage).unwrap();
    }
    *bench.fake.port().register(port::ACTIVE) = 0;
    *bench.fake.port().register(port::ISSUE) = 0;
    bench.hba.interrupt(bench.now);
    let now = bench.now;
    bench.drive().interrupt(0, now);
    let done = bench.done();
    assert_eq!((done.bytes, done.outcome), (4096, Ok(())));
}

#[test]
fn interrupts_without_a_cause_change_nothing() {
    let mut bench = with_a_read_in_flight();
    let status = bench.drive().status();
    bench.fake.state().interrupts = 0xffff_fff0;
    for _ in 0..10_000 {
        bench.hba.interrupt(bench.now);
        assert_eq!(bench.drive().status(), status);
        bench.fake.state().interrupts |= 1;
    }
    bench.fake.work();
    bench.deliver();
    assert_eq!(bench.done().outcome, Ok(()));
}

#[test]
fn failures_for_nothing_do_no_harm_and_do_not_loop() {
    let mut bench = Bench::ready();
    for _ in 0..1000 {
        *bench.fake.port().register(port::INTERRUPT_STATUS) |= interrupt::TASK_FILE_ERROR;
        bench.fake.signal(0);
        bench.deliver();
        bench.geometry();
    }
    assert_eq!(bench.read(0, 1), bench.medium(0..512));
}

#[test]
fn a_drive_that_fails_everything_ends_everything() {
    for has_no_log in [false, true] {
        let mut bench = Bench::bent(|port| port.has_no_log = has_no_log);
        bench.fake.port().judge = Some(Box::new(|registers| {
            let is_own = matches!(registers.command, command::READ_LOG_EXT | command::IDENTIFY_DEVICE);
            (!is_own).then_some(0x4041)
        }));
        bench.fake.port().holds = true;
        for block in 0..8 {
            bench.submit_read(block, 1);
        }
        bench.fake.port().holds = false;
        bench.fake.work();
        bench.deliver();
        bench.pass(60 * SECOND);
        for _ in 0..8 {
            assert!(matches!(bench.done().outcome, Err(Fault::Medium(_))));
        }
        bench.geometry();
    }
}

#[test]
fn a_port_that_does_not_stop_after_a_failure_is_given_up() {
    let mut bench = with_a_read_in_flight();
    bench.fake.port().is_stuck = true;
    *bench.fake.port().register(port::INTERRUPT_STATUS) |= interrupt::TASK_FILE_ERROR;
    bench.fake.signal(0);
    bench.deliver();
    assert_eq!(bench.drive().next_done(), None, "its buffer may still be written");
    bench.pass(SECOND);
    assert_eq!(bench.error(), Error::Stuck);
    bench.fake.port().is_stuck = false;
    assert_eq!(bench.done().outcome, Err(Fault::Drive));
}

/// Registers that a port is read from, and what they say of one that works.
const REGISTERS: [(usize, u32); 6] = [
    (port::INTERRUPT_STATUS, 0),
    (port::TASK_FILE, 0x50),
    (port::LINK_STATUS, link::WORKS),
    (port::ACTIVE, 0),
    (port::ISSUE, 0),
    (port::COMMAND, cmd::START | cmd::RECEIVE_ENABLE),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever stands in the registers, nothing panics, every call returns, every request that was
    /// taken is over once, and afterwards the drive can be started again.
    #[test]
    fn garbage_ends_in_words(
        changes in proptest::collection::vec((0_usize..6, any::<u32>(), any::<bool>(), any::<bool>()), 1..30),
        reads in proptest::collection::vec((0..BLOCKS - 8, 1_u64..8), 1..8),
    ) {
        let mut bench = Bench::ready();
        (bench.fake.port().holds, bench.fake.port().lies) = (true, true);
        for (first_block, blocks) in &reads {
            bench.submit_read(*first_block, *blocks);
        }
        for (register, bits, is_change, passes) in changes {
            let (register, right) = REGISTERS[register];
            *bench.fake.port().register(register) = if is_change { right ^ 1 << (bits % 32) } else { bits };
            bench.hba.interrupt(bench.now);
            let now = bench.now;
            bench.drive().interrupt(0, now);
            if passes {
                bench.pass(SECOND);
            }
        }
        bench.pass(300 * SECOND);
        let mut over = 0;
        while bench.drive().next_done().is_some() {
            bench.done();
            over += 1;
        }
        prop_assert_eq!(over, reads.len());
        (bench.fake.port().holds, bench.fake.port().lies) = (false, false);
        bench.hba.start(bench.now);
        bench.run();
        prop_assert_eq!(bench.read(3, 1), bench.medium(3 * 512..4 * 512));
    }

    /// Whatever it says of itself, it is ready with numbers that make sense, or failed.
    #[test]
    fn any_identify_data_is_answered(
        changes in proptest::collection::vec(
            (prop_oneof![0_usize..512, 150_usize..250], prop_oneof![any::<u8>(), Just(0xff)]),
            0..12,
        ),
    ) {
        let mut bench = Bench::started(|fake| {
            for (offset, byte) in &changes {
                fake.port().identify[*offset] = *byte;
            }
        });
        match bench.drive().status().state {
            State::Ready(geometry) => {
                prop_assert!(geometry.blocks > 0 && geometry.block_bytes.is_power_of_two());
                prop_assert!(geometry.blocks.checked_mul(geometry.block_bytes.into()).is_some());
            }
            State::Failed => prop_assert!(!bench.error().to_string().is_empty()),
            state => prop_assert!(false, "{:?}", state),
        }
    }
}
