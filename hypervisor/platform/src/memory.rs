//! Reading physical memory, and the machine's memory map.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use spec::Hpa;

/// Reads the machine's physical memory, where the firmware's tables are.
pub trait PhysicalMemory {
    /// Copies `out.len()` bytes from `hpa`, at any alignment. False, and `out`
    /// undefined, where any of them cannot be read.
    fn read(&self, hpa: Hpa, out: &mut [u8]) -> bool;
}

impl<T: PhysicalMemory + ?Sized> PhysicalMemory for &T {
    fn read(&self, hpa: Hpa, out: &mut [u8]) -> bool {
        (**self).read(hpa, out)
    }
}

/// Pieces of memory in vectors: tables that a test made, or a dump of a machine's.
#[derive(Clone, Default, Debug)]
pub struct MemoryImage {
    /// Each piece and where it starts.
    pub pieces: Vec<(Hpa, Vec<u8>)>,
}

impl PhysicalMemory for MemoryImage {
    fn read(&self, hpa: Hpa, out: &mut [u8]) -> bool {
        for (start, bytes) in &self.pieces {
            let Some(offset) = hpa.0.checked_sub(start.0).and_then(|offset| usize::try_from(offset).ok())
            else {
                continue;
            };
            let source = offset.checked_add(out.len()).and_then(|end| bytes.get(offset..end));
            if let Some(source) = source {
                out.copy_from_slice(source);
                return true;
            }
        }
        false
    }
}

/// What a range of memory is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryKind {
    /// RAM that is free for the hypervisor and its guests.
    Usable,
    /// Anything else that answers or might answer: firmware, ACPI, devices, and what
    /// a loader or the hypervisor itself already uses.
    Reserved,
}

/// A range of the machine's memory map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemoryRegion {
    /// First byte.
    pub start: Hpa,
    /// Length in bytes.
    pub bytes: u64,
    /// What it is for.
    pub kind: MemoryKind,
}

impl MemoryRegion {
    /// The address after the last byte; the last address of all where a map claims
    /// more than there can be.
    pub fn end(&self) -> Hpa {
        Hpa(self.start.0.saturating_add(self.bytes))
    }
}

/// The usable RAM of a memory map: reserved ranges win over usable ones that they
/// overlap, ranges are rounded inward to multiples of `alignment` (a power of two),
/// sorted and joined.
pub fn usable_ram(map: &[MemoryRegion], alignment: u64) -> Vec<(Hpa, u64)> {
    let mut usable: Vec<(u64, u64)> = map
        .iter()
        .filter(|region| region.kind == MemoryKind::Usable && region.bytes != 0)
        .map(|region| (region.start.0, region.end().0))
        .collect();
    usable.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in usable {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    for region in map.iter().filter(|region| region.kind == MemoryKind::Reserved && region.bytes != 0) {
        let (hole_start, hole_end) = (region.start.0, region.end().0);
        joined = joined
            .into_iter()
            .flat_map(|(start, end)| [(start, end.min(hole_start)), (start.max(hole_end), end)])
            .filter(|(start, end)| start < end)
            .collect();
    }
    joined
        .into_iter()
        .filter_map(|(start, end)| {
            let start = Hpa(start).align_up(alignment)?;
            let end = Hpa(end).align_down(alignment);
            (start < end).then(|| (start, end - start))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn region(start: u64, bytes: u64, kind: MemoryKind) -> MemoryRegion {
        MemoryRegion { start: Hpa(start), bytes, kind }
    }

    #[test]
    fn reserved_wins_and_ranges_shrink_to_the_alignment() {
        let map = [
            region(0x5000, 0x4000, MemoryKind::Usable),
            region(0x0, 0x5000, MemoryKind::Usable),
            region(0x2800, 0x1000, MemoryKind::Reserved),
        ];
        assert_eq!(usable_ram(&map, 0x1000), vec![(Hpa(0), 0x2000), (Hpa(0x4000), 0x5000)]);
    }

    #[test]
    fn a_range_beyond_the_last_address_is_cut() {
        let map = [region(u64::MAX - 0x1fff, 0x10_0000, MemoryKind::Usable)];
        assert_eq!(usable_ram(&map, 0x1000), vec![(Hpa(u64::MAX - 0x1fff), 0x1000)]);
    }

    proptest! {
        #[test]
        fn usable_ram_is_sorted_aligned_and_never_reserved(
            raw in proptest::collection::vec((0u64..200, 0u64..60, any::<bool>()), 0..12)
        ) {
            let map: Vec<_> = raw.iter().map(|(start, bytes, usable)| {
                region(*start, *bytes, if *usable { MemoryKind::Usable } else { MemoryKind::Reserved })
            }).collect();
            let ram = usable_ram(&map, 4);
            let covers = |kind, at: u64| {
                map.iter().any(|r| r.kind == kind && r.start.0 <= at && at < r.end().0)
            };
            for pair in ram.windows(2) {
                prop_assert!(pair[0].0.0 + pair[0].1 <= pair[1].0.0);
            }
            // A block of 4 is usable exactly when each of its bytes is.
            for block in 0..80u64 {
                let free = (block * 4..block * 4 + 4)
                    .all(|at| covers(MemoryKind::Usable, at) && !covers(MemoryKind::Reserved, at));
                let listed = ram.iter().any(|(s, b)| s.0 <= block * 4 && block * 4 + 4 <= s.0 + b);
                prop_assert_eq!(free, listed, "block {}", block);
            }
        }
    }
}
