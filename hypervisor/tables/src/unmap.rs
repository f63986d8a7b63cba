//! Taking translations away.

use crate::changed::{Changed, FrameList};
use crate::format::{Format, PageSize};
use crate::page_table::{MapError, PageTable, Slot, entry_at, leaf_output, next_table, slots};
use access::TableMemory;
use spec::{Hpa, address::PAGE_BYTES};

impl<F: Format> PageTable<F> {
    /// Makes `bytes` bytes at `input` fault. What is not mapped stays so. A large
    /// page that reaches beyond the range is split first; tables that become empty
    /// are retired.
    ///
    /// A split replaces one leaf by a table with the same translations, so no
    /// address changes its page size and its target at once: the processors' and
    /// the IOMMU's caches may then hold either size until the flush (Intel SDM
    /// vol. 3 section 4.10.2.3), and no entry has to be absent in between.
    pub fn unmap(
        &mut self,
        memory: &mut (impl TableMemory + ?Sized),
        input: u64,
        bytes: u64,
    ) -> Result<Changed, MapError> {
        self.check_range(input, bytes)?;
        let range = Slot { start: input, bytes };
        let levels = self.geometry.levels;
        let splits = self.splits_to_unmap(memory, self.root(), levels, range);
        let mut reserve = FrameList::reserve(memory, splits).ok_or(MapError::OutOfFrames)?;
        let mut retired = FrameList::default();
        let removed = self.remove(memory, self.root(), levels, range, &mut reserve, &mut retired);
        reserve.free(memory);
        Ok(Changed { added: false, removed, retired })
    }

    /// How many large pages under the table are cut by the ends of the range.
    fn splits_to_unmap(
        &self,
        memory: &(impl TableMemory + ?Sized),
        table: Hpa,
        level: u8,
        range: Slot,
    ) -> usize {
        // Only the first and the last entry can be covered in part.
        let cut = |slot: &Slot| !slot.is_whole(level);
        slots(level, range.start, range.bytes)
            .filter(cut)
            .map(|slot| {
                let entry = memory.read(entry_at(table, level, slot.start));
                if !F::is_present(entry) {
                    0
                } else if F::is_leaf(entry, level) {
                    splits_of_page(level, slot)
                } else {
                    self.splits_to_unmap(memory, next_table(entry), level - 1, slot)
                }
            })
            .sum()
    }

    /// Clears the range under the table at `table`; says whether anything was there.
    fn remove(
        &self,
        memory: &mut (impl TableMemory + ?Sized),
        table: Hpa,
        level: u8,
        range: Slot,
        reserve: &mut FrameList,
        retired: &mut FrameList,
    ) -> bool {
        let mut removed = false;
        for slot in slots(level, range.start, range.bytes) {
            let at = entry_at(table, level, slot.start);
            let entry = memory.read(at);
            if !F::is_present(entry) {
                continue;
            }
            if slot.is_whole(level) {
                self.clear(memory, at, entry, level, retired);
                removed = true;
                continue;
            }
            let below = if F::is_leaf(entry, level) {
                // `splits_to_unmap` counted exactly these.
                let Some(new) = reserve.pop(memory) else { continue };
                self.split(memory, at, entry, level, new);
                new
            } else {
                next_table(entry)
            };
            removed |= self.remove(memory, below, level - 1, slot, reserve, retired);
            if (0..512).all(|index| !F::is_present(memory.read(below + index * 8))) {
                self.clear(memory, at, F::table(below, level), level, retired);
            }
        }
        removed
    }

    /// Makes an entry absent and retires what it led to.
    fn clear(
        &self,
        memory: &mut (impl TableMemory + ?Sized),
        at: Hpa,
        entry: u64,
        level: u8,
        retired: &mut FrameList,
    ) {
        memory.write(at, 0);
        self.write_back(memory, at, 8);
        if !F::is_leaf(entry, level) {
            self.retire(memory, next_table(entry), level - 1, retired);
        }
    }

    /// Replaces the large leaf at `at` by the table `new` that translates alike.
    fn split(&self, memory: &mut (impl TableMemory + ?Sized), at: Hpa, leaf: u64, level: u8, new: Hpa) {
        let Some(page) = PageSize::of_level(level - 1) else { return };
        let start = leaf_output(leaf, level);
        for index in 0..512 {
            let output = start + index * page.bytes();
            let entry = self.leaf(output, page, F::permissions(leaf), F::memory_type(leaf));
            memory.write(new + index * 8, entry);
        }
        self.write_back(memory, new, PAGE_BYTES);
        memory.write(at, F::table(new, level));
        self.write_back(memory, at, 8);
    }
}

/// How many tables it takes to cut `slot` out of a page of `level` that it does
/// not cover.
fn splits_of_page(level: u8, slot: Slot) -> usize {
    let cut = |slot: &Slot| !slot.is_whole(level - 1);
    1 + slots(level - 1, slot.start, slot.bytes)
        .filter(cut)
        .map(|slot| splits_of_page(level - 1, slot))
        .sum::<usize>()
}
