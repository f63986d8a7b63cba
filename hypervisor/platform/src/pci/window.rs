//! The addresses that a bridge claims for what is behind it (PCI-to-PCI Bridge Architecture
//! Specification 1.2, sections 3.2.5.6 to 3.2.5.10). A request from behind to one of them does
//! not leave the bridge: it goes to a neighbour, or nowhere.

use access::ConfigSpace;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use spec::pci_config::{BRIDGE_CONTROL, HEADER_TYPE_CARDBUS};
use spec::{Bdf, Hpa};

/// Memory base and limit: bits 15 to 4 are bits 31 to 20 of the first and the last address.
const MEMORY_BASE: u16 = 0x20;
/// The same for prefetchable memory; bits 3 to 0 of the base are 1 where it has 64 bits.
const PREFETCHABLE_BASE: u16 = 0x24;
const PREFETCHABLE_BASE_UPPER: u16 = 0x28;
const PREFETCHABLE_LIMIT_UPPER: u16 = 0x2c;
const IS_WIDE: u32 = 1;
/// First and last page of the two memory windows of a header of type 2 (PC Card Standard 8.0,
/// volume 7, section 4.5); bit 8 of its bridge control makes the first one prefetchable, bit
/// 9 the second.
const CARDBUS_WINDOWS: [u16; 2] = [0x1c, 0x24];
const CARDBUS_PREFETCHABLE: u16 = 1 << 8;

/// A range of addresses that a bridge claims for what is behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Window {
    /// First address.
    pub start: Hpa,
    /// Bytes, a multiple of 1 MiB; of 4 KiB behind a bridge to CardBus.
    pub bytes: u64,
    /// For BARs whose reads have no side effects.
    pub prefetchable: bool,
}

impl Window {
    /// Address after the last.
    pub fn end(&self) -> Hpa {
        Hpa(self.start.0.saturating_add(self.bytes))
    }
}

/// The windows of the bridge `function`. One that is closed has its limit below its base; one
/// from address 0 is what a reset leaves, and claims memory that others use.
pub(super) fn read(config: &dyn ConfigSpace, function: Bdf, header: u8) -> Vec<Window> {
    if header == HEADER_TYPE_CARDBUS { of_cardbus(config, function) } else { of_bridge(config, function) }
}

fn of_cardbus(config: &dyn ConfigSpace, function: Bdf) -> Vec<Window> {
    let control = config.read16(function, BRIDGE_CONTROL);
    let page = |offset| u64::from(config.read32(function, offset) & 0xffff_f000);
    let windows = CARDBUS_WINDOWS
        .into_iter()
        .zip(0..)
        .map(|(at, number)| (page(at), page(at + 4), control & CARDBUS_PREFETCHABLE << number != 0));
    let open = windows.filter(|(base, limit, _)| *base != 0 && base <= limit);
    open.map(|(base, limit, prefetchable)| Window {
        start: Hpa(base),
        bytes: limit - base + 0x1000,
        prefetchable,
    })
    .collect()
}

fn of_bridge(config: &dyn ConfigSpace, function: Bdf) -> Vec<Window> {
    let low = |register: u32| u64::from(register & 0xfff0) << 16;
    let memory = config.read32(function, MEMORY_BASE);
    let prefetchable = config.read32(function, PREFETCHABLE_BASE);
    let upper = |offset| match prefetchable & 0xf {
        IS_WIDE => u64::from(config.read32(function, offset)) << 32,
        _ => 0,
    };
    let ranges = [
        (low(memory), low(memory >> 16), false),
        (
            low(prefetchable) | upper(PREFETCHABLE_BASE_UPPER),
            low(prefetchable >> 16) | upper(PREFETCHABLE_LIMIT_UPPER),
            true,
        ),
    ];
    let open = ranges.into_iter().filter(|(base, limit, _)| *base != 0 && base <= limit);
    open.map(|(base, limit, prefetchable)| Window {
        start: Hpa(base),
        bytes: (limit - base).saturating_add(1 << 20),
        prefetchable,
    })
    .collect()
}
