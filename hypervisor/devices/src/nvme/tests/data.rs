//! Data pointers, the medium, interrupts, and how many commands are taken.

use super::*;

#[test]
fn a_list_goes_on_in_the_page_that_its_last_entry_names() {
    let mut guest = Guest::with_queues(config());
    // Two pages in the first page's last entries but one, then two in the next page.
    guest.write_list(0x3_0fe8, &[DATA + 0x8000, DATA + 0x4000, 0x3_2000]);
    guest.write_list(0x3_2000, &[DATA + 0x6000, DATA + 0x2000]);
    let read = transfer(nvm::READ, 0, 40, [DATA, 0x3_0fe8]);
    assert_eq!(guest.status(1, read), Status::SUCCESS);
    let blocks = expected(0, 40);
    for (page, data) in [DATA, DATA + 0x8000, DATA + 0x4000, DATA + 0x6000, DATA + 0x2000]
        .into_iter()
        .zip(blocks.chunks(4096))
    {
        assert_eq!(guest.bytes(page, 4096), data);
    }
}

#[test]
fn a_list_that_ends_with_its_page_goes_on_nowhere() {
    let mut guest = Guest::with_queues(config());
    guest.write_list(0x3_0ff0, &[DATA + 0x8000, DATA + 0x4000]);
    assert_eq!(guest.status(1, transfer(nvm::READ, 0, 24, [DATA, 0x3_0ff0])), Status::SUCCESS);
    assert_eq!(guest.bytes(DATA + 0x4000, 4096), expected(16, 8));
}

#[test]
fn a_list_that_loops_is_as_long_as_its_command() {
    let mut guest = Guest::with_queues(config());
    // Each entry of this page names the page itself: as data and as the list's next page.
    let list = DATA + 0x1_0000;
    guest.write_list(list, &[list; 512]);
    let read = transfer(nvm::READ, 0, 256, [DATA, list + 0xff8]);
    assert_eq!(guest.status(1, read), Status::SUCCESS);
    assert_eq!(guest.bytes(list, 4096), expected(248, 8));
    guest.bench.hold = true;
    guest.write_list(list, &[list; 512]);
    guest.send(1, read);
    assert_eq!(guest.bench.waiting.iter().map(|request| request.bytes).sum::<u32>(), 256 * 512);
}

#[test]
fn the_most_pieces_are_33() {
    let mut guest = Guest::with_queues(config());
    let pages: Vec<u64> = (0..32).map(|page| DATA + 0x3_0000 - page * 0x1000).collect();
    guest.write_list(0x3_0000, &pages);
    guest.bench.hold = true;
    guest.send(1, transfer(nvm::READ, 0, 256, [DATA + 0xffc, 0x3_0000]));
    assert_eq!(guest.bench.waiting.len(), MOST_PIECES);
    for done in 0..MOST_PIECES {
        assert_eq!(guest.peek(1), None, "after {done} pieces");
        assert!(guest.bench.serve());
    }
    assert_eq!(guest.take(1).unwrap().status, Status::SUCCESS);
    let first: Vec<u8> = guest.bytes(DATA + 0xffc, 4);
    assert_eq!(first, expected(0, 1)[..4]);
    // One block more is more than MDTS allows.
    guest.bench.hold = false;
    assert_eq!(guest.status(1, transfer(nvm::READ, 0, 257, [DATA, 0x3_0000])), Status::INVALID_FIELD);
}

#[test]
fn pages_that_follow_each_other_are_one_piece() {
    let mut guest = Guest::with_queues(config());
    let pages: Vec<u64> = (1..32).map(|page| DATA + page * 0x1000).collect();
    guest.write_list(0x3_0000, &pages);
    guest.bench.hold = true;
    guest.send(1, transfer(nvm::WRITE, 256, 256, [DATA, 0x3_0000]));
    let request = guest.bench.waiting[0];
    assert_eq!((guest.bench.waiting.len(), request.at, request.gpa), (1, 256 * 512, Gpa(DATA)));
    assert_eq!(request.bytes, 256 * 512);
}

#[test]
fn a_flush_and_a_forced_write_reach_the_medium() {
    let mut guest = Guest::with_queues(config());
    for (namespace, flushes) in [(1, 1), (u32::MAX, 2)] {
        let flush = Command { opcode: nvm::FLUSH, namespace, ..Command::default() };
        assert_eq!(guest.status(1, flush), Status::SUCCESS);
        assert_eq!(guest.bench.medium.flushes, flushes);
    }
    let mut write = transfer(nvm::WRITE, 0, 1, [DATA, 0]);
    assert_eq!(guest.status(1, write), Status::SUCCESS);
    assert_eq!(guest.bench.medium.flushes, 2);
    write.dwords[2] |= 1 << 30;
    guest.bench.hold = true;
    guest.send(1, write);
    assert!(guest.bench.serve());
    assert_eq!(guest.peek(1), None, "it is written, but not safe");
    assert!(guest.bench.serve());
    assert_eq!((guest.take(1).unwrap().status, guest.bench.medium.flushes), (Status::SUCCESS, 3));
    // Without the cache every write is forced.
    guest.bench.hold = false;
    let off = Command { opcode: admin::SET_FEATURES, dwords: [6, 0, 0, 0, 0, 0], ..Command::default() };
    assert_eq!(guest.status(0, off), Status::SUCCESS);
    assert_eq!(guest.status(1, transfer(nvm::WRITE, 0, 1, [DATA, 0])), Status::SUCCESS);
    assert_eq!(guest.bench.medium.flushes, 4);
}

#[test]
fn a_read_only_namespace() {
    let mut guest = Guest::with_queues(Config { writable: false, ..config() });
    let before = guest.bench.medium.clone();
    assert_eq!(guest.status(1, transfer(nvm::WRITE, 0, 1, [DATA, 0])), Status::WRITE_PROTECTED);
    let flush = Command { opcode: nvm::FLUSH, namespace: 1, ..Command::default() };
    assert_eq!(guest.status(1, flush), Status::SUCCESS, "there is nothing to flush");
    assert!(guest.bench.medium == before);
    assert_eq!(guest.status(1, transfer(nvm::READ, 7, 1, [DATA, 0])), Status::SUCCESS);
    assert_eq!(guest.status(0, Command::identify(0, 0, 1, DATA)), Status::SUCCESS);
    assert_eq!(guest.bytes(DATA + 99, 1), [1]);
    assert_eq!(guest.status(0, Command::identify(0, 1, 0, DATA)), Status::SUCCESS);
    assert_eq!(guest.bytes(DATA + 525, 1), [0]);
}

#[test]
fn more_commands_than_there_are_slots_go_on_as_those_complete() {
    let mut guest = Guest::with_queues(config());
    guest.bench.hold = true;
    for queue in [1, 2] {
        for block in 0..63 {
            guest.put(queue, transfer(nvm::READ, block, 1, [DATA, 0]));
        }
        guest.ring(queue);
    }
    assert_eq!(guest.bench.waiting.len(), SLOTS);
    while guest.bench.serve() {
        assert!(guest.bench.waiting.len() <= SLOTS);
    }
    for queue in [1, 2] {
        let answers = core::iter::from_fn(|| guest.take(queue));
        assert_eq!(answers.filter(|entry| entry.status == Status::SUCCESS).count(), 63);
    }
}

#[test]
fn more_requests_than_effects_have_room_for_go_on_as_those_complete() {
    let mut guest = Guest::with_queues(config());
    let pages: Vec<u64> = (0..31).map(|page| DATA + 0x3_0000 - page * 0x1000).collect();
    guest.write_list(0x3_0000, &pages);
    for hold in [true, false] {
        guest.bench.hold = hold;
        for first in 0..8 {
            guest.put(1, transfer(nvm::READ, first * 8, 256, [DATA, 0x3_0000]));
        }
        guest.ring(1);
        assert_eq!(guest.bench.waiting.len(), if hold { 3 * 32 } else { 0 });
        while guest.bench.serve() {}
        for _ in 0..8 {
            assert_eq!(guest.take(1).unwrap().status, Status::SUCCESS);
        }
    }
}

#[test]
fn a_full_completion_queue_holds_commands_back() {
    let mut guest = Guest::enabled(config());
    guest.create(1, 4);
    // One more submission queue into the same completion queue.
    let second = Command::create_submission_queue(0, 2, 64, SUBMISSIONS + 0x2000, 1);
    assert_eq!(guest.status(0, second), Status::SUCCESS);
    guest.bench.hold = true;
    for block in 0..10 {
        guest.put(2, transfer(nvm::READ, block, 1, [DATA, 0]));
    }
    guest.ring(2);
    assert_eq!(guest.bench.waiting.len(), 3, "an answer has its place before its command is taken");
    while guest.bench.serve() {}
    let mut answers = 0;
    while let Some(entry) = guest.take(1) {
        assert_eq!((entry.status, entry.submission_queue), (Status::SUCCESS, 2));
        answers += 1;
        while guest.bench.serve() {}
    }
    assert_eq!(answers, 10);
}

#[test]
fn queues_take_turns() {
    let mut guest = Guest::with_queues(config());
    guest.bench.hold = true;
    // All slots are taken, and two queues wait for them.
    for (queue, commands, first) in [(3, 63, 0), (4, 1, 0), (1, 20, 100), (2, 20, 200)] {
        for block in first..first + commands {
            guest.put(queue, transfer(nvm::READ, block, 1, [DATA, 0]));
        }
        guest.ring(queue);
    }
    let taken: Vec<u64> = (0..8)
        .map(|_| {
            assert!(guest.bench.serve());
            guest.bench.waiting.back().unwrap().at / 512
        })
        .collect();
    assert_eq!(taken, [100, 200, 101, 201, 102, 202, 103, 203]);
}

#[test]
fn the_line_is_high_while_there_are_answers() {
    let mut guest = Guest::enabled(Config { messages: 1, ..config() });
    assert!(!guest.bench.line);
    guest.send(0, Command::identify(0, 1, 0, DATA));
    assert!(guest.bench.line);
    guest.dword(at::INTERRUPT_MASK_SET, 1);
    assert!(!guest.bench.line);
    assert_eq!((guest.read(at::INTERRUPT_MASK_SET), guest.read(at::INTERRUPT_MASK_CLEAR)), (1, 1));
    guest.dword(at::INTERRUPT_MASK_CLEAR, 1);
    assert!(guest.bench.line);
    guest.send(0, Command::identify(0, 1, 0, DATA));
    assert!(guest.take(0).is_some());
    assert!(guest.bench.line, "one of two is left");
    assert!(guest.take(0).is_some());
    assert!(!guest.bench.line);
}

#[test]
fn a_queue_without_interrupts_sends_nothing() {
    let mut guest = Guest::enabled(config());
    let create = Command::create_completion_queue(0, 1, 64, COMPLETIONS + 0x1000, None);
    assert_eq!(guest.status(0, create), Status::SUCCESS);
    let create = Command::create_submission_queue(0, 1, 64, SUBMISSIONS + 0x1000, 1);
    assert_eq!(guest.status(0, create), Status::SUCCESS);
    guest.bench.messages.clear();
    guest.send(1, transfer(nvm::READ, 0, 1, [DATA, 0]));
    assert!(guest.peek(1).is_some());
    assert_eq!((guest.bench.messages.len(), guest.bench.line), (0, false));
}

#[test]
fn answers_to_commands_rung_together_are_one_message() {
    let mut guest = Guest::enabled(config());
    for _ in 0..5 {
        guest.put(0, Command::identify(0, 1, 0, DATA));
    }
    guest.ring(0);
    assert_eq!(guest.bench.messages, [0]);
    assert_eq!(core::iter::from_fn(|| guest.take(0)).count(), 5);
}

#[test]
fn an_admin_queue_longer_than_one_call_takes_goes_on_when_answers_are_taken() {
    let mut guest = Guest::new(config());
    guest.sizes[0] = 200;
    guest.enable();
    // Its entries reach into where the next queue would be.
    for _ in 0..150 {
        guest.put(0, Command::default());
    }
    guest.ring(0);
    assert!(guest.bench.device.has_work(0).unwrap());
    assert_eq!(core::iter::from_fn(|| guest.take(0)).count(), 150);
}
