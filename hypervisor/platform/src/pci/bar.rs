//! Sizing base address registers (PCI Express Base Specification 6.0,
//! section 7.5.1.2.1).

use super::{Bar, BarKind};
use crate::finding::{Findings, finding};
use access::ConfigSpace;
use alloc::vec::Vec;
use spec::pci_config::{BAR0, COMMAND, ROM_BAR, command};
use spec::{Bdf, Hpa};

/// Number of BARs of a header of type 0.
const BARS: u16 = 6;

/// Sizes the BARs and the ROM of a function with a header of type 0. Decoding is
/// off meanwhile, so that the ones that are written catch nobody's accesses;
/// everything is as it was afterwards.
pub(super) fn size_all(
    config: &dyn ConfigSpace,
    function: Bdf,
    findings: &mut Findings<'_>,
) -> (Vec<Bar>, u32) {
    let before = config.read16(function, COMMAND);
    // A driver-less device may still be busy with what the firmware gave it, so bus
    // mastering stays as it is.
    config.write16(function, COMMAND, before & !(command::IO_SPACE | command::MEMORY_SPACE));
    let mut bars = Vec::new();
    let mut index = 0;
    while index < BARS {
        let is_last = index + 1 == BARS;
        let (bar, registers) = size(config, function, index, is_last, findings);
        bars.extend(bar);
        index += registers;
    }
    let rom_bytes = size_rom(config, function);
    config.write16(function, COMMAND, before);
    (bars, rom_bytes)
}

/// Writes ones, reads back, restores.
fn probe(config: &dyn ConfigSpace, function: Bdf, offset: u16) -> (u32, u32) {
    let value = config.read32(function, offset);
    config.write32(function, offset, u32::MAX);
    let mask = config.read32(function, offset);
    config.write32(function, offset, value);
    (value, mask)
}

/// One BAR, and how many registers it takes.
fn size(
    config: &dyn ConfigSpace,
    function: Bdf,
    index: u16,
    is_last: bool,
    findings: &mut Findings<'_>,
) -> (Option<Bar>, u16) {
    let offset = BAR0 + 4 * index;
    let (value, mask) = probe(config, function, offset);
    if mask == 0 || mask == u32::MAX && value == u32::MAX {
        return (None, 1);
    }
    let is_port = mask & 1 != 0;
    let is_64_bit = !is_port && mask >> 1 & 3 == 2;
    let (address, size_mask, registers) = if is_port {
        // The upper half need not be writable (section 7.5.1.2.1).
        let upper = if mask >> 16 == 0 { 0xffff_0000 } else { 0 };
        (u64::from(value & !3), u64::from(mask & !3 | upper) | 0xffff_ffff_0000_0000, 1)
    } else if is_64_bit && !is_last {
        let (high, high_mask) = probe(config, function, offset + 4);
        let join = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low & !15);
        (join(high, value), join(high_mask, mask), 2)
    } else {
        (u64::from(value & !15), u64::from(mask & !15) | 0xffff_ffff_0000_0000, 1)
    };
    if is_64_bit && is_last {
        finding!(findings, "its last BAR says that it has 64 bits; ignored");
        return (None, 1);
    }
    // The size is the lowest address bit that can be set; the bits above it must
    // follow it without a gap.
    let bytes = size_mask & size_mask.wrapping_neg();
    if bytes == 0 || size_mask.wrapping_add(bytes) != 0 {
        finding!(findings, "BAR {index} reads back {size_mask:#x} when sized, which is no size; ignored");
        return (None, registers);
    }
    let kind = match (is_port, is_64_bit) {
        (true, _) => BarKind::Port,
        (false, true) => BarKind::Memory64,
        (false, false) => BarKind::Memory32,
    };
    let prefetchable = !is_port && mask & 8 != 0;
    (Some(Bar { index: index as u8, kind, prefetchable, address: Hpa(address), bytes }), registers)
}

fn size_rom(config: &dyn ConfigSpace, function: Bdf) -> u32 {
    let value = config.read32(function, ROM_BAR);
    // Bit 0 enables decoding; it stays off.
    config.write32(function, ROM_BAR, 0xffff_f800);
    let mask = config.read32(function, ROM_BAR) & 0xffff_f800;
    config.write32(function, ROM_BAR, value);
    mask & mask.wrapping_neg()
}
