//! Functions of a machine, given to a guest.
#![allow(dead_code)]

use access::fake_pci::{FakeConfigSpace, FakeFunction, FakeWindow};
use spec::{Bdf, Gpa, Width};
use vpci::{Grant, PassedThrough, PciEffect, PciEffects, PciFunction};

pub const AT: Bdf = Bdf::new(1, 0, 0);

pub type Given<'a> = PassedThrough<&'a FakeConfigSpace, &'a FakeWindow>;

/// The machine that `give` looks at: one function at [`AT`].
pub fn machine(function: FakeFunction) -> (FakeConfigSpace, FakeWindow) {
    (FakeConfigSpace::with([(AT, function)]), FakeWindow::new(0x4000))
}

/// Discovers and starts the function of `machine`.
pub fn give<'a>(machine: &'a (FakeConfigSpace, FakeWindow), grant: &Grant<'_>) -> Given<'a> {
    let mut given = PassedThrough::discover(&machine.0, AT, grant, |_, _| Some(&machine.1)).unwrap();
    given.start();
    machine.0.take_writes();
    machine.1.take_writes();
    given
}

/// Writes configuration space and returns the effects.
pub fn write(function: &mut impl PciFunction, offset: u16, width: Width, value: u32) -> Vec<PciEffect> {
    let mut effects = PciEffects::new();
    function.config_write(offset, width, value, &mut effects);
    drain(effects, function)
}

/// Writes a BAR and returns the effects.
pub fn write_bar(function: &mut Given<'_>, bar: u8, offset: u64, width: Width, value: u64) -> Vec<PciEffect> {
    let mut effects = PciEffects::new();
    function.bar_write(bar, offset, width, value, &mut effects);
    drain(effects, function)
}

pub fn drain(mut effects: PciEffects, function: &mut impl PciFunction) -> Vec<PciEffect> {
    std::iter::from_fn(|| effects.pop(|| function.next_message())).collect()
}

pub fn map(bar: u8, gpa: u64) -> PciEffect {
    PciEffect::MapBar { bar, gpa: Gpa(gpa) }
}

pub fn unmap(bar: u8) -> PciEffect {
    PciEffect::UnmapBar { bar }
}

/// Offset of the capability `id` in the guest's list.
pub fn capability(function: &mut impl PciFunction, id: u8) -> Option<u16> {
    chain(function).into_iter().find(|(this, _)| *this == id).map(|(_, at)| at)
}

/// The guest's capability list.
pub fn chain(function: &mut impl PciFunction) -> Vec<(u8, u16)> {
    let mut list = Vec::new();
    if function.config_read(0x06, Width::Word) & 0x10 == 0 {
        return list;
    }
    let mut at = function.config_read(0x34, Width::Byte) as u16;
    while at != 0 {
        assert!(list.len() < 48, "the guest's list does not end");
        list.push((function.config_read(at, Width::Byte) as u8, at));
        at = function.config_read(at + 1, Width::Byte) as u16;
    }
    list
}
