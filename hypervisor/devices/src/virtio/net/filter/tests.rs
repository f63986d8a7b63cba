use super::*;
use network::{Frame, Tagging};
use proptest::prelude::*;
use std::vec::Vec;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 8];
const GROUP: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ALL: u64 = feature::CONTROL_RECEIVE | feature::CONTROL_MAC;

fn wants(filter: &Filter, to: [u8; 6]) -> bool {
    let mut frame = Frame::new();
    frame.append(&[&to[..], &[2; 6], &[8, 0]].concat()).unwrap();
    filter.wants(&frame.parts(Tagging::Keep).unwrap())
}

fn tables(stations: &[[u8; 6]], groups: &[[u8; 6]]) -> Vec<u8> {
    let table =
        |addresses: &[[u8; 6]]| [&(addresses.len() as u32).to_le_bytes()[..], &addresses.concat()].concat();
    [&[1, 0][..], &table(stations), &table(groups)].concat()
}

/// The filter of a driver that does not want everything.
fn quiet() -> Filter {
    let mut filter = Filter::new(MAC);
    filter.command(&[0, 0, 0], ALL).unwrap();
    filter
}

#[test]
fn everything_passes_until_the_driver_says_otherwise() {
    let filter = Filter::new(MAC);
    assert!(wants(&filter, OTHER) && wants(&filter, GROUP));
    let filter = quiet();
    assert_eq!([MAC.0, OTHER, GROUP, [0xff; 6]].map(|to| wants(&filter, to)), [true, false, false, true]);
}

#[test]
fn tables_and_switches_let_pass() {
    let mut filter = quiet();
    filter.command(&tables(&[OTHER], &[]), ALL).unwrap();
    assert_eq!([MAC.0, OTHER, GROUP].map(|to| wants(&filter, to)), [true, true, false]);
    filter.command(&tables(&[], &[GROUP]), ALL).unwrap();
    assert_eq!([MAC.0, OTHER, GROUP].map(|to| wants(&filter, to)), [true, false, true]);
    filter.command(&tables(&[], &[]), ALL).unwrap();
    filter.command(&[0, 1, 1], ALL).unwrap();
    assert_eq!([MAC.0, OTHER, GROUP].map(|to| wants(&filter, to)), [true, false, true]);
    filter.command(&[0, 1, 0], ALL).unwrap();
    assert!(!wants(&filter, GROUP));
    // More than are kept: all of the kind.
    filter.command(&tables(&[[6; 6]; TABLE], &[[7; 6]; TABLE + 1]), ALL).unwrap();
    assert_eq!([OTHER, GROUP].map(|to| wants(&filter, to)), [false, true]);
    filter.command(&tables(&[[6; 6]; TABLE + 1], &[]), ALL).unwrap();
    assert_eq!([OTHER, GROUP].map(|to| wants(&filter, to)), [true, false]);
}

#[test]
fn the_address_can_be_changed_to_a_stations() {
    let mut filter = quiet();
    filter.command(&[&[1, 1][..], &OTHER].concat(), ALL).unwrap();
    assert_eq!(filter.mac().0, OTHER);
    assert_eq!([MAC.0, OTHER].map(|to| wants(&filter, to)), [false, true]);
    for address in [GROUP, [0; 6], [0xff; 6]] {
        assert_eq!(filter.command(&[&[1, 1][..], &address].concat(), ALL), None);
    }
    assert_eq!(filter.command(&[1, 1, 2, 0, 0], ALL), None, "too short");
    assert_eq!(filter.command(&[&[1, 1][..], &MAC.0].concat(), feature::CONTROL_RECEIVE), None);
    assert_eq!(filter.mac().0, OTHER);
}

#[test]
fn commands_that_make_no_sense_change_nothing() {
    let mut filter = quiet();
    for command in [
        &[][..],
        &[0],
        &[0, 0],
        &[0, 1],
        &[0, 2, 1],
        &[1, 0],
        &[1, 0, 1, 0, 0, 0, 2, 2, 2, 2, 2],
        &[1, 0, 0, 0, 0, 0, 1, 0, 0, 0],
        &[1, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        &[2, 0, 1, 0],
        &[4, 0, 2, 0],
    ] {
        assert_eq!(filter.command(command, ALL), None, "{command:?}");
    }
    assert_eq!(filter.command(&[0, 0, 1], feature::CONTROL_MAC), None, "not agreed on");
    assert_eq!([MAC.0, OTHER, GROUP, [0xff; 6]].map(|to| wants(&filter, to)), [true, false, false, true]);
}

proptest! {
    /// Whatever is said, frames to the interface's own address and to all pass.
    #[test]
    fn what_is_its_own_passes(commands in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
        let mut filter = Filter::new(MAC);
        for mut command in commands {
            command.iter_mut().take(2).for_each(|byte| *byte &= 1);
            let _ = filter.command(&command, ALL);
            prop_assert!(wants(&filter, filter.mac().0) && wants(&filter, [0xff; 6]));
        }
    }
}
