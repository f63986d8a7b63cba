//! Domains: what devices reach, and when they do no longer.

use super::mock::Mood;
use super::*;
use crate::{DomainId, IommuError};
use spec::vtd::capability;
use spec::{Gpa, Hpa, RequesterRange};
use tables::{MapError, Permissions};

const RAM_AT: Hpa = Hpa(0x4000_0000);
const MIB4: u64 = 4 << 20;

/// A domain of 4 MiB at gpa 0.
fn with_domain(bench: &mut Bench) -> DomainId {
    let domain = bench.units.create_domain(&[who(NIC)]).unwrap();
    bench.units.map(domain, Gpa(0), RAM_AT, MIB4, Permissions::READ_WRITE).unwrap();
    domain
}

fn attached(bench: &mut Bench) -> DomainId {
    let domain = with_domain(bench);
    bench.units.attach(alone(NIC), domain).unwrap();
    domain
}

#[test]
fn a_function_reaches_its_domain_and_nothing_else() {
    for mut bench in benches() {
        // Refused before, so that a unit in caching mode remembers the refusal.
        assert_eq!(bench.mock.dma(NIC, 0, true), None);
        let domain = attached(&mut bench);
        assert_eq!(bench.mock.dma(NIC, 0x1234, true), Some(RAM_AT.0 + 0x1234));
        assert_eq!(bench.mock.dma(NIC, MIB4 - 1, false), Some(RAM_AT.0 + MIB4 - 1));
        assert_eq!(bench.mock.dma(NIC, MIB4, false), None);
        assert_eq!(bench.mock.dma(DISK, 0, false), None);
        assert_eq!(bench.units.domain_of(who(NIC)), Some(domain));
        // What was absent, and cached as such, can be mapped.
        bench.units.map(domain, Gpa(MIB4), RAM_AT, PAGE, Permissions::READ).unwrap();
        assert_eq!(bench.mock.dma(NIC, MIB4, false), Some(RAM_AT.0));
        assert_eq!(bench.mock.dma(NIC, MIB4, true), None);
    }
}

#[test]
fn missing_flush_after_unmap_no_stale_translation_is_left() {
    for mut bench in benches() {
        let domain = attached(&mut bench);
        for address in [0, PAGE, MIB4 / 2, MIB4 - PAGE] {
            assert!(bench.mock.dma(NIC, address, true).is_some());
        }
        bench.units.unmap(domain, Gpa(PAGE), PAGE).unwrap();
        assert_eq!(bench.mock.dma(NIC, PAGE, true), None);
        assert!(bench.mock.dma(NIC, 0, true).is_some());
        assert!(bench.mock.dma(NIC, 2 * PAGE, true).is_some());
        bench.units.unmap(domain, Gpa(0), MIB4).unwrap();
        for address in [0, PAGE, MIB4 / 2, MIB4 - PAGE] {
            assert_eq!(bench.mock.dma(NIC, address, true), None);
        }
        assert!(!bench.ram.read_freed());
    }
}

#[test]
fn teardown_blocks_before_anything_is_freed() {
    for mut bench in benches() {
        let all = bench.ram.left();
        let domain = attached(&mut bench);
        assert!(bench.mock.dma(NIC, 0, true).is_some());
        assert_eq!(bench.units.destroy_domain(domain), Err(IommuError::DomainInUse));
        bench.units.detach(who(NIC)).unwrap();
        assert_eq!(bench.mock.dma(NIC, 0, true), None);
        bench.units.destroy_domain(domain).unwrap();
        // One frame stays: the context table of bus 0.
        assert_eq!(bench.ram.left(), all - 1);
        assert_eq!(bench.mock.dma(NIC, 0, true), None);
        assert!(!bench.ram.read_freed());
        // The identifier and the requester serve again, with nothing of the old.
        let next = bench.units.create_domain(&[who(NIC)]).unwrap();
        bench.units.attach(alone(NIC), next).unwrap();
        assert_eq!(next, domain);
        assert_eq!(bench.mock.dma(NIC, 0, true), None);
    }
}

#[test]
fn frames_wait_for_a_flush_that_works() {
    for mut bench in benches() {
        let domain = with_domain(&mut bench);
        bench.units.map(domain, Gpa(1 << 30), RAM_AT, PAGE, Permissions::READ_WRITE).unwrap();
        bench.units.attach(alone(NIC), domain).unwrap();
        assert!(bench.mock.dma(NIC, 1 << 30, true).is_some());
        let left = bench.ram.left();
        bench.mock.set_mood(Mood::Stuck);
        let timed_out = Err(IommuError::TimedOut("an invalidation"));
        assert_eq!(bench.units.unmap(domain, Gpa(1 << 30), PAGE), timed_out);
        assert_eq!(bench.ram.left(), left);
        // The device may still use what it has cached; nothing of it was given away.
        assert!(bench.mock.dma(NIC, 1 << 30, true).is_some());
        assert!(!bench.ram.read_freed());
        // Nor is the range mapped anew under a stale translation.
        let map = bench.units.map(domain, Gpa(1 << 30), Hpa(0x5000_0000), PAGE, Permissions::READ_WRITE);
        assert_eq!(map, timed_out);
        bench.mock.set_mood(Mood::Well);
        bench.units.flush().unwrap();
        assert_eq!(bench.ram.left(), left + 2);
        assert_eq!(bench.mock.dma(NIC, 1 << 30, true), None);
    }
}

#[test]
fn an_error_of_the_flush_keeps_the_function_on_record() {
    for mut bench in benches() {
        let domain = attached(&mut bench);
        assert!(bench.mock.dma(NIC, 0, true).is_some());
        bench.mock.set_mood(Mood::Stuck);
        assert!(bench.units.detach(who(NIC)).is_err());
        assert_eq!(bench.units.domain_of(who(NIC)), Some(domain));
        assert_eq!(bench.units.destroy_domain(domain), Err(IommuError::DomainInUse));
        assert_eq!(bench.units.attach(alone(NIC), domain), Err(IommuError::InUse(who(NIC))));
        bench.mock.set_mood(Mood::Well);
        bench.units.detach(who(NIC)).unwrap();
        assert_eq!(bench.mock.dma(NIC, 0, true), None);
        assert_eq!(bench.units.detach(who(NIC)), Err(IommuError::NotGranted(who(NIC))));
    }
}

#[test]
fn all_aliases_are_granted_or_none() {
    for mut bench in benches() {
        let first = with_domain(&mut bench);
        let second = bench.units.create_domain(&[who(DISK)]).unwrap();
        let behind_bridge = Function::new(who(DISK), &[BRIDGE]);
        bench.units.attach(behind_bridge, second).unwrap();
        // The bridge's ID belongs to the other guest.
        let clash = Function::new(who(NIC), &[BRIDGE]);
        assert_eq!(bench.units.attach(clash, first), Err(IommuError::InUse(who(BRIDGE))));
        assert_eq!(bench.units.domain_of(who(NIC)), None);
        assert_eq!(bench.mock.dma(NIC, 0, true), None);
        // Within one guest functions share it, until the last one goes.
        bench.units.map(second, Gpa(0), RAM_AT, PAGE, Permissions::READ).unwrap();
        bench.units.attach(clash, second).unwrap();
        bench.units.detach(who(DISK)).unwrap();
        assert!(bench.mock.dma(BRIDGE, 0, false).is_some());
        assert_eq!(bench.mock.dma(DISK, 0, false), None);
        bench.units.detach(who(NIC)).unwrap();
        assert_eq!(bench.mock.dma(BRIDGE, 0, false), None);
    }
}

#[test]
fn records_and_domains_are_those_of_the_plan() {
    let limits = Limits { domains: 1, requesters: 1, ..LIMITS };
    let mut bench = Bench::with(PLAIN_CAP, COHERENT_ECAP, limits);
    let domain = bench.units.create_domain(&[who(NIC)]).unwrap();
    assert_eq!(bench.units.create_domain(&[who(NIC)]), Err(IommuError::OutOfDomains));
    let two = Function::new(who(NIC), &[BRIDGE]);
    assert_eq!(bench.units.attach(two, domain), Err(IommuError::OutOfRecords));
    assert_eq!(bench.units.domain_of(who(NIC)), None);
    bench.units.attach(alone(NIC), domain).unwrap();
    assert_eq!(
        bench.units.map(DomainId(1), Gpa(0), RAM_AT, PAGE, Permissions::READ),
        Err(IommuError::NoDomain)
    );
    assert_eq!(bench.units.attach(alone(DISK), DomainId(9)), Err(IommuError::NoDomain));
}

#[test]
fn the_interrupt_range_is_never_mapped() {
    let mut bench = Bench::with(QEMU_CAP, QEMU_ECAP, LIMITS);
    let domain = with_domain(&mut bench);
    let mut map = |gpa, bytes| bench.units.map(domain, Gpa(gpa), RAM_AT, bytes, Permissions::READ);
    assert_eq!(map(0xfee0_0000, PAGE), Err(IommuError::InterruptRange));
    assert_eq!(map(0xfedf_f000, 2 * PAGE), Err(IommuError::InterruptRange));
    assert_eq!(map(0xfeef_f000, 2 * PAGE), Err(IommuError::InterruptRange));
    assert_eq!(map(0xfedf_f000, PAGE), Ok(()));
    assert_eq!(map(0xfef0_0000, PAGE), Ok(()));
}

#[test]
fn reserved_memory_is_reached_exactly_and_only_while_attached() {
    let mut bench = Bench::with(QEMU_CAP, QEMU_ECAP, LIMITS);
    let (start, bytes) = (0x7e00_1000, 3 * PAGE);
    let domain = bench.units.create_domain(&[who(NIC)]).unwrap();
    bench.units.map(domain, Gpa(start), Hpa(start), bytes, Permissions::READ).unwrap();
    assert_eq!(bench.mock.dma(NIC, start, false), None, "before it is attached");
    bench.units.attach(alone(NIC), domain).unwrap();
    let reached = |bench: &Bench, at| bench.mock.dma(NIC, at, false);
    for page in 0..3 {
        assert_eq!(reached(&bench, start + page * PAGE), Some(start + page * PAGE));
    }
    assert_eq!((reached(&bench, start - 1), reached(&bench, start + bytes)), (None, None));
    assert_eq!(bench.mock.dma(NIC, start, true), None, "what may only be read");
    // What fails leaves the domain as it was.
    let messages = 0xfedf_f000;
    let over = bench.units.map(domain, Gpa(messages), Hpa(messages), 2 * PAGE, Permissions::READ);
    assert_eq!(over, Err(IommuError::InterruptRange));
    assert_eq!((reached(&bench, messages), reached(&bench, start)), (None, Some(start)));
    bench.units.detach(who(NIC)).unwrap();
    assert_eq!(reached(&bench, start), None, "it does not outlive the function's stay");
}

#[test]
fn units_differ_and_each_gets_tables_of_its_own_shape() {
    let ram = Ram::new(200, false);
    // 39 bits and 4 KiB pages, not snooping; 48 bits and 1 GiB pages in caching mode.
    let narrow_cap = PLAIN_CAP & !(0x1f << 8 | 0x3f << 16 | 3 << 34) | 1 << 9 | 38 << 16;
    let narrow = MockUnit::new(ram.clone(), narrow_cap, QEMU_ECAP);
    let wide = MockUnit::new(ram.clone(), QEMU_CAP, QEMU_ECAP);
    let unit = |mock: &MockUnit, serves_rest| UnitDescription {
        registers: Some(mock.clone()),
        segment: 0,
        architecture: Architecture::Vtd,
        serves_rest,
        requesters: Vec::from([RequesterRange::one(NIC)]),
        unsure: false,
    };
    let descriptions = Vec::from([unit(&narrow, false), unit(&wide, true)]);
    let mut units =
        Units::new(descriptions, ram.clone(), SteppingClock::new(1_000_000), &no_config(), LIMITS);
    let domain = units.create_domain(&[who(NIC), who(DISK)]).unwrap();
    units.map(domain, Gpa(0), Hpa(0x8000_0000), MIB4, Permissions::READ_WRITE).unwrap();
    units.attach(alone(NIC), domain).unwrap();
    units.attach(alone(DISK), domain).unwrap();
    assert_eq!(narrow.dma(NIC, MIB4 - 1, true), Some(0x8000_0000 + MIB4 - 1));
    assert_eq!(wide.dma(DISK, MIB4 - 1, true), Some(0x8000_0000 + MIB4 - 1));
    assert_eq!(wide.dma(NIC, 0, true), None);
    // Beyond what one of them can translate neither gets it.
    let far = Gpa(1 << 39);
    let result = units.map(domain, far, Hpa(0x8000_0000), PAGE, Permissions::READ_WRITE);
    assert_eq!(result, Err(IommuError::Map(MapError::OutOfRange)));
    assert_eq!(wide.dma(DISK, far.0, true), None);
    units.unmap(domain, Gpa(0), MIB4).unwrap();
    assert_eq!((narrow.dma(NIC, 0, true), wide.dma(DISK, 0, true)), (None, None));
    // A domain that was made for one unit cannot be used on the other.
    let other = units.create_domain(&[who(DISK)]).unwrap();
    units.detach(who(NIC)).unwrap();
    assert_eq!(units.attach(alone(NIC), other), Err(IommuError::WrongUnit(who(NIC))));
}

#[test]
fn a_unit_tells_only_so_many_domains_apart() {
    // ND = 0: 16 identifiers, of which 0 is not used.
    let limits = Limits { domains: 20, ..LIMITS };
    let mut bench = Bench::with(PLAIN_CAP & !7, COHERENT_ECAP, limits);
    for _ in 0..15 {
        bench.units.create_domain(&[who(NIC)]).unwrap();
    }
    let left = bench.ram.left();
    assert_eq!(bench.units.create_domain(&[who(NIC)]), Err(IommuError::OutOfDomains));
    assert_eq!(bench.ram.left(), left);
}

#[test]
fn only_caching_mode_is_flushed_for_what_becomes_present() {
    for cap in [PLAIN_CAP, QEMU_CAP] {
        let mut bench = Bench::with(cap, QEMU_ECAP, LIMITS);
        bench.mock.log();
        let _ = attached(&mut bench);
        assert_eq!(bench.mock.log().is_empty(), cap & capability::CACHING_MODE == 0);
    }
}
