//! The interpreter of a virtual processor's instructions, and its guest's memory.

use crate::guest::Guest;
use alloc::boxed::Box;
use emulator_compartment::{EmulatorServer, First};

/// It, from the first call on.
pub struct Interpreter {
    server: Box<EmulatorServer>,
    guest: Guest,
}

impl Interpreter {
    /// Serves the first call in the words of the area. `None` where they are too few.
    ///
    /// # Safety
    /// The guest's memory that the call names is mapped `offset` above its addresses, for reading and writing, and
    /// nothing else of this program is.
    // Inlined, it would have its part of the stack at each entry.
    #[inline(never)]
    pub unsafe fn begin(words: &mut [u64], offset: u64) -> Option<Self> {
        let memory = First::serve(words)?;
        // SAFETY: the caller's promise.
        let guest = unsafe { Guest::new(memory, offset) };
        Some(Self { server: Box::default(), guest })
    }

    /// Serves a later call. False where there is none.
    pub fn serve(&mut self, words: &mut [u64]) -> bool {
        self.server.serve(&self.guest, words)
    }
}
