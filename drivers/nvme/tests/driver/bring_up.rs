//! From a function that was just reset, or left behind by somebody, to a namespace.

use crate::fake::*;
use access::DeviceAccess;
use access::device::MessageInterrupt;
use access::fake_dma::FakeDma;
use block::{Refused, State};
use nvme::{Controller, Error, Sizes};
use spec::nvme::command::{admin, nvm};
use spec::nvme::register::{self, cc, csts};
use spec::nvme::{Status, identify};

#[test]
fn it_comes_up_and_says_who_it_is() {
    let mut bench = Bench::new(SIZES, 2, |_| {});
    assert_eq!(bench.driver.status().state, State::Off);
    assert_eq!(bench.driver.read(0, 1, bench.now), Err(Refused::NotReady));
    let status = bench.driver.start(bench.now);
    assert_eq!(status.state, State::Starting);
    bench.run();

    let namespace = bench.namespace();
    assert_eq!((namespace.blocks, namespace.block_bytes, namespace.is_read_only), (BLOCKS, 512, false));
    let identity = bench.driver.identity().unwrap();
    assert_eq!(format!("{} {}", identity.model, identity.serial), "Fake? S1");
    assert_eq!(bench.driver.status().deadline_ns, None, "nothing is waited for");
    let opcodes: Vec<u8> = bench.fake.state().commands.iter().map(|command| command.opcode).collect();
    let expected = [
        admin::IDENTIFY,
        admin::IDENTIFY,
        admin::SET_FEATURES,
        admin::CREATE_COMPLETION_QUEUE,
        admin::CREATE_SUBMISSION_QUEUE,
    ];
    assert_eq!(opcodes, expected);
    assert_eq!(bench.fake.domain.refused(), 0);
}

#[test]
fn data_has_a_message_of_its_own_where_there_are_two() {
    for (messages, expected) in [(1, 0), (2, 1), (9, 1)] {
        let mut bench = Bench::new(SIZES, messages, |_| {});
        bench.driver.start(bench.now);
        bench.run();
        bench.driver.read(0, 1, bench.now).unwrap();
        assert_eq!(bench.fake.state().messages, [expected]);
        // Messages of others change nothing.
        bench.driver.interrupt(7, bench.now);
        assert_eq!(bench.driver.next_done(), None);
        bench.deliver();
        assert_eq!(bench.done().outcome, Ok(()));
    }
}

#[test]
fn what_cannot_be_made_is_refused() {
    let make = |sizes, messages, bytes| {
        let (dma, domain) = FakeDma::new(bytes);
        let registers = Bench::new(SIZES, 1, |_| {}).fake;
        drop(domain);
        Controller::new(DeviceAccess { registers, dma, interrupt: MessageInterrupt { messages } }, sizes)
            .err()
    };
    assert_eq!(make(SIZES, 1, 16 << 20), None);
    assert_eq!(make(SIZES, 0, 16 << 20), Some(Error::NoMessages));
    assert_eq!(make(SIZES, 1, 1 << 20), Some(Error::NoMemory));
    for sizes in [SIZES, Sizes { requests: 1, request_bytes: 4096, commands: 1 }] {
        assert_eq!(make(sizes, 1, sizes.bytes()), None, "what it takes is what it says");
        // Less than a page of each is between its buffers.
        assert_eq!(make(sizes, 1, sizes.bytes() - 6 * 4096), Some(Error::NoMemory));
    }
    for sizes in [
        Sizes { requests: 0, ..SIZES },
        Sizes { requests: 257, ..SIZES },
        Sizes { commands: 0, ..SIZES },
        Sizes { commands: 256, ..SIZES },
        Sizes { request_bytes: 0, ..SIZES },
        Sizes { request_bytes: 4097, ..SIZES },
    ] {
        assert_eq!(make(sizes, 1, 16 << 20), Some(Error::Sizes), "{sizes:?}");
    }
}

#[test]
fn one_that_is_enabled_is_disabled_first() {
    let bench = Bench::started(|fake| fake.state().configuration = cc::ENABLE);
    bench.namespace();
    let configuration =
        |(offset, value): &(usize, u64)| (*offset as u64 == register::CONFIGURATION).then_some(*value as u32);
    let written: Vec<u32> = bench.fake.state().writes.iter().filter_map(configuration).collect();
    assert_eq!(written, [0, cc::NVM_ENTRIES | cc::ENABLE]);
}

#[test]
fn one_that_is_becoming_ready_is_not_disabled_before_it_is() {
    let mut bench = Bench::new(SIZES, 2, |fake| {
        fake.state().configuration = cc::ENABLE;
        fake.state().status = Some(0);
    });
    bench.driver.start(bench.now);
    bench.now += 20 * MILLISECOND;
    bench.driver.poll(bench.now);
    assert_eq!(bench.fake.state().writes, []);
    bench.fake.state().status = None;
    bench.now += 20 * MILLISECOND;
    bench.driver.poll(bench.now);
    assert_eq!(bench.fake.state().writes[0], (register::CONFIGURATION as usize, 0));
    bench.run();
    bench.namespace();
}

#[test]
fn one_that_stays_enabled_and_not_ready_is_disabled_all_the_same() {
    let mut bench = Bench::new(SIZES, 2, |fake| {
        fake.state().configuration = cc::ENABLE;
        fake.state().status = Some(0);
    });
    bench.driver.start(bench.now);
    bench.pass(999 * MILLISECOND);
    assert_eq!(bench.fake.state().writes, []);
    bench.pass(2 * MILLISECOND);
    bench.fake.state().status = None;
    bench.run();
    bench.namespace();
}

#[test]
fn a_fatal_error_of_its_last_life_is_ended_by_the_reset() {
    let mut bench = Bench::new(SIZES, 2, |fake| {
        fake.state().configuration = cc::ENABLE;
        fake.state().status = Some(csts::FATAL);
    });
    bench.driver.start(bench.now);
    assert_eq!(bench.fake.state().writes[0], (register::CONFIGURATION as usize, 0));
    bench.fake.state().status = None;
    bench.run();
    bench.namespace();
}

#[test]
fn one_that_takes_its_time_gets_the_time_that_it_says() {
    // CAP.TO of `cap::of(64, 2)` is 1 s.
    let mut bench = Bench::new(SIZES, 2, |fake| fake.state().status = Some(0));
    bench.driver.start(bench.now);
    let status = bench.pass(999 * MILLISECOND);
    assert_eq!(status.state, State::Starting);
    bench.fake.state().status = None;
    bench.run();
    bench.namespace();
}

#[test]
fn being_called_late_is_not_held_against_it() {
    let mut bench = Bench::new(SIZES, 2, |fake| fake.state().status = Some(0));
    bench.driver.start(bench.now);
    bench.fake.state().status = None;
    bench.now += 3600 * SECOND;
    bench.driver.poll(bench.now);
    bench.run();
    bench.namespace();
}

#[test]
fn doorbells_are_where_the_stride_says() {
    // A write to any other place is a panic of the fake.
    for stride in [0, 1, 4, 15] {
        let mut bench = Bench::started(|fake| fake.state().capabilities |= stride << 32);
        assert_eq!(bench.read(1, 1), bench.fake.state().medium[512..1024]);
        let doorbell = register::submission_doorbell(1, stride as u32) as usize;
        assert_eq!(doorbell, 0x1000 + (8 << stride));
        assert!(bench.fake.state().writes.contains(&(doorbell, 1)));
    }
}

#[test]
fn queues_are_no_longer_than_it_allows() {
    let mut bench = Bench::started(|fake| fake.state().capabilities = spec::nvme::register::cap::of(2, 1));
    bench.fake.state().holds = true;
    for block in 0..3 {
        bench.driver.read(block, 1, bench.now).unwrap();
    }
    for _ in 0..3 {
        bench.fake.work();
        bench.deliver();
        bench.done();
    }
    let state = bench.fake.state();
    let create = state.commands.iter().find(|command| command.opcode == admin::CREATE_SUBMISSION_QUEUE);
    assert_eq!(create.unwrap().queue_entries(), 2);
    assert_eq!(state.commands.iter().filter(|command| command.opcode == nvm::READ).count(), 3);
}

#[test]
fn a_controller_that_is_none_of_ours_is_refused() {
    for (capabilities, error) in [
        (1 << 24 | 63, Error::NoNvmCommands),
        (spec::nvme::register::cap::of(64, 1) | 1 << 48, Error::PageSize(1)),
        (spec::nvme::register::cap::of(1, 1), Error::QueueSize),
        (u64::MAX, Error::Removed),
        (0, Error::Removed),
    ] {
        let bench = Bench::started(|fake| fake.state().capabilities = capabilities);
        assert_eq!(bench.error(), error);
    }
}

#[test]
fn a_command_of_the_start_that_fails_is_named() {
    for (opcode, words) in [
        (
            admin::SET_FEATURES,
            "the command to set the number of queues failed: internal error (status 0x006)",
        ),
        (
            admin::CREATE_COMPLETION_QUEUE,
            "the command to create a completion queue failed: internal error (status 0x006)",
        ),
        (
            admin::CREATE_SUBMISSION_QUEUE,
            "the command to create a submission queue failed: internal error (status 0x006)",
        ),
    ] {
        let bench = Bench::started(|fake| {
            fake.state().tamper = Some(Box::new(move |command, answer| {
                if command.opcode == opcode {
                    answer.status = Status::INTERNAL_ERROR;
                }
                true
            }));
        });
        assert_eq!(bench.error().to_string(), words);
    }
}

#[test]
fn what_the_controller_says_of_itself_has_to_make_sense() {
    use identify::controller::*;
    for (offset, byte, words) in [
        (SUBMISSION_ENTRY, 0x55, "it does not take queue entries of 64 and 16 bytes"),
        (SUBMISSION_ENTRY, 0x77, "it does not take queue entries of 64 and 16 bytes"),
        (COMPLETION_ENTRY, 0x33, "it does not take queue entries of 64 and 16 bytes"),
        (CONTROLLER_TYPE, 2, "it is no controller for input and output"),
        (NAMESPACES, 0, "it has no namespaces"),
    ] {
        let bench = Bench::started(|fake| fake.state().controller[offset] = byte);
        assert_eq!(bench.error().to_string(), words);
        assert_eq!(bench.fake.state().configuration & cc::ENABLE, 0, "it is disabled");
    }
}

#[test]
fn what_it_says_of_its_namespace_has_to_make_sense() {
    let check = |words: &str, bend: &dyn Fn(&mut [u8])| {
        let bench = Bench::started(|fake| bend(&mut fake.state().namespace));
        assert_eq!(bench.error().to_string(), words);
    };
    let format = |page: &mut [u8], shift: u8, metadata: u8| {
        page[identify::namespace::FORMAT_0] = metadata;
        page[identify::namespace::FORMAT_0 + 2] = shift;
    };
    check("namespace 1 is not there, or has no blocks", &|page| page.fill(0));
    check("namespace 1 is not there, or has no blocks", &|page| page[..8].fill(0));
    check("namespace 1 is not there, or has no blocks", &|page| page[8..16].fill(0));
    check("namespace 1 says to have a larger capacity than it has blocks", &|page| page[8..16].fill(0xff));
    check("namespace 1 says to have a format that it does not have", &|page| {
        page[identify::namespace::FORMAT] = 1;
    });
    check("namespace 1 has blocks with metadata, which this driver does not move", &|page| {
        format(page, 9, 8)
    });
    for shift in [0, 8, 17, 64, 255] {
        let words = "namespace 1 has blocks of less than 512 or more than 65536 bytes";
        check(words, &|page| format(page, shift, 0));
    }
    check("namespace 1 says to have 2^64 bytes or more", &|page| page[..8].fill(0xff));
}

#[test]
fn a_block_has_to_fit_into_a_command() {
    let bench = Bench::started(|fake| {
        fake.state().controller[identify::controller::TRANSFER_SHIFT] = 1;
        fake.set_format(14, 0);
    });
    assert_eq!(bench.error().to_string(), "a block of namespace 1 is more than one command moves");
}

#[test]
fn an_answer_that_was_not_written_is_not_the_last_one() {
    // It says that it has identified its namespace, and leaves the page as it is.
    let bench = Bench::started(|fake| fake.state().namespace = Vec::new());
    assert_eq!(bench.error().to_string(), "namespace 1 is not there, or has no blocks");
}

#[test]
fn a_failed_one_can_be_started_again() {
    let mut bench = Bench::started(|fake| fake.state().controller[identify::controller::NAMESPACES] = 0);
    assert_eq!(bench.error(), Error::Identify("it has no namespaces"));
    assert_eq!(bench.driver.status().deadline_ns, None);
    bench.fake.state().controller[identify::controller::NAMESPACES] = 1;
    bench.driver.start(bench.now);
    bench.run();
    assert_eq!(bench.read(3, 1), bench.fake.state().medium[3 * 512..4 * 512]);
}
