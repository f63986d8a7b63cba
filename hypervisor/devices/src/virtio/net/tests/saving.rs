//! Interfaces that are saved and restored.

use super::*;
use crate::snapshot::{RestoreFault, encode};
use crate::virtio::net::state::{STATE_BYTES, State};

fn device(config: Config) -> Transport<Net> {
    Transport::new(Net::new(config), MESSAGES, true)
}

fn save(device: &Transport<Net>) -> Vec<u8> {
    let mut bytes = vec![0; STATE_BYTES];
    let length = device.save(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

#[test]
fn a_driver_goes_on_with_another_device() {
    let mut card = Card::new();
    card.offer(&[1500, 1500, 1500]);
    assert_eq!(card.command(&[0, 0, 0]), control::OK);
    assert_eq!(card.receive(&frame(&tcp4(100), PLAIN)), Reception::Taken);
    card.add(queue::TRANSMIT, &[&CUT4.encode()[..], &tcp4(4000)].concat(), &[], &[]);
    let mut next = device(CONFIG);
    next.restore(&save(&card.guest.bench.device)).unwrap();
    assert_eq!(next.state(), card.guest.bench.device.state());
    card.guest.bench.device = next;
    assert_eq!(card.received().unwrap().1, tcp4(100));
    assert_eq!(card.transmit().unwrap().offload, OFFLOAD4);
    assert_eq!(card.receive(&frame(&tcp4(100), PLAIN)), Reception::Taken);
    let mut other = tcp4(10);
    other[5] = 7;
    assert_eq!(card.receive(&frame(&other, PLAIN)), Reception::Taken);
    let ring = &mut card.guest.rings[queue::RECEIVE];
    assert!(ring.take_used(&card.guest.bench.memory).is_some());
    assert!(ring.take_used(&card.guest.bench.memory).is_none(), "it was for somebody else");
}

#[test]
fn what_no_device_can_be_is_refused() {
    let card = Card::new();
    let good = card.guest.bench.device.state().unwrap();
    let restore = |state: &State| {
        let mut bytes = vec![0; STATE_BYTES];
        let length = encode(4, state, &mut bytes).unwrap();
        let mut other = device(CONFIG);
        let before = other.state();
        let outcome = other.restore(&bytes[..length]);
        assert!(outcome.is_ok() || other.state() == before);
        outcome
    };
    assert_eq!(restore(&good), Ok(()));
    let other_config = Config { mtu: 9000, ..CONFIG };
    assert_eq!(restore(&State { config: other_config, ..good }), Err(RestoreFault::Configuration));
    let mut quiet = Filter::new(MAC);
    quiet.command(&[0, 0, 0], feature::CONTROL_RECEIVE).unwrap();
    let off = device(CONFIG).state().unwrap();
    for state in [
        State { filter: Filter::new(MacAddress([2; 6])), ..good },
        State { filter: Filter::new(MacAddress([3; 6])), ..good },
        State { filter: quiet, ..off },
    ] {
        assert!(matches!(restore(&state), Err(RestoreFault::Impossible(_))), "{state:?}");
    }
    let whole = save(&card.guest.bench.device);
    for length in [0, 2, whole.len() - 1] {
        assert!(device(CONFIG).restore(&whole[..length]).is_err());
    }
    // The number of addresses in a table is no index.
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x7f;
        let mut other = device(CONFIG);
        if other.restore(&changed).is_ok() {
            let mut card = Card { guest: Guest::new(other, VecMedium::new(0)) };
            let _ = card.transmit();
            let _ = card.receive(&frame(&tcp4(10), PLAIN));
        }
    }
}
