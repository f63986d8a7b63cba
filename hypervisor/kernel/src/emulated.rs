//! The emulated functions of a guest: each in its slot of the bus, and the device behind it.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use devices::medium::{ImageMedium, Medium};
use devices::nvme::{BlockSize, Config, Nvme, WINDOW_BYTES};
use devices::{Backend, Endpoint};
use guest::bus_function::BusFunction;
use handoff::bundle::{Item, ItemKind};
use machine::chipset::config_space::MachineConfigSpace;
use machine::memory::mmio::Window;
use plan::{EmulatedPlan, GuestPlan, Model};
use spin::mutex::TicketMutex;
use vpci::{BarLayout, EmulatedFunction, GuestBus, Identity, Slot};

/// The identity of QEMU's controller, whose class is what drivers look at. Linux takes no
/// "write zeroes" from it, which this one does not offer anyway.
const NVME: Identity = Identity { vendor: 0x1b36, device: 0x0010, class: 0x01_0802, revision: 2 };
/// Messages of a controller: the admin queue's, and one for each pair of I/O queues.
const NVME_MESSAGES: u16 = 5;
/// Where things are in its BAR, for which the Plan left room.
const NVME_LAYOUT: BarLayout = BarLayout::new(WINDOW_BYTES, NVME_MESSAGES);
const _: () = assert!(NVME_LAYOUT.bytes == Model::Nvme.bar_bytes());

/// Puts the guest's emulated functions on its bus, and gives what is behind them; their images are among the
/// `items` of the bundle.
///
/// # Errors
/// A sentence about the image that is missing or damaged, or the slot that is taken.
pub fn build(
    plan: &GuestPlan,
    bus: &mut GuestBus<BusFunction<&'static MachineConfigSpace, Window>>,
    items: &'static [Item<'static>],
) -> Result<Box<[TicketMutex<Endpoint>]>, String> {
    let build = |(number, emulated): (usize, &EmulatedPlan)| {
        let Model::Nvme = emulated.model;
        let name = emulated.backing.image.as_deref().ok_or("its emulated drive has no image")?;
        let image = image(items, &plan.name, name)?;
        let function = EmulatedFunction::new(NVME, NVME_MESSAGES, NVME_LAYOUT);
        let slot = Slot::new(emulated.slot.device(), emulated.slot.function());
        bus.insert(slot, BusFunction::Emulated { function, endpoint: number })
            .map_err(|error| format!("{error}"))?;
        let medium = ImageMedium(image.contents);
        let device = Nvme::new(controller(image, medium.bytes(), slot));
        log::info!("{}: {slot}: an NVMe drive of {} KiB, {}", plan.name, medium.bytes() >> 10, image.name);
        let BarLayout { table, pending, .. } = NVME_LAYOUT;
        let endpoint =
            Endpoint::new(Box::new(device), Backend::Medium(Box::new(medium)), NVME_MESSAGES, table, pending);
        Ok(TicketMutex::new(endpoint))
    };
    plan.emulated.iter().enumerate().map(build).collect()
}

/// The image of a guest's drive, verified.
fn image(items: &'static [Item<'static>], guest: &str, name: &str) -> Result<&'static Item<'static>, String> {
    let wanted = |item: &&Item<'_>| item.kind == ItemKind::Image && item.guest == guest && item.name == name;
    let image = items.iter().find(wanted).ok_or_else(|| format!("its image {name} is not in the bundle"))?;
    image.verify().map_err(|error| format!("{error}"))?;
    Ok(image)
}

/// A controller of an image in blocks of 512 bytes. The namespace is known by the image's
/// contents, the controller by its slot.
fn controller(image: &Item<'_>, bytes: u64, slot: Slot) -> Config {
    let mut serial = [b' '; 20];
    for (place, byte) in serial.iter_mut().zip(format!("bulkhead-{slot}").bytes()) {
        *place = byte;
    }
    let mut uuid = [0; 16];
    uuid.copy_from_slice(image.sha256.first_chunk::<16>().unwrap_or(&[1; 16]));
    // Of the form that RFC 9562 leaves to whoever makes one (version 8, variant 10).
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    Config {
        blocks: bytes >> BlockSize::Bytes512.shift(),
        block: BlockSize::Bytes512,
        writable: false,
        messages: NVME_MESSAGES,
        serial,
        uuid,
        vendor: NVME.vendor,
        subsystem_vendor: NVME.vendor,
    }
}
