//! Root ports, devices with several functions, and functions that come and go.

mod common;

use access::fake_pci::{FakeConfigSpace, FakeFunction, FakeWindow};
use common::Given;
use proptest::prelude::*;
use spec::{Bdf, Gpa, Width};
use vpci::bus::{InsertError, PlaceError};
use vpci::{Grant, GuestBus, PassedThrough, PciEffect, PciFunction, Slot, Windows};

const PORT: Slot = Slot::new(3, 0);
const SECOND_PORT: Slot = Slot::new(3, 1);
const NIC: Slot = Slot::new(1, 0);
const DRIVE: Slot = Slot::behind(1, 0);
const SIBLING: Slot = Slot::behind(1, 2);
const DRIVE_AT: Bdf = Bdf::new(2, 0, 0);

struct Machine {
    config: FakeConfigSpace,
    window: FakeWindow,
}

impl Machine {
    fn new() -> Self {
        let functions = [
            (Bdf::new(1, 0, 0), FakeFunction::e1000e()),
            (DRIVE_AT, FakeFunction::nvme()),
            (Bdf::new(3, 0, 0), FakeFunction::nvme()),
        ];
        Self { config: FakeConfigSpace::with(functions), window: FakeWindow::new(0x4000) }
    }

    fn given(&self, bus: u8) -> Given<'_> {
        let at = Bdf::new(bus, 0, 0);
        let given = PassedThrough::discover(&self.config, at, &Grant::default(), |_, _| Some(&self.window));
        let mut given = given.unwrap();
        given.start();
        given.allow_bus_master(true);
        given
    }

    /// A network function on the root bus, and two root ports in one device; behind the first
    /// is a device with the functions 0 and 2. There is room for one function more.
    fn bus(&self) -> GuestBus<Given<'_>> {
        let mut bus = GuestBus::new(Windows::STANDARD, 4);
        assert_eq!(bus.insert_port(PORT), Ok(1));
        assert_eq!(bus.insert_port(SECOND_PORT), Ok(2));
        for (number, slot) in (1..).zip([NIC, DRIVE, SIBLING]) {
            bus.insert(slot, self.given(number)).unwrap();
        }
        bus.place_bars().unwrap();
        assert_eq!(effects(&mut bus), []);
        self.config.take_writes();
        bus
    }

    fn masters(&self) -> bool {
        self.config.functions.borrow()[&DRIVE_AT].get(4, 2) & 4 != 0
    }
}

fn effects(bus: &mut GuestBus<Given<'_>>) -> Vec<(Slot, PciEffect)> {
    std::iter::from_fn(|| bus.next_effect()).collect()
}

/// Reads by either mechanism, which agree.
fn read(bus: &mut GuestBus<Given<'_>>, number: u32, device: u32, function: u32, offset: u16) -> u32 {
    let id = number << 8 | device << 3 | function;
    assert!(bus.port_write(0xcf8, Width::Dword, 1 << 31 | id << 8 | u32::from(offset & 0xfc)));
    let value = bus.port_read(0xcfc, Width::Dword).unwrap();
    let ecam = u64::from(id) << 12 | u64::from(offset);
    assert_eq!(bus.ecam_read(ecam, Width::Dword), u64::from(value));
    value
}

fn id(bus: &mut GuestBus<Given<'_>>, number: u32, device: u32, function: u32) -> u32 {
    read(bus, number, device, function, 0)
}

const NVME_ID: u32 = 0x0010_1b36;
const PORT_ID: u32 = 0x000c_1b36;

#[test]
fn accesses_go_by_the_bus_numbers_that_the_guest_wrote() {
    let machine = Machine::new();
    let mut bus = machine.bus();
    assert_eq!((id(&mut bus, 0, 3, 0), id(&mut bus, 0, 3, 1)), (PORT_ID, PORT_ID));
    assert_eq!(read(&mut bus, 0, 3, 0, 8), 0x0604_0000);
    assert_eq!(read(&mut bus, 0, 3, 0, 0x0c), 0x0081_0000, "a bridge, and not alone");
    assert_eq!(read(&mut bus, 0, 3, 0, 0x18), 0x0001_0100, "as firmware numbers them");
    assert_eq!(id(&mut bus, 1, 0, 0), NVME_ID);
    assert_eq!(read(&mut bus, 1, 0, 0, 0x0c) >> 16, 0x80, "it has more functions");
    assert_eq!((id(&mut bus, 1, 0, 1), id(&mut bus, 1, 0, 2)), (u32::MAX, NVME_ID));
    assert_eq!(id(&mut bus, 1, 1, 0), u32::MAX, "a link has one device");
    assert_eq!(id(&mut bus, 2, 0, 0), u32::MAX, "nothing is behind the second port");
    // Numbered anew, with numbers in reserve.
    bus.config_write(PORT, 0x18, Width::Dword, 0xff20_1000);
    assert_eq!(read(&mut bus, 0, 3, 0, 0x18), 0x0020_1000, "there is no latency timer");
    assert_eq!((id(&mut bus, 1, 0, 0), id(&mut bus, 0x10, 0, 0)), (u32::MAX, NVME_ID));
    for reserved in [0x0f, 0x11, 0x20, 0x21, 0xff] {
        assert_eq!(id(&mut bus, reserved, 0, 0), u32::MAX);
    }
    // A subordinate number below the secondary one: no bus is behind it.
    bus.config_write(PORT, 0x1a, Width::Byte, 0x0f);
    assert_eq!(id(&mut bus, 0x10, 0, 0), u32::MAX);
    // Bus 0 is the root bus, whoever claims it.
    bus.config_write(PORT, 0x18, Width::Dword, 0);
    assert_eq!(id(&mut bus, 0, 0, 0), 0x29c0_8086);
    // Of two that claim one number the first has it.
    bus.config_write(PORT, 0x18, Width::Dword, 0x0005_0500);
    bus.config_write(SECOND_PORT, 0x18, Width::Dword, 0x0005_0500);
    assert_eq!(id(&mut bus, 5, 0, 0), NVME_ID);
    assert_eq!(bus.ecam_read(0x1000_0000, Width::Dword), 0xffff_ffff, "after the last bus");
    assert_eq!(effects(&mut bus), []);
    assert_eq!(machine.config.take_writes(), []);
}

#[test]
fn bars_behind_a_port_are_mapped_where_it_forwards() {
    let machine = Machine::new();
    let mut bus = machine.bus();
    let at = bus.function(DRIVE).unwrap().bars()[0].unwrap().gpa;
    let other = bus.function(SIBLING).unwrap().bars()[0].unwrap().gpa;
    let (map, unmap) = (|| (DRIVE, common::map(0, at.0)), || (DRIVE, common::unmap(0)));
    bus.config_write(DRIVE, 4, Width::Word, 2);
    assert_eq!(effects(&mut bus), [], "the port forwards nothing yet");
    assert_eq!(bus.memory_target(at), None);
    bus.config_write(PORT, 4, Width::Word, 2);
    assert_eq!(effects(&mut bus), [map()]);
    assert_eq!(bus.memory_target(at + 8).map(|target| (target.slot, target.offset)), Some((DRIVE, 8)));
    // Its sibling decodes nothing.
    assert_eq!(bus.memory_target(other), None);
    // The window moves away, and over the BAR again; the prefetchable one does as well.
    let window = bus.config_read(PORT, 0x20, Width::Dword);
    assert_eq!(window, (at.0 >> 16) as u32 | at.0 as u32 & 0xfff0_0000, "one MiB");
    bus.config_write(PORT, 0x20, Width::Dword, 0x0000_fff0);
    assert_eq!(effects(&mut bus), [unmap()]);
    bus.config_write(PORT, 0x24, Width::Dword, window);
    bus.config_write(PORT, 0x28, Width::Dword, 0);
    bus.config_write(PORT, 0x2c, Width::Dword, 0);
    assert_eq!(effects(&mut bus), [map()]);
    bus.config_write(PORT, 0x2c, Width::Dword, 0x10);
    assert_eq!(effects(&mut bus), [], "longer, and over it still");
    bus.config_write(PORT, 0x28, Width::Dword, 1);
    assert_eq!(effects(&mut bus), [unmap()]);
    bus.config_write(PORT, 0x20, Width::Dword, window);
    assert_eq!(effects(&mut bus), [map()]);
    // A BAR of which the window has only a part, and one outside of it.
    bus.config_write(DRIVE, 0x10, Width::Dword, at.0 as u32 + 0x10_0000);
    assert_eq!(effects(&mut bus), [unmap()], "where nobody forwards it is not refused");
    bus.config_write(DRIVE, 0x10, Width::Dword, at.0 as u32);
    assert_eq!(effects(&mut bus), [map()]);
    bus.config_write(PORT, 4, Width::Word, 0);
    assert_eq!(effects(&mut bus), [unmap()]);
}

#[test]
fn a_port_forwards_requests_only_while_it_masters_the_bus() {
    let machine = Machine::new();
    let mut bus = machine.bus();
    bus.config_write(DRIVE, 4, Width::Word, 4);
    assert_eq!(effects(&mut bus), []);
    assert!(!machine.masters(), "the port does not");
    assert_eq!(bus.config_read(DRIVE, 4, Width::Word), 4, "its own bit is its own");
    bus.config_write(PORT, 4, Width::Word, 4);
    assert_eq!(effects(&mut bus), [(DRIVE, PciEffect::BusMaster(true))]);
    assert!(machine.masters());
    bus.config_write(PORT, 4, Width::Word, 2);
    assert_eq!(effects(&mut bus), [(DRIVE, PciEffect::BusMaster(false))]);
    assert!(!machine.masters());
    // Whatever it is told meanwhile.
    bus.function_mut(DRIVE).unwrap().allow_bus_master(true);
    bus.config_write(DRIVE, 4, Width::Word, 0);
    bus.config_write(DRIVE, 4, Width::Word, 6);
    bus.function_mut(DRIVE).unwrap().start();
    assert!(!machine.masters());
    bus.config_write(PORT, 4, Width::Word, 6);
    assert!(machine.masters());
    bus.reset();
    assert!(!machine.masters());
}

#[test]
fn a_reset_of_the_secondary_bus_resets_what_is_behind_and_nothing_else() {
    let machine = Machine::new();
    let mut bus = machine.bus();
    for slot in [NIC, PORT, DRIVE] {
        bus.config_write(slot, 4, Width::Word, 6);
    }
    effects(&mut bus);
    bus.config_write(PORT, 0x3e, Width::Word, 0x40);
    let told = effects(&mut bus);
    let expected = [
        (DRIVE, PciEffect::BusMaster(false)),
        (DRIVE, common::unmap(0)),
        (DRIVE, PciEffect::ResetRequested),
        (SIBLING, PciEffect::ResetRequested),
    ];
    assert_eq!(told, expected);
    assert_eq!(id(&mut bus, 1, 0, 0), u32::MAX, "in its reset it does not answer");
    bus.config_write(PORT, 0x3e, Width::Word, 0x40);
    assert_eq!(effects(&mut bus), [], "the reset has begun already");
    bus.config_write(PORT, 0x3e, Width::Word, 0);
    assert_eq!(effects(&mut bus), []);
    assert_eq!(read(&mut bus, 1, 0, 0, 4) & 0xffff, 0);
    assert_eq!(bus.config_read(PORT, 4, Width::Word), 6, "the port is as it was");
    assert_eq!(bus.config_read(NIC, 4, Width::Word), 6);
}

#[test]
fn functions_come_and_go() {
    let machine = Machine::new();
    let mut bus = machine.bus();
    bus.config_write(PORT, 4, Width::Word, 6);
    bus.config_write(DRIVE, 4, Width::Word, 6);
    effects(&mut bus);
    let (mut drive, mut left) = bus.remove(DRIVE).unwrap();
    let undone: Vec<_> = std::iter::from_fn(|| left.pop(|| drive.next_message())).collect();
    assert_eq!(undone, [PciEffect::BusMaster(false), common::unmap(0)]);
    assert!(!machine.masters());
    assert!(bus.remove(DRIVE).is_none());
    assert_eq!(id(&mut bus, 1, 0, 0), u32::MAX);
    assert_eq!(id(&mut bus, 1, 0, 2), u32::MAX, "a device without a function 0");
    bus.config_write(SIBLING, 4, Width::Word, 2);
    assert_eq!(effects(&mut bus), []);
    assert_eq!(bus.place_bars(), Err(PlaceError::NoFunctionZero { slot: SIBLING }));
    // Into the spare place behind the other port, and back.
    let elsewhere = Slot::behind(2, 0);
    bus.insert(elsewhere, drive).unwrap();
    assert_eq!(id(&mut bus, 2, 0, 0), NVME_ID);
    bus.config_write(elsewhere, 4, Width::Word, 6);
    assert!(!machine.masters(), "that port forwards nothing");
    let (drive, _) = bus.remove(elsewhere).unwrap();
    let root = Slot::new(9, 0);
    bus.insert(root, drive).unwrap();
    bus.config_write(root, 4, Width::Word, 6);
    assert!(machine.masters(), "on the root bus requests need nobody");
    let (drive, _) = bus.remove(root).unwrap();
    bus.insert(DRIVE, drive).unwrap();
    assert_eq!((id(&mut bus, 1, 0, 0), id(&mut bus, 1, 0, 2)), (NVME_ID, NVME_ID));
    bus.config_write(DRIVE, 4, Width::Word, 4);
    assert!(machine.masters(), "the port still does");
}

#[test]
fn there_is_as_much_room_as_was_asked_for() {
    let machine = Machine::new();
    let mut bus = machine.bus();
    for slot in [Slot(0), PORT, DRIVE] {
        assert_eq!(bus.insert(slot, machine.given(2)), Err(InsertError::Taken(slot)));
        assert_eq!(bus.insert_port(slot), Err(InsertError::Taken(slot)));
    }
    let nowhere = Slot::behind(3, 0);
    assert_eq!(bus.insert(nowhere, machine.given(2)), Err(InsertError::NoPort(nowhere)));
    assert_eq!(bus.insert_port(Slot::behind(2, 0)), Err(InsertError::NoPort(Slot::behind(2, 0))));
    bus.insert(Slot::new(9, 0), machine.given(2)).unwrap();
    assert_eq!(bus.insert(Slot::new(10, 0), machine.given(2)), Err(InsertError::Full));
    assert_eq!(format!("{} {}", DRIVE, NIC), "port 1: 00.0 01.0");
}

#[test]
fn a_bus_without_ports_is_placed_as_before() {
    let machine = Machine::new();
    let mut flat = GuestBus::new(Windows::STANDARD, 1);
    flat.insert(NIC, machine.given(1)).unwrap();
    flat.place_bars().unwrap();
    let bus = machine.bus();
    assert_eq!(flat.function(NIC).unwrap().bars(), bus.function(NIC).unwrap().bars());
}

proptest! {
    /// Whatever a guest writes to its ports and behind them: a BAR is mapped exactly where the
    /// function decodes it and the port forwards it, and nothing masters the bus behind a port
    /// that does not.
    #[test]
    fn what_a_port_does_not_forward_is_not_reached(
        steps in prop::collection::vec(
            (0..4_usize, prop::sample::select(vec![4_u16, 0x10, 0x18, 0x20, 0x24, 0x28, 0x2c, 0x3c]), any::<u32>(), any::<bool>()),
            1..80,
        ),
    ) {
        let machine = Machine::new();
        let mut bus = machine.bus();
        for (slot, register, value, near) in steps {
            let slot = [PORT, SECOND_PORT, DRIVE, SIBLING][slot];
            let value = match register {
                4 => value & 6,
                0x28 | 0x2c if near => value & 1,
                _ if near => 0xc000_c000 | value & 0x003f_003f,
                _ => value,
            };
            bus.config_write(slot, register, Width::Dword, value);
            effects(&mut bus);
            let control = |bus: &mut GuestBus<Given<'_>>| bus.config_read(PORT, 4, Width::Word);
            let low = bus.config_read(PORT, 0x20, Width::Dword);
            let wide = bus.config_read(PORT, 0x24, Width::Dword);
            let upper = [0x28, 0x2c].map(|at| u64::from(bus.config_read(PORT, at, Width::Dword)) << 32);
            let half = |register: u32| u64::from(register & 0xfff0) << 16;
            let windows = [
                (half(low), half(low >> 16) | 0xf_ffff),
                (half(wide) | upper[0], half(wide >> 16) | 0xf_ffff | upper[1]),
            ];
            let on = control(&mut bus) & 2 != 0;
            let masters = control(&mut bus) & 4 != 0;
            for slot in [DRIVE, SIBLING] {
                let bar = bus.function(slot).unwrap().bars()[0].unwrap();
                let last = bar.gpa.0 + (bar.size - 1);
                let inside = windows.iter().any(|(base, limit)| *base != 0 && *base <= bar.gpa.0 && last <= *limit);
                let standard = Windows::STANDARD;
                let allowed = [standard.memory32, standard.memory64].iter().any(|it| it.contains(&bar.gpa.0) && it.contains(&last));
                let mine = bus.memory_target(bar.gpa).is_some_and(|target| target.slot == slot);
                prop_assert!(!mine || on && bar.decoded && inside && allowed);
                // The other one may be there already.
                let taken = bus.memory_target(bar.gpa).is_some() || bus.memory_target(Gpa(last)).is_some();
                prop_assert!(taken || !(on && bar.decoded && inside && allowed));
            }
            let held = machine.config.functions.borrow()[&DRIVE_AT].get(4, 2) & 4 != 0;
            prop_assert!(!held || masters);
        }
    }
}
