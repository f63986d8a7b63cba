//! How large a pool of frames has to be.

use crate::format::{PageSize, entry_bytes};
use crate::page_table::Geometry;

/// A range to be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// First input address.
    pub input: u64,
    /// First output address.
    pub output: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// The frames that one [`unmap`](crate::PageTable::unmap) takes at most beyond
/// those of the mappings: it may cut a 1 GiB page at either end.
pub const SPLIT_FRAMES: usize = 4;

/// How many frames a table that maps `extents` takes at most, its root included.
/// Extents that share tables make it fewer.
pub fn frames_needed(geometry: Geometry, extents: impl IntoIterator<Item = Extent>) -> usize {
    let below_root = |extent: Extent| {
        (1..geometry.levels).map(|level| tables_of_level(geometry, level, extent)).sum::<u64>()
    };
    1 + extents.into_iter().map(below_root).sum::<u64>() as usize
}

/// Tables of `level` that `extent` touches other than through larger pages.
fn tables_of_level(geometry: Geometry, level: u8, extent: Extent) -> u64 {
    let Some(last) = extent.bytes.checked_sub(1).and_then(|bytes| extent.input.checked_add(bytes)) else {
        return 0;
    };
    let span = entry_bytes(level + 1);
    let touched = last / span - extent.input / span + 1;
    let leaf = PageSize::of_level(level + 1).is_some_and(|page| page <= geometry.max_page);
    if !leaf || extent.input % span != extent.output % span {
        return touched;
    }
    // Whole spans are leaves one level up; only cut ones need a table.
    let cut_first = !extent.input.is_multiple_of(span);
    let cut_last = last % span != span - 1;
    let cuts = u64::from(cut_first) + u64::from(cut_last);
    cuts.min(touched)
}
