//! What a device that has nothing to do waits for, so that whoever polls it need not ask it.

use access::{GuestMemory, OutOfBounds};
use core::sync::atomic::{Ordering, fence};
use spec::Gpa;

/// The most places that a device watches, and the most by which it says whether it is to be told.
pub const MOST_PLACES: usize = 16;

/// A place in the guest's memory, of 2 or 4 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Place {
    /// Where.
    pub gpa: Gpa,
    /// Whether it has 4 bytes.
    pub is_wide: bool,
}

impl Place {
    pub(crate) fn read(self, memory: &dyn GuestMemory) -> Result<u32, OutOfBounds> {
        let mut bytes = [0; 4];
        let [low @ .., _, _] = &mut bytes;
        if self.is_wide { memory.read(self.gpa, &mut bytes) } else { memory.read(self.gpa, low) }?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn write(self, value: u32, memory: &dyn GuestMemory) -> Result<(), OutOfBounds> {
        let bytes = value.to_le_bytes();
        let [low @ .., _, _] = &bytes;
        if self.is_wide { memory.write(self.gpa, &bytes) } else { memory.write(self.gpa, low) }
    }
}

/// A place in the guest's memory, and what it held when the device looked.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Watch {
    /// Where.
    pub place: Place,
    /// What it held.
    pub value: u32,
}

/// A place in the guest's memory by which the guest is told whether it is to tell of what it puts into a queue.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Wish {
    /// Where.
    pub place: Place,
    /// What is there where it is.
    pub wanted: u32,
    /// What is there where it need not, if anything has to be.
    pub unwanted: Option<u32>,
}

/// Nothing waits in a device, and nothing will while the places that it watches hold what they do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rest {
    watches: [Watch; MOST_PLACES],
    watched: usize,
    wishes: [Wish; MOST_PLACES],
    wished: usize,
}

impl Rest {
    /// It waits for accesses alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// It waits for accesses alone, again.
    pub const fn clear(&mut self) {
        (self.watched, self.wished) = (0, 0);
    }

    /// It waits for another value there as well. False where it watches too many places.
    pub fn watch(&mut self, watch: Watch) -> bool {
        let place = self.watches.get_mut(self.watched);
        self.watched += usize::from(place.is_some());
        place.map(|place| *place = watch).is_some()
    }

    /// The guest is told whether it is to tell by this as well. False where there are too many.
    pub fn wish(&mut self, wish: Wish) -> bool {
        let place = self.wishes.get_mut(self.wished);
        self.wished += usize::from(place.is_some());
        place.map(|place| *place = wish).is_some()
    }

    /// What it watches.
    pub fn watches(&self) -> &[Watch] {
        self.watches.get(..self.watched).unwrap_or_default()
    }

    /// What the guest is told by.
    pub fn wishes(&self) -> &[Wish] {
        self.wishes.get(..self.wished).unwrap_or_default()
    }

    /// Whether it still has nothing to do. A place that cannot be read is for the device to look at.
    pub fn goes_on(&self, memory: &dyn GuestMemory) -> bool {
        self.watches().iter().all(|watch| watch.place.read(memory) == Ok(watch.value))
    }

    /// Does what [`Device::want_notifications`](crate::Device::want_notifications) of this device does.
    ///
    /// # Errors
    /// A place cannot be written: then it is for the device to do.
    pub fn want_notifications(&self, wanted: bool, memory: &dyn GuestMemory) -> Result<bool, OutOfBounds> {
        for Wish { place, wanted: value, unwanted } in self.wishes() {
            if let Some(value) = if wanted { Some(*value) } else { *unwanted } {
                place.write(value, memory)?;
            }
        }
        // The wish is there before the queues are looked at: the guest fills a queue, and then looks at the wish.
        fence(Ordering::SeqCst);
        Ok(wanted && !self.goes_on(memory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::memory::VecMemory;

    const NARROW: Place = Place { gpa: Gpa(0x10), is_wide: false };
    const WIDE: Place = Place { gpa: Gpa(0x10), is_wide: true };
    const NOWHERE: Place = Place { gpa: Gpa(0xfff), is_wide: false };

    #[test]
    fn it_goes_on_until_a_place_holds_another_value() {
        let memory = VecMemory::new(0x1000);
        let mut rest = Rest::new();
        assert!(rest.goes_on(&memory));
        assert!(rest.watch(Watch { place: NARROW, value: 0x201 }));
        assert!(!rest.goes_on(&memory));
        memory.write(Gpa(0x10), &[1, 2, 3, 4]).unwrap();
        assert!(rest.goes_on(&memory), "two bytes are looked at");
        assert!(rest.watch(Watch { place: WIDE, value: 0x0403_0201 }));
        assert!(rest.goes_on(&memory));
        memory.write(Gpa(0x13), &[5]).unwrap();
        assert!(!rest.goes_on(&memory));
    }

    #[test]
    fn the_guest_is_told_and_what_it_missed_is_found() {
        let memory = VecMemory::new(0x1000);
        let mut rest = Rest::new();
        assert!(rest.wish(Wish { place: NARROW, wanted: 7, unwanted: Some(0xffff_0001) }));
        assert!(rest.wish(Wish {
            place: Place { gpa: Gpa(0x20), is_wide: true },
            wanted: 0x1234_5678,
            unwanted: None
        }));
        assert!(rest.watch(Watch { place: Place { gpa: Gpa(0x30), is_wide: false }, value: 0 }));
        assert_eq!(rest.want_notifications(true, &memory), Ok(false));
        assert_eq!((memory.read32(Gpa(0x10)), memory.read32(Gpa(0x20))), (Ok(7), Ok(0x1234_5678)));
        assert_eq!(rest.want_notifications(false, &memory), Ok(false));
        assert_eq!((memory.read32(Gpa(0x10)), memory.read32(Gpa(0x20))), (Ok(1), Ok(0x1234_5678)));
        memory.write(Gpa(0x31), &[1]).unwrap();
        assert_eq!(rest.want_notifications(false, &memory), Ok(false), "whoever polls finds it");
        assert_eq!(rest.want_notifications(true, &memory), Ok(true));
    }

    #[test]
    fn what_cannot_be_reached_is_for_the_device() {
        let memory = VecMemory::new(0x1000);
        let mut rest = Rest::new();
        assert!(rest.watch(Watch { place: NOWHERE, value: 0 }));
        assert!(!rest.goes_on(&memory));
        assert!(rest.wish(Wish { place: NOWHERE, wanted: 0, unwanted: None }));
        assert_eq!(rest.want_notifications(true, &memory), Err(OutOfBounds));
        assert_eq!(rest.want_notifications(false, &memory), Ok(false));
    }

    #[test]
    fn more_places_than_there_is_room_for_are_not_watched() {
        let mut rest = Rest::new();
        assert!((0..MOST_PLACES).all(|_| rest.watch(Watch::default()) && rest.wish(Wish::default())));
        assert!(!rest.watch(Watch::default()) && !rest.wish(Wish::default()));
        assert_eq!((rest.watches().len(), rest.wishes().len()), (MOST_PLACES, MOST_PLACES));
    }
}
