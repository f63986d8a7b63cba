//! A guest's memory as the hypervisor reaches it: through the direct map, by copies.

use access::{GuestMemory, OutOfBounds};
use alloc::boxed::Box;
use core::arch::asm;
use spec::{Gpa, Hpa};

use crate::memory::layout;

/// A piece of guest memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// Where the guest sees it.
    pub gpa: Gpa,
    /// Where it is.
    pub hpa: Hpa,
    /// Its size.
    pub bytes: u64,
}

/// The blocks cannot be a guest's memory: one is empty, leaves the address space,
/// or two overlap in the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadBlocks;

/// All memory of one guest. The guest runs meanwhile, so nothing here is ever a
/// reference: reads and writes are copies made by single instructions that the
/// compiler does not look into.
pub struct GuestRam {
    blocks: Box<[Block]>,
    /// Virtual address minus hpa.
    offset: u64,
    /// The block at gpa 0, where nearly everything is that a guest's page tables and
    /// kernel text need.
    low: Quick,
}

/// The block at gpa 0, prepared for reads of 8 bytes: the exits of processors that do
/// not tell the next RIP walk the guest's page tables, and this is what those walks cost.
struct Quick {
    /// From how many places 8 bytes can be read; 0 if there is no such block.
    places: u64,
    /// Virtual address.
    address: u64,
}

impl Quick {
    fn new(blocks: &[Block], offset: u64) -> Self {
        match blocks.first() {
            Some(block) if block.gpa == Gpa(0) => {
                Self { places: block.bytes.saturating_sub(7), address: block.hpa.0.wrapping_add(offset) }
            }
            _ => Self { places: 0, address: 0 },
        }
    }

    /// # Safety
    /// `gpa` is less than `places`.
    #[inline(always)]
    unsafe fn read64(&self, gpa: Gpa) -> u64 {
        let value;
        // SAFETY: 8 bytes from there are in the block at gpa 0, which `GuestRam::new` was
        // promised to be this guest's; the compiler sees no more than a number.
        unsafe {
            asm!("mov {0}, qword ptr [{1} + {2}]", out(reg) value,
                 in(reg) self.address, in(reg) gpa.0,
                 options(nostack, preserves_flags, readonly));
        }
        value
    }
}

// SAFETY: the memory behind the blocks is shared with the guest's processors
// anyhow; every access is a copy that tolerates that. The list itself is constant.
unsafe impl Send for GuestRam {}
// SAFETY: as above.
unsafe impl Sync for GuestRam {}

impl GuestRam {
    /// Guest memory of `blocks`.
    ///
    /// # Safety
    /// Each block is RAM of the direct map, taken from [`crate::memory::frames`] for this
    /// guest and used for nothing else.
    pub unsafe fn new(blocks: Box<[Block]>) -> Result<Self, BadBlocks> {
        // SAFETY: the caller's promise.
        unsafe { Self::at_offset(blocks, layout::DIRECT_MAP) }
    }

    /// # Safety
    /// As for [`GuestRam::new`], with the memory mapped `offset` above its hpa.
    unsafe fn at_offset(mut blocks: Box<[Block]>, offset: u64) -> Result<Self, BadBlocks> {
        blocks.sort_unstable_by_key(|block| block.gpa);
        let ends = |block: &Block| {
            let inside = block.hpa.checked_add(block.bytes).is_some() && block.bytes != 0;
            block.gpa.checked_add(block.bytes).filter(|_| inside)
        };
        if !blocks.iter().all(|block| ends(block).is_some())
            || blocks.windows(2).any(|pair| ends(&pair[0]).is_some_and(|end| end > pair[1].gpa))
        {
            return Err(BadBlocks);
        }
        let low = Quick::new(&blocks, offset);
        Ok(Self { blocks, offset, low })
    }

    /// The blocks, ascending by gpa.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Bytes in all blocks.
    pub fn bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.bytes).sum()
    }

    /// The host-physical address of `gpa` and how many bytes from there are in the
    /// same block; `None` where the guest has no memory.
    #[inline]
    pub fn translate(&self, gpa: Gpa) -> Option<(Hpa, u64)> {
        for block in &self.blocks {
            let within = gpa.0.wrapping_sub(block.gpa.0);
            if within < block.bytes {
                return Some((block.hpa + within, block.bytes - within));
            }
        }
        None
    }

    /// Where the hypervisor sees `bytes` bytes of guest memory from `gpa`, all in one
    /// block. For walks of guest page tables; use it with volatile accesses only.
    #[inline]
    pub fn pointer(&self, gpa: Gpa, bytes: u64) -> Option<*mut u8> {
        let (hpa, left) = self.translate(gpa)?;
        (bytes <= left).then(|| hpa.0.wrapping_add(self.offset) as *mut u8)
    }

    /// Calls `copy` with each piece of `gpa..gpa + bytes` and its offset, after
    /// checking that the whole is guest memory.
    fn for_each_piece(
        &self,
        gpa: Gpa,
        bytes: usize,
        mut copy: impl FnMut(*mut u8, usize, usize),
    ) -> Result<(), OutOfBounds> {
        let mut pass = |copying: bool| {
            let mut done = 0;
            while done < bytes {
                let at = gpa.checked_add(done as u64).ok_or(OutOfBounds)?;
                let (hpa, left) = self.translate(at).ok_or(OutOfBounds)?;
                let piece = (bytes - done).min(usize::try_from(left).unwrap_or(usize::MAX));
                if copying {
                    copy(hpa.0.wrapping_add(self.offset) as *mut u8, done, piece);
                }
                done += piece;
            }
            Ok(())
        };
        pass(false)?;
        pass(true)
    }

    #[cold]
    fn read64_slowly(&self, gpa: Gpa) -> Result<u64, OutOfBounds> {
        let mut bytes = [0; 8];
        self.read(gpa, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Fills all of the guest's memory with zeros.
    pub fn zero_all(&self) {
        for block in &self.blocks {
            let start = block.hpa.0.wrapping_add(self.offset) as *mut u8;
            // SAFETY: `new` was promised that the block is mapped, writable memory of
            // this guest alone.
            unsafe { zero(start, block.bytes as usize) };
        }
    }

    /// Fills `bytes` bytes from `gpa` with zeros.
    pub fn zero(&self, gpa: Gpa, bytes: usize) -> Result<(), OutOfBounds> {
        // SAFETY: `for_each_piece` passes only pieces of this guest's blocks.
        self.for_each_piece(gpa, bytes, |pointer, _, piece| unsafe { zero(pointer, piece) })
    }
}

impl GuestMemory for GuestRam {
    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.for_each_piece(gpa, bytes, |_, _, _| ()).is_ok()
    }

    #[inline(always)]
    fn read64(&self, gpa: Gpa) -> Result<u64, OutOfBounds> {
        if gpa.0 < self.low.places {
            // SAFETY: just compared.
            return Ok(unsafe { self.low.read64(gpa) });
        }
        self.read64_slowly(gpa)
    }

    #[inline(always)]
    fn read64_or(&self, gpa: Gpa, outside: u64) -> u64 {
        if gpa.0 < self.low.places {
            // SAFETY: just compared.
            return unsafe { self.low.read64(gpa) };
        }
        self.read64_slowly(gpa).unwrap_or(outside)
    }

    #[inline]
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        if let Some(source) = self.pointer(gpa, bytes.len() as u64) {
            // SAFETY: `pointer` checked that all of the source is this guest's memory.
            unsafe { copy(source, bytes.as_mut_ptr(), bytes.len()) };
            return Ok(());
        }
        let target = bytes.as_mut_ptr();
        self.for_each_piece(gpa, bytes.len(), |source, done, piece| {
            // SAFETY: the source is a piece of a block; done + piece is at most the
            // length of `bytes`.
            unsafe { copy(source, target.add(done), piece) }
        })
    }

    #[inline]
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        if let Some(target) = self.pointer(gpa, bytes.len() as u64) {
            // SAFETY: `pointer` checked that all of the target is this guest's memory.
            unsafe { copy(bytes.as_ptr(), target, bytes.len()) };
            return Ok(());
        }
        self.for_each_piece(gpa, bytes.len(), |target, done, piece| {
            // SAFETY: as for reading, the other way round.
            unsafe { copy(bytes.as_ptr().add(done), target, piece) }
        })
    }
}

/// Copies `bytes` bytes, where one side may change under our hands. Aligned 1, 2, 4
/// and 8 bytes are one access of the guest's side.
///
/// # Safety
/// Both sides are mapped for `bytes` bytes and do not overlap; the side that is the
/// hypervisor's own is borrowed accordingly.
#[inline]
pub(crate) unsafe fn copy(source: *const u8, target: *mut u8, bytes: usize) {
    // Instructions of our own rather than `ptr::copy`: the compiler must neither split
    // an access nor reason about memory that a guest changes meanwhile. The
    // hypervisor's side is bytes, so one side may be unaligned, which x86 allows.
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
            // 8 bytes at a time: as fast as single ones where the processor has fast strings, and
            // several times as fast elsewhere, under an emulator for one.
            _ => asm!("rep movsq", "mov rcx, {rest}", "rep movsb", rest = in(reg) bytes % 8,
                      inout("rsi") source => _, inout("rdi") target => _,
                      inout("rcx") bytes / 8 => _, options(nostack, preserves_flags)),
        }
    }
}

/// Zeroes `bytes` bytes at `target`.
///
/// # Safety
/// They are mapped, writable, and nobody holds a reference to them.
unsafe fn zero(target: *mut u8, bytes: usize) {
    // SAFETY: the caller's promise; the two instructions fill exactly `bytes` bytes.
    unsafe {
        asm!("rep stosq", "mov rcx, {rest}", "rep stosb", rest = in(reg) bytes % 8,
             inout("rdi") target => _, inout("rcx") bytes / 8 => _, in("rax") 0u64,
             options(nostack, preserves_flags));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// 8 KiB at gpa 0 and 4 KiB at gpa 8 KiB from other memory, 4 KiB at gpa 64 KiB.
    fn ram() -> GuestRam {
        let memory: &'static mut [u8] = Vec::leak(vec![0xee; 0x5000]);
        let blocks = [
            Block { gpa: Gpa(0x10000), hpa: Hpa(0x1000), bytes: 0x1000 },
            Block { gpa: Gpa(0), hpa: Hpa(0x3000), bytes: 0x2000 },
            Block { gpa: Gpa(0x2000), hpa: Hpa(0x0), bytes: 0x1000 },
        ];
        // SAFETY: leaked memory that only this guest's RAM knows; "hpa" 0 is its start.
        unsafe { GuestRam::at_offset(blocks.into(), memory.as_mut_ptr() as u64) }.expect("sound blocks")
    }

    #[test]
    fn copies_of_every_length_go_in_and_out() {
        let ram = ram();
        for length in [0, 1, 2, 3, 4, 7, 8, 9, 100] {
            for gpa in [Gpa(0x800), Gpa(0x801)] {
                let data: Vec<u8> = (0..length as u8).map(|byte| byte ^ 0x5a).collect();
                ram.write(gpa, &data).expect("inside");
                let mut back = vec![0; length];
                ram.read(gpa, &mut back).expect("inside");
                assert_eq!(back, data);
            }
        }
        ram.write32(Gpa(0x100), 0x1122_3344).expect("inside");
        assert_eq!(ram.read32(Gpa(0x100)), Ok(0x1122_3344));
        assert_eq!(ram.read64(Gpa(0x100)), Ok(0xeeee_eeee_1122_3344));
    }

    #[test]
    fn an_access_may_cross_into_the_next_block() {
        let ram = ram();
        ram.write64(Gpa(0x1ffc), 0x0807_0605_0403_0201).expect("both blocks are there");
        assert_eq!(ram.read64(Gpa(0x1ffc)), Ok(0x0807_0605_0403_0201));
        assert_eq!(ram.read32(Gpa(0x2000)), Ok(0x0807_0605));
    }

    #[test]
    fn nothing_is_copied_when_any_byte_is_outside() {
        let ram = ram();
        for gpa in [0x2ffd, 0x3000, 0xfffd, 0x10ffd, 0x11000, u64::MAX - 1, u64::MAX] {
            assert_eq!(ram.write32(Gpa(gpa), 0), Err(OutOfBounds), "{gpa:#x}");
            assert_eq!(ram.read32(Gpa(gpa)), Err(OutOfBounds), "{gpa:#x}");
        }
        assert_eq!(ram.read32(Gpa(0x2ffc)), Ok(0xeeee_eeee));
        assert_eq!(ram.pointer(Gpa(0x1ffc), 8), None);
        assert_eq!(ram.zero(Gpa(0x2000), 0x1001), Err(OutOfBounds));
        assert_eq!(ram.read32(Gpa(0x2000)), Ok(0xeeee_eeee));
    }

    #[test]
    fn zeroes_all_and_no_more() {
        let ram = ram();
        ram.zero(Gpa(3), 13).expect("inside");
        assert_eq!(ram.read32(Gpa(0)), Ok(0x00ee_eeee));
        assert_eq!(ram.read32(Gpa(14)), Ok(0xeeee_0000));
        ram.zero_all();
        let mut all = vec![1; 0x3000];
        ram.read(Gpa(0), &mut all).expect("inside");
        assert!(all.iter().all(|byte| *byte == 0));
        // SAFETY: one page after the last block's start is leaked memory of the test.
        let between = unsafe { *((ram.offset + 0x2000) as *const u8) };
        assert_eq!(between, 0xee);
    }

    #[test]
    fn quick_reads_end_where_the_block_does() {
        let ram = ram();
        ram.write(Gpa(0x1ff8), &[1, 2, 3, 4, 5, 6, 7, 8]).expect("inside");
        ram.write(Gpa(0x2000), &[9]).expect("the next block");
        assert_eq!(ram.read64(Gpa(0x1ff8)), Ok(0x0807_0605_0403_0201));
        assert_eq!(ram.read64(Gpa(0x1ff9)), Ok(0x0908_0706_0504_0302), "across two blocks");
        assert_eq!(ram.read64(Gpa(0x2ffc)), Err(OutOfBounds));
        assert_eq!(ram.read64(Gpa(u64::MAX - 3)), Err(OutOfBounds));
    }

    #[test]
    fn refuses_overlapping_or_absurd_blocks() {
        let block = |gpa, bytes| Block { gpa: Gpa(gpa), hpa: Hpa(0x1000), bytes };
        for blocks in [
            vec![block(0, 0x2000), block(0x1000, 0x1000)],
            vec![block(0, 0)],
            vec![block(u64::MAX - 1, 0x1000)],
        ] {
            // SAFETY: refused, so never used.
            let result = unsafe { GuestRam::new(blocks.into()) };
            assert_eq!(result.err(), Some(BadBlocks));
        }
    }
}
