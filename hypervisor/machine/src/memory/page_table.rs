//! The hypervisor's own page tables (Intel SDM vol. 3 section 5.5, AMD APM vol. 2
//! section 5.3), four levels.

use access::TableMemory;
use spec::Hpa;
use spec::address::PAGE_BYTES;
use spec::processor::{
    PAGE_CACHE_DISABLE as CACHE_DISABLE, PAGE_GLOBAL as GLOBAL, PAGE_NO_EXECUTE as NO_EXECUTE,
    PAGE_PRESENT as PRESENT, PAGE_SIZE as LARGE, PAGE_USER as USER, PAGE_WRITABLE as WRITABLE,
    PAGE_WRITE_THROUGH as WRITE_THROUGH,
};

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The page attribute table that every processor is given, so that no loader's
/// choice shows through: entry 0 write-back, 1 write-combining, 2 uncached minus,
/// 3 uncached; 4 to 7 the same with write-protect at 5 (SDM vol. 3 section 13.12.2).
pub const PAT: u64 = 0x0007_0506_0007_0106;

/// How accesses through a mapping are cached, as an index into [`PAT`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caching {
    /// Write-back: memory.
    WriteBack,
    /// Write-combining: framebuffers.
    WriteCombining,
    /// Uncached, whatever the memory type range registers say: device registers.
    Uncached,
}

/// What may be done through a mapping. Nothing is both writable and executable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rights {
    /// Reading.
    Read,
    /// Reading and writing.
    ReadWrite,
    /// Reading and executing.
    ReadExecute,
}

/// Why a mapping was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// No frame is left for a table.
    NoMemory,
    /// Something is mapped there already.
    Overlap,
    /// An address or length is not a multiple of 4 KiB, or leaves the address space.
    Misaligned,
    /// The range is RAM; a second mapping of another kind would alias it.
    Ram,
}

/// Four levels of tables and the frames that they are made of.
pub struct PageTable<M> {
    root: Hpa,
    memory: M,
    giant_pages: bool,
    /// What is mapped is ring 3's, and of this address space alone.
    is_user: bool,
}

/// Bytes that an entry of `level` (1 to 4) covers.
const fn page_bytes(level: u32) -> u64 {
    PAGE_BYTES << (9 * (level - 1))
}

const fn entry_offset(address: u64, level: u32) -> u64 {
    (address >> (12 + 9 * (level - 1)) & 511) * 8
}

impl<M: TableMemory> PageTable<M> {
    /// Empty tables; `giant_pages`: the processor has pages of 1 GiB
    /// (CPUID.80000001:EDX[26]).
    pub fn new(mut memory: M, giant_pages: bool) -> Option<Self> {
        let root = memory.allocate()?;
        Some(Self { root, memory, giant_pages, is_user: false })
    }

    /// The same, whose mappings are ring 3's and not global.
    pub fn for_ring_3(memory: M, giant_pages: bool) -> Option<Self> {
        Some(Self { is_user: true, ..Self::new(memory, giant_pages)? })
    }

    /// Has the upper half lead where that of `other` does, which was [filled](Self::fill_root) as far as it
    /// changes later.
    pub fn share_upper_half(&mut self, other: &Self) {
        for slot in 256..512 {
            let entry = other.memory.read(other.root + slot * 8);
            self.memory.write(self.root + slot * 8, entry);
        }
    }

    /// What CR3 is loaded with.
    pub const fn root(&self) -> Hpa {
        self.root
    }

    /// Gives every slot of the upper half a table now, so that copies of the root
    /// (the trampoline's) share whatever is mapped later.
    pub fn fill_root(&mut self, first_slot: u64, slots: u64) -> Result<(), MapError> {
        for slot in first_slot..first_slot + slots {
            self.table_below(self.root + slot * 8)?;
        }
        Ok(())
    }

    /// Maps `bytes` bytes at `address` to `hpa`, in the largest pages that fit.
    /// On an error what was mapped so far stays.
    pub fn map(
        &mut self,
        address: u64,
        hpa: Hpa,
        bytes: u64,
        rights: Rights,
        caching: Caching,
    ) -> Result<(), MapError> {
        let end = address.wrapping_add(bytes);
        if (address | hpa.0 | bytes) & (PAGE_BYTES - 1) != 0
            || (end < address && end != 0)
            || hpa.0.checked_add(bytes).is_none_or(|end| end > ADDRESS + PAGE_BYTES)
        {
            return Err(MapError::Misaligned);
        }
        let mut done = 0;
        while done < bytes {
            let level = self.largest_level(address.wrapping_add(done) | (hpa.0 + done), bytes - done);
            let bits = leaf_bits(rights, caching, level) ^ if self.is_user { GLOBAL | USER } else { 0 };
            self.map_page(address.wrapping_add(done), hpa + done, level, bits)?;
            done += page_bytes(level);
        }
        Ok(())
    }

    fn largest_level(&self, both_addresses: u64, bytes: u64) -> u32 {
        let fits = |level| both_addresses & (page_bytes(level) - 1) == 0 && bytes >= page_bytes(level);
        match () {
            _ if self.giant_pages && fits(3) => 3,
            _ if fits(2) => 2,
            _ => 1,
        }
    }

    fn map_page(&mut self, address: u64, hpa: Hpa, leaf: u32, bits: u64) -> Result<(), MapError> {
        let mut table = self.root;
        for level in (leaf + 1..=4).rev() {
            table = self.table_below(table + entry_offset(address, level))?;
        }
        let entry = table + entry_offset(address, leaf);
        if self.memory.read(entry) & PRESENT != 0 {
            return Err(MapError::Overlap);
        }
        self.memory.write(entry, hpa.0 | bits);
        Ok(())
    }

    /// The table that the entry at `entry` points to, made if there is none.
    fn table_below(&mut self, entry: Hpa) -> Result<Hpa, MapError> {
        let value = self.memory.read(entry);
        if value & PRESENT == 0 {
            let table = self.memory.allocate().ok_or(MapError::NoMemory)?;
            let user = if self.is_user { USER } else { 0 };
            self.memory.write(entry, table.0 | PRESENT | WRITABLE | user);
            return Ok(table);
        }
        if value & LARGE != 0 {
            return Err(MapError::Overlap);
        }
        Ok(Hpa(value & ADDRESS))
    }

    /// Where `address` leads; `None` if nowhere.
    pub fn translate(&self, address: u64) -> Option<Hpa> {
        translate(|entry| self.memory.read(entry), self.root, 4, address)
    }
}

fn leaf_bits(rights: Rights, caching: Caching, level: u32) -> u64 {
    let rights = match rights {
        Rights::Read => NO_EXECUTE,
        Rights::ReadWrite => WRITABLE | NO_EXECUTE,
        Rights::ReadExecute => 0,
    };
    let caching = match caching {
        Caching::WriteBack => 0,
        Caching::WriteCombining => WRITE_THROUGH,
        Caching::Uncached => WRITE_THROUGH | CACHE_DISABLE,
    };
    PRESENT | GLOBAL | rights | caching | if level > 1 { LARGE } else { 0 }
}

/// Walks tables that somebody else made: where `address` leads under the `levels`
/// (4 or 5) levels at `root`, with `read` reading an entry. Tables are not trusted to
/// be sound; the walk always ends.
pub fn translate(read: impl Fn(Hpa) -> u64, root: Hpa, levels: u32, address: u64) -> Option<Hpa> {
    let mut table = Hpa(root.0 & ADDRESS);
    for level in (1..=levels).rev() {
        let entry = read(table + entry_offset(address, level));
        if entry & PRESENT == 0 {
            return None;
        }
        if level == 1 || (level <= 3 && entry & LARGE != 0) {
            let within = page_bytes(level) - 1;
            return Some(Hpa(entry & ADDRESS & !within | address & within));
        }
        table = Hpa(entry & ADDRESS);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::frames::FakeFrames;

    const HIGH: u64 = 0xffff_8000_0000_0000;

    fn table() -> PageTable<FakeFrames> {
        PageTable::new(FakeFrames::new(64), true).expect("a root")
    }

    #[test]
    fn uses_the_largest_pages_that_fit() {
        let mut table = table();
        let start = (1 << 30) - (2 << 20) - 4096;
        let bytes = 4096 + (2 << 20) + (1 << 30) + 4096;
        table.map(HIGH + start, Hpa(start), bytes, Rights::ReadWrite, Caching::WriteBack).expect("mapped");
        for offset in [0, 4095, 4096, (2 << 20) + 4096, (1 << 30), bytes - 1] {
            assert_eq!(table.translate(HIGH + start + offset), Some(Hpa(start + offset)));
        }
        assert_eq!(table.translate(HIGH + start - 1), None);
        assert_eq!(table.translate(HIGH + start + bytes), None);
        // Root, one level 3, two level 2 and two level 1 tables.
        assert_eq!(table.memory.frames.len(), 6);
    }

    #[test]
    fn nothing_is_writable_and_executable() {
        for rights in [Rights::Read, Rights::ReadWrite, Rights::ReadExecute] {
            let bits = leaf_bits(rights, Caching::WriteBack, 1);
            assert!(bits & WRITABLE == 0 || bits & NO_EXECUTE != 0);
        }
        assert_eq!(leaf_bits(Rights::ReadExecute, Caching::WriteBack, 2) & NO_EXECUTE, 0);
    }

    #[test]
    fn ring_3_gets_what_is_mapped_for_it_and_nothing_of_the_upper_half() {
        const LOW: u64 = 0x40_0000;
        let mut own = table();
        own.map(HIGH, Hpa(0x20_0000), 4096, Rights::ReadWrite, Caching::WriteBack).expect("mapped");
        let mut user = PageTable::for_ring_3(FakeFrames::new(64), true).expect("a root");
        user.share_upper_half(&own);
        user.map(LOW, Hpa(0x40_0000), 4096, Rights::Read, Caching::WriteBack).expect("mapped");
        let entries = core::cell::RefCell::new(std::vec::Vec::new());
        let read = |entry| {
            let value = user.memory.read(entry);
            entries.borrow_mut().push(value);
            value
        };
        assert_eq!(translate(read, user.root, 4, LOW), Some(Hpa(0x40_0000)));
        let entries = entries.into_inner();
        assert!(entries.len() == 4 && entries.iter().all(|entry| entry & USER != 0));
        assert_eq!(entries.last().map(|leaf| leaf & (GLOBAL | WRITABLE)), Some(0));
        let shared = own.memory.read(own.root + 256 * 8);
        assert_eq!(user.memory.read(user.root + 256 * 8), shared);
        assert!(shared & USER == 0 && own.memory.read(own.root) == 0);
    }

    #[test]
    fn caching_selects_the_entry_of_the_attribute_table() {
        for (caching, index, kind) in
            [(Caching::WriteBack, 0, 6), (Caching::WriteCombining, 1, 1), (Caching::Uncached, 3, 0)]
        {
            let bits = leaf_bits(Rights::Read, caching, 1);
            assert_eq!((bits >> 3 & 3, PAT >> (8 * index) & 7), (index, kind));
        }
    }

    #[test]
    fn refuses_overlaps_and_odd_addresses() {
        let mut table = table();
        let mut map =
            |address, hpa, bytes| table.map(address, Hpa(hpa), bytes, Rights::Read, Caching::WriteBack);
        assert_eq!(map(HIGH, 0, 2 << 20), Ok(()));
        assert_eq!(map(HIGH + 4096, 0, 4096), Err(MapError::Overlap));
        assert_eq!(map(HIGH, 0, 2 << 20), Err(MapError::Overlap));
        assert_eq!(map(HIGH + 1, 0, 4096), Err(MapError::Misaligned));
        assert_eq!(map(HIGH + (4 << 20), 1, 4096), Err(MapError::Misaligned));
        assert_eq!(map(HIGH + (4 << 20), 1 << 60, 4096), Err(MapError::Misaligned));
        assert_eq!(map(u64::MAX - 4095, 0, 4096), Ok(()));
        assert_eq!(map(u64::MAX - 4095, 0, 8192), Err(MapError::Misaligned));
    }

    #[test]
    fn says_when_frames_run_out() {
        let mut table = PageTable::new(FakeFrames::new(2), true).expect("a root");
        let result = table.map(HIGH, Hpa(0), 4096, Rights::Read, Caching::WriteBack);
        assert_eq!(result, Err(MapError::NoMemory));
    }

    #[test]
    fn a_walk_of_circular_tables_ends() {
        let itself = |_| 0x1000 | PRESENT;
        assert_eq!(translate(itself, Hpa(0x1000), 5, 0x1234), Some(Hpa(0x1234)));
    }
}
