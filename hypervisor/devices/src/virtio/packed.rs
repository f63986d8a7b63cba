//! A packed virtqueue, from the device's side (section 2.8).
//!
//! Places are counted through two laps of the ring, so that a position says the wrap counter too. The
//! second half of a descriptor, with the flags that say whose it is, is read and written as one: what
//! is acted on is what was checked.

use super::places::{Places, Progress, admission_of, admission_word, at};
use super::{Broken, Chain, Segment, Taken};
use crate::journal::bit;
use crate::rest::{self, Rest, Watch, Wish};
use access::GuestMemory;
use core::sync::atomic::{Ordering, fence};
use spec::Gpa;
use spec::virtio::packed::{
    DESCRIPTOR_AVAILABLE, DESCRIPTOR_FLAGS, DESCRIPTOR_INDIRECT, DESCRIPTOR_NEXT, DESCRIPTOR_STATE,
    DESCRIPTOR_USED, DESCRIPTOR_WRITE, DESCRIPTORS_ALIGN, Descriptor, EVENT_ALIGN, EVENT_BYTES, Event,
    MOST_DESCRIPTORS, Place, State,
};

const DESCRIPTOR_BYTES: u64 = Descriptor::BYTES as u64;
/// Above what bounds that which is taken: whether its device's event suppression is in memory.
const CHECKED: u32 = 32;

/// A queue that is enabled. What the driver said about it does not change any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packed {
    places: Places,
    /// The position of the descriptor to take next.
    next_available: u16,
    /// The position of the descriptor to write as used next.
    next_used: u16,
    /// Descriptors of lists that were put since it was last decided on an interrupt.
    untold: u16,
    /// Descriptors of lists that were taken and not put yet.
    outstanding: u16,
    /// Descriptors that may be taken, where that has a bound.
    admitted: Option<u16>,
    /// Its device's event suppression is in memory. While somebody polls it nobody writes there, maybe for long.
    is_checked: bool,
}

impl Packed {
    /// The queue at `places`, from which nothing was taken yet.
    ///
    /// # Errors
    /// Where it has no descriptors or too many, or a part of the queue is not aligned or ends beyond the
    /// address space.
    pub fn new(places: Places) -> Result<Self, Broken> {
        let Places { size, .. } = places;
        if size == 0 || size > MOST_DESCRIPTORS {
            return Err(Broken);
        }
        let event = (EVENT_ALIGN, EVENT_BYTES);
        places.check([(DESCRIPTORS_ALIGN, DESCRIPTOR_BYTES * u64::from(size)), event, event])?;
        Ok(Self {
            places,
            next_available: 0,
            next_used: 0,
            untold: 0,
            outstanding: 0,
            admitted: None,
            is_checked: false,
        })
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
        untold <= size && behind(next_used, next_available, size) == outstanding as u32
    }

    /// The queue at `places` that is so far.
    ///
    /// # Errors
    /// As [`new`](Self::new), and where there are no such positions, or not so many descriptors.
    pub(super) fn restored(places: Places, progress: Progress) -> Result<Self, Broken> {
        let Progress { next_available, next_used, untold, outstanding } = progress;
        let queue = Self::new(places)?;
        let is_position = |position: u16| u32::from(position) < queue.positions();
        if outstanding > places.size || !is_position(next_available) || !is_position(next_used) {
            return Err(Broken);
        }
        Ok(Self { next_available, next_used, untold, outstanding, ..queue })
    }

    /// See [`Ring::bounds`](super::Ring::bounds).
    pub(super) fn bounds(&self) -> u64 {
        admission_word(self.admitted) | u64::from(self.is_checked) << CHECKED
    }

    /// See [`Ring::go_on`](super::Ring::go_on).
    pub(super) fn go_on(&mut self, untold: u16, bounds: u64) -> bool {
        (self.untold, self.is_checked) = (untold, bit(bounds, CHECKED));
        admission_of(bounds & !(1 << CHECKED)).map(|admitted| self.admitted = admitted).is_some()
    }

    /// How many descriptors were taken and not put yet. It is never more than the queue has.
    pub const fn outstanding(&self) -> u16 {
        self.outstanding
    }

    /// Lets those lists be taken that are available now. Of the next one the driver notifies.
    ///
    /// # Errors
    /// As [`want_notifications`](Self::want_notifications).
    pub fn admit(&mut self, memory: &dyn GuestMemory) -> Result<(), Broken> {
        let mut admitted = self.available(memory, 0)?;
        // Each round but the last finds more, and there are no more than the queue has.
        loop {
            self.admitted = Some(admitted);
            self.ask(self.ahead(admitted), memory)?;
            let now = self.available(memory, admitted)?;
            if now == core::mem::replace(&mut admitted, now) {
                return Ok(());
            }
        }
    }

    /// How many descriptors are available, if the first `known` are.
    fn available(&self, memory: &dyn GuestMemory, known: u16) -> Result<u16, Broken> {
        let mut count = known;
        while count < self.free() && self.state(memory, self.ahead(count))?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Lets nothing be taken until [`admit`](Self::admit).
    pub const fn hold(&mut self) {
        self.admitted = Some(0);
    }

    /// Takes the next list that the driver made available. Whether there was one.
    ///
    /// # Errors
    /// Where the list breaks a rule: also one of which only the start is available, or that goes on
    /// where descriptors are that were not given back.
    pub fn take(&mut self, memory: &dyn GuestMemory, chain: &mut Chain) -> Result<bool, Broken> {
        let most = self.free().min(self.admitted.unwrap_or(u16::MAX));
        if most == 0 {
            return Ok(false);
        }
        let Some(first) = self.state(memory, self.next_available)? else { return Ok(false) };
        if !self.is_checked && !memory.contains(self.places.device, EVENT_BYTES) {
            return Err(Broken);
        }
        chain.begin();
        let taken = self.follow(memory, first, most, chain)?;
        chain.taken = taken;
        self.is_checked = true;
        self.next_available = self.ahead(taken.entries);
        self.outstanding += taken.entries;
        self.admitted = self.admitted.map(|left| left.saturating_sub(taken.entries));
        Ok(true)
    }

    /// Gives lists that were taken back to the driver, which sees all of them at once, each with the
    /// bytes that the device wrote to the start of its writable part: the first of them, at which the
    /// driver looks, is written last. Whether the driver is to be interrupted is another question
    /// ([`take_interrupt`](Self::take_interrupt)).
    ///
    /// # Errors
    /// Where so many are not outstanding, or the ring is not in memory.
    pub fn put_all(&mut self, memory: &dyn GuestMemory, lists: &[(Taken, u32)]) -> Result<(), Broken> {
        let Some(((first, written), rest)) = lists.split_first() else { return Ok(()) };
        let entries = lists.iter().try_fold(0_u16, |all, (taken, _)| all.checked_add(taken.entries));
        let entries = entries.ok_or(Broken)?;
        self.outstanding = self.outstanding.checked_sub(entries).ok_or(Broken)?;
        self.untold = self.untold.saturating_add(entries);
        let start = self.next_used;
        let mut next = self.sum(start, first.entries);
        for (taken, written) in rest {
            self.write_used(memory, next, *taken, *written)?;
            next = self.sum(next, taken.entries);
        }
        self.next_used = next;
        // The others, and the data before them, are there before the first one tells of them.
        fence(Ordering::Release);
        self.write_used(memory, start, *first, *written)
    }

    /// Has lists of so many descriptors be taken again later: those that were taken last, and not put.
    ///
    /// # Errors
    /// Where so many are not outstanding.
    pub fn untake(&mut self, entries: u16) -> Result<(), Broken> {
        self.outstanding = self.outstanding.checked_sub(entries).ok_or(Broken)?;
        self.admitted = self.admitted.map(|left| left.saturating_add(entries));
        let all = self.positions();
        let back = u32::from(self.next_available) + all - u32::from(entries);
        self.next_available = if back < all { back } else { back - all } as u16;
        Ok(())
    }

    /// Whether nothing is left to tell, and nothing waits to be taken where that `is_taken`; as
    /// [`Split::rests`](super::Split::rests).
    pub(super) fn rests(&self, is_taken: bool, rest: &mut Rest, memory: &dyn GuestMemory) -> bool {
        let never = Event::Never.encode();
        let wanted = if is_taken { self.wish(self.next_available).encode() } else { never };
        let place = rest::Place { gpa: self.places.device, is_wide: true };
        self.untold == 0
            && rest.wish(Wish { place, wanted, unwanted: Some(never) })
            && (!is_taken || self.free() > 0 && self.waits(rest, memory).unwrap_or(false))
    }

    /// Whether the next descriptor is not available. Its flags are watched.
    fn waits(&self, rest: &mut Rest, memory: &dyn GuestMemory) -> Result<bool, Broken> {
        let descriptor = self.descriptor(self.next_available)?;
        let state = State::decode(read(memory, at(descriptor, DESCRIPTOR_STATE)?)?);
        let is_available = state.is_available(Place::at(self.next_available, self.places.size).wrap);
        let place = rest::Place { gpa: at(descriptor, DESCRIPTOR_FLAGS)?, is_wide: false };
        Ok(!is_available && rest.watch(Watch { place, value: state.flags.into() }))
    }

    /// Whether the driver wants an interrupt for what was put since this was last asked. After two laps
    /// without a question the answer is yes.
    ///
    /// # Errors
    /// Where the driver's event suppression is not in memory.
    pub fn take_interrupt(&mut self, memory: &dyn GuestMemory) -> Result<bool, Broken> {
        if self.untold == 0 {
            return Ok(false);
        }
        // The used descriptors are there before the driver's wish is read: the driver writes its wish,
        // and then looks at the ring again.
        fence(Ordering::SeqCst);
        let event = memory.read32(self.places.driver).map_err(|_| Broken)?;
        let wanted = match Event::decode(event) {
            Event::Never => false,
            Event::At(place) if self.places.event_index => self.has_passed(place, self.untold),
            // What is reserved asks for nothing less.
            Event::Always | Event::At(_) | Event::Reserved => true,
        };
        // Where they are not there yet, a driver that does not want one may want one when they are.
        if wanted || !memory.is_late() {
            self.untold = 0;
        }
        Ok(wanted)
    }

    /// Tells the driver whether to notify of the next list that it makes available. Whether one is
    /// there already, of which it may not notify. With event indexes what the driver was told holds
    /// for one list: it has to be told again after each that is taken.
    ///
    /// # Errors
    /// Where a part of the queue is not in memory.
    pub fn want_notifications(&mut self, wanted: bool, memory: &dyn GuestMemory) -> Result<bool, Broken> {
        if wanted {
            self.ask(self.next_available, memory)?;
            return Ok(self.free() > 0 && self.state(memory, self.next_available)?.is_some());
        }
        self.tell(Event::Never, memory)?;
        Ok(false)
    }

    /// Asks the driver to notify once it makes the descriptor at `position` available.
    fn ask(&self, position: u16, memory: &dyn GuestMemory) -> Result<(), Broken> {
        self.tell(self.wish(position), memory)?;
        // The wish is there before the ring is read: the driver writes the ring, and then looks at the
        // wish.
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// How the driver is told to notify once the descriptor at `position` is available.
    fn wish(&self, position: u16) -> Event {
        if self.places.event_index { Event::At(Place::at(position, self.places.size)) } else { Event::Always }
    }

    fn tell(&self, event: Event, memory: &dyn GuestMemory) -> Result<(), Broken> {
        memory.write32(self.places.device, event.encode()).map_err(|_| Broken)
    }

    /// Whether `place` is among the `untold` descriptors before the one that is used next.
    const fn has_passed(&self, place: Place, untold: u16) -> bool {
        let Place { offset, wrap } = place;
        let Places { size, .. } = self.places;
        if untold as u32 >= self.positions() {
            return true;
        }
        // A place that is none is never passed.
        if offset >= size {
            return false;
        }
        let position = if wrap { offset as u32 } else { offset as u32 + size as u32 };
        let behind = behind(position as u16, self.next_used, size);
        behind != 0 && behind <= untold as u32
    }

    /// Copies the descriptors of the list that begins with `first`, at most `most` of the ring. A list
    /// has no more than the queue (section 2.8.17), those of an indirect table counted.
    fn follow(
        &self,
        memory: &dyn GuestMemory,
        first: State,
        most: u16,
        chain: &mut Chain,
    ) -> Result<Taken, Broken> {
        let mut state = first;
        let mut entries = 0;
        loop {
            if entries == most {
                return Err(Broken);
            }
            let gpa = Gpa(read(memory, self.descriptor(self.ahead(entries))?)?);
            entries += 1;
            let goes_on = state.flags & DESCRIPTOR_NEXT != 0;
            if state.flags & DESCRIPTOR_INDIRECT == 0 {
                add(chain, gpa, state)?;
            } else if self.places.indirect && entries == 1 && !goes_on {
                self.follow_table(memory, gpa, state.bytes, chain)?;
            } else {
                return Err(Broken);
            }
            if !goes_on {
                return Ok(Taken { head: state.id, entries });
            }
            state = self.state(memory, self.ahead(entries))?.ok_or(Broken)?;
        }
    }

    /// Copies the descriptors of an indirect table of `bytes` bytes. All that they say besides a buffer
    /// is which side writes it (section 2.8.7).
    fn follow_table(
        &self,
        memory: &dyn GuestMemory,
        table: Gpa,
        bytes: u32,
        chain: &mut Chain,
    ) -> Result<(), Broken> {
        let size = Descriptor::BYTES as u32;
        let entries = bytes / size;
        if !bytes.is_multiple_of(size) || entries == 0 || entries > self.places.size.into() {
            return Err(Broken);
        }
        for entry in 0..u64::from(entries) {
            let descriptor = at(table, entry * DESCRIPTOR_BYTES)?;
            let state = State::decode(read(memory, at(descriptor, DESCRIPTOR_STATE)?)?);
            add(chain, Gpa(read(memory, descriptor)?), state)?;
        }
        Ok(())
    }

    /// What the descriptor at `position` says besides its address, if it is available.
    fn state(&self, memory: &dyn GuestMemory, position: u16) -> Result<Option<State>, Broken> {
        let state = State::decode(read(memory, at(self.descriptor(position)?, DESCRIPTOR_STATE)?)?);
        // What the flags tell of is read after them.
        fence(Ordering::Acquire);
        Ok(state.is_available(Place::at(position, self.places.size).wrap).then_some(state))
    }

    fn write_used(
        &self,
        memory: &dyn GuestMemory,
        position: u16,
        taken: Taken,
        written: u32,
    ) -> Result<(), Broken> {
        let is_first_lap = Place::at(position, self.places.size).wrap;
        let lap = if is_first_lap { DESCRIPTOR_AVAILABLE | DESCRIPTOR_USED } else { 0 };
        let flags = if written == 0 { lap } else { lap | DESCRIPTOR_WRITE };
        let state = State { bytes: written, id: taken.head, flags };
        let place = at(self.descriptor(position)?, DESCRIPTOR_STATE)?;
        memory.publish(place, &state.encode().to_le_bytes()).map_err(|_| Broken)
    }

    /// Where the descriptor at `position` is.
    fn descriptor(&self, position: u16) -> Result<Gpa, Broken> {
        let offset = Place::at(position, self.places.size).offset;
        at(self.places.descriptors, u64::from(offset) * DESCRIPTOR_BYTES)
    }

    /// How many descriptors the driver may have made available.
    const fn free(&self) -> u16 {
        self.places.size.saturating_sub(self.outstanding)
    }

    /// Positions of two laps.
    const fn positions(&self) -> u32 {
        2 * self.places.size as u32
    }

    /// The position `entries` (at most two laps) behind the one that is taken next.
    const fn ahead(&self, entries: u16) -> u16 {
        self.sum(self.next_available, entries)
    }

    const fn sum(&self, position: u16, entries: u16) -> u16 {
        let sum = position as u32 + entries as u32;
        let all = self.positions();
        (if sum < all { sum } else { sum - all }) as u16
    }
}

/// How far position `to` is behind `from` in two laps of `size` descriptors.
const fn behind(from: u16, to: u16, size: u16) -> u32 {
    match (to as u32).checked_sub(from as u32) {
        Some(distance) => distance,
        None => (to as u32 + 2 * size as u32).saturating_sub(from as u32),
    }
}

fn add(chain: &mut Chain, gpa: Gpa, state: State) -> Result<(), Broken> {
    chain.add(Segment { gpa, bytes: state.bytes }, state.flags & DESCRIPTOR_WRITE != 0)
}

fn read(memory: &dyn GuestMemory, gpa: Gpa) -> Result<u64, Broken> {
    memory.read64(gpa).map_err(|_| Broken)
}

#[cfg(test)]
mod tests;
