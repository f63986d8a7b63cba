//! Tables that are wrong: whom a unit serves that cannot be driven, or of which nobody can
//! tell whom it serves, must not fall to the unit for the rest.

use super::*;
use alloc::vec::Vec;

fn service_of(platform: &Platform, path: &str) -> Service {
    let function = platform.function_at(&path.parse().unwrap()).unwrap();
    platform.remapping_services(function)[0].1
}

/// A unit that names 00:07.0, and one for the rest.
fn two_units(base: u64) -> Platform {
    let mut platform = bridges();
    let named = drhd(base, false, vec![scope(ScopeKind::Endpoint, &[(7, 0)])]);
    platform.tables.dmar = Some(vtd(vec![named, drhd(0xfed9_1000, true, vec![])]));
    again(&mut platform);
    platform
}

#[test]
fn a_unit_without_registers_keeps_its_functions() {
    let platform = two_units(0xfed9_0000);
    assert_eq!((service_of(&platform, "00:07.0"), unit_at(&platform, "00:07.1")), (Service::By(0), Some(1)));
    for base in [0, u64::MAX, 0xfed9_0800, u64::MAX - 0xfff] {
        let platform = two_units(base);
        assert_eq!(service_of(&platform, "00:07.0"), Service::Unusable(0), "{base:#x}");
        assert_eq!(unit_at(&platform, "00:07.0"), None);
        assert_eq!(platform.remapping.units[0].trouble, Some(Trouble::Registers));
        // Everybody else is where he was.
        assert_eq!(unit_at(&platform, "00:07.1"), Some(1), "{base:#x}");
    }
}

#[test]
fn a_unit_for_the_rest_without_registers_keeps_the_rest() {
    let mut platform = bridges();
    let named = drhd(0xfed9_0000, false, vec![scope(ScopeKind::Endpoint, &[(7, 0)])]);
    let rest = |base| drhd(base, true, vec![]);
    platform.tables.dmar = Some(vtd(vec![named.clone(), rest(0)]));
    again(&mut platform);
    assert_eq!(
        (service_of(&platform, "00:07.1"), unit_at(&platform, "00:07.0")),
        (Service::Unusable(1), Some(0))
    );
    // Another unit for the rest does not change that.
    platform.tables.dmar = Some(vtd(vec![named, rest(0xfed9_1000), rest(0)]));
    again(&mut platform);
    assert_eq!(service_of(&platform, "00:07.1"), Service::Unusable(2));
}

#[test]
fn a_second_unit_with_the_same_registers_keeps_its_functions() {
    let mut platform = bridges();
    let named = |device| drhd(0xfed9_0000, false, vec![scope(ScopeKind::Endpoint, &[(device, 0)])]);
    platform.tables.dmar = Some(vtd(vec![named(7), named(8), drhd(0xfed9_1000, true, vec![])]));
    again(&mut platform);
    assert_eq!(service_of(&platform, "00:07.0"), Service::By(0));
    assert_eq!(service_of(&platform, "00:08.0"), Service::Unusable(1));
    assert_eq!(platform.remapping.units[1].trouble, Some(Trouble::Twice));
}

#[test]
fn who_is_named_by_a_unit_that_works_and_one_that_does_not_is_held_by_nobody() {
    let mut platform = bridges();
    let named = |base| drhd(base, false, vec![scope(ScopeKind::Endpoint, &[(7, 0)])]);
    platform.tables.dmar = Some(vtd(vec![named(0xfed9_0000), named(0)]));
    again(&mut platform);
    assert_eq!(service_of(&platform, "00:07.0"), Service::Unusable(1));
}

#[test]
fn a_path_that_leads_nowhere_makes_the_rest_unsure() {
    let lost: [&[(u8, u8)]; 3] = [&[(7, 0), (0, 0)], &[(0x1d, 0), (0, 0)], &[]];
    for path in lost {
        for kind in [ScopeKind::Endpoint, ScopeKind::Bridge] {
            let mut platform = two_units(0xfed9_0000);
            platform.tables.dmar.as_mut().unwrap().units[0].scopes.push(scope(kind, path));
            again(&mut platform);
            assert_eq!(service_of(&platform, "00:07.0"), Service::By(0), "by name");
            assert_eq!(service_of(&platform, "00:07.1"), Service::Unsure(0), "{path:?}");
            assert_eq!(unit_at(&platform, "00:07.1"), None);
        }
    }
    // A device that is only not there is known by its number: it takes nothing from others.
    let mut platform = two_units(0);
    let absent = scope(ScopeKind::Endpoint, &[(2, 7)]);
    platform.tables.dmar.as_mut().unwrap().units[0].scopes.push(absent);
    again(&mut platform);
    assert_eq!(unit_at(&platform, "00:07.1"), Some(1));
    assert_eq!(platform.remapping.service(0, Bdf::new(0, 2, 7)), Service::Unusable(0));
}

#[test]
fn what_could_not_be_read_makes_the_rest_unsure() {
    let mut platform = two_units(0xfed9_0000);
    platform.tables.dmar.as_mut().unwrap().units[0].incomplete = true;
    again(&mut platform);
    assert_eq!(service_of(&platform, "00:07.1"), Service::Unsure(0));
    let mut platform = two_units(0xfed9_0000);
    platform.tables.dmar.as_mut().unwrap().incomplete = true;
    again(&mut platform);
    assert_eq!((unit_at(&platform, "00:07.1"), unit_at(&platform, "00:07.0")), (None, Some(0)));
}

#[test]
fn amds_units_keep_their_functions_too() {
    let one = |device| functions(Bdf::new(0, device, 0), Bdf::new(0, device, 7), None);
    let all = Entry { who: Who::All, settings: 0 };
    let unit = |function, base, entries: Vec<Entry>| Ivhd { function, base: Hpa(base), ..ivhd(entries) };
    let own = |device| Bdf::new(0x80, device, 2);
    let broken: [(Ivhd, Trouble); 4] = [
        (unit(own(1), 0, vec![one(8)]), Trouble::Registers),
        (unit(own(1), 0xfed8_1000, vec![one(8)]), Trouble::Registers),
        (unit(own(1), 0xfed8_0000, vec![one(8)]), Trouble::Twice),
        (unit(own(0), 0xfed9_0000, vec![one(8)]), Trouble::Twice),
    ];
    for (second, trouble) in broken {
        let mut platform = amd_bridges(vec![], vec![]);
        let first = unit(own(0), 0xfed8_0000, vec![one(7), all.clone()]);
        platform.tables.ivrs.as_mut().unwrap().units = vec![first, second];
        again(&mut platform);
        assert_eq!(platform.remapping.units[1].trouble, Some(trouble));
        assert_eq!(service_of(&platform, "00:08.0"), Service::Unusable(1), "{trouble:?}");
        assert_eq!(unit_at(&platform, "00:07.1"), Some(0));
        assert_eq!(unit_at(&platform, "00:09.0"), Some(0));
    }
    let mut platform = amd_bridges(vec![one(7), all], vec![]);
    platform.tables.ivrs.as_mut().unwrap().units[0].incomplete = true;
    again(&mut platform);
    assert_eq!((unit_at(&platform, "00:09.0"), unit_at(&platform, "00:07.0")), (None, Some(0)));
}

#[test]
fn siblings_of_a_function_whose_unit_is_broken_are_there_too() {
    let seven = Bdf::new(0, 7, 0);
    let mut platform = amd_bridges(vec![functions(seven, seven, None)], vec![]);
    platform.tables.ivrs.as_mut().unwrap().units[0].base = Hpa(0);
    again(&mut platform);
    assert_eq!(service_of(&platform, "00:07.1"), Service::Unusable(0));
}

#[test]
fn interrupts_of_an_io_apic_are_not_remapped_by_a_broken_unit() {
    for (base, expected) in [(0xfed9_0000, Some((0, Bdf::new(0, 0x1e, 7)))), (0, None)] {
        let mut platform = bridges();
        let named = drhd(base, false, vec![scope(ScopeKind::IoApic(3), &[(0x1e, 7)])]);
        platform.tables.dmar = Some(vtd(vec![named, drhd(0xfed9_1000, true, vec![])]));
        again(&mut platform);
        assert_eq!(platform.remapping.io_apic(3), expected);
    }
}
