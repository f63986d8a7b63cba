use super::entry::*;
use super::fault::error;
use super::*;
use access::GuestMemory;
use access::memory::VecMemory;
use access::vcpu::ControlRegisters;
use proptest::prelude::*;
use spec::Gpa;
use spec::processor::{
    CR0_PE, CR0_PG, CR0_WP, CR4_LA57, CR4_PAE, CR4_PSE, CR4_SMAP, CR4_SMEP, EFER_LMA, EFER_LME, EFER_NXE,
    RFLAGS_AC,
};

const ROOT: u64 = 0x1000;
const LINEAR: u64 = 0x7f12_3456_7abc;
const FRAME: u64 = 0x4_5000;

fn control(cr4: u64) -> ControlRegisters {
    ControlRegisters { cr0: CR0_PE | CR0_PG | CR0_WP, cr3: ROOT, cr4, efer: EFER_NXE, ..Default::default() }
}

fn long(cr4: u64) -> ControlRegisters {
    ControlRegisters { efer: EFER_NXE | EFER_LME | EFER_LMA, ..control(cr4 | CR4_PAE) }
}

/// The slot of `linear` in the table of `level`; the tables are one page each, the root
/// first.
fn slot(levels: u32, level: u32, linear: u64) -> Gpa {
    let table = ROOT + u64::from(levels - level) * 0x1000;
    let index = linear >> (12 + 9 * (level - 1)) & 0x1ff;
    Gpa(table + index * 8)
}

/// Tables that map the page of `linear` to `frame` at `leaf`, with `flags` there and
/// everything allowed above.
fn tables(levels: u32, leaf: u32, linear: u64, frame: u64, flags: u64) -> VecMemory {
    let memory = VecMemory::new(0x10_0000);
    for level in (leaf + 1..=levels).rev() {
        let next = ROOT + u64::from(levels - level + 1) * 0x1000;
        let flags = if levels == 3 && level == 3 { PRESENT } else { PRESENT | WRITABLE | USER };
        memory.write64(slot(levels, level, linear), next | flags).unwrap();
    }
    memory.write64(slot(levels, leaf, linear), frame | flags).unwrap();
    memory
}

fn paging(control: ControlRegisters, level: u8) -> Paging {
    Paging::new(control, level, 0)
}

#[test]
fn without_paging_addresses_are_physical() {
    let memory = VecMemory::new(0);
    let paging = paging(ControlRegisters::default(), 0);
    assert_eq!(paging.translate(&memory, 0x1_2345_6789, Access::Write), Ok(Gpa(0x2345_6789)));
}

#[test]
fn pages_of_every_size_in_long_mode() {
    for (levels, cr4) in [(4, 0), (5, CR4_LA57)] {
        for (leaf, frame) in [(1, FRAME), (2, 0x60_0000), (3, 0x4000_0000)] {
            let size = if leaf > 1 { PAGE_SIZE } else { 0 };
            let memory = tables(levels, leaf, LINEAR, frame, PRESENT | WRITABLE | size);
            let offset = LINEAR & ((1 << (12 + 9 * (leaf - 1))) - 1);
            let got = paging(long(cr4), 0).translate(&memory, LINEAR, Access::Read);
            assert_eq!(got, Ok(Gpa(frame | offset)), "{levels} levels, leaf {leaf}");
        }
    }
}

#[test]
fn pae_and_32_bit_paging() {
    let linear = 0xc012_3456;
    let memory = tables(3, 1, linear, FRAME, PRESENT | WRITABLE);
    assert_eq!(paging(control(CR4_PAE), 0).translate(&memory, linear, Access::Write), Ok(Gpa(FRAME | 0x456)));

    let memory = VecMemory::new(0x1_0000);
    memory.write32(Gpa(ROOT + (linear >> 22) * 4), 0x2000 | 3).unwrap();
    memory.write32(Gpa(0x2000 + (linear >> 12 & 0x3ff) * 4), FRAME as u32 | 3).unwrap();
    assert_eq!(paging(control(0), 0).translate(&memory, linear, Access::Write), Ok(Gpa(FRAME | 0x456)));
    // 4 MiB, with bits 32 to 39 of the address in bits 13 to 20.
    memory.write32(Gpa(ROOT + (linear >> 22) * 4), 0x0040_0000 | 0x2000 | 0x83).unwrap();
    let got = paging(control(CR4_PSE), 0).translate(&memory, linear, Access::Write);
    assert_eq!(got, Ok(Gpa(0x1_0040_0000 | linear & 0x3f_ffff)));
    memory.write32(Gpa(ROOT + (linear >> 22) * 4), 0x0060_0000 | 0x83).unwrap();
    let got = paging(control(CR4_PSE), 0).translate(&memory, linear, Access::Read);
    assert_eq!(got.unwrap_err().error_code, 9, "bit 21 is reserved");
}

#[test]
fn absent_entries_fault_at_every_level() {
    for level in 1..=4 {
        let memory = tables(4, 1, LINEAR, FRAME, PRESENT);
        memory.write64(slot(4, level, LINEAR), 0).unwrap();
        let got = paging(long(0), 3).translate(&memory, LINEAR, Access::Fetch);
        assert_eq!(got, Err(PageFault { address: LINEAR, error_code: error::USER | error::FETCH }));
    }
}

#[test]
fn reserved_bits_fault() {
    let reserved = |memory: &VecMemory, control| {
        let fault = paging(control, 0).translate(memory, LINEAR & 0xffff_ffff, Access::Read).unwrap_err();
        assert_eq!(fault.error_code, error::PROTECTION | error::RESERVED);
    };
    let linear = LINEAR & 0xffff_ffff;
    // A large page at level 4.
    let memory = tables(4, 1, linear, FRAME, PRESENT);
    memory.write64(slot(4, 4, linear), 0x2000 | PRESENT | PAGE_SIZE).unwrap();
    reserved(&memory, long(0));
    // Address bits below a large page.
    reserved(&tables(4, 2, linear, 0x60_2000, PRESENT | PAGE_SIZE), long(0));
    // Execution forbidden where nobody can forbid it.
    let memory = tables(4, 1, linear, FRAME, PRESENT | NO_EXECUTE);
    reserved(&memory, ControlRegisters { efer: EFER_LME | EFER_LMA, ..long(0) });
    // Software's bits are not software's in PAE.
    reserved(&tables(3, 1, linear, FRAME, PRESENT | 1 << 60), control(CR4_PAE));
    // A table outside memory floats.
    reserved(&VecMemory::new(0), long(0));
}

/// Rights as the manual's text has them, for a page of `flags`.
fn allowed(flags: u64, level: u8, access: Access, control: &ControlRegisters, ac: bool) -> bool {
    let user_page = flags & USER != 0;
    let writable = flags & WRITABLE != 0;
    let executable = flags & NO_EXECUTE == 0;
    let smap = control.cr4 & CR4_SMAP != 0 && !ac;
    match (level == 3, access) {
        (true, Access::Read) => user_page,
        (true, Access::Write) => user_page && writable,
        (true, Access::Fetch) => user_page && executable,
        (false, Access::Read) => !user_page || !smap,
        (false, Access::Write) => (!user_page || !smap) && (writable || control.cr0 & CR0_WP == 0),
        (false, Access::Fetch) => executable && (!user_page || control.cr4 & CR4_SMEP == 0),
    }
}

proptest! {
    #[test]
    fn rights_are_the_conjunction(
        upper in 0u64..4, lower in 0u64..4, no_execute in any::<bool>(), level in 0u8..4,
        which in 0usize..3, wp in any::<bool>(), smep in any::<bool>(), smap in any::<bool>(), ac in any::<bool>(),
    ) {
        let access = [Access::Read, Access::Write, Access::Fetch][which];
        let mut control = long(0);
        if !wp { control.cr0 &= !CR0_WP; }
        if smep { control.cr4 |= CR4_SMEP; }
        if smap { control.cr4 |= CR4_SMAP; }
        let flags = lower << 1 | if no_execute { NO_EXECUTE } else { 0 };
        let memory = tables(4, 1, LINEAR, FRAME, PRESENT | flags);
        memory.write64(slot(4, 2, LINEAR), (ROOT + 0x3000) | PRESENT | upper << 1).unwrap();
        let expected = allowed(flags & (upper << 1 | NO_EXECUTE), level, access, &control, ac);
        let paging = Paging::new(control, level, if ac { RFLAGS_AC } else { 0 });
        let got = paging.translate(&memory, LINEAR, access);
        prop_assert_eq!(got.is_ok(), expected);
        if let Err(fault) = got {
            let code = error::PROTECTION
                | if access == Access::Write { error::WRITE } else { 0 }
                | if access == Access::Fetch { error::FETCH } else { 0 }
                | if level == 3 { error::USER } else { 0 };
            prop_assert_eq!(fault, PageFault { address: LINEAR, error_code: code });
        }
        // The leaf is marked only if the access is allowed, and dirty only by a write.
        let leaf = memory.read64(slot(4, 1, LINEAR)).unwrap();
        prop_assert_eq!(leaf & ACCESSED != 0, expected);
        prop_assert_eq!(leaf & DIRTY != 0, expected && access == Access::Write);
    }

    /// No table and no address panics, whatever the mode.
    #[test]
    fn noise_is_survived(
        noise in proptest::collection::vec(any::<u64>(), 512), linear in any::<u64>(), cr3 in 0u64..0x2000,
        cr4 in any::<u64>(), efer in any::<u64>(),
    ) {
        let memory = VecMemory::new(0x1000);
        for (index, value) in noise.iter().enumerate() {
            // Most entries lead on.
            memory.write64(Gpa(index as u64 * 8), value & !0xff000 | 1).unwrap();
        }
        let control = ControlRegisters { cr0: CR0_PE | CR0_PG, cr3, cr4, efer, cr2: 0 };
        for access in [Access::Read, Access::Write, Access::Fetch] {
            if let Err(fault) = paging(control, 3).translate(&memory, linear, access) {
                prop_assert!(fault.error_code < 32);
            }
        }
        let mut paths = Paths::default();
        let _ = paths.peek(&memory, &control, linear, 1);
        let mut walker = Walker { memory: &memory, paths: &mut paths };
        let _ = fetch(&mut walker, &paging(control, 0), linear);
    }
}

#[test]
fn flags_are_set_all_the_way_and_not_rewritten() {
    let memory = tables(4, 1, LINEAR, FRAME, PRESENT | WRITABLE);
    paging(long(0), 0).translate(&memory, LINEAR, Access::Write).unwrap();
    for level in 2..=4 {
        let entry = memory.read64(slot(4, level, LINEAR)).unwrap();
        assert_eq!(entry & (ACCESSED | DIRTY), ACCESSED, "level {level}");
    }
    let leaf = memory.read64(slot(4, 1, LINEAR)).unwrap();
    assert_eq!(leaf, FRAME | PRESENT | WRITABLE | ACCESSED | DIRTY);

    // The four pointers of PAE have no flags.
    let linear = 0xc012_3456;
    let memory = tables(3, 1, linear, FRAME, PRESENT | WRITABLE);
    paging(control(CR4_PAE), 0).translate(&memory, linear, Access::Read).unwrap();
    assert_eq!(memory.read64(slot(3, 3, linear)).unwrap() & ACCESSED, 0);
}

#[test]
fn fetch_crosses_pages_where_it_can() {
    let linear = LINEAR & !0xfff | 0xff8;
    let memory = tables(4, 1, linear, FRAME, PRESENT);
    let text: [u8; 15] = core::array::from_fn(|index| index as u8);
    memory.write(Gpa(FRAME + 0xff8), &text[..8]).unwrap();
    let paging = paging(long(0), 0);
    let mut paths = Paths::default();
    let mut walker = Walker { memory: &memory, paths: &mut paths };
    assert_eq!(fetch(&mut walker, &paging, linear).unwrap().bytes().as_slice(), &text[..8]);
    memory.write64(slot(4, 1, linear + 8), 0x6_0000 | PRESENT).unwrap();
    memory.write(Gpa(0x6_0000), &text[8..]).unwrap();
    assert_eq!(fetch(&mut walker, &paging, linear).unwrap().bytes().as_slice(), text);
    // Code outside memory: nothing to decode.
    memory.write64(slot(4, 1, linear), 0xd000_0000 | PRESENT).unwrap();
    assert!(fetch(&mut walker, &paging, linear).unwrap().bytes().as_slice().is_empty());
    memory.write64(slot(4, 1, linear), 0).unwrap();
    assert_eq!(fetch(&mut walker, &paging, linear).unwrap_err().address, linear);
}

#[test]
fn canonical_depends_on_the_levels() {
    let four = paging(long(0), 0);
    let five = paging(long(CR4_LA57), 0);
    for (linear, in_four, in_five) in [
        (0x0000_7fff_ffff_ffff, true, true),
        (0x0000_8000_0000_0000, false, true),
        (0xffff_8000_0000_0000, true, true),
        (0x0100_0000_0000_0000, false, false),
    ] {
        assert_eq!(four.is_canonical(linear), in_four);
        assert_eq!(five.is_canonical(linear), in_five);
    }
}

/// What a walk finds, and what a remembered one does, must be the same whatever the guest
/// does to its tables between two looks. The reference is the walk that was never quick.
fn check_remembered(walker: &mut Walker<VecMemory>, paging: &Paging, linear: u64, access: Access) {
    let memory = walker.memory;
    let slots = [4, 3, 2, 1].map(|level| slot(4, level, linear));
    let before = slots.map(|slot| memory.read64(slot).unwrap());
    let got = walker.translate(paging, linear, access);
    let after = slots.map(|slot| memory.read64(slot).unwrap());
    for (slot, entry) in slots.into_iter().zip(before) {
        memory.write64(slot, entry).unwrap();
    }
    assert_eq!(got, paging.walk_wide(memory, linear, access, 4));
    assert_eq!(slots.map(|slot| memory.read64(slot).unwrap()), after, "the same flags are set");
}

proptest! {
    #[test]
    fn a_remembered_walk_is_a_walk(
        leaf in 1u32..4,
        changes in proptest::collection::vec((1u32..5, 0u32..64, 0usize..3, 0u64..3, any::<bool>()), 1..40),
    ) {
        let size = if leaf > 1 { PAGE_SIZE } else { 0 };
        let memory = tables(4, leaf, LINEAR, if leaf > 1 { 0 } else { FRAME }, PRESENT | WRITABLE | size);
        let mut paths = Paths::default();
        let mut walker = Walker { memory: &memory, paths: &mut paths };
        for (level, bit, which, page, user) in changes {
            let paging = paging(long(0), if user { 3 } else { 0 });
            let access = [Access::Read, Access::Write, Access::Fetch][which];
            for look in 0..2 {
                check_remembered(&mut walker, &paging, LINEAR + page * 0x1000 + look, access);
            }
            // Not an address bit above the memory: those are all alike.
            let slot = slot(4, level, LINEAR);
            let flip = if (20..52).contains(&bit) { 1 } else { 1u64 << bit };
            memory.write64(slot, memory.read64(slot).unwrap() ^ flip).unwrap();
        }
    }
}

#[test]
fn a_remembered_walk_is_for_one_root_and_one_page() {
    let memory = tables(4, 1, LINEAR, FRAME, PRESENT);
    memory.write64(Gpa(FRAME | 0xabc), 0x1122_3344_5566_7788).unwrap();
    let mut paths = Paths::default();
    for _ in 0..2 {
        assert_eq!(paths.peek(&memory, &long(0), LINEAR, 2), None, "not accessed yet");
    }
    paging(long(0), 0).translate(&memory, LINEAR, Access::Fetch).unwrap();
    for _ in 0..2 {
        assert_eq!(paths.peek(&memory, &long(0), LINEAR, 2), Some(0x1122_3344_5566_7788));
    }
    let elsewhere = ControlRegisters { cr3: 0x8000, ..long(0) };
    assert_eq!(paths.peek(&memory, &elsewhere, LINEAR, 2), None, "another root");
    assert_eq!(paths.peek(&memory, &long(0), LINEAR + 0x8000, 2), None, "another page in this place");
    assert_eq!(paths.peek(&memory, &long(CR4_LA57), LINEAR, 2), None, "five levels");
    assert_eq!(paths.peek(&memory, &control(CR4_PAE), LINEAR, 2), None, "not long mode");
    assert!(paths.peek(&memory, &long(0), LINEAR, 2).is_some());
}

#[test]
fn an_instruction_at_the_end_of_a_page_is_peeked_at() {
    let memory = tables(4, 1, LINEAR, FRAME, PRESENT | ACCESSED);
    paging(long(0), 0).translate(&memory, LINEAR, Access::Fetch).unwrap();
    memory.write(Gpa(FRAME | 0xffd), &[1, 2, 3]).unwrap();
    let mut paths = Paths::default();
    let end = LINEAR | 0xfff;
    assert_eq!(paths.peek(&memory, &long(0), end - 2, 3).map(|word| word & 0xff_ffff), Some(0x03_0201));
    assert_eq!(paths.peek(&memory, &long(0), end, 1).map(|word| word & 0xff), Some(3));
    assert_eq!(paths.peek(&memory, &long(0), end - 1, 3), None, "on two pages");
}
