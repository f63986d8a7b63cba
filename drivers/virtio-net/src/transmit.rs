//! The queue of what is sent, and its buffers.

use crate::buffers::Held;
use access::{DmaBuffer, DmaMemory};
use alloc::boxed::Box;
use network::{Checksum, Parts};
use spec::Gpa;
use spec::address::PAGE_BYTES;
use spec::virtio::net::{Header, queue};
use spec::virtio::split::Descriptor;
use virtio::{Error, Queue};

/// Bytes of a buffer, of which a page has whole ones: of a frame with its header.
pub(crate) const BUFFER_BYTES: usize = 2048;

/// The queue: each descriptor has its buffer, and the device gives them back in any order.
#[derive(Debug)]
pub(crate) struct Transmitter<B> {
    pub queue: Queue<B>,
    buffers: B,
    held: Held,
    /// Bytes of the frame in each buffer.
    lengths: Box<[u16]>,
    /// The buffers that are free: so many from the start on, of those that are used.
    free: Box<[u16]>,
    room: u16,
    usable: u16,
}

impl<B: DmaBuffer> Transmitter<B> {
    /// Allocates a queue of `entries` buffers.
    pub fn new<D: DmaMemory<Buffer = B>>(dma: &mut D, entries: u16) -> Result<Self, Error> {
        let bytes = usize::from(entries) * BUFFER_BYTES;
        Ok(Self {
            queue: Queue::new(dma, queue::TRANSMIT as u16, entries)?,
            buffers: dma.allocate(bytes, PAGE_BYTES as usize).ok_or(Error::NoMemory)?,
            held: Held::default(),
            lengths: core::iter::repeat_n(0, entries.into()).collect(),
            free: (0..entries).collect(),
            room: 0,
            usable: 0,
        })
    }

    /// Has nothing to send any more, and takes nothing.
    pub fn forget(&mut self) {
        (self.held, self.room, self.usable) = (Held::default(), 0, 0);
    }

    /// Has room for as many frames as the queue has descriptors, which was cleared.
    pub fn open(&mut self) {
        self.forget();
        for (place, buffer) in self.free.iter_mut().zip(0..self.queue.size()) {
            *place = buffer;
            self.room += 1;
        }
        self.usable = self.room;
    }

    /// How many frames are not sent yet.
    pub const fn in_flight(&self) -> u16 {
        self.usable.saturating_sub(self.room)
    }

    /// How many more it takes.
    pub const fn room(&self) -> u16 {
        self.room
    }

    /// Puts in a frame that fits into a buffer. There is room.
    pub fn put(&mut self, parts: &Parts<'_>) -> Result<(), Error> {
        let left = self.room.checked_sub(1).ok_or(Error::Buffer)?;
        let buffer = self.free.get(usize::from(left)).copied().ok_or(Error::Buffer)?;
        let start = usize::from(buffer) * BUFFER_BYTES;
        let mut header = Header::default();
        if let Checksum::Missing { start, offset } = parts.offload.checksum {
            header = Header {
                flags: Header::FLAG_NEEDS_CHECKSUM,
                checksum_start: start,
                checksum_offset: offset,
                ..header
            };
        }
        self.buffers.write(start, &header.encode())?;
        let mut bytes = Header::BYTES;
        for piece in parts.pieces() {
            self.buffers.write(start + bytes, piece)?;
            bytes += piece.len();
        }
        let length = u16::try_from(bytes - Header::BYTES).map_err(|_| Error::Buffer)?;
        *self.lengths.get_mut(usize::from(buffer)).ok_or(Error::Buffer)? = length;
        let at = self.buffers.iova().0.wrapping_add(start as u64);
        let descriptor = Descriptor { gpa: Gpa(at), bytes: bytes as u32, flags: 0, next: 0 };
        self.queue.describe(buffer, descriptor)?;
        self.queue.offer(buffer)?;
        self.held.give(buffer);
        self.room = left;
        Ok(())
    }

    /// Takes back a buffer that the device is done with, and gives its frame's bytes.
    pub fn take<D: DmaMemory>(&mut self, dma: &D) -> Result<Option<usize>, Error> {
        let Some(used) = self.queue.take(dma)? else { return Ok(None) };
        let (queue, buffer) = (self.queue.number(), used.head);
        if !self.held.take(buffer) {
            return Err(Error::NotGiven { queue, id: buffer.into() });
        }
        // It writes nothing of a frame that is sent; devices differ in what they say of that.
        *self.free.get_mut(usize::from(self.room)).ok_or(Error::Buffer)? = buffer;
        self.room += 1;
        Ok(Some(self.lengths.get(usize::from(buffer)).copied().ok_or(Error::Buffer)?.into()))
    }
}
