//! How much a guest's tables take at most: frames are set aside when it is built, and there
//! are no others later.

use tables::{Extent, Geometry, SPLIT_FRAMES, frames_needed};

/// A guest may move a BAR before its processors have flushed twice: what it left is not
/// back yet.
const PLACES: usize = 3;

/// A BAR that is mapped into a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MappedBar {
    /// Its size, a power of two.
    pub bytes: u64,
    /// How many parts of it are trapped, and so not mapped.
    pub trapped: usize,
    /// The machine has it at a multiple of its size. A guest always has.
    pub aligned: bool,
}

/// Frames that the nested tables take for BARs at most, wherever the guest puts them. Both
/// addresses are multiples of the size, so large pages map large BARs, but around what is
/// trapped.
pub fn bar_frames(geometry: Geometry, bars: impl IntoIterator<Item = MappedBar>) -> usize {
    let page = spec::address::PAGE_BYTES;
    let frames = |bar: MappedBar| {
        let bytes = bar.bytes.max(page);
        let extent = match bar.aligned {
            true => Extent { input: bytes, output: 0, bytes },
            false => Extent { input: page, output: 0, bytes },
        };
        frames_needed(geometry, [extent]) + 2 * SPLIT_FRAMES * bar.trapped
    };
    bars.into_iter().map(frames).sum::<usize>() * PLACES + SPLIT_FRAMES
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use access::frames::FakeFrames;
    use proptest::prelude::*;
    use spec::{Gpa, Hpa};
    use std::vec::Vec;
    use tables::{Ept, MemoryType, Nested, NestedTables, PageSize, Permissions};

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_large_bar_takes_few_tables() {
        let bar = MappedBar { bytes: 64 * GIB, trapped: 1, aligned: true };
        assert!(bar_frames(Geometry::processor(4, PageSize::Size1GiB), [bar]) < 64);
        assert!(bar_frames(Geometry::processor(4, PageSize::Size2MiB), [bar]) < 512);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// A guest that moves a BAR about finds frames for it each time.
        #[test]
        fn frames_suffice_wherever_a_guest_moves_a_bar(
            shift in 12u32..35, places in prop::collection::vec(1u64..1 << 24, 3), hole in any::<Option<u64>>(),
            gigantic in any::<bool>(), host in 1u64..1 << 10,
        ) {
            let bytes = 1_u64 << shift;
            let page = if gigantic { PageSize::Size1GiB } else { PageSize::Size2MiB };
            let geometry = Geometry::processor(4, page);
            let hole = hole.map(|hole| (hole % bytes) & !0xfff);
            let bar = MappedBar { bytes, trapped: usize::from(hole.is_some()), aligned: true };
            // One for the root.
            let frames = FakeFrames::new(1 + bar_frames(geometry, [bar]));
            let mut nested = Nested::<Ept, _>::new(frames, geometry).unwrap();
            let host = Hpa(bytes * (host % (1 << 46 >> shift).max(2)));
            let ranges: Vec<(u64, u64)> = match hole {
                None => [(0, bytes)].into(),
                Some(hole) => [(0, hole), (hole + 0x1000, bytes - hole - 0x1000)].into(),
            };
            let mut before: Option<u64> = None;
            for place in places {
                let at = place % (1 << 46 >> shift).max(2) * bytes;
                let mapped = ranges.iter().filter(|(_, bytes)| *bytes != 0);
                if let Some(before) = before {
                    for (offset, bytes) in mapped.clone() {
                        nested.unmap(Gpa(before + offset), *bytes).unwrap();
                    }
                }
                for (offset, bytes) in mapped {
                    let done = nested.map(
                        Gpa(at + offset), host + *offset, *bytes, Permissions::READ_WRITE, MemoryType::Uncached,
                    );
                    prop_assert_eq!(done, Ok(()));
                }
                before = Some(at);
            }
        }
    }
}
