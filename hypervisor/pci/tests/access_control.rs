//! Access control services that are put in force.

use access::ConfigSpace;
use access::fake_pci::{FakeConfigSpace, FakeFunction};
use pci::access_control::{AccessControls, NotEnforced};
use spec::Bdf;

const PORT: Bdf = Bdf::new(0, 0x1c, 0);
const OFFSET: u16 = 0x140;

/// A root port that lets `writable` be set in the register at `control`; other offsets hold
/// what cannot be written.
fn port(control: u16, writable: u32) -> FakeConfigSpace {
    let mut port = FakeFunction::new(0x8086, 0xa110, 0x06_0400);
    port.put(OFFSET, 4, 0x0001_000d);
    port.put(OFFSET + 4, 2, 0x1f);
    port.allow(OFFSET + control, 2, writable);
    FakeConfigSpace::with([(PORT, port)])
}

fn controls(services: u16, doublewords: bool) -> AccessControls {
    AccessControls { function: PORT, offset: OFFSET, services, doublewords }
}

#[test]
fn peer_to_peer_services_are_enabled_and_others_switched_off() {
    let machine = port(6, 0x7f);
    machine.write16(PORT, OFFSET + 6, 0x60);
    controls(0x1f, false).enable(&machine).unwrap();
    assert_eq!(machine.read16(PORT, OFFSET + 6), 0x1f);
}

#[test]
fn peer_to_peer_a_port_that_does_not_enforce_them_is_an_error() {
    let machine = port(6, 0x0b);
    let refused = controls(0x1f, false).enable(&machine).unwrap_err();
    assert_eq!(refused, NotEnforced { function: PORT, services: 0x1f, control: 0x0b });
    assert_eq!(refused.to_string(), "00:1c.0 does not enable access control services 0x1f but 0xb");
    // Egress control that cannot be switched off opens ways past the redirects.
    let mut stuck = FakeFunction::new(0x8086, 0xa110, 0x06_0400);
    stuck.put(OFFSET + 6, 2, 0x20);
    stuck.allow(OFFSET + 6, 2, 0x1f);
    let machine = FakeConfigSpace::with([(PORT, stuck)]);
    assert_eq!(controls(0x1f, false).enable(&machine).unwrap_err().control, 0x3f);
    // Nobody answers any more.
    assert!(controls(0x1f, false).enable(&FakeConfigSpace::with([])).is_err());
}

#[test]
fn peer_to_peer_registers_of_32_bits_are_found_where_they_are() {
    let machine = port(8, 0x1f);
    assert!(controls(0x1f, false).enable(&machine).is_err(), "as the textbook says");
    controls(0x1f, true).enable(&machine).unwrap();
    assert_eq!(machine.read16(PORT, OFFSET + 8), 0x1f);
    // A stepping without the fault: the next capability follows at 8, and stays as it is.
    let machine = port(6, 0x1f);
    machine.functions.borrow_mut().get_mut(&PORT).unwrap().put(OFFSET + 8, 4, 0x0001_000b);
    controls(0x1f, true).enable(&machine).unwrap();
    assert_eq!((machine.read16(PORT, OFFSET + 6), machine.read32(PORT, OFFSET + 8)), (0x1f, 0x0001_000b));
    // Neither.
    assert!(controls(0x1f, true).enable(&port(10, 0x1f)).is_err());
}
