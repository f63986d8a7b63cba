//! Adding translations.

use crate::changed::{Changed, FrameList};
use crate::format::{ADDRESS, Format, MemoryType, PageSize, Permissions, entry_bytes};
use crate::page_table::{MapError, PageTable, Slot, entry_at, leaf_output, next_table, slots};
use access::TableMemory;
use spec::{Hpa, address::PAGE_BYTES};

/// What a range is to be mapped to.
struct Target {
    /// Output address minus input address, modulo 2^64.
    offset: u64,
    permissions: Permissions,
    memory_type: MemoryType,
}

impl Target {
    const fn output(&self, input: u64) -> Hpa {
        Hpa(input.wrapping_add(self.offset))
    }
}

impl<F: Format> PageTable<F> {
    /// Maps `bytes` bytes at `input` (a gpa, or a device's address) to `output`,
    /// with the largest pages that fit. What is mapped so already stays; what is
    /// mapped otherwise is an error.
    ///
    /// The table is checked and the frames are taken before the first write, so an
    /// error leaves everything as it was.
    pub fn map(
        &mut self,
        memory: &mut (impl TableMemory + ?Sized),
        input: u64,
        output: Hpa,
        bytes: u64,
        permissions: Permissions,
        memory_type: MemoryType,
    ) -> Result<Changed, MapError> {
        self.check_range(input, bytes)?;
        if !output.is_aligned(PAGE_BYTES) {
            return Err(MapError::Misaligned);
        }
        if output.checked_add(bytes).is_none_or(|end| end.0 > ADDRESS + PAGE_BYTES) {
            return Err(MapError::OutOfRange);
        }
        if !F::supports(permissions) {
            return Err(MapError::Permissions);
        }
        let target = Target { offset: output.0.wrapping_sub(input), permissions, memory_type };
        let range = Slot { start: input, bytes };
        let levels = self.geometry.levels;
        let frames = self.frames_to_map(memory, self.root(), levels, range, &target)?;
        let mut reserve = FrameList::reserve(memory, frames).ok_or(MapError::OutOfFrames)?;
        let added = self.add(memory, self.root(), levels, range, &target, &mut reserve);
        reserve.free(memory);
        Ok(Changed { added, removed: false, retired: FrameList::default() })
    }

    /// How many tables are missing under the one at `table`; an error where
    /// something else is mapped.
    fn frames_to_map(
        &self,
        memory: &(impl TableMemory + ?Sized),
        table: Hpa,
        level: u8,
        range: Slot,
        target: &Target,
    ) -> Result<usize, MapError> {
        let mut frames = 0;
        for slot in slots(level, range.start, range.bytes) {
            let entry = memory.read(entry_at(table, level, slot.start));
            if !F::is_present(entry) {
                frames += self.tables_under(level, slot, target);
            } else if !F::is_leaf(entry, level) {
                frames += self.frames_to_map(memory, next_table(entry), level - 1, slot, target)?;
            } else if !self.maps_to(entry, level, slot.start, target) {
                return Err(MapError::Overlap { input: slot.start });
            }
        }
        Ok(frames)
    }

    /// How many tables an absent entry of a table of `level` needs below it.
    fn tables_under(&self, level: u8, slot: Slot, target: &Target) -> usize {
        if level == 1 || self.page_for(level, slot, target).is_some() {
            return 0;
        }
        let below = slots(level - 1, slot.start, slot.bytes);
        if level == 2 {
            1
        } else {
            1 + below.map(|slot| self.tables_under(level - 1, slot, target)).sum::<usize>()
        }
    }

    /// The page that maps the whole entry, if it may be a leaf.
    fn page_for(&self, level: u8, slot: Slot, target: &Target) -> Option<PageSize> {
        PageSize::of_level(level).filter(|page| {
            *page <= self.geometry.max_page_for(target.permissions)
                && slot.is_whole(level)
                && target.output(slot.start).is_aligned(page.bytes())
        })
    }

    /// Whether the leaf translates `input` as `target` says, at whatever page size.
    fn maps_to(&self, leaf: u64, level: u8, input: u64, target: &Target) -> bool {
        let Some(page) = PageSize::of_level(level) else { return false };
        let start = leaf_output(leaf, level);
        let wanted = self.leaf(start, page, target.permissions, target.memory_type);
        start.0 | input & (entry_bytes(level) - 1) == target.output(input).0
            && (leaf ^ wanted) & !F::SET_BY_HARDWARE == 0
    }

    /// Fills absent entries, with tables from `reserve`. A new table is filled
    /// before the entry that leads to it is written. Says whether anything was absent.
    fn add(
        &self,
        memory: &mut (impl TableMemory + ?Sized),
        table: Hpa,
        level: u8,
        range: Slot,
        target: &Target,
        reserve: &mut FrameList,
    ) -> bool {
        let mut added = false;
        let mut written: Option<(Hpa, Hpa)> = None;
        for slot in slots(level, range.start, range.bytes) {
            let at = entry_at(table, level, slot.start);
            let entry = memory.read(at);
            if F::is_present(entry) {
                if !F::is_leaf(entry, level) {
                    added |= self.add(memory, next_table(entry), level - 1, slot, target, reserve);
                }
                continue;
            }
            let value = match self.page_for(level, slot, target) {
                Some(page) => {
                    self.leaf(target.output(slot.start), page, target.permissions, target.memory_type)
                }
                // `frames_to_map` counted exactly these.
                None => match reserve.pop(memory) {
                    Some(new) => {
                        self.add(memory, new, level - 1, slot, target, reserve);
                        self.write_back(memory, new, PAGE_BYTES);
                        F::table(new, level)
                    }
                    None => continue,
                },
            };
            memory.write(at, value);
            written = Some((written.map_or(at, |(first, _)| first), at));
            added = true;
        }
        if let Some((first, last)) = written {
            self.write_back(memory, first, last - first + 8);
        }
        added
    }
}
