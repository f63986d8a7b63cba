//! States that are saved, taken over and forged.

use super::arbitrary::{Step, step};
use super::state::{STATE_BYTES, State};
use super::*;
use crate::snapshot::{self, RestoreFault, SaveFault};
use proptest::prelude::*;
use std::string::ToString;

fn save(device: &Nvme) -> Vec<u8> {
    let mut bytes = [0; STATE_BYTES];
    let length = device.save(&mut bytes).unwrap();
    bytes[..length].to_vec()
}

/// A controller with commands behind it and answers before it.
fn in_mid_run(config: Config) -> Guest {
    let mut guest = Guest::with_queues(config);
    for block in 0..70 {
        assert_eq!(guest.status(1, transfer(nvm::READ, block, 1, [DATA, 0])), Status::SUCCESS);
    }
    guest.send(0, Command { opcode: admin::ASYNCHRONOUS_EVENT_REQUEST, ..Command::default() });
    for block in 0..3 {
        guest.send(2, transfer(nvm::READ, block, 1, [DATA, 0]));
    }
    guest
}

#[test]
fn what_is_restored_goes_on() {
    let mut guest = in_mid_run(config());
    let bytes = save(&guest.bench.device);
    let mut other = Nvme::new(config());
    other.restore(&bytes).unwrap();
    assert!(other.line());
    assert_eq!(save(&other), bytes);
    guest.bench.device = other;
    assert_eq!(core::iter::from_fn(|| guest.take(2)).count(), 3);
    assert!(!guest.bench.line);
    assert_eq!(guest.status(1, transfer(nvm::READ, 7, 1, [DATA, 0])), Status::SUCCESS);
    assert_eq!(guest.bytes(DATA, 512), expected(7, 1));
}

#[test]
fn there_is_no_state_while_requests_are_at_the_medium() {
    let mut guest = Guest::with_queues(config());
    guest.bench.hold = true;
    guest.send(1, transfer(nvm::READ, 7, 1, [DATA, 0]));
    let mut bytes = [0; STATE_BYTES];
    assert_eq!(guest.bench.device.save(&mut bytes), Err(SaveFault::Busy));
    assert!(guest.bench.serve());
    assert!(guest.bench.device.save(&mut bytes).is_ok());
    assert_eq!(guest.bench.device.save(&mut bytes[..100]), Err(SaveFault::TooLong));
}

#[test]
fn a_restored_controller_forgets_its_own_requests() {
    let bytes = save(&in_mid_run(config()).bench.device);
    let mut guest = Guest::with_queues(config());
    guest.bench.hold = true;
    guest.send(1, transfer(nvm::READ, 7, 1, [DATA, 0]));
    guest.bench.device.restore(&bytes).unwrap();
    guest.bench.line = guest.bench.device.line();
    assert!(guest.bench.serve());
    assert_eq!(save(&guest.bench.device), bytes);
}

#[test]
fn states_that_are_cut_off_or_of_something_else() {
    let source = in_mid_run(config());
    let bytes = save(&source.bench.device);
    let mut device = Nvme::new(config());
    let before = save(&device);
    for length in 0..bytes.len() {
        assert_eq!(device.restore(&bytes[..length]), Err(RestoreFault::Malformed), "{length}");
    }
    assert_eq!(device.restore(&[&bytes[..], &[0]].concat()), Err(RestoreFault::Malformed));
    let version = [&[7][..], &bytes[1..]].concat();
    assert_eq!(device.restore(&version), Err(RestoreFault::Version(7)));
    assert_eq!(save(&device), before);
    for other in [
        Config { blocks: BLOCKS - 1, ..config() },
        Config { block: BlockSize::Bytes4096, ..config() },
        Config { writable: false, ..config() },
        Config { messages: 4, ..config() },
        Config { serial: [b'x'; 20], ..config() },
        Config { uuid: [1; 16], ..config() },
    ] {
        assert_eq!(Nvme::new(other).restore(&bytes), Err(RestoreFault::Configuration));
    }
    assert_eq!(RestoreFault::Version(7).to_string(), "the state is of version 7, which is not known here");
}

/// One forgery: what is changed, and what is said of it.
type Forgery = (fn(&mut State), &'static str);

#[test]
fn states_that_no_controller_has() {
    let source = in_mid_run(config());
    let good = source.bench.device.state();
    let ring = |base, entries| Some(SubmissionQueue::new(Gpa(base), entries, 1));
    let answers = |entries, vector| Some(CompletionQueue::new(Gpa(0x1000), entries, vector));
    let forgeries: [Forgery; 16] = [
        (|state| state.configuration |= 1 << 31, "a reserved bit of CC"),
        (|state| state.admin_attributes |= 1 << 15, "a reserved bit of AQA"),
        (|state| state.admin_submission |= 1, "ASQ"),
        (|state| state.admin_completion |= 1, "ACQ"),
        (|state| state.status |= 1 << 5, "a reserved bit of CSTS"),
        (|state| state.status = 0, "CC.EN"),
        (|state| state.configuration &= !1, "CC.EN"),
        (|state| state.shutdown = Shutdown::Flushing, "a shutdown"),
        (|state| state.event_requests = 5, "requests for events"),
        (|state| state.turn = 6, "the turn"),
        (|state| state.unsent = 1 << 5, "a message"),
        (|state| state.submission[0] = None, "CSTS.RDY"),
        (|state| state.status = csts::FATAL, "CSTS.RDY"),
        (|state| state.completion[0] = None, "a submission queue"),
        (|state| state.completion[2] = None, "a submission queue"),
        (|state| state.submission[1] = state.submission[0], "a submission queue"),
    ];
    let mut forged: Vec<(State, &str)> = Vec::new();
    for (forge, said) in forgeries {
        forged.push((good, said));
        forged.last_mut().map(|(state, _)| forge(state)).unwrap();
    }
    for queue in [
        ring(0x1000, 1),
        ring(0x1000, 65),
        ring(0x1000, u32::MAX),
        ring(0x1010, 64),
        Some(SubmissionQueue::new(Gpa(0), 64, 5)),
        Some(SubmissionQueue::new(Gpa(0), 64, u16::MAX)),
    ] {
        let mut state = good;
        state.submission[2] = queue;
        forged.push((state, "a submission queue"));
    }
    for queue in [answers(1, None), answers(65, None), answers(64, Some(5)), answers(64, Some(u16::MAX))] {
        let mut state = good;
        state.completion[3] = queue;
        forged.push((state, "a completion queue"));
    }
    let mut guest = in_mid_run(config());
    let before = save(&guest.bench.device);
    for (state, said) in forged {
        let mut bytes = [0; STATE_BYTES];
        let length = snapshot::encode(state::VERSION, &state, &mut bytes).unwrap();
        let fault = guest.bench.device.restore(&bytes[..length]).expect_err(said);
        assert!(
            matches!(fault, RestoreFault::Impossible(_)) && fault.to_string().contains(said),
            "{fault}: {said}"
        );
        assert_eq!(save(&guest.bench.device), before);
    }
    assert_eq!(guest.status(1, transfer(nvm::READ, 7, 1, [DATA, 0])), Status::SUCCESS);
}

#[test]
fn the_longest_state_fits() {
    let config =
        Config { blocks: u64::MAX, messages: 32, vendor: 0xffff, subsystem_vendor: 0xffff, ..config() };
    let mut device = Nvme::new(config);
    let mut bytes = [0; STATE_BYTES];
    let most = !0xfff;
    (device.configuration, device.status, device.admin_attributes) = (u32::MAX, u32::MAX, u32::MAX);
    (device.admin_submission, device.admin_completion, device.masked) = (most, most, u32::MAX);
    device.unsent = u32::MAX;
    device.submission = [Some(SubmissionQueue::new(Gpa(most), u32::MAX, u16::MAX)); QUEUES];
    device.completion = [Some(CompletionQueue::new(Gpa(most), u32::MAX, Some(u16::MAX))); QUEUES];
    let length = device.save(&mut bytes).unwrap();
    // Indexes and features are zero here: at most 4 bytes more for each of 20 indexes, 20 for features.
    assert!(length + 20 * 4 + 20 <= STATE_BYTES, "{length}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// A controller that is saved and restored into another one in mid-run ends as one that was not.
    #[test]
    fn nobody_can_tell(
        writable: bool,
        before in proptest::collection::vec(step(), 0..100),
        after in proptest::collection::vec(step(), 1..100),
    ) {
        let config = Config { writable, ..config() };
        let mut guests = [Guest::with_queues(config), Guest::with_queues(config)];
        for (place, guest) in guests.iter_mut().enumerate() {
            before.iter().for_each(|step| guest.step(step));
            while guest.bench.serve() {}
            if place == 1 {
                let bytes = save(&guest.bench.device);
                guest.bench.device = Nvme::new(config);
                prop_assert_eq!(guest.bench.device.restore(&bytes), Ok(()));
            }
            // A tag may be another one afterwards.
            after.iter().filter(|step| !matches!(step, Step::Complete(..))).for_each(|step| guest.step(step));
            guest.drain();
        }
        let [plain, restored] = guests;
        prop_assert!(*plain.bench.memory.0.borrow() == *restored.bench.memory.0.borrow());
        prop_assert!(plain.bench.medium == restored.bench.medium);
        prop_assert_eq!(&plain.bench.messages, &restored.bench.messages);
        prop_assert_eq!(plain.bench.device.state(), restored.bench.device.state());
    }

    /// What is damaged is refused, and changes nothing; or it is a state like another, with which nothing
    /// breaks.
    #[test]
    fn damaged_states_break_nothing(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut bytes = save(&in_mid_run(config()).bench.device);
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let mut guest = Guest::with_queues(config());
        let before = save(&guest.bench.device);
        if guest.bench.device.restore(&bytes).is_err() {
            prop_assert_eq!(save(&guest.bench.device), before);
        }
        guest.bench.line = guest.bench.device.line();
        steps.iter().for_each(|step| guest.step(step));
        guest.drain();
    }
}
