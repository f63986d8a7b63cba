//! Memory that a driver of the hypervisor's shares with its device.

use access::{DmaBuffer, DmaMemory, OutOfBounds};
use core::arch::asm;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::{Ordering, fence};
use spec::{Hpa, Iova};

use crate::memory::guest_ram::copy;
use crate::memory::layout;

/// Memory for one device, which its domain maps as a whole. Buffers are taken off it while the
/// driver is made, and never given back.
#[derive(Debug)]
pub struct DmaRegion {
    rest: DmaRange,
}

/// A buffer in a [`DmaRegion`].
#[derive(Debug)]
pub struct DmaRange {
    /// Virtual address.
    start: u64,
    bytes: usize,
    iova: Iova,
}

impl DmaRegion {
    /// `bytes` bytes of zeroed memory at `hpa`, which the device knows by `iova` and on.
    ///
    /// # Safety
    /// The memory is RAM of the direct map, taken from [`crate::memory::frames`] for this device
    /// and used for nothing else.
    pub unsafe fn new(hpa: Hpa, bytes: usize, iova: Iova) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::at(hpa.0.wrapping_add(layout::DIRECT_MAP), bytes, iova) }
    }

    /// # Safety
    /// As for [`DmaRegion::new`], of the memory at the virtual address `start`.
    unsafe fn at(start: u64, bytes: usize, iova: Iova) -> Self {
        let rest = DmaRange { start, bytes, iova };
        rest.clear();
        Self { rest }
    }
}

impl DmaMemory for DmaRegion {
    type Buffer = DmaRange;

    fn allocate(&mut self, bytes: usize, alignment: usize) -> Option<DmaRange> {
        let rest = &mut self.rest;
        let alignment = u64::try_from(alignment).ok().filter(|alignment| alignment.is_power_of_two())?;
        let skipped = usize::try_from(rest.iova.0.checked_next_multiple_of(alignment)? - rest.iova.0).ok()?;
        let used = skipped.checked_add(bytes)?;
        if used > rest.bytes {
            return None;
        }
        let start = rest.start + skipped as u64;
        let iova = Iova(rest.iova.0 + skipped as u64);
        *rest = DmaRange {
            start: start + bytes as u64,
            bytes: rest.bytes - used,
            iova: Iova(iova.0 + bytes as u64),
        };
        Some(DmaRange { start, bytes, iova })
    }

    // Memory and registers are written in program order (Intel SDM vol. 3 section 9.2.2; registers
    // are uncached); what is left is the compiler.
    fn write_barrier(&self) {
        fence(Ordering::Release);
    }

    fn read_barrier(&self) {
        fence(Ordering::Acquire);
    }

    // A processor reads before others see what it wrote (section 9.2.2), so this is an instruction.
    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }
}

impl DmaRange {
    /// Fills it with zeroes.
    pub fn clear(&self) {
        // SAFETY: it is part of a region that was given for this device alone, to which the compiler sees no
        // reference.
        unsafe {
            asm!("rep stosb", inout("rcx") self.bytes => _, inout("rdi") self.start => _, in("al") 0_u8,
                 options(nostack, preserves_flags));
        }
    }

    /// Where it is, for a page table.
    pub(super) const fn hpa(&self) -> Hpa {
        Hpa(self.start.wrapping_sub(layout::DIRECT_MAP))
    }

    /// The virtual address of `bytes` bytes at `offset`, which is a multiple of `alignment`.
    fn address(&self, offset: usize, bytes: usize, alignment: usize) -> Result<u64, OutOfBounds> {
        let end = offset.checked_add(bytes).ok_or(OutOfBounds)?;
        if end > self.bytes || !(self.start + offset as u64).is_multiple_of(alignment as u64) {
            return Err(OutOfBounds);
        }
        Ok(self.start + offset as u64)
    }
}

impl DmaBuffer for DmaRange {
    fn iova(&self) -> Iova {
        self.iova
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        let from = self.address(offset, bytes.len(), 1)?;
        // SAFETY: both ranges are inside what they belong to, and are different memory: the
        // region is nobody's but the device's, to which the compiler sees no reference.
        unsafe { copy(with_exposed_provenance(from as usize), bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let to = self.address(offset, bytes.len(), 1)?;
        // SAFETY: as for `read`.
        unsafe { copy(bytes.as_ptr(), with_exposed_provenance_mut(to as usize), bytes.len()) };
        Ok(())
    }

    fn read32(&self, offset: usize) -> Result<u32, OutOfBounds> {
        let from = self.address(offset, 4, 4)?;
        // SAFETY: 4 aligned bytes of the region, which the device may write meanwhile; a volatile
        // access is single.
        Ok(u32::from_le(unsafe { (from as *const u32).read_volatile() }))
    }

    fn write32(&self, offset: usize, value: u32) -> Result<(), OutOfBounds> {
        let to = self.address(offset, 4, 4)?;
        // SAFETY: as for `read32`.
        unsafe { (to as *mut u32).write_volatile(value.to_le()) };
        Ok(())
    }

    fn read64(&self, offset: usize) -> Result<u64, OutOfBounds> {
        let from = self.address(offset, 8, 8)?;
        // SAFETY: as for `read32`, of 8 bytes.
        Ok(u64::from_le(unsafe { (from as *const u64).read_volatile() }))
    }

    fn write64(&self, offset: usize, value: u64) -> Result<(), OutOfBounds> {
        let to = self.address(offset, 8, 8)?;
        // SAFETY: as for `read32`, of 8 bytes.
        unsafe { (to as *mut u64).write_volatile(value.to_le()) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(bytes: usize) -> DmaRegion {
        let memory = std::vec![0xee_u8; bytes + 4096].leak();
        let start = (memory.as_ptr() as u64).next_multiple_of(4096);
        // SAFETY: `bytes` bytes from the next page on are inside of what was leaked for this.
        unsafe { DmaRegion::at(start, bytes, Iova(0x10_0000)) }
    }

    #[test]
    fn buffers_are_zeroed_aligned_and_apart() {
        let mut region = region(0x4000);
        let first = region.allocate(100, 64).expect("room");
        let second = region.allocate(0x1000, 0x1000).expect("room");
        assert_eq!((first.iova(), second.iova()), (Iova(0x10_0000), Iova(0x10_1000)));
        first.write(0, &[0x55; 100]).expect("inside");
        let mut all = [1; 0x1000];
        second.read(0, &mut all).expect("inside");
        assert_eq!(all, [0; 0x1000]);
        assert!(region.allocate(0x2001, 1).is_none());
        assert_eq!(region.allocate(0x2000, 1).expect("all that is left").iova(), Iova(0x10_2000));
        assert!(region.allocate(1, 1).is_none());
        assert!(region.allocate(usize::MAX, 4096).is_none());
    }

    #[test]
    fn what_is_outside_or_misaligned_is_refused() {
        let buffer = region(0x1000).allocate(64, 64).expect("room");
        buffer.write64(56, 0x1122_3344_5566_7788).expect("inside");
        assert_eq!(buffer.read32(60), Ok(0x1122_3344));
        assert_eq!(buffer.read64(56), Ok(0x1122_3344_5566_7788));
        for offset in [57, 58, 60, 64, usize::MAX - 3] {
            assert_eq!(buffer.read64(offset), Err(OutOfBounds), "{offset}");
        }
        assert_eq!(buffer.write32(62, 0), Err(OutOfBounds));
        assert_eq!(buffer.read(1, &mut [0; 64]), Err(OutOfBounds));
        assert_eq!(buffer.write(0, &[0; 65]), Err(OutOfBounds));
    }
}
