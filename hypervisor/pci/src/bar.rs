//! Base address registers of the machine: what they decode, and how much (PCI Express Base
//! Specification section 7.5.1.2.1).

use access::ConfigSpace;
use core::fmt;
use spec::pci_config::{BAR0, COMMAND, ROM_BAR, bar, command};
use spec::{Bdf, Hpa};

/// The expansion ROM's number among the BARs.
pub const ROM: u8 = 6;

/// What a BAR decodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BarKind {
    /// I/O ports. Its addresses are port numbers.
    Io,
    /// Memory below 4 GiB.
    Memory32 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// Memory anywhere; the BAR takes its own register and the next one.
    Memory64 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// The expansion ROM, below 4 GiB.
    Rom,
}

impl BarKind {
    /// Whether the BAR decodes memory rather than ports.
    pub const fn is_memory(self) -> bool {
        !matches!(self, Self::Io)
    }
}

/// Offset in configuration space of the register of BAR `number` (6 is the ROM).
pub const fn register(number: u8) -> u16 {
    if number == ROM { ROM_BAR } else { BAR0 + 4 * number as u16 }
}

/// A BAR of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostBar {
    /// What it decodes.
    pub kind: BarKind,
    /// Bytes (or ports) it decodes, a power of two.
    pub size: u64,
    /// Where the firmware put it; a port number for [`BarKind::Io`].
    pub host: Hpa,
}

/// A BAR that cannot be understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BarFault {
    /// The writable bits are no power of two, or the reserved type is used.
    Malformed,
    /// The last register says that a second half follows.
    HalfMissing,
    /// The address is no multiple of the size.
    Misaligned,
}

impl fmt::Display for BarFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "does not decode a power of two of bytes",
            Self::HalfMissing => "claims 64 bits but is the last",
            Self::Misaligned => "is at no multiple of its size",
        })
    }
}

/// Sizes the six BARs of an endpoint.
///
/// # Errors
/// The number of the first BAR that cannot be understood, and why.
pub fn size_bars<C: ConfigSpace + ?Sized>(
    config: &C,
    function: Bdf,
) -> Result<[Option<HostBar>; 6], (u8, BarFault)> {
    let mut bars = [None; 6];
    let mut first_fault = Ok(());
    without_decode(config, function, || {
        size_each(config, function, |number, sized| match sized {
            Ok(bar) => {
                if let Some(place) = bars.get_mut(usize::from(number)) {
                    *place = Some(bar);
                }
            }
            Err(fault) => first_fault = first_fault.and(Err((number, fault))),
        });
    });
    first_fault.map(|()| bars)
}

/// Sizes the BARs of an endpoint and gives each to `bar`, with its number, or what is wrong with
/// it. Returns the bytes of its expansion ROM, 0 for none.
pub fn size_all<C: ConfigSpace + ?Sized>(
    config: &C,
    function: Bdf,
    bar: impl FnMut(u8, Result<HostBar, BarFault>),
) -> u32 {
    without_decode(config, function, || {
        size_each(config, function, bar);
        // The bit that enables its decode stays off.
        let (_, mask) = probe(config, function, ROM_BAR, !bar::ROM_FLAGS);
        let mask = mask & !bar::ROM_FLAGS;
        mask & mask.wrapping_neg()
    })
}

/// Does `sizing` while the function decodes nothing, so that registers that hold all ones catch
/// nobody's accesses; its command register is as before afterwards. Bus mastering stays as it
/// is: a device may be busy with what the firmware gave it.
fn without_decode<C: ConfigSpace + ?Sized, R>(config: &C, function: Bdf, sizing: impl FnOnce() -> R) -> R {
    let before = config.read16(function, COMMAND);
    config.write16(function, COMMAND, before & !(command::IO_SPACE | command::MEMORY_SPACE));
    let result = sizing();
    config.write16(function, COMMAND, before);
    result
}

fn size_each<C: ConfigSpace + ?Sized>(
    config: &C,
    function: Bdf,
    mut bar: impl FnMut(u8, Result<HostBar, BarFault>),
) {
    let mut number = 0;
    while number < 6 {
        let (sized, registers) = size(config, function, number);
        if let Some(sized) = sized.transpose() {
            bar(number, sized);
        }
        number += registers;
    }
}

/// Sizes one BAR, and says how many registers it takes: what it holds, what of all ones sticks,
/// and what it held again.
fn size<C: ConfigSpace + ?Sized>(
    config: &C,
    function: Bdf,
    number: u8,
) -> (Result<Option<HostBar>, BarFault>, u8) {
    let (low, low_mask) = probe(config, function, register(number), u32::MAX);
    if low_mask == 0 || (low, low_mask) == (u32::MAX, u32::MAX) {
        return (Ok(None), 1);
    }
    if low_mask & bar::IO != 0 {
        // The upper 16 bits need not be there (PCI 3.0 section 6.2.5.1).
        let upper = if low_mask >> 16 == 0 { 0xffff_0000 } else { 0 };
        let mask = low_mask & !bar::IO_FLAGS | upper;
        return (finish(BarKind::Io, u64::from(mask) | !0xffff_ffff, (low & !bar::IO_FLAGS).into()), 1);
    }
    let prefetchable = low_mask & bar::PREFETCHABLE != 0;
    let mask = u64::from(low_mask & !bar::MEMORY_FLAGS);
    let address = u64::from(low & !bar::MEMORY_FLAGS);
    match low_mask & bar::TYPE_MASK {
        0 => (finish(BarKind::Memory32 { prefetchable }, mask | !0xffff_ffff, address), 1),
        bar::TYPE_64 if number >= 5 => (Err(BarFault::HalfMissing), 1),
        bar::TYPE_64 => {
            let (high, high_mask) = probe(config, function, register(number + 1), u32::MAX);
            let mask = mask | u64::from(high_mask) << 32;
            (finish(BarKind::Memory64 { prefetchable }, mask, address | u64::from(high) << 32), 2)
        }
        _ => (Err(BarFault::Malformed), 1),
    }
}

fn finish(kind: BarKind, mask: u64, address: u64) -> Result<Option<HostBar>, BarFault> {
    let size = mask & mask.wrapping_neg();
    // Every address bit above the size must be writable.
    if size < 4 || mask != !(size - 1) {
        return Err(BarFault::Malformed);
    }
    if address & (size - 1) != 0 {
        return Err(BarFault::Misaligned);
    }
    Ok(Some(HostBar { kind, size, host: Hpa(address) }))
}

/// What a register holds, and what it reads back after `ones`.
fn probe<C: ConfigSpace + ?Sized>(config: &C, function: Bdf, at: u16, ones: u32) -> (u32, u32) {
    let held = config.read32(function, at);
    config.write32(function, at, ones);
    let mask = config.read32(function, at);
    config.write32(function, at, held);
    (held, mask)
}
