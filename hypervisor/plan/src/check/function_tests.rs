//! Emulated functions that are neither drives nor network interfaces.

use super::tests::{plan, q35};
use crate::text::parse;
use crate::{Base, Plan};
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
fn keys_of_other_functions_are_none_of_theirs() {
    let key = |key: &str| format!("emulate = \"virtio-rng\"\n{key}");
    for (wrong, says) in [
        ("backing = { image = \"i\" }", "backing: the emulated function is no drive"),
        ("network = \"lan\"", "network: the emulated function has no network"),
        ("isolated = true", "isolated: the emulated function has no network"),
        ("rom = true", "rom: an emulated function has nothing of the kind"),
    ] {
        assert_eq!(
            problems_on(&q35(), &[&key(wrong)]),
            [format!("guest.a.pci[0].{says}; remove the key")],
            "{wrong}"
        );
    }
}
