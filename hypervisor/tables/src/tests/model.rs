//! A table does what a map from pages to pages does.

use super::recorder::{Recorder, views};
use super::{KIB4, four_levels, not_coherent};
use crate::{
    AmdVi, Extent, Geometry, MapError, MemoryType, Npt, PageTable, Permissions, SPLIT_FRAMES, VtdSecondLevel,
};
use crate::{Format, frames_needed};
use proptest::prelude::*;
use spec::Hpa;
use std::collections::BTreeMap;
use std::vec::Vec;

#[derive(Clone, Debug)]
enum Operation {
    Map { page: u64, output: u64, pages: u64, write: bool },
    Unmap { page: u64, pages: u64 },
}

/// Starts and lengths near the borders of the page sizes, in 4 KiB pages, within
/// 4 GiB.
fn near_borders() -> impl Strategy<Value = u64> {
    (0u64..4, 0u64..3, 0u64..3).prop_map(|(gib, mib2, page)| gib << 18 | mib2 << 9 | page)
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (near_borders(), near_borders(), near_borders(), any::<bool>(), any::<bool>()).prop_map(
            |(page, output, pages, same, write)| {
                // What does not line up takes small pages: not too many of them.
                let (output, pages) = if same { (page + (8 << 18), pages) } else { (output, pages % 1024) };
                Operation::Map { page, output, pages: pages.max(1), write }
            }
        ),
        (near_borders(), near_borders())
            .prop_map(|(page, pages)| Operation::Unmap { page, pages: pages.max(1) }),
    ]
}

/// The model: runs of pages, cut at every operation's borders.
#[derive(Default)]
struct Model {
    /// First page to (pages, first output page, writable).
    runs: BTreeMap<u64, (u64, u64, bool)>,
}

impl Model {
    fn translate(&self, page: u64) -> Option<(u64, bool)> {
        let (start, (pages, output, write)) = self.runs.range(..=page).next_back()?;
        (page - start < *pages).then(|| (output + page - start, *write))
    }

    fn cut(&mut self, at: u64) {
        let Some((&start, &(pages, output, write))) = self.runs.range(..at).next_back() else { return };
        if at < start + pages {
            self.runs.insert(start, (at - start, output, write));
            self.runs.insert(at, (start + pages - at, output + at - start, write));
        }
    }

    fn clear(&mut self, page: u64, pages: u64) -> bool {
        self.cut(page);
        self.cut(page + pages);
        let inside: Vec<u64> = self.runs.range(page..page + pages).map(|(start, _)| *start).collect();
        self.runs.retain(|start, _| !inside.contains(start));
        !inside.is_empty()
    }

    fn conflicts(&mut self, page: u64, output: u64, pages: u64, write: bool) -> bool {
        self.cut(page);
        self.cut(page + pages);
        let same = |start: u64| (output + start - page, write);
        self.runs.range(page..page + pages).any(|(start, (_, to, can))| (*to, *can) != same(*start))
    }
}

fn run<F: Format>(geometry: Geometry, operations: Vec<Operation>) -> Result<(), TestCaseError> {
    let mut memory = Recorder::new(100_000);
    let mut table = PageTable::<F>::new(&mut memory, geometry).unwrap();
    let mut model = Model::default();
    for operation in &operations {
        let before = memory.words();
        memory.events.borrow_mut().clear();
        let (page, pages) = match *operation {
            Operation::Map { page, pages, .. } | Operation::Unmap { page, pages } => (page, pages),
        };
        let changed = match *operation {
            Operation::Map { output, write, .. } => {
                let permissions = Permissions { write, ..Permissions::READ };
                let result = table.map(
                    &mut memory,
                    page * KIB4,
                    Hpa(output * KIB4),
                    pages * KIB4,
                    permissions,
                    MemoryType::WriteBack,
                );
                if model.conflicts(page, output, pages, write) {
                    let overlap = matches!(result, Err(MapError::Overlap { .. }));
                    prop_assert!(overlap);
                    prop_assert_eq!(memory.words(), before);
                    continue;
                }
                model.clear(page, pages);
                model.runs.insert(page, (pages, output, write));
                result.unwrap()
            }
            Operation::Unmap { .. } => {
                let changed = table.unmap(&mut memory, page * KIB4, pages * KIB4).unwrap();
                prop_assert_eq!(changed.needs_flush(), model.clear(page, pages));
                changed
            }
        };
        let borders = [page, page + pages].into_iter().chain(model.runs.keys().copied());
        let probes: Vec<u64> = borders.flat_map(|at| [at.saturating_sub(1), at, at + 1]).collect();
        let after = memory.words();
        let target = |words: &super::recorder::Words, probe: u64| {
            let found = table.translate(words, probe * KIB4)?;
            Some((found.output.0 / KIB4, found.permissions.write))
        };
        for probe in &probes {
            prop_assert_eq!(target(&after, *probe), model.translate(*probe), "page {:#x}", probe);
        }
        // Sampled: a view costs a copy of the memory.
        let events = memory.events.borrow().clone();
        if events.len() < 40 {
            let mut torn = None;
            views(&before, &events, geometry.coherent, |view| {
                for probe in &probes {
                    let now = target(view, *probe);
                    if now != target(&before, *probe) && now != target(&after, *probe) {
                        torn = Some((*probe, now));
                    }
                }
            });
            prop_assert_eq!(torn, None);
        }
        changed.flushed(&mut memory);
    }
    table.destroy(&mut memory).flushed(&mut memory);
    prop_assert_eq!(memory.frames.left, 100_000, "frames leaked");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn behaves_like_a_map_npt(operations in prop::collection::vec(operation(), 1..10)) {
        run::<Npt>(four_levels(), operations)?;
    }

    #[test]
    fn behaves_like_a_map_vtd(operations in prop::collection::vec(operation(), 1..10)) {
        run::<VtdSecondLevel>(not_coherent(), operations)?;
    }

    #[test]
    fn behaves_like_a_map_amdvi(
        levels in 4u8..=6,
        coherent: bool,
        operations in prop::collection::vec(operation(), 1..10),
    ) {
        run::<AmdVi>(Geometry { levels, coherent, ..not_coherent() }, operations)?;
    }

    #[test]
    fn frames_needed_is_enough(
        first in (near_borders(), near_borders(), near_borders()),
        second in (near_borders(), near_borders(), near_borders()),
    ) {
        let extent = |(page, output, pages): (u64, u64, u64)| Extent {
            input: page * KIB4,
            output: output * KIB4,
            bytes: pages.max(1) * KIB4,
        };
        let (mut first, mut second) = (extent(first), extent(second));
        second.input += 64 << 30;
        first.output = first.input + (8 << 30);
        second.bytes = second.bytes.min(8 << 20);
        let needed = frames_needed(four_levels(), [first, second]);
        let mut memory = Recorder::new(needed + SPLIT_FRAMES);
        let mut table = PageTable::<Npt>::new(&mut memory, four_levels()).unwrap();
        for extent in [first, second] {
            let changed = table.map(
                &mut memory, extent.input, Hpa(extent.output), extent.bytes,
                Permissions::ALL, MemoryType::WriteBack,
            );
            changed.unwrap().flushed(&mut memory);
        }
        prop_assert!(table.unmap(&mut memory, first.input + first.bytes / 2 / KIB4 * KIB4, KIB4).is_ok());
    }
}
