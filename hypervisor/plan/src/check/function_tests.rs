//! Emulated functions that are neither drives nor network interfaces.

use super::tests::{plan, q35};
use crate::text::parse;
use crate::{Base, Plan, Ring};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use platform::Platform;

/// What a guest gets whose functions have these keys, in slots from 01.0 on.
fn plan_on(board: &Platform, functions: &[&str]) -> Plan {
    let mut text = "[guest.a]\ncpus = [1]\nmemory = \"64 MiB\"\nkernel = \"k\"\n".to_string();
    for (index, keys) in functions.iter().enumerate() {
        text += &format!("[[guest.a.pci]]\nslot = \"{:02}.0\"\n{keys}\n", index + 1);
    }
    let (config, _) = parse(&text).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
    plan(&config, board)
}

fn problems_on(board: &Platform, functions: &[&str]) -> Vec<String> {
    plan_on(board, functions).all_problems().map(ToString::to_string).collect()
}

/// A board file of before they were told of says nothing: the machine itself knows.
#[test]
fn random_numbers_are_the_processors() {
    let mut board = q35();
    for known in [None, Some(true)] {
        board.random_numbers = known;
        let plan = plan_on(&board, &["emulate = \"virtio-rng\"", "emulate = \"virtio-rng\""]);
        assert_eq!(plan.all_problems().count(), 0);
        assert_eq!(plan.guests[0].emulated.len(), 2);
        assert!(plan.guests[0].emulated.iter().all(|function| function.base == Base::RandomNumbers));
    }
    board.random_numbers = Some(false);
    assert_eq!(
        problems_on(&board, &["emulate = \"virtio-rng\""]),
        [
            "guest.a.pci[0].emulate: the processors have no random numbers to give: neither RDSEED nor RDRAND; \
             remove the function"
        ]
    );
    assert_eq!(plan_on(&board, &[]).all_problems().count(), 0, "who wants none is not refused");
}

#[test]
fn virtio_functions_offer_the_queues_that_were_asked_for() {
    let functions = [
        "emulate = \"virtio-rng\"",
        "emulate = \"virtio-console\"\nring = \"split\"",
        "emulate = \"virtio-rng\"\nring = \"packed\"",
    ];
    let plan = plan_on(&q35(), &functions);
    assert_eq!(plan.all_problems().count(), 0);
    let rings: Vec<_> = plan.guests[0].emulated.iter().map(|function| function.ring).collect();
    assert_eq!(rings, [Ring::default(), Ring::Split, Ring::Packed]);
    assert_eq!(
        problems_on(&q35(), &["emulate = \"16550\"\nring = \"split\""]),
        ["guest.a.pci[0].ring: only virtio functions have queues; remove the key"]
    );
}

#[test]
fn consoles_are_called_by_their_slots() {
    let console = "emulate = \"virtio-console\"";
    let plan = plan_on(&q35(), &[console, "emulate = \"virtio-rng\"", "emulate = \"16550\""]);
    assert_eq!(plan.all_problems().count(), 0);
    let guest = &plan.guests[0];
    assert!(guest.consoles().map(|(place, _)| place).eq([0, 2]));
    let names: Vec<_> = (0..4).map(|number| guest.console_name(number).to_string()).collect();
    assert_eq!(names, ["a", "a:01.0", "a:03.0", "a"]);
}

/// The stream has no place for more: 16 guests with 15 consoles each beside their own are too many.
#[test]
fn all_consoles_have_a_place() {
    let text = |guests: u32| {
        let mut text = String::new();
        for guest in 1..=guests {
            text += &format!("[guest.g{guest:02}]\ncpus = [{guest}]\nmemory = \"64 MiB\"\nkernel = \"k\"\n");
            for slot in 1..=15 {
                text += &format!(
                    "[[guest.g{guest:02}.pci]]\nslot = \"{slot:02x}.0\"\nemulate = \"virtio-console\"\n"
                );
            }
        }
        parse(&text).unwrap_or_else(|errors| panic!("{errors:?}")).0
    };
    let said = |guests| {
        let problems = crate::check_without_machine(&text(guests), &|_| true);
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(said(15), [""; 0]);
    assert_eq!(
        said(16),
        ["guest.g16.pci: with these the guests have more than 255 consoles; remove some of them"]
    );
}

#[test]
fn keys_of_other_functions_are_none_of_theirs() {
    let models = ["virtio-rng", "virtio-console", "16550"];
    for (wrong, says) in [
        ("backing = { image = \"i\" }", "backing: the emulated function is no drive"),
        ("network = \"lan\"", "network: the emulated function has no network"),
        ("isolated = true", "isolated: the emulated function has no network"),
        ("rom = true", "rom: an emulated function has nothing of the kind"),
    ] {
        for model in models {
            assert_eq!(
                problems_on(&q35(), &[&format!("emulate = \"{model}\"\n{wrong}")]),
                [format!("guest.a.pci[0].{says}; remove the key")],
                "{model}: {wrong}"
            );
        }
    }
}
