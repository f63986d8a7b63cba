//! The ring of what is sent, and its buffers.

use crate::error::Error;
use crate::model::{Model, Ring};
use access::{DmaBuffer, DmaMemory};
use alloc::boxed::Box;
use network::Parts;
use nic::Queue;
use spec::ethernet::SMALLEST_BYTES;
use spec::gigabit::{DESCRIPTOR_BYTES, TRANSMIT_DONE, TRANSMIT_STATUS};

/// Bytes of a buffer, of which a page has whole ones.
pub(crate) const BUFFER_BYTES: usize = 2048;

/// The ring: descriptors from `head` to `tail` are the controller's, one at least is not.
#[derive(Debug)]
pub(crate) struct Transmitter<B> {
    ring: B,
    buffers: B,
    /// Bytes of the frame in each buffer.
    lengths: Box<[u16]>,
    entries: u16,
    head: u16,
    tail: u16,
    /// The tail that the controller was told.
    told: u16,
}

impl<B: DmaBuffer> Transmitter<B> {
    /// Allocates a ring of `entries` descriptors.
    pub fn new<D: DmaMemory<Buffer = B>>(dma: &mut D, entries: u16) -> Result<Self, Error> {
        let count = usize::from(entries);
        let mut allocate = |bytes: usize| dma.allocate(count * bytes, 4096).ok_or(Error::NoMemory);
        let (ring, buffers) = (allocate(DESCRIPTOR_BYTES)?, allocate(BUFFER_BYTES)?);
        let lengths = alloc::vec![0; count].into();
        Ok(Self { ring, buffers, lengths, entries, head: 0, tail: 0, told: 0 })
    }

    /// Where the ring is.
    pub fn place(&self) -> Ring {
        Ring { iova: self.ring.iova().0, bytes: u32::from(self.entries) * DESCRIPTOR_BYTES as u32 }
    }

    /// Makes it empty, for a controller that was reset.
    pub fn clear(&mut self) -> Result<(), Error> {
        self.forget();
        (0..usize::from(self.entries)).try_for_each(|entry| {
            self.ring.write(entry * DESCRIPTOR_BYTES, &[0; DESCRIPTOR_BYTES]).map_err(Error::from)
        })
    }

    /// Has nothing to send any more. Descriptors stay as they are while the controller may look.
    pub const fn forget(&mut self) {
        (self.head, self.tail, self.told) = (0, 0, 0);
    }

    /// Whether the controller has nothing to send.
    pub const fn is_idle(&self) -> bool {
        self.head == self.told
    }

    /// How many frames are not sent yet.
    pub const fn in_flight(&self) -> u16 {
        if self.tail >= self.head { self.tail - self.head } else { self.entries - self.head + self.tail }
    }

    /// Those, and for how many more there is room: one descriptor is always empty.
    pub fn queue(&self) -> Queue {
        let waiting = self.in_flight();
        let room = self.entries.saturating_sub(1).saturating_sub(waiting);
        Queue { waiting: waiting.into(), room: room.into() }
    }

    /// Whether there is no room.
    pub const fn is_full(&self) -> bool {
        self.next(self.tail) == self.head
    }

    /// Puts in a frame of at most [`BUFFER_BYTES`], which is padded to what the wire carries: the
    /// controller hangs on frames that are much too short (82574 data sheet, TCTL.PSP). There is room.
    pub fn put<M: Model>(&mut self, parts: &Parts<'_>) -> Result<(), Error> {
        let start = usize::from(self.tail) * BUFFER_BYTES;
        let mut bytes = 0;
        for piece in parts.pieces() {
            self.buffers.write(start + bytes, piece)?;
            bytes += piece.len();
        }
        if let Some(padding) = [0; SMALLEST_BYTES].get(bytes..) {
            self.buffers.write(start + bytes, padding)?;
            bytes = SMALLEST_BYTES;
        }
        let length = u16::try_from(bytes).map_err(|_| Error::Buffer)?;
        *self.lengths.get_mut(usize::from(self.tail)).ok_or(Error::Buffer)? = length;
        let at = usize::from(self.tail) * DESCRIPTOR_BYTES;
        self.ring.write64(at, self.buffers.iova().0.wrapping_add(start as u64))?;
        self.ring.write64(at + 8, M::whole(length))?;
        self.tail = self.next(self.tail);
        Ok(())
    }

    /// The tail to tell the controller, if it does not know it.
    pub fn tail(&mut self) -> Option<u32> {
        let is_new = self.told != self.tail;
        self.told = self.tail;
        is_new.then_some(self.tail.into())
    }

    /// Takes back the first descriptor if the controller is done with it, and gives its frame's
    /// bytes. The controller is done with them in order, and knows none that it was not told of.
    pub fn take(&mut self) -> Result<Option<usize>, Error> {
        if self.is_idle() {
            return Ok(None);
        }
        let at = usize::from(self.head) * DESCRIPTOR_BYTES;
        if self.ring.read32(at + TRANSMIT_STATUS)? & TRANSMIT_DONE == 0 {
            return Ok(None);
        }
        let length = self.lengths.get(usize::from(self.head)).copied().ok_or(Error::Buffer)?;
        self.head = self.next(self.head);
        Ok(Some(length.into()))
    }

    const fn next(&self, entry: u16) -> u16 {
        if entry + 1 < self.entries { entry + 1 } else { 0 }
    }
}
