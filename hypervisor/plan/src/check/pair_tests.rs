//! Pairs of functions of two guests, resets that are another's too, and who sends under
//! whose number.

use super::tests::{Ask, bridges, config, everyday, everyday_amd, plan, problems};
use crate::Config;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use platform::{AccessControl, Function, Platform};
use spec::Bdf;

fn edit(board: &mut Platform, bdf: Bdf) -> &mut Function {
    board.functions.iter_mut().find(|function| function.bdf == bdf).unwrap()
}

fn offer(board: &mut Platform, bdf: Bdf, services: u16) {
    let found = AccessControl { offset: 0x100, services, ..AccessControl::default() };
    edit(board, bdf).capabilities.access_control = Some(found);
}

/// Each function to a guest of its own.
fn two(one: (&str, &str), other: (&str, &str)) -> Config {
    let (one, other) = ([one], [other]);
    let guests: [Ask<'_>; 2] = [("a", "cpus = [1]", &one), ("b", "cpus = [2]", &other)];
    config(&guests)
}

/// Without the warnings and problems that have nothing to do with pairs.
fn board(text: &str) -> Platform {
    let mut board: Platform = serde_json::from_str(text).unwrap();
    for function in &mut board.functions {
        function.interrupt = None;
        function.capabilities.advanced_features_reset = true;
    }
    board
}

fn warnings(config: &Config, board: &Platform) -> Vec<String> {
    let plan = plan(config, board);
    assert_eq!(plan.all_problems().count(), 0, "{plan:?}");
    plan.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn peer_to_peer_a_switch_that_is_a_function_of_the_others_device() {
    let board = board(include_str!("../../tests/boards/multifunction-upstream.json"));
    let usb = ("00:01.3/00.0", "1022:43d5");
    let nic = ("00:01.3/00.2/00.0/00.0", "10ec:8168");
    assert_eq!(
        problems(&two(usb, nic), &board),
        [
            "guest.b.pci[0].passthrough.path: 00:01.3/00.2/00.0/00.0 cannot be kept apart from 00:01.3/00.0 of guest \
             `a`: they are functions of one device, or behind them, and 01:00.2 does not say that it keeps out of the \
             others (no ACS); give both to the same guest"
        ]
    );
    assert_eq!(problems(&config(&[("a", "cpus = [1]", &[usb, nic])]), &board), [""; 0]);
}

#[test]
fn peer_to_peer_root_ports_without_upstream_forwarding() {
    let mut board = board(include_str!("../../tests/boards/root-port-no-forwarding.json"));
    let pair = two(("00:1c.0/00.0", "8086:1533"), ("00:1c.1/00.0", "8086:1533"));
    assert_eq!(problems(&pair, &board), [""; 0]);
    let plan = plan(&pair, &board);
    let asked: Vec<_> =
        plan.guests.iter().flat_map(|guest| &guest.functions[0].access_controls).copied().collect();
    assert!(asked.iter().all(|(_, found)| found.wanted() == 0xf), "{asked:?}");
    // One side alone.
    offer(&mut board, Bdf::new(0, 0x1c, 1), 0xb);
    assert_eq!(
        problems(&pair, &board),
        [
            "guest.b.pci[0].passthrough.path: 00:1c.1/00.0 cannot be kept apart from 00:1c.0/00.0 of guest `a`: they are \
             functions of one device, or behind them, and 00:1c.1 does not say that it keeps out of the others \
             (incomplete ACS); give both to the same guest"
        ]
    );
}

#[test]
fn peer_to_peer_services_on_one_side_alone() {
    let pair = two(("00:06.0/00.0/00.0/00.0", "1b36:000d"), ("00:06.0/00.0/01.0/00.0", "1b36:0010"));
    for (offering, lacking) in [(0, 1), (1, 0)] {
        let mut board = bridges();
        offer(&mut board, Bdf::new(4, offering, 0), 0x5f);
        let told = problems(&pair, &board);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(&format!("whose port 04:0{lacking}.0 lets what is behind it")), "{told:?}");
    }
}

#[test]
fn virtual_functions_on_their_drivers_word() {
    let mut board = board(include_str!("../../tests/boards/root-port-no-forwarding.json"));
    let physical = Bdf::new(1, 0, 0);
    for number in [1, 2] {
        let mut it = board.function(physical).unwrap().clone();
        it.bdf = Bdf::new(1, 0x10, number);
        it.path = format!("00:1c.0/10.{number}").parse().unwrap();
        it.physical = Some(physical);
        it.bars.clear();
        board.functions.push(it);
    }
    let pair = two(("00:1c.0/10.1", "8086:1533"), ("00:1c.0/10.2", "8086:1533"));
    assert_eq!(
        warnings(&pair, &board),
        [
            "guest.b.pci[0].passthrough.path: 00:1c.0/10.2 and 00:1c.0/10.1 of guest `a` are apart only while the driver \
             of their physical function 01:00.0 holds its internal switch closed (no ACS); give both to one guest, \
             unless that driver can be trusted"
        ]
    );
    let ruled = two(("00:1c.0/10.1", "8086:1533"), ("00:1c.0/00.0", "8086:1533"));
    let told = problems(&ruled, &board);
    assert!(told[0].contains("01:00.0 is the physical function, which rules the other"), "{told:?}");
    for number in [1, 2] {
        offer(&mut board, Bdf::new(1, 0x10, number), 0xc);
    }
    assert_eq!(warnings(&pair, &board), [""; 0]);
}

#[test]
fn a_port_that_does_not_check_numbers_is_told() {
    let pair = two(("00:02.0/00.0", "8086:10d3"), ("00:03.0", "1b36:0010"));
    let mut board = everyday();
    assert_eq!(warnings(&pair, &board), [""; 0]);
    edit(&mut board, Bdf::new(0, 2, 0)).capabilities.access_control = None;
    assert_eq!(
        warnings(&pair, &board),
        [
            "guest.a.pci[0].passthrough.path: no port above 00:02.0/00.0 checks under which number it sends (no ACS), so \
             with changed firmware it could pass for another guest's; plug it elsewhere, unless the device can be \
             trusted"
        ]
    );
    let alone = config(&[("a", "cpus = [1]", &[("00:02.0/00.0", "8086:10d3")])]);
    assert_eq!(warnings(&alone, &board), [""; 0]);
}

#[test]
fn aliases_a_function_that_the_iommu_takes_for_an_interrupt_controller() {
    let nvme = config(&[("a", "cpus = [1]", &[("00:03.0", "1b36:0010")])]);
    let of = |change: fn(&mut Platform)| {
        let mut board = everyday_amd();
        change(&mut board);
        problems(&nvme, &board)
    };
    let told = |who| {
        format!(
            "guest.a.pci[0].passthrough.path: 00:03.0 sends under the number 00:03.0, which for the IOMMU is that of {who}: \
             the guest could raise interrupts of others; pass through another device"
        )
    };
    assert_eq!(of(|_| {}), [""; 0]);
    let io_apic = of(|board| {
        for sender in &mut board.remapping.units[0].io_apics {
            sender.requester = Bdf::new(0, 3, 0);
        }
    });
    assert_eq!(io_apic, [told("I/O APIC 0")]);
    let hpet = of(|board| {
        let requester = Bdf::new(0, 3, 0);
        board.remapping.units[0].hpets =
            [platform::remapping::InterruptSender { number: 2, requester }].into();
    });
    assert_eq!(hpet, [told("timer block 2")]);
}

#[test]
fn a_function_without_any_reset_of_its_own() {
    let xhci = ("00:06.0/00.0/00.0/00.0", "1b36:000d");
    let mut board = bridges();
    let stubborn = |board: &mut Platform, bdf| {
        let capabilities = &mut edit(board, bdf).capabilities;
        capabilities.power_management = None;
        capabilities.advanced_features_reset = false;
        if let Some(express) = &mut capabilities.express {
            express.function_level_reset = false;
        }
    };
    stubborn(&mut board, Bdf::new(5, 0, 0));
    let alone = config(&[("a", "cpus = [1]", &[xhci])]);
    assert_eq!(problems(&alone, &board), [""; 0], "its bus is its own");
    let mut beside = board.function(Bdf::new(5, 0, 0)).unwrap().clone();
    beside.bdf = Bdf::new(5, 0, 1);
    beside.path = "00:06.0/00.0/00.0/00.1".parse().unwrap();
    beside.bars.clear();
    board.functions.push(beside);
    assert_eq!(
        problems(&alone, &board),
        [
            "guest.a.pci[0].passthrough.path: 00:06.0/00.0/00.0/00.0 has no reset of its own, and a reset of the bus behind \
             00:06.0/00.0/00.0 would be one of 00:06.0/00.0/00.0/00.1 too; give both to the same guest, or pass through \
             another device"
        ]
    );
    let both = config(&[("a", "cpus = [1]", &[xhci, ("00:06.0/00.0/00.0/00.1", "1b36:000d")])]);
    // Nobody can be given a bridge.
    let mut with_bridge = board.clone();
    edit(&mut with_bridge, Bdf::new(5, 0, 1)).class = 0x06_0700;
    let told = problems(&alone, &with_bridge);
    assert!(told[0].ends_with("00:06.0/00.0/00.0/00.1 too; pass through another device"), "{told:?}");
    assert_eq!(problems(&both, &board), [""; 0]);
    // A power state that loses everything is a reset; one that keeps it is none; an older
    // board file does not say.
    let power = |board: &mut Platform, resets| {
        let capabilities = &mut edit(board, Bdf::new(5, 0, 0)).capabilities;
        (capabilities.power_management, capabilities.power_reset) = (Some(0x40), resets);
    };
    for (resets, refused) in [(Some(true), 0), (Some(false), 1), (None, 0)] {
        power(&mut board, resets);
        assert_eq!(problems(&alone, &board).len(), refused, "{resets:?}");
    }
    // On the root bus there is nothing above that could reset it.
    let mut board = everyday();
    stubborn(&mut board, Bdf::new(0, 3, 0));
    assert_eq!(
        problems(&config(&[("a", "cpus = [1]", &[("00:03.0", "1b36:0010")])]), &board),
        [
            "guest.a.pci[0].passthrough.path: 00:03.0 has no reset, and no bus that can be reset; pass through another device"
        ]
    );
}
