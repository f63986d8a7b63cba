//! The emulated functions of a guest: each in its slot of the bus, and the device behind it.

mod contents;
mod ide;
mod nvme;
mod virtio_blk;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use backends::Disk;
use devices::Endpoint;
use guest::bus_function::BusFunction;
use handoff::bundle::Item;
use machine::chipset::config_space::MachineConfigSpace;
use machine::memory::mmio::Window;
use plan::{EmulatedPlan, GuestPlan, Model};
use spin::mutex::TicketMutex;
use vpci::{GuestBus, Slot};

/// Puts the emulated functions of guest `index` on its bus, and gives what is behind them; their
/// images are among the `items` of the bundle, or they have parts of the hypervisor's `disks`.
///
/// # Errors
/// A sentence about the image that is missing or damaged, the part that is not there, or the slot
/// that is taken.
pub fn build(
    index: usize,
    plan: &GuestPlan,
    bus: &mut GuestBus<BusFunction<&'static MachineConfigSpace, Window>>,
    items: &'static [Item<'static>],
    disks: &mut [Disk],
) -> Result<Box<[TicketMutex<Endpoint>]>, String> {
    let build = |(number, emulated): (usize, &EmulatedPlan)| {
        let slot = Slot::new(emulated.slot.device(), emulated.slot.function());
        let drive = contents::of(&emulated.backing, (index, plan), number, items, disks)?;
        let (kib, what) = (drive.kib(), drive.what.clone());
        let (function, endpoint) = match emulated.model {
            Model::Nvme => nvme::build(drive, slot),
            Model::Ide => ide::build(drive, slot)?,
            Model::VirtioBlk => virtio_blk::build(drive, plan.config.cpus.len()),
        };
        bus.insert(slot, BusFunction::Emulated { function, endpoint: number })
            .map_err(|error| format!("{error}"))?;
        log::info!("{}: {slot}: {} drive of {kib} KiB, {what}", plan.name, emulated.model.text());
        Ok(TicketMutex::new(endpoint))
    };
    plan.emulated.iter().enumerate().map(build).collect()
}

/// What a drive in this slot says its serial number is.
fn serial_number(slot: Slot) -> [u8; 20] {
    let mut serial = [b' '; 20];
    for (place, byte) in serial.iter_mut().zip(format!("bulkhead-{slot}").bytes()) {
        *place = byte;
    }
    serial
}
