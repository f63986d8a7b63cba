//! A controller that is broken, gone, or means harm. Whatever it does ends in words, with all
//! requests over and the controller disabled.

use crate::fake::*;
use block::{Fault, Refused, State};
use nvme::Error;
use proptest::prelude::*;
use spec::nvme::Completion;
use spec::nvme::command::{admin, nvm};
use spec::nvme::register::{VERSION_1_4, cc, csts};

/// Submits a read that the controller does not answer.
fn with_a_read_in_flight() -> Bench {
    let mut bench = Bench::ready();
    bench.fake.state().holds = true;
    bench.driver.read(0, 8, bench.now).unwrap();
    bench
}

/// Checks that it failed with `words`, that the read is over, and that it can be started again.
fn check_failed(mut bench: Bench, error: Error, words: &str) {
    assert_eq!(bench.error(), error);
    assert_eq!(error.to_string(), words);
    assert_eq!(bench.driver.status().deadline_ns, None);
    assert_eq!(bench.done().outcome, Err(Fault::Drive));
    assert_eq!(bench.driver.next_done(), None);
    assert_eq!(bench.driver.read(0, 1, bench.now), Err(Refused::NotReady));
    let is_enabled = bench.fake.state().configuration & cc::ENABLE != 0;
    assert_eq!(is_enabled, error == Error::Removed, "what is gone is not touched");

    bench.fake.state().status = None;
    bench.fake.state().version = VERSION_1_4;
    bench.fake.state().tamper = None;
    bench.fake.state().holds = false;
    bench.fake.state().messages.clear();
    bench.driver.start(bench.now);
    bench.run();
    let expected = bench.fake.state().medium[4096..8192].to_vec();
    assert_eq!(bench.read(8, 8), expected);
}

/// Has the controller say `answer` of the read in flight, after `change`.
fn check_answer(change: impl FnOnce(&mut Completion), error: Error, words: &str) {
    let mut bench = with_a_read_in_flight();
    let mut change = Some(change);
    let answer = std::rc::Rc::new(std::cell::Cell::new(Completion::default()));
    let seen = answer.clone();
    bench.fake.state().tamper = Some(Box::new(move |_, real| {
        seen.set(*real);
        false
    }));
    bench.fake.work();
    let mut said = answer.get();
    change.take().unwrap()(&mut said);
    bench.fake.say(1, said);
    bench.deliver();
    check_failed(bench, error, words);
}

#[test]
fn one_that_never_becomes_ready_is_given_up() {
    let mut bench = Bench::new(SIZES, 2, |fake| fake.state().status = Some(0));
    bench.driver.start(bench.now);
    let started = bench.now;
    bench.pass(60 * SECOND);
    assert_eq!(bench.error(), Error::NotReady { wanted: true, milliseconds: 1000 });
    assert_eq!(bench.error().to_string(), "it did not become ready within 1000 ms");
    assert!(bench.now - started <= SECOND + 10 * MILLISECOND);
}

#[test]
fn one_that_never_becomes_disabled_is_given_up() {
    let mut bench = Bench::new(SIZES, 2, |fake| {
        fake.state().configuration = cc::ENABLE;
        fake.state().status = Some(csts::READY);
    });
    bench.driver.start(bench.now);
    bench.pass(60 * SECOND);
    assert_eq!(bench.error().to_string(), "it did not become disabled within 1000 ms");
}

#[test]
fn a_timeout_of_zero_is_half_a_second() {
    let mut bench = Bench::new(SIZES, 2, |fake| {
        fake.state().capabilities = spec::nvme::register::cap::of(64, 0);
        fake.state().status = Some(0);
    });
    bench.driver.start(bench.now);
    bench.pass(60 * SECOND);
    assert_eq!(bench.error(), Error::NotReady { wanted: true, milliseconds: 500 });
}

#[test]
fn one_that_fails_while_it_becomes_ready_is_given_up_at_once() {
    let mut bench = Bench::new(SIZES, 2, |fake| fake.state().status = Some(0));
    bench.driver.start(bench.now);
    bench.fake.state().status = Some(csts::FATAL);
    bench.pass(10 * MILLISECOND);
    assert_eq!(bench.error(), Error::Fatal);
}

#[test]
fn one_that_does_not_answer_the_start_is_given_up() {
    let mut bench = Bench::new(SIZES, 2, |fake| fake.state().holds = true);
    bench.driver.start(bench.now);
    bench.pass(60 * SECOND);
    assert_eq!(bench.error(), Error::Late { queue: 0, opcode: admin::IDENTIFY });
}

#[test]
fn one_that_never_answers_a_read_is_given_up() {
    let mut bench = with_a_read_in_flight();
    let started = bench.now;
    assert!(matches!(bench.pass(29 * SECOND).state, State::Ready(_)));
    bench.pass(60 * SECOND);
    assert_eq!(bench.now - started, 30 * SECOND);
    let error = Error::Late { queue: 1, opcode: nvm::READ };
    check_failed(bench, error, "it did not complete command 0x02 of queue 1 in time");
}

#[test]
fn the_deadline_of_a_command_is_its_own() {
    let mut bench = with_a_read_in_flight();
    bench.pass(29 * SECOND);
    bench.driver.read(8, 8, bench.now).unwrap();
    bench.pass(SECOND + SECOND / 2);
    assert_eq!(bench.error(), Error::Late { queue: 1, opcode: nvm::READ });
}

#[test]
fn one_that_was_pulled_is_found_within_a_second() {
    let mut bench = with_a_read_in_flight();
    bench.fake.state().status = Some(u32::MAX);
    bench.pass(SECOND);
    check_failed(bench, Error::Removed, "its registers do not answer: it is not there any more");
}

#[test]
fn one_whose_place_reads_zeros_is_found_as_well() {
    let mut bench = with_a_read_in_flight();
    bench.fake.state().status = Some(0);
    bench.fake.state().version = 0;
    bench.pass(SECOND);
    check_failed(bench, Error::Removed, "its registers do not answer: it is not there any more");
}

#[test]
fn one_that_was_pulled_before_it_is_started_is_found() {
    let bench = Bench::started(|fake| fake.state().status = Some(u32::MAX));
    assert_eq!(bench.error(), Error::Removed);
    assert_eq!(bench.fake.state().writes, []);
}

#[test]
fn a_fatal_error_is_found_within_a_second() {
    let mut bench = with_a_read_in_flight();
    bench.fake.state().status = Some(csts::FATAL | csts::READY);
    bench.pass(SECOND);
    check_failed(bench, Error::Fatal, "its status register says that it met a fatal error");
}

#[test]
fn a_reset_behind_the_drivers_back_is_found() {
    let mut bench = with_a_read_in_flight();
    bench.fake.state().status = Some(0);
    bench.pass(SECOND);
    check_failed(bench, Error::Reset, "it ceased to be ready while it was in use");
}

#[test]
fn a_completion_has_to_name_a_command_in_flight() {
    check_answer(
        |answer| answer.identifier ^= 1,
        Error::UnknownCommand { queue: 1, identifier: 0x0101 },
        "it completed command 0x0101 of queue 1, which is not in flight",
    );
    check_answer(
        |answer| answer.identifier = 0xffff,
        Error::UnknownCommand { queue: 1, identifier: 0xffff },
        "it completed command 0xffff of queue 1, which is not in flight",
    );
}

#[test]
fn a_completion_twice_is_none_of_the_next_command() {
    let mut bench = Bench::ready();
    bench.read(0, 1);
    bench.fake.state().holds = true;
    bench.driver.read(1, 1, bench.now).unwrap();
    // The slot is the same, the command is not.
    bench.fake.say(1, Completion { submission_queue: 1, identifier: 0x0100, ..Completion::default() });
    bench.deliver();
    assert_eq!(bench.error(), Error::UnknownCommand { queue: 1, identifier: 0x0100 });
}

#[test]
fn a_completion_has_to_name_its_queue() {
    check_answer(
        |answer| answer.submission_queue = 2,
        Error::WrongQueue { queue: 1, named: 2 },
        "it put a completion for queue 2 into queue 1",
    );
}

#[test]
fn a_completion_cannot_be_beyond_the_queue() {
    check_answer(
        |answer| answer.submission_head = 8,
        Error::HeadBeyondQueue { queue: 1, head: 8, entries: 8 },
        "it says to be at entry 8 of queue 1, which has 8",
    );
}

#[test]
fn an_entry_of_the_last_turn_is_not_new() {
    let mut bench = with_a_read_in_flight();
    // The fake inverts the tag.
    bench.fake.say(1, Completion { phase: true, submission_queue: 1, ..Completion::default() });
    bench.deliver();
    assert!(matches!(bench.driver.status().state, State::Ready(_)));
    assert_eq!(bench.driver.next_done(), None);
}

#[test]
fn entries_of_the_last_life_are_not_new() {
    // It fails in the first turn of the admin queue, whose entries so have the tag of new ones.
    let mut bench = Bench::started(|fake| fake.state().namespace.fill(0));
    bench.error();
    bench.fake.state().namespace = Bench::ready().fake.state().namespace.clone();
    bench.fake.state().holds = true;
    bench.driver.start(bench.now);
    bench.now = bench.driver.status().deadline_ns.unwrap();
    bench.driver.poll(bench.now);
    bench.driver.interrupt(0, bench.now);
    assert_eq!(bench.driver.status().state, State::Starting);
    bench.fake.state().holds = false;
    bench.fake.work();
    bench.run();
    bench.namespace();
}

#[test]
fn a_queue_full_of_garbage_is_found_with_the_first_entry() {
    let mut bench = with_a_read_in_flight();
    for entry in 0..8 {
        bench.fake.say(
            1,
            Completion { result: entry, identifier: 0xbad, submission_queue: 1, ..Completion::default() },
        );
    }
    bench.deliver();
    let words = "it completed command 0x0bad of queue 1, which is not in flight";
    check_failed(bench, Error::UnknownCommand { queue: 1, identifier: 0xbad }, words);
}

#[test]
fn interrupts_without_a_cause_change_nothing() {
    let mut bench = with_a_read_in_flight();
    let status = bench.driver.status();
    for message in (0..10_000).map(|number| number % 3) {
        assert_eq!(bench.driver.interrupt(message, bench.now), status);
    }
    bench.fake.work();
    bench.deliver();
    assert_eq!(bench.done().outcome, Ok(()));
}

#[test]
fn a_start_again_ends_what_is_in_flight() {
    let mut bench = with_a_read_in_flight();
    bench.driver.start(bench.now);
    assert_eq!(bench.done().outcome, Err(Fault::Drive));
    bench.fake.state().holds = false;
    bench.run();
    bench.namespace();
}

#[test]
fn what_fails_while_a_request_is_submitted_is_told_as_its_outcome() {
    let mut bench = Bench::ready();
    bench.fake.state().holds = true;
    bench.driver.read(0, 1, bench.now).unwrap();
    bench.fake.state().status = Some(u32::MAX);
    bench.now += 2 * SECOND;
    bench.driver.poll(bench.now);
    assert_eq!(bench.driver.flush(bench.now), Err(Refused::NotReady));
    assert_eq!(bench.done().outcome, Err(Fault::Drive));
}

proptest! {
    /// Whatever stands in the completion queue and in the registers, nothing panics, every call
    /// returns, and every request that was taken is over once.
    #[test]
    fn garbage_ends_in_words(
        answers in proptest::collection::vec(
            (0_u16..4, 0_u16..10, prop_oneof![0_u16..2048, any::<u16>()], any::<bool>(), any::<u16>()),
            1..20,
        ),
        status in prop_oneof![Just(None), any::<u32>().prop_map(Some)],
        reads in proptest::collection::vec((0..BLOCKS - 8, 1_u64..8), 1..8),
    ) {
        let mut bench = Bench::ready();
        bench.fake.state().holds = true;
        for (first_block, blocks) in &reads {
            bench.driver.read(*first_block, *blocks, bench.now).unwrap();
        }
        for (submission_queue, submission_head, identifier, phase, said) in answers {
            let answer = Completion {
                result: 0,
                submission_head,
                submission_queue,
                identifier,
                phase,
                status: spec::nvme::Status(said >> 1),
            };
            bench.fake.say(1, answer);
            bench.deliver();
        }
        bench.fake.state().status = status;
        bench.pass(60 * SECOND);
        let mut over = 0;
        while bench.driver.next_done().is_some() {
            bench.done();
            over += 1;
        }
        prop_assert_eq!(over, reads.len());
    }

    /// Whatever it says of itself, it is ready with numbers that make sense, or failed.
    #[test]
    fn any_identify_data_is_answered(
        changes in proptest::collection::vec((any::<bool>(), 0_usize..600, any::<u8>()), 0..12),
    ) {
        let bench = Bench::started(|fake| {
            for (is_controller, offset, byte) in &changes {
                let mut state = fake.state();
                let page = if *is_controller { &mut state.controller } else { &mut state.namespace };
                page[*offset] = *byte;
            }
        });
        match bench.driver.status().state {
            State::Ready(namespace) => {
                prop_assert!(namespace.blocks > 0 && namespace.block_bytes.is_power_of_two());
                prop_assert!(namespace.blocks.checked_mul(namespace.block_bytes.into()).is_some());
            }
            State::Failed => prop_assert!(!bench.error().to_string().is_empty()),
            state => prop_assert!(false, "{:?}", state),
        }
    }
}
