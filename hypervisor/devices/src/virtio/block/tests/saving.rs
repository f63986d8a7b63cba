//! States that are saved, taken over and forged.

use super::state::{STATE_BYTES, State};
use super::*;
use crate::Device;
use crate::snapshot::{self, RestoreFault, SaveFault};
use crate::virtio::places::Progress;
use crate::virtio::queue::QueueState;

pub(super) fn save(device: &Transport<Block>) -> Vec<u8> {
    let mut bytes = [0; STATE_BYTES];
    let length = device.save(&mut bytes).unwrap();
    bytes[..length].to_vec()
}

pub(super) fn device(config: Config, is_polled: bool) -> Transport<Block> {
    Transport::new(Block::new(config), 3, is_polled)
}

/// A device without messages, with requests before it and an answer that was not taken.
fn in_mid_run(config: Config) -> Drive {
    let mut drive = Drive::at_power_up(config, true);
    let features = USUAL & drive.guest.offered();
    drive.guest.start(features, 64, false);
    for sector in 0..70 {
        drive.send((sector % 2) as u16, request::IN, sector, &[], &[(DATA, 512)]);
        drive.guest.bench.poll();
        drive.take((sector % 2) as u16);
        for ring in &drive.guest.rings {
            ring.want_interrupt(&drive.guest.bench.memory, true);
        }
        drive.guest.bench.read(0x1000, Width::Byte);
    }
    drive.send(0, request::IN, 1, &[], &[(DATA, 512)]);
    drive.guest.bench.poll();
    drive.guest.bench.poll();
    drive.send(1, request::IN, 2, &[], &[(DATA, 512)]);
    drive
}

#[test]
fn what_is_restored_goes_on() {
    let mut drive = in_mid_run(config());
    let bytes = save(&drive.guest.bench.device);
    let mut other = device(config(), true);
    other.restore(&bytes).unwrap();
    assert!(other.line());
    assert_eq!(save(&other), bytes);
    drive.guest.bench.device = other;
    assert_eq!(drive.guest.bench.read(0x1000, Width::Byte), u64::from(isr::QUEUE));
    assert_eq!(drive.take(0).unwrap().status, status::OK);
    assert_eq!(drive.take(1), None);
    drive.guest.bench.poll();
    assert_eq!(drive.take(1).unwrap().status, status::OK);
    assert_eq!(drive.take(0), None);
}

#[test]
fn whether_it_writes_through_is_kept() {
    let mut drive = Drive::with(config(), INDIRECT, false);
    let mut other = device(config(), false);
    other.restore(&save(&drive.guest.bench.device)).unwrap();
    drive.guest.bench.device = other;
    assert_eq!(drive.outcome(request::OUT, 0, &[(DATA, 512)], &[]), (status::OK, 1));
    assert_eq!(drive.guest.bench.medium.flushes, 1);
}

#[test]
fn there_is_no_state_while_requests_are_at_the_medium() {
    let mut drive = Drive::new(config());
    let mut bytes = [0; STATE_BYTES];
    drive.guest.bench.hold = true;
    drive.send(0, request::IN, 0, &[], &[(DATA, 512)]);
    assert_eq!(drive.guest.bench.device.save(&mut bytes), Err(SaveFault::Busy));
    assert!(!drive.guest.reset());
    assert_eq!(drive.guest.bench.device.save(&mut bytes), Err(SaveFault::Busy));
    assert!(drive.guest.bench.serve());
    assert!(drive.guest.bench.device.save(&mut bytes).is_ok());
    assert_eq!(drive.guest.bench.device.save(&mut bytes[..20]), Err(SaveFault::TooLong));
}

/// What was taken after the state was saved is in the queue again, for the ring is as it is.
#[test]
fn a_restored_device_forgets_its_own_requests() {
    let mut drive = in_mid_run(config());
    let bytes = save(&drive.guest.bench.device);
    drive.guest.bench.hold = true;
    drive.guest.bench.poll();
    assert_eq!(drive.guest.bench.waiting.len(), 1);
    drive.guest.bench.device.restore(&bytes).unwrap();
    assert!(drive.guest.bench.serve());
    assert_eq!(drive.take(1), None);
    assert_eq!(save(&drive.guest.bench.device), bytes);
    drive.guest.bench.poll();
    assert!(drive.guest.bench.serve());
    assert_eq!(drive.take(1).unwrap().status, status::OK);
}

#[test]
fn states_that_are_cut_off_or_of_something_else() {
    let bytes = save(&in_mid_run(config()).guest.bench.device);
    let mut plain = device(config(), true);
    let before = save(&plain);
    for length in 0..bytes.len() {
        assert_eq!(plain.restore(&bytes[..length]), Err(RestoreFault::Malformed), "{length}");
    }
    assert_eq!(plain.restore(&[&bytes[..], &[0]].concat()), Err(RestoreFault::Malformed));
    assert_eq!(plain.restore(&[&[7], &bytes[1..]].concat()), Err(RestoreFault::Version(7)));
    assert_eq!(save(&plain), before);
    for other in [
        Config { sectors: SECTORS - 1, ..config() },
        Config { block_bytes: 4096, ..config() },
        Config { segment_bytes: 4096, ..config() },
        Config { writable: false, ..config() },
        Config { can_discard: false, ..config() },
        Config { can_write_zeroes: false, ..config() },
        Config { queues: 3, ..config() },
        Config { name: [b'x'; 20], ..config() },
    ] {
        assert_eq!(device(other, true).restore(&bytes), Err(RestoreFault::Configuration));
    }
}

/// One forgery: what is changed, and what is said of it.
type Forgery = (fn(&mut State), &'static str);

fn queue(state: &mut State) -> &mut QueueState {
    state.registers.queues[1].as_mut().unwrap()
}

fn progress(state: &mut State) -> &mut Progress {
    queue(state).progress.as_mut().unwrap()
}

#[test]
fn states_that_no_device_has() {
    let mut drive = in_mid_run(config());
    let good = drive.guest.bench.device.state().unwrap();
    let forgeries: [Forgery; 29] = [
        (|state| state.turn = 3, "the turn"),
        (|state| state.registers.status |= 0x10, "the status"),
        (|state| state.registers.status |= 0x20, "the status"),
        (|state| state.registers.status &= !device_status::FEATURES_OK, "without features"),
        (|state| state.registers.status = device_status::NEEDS_RESET, "without features"),
        (|state| state.registers.status = device_status::ACKNOWLEDGE, "is not set up"),
        (|state| state.registers.driver_features = 0, "features"),
        (|state| state.registers.driver_features |= 1 << 41, "features"),
        (|state| state.registers.isr = 4, "the ISR"),
        (|state| state.registers.unsent = 8, "a message"),
        (|state| state.registers.config_vector = 3, "a vector"),
        (|state| state.registers.queues[1] = None, "queues"),
        (|state| state.registers.queues[2] = state.registers.queues[1], "queues"),
        (|state| state.registers.queues[15] = state.registers.queues[1], "queues"),
        (|state| queue(state).vector = 3, "a vector"),
        (|state| queue(state).vector = 0xfffe, "a vector"),
        (|state| queue(state).size = 0, "a size"),
        (|state| queue(state).size = 96, "a size"),
        (|state| queue(state).size = 256, "a size"),
        (|state| queue(state).descriptors += 8, "where none"),
        (|state| queue(state).driver += 1, "where none"),
        (|state| queue(state).device = u64::MAX - 3, "where none"),
        (|state| progress(state).next_available += 1, "as far"),
        (|state| progress(state).next_used += 1, "as far"),
        (|state| progress(state).untold = u16::MAX, "as far"),
        (|state| progress(state).untold = 65, "as far"),
        (|state| progress(state).outstanding += 1, "nobody works on"),
        (
            |state| {
                progress(state).outstanding += 1;
                progress(state).next_available += 1;
            },
            "nobody works on",
        ),
        (
            |state| {
                state.registers.status |= device_status::NEEDS_RESET;
                progress(state).outstanding = 65;
            },
            "where none",
        ),
    ];
    let before = save(&drive.guest.bench.device);
    for (place, (forge, said)) in forgeries.into_iter().enumerate() {
        let mut state = good;
        forge(&mut state);
        let mut bytes = [0; STATE_BYTES];
        let length = snapshot::encode(4, &state, &mut bytes).unwrap();
        let fault = drive.guest.bench.device.restore(&bytes[..length]).expect_err(said);
        let is_said = matches!(fault, RestoreFault::Impossible(what) if what.contains(said));
        assert!(is_said, "{place}: {fault} instead of {said}");
        assert_eq!(save(&drive.guest.bench.device), before);
    }
    drive.guest.bench.poll();
    assert_eq!(drive.take(1).unwrap().status, status::OK);
}

/// Places of a packed queue are counted through two laps.
#[test]
fn states_that_no_packed_queue_has() {
    let mut drive = Drive::with(config(), USUAL | common_feature::RING_PACKED, false);
    let size = drive.guest.rings[1].size;
    for _ in 0..size + 3 {
        drive.outcome(request::GET_ID, 0, &[], &[(DATA, 20)]);
    }
    let good = drive.guest.bench.device.state().unwrap();
    let at = |next_available, next_used| Progress { next_available, next_used, untold: 0, outstanding: 0 };
    assert_eq!(good.registers.queues[0].unwrap().progress, Some(at(size + 3, size + 3)));
    let untold = |untold| Progress { untold, ..at(size + 3, size + 3) };
    for (bad, said) in [
        (at(2 * size, 2 * size), "where none"),
        (at(u16::MAX, u16::MAX), "where none"),
        (at(size + 4, size + 3), "as far"),
        (at(3, size + 3), "as far"),
        (untold(size + 1), "as far"),
    ] {
        let mut state = good;
        state.registers.queues[0].as_mut().unwrap().progress = Some(bad);
        let mut bytes = [0; STATE_BYTES];
        let length = snapshot::encode(4, &state, &mut bytes).unwrap();
        let fault = drive.guest.bench.device.restore(&bytes[..length]).expect_err(said);
        assert!(matches!(fault, RestoreFault::Impossible(what) if what.contains(said)), "{fault}: {bad:?}");
    }
    assert_eq!(drive.guest.bench.device.state().unwrap(), good);
}

#[test]
fn the_longest_state_fits() {
    let most = u64::MAX;
    let progress =
        Progress { next_available: u16::MAX, next_used: u16::MAX, untold: u16::MAX, outstanding: u16::MAX };
    let queue = QueueState {
        size: u16::MAX,
        vector: u16::MAX,
        descriptors: most,
        driver: most,
        device: most,
        progress: Some(progress),
    };
    let mut state = device(config(), true).state().unwrap();
    state.config = Config {
        sectors: most,
        block_bytes: u32::MAX,
        segment_bytes: u32::MAX,
        queues: u16::MAX,
        ..config()
    };
    state.turn = u16::MAX;
    state.registers.queues = [Some(queue); 16];
    let registers = &mut state.registers;
    (registers.status, registers.isr) = (u8::MAX, u8::MAX);
    (registers.device_select, registers.driver_select) = (u32::MAX, u32::MAX);
    (registers.driver_features, registers.unsent) = (most, u32::MAX);
    (registers.config_vector, registers.queue_select) = (u16::MAX, u16::MAX);
    assert!(snapshot::encode(4, &state, &mut [0; STATE_BYTES]).is_ok());
}
