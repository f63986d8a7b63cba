//! The addresses that a bridge claims for what is behind it (PCI-to-PCI Bridge Architecture
//! Specification 1.2, sections 3.2.5.6 to 3.2.5.10). A request from behind to one of them does
//! not leave the bridge: it goes to a neighbour, or nowhere.

use ::pci::bridge::memory_windows;
use access::ConfigSpace;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use spec::pci_config::{BRIDGE_CONTROL, HEADER_TYPE_CARDBUS};
use spec::{Bdf, Hpa};

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
    let windows = memory_windows(|at| config.read32(function, at)).into_iter().zip([false, true]);
    let open = windows.filter_map(|(window, prefetchable)| Some((window?, prefetchable)));
    open.map(|((start, bytes), prefetchable)| Window { start: Hpa(start), bytes, prefetchable }).collect()
}
