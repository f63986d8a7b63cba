//! The ring of what is received, and its buffers.

use crate::error::Error;
use crate::model::{Model, Received, Ring};
use access::{DmaBuffer, DmaMemory};
use network::{Checksum, Frame};
use spec::ethernet::HEADER_BYTES;
use spec::gigabit::{DESCRIPTOR_BYTES, RECEIVE_BUFFER_BYTES};

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

    /// Where the ring is.
    pub fn place(&self) -> Ring {
        Ring { iova: self.ring.iova().0, bytes: u32::from(self.entries) * DESCRIPTOR_BYTES as u32 }
    }

    /// The tail of a ring that is all the controller's.
    pub fn first_tail(&self) -> u32 {
        self.entries.saturating_sub(1).into()
    }

    /// Gives all descriptors to a controller that was reset.
    pub fn clear(&mut self) -> Result<(), Error> {
        (self.next, self.taken) = (0, 0);
        (0..self.entries).try_for_each(|entry| self.give(entry))
    }

    /// Takes the next frame, if it is there.
    pub fn take<M: Model>(&mut self, dma: &impl DmaMemory, into: &mut Frame) -> Result<Taken, Error> {
        // Length and status in one access: nothing of the descriptor is read again.
        let descriptor = self.ring.read64(usize::from(self.next) * DESCRIPTOR_BYTES + 8)?;
        let Some(received) = M::received(descriptor) else { return Ok(Taken::Nothing) };
        let Received { length, is_whole, is_damaged, is_checked } = received;
        if !is_whole {
            return Err(Error::Split);
        }
        let bytes = usize::from(length);
        if bytes == 0 || bytes > RECEIVE_BUFFER_BYTES {
            return Err(Error::Length(length));
        }
        dma.read_barrier();
        let is_damaged = is_damaged || bytes < HEADER_BYTES;
        if !is_damaged {
            let room = into.room().get_mut(..bytes).ok_or(Error::Buffer)?;
            self.buffers.read(usize::from(self.next) * RECEIVE_BUFFER_BYTES, room)?;
            into.set_len(bytes).ok_or(Error::Buffer)?;
            // A wrong one is the receiver's to find.
            into.offload.checksum = if is_checked { Checksum::Good } else { Checksum::InPlace };
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
