//! The emulated functions of a guest: each in its slot of the bus, and the device behind it.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use backends::Disk;
use devices::medium::{ImageMedium, Medium};
use devices::nvme::{BlockSize, Config, Nvme, WINDOW_BYTES};
use devices::{Backend, Endpoint};
use guest::bus_function::BusFunction;
use handoff::bundle::{Item, ItemKind};
use machine::chipset::config_space::MachineConfigSpace;
use machine::memory::mmio::Window;
use plan::{Backing, EmulatedPlan, GuestPlan, Model, PartitionName};
use sha2::{Digest, Sha256};
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
        let Model::Nvme = emulated.model;
        let slot = Slot::new(emulated.slot.device(), emulated.slot.function());
        let drive = match &emulated.backing {
            Backing { disk: Some(name), partition, .. } => {
                let partition = partition.as_ref().map(PartitionName::name);
                of_disk(disks, name, index, number, partition.as_deref())?
            }
            backing => of_image(items, &plan.name, backing.image.as_deref().unwrap_or_default())?,
        };
        let function = EmulatedFunction::new(NVME, NVME_MESSAGES, NVME_LAYOUT);
        bus.insert(slot, BusFunction::Emulated { function, endpoint: number })
            .map_err(|error| format!("{error}"))?;
        let kib = drive.blocks << drive.block.shift() >> 10;
        log::info!("{}: {slot}: an NVMe drive of {kib} KiB, {}", plan.name, drive.what);
        let device = Nvme::new(controller(&drive, slot));
        let BarLayout { table, pending, .. } = NVME_LAYOUT;
        let endpoint = Endpoint::new(Box::new(device), drive.backend, NVME_MESSAGES, table, pending);
        Ok(TicketMutex::new(endpoint))
    };
    plan.emulated.iter().enumerate().map(build).collect()
}

/// What is on an emulated drive.
struct Contents {
    backend: Backend,
    blocks: u64,
    block: BlockSize,
    writable: bool,
    /// What a drive with the same contents is known by.
    uuid: [u8; 16],
    /// For the log.
    what: String,
}

/// An image of the bundle, in blocks of 512 bytes.
fn of_image(items: &'static [Item<'static>], guest: &str, name: &str) -> Result<Contents, String> {
    let image = image(items, guest, name)?;
    let medium = ImageMedium(image.contents);
    let block = BlockSize::Bytes512;
    Ok(Contents {
        blocks: medium.bytes() >> block.shift(),
        block,
        writable: false,
        uuid: uuid(&image.sha256),
        what: image.name.into(),
        backend: Backend::Medium(Box::new(medium)),
    })
}

/// A part of a drive, or all of it, in the drive's own blocks.
fn of_disk(
    disks: &mut [Disk],
    name: &str,
    guest: usize,
    endpoint: usize,
    partition: Option<&str>,
) -> Result<Contents, String> {
    let disk = disks.iter_mut().find(|disk| disk.name == name);
    let disk = disk.ok_or_else(|| format!("its disk {name} cannot be used"))?;
    let geometry = disk.geometry();
    let block = match geometry.block_bytes {
        512 => BlockSize::Bytes512,
        4096 => BlockSize::Bytes4096,
        other => {
            return Err(format!("disk {name} has blocks of {other} bytes, which NVMe drives here have not"));
        }
    };
    let blocks =
        disk.add_part(guest, endpoint, partition).map_err(|fault| format!("disk {name}: {fault}"))?;
    let what = match partition {
        Some(partition) => format!("partition {partition} of disk {name}"),
        None => format!("disk {name}"),
    };
    // Of two parts no name is the same, and of one it is at each boot.
    let uuid = uuid(&Sha256::digest(&what));
    Ok(Contents { backend: Backend::Served, blocks, block, writable: !geometry.is_read_only, uuid, what })
}

/// The image of a guest's drive, verified.
fn image(items: &'static [Item<'static>], guest: &str, name: &str) -> Result<&'static Item<'static>, String> {
    let wanted = |item: &&Item<'_>| item.kind == ItemKind::Image && item.guest == guest && item.name == name;
    let image = items.iter().find(wanted).ok_or_else(|| format!("its image {name} is not in the bundle"))?;
    image.verify().map_err(|error| format!("{error}"))?;
    Ok(image)
}

/// A UUID out of a digest, of the form that RFC 9562 leaves to whoever makes one (version 8,
/// variant 10).
fn uuid(digest: &[u8]) -> [u8; 16] {
    let mut uuid = *digest.first_chunk::<16>().unwrap_or(&[1; 16]);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

/// The controller of a drive. The namespace is known by its contents, the controller by its slot.
fn controller(drive: &Contents, slot: Slot) -> Config {
    let mut serial = [b' '; 20];
    for (place, byte) in serial.iter_mut().zip(format!("bulkhead-{slot}").bytes()) {
        *place = byte;
    }
    Config {
        blocks: drive.blocks,
        block: drive.block,
        writable: drive.writable,
        messages: NVME_MESSAGES,
        serial,
        uuid: drive.uuid,
        vendor: NVME.vendor,
        subsystem_vendor: NVME.vendor,
    }
}
