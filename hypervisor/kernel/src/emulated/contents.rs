//! What is on an emulated drive: an image, or a part of a drive of the hypervisor's.

use crate::taken::Taken;
use access::GuestMemory;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use backends::Disk;
use devices::Backend;
use devices::device::{Request, RequestFault};
use devices::endpoint::Which;
use devices::medium::{ImageMedium, Medium, OverlayMedium};
use devices::nvme::BlockSize;
use devices::virtio::block::MOST_DISCARDED;
use handoff::bundle::{Item, ItemKind};
use plan::{Backing, PartitionName};
use sha2::{Digest, Sha256};
use vpci::Slot;

/// The most sectors of a discard that is done where the guest asks for it, and of which there can be
/// thousands at a time.
const MOST_DISCARDED_AT_ONCE: u32 = 1 << 13;

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
    /// The most sectors of 512 bytes that one discard has.
    pub most_discarded: u32,
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

/// An image among the `items` of the bundle, in blocks of 512 bytes, with room for what changes where
/// there is to be.
///
/// # Errors
/// A sentence about the image that is missing or damaged, or the memory that is not there.
pub fn of_image(
    items: &'static [Item<'static>],
    (guest, slot): (&str, Slot),
    backing: &Backing,
    taken: &mut Taken,
) -> Result<Contents, String> {
    let image = image(items, guest, backing.image.as_deref().unwrap_or_default())?;
    let overlay = backing.overlay;
    let block = BlockSize::Bytes512;
    let (medium, what): (Box<dyn Medium>, _) = match overlay {
        None => (Box::new(ImageMedium(image.contents)), image.name.into()),
        Some(overlay) => {
            let store =
                taken.take_store(overlay.bytes()).ok_or("there is not enough memory for its overlay")?;
            let medium = OverlayMedium::new(image.contents, Box::new(store), overlay.bytes());
            let medium = medium.ok_or("there is not enough memory for the map of its overlay")?;
            let what = format!("{} and an overlay of {overlay}", image.name);
            let said = format!("{guest}: {slot}: the overlay of {} is full: its {overlay} hold", image.name);
            (Box::new(Told { medium, said: Some(said) }), what)
        }
    };
    Ok(Contents {
        blocks: medium.bytes() >> block.shift(),
        block,
        writable: !medium.is_read_only(),
        can_discard: overlay.is_some(),
        most_discarded: MOST_DISCARDED_AT_ONCE,
        can_write_zeroes: overlay.is_some(),
        uuid: uuid(&image.sha256),
        what,
        backend: Backend::Medium(medium),
    })
}

/// An overlay that says on the log, once, that it is full.
struct Told {
    medium: OverlayMedium<'static>,
    said: Option<String>,
}

impl Medium for Told {
    fn bytes(&self) -> u64 {
        self.medium.bytes()
    }

    fn is_read_only(&self) -> bool {
        self.medium.is_read_only()
    }

    fn perform(&mut self, request: &Request, memory: &dyn GuestMemory) -> Result<(), RequestFault> {
        let outcome = self.medium.perform(request, memory);
        if outcome == Err(RequestFault::NoSpace) {
            if let Some(said) = self.said.take() {
                log::warn!("{said} no more changes; more such writes fail and are not logged");
            }
        }
        outcome
    }
}

/// A part of one of the hypervisor's drives, or all of it, in the drive's own blocks, for a drive of a
/// guest's endpoint.
///
/// # Errors
/// A sentence about the drive, or the part that is not there.
pub fn of_disk(
    disks: &mut [Disk],
    name: &str,
    whose: (usize, usize, Which),
    partition: Option<&PartitionName>,
) -> Result<Contents, String> {
    let partition = partition.map(PartitionName::name);
    let partition = partition.as_deref();
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
    let blocks = disk.add_part_of(whose, partition).map_err(|fault| format!("disk {name}: {fault}"))?;
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
        most_discarded: MOST_DISCARDED,
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

/// What a drive in this slot says its serial number is, the `suffix` of a second one behind it.
pub fn serial_number(slot: Slot, suffix: &str) -> [u8; 20] {
    let mut serial = [b' '; 20];
    for (place, byte) in serial.iter_mut().zip(format!("bulkhead-{slot}{suffix}").bytes()) {
        *place = byte;
    }
    serial
}
