//! The emulated functions of a guest: each in its slot of the bus, and the device behind it.

mod bochs_display;
mod contents;
mod ide;
mod ivshmem;
mod ne2000;
mod nvme;
mod place;
mod serial;
mod virtio;
mod virtio_blk;
mod virtio_console;
mod virtio_net;
mod virtio_rng;

use crate::backings::Backings;
use crate::compartments::Whose;
use crate::display::Display;
use crate::taken::Taken;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use devices::Endpoint;
use devices::endpoint::Which;
use guest::bus_function::BusFunction;
use guest::waiting::Watched;
use handoff::bundle::Item;
use machine::chipset::config_space::MachineConfigSpace;
use machine::memory::heap;
use machine::memory::mmio::Window;
use place::Owner;
use plan::{Backing, Base, EmulatedPlan, Model, PortPlan};
use vpci::{EmulatedFunction, GuestBus, Slot};

/// Puts the emulated functions of guest `index` on its bus, and gives what is behind them; their
/// images are among the `items` of the bundle, or they have parts of the hypervisor's drives, or are
/// connected to its networks.
///
/// # Errors
/// A sentence about the image that is missing or damaged, the part that is not there, or the slot
/// that is taken.
pub fn build(
    whose @ (index, plan, _): Whose<'_>,
    bus: &mut GuestBus<BusFunction<&'static MachineConfigSpace, Window>>,
    items: &'static [Item<'static>],
    backings: &mut Backings,
    taken: &mut Taken,
) -> Result<Box<[Watched<Endpoint>]>, String> {
    let build = |(number, emulated): (usize, &EmulatedPlan)| {
        let slot = Slot::new(emulated.slot.device(), emulated.slot.function());
        let used = heap::used();
        let owner = Owner { guest: plan, whose, function: emulated, slot };
        let (function, endpoint) = match &emulated.base {
            Base::Drive(backing) => {
                drive(owner, backing, (index, number), (items, &mut *backings, &mut *taken))?
            }
            Base::Port(port) => interface(owner, port, (index, number), backings)?,
            Base::SharedMemory(peer) => ivshmem::build(owner, &mut backings.memories, peer, (index, number))?,
            Base::RandomNumbers => virtio_rng::build(owner)?,
            Base::Console => console(owner)?,
            Base::Display { video_memory_bytes } => {
                let (function, endpoint, memory) = bochs_display::build(owner, *video_memory_bytes, taken)?;
                taken.display = Some(Display { endpoint: number, memory });
                log::info!("{}: {slot}: a display with {} KiB", plan.name, video_memory_bytes >> 10);
                (function, endpoint)
            }
        };
        bus.insert(slot, BusFunction::Emulated { function, endpoint: number })
            .map_err(|error| format!("{error}"))?;
        let bytes = heap::used().saturating_sub(used) + size_of::<Watched<Endpoint>>() as u64;
        log::info!("{}: {slot}: {} takes {bytes} bytes", plan.name, emulated.model.text());
        Ok(Watched::new(endpoint))
    };
    plan.emulated.iter().enumerate().map(build).collect()
}

/// A guest's function: its guest's number, and its own among the endpoints.
type Numbers = (usize, usize);

/// A drive, and what is on it; or two at one controller.
fn drive(
    owner: Owner<'_>,
    backing: &Backing,
    (index, number): Numbers,
    (items, backings, taken): (&'static [Item<'static>], &mut Backings, &mut Taken),
) -> Result<(EmulatedFunction, Endpoint), String> {
    let Owner { guest: plan, function: emulated, slot, .. } = owner;
    let model = emulated.model;
    let mut contents = |which, backing: &Backing| {
        let drive = match &backing.disk {
            Some(disk) => {
                let whose = (index, number, which);
                contents::of_disk(&mut backings.disks, disk, whose, backing.partition.as_ref())?
            }
            None => contents::of_image(items, (&plan.name, slot), backing, taken)?,
        };
        log::info!("{}: {slot}: {} drive of {} KiB, {}", plan.name, model.text(), drive.kib(), drive.what);
        Ok::<_, String>(drive)
    };
    let drive = contents(Which::First, backing)?;
    let second = emulated.second_backing.as_ref();
    let second = second.map(|backing| contents(Which::Second, backing)).transpose()?;
    match model {
        Model::Nvme => nvme::build(owner, drive),
        Model::Ide => ide::build(owner, drive, second),
        Model::VirtioBlk => virtio_blk::build(owner, drive),
        _ => Err("it is no drive".into()),
    }
}

/// A network interface, and the port that it is connected to.
fn interface(
    owner: Owner<'_>,
    port: &PortPlan,
    (index, number): Numbers,
    backings: &mut Backings,
) -> Result<(EmulatedFunction, Endpoint), String> {
    let Owner { guest: plan, function: &EmulatedPlan { model, .. }, slot, .. } = owner;
    let PortPlan { network: name, config } = port;
    let network = backings.networks.iter_mut().find(|network| network.name == *name);
    let network = network.ok_or_else(|| format!("its network {name} cannot be used"))?;
    network.add_port(index, number, *config).map_err(|error| format!("network {name}: {error}"))?;
    let mac = config.mac.ok_or("it has no address")?;
    log::info!("{}: {slot}: {} interface {mac} on network {name}", plan.name, model.text());
    match model {
        Model::VirtioNet => virtio_net::build(owner, mac),
        Model::Ne2000 => ne2000::build(owner, mac),
        _ => Err("it is no network interface".into()),
    }
}

/// A console.
fn console(owner: Owner<'_>) -> Result<(EmulatedFunction, Endpoint), String> {
    let Owner { guest: plan, function: &EmulatedPlan { model, .. }, slot, .. } = owner;
    log::info!("{}: {slot}: {} console, {}:{slot}", plan.name, model.text(), plan.name);
    match model {
        Model::VirtioConsole => virtio_console::build(owner),
        Model::Serial => serial::build(owner),
        _ => Err("it is no console".into()),
    }
}
