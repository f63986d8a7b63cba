//! At every moment of an update the walk of any address gives the old or the new
//! translation.

use super::recorder::{Recorder, Words, views};
use super::{GIB1, KIB4, MIB2, four_levels, not_coherent};
use crate::{
    AmdVi, Ept, Format, Geometry, MemoryType, Npt, PageTable, Permissions, Translation, VtdSecondLevel,
};
use spec::Hpa;

const HOLE: u64 = 5 * MIB2 + 3 * KIB4;

/// Addresses right before, at and after every border that the updates below have.
fn probes() -> [u64; 39] {
    let borders = [
        KIB4,
        2 * KIB4,
        MIB2,
        HOLE,
        HOLE + KIB4,
        6 * MIB2,
        GIB1 - MIB2 - KIB4,
        GIB1,
        GIB1 + MIB2,
        2 * GIB1,
        2 * GIB1 + MIB2,
        3 * GIB1 - MIB2,
        3 * GIB1,
    ];
    core::array::from_fn(|index| borders[index / 3] + index as u64 % 3 - 1)
}

fn target(found: Option<Translation>) -> Option<(Hpa, Permissions)> {
    found.map(|found| (found.output, found.permissions))
}

/// Runs `update` and replays what reached memory.
fn check<F: Format>(
    geometry: Geometry,
    prepare: impl FnOnce(&mut PageTable<F>, &mut Recorder),
    update: impl FnOnce(&mut PageTable<F>, &mut Recorder),
) {
    let mut memory = Recorder::new(64);
    let mut table = PageTable::<F>::new(&mut memory, geometry).unwrap();
    prepare(&mut table, &mut memory);
    let before = memory.words();
    memory.events.borrow_mut().clear();
    update(&mut table, &mut memory);
    let after = memory.words();
    let events = memory.events.borrow().clone();
    assert!(!events.is_empty());
    let targets = |view: &Words| probes().map(|probe| target(table.translate(view, probe)));
    let (old, new) = (targets(&before), targets(&after));
    let last = views(&before, &events, geometry.coherent, |view| {
        for (now, (old, new)) in targets(view).into_iter().zip(old.into_iter().zip(new)) {
            assert!(now == old || now == new, "gave {now:?}, neither {old:?} nor {new:?}");
        }
    });
    assert_eq!(targets(&last), new, "not written back");
    assert_ne!(old, new, "nothing happened");
}

fn map<F: Format>(table: &mut PageTable<F>, memory: &mut Recorder, input: u64, output: u64, bytes: u64) {
    table
        .map(memory, input, Hpa(output), bytes, Permissions::READ_WRITE, MemoryType::WriteBack)
        .unwrap()
        .flushed(memory);
}

fn every_update<F: Format>(geometry: Geometry) {
    // Into an empty table, with pages of every size.
    check::<F>(geometry, |_, _| {}, |t, m| map(t, m, GIB1 - MIB2 - KIB4, 5 * GIB1 - MIB2 - KIB4, 2 * GIB1));
    // Beside what is there.
    check::<F>(geometry, |t, m| map(t, m, 0, GIB1, MIB2), |t, m| map(t, m, MIB2, 7 * GIB1, 3 * KIB4));
    // A whole subtree.
    check::<F>(
        geometry,
        |t, m| map(t, m, KIB4, GIB1 + KIB4, 2 * GIB1),
        |t, m| {
            let changed = t.unmap(m, 0, 512 * GIB1).unwrap();
            assert!(changed.retired_frames() > 2);
            drop(changed);
        },
    );
    // A page out of the middle of 1 GiB: two splits.
    check::<F>(
        geometry,
        |t, m| map(t, m, 0, 4 * GIB1, 2 * GIB1),
        |t, m| drop(t.unmap(m, HOLE, KIB4).unwrap()),
    );
    // From inside one 1 GiB page to inside the next.
    check::<F>(
        geometry,
        |t, m| map(t, m, 0, 4 * GIB1, 2 * GIB1),
        |t, m| drop(t.unmap(m, HOLE, GIB1).unwrap()),
    );
}

#[test]
fn no_walk_is_torn_npt() {
    every_update::<Npt>(four_levels());
}

#[test]
fn no_walk_is_torn_ept() {
    every_update::<Ept>(four_levels());
}

#[test]
fn no_walk_is_torn_vtd_snooping() {
    every_update::<VtdSecondLevel>(four_levels());
}

#[test]
fn no_walk_is_torn_vtd_not_snooping() {
    every_update::<VtdSecondLevel>(not_coherent());
}

#[test]
fn no_walk_is_torn_amdvi_snooping() {
    every_update::<AmdVi>(four_levels());
}

#[test]
fn no_walk_is_torn_amdvi_not_snooping() {
    every_update::<AmdVi>(not_coherent());
}

#[test]
fn six_levels_too() {
    let geometry = Geometry { levels: 6, ..not_coherent() };
    check::<AmdVi>(
        geometry,
        |t, m| map(t, m, 0, 4 * GIB1, 2 * GIB1),
        |t, m| drop(t.unmap(m, HOLE, KIB4).unwrap()),
    );
}

#[test]
fn three_levels_too() {
    let geometry = Geometry { levels: 3, ..not_coherent() };
    check::<VtdSecondLevel>(
        geometry,
        |t, m| map(t, m, 0, 4 * GIB1, 2 * GIB1),
        |t, m| drop(t.unmap(m, HOLE, KIB4).unwrap()),
    );
}
