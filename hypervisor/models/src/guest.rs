//! The guest's memory, as a compartment sees it: mapped at an offset, with gaps where there is none.

use access::{GuestMemory, OutOfBounds};
use alloc::boxed::Box;
use alloc::vec::Vec;
use compartment::Range;
use core::arch::asm;
use spec::Gpa;

/// The guest's memory. The guest runs meanwhile, so nothing here is ever a reference: reads and writes are copies
/// made by single instructions that the compiler does not look into.
pub struct Guest {
    /// Ascending, none next to another.
    ranges: Box<[Range]>,
    /// Virtual address minus guest-physical address.
    offset: u64,
}

impl Guest {
    /// The memory of these ranges, mapped `offset` above their addresses. Ranges that are next to one another are
    /// one from now on.
    ///
    /// # Safety
    /// All of them are mapped there, for reading and writing, and nothing else of this program is.
    pub unsafe fn new(ranges: Vec<Range>, offset: u64) -> Self {
        let mut ranges = ranges;
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, last| {
            let is_next = last.start.checked_add(last.bytes) == Some(next.start);
            if is_next {
                last.bytes = last.bytes.saturating_add(next.bytes);
            }
            is_next
        });
        Self { ranges: ranges.into(), offset }
    }

    /// Where `bytes` bytes from `gpa` on are mapped, if all of them are memory.
    #[inline]
    fn pointer(&self, gpa: Gpa, bytes: u64) -> Option<*mut u8> {
        self.ranges.iter().find_map(|range| {
            let within = gpa.0.checked_sub(range.start.0)?;
            (bytes <= range.bytes.checked_sub(within)?).then(|| gpa.0.wrapping_add(self.offset) as *mut u8)
        })
    }
}

impl GuestMemory for Guest {
    #[inline]
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        let source = self.pointer(gpa, bytes.len() as u64).ok_or(OutOfBounds)?;
        // SAFETY: `pointer` found that all of the source is memory of the guest, which `new` was promised is mapped.
        unsafe { copy(source, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    #[inline]
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let target = self.pointer(gpa, bytes.len() as u64).ok_or(OutOfBounds)?;
        // SAFETY: as for reading, the other way round.
        unsafe { copy(bytes.as_ptr(), target, bytes.len()) };
        Ok(())
    }

    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        self.pointer(gpa, bytes).is_some()
    }
}

/// Copies `bytes` bytes, where one side may change under our hands. Aligned 1, 2, 4 and 8 bytes are one access of
/// the guest's side.
///
/// # Safety
/// Both sides are mapped for `bytes` bytes and do not overlap; the side that is the program's own is borrowed
/// accordingly.
#[inline]
pub(crate) unsafe fn copy(source: *const u8, target: *mut u8, bytes: usize) {
    // Instructions of our own rather than `ptr::copy`: the compiler must neither split an access nor reason about
    // memory that a guest changes meanwhile.
    // SAFETY: the caller's promise; each instruction touches exactly the bytes named.
    unsafe {
        match bytes {
            1 => asm!("mov {0}, byte ptr [{1}]", "mov byte ptr [{2}], {0}",
                      out(reg_byte) _, in(reg) source, in(reg) target, options(nostack, preserves_flags)),
            2 => asm!("mov {0:x}, word ptr [{1}]", "mov word ptr [{2}], {0:x}",
                      out(reg) _, in(reg) source, in(reg) target, options(nostack, preserves_flags)),
            4 => asm!("mov {0:e}, dword ptr [{1}]", "mov dword ptr [{2}], {0:e}",
                      out(reg) _, in(reg) source, in(reg) target, options(nostack, preserves_flags)),
            8 => asm!("mov {0}, qword ptr [{1}]", "mov qword ptr [{2}], {0}",
                      out(reg) _, in(reg) source, in(reg) target, options(nostack, preserves_flags)),
            // 8 bytes at a time, which is fast also where the processor has no fast strings.
            _ => asm!("rep movsq", "mov rcx, {rest}", "rep movsb", rest = in(reg) bytes % 8,
                      inout("rsi") source => _, inout("rdi") target => _,
                      inout("rcx") bytes / 8 => _, options(nostack, preserves_flags)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    /// 8 KiB at gpa 0 in two ranges, and 4 KiB at gpa 64 KiB.
    fn guest() -> Guest {
        let memory: &'static mut [u8] = Vec::leak(vec![0xee; 0x11000]);
        let range = |start, bytes| Range { start: Gpa(start), bytes };
        let ranges = vec![range(0x10000, 0x1000), range(0, 0x1800), range(0x1800, 0x800)];
        // SAFETY: leaked memory that nothing else knows, in which each of the ranges is.
        unsafe { Guest::new(ranges, memory.as_mut_ptr() as u64) }
    }

    #[test]
    fn what_is_written_is_read() {
        let guest = guest();
        for bytes in [0, 1, 2, 3, 4, 5, 8, 9, 16, 100, 0x2000] {
            let written: Vec<u8> = (0..bytes).map(|at| at as u8 ^ bytes as u8).collect();
            assert_eq!(guest.write(Gpa(0x2000 - bytes), &written), Ok(()));
            let mut read = vec![0; bytes as usize];
            assert_eq!(guest.read(Gpa(0x2000 - bytes), &mut read), Ok(()));
            assert_eq!(read, written, "{bytes}");
        }
        assert_eq!(guest.read64(Gpa(0x10000)), Ok(0xeeee_eeee_eeee_eeee));
    }

    #[test]
    fn nothing_reaches_over_an_edge() {
        let guest = guest();
        for (gpa, bytes) in [
            (0x1fff, 2),
            (0x2000, 1),
            (0xffff, 1),
            (0xffff, 2),
            (0x11000, 1),
            (0x10fff, 2),
            (u64::MAX, 1),
            (u64::MAX, usize::MAX as u64),
            (0, 0x2001),
            (0x10, u64::MAX),
        ] {
            assert!(!guest.contains(Gpa(gpa), bytes), "{gpa:#x} {bytes}");
            if bytes < 0x10000 {
                let mut buffer = vec![5; bytes as usize];
                assert_eq!(guest.read(Gpa(gpa), &mut buffer), Err(OutOfBounds));
                assert!(buffer.iter().all(|byte| *byte == 5));
                assert_eq!(guest.write(Gpa(gpa), &buffer), Err(OutOfBounds));
            }
        }
        assert!(guest.contains(Gpa(0), 0x2000) && guest.contains(Gpa(0x10000), 0x1000));
    }
}
