//! The tables of both vendors, brought together with a machine that QEMU gave.

use super::*;
use crate::acpi::dmar::{Dmar, Drhd, Rmrr, Scope, ScopeKind};
use crate::finding::Finding;
use crate::names::DevFn;
use crate::topology::Platform;
use alloc::string::{String, ToString};
use alloc::vec;

/// A machine with VT-d and bridges of every kind.
fn bridges() -> Platform {
    serde_json::from_str(include_str!("../../../plan/tests/boards/bridges.json")).unwrap()
}

fn unit_at(platform: &Platform, path: &str) -> Option<usize> {
    platform.remapping_unit(platform.function_at(&path.parse().unwrap()).unwrap())
}

/// Brings the platform's tables together anew; what it found.
fn again(platform: &mut Platform) -> Vec<String> {
    let mut list: Vec<Finding> = Vec::new();
    let mut findings = Findings::new(&mut list, "ACPI");
    platform.remapping = Remapping::new(&platform.tables, &platform.functions, &mut findings);
    list.iter().map(ToString::to_string).collect()
}

fn scope(kind: ScopeKind, path: &[(u8, u8)]) -> Scope {
    let path = path.iter().map(|(device, function)| DevFn::new(*device, *function)).collect();
    Scope { kind, start_bus: 0, path }
}

/// A unit that serves what these scopes name.
fn drhd(base: u64, include_all: bool, scopes: Vec<Scope>) -> Drhd {
    Drhd { base: Hpa(base), register_bytes: 4096, segment: 0, include_all, scopes }
}

fn vtd(units: Vec<Drhd>) -> Dmar {
    Dmar { interrupt_remapping: true, units, ..Dmar::default() }
}

#[test]
fn units_serve_by_name_or_the_rest() {
    let mut platform = bridges();
    assert_eq!(unit_at(&platform, "00:07.1"), Some(0));
    assert_eq!(unit_at(&platform, "00:06.0/00.0/01.0/00.0"), Some(0), "behind a bridge that is named");
    let seven = drhd(0x2000, false, vec![scope(ScopeKind::Endpoint, &[(7, 0)])]);
    platform.tables.dmar = Some(vtd(vec![seven.clone()]));
    assert_eq!(again(&mut platform), [""; 0]);
    assert_eq!(unit_at(&platform, "00:07.1"), None);
    platform.tables.dmar = Some(vtd(vec![drhd(0x1000, true, vec![]), seven]));
    assert_eq!(again(&mut platform), [""; 0]);
    assert_eq!(unit_at(&platform, "00:07.1"), Some(0));
    assert_eq!(unit_at(&platform, "00:07.0"), Some(1), "one that names it comes before one for the rest");
    platform.remapping.units[0].segment = 1;
    assert_eq!(unit_at(&platform, "00:07.1"), None, "another segment");
}

#[test]
fn a_bridge_stands_for_everything_behind_it() {
    let mut platform = bridges();
    platform.tables.dmar = Some(vtd(vec![drhd(0x1000, false, vec![scope(ScopeKind::Bridge, &[(6, 0)])])]));
    assert_eq!(again(&mut platform), [""; 0]);
    let bridge = platform.function(Bdf::new(0, 6, 0)).unwrap().bridge.unwrap();
    assert_eq!(
        platform.remapping.units[0].requesters,
        [RequesterRange::one(Bdf::new(0, 6, 0)), RequesterRange::buses(bridge.secondary, bridge.subordinate)]
    );
    for function in &platform.functions {
        let behind = platform.bridges_above(function).any(|above| above.bdf == Bdf::new(0, 6, 0));
        let named = behind || function.bdf == Bdf::new(0, 6, 0);
        assert_eq!(platform.remapping_unit(function).is_some(), named, "{}", function.bdf);
    }
}

#[test]
fn scopes_lead_through_bridges_or_are_told() {
    let mut platform = bridges();
    platform.tables.dmar = Some(vtd(vec![drhd(
        0xfed9_0000,
        false,
        vec![
            scope(ScopeKind::Endpoint, &[(6, 0), (0, 0), (1, 0), (0, 0)]),
            scope(ScopeKind::Endpoint, &[(0x11, 0)]),
            scope(ScopeKind::Bridge, &[(7, 0), (0, 0)]),
            scope(ScopeKind::IoApic(3), &[(0x1e, 7)]),
            scope(ScopeKind::Endpoint, &[]),
        ],
    )]));
    assert_eq!(
        again(&mut platform),
        [
            "DMAR: the unit at hpa 0xfed90000 names a device that is not there: 00:11.0",
            "DMAR: the unit at hpa 0xfed90000 names a device that is not there: 00:07.0/00.0",
            "DMAR: the unit at hpa 0xfed90000 names a device that is not there: 00:",
        ]
    );
    let unit = &platform.remapping.units[0];
    assert_eq!(unit.requesters, [RequesterRange::one(Bdf::new(6, 0, 0))]);
    assert_eq!(platform.remapping.io_apic(3), Some((0, Bdf::new(0, 0x1e, 7))));
    assert_eq!(platform.remapping.io_apic(4), None);
}

#[test]
fn a_scope_on_a_bus_that_does_not_exist_is_told() {
    let mut platform = bridges();
    let mut lost = scope(ScopeKind::Endpoint, &[(0, 0)]);
    lost.start_bus = 0x77;
    platform.tables.dmar = Some(vtd(vec![drhd(0x1000, false, vec![lost])]));
    assert_eq!(
        again(&mut platform),
        ["DMAR: the unit at hpa 0x1000 names a device that is not there: 77:00.0"]
    );
    assert!(platform.remapping.units[0].requesters.is_empty());
}

#[test]
fn a_scope_that_leads_in_a_circle_is_told() {
    let mut platform = bridges();
    let bridge = platform.functions.iter_mut().find(|f| f.bdf == Bdf::new(0, 6, 0)).unwrap();
    bridge.bridge.as_mut().unwrap().secondary = 0;
    let circle = scope(ScopeKind::Endpoint, &[(6, 0), (6, 0), (6, 0), (7, 0)]);
    platform.tables.dmar = Some(vtd(vec![drhd(0x1000, false, vec![circle])]));
    assert_eq!(
        again(&mut platform),
        ["DMAR: the unit at hpa 0x1000 names a device whose path leads in a circle at the bridge 00:06.0: \
             00:06.0/06.0/06.0/07.0"]
    );
    assert!(platform.remapping.units[0].requesters.is_empty());
    // As a whole such a bridge stands for itself.
    platform.tables.dmar = Some(vtd(vec![drhd(0x1000, false, vec![scope(ScopeKind::Bridge, &[(6, 0)])])]));
    assert_eq!(again(&mut platform), [""; 0]);
    assert_eq!(platform.remapping.units[0].requesters, [RequesterRange::one(Bdf::new(0, 6, 0))]);
}

#[test]
fn reserved_memory_has_users() {
    let mut platform = bridges();
    let rmrr = |scopes| Rmrr { start: Hpa(0x7e00_0000), bytes: 0x2000, segment: 0, scopes };
    let mut dmar = vtd(vec![drhd(0x1000, true, vec![])]);
    dmar.reserved = vec![
        rmrr(vec![scope(ScopeKind::Endpoint, &[(7, 0)]), scope(ScopeKind::Endpoint, &[(0x19, 0)])]),
        rmrr(vec![scope(ScopeKind::Bridge, &[(6, 0)])]),
    ];
    platform.tables.dmar = Some(dmar);
    assert_eq!(
        again(&mut platform),
        ["DMAR: the reserved memory at hpa 0x7e000000 is for a device that is not there: 00:19.0"]
    );
    let of =
        |path: &str| platform.reserved_memory(platform.function_at(&path.parse().unwrap()).unwrap()).count();
    assert_eq!((of("00:07.0"), of("00:07.1"), of("00:06.0/00.0/01.0/00.0")), (1, 0, 1));
}
