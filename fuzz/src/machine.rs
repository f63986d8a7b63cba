//! Functions of a machine, made from the input, and what is true of every machine.

use crate::Input;
use access::ConfigSpace;
use access::fake_pci::{FakeConfigSpace, FakeFunction, FakeWindow};
use platform::remapping::Service;
use platform::{Isolation, Platform, Remapping};
use spec::pci_config::{BAR0, COMMAND, STATUS, VENDOR_ID};
use spec::{Bdf, Width};
use std::cell::Cell;
use std::collections::BTreeSet;

/// The Plan's own limit of findings.
const MOST_FINDINGS: usize = 256;

/// One function: a byte for what it looks like, one for the number of changes, and
/// 7 bytes a change: a byte of what is changed, 2 for the offset, 4 for the value.
pub fn function(input: &mut Input<'_>) -> FakeFunction {
    let mut function = match input.u8() % 8 {
        0 => FakeFunction::new(0x8086, 0x1234, 0x02_0000),
        1 => FakeFunction::e1000e(),
        2 => FakeFunction::nvme(),
        3 => FakeFunction::new(0x1af4, 0x1041, 0x02_0000)
            .memory_bar(0, 0x1_0000, 0x90_0000_0000, true, true)
            .memory_bar(2, 0x100, 0xfea0_0000, false, false),
        4 => FakeFunction::bridge(input.u8()).with_express(0x40, false),
        5 => FakeFunction::bridge(input.u8()),
        6 => FakeFunction::nvme()
            .extended_capability(1, 0x100, 0x148, 0x55, 0x48)
            .extended_capability(0x0d, 0x148, 0x150, 0, 8)
            .extended_capability(0x10, 0x150, 0x190, 0, 0x40)
            .extended_capability(3, 0x190, 0, 0xaa, 0x0c),
        _ => FakeFunction::new(0x8086, 0x2922, 0x01_0601)
            .memory_bar(5, 0x1000, 0xfebf_1000, false, false)
            .with_msi(0x80, 0x018a)
            .with_power(0x70, true)
            .with_advanced_features(0x90),
    };
    for _ in 0..input.u8() % 32 {
        let (kind, offset, value) = (input.u8(), input.u16() & 0xfff, input.u32());
        let bytes = [1, 2, 4, 4][usize::from(kind >> 2 & 3)];
        let offset = offset & !(bytes - 1);
        match kind & 3 {
            0 | 1 => function.put(offset, bytes, value),
            2 => function.allow(offset, bytes, value),
            // Nobody can put such a bit of a decoder back.
            _ if offset < 0x40 => {}
            _ => function.clear_on_one(offset, bytes, value),
        }
    }
    function.powered_on()
}

/// Up to 15 functions on the buses 0 to 7: a byte for their number, and for each its
/// device and function, its bus, and itself.
pub fn functions(input: &mut Input<'_>) -> FakeConfigSpace {
    let count = input.u8() % 16;
    FakeConfigSpace::with((0..count).map(|_| {
        let (slot, bus) = (input.u8(), input.u8() & 7);
        (Bdf::new(bus, slot >> 3, slot & 7), function(input))
    }))
}

/// A machine whose functions do not always say the same.
pub struct Moody<'a> {
    machine: &'a FakeConfigSpace,
    /// What the bits of each read are flipped with, in a circle.
    lies: Vec<u32>,
    reads: Cell<usize>,
}

impl<'a> Moody<'a> {
    /// Takes the lies from the input: how many, and each.
    pub fn new(machine: &'a FakeConfigSpace, input: &mut Input<'_>) -> Self {
        let count = input.u8().saturating_sub(0x80);
        Self { machine, lies: (0..count).map(|_| input.u32()).collect(), reads: Cell::new(0) }
    }

    /// Whether it is an honest machine.
    pub fn is_honest(&self) -> bool {
        self.lies.is_empty()
    }
}

impl ConfigSpace for Moody<'_> {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        let value = self.machine.read(function, offset, width);
        if self.is_honest() || !self.machine.functions.borrow().contains_key(&function) {
            return value;
        }
        let read = self.reads.replace(self.reads.get().wrapping_add(1));
        let lie = read.checked_rem(self.lies.len()).map_or(0, |place| self.lies[place]);
        value ^ lie & width.mask() as u32
    }
    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        self.machine.write(function, offset, width, value);
    }
    fn is_extended(&self, function: Bdf) -> bool {
        self.machine.is_extended(function)
    }
}

/// What a scan must leave as it was: command and BARs of every function.
pub fn decoders(machine: &FakeConfigSpace) -> Vec<(Bdf, u32, [u32; 6])> {
    let functions = machine.functions.borrow();
    let bars = |function: &FakeFunction| std::array::from_fn(|bar| function.get(BAR0 + 4 * bar as u16, 4));
    functions.iter().map(|(bdf, function)| (*bdf, function.get(COMMAND, 2), bars(function))).collect()
}

/// What is true of every machine that was discovered.
pub fn check(platform: &Platform) {
    assert!(platform.tables.findings.len() <= MOST_FINDINGS && platform.findings.len() <= MOST_FINDINGS);
    let (mut places, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for function in &platform.functions {
        assert!(places.insert(function.bdf), "{} twice", function.bdf);
        assert!(paths.insert(function.path.to_string()), "{} twice", function.path);
        if let Some(parent) = function.parent {
            assert!(places.contains(&parent), "{} before its parent {parent}", function.bdf);
        }
        for bar in &function.bars {
            assert!(bar.index < 6 && bar.bytes.is_power_of_two(), "{bar:?}");
            let _ = bar.pages();
        }
        assert_eq!(platform.function_at(&function.path).map(|found| found.bdf), Some(function.bdf));
        assert_eq!(platform.requesters(function).first(), Some(&function.bdf));
        assert!(platform.bridges_above(function).all(|bridge| bridge.bridge.is_some()));
        let _ = (platform.access_controls(function), platform.is_validated(function));
        check_pairs(platform, function);
        let unit = platform.remapping_unit(function);
        assert!(unit.is_none_or(|unit| unit < platform.remapping.units.len()));
        platform.reserved_memory(function).for_each(drop);
    }
    for io_apic in platform.io_apics() {
        if let Some((unit, _)) = platform.io_apic_source(io_apic) {
            assert!(unit < platform.remapping.units.len());
        }
        assert!(platform.io_apic_pin(io_apic.gsi_base).is_some());
    }
    check_remapping(&platform.remapping);
    let _ = platform.hpet().map(|hpet| platform.hpet_source(&hpet));
    // A board file gives back what was found.
    let board = serde_json::to_string(platform).expect("a board file");
    assert_eq!(serde_json::from_str::<Platform>(&board).expect("its own board file"), *platform);
}

/// What is true of a function and every other one.
fn check_pairs(platform: &Platform, function: &platform::Function) {
    let is_together = |isolation| matches!(isolation, Isolation::Together(_));
    for other in platform.functions.iter().filter(|other| other.bdf != function.bdf) {
        let together = is_together(platform.isolation(function, other));
        assert_eq!(together, is_together(platform.isolation(other, function)), "whoever is asked first");
        let source = platform.message_source(function);
        let sends_as_it = platform.requesters(other).into_iter().any(|id| source.accepts(id));
        assert!(together || !sends_as_it, "{} passes for {}", other.bdf, function.bdf);
    }
}

/// What is true of every description of remapping units.
fn check_remapping(remapping: &Remapping) {
    for unit in &remapping.units {
        assert!(unit.register_bytes.is_multiple_of(4096) && unit.register_bytes != 0);
        // Whatever is wrong with a unit is said, and then it holds nobody.
        assert!(unit.trouble.is_some() || unit.base.is_aligned(4096) && unit.base.0 != 0);
        for range in unit.requesters.iter().filter(|_| unit.trouble.is_some()) {
            assert_eq!(remapping.unit_of(unit.segment, range.first), None);
        }
    }
    for range in &remapping.reserved {
        assert!(range.start.is_aligned(4096) && range.bytes.is_multiple_of(4096) && range.bytes != 0);
        assert!(range.start.checked_add(range.bytes - 1).is_some());
    }
    for alias in &remapping.aliases {
        let function = alias.functions.first;
        assert!(remapping.aliases_of(alias.segment, function).any(|other| other == alias.requester));
        assert!(remapping.service(alias.segment, alias.requester) != Service::Nobody);
    }
}

/// Windows for the trapped pages of functions.
pub struct Windows {
    windows: Vec<FakeWindow>,
    used: Cell<usize>,
}

impl Windows {
    /// So many windows of 16 KiB.
    pub fn new(count: usize) -> Self {
        Self { windows: (0..count).map(|_| FakeWindow::new(0x4000)).collect(), used: Cell::new(0) }
    }

    /// One that nobody has; `None` when all are used.
    pub fn open(&self) -> Option<&FakeWindow> {
        self.windows.get(self.used.replace(self.used.get() + 1))
    }

    /// How often the windows' registers were read and written.
    pub fn accesses(&self) -> usize {
        self.windows.iter().map(|window| window.reads.get() + window.writes.borrow().len()).sum()
    }

    /// Forgets what was written to the windows' registers.
    pub fn forget_writes(&self) {
        self.windows.iter().for_each(|window| drop(window.take_writes()));
    }
}

/// Walks the guest's capability lists, where there is a function: they must end and stay
/// in their space.
pub fn walk_as_guest(mut read: impl FnMut(u16, Width) -> u32) {
    if read(VENDOR_ID, Width::Word) == 0xffff {
        return;
    }
    let mut at = match read(STATUS, Width::Word) & 0x10 {
        0 => 0,
        _ => read(0x34, Width::Byte) as u16,
    };
    for steps in 0.. {
        assert!(steps <= 48, "the guest's capability list does not end");
        if at == 0 {
            break;
        }
        assert!((0x40..0x100).contains(&at) && at & 3 == 0, "a capability at {at:#x}");
        at = read(at + 1, Width::Byte) as u16;
    }
    let mut at = 0x100;
    for steps in 0.. {
        assert!(steps <= 960, "the guest's extended capability list does not end");
        let head = read(at, Width::Dword);
        at = (head >> 20) as u16;
        if head == 0 || head == u32::MAX || at == 0 {
            break;
        }
        assert!(at >= 0x100 && at & 3 == 0, "an extended capability at {at:#x}");
    }
}
