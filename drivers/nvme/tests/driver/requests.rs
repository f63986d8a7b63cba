//! Reading, writing and flushing, on a controller that behaves.

use crate::fake::*;
use access::fake_dma::Step;
use block::{Cause, Fault, Operation, Refused};
use spec::nvme::command::nvm;
use spec::nvme::{Status, completion, identify};

#[test]
fn what_is_written_is_read_back_and_nothing_beside_it() {
    let mut bench = Bench::ready();
    let before = bench.fake.state().medium.clone();
    let data: Vec<u8> = (0..5 * 512).map(|byte| (byte % 253) as u8).collect();
    let tag = bench.driver.write(7, &data, bench.now).unwrap();
    bench.deliver();
    let done = bench.done();
    assert_eq!((done.tag, done.operation, done.bytes, done.outcome), (tag, Operation::Write, 2560, Ok(())));
    assert_eq!(bench.read(7, 5), data);
    let state = bench.fake.state();
    assert_eq!(state.medium[..7 * 512], before[..7 * 512]);
    assert_eq!(state.medium[7 * 512..12 * 512], data);
    assert_eq!(state.medium[12 * 512..], before[12 * 512..]);
    assert_eq!(bench.fake.domain.refused(), 0);
}

#[test]
fn large_requests_are_cut_into_what_a_command_moves() {
    // MDTS of 2^1 pages is 8 KiB, of 2^5 128 KiB; 0 is no limit.
    for (shift, commands) in [(1, 32), (5, 2), (0, 1), (63, 1), (255, 1)] {
        let mut bench = Bench::started(|fake| {
            fake.state().controller[identify::controller::TRANSFER_SHIFT] = shift;
        });
        bench.fake.state().commands.clear();
        let data = bench.read(16, 512);
        assert_eq!(data, bench.fake.state().medium[16 * 512..528 * 512]);
        let done: Vec<_> =
            bench.fake.state().commands.iter().map(|c| (c.first_block(), c.blocks())).collect();
        assert_eq!(done.len(), commands);
        assert_eq!(done.iter().map(|(_, blocks)| blocks).sum::<u32>(), 512);
    }
}

#[test]
fn blocks_have_the_size_that_the_namespace_says() {
    for shift in [9, 10, 12, 13, 16] {
        let mut bench = Bench::started(|fake| {
            fake.set_format(shift, 0);
            let blocks = ((BLOCKS * 512) >> shift).to_le_bytes();
            fake.state().namespace[..8].copy_from_slice(&blocks);
            fake.state().namespace[8..16].copy_from_slice(&blocks);
        });
        assert_eq!(bench.namespace().block_bytes, 1 << shift);
        let data: Vec<u8> = (0..3 << shift).map(|byte| (byte % 241) as u8).collect();
        bench.driver.write(2, &data, bench.now).unwrap();
        bench.deliver();
        assert_eq!(bench.done().outcome, Ok(()));
        assert_eq!(bench.fake.state().medium[2 << shift..5 << shift], data);
        assert_eq!(bench.read(2, 3), data);
    }
}

#[test]
fn a_flush_names_the_namespace() {
    let mut bench = Bench::ready();
    bench.driver.flush(bench.now).unwrap();
    bench.deliver();
    let done = bench.done();
    assert_eq!((done.operation, done.bytes, done.outcome), (Operation::Flush, 0, Ok(())));
    let command = *bench.fake.state().commands.last().unwrap();
    assert_eq!((command.opcode, command.namespace), (nvm::FLUSH, 1));
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut bench = Bench::ready();
    bench.fake.state().commands.clear();
    let now = bench.now;
    let driver = &mut bench.driver;
    assert_eq!(driver.read(0, 0, now), Err(Refused::NoBlocks));
    assert_eq!(driver.write(0, &[], now), Err(Refused::NoBlocks));
    assert_eq!(driver.read(BLOCKS, 1, now), Err(Refused::BeyondEnd));
    assert_eq!(driver.read(BLOCKS - 1, 2, now), Err(Refused::BeyondEnd));
    assert_eq!(driver.read(u64::MAX, 2, now), Err(Refused::BeyondEnd));
    assert_eq!(driver.read(0, 513, now), Err(Refused::TooLarge(256 << 10)));
    assert_eq!(driver.read(0, u64::MAX, now), Err(Refused::BeyondEnd));
    assert_eq!(driver.write(0, &[0; (256 << 10) + 512], now), Err(Refused::TooLarge(256 << 10)));
    assert_eq!(bench.driver.next_done(), None);
    assert_eq!(bench.fake.state().commands, []);
}

#[test]
fn a_write_protected_medium_takes_no_write() {
    let mut bench = Bench::started(|fake| {
        fake.state().namespace[identify::namespace::ATTRIBUTES] = identify::namespace::WRITE_PROTECTED;
    });
    assert!(bench.namespace().is_read_only);
    assert_eq!(bench.driver.write(0, &[0; 512], bench.now), Err(Refused::ReadOnly));
    assert_eq!(bench.read(0, 1).len(), 512);
}

#[test]
fn there_is_room_for_so_many_requests_and_no_more() {
    let mut bench = Bench::ready();
    bench.fake.state().holds = true;
    let tags: Vec<_> = (0..8).map(|block| bench.driver.read(block, 1, bench.now).unwrap()).collect();
    assert_eq!(bench.driver.read(9, 1, bench.now), Err(Refused::Busy));
    bench.fake.work();
    bench.deliver();
    // They are over, but their data was not taken.
    assert_eq!(bench.driver.read(9, 1, bench.now), Err(Refused::Busy));
    let done = bench.driver.next_done().unwrap();
    assert_eq!(bench.driver.next_done(), Some(done), "it is told until it is released");
    bench.driver.release(tags[0]);
    assert_ne!(bench.driver.next_done(), Some(done));
    bench.driver.read(9, 1, bench.now).unwrap();
    assert_eq!(bench.driver.read(10, 1, bench.now), Err(Refused::Busy));
}

#[test]
fn a_tag_is_good_for_its_request_only() {
    let mut bench = Bench::ready();
    bench.fake.state().holds = true;
    let mut byte = [0];
    let tag = bench.driver.read(5, 1, bench.now).unwrap();
    assert_eq!(bench.driver.get(tag, 0, &mut byte), None, "it is not over");
    bench.driver.release(tag);
    bench.fake.work();
    bench.deliver();
    assert_eq!(bench.driver.get(tag, 511, &mut byte), Some(()));
    assert_eq!(byte[0], bench.fake.state().medium[6 * 512 - 1]);
    assert_eq!(bench.driver.get(tag, 512, &mut byte), None);
    assert_eq!(bench.driver.get(tag, usize::MAX, &mut byte), None);
    bench.driver.release(tag);
    assert_eq!(bench.driver.get(tag, 0, &mut byte), None, "it was released");
    let other = bench.driver.read(6, 1, bench.now).unwrap();
    bench.fake.work();
    bench.deliver();
    bench.driver.release(tag);
    assert_eq!(bench.driver.get(tag, 0, &mut byte), None);
    assert_eq!(bench.driver.get(other, 0, &mut byte), Some(()));
}

#[test]
fn a_command_that_fails_ends_its_request_and_no_other() {
    let mut bench = Bench::started(|fake| {
        fake.state().controller[identify::controller::TRANSFER_SHIFT] = 1;
        fake.state().tamper = Some(Box::new(|command, answer| {
            if command.opcode == nvm::READ && command.first_block() == 112 {
                answer.status = Status::READ_ERROR;
            }
            true
        }));
    });
    bench.fake.state().commands.clear();
    let failing = bench.driver.read(0, 512, bench.now).unwrap();
    let other = bench.driver.read(600, 1, bench.now).unwrap();
    bench.deliver();
    let done = bench.driver.next_done().unwrap();
    let cause = Cause { name: "unrecovered read error", code: 0x281 };
    assert_eq!((done.tag, done.outcome), (failing, Err(Fault::Medium(cause))));
    assert_eq!(done.outcome.unwrap_err().to_string(), "unrecovered read error (status 0x281)");
    assert_eq!(bench.driver.get(failing, 0, &mut [0]), None, "what was read is not all");
    bench.driver.release(failing);
    assert_eq!(bench.driver.next_done().map(|done| (done.tag, done.outcome)), Some((other, Ok(()))));
    // Of 32 commands those that were not made yet are not made any more.
    assert!(bench.fake.state().commands.len() < 20);
}

#[test]
fn queues_wrap() {
    let mut bench = Bench::ready();
    for round in 0..1000 {
        let block = round * 37 % BLOCKS;
        let expected = bench.fake.state().medium[block as usize * 512..][..512].to_vec();
        assert_eq!(bench.read(block, 1), expected);
        assert!(bench.fake.is_acknowledged());
    }
}

#[test]
fn the_phase_tag_is_read_before_the_rest_of_an_entry() {
    let mut bench = Bench::ready();
    bench.fake.state().holds = true;
    bench.driver.read(0, 1, bench.now).unwrap();
    bench.fake.work();
    bench.fake.domain.take_steps();
    bench.deliver();
    let steps = bench.fake.domain.take_steps();
    let [Step::Read(tag, 4), Step::ReadBarrier, Step::Read(entry, completion::ENTRY_BYTES), ..] = steps[..]
    else {
        panic!("{steps:?}");
    };
    assert_eq!(tag, entry + 12);
}

#[test]
fn a_lost_interrupt_is_made_up_for() {
    let mut bench = Bench::ready();
    bench.driver.read(0, 1, bench.now).unwrap();
    bench.fake.state().messages.clear();
    let status = bench.driver.status();
    assert_eq!(status.deadline_ns, Some(bench.now + SECOND));
    bench.pass(SECOND);
    assert_eq!(bench.done().outcome, Ok(()));
    assert_eq!(bench.driver.status().deadline_ns, None);
}

#[test]
fn several_requests_cost_one_doorbell() {
    let mut bench = Bench::ready();
    let tags: Vec<_> = (0..5)
        .map(|block| {
            let tag = bench.driver.reserve().unwrap();
            bench.driver.submit(tag, Operation::Read, block, 1).unwrap();
            tag
        })
        .collect();
    bench.fake.state().writes.clear();
    bench.fake.state().commands.clear();
    assert_eq!(bench.driver.status().deadline_ns, None, "the controller has nothing yet");
    bench.driver.kick(bench.now);
    assert_eq!(bench.fake.state().writes.len(), 1);
    assert_eq!(bench.fake.state().commands.len(), 5);
    bench.deliver();
    for tag in tags {
        assert_eq!(bench.done().tag, tag);
    }
    bench.driver.kick(bench.now);
    assert_eq!(bench.fake.state().writes.len(), 2, "a kick for nothing rings nothing");
}

#[test]
fn blocks_are_discarded_and_zeroed_where_the_controller_does_that() {
    use identify::controller::{DATASET_MANAGEMENT, OPTIONAL_COMMANDS, WRITE_ZEROES};
    for optional in [0, DATASET_MANAGEMENT, WRITE_ZEROES, DATASET_MANAGEMENT | WRITE_ZEROES] {
        let mut bench = Bench::started(|fake| {
            fake.state().controller[OPTIONAL_COMMANDS..][..2].copy_from_slice(&optional.to_le_bytes());
        });
        let namespace = bench.namespace();
        assert_eq!(namespace.can_discard, optional & DATASET_MANAGEMENT != 0);
        assert_eq!(namespace.can_write_zeroes, optional & WRITE_ZEROES != 0);
        let now = bench.now;
        let before = bench.fake.state().medium.clone();
        for (operation, is_able) in [
            (Operation::Discard, namespace.can_discard),
            (Operation::WriteZeroes, namespace.can_write_zeroes),
        ] {
            bench.fake.state().commands.clear();
            if !is_able {
                assert_eq!(bench.driver.ask(operation, 0, 1, &[], now), Err(Refused::Unsupported));
                continue;
            }
            assert_eq!(bench.driver.ask(operation, BLOCKS - 1, 2, &[], now), Err(Refused::BeyondEnd));
            // More than a buffer has room for.
            let tag = bench.driver.ask(operation, 3, BLOCKS - 4, &[], now).unwrap();
            bench.deliver();
            let done = bench.done();
            assert_eq!((done.tag, done.operation, done.bytes, done.outcome), (tag, operation, 0, Ok(())));
            let commands = bench.fake.state().commands.len();
            assert_eq!(commands, if operation == Operation::Discard { 1 } else { 4 });
        }
        let zeroes = if namespace.can_write_zeroes {
            vec![0; 1020 * 512]
        } else {
            before[1536..][..1020 * 512].to_vec()
        };
        let discarded = if namespace.can_discard { vec![(3, 1020)] } else { vec![] };
        let state = bench.fake.state();
        assert_eq!(state.discarded, discarded);
        assert!(state.medium[1536..][..1020 * 512] == zeroes);
        assert_eq!(
            (&state.medium[..1536], &state.medium[1023 * 512..]),
            (&before[..1536], &before[1023 * 512..])
        );
    }
}
