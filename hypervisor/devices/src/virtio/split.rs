//! A split virtqueue, from the device's side (section 2.7).

use super::places::{Places, Progress, admission_of, admission_word, at};
use super::{Broken, Chain, Segment, Taken};
use crate::rest::{Place, Rest, Watch, Wish};
use access::GuestMemory;
use core::sync::atomic::{Ordering, fence};
use spec::Gpa;
use spec::virtio::split::{
    AVAILABLE_ALIGN, AVAILABLE_ENTRY_BYTES, AVAILABLE_NO_INTERRUPT, DESCRIPTOR_INDIRECT, DESCRIPTOR_NEXT,
    DESCRIPTOR_WRITE, DESCRIPTORS_ALIGN, Descriptor, EVENT_BYTES, MOST_DESCRIPTORS, RING_ENTRIES, RING_FLAGS,
    RING_INDEX, USED_ALIGN, USED_ENTRY_BYTES, USED_NO_NOTIFY, passed,
};

const DESCRIPTOR_BYTES: u64 = Descriptor::BYTES as u64;

/// A queue that is enabled. What the driver said about it does not change any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Split {
    places: Places,
    /// Of the available ring: the entry to take next.
    next_available: u16,
    /// Of the used ring: the entry to put next.
    next_used: u16,
    /// Chains that were put since it was last decided on an interrupt.
    untold: u16,
    /// Chains that were taken and not put yet.
    outstanding: u16,
    /// Of the available ring: the entry before which taking ends, where it does.
    admitted: Option<u16>,
}

impl Split {
    /// The queue at `places`, from which nothing was taken yet.
    ///
    /// # Errors
    /// Where the size is no power of two, or a part of the queue is not aligned or ends beyond the
    /// address space.
    pub fn new(places: Places) -> Result<Self, Broken> {
        let size = u64::from(places.size);
        if !places.size.is_power_of_two() || places.size > MOST_DESCRIPTORS {
            return Err(Broken);
        }
        let available = RING_ENTRIES + AVAILABLE_ENTRY_BYTES * size + EVENT_BYTES;
        let used = RING_ENTRIES + USED_ENTRY_BYTES * size + EVENT_BYTES;
        places.check([
            (DESCRIPTORS_ALIGN, DESCRIPTOR_BYTES * size),
            (AVAILABLE_ALIGN, available),
            (USED_ALIGN, used),
        ])?;
        Ok(Self { places, next_available: 0, next_used: 0, untold: 0, outstanding: 0, admitted: None })
    }

    /// How far it is.
    pub(super) const fn progress(&self) -> Progress {
        let Self { next_available, next_used, untold, outstanding, .. } = *self;
        Progress { next_available, next_used, untold, outstanding }
    }

    /// Whether a queue of `size` descriptors that works can be so far: what was taken and not put is
    /// outstanding.
    pub(super) const fn is_at_rest(progress: &Progress, size: u16) -> bool {
        let Progress { next_available, next_used, untold, outstanding } = *progress;
        next_available.wrapping_sub(next_used) == outstanding && untold <= size
    }

    /// The queue at `places` that is so far.
    ///
    /// # Errors
    /// As [`new`](Self::new), and where more chains are outstanding than there are.
    pub(super) fn restored(places: Places, progress: Progress) -> Result<Self, Broken> {
        let Progress { next_available, next_used, untold, outstanding } = progress;
        if outstanding > places.size {
            return Err(Broken);
        }
        Ok(Self { next_available, next_used, untold, outstanding, ..Self::new(places)? })
    }

    /// See [`Ring::bounds`](super::Ring::bounds).
    pub(super) fn bounds(&self) -> u64 {
        admission_word(self.admitted)
    }

    /// See [`Ring::go_on`](super::Ring::go_on).
    pub(super) fn go_on(&mut self, untold: u16, bounds: u64) -> bool {
        self.untold = untold;
        admission_of(bounds).map(|admitted| self.admitted = admitted).is_some()
    }

    /// How many chains were taken and not put yet. It is never more than the queue has descriptors.
    pub const fn outstanding(&self) -> u16 {
        self.outstanding
    }

    /// Lets those chains be taken that are available now. Of the next one the driver notifies.
    ///
    /// # Errors
    /// As [`want_notifications`](Self::want_notifications).
    pub fn admit(&mut self, memory: &dyn GuestMemory) -> Result<(), Broken> {
        let mut waiting = self.waiting(memory)?;
        // The driver can make no more available than the queue holds, so it is not faster forever.
        for _ in 0..=self.places.size {
            let next = self.next_available.wrapping_add(waiting);
            self.admitted = Some(next);
            self.ask(next, memory)?;
            let now = self.waiting(memory)?;
            if now == core::mem::replace(&mut waiting, now) {
                return Ok(());
            }
        }
        Err(Broken)
    }

    /// Lets nothing be taken until [`admit`](Self::admit).
    pub const fn hold(&mut self) {
        self.admitted = Some(self.next_available);
    }

    /// Takes the next chain that the driver made available. Whether there was one.
    ///
    /// # Errors
    /// Where the driver made more available than the queue holds, or the chain breaks a rule.
    pub fn take(&mut self, memory: &dyn GuestMemory, chain: &mut Chain) -> Result<bool, Broken> {
        let waiting = self.waiting(memory)?;
        if waiting == 0 || self.admitted == Some(self.next_available) {
            return Ok(false);
        }
        // Each chain has a descriptor of its own until it is put.
        if u32::from(waiting) + u32::from(self.outstanding) > u32::from(self.places.size) {
            return Err(Broken);
        }
        // What the index tells of is read after the index.
        fence(Ordering::Acquire);
        let entry = self.entry(self.next_available);
        let head = self.read_u16(memory, self.places.driver, RING_ENTRIES + entry * AVAILABLE_ENTRY_BYTES)?;
        chain.begin();
        self.follow(memory, head, chain)?;
        chain.taken = Taken { head, entries: 1 };
        self.next_available = self.next_available.wrapping_add(1);
        self.outstanding += 1;
        Ok(true)
    }

    /// Gives chains that were taken back to the driver, which sees all of them at once, each with the
    /// bytes that the device wrote to the start of its writable part. Whether the driver is to be
    /// interrupted is another question ([`take_interrupt`](Self::take_interrupt)).
    ///
    /// # Errors
    /// Where so many are not outstanding, or the used ring is not in memory.
    pub fn put_all(&mut self, memory: &dyn GuestMemory, chains: &[(Taken, u32)]) -> Result<(), Broken> {
        let count = u16::try_from(chains.len()).map_err(|_| Broken)?;
        self.outstanding = self.outstanding.checked_sub(count).ok_or(Broken)?;
        self.untold = self.untold.saturating_add(count);
        for &(taken, written) in chains {
            let entry = self.entry(self.next_used);
            let value = u64::from(taken.head) | u64::from(written) << 32;
            let gpa = at(self.places.device, RING_ENTRIES + entry * USED_ENTRY_BYTES)?;
            memory.write(gpa, &value.to_le_bytes()).map_err(|_| Broken)?;
            self.next_used = self.next_used.wrapping_add(1);
        }
        // The entries, and the data before them, are there before the index tells of them.
        fence(Ordering::Release);
        let index = at(self.places.device, RING_INDEX)?;
        memory.publish(index, &self.next_used.to_le_bytes()).map_err(|_| Broken)
    }

    /// Has that many chains be taken again later: those that were taken last, and not put.
    ///
    /// # Errors
    /// Where so many are not outstanding.
    pub fn untake(&mut self, chains: u16) -> Result<(), Broken> {
        self.outstanding = self.outstanding.checked_sub(chains).ok_or(Broken)?;
        self.next_available = self.next_available.wrapping_sub(chains);
        Ok(())
    }

    /// Whether nothing is left to tell, and nothing waits to be taken where that `is_taken`: `rest` says what to
    /// look at meanwhile, and what [`want_notifications`](Self::want_notifications) writes, for a queue whose
    /// chains are taken.
    pub(super) fn rests(&self, is_taken: bool, rest: &mut Rest, _: &dyn GuestMemory) -> bool {
        let value = self.next_available.into();
        self.untold == 0
            && self.wish(is_taken).is_none_or(|wish| rest.wish(wish))
            && (!is_taken
                || at(self.places.driver, RING_INDEX)
                    .is_ok_and(|gpa| rest.watch(Watch { place: Place { gpa, is_wide: false }, value })))
    }

    /// What the driver is told whether to notify by.
    fn wish(&self, is_taken: bool) -> Option<Wish> {
        let narrow = |offset| Some(Place { gpa: at(self.places.device, offset).ok()?, is_wide: false });
        if !self.places.event_index {
            let unwanted = u32::from(USED_NO_NOTIFY);
            let wanted = if is_taken { 0 } else { unwanted };
            return Some(Wish { place: narrow(RING_FLAGS)?, wanted, unwanted: Some(unwanted) });
        }
        let wanted = self.next_available.into();
        is_taken.then_some(Wish { place: narrow(self.event())?, wanted, unwanted: None })
    }

    /// Where the index is in the used ring of which the driver is to notify.
    fn event(&self) -> u64 {
        RING_ENTRIES + u64::from(self.places.size) * USED_ENTRY_BYTES
    }

    /// Whether the driver wants an interrupt for what was put since this was last asked. It has to be
    /// asked after fewer than 65535 chains.
    ///
    /// # Errors
    /// Where the available ring is not in memory.
    pub fn take_interrupt(&mut self, memory: &dyn GuestMemory) -> Result<bool, Broken> {
        if self.untold == 0 {
            return Ok(false);
        }
        // The index is there before the driver's wish is read: the driver writes its wish, and then
        // looks at the index again.
        fence(Ordering::SeqCst);
        let wanted = self.wants_interrupt(memory)?;
        // Where it is not there yet, a driver that does not want one may want one when it is.
        if wanted || !memory.is_late() {
            self.untold = 0;
        }
        Ok(wanted)
    }

    fn wants_interrupt(&self, memory: &dyn GuestMemory) -> Result<bool, Broken> {
        if self.places.event_index {
            let event = RING_ENTRIES + u64::from(self.places.size) * AVAILABLE_ENTRY_BYTES;
            let told = self.next_used.wrapping_sub(self.untold);
            return Ok(passed(self.read_u16(memory, self.places.driver, event)?, told, self.next_used));
        }
        Ok(self.read_u16(memory, self.places.driver, RING_FLAGS)? & AVAILABLE_NO_INTERRUPT == 0)
    }

    /// Tells the driver whether to notify of the next chain that it makes available. Whether one is
    /// there already, of which it may not notify. With event indexes what the driver was told
    /// holds for one chain: it has to be told again after each chain that is taken.
    ///
    /// # Errors
    /// Where the rings are not in memory, or more is available than the queue holds.
    pub fn want_notifications(&mut self, wanted: bool, memory: &dyn GuestMemory) -> Result<bool, Broken> {
        if wanted {
            self.ask(self.next_available, memory)?;
            return Ok(self.waiting(memory)? != 0);
        }
        if !self.places.event_index {
            self.write_u16(memory, self.places.device, RING_FLAGS, USED_NO_NOTIFY)?;
        }
        Ok(false)
    }

    /// Asks the driver to notify of entry `next` of the available ring.
    fn ask(&self, next: u16, memory: &dyn GuestMemory) -> Result<(), Broken> {
        if self.places.event_index {
            self.write_u16(memory, self.places.device, self.event(), next)?;
        } else {
            self.write_u16(memory, self.places.device, RING_FLAGS, 0)?;
        }
        // The wish is there before the index is read: the driver writes the index, and then looks
        // at the wish.
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// How many chains wait to be taken.
    fn waiting(&self, memory: &dyn GuestMemory) -> Result<u16, Broken> {
        let index = self.read_u16(memory, self.places.driver, RING_INDEX)?;
        let waiting = index.wrapping_sub(self.next_available);
        if waiting > self.places.size { Err(Broken) } else { Ok(waiting) }
    }

    /// Copies the descriptors from `head` on. A chain has no more of them than the queue
    /// (section 2.7.5.3.1), those of an indirect table counted: that also ends one in a circle.
    fn follow(&self, memory: &dyn GuestMemory, head: u16, chain: &mut Chain) -> Result<(), Broken> {
        let mut table = self.places.descriptors;
        let mut entries = self.places.size;
        let mut index = head;
        let mut left = self.places.size;
        let mut in_indirect = false;
        loop {
            let descriptor = read_descriptor(memory, table, index, entries)?;
            if descriptor.flags & DESCRIPTOR_INDIRECT != 0 {
                let allowed = self.places.indirect && !in_indirect;
                if !allowed || descriptor.flags & DESCRIPTOR_NEXT != 0 {
                    return Err(Broken);
                }
                in_indirect = true;
                table = descriptor.gpa;
                entries = indirect_entries(descriptor.bytes, left)?;
                index = 0;
                continue;
            }
            left = left.checked_sub(1).ok_or(Broken)?;
            let segment = Segment { gpa: descriptor.gpa, bytes: descriptor.bytes };
            chain.add(segment, descriptor.flags & DESCRIPTOR_WRITE != 0)?;
            if descriptor.flags & DESCRIPTOR_NEXT == 0 {
                return Ok(());
            }
            index = descriptor.next;
        }
    }

    /// The entry of a ring that an index is at: the size is a power of two.
    fn entry(&self, index: u16) -> u64 {
        u64::from(index & self.places.size.wrapping_sub(1))
    }

    fn read_u16(&self, memory: &dyn GuestMemory, ring: Gpa, offset: u64) -> Result<u16, Broken> {
        let mut bytes = [0; 2];
        memory.read(at(ring, offset)?, &mut bytes).map_err(|_| Broken)?;
        Ok(u16::from_le_bytes(bytes))
    }

    fn write_u16(&self, memory: &dyn GuestMemory, ring: Gpa, offset: u64, value: u16) -> Result<(), Broken> {
        memory.write(at(ring, offset)?, &value.to_le_bytes()).map_err(|_| Broken)
    }
}

/// The descriptors of an indirect table of `bytes` bytes, of which a chain can have `left`.
fn indirect_entries(bytes: u32, left: u16) -> Result<u16, Broken> {
    let size = Descriptor::BYTES as u32;
    let entries = u16::try_from(bytes / size).map_err(|_| Broken)?;
    if !bytes.is_multiple_of(size) || entries == 0 || entries > left { Err(Broken) } else { Ok(entries) }
}

/// Copies descriptor `index` of the `entries` ones of `table`.
fn read_descriptor(
    memory: &dyn GuestMemory,
    table: Gpa,
    index: u16,
    entries: u16,
) -> Result<Descriptor, Broken> {
    if index >= entries {
        return Err(Broken);
    }
    let mut bytes = [0; Descriptor::BYTES];
    memory.read(at(table, u64::from(index) * DESCRIPTOR_BYTES)?, &mut bytes).map_err(|_| Broken)?;
    Ok(Descriptor::decode(bytes))
}

#[cfg(test)]
mod tests;
