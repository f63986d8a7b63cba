//! States: saved, restored, refused.

use super::*;
use crate::virtio::transport::state::Registers;

fn save(device: &Transport<Console>) -> Vec<u8> {
    let mut state = [0; STATE_BYTES];
    let length = device.save(&mut state).unwrap();
    state[..length].to_vec()
}

fn encode(state: &Registers) -> Vec<u8> {
    let mut bytes = [0; STATE_BYTES];
    let length = crate::snapshot::encode(3, state, &mut bytes).unwrap();
    bytes[..length].to_vec()
}

#[test]
fn a_saved_console_goes_on() {
    let mut terminal = Terminal::new();
    terminal.print(b"before");
    terminal.offer();
    let state = save(&terminal.guest.bench.device);
    terminal.guest.bench.device = device();
    terminal.guest.bench.device.restore(&state).unwrap();
    assert_eq!(save(&terminal.guest.bench.device), state);
    assert_eq!(terminal.print(b"after"), b"after");
    assert!(terminal.type_in(b'x'));
    assert_eq!(terminal.typed(), b"x");
}

/// What another processor's access has left in the queue is shown by the next look.
#[test]
fn nothing_is_saved_amid_a_buffer() {
    let mut terminal = Terminal::new();
    terminal.add(&[b'a'; 600], 600).unwrap();
    terminal.guest.notify(queue::TRANSMIT as u16);
    let before = save(&terminal.guest.bench.device);
    terminal.guest.bench.with(|device, context| device.output(&mut [0; 100], context));
    assert_eq!(terminal.guest.bench.device.save(&mut [0; STATE_BYTES]), Err(SaveFault::Busy));
    assert_eq!(terminal.guest.bench.output(PIECE).len(), 500);
    assert_ne!(save(&terminal.guest.bench.device), before);
}

#[test]
fn what_no_console_can_be_is_refused() {
    let mut terminal = Terminal::new();
    let state = terminal.guest.bench.device.registers().unwrap();
    let mut taken = state;
    let progress = taken.queues[1].as_mut().and_then(|queue| queue.progress.as_mut()).unwrap();
    (progress.next_available, progress.outstanding) = (1, 1);
    let mut one = state;
    one.queues[1] = None;
    for bad in [taken, one] {
        let refused = terminal.guest.bench.device.restore(&encode(&bad));
        assert!(matches!(refused, Err(RestoreFault::Impossible(_))), "{refused:?}");
        assert_eq!(save(&terminal.guest.bench.device), encode(&state));
    }
    assert_eq!(terminal.guest.bench.device.restore(&[]), Err(RestoreFault::Malformed));
}

/// The longest state has room.
#[test]
fn every_state_fits() {
    let mut state = Terminal::new().guest.bench.device.registers().unwrap();
    (state.device_select, state.driver_select, state.driver_features) = (u32::MAX, u32::MAX, u64::MAX);
    (state.queue_select, state.unsent, state.config_vector) = (u16::MAX, u32::MAX, u16::MAX);
    for queue in state.queues.iter_mut().flatten() {
        (queue.vector, queue.size) = (u16::MAX, u16::MAX);
        (queue.descriptors, queue.driver, queue.device) = (u64::MAX, u64::MAX, u64::MAX);
        let progress = queue.progress.as_mut().unwrap();
        (progress.next_available, progress.next_used) = (u16::MAX, u16::MAX);
        (progress.untold, progress.outstanding) = (u16::MAX, u16::MAX);
    }
    encode(&state);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Any bytes as a state: refused, and nothing changed, or a console that works after a reset.
    #[test]
    fn any_state_is_refused_or_works(flips in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6)) {
        let mut terminal = Terminal::new();
        let before = save(&terminal.guest.bench.device);
        let mut state = before.clone();
        for (place, value) in flips {
            let place = place % state.len();
            state[place] = value;
        }
        if terminal.guest.bench.device.restore(&state).is_err() {
            prop_assert_eq!(save(&terminal.guest.bench.device), before);
        }
        terminal.guest.bench.line = terminal.guest.bench.device.line();
        prop_assert!(terminal.guest.reset());
        terminal.guest.start(USUAL, QUEUE_SIZE, true);
        prop_assert_eq!(terminal.print(b"again"), b"again");
    }
}
