//! From what firmware claims about memory to what may be used.

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use spec::Hpa;
use spec::address::PAGE_BYTES;

/// Host-physical addresses from `start` up to but not including `end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Range {
    /// First address.
    pub start: Hpa,
    /// First address after it.
    pub end: Hpa,
}

impl Range {
    /// The `bytes` bytes from `start`; cut where they would leave 64 bits.
    pub const fn new(start: Hpa, bytes: u64) -> Self {
        Self { start, end: Hpa(start.0.saturating_add(bytes)) }
    }
    /// Number of bytes.
    pub const fn bytes(self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }
    /// Whether any byte is in both.
    pub const fn overlaps(self, other: Range) -> bool {
        self.start.0 < other.end.0 && other.start.0 < self.end.0
    }
    /// The whole pages inside; `None` if there are none.
    fn whole_pages(self) -> Option<Range> {
        let start = self.start.align_up(PAGE_BYTES)?;
        let end = self.end.align_down(PAGE_BYTES);
        (start < end).then_some(Range { start, end })
    }
}

/// Emits the usable memory of `regions` in ascending order as whole pages.
///
/// Regions may come in any order and overlap; memory that any region reserves is
/// not usable whatever another says, since a firmware that contradicts itself is
/// believed where that costs least. Neighbours are joined before they are rounded
/// inward; inverted and empty regions are ignored. No memory is needed: the work is
/// quadratic in the number of regions, of which real maps have a few hundred.
pub fn usable_ranges(regions: &[MemoryRegion], mut emit: impl FnMut(Range)) {
    let sound = || regions.iter().filter(|region| region.start < region.end);
    let mut at = 0;
    let mut open = None;
    loop {
        let covering = || sound().filter(|region| region.start <= at && at < region.end);
        let usable =
            covering().next().is_some() && covering().all(|region| region.kind == MemoryRegionKind::Usable);
        match (usable, open) {
            (true, None) => open = Some(at),
            (false, Some(start)) => {
                if let Some(range) = (Range { start: Hpa(start), end: Hpa(at) }).whole_pages() {
                    emit(range);
                }
                open = None;
            }
            _ => {}
        }
        let boundaries = sound().flat_map(|region| [region.start, region.end]);
        match boundaries.filter(|boundary| *boundary > at).min() {
            Some(next) => at = next,
            None => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn region(start: u64, end: u64, usable: bool) -> MemoryRegion {
        let kind = if usable { MemoryRegionKind::Usable } else { MemoryRegionKind::UnknownBios(2) };
        MemoryRegion { start, end, kind }
    }

    fn collect(regions: &[MemoryRegion]) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        usable_ranges(regions, |range| ranges.push((range.start.0, range.end.0)));
        ranges
    }

    #[test]
    fn joins_neighbours_and_rounds_inward() {
        let map = [region(0x2800, 0x4001, true), region(0x1001, 0x2800, true)];
        assert_eq!(collect(&map), [(0x2000, 0x4000)]);
    }

    #[test]
    fn reserved_wins_over_usable() {
        let map = [region(0, 0x10000, true), region(0x3800, 0x4800, false), region(0x8000, 0x20000, false)];
        assert_eq!(collect(&map), [(0, 0x3000), (0x5000, 0x8000)]);
    }

    #[test]
    fn ignores_inverted_and_empty_regions() {
        let map = [region(0x9000, 0x1000, false), region(0x2000, 0x2000, false), region(0, 0x8000, true)];
        assert_eq!(collect(&map), [(0, 0x8000)]);
        assert_eq!(collect(&[]), []);
    }

    #[test]
    fn the_top_of_the_address_space_does_not_overflow() {
        assert_eq!(collect(&[region(u64::MAX - 100, u64::MAX, true)]), []);
        let map = [region(u64::MAX - 0x2fff, u64::MAX, true)];
        assert_eq!(collect(&map), [(u64::MAX - 0x2fff, u64::MAX - 0xfff)]);
    }

    proptest! {
        #[test]
        fn a_page_is_emitted_exactly_if_all_of_it_is_usable_and_none_reserved(
            raw in proptest::collection::vec((0u64..0x20_000, 0u64..0x20_000, any::<bool>()), 0..12)
        ) {
            let map: Vec<_> = raw.iter().map(|(start, end, usable)| region(*start, *end, *usable)).collect();
            let ranges = collect(&map);
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].1 < pair[1].0);
            }
            let usable = |byte: u64| {
                let mut covering = map.iter().filter(|r| r.start <= byte && byte < r.end).peekable();
                covering.peek().is_some() && covering.all(|r| r.kind == MemoryRegionKind::Usable)
            };
            for page in (0..0x20_000).step_by(0x1000) {
                // Usability changes only at boundaries of regions.
                let mut probes: Vec<u64> = map.iter().flat_map(|r| [r.start, r.end]).collect();
                probes.extend([page, page + 0xfff]);
                probes.retain(|probe| (page..page + 0x1000).contains(probe));
                let expected = probes.into_iter().all(usable);
                prop_assert_eq!(ranges.iter().any(|r| r.0 <= page && page < r.1), expected, "page {:#x}", page);
            }
        }
    }
}
