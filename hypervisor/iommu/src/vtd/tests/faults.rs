//! Faults: attributed, drained, counted.

use super::*;
use crate::{Fault, FaultKind};
use spec::vtd::register;
use std::string::ToString;

#[test]
fn a_fault_tells_who_did_what_where_and_why() {
    let mut bench = Bench::with(PLAIN_CAP, COHERENT_ECAP, LIMITS);
    bench.mock.dma(NIC, 0x1234_5678, true);
    let fault = bench.units.next_fault().unwrap();
    let expected = Fault {
        unit: 0,
        source: who(NIC),
        address: 0x1234_5000,
        kind: FaultKind::Write,
        reason: "nothing is attached on this bus",
        code: 1,
    };
    assert_eq!(fault, expected);
    assert_eq!(
        fault.to_string(),
        "0000:00:02.0 wrote 0x12345000: nothing is attached on this bus (code 0x1)"
    );
    assert_eq!(bench.units.next_fault(), None);
}

#[test]
fn reads_and_interrupts_are_told_apart() {
    let mut bench = Bench::with(PLAIN_CAP, COHERENT_ECAP, LIMITS);
    bench.mock.dma(DISK, 0, false);
    bench.mock.interrupt(NIC, spec::vtd::remappable::msi_address(7), 1);
    assert_eq!(bench.units.next_fault().unwrap().kind, FaultKind::Read);
    let fault = bench.units.next_fault().unwrap();
    assert_eq!((fault.kind, fault.address, fault.code), (FaultKind::Interrupt, 8, 0x22));
}

#[test]
fn an_overflow_is_counted_and_recording_goes_on() {
    let mut bench = Bench::with(PLAIN_CAP, COHERENT_ECAP, LIMITS);
    for address in 0..5 {
        bench.mock.dma(NIC, address * PAGE, true);
    }
    let drained: Vec<u64> = core::iter::from_fn(|| bench.units.next_fault()).map(|f| f.address).collect();
    assert_eq!(drained, [0, PAGE]);
    assert_eq!(bench.units.lost_faults(), 1);
    bench.mock.dma(NIC, 9 * PAGE, true);
    assert_eq!(bench.units.next_fault().unwrap().address, 9 * PAGE);
}

#[test]
fn the_fault_interrupt_is_programmed_before_it_is_unmasked() {
    let mut bench = Bench::with(PLAIN_CAP, COHERENT_ECAP, LIMITS);
    let register = |bench: &Bench, at| bench.mock.0.borrow().registers.get(&at).copied();
    assert_eq!(register(&bench, register::FAULT_CONTROL), Some(1 << 31));
    bench.units.set_fault_interrupt(&no_config(), 0x17, 0x1201);
    assert_eq!(register(&bench, register::FAULT_ADDRESS), Some(0xfee0_1000));
    assert_eq!(register(&bench, register::FAULT_UPPER_ADDRESS), Some(0x1200));
    assert_eq!(register(&bench, register::FAULT_DATA), Some(0x17));
    assert_eq!(register(&bench, register::FAULT_CONTROL), Some(0));
}
