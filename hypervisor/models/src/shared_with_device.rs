//! Memory that a driver in a compartment shares with its device: its queues.

use crate::guest::copy;
use access::{DmaBuffer, DmaMemory, OutOfBounds};
use core::sync::atomic::{Ordering, fence};
use spec::Iova;

/// Memory for one device, which its domain maps as a whole. Buffers are taken off it while the driver is made, and
/// never given back.
#[derive(Debug)]
pub struct DeviceMemory {
    rest: Buffer,
}

/// A buffer in [`DeviceMemory`].
#[derive(Debug)]
pub struct Buffer {
    start: *mut u8,
    bytes: usize,
    iova: Iova,
}

impl DeviceMemory {
    /// `bytes` bytes of zeroed memory at `start`, a multiple of 4096, which the device knows by `iova`, another
    /// one, and on.
    ///
    /// # Safety
    /// They are mapped there for reading and writing for as long as the program runs, and nothing else of the
    /// program is.
    pub const unsafe fn new(start: *mut u8, bytes: usize, iova: Iova) -> Self {
        Self { rest: Buffer { start, bytes, iova } }
    }
}

impl DmaMemory for DeviceMemory {
    type Buffer = Buffer;

    fn allocate(&mut self, bytes: usize, alignment: usize) -> Option<Buffer> {
        let Buffer { start, bytes: left, iova } = self.rest;
        let alignment = u64::try_from(alignment).ok().filter(|alignment| alignment.is_power_of_two())?;
        let skipped =
            usize::try_from(iova.0.checked_next_multiple_of(alignment)?.checked_sub(iova.0)?).ok()?;
        let used = skipped.checked_add(bytes)?;
        let left = left.checked_sub(used)?;
        self.rest =
            Buffer { start: start.wrapping_add(used), bytes: left, iova: iova.checked_add(used as u64)? };
        let iova = iova.checked_add(skipped as u64)?;
        Some(Buffer { start: start.wrapping_add(skipped), bytes, iova })
    }

    // Memory and registers are written in program order (Intel SDM vol. 3 section 9.2.2; registers are uncached);
    // what is left is the compiler.
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

impl Buffer {
    /// Where `bytes` bytes at `offset` are, at a multiple of `alignment`.
    fn pointer(&self, offset: usize, bytes: usize, alignment: usize) -> Result<*mut u8, OutOfBounds> {
        let end = offset.checked_add(bytes).ok_or(OutOfBounds)?;
        let pointer = self.start.wrapping_add(offset);
        if end <= self.bytes && pointer.addr().is_multiple_of(alignment) {
            Ok(pointer)
        } else {
            Err(OutOfBounds)
        }
    }
}

impl DmaBuffer for Buffer {
    fn iova(&self) -> Iova {
        self.iova
    }
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        let from = self.pointer(offset, bytes.len(), 1)?;
        // SAFETY: `pointer` found that all of it is in the buffer, which `new` was promised is mapped and no
        // memory of the program's.
        unsafe { copy(from, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }
    fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let to = self.pointer(offset, bytes.len(), 1)?;
        // SAFETY: as for `read`, the other way round.
        unsafe { copy(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    fn read32(&self, offset: usize) -> Result<u32, OutOfBounds> {
        let from = self.pointer(offset, 4, 4)?;
        // SAFETY: as for `read`, of 4 aligned bytes that the device may write meanwhile: a volatile access is single.
        Ok(u32::from_le(unsafe { from.cast::<u32>().read_volatile() }))
    }
    fn write32(&self, offset: usize, value: u32) -> Result<(), OutOfBounds> {
        let to = self.pointer(offset, 4, 4)?;
        // SAFETY: as for `read32`.
        unsafe { to.cast::<u32>().write_volatile(value.to_le()) };
        Ok(())
    }
    fn read64(&self, offset: usize) -> Result<u64, OutOfBounds> {
        let from = self.pointer(offset, 8, 8)?;
        // SAFETY: as for `read32`, of 8 bytes.
        Ok(u64::from_le(unsafe { from.cast::<u64>().read_volatile() }))
    }
    fn write64(&self, offset: usize, value: u64) -> Result<(), OutOfBounds> {
        let to = self.pointer(offset, 8, 8)?;
        // SAFETY: as for `read64`.
        unsafe { to.cast::<u64>().write_volatile(value.to_le()) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(bytes: usize) -> DeviceMemory {
        let memory: &'static mut [u8] = std::vec![0; bytes + 4096].leak();
        let skipped = memory.as_ptr().align_offset(4096);
        // SAFETY: `bytes` bytes from the next page on are inside of what was leaked for this.
        unsafe { DeviceMemory::new(memory.as_mut_ptr().wrapping_add(skipped), bytes, Iova(0x10_0000)) }
    }

    #[test]
    fn buffers_are_aligned_and_apart() {
        let mut memory = memory(0x4000);
        let first = memory.allocate(100, 64).expect("room");
        let second = memory.allocate(0x1000, 0x1000).expect("room");
        assert_eq!((first.iova(), second.iova(), second.bytes()), (Iova(0x10_0000), Iova(0x10_1000), 0x1000));
        first.write(0, &[0x55; 100]).expect("inside");
        let mut all = [1; 0x1000];
        second.read(0, &mut all).expect("inside");
        assert_eq!(all, [0; 0x1000]);
        assert!(memory.allocate(0x2001, 1).is_none() && memory.allocate(8, 3).is_none());
        assert_eq!(memory.allocate(0x2000, 1).expect("all that is left").iova(), Iova(0x10_2000));
        assert!(memory.allocate(1, 1).is_none() && memory.allocate(usize::MAX, 4096).is_none());
    }

    #[test]
    fn what_is_outside_or_misaligned_is_refused() {
        let buffer = memory(0x1000).allocate(64, 64).expect("room");
        buffer.write64(56, 0x1122_3344_5566_7788).expect("inside");
        buffer.write32(0, 7).expect("inside");
        assert_eq!((buffer.read32(60), buffer.read32(0)), (Ok(0x1122_3344), Ok(7)));
        assert_eq!(buffer.read64(56), Ok(0x1122_3344_5566_7788));
        for offset in [57, 58, 60, 64, usize::MAX - 3] {
            assert_eq!(buffer.read64(offset), Err(OutOfBounds), "{offset}");
        }
        assert_eq!(buffer.write32(62, 0), Err(OutOfBounds));
        assert_eq!(buffer.read(1, &mut [0; 64]), Err(OutOfBounds));
        assert_eq!(buffer.write(0, &[0; 65]), Err(OutOfBounds));
    }
}
