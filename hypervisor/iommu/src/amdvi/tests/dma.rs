//! Domains: what devices reach, and when they do no longer.

use super::*;
use crate::DomainId;
use spec::{Gpa, Hpa};
use tables::Permissions;

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
        // Refused before, so that a unit that caches what is absent remembers it.
        assert_eq!(bench.mock.dma(NIC, 0, true), None);
        let domain = attached(&mut bench);
        assert_eq!(bench.mock.dma(NIC, 0x1234, true), Some(RAM_AT.0 + 0x1234));
        assert_eq!(bench.mock.dma(NIC, MIB4 - 1, false), Some(RAM_AT.0 + MIB4 - 1));
        assert_eq!(bench.mock.dma(NIC, MIB4, false), None);
        assert_eq!(bench.mock.dma(DISK, 0, false), None);
        assert_eq!(bench.units.domain_of(who(NIC)), Some(domain));
        bench.units.map(domain, Gpa(MIB4), RAM_AT, PAGE, Permissions::READ).unwrap();
        assert_eq!(bench.mock.dma(NIC, MIB4, false), Some(RAM_AT.0));
        assert_eq!(bench.mock.dma(NIC, MIB4, true), None);
    }
}

#[test]
fn pages_of_every_size_translate() {
    const GIB: u64 = 1 << 30;
    for mut bench in benches() {
        let domain = bench.units.create_domain(&[who(NIC)]).unwrap();
        bench.units.attach(alone(NIC), domain).unwrap();
        let bytes = GIB + (2 << 20) + PAGE;
        bench.units.map(domain, Gpa(GIB), Hpa(4 * GIB), bytes, Permissions::READ_WRITE).unwrap();
        for offset in [0, GIB - 1, GIB, GIB + (2 << 20) - 1, GIB + (2 << 20), bytes - 1] {
            assert_eq!(bench.mock.dma(NIC, GIB + offset, true), Some(4 * GIB + offset));
        }
        assert_eq!(bench.mock.dma(NIC, GIB + bytes, true), None);
        // A hole in the large page, with everything else as it was.
        bench.units.unmap(domain, Gpa(GIB + PAGE), PAGE).unwrap();
        assert_eq!(bench.mock.dma(NIC, GIB + PAGE, true), None);
        assert_eq!(bench.mock.dma(NIC, 2 * GIB - 1, true), Some(5 * GIB - 1));
        assert!(!bench.ram.read_freed());
    }
}

#[test]
fn no_stale_translation_is_left_after_unmapping() {
    for mut bench in benches() {
        let domain = attached(&mut bench);
        for address in [0, PAGE, MIB4 / 2, MIB4 - PAGE] {
            assert!(bench.mock.dma(NIC, address, true).is_some());
        }
        bench.units.unmap(domain, Gpa(PAGE), PAGE).unwrap();
        assert_eq!(bench.mock.dma(NIC, PAGE, true), None);
        assert!(bench.mock.dma(NIC, 0, true).is_some());
        bench.units.unmap(domain, Gpa(0), MIB4).unwrap();
        for address in [0, PAGE, MIB4 / 2, MIB4 - PAGE] {
            assert_eq!(bench.mock.dma(NIC, address, true), None);
        }
        assert!(!bench.ram.read_freed());
    }
}

#[test]
fn detaching_blocks_then_flushes_then_waits_and_only_then_frees() {
    for mut bench in benches() {
        let all = bench.ram.left();
        let domain = attached(&mut bench);
        assert!(bench.mock.dma(NIC, 0, true).is_some());
        assert_eq!(bench.units.destroy_domain(domain), Err(IommuError::DomainInUse));
        bench.mock.log();
        bench.ram.writes();
        bench.units.detach(who(NIC)).unwrap();
        assert_eq!(bench.mock.log(), [2, 3, 3, 1], "the entry, then its pages, then the wait");
        // What allows DMA is the first thing that goes.
        let (_, first) = bench.ram.writes()[0];
        assert_eq!(first & 3 << 61, 0);
        assert_eq!(bench.mock.dma(NIC, 0, true), None);
        bench.units.destroy_domain(domain).unwrap();
        assert_eq!(bench.ram.left(), all);
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
fn refusals_of_a_blocked_function_harm_nobody_in_its_old_domain() {
    for mut bench in benches() {
        let domain = attached(&mut bench);
        bench.units.attach(alone(DISK), domain).unwrap();
        bench.units.detach(who(NIC)).unwrap();
        for address in [0, PAGE, MIB4 - PAGE] {
            assert_eq!(bench.mock.dma(NIC, address, true), None);
            assert_eq!(bench.mock.dma(DISK, address, true), Some(RAM_AT.0 + address));
            assert_eq!(bench.mock.dma(NIC, address, true), None);
        }
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
        let timed_out = Err(IommuError::TimedOut("a command"));
        assert_eq!(bench.units.unmap(domain, Gpa(1 << 30), PAGE), timed_out);
        assert_eq!(bench.ram.left(), left);
        assert!(bench.mock.dma(NIC, 1 << 30, true).is_some());
        assert!(!bench.ram.read_freed());
        // Nor is the range mapped anew under a stale translation.
        let map = bench.units.map(domain, Gpa(1 << 30), Hpa(0x5000_0000), PAGE, Permissions::READ_WRITE);
        assert!(map.is_err());
        bench.mock.set_mood(Mood::Well);
        bench.mock.0.borrow_mut().run_commands();
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
        bench.mock.set_mood(Mood::Well);
        bench.mock.0.borrow_mut().run_commands();
        bench.units.detach(who(NIC)).unwrap();
        assert_eq!(bench.mock.dma(NIC, 0, true), None);
        assert_eq!(bench.units.detach(who(NIC)), Err(IommuError::NotGranted(who(NIC))));
    }
}

#[test]
fn an_illegal_command_is_reported_and_the_buffer_starts_again() {
    for mut bench in benches() {
        let domain = attached(&mut bench);
        assert!(bench.mock.dma(NIC, 0, false).is_some());
        let left = bench.ram.left();
        bench.mock.set_mood(Mood::Refuses(1));
        assert_eq!(bench.units.unmap(domain, Gpa(0), MIB4), Err(IommuError::InvalidationRefused));
        assert_eq!(bench.ram.left(), left);
        // Asked again, it has nothing to unmap, and still owes the flush.
        assert_eq!(bench.units.unmap(domain, Gpa(0), MIB4), Ok(()));
        assert_eq!(bench.mock.dma(NIC, 0, false), None);
        assert!(bench.ram.left() > left);
        // The unit said so in its log, too: of nobody's doing but its own.
        let fault = core::iter::from_fn(|| bench.units.next_fault()).find(|fault| fault.code == 5);
        assert_eq!(fault.unwrap().source, who(OWN));
    }
}

#[test]
fn a_unit_that_stopped_never_hangs_us_nor_overruns_the_buffer() {
    let mut bench = bench();
    bench.mock.set_mood(Mood::Stuck);
    let errors: Vec<_> = (0..200).map(|_| bench.units.flush().unwrap_err()).collect();
    assert_eq!(errors.first(), Some(&IommuError::TimedOut("a command")));
    assert_eq!(errors.last(), Some(&IommuError::QueueFull));
    bench.mock.set_mood(Mood::Well);
    bench.mock.0.borrow_mut().run_commands();
    assert_eq!(bench.units.flush(), Ok(()));
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
fn every_state_of_an_entry_is_blocked_or_whole() {
    for mut bench in benches() {
        let domain = with_domain(&mut bench);
        bench.ram.writes();
        bench.units.attach(alone(NIC), domain).unwrap();
        let writes = bench.ram.writes();
        let (entry, allows) = writes[2];
        assert_eq!(writes[1].0, entry + 8, "the domain goes before what allows DMA");
        assert_eq!(writes[0], (entry + 16, 1), "and before it whatever signals passed");
        assert_eq!(allows & 3 << 61, 3 << 61);
        assert_eq!(writes.iter().filter(|(at, _)| at.align_down(32) == entry).count(), 3);
    }
}

#[test]
fn units_of_one_machine_differ() {
    let ram = Ram::new(400, false);
    let first = MockUnit::new(ram.clone(), QEMU_FEATURES, true);
    let second = MockUnit::new(ram.clone(), QEMU_FEATURES & !feature::INVALIDATE_ALL & !0xc00, false);
    let unit = |mock: &MockUnit, range| UnitDescription {
        registers: Some(mock.clone()),
        architecture: Architecture::AmdVi(own(false)),
        segment: 0,
        serves_rest: false,
        requesters: Vec::from([range]),
        unsure: false,
    };
    let descriptions =
        Vec::from([unit(&first, RequesterRange::one(NIC)), unit(&second, RequesterRange::buses(1, 1))]);
    let config = config((0x1022, 0x1631), true);
    let clock = SteppingClock::new(1_000_000);
    let mut units = Units::new(descriptions, ram.clone(), clock, &config, LIMITS);
    let domain = units.create_domain(&[who(NIC), who(CARD)]).unwrap();
    units.map(domain, Gpa(0), RAM_AT, MIB4, Permissions::READ_WRITE).unwrap();
    units.attach(alone(NIC), domain).unwrap();
    units.attach(alone(CARD), domain).unwrap();
    assert_eq!(first.dma(NIC, PAGE, true), Some(RAM_AT.0 + PAGE));
    assert_eq!(second.dma(CARD, PAGE, true), Some(RAM_AT.0 + PAGE));
    assert_eq!((first.dma(CARD, PAGE, true), second.dma(NIC, PAGE, true)), (None, None));
    assert_eq!(units.attach(alone(DISK), domain), Err(IommuError::NoUnit(who(DISK))));
    // Messages of one function never go by two units.
    let both = Function::new(who(NIC), &[CARD]);
    assert_eq!(units.grant_interrupts(both, 1), Err(IommuError::WrongUnit(who(CARD))));
    units.unmap(domain, Gpa(0), MIB4).unwrap();
    assert_eq!((first.dma(NIC, PAGE, true), second.dma(CARD, PAGE, true)), (None, None));
}
