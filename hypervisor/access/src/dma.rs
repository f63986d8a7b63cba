//! Memory that a driver shares with its device.
//!
//! The device reaches it through a DMA domain of the driver's own, by [`Iova`]; what is not a
//! buffer is not mapped there. The device writes whenever it wants: a value that decides
//! something is read once, into a copy, and no reference points into a buffer.

use crate::memory::OutOfBounds;
use spec::Iova;

/// A buffer that is mapped in the domain of a device, at addresses without a gap.
///
/// Offsets are in bytes from its start. An access that is not wholly inside does nothing.
pub trait DmaBuffer {
    /// What the device knows its first byte by.
    fn iova(&self) -> Iova;
    /// Its size in bytes.
    fn bytes(&self) -> usize;

    /// Copies out of the buffer, in no particular order. The bytes can be torn if the device
    /// writes them meanwhile.
    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), OutOfBounds>;
    /// Copies into the buffer, in no particular order.
    fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), OutOfBounds>;

    /// Reads 4 bytes, little-endian, in a single access of which the compiler makes neither none
    /// nor two. An `offset` that is no multiple of 4 is out of bounds.
    fn read32(&self, offset: usize) -> Result<u32, OutOfBounds>;
    /// Writes 4 bytes likewise.
    fn write32(&self, offset: usize, value: u32) -> Result<(), OutOfBounds>;
    /// Reads 8 bytes likewise, at a multiple of 8.
    fn read64(&self, offset: usize) -> Result<u64, OutOfBounds>;
    /// Writes 8 bytes likewise, at a multiple of 8.
    fn write64(&self, offset: usize, value: u64) -> Result<(), OutOfBounds>;
}

/// Where a driver gets its buffers, and what orders its accesses to them.
///
/// It allocates while it is made and never afterwards: nothing of the hypervisor allocates after
/// boot.
pub trait DmaMemory {
    /// A buffer of this memory. It is the device's to write until its domain is gone, so it
    /// is never given back.
    type Buffer: DmaBuffer;

    /// A zeroed buffer of at least `bytes` bytes, mapped for the device to read and write, at
    /// an [`Iova`] that is a multiple of `alignment`, a power of two. `None` where memory or
    /// the domain's addresses run out.
    fn allocate(&mut self, bytes: usize, alignment: usize) -> Option<Self::Buffer>;

    /// Takes all memory away from the device: once this is true it reads and writes nothing, whatever it
    /// still has to do, until [`allow`](Self::allow). False where that could not be made sure of, as where
    /// the device's domain is not this memory's to change.
    fn block(&mut self) -> bool {
        false
    }
    /// Gives the device what [`block`](Self::block) took away. Nothing happens where nothing was taken.
    fn allow(&mut self) {}

    /// The device sees what was written to buffers before this no later than what is written after
    /// it, to buffers or registers: between entries of a queue and the doorbell (Linux: `dma_wmb`,
    /// and what `writel` brings).
    fn write_barrier(&self);
    /// What is read from buffers after this is no older than what was read before it: between
    /// the field that says an entry is there and the entry (Linux: `dma_rmb`).
    fn read_barrier(&self);
    /// What is read from buffers after this is no older than what the device could see before it of what
    /// was written: between telling the device of something and asking whether it sleeps (Linux: `mb`).
    fn full_barrier(&self);
}
