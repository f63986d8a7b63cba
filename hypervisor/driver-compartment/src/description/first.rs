//! The first call, which says what a compartment is for.

use crate::description::Description;
use crate::words::{FIRST, FIRST_BYTES, Text, Words, at, state};
#[cfg(feature = "drivers")]
use alloc::string::{String, ToString};
use compartment::Compartment;
use core::fmt;

/// How many bytes it has; how many areas there are to be.
const COUNT: usize = at::ARGUMENTS;

/// Words that the area of a first call has at least.
pub const FIRST_WORDS: usize = at::KEPT;

/// Why a compartment made no driver, in words.
#[derive(Clone, Copy, Debug)]
pub struct Unmade(Text);

impl Unmade {
    fn because(why: impl fmt::Display) -> Self {
        Self(Text::of(format_args!("{why}")))
    }
}

impl fmt::Display for Unmade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Description {
    /// Tells a compartment what it is for, by its first area, and has it make its driver. Returns how many areas
    /// it serves from now on: one for each drive. Nothing is allocated.
    ///
    /// # Errors
    /// Why it made none.
    pub fn enter(&self, compartment: &mut (impl Compartment + ?Sized)) -> Result<usize, Unmade> {
        let mut words = Words(compartment.area());
        let said = postcard::to_slice(self, words.bytes(at::OWN, FIRST_BYTES));
        let bytes = said.map_err(|_| Unmade::because("there is no room to say what it is for"))?.len();
        words.put(at::OPERATION, FIRST);
        words.put(COUNT, bytes as u64);
        words.put(at::ANSWERED, 0);
        compartment.enter().map_err(Unmade::because)?;
        let mut words = Words(compartment.area());
        if words.get(at::ANSWERED) != FIRST {
            return Err(Unmade::because("it says nothing of a driver"));
        }
        match words.get(at::STATE) {
            state::OFF => usize::try_from(words.get(COUNT))
                .ok()
                .filter(|count| matches!(count, 1..=32))
                .ok_or_else(|| Unmade::because("it has no drives, or more than an adapter can have")),
            _ => Err(Unmade(words.text())),
        }
    }
}

/// Serves the first call: `build` makes what serves the others, of what the compartment is for.
#[cfg(feature = "drivers")]
pub fn serve_first(
    area: &mut [u64],
    build: impl FnOnce(&Description) -> Result<crate::Server, String>,
) -> Option<crate::Server> {
    let mut words = Words(area);
    let count = usize::try_from(words.get(COUNT)).unwrap_or(0);
    let said = words.bytes(at::OWN, FIRST_BYTES).get(..count).unwrap_or_default();
    let described = postcard::from_bytes(said).map_err(|error| error.to_string());
    let built = described.and_then(|description| build(&description));
    words.put(at::ANSWERED, FIRST);
    match built {
        Ok(server) => {
            words.put(at::STATE, state::OFF);
            words.put(COUNT, server.areas() as u64);
            Some(server)
        }
        Err(why) => {
            words.put(at::STATE, state::FAILED);
            words.put_text(Some(&why));
            None
        }
    }
}
