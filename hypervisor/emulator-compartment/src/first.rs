//! The first call: the guest's memory.

use crate::area::{Words, at, of};
use alloc::vec::Vec;
use compartment::{Compartment, Ended, Kind, Range};
use spec::Gpa;

/// What is answered to it.
const READY: u64 = 0x6d65_0002;
/// Where the ranges are: behind how many they are.
const RANGES: usize = 1;
const MOST_RANGES: usize = (at::ANSWER - RANGES - 1) / 2;

/// What a compartment is told first.
#[derive(Clone, Default)]
pub struct First(Vec<Range>);

impl First {
    /// Of a guest with this memory. `None` where it is in more pieces than can be said.
    pub fn new(memory: Vec<Range>) -> Option<Self> {
        (memory.len() <= MOST_RANGES).then_some(Self(memory))
    }

    /// Tells the compartment.
    ///
    /// # Errors
    /// It does not understand.
    pub fn enter(&self, compartment: &mut dyn Compartment) -> Result<(), Ended> {
        let words = of(compartment.area()).ok_or(Ended::Answer("no area"))?;
        words.fill(0);
        words[at::OPERATION] = Kind::Interpreter.word();
        words[RANGES] = self.0.len() as u64;
        let (places, _) = words.split_at_mut(at::ANSWER);
        let places = places.get_mut(RANGES + 1..).unwrap_or_default().as_chunks_mut().0;
        for ([start, bytes], range) in places.iter_mut().zip(&self.0) {
            (*start, *bytes) = (range.start.0, range.bytes);
        }
        compartment.enter()?;
        let words = of(compartment.area()).ok_or(Ended::Answer("no area"))?;
        if words[at::ANSWER] == READY { Ok(()) } else { Err(Ended::Answer("not that it is ready")) }
    }

    /// Reads it, in the compartment, and answers.
    pub fn serve(words: &mut [u64]) -> Option<Vec<Range>> {
        let words: &mut Words = of(words)?;
        let count = usize::try_from(words[RANGES]).ok().filter(|count| *count <= MOST_RANGES)?;
        let places = words.get(RANGES + 1..at::ANSWER)?.as_chunks().0;
        let range = |[start, bytes]: &[u64; 2]| Range { start: Gpa(*start), bytes: *bytes };
        let ranges = places.iter().take(count).map(range).collect();
        words[at::ANSWER] = READY;
        Some(ranges)
    }
}
