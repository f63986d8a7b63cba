//! Memory that the firmware's devices keep using, as a guest's DMA domain maps it.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use platform::remapping::ReservedMemory;
use spec::Hpa;

/// A range that is mapped one to one for a guest's functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReservedRange {
    /// First byte, page-aligned.
    pub start: Hpa,
    /// Bytes, whole pages.
    pub bytes: u64,
    /// The functions read it.
    pub readable: bool,
    /// They write it.
    pub writable: bool,
}

/// Several functions of a guest may use the same memory, and ranges may overlap; a page
/// is mapped once. Gives them sorted and apart, each with all that any user does there.
pub(crate) fn merge<'a>(ranges: impl Iterator<Item = &'a ReservedMemory> + Clone) -> Vec<ReservedRange> {
    let end = |range: &ReservedMemory| range.start.0.saturating_add(range.bytes);
    let edges: BTreeSet<u64> = ranges.clone().flat_map(|range| [range.start.0, end(range)]).collect();
    let mut merged: Vec<ReservedRange> = Vec::new();
    for (start, next) in edges.iter().zip(edges.iter().skip(1)) {
        let here = ranges.clone().filter(|range| range.start.0 <= *start && *next <= end(range));
        let (readable, writable) =
            here.fold((false, false), |(r, w), range| (r || range.readable, w || range.writable));
        if !readable && !writable {
            continue;
        }
        let bytes = next.saturating_sub(*start);
        match merged.last_mut() {
            Some(last)
                if last.start.0.checked_add(last.bytes) == Some(*start)
                    && (last.readable, last.writable) == (readable, writable) =>
            {
                last.bytes = last.bytes.saturating_add(bytes);
            }
            _ => merged.push(ReservedRange { start: Hpa(*start), bytes, readable, writable }),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(start: u64, bytes: u64, readable: bool, writable: bool) -> ReservedMemory {
        ReservedMemory { start: Hpa(start), bytes, segment: 0, users: Vec::new(), readable, writable }
    }

    fn merged(ranges: &[ReservedMemory]) -> Vec<(u64, u64, bool, bool)> {
        let all = merge(ranges.iter()).into_iter();
        all.map(|range| (range.start.0, range.bytes, range.readable, range.writable)).collect()
    }

    #[test]
    fn ranges_that_overlap_are_mapped_once() {
        let both = range(0x1000, 0x3000, true, true);
        assert_eq!(merged(&[both.clone(), both.clone()]), [(0x1000, 0x3000, true, true)]);
        let read = range(0x3000, 0x2000, true, false);
        assert_eq!(merged(&[read, both]), [(0x1000, 0x3000, true, true), (0x4000, 0x1000, true, false)]);
        let write = range(0x2000, 0x1000, false, true);
        let read = range(0x1000, 0x3000, true, false);
        assert_eq!(
            merged(&[read, write]),
            [(0x1000, 0x1000, true, false), (0x2000, 0x1000, true, true), (0x3000, 0x1000, true, false)]
        );
        assert_eq!(merged(&[range(0x1000, 0x1000, false, false)]), []);
        assert_eq!(merged(&[range(u64::MAX - 0xfff, 0x2000, true, true)])[0].0, u64::MAX - 0xfff);
    }

    proptest! {
        /// Every page has what its ranges say together, and no page is mapped twice.
        #[test]
        fn each_page_has_what_all_say(raw in prop::collection::vec((0u64..30, 0u64..10, any::<bool>(), any::<bool>()), 0..8)) {
            let ranges: Vec<_> = raw.iter().map(|&(start, bytes, r, w)| range(start, bytes, r, w)).collect();
            let merged = merge(ranges.iter());
            for pair in merged.windows(2) {
                prop_assert!(pair[0].start.0 + pair[0].bytes <= pair[1].start.0);
            }
            for page in 0..41 {
                let on = |start: u64, bytes: u64| (start..start + bytes).contains(&page);
                let said = ranges.iter().filter(|range| on(range.start.0, range.bytes));
                let said = said.fold((false, false), |(r, w), range| (r || range.readable, w || range.writable));
                let mapped = merged.iter().find(|range| on(range.start.0, range.bytes));
                prop_assert_eq!(said, mapped.map_or((false, false), |range| (range.readable, range.writable)));
            }
        }
    }
}
