//! A guest at its PCI bus, with functions of the machine passed through: it maps
//! nothing outside the windows, and the hardware holds nothing but what it was given.
#![no_main]

use access::fake_pci::{ConfigWrite, FakeConfigSpace, FakeFunction, FakeWindow};
use fuzz::Input;
use fuzz::machine::{self, Windows};
use libfuzzer_sys::fuzz_target;
use vpci::message::MessageRefused;
use vpci::{BarTarget, Grant, GuestBus, HostMsi, PassedThrough, PciEffect, PciFunction, Slot};
use spec::pci_config::{COMMAND, command};
use spec::{Bdf, Gpa, Width};
use std::collections::BTreeMap;

const SLOTS: [Slot; 5] = [Slot(0), Slot::new(1, 0), Slot::new(2, 0), Slot::new(2, 3), Slot::new(9, 1)];
/// A message that no guest writes.
const HOST_ADDRESS: u64 = 0xfeed_0000_fee0_0018;

type Given<'a> = PassedThrough<&'a FakeConfigSpace, &'a FakeWindow>;

/// A function of the machine and what is expected of it.
struct Owned {
    slot: Slot,
    bdf: Bdf,
    pin: bool,
    may_master: bool,
    /// Where an NVMe drive's table is: in the first page of its one window.
    table: Option<usize>,
}

struct World<'a> {
    config: &'a FakeConfigSpace,
    windows: &'a Windows,
    tables: Vec<Option<&'a FakeWindow>>,
    bus: GuestBus<Given<'a>>,
    owned: Vec<Owned>,
    /// First and last address of each BAR, and whether it is memory.
    mapped: BTreeMap<(Slot, u8), (u64, u64, bool)>,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let shape = input.u8();
    let third = if shape & 0x80 == 0 { FakeFunction::nvme() } else { machine::function(&mut input) };
    let config = FakeConfigSpace::with([
        (Bdf::new(1, 0, 0), FakeFunction::e1000e()),
        (Bdf::new(2, 0, 0), FakeFunction::nvme()),
        (Bdf::new(3, 0, 0), third),
    ]);
    let windows = Windows::new(8);
    let bus = GuestBus::new(vpci::Windows::STANDARD);
    let mut world = World {
        config: &config,
        windows: &windows,
        tables: Vec::new(),
        bus,
        owned: Vec::new(),
        mapped: BTreeMap::new(),
    };
    for (place, slot) in SLOTS[1..4].iter().enumerate() {
        world.give(*slot, Bdf::new(place as u8 + 1, 0, 0), shape >> place & 1 != 0, place == 1);
    }
    let _ = world.bus.place_bars();
    config.take_writes();
    while !input.is_empty() {
        world.step(&mut input);
        world.follow(&mut input);
        world.check();
    }
});

fn bar_read(bus: &mut GuestBus<Given<'_>>, target: BarTarget, width: Width) {
    bus.with_bar(target, |given, bar, offset, _| given.bar_read(bar, offset, width));
}

fn bar_write(bus: &mut GuestBus<Given<'_>>, target: BarTarget, width: Width, value: u64) {
    bus.with_bar(target, |given, bar, offset, asked| given.bar_write(bar, offset, width, value, asked));
}

impl<'a> World<'a> {
    fn give(&mut self, slot: Slot, bdf: Bdf, pin: bool, is_nvme: bool) {
        let grant = Grant {
            interrupt_line: pin.then_some(17),
            rom: None,
            bars: None,
        };
        let windows = self.windows;
        let first = std::cell::Cell::new(None);
        let open = |_, _| {
            let window = windows.open();
            first.set(first.get().or(window));
            window
        };
        let Ok(mut given) = PassedThrough::discover(self.config, bdf, &grant, open) else { return };
        given.start();
        let table = is_nvme.then_some(self.tables.len());
        self.tables.push(first.get());
        self.bus.insert(slot, given).expect("a free slot");
        self.owned.push(Owned { slot, bdf, pin, may_master: false, table });
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let bus = &mut self.bus;
        match input.u8() % 12 {
            0 => drop(bus.port_write(0xcf8, Width::Dword, 1 << 31 | u32::from(input.u16()))),
            1 => drop(bus.port_write(0xcf8 | u16::from(input.u8() & 7), input.width(), input.u32())),
            2 => drop(bus.port_read(0xcf8 | u16::from(input.u8() & 7), input.width())),
            3 => {
                let offset = u64::from(input.u32() & 0x1f_ffff);
                bus.ecam_read(offset, input.width());
            }
            4 => {
                let slot = input.pick(&SLOTS);
                let offset = u64::from(slot.0) << 12 | u64::from(input.u16() & 0xfff);
                bus.ecam_write(offset, input.width(), input.u64());
            }
            5 | 6 => {
                let slot = input.pick(&SLOTS);
                bus.config_write(slot, input.u8().into(), input.port_width(), input.u32());
            }
            7 | 8 => self.access_bar(input),
            9 => {
                let target = bus.memory_target(Gpa(input.u64()));
                let target = target.or(bus.port_bar_target(input.u16()));
                if let Some(target) = target {
                    bar_read(bus, target, input.width());
                    let (width, value) = (input.width(), input.u64());
                    bar_write(bus, target, width, value);
                }
            }
            10 => {
                let allowed = input.u8() & 1 != 0;
                let slot = input.pick(&SLOTS);
                if let Some(owned) = self.owned.iter_mut().find(|owned| owned.slot == slot)
                    && let Some(function) = bus.function_mut(slot)
                {
                    owned.may_master = allowed;
                    function.allow_bus_master(allowed);
                }
            }
            _ => match input.u8() & 7 {
                0 => {
                    bus.reset();
                    self.follow(input);
                    let _ = self.bus.place_bars();
                }
                _ => {
                    let slot = input.pick(&SLOTS);
                    machine::walk_as_guest(|offset, width| bus.config_read(slot, offset, width));
                }
            },
        }
    }

    /// An access inside a BAR that is mapped.
    fn access_bar(&mut self, input: &mut Input<'_>) {
        let which = usize::from(input.u8()).checked_rem(self.mapped.len()).unwrap_or(0);
        let offset = u64::from(input.u16());
        let (width, value) = (input.width(), input.u64());
        let Some(((slot, bar), (start, last, memory))) = self.mapped.iter().nth(which) else { return };
        let at = (start + offset).min(*last);
        let target =
            if *memory { self.bus.memory_target(Gpa(at)) } else { self.bus.port_bar_target(at as u16) };
        let target = target.unwrap_or_else(|| panic!("{slot} BAR {bar} at {at:#x} takes no access"));
        assert_eq!((target.slot, target.bar, target.offset), (*slot, *bar, at - start));
        bar_read(&mut self.bus, target, width);
        bar_write(&mut self.bus, target, width, value);
    }

    /// Does what the effects ask for.
    fn follow(&mut self, input: &mut Input<'_>) {
        while let Some((slot, effect)) = self.bus.next_effect() {
            let function = self.bus.function_mut(slot).expect("an effect of a function");
            match effect {
                PciEffect::MapBar { bar, gpa } => {
                    let found = function.bars()[usize::from(bar)].expect("a BAR that is there");
                    assert_eq!((found.gpa, found.decoded), (gpa, true));
                    let range = (gpa.0, gpa.0 + (found.size - 1), found.kind.is_memory());
                    assert!(
                        self.mapped.insert((slot, bar), range).is_none(),
                        "{slot} BAR {bar} mapped twice"
                    );
                }
                // One access of 8 bytes is two writes: the first may have mapped what the
                // second took away, and then there is nothing left to unmap.
                PciEffect::UnmapBar { bar } => drop(self.mapped.remove(&(slot, bar))),
                PciEffect::Message(change) => {
                    // Of several messages of MSI the data is contiguous.
                    let data = 0x40 | u32::from(change.index & 0x1f);
                    let host = HostMsi { address: HOST_ADDRESS, data };
                    let host = (change.message.is_some() && input.u8() & 7 != 1).then_some(host);
                    let answer = function.set_host_message(change.index, host);
                    // It may not fit the first one of MSI, but it is there.
                    let expected = answer != Err(MessageRefused::NoSuchMessage);
                    assert!(expected || change.message.is_none(), "{change:?} is refused");
                }
                PciEffect::Enables(_) => unreachable!("no function is emulated"),
                PciEffect::ResetRequested => function.start(),
                PciEffect::BusMaster(_) | PciEffect::InterruptPin(_) | PciEffect::BarRefused { .. } => {}
            }
        }
    }

    fn check(&mut self) {
        for ((slot, bar), (start, _, memory)) in &self.mapped {
            let target = if *memory {
                self.bus.memory_target(Gpa(*start))
            } else {
                self.bus.port_bar_target(*start as u16)
            };
            assert!(target.is_some_and(|to| (to.slot, to.bar) == (*slot, *bar)), "{slot} BAR {bar} is stale");
        }
        let ranges: Vec<_> = self.mapped.values().collect();
        for (place, (start, last, memory)) in ranges.iter().enumerate() {
            let windows = vpci::Windows::STANDARD;
            let inside = |window: &std::ops::Range<u64>| window.contains(start) && window.contains(last);
            let allowed = match memory {
                true => inside(&windows.memory32) || inside(&windows.memory64),
                false => inside(&windows.ports),
            };
            assert!(allowed, "{start:#x} is outside the windows");
            for (other, other_last, other_memory) in &ranges[place + 1..] {
                assert!(memory != other_memory || last < other || other_last < start, "BARs overlap");
            }
        }
        let writes = self.config.take_writes();
        for (bdf, offset, ..) in &writes {
            assert!(self.owned.iter().any(|owned| owned.bdf == *bdf), "a write to {bdf}");
            assert!(*offset < 0x100 && !(0x0c..0x40).contains(offset), "a write to {offset:#x} of {bdf}");
        }
        self.windows.forget_writes();
        for owned in &self.owned {
            // What was written, not what the function made of it.
            let is_command = |(bdf, offset, ..): &&ConfigWrite| *bdf == owned.bdf && *offset == COMMAND;
            if let Some((.., command)) = writes.iter().rfind(is_command) {
                assert!(owned.may_master || command & u32::from(command::BUS_MASTER) == 0);
                assert!(owned.pin || command & u32::from(command::INTERRUPT_DISABLE) != 0);
            }
            if let Some(window) = owned.table.and_then(|table| self.tables[table]) {
                check_table(window);
            }
        }
    }
}

/// An NVMe drive's 65 entries: one that is open holds a host message.
fn check_table(window: &FakeWindow) {
    let bytes = window.bytes.borrow();
    for entry in bytes.chunks_exact(16).take(65) {
        let address = u64::from_le_bytes(entry[..8].try_into().expect("8 bytes"));
        assert!(address == 0 || address == HOST_ADDRESS, "{address:#x} is the guest's");
        assert!(entry[12] & 1 != 0 || address == HOST_ADDRESS, "an open entry without a message");
    }
}
