//! From a guest's linear address to its physical one, over the guest's own page
//! tables (Intel SDM vol. 3 chapter 4, AMD APM vol. 2 chapter 5).
//!
//! The processor has already walked these tables for the instruction that exited.
//! They are walked again because the hardware does not tell the physical address of
//! an instruction, or of the operand that did not fault; and since another processor
//! may have changed them meanwhile, everything is checked again as for a new access.
//!
//! Physical address bits that the guest's processor does not have are not treated
//! as reserved: such an address is outside every guest's memory, and that is what
//! its user finds out. A table outside the guest's memory reads as ones, as the bus
//! floats.

mod paths;

pub(crate) use paths::{Paths, Walker};

use access::GuestMemory;
use access::vcpu::{ControlRegisters, Event, ProcessorState};
use paths::Path;
use spec::Gpa;
use spec::processor::{
    CR0_PG, CR0_WP, CR4_LA57, CR4_PAE, CR4_PSE, CR4_SMAP, CR4_SMEP, EFER_LMA, EFER_NXE, RFLAGS_AC,
};

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const PAGE_SIZE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Bits 52 to 62: software's in long mode, reserved in PAE.
const HIGH_IGNORED: u64 = 0x7ff0_0000_0000_0000;

/// Error code bits of #PF (Intel SDM vol. 3 section 4.7).
mod error {
    pub const PROTECTION: u32 = 1 << 0;
    pub const WRITE: u32 = 1 << 1;
    pub const USER: u32 = 1 << 2;
    pub const RESERVED: u32 = 1 << 3;
    pub const FETCH: u32 = 1 << 4;
}

/// What an access does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reads data.
    Read,
    /// Writes data.
    Write,
    /// Fetches an instruction.
    Fetch,
}

/// A #PF to inject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageFault {
    /// The linear address, for CR2.
    pub address: u64,
    /// The error code.
    pub error_code: u32,
}

impl PageFault {
    /// The exception; the injector sets CR2 to [`PageFault::address`] as well.
    pub const fn event(&self) -> Event {
        Event::Exception { vector: 14, error: Some(self.error_code) }
    }
}

/// How the processor translates now, and for whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Paging {
    control: ControlRegisters,
    user: bool,
    /// RFLAGS.AC, which suspends SMAP.
    alignment_check: bool,
}

impl Paging {
    /// Translation as of `control` for privilege level `level` with `rflags`.
    #[inline]
    pub fn new(control: ControlRegisters, level: u8, rflags: u64) -> Self {
        Self { control, user: level == 3, alignment_check: rflags & RFLAGS_AC != 0 }
    }

    /// Translation as `vcpu` does it now.
    #[inline]
    pub fn of(vcpu: &impl ProcessorState) -> Self {
        Self::new(vcpu.control(), vcpu.privilege_level(), vcpu.rflags())
    }

    /// The control registers that it goes by.
    #[inline]
    pub fn control(&self) -> &ControlRegisters {
        &self.control
    }

    /// Whether `linear` is canonical for the number of levels in use.
    #[inline]
    pub fn is_canonical(&self, linear: u64) -> bool {
        let unused = if self.control.cr4 & CR4_LA57 != 0 { 64 - 57 } else { 64 - 48 };
        ((linear << unused) as i64 >> unused) as u64 == linear
    }

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
    fn walk_wide<M: GuestMemory>(
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

    /// Access rights (Intel SDM vol. 3 section 4.6.1). `rights` is the conjunction of
    /// the entries on the way.
    #[inline]
    fn check(&self, linear: u64, access: Access, rights: u64, no_execute: u64) -> Result<(), PageFault> {
        let user_page = rights & USER != 0;
        let writable = rights & WRITABLE != 0;
        let control = &self.control;
        let refused = if self.user {
            !user_page
                || match access {
                    Access::Read => false,
                    Access::Write => !writable,
                    Access::Fetch => no_execute != 0,
                }
        } else {
            let smap = user_page && control.cr4 & CR4_SMAP != 0 && !self.alignment_check;
            match access {
                Access::Read => smap,
                Access::Write => smap || !writable && control.cr0 & CR0_WP != 0,
                Access::Fetch => no_execute != 0 || user_page && control.cr4 & CR4_SMEP != 0,
            }
        };
        if refused { Err(self.fault(linear, access, error::PROTECTION)) } else { Ok(()) }
    }

    #[cold]
    fn fault(&self, linear: u64, access: Access, reason: u32) -> PageFault {
        let control = &self.control;
        let mut error_code = reason;
        if access == Access::Write {
            error_code |= error::WRITE;
        }
        if self.user {
            error_code |= error::USER;
        }
        // The flag is defined only where a fetch can be refused as such.
        let fetch_matters =
            control.cr4 & CR4_SMEP != 0 || control.cr4 & CR4_PAE != 0 && control.efer & EFER_NXE != 0;
        if access == Access::Fetch && fetch_matters {
            error_code |= error::FETCH;
        }
        PageFault { address: linear, error_code }
    }
}

/// Sets accessed and dirty flags, which are in the low byte of every format.
///
/// Only that byte is written, and only while the entry still is what was walked: a
/// processor that changes the frame at the same moment keeps its new frame. There is
/// no compare-and-exchange over guest memory, so a guest that races its own
/// processors here (and does not wait for them, as a shootdown does) may lose its own
/// change to these eight bits. That harms no one else.
#[inline]
fn mark<M: GuestMemory>(memory: &M, slot: Gpa, entry: u64, flags: u64) {
    if entry & flags != flags {
        mark_slowly(memory, slot, entry, flags);
    }
}

#[cold]
fn mark_slowly<M: GuestMemory>(memory: &M, slot: Gpa, entry: u64, flags: u64) {
    let mut now = [0];
    if memory.read(slot, &mut now).is_ok() && now[0] == entry as u8 {
        // A table outside memory has nothing to mark.
        let _ = memory.write(slot, &[(entry | flags) as u8]);
    }
}

/// Most bytes in an instruction.
pub(crate) const INSTRUCTION_BYTES_MAX: usize = 15;

/// Instruction bytes, copied once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bytes {
    bytes: [u8; INSTRUCTION_BYTES_MAX],
    len: u8,
}

impl Bytes {
    /// The first 15 of `bytes`.
    #[inline]
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut copy = Self::default();
        for (to, from) in copy.bytes.iter_mut().zip(bytes) {
            *to = *from;
            copy.len += 1;
        }
        copy
    }

    /// The bytes and how many they are, as one number.
    #[inline]
    pub(crate) fn key(&self) -> BytesKey {
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(self.bytes) {
            *to = from;
        }
        BytesKey(u128::from_le_bytes(key) | u128::from(self.len) << 120)
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or(&self.bytes)
    }
}

/// [`Bytes`] as one number, to be compared: the bytes, and above them how many they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BytesKey(u128);

impl BytesKey {
    const COUNT: u128 = 0xff << 120;

    /// The bytes.
    pub(crate) fn bytes(self) -> Bytes {
        let [bytes @ .., len] = self.0.to_le_bytes();
        Bytes { bytes, len }
    }
}

/// Fetches up to 15 bytes at `linear`, in one go where they are in one page. What is on a
/// second page that cannot be fetched is left out: the instruction may end before it.
#[inline]
pub(crate) fn fetch<M: GuestMemory>(
    walker: &mut Walker<M>,
    paging: &Paging,
    linear: u64,
) -> Result<BytesKey, PageFault> {
    let here = walker.translate(paging, linear, Access::Fetch)?;
    if linear & 0xfff <= 0xff0
        && let (Ok(low), Ok(high)) = (walker.memory.read64(here), walker.memory.read64(here + 8))
    {
        let both = u128::from(high) << 64 | u128::from(low);
        return Ok(BytesKey(both & !BytesKey::COUNT | (INSTRUCTION_BYTES_MAX as u128) << 120));
    }
    Ok(fetch_pieces(walker, paging, linear, here).key())
}

#[cold]
#[inline(never)]
fn fetch_pieces<M: GuestMemory>(walker: &mut Walker<M>, paging: &Paging, linear: u64, here: Gpa) -> Bytes {
    let first = (4096 - (linear & 0xfff) as usize).min(INSTRUCTION_BYTES_MAX);
    let mut bytes = [0; INSTRUCTION_BYTES_MAX];
    let (head, tail) = bytes.split_at_mut(first);
    if walker.memory.read(here, head).is_err() {
        return Bytes::default();
    }
    let mut len = first;
    if !tail.is_empty()
        && let Ok(there) = walker.translate(paging, linear.wrapping_add(first as u64), Access::Fetch)
        && walker.memory.read(there, tail).is_ok()
    {
        len = INSTRUCTION_BYTES_MAX;
    }
    Bytes { bytes, len: len as u8 }
}

#[cfg(test)]
mod tests;
