//! Resets, shutdowns, and requests from before.

use super::*;

fn read(block: u64) -> Command {
    transfer(nvm::READ, block, 1, [DATA, 0])
}

#[test]
fn a_reset_waits_for_the_medium() {
    let mut guest = Guest::with_queues(config());
    guest.bench.hold = true;
    guest.send(1, read(5));
    let mut forced = transfer(nvm::WRITE, 6, 1, [DATA, 0]);
    forced.dwords[2] |= 1 << 30;
    guest.send(2, forced);
    guest.dword(at::CONFIGURATION, cc::NVM_ENTRIES);
    assert_eq!(guest.read(at::STATUS), csts::READY, "memory may still be written");
    assert!(guest.bench.serve());
    assert_eq!(guest.read(at::STATUS), csts::READY);
    guest.bench.messages.clear();
    assert!(guest.bench.serve());
    assert_eq!(guest.read(at::STATUS), 0, "nobody waits for what was written to be safe");
    assert_eq!((guest.peek(1), guest.peek(2)), (None, None));
    assert!(guest.bench.messages.is_empty() && !guest.bench.line);
    // What a reset keeps, and what not.
    assert_eq!(guest.read(at::ADMIN_QUEUE_ATTRIBUTES), aqa::of(64, 64));
    assert_eq!(guest.bench.read(at::ADMIN_COMPLETION_QUEUE, Width::Qword), COMPLETIONS);
    guest.enable();
    guest.ring(1);
    assert_eq!(guest.status(0, delete(admin::DELETE_SUBMISSION_QUEUE, 1)), Status::INVALID_QUEUE_IDENTIFIER);
}

#[test]
fn enabled_too_early_it_starts_once_the_medium_is_done() {
    let mut guest = Guest::with_queues(config());
    guest.bench.hold = true;
    guest.send(1, read(5));
    guest.dword(at::CONFIGURATION, cc::NVM_ENTRIES);
    guest.dword(at::CONFIGURATION, cc::NVM_ENTRIES | cc::ENABLE);
    guest.forget();
    guest.send(0, Command::identify(0, 1, 0, DATA));
    assert_eq!(guest.peek(0), None);
    assert!(guest.bench.serve());
    assert_eq!(guest.read(at::STATUS), csts::READY);
    guest.forget();
    assert_eq!(guest.status(0, Command::identify(0, 1, 0, DATA)), Status::SUCCESS);
}

#[test]
fn a_request_from_before_a_reset_answers_nothing() {
    let mut guest = Guest::with_queues(config());
    guest.bench.hold = true;
    guest.send(1, read(5));
    let old = guest.bench.waiting.pop_front().unwrap();
    guest.bench.reset();
    assert_eq!((guest.read(at::STATUS), guest.read(at::CONFIGURATION)), (0, 0));
    assert_eq!(guest.read(at::ADMIN_QUEUE_ATTRIBUTES), 0);
    guest.enable();
    guest.create(1, 64);
    guest.send(1, read(6));
    let new = guest.bench.waiting[0];
    for tag in [old.tag, old.tag ^ 1, new.tag ^ 2, u32::MAX] {
        guest.bench.complete(Completion { tag, outcome: Ok(()) });
        assert_eq!(guest.peek(1), None);
    }
    assert!(guest.bench.serve());
    assert!(guest.take(1).is_some());
    guest.bench.complete(Completion { tag: new.tag, outcome: Ok(()) });
    assert_eq!(guest.peek(1), None, "it was done before");
}

#[test]
fn a_shutdown_flushes_the_medium() {
    for (writable, shutdown) in
        [(true, cc::SHUTDOWN_NORMAL), (true, cc::SHUTDOWN_ABRUPT), (false, cc::SHUTDOWN_NORMAL)]
    {
        let mut guest = Guest::with_queues(Config { writable, ..config() });
        guest.bench.hold = true;
        guest.send(1, read(5));
        guest.dword(at::CONFIGURATION, cc::ENABLE | cc::NVM_ENTRIES | shutdown);
        assert_eq!(guest.read(at::STATUS), csts::READY | csts::SHUTDOWN_BUSY);
        guest.send(1, read(5));
        assert_eq!(guest.bench.waiting.len(), 1, "no command is taken any more");
        assert!(guest.bench.serve());
        assert_eq!(guest.bench.serve(), writable);
        assert_eq!(guest.bench.medium.flushes, usize::from(writable));
        assert_eq!(guest.read(at::STATUS), csts::READY | csts::SHUTDOWN_DONE);
        assert!(guest.take(1).is_some());
        // Taking the announcement back is not enough.
        guest.dword(at::CONFIGURATION, cc::ENABLE | cc::NVM_ENTRIES);
        guest.send(1, read(5));
        assert_eq!(guest.peek(1), None);
        assert_eq!(guest.read(at::STATUS), csts::READY | csts::SHUTDOWN_DONE);
        // As Linux starts it again.
        guest.dword(at::CONFIGURATION, cc::NVM_ENTRIES);
        assert_eq!(guest.read(at::STATUS), 0);
        guest.enable();
        assert_eq!(guest.status(0, Command::identify(0, 1, 0, DATA)), Status::SUCCESS);
    }
}

#[test]
fn a_shutdown_of_a_controller_that_is_not_enabled() {
    let mut guest = Guest::new(config());
    guest.dword(at::CONFIGURATION, cc::SHUTDOWN_NORMAL);
    assert_eq!(guest.read(at::STATUS), csts::SHUTDOWN_DONE);
    guest.dword(at::CONFIGURATION, 0);
    assert_eq!(guest.read(at::STATUS), 0);
    guest.enable();
    assert_eq!(guest.status(0, Command::identify(0, 1, 0, DATA)), Status::SUCCESS);
}

#[test]
fn a_reset_during_a_shutdown() {
    let mut guest = Guest::with_queues(config());
    guest.bench.hold = true;
    guest.dword(at::CONFIGURATION, cc::ENABLE | cc::NVM_ENTRIES | cc::SHUTDOWN_NORMAL);
    assert_eq!(guest.bench.waiting.len(), 1);
    guest.dword(at::CONFIGURATION, 0);
    assert_eq!(guest.read(at::STATUS), csts::READY);
    assert!(guest.bench.serve());
    assert_eq!(guest.read(at::STATUS), 0);
    assert!(!guest.bench.serve());
}

fn delete(opcode: u8, queue: u32) -> Command {
    Command { opcode, dwords: [queue, 0, 0, 0, 0, 0], ..Command::default() }
}

#[test]
fn a_deletion_waits_for_the_commands_of_its_queue() {
    let mut guest = Guest::with_queues(config());
    guest.bench.hold = true;
    guest.send(1, read(5));
    guest.send(1, read(6));
    let deletion = guest.send(0, delete(admin::DELETE_SUBMISSION_QUEUE, 1));
    guest.send(1, read(7));
    assert_eq!((guest.bench.waiting.len(), guest.peek(0)), (2, None));
    // It is still there, and its completion queue is in use.
    assert_eq!(guest.status(0, delete(admin::DELETE_SUBMISSION_QUEUE, 1)), Status::INVALID_QUEUE_IDENTIFIER);
    assert_eq!(guest.status(0, delete(admin::DELETE_COMPLETION_QUEUE, 1)), Status::INVALID_QUEUE_DELETION);
    let again = Command::create_submission_queue(0, 1, 64, SUBMISSIONS + 0x1000, 1);
    assert_eq!(guest.status(0, again), Status::INVALID_QUEUE_IDENTIFIER);
    assert!(guest.bench.serve());
    assert_eq!(guest.peek(0), None);
    guest.bench.messages.clear();
    assert!(guest.bench.serve());
    assert_eq!(guest.bench.messages, [0, 1]);
    let entry = guest.take(0).unwrap();
    assert_eq!((entry.identifier, entry.status), (deletion, Status::SUCCESS));
    assert_eq!((guest.take(1).is_some(), guest.take(1).is_some()), (true, true));
    guest.bench.hold = false;
    assert_eq!(guest.status(0, delete(admin::DELETE_COMPLETION_QUEUE, 1)), Status::SUCCESS);
    guest.tails[1] = 0;
    guest.bench.memory.write(Gpa(COMPLETIONS + 0x1000), &[0; 0x1000]).unwrap();
    (guest.heads[1], guest.phases[1]) = (0, true);
    guest.create(1, 64);
    assert_eq!(guest.status(1, read(8)), Status::SUCCESS);
}
