//! The tables of both vendors, brought together with a machine that QEMU gave.

mod broken;

use super::*;
use crate::acpi::dmar::{Dmar, Drhd, Rmrr, Scope, ScopeKind};
use crate::acpi::ivrs::{Entry, Ivhd, Ivmd, Ivrs, Who, flag};
use crate::finding::Finding;
use crate::names::DevFn;
use crate::topology::Platform;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;
use spec::Hpa;

/// A machine with VT-d and bridges of every kind.
fn bridges() -> Platform {
    let mut platform: Platform =
        serde_json::from_str(include_str!("../../../plan/tests/boards/bridges.json")).unwrap();
    // What of it is not remapped is the business of one test only.
    platform.tables.madt.io_apics.clear();
    platform
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
    Drhd { base: Hpa(base), register_bytes: 4096, segment: 0, include_all, scopes, incomplete: false }
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
            "DMAR: the unit at hpa 0xfed90000 names a device whose path leads nowhere: 00:07.0/00.0",
            "DMAR: the unit at hpa 0xfed90000 names a device whose path leads nowhere: 00:",
        ]
    );
    let unit = &platform.remapping.units[0];
    // Where a function would be is known, though none is there.
    assert_eq!(unit.requesters, [Bdf::new(6, 0, 0), Bdf::new(0, 0x11, 0)].map(RequesterRange::one));
    assert!(unit.unsure);
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
        ["DMAR: the unit at hpa 0x1000 names a device whose path leads nowhere: 77:00.0"]
    );
    assert!(platform.remapping.units[0].requesters.is_empty() && platform.remapping.units[0].unsure);
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

/// QEMU's q35 with AMD's IOMMU.
fn amd() -> Platform {
    serde_json::from_str(include_str!("../../../../examples/boards/q35-amdvi.json")).unwrap()
}

fn functions(first: Bdf, last: Bdf, alias: Option<Bdf>) -> Entry {
    Entry { who: Who::Functions { first, last, alias }, settings: 0 }
}

/// A unit of the function 00:01.0, as on the board above, with these entries.
fn ivhd(entries: Vec<Entry>) -> Ivhd {
    Ivhd {
        kind: 0x11,
        flags: flag::COHERENT,
        function: Bdf::new(0, 1, 0),
        capability: 0x40,
        base: Hpa(0xfed8_0000),
        segment: 0,
        msi_number: 0,
        features: Some(0x29d7),
        entries,
        incomplete: false,
    }
}

/// The bridges' machine, as if AMD had made it.
fn amd_bridges(entries: Vec<Entry>, reserved: Vec<Ivmd>) -> Platform {
    let mut platform = bridges();
    platform.tables.dmar = None;
    platform.tables.ivrs = Some(Ivrs { units: vec![ivhd(entries)], reserved, ..Ivrs::default() });
    platform
}

#[test]
fn qemus_amd_machine() {
    let platform = amd();
    assert_eq!(platform.all_findings().count(), 0);
    let Remapping { units, interrupts, x2apic_opt_out, reserved, aliases } = &platform.remapping;
    assert_eq!((*interrupts, *x2apic_opt_out, reserved.len(), aliases.len()), (true, false, 0, 0));
    assert_eq!(units.len(), 1, "its blocks of type 0x10 and 0x11 are about one unit");
    let Architecture::AmdVi(own) = &units[0].architecture else { panic!("{units:?}") };
    assert_eq!((own.function, own.capability, own.coherent), (Bdf::new(0, 1, 0), 0x40, false));
    assert_eq!((units[0].base, units[0].register_bytes), (Hpa(0xfed8_0000), 0x4000));
    for function in &platform.functions {
        assert_eq!(platform.remapping_unit(function), Some(0), "{}", function.bdf);
        assert_eq!(platform.is_remapping_unit(function), function.bdf == Bdf::new(0, 1, 0));
        assert_eq!(platform.requesters(function), [function.bdf]);
    }
    assert_eq!(platform.io_apic_source(&platform.io_apics()[0]), Some((0, Bdf::new(0, 0x14, 0))));
    assert_eq!(platform.io_apic_pin(16).unwrap().source, Some((0, Bdf::new(0, 0x14, 0))));
}

#[test]
fn settings_and_special_devices() {
    let ioapic = Bdf::new(0, 0x14, 0);
    let sender = |who| Entry { who, settings: 0xd7 };
    let mut platform = amd_bridges(
        vec![
            sender(Who::IoApic { id: 5, requester: ioapic }),
            sender(Who::IoApic { id: 5, requester: Bdf::new(0, 0, 1) }),
            Entry { who: Who::Hpet { number: 0, requester: ioapic }, settings: 0 },
            Entry { who: Who::AcpiDevice { id: "AMDI0020".into(), requester: Bdf(0xa5) }, settings: 0 },
        ],
        vec![],
    );
    assert_eq!(again(&mut platform), ["IVRS: the I/O APIC 5 is listed twice; the first counts"]);
    let unit = &platform.remapping.units[0];
    let Architecture::AmdVi(own) = &unit.architecture else { panic!("{unit:?}") };
    let signals = |id| Signals { requesters: RequesterRange::one(id), bits: 0xd7 };
    assert_eq!(own.signals, [signals(ioapic), signals(Bdf::new(0, 0, 1))]);
    assert!(own.coherent);
    assert_eq!(platform.remapping.io_apic(5), Some((0, ioapic)));
    assert_eq!(platform.remapping.hpet(0), Some((0, ioapic)));
    let served: Vec<_> = unit.served().collect();
    assert_eq!(served, [Bdf(0xa5), ioapic, ioapic].map(RequesterRange::one));
    platform.remapping.units[0].segment = 1;
    assert_eq!((platform.remapping.io_apic(5), platform.remapping.hpet(0)), (None, None), "another segment");
}

#[test]
fn aliases_are_requesters_too() {
    let alias = Bdf::new(0, 0xa, 0);
    let mut platform = amd_bridges(
        vec![
            functions(Bdf::new(0, 5, 0), Bdf::new(0, 9, 7), None),
            functions(Bdf::new(2, 0, 0), Bdf::new(2, 31, 7), Some(alias)),
            // Its own number is no alias.
            functions(Bdf::new(0, 0xb, 0), Bdf::new(0, 0xb, 0), Some(Bdf::new(0, 0xb, 0))),
        ],
        vec![],
    );
    assert_eq!(again(&mut platform), [""; 0]);
    let of = |path: &str| platform.requesters(platform.function_at(&path.parse().unwrap()).unwrap());
    assert_eq!(of("00:05.0/00.0"), [Bdf::new(2, 0, 0), alias]);
    assert_eq!(of("00:0b.0"), [Bdf::new(0, 0xb, 0)]);
    assert_eq!(platform.remapping.unit_of(0, alias), Some(0), "who serves the function serves its alias");
}

#[test]
fn functions_that_are_not_listed_are_where_function_0_is() {
    let alias = Bdf::new(0, 0xa, 0);
    let seven = Bdf::new(0, 7, 0);
    let mut platform = amd_bridges(vec![functions(seven, seven, Some(alias))], vec![]);
    let odd = "IVRS: no unit names 00:07.1; it is served as 00:07.0 is";
    assert_eq!(again(&mut platform), [odd]);
    assert_eq!(unit_at(&platform, "00:07.1"), Some(0));
    assert_eq!(platform.remapping.aliases_of(0, Bdf::new(0, 7, 1)).collect::<Vec<_>>(), [alias]);
    assert_eq!(unit_at(&platform, "00:08.0"), None);
    // Unless it is the unit itself.
    platform.tables.ivrs.as_mut().unwrap().units[0].function = Bdf::new(0, 7, 1);
    assert_eq!(again(&mut platform), [""; 0]);
    assert_eq!(unit_at(&platform, "00:07.1"), None);
}

#[test]
fn everything_else_is_served_where_the_table_says_all() {
    let mut platform = amd_bridges(vec![Entry { who: Who::All, settings: 0 }], vec![]);
    let mut other = ivhd(vec![functions(Bdf::new(0, 8, 0), Bdf::new(0, 8, 0), None)]);
    (other.function, other.base) = (Bdf::new(0x80, 0, 2), Hpa(0xfed9_0000));
    platform.tables.ivrs.as_mut().unwrap().units.push(other);
    assert_eq!(again(&mut platform), [""; 0]);
    assert_eq!(unit_at(&platform, "00:07.1"), Some(0));
    assert_eq!(unit_at(&platform, "00:08.0"), Some(1), "one that names it comes before one for the rest");
}

#[test]
fn entries_about_buses_that_do_not_exist_are_told() {
    let memory = Ivmd {
        start: Hpa(0x7e00_0000),
        bytes: 0x1000,
        segment: 0,
        first: Bdf::new(0x71, 0, 0),
        last: Bdf::new(0x71, 31, 7),
        readable: true,
        writable: true,
        exclusion: false,
    };
    let mut platform = amd_bridges(
        vec![
            functions(Bdf::new(0x70, 3, 0), Bdf::new(0x70, 3, 0), None),
            functions(Bdf::new(0, 0, 0), Bdf::new(0xff, 31, 7), None),
        ],
        vec![memory],
    );
    assert_eq!(
        again(&mut platform),
        [
            "IVRS: the unit 00:01.0 serves 70:03.0, where this machine has no bus",
            "IVRS: the reserved memory at hpa 0x7e000000 is for 71:00.0 to 71:1f.7, where this machine has no bus",
        ]
    );
    assert_eq!(unit_at(&platform, "00:07.1"), Some(0));
}

#[test]
fn reserved_memory_of_either_vendor_is_found_by_function() {
    let memory = |first, last, writable| Ivmd {
        start: Hpa(0x7e00_0000),
        bytes: 0x1000,
        segment: 0,
        first,
        last,
        readable: true,
        writable,
        exclusion: false,
    };
    let all = functions(Bdf(0), Bdf(0xffff), None);
    let mut platform = amd_bridges(
        vec![all],
        vec![
            memory(Bdf::new(0, 7, 0), Bdf::new(0, 7, 0), false),
            memory(Bdf::new(0, 7, 0), Bdf::new(0, 8, 0), true),
        ],
    );
    assert_eq!(again(&mut platform), [""; 0]);
    let of = |path: &str| -> Vec<bool> {
        let function = platform.function_at(&path.parse().unwrap()).unwrap();
        platform.reserved_memory(function).map(|range| range.writable).collect()
    };
    assert_eq!(of("00:07.0"), [false, true]);
    assert_eq!(of("00:07.1"), [true]);
    assert_eq!(of("00:0a.0"), [false; 0]);
}

#[test]
fn io_apics_that_nothing_remaps_are_told() {
    let mut platform = amd_bridges(vec![functions(Bdf(0), Bdf(0xffff), None)], vec![]);
    platform.tables.madt.io_apics = vec![IoApic { id: 5, base: Hpa(0xfec0_0000), gsi_base: 0 }];
    let told =
        "MADT: no unit remaps the interrupts of the I/O APIC 5 at hpa 0xfec00000; its pins cannot be used";
    assert_eq!(again(&mut platform), [told]);
    // Nor is there anything to tell where nothing remaps anything.
    platform.tables.ivrs = None;
    assert_eq!(again(&mut platform), [""; 0]);
}

#[test]
fn both_tables_count_where_there_are_two() {
    let mut platform = bridges();
    let nine = Bdf::new(0, 9, 0);
    platform.tables.dmar = Some(vtd(vec![drhd(0x1000, true, vec![])]));
    platform.tables.ivrs =
        Some(Ivrs { units: vec![ivhd(vec![functions(nine, nine, None)])], ..Ivrs::default() });
    assert_eq!(again(&mut platform), ["IVRS: there is a DMAR table too, which no machine has; both count"]);
    assert_eq!(platform.remapping.units[0].architecture, Architecture::Vtd);
    assert!(matches!(platform.remapping.units[1].architecture, Architecture::AmdVi(_)));
    // Whom the second names the first does not get for the rest.
    assert_eq!((unit_at(&platform, "00:09.0"), unit_at(&platform, "00:08.0")), (Some(1), Some(0)));
    assert!(platform.remapping.interrupts);
    platform.tables.dmar.as_mut().unwrap().interrupt_remapping = false;
    again(&mut platform);
    assert!(!platform.remapping.interrupts, "what one forbids");
    // One without units is none.
    platform.tables.dmar.as_mut().unwrap().units.clear();
    assert_eq!(again(&mut platform), [""; 0]);
    assert!(matches!(platform.remapping.units[0].architecture, Architecture::AmdVi(_)));
    platform.tables.ivrs.as_mut().unwrap().units.clear();
    again(&mut platform);
    assert!(platform.remapping.is_absent());
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let id = || prop_oneof![any::<u16>(), 0u16..0x600].prop_map(Bdf);
    let who = prop_oneof![
        Just(Who::All),
        (id(), id(), prop::option::of(id())).prop_map(|(a, b, alias)| Who::Functions {
            first: a.min(b),
            last: a.max(b),
            alias
        }),
        (0u8..3, id()).prop_map(|(id, requester)| Who::IoApic { id, requester }),
        (0u8..3, id()).prop_map(|(number, requester)| Who::Hpet { number, requester }),
        id().prop_map(|requester| Who::AcpiDevice { id: "X".into(), requester }),
    ];
    (who, any::<u8>()).prop_map(|(who, settings)| Entry { who, settings })
}

proptest! {
    /// Whatever a table says, who is named is served, and by nobody else than a unit that
    /// names him or serves the rest.
    #[test]
    fn who_is_named_is_served(units in prop::collection::vec(prop::collection::vec(any_entry(), 0..6), 1..4)) {
        let mut platform = bridges();
        platform.tables.dmar = None;
        let described = units.iter().enumerate().map(|(index, entries)| Ivhd {
            function: Bdf::new(0x90, index as u8, 2),
            base: Hpa(0xfed8_0000 + 0x4000 * index as u64),
            ..ivhd(entries.clone())
        });
        platform.tables.ivrs = Some(Ivrs { units: described.collect(), ..Ivrs::default() });
        again(&mut platform);
        let remapping = &platform.remapping;
        for entry in units.iter().flatten() {
            match entry.who {
                Who::Functions { first, last, alias } => {
                    for id in [first, last].into_iter().chain(alias) {
                        let unit = remapping.unit_of(0, id).unwrap();
                        prop_assert!(remapping.units[unit].names(id));
                    }
                    let aliases: Vec<Bdf> = remapping.aliases_of(0, last).collect();
                    let is_own = |alias: Bdf| first == last && alias == first;
                    prop_assert!(alias.is_none_or(|alias| is_own(alias) || aliases.contains(&alias)));
                }
                Who::IoApic { id, .. } => prop_assert!(remapping.io_apic(id).is_some()),
                Who::Hpet { number, .. } => prop_assert!(remapping.hpet(number).is_some()),
                Who::AcpiDevice { requester, .. } => prop_assert!(remapping.unit_of(0, requester).is_some()),
                Who::All => {}
            }
        }
        for function in &platform.functions {
            let requesters = platform.requesters(function);
            let Some(unit) = platform.remapping_unit(function) else { continue };
            prop_assert!(remapping.units[unit].names(function.bdf) || remapping.units[unit].serves_rest);
            prop_assert_eq!(requesters[0], function.bdf);
            let mut once = requesters.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), requesters.len(), "a requester ID is listed twice");
        }
    }
}
