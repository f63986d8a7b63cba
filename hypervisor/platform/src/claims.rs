//! Addresses that the bridges above a function claim. Its DMA to them does not go up to the
//! IOMMU: a neighbour gets it, or nobody.

use crate::pci::Function;
use crate::topology::Platform;
use alloc::vec::Vec;
use spec::Hpa;

/// A range that a bridge claims for what is behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim<'p> {
    /// The bridge.
    pub bridge: &'p Function,
    /// First address.
    pub start: Hpa,
    /// Address after the last.
    pub end: Hpa,
}

impl Platform {
    /// What the bridges above a function claim: their windows, and where a board file does
    /// not have those, at least the BARs of what is behind.
    pub fn claims_above<'p>(&'p self, function: &Function) -> Vec<Claim<'p>> {
        let mut claims = Vec::new();
        for bridge in self.bridges_above(function) {
            let of_windows = bridge.windows.iter().map(|window| (window.start, window.end()));
            claims.extend(of_windows.map(|(start, end)| Claim { bridge, start, end }));
            if !bridge.windows.is_empty() {
                continue;
            }
            let behind = |other: &&Function| self.bridges_above(other).any(|above| above.bdf == bridge.bdf);
            let bars = self.functions.iter().filter(behind).flat_map(|other| &other.bars);
            let placed = bars.filter(|bar| bar.is_memory() && bar.address.0 != 0);
            claims.extend(placed.map(|bar| Claim {
                bridge,
                start: bar.address,
                end: Hpa(bar.address.0.saturating_add(bar.bytes)),
            }));
        }
        claims
    }
}
