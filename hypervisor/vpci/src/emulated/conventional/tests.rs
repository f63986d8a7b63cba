use super::*;
use crate::effect::{PciEffect, PciEffects};
use crate::function::PciFunction;
use crate::{FIXED, GuestBus, Slot, Windows};
use spec::pci_config::{BAR0, CAPABILITIES, INTERRUPT_PIN, STATUS, VENDOR_ID};
use std::vec::Vec;

const SLOT: Slot = Slot::new(3, 0);
const FUNCTION: Conventional = Conventional {
    identity: Identity { vendor: 0x8086, device: 0x7111, class: 0x01_0180, revision: 1 },
    bars: &[PortWindow { place: 4, ports: 16, at: 0x20 }],
    fixed: &[PortWindow { place: 0x1f0, ports: 8, at: 0 }, PortWindow { place: 0x3f6, ports: 1, at: 8 }],
    has_pin: true,
    registers: &[OwnRegister { offset: 0x40, width: Width::Word, value: 0x8000, writable: 0x33ff }],
};

fn bus() -> GuestBus<EmulatedFunction> {
    let mut bus = GuestBus::new(Windows::STANDARD, 1);
    bus.insert(SLOT, EmulatedFunction::conventional(&FUNCTION)).unwrap();
    bus.place_bars().unwrap();
    bus
}

fn command(bus: &mut GuestBus<EmulatedFunction>, value: u16) -> Vec<PciEffect> {
    bus.config_write(SLOT, COMMAND, Width::Word, value.into());
    std::iter::from_fn(|| bus.next_effect()).map(|(_, effect)| effect).collect()
}

/// The device's offset behind a port.
fn at(bus: &GuestBus<EmulatedFunction>, port: u16) -> Option<u64> {
    let target = bus.port_bar_target(port)?;
    Some(bus.function(target.slot)?.device_offset(target.bar, target.offset))
}

#[test]
fn a_guest_finds_ports_a_pin_and_no_capabilities() {
    let mut bus = bus();
    let mut read = |offset, width| bus.config_read(SLOT, offset, width);
    assert_eq!(read(VENDOR_ID, Width::Dword), 0x7111_8086);
    assert_eq!(read(STATUS, Width::Word), 0);
    assert_eq!(read(CAPABILITIES, Width::Byte), 0);
    assert_eq!(read(INTERRUPT_PIN, Width::Byte), 1);
    assert_eq!(read(0x40, Width::Word), 0x8000);
    assert_eq!(read(BAR0 + 16, Width::Dword), 0xc001, "in the window for ports");
    bus.config_write(SLOT, BAR0 + 16, Width::Dword, u32::MAX);
    bus.config_write(SLOT, 0x40, Width::Word, 0xffff);
    assert_eq!(bus.config_read(SLOT, BAR0 + 16, Width::Dword), 0xffff_fff1);
    assert_eq!(bus.config_read(SLOT, 0x40, Width::Word), 0xb3ff);
    assert_eq!(bus.config_read(SLOT, BAR0, Width::Dword), 0, "the others are none");
}

#[test]
fn ports_are_the_functions_while_its_io_space_is_on() {
    let mut bus = bus();
    let all = [0x1f0, 0x1f7, 0x3f6, 0xc000, 0xc00f];
    assert!(all.iter().all(|&port| at(&bus, port).is_none()));
    let effects = command(&mut bus, command::IO_SPACE);
    assert_eq!(effects, [PciEffect::MapBar { bar: 4, gpa: spec::Gpa(0xc000) }]);
    assert_eq!(all.map(|port| at(&bus, port)), [0, 7, 8, 0x20, 0x2f].map(Some));
    assert_eq!(bus.port_bar_target(0x1f1).unwrap().bar, FIXED);
    for none in [0x1ef, 0x1f8, 0x3f5, 0x3f7, 0xc010, 0xbfff] {
        assert_eq!(at(&bus, none), None);
    }
    command(&mut bus, 0);
    assert!(all.iter().all(|&port| at(&bus, port).is_none()));
}

#[test]
fn a_bar_outside_of_the_window_decodes_nothing() {
    let mut bus = bus();
    command(&mut bus, command::IO_SPACE);
    // Over the chipset's ports, and over its own that have always been there.
    for port in [0x20, 0x1f0, 0xcf8] {
        bus.config_write(SLOT, BAR0 + 16, Width::Dword, port);
        let effects: Vec<_> = std::iter::from_fn(|| bus.next_effect()).collect();
        assert!(effects.iter().any(|(_, effect)| matches!(effect, PciEffect::BarRefused { bar: 4, .. })));
        assert_eq!(at(&bus, 0x20), None);
        assert_eq!(at(&bus, 0x1f0), Some(0));
    }
}

#[test]
fn the_guest_may_silence_the_line() {
    let mut bus = bus();
    let enables = Enables { line: true, ..Enables::default() };
    assert_eq!(
        command(&mut bus, command::INTERRUPT_DISABLE),
        [PciEffect::Enables(Enables { line: false, ..enables })]
    );
    let master = Enables { bus_master: true, ..enables };
    assert_eq!(command(&mut bus, command::BUS_MASTER), [PciEffect::Enables(master)]);
    let mut function = EmulatedFunction::conventional(&Conventional { has_pin: false, ..FUNCTION });
    let mut effects = PciEffects::new();
    function.config_write(COMMAND, Width::Word, u32::MAX, &mut effects);
    let expected = Enables { bus_master: true, ..enables };
    assert_eq!(effects.pop(|| None), Some(PciEffect::MapBar { bar: 4, gpa: spec::Gpa(0) }));
    assert_eq!(effects.pop(|| None), Some(PciEffect::Enables(expected)), "lines without a pin are not PCI's");
    assert_eq!(function.config_read(INTERRUPT_PIN, Width::Byte), 0);
}
