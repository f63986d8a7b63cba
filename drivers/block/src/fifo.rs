//! Numbers of slots in the order in which they came, each once.

use alloc::boxed::Box;

/// Room for each of a number of slots.
#[derive(Debug)]
pub struct Fifo {
    places: Box<[u16]>,
    /// Where the first one is, and how many there are.
    first: usize,
    len: usize,
}

impl Fifo {
    /// With nobody in it, and room for `slots`.
    pub fn new(slots: u16) -> Self {
        Self { places: core::iter::repeat_n(0, slots.into()).collect(), first: 0, len: 0 }
    }

    /// With all of `slots` in it, from the lowest on.
    pub fn full(slots: u16) -> Self {
        Self { places: (0..slots).collect(), first: 0, len: slots.into() }
    }

    /// The first one.
    pub fn front(&self) -> Option<u16> {
        self.places.get(self.first).copied().filter(|_| self.len > 0)
    }

    /// Puts one behind the others. It is not among them, so there is room.
    pub fn push(&mut self, slot: u16) {
        let place = self.place(self.len);
        if self.len < self.places.len()
            && let Some(place) = self.places.get_mut(place)
        {
            *place = slot;
            self.len += 1;
        }
    }

    /// Takes the first one.
    pub fn pop(&mut self) -> Option<u16> {
        let slot = self.front()?;
        self.first = self.place(1);
        self.len -= 1;
        Some(slot)
    }

    /// Takes one out, wherever it is: at once where that is the front.
    pub fn remove(&mut self, slot: u16) {
        if self.front() == Some(slot) {
            self.pop();
        } else {
            self.retain(|other| other != slot);
        }
    }

    /// Keeps those of which `stays` says so, in their order.
    pub fn retain(&mut self, mut stays: impl FnMut(u16) -> bool) {
        for _ in 0..self.len {
            if let Some(slot) = self.pop()
                && stays(slot)
            {
                self.push(slot);
            }
        }
    }

    /// How often one is in it.
    #[cfg(test)]
    pub fn count(&self, slot: u16) -> usize {
        (0..self.len).filter(|&before| self.places.get(self.place(before)) == Some(&slot)).count()
    }

    /// Where the one is that has `before` before it, at most as many as there is room for.
    const fn place(&self, before: usize) -> usize {
        let place = self.first + before;
        place.saturating_sub(if place < self.places.len() { 0 } else { self.places.len() })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        /// It does what a queue of the standard library does.
        #[test]
        fn it_is_a_queue(steps in proptest::collection::vec((0_u8..5, 0_u16..6), 0..200)) {
            let (mut fifo, mut model) = (Fifo::new(6), VecDeque::new());
            for (what, slot) in steps {
                match what {
                    0 | 1 if !model.contains(&slot) => {
                        fifo.push(slot);
                        model.push_back(slot);
                    }
                    2 => prop_assert_eq!(fifo.pop(), model.pop_front()),
                    3 => {
                        fifo.remove(slot);
                        model.retain(|&other| other != slot);
                    }
                    _ => {
                        fifo.retain(|other| other != slot && other != 0);
                        model.retain(|&other| other != slot && other != 0);
                    }
                }
                prop_assert_eq!(fifo.front(), model.front().copied());
            }
            let rest: std::vec::Vec<_> = core::iter::from_fn(|| fifo.pop()).collect();
            prop_assert_eq!(rest, std::vec::Vec::from(model));
        }
    }

    #[test]
    fn a_full_one_has_all_from_the_lowest_on() {
        let mut fifo = Fifo::full(3);
        assert_eq!([fifo.pop(), fifo.pop(), fifo.pop(), fifo.pop()], [Some(0), Some(1), Some(2), None]);
        assert_eq!(Fifo::new(0).pop(), None);
    }
}
