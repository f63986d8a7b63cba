//! A function whose guest resets it, with the reset of the machine behind it.

mod common;

use access::clock::SteppingClock;
use access::fake_pci::{FakeConfigSpace, FakeFunction, ResetBehaviour};
use common::AT;
use pci::{ResetMethod, ResetPath};
use spec::Width;
use vpci::{Grant, PciEffect, PciFunction};

const WORKS: ResetBehaviour = ResetBehaviour::Works { silent_reads: 7 };

fn path(config: &FakeConfigSpace) -> ResetPath {
    let path = ResetPath::discover(config, AT).unwrap();
    config.take_writes();
    path
}

fn clock() -> SteppingClock {
    SteppingClock::new(500_000)
}

#[test]
fn a_guest_that_resets_its_function_gets_it_back_as_at_boot() {
    let machine = common::machine(FakeFunction::nvme());
    let path = path(&machine.0);
    let mut given = common::give(&machine, &Grant::default());
    given.allow_bus_master(true);
    common::write(&mut given, 0x10, Width::Dword, 0xc000_0000);
    common::write(&mut given, 4, Width::Word, 6);
    assert!(common::write(&mut given, 0x89, Width::Byte, 0x80).contains(&PciEffect::ResetRequested));
    assert_eq!(path.reset(&machine.0, &clock(), None).unwrap().method, ResetMethod::FunctionLevel);
    given.start();
    let after = machine.0.functions.borrow()[&AT].clone();
    assert_eq!(after.get(4, 2), 0x0402, "decoding again, not mastering");
    assert_eq!((after.get(0x10, 4), after.get(0x14, 4)), (0xfe00_4004, 8));
    // The driver begins anew, and bus mastering is still its to turn on.
    common::write(&mut given, 0x10, Width::Dword, 0xc000_0000);
    let on = common::write(&mut given, 4, Width::Word, 6);
    assert_eq!(on, [common::map(0, 0xc000_0000), PciEffect::BusMaster(true)]);
    assert_eq!(machine.0.functions.borrow()[&AT].get(4, 2), 0x0406);
}

#[test]
fn a_quarantined_function_decodes_nothing_whatever_its_guest_writes() {
    let machine = common::machine(FakeFunction::nvme());
    let path = ResetPath::discover(&machine.0, AT).unwrap();
    let mut given = common::give(&machine, &Grant::default());
    given.allow_bus_master(true);
    common::write(&mut given, 4, Width::Word, 6);
    machine.0.change(AT, |function| function.function_level = ResetBehaviour::Ignored);
    common::write(&mut given, 0x89, Width::Byte, 0x80);
    path.reset(&machine.0, &clock(), None).unwrap_err();
    given.quarantine();
    machine.0.take_writes();
    for offset in 0..256 {
        for value in [0, 2, 6, 7, u32::MAX] {
            assert_eq!(common::write(&mut given, offset, Width::Byte, value), [], "{offset:#x}");
        }
    }
    given.allow_bus_master(true);
    assert_eq!(machine.0.take_writes(), [], "nothing reaches it");
    assert_eq!(given.config_read(0, Width::Dword), u32::MAX, "it does not answer");
    assert!(given.bars().iter().flatten().all(|bar| !bar.decoded));
    // Nor does it when its guest is over; the next one's reset may work.
    given.reset(&mut vpci::PciEffects::new());
    assert_eq!(machine.0.functions.borrow()[&AT].get(4, 2), 0x0400);
    machine.0.change(AT, |function| function.function_level = WORKS);
    path.reset(&machine.0, &clock(), None).unwrap();
    given.start();
    assert_eq!(machine.0.functions.borrow()[&AT].get(4, 2), 0x0402);
}
