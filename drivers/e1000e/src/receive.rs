//! The ring of what is received, and its buffers.

use crate::error::Error;
use access::{DmaBuffer, DmaMemory};
use network::{Checksum, Frame};
use spec::e1000e::{DESCRIPTOR_BYTES, RECEIVE_BUFFER_BYTES, receive};
use spec::ethernet::HEADER_BYTES;

/// After so many frames their buffers are given back, for one write of a register.
const BATCH: u16 = 8;

/// What the next descriptor held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// Nothing yet.
    Nothing,
    /// A frame.
    Frame,
    /// A frame that is of no use.
    Damaged,
}

/// The ring: the controller has all descriptors but one, in order.
#[derive(Debug)]
pub(crate) struct Receiver<B> {
    ring: B,
    buffers: B,
    entries: u16,
    /// The next that the controller is done with.
    next: u16,
    /// How many were taken and not given back.
    taken: u16,
}

impl<B: DmaBuffer> Receiver<B> {
    /// Allocates a ring of `entries` descriptors.
    pub fn new<D: DmaMemory<Buffer = B>>(dma: &mut D, entries: u16) -> Result<Self, Error> {
        let count = usize::from(entries);
        let mut allocate = |bytes: usize| dma.allocate(count * bytes, 4096).ok_or(Error::NoMemory);
        let (ring, buffers) = (allocate(DESCRIPTOR_BYTES)?, allocate(RECEIVE_BUFFER_BYTES)?);
        Ok(Self { ring, buffers, entries, next: 0, taken: 0 })
    }

    /// How many descriptors there are.
    pub const fn entries(&self) -> u16 {
        self.entries
    }

    /// The iova of the ring, its bytes, and the first tail.
    pub fn place(&self) -> (u64, u32, u32) {
        let bytes = u32::from(self.entries) * DESCRIPTOR_BYTES as u32;
        (self.ring.iova().0, bytes, u32::from(self.entries.saturating_sub(1)))
    }

    /// Gives all descriptors to a controller that was reset.
    pub fn clear(&mut self) -> Result<(), Error> {
        (self.next, self.taken) = (0, 0);
        (0..self.entries).try_for_each(|entry| self.give(entry))
    }

    /// Takes the next frame, if it is there.
    pub fn take<D: DmaMemory>(&mut self, dma: &D, into: &mut Frame) -> Result<Taken, Error> {
        // Length and status in one access: nothing of the descriptor is read again.
        let descriptor = self.ring.read64(usize::from(self.next) * DESCRIPTOR_BYTES + 8)?;
        if descriptor & receive::DONE == 0 {
            return Ok(Taken::Nothing);
        }
        if descriptor & receive::END == 0 {
            return Err(Error::Split);
        }
        let length = receive::length(descriptor);
        let bytes = usize::from(length);
        if bytes == 0 || bytes > RECEIVE_BUFFER_BYTES {
            return Err(Error::Length(length));
        }
        dma.read_barrier();
        let is_damaged = descriptor & receive::DAMAGED != 0 || bytes < HEADER_BYTES;
        if !is_damaged {
            let room = into.room().get_mut(..bytes).ok_or(Error::Buffer)?;
            self.buffers.read(usize::from(self.next) * RECEIVE_BUFFER_BYTES, room)?;
            into.set_len(bytes).ok_or(Error::Buffer)?;
            into.offload.checksum = checksum(descriptor);
        }
        self.give(self.next)?;
        self.next = if self.next + 1 < self.entries { self.next + 1 } else { 0 };
        self.taken = self.taken.saturating_add(1);
        Ok(if is_damaged { Taken::Damaged } else { Taken::Frame })
    }

    /// The tail to tell the controller, if it is time to: if there are many descriptors to give
    /// back, or any and `is_last` says that there is no frame at the moment.
    pub fn tail(&mut self, is_last: bool) -> Option<u32> {
        let due = if is_last { 1 } else { BATCH.min(self.entries / 2) };
        if self.taken < due {
            return None;
        }
        self.taken = 0;
        // The last that was taken stays: a full ring of the controller's would look like an empty one.
        Some(self.next.checked_sub(1).unwrap_or(self.entries.saturating_sub(1)).into())
    }

    /// Makes a descriptor one that the controller can fill.
    fn give(&self, entry: u16) -> Result<(), Error> {
        let (at, buffer) =
            (usize::from(entry) * DESCRIPTOR_BYTES, u64::from(entry) * RECEIVE_BUFFER_BYTES as u64);
        self.ring.write64(at, self.buffers.iova().0.wrapping_add(buffer))?;
        Ok(self.ring.write64(at + 8, 0)?)
    }
}

/// What the controller says of a frame's checksum. A wrong one is the receiver's to find.
fn checksum(descriptor: u64) -> Checksum {
    let is_checked = descriptor & receive::CHECKED != 0 && descriptor & receive::NO_CHECKSUM == 0;
    if is_checked && descriptor & receive::WRONG_CHECKSUM == 0 { Checksum::Good } else { Checksum::InPlace }
}
