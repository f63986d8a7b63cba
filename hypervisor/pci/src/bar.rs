//! Base address registers: sizing those of the machine, and the guest's own.

use access::ConfigSpace;
use spec::pci_config::{BAR0, COMMAND, ROM_BAR, bar, command};
use spec::{Bdf, Gpa, Hpa, Width};

use crate::function::{BARS, Bar, BarKind, ROM};
use crate::image::ConfigImage;

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

/// Sizes the six BARs of an endpoint. Decode and bus mastering are off meanwhile
/// and afterwards as before.
///
/// # Errors
/// The number of the first BAR that cannot be understood, and why.
pub fn size_bars<C: ConfigSpace + ?Sized>(
    config: &C,
    function: Bdf,
) -> Result<[Option<HostBar>; 6], (u8, BarFault)> {
    let saved = config.read16(function, COMMAND);
    let off = command::IO_SPACE | command::MEMORY_SPACE | command::BUS_MASTER;
    config.write16(function, COMMAND, saved & !off);
    let mut bars = [None; 6];
    let mut result = Ok(());
    let mut number = 0;
    while number < 6 {
        let wide = match size_bar(config, function, number) {
            Ok(found) => {
                if let Some(place) = bars.get_mut(usize::from(number)) {
                    *place = found;
                }
                matches!(found, Some(HostBar { kind: BarKind::Memory64 { .. }, .. }))
            }
            Err(fault) => {
                result = Err((number, fault));
                break;
            }
        };
        number += if wide { 2 } else { 1 };
    }
    config.write16(function, COMMAND, saved);
    result.map(|()| bars)
}

/// Sizes one BAR: what it holds, what of all ones sticks, and what it held again.
fn size_bar<C: ConfigSpace + ?Sized>(
    config: &C,
    function: Bdf,
    number: u8,
) -> Result<Option<HostBar>, BarFault> {
    let (low, low_mask) = probe(config, function, register(number));
    if low_mask == 0 {
        return Ok(None);
    }
    if low & bar::IO != 0 {
        // The upper 16 bits need not be there (PCI 3.0 section 6.2.5.1).
        let mask = u64::from(low_mask & !bar::IO_FLAGS) | 0xffff_0000;
        return finish(BarKind::Io, mask | !0xffff_ffff, u64::from(low & !bar::IO_FLAGS));
    }
    let prefetchable = low & bar::PREFETCHABLE != 0;
    let mask = u64::from(low_mask & !bar::MEMORY_FLAGS);
    let address = u64::from(low & !bar::MEMORY_FLAGS);
    match low & bar::TYPE_MASK {
        0 => finish(BarKind::Memory32 { prefetchable }, mask | !0xffff_ffff, address),
        bar::TYPE_64 if number >= 5 => Err(BarFault::HalfMissing),
        bar::TYPE_64 => {
            let (high, high_mask) = probe(config, function, register(number + 1));
            let mask = mask | u64::from(high_mask) << 32;
            finish(BarKind::Memory64 { prefetchable }, mask, address | u64::from(high) << 32)
        }
        _ => Err(BarFault::Malformed),
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

/// What a register holds, and what it reads back after all ones.
fn probe<C: ConfigSpace + ?Sized>(config: &C, function: Bdf, at: u16) -> (u32, u32) {
    let held = config.read32(function, at);
    config.write32(function, at, u32::MAX);
    let ones = config.read32(function, at);
    config.write32(function, at, held);
    (held, ones)
}

/// The guest's BARs: which there are. Their addresses are in the image.
#[derive(Clone, Copy, Debug)]
pub struct GuestBars {
    bars: [Option<(BarKind, u64, Option<Hpa>)>; BARS],
}

impl GuestBars {
    /// No BARs.
    pub const fn none() -> Self {
        Self { bars: [None; BARS] }
    }

    /// Lays a BAR into the image: its flags, and as writable the address bits
    /// above its size. `size` is a power of two of at least 16 bytes (4 ports, 2
    /// KiB of ROM); `host` is where the machine has it. A number that no BAR has is
    /// ignored.
    pub fn add(&mut self, image: &mut ConfigImage, number: u8, kind: BarKind, size: u64, host: Option<Hpa>) {
        let Some(place) = self.bars.get_mut(usize::from(number)) else { return };
        *place = Some((kind, size, host));
        let at = register(number);
        let mask = !(size.wrapping_sub(1));
        let (flags, writable) = match kind {
            BarKind::Io => (bar::IO, mask as u32 & !bar::IO_FLAGS),
            BarKind::Memory32 { prefetchable } => {
                (prefetchable_flag(prefetchable), mask as u32 & !bar::MEMORY_FLAGS)
            }
            BarKind::Memory64 { prefetchable } => {
                image.set(at + 4, Width::Dword, 0);
                image.let_write(at + 4, Width::Dword, (mask >> 32) as u32);
                (bar::TYPE_64 | prefetchable_flag(prefetchable), mask as u32 & !bar::MEMORY_FLAGS)
            }
            BarKind::Rom => (0, mask as u32 & !bar::ROM_FLAGS | bar::ROM_ENABLE),
        };
        image.set(at, Width::Dword, flags);
        image.let_write(at, Width::Dword, writable);
    }

    /// The BARs as the image has them, with the decode bits of `command`.
    pub fn current(&self, image: &ConfigImage, command: u16) -> [Option<Bar>; BARS] {
        let mut bars = [None; BARS];
        for (number, (bar, place)) in (0_u8..).zip(self.bars.iter().zip(&mut bars)) {
            *place = bar.map(|(kind, size, host)| {
                let (gpa, decoded) = decode(image, number, kind, command);
                Bar { kind, size, host, gpa, decoded }
            });
        }
        bars
    }
}

/// Where the guest put a BAR, and whether it decodes it there.
fn decode(image: &ConfigImage, number: u8, kind: BarKind, command: u16) -> (Gpa, bool) {
    let low = image.get32(register(number));
    let memory = command & command::MEMORY_SPACE != 0;
    match kind {
        BarKind::Io => (Gpa((low & !bar::IO_FLAGS).into()), command & command::IO_SPACE != 0),
        BarKind::Memory32 { .. } => (Gpa((low & !bar::MEMORY_FLAGS).into()), memory),
        BarKind::Memory64 { .. } => {
            let high = image.get32(register(number) + 4);
            (Gpa(u64::from(high) << 32 | u64::from(low & !bar::MEMORY_FLAGS)), memory)
        }
        BarKind::Rom => (Gpa((low & !bar::ROM_FLAGS).into()), memory && low & bar::ROM_ENABLE != 0),
    }
}

const fn prefetchable_flag(prefetchable: bool) -> u32 {
    if prefetchable { bar::PREFETCHABLE } else { 0 }
}
