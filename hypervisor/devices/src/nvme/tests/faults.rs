//! What a guest, or the medium, does wrong.

use super::*;

#[test]
fn queues_outside_of_memory_are_fatal_until_a_reset() {
    let outside = MEMORY as u64;
    for (submission, completion) in [(outside, COMPLETIONS), (SUBMISSIONS, outside), (!0xfff, COMPLETIONS)] {
        let mut guest = Guest::new(config());
        guest.dword(at::ADMIN_QUEUE_ATTRIBUTES, aqa::of(64, 64));
        guest.bench.write(at::ADMIN_SUBMISSION_QUEUE, Width::Qword, submission);
        guest.bench.write(at::ADMIN_COMPLETION_QUEUE, Width::Qword, completion);
        guest.dword(at::CONFIGURATION, cc::ENABLE | cc::NVM_ENTRIES);
        assert_eq!(guest.read(at::STATUS), csts::READY, "nobody looked yet");
        guest.send(0, Command::identify(0, 1, 0, DATA));
        assert_eq!(guest.read(at::STATUS), csts::READY | csts::FATAL);
        guest.send(0, Command::identify(0, 1, 0, DATA));
        assert_eq!(guest.peek(0), None);
        assert!(guest.bench.messages.is_empty() && !guest.bench.line);
        guest.dword(at::CONFIGURATION, 0);
        assert_eq!(guest.read(at::STATUS), 0);
        guest.enable();
        assert_eq!(guest.status(0, Command::identify(0, 1, 0, DATA)), Status::SUCCESS);
    }
}

#[test]
fn an_io_queue_outside_of_memory_is_fatal_once_it_is_used() {
    let mut guest = Guest::enabled(config());
    let create = Command::create_completion_queue(0, 1, 64, MEMORY as u64, Some(1));
    assert_eq!(guest.status(0, create), Status::SUCCESS);
    let create = Command::create_submission_queue(0, 1, 64, SUBMISSIONS + 0x1000, 1);
    assert_eq!(guest.status(0, create), Status::SUCCESS);
    assert!(!guest.is_fatal());
    guest.send(1, transfer(nvm::READ, 0, 1, [DATA, 0]));
    assert!(guest.is_fatal());
    assert!(!guest.bench.messages.contains(&1));
}

#[test]
fn registers_that_no_controller_can_start_with() {
    for (configuration, attributes) in [
        (cc::ENABLE | 1 << 4, aqa::of(64, 64)),
        (cc::ENABLE | 1 << 7, aqa::of(64, 64)),
        (cc::ENABLE | 1 << 11, aqa::of(64, 64)),
        (cc::ENABLE, aqa::of(64, 1)),
        (cc::ENABLE, aqa::of(1, 64)),
    ] {
        let mut guest = Guest::new(config());
        guest.dword(at::ADMIN_QUEUE_ATTRIBUTES, attributes);
        guest.dword(at::CONFIGURATION, configuration);
        assert_eq!(guest.read(at::STATUS), csts::FATAL);
        guest.send(0, Command::default());
        assert_eq!(guest.peek(0), None);
        guest.dword(at::CONFIGURATION, 0);
        assert_eq!(guest.read(at::STATUS), 0);
    }
}

#[test]
fn doorbells_that_make_no_sense_are_ignored() {
    let mut guest = Guest::enabled(config());
    guest.create(1, 4);
    for _ in 0..3 {
        guest.put(1, transfer(nvm::READ, 0, 1, [DATA, 0]));
    }
    let (submission, completion) = (submission_doorbell(1, 0), completion_doorbell(1, 0));
    // Out of the queue; of queues that are not there, up to the window's end.
    for (doorbell, value) in [(submission, 4), (submission, 0xffff), (completion, 4)]
        .into_iter()
        .chain((submission_doorbell(2, 0)..WINDOW_BYTES).step_by(4).map(|doorbell| (doorbell, 1)))
    {
        guest.dword(doorbell, value);
        assert_eq!(guest.peek(1), None);
        assert_eq!(guest.read(at::STATUS), csts::READY);
    }
    // Answers that are not there.
    guest.dword(completion, 1);
    guest.dword(submission, 2);
    let answers = [guest.take(1), guest.take(1), guest.take(1)];
    assert_eq!(answers.map(|answer| answer.is_some()), [true, true, false]);
    guest.bench.hold = true;
    guest.dword(completion_doorbell(0, 0), 0xffff);
    assert_eq!(guest.status(0, Command::identify(0, 1, 0, DATA)), Status::SUCCESS);
    // Doorbells read as zeros, and are written by 4 bytes alone.
    assert_eq!(guest.bench.read(submission, Width::Dword), 0);
    guest.bench.write(submission, Width::Qword, 3);
    guest.bench.write(submission, Width::Word, 3);
    assert!(guest.bench.waiting.is_empty());
}

#[test]
fn a_tail_that_says_more_commands_than_fit_is_ignored() {
    let mut guest = Guest::enabled(config());
    guest.create(1, 8);
    // Nothing is taken while the completion queue is full.
    for block in 0..7 {
        guest.put(1, transfer(nvm::READ, block, 1, [DATA, 0]));
    }
    guest.ring(1);
    for block in 0..5 {
        guest.put(1, transfer(nvm::READ, block, 1, [DATA, 0]));
    }
    guest.ring(1);
    // 5 wait, from place 7 to place 3: with three more the queue would be more than full.
    guest.dword(submission_doorbell(1, 0), 7);
    assert_eq!(core::iter::from_fn(|| guest.take(1)).count(), 7 + 5);
    assert_eq!(guest.read(at::STATUS), csts::READY);
}

#[test]
fn data_pointers_that_make_no_sense() {
    let mut guest = Guest::with_queues(config());
    let outside = MEMORY as u64;
    guest.write_list(0x3_0000, &[DATA, DATA + 1]);
    guest.write_list(0x3_1ff8, &[0x3_2008]);
    for (blocks, prps, status) in [
        // The first is a multiple of 4, all others are pages; a list is a multiple of 8.
        (1, [DATA + 2, 0], Status::PRP_OFFSET_INVALID),
        (16, [DATA, DATA + 4], Status::PRP_OFFSET_INVALID),
        (24, [DATA, 0x3_0004], Status::PRP_OFFSET_INVALID),
        (24, [DATA, 0x3_0000], Status::PRP_OFFSET_INVALID),
        (24, [DATA, 0x3_1ff8], Status::PRP_OFFSET_INVALID),
        // Nothing is there.
        (1, [outside, 0], Status::DATA_TRANSFER_ERROR),
        (16, [DATA, outside], Status::DATA_TRANSFER_ERROR),
        (16, [DATA, !0xfff], Status::DATA_TRANSFER_ERROR),
        (8, [!0xfff, 0], Status::DATA_TRANSFER_ERROR),
        (8, [!3, 0], Status::DATA_TRANSFER_ERROR),
        (24, [DATA, outside], Status::DATA_TRANSFER_ERROR),
        (24, [DATA, !7], Status::DATA_TRANSFER_ERROR),
    ] {
        for opcode in [nvm::READ, nvm::WRITE] {
            let entry = guest.run(1, transfer(opcode, 0, blocks, prps));
            assert!(entry.status.is(status), "{prps:x?}: {:?}", entry.status);
            assert!(entry.status.do_not_retry());
        }
        let identify = Command { prp1: prps[0], prp2: prps[1], ..Command::identify(0, 1, 0, 0) };
        let answer = guest.status(0, identify);
        assert!(answer == Status::SUCCESS || answer == status || blocks > 16, "{prps:x?}: {answer:?}");
    }
    assert_eq!(guest.status(0, Command::identify(0, 1, 0, outside)), Status::DATA_TRANSFER_ERROR);
}

#[test]
fn ranges_outside_of_the_medium() {
    let mut guest = Guest::with_queues(config());
    for (first, blocks) in [(BLOCKS, 1), (BLOCKS - 1, 2), (u64::MAX, 1), (u64::MAX, 2), (1 << 55, 1)] {
        for opcode in [nvm::READ, nvm::WRITE] {
            let command = transfer(opcode, first, blocks, [DATA, 0]);
            assert_eq!(guest.status(1, command), Status::BLOCK_OUT_OF_RANGE);
        }
    }
    assert_eq!(guest.status(1, transfer(nvm::READ, BLOCKS - 1, 1, [DATA, 0])), Status::SUCCESS);
}

#[test]
fn commands_of_other_namespaces_or_sets() {
    let mut guest = Guest::with_queues(config());
    for namespace in [0, 2, u32::MAX - 1, u32::MAX] {
        let read = Command { namespace, ..transfer(nvm::READ, 0, 1, [DATA, 0]) };
        assert_eq!(guest.status(1, read), Status::INVALID_NAMESPACE);
        let flush = Command { opcode: nvm::FLUSH, namespace, ..Command::default() };
        let expected = if namespace == u32::MAX { Status::SUCCESS } else { Status::INVALID_NAMESPACE };
        assert_eq!(guest.status(1, flush), expected);
    }
    for opcode in (0..=u8::MAX).filter(|opcode| ![nvm::FLUSH, nvm::READ, nvm::WRITE].contains(opcode)) {
        let command = Command { opcode, ..transfer(nvm::READ, 0, 1, [DATA, 0]) };
        assert_eq!(guest.status(1, command), Status::INVALID_OPCODE);
    }
    // Fused commands and SGLs.
    for flags in [1, 2, 0x40, 0x80] {
        let command = Command { flags, ..transfer(nvm::READ, 0, 1, [DATA, 0]) };
        assert_eq!(guest.status(1, command), Status::INVALID_FIELD);
    }
}

#[test]
fn each_fault_of_the_medium_has_its_status() {
    let mut guest = Guest::with_queues(config());
    for (fault, read, write) in [
        (RequestFault::Memory, Status::DATA_TRANSFER_ERROR, Status::DATA_TRANSFER_ERROR),
        (RequestFault::Range, Status::BLOCK_OUT_OF_RANGE, Status::BLOCK_OUT_OF_RANGE),
        (RequestFault::ReadOnly, Status::WRITE_PROTECTED, Status::WRITE_PROTECTED),
        (RequestFault::Medium, Status::READ_ERROR, Status::WRITE_FAULT),
    ] {
        guest.bench.medium.fault = Some(fault);
        assert_eq!(guest.status(1, transfer(nvm::READ, 0, 1, [DATA, 0])), read);
        let mut command = transfer(nvm::WRITE, 0, 1, [DATA, 0]);
        command.dwords[2] |= 1 << 30;
        assert_eq!(guest.status(1, command), write);
    }
    guest.bench.medium.fault = None;
    assert_eq!(guest.bench.medium.flushes, 0, "what failed is not made safe");
}

#[test]
fn a_forced_write_that_fails_is_not_flushed() {
    let mut guest = Guest::with_queues(config());
    let mut command = transfer(nvm::WRITE, 0, 1, [DATA, 0]);
    command.dwords[2] |= 1 << 30;
    guest.bench.hold = true;
    guest.send(1, command);
    guest.bench.medium.fault = Some(RequestFault::Medium);
    assert!(guest.bench.serve());
    guest.bench.medium.fault = None;
    assert!(!guest.bench.serve());
    assert_eq!(guest.take(1).unwrap().status, Status::WRITE_FAULT);
}

#[test]
fn one_fault_of_many_pieces_is_the_status() {
    let mut guest = Guest::with_queues(config());
    guest.write_list(0x3_0000, &[DATA + 0x2000, MEMORY as u64, DATA + 0x4000]);
    assert_eq!(guest.status(1, transfer(nvm::READ, 0, 32, [DATA, 0x3_0000])), Status::DATA_TRANSFER_ERROR);
    assert_eq!(guest.bytes(DATA + 0x4000, 4096), expected(24, 8), "the others are done");
}

#[test]
fn accesses_of_odd_widths_read_ones_and_change_nothing() {
    let mut guest = Guest::enabled(config());
    for (offset, width) in [
        (at::CAPABILITIES, Width::Byte),
        (at::CAPABILITIES + 2, Width::Dword),
        (at::CAPABILITIES + 4, Width::Qword),
        (at::VERSION, Width::Word),
        (at::VERSION, Width::Qword),
        (at::INTERRUPT_MASK_CLEAR, Width::Qword),
        (at::STATUS + 1, Width::Byte),
        (WINDOW_BYTES, Width::Dword),
        (u64::MAX, Width::Byte),
        (u64::MAX - 7, Width::Qword),
    ] {
        assert_eq!(guest.bench.read(offset, width), width.mask(), "{offset:#x} {width:?}");
        guest.bench.write(offset, width, 0);
        guest.bench.write(offset, width, u64::MAX);
    }
    guest.bench.write(at::CONFIGURATION, Width::Word, 0);
    guest.bench.write(at::INTERRUPT_MASK_CLEAR, Width::Qword, 0);
    assert_eq!(guest.read(at::STATUS), csts::READY);
    // Halves of registers of 8 bytes.
    let whole = guest.bench.read(at::CAPABILITIES, Width::Qword);
    assert_eq!(u64::from(guest.read(0)) | u64::from(guest.read(4)) << 32, whole);
    guest.dword(at::ADMIN_SUBMISSION_QUEUE, 0x1234_5fff);
    guest.dword(at::ADMIN_SUBMISSION_QUEUE + 4, 0x9abc);
    assert_eq!(guest.bench.read(at::ADMIN_SUBMISSION_QUEUE, Width::Qword), 0x9abc_1234_5000);
    // Read-only and reserved registers.
    for offset in [at::CAPABILITIES, at::VERSION, at::STATUS, at::SUBSYSTEM_RESET, 0x18, 0x38, 0xffc] {
        let before = guest.read(offset);
        guest.dword(offset, 0x4e56_4d65);
        assert_eq!(guest.read(offset), before);
    }
}
