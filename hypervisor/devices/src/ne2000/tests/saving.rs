//! Cards that are saved and restored.

use super::linux::{Driver, started};
use super::*;
use crate::ne2000::state::{STATE_BYTES, State};
use crate::snapshot::{RestoreFault, SaveFault, encode};
use proptest::prelude::*;

fn save(card: &Card) -> Vec<u8> {
    let mut bytes = std::vec![0; STATE_BYTES];
    let length = card.device.save(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

/// The driver goes on with another card, which is as the one before.
fn moved(driver: Driver) -> Driver {
    let mut next = Bench::new(Ne2000::new(MAC), VecMemory::new(0), VecMedium::new(0));
    next.device.restore(&save(&driver.card)).unwrap();
    assert_eq!(next.device.state(), driver.card.device.state());
    assert_eq!(next.device.line(), driver.card.line);
    next.line = next.device.line();
    Driver { card: next, ..driver }
}

#[test]
fn a_driver_goes_on_in_the_middle_of_everything() {
    let mut driver = started();
    let bytes = bytes_to(MAC.0, 1000);
    assert_eq!(receive(&mut driver.card, &bytes), Reception::Taken);
    driver.send(&bytes);
    driver = moved(driver);
    assert_eq!(transmit(&mut driver.card), Some(bytes.clone()));
    driver = moved(driver);
    assert_eq!(driver.receive_all(), [bytes]);
    // In the middle of a transfer too.
    for (port, value) in [(0xa, 4), (0xb, 0), (8, 0), (9, 0x40), (0, 0x0a)] {
        out(&mut driver.card, port, value);
    }
    let first = driver.card.read(DATA_PORT, Width::Word) as u16;
    driver = moved(driver);
    let second = driver.card.read(DATA_PORT, Width::Word) as u16;
    assert_eq!([first.to_le_bytes(), second.to_le_bytes()].concat(), bytes_to(MAC.0, 6)[..4]);
}

#[test]
fn what_no_card_can_be_is_refused() {
    let card = started().card;
    let good = card.device.state();
    let buffer = card.device.remote.memory.buffer.clone();
    let restore = |version: u16, state: &State| {
        let mut bytes = std::vec![0; STATE_BYTES];
        let head = encode(version, state, &mut bytes).unwrap();
        bytes.truncate(head);
        bytes.extend(&buffer);
        let mut other = Ne2000::new(MAC);
        let before = other.state();
        let outcome = other.restore(&bytes);
        assert!(outcome.is_ok() || other.state() == before);
        outcome
    };
    assert_eq!(restore(1, &good), Ok(()));
    assert_eq!(restore(2, &good), Err(RestoreFault::Version(2)));
    assert_eq!(restore(1, &State { mac: MacAddress([2; 6]), ..good }), Err(RestoreFault::Configuration));
    for state in [
        State { command: good.command | command::STOP, ..good },
        State { is_running: false, ..good },
        State { status: good.status | interrupt::RESET, ..good },
        State { mask: 0xff, ..good },
        State { missed: COUNTER_MOST + 1, ..good },
        State { command: good.command | command::TRANSMIT, link_is_up: false, ..good },
    ] {
        assert!(matches!(restore(1, &state), Err(RestoreFault::Impossible(_))), "{state:?}");
    }
    let whole = save(&card);
    for length in [0, 100, BUFFER, whole.len() - 1] {
        assert!(Ne2000::new(MAC).restore(&whole[..length]).is_err(), "{length}");
    }
    assert_eq!(card.device.save(&mut [0; 100]), Err(SaveFault::TooLong));
    assert_eq!(card.device.save(&mut [0; BUFFER]), Err(SaveFault::TooLong));
}

const BUFFER: usize = 0x4000;

proptest! {
    /// Whatever a guest did, its card can be saved, and the other one is as it was.
    #[test]
    fn any_state_comes_back(writes in prop::collection::vec((0_u64..0x20, any::<u8>()), 0..200)) {
        let mut card = card();
        for (port, value) in writes {
            card.write(port, Width::Byte, value.into());
            card.read(port ^ 0x1f, Width::Byte);
        }
        let mut other = Ne2000::new(MAC);
        other.restore(&save(&card)).unwrap();
        prop_assert_eq!(other.state(), card.device.state());
        prop_assert!(other.remote.memory.buffer == card.device.remote.memory.buffer);
        prop_assert_eq!(other.line(), card.device.line());
    }
}
