//! The guest's memory as a model in a compartment has it: what tells the guest that something is done is
//! written by ring 0, once it has the answer.
//!
//! So a call that is not answered told the guest nothing, and can be done again: what it wrote besides is in
//! buffers that are the device's until it tells, and it writes the same there again.

use crate::area::{MOST_PUBLISHED, PUBLISHED_WORDS};
use access::{GuestMemory, OutOfBounds};
use alloc::boxed::Box;
use core::cell::{Cell, RefCell};
use spec::Gpa;

/// Above where something is published: its bytes.
const BYTES_SHIFT: u32 = 56;

/// Bytes of what a call publishes at most.
pub(crate) const PUBLISHED_BYTES: usize = MOST_PUBLISHED * size_of::<[u64; PUBLISHED_WORDS]>();

/// What a call publishes.
pub(crate) struct Published {
    entries: RefCell<Box<[[u64; PUBLISHED_WORDS]]>>,
    count: Cell<usize>,
    /// Whether the model was told that the guest does not see it yet.
    is_untold: Cell<bool>,
}

impl Published {
    pub(crate) fn new() -> Self {
        Self {
            entries: RefCell::new(core::iter::repeat_n([0; PUBLISHED_WORDS], MOST_PUBLISHED).collect()),
            count: Cell::new(0),
            is_untold: Cell::new(false),
        }
    }

    /// Whether there is nothing, and nobody was told that it is too early to ask.
    pub(crate) const fn is_empty(&self) -> bool {
        self.count.get() == 0 && !self.is_untold.get()
    }

    /// Takes what there is: gives each to `put`. How many there were, and whether the model is to be asked to
    /// tell of them.
    pub(crate) fn take(&self, mut put: impl FnMut(usize, [u64; PUBLISHED_WORDS])) -> (usize, bool) {
        let count = self.count.take();
        if count == 0 {
            return (0, self.is_untold.take());
        }
        let entries = self.entries.borrow();
        entries.iter().take(count).enumerate().for_each(|(index, entry)| put(index, *entry));
        (count, self.is_untold.take())
    }
}

/// A guest's memory in which nothing is published before the call is over.
pub(crate) struct Late<'a> {
    pub(crate) memory: &'a dyn GuestMemory,
    pub(crate) published: &'a Published,
}

impl GuestMemory for Late<'_> {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        self.memory.read(gpa, bytes)
    }

    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        self.memory.write(gpa, bytes)
    }

    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        self.memory.contains(gpa, bytes)
    }

    fn publish(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let mut value = [0; 8];
        let place = value.get_mut(..bytes.len()).ok_or(OutOfBounds)?;
        place.copy_from_slice(bytes);
        if !self.memory.contains(gpa, bytes.len() as u64) {
            return Err(OutOfBounds);
        }
        let entry = [gpa.0 | (bytes.len() as u64) << BYTES_SHIFT, u64::from_le_bytes(value)];
        let count = self.published.count.get();
        let mut entries = self.published.entries.borrow_mut();
        // An index that is written over and over is written once.
        if let Some([place, value]) = count.checked_sub(1).and_then(|last| entries.get_mut(last))
            && *place == entry[0]
        {
            *value = entry[1];
            return Ok(());
        }
        let Some(place) = entries.get_mut(count) else {
            // More than any driver asks of one call. What comes is seen by its guest in the order in which it came.
            self.published.count.set(0);
            entries.iter().try_for_each(|entry| write(*entry, self.memory))?;
            return self.memory.write(gpa, bytes);
        };
        *place = entry;
        self.published.count.set(count + 1);
        Ok(())
    }

    fn is_late(&self) -> bool {
        let is_late = self.published.count.get() != 0;
        self.published.is_untold.set(self.published.is_untold.get() || is_late);
        is_late
    }
}

/// Writes what was published. It has at most 8 bytes.
pub(crate) fn write(
    [place, value]: [u64; PUBLISHED_WORDS],
    memory: &dyn GuestMemory,
) -> Result<(), OutOfBounds> {
    let (gpa, bytes) = (place & ((1 << BYTES_SHIFT) - 1), (place >> BYTES_SHIFT) as usize);
    memory.write(Gpa(gpa), value.to_le_bytes().get(..bytes).ok_or(OutOfBounds)?)
}

/// Whether this is something that can be published.
pub(crate) const fn is_sound([place, _]: [u64; PUBLISHED_WORDS]) -> bool {
    place >> BYTES_SHIFT <= 8
}
