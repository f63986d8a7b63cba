//! The memory of a driver in a compartment: what it reads and writes itself, and what its device alone does.
//!
//! The data of requests is in no compartment's address space. A driver needs no more of it than its addresses,
//! which go into descriptors; ring 0 puts data there and takes it from there. So what a driver that
//! fails had written is no matter for the data of requests that are repeated, and none is copied twice.

use access::{DmaBuffer, DmaMemory, OutOfBounds};
use spec::Iova;

/// Memory for a device, of which that for the data of requests is elsewhere.
#[derive(Debug)]
pub struct Divided<D> {
    own: D,
    /// Where the next memory for data is.
    next: Iova,
    /// How many such there are, and the bytes of each.
    left: usize,
    bytes: usize,
}

impl<D: DmaMemory> Divided<D> {
    /// What `own` gives, but for the first `count` buffers of exactly `bytes` bytes, as many as one drive's
    /// requests have together: those begin at `data`, one behind the other.
    pub const fn new(own: D, data: Iova, bytes: usize, count: usize) -> Self {
        Self { own, next: data, left: count, bytes }
    }
}

/// A buffer of [`Divided`].
#[derive(Debug)]
pub enum Part<B> {
    /// One that the driver reads and writes.
    Own(B),
    /// One whose address it knows.
    Data {
        /// Where its device finds it.
        iova: Iova,
        /// Its size.
        bytes: usize,
    },
}

impl<D: DmaMemory> DmaMemory for Divided<D> {
    type Buffer = Part<D::Buffer>;

    fn allocate(&mut self, bytes: usize, alignment: usize) -> Option<Self::Buffer> {
        if bytes != self.bytes || self.left == 0 {
            return self.own.allocate(bytes, alignment).map(Part::Own);
        }
        self.left -= 1;
        let iova = self.next;
        self.next = iova.checked_add(bytes as u64)?;
        iova.is_aligned(alignment as u64).then_some(Part::Data { iova, bytes })
    }

    // Whether the device reaches its memory ring 0 decides, and what it was lent is not the driver's to end.
    fn block(&mut self) -> bool {
        false
    }

    fn write_barrier(&self) {
        self.own.write_barrier();
    }
    fn read_barrier(&self) {
        self.own.read_barrier();
    }
    fn full_barrier(&self) {
        self.own.full_barrier();
    }
}

impl<B: DmaBuffer> Part<B> {
    const fn own(&self) -> Result<&B, OutOfBounds> {
        match self {
            Self::Own(buffer) => Ok(buffer),
            Self::Data { .. } => Err(OutOfBounds),
        }
    }
}

impl<B: DmaBuffer> DmaBuffer for Part<B> {
    fn iova(&self) -> Iova {
        match self {
            Self::Own(buffer) => buffer.iova(),
            Self::Data { iova, .. } => *iova,
        }
    }
    fn bytes(&self) -> usize {
        match self {
            Self::Own(buffer) => buffer.bytes(),
            Self::Data { bytes, .. } => *bytes,
        }
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        self.own()?.read(offset, bytes)
    }
    fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), OutOfBounds> {
        self.own()?.write(offset, bytes)
    }

    fn read32(&self, offset: usize) -> Result<u32, OutOfBounds> {
        self.own()?.read32(offset)
    }
    fn write32(&self, offset: usize, value: u32) -> Result<(), OutOfBounds> {
        self.own()?.write32(offset, value)
    }
    fn read64(&self, offset: usize) -> Result<u64, OutOfBounds> {
        self.own()?.read64(offset)
    }
    fn write64(&self, offset: usize, value: u64) -> Result<(), OutOfBounds> {
        self.own()?.write64(offset, value)
    }
}
