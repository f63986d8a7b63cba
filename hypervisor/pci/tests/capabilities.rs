//! Capability lists that lead nowhere good.

use access::fake_pci::{FakeConfigSpace, FakeFunction};
use pci::capability::{CapabilityFault, walk, walk_extended};
use spec::Bdf;

const AT: Bdf = Bdf::new(1, 0, 0);

fn walked(change: impl FnOnce(&mut FakeFunction)) -> (Vec<(u8, u16)>, Result<(), CapabilityFault>) {
    let mut function = FakeFunction::nvme();
    change(&mut function);
    let config = FakeConfigSpace::with([(AT, function)]);
    let mut seen = Vec::new();
    let result = walk(&config, AT, |id, at| {
        seen.push((id, at));
        Ok(())
    });
    (seen, result)
}

#[test]
fn lists_end() {
    assert_eq!(walked(|_| {}), (vec![(0x11, 0x40), (0x10, 0x80), (1, 0x60)], Ok(())));
    assert_eq!(walked(|function| function.put(6, 2, 0)), (vec![], Ok(())));
    let round = walked(|function| function.put(0x81, 1, 0x40));
    assert_eq!(round, (vec![(0x11, 0x40), (0x10, 0x80)], Err(CapabilityFault::Loop { at: 0x40 })));
    let header = walked(|function| function.put(0x34, 1, 0x10));
    assert_eq!(header, (vec![], Err(CapabilityFault::Outside { pointer: 0x10 })));
    let nothing = walked(|function| {
        function.put(0x41, 1, 0xf0);
        function.put(0xf0, 2, 0xffff);
    });
    assert_eq!(nothing, (vec![(0x11, 0x40)], Err(CapabilityFault::Absent { pointer: 0xf0 })));
}

#[test]
fn a_bridge_to_cardbus_has_its_list_elsewhere() {
    let walked = walked(|function| {
        function.put(0x0e, 1, 0x82);
        function.put(0x14, 1, 0x60);
    });
    assert_eq!(walked, (vec![(1, 0x60)], Ok(())));
}

#[test]
fn extended_lists_end_too() {
    let walked = |function: FakeFunction| {
        let config = FakeConfigSpace::with([(AT, function)]);
        let mut seen = Vec::new();
        let result = walk_extended(&config, AT, |id, _, at| {
            seen.push((id, at));
            Ok(())
        });
        (seen, result)
    };
    assert_eq!(walked(FakeFunction::nvme()), (vec![], Ok(())));
    let round = FakeFunction::nvme().extended_capability(1, 0x100, 0x200, 0, 8);
    let round = round.extended_capability(2, 0x200, 0x100, 0, 8);
    assert_eq!(walked(round), (vec![(1, 0x100), (2, 0x200)], Err(CapabilityFault::Loop { at: 0x100 })));
    let low = FakeFunction::nvme().extended_capability(1, 0x100, 0x80, 0, 8);
    assert_eq!(walked(low).1, Err(CapabilityFault::Outside { pointer: 0x80 }));
    let mut legacy = FakeFunction::nvme().extended_capability(1, 0x100, 0, 0, 8);
    legacy.extended = false;
    assert_eq!(walked(legacy), (vec![], Ok(())));
}
