//! The bridges above a guest's function: they forward, and report no errors.

use access::fake_pci::{FakeConfigSpace, FakeFunction};
use pci::bridge::{BridgeFault, prepare};
use spec::Bdf;

const BRIDGE: Bdf = Bdf::new(0, 3, 0);

/// A root port as firmware may leave it: it does not forward, and reports whatever it sees.
fn root_port() -> FakeFunction {
    let mut port = FakeFunction::bridge(1).with_express(0x40, false).with_extended(1, 0x100);
    port.put(0x42, 2, 0x0042);
    port.allow(0x40 + 0x1c, 2, 0x1f);
    port.allow(0x100 + 0x2c, 4, 7);
    port.put(4, 2, 0x0540);
    port.put(0x3e, 2, 0x0003);
    port.put(0x48, 2, 0x281f);
    port.put(0x5c, 2, 0x0017);
    port.put(0x12c, 4, 7);
    port
}

#[test]
fn a_port_forwards_and_makes_no_system_error_of_what_a_guest_does() {
    let config = FakeConfigSpace::with([(BRIDGE, root_port())]);
    assert_eq!(prepare(&config, BRIDGE), Ok(()));
    let port = config.functions.borrow()[&BRIDGE].clone();
    assert_eq!(port.get(4, 2), 0x0406, "memory and bus mastering, no SERR#, no PERR#");
    assert_eq!(port.get(0x3e, 2), 0, "nothing of the secondary bus goes on");
    assert_eq!(port.get(0x48, 2), 0x2810, "no error messages");
    assert_eq!(port.get(0x5c, 2), 0x0010, "no system errors");
    assert_eq!(port.get(0x12c, 4), 0, "no interrupts for errors");
}

#[test]
fn errors_are_silenced_before_requests_are_forwarded() {
    let config = FakeConfigSpace::with([(BRIDGE, root_port())]);
    prepare(&config, BRIDGE).unwrap();
    let writes = config.take_writes();
    let forwards = writes.iter().position(|write| write.1 == 4 && write.3 & 6 == 6).unwrap();
    assert_eq!(forwards, writes.len() - 1);
}

#[test]
fn a_bridge_that_does_not_take_it_is_an_error() {
    let stuck = |at: u16| {
        let mut port = root_port();
        port.allow(at, 2, 0);
        let config = FakeConfigSpace::with([(BRIDGE, port)]);
        prepare(&config, BRIDGE)
    };
    assert_eq!(stuck(0x3e), Err(BridgeFault::ReportsErrors(BRIDGE)));
    assert_eq!(stuck(0x48), Err(BridgeFault::ReportsErrors(BRIDGE)));
    assert_eq!(stuck(0x5c), Err(BridgeFault::ReportsErrors(BRIDGE)));
    let mut port = root_port();
    port.put(4, 2, 0);
    port.allow(4, 2, 2);
    let config = FakeConfigSpace::with([(BRIDGE, port)]);
    assert_eq!(prepare(&config, BRIDGE), Err(BridgeFault::DoesNotForward(BRIDGE)));
    // A bridge that vanished reads ones.
    assert_eq!(prepare(&FakeConfigSpace::default(), BRIDGE), Err(BridgeFault::Absent(BRIDGE)));
}
