//! Guests' chipsets: one for each guest, under the lock that it has in ring 0 too.

use super::drivers::{self, Owner, Told};
use super::{Space, most_restarts, report_end, ticks};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use chipset_compartment::{AREA_WORDS, RemoteChipset};
use compartment::{Compartment, Ended, Restarts};
use devices::Chipset;
use plan::MachinePart;

/// Bytes of heap: the chipset, twice, and what one call of it causes.
const HEAP_BYTES: usize = 0x8000;

/// That of one guest, in which none of the guest's memory is.
struct Apart {
    name: String,
    space: Space,
    told: Arc<Told>,
    /// It is told its state next, and is not to end meanwhile.
    begins: bool,
}

impl Compartment for Apart {
    fn area(&mut self) -> &mut [u64] {
        self.space.area()
    }

    fn enter(&mut self) -> Result<(), Ended> {
        self.told.count_entry();
        if !core::mem::take(&mut self.begins) && self.told.take_end() {
            return Err(Ended::Killed);
        }
        self.space.enter()
    }

    fn own_bytes(&self) -> u64 {
        self.space.space.own_bytes()
    }

    fn restart(&mut self) -> Result<(), Ended> {
        self.begins = true;
        self.space.begin()
    }

    fn ended(&mut self, why: Ended, is_gone: bool) {
        self.told.ended(why, is_gone);
        if !is_gone {
            self.told.renewed();
        }
        report_end(&self.name, why, is_gone, self.space.take_fault_address());
    }
}

/// The chipset of the guest with this number and name, which is as `chipset` is.
///
/// # Errors
/// A sentence about why there is none.
pub fn of(index: usize, guest: &str, chipset: &Chipset) -> Result<Box<RemoteChipset>, String> {
    let name = format!("{guest}: chipset");
    let named = |why: String| format!("{name}: {why}");
    let space = Space::new(index as u32, AREA_WORDS, HEAP_BYTES).map_err(named)?;
    let own_bytes = space.space.own_bytes();
    let told = drivers::add(name.clone(), Owner::Machine(index, MachinePart::Chipset), own_bytes);
    let apart = Box::new(Apart { name: name.clone(), space, told, begins: true });
    let restarts = Restarts { most: most_restarts(), minute: ticks(60_000) };
    let remote = RemoteChipset::begin(apart, chipset, restarts);
    let remote = remote.map_err(|ended| named(format!("its compartment ended: {ended}")))?;
    log::info!("{name}: in ring 3, a compartment of {} KiB", own_bytes >> 10);
    Ok(Box::new(remote))
}
