//! Base address registers of the machine's functions.

use super::{Bar, BarKind};
use crate::finding::{Findings, finding};
use ::pci::bar::{HostBar, size_all};
use access::ConfigSpace;
use alloc::vec::Vec;
use spec::Bdf;

impl Bar {
    /// BAR `index`, as it was sized. A ROM is none of these.
    fn new(index: u8, HostBar { kind, size, host }: HostBar) -> Self {
        let (kind, prefetchable) = match kind {
            ::pci::BarKind::Io => (BarKind::Port, false),
            ::pci::BarKind::Memory32 { prefetchable } => (BarKind::Memory32, prefetchable),
            ::pci::BarKind::Memory64 { prefetchable } => (BarKind::Memory64, prefetchable),
            ::pci::BarKind::Rom => (BarKind::Memory32, true),
        };
        Self { index, kind, prefetchable, address: host, bytes: size }
    }

    /// What was sized.
    pub fn sized(&self) -> HostBar {
        let prefetchable = self.prefetchable;
        let kind = match self.kind {
            BarKind::Port => ::pci::BarKind::Io,
            BarKind::Memory32 => ::pci::BarKind::Memory32 { prefetchable },
            BarKind::Memory64 => ::pci::BarKind::Memory64 { prefetchable },
        };
        HostBar { kind, size: self.bytes, host: self.address }
    }
}

/// The BARs of a function with a header of type 0, and the bytes of its ROM.
pub(super) fn read(config: &dyn ConfigSpace, function: Bdf, findings: &mut Findings<'_>) -> (Vec<Bar>, u32) {
    let mut bars = Vec::new();
    let rom_bytes = size_all(config, function, |index, sized| match sized {
        Ok(bar) => bars.push(Bar::new(index, bar)),
        Err(fault) => finding!(findings, "BAR {index} {fault}; ignored"),
    });
    (bars, rom_bytes)
}
