//! What a compartment keeps from one entry to the next.

use crate::guest::Guest;
use crate::random::Generator;
use access::GuestMemory;
use alloc::boxed::Box;
use compartment::{Area, Places, Server};
use devices::random::Source;

/// A device, and the memory of its guest.
pub struct State {
    server: Server,
    guest: Guest,
    places: Places,
}

impl State {
    /// Serves the first call in the words of the area. `None` where nothing was built, which the area says.
    ///
    /// # Safety
    /// The guest's memory that the call names is mapped `offset` above its addresses, for reading and writing, and
    /// nothing else of this program is.
    // Inlined, it would have its part of the stack at each entry.
    #[inline(never)]
    pub unsafe fn build(words: &mut [u64], offset: u64) -> Option<Self> {
        let source = Generator::detect().map(|generator| Box::new(generator) as Box<dyn Source>);
        let (server, build) = Server::build(words, source)?;
        // SAFETY: the caller's promise.
        let guest = unsafe { Guest::new(build.memory, offset) };
        Some(Self { server, guest, places: Places::of(build.sizes) })
    }

    /// Serves a later call. False where the area is too small to be one.
    pub fn serve(&mut self, words: &mut [u64]) -> bool {
        let Some(mut area) = Area::new(words, &self.places) else { return false };
        let memory: &dyn GuestMemory = &self.guest;
        self.server.serve(memory, &mut area);
        true
    }
}
