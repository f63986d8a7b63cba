//! Host memory: who owns which frames.
//!
//! One list of free ranges serves everybody while booting: big blocks come from the
//! top, tables from the bottom. What is taken for good is never given back, but for what a
//! guest had taken that is refused after all; a [`Pool`] recycles its own frames.

use access::TableMemory;
use bootloader_api::info::MemoryRegion;
use spec::Hpa;
use spec::address::PAGE_BYTES;

use crate::cpu::registers;
use crate::memory::layout;
use crate::memory::memory_map::{self, Range};

/// Free ranges the list can hold. A map that is more in pieces loses its smallest
/// pieces: memory goes unused, nothing breaks.
const LIST_RANGES: usize = 256;
/// Memory below this is left alone but for the trampoline page: firmware forgets to
/// reserve things there.
pub const LOW_MEMORY_END: u64 = 1 << 20;

/// A list of free ranges, ascending and apart.
pub struct RangeList {
    ranges: [Range; LIST_RANGES],
    count: usize,
}

impl RangeList {
    /// No memory.
    pub const fn new() -> Self {
        Self { ranges: [Range { start: Hpa(0), end: Hpa(0) }; LIST_RANGES], count: 0 }
    }

    /// The ranges, ascending.
    pub fn as_slice(&self) -> &[Range] {
        self.ranges.get(..self.count).unwrap_or(&[])
    }

    /// Bytes in all ranges.
    pub fn bytes(&self) -> u64 {
        self.as_slice().iter().map(|range| range.bytes()).sum()
    }

    /// Adds a range that overlaps none of the list. When the list is full, the
    /// smallest range is lost.
    pub fn insert(&mut self, range: Range) {
        if range.bytes() == 0 {
            return;
        }
        if self.count == LIST_RANGES {
            let sizes = self.as_slice().iter().map(|range| range.bytes()).enumerate();
            let Some((smallest, bytes)) = sizes.min_by_key(|(_, bytes)| *bytes) else { return };
            if bytes >= range.bytes() {
                return;
            }
            self.remove(smallest);
        }
        let position = self.as_slice().partition_point(|other| other.start < range.start);
        let mut moved = range;
        for place in self.ranges.iter_mut().take(self.count + 1).skip(position) {
            core::mem::swap(place, &mut moved);
        }
        self.count += 1;
    }

    fn remove(&mut self, index: usize) {
        if let Some(rest) = self.ranges.get_mut(index..self.count) {
            rest.rotate_left(rest.len().min(1));
            self.count -= 1;
        }
    }

    /// Cuts `bytes` at `start` from range `index`, which is `whole`.
    fn cut(&mut self, (index, whole): (usize, Range), start: Hpa, bytes: u64) -> Hpa {
        self.remove(index);
        self.insert(Range { start: whole.start, end: start });
        self.insert(Range { start: start + bytes, end: whole.end });
        start
    }

    /// Takes `bytes` bytes from the highest place that is a multiple of `alignment`
    /// (a power of two).
    pub fn take_high(&mut self, bytes: u64, alignment: u64) -> Option<Hpa> {
        let bytes = round_request(bytes, alignment)?;
        for index in (0..self.count).rev() {
            let Some(&range) = self.ranges.get(index) else { continue };
            let Some(latest) = range.end.0.checked_sub(bytes) else { continue };
            let start = Hpa(latest).align_down(alignment);
            if start >= range.start {
                return Some(self.cut((index, range), start, bytes));
            }
        }
        None
    }

    /// Takes `bytes` bytes from the lowest place that is a multiple of `alignment`
    /// (a power of two) and ends at or below `limit`.
    pub fn take_low(&mut self, bytes: u64, alignment: u64, limit: Hpa) -> Option<Hpa> {
        let bytes = round_request(bytes, alignment)?;
        for index in 0..self.count {
            let Some(&range) = self.ranges.get(index) else { continue };
            let Some(start) = range.start.align_up(alignment) else { continue };
            let Some(end) = start.checked_add(bytes) else { continue };
            if end <= range.end && end <= limit {
                return Some(self.cut((index, range), start, bytes));
            }
        }
        None
    }
}

impl Default for RangeList {
    fn default() -> Self {
        Self::new()
    }
}

/// `bytes` rounded up to whole pages; `None` for a request that makes no sense.
fn round_request(bytes: u64, alignment: u64) -> Option<u64> {
    if bytes == 0 || !alignment.is_power_of_two() || alignment < PAGE_BYTES {
        return None;
    }
    bytes.checked_next_multiple_of(PAGE_BYTES)
}

struct Frames {
    /// All RAM of the direct map, as it was before anything was taken.
    ram: RangeList,
    free: RangeList,
    /// A page below 1 MiB for starting processors.
    trampoline: Option<Hpa>,
}

static FRAMES: spin::Mutex<Frames> =
    spin::Mutex::new(Frames { ram: RangeList::new(), free: RangeList::new(), trampoline: None });

/// Takes over the memory of the machine as the loader's map tells. Called once.
pub fn init(regions: &[MemoryRegion]) {
    let mut frames = FRAMES.lock();
    memory_map::usable_ranges(regions, |range| {
        let below = Range { start: range.start, end: range.end.min(Hpa(0xa0000)) };
        if below.bytes() >= PAGE_BYTES && below.end.0 > PAGE_BYTES {
            frames.trampoline = Some(Hpa(below.end.0 - PAGE_BYTES));
        }
        let above = Range { start: range.start.max(Hpa(LOW_MEMORY_END)), end: range.end };
        if above.start < above.end && above.end.0 <= layout::DIRECT_MAP_BYTES {
            frames.ram.insert(above);
            frames.free.insert(above);
        }
    });
}

/// Range `index` of the RAM that the direct map covers, ascending; `None` after the
/// last.
pub fn ram_range(index: usize) -> Option<Range> {
    FRAMES.lock().ram.as_slice().get(index).copied()
}

/// Whether all of `range` is RAM that the direct map covers.
pub fn is_ram(range: Range) -> bool {
    FRAMES.lock().ram.as_slice().iter().any(|ram| ram.start <= range.start && range.end <= ram.end)
}

/// Whether any byte of `range` is RAM that the direct map covers.
pub fn touches_ram(range: Range) -> bool {
    FRAMES.lock().ram.as_slice().iter().any(|ram| ram.overlaps(range))
}

/// Bytes of RAM that the hypervisor took over at boot.
pub fn ram_bytes() -> u64 {
    FRAMES.lock().ram.bytes()
}

/// Bytes that nobody has taken.
pub fn free_bytes() -> u64 {
    FRAMES.lock().free.bytes()
}

/// The page below 1 MiB that processors start in, if the map has one.
pub fn trampoline_page() -> Option<Hpa> {
    FRAMES.lock().trampoline
}

/// Takes `bytes` bytes (rounded up to pages) of RAM for good, at a multiple of
/// `alignment` (a power of two, at least 4 KiB), from the top of memory. The contents
/// are whatever was there.
pub fn take(bytes: u64, alignment: u64) -> Option<Hpa> {
    FRAMES.lock().free.take_high(bytes, alignment)
}

/// Gives a block back, for whoever takes next.
///
/// # Safety
/// The block was taken as a whole by [`take`], and nobody uses it any more: no pointer leads
/// to it, no table that hardware walks is in it or maps it.
pub unsafe fn give_back(range: Range) {
    FRAMES.lock().free.insert(range);
}

/// As [`take`], but from the bottom of memory and below 4 GiB, for what a 32-bit
/// register or an early mapping must reach.
pub fn take_low(bytes: u64, alignment: u64) -> Option<Hpa> {
    FRAMES.lock().free.take_low(bytes, alignment, Hpa(1 << 32))
}

/// A type whose one value in a frame hardware reads and writes, and everybody shares.
///
/// # Safety
/// It is at most a frame in size and alignment, consists of atomics, and zeros are a value.
pub unsafe trait InFrame: Sync {}

/// Takes a frame for good and gives it as zeros, with its hpa.
pub fn take_zeroed<T: InFrame>() -> Option<(&'static T, Hpa)> {
    let frame = take(PAGE_BYTES, PAGE_BYTES)?;
    // SAFETY: the frame was just taken, so it is RAM of the direct map that nobody else uses;
    // the rest is what `InFrame` promises.
    let value = unsafe {
        let start = layout::direct(frame);
        start.write_bytes(0, PAGE_BYTES as usize);
        &*start.cast::<T>()
    };
    Some((value, frame))
}

/// A fixed number of frames for tables that hardware walks. Frames given back are
/// chained through their first 8 bytes.
pub struct Pool {
    range: Range,
    /// First frame that was never given out.
    untouched: Hpa,
    /// Head of the chain of frames given back.
    chain: Option<Hpa>,
    chained: usize,
    /// Virtual address minus hpa of every frame.
    offset: u64,
    line_bytes: u64,
}

impl Pool {
    /// A pool of `frames` frames of 4 KiB out of the machine's memory, contiguous and
    /// aligned to 4 KiB; `None` if there is no such block.
    pub fn new(frames: usize) -> Option<Self> {
        let bytes = (frames as u64).checked_mul(PAGE_BYTES)?;
        let start = take(bytes, PAGE_BYTES)?;
        // SAFETY: the block was just taken, so it is RAM of the direct map that
        // nobody else uses.
        Some(unsafe { Self::over(start, frames, layout::DIRECT_MAP) })
    }

    /// A pool that has nothing to give.
    pub fn empty() -> Self {
        // SAFETY: it is over no memory at all.
        unsafe { Self::over(Hpa(0), 0, layout::DIRECT_MAP) }
    }

    /// A pool over the `frames` frames from `start`, which the processor sees
    /// `offset` higher.
    ///
    /// # Safety
    /// The memory is mapped there, writable, for as long as the pool lives, and
    /// nobody else touches it but hardware that reads the tables in it.
    unsafe fn over(start: Hpa, frames: usize, offset: u64) -> Self {
        let range = Range::new(start, frames as u64 * PAGE_BYTES);
        // In units of 8 bytes.
        let line = registers::cpu_id().get_feature_info().map_or(0, |info| info.cflush_cache_line_size());
        let line_bytes = u64::from(line) * 8;
        let line_bytes = if line_bytes.is_power_of_two() { line_bytes } else { 64 };
        Self { range, untouched: start, chain: None, chained: 0, offset, line_bytes }
    }

    /// The pool's memory.
    pub fn range(&self) -> Range {
        self.range
    }

    fn pointer(&self, hpa: Hpa) -> *mut u64 {
        assert!(
            self.range.start <= hpa && hpa < self.range.end && hpa.is_aligned(8),
            "{hpa} is no entry of a table in this pool"
        );
        hpa.0.wrapping_add(self.offset) as *mut u64
    }

    fn zero(&mut self, frame: Hpa) {
        let pointer = self.pointer(frame);
        // SAFETY: `pointer` checked that the frame, a multiple of 4 KiB, is the pool's;
        // it is being handed out, so no hardware walks it yet.
        unsafe { pointer.write_bytes(0, PAGE_BYTES as usize / 8) };
    }
}

impl TableMemory for Pool {
    fn allocate(&mut self) -> Option<Hpa> {
        let frame = match self.chain {
            Some(frame) => {
                let next = self.read(frame);
                self.chain = (next != 0).then_some(Hpa(next));
                self.chained -= 1;
                frame
            }
            None if self.untouched < self.range.end => {
                let frame = self.untouched;
                self.untouched = frame + PAGE_BYTES;
                frame
            }
            None => return None,
        };
        self.zero(frame);
        Some(frame)
    }

    fn allocate_contiguous(&mut self, frames: usize) -> Option<Hpa> {
        let bytes = (frames as u64).checked_mul(PAGE_BYTES).filter(|bytes| *bytes != 0)?;
        let start = self.untouched.align_up(bytes.checked_next_power_of_two()?)?;
        let end = start.checked_add(bytes).filter(|end| *end <= self.range.end)?;
        while self.untouched < start {
            let skipped = self.untouched;
            self.untouched = skipped + PAGE_BYTES;
            self.free(skipped);
        }
        self.untouched = end;
        for frame in 0..frames as u64 {
            self.zero(start + frame * PAGE_BYTES);
        }
        Some(start)
    }

    fn free(&mut self, frame: Hpa) {
        assert!(frame.is_aligned(PAGE_BYTES), "{frame} is no frame");
        self.write(frame, self.chain.map_or(0, |next| next.0));
        self.chain = Some(frame);
        self.chained += 1;
    }

    #[inline]
    fn read(&self, hpa: Hpa) -> u64 {
        // SAFETY: `pointer` checked bounds and alignment. Volatile: hardware sets
        // accessed and dirty bits meanwhile.
        unsafe { self.pointer(hpa).read_volatile() }
    }

    #[inline]
    fn write(&mut self, hpa: Hpa, value: u64) {
        // SAFETY: as for `read`; an aligned store of 8 bytes is single.
        unsafe { self.pointer(hpa).write_volatile(value) };
    }

    fn write_pair(&mut self, hpa: Hpa, [low, high]: [u64; 2]) {
        assert!(hpa.is_aligned(16), "{hpa} is no place for a pair");
        let (pointer, second) = (self.pointer(hpa), self.pointer(hpa + 8));
        // SAFETY: `pointer` checked bounds; both halves are aligned. CMPXCHG16B is on
        // every processor with an IOMMU that has entries of 16 bytes. RBX, which the
        // compiler keeps to itself, is put back.
        unsafe {
            core::arch::asm!(
                "xchg rbx, {low}",
                "2:",
                "lock cmpxchg16b [{pointer}]",
                "jnz 2b",
                "mov rbx, {low}",
                low = inout(reg) low => _,
                pointer = in(reg) pointer,
                inout("rax") pointer.read_volatile() => _,
                inout("rdx") second.read_volatile() => _,
                in("rcx") high,
                options(nostack),
            );
        }
    }

    fn write_back(&self, hpa: Hpa, bytes: u64) {
        let Some(end) = hpa.checked_add(bytes) else { return };
        let mut line = hpa.align_down(self.line_bytes);
        while line < end {
            let pointer = self.pointer(line.max(self.range.start));
            // SAFETY: `pointer` checked that the line is the pool's; CLFLUSH changes
            // no contents.
            unsafe { core::arch::asm!("clflush [{}]", in(reg) pointer, options(nostack, preserves_flags)) };
            line = line + self.line_bytes;
        }
        // The lines are in memory before anything that follows (SDM vol. 3 section
        // 9.2.2: CLFLUSH is ordered by MFENCE).
        // SAFETY: MFENCE orders, nothing else.
        unsafe { core::arch::asm!("mfence", options(nostack, preserves_flags)) };
    }

    fn left(&self) -> usize {
        self.chained + (self.range.end.0.saturating_sub(self.untouched.0) / PAGE_BYTES) as usize
    }
}

#[cfg(test)]
mod tests;
