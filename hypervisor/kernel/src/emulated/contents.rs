//! What is on an emulated drive: an image, or a part of a drive of the hypervisor's.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use backends::Disk;
use devices::Backend;
use devices::medium::{ImageMedium, Medium};
use devices::nvme::BlockSize;
use handoff::bundle::{Item, ItemKind};
use plan::{Backing, GuestPlan, PartitionName};
use sha2::{Digest, Sha256};
use vpci::Slot;

/// What is on an emulated drive.
pub struct Contents {
    /// What the requests go to.
    pub backend: Backend,
    /// Blocks of it.
    pub blocks: u64,
    /// How large they are.
    pub block: BlockSize,
    /// Whether it takes writes.
    pub writable: bool,
    /// Whether it takes discards.
    pub can_discard: bool,
    /// Whether it writes zeroes that nobody sends.
    pub can_write_zeroes: bool,
    /// What a drive with the same contents is known by.
    pub uuid: [u8; 16],
    /// For the log.
    pub what: String,
}

impl Contents {
    /// How much it holds, for the log, in KiB.
    pub const fn kib(&self) -> u64 {
        self.blocks << self.block.shift() >> 10
    }
}

/// What `backing` names: an image among the `items` of the bundle, or a part of one of the
/// hypervisor's `disks` for endpoint `number` of guest `index`.
///
/// # Errors
/// A sentence about the image that is missing or damaged, or the part that is not there.
pub fn of(
    backing: &Backing,
    (index, guest): (usize, &GuestPlan),
    number: usize,
    items: &'static [Item<'static>],
    disks: &mut [Disk],
) -> Result<Contents, String> {
    match backing {
        Backing { disk: Some(name), partition, .. } => {
            let partition = partition.as_ref().map(PartitionName::name);
            of_disk(disks, name, index, number, partition.as_deref())
        }
        backing => of_image(items, &guest.name, backing.image.as_deref().unwrap_or_default()),
    }
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
        can_discard: false,
        can_write_zeroes: false,
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
            return Err(format!("disk {name} has blocks of {other} bytes, which emulated drives have not"));
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
    Ok(Contents {
        backend: Backend::Served,
        blocks,
        block,
        writable: !geometry.is_read_only,
        can_discard: geometry.can_discard,
        can_write_zeroes: geometry.can_write_zeroes,
        uuid,
        what,
    })
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

/// What a drive in this slot says its serial number is.
pub fn serial_number(slot: Slot) -> [u8; 20] {
    let mut serial = [b' '; 20];
    for (place, byte) in serial.iter_mut().zip(format!("bulkhead-{slot}").bytes()) {
        *place = byte;
    }
    serial
}
