//! Interpreters of guests' instructions: one for each virtual processor, so that none waits for another.

use super::drivers::{self, Owner, Told};
use super::{Space, Whose, most_restarts, ranges, report_end, ticks};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use compartment::{Compartment, Ended, Restarts, layout};
use emulator_compartment::{AREA_WORDS, First, RemoteEmulator};
use plan::MachinePart;

/// Bytes of heap: the interpreter, and how its guest's memory lies.
const HEAP_BYTES: usize = 0x8000;

/// That of one virtual processor.
struct Apart {
    name: String,
    space: Space,
    /// What the first call says.
    first: First,
    told: Arc<Told>,
    /// It is told that now, and is not to end meanwhile.
    begins: bool,
}

impl Compartment for Apart {
    fn area(&mut self) -> &mut [u64] {
        self.space.area()
    }

    fn enter(&mut self) -> Result<(), Ended> {
        self.told.count_entry();
        if !self.begins && self.told.take_end() {
            return Err(Ended::Killed);
        }
        self.space.enter()
    }

    fn own_bytes(&self) -> u64 {
        self.space.space.own_bytes()
    }

    fn restart(&mut self) -> Result<(), Ended> {
        self.space.begin()?;
        let first = core::mem::take(&mut self.first);
        self.begins = true;
        let entered = first.enter(self);
        (self.first, self.begins) = (first, false);
        entered.inspect(|()| self.told.renewed())
    }

    fn ended(&mut self, why: Ended, is_gone: bool) {
        self.told.ended(why, is_gone);
        report_end(&self.name, why, is_gone, self.space.take_fault_address());
    }
}

/// The interpreter of virtual processor `number` of this guest.
///
/// # Errors
/// A sentence about why there is none.
pub fn of((index, plan, memory): Whose<'_>, number: usize) -> Result<Box<RemoteEmulator>, String> {
    let name = format!("{}: vCPU {number}: interpreter", plan.name);
    let named = |why: String| format!("{name}: {why}");
    let first =
        First::new(ranges(memory)).ok_or_else(|| named("its guest's memory is in too many pieces".into()))?;
    let mut space = Space::new(index as u32, AREA_WORDS, HEAP_BYTES).map_err(named)?;
    let added = space.space.add_guest(layout::GUEST, memory);
    added.map_err(|error| named(format!("its guest's memory cannot be in it: {error:?}")))?;
    let own_bytes = space.space.own_bytes();
    let told = drivers::add(name.clone(), Owner::Machine(index, MachinePart::Interpreter), own_bytes);
    let first_of_all = first.clone();
    let apart = Box::new(Apart { name: name.clone(), space, first, told, begins: false });
    let restarts = Restarts { most: most_restarts(), minute: ticks(60_000) };
    let remote = RemoteEmulator::begin(apart, &first_of_all, restarts);
    let remote = remote.map_err(|ended| named(format!("its compartment ended: {ended}")))?;
    log::info!("{name}: in ring 3, a compartment of {} KiB", own_bytes >> 10);
    Ok(Box::new(remote))
}
