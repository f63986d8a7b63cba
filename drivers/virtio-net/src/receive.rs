//! The queue of what is received, and its buffers.

use crate::buffers::Held;
use access::{DmaBuffer, DmaMemory};
use network::Frame;
use spec::Gpa;
use spec::address::PAGE_BYTES;
use spec::ethernet::HEADER_BYTES;
use spec::virtio::net::{Header, queue};
use spec::virtio::split::{DESCRIPTOR_WRITE, Descriptor};
use virtio::{Error, Queue};

/// Bytes of a buffer, of which a page has whole ones: of a frame with its header.
pub(crate) const BUFFER_BYTES: usize = 2048;
/// After so many frames their buffers are given back, for one notification.
const BATCH: u16 = 8;

/// What was next in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// Nothing yet.
    Nothing,
    /// A frame.
    Frame,
    /// What is none.
    Damaged,
}

/// The queue: each descriptor has its buffer, and the device has all of them but what is being read.
#[derive(Debug)]
pub(crate) struct Receiver<B> {
    pub queue: Queue<B>,
    buffers: B,
    held: Held,
    /// How many were given back and not shown to the device.
    hidden: u16,
}

impl<B: DmaBuffer> Receiver<B> {
    /// Allocates a queue of `entries` buffers.
    pub fn new<D: DmaMemory<Buffer = B>>(dma: &mut D, entries: u16) -> Result<Self, Error> {
        let bytes = usize::from(entries) * BUFFER_BYTES;
        Ok(Self {
            queue: Queue::new(dma, queue::RECEIVE as u16, entries)?,
            buffers: dma.allocate(bytes, PAGE_BYTES as usize).ok_or(Error::NoMemory)?,
            held: Held::default(),
            hidden: 0,
        })
    }

    /// Makes all buffers available, in a queue that was cleared.
    pub fn fill(&mut self) -> Result<(), Error> {
        self.held = Held::default();
        for buffer in 0..self.queue.size() {
            let at = self.buffers.iova().0.wrapping_add(u64::from(buffer) * BUFFER_BYTES as u64);
            let (bytes, flags) = (BUFFER_BYTES as u32, DESCRIPTOR_WRITE);
            self.queue.describe(buffer, Descriptor { gpa: Gpa(at), bytes, flags, next: 0 })?;
            self.give(buffer)?;
        }
        Ok(())
    }

    fn give(&mut self, buffer: u16) -> Result<(), Error> {
        self.held.give(buffer);
        self.hidden += 1;
        self.queue.offer(buffer)
    }

    /// Whether it is time to show the device what it was given back: it is much, or all there is for now.
    pub fn is_due(&self, is_last: bool) -> bool {
        self.hidden >= if is_last { 1 } else { BATCH.min(self.queue.size() / 2) }
    }

    /// Shows it to the device. Whether it is to be notified.
    pub fn publish<D: DmaMemory>(&mut self, dma: &D) -> Result<bool, Error> {
        self.hidden = 0;
        self.queue.publish(dma)
    }

    /// Takes the next frame, if it is there. One of more than `most_bytes` is none.
    pub fn take<D: DmaMemory>(
        &mut self,
        dma: &D,
        into: &mut Frame,
        most_bytes: usize,
    ) -> Result<Taken, Error> {
        let Some(used) = self.queue.take(dma)? else { return Ok(Taken::Nothing) };
        let (queue, buffer) = (self.queue.number(), used.head);
        if !self.held.take(buffer) {
            return Err(Error::NotGiven { queue, id: buffer.into() });
        }
        let written = used.bytes as usize;
        if written > BUFFER_BYTES {
            return Err(Error::Length { queue, bytes: used.bytes });
        }
        // The header says nothing: nothing was agreed on that it could say.
        let bytes = written.saturating_sub(Header::BYTES);
        let is_frame = (HEADER_BYTES..=most_bytes).contains(&bytes);
        if is_frame {
            let start = usize::from(buffer) * BUFFER_BYTES + Header::BYTES;
            let room = into.room().get_mut(..bytes).ok_or(Error::Buffer)?;
            self.buffers.read(start, room)?;
            into.set_len(bytes).ok_or(Error::Buffer)?;
        }
        self.give(buffer)?;
        Ok(if is_frame { Taken::Frame } else { Taken::Damaged })
    }
}
