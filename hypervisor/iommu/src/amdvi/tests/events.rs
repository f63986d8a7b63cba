//! Events: attributed, drained, counted.

use super::*;
use crate::{Fault, FaultKind};
use access::{ConfigSpace, RegisterWindow};
use spec::amdvi::{Control, Status, register};
use spec::{Gpa, Hpa};
use std::string::ToString;
use tables::Permissions;

fn attached(bench: &mut Bench, id: Bdf) {
    let domain = bench.units.create_domain(&[who(id)]).unwrap();
    bench.units.map(domain, Gpa(0), Hpa(0x4000_0000), PAGE, Permissions::READ).unwrap();
    bench.units.attach(alone(id), domain).unwrap();
}

#[test]
fn a_fault_tells_who_did_what_where_and_why() {
    let mut bench = bench();
    attached(&mut bench, CARD);
    bench.mock.dma(CARD, 0x0678, true);
    let fault = bench.units.next_fault().unwrap();
    let expected = Fault {
        unit: 0,
        source: who(CARD),
        address: 0,
        kind: FaultKind::Write,
        reason: "it is not granted that",
        code: 2,
    };
    assert_eq!(fault, expected);
    assert_eq!(fault.to_string(), "0000:01:04.0 wrote 0x0: it is not granted that (code 0x2)");
    // Where nothing is, the record does not say whether it was a write.
    bench.mock.dma(NIC, 0x1234_5678, true);
    let fault = bench.units.next_fault().unwrap();
    assert_eq!((fault.source, fault.kind, fault.address), (who(NIC), FaultKind::Access, 0x1234_5000));
    assert_eq!(bench.units.next_fault(), None);
}

#[test]
fn interrupts_are_told_apart() {
    let mut bench = bench();
    bench.mock.interrupt(NIC, 0xfee0_1000, 0x41);
    let fault = bench.units.next_fault().unwrap();
    assert_eq!((fault.source, fault.kind, fault.address), (who(NIC), FaultKind::Interrupt, 0xfee0_1000));
}

#[test]
fn every_code_is_a_fault_of_somebody() {
    let mut bench = bench();
    for code in 1..=15u64 {
        bench.mock.event([code << 60 | u64::from(CARD.0), 0x5000]);
        let fault = bench.units.next_fault().unwrap();
        let source = if code == 5 || code == 6 { OWN } else { CARD };
        assert_eq!((u64::from(fault.code), fault.source), (code, who(source)));
        assert!(!fault.reason.is_empty());
    }
    assert_eq!(bench.units.next_fault(), None);
}

#[test]
fn an_overflow_is_counted_and_recording_goes_on() {
    let mut bench = bench();
    for address in 0..300 {
        bench.mock.dma(NIC, address * PAGE, true);
    }
    let drained = core::iter::from_fn(|| bench.units.next_fault()).count();
    // One slot stays free.
    assert_eq!(drained, 255);
    assert_eq!(bench.units.lost_faults(), 1);
    assert_ne!(bench.mock.read64(register::STATUS) & Status::EVENT_LOG_RUNS.bits(), 0);
    bench.mock.dma(NIC, 9 * PAGE, true);
    assert_eq!(bench.units.next_fault().unwrap().address, 9 * PAGE);
    assert_eq!(bench.units.lost_faults(), 1);
}

#[test]
fn the_log_wraps() {
    let mut bench = bench();
    for round in 0..1000 {
        bench.mock.dma(NIC, round * PAGE, true);
        assert_eq!(bench.units.next_fault().unwrap().address, round * PAGE);
    }
    assert_eq!(bench.units.lost_faults(), 0);
}

#[test]
fn an_entry_that_never_arrives_is_skipped_and_never_waited_for_without_end() {
    let mut bench = bench();
    bench.mock.0.borrow_mut().late = true;
    bench.mock.dma(NIC, PAGE, true);
    assert_eq!(bench.units.next_fault(), None);
    bench.mock.0.borrow_mut().late = false;
    bench.mock.dma(NIC, 2 * PAGE, true);
    assert_eq!(bench.units.next_fault().unwrap().address, 2 * PAGE);
}

#[test]
fn the_interrupt_is_acknowledged_before_the_log_is_read() {
    let mut bench = bench();
    bench.mock.dma(NIC, PAGE, true);
    assert_ne!(bench.mock.read64(register::STATUS) & Status::EVENT_INTERRUPT.bits(), 0);
    bench.units.next_fault().unwrap();
    assert_eq!(bench.mock.read64(register::STATUS) & Status::EVENT_INTERRUPT.bits(), 0);
}

#[test]
fn page_requests_are_answered_and_reported() {
    let mut bench = bench();
    bench.mock.log();
    bench.mock.page_request(CARD, 0x7000, 0x15);
    let fault = bench.units.next_fault().unwrap();
    assert_eq!((fault.source, fault.address), (who(CARD), 0x7000));
    assert_eq!(fault.reason, "page requests are refused");
    assert_eq!(bench.mock.log(), [7, 1]);
    for page in 0..300 {
        bench.mock.page_request(CARD, page * PAGE, 1);
    }
    assert_eq!(core::iter::from_fn(|| bench.units.next_fault()).count(), 255);
    assert_eq!(bench.units.lost_faults(), 1);
    bench.mock.page_request(CARD, 0x9000, 1);
    assert_eq!(bench.units.next_fault().unwrap().address, 0x9000);
}

/// A unit with the events of QEMU.
fn qemu() -> Bench {
    let ram = Ram::new(400, false);
    let mock = MockUnit::new(ram.clone(), QEMU_FEATURES, true);
    mock.0.borrow_mut().qemu = true;
    Bench::start(mock, ram, false, LIMITS)
}

#[test]
fn events_without_a_bus_are_given_to_the_one_function_that_it_can_be() {
    let mut bench = qemu();
    attached(&mut bench, CARD);
    bench.mock.dma(CARD, 0x12_3456, true);
    let fault = bench.units.next_fault().unwrap();
    assert_eq!((fault.source, fault.kind, fault.address), (who(CARD), FaultKind::Write, 0x12_3000));
    bench.mock.dma(CARD, 0x12_3456, false);
    assert_eq!(bench.units.next_fault().unwrap().kind, FaultKind::Read);
    // Of a function that nobody has, and of one of two, the bus stays unknown.
    bench.mock.dma(Bdf::new(1, 9, 0), 0, true);
    assert_eq!(bench.units.next_fault().unwrap().source, who(Bdf::new(0, 9, 0)));
    attached(&mut bench, Bdf::new(0, 4, 0));
    bench.mock.dma(CARD, 0x12_3456, true);
    assert_eq!(bench.units.next_fault().unwrap().source, who(Bdf::new(0, 4, 0)));
}

#[test]
fn other_units_are_believed() {
    let mut bench = bench();
    attached(&mut bench, CARD);
    bench.mock.dma(Bdf::new(0, 4, 0), 0, true);
    assert_eq!(bench.units.next_fault().unwrap().source, who(Bdf::new(0, 4, 0)));
}

#[test]
fn the_event_interrupt_goes_where_it_is_told_in_either_mode() {
    let mut bench = bench();
    bench.units.set_fault_interrupt(&bench.config, 0x19, 0x0102_0304);
    assert_eq!(bench.mock.read64(register::X2APIC_EVENT_INTERRUPT), 0x0100_0019_0203_0400);
    let set =
        Control::EVENT_INTERRUPT.bits() | Control::X2APIC_OWN_INTERRUPTS.bits() | Control::ENABLE.bits();
    assert_eq!(bench.mock.read64(register::CONTROL) & set, set);
    // An MSI could not reach that processor.
    assert_eq!(bench.config.read16(OWN, MSI + 2) & 1, 0);

    let unit = UnitLimits { x2apic: false, ..LIMITS.unit };
    let mut bench = Bench::with(QEMU_FEATURES, false, true, Limits { unit, ..LIMITS });
    bench.units.set_fault_interrupt(&bench.config, 0x19, 5);
    assert_eq!(bench.mock.read64(register::CONTROL) & Control::X2APIC_OWN_INTERRUPTS.bits(), 0);
    assert_eq!(bench.config.read32(OWN, MSI + 4), 0xfee0_5000);
    assert_eq!(bench.config.read16(OWN, MSI + 12), 0x19);
    assert_eq!(bench.config.read16(OWN, MSI + 2) & 1, 1);
}
