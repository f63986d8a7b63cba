//! Admin commands.

use super::*;
use spec::nvme::feature;

fn admin_command(opcode: u8, dword10: u32, dword11: u32) -> Command {
    Command { opcode, prp1: DATA, dwords: [dword10, dword11, 0, 0, 0, 0], ..Command::default() }
}

#[test]
fn the_controller_describes_itself() {
    let mut guest = Guest::enabled(config());
    // Across two pages.
    let identify = Command { prp2: DATA + 0x3000, ..Command::identify(0, 1, 0, DATA + 0x800) };
    assert_eq!(guest.status(0, identify), Status::SUCCESS);
    let page = [guest.bytes(DATA + 0x800, 0x800), guest.bytes(DATA + 0x3000, 0x800)].concat();
    assert_eq!(page[..4], [0x36, 0x1b, 0xf4, 0x1a]);
    assert_eq!(&page[4..24], b"B-0001              ");
    assert_eq!(&page[24..64], b"Bulkhead emulated NVMe                  ");
    assert_eq!(&page[64..72], b"1.0     ");
    // MDTS, CNTLID, VER.
    assert_eq!(page[77..84], [5, 0, 0, 0, 4, 1, 0]);
    assert_eq!((page[111], page[259], page[512], page[513]), (1, 3, 0x66, 0x44));
    // NN, ONCS, VWC, SGLS.
    assert_eq!((&page[516..522], page[525], &page[536..540]), (&[1, 0, 0, 0, 0, 0][..], 7, &[0; 4][..]));
    let name = b"nqn.2014-08.org.nvmexpress:uuid:10111213-1415-1617-1819-1a1b1c1d1e1f\0";
    assert_eq!(&page[768..768 + name.len()], name);
}

#[test]
fn a_serial_number_prints() {
    let mut guest = Guest::enabled(Config { serial: *b"A\0\n\x7f\xffZ              ", ..config() });
    assert_eq!(guest.status(0, Command::identify(0, 1, 0, DATA)), Status::SUCCESS);
    assert_eq!(&guest.bytes(DATA, 24)[4..], b"A    Z              ");
}

#[test]
fn namespaces_that_are_not_there() {
    let mut guest = Guest::enabled(config());
    let mut identify = |cns, namespace| {
        guest.bench.memory.write(Gpa(DATA), &[0xaa; 4096]).unwrap();
        let status = guest.status(0, Command::identify(0, cns, namespace, DATA));
        (status, guest.bytes(DATA, 4096))
    };
    for namespace in [0, 2, u32::MAX - 1, u32::MAX] {
        for cns in [0, 3] {
            let (status, page) = identify(cns, namespace);
            assert_eq!(status, Status::INVALID_NAMESPACE);
            assert_eq!(page, [0xaa; 4096]);
        }
    }
    let (status, page) = identify(0, 1);
    assert_eq!(status, Status::SUCCESS);
    assert_eq!(page[..24], [[0, 4, 0, 0, 0, 0, 0, 0]; 3].concat());
    assert_eq!((page[25], page[26], page[27], page[99], &page[128..132]), (0, 0, 0, 0, &[0, 0, 9, 0][..]));
    let (status, page) = identify(3, 1);
    assert_eq!((status, page[..4].to_vec()), (Status::SUCCESS, vec![3, 16, 0, 0]));
    assert_eq!(page[4..20], config().uuid);
    assert!(page[20..].iter().all(|&byte| byte == 0));
    for (above, first) in [(0, 1), (1, 0), (7, 0), (u32::MAX - 2, 0)] {
        let (status, page) = identify(2, above);
        assert_eq!((status, page[0]), (Status::SUCCESS, first));
        assert!(page[1..].iter().all(|&byte| byte == 0));
    }
    assert_eq!(identify(2, u32::MAX - 1).0, Status::INVALID_NAMESPACE);
    for cns in 4..=u8::MAX {
        assert_eq!(identify(cns, 1).0, Status::INVALID_FIELD);
    }
}

#[test]
fn queues_that_cannot_be_created() {
    let mut guest = Guest::enabled(config());
    let completion = |queue, entries, at| Command::create_completion_queue(0, queue, entries, at, Some(1));
    let submission = |queue, entries, at| Command::create_submission_queue(0, queue, entries, at, 1);
    let creates: [&dyn Fn(u16, u32, u64) -> Command; 2] = [&completion, &submission];
    guest.create(1, 64);
    for create in creates {
        for (queue, entries, base, status) in [
            (0, 64, COMPLETIONS, Status::INVALID_QUEUE_IDENTIFIER),
            (1, 64, COMPLETIONS, Status::INVALID_QUEUE_IDENTIFIER),
            (5, 64, COMPLETIONS, Status::INVALID_QUEUE_IDENTIFIER),
            (0xffff, 64, COMPLETIONS, Status::INVALID_QUEUE_IDENTIFIER),
            (2, 1, COMPLETIONS, Status::INVALID_QUEUE_SIZE),
            (2, 65, COMPLETIONS, Status::INVALID_QUEUE_SIZE),
            (2, 65536, COMPLETIONS, Status::INVALID_QUEUE_SIZE),
            (2, 64, COMPLETIONS + 0x10, Status::PRP_OFFSET_INVALID),
        ] {
            assert_eq!(guest.status(0, create(queue, entries, base)), status, "{queue} {entries} {base:#x}");
        }
        let mut scattered = create(2, 64, COMPLETIONS);
        scattered.dwords[1] &= !1;
        assert_eq!(guest.status(0, scattered), Status::INVALID_FIELD);
    }
    let vector = |vector| Command::create_completion_queue(0, 2, 64, COMPLETIONS, Some(vector));
    assert_eq!(guest.status(0, vector(5)), Status::INVALID_INTERRUPT_VECTOR);
    assert_eq!(guest.status(0, vector(0xffff)), Status::INVALID_INTERRUPT_VECTOR);
    let of = |completions| Command::create_submission_queue(0, 2, 64, SUBMISSIONS, completions);
    for (completions, status) in [
        (0, Status::INVALID_QUEUE_IDENTIFIER),
        (5, Status::INVALID_QUEUE_IDENTIFIER),
        (0xffff, Status::INVALID_QUEUE_IDENTIFIER),
        (2, Status::COMPLETION_QUEUE_INVALID),
    ] {
        assert_eq!(guest.status(0, of(completions)), status);
    }
    // The sizes of entries are not those of the NVM command set.
    guest.dword(at::CONFIGURATION, cc::ENABLE);
    for create in creates {
        assert_eq!(guest.status(0, create(2, 64, COMPLETIONS)), Status::INVALID_QUEUE_SIZE);
    }
}

#[test]
fn queues_that_cannot_be_deleted() {
    let mut guest = Guest::with_queues(config());
    let delete = |opcode, queue| admin_command(opcode, queue, 0);
    for opcode in [admin::DELETE_COMPLETION_QUEUE, admin::DELETE_SUBMISSION_QUEUE] {
        for queue in [0, 5, 0xffff] {
            assert_eq!(guest.status(0, delete(opcode, queue)), Status::INVALID_QUEUE_IDENTIFIER);
        }
    }
    let completion = delete(admin::DELETE_COMPLETION_QUEUE, 4);
    assert_eq!(guest.status(0, completion), Status::INVALID_QUEUE_DELETION);
    assert_eq!(guest.status(0, delete(admin::DELETE_SUBMISSION_QUEUE, 4)), Status::SUCCESS);
    assert_eq!(guest.status(0, completion), Status::SUCCESS);
    assert_eq!(guest.status(0, completion), Status::INVALID_QUEUE_IDENTIFIER);
    guest.send(4, transfer(nvm::READ, 0, 1, [DATA, 0]));
    assert_eq!(guest.peek(4), None);
}

#[test]
fn features_are_kept_and_forgotten_with_a_reset() {
    let mut guest = Guest::enabled(config());
    let set = |identifier: u8, value| admin_command(admin::SET_FEATURES, identifier.into(), value);
    let get = |identifier: u8, value| admin_command(admin::GET_FEATURES, identifier.into(), value);
    let queues = guest.run(0, set(feature::NUMBER_OF_QUEUES, 0x001f_001f));
    assert_eq!((queues.status, queues.result), (Status::SUCCESS, 0x0003_0003));
    for (identifier, value, before) in [
        (feature::ARBITRATION, 0x0102_0307, 0),
        (feature::TEMPERATURE_THRESHOLD, 350, 343),
        (feature::ERROR_RECOVERY, 20, 0),
        (feature::VOLATILE_WRITE_CACHE, 0, 1),
        (feature::INTERRUPT_COALESCING, 0x0a05, 0),
        (feature::WRITE_ATOMICITY, 1, 0),
        (feature::ASYNCHRONOUS_EVENTS, 0x11f, 0),
    ] {
        assert_eq!(guest.run(0, get(identifier, 0)).result, before, "{identifier:#x}");
        assert_eq!(guest.status(0, set(identifier, value)), Status::SUCCESS, "{identifier:#x}");
        assert_eq!(guest.run(0, get(identifier, 0)).result, value, "{identifier:#x}");
        guest.dword(at::CONFIGURATION, 0);
        guest.enable();
        assert_eq!(guest.run(0, get(identifier, 0)).result, before, "{identifier:#x}");
    }
    assert_eq!(guest.status(0, set(feature::TEMPERATURE_THRESHOLD, 1 << 20 | 280)), Status::SUCCESS);
    assert_eq!(guest.run(0, get(feature::TEMPERATURE_THRESHOLD, 1 << 20)).result, 280);
    assert_eq!(guest.status(0, set(feature::INTERRUPT_VECTOR, 1 << 16 | 4)), Status::SUCCESS);
    assert_eq!(guest.run(0, get(feature::INTERRUPT_VECTOR, 4)).result, 1 << 16 | 4);
    assert_eq!(guest.run(0, get(feature::INTERRUPT_VECTOR, 3)).result, 3);
    assert_eq!(guest.status(0, set(feature::POWER_MANAGEMENT, 0)), Status::SUCCESS);
}

#[test]
fn features_that_cannot_be_set_or_got() {
    let mut guest = Guest::with_queues(config());
    let set = |identifier: u8, value| admin_command(admin::SET_FEATURES, identifier.into(), value);
    for (identifier, value) in [
        (feature::POWER_MANAGEMENT, 1),
        (feature::TEMPERATURE_THRESHOLD, 1 << 16),
        (feature::TEMPERATURE_THRESHOLD, 2 << 20),
        (feature::ERROR_RECOVERY, 1 << 16),
        (feature::INTERRUPT_VECTOR, 5),
        (feature::INTERRUPT_VECTOR, 0xffff),
        (0x00, 0),
        (0x03, 0),
        (0x0d, 1),
        (0x80, 0),
        (0xff, 0),
    ] {
        assert_eq!(guest.status(0, set(identifier, value)), Status::INVALID_FIELD, "{identifier:#x}");
    }
    assert_eq!(guest.status(0, set(feature::NUMBER_OF_QUEUES, 0)), Status::SEQUENCE_ERROR);
    let saved = admin_command(admin::SET_FEATURES, 1 << 31 | u32::from(feature::ARBITRATION), 0);
    assert_eq!(guest.status(0, saved), Status::FEATURE_NOT_SAVEABLE);
    for dword10 in [0x0d, 0x101, 0x301] {
        assert_eq!(guest.status(0, admin_command(admin::GET_FEATURES, dword10, 0)), Status::INVALID_FIELD);
    }
    let mut guest = Guest::enabled(Config { writable: false, ..config() });
    for value in [0x0000_ffff, 0xffff_0000] {
        assert_eq!(guest.status(0, set(feature::NUMBER_OF_QUEUES, value)), Status::INVALID_FIELD);
    }
    assert_eq!(guest.status(0, set(feature::VOLATILE_WRITE_CACHE, 1)), Status::INVALID_FIELD);
    let get = admin_command(admin::GET_FEATURES, feature::VOLATILE_WRITE_CACHE.into(), 0);
    assert_eq!(guest.status(0, get), Status::INVALID_FIELD);
}

#[test]
fn log_pages() {
    let mut guest = Guest::enabled(config());
    let log = |page: u32, bytes: u32| {
        let dwords = bytes / 4 - 1;
        admin_command(admin::GET_LOG_PAGE, page | dwords << 16, dwords >> 16)
    };
    let mut get = |command| {
        guest.bench.memory.write(Gpa(DATA), &[0xaa; 1024]).unwrap();
        (guest.status(0, command), guest.bytes(DATA, 1024))
    };
    let (status, page) = get(log(1, 64));
    assert_eq!((status, &page[..64], page[64]), (Status::SUCCESS, &[0; 64][..], 0xaa));
    let (status, page) = get(log(2, 512));
    assert_eq!((status, &page[..5], page[512]), (Status::SUCCESS, &[0, 0x2c, 1, 100, 0][..], 0xaa));
    let (status, page) = get(log(3, 512));
    assert_eq!((status, page[0], &page[8..16]), (Status::SUCCESS, 1, &b"1.0     "[..]));
    let (status, page) = get(log(2, 4));
    assert_eq!((status, page[..5].to_vec()), (Status::SUCCESS, vec![0, 0x2c, 1, 100, 0xaa]));
    // More than there is, up to what MDTS allows.
    let two_pages = Command { prp2: DATA + 0x1000, ..log(2, 8192) };
    assert_eq!(get(two_pages).0, Status::SUCCESS);
    assert_eq!(get(log(2, (128 << 10) + 4)).0, Status::INVALID_FIELD);
    assert_eq!(get(log(4, 512)).0, Status::INVALID_LOG_PAGE);
    assert_eq!(get(Command { namespace: 2, ..log(2, 512) }).0, Status::INVALID_NAMESPACE);
    let mut further = log(2, 512);
    further.dwords[2] = 4;
    assert_eq!(get(further).0, Status::INVALID_FIELD);
}

#[test]
fn event_requests_wait_and_the_fifth_does_not() {
    let mut guest = Guest::new(config());
    guest.sizes[0] = 2;
    guest.enable();
    let event = admin_command(admin::ASYNCHRONOUS_EVENT_REQUEST, 0, 0);
    for _ in 0..EVENT_REQUESTS {
        guest.send(0, event);
        assert_eq!(guest.peek(0), None);
    }
    // They take no room in a completion queue of two entries.
    assert_eq!(guest.status(0, event), Status::EVENT_REQUEST_LIMIT);
    let abort = guest.run(0, admin_command(admin::ABORT, 0x0001_0000, 0));
    assert_eq!((abort.status, abort.result), (Status::SUCCESS, 1));
    guest.dword(at::CONFIGURATION, 0);
    guest.enable();
    guest.send(0, event);
    assert_eq!(guest.peek(0), None, "a reset has forgotten the others");
}

#[test]
fn every_other_admin_command_is_refused() {
    let known = [0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0a, 0x0c];
    let mut guest = Guest::enabled(config());
    for opcode in (0..=u8::MAX).filter(|opcode| !known.contains(opcode)) {
        let entry = guest.run(0, admin_command(opcode, 0, 0));
        assert!(entry.status.is(Status::INVALID_OPCODE) && entry.status.do_not_retry(), "{opcode:#x}");
    }
    for flags in [1, 0x40] {
        let identify = Command { flags, ..Command::identify(0, 1, 0, DATA) };
        assert_eq!(guest.status(0, identify), Status::INVALID_FIELD);
    }
}
