//! Why the machine's functions are not read through the crate `pci_types`: each of these is a
//! function that a machine can have, and what becomes of it there and here.
//!
//! Its access to configuration space has methods that are `unsafe`, which a crate that forbids
//! unsafe code, as `pci` does, can neither call nor offer; so its test stands here.

use access::ConfigSpace;
use access::fake_pci::{FakeConfigSpace, FakeFunction};
use pci::bar::{BarFault, BarKind, size_bars};
use pci::capability::{CapabilityFault, walk};
use pci_types::{Bar, ConfigRegionAccess, EndpointHeader, PciAddress, PciHeader};
use spec::pci_config::{BAR0, COMMAND, STATUS, command};
use spec::{Bdf, Width};
use std::panic::{AssertUnwindSafe, catch_unwind};

const AT: Bdf = Bdf::new(1, 0, 0);

struct Access<'a>(&'a FakeConfigSpace);

impl ConfigRegionAccess for Access<'_> {
    // SAFETY: the fake has no other accesses that this could disturb.
    unsafe fn read(&self, _: PciAddress, offset: u16) -> u32 {
        self.0.read32(AT, offset & !3)
    }
    // SAFETY: as above.
    unsafe fn write(&self, _: PciAddress, offset: u16, value: u32) {
        self.0.write32(AT, offset & !3, value);
    }
}

fn endpoint(config: &FakeConfigSpace) -> EndpointHeader {
    EndpointHeader::from_header(PciHeader::new(PciAddress::new(0, 1, 0, 0)), Access(config)).unwrap()
}

#[test]
fn a_list_that_leads_back_does_not_end_there() {
    let mut function = FakeFunction::nvme();
    function.put(0x81, 1, 0x40);
    let config = FakeConfigSpace::with([(AT, function)]);
    assert_eq!(endpoint(&config).capabilities(Access(&config)).take(10_000).count(), 10_000);
    assert_eq!(walk(&config, AT, |_, _| Ok(())), Err(CapabilityFault::Loop { at: 0x40 }));
}

#[test]
fn a_bar_of_the_reserved_type_panics_there() {
    let mut function = FakeFunction::new(1, 2, 3).memory_bar(1, 0x1000, 0x8000_0000, false, false);
    function.put(BAR0 + 4, 4, 0x8000_0002);
    let config = FakeConfigSpace::with([(AT, function)]);
    let sized = catch_unwind(AssertUnwindSafe(|| endpoint(&config).bar(1, Access(&config)).is_some()));
    assert!(sized.is_err());
    assert_eq!(size_bars(&config, AT), Err((1, BarFault::Malformed)));
}

#[test]
fn bars_are_sized_there_while_the_function_decodes_and_ports_are_not() {
    let config = FakeConfigSpace::with([(AT, FakeFunction::e1000e())]);
    config.change(AT, |function| function.put(COMMAND, 2, command::MEMORY_SPACE.into()));
    assert!(matches!(endpoint(&config).bar(0, Access(&config)), Some(Bar::Memory32 { size: 0x2_0000, .. })));
    // All ones are somebody's address: its function was not told to decode nothing meanwhile.
    let writes = config.take_writes();
    assert_eq!(writes.first(), Some(&(AT, BAR0, Width::Dword, u32::MAX)));
    assert!(writes.iter().all(|(_, offset, ..)| *offset != COMMAND));
    assert!(matches!(endpoint(&config).bar(2, Access(&config)), Some(Bar::Io { port: 0xc040 })));
    let ours = size_bars(&config, AT).unwrap();
    assert_eq!(ours[2].map(|bar| (bar.kind, bar.size)), Some((BarKind::Io, 32)));
    assert_eq!(config.take_writes().first(), Some(&(AT, COMMAND, Width::Word, 0)));
}

#[test]
fn a_change_of_the_command_register_clears_errors_there() {
    let mut function = FakeFunction::nvme();
    function.clear_on_one(STATUS, 2, 0xf900);
    function.put(STATUS, 2, 0x8010);
    let config = FakeConfigSpace::with([(AT, function)]);
    endpoint(&config).update_command(Access(&config), |command| command);
    assert_eq!(config.read16(AT, STATUS), 0x0010, "status is the upper half of what it writes back");
}
