//! Host memory that holds tables which hardware walks.

use spec::Hpa;

/// Host frames that hold page tables, context tables, queues. Entries are read
/// and written whole (single-copy atomic), since hardware walks them meanwhile.
pub trait TableMemory {
    /// A zeroed 4 KiB frame, or `None` when the pool that the Plan sized is used up.
    fn allocate(&mut self) -> Option<Hpa>;
    /// `frames` zeroed and contiguous frames, aligned to their total size rounded
    /// up to a power of two.
    fn allocate_contiguous(&mut self, frames: usize) -> Option<Hpa>;
    /// Gives a frame back to the pool.
    fn free(&mut self, frame: Hpa);
    /// Reads the 8 bytes at `hpa`, a multiple of 8 in a frame of this pool.
    fn read(&self, hpa: Hpa) -> u64;
    /// Writes the 8 bytes at `hpa`, a multiple of 8 in a frame of this pool.
    fn write(&mut self, hpa: Hpa, value: u64);
    /// Writes the 16 bytes at `hpa`, a multiple of 16, so that hardware sees all of
    /// them change or none. By default as two writes, the high half first; a pool that
    /// hardware reads does better.
    fn write_pair(&mut self, hpa: Hpa, [low, high]: [u64; 2]) {
        self.write(hpa + 8, high);
        self.write(hpa, low);
    }
    /// Writes the cache lines of `bytes` bytes at `hpa` back to memory, for a
    /// reader that does not snoop.
    fn write_back(&self, hpa: Hpa, bytes: u64);
    /// How many frames can still be allocated one by one.
    fn left(&self) -> usize;
}

/// Frames in a map, with every write and write-back recorded in order.
#[cfg(any(test, feature = "fakes"))]
pub struct FakeFrames {
    /// Contents of every frame that was allocated, by its hpa.
    pub frames: std::collections::BTreeMap<u64, [u64; 512]>,
    /// How many more frames may be allocated.
    pub left: usize,
    /// Frames that were given back.
    pub freed: std::vec::Vec<Hpa>,
    /// Every write, in order, with its value; both halves of a pair, the high one first.
    pub log: std::vec::Vec<(Hpa, u64)>,
    /// Where pairs were written, in order.
    pub pairs: std::vec::Vec<Hpa>,
    /// Every write-back, in order, with its length in bytes.
    pub write_backs: core::cell::RefCell<std::vec::Vec<(Hpa, u64)>>,
    next: u64,
}

#[cfg(any(test, feature = "fakes"))]
impl FakeFrames {
    /// A pool of `frames` frames that starts at hpa 0x100000.
    pub fn new(frames: usize) -> Self {
        Self {
            frames: Default::default(),
            left: frames,
            freed: Default::default(),
            log: Default::default(),
            pairs: Default::default(),
            write_backs: Default::default(),
            next: 0x10_0000,
        }
    }
}

#[cfg(any(test, feature = "fakes"))]
impl TableMemory for FakeFrames {
    fn allocate(&mut self) -> Option<Hpa> {
        self.allocate_contiguous(1)
    }
    fn allocate_contiguous(&mut self, frames: usize) -> Option<Hpa> {
        self.left = self.left.checked_sub(frames)?;
        let bytes = (frames as u64 * 4096).next_power_of_two();
        let start = Hpa(self.next).align_up(bytes)?;
        self.next = start.0 + frames as u64 * 4096;
        for frame in 0..frames as u64 {
            self.frames.insert(start.0 + frame * 4096, [0; 512]);
        }
        Some(start)
    }
    fn free(&mut self, frame: Hpa) {
        assert!(self.frames.remove(&frame.0).is_some(), "freed {frame} that was not allocated");
        self.freed.push(frame);
        self.left += 1;
    }
    fn read(&self, hpa: Hpa) -> u64 {
        self.frames[&hpa.align_down(4096).0][hpa.page_offset() as usize / 8]
    }
    fn write(&mut self, hpa: Hpa, value: u64) {
        self.log.push((hpa, value));
        let frame = self.frames.get_mut(&hpa.align_down(4096).0).expect("a write outside the pool");
        frame[hpa.page_offset() as usize / 8] = value;
    }
    fn write_pair(&mut self, hpa: Hpa, [low, high]: [u64; 2]) {
        assert!(hpa.is_aligned(16), "a pair at {hpa}");
        self.pairs.push(hpa);
        self.write(hpa + 8, high);
        self.write(hpa, low);
    }
    fn write_back(&self, hpa: Hpa, bytes: u64) {
        self.write_backs.borrow_mut().push((hpa, bytes));
    }
    fn left(&self) -> usize {
        self.left
    }
}
