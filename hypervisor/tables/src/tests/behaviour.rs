//! Single behaviours, with their errors.

use super::recorder::{Event, Recorder};
use super::{GIB1, KIB4, MIB2, four_levels, not_coherent};
use crate::{
    AmdVi, Ept, Extent, Geometry, MapError, MemoryType, Npt, PageSize, PageTable, Permissions, SPLIT_FRAMES,
    VtdSecondLevel, frames_needed,
};
use access::{TableMemory, frames::FakeFrames};
use spec::Hpa;
use std::vec::Vec;

const RW: Permissions = Permissions::READ_WRITE;
const WB: MemoryType = MemoryType::WriteBack;

fn npt(frames: usize) -> (FakeFrames, PageTable<Npt>) {
    let mut memory = FakeFrames::new(frames);
    let table = PageTable::new(&mut memory, four_levels()).unwrap();
    (memory, table)
}

#[test]
fn takes_the_largest_pages_that_fit() {
    let (mut memory, mut table) = npt(10);
    table.map(&mut memory, 0, Hpa(4 * GIB1), 2 * GIB1 + MIB2 + KIB4, RW, WB).unwrap().flushed(&mut memory);
    let page = |at| table.translate(&memory, at).unwrap().page;
    assert_eq!(page(0), PageSize::Size1GiB);
    assert_eq!(page(2 * GIB1 - 1), PageSize::Size1GiB);
    assert_eq!(page(2 * GIB1), PageSize::Size2MiB);
    assert_eq!(page(2 * GIB1 + MIB2), PageSize::Size4KiB);
    assert_eq!(table.translate(&memory, 2 * GIB1 + MIB2 + KIB4), None);
    assert_eq!(memory.left, 10 - 4);
}

#[test]
fn no_page_is_larger_than_allowed_or_misaligned_in_its_output() {
    let mut memory = FakeFrames::new(600);
    let geometry = Geometry { max_page: PageSize::Size2MiB, ..four_levels() };
    let mut table = PageTable::<Ept>::new(&mut memory, geometry).unwrap();
    table.map(&mut memory, 0, Hpa(GIB1), GIB1, RW, WB).unwrap().flushed(&mut memory);
    assert_eq!(table.translate(&memory, 0).unwrap().page, PageSize::Size2MiB);
    table.map(&mut memory, 2 * GIB1, Hpa(GIB1 + KIB4), MIB2, RW, WB).unwrap().flushed(&mut memory);
    let found = table.translate(&memory, 2 * GIB1 + 5).unwrap();
    assert_eq!((found.output, found.page), (Hpa(GIB1 + KIB4 + 5), PageSize::Size4KiB));
}

#[test]
fn what_can_be_executed_is_in_small_pages_where_the_processor_wants_it() {
    let geometry = Geometry { small_code: true, ..four_levels() };
    let code = Extent { input: 0, output: GIB1, bytes: 4 * MIB2 + KIB4 };
    let needed = frames_needed(geometry.of(Permissions::ALL), [code]);
    assert_eq!(needed, 1 + 1 + 1 + 5, "root, two levels, a table for each 2 MiB");
    let data = Extent { input: GIB1, output: 2 * GIB1, bytes: GIB1 };
    let mut memory = FakeFrames::new(needed + frames_needed(geometry.of(RW), [data]));
    let mut table = PageTable::<Ept>::new(&mut memory, geometry).unwrap();
    for (extent, permissions) in [(code, Permissions::ALL), (data, RW)] {
        table
            .map(&mut memory, extent.input, Hpa(extent.output), extent.bytes, permissions, WB)
            .unwrap()
            .flushed(&mut memory);
    }
    for at in (0..code.bytes).step_by(KIB4 as usize) {
        let found = table.translate(&memory, at).unwrap();
        assert_eq!((found.page, found.output), (PageSize::Size4KiB, Hpa(GIB1 + at)));
    }
    assert_eq!(table.translate(&memory, GIB1).unwrap().page, PageSize::Size1GiB, "nothing runs there");
}

#[test]
fn keeps_permissions_and_memory_type_through_a_split() {
    let (mut memory, mut table) = npt(10);
    table
        .map(&mut memory, 0, Hpa(GIB1), GIB1, Permissions::READ, MemoryType::Uncached)
        .unwrap()
        .flushed(&mut memory);
    table.unmap(&mut memory, 0, KIB4).unwrap().flushed(&mut memory);
    let found = table.translate(&memory, KIB4).unwrap();
    assert_eq!(found.output, Hpa(GIB1 + KIB4));
    assert_eq!(found.permissions, Permissions::READ);
    assert_eq!(found.memory_type, MemoryType::Uncached);
    assert_eq!(found.page, PageSize::Size4KiB);
    assert_eq!(table.translate(&memory, GIB1 - 1).unwrap().page, PageSize::Size2MiB);
    assert_eq!(table.translate(&memory, 0), None);
}

#[test]
fn the_same_mapping_again_changes_nothing() {
    let (mut memory, mut table) = npt(10);
    table.map(&mut memory, 0, Hpa(GIB1), GIB1, RW, WB).unwrap().flushed(&mut memory);
    let before = memory.frames.clone();
    let changed = table.map(&mut memory, MIB2, Hpa(GIB1 + MIB2), KIB4, RW, WB).unwrap();
    assert!(!changed.added() && !changed.needs_flush());
    changed.flushed(&mut memory);
    assert_eq!(memory.frames, before);
}

#[test]
fn a_bit_that_hardware_set_is_no_difference() {
    let mut memory = FakeFrames::new(10);
    let mut table = PageTable::<Ept>::new(&mut memory, four_levels()).unwrap();
    table.map(&mut memory, 0, Hpa(GIB1), GIB1, RW, WB).unwrap().flushed(&mut memory);
    let third = Hpa(memory.read(table.root()) & !0xfff);
    memory.write(third, memory.read(third) | 3 << 8);
    table.map(&mut memory, 0, Hpa(GIB1), GIB1, RW, WB).unwrap().flushed(&mut memory);
}

#[test]
fn an_overlap_is_refused_and_names_its_address() {
    let (mut memory, mut table) = npt(10);
    table.map(&mut memory, MIB2, Hpa(GIB1), KIB4, RW, WB).unwrap().flushed(&mut memory);
    let before = memory.frames.clone();
    let overlap = Err(MapError::Overlap { input: MIB2 });
    assert_eq!(table.map(&mut memory, 0, Hpa(0), 2 * MIB2, RW, WB), overlap);
    // The same address with other permissions or another memory type.
    assert_eq!(table.map(&mut memory, MIB2, Hpa(GIB1), KIB4, Permissions::ALL, WB), overlap);
    assert_eq!(table.map(&mut memory, MIB2, Hpa(GIB1), KIB4, RW, MemoryType::Uncached), overlap);
    assert_eq!(memory.frames, before);
    assert_eq!(memory.left, 10 - 4);
}

#[test]
fn bad_ranges_are_refused() {
    let (mut memory, mut table) = npt(10);
    let mut map = |input, output, bytes| table.map(&mut memory, input, Hpa(output), bytes, RW, WB).err();
    assert_eq!(map(0, 0, 0), Some(MapError::Misaligned));
    assert_eq!(map(1, 0, KIB4), Some(MapError::Misaligned));
    assert_eq!(map(0, 1, KIB4), Some(MapError::Misaligned));
    assert_eq!(map(0, 0, KIB4 + 1), Some(MapError::Misaligned));
    assert_eq!(map((1 << 48) - KIB4, 0, 2 * KIB4), Some(MapError::OutOfRange));
    assert_eq!(map(0u64.wrapping_sub(KIB4), 0, 2 * KIB4), Some(MapError::OutOfRange));
    assert_eq!(map(0, (1 << 52) - KIB4, 2 * KIB4), Some(MapError::OutOfRange));
    assert_eq!(map(0, 0u64.wrapping_sub(KIB4), KIB4), Some(MapError::OutOfRange));
    assert_eq!(map((1 << 48) - KIB4, (1 << 52) - KIB4, KIB4), None);
    let write_only = Permissions { read: false, ..RW };
    assert_eq!(table.map(&mut memory, 0, Hpa(0), KIB4, write_only, WB), Err(MapError::Permissions));
    assert_eq!(table.unmap(&mut memory, 0, 1 << 49).err(), Some(MapError::OutOfRange));
    assert_eq!(table.translate(&memory, 1 << 48), None);
}

#[test]
fn levels_are_those_of_the_format() {
    let mut memory = FakeFrames::new(10);
    let geometry = |levels| Geometry { levels, ..four_levels() };
    assert_eq!(PageTable::<Npt>::new(&mut memory, geometry(3)).err(), Some(MapError::Levels(3)));
    assert_eq!(PageTable::<VtdSecondLevel>::new(&mut memory, geometry(6)).err(), Some(MapError::Levels(6)));
    assert!(PageTable::<VtdSecondLevel>::new(&mut memory, geometry(3)).is_ok());
    assert!(PageTable::<Npt>::new(&mut memory, geometry(5)).is_ok());
    assert_eq!(PageTable::<AmdVi>::new(&mut memory, geometry(3)).err(), Some(MapError::Levels(3)));
    assert_eq!(PageTable::<AmdVi>::new(&mut memory, geometry(7)).err(), Some(MapError::Levels(7)));
}

#[test]
fn six_levels_translate_the_highest_addresses() {
    let mut memory = FakeFrames::new(20);
    let geometry = Geometry { levels: 6, ..four_levels() };
    let mut table = PageTable::<AmdVi>::new(&mut memory, geometry).unwrap();
    let high = 0xffff_ffff_c000_0000;
    table.map(&mut memory, high - GIB1, Hpa(GIB1), GIB1, RW, WB).unwrap().flushed(&mut memory);
    table.map(&mut memory, high, Hpa(KIB4), KIB4, RW, WB).unwrap().flushed(&mut memory);
    let at = |input| table.translate(&memory, input).map(|found| found.output);
    assert_eq!(at(high - 1), Some(Hpa(2 * GIB1 - 1)));
    assert_eq!(at(high + 7), Some(Hpa(KIB4 + 7)));
    assert_eq!((at(u64::MAX), at(0), at(high - GIB1 - 1)), (None, None, None));
    table.unmap(&mut memory, high - GIB1, GIB1 + KIB4).unwrap().flushed(&mut memory);
    assert_eq!(table.translate(&memory, high), None);
}

#[test]
fn out_of_frames_leaves_the_table_as_it_was() {
    for frames in 1..4 {
        let (mut memory, mut table) = npt(frames);
        let before = memory.frames.clone();
        let result = table.map(&mut memory, 0, Hpa(0), KIB4, RW, WB);
        assert_eq!(result, Err(MapError::OutOfFrames));
        assert_eq!(memory.frames, before);
        assert_eq!(memory.left, frames - 1);
    }
}

#[test]
fn out_of_frames_in_a_split_leaves_the_table_as_it_was() {
    for frames in 2..5 {
        let (mut memory, mut table) = npt(frames);
        table.map(&mut memory, 0, Hpa(0), GIB1, RW, WB).unwrap().flushed(&mut memory);
        let before = memory.frames.clone();
        // Both ends cut a 2 MiB piece of the same 1 GiB page: three tables.
        let result = table.unmap(&mut memory, KIB4, 3 * MIB2);
        assert_eq!(result, Err(MapError::OutOfFrames));
        assert_eq!(memory.frames, before);
        assert_eq!(memory.left, frames - 2);
    }
}

#[test]
fn split_frames_are_enough_for_the_worst_cut() {
    let (mut memory, mut table) = npt(2 + SPLIT_FRAMES);
    table.map(&mut memory, 0, Hpa(0), 2 * GIB1, RW, WB).unwrap().flushed(&mut memory);
    table.unmap(&mut memory, GIB1 - KIB4, 2 * KIB4).unwrap().flushed(&mut memory);
    assert_eq!(memory.left, 0);
}

#[test]
fn frames_come_back_only_after_the_flush() {
    let (mut memory, mut table) = npt(8);
    table.map(&mut memory, 0, Hpa(0), KIB4, RW, WB).unwrap().flushed(&mut memory);
    assert_eq!(memory.left, 4);
    let changed = table.unmap(&mut memory, 0, KIB4).unwrap();
    assert!(changed.needs_flush());
    assert_eq!((memory.left, changed.retired_frames()), (4, 3));
    let unflushed = changed.settle(&mut memory, || Err("time-out")).unwrap_err();
    assert_eq!((memory.left, unflushed.error), (4, "time-out"));
    let mut flushes = 0;
    unflushed
        .changed
        .settle(&mut memory, || {
            flushes += 1;
            Ok::<(), ()>(())
        })
        .unwrap();
    assert_eq!((memory.left, flushes), (7, 1));
}

#[test]
fn only_what_was_present_needs_a_flush() {
    let (mut memory, mut table) = npt(8);
    let changed = table.map(&mut memory, 0, Hpa(0), KIB4, RW, WB).unwrap();
    assert!(changed.added() && !changed.needs_flush());
    changed.settle(&mut memory, || -> Result<(), ()> { panic!("flushed for nothing") }).unwrap();
    let changed = table.unmap(&mut memory, MIB2, MIB2).unwrap();
    assert!(!changed.added() && !changed.needs_flush());
    changed.flushed(&mut memory);
}

#[test]
fn a_retired_table_holds_no_new_translation() {
    let (mut memory, mut table) = npt(8);
    table.map(&mut memory, 0, Hpa(GIB1), 2 * KIB4, RW, WB).unwrap().flushed(&mut memory);
    let walk = |memory: &FakeFrames, table| Hpa(memory.read(table) & 0x000f_ffff_ffff_f000);
    let level_3 = walk(&memory, table.root());
    let level_1 = walk(&memory, walk(&memory, level_3));
    let second = memory.read(level_1 + 8);
    let changed = table.unmap(&mut memory, 0, GIB1).unwrap();
    // A walker that cached the way here finds the old page or none.
    assert_eq!(memory.read(level_1) & 0xfff, 0);
    assert_eq!(memory.read(level_1 + 8), second);
    changed.flushed(&mut memory);
}

#[test]
fn changes_add_up() {
    let (mut memory, mut table) = npt(16);
    table.map(&mut memory, 0, Hpa(0), KIB4, RW, WB).unwrap().flushed(&mut memory);
    table.map(&mut memory, 512 * GIB1, Hpa(0), KIB4, RW, WB).unwrap().flushed(&mut memory);
    let first = table.unmap(&mut memory, 0, KIB4).unwrap();
    let second = table.unmap(&mut memory, 512 * GIB1, KIB4).unwrap();
    let both = first.and(&mut memory, second);
    assert_eq!(both.retired_frames(), 6);
    both.flushed(&mut memory);
    assert_eq!(memory.left, 15);
}

#[test]
fn destroy_gives_every_frame_back() {
    let (mut memory, mut table) = npt(16);
    table.map(&mut memory, GIB1 - KIB4, Hpa(0), 2 * KIB4, RW, WB).unwrap().flushed(&mut memory);
    let changed = table.destroy(&mut memory);
    assert!(changed.needs_flush());
    changed.flushed(&mut memory);
    assert_eq!(memory.left, 16);
}

#[test]
fn leaves_ask_for_snooping_where_the_unit_can() {
    let mut memory = Recorder::new(8);
    let mut table = PageTable::<VtdSecondLevel>::new(&mut memory, not_coherent()).unwrap();
    table.map(&mut memory, 0, Hpa(0), GIB1, RW, WB).unwrap().flushed(&mut memory);
    let root = table.root();
    let leaf = |memory: &Recorder| memory.read(Hpa(memory.read(root) & !0xfff));
    assert_eq!(leaf(&memory), 0x883);
    table.unmap(&mut memory, 0, KIB4).unwrap().flushed(&mut memory);
    let second_mib2 = memory.read(Hpa(leaf(&memory) & !0xfff) + 8);
    assert_eq!(second_mib2, MIB2 | 0x883);
}

#[test]
fn a_coherent_table_is_never_written_back() {
    let mut memory = Recorder::new(8);
    let mut table = PageTable::<Npt>::new(&mut memory, four_levels()).unwrap();
    table.map(&mut memory, 0, Hpa(0), GIB1 + KIB4, RW, WB).unwrap().flushed(&mut memory);
    table.unmap(&mut memory, 0, KIB4).unwrap().flushed(&mut memory);
    assert!(!memory.events.borrow().iter().any(|event| matches!(event, Event::WriteBack(..))));
}

#[test]
fn frames_needed_is_exact_for_single_ranges() {
    let cases: Vec<(u64, u64, u64)> = std::vec![
        (0, 0, KIB4),
        (0, 0, MIB2),
        (0, 0, GIB1),
        (0, KIB4, GIB1),
        (0, MIB2, GIB1),
        (GIB1 - KIB4, GIB1 - KIB4, 2 * KIB4),
        (KIB4, KIB4, 3 * GIB1),
        (512 * GIB1 - MIB2, 0, 2 * MIB2),
    ];
    for (input, output, bytes) in cases {
        let (mut memory, mut table) = npt(2000);
        let needed = frames_needed(four_levels(), [Extent { input, output, bytes }]);
        table.map(&mut memory, input, Hpa(output), bytes, RW, WB).unwrap().flushed(&mut memory);
        assert_eq!(2000 - memory.left, needed, "{input:#x} to {output:#x}, {bytes:#x} bytes");
    }
}

#[test]
fn frames_needed_survives_nonsense() {
    let extent = Extent { input: u64::MAX, output: 0, bytes: u64::MAX };
    assert_eq!(frames_needed(four_levels(), [extent, Extent { input: 0, output: 0, bytes: 0 }]), 1);
}
