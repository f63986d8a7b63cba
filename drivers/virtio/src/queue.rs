//! The driver's side of a split virtqueue (section 2.7).

use crate::error::Error;
use access::{DmaBuffer, DmaMemory};
use spec::virtio::split::{
    AVAILABLE_ENTRY_BYTES, AVAILABLE_NO_INTERRUPT, Descriptor, EVENT_BYTES, RING_ENTRIES, USED_ENTRY_BYTES,
    USED_NO_NOTIFY, passed,
};
use spec::{Iova, address::PAGE_BYTES};

/// The most descriptors of a queue here.
const MOST_ENTRIES: u16 = 256;

/// A chain that the device is done with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Used {
    /// The descriptor that it begins with.
    pub head: u16,
    /// Bytes that the device says to have written. Its word: whoever gave it the chain knows how many
    /// there was room for.
    pub bytes: u32,
}

/// A queue. Which descriptors belong to what is its user's to say: here they are written and never read.
#[derive(Debug)]
pub struct Queue<B> {
    number: u16,
    memory: B,
    /// How many descriptors there is room for, and how many the device was told of.
    room: u16,
    size: u16,
    /// Index of the next entry of the available ring, and what the device knows of it.
    next: u16,
    told: u16,
    /// Index of the next entry of the used ring.
    seen: u16,
    /// Whether each side says by an index when it wants to be told; and ours.
    has_event_index: bool,
    event: u16,
    is_quiet: bool,
    doorbell: usize,
}

impl Queue<()> {
    /// Bytes of a queue of `entries` descriptors: whole pages.
    pub const fn bytes(entries: u16) -> usize {
        (used_at(entries) + used_bytes(entries)).next_multiple_of(PAGE_BYTES as usize)
    }
}

/// Where the available ring begins, behind the descriptors.
const fn available_at(entries: u16) -> usize {
    entries as usize * Descriptor::BYTES
}

/// Where the used ring begins, at a multiple of 4.
const fn used_at(entries: u16) -> usize {
    let entries_bytes = entries as usize * AVAILABLE_ENTRY_BYTES as usize;
    (available_at(entries) + RING_ENTRIES as usize + entries_bytes + EVENT_BYTES as usize).next_multiple_of(4)
}

/// Bytes of the used ring; whole words, with what is behind its event index.
const fn used_bytes(entries: u16) -> usize {
    let entries_bytes = entries as usize * USED_ENTRY_BYTES as usize;
    (RING_ENTRIES as usize + entries_bytes + EVENT_BYTES as usize).next_multiple_of(4)
}

impl<B: DmaBuffer> Queue<B> {
    /// Allocates queue `number` with room for `entries` descriptors, a power of two from 2 to 256.
    ///
    /// # Errors
    /// [`Error::Sizes`] and [`Error::NoMemory`].
    pub fn new<D: DmaMemory<Buffer = B>>(dma: &mut D, number: u16, entries: u16) -> Result<Self, Error> {
        if !entries.is_power_of_two() || !(2..=MOST_ENTRIES).contains(&entries) {
            return Err(Error::Sizes);
        }
        let memory = dma.allocate(Queue::bytes(entries), PAGE_BYTES as usize).ok_or(Error::NoMemory)?;
        Ok(Self {
            number,
            memory,
            room: entries,
            size: entries,
            next: 0,
            told: 0,
            seen: 0,
            has_event_index: false,
            event: 0,
            is_quiet: false,
            doorbell: 0,
        })
    }

    /// Makes it empty, for a device that was reset and has at most `most` descriptors for it.
    ///
    /// # Errors
    /// [`Error::Size`] where that is less than two.
    pub fn clear(&mut self, most: u16, has_event_index: bool) -> Result<(), Error> {
        if most < 2 {
            return Err(Error::Size { queue: self.number, entries: most });
        }
        self.size = self.room.min(most);
        (self.next, self.told, self.seen, self.event) = (0, 0, 0, 0);
        self.has_event_index = has_event_index;
        for offset in (0..used_at(self.room) + used_bytes(self.room)).step_by(4) {
            self.memory.write32(offset, 0)?;
        }
        self.suppress()
    }

    /// Its number.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// How many descriptors it has.
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// Chains that the device has and was told of.
    pub const fn in_flight(&self) -> u16 {
        self.told.wrapping_sub(self.seen)
    }

    /// Where its descriptors, available ring and used ring are.
    pub(crate) fn places(&self) -> [Iova; 3] {
        let at = |offset: usize| Iova(self.memory.iova().0.wrapping_add(offset as u64));
        [at(0), at(available_at(self.room)), at(used_at(self.room))]
    }

    pub(crate) const fn doorbell(&self) -> usize {
        self.doorbell
    }

    pub(crate) const fn set_doorbell(&mut self, offset: usize) {
        self.doorbell = offset;
    }

    /// Writes descriptor `index`, which the device does not have. Its address is one of the device's.
    ///
    /// # Errors
    /// [`Error::Buffer`], likewise below.
    pub fn describe(&self, index: u16, descriptor: Descriptor) -> Result<(), Error> {
        if index >= self.size {
            return Err(Error::Buffer);
        }
        Ok(self.memory.write(usize::from(index) * Descriptor::BYTES, &descriptor.encode())?)
    }

    /// Makes the chain available that begins with descriptor `head`. The device sees it with the next
    /// [`publish`](Self::publish).
    ///
    /// # Errors
    /// [`Error::Buffer`].
    pub fn offer(&mut self, head: u16) -> Result<(), Error> {
        let place = usize::from(self.next & (self.size - 1)) * AVAILABLE_ENTRY_BYTES as usize;
        let at = available_at(self.room) + RING_ENTRIES as usize + place;
        self.memory.write(at, &head.to_le_bytes())?;
        self.next = self.next.wrapping_add(1);
        Ok(())
    }

    /// Shows the device what was made available. Whether it is to be notified of it.
    ///
    /// # Errors
    /// [`Error::Buffer`].
    pub fn publish<D: DmaMemory>(&mut self, dma: &D) -> Result<bool, Error> {
        if self.next == self.told {
            return Ok(false);
        }
        let old = core::mem::replace(&mut self.told, self.next);
        dma.write_barrier();
        self.write_available()?;
        // Whether the device sleeps is asked once it can see what there is.
        dma.full_barrier();
        if self.has_event_index {
            let at = used_at(self.room)
                + RING_ENTRIES as usize
                + usize::from(self.size) * USED_ENTRY_BYTES as usize;
            return Ok(passed(self.memory.read32(at)? as u16, old, self.told));
        }
        Ok(self.memory.read32(used_at(self.room))? as u16 & USED_NO_NOTIFY == 0)
    }

    /// Takes the next chain that the device is done with.
    ///
    /// # Errors
    /// [`Error::UsedIndex`] and [`Error::NotGiven`]; whether the device had this chain is its user's to
    /// know.
    pub fn take<D: DmaMemory>(&mut self, dma: &D) -> Result<Option<Used>, Error> {
        let ahead = self.used_index()?.wrapping_sub(self.seen);
        if ahead == 0 {
            return Ok(None);
        }
        if ahead > self.in_flight() {
            return Err(Error::UsedIndex { queue: self.number, ahead });
        }
        dma.read_barrier();
        let place = usize::from(self.seen & (self.size - 1)) * USED_ENTRY_BYTES as usize;
        let at = used_at(self.room) + RING_ENTRIES as usize + place;
        let (id, bytes) = (self.memory.read32(at)?, self.memory.read32(at + 4)?);
        let head = u16::try_from(id).ok().filter(|head| *head < self.size);
        let head = head.ok_or(Error::NotGiven { queue: self.number, id })?;
        self.seen = self.seen.wrapping_add(1);
        Ok(Some(Used { head, bytes }))
    }

    /// Asks for a message when the device is done with the next chain. Whether it is done with one
    /// already, for which there may be no message.
    ///
    /// # Errors
    /// [`Error::Buffer`].
    pub fn arm<D: DmaMemory>(&mut self, dma: &D) -> Result<bool, Error> {
        if !self.has_event_index || self.is_quiet || self.event == self.seen {
            return Ok(false);
        }
        self.event = self.seen;
        self.write_event()?;
        dma.full_barrier();
        Ok(self.used_index()? != self.seen)
    }

    /// Says whether the device sends no messages for this queue. Once they are wanted again,
    /// [`arm`](Self::arm) asks for the next.
    ///
    /// # Errors
    /// [`Error::Buffer`].
    pub fn set_quiet(&mut self, is_quiet: bool) -> Result<(), Error> {
        self.is_quiet = is_quiet;
        self.suppress()
    }

    /// Tells the device whether messages are wanted.
    fn suppress(&mut self) -> Result<(), Error> {
        if self.has_event_index {
            // An index that the device has passed: it comes there again after 65,535 chains.
            let behind = if self.is_quiet { self.seen.wrapping_sub(1) } else { self.event };
            self.event = behind;
            self.write_event()
        } else {
            self.write_available()
        }
    }

    /// Index and flags of the available ring, at once.
    fn write_available(&self) -> Result<(), Error> {
        let is_silent = self.is_quiet && !self.has_event_index;
        let flags = if is_silent { AVAILABLE_NO_INTERRUPT } else { 0 };
        let value = u32::from(flags) | u32::from(self.told) << 16;
        Ok(self.memory.write32(available_at(self.room), value)?)
    }

    fn write_event(&self) -> Result<(), Error> {
        let entries = usize::from(self.size) * AVAILABLE_ENTRY_BYTES as usize;
        let at = available_at(self.room) + RING_ENTRIES as usize + entries;
        // What is behind it belongs to nothing: all sizes are even.
        Ok(self.memory.write32(at, self.event.into())?)
    }

    fn used_index(&self) -> Result<u16, Error> {
        Ok((self.memory.read32(used_at(self.room))? >> 16) as u16)
    }
}

#[cfg(test)]
mod tests;
