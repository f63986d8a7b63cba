//! The decision about a pair, case by case, and against a model that sends packets.

mod cases;
mod walker;

use super::*;
use crate::Tables;
use alloc::vec::Vec;
use pci::access_control::AccessControls;
use proptest::prelude::*;
use walker::{Machine, Outcome};

/// The machine as a scan finds it, with what a scan cannot see.
fn scanned(machine: &Machine) -> Platform {
    let mut platform = Platform::discover(Tables::default(), Vec::new(), &machine.config);
    for node in machine.nodes.iter().filter(|node| node.physical.is_some()) {
        let physical = node.physical.map(|physical| machine.nodes[physical].bdf);
        let function = platform.functions.iter_mut().find(|function| function.bdf == node.bdf).unwrap();
        function.physical = physical;
    }
    platform
}

/// What the start of a guest does for its function.
fn enable(platform: &Platform, machine: &Machine, function: &Function) {
    for (function, found) in platform.access_controls(function) {
        let AccessControl { offset, doublewords, .. } = found;
        let controls = AccessControls { function, offset, services: found.wanted(), doublewords };
        controls.enable(&machine.config).unwrap();
    }
}

fn agrees(choices: &[u8]) -> Result<(), TestCaseError> {
    let machine = Machine::new(choices);
    let platform = scanned(&machine);
    prop_assert_eq!(platform.functions.len(), machine.nodes.len(), "the scan missed something");
    let given: Vec<_> = (0..machine.nodes.len()).filter(|node| machine.is_function(*node)).collect();
    for (place, &one) in given.iter().enumerate() {
        for &other in &given[..place] {
            // Only what these two ask for is on.
            machine.power_on();
            let [a, b] = [one, other].map(|node| platform.function(machine.nodes[node].bdf).unwrap());
            enable(&platform, &machine, a);
            enable(&platform, &machine, b);
            let decided = platform.isolation(a, b);
            let expected = machine.outcome(one, other);
            let same = match decided {
                Isolation::Apart => expected == Outcome::Apart,
                Isolation::ApartWhile { physical } => expected == Outcome::Inside(physical),
                Isolation::Together(_) => expected == Outcome::Together,
            };
            prop_assert!(
                same,
                "{} and {}: {decided:?}, but {expected:?}\n{:#?}",
                a.bdf,
                b.bdf,
                machine.nodes
            );
            let back = platform.isolation(b, a);
            let is_apart = |isolation| matches!(isolation, Isolation::Together(_));
            prop_assert_eq!(is_apart(decided), is_apart(back), "it depends on who is asked first");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the tree: two functions are said to be apart where no packet of either
    /// reaches the other, and only there.
    #[test]
    fn a_pair_is_apart_where_no_packet_goes_astray(choices in walker::choices()) {
        agrees(&choices)?;
    }
}

/// The trees are no forest of one kind: each answer comes often.
#[test]
fn trees_have_every_answer() {
    let mut counts = [0_u32; 3];
    let mut reasons = [0_u32; 8];
    let mut seed = 1_u32;
    for _ in 0..400 {
        let choices: Vec<u8> = (0..120)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            })
            .collect();
        let machine = Machine::new(&choices);
        let platform = scanned(&machine);
        let given: Vec<_> = (0..machine.nodes.len()).filter(|node| machine.is_function(*node)).collect();
        for (place, one) in given.iter().enumerate() {
            for other in &given[..place] {
                let [a, b] = [one, other].map(|node| platform.function(machine.nodes[*node].bdf).unwrap());
                match platform.isolation(a, b) {
                    Isolation::Apart => counts[0] += 1,
                    Isolation::ApartWhile { .. } => counts[1] += 1,
                    Isolation::Together(reason) => {
                        counts[2] += 1;
                        reasons[match reason {
                            Reason::Bridge(_) => 0,
                            Reason::Switch { .. } => 1,
                            Reason::Port(_) => 2,
                            Reason::Device(_) => 3,
                            Reason::Unchecked(_) => 4,
                            Reason::Requester(_) => 5,
                            Reason::Physical(_) => 6,
                            Reason::Unknown(_) => 7,
                        }] += 1;
                    }
                }
            }
        }
    }
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
    assert!(reasons[..7].iter().all(|count| *count > 5), "{reasons:?}");
    assert_eq!(reasons[7], 0, "a scan leaves nothing unknown");
}
