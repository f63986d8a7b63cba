use super::command::{admin, create, nvm};
use super::register::{aqa, cap, completion_doorbell, submission_doorbell};
use super::*;

#[test]
fn an_entry_is_what_its_bytes_say() {
    let command = Command::transfer(nvm::READ, 0x1234, 1, 0x1_2345_6789, 0x100, [0x1000, 0x2000]);
    let bytes = command.encode();
    assert_eq!(bytes[..8], [2, 0, 0x34, 0x12, 1, 0, 0, 0]);
    assert_eq!(bytes[24..40], [0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[40..52], [0x89, 0x67, 0x45, 0x23, 1, 0, 0, 0, 0xff, 0, 0, 0]);
    assert_eq!(Command::decode(&bytes), command);
    assert_eq!((command.first_block(), command.blocks()), (0x1_2345_6789, 0x100));

    let every = core::array::from_fn(|place| place as u8);
    let mut reserved = every;
    reserved[8..16].fill(0);
    assert_eq!(Command::decode(&every).encode(), reserved);
}

#[test]
fn queues_are_created_with_their_sizes_one_less() {
    let command = Command::create_completion_queue(7, 3, 64, 0x5000, Some(2));
    assert_eq!((command.opcode, command.dwords[..2].as_ref()), (5, [0x3f_0003, 0x2_0003].as_ref()));
    assert_eq!((command.queue(), command.queue_entries()), (3, 64));
    assert_eq!(create::upper(command.dword11()), 2);
    let command = Command::create_submission_queue(7, 3, 65536, 0x5000, 1);
    assert_eq!((command.opcode, command.dwords[..2].as_ref()), (1, [0xffff_0003, 0x1_0001].as_ref()));
    assert_eq!(command.queue_entries(), 65536);
}

#[test]
fn a_completion_is_what_its_bytes_say() {
    let completion = Completion {
        result: 0x0403_0201,
        submission_head: 0x0605,
        submission_queue: 0x0807,
        identifier: 0x0a09,
        phase: true,
        status: Status::INVALID_QUEUE_SIZE.final_answer(),
    };
    let bytes = completion.encode();
    // DNR is bit 31 of the last dword, the type is in bits 25 to 27, the code in 17 to 24.
    assert_eq!(bytes, [1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8, 9, 10, 0x05, 0x82]);
    assert_eq!(Completion::decode(&bytes), completion);
    assert!(completion.status.do_not_retry() && completion.status.is(Status::INVALID_QUEUE_SIZE));
    assert_eq!((completion.status.kind(), completion.status.code()), (1, 2));
}

#[test]
fn log_pages_are_counted_in_dwords() {
    let command =
        Command { opcode: admin::GET_LOG_PAGE, dwords: [0x7f_0002, 0, 8, 1, 0, 0], ..Command::default() };
    assert_eq!((command.log_page(), command.log_bytes(), command.log_offset()), (2, 512, 0x1_0000_0008));
    let most = Command { dwords: [u32::MAX; 6], ..Command::default() };
    assert_eq!(most.log_bytes(), 1 << 34);
}

#[test]
fn doorbells_lie_in_pairs() {
    assert_eq!((submission_doorbell(0, 0), completion_doorbell(0, 0)), (0x1000, 0x1004));
    assert_eq!((submission_doorbell(4, 0), completion_doorbell(4, 0)), (0x1020, 0x1024));
    assert_eq!((submission_doorbell(1, 2), completion_doorbell(1, 2)), (0x1020, 0x1030));
}

#[test]
fn register_fields() {
    // Queues of 16384, pages of 4 KiB to 64 KiB, ready within 30 s.
    let value = 0x0000_0030_3c03_3fff | 4 << 52;
    assert_eq!(cap::queue_entries(value), 0x4000);
    assert_eq!(cap::timeout_half_seconds(value), 0x3c);
    assert_eq!((cap::page_shift_minimum(value), cap::page_shift_maximum(value)), (0, 4));
    assert_eq!(cap::doorbell_stride(value), 0);
    assert!(value & cap::CONTIGUOUS_QUEUES != 0 && value & cap::NVM_COMMANDS != 0);
    assert_eq!(cap::of(64, 2), 0x20_0201_003f);
    assert_eq!(aqa::of(32, 16), 0x000f_001f);
    assert_eq!(aqa::submission_entries(0x000f_001f), 32);
    assert_eq!(aqa::completion_entries(0x000f_001f), 16);
}

#[test]
fn an_entry_past_the_address_space_is_nowhere() {
    use crate::Gpa;
    assert_eq!(command::entry_at(Gpa(0x1000), 2, 64), Some(Gpa(0x1080)));
    assert_eq!(command::entry_at(Gpa(u64::MAX - 64), 2, 64), None);
}
