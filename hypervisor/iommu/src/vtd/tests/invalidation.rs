//! The invalidation queue under errors.

use super::mock::Mood;
use super::*;
use crate::IommuError;
use spec::{Gpa, Hpa};
use tables::Permissions;

#[test]
fn a_refused_descriptor_is_reported_and_the_queue_goes_on() {
    for mut bench in benches() {
        bench.mock.set_mood(Mood::Refuses(1));
        assert_eq!(bench.units.flush(), Err(IommuError::InvalidationRefused));
        assert_eq!(bench.units.flush(), Ok(()));
        // Every one of them refused.
        bench.mock.set_mood(Mood::Refuses(3));
        assert_eq!(bench.units.flush(), Err(IommuError::InvalidationRefused));
        assert_eq!(bench.units.flush(), Ok(()));
    }
}

#[test]
fn a_refused_flush_frees_nothing() {
    for mut bench in benches() {
        let domain = bench.units.create_domain(&[who(NIC)]).unwrap();
        bench.units.map(domain, Gpa(0), Hpa(0x4000_0000), PAGE, Permissions::READ).unwrap();
        bench.units.attach(alone(NIC), domain).unwrap();
        assert!(bench.mock.dma(NIC, 0, false).is_some());
        let left = bench.ram.left();
        bench.mock.set_mood(Mood::Refuses(1));
        assert_eq!(bench.units.unmap(domain, Gpa(0), PAGE), Err(IommuError::InvalidationRefused));
        assert_eq!(bench.ram.left(), left);
        // Asked again, it has nothing to unmap, and still owes the flush.
        assert_eq!(bench.units.unmap(domain, Gpa(0), PAGE), Ok(()));
        assert_eq!(bench.mock.dma(NIC, 0, false), None);
        assert!(bench.ram.left() > left);
    }
}

#[test]
fn a_device_that_does_not_answer_is_tried_once_more() {
    for mut bench in benches() {
        bench.mock.set_mood(Mood::GivesUp(1));
        assert_eq!(bench.units.flush(), Ok(()));
        bench.mock.set_mood(Mood::GivesUp(5));
        assert!(matches!(bench.units.flush(), Err(IommuError::TimedOut(_))));
        bench.mock.set_mood(Mood::Well);
        assert_eq!(bench.units.flush(), Ok(()));
    }
}

#[test]
fn a_unit_that_stopped_never_hangs_us_nor_overruns_the_queue() {
    let mut bench = Bench::with(QEMU_CAP, QEMU_ECAP, LIMITS);
    bench.mock.set_mood(Mood::Stuck);
    let errors: Vec<_> = (0..100).map(|_| bench.units.flush().unwrap_err()).collect();
    assert_eq!(errors.first(), Some(&IommuError::TimedOut("an invalidation")));
    assert_eq!(errors.last(), Some(&IommuError::QueueFull));
    bench.mock.set_mood(Mood::Well);
    // Alive again, the unit works off what is there.
    bench.mock.0.borrow_mut().run_queue();
    assert_eq!(bench.units.flush(), Ok(()));
}

#[test]
fn the_queue_wraps() {
    let mut bench = Bench::with(QEMU_CAP, QEMU_ECAP, LIMITS);
    bench.units.grant_interrupts(alone(NIC), 1).unwrap();
    for round in 0..1000u32 {
        let msi = bench.units.remap(who(NIC), 0, edge(0x20 + (round % 200) as u8, round)).unwrap();
        let arrived = bench.mock.interrupt(NIC, msi.address, msi.data);
        assert_eq!(arrived, Some((0x20 + (round % 200) as u8, round)));
    }
}
