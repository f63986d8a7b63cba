//! The first call: what the compartment is for.

use crate::area::{Answer, Area, Call, Places, Sizes};
use crate::ended::Ended;
use crate::entered::Compartment;
use crate::kind::Kind;
use crate::publish::PUBLISHED_BYTES;
use crate::serve::Server;
use alloc::boxed::Box;
use alloc::vec::Vec;
use devices::blueprint::{Blueprint, Unbuilt};
use devices::device::DeviceEffect;
use devices::random::Source;
use network::LARGEST_BYTES;
use serde::{Deserialize, Serialize};
use spec::Gpa;

#[cfg(test)]
mod tests;

/// What is answered to the first call.
const BUILT: u64 = 1;
const NOT_UNDERSTOOD: u64 = 2;
const NO_SOURCE: u64 = 3;
const BAD_SOURCE: u64 = 4;

const NO_ROOM: Ended = Ended::Answer("no room for what it is for");

/// Bytes of heap that managing it costs, and what is asked for while the device is built.
const SPARE_HEAP_BYTES: usize = 4096;

/// A piece of guest memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Range {
    /// Where the guest sees it.
    pub start: Gpa,
    /// Its size.
    pub bytes: u64,
}

/// What a compartment is for: the data of its first call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Build {
    /// The device.
    pub blueprint: Blueprint,
    /// The guest's memory, ascending, no two overlapping.
    pub memory: Vec<Range>,
    /// How large the parts of the area are, from the next call on.
    pub sizes: Sizes,
}

impl Build {
    /// What a compartment of this device is told, whose guest has this memory.
    pub fn new(blueprint: Blueprint, memory: Vec<Range>) -> Self {
        Self { blueprint, memory, sizes: Sizes::of(&blueprint) }
    }

    /// Bytes of heap that the compartment needs.
    pub fn heap_bytes(&self) -> usize {
        let needs = self.blueprint.needs();
        let frame = if needs.carries_frames { LARGEST_BYTES } else { 0 };
        [
            needs.heap_bytes,
            frame,
            needs.effects.saturating_mul(size_of::<DeviceEffect>()),
            PUBLISHED_BYTES,
            needs.state_words.saturating_mul(size_of::<u64>()),
            self.memory.len().saturating_mul(size_of::<Range>()),
            SPARE_HEAP_BYTES,
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    /// Tells the compartment, whose area is of [`Sizes::words`] words at least, and has it build its device.
    ///
    /// # Errors
    /// Where there is no room to say it, or the compartment did not build it.
    pub fn enter(&self, compartment: &mut impl Compartment) -> Result<(), Ended> {
        Self::enter_with(&self.to_bytes().ok_or(NO_ROOM)?, compartment)
    }

    /// What is said in the first call. `None` where it cannot be said.
    pub fn to_bytes(&self) -> Option<Box<[u8]>> {
        postcard::to_allocvec(self).ok().map(Vec::into_boxed_slice)
    }

    /// As [`enter`](Self::enter), with the bytes of one: nothing is allocated.
    ///
    /// # Errors
    /// As there.
    pub fn enter_with(bytes: &[u8], compartment: &mut impl Compartment) -> Result<(), Ended> {
        let places = Places::for_build(compartment.area().len());
        let mut area = Area::new(compartment.area(), &places).ok_or(NO_ROOM)?;
        area.set_call(&Call { bytes: bytes.len(), ..Call::first() });
        area.set_answer(&Answer::default());
        area.data().get_mut(..bytes.len()).ok_or(NO_ROOM)?.copy_from_slice(bytes);
        compartment.enter()?;
        let area = Area::new(compartment.area(), &places).ok_or(NO_ROOM)?;
        match area.answer()?.arguments {
            [BUILT, ..] => Ok(()),
            [NOT_UNDERSTOOD, ..] => Err(Ended::Answer("it does not understand what it is for")),
            [NO_SOURCE, ..] => Err(Ended::Answer("the processor has no random numbers")),
            [BAD_SOURCE, ..] => Err(Ended::Answer("the processor's random numbers are not used")),
            _ => Err(Ended::Answer("not whether it is built")),
        }
    }

    /// Reads what the first call says, if it says something.
    fn read(area: &mut Area<'_>) -> Option<Self> {
        let call = area.call();
        let is_first = call.operation == Kind::Model.word();
        let data = area.data().get(..call.bytes).filter(|_| is_first)?;
        postcard::from_bytes(data).ok()
    }
}

impl Server {
    /// Serves the first call, in the words of the area: the server of those that follow, and what it is for. An
    /// entropy device has its random numbers from `source`.
    pub fn build(words: &mut [u64], source: Option<Box<dyn Source>>) -> Option<(Self, Build)> {
        let places = Places::for_build(words.len());
        let mut area = Area::new(words, &places)?;
        let built = Build::read(&mut area);
        let device = built.as_ref().map(|build| build.blueprint.build(source));
        let answer = match &device {
            Some(Ok(_)) => BUILT,
            Some(Err(Unbuilt::NoSource)) => NO_SOURCE,
            Some(Err(Unbuilt::Source(_))) => BAD_SOURCE,
            None => NOT_UNDERSTOOD,
        };
        area.set_answer(&Answer { arguments: [answer, 0, 0, 0, 0], ..Answer::default() });
        let build = built?;
        let carries_frames = build.blueprint.needs().carries_frames;
        Some((Self::new(device?.ok()?, carries_frames), build))
    }
}
