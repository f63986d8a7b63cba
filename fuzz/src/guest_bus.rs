//! A guest's PCI bus with passed-through and emulated functions, on the root bus and behind root
//! ports, and what is true of it whatever the guest does.

use crate::Input;
use crate::machine::{self, Windows};
use access::ConfigSpace;
use access::fake_pci::{ConfigWrite, FakeConfigSpace, FakeWindow};
use guest::bus_function::BusFunction;
use spec::pci_config::{BRIDGE_MEMORY, BRIDGE_PREFETCHABLE, COMMAND, command};
use spec::{Bdf, Gpa, Width};
use std::collections::BTreeMap;
use vpci::message::MessageRefused;
use vpci::{
    Bar, BarLayout, BarMemory, BarTarget, Description, EmulatedFunction, Enables, Grant, GuestBus, HostMsi,
    Identity, PassedThrough, PciEffect, PciFunction, Slot,
};

/// A message that no guest writes.
const HOST_ADDRESS: u64 = 0xfeed_0000_fee0_0018;
const IDENTITY: Identity = Identity { vendor: 0x1b36, device: 0x10, class: 0x01_0802, revision: 0 };
/// Functions that a bus has room for.
const PLACES: usize = 8;

/// The configuration space of the machine for one guest's functions: a look at any other is a
/// finding.
#[derive(Clone, Copy)]
pub struct Own<'a> {
    config: &'a FakeConfigSpace,
    functions: &'a [Bdf],
}

impl ConfigSpace for Own<'_> {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        assert!(self.functions.contains(&function), "a look at {function}");
        self.config.read(function, offset, width)
    }
    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        assert!(self.functions.contains(&function), "a write to {function}");
        self.config.write(function, offset, width, value);
    }
    fn is_extended(&self, function: Bdf) -> bool {
        self.config.is_extended(function)
    }
}

type Function<'a> = BusFunction<Own<'a>, &'a FakeWindow>;

/// A passed-through function and what is expected of it.
struct Owned {
    slot: Slot,
    bdf: Bdf,
    pin: bool,
    may_master: bool,
    /// The window of an NVMe drive's table, which is in the first page of its one window.
    table: Option<usize>,
}

/// A guest at its bus.
pub struct Guest<'a> {
    own: Own<'a>,
    windows: &'a Windows,
    first_windows: Vec<Option<&'a FakeWindow>>,
    /// The bus.
    pub bus: GuestBus<Function<'a>>,
    /// Places that an access is likely to want: all that are used, and some more.
    slots: Vec<Slot>,
    /// Where its root ports are.
    ports: Vec<Slot>,
    owned: Vec<Owned>,
    /// The endpoints behind its emulated functions, and what each may do.
    endpoints: BTreeMap<usize, Enables>,
    /// First and last address of each BAR, and whether it is memory.
    mapped: BTreeMap<(Slot, u8), (u64, u64, bool)>,
    /// A function that was taken out, where it was.
    taken: Option<(Slot, Function<'a>)>,
}

impl<'a> Guest<'a> {
    /// A guest of `functions`, with nothing on its bus.
    pub fn new(config: &'a FakeConfigSpace, functions: &'a [Bdf], windows: &'a Windows) -> Self {
        Self {
            own: Own { config, functions },
            windows,
            first_windows: Vec::new(),
            bus: GuestBus::new(vpci::Windows::STANDARD, PLACES),
            slots: vec![Slot(0)],
            ports: Vec::new(),
            owned: Vec::new(),
            endpoints: BTreeMap::new(),
            mapped: BTreeMap::new(),
            taken: None,
        }
    }

    /// Puts a root port there.
    pub fn port(&mut self, slot: Slot) {
        self.bus.insert_port(slot).expect("a free slot");
        self.ports.push(slot);
        self.slots.push(slot);
    }

    /// Puts an emulated function there, with memory behind a BAR of its own or without.
    pub fn emulate(&mut self, slot: Slot, endpoint: usize, memory: Option<BarMemory>) {
        let layout = BarLayout::new(0x2000, 5);
        let description = Description {
            identity: IDENTITY,
            messages: 5,
            layout,
            vendor_specific: &[],
            device_registers: 0,
        };
        let function = match memory {
            Some(memory) => EmulatedFunction::with_memory(&description, memory),
            None => EmulatedFunction::new(&description),
        };
        self.bus.insert(slot, BusFunction::Emulated { function, endpoint }).expect("a free slot");
        self.endpoints.insert(endpoint, Enables { line: true, ..Enables::default() });
        self.slots.push(slot);
    }

    /// Puts a function of the machine there, if it can be passed through.
    pub fn give(&mut self, slot: Slot, bdf: Bdf, pin: bool, is_nvme: bool) {
        self.slots.push(slot);
        let grant = Grant { interrupt_line: pin.then_some(17), rom: None, bars: None };
        let windows = self.windows;
        let first = std::cell::Cell::new(None);
        let open = |_, _| {
            let window = windows.open();
            first.set(first.get().or(window));
            window
        };
        let Ok(mut given) = PassedThrough::discover(self.own, bdf, &grant, open) else { return };
        given.start();
        let table = is_nvme.then_some(self.first_windows.len());
        self.first_windows.push(first.get());
        self.bus.insert(slot, BusFunction::PassedThrough(given)).expect("a free slot");
        self.owned.push(Owned { slot, bdf, pin, may_master: false, table });
    }

    /// The guest, or what the hypervisor does for it, takes a step.
    pub fn step(&mut self, kind: u8, input: &mut Input<'_>) {
        let bus = &mut self.bus;
        match kind % 14 {
            0 => {
                let address = u32::from(input.u16()) | u32::from(input.u8() & 3) << 16;
                bus.port_write(0xcf8, Width::Dword, 1 << 31 | address);
            }
            1 => drop(bus.port_write(0xcf8 | u16::from(input.u8() & 7), input.width(), input.u32())),
            2 => drop(bus.port_read(0xcf8 | u16::from(input.u8() & 7), input.width())),
            3 => {
                let offset = u64::from(input.u32() & 0x3f_ffff);
                bus.ecam_read(offset, input.width());
            }
            4 => {
                let offset = u64::from(input.u32() & 0x3f_ffff);
                bus.ecam_write(offset, input.width(), input.u64());
            }
            5 | 6 => {
                let slot = input.pick(&self.slots);
                bus.config_write(slot, input.u8().into(), input.port_width(), input.u32());
            }
            7 | 8 => self.access_bar(input),
            9 => {
                let target = bus.memory_target(Gpa(input.u64()));
                let target = target.or(bus.port_bar_target(input.u16()));
                if let Some(target) = target {
                    self.access(target, input.width(), input.u64());
                }
            }
            10 => self.allow_bus_master(input),
            11 if input.u8() & 7 == 0 => {
                bus.reset();
                self.follow(input);
                let _ = self.bus.place_bars();
            }
            11 => {
                let slot = input.pick(&self.slots);
                machine::walk_as_guest(|offset, width| bus.config_read(slot, offset, width));
            }
            12 => self.take_out(input),
            _ => self.put_back(input),
        }
    }

    fn allow_bus_master(&mut self, input: &mut Input<'_>) {
        let allowed = input.u8() & 1 != 0;
        let slot = input.pick(&self.slots);
        if let Some(owned) = self.owned.iter_mut().find(|owned| owned.slot == slot)
            && let Some(BusFunction::PassedThrough(function)) = self.bus.function_mut(slot)
        {
            owned.may_master = allowed;
            function.allow_bus_master(allowed);
        }
    }

    /// Takes a function out while the guest runs.
    fn take_out(&mut self, input: &mut Input<'_>) {
        let slot = input.pick(&self.slots);
        if self.taken.is_some() {
            return;
        }
        // What others are told because of it comes first.
        self.follow(input);
        let Some((mut function, mut effects)) = self.bus.remove(slot) else { return };
        while let Some(effect) = effects.pop(|| function.next_message()) {
            apply(&mut self.mapped, &mut self.endpoints, slot, effect, &mut function, input);
        }
        assert!(self.mapped.keys().all(|(mapped, _)| *mapped != slot), "{slot} is gone and mapped");
        self.taken = Some((slot, function));
    }

    /// Puts it back: where it was, or in another place.
    fn put_back(&mut self, input: &mut Input<'_>) {
        let Some((was, function)) = self.taken.take() else { return };
        let wish = input.pick(&self.slots);
        let is_free =
            |slot: Slot| slot != Slot(0) && !self.ports.contains(&slot) && self.bus.function(slot).is_none();
        // Nobody else was put where it was, unless it was moved before.
        let Some(slot) = [wish, was].into_iter().find(|slot| is_free(*slot)) else {
            self.taken = Some((was, function));
            return;
        };
        self.bus.insert(slot, function).expect("a free place");
        for owned in self.owned.iter_mut().filter(|owned| owned.slot == was) {
            owned.slot = slot;
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
        self.access(target, width, value);
    }

    fn access(&mut self, target: BarTarget, width: Width, value: u64) {
        let endpoints = &self.endpoints;
        self.bus.with_bar(target, |function, bar, offset, asked| match function {
            BusFunction::PassedThrough(given) => {
                given.bar_read(bar, offset, width);
                given.bar_write(bar, offset, width, value, asked);
            }
            BusFunction::Emulated { endpoint, .. } => {
                assert!(endpoints.contains_key(endpoint), "an endpoint of somebody else's");
            }
        });
    }

    /// Does what the effects ask for.
    pub fn follow(&mut self, input: &mut Input<'_>) {
        let Self { bus, mapped, endpoints, .. } = self;
        while let Some((slot, effect)) = bus.next_effect() {
            let function = bus.function_mut(slot).expect("an effect of a function");
            apply(mapped, endpoints, slot, effect, function, input);
        }
    }

    /// What is true after every step, its own and that of another guest.
    pub fn check(&mut self) {
        self.check_mapped();
        let writes = self.own.config.take_writes();
        for (bdf, offset, ..) in &writes {
            assert!(self.owned.iter().any(|owned| owned.bdf == *bdf), "a write to {bdf}");
            assert!(*offset < 0x100 && !(0x0c..0x40).contains(offset), "a write to {offset:#x} of {bdf}");
        }
        for index in 0..self.owned.len() {
            let forwarded =
                self.port_of(self.owned[index].slot).is_none_or(|port| self.has(port, command::BUS_MASTER));
            let owned = &self.owned[index];
            // What was written, not what the function made of it.
            let is_command = |(bdf, offset, ..): &&ConfigWrite| *bdf == owned.bdf && *offset == COMMAND;
            if let Some((.., command)) = writes.iter().rfind(is_command) {
                let may_master = owned.may_master && forwarded;
                assert!(may_master || command & u32::from(command::BUS_MASTER) == 0);
                assert!(owned.pin || command & u32::from(command::INTERRUPT_DISABLE) != 0);
            }
            // Whatever was written when, nothing masters the bus behind a port that does not. (Of
            // the functions without such a table one may be of those that lie.)
            let held = self.own.config.functions.borrow()[&owned.bdf].get(COMMAND, 2);
            let masters = held & u32::from(command::BUS_MASTER) != 0;
            assert!(forwarded || !masters || owned.table.is_none());
            if let Some(window) = owned.table.and_then(|table| self.first_windows[table]) {
                check_table(window);
            }
        }
        self.check_endpoints();
    }

    /// What an endpoint was told is what its function and the port above it say.
    fn check_endpoints(&mut self) {
        let slots: Vec<_> = self.bus.functions().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Some(BusFunction::Emulated { endpoint, .. }) = self.bus.function(slot) else { continue };
            let told = self.endpoints[endpoint];
            let forwarded = self.port_of(slot).is_none_or(|port| self.has(port, command::BUS_MASTER));
            let own = self.bus.function_mut(slot).expect("there").config_read(COMMAND, Width::Word);
            let masters = forwarded && own & u32::from(command::BUS_MASTER) != 0;
            assert_eq!(told.bus_master, masters, "{slot} was told something else");
        }
    }

    fn check_mapped(&mut self) {
        for ((slot, bar), (start, _, memory)) in &self.mapped {
            let target = if *memory {
                self.bus.memory_target(Gpa(*start))
            } else {
                self.bus.port_bar_target(*start as u16)
            };
            assert!(target.is_some_and(|to| (to.slot, to.bar) == (*slot, *bar)), "{slot} BAR {bar} is stale");
        }
        let ranges: Vec<_> = self.mapped.values().copied().collect();
        for (place, (start, last, memory)) in ranges.iter().enumerate() {
            assert!(is_allowed(*start, *last, *memory), "{start:#x} is outside the windows");
            for (other, other_last, other_memory) in &ranges[place + 1..] {
                assert!(memory != other_memory || last < other || other_last < start, "BARs overlap");
            }
        }
        let all: Vec<_> = self.bus.functions().map(|(slot, function)| (slot, function.bars())).collect();
        for (slot, bars) in all {
            for (number, bar) in (0_u8..).zip(bars) {
                let wanted = bar.and_then(|bar| self.wanted(slot, &bar));
                let is = self.mapped.get(&(slot, number)).copied();
                match (is, wanted) {
                    (Some(is), wanted) => assert_eq!(Some(is), wanted, "{slot} BAR {number}"),
                    (None, None) => {}
                    // Another one is there: it came first.
                    (None, Some((start, last, memory))) => assert!(
                        ranges
                            .iter()
                            .any(|(other, end, kind)| *kind == memory && *other <= last && start <= *end),
                        "{slot} BAR {number} at {start:#x} is not mapped"
                    ),
                }
            }
        }
    }

    /// Where a BAR must be mapped, if no other is there.
    fn wanted(&mut self, slot: Slot, bar: &Bar) -> Option<(u64, u64, bool)> {
        let start = bar.decoded.then_some(bar.gpa.0)?;
        let last = start.checked_add(bar.size - 1)?;
        let memory = bar.kind.is_memory();
        let reached = match self.port_of(slot) {
            None => true,
            Some(port) => memory && self.has(port, command::MEMORY_SPACE) && self.forwards(port, start, last),
        };
        (reached && is_allowed(start, last, memory)).then_some((start, last, memory))
    }

    fn port_of(&self, slot: Slot) -> Option<Slot> {
        self.ports.get(usize::from(slot.port()).checked_sub(1)?).copied()
    }

    /// Whether the command register of a port has this bit.
    fn has(&mut self, port: Slot, bit: u16) -> bool {
        self.bus.config_read(port, COMMAND, Width::Word) & u32::from(bit) != 0
    }

    /// Whether one of a port's windows holds all of a range.
    fn forwards(&mut self, port: Slot, start: u64, last: u64) -> bool {
        let mut read = |at| u64::from(self.bus.config_read(port, at, Width::Dword));
        let window = |register: u64, base: u64, limit: u64| {
            let base = base << 32 | (register & 0xfff0) << 16;
            let limit = limit << 32 | register & 0xfff0_0000 | 0xf_ffff;
            base != 0 && base <= start && last <= limit
        };
        let wide = (read(BRIDGE_PREFETCHABLE + 4), read(BRIDGE_PREFETCHABLE + 8));
        window(read(BRIDGE_MEMORY), 0, 0) || window(read(BRIDGE_PREFETCHABLE), wide.0, wide.1)
    }
}

/// Whether a BAR may be there: in a window, so over no memory.
fn is_allowed(start: u64, last: u64, memory: bool) -> bool {
    let windows = vpci::Windows::STANDARD;
    let inside = |window: &std::ops::Range<u64>| window.contains(&start) && window.contains(&last);
    match memory {
        true => inside(&windows.memory32) || inside(&windows.memory64),
        false => inside(&windows.ports),
    }
}

fn apply(
    mapped: &mut BTreeMap<(Slot, u8), (u64, u64, bool)>,
    endpoints: &mut BTreeMap<usize, Enables>,
    slot: Slot,
    effect: PciEffect,
    function: &mut Function<'_>,
    input: &mut Input<'_>,
) {
    match effect {
        PciEffect::MapBar { bar, gpa } => {
            let found = function.bars()[usize::from(bar)].expect("a BAR that is there");
            assert_eq!((found.gpa, found.decoded), (gpa, true));
            let range = (gpa.0, gpa.0 + (found.size - 1), found.kind.is_memory());
            assert!(mapped.insert((slot, bar), range).is_none(), "{slot} BAR {bar} mapped twice");
        }
        // One access of 8 bytes is two writes: the first may have mapped what the
        // second took away, and then there is nothing left to unmap.
        PciEffect::UnmapBar { bar } => drop(mapped.remove(&(slot, bar))),
        PciEffect::Message(change) => {
            let given = function.passed_through().expect("a message of a passed-through function");
            // Of several messages of MSI the data is contiguous.
            let data = 0x40 | u32::from(change.index & 0x1f);
            let host = HostMsi { address: HOST_ADDRESS, data };
            let host = (change.message.is_some() && input.u8() & 7 != 1).then_some(host);
            let answer = given.set_host_message(change.index, host);
            // It may not fit the first one of MSI, but it is there.
            let expected = answer != Err(MessageRefused::NoSuchMessage);
            assert!(expected || change.message.is_none(), "{change:?} is refused");
        }
        PciEffect::Enables(enables) => {
            let BusFunction::Emulated { endpoint, .. } = function else { panic!("{slot} is not emulated") };
            endpoints.insert(*endpoint, enables);
        }
        PciEffect::ResetRequested => {
            if let Some(given) = function.passed_through() {
                given.start();
            }
        }
        PciEffect::BusMaster(_) | PciEffect::InterruptPin(_) | PciEffect::BarRefused { .. } => {}
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
