//! The walk itself, in every paging mode.

use super::entry::{
    ACCESSED, ADDRESS, DIRTY, HIGH_IGNORED, NO_EXECUTE, PAGE_SIZE, PRESENT, USER, WRITABLE, mark,
};
use super::fault::{Access, PageFault, error};
use super::paging::Paging;
use super::path::Path;
use access::GuestMemory;
use spec::Gpa;
use spec::processor::{CR0_PG, CR4_LA57, CR4_PAE, CR4_PSE, EFER_LMA, EFER_NXE};

impl Paging {
    /// The physical address of `linear` for `access`, which must not cross a page.
    ///
    /// Sets accessed and dirty flags as the processor does, since for an operand
    /// that did not fault nobody else has: a guest that trusts a clean dirty flag
    /// would throw away what the emulated instruction wrote. Flags that are set
    /// already, as those of the faulting operand are, are not written again.
    #[inline]
    pub fn translate<M: GuestMemory>(
        &self,
        memory: &M,
        linear: u64,
        access: Access,
    ) -> Result<Gpa, PageFault> {
        if self.control.cr0 & CR0_PG == 0 {
            return Ok(Gpa(linear & 0xffff_ffff));
        }
        if self.control.efer & EFER_LMA != 0 {
            if self.control.cr4 & CR4_LA57 != 0 {
                return self.walk_wide(memory, linear, access, 5);
            }
            let path = Path::walk(memory, self.control.cr3, linear);
            return match path.and_then(|path| path.grant(self, linear, access)) {
                Some(gpa) => Ok(gpa),
                None => self.walk_wide(memory, linear, access, 4),
            };
        }
        let linear = linear & 0xffff_ffff;
        if self.control.cr4 & CR4_PAE != 0 {
            self.walk_wide(memory, linear, access, 3)
        } else {
            self.walk_narrow(memory, linear, access)
        }
    }

    /// Tables of 8-byte entries: PAE (3 levels) and long mode (4 or 5).
    #[cold]
    pub(super) fn walk_wide<M: GuestMemory>(
        &self,
        memory: &M,
        linear: u64,
        access: Access,
        levels: u32,
    ) -> Result<Gpa, PageFault> {
        let pae = levels == 3;
        let mut reserved = if pae { HIGH_IGNORED } else { 0 };
        if self.control.efer & EFER_NXE == 0 {
            reserved |= NO_EXECUTE;
        }
        let mut table = if pae { self.control.cr3 & 0xffff_ffe0 } else { self.control.cr3 & ADDRESS };
        let mut rights = WRITABLE | USER;
        let mut no_execute = 0;
        let mut level = levels;
        loop {
            let shift = 12 + 9 * (level - 1);
            let slot = Gpa(table + (linear >> shift & 0x1ff) * 8);
            let entry = memory.read64(slot).unwrap_or(u64::MAX);
            if entry & PRESENT == 0 {
                return Err(self.fault(linear, access, 0));
            }
            let pointer_of_pae = pae && level == 3;
            let large = entry & PAGE_SIZE != 0 && level > 1;
            // A page of 1 GiB exists in long mode only, nothing larger exists.
            let impossible = large && (level > 3 || pointer_of_pae);
            // Between the attribute table's bit 12 and the frame, a large page has
            // address bits that must be 0.
            let below = if large { ((1u64 << shift) - 1) & ADDRESS & !(1 << 12) } else { 0 };
            if entry & (reserved | below) != 0 || impossible {
                return Err(self.fault(linear, access, error::PROTECTION | error::RESERVED));
            }
            // The four pointers of PAE are without rights, and without flags.
            if !pointer_of_pae {
                rights &= entry;
                no_execute |= entry & NO_EXECUTE;
            }
            if level == 1 || large {
                self.check(linear, access, rights, no_execute)?;
                let flags = if access == Access::Write { ACCESSED | DIRTY } else { ACCESSED };
                mark(memory, slot, entry, flags);
                let offset = (1u64 << shift) - 1;
                return Ok(Gpa(entry & ADDRESS & !offset | linear & offset));
            }
            if !pointer_of_pae {
                mark(memory, slot, entry, ACCESSED);
            }
            table = entry & ADDRESS;
            level -= 1;
        }
    }

    /// Tables of 4-byte entries: two levels, with pages of 4 MiB where CR4.PSE is set.
    fn walk_narrow<M: GuestMemory>(&self, memory: &M, linear: u64, access: Access) -> Result<Gpa, PageFault> {
        let read = |slot| u64::from(memory.read32(slot).unwrap_or(u32::MAX));
        let flags = if access == Access::Write { ACCESSED | DIRTY } else { ACCESSED };

        let slot = Gpa((self.control.cr3 & 0xffff_f000) + (linear >> 22) * 4);
        let directory = read(slot);
        if directory & PRESENT == 0 {
            return Err(self.fault(linear, access, 0));
        }
        if directory & PAGE_SIZE != 0 && self.control.cr4 & CR4_PSE != 0 {
            if directory & 1 << 21 != 0 {
                return Err(self.fault(linear, access, error::PROTECTION | error::RESERVED));
            }
            self.check(linear, access, directory, 0)?;
            mark(memory, slot, directory, flags);
            // PSE-36: bits 13 to 20 are bits 32 to 39 of the address.
            let frame = directory & 0xffc0_0000 | (directory >> 13 & 0xff) << 32;
            return Ok(Gpa(frame | linear & 0x3f_ffff));
        }
        mark(memory, slot, directory, ACCESSED);

        let slot = Gpa((directory & 0xffff_f000) + (linear >> 12 & 0x3ff) * 4);
        let entry = read(slot);
        if entry & PRESENT == 0 {
            return Err(self.fault(linear, access, 0));
        }
        self.check(linear, access, directory & entry, 0)?;
        mark(memory, slot, entry, flags);
        Ok(Gpa(entry & 0xffff_f000 | linear & 0xfff))
    }
}
