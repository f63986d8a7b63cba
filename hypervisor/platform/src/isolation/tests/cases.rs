//! Pairs on board files that QEMU gave, and on made-up ones of machines that were wrong.

use super::*;
use crate::remapping::Alias;
use alloc::format;
use alloc::string::String;
use spec::RequesterRange;

fn bridges() -> Platform {
    serde_json::from_str(include_str!("../../../../plan/tests/boards/bridges.json")).unwrap()
}

fn multifunction_upstream() -> Platform {
    serde_json::from_str(include_str!("../../../../plan/tests/boards/multifunction-upstream.json")).unwrap()
}

fn root_port_no_forwarding() -> Platform {
    serde_json::from_str(include_str!("../../../../plan/tests/boards/root-port-no-forwarding.json")).unwrap()
}

fn at<'p>(platform: &'p Platform, path: &str) -> &'p Function {
    platform.function_at(&path.parse().unwrap()).unwrap()
}

fn edit(platform: &mut Platform, bdf: Bdf) -> &mut Function {
    platform.functions.iter_mut().find(|function| function.bdf == bdf).unwrap()
}

/// The answer, the same whoever is asked first but for the function that is named.
fn pair(platform: &Platform, one: &str, other: &str) -> Isolation {
    let (one, other) = (at(platform, one), at(platform, other));
    let isolation = platform.isolation(one, other);
    let back = platform.isolation(other, one);
    assert_eq!(core::mem::discriminant(&isolation), core::mem::discriminant(&back));
    isolation
}

fn offer(platform: &mut Platform, bdf: Bdf, services: u16) {
    let found = AccessControl { offset: 0x100, services, ..AccessControl::default() };
    edit(platform, bdf).capabilities.access_control = Some(found);
}

const ALL: u16 = 0x5f;
const XHCI: &str = "00:06.0/00.0/00.0/00.0";
const NVME: &str = "00:06.0/00.0/01.0/00.0";
const PORTS: [Bdf; 2] = [Bdf::new(4, 0, 0), Bdf::new(4, 1, 0)];

#[test]
fn requesters_are_what_bridges_make_of_them() {
    let platform = bridges();
    let of = |path| platform.requesters(at(&platform, path));
    assert_eq!(of("00:07.1"), [Bdf::new(0, 7, 1)]);
    assert_eq!(of("00:04.0/02.0"), [Bdf::new(1, 2, 0), Bdf::new(1, 0, 0)]);
    assert_eq!(of("00:06.0/00.0/01.0/00.0"), [Bdf::new(6, 0, 0)]);
    // Were the bridge a conventional one, it would put its own number.
    let mut platform = bridges();
    edit(&mut platform, Bdf::new(0, 4, 0)).capabilities.express = None;
    let requesters = platform.requesters(at(&platform, "00:04.0/02.0"));
    assert_eq!(requesters, [Bdf::new(1, 2, 0), Bdf::new(0, 4, 0)]);
}

#[test]
fn messages_carry_one_bridges_number_or_any_of_its_secondary_bus() {
    let mut platform = bridges();
    let of = |platform: &Platform, path| platform.message_source(at(platform, path));
    assert_eq!(of(&platform, "00:07.1"), MessageSource::Requester(Bdf::new(0, 7, 1)));
    assert_eq!(of(&platform, NVME), MessageSource::Requester(Bdf::new(6, 0, 0)));
    assert_eq!(of(&platform, "00:04.0/02.0"), MessageSource::Bus(1));
    edit(&mut platform, Bdf::new(0, 4, 0)).capabilities.express = None;
    let own = MessageSource::Requester(Bdf::new(0, 4, 0));
    assert_eq!(of(&platform, "00:04.0/02.0"), own, "never the buses from 0 to its own");
    assert!(own.accepts(Bdf::new(0, 4, 0)) && !own.accepts(Bdf::new(0, 3, 0)));
}

#[test]
fn aliases_of_known_devices() {
    let mut platform = bridges();
    let nvme = edit(&mut platform, Bdf::new(6, 0, 0));
    nvme.id = "1b4b:9230".parse().unwrap();
    let requesters = |platform: &Platform, path| platform.requesters(at(platform, path));
    assert_eq!(requesters(&platform, NVME), [Bdf::new(6, 0, 0), Bdf::new(6, 0, 1)]);
    assert_eq!(
        platform.message_source(at(&platform, NVME)),
        MessageSource::Requester(Bdf::new(6, 0, 0)),
        "its messages are its own"
    );
    edit(&mut platform, Bdf::new(6, 0, 0)).id = "1180:e832".parse().unwrap();
    assert_eq!(requesters(&platform, NVME), [Bdf::new(6, 0, 0)], "it is that function already");
    let raid = edit(&mut platform, Bdf::new(6, 0, 0));
    raid.id = "9005:0285".parse().unwrap();
    raid.subsystem = Some("9005:02bb".parse().unwrap());
    assert_eq!(requesters(&platform, NVME), [Bdf::new(6, 0, 0), Bdf::new(6, 1, 0)]);
    // A bridge behind a port that hides what it is.
    let upstream = edit(&mut platform, Bdf::new(3, 0, 0));
    upstream.id = "1b21:1080".parse().unwrap();
    upstream.capabilities.express = None;
    assert!(requesters(&platform, NVME).contains(&Bdf::new(4, 0, 0)));
}

#[test]
fn a_bridge_that_passes_numbers_on_puts_none_and_checks_none() {
    let mut platform = bridges();
    let (behind, bridge) = ("00:04.0/02.0", Bdf::new(0, 4, 0));
    let express = platform.function(bridge).unwrap().capabilities.express;
    for express in [express, None] {
        edit(&mut platform, bridge).capabilities.express = express;
        edit(&mut platform, bridge).id = "8086:244e".parse().unwrap();
        assert!(platform.is_validated(at(&platform, behind)));
        edit(&mut platform, bridge).id = "1a03:1150".parse().unwrap();
        let function = at(&platform, behind);
        assert_eq!(platform.message_source(function), MessageSource::Requester(Bdf::new(1, 2, 0)));
        assert!(platform.requesters(function).starts_with(&[Bdf::new(1, 2, 0)]));
        assert!(!platform.is_validated(function), "nobody checks what it says");
        let shared = Isolation::Together(Reason::Bridge(bridge));
        assert_eq!(pair(&platform, "00:04.0/01.0", behind), shared);
    }
}

#[test]
fn devices_that_send_as_another_function() {
    for (id, function, sends_as) in [
        ("1b4b:9172", 0, 1),
        ("197b:2392", 0, 1),
        ("1103:0645", 0, 1),
        ("1180:e476", 2, 0),
        ("6766:3d40", 1, 0),
        ("6766:3d41", 1, 0),
    ] {
        let mut platform = bridges();
        let nvme = edit(&mut platform, Bdf::new(6, 0, 0));
        (nvme.id, nvme.bdf) = (id.parse().unwrap(), Bdf::new(6, 0, function));
        let expected = [Bdf::new(6, 0, function), Bdf::new(6, 0, sends_as)];
        assert_eq!(platform.requesters(at(&platform, NVME)), expected, "{id}");
    }
}

/// The entry of a function behind a bridge from PCI Express to conventional PCI takes any
/// number of the secondary bus: also one under which only the other is known.
#[test]
fn what_the_others_interrupt_entry_accepts_is_not_apart() {
    let mut platform = bridges();
    let (behind, other) = ("00:04.0/02.0", "00:0a.0");
    let alias =
        |requester| Alias { segment: SEGMENT, functions: RequesterRange::one(Bdf::new(0, 10, 0)), requester };
    platform.remapping.aliases = Vec::from([alias(Bdf::new(9, 5, 0))]);
    assert_eq!(pair(&platform, behind, other), Isolation::Apart, "of no bus that there is");
    let forged = Bdf::new(1, 5, 0);
    platform.remapping.aliases = Vec::from([alias(forged)]);
    let [one, two] = [behind, other].map(|path| platform.requesters(at(&platform, path)));
    assert!(one.iter().all(|id| !two.contains(id)), "no request of one carries a number of the other's");
    let believed = Isolation::Together(Reason::Requester(forged));
    assert_eq!(pair(&platform, behind, other), believed);
    assert_eq!(pair(&platform, other, behind), believed);
}

#[test]
fn two_devices_of_the_root_complex_are_apart() {
    let platform = bridges();
    assert_eq!(pair(&platform, "00:0a.0", "00:05.0/00.0"), Isolation::Apart);
    assert_eq!(pair(&platform, "00:0a.0", "00:07.1"), Isolation::Apart);
    assert_eq!(pair(&platform, "80:00.0/00.0", "00:05.0/00.0"), Isolation::Apart);
}

#[test]
fn a_shared_bus_keeps_nobody_apart() {
    let mut platform = bridges();
    let (one, other) = ("00:04.0/01.0", "00:04.0/02.0");
    let bridge = Isolation::Together(Reason::Bridge(Bdf::new(0, 4, 0)));
    assert_eq!(pair(&platform, one, other), bridge);
    edit(&mut platform, Bdf::new(0, 4, 0)).capabilities.express = None;
    assert_eq!(pair(&platform, one, other), bridge);
}

#[test]
fn peer_to_peer_inside_a_switch_needs_both_ports() {
    let mut platform = bridges();
    let switch = |port| Isolation::Together(Reason::Switch { switch: Bdf::new(3, 0, 0), port });
    assert_eq!(pair(&platform, XHCI, NVME), switch(PORTS[0]));
    for (offering, silent) in [(PORTS[0], PORTS[1]), (PORTS[1], PORTS[0])] {
        let mut platform = bridges();
        offer(&mut platform, offering, ALL);
        assert_eq!(pair(&platform, XHCI, NVME), switch(silent), "one side alone");
    }
    offer(&mut platform, PORTS[0], ALL);
    offer(&mut platform, PORTS[1], ALL);
    assert_eq!(pair(&platform, XHCI, NVME), Isolation::Apart);
    // A switch's port that lacks any of the four is not what it says it is.
    for service in [0, 2, 3, 4] {
        offer(&mut platform, PORTS[1], ALL & !(1 << service));
        assert_eq!(pair(&platform, XHCI, NVME), switch(PORTS[1]), "without service {service}");
    }
    offer(&mut platform, PORTS[1], ALL & !2);
    assert_eq!(pair(&platform, XHCI, NVME), Isolation::Apart, "the IOMMU blocks translated requests");
}

#[test]
fn peer_to_peer_in_a_device_needs_both_functions() {
    let mut platform = bridges();
    let device = |lacking| Isolation::Together(Reason::Device(lacking));
    let (first, second) = (Bdf::new(0, 7, 0), Bdf::new(0, 7, 1));
    let express = platform.function(Bdf::new(6, 0, 0)).unwrap().capabilities.express;
    for bdf in [first, second] {
        edit(&mut platform, bdf).capabilities.express = express;
    }
    assert_eq!(pair(&platform, "00:07.0", "00:07.1"), device(first));
    offer(&mut platform, first, 0);
    assert_eq!(pair(&platform, "00:07.0", "00:07.1"), device(second), "one side alone");
    offer(&mut platform, second, 0xc);
    assert_eq!(pair(&platform, "00:07.0", "00:07.1"), Isolation::Apart, "what is not there is not needed");
    edit(&mut platform, second).capabilities.express = None;
    assert_eq!(
        pair(&platform, "00:07.0", "00:07.1"),
        device(second),
        "conventional PCI has no such services"
    );
}

#[test]
fn the_switch_above_one_is_a_function_of_the_others_device() {
    let mut platform = multifunction_upstream();
    let (usb, nic) = ("00:01.3/00.0", "00:01.3/00.2/00.0/00.0");
    let device = |lacking| Isolation::Together(Reason::Device(lacking));
    let (endpoint, upstream, port) = (Bdf::new(1, 0, 0), Bdf::new(1, 0, 2), Bdf::new(2, 0, 0));
    assert_eq!(pair(&platform, usb, nic), device(endpoint));
    offer(&mut platform, endpoint, 0);
    assert_eq!(pair(&platform, usb, nic), device(upstream));
    offer(&mut platform, upstream, 0xc);
    // Both redirect, but the card can send under the number of the device's function.
    assert_eq!(pair(&platform, usb, nic), Isolation::Together(Reason::Unchecked(Bdf::new(3, 0, 0))));
    offer(&mut platform, port, ALL);
    assert_eq!(pair(&platform, usb, nic), Isolation::Apart);
    let asked: Vec<Bdf> =
        platform.access_controls(at(&platform, nic)).into_iter().map(|(bdf, _)| bdf).collect();
    assert_eq!(asked, [port, upstream, Bdf::new(0, 1, 3)]);
}

#[test]
fn root_ports_of_one_device_need_no_upstream_forwarding() {
    let mut platform = root_port_no_forwarding();
    let (one, other) = ("00:1c.0/00.0", "00:1c.1/00.0");
    assert_eq!(pair(&platform, one, other), Isolation::Apart);
    let second = Bdf::new(0, 0x1c, 1);
    for service in [0, 2, 3] {
        offer(&mut platform, second, 0xf & !(1 << service));
        let lacking = Isolation::Together(Reason::Device(second));
        assert_eq!(pair(&platform, one, other), lacking, "without service {service}");
    }
    edit(&mut platform, second).capabilities.access_control = None;
    assert_eq!(pair(&platform, one, other), Isolation::Together(Reason::Device(second)));
    // What it has is enabled; nothing else is.
    let controls = |services| AccessControl { services, ..AccessControl::default() }.wanted();
    assert_eq!((controls(0xf), controls(0x1f), controls(0x7f)), (0xf, 0x1f, 0x1f));
}

#[test]
fn what_is_redirected_below_a_switchs_port_must_go_on_upwards() {
    let mut platform = bridges();
    // The drive becomes a device of two functions that keep out of each other.
    let mut second = platform.function(Bdf::new(6, 0, 0)).unwrap().clone();
    second.bdf = Bdf::new(6, 0, 1);
    second.path = format!("{}1", &NVME[..NVME.len() - 1]).parse().unwrap();
    platform.functions.push(second);
    offer(&mut platform, Bdf::new(6, 0, 0), 0xc);
    offer(&mut platform, Bdf::new(6, 0, 1), 0xc);
    let other: String = NVME.replace("01.0/00.0", "01.0/00.1");
    assert_eq!(pair(&platform, NVME, &other), Isolation::Together(Reason::Port(PORTS[1])));
    offer(&mut platform, PORTS[1], ALL & !0x10);
    assert_eq!(pair(&platform, NVME, &other), Isolation::Together(Reason::Port(PORTS[1])));
    offer(&mut platform, PORTS[1], ALL);
    assert_eq!(pair(&platform, NVME, &other), Isolation::Apart);
}

#[test]
fn virtual_functions_are_apart_by_services_or_by_their_physical_functions_driver() {
    let mut platform = bridges();
    let physical = Bdf::new(2, 0, 0);
    let mut paths = Vec::new();
    for number in [1, 2] {
        let mut it = platform.function(physical).unwrap().clone();
        it.bdf = Bdf::new(2, 0x10, number);
        it.path = format!("00:05.0/10.{number}").parse().unwrap();
        it.physical = Some(physical);
        it.capabilities.access_control = None;
        paths.push(format!("{}", it.path));
        platform.functions.push(it);
    }
    let [one, other] = &paths[..] else { panic!("two") };
    assert_eq!(pair(&platform, one, other), Isolation::ApartWhile { physical });
    offer(&mut platform, Bdf::new(2, 0x10, 1), 0xc);
    assert_eq!(pair(&platform, one, other), Isolation::ApartWhile { physical }, "one side alone");
    offer(&mut platform, Bdf::new(2, 0x10, 2), 0xc);
    assert_eq!(pair(&platform, one, other), Isolation::Apart);
    let ruled = Isolation::Together(Reason::Physical(physical));
    assert_eq!(pair(&platform, one, "00:05.0/00.0"), ruled, "whoever has that rules the others");
    // Those of another physical function of the same device are strangers.
    edit(&mut platform, Bdf::new(2, 0x10, 1)).capabilities.access_control = None;
    edit(&mut platform, Bdf::new(2, 0x10, 1)).physical = Some(Bdf::new(2, 0, 1));
    let lacking = Isolation::Together(Reason::Device(Bdf::new(2, 0x10, 1)));
    assert_eq!(pair(&platform, one, other), lacking);
}

#[test]
fn phantom_functions_are_numbers_of_others() {
    let mut platform = bridges();
    let (first, second) = (Bdf::new(0, 7, 0), Bdf::new(0, 7, 1));
    let express = platform.function(Bdf::new(6, 0, 0)).unwrap().capabilities.express;
    for bdf in [first, second] {
        edit(&mut platform, bdf).capabilities.express = express;
        offer(&mut platform, bdf, 0xc);
    }
    assert_eq!(pair(&platform, "00:07.0", "00:07.1"), Isolation::Apart);
    let liar = edit(&mut platform, first).capabilities.express.as_mut().unwrap();
    liar.phantom_functions = true;
    let shared = |isolation| matches!(isolation, Isolation::Together(Reason::Requester(_)));
    assert!(shared(pair(&platform, "00:07.0", "00:07.1")));
}

#[test]
fn a_port_that_checks_no_numbers_is_seen() {
    let mut platform = bridges();
    let is_validated = |platform: &Platform, path| platform.is_validated(at(platform, path));
    assert!(is_validated(&platform, "00:05.0/00.0") && is_validated(&platform, "00:07.0"));
    assert!(is_validated(&platform, "00:04.0/01.0"), "the bridge puts its own");
    edit(&mut platform, Bdf::new(0, 5, 0)).capabilities.access_control = None;
    assert!(!is_validated(&platform, "00:05.0/00.0"));
}

#[test]
fn a_bridge_that_is_not_there_leaves_all_open() {
    let mut platform = bridges();
    edit(&mut platform, Bdf::new(2, 0, 0)).parent = Some(Bdf::new(0x70, 0, 0));
    let unknown = Isolation::Together(Reason::Unknown(Bdf::new(2, 0, 0)));
    assert_eq!(pair(&platform, "00:05.0/00.0", "00:0a.0"), unknown);
}

#[test]
fn access_controls_are_asked_of_all_ports_above() {
    let platform = bridges();
    let of = |path| -> Vec<Bdf> {
        platform.access_controls(at(&platform, path)).into_iter().map(|(bdf, _)| bdf).collect()
    };
    assert_eq!(of("00:05.0/00.0"), [Bdf::new(0, 5, 0)]);
    assert_eq!(of(NVME), [Bdf::new(0, 6, 0)]);
    assert_eq!(of("00:07.0"), []);
}

#[test]
fn an_older_board_file_learns_of_wide_registers_by_the_device_id() {
    let text = include_str!("../../../../plan/tests/boards/root-port-no-forwarding.json");
    assert!(!text.contains("doublewords"), "an older file");
    let wide = text.replace("8086:5ad8", "8086:a110").replace("8086:5ad9", "8086:9d1b");
    let wide: Platform = serde_json::from_str(&wide).unwrap();
    let ports = wide.functions.iter().filter_map(|function| function.capabilities.access_control);
    assert_eq!(ports.map(|found| found.doublewords).collect::<Vec<_>>(), [true, true]);
    assert_eq!(pair(&wide, "00:1c.0/00.0", "00:1c.1/00.0"), Isolation::Apart);
    let plain = root_port_no_forwarding();
    assert!(plain.functions.iter().all(|f| f.capabilities.access_control.is_none_or(|a| !a.doublewords)));
}
