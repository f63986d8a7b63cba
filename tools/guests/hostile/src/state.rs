//! What it keeps from one entry to the next, as the program does that it stands for.

use crate::attack::{self, Command};
use crate::puppet::{Puppet, Strings};
use access::GuestMemory;
use alloc::boxed::Box;
use alloc::rc::Rc;
use compartment::{Area, Places, Server};
use devices::Blueprint;
use hostile::Who;
use models::guest::Guest;

/// A device, whose strings are pulled from here, and the memory of its guest.
pub struct State {
    server: Server,
    guest: Guest,
    places: Places,
    who: Who,
    strings: Rc<Strings>,
}

impl State {
    /// Serves the first call in the words of the area. `None` where nothing was built, which the area says.
    ///
    /// # Safety
    /// The guest's memory that the call names is mapped `offset` above its addresses, for reading and writing, and
    /// nothing else of this program is.
    pub unsafe fn build(words: &mut [u64], offset: u64) -> Option<Self> {
        let (server, build) = Server::build(words, None)?;
        // There is heap for one.
        drop(server);
        let strings = Rc::new(Strings::default());
        let device = build.blueprint.build(None).ok()?;
        let puppet = Puppet { device, strings: strings.clone() };
        let server = Server::new(Box::new(puppet), build.blueprint.needs().carries_frames);
        // SAFETY: the caller's promise.
        let guest = unsafe { Guest::new(build.memory, offset) };
        let who = match build.blueprint {
            Blueprint::Serial => Who::Serial,
            Blueprint::Ne2000(_) => Who::Ne2000,
            Blueprint::Ide(_) => Who::Ide,
            _ => Who::Other,
        };
        Some(Self { server, guest, places: Places::of(build.sizes), who, strings })
    }

    /// Serves a later call, or does what the guest says. False where the area is too small to be one.
    pub fn serve(&mut self, words: &mut [u64]) -> bool {
        let command = Command::take(&self.guest, self.who);
        if let Some(command) = command {
            attack::instead(command);
        }
        self.strings.pull(command);
        let Some(mut area) = Area::new(words, &self.places) else { return false };
        let memory: &dyn GuestMemory = &self.guest;
        self.server.serve(memory, &mut area);
        if let Some(command) = command {
            attack::afterwards(command, words);
        }
        true
    }
}
