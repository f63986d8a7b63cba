//! The drives that the hypervisor keeps, from functions that it has taken to drives that read and
//! write.

use crate::backings::DriveReach;
use crate::compartments::most_restarts;
use crate::guests::Common;
use crate::metered;
use crate::owned::{self, Taken};
use crate::reach::Reach;
use access::{Clock, wait_until};
use ahci::Hba;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use backends::Disk;
use block::{Drive, State};
use driver_compartment::{DriveSizes, Driver as Which, RemoteDrive, Room};
use machine::memory::dma::DmaRegion;
use machine::memory::mmio::Window;
use plan::{DiskPlan, Driver, OwnedPlan, Plan, RunsIn};
use platform::Platform;
use spec::ahci::MOST_PORTS;

/// What a drive is used with: requests at a time, and the bytes of each.
const REQUESTS: u16 = 32;
const REQUEST_BYTES: usize = 128 << 10;
/// The BAR with the registers of an NVMe controller, and of an AHCI adapter (ABAR).
const NVME_BAR: u8 = 0;
const AHCI_BAR: u8 = 5;
/// How long a reset of an adapter may take, and the start of drives that are looked for, in
/// nanoseconds. Drivers have shorter times for each step.
const RESET_NS: u64 = 10_000_000_000;
const SEARCH_NS: u64 = 60_000_000_000;

/// The sizes of what one drive has, each kind's.
const NVME: nvme::Sizes =
    nvme::Sizes { requests: REQUESTS, request_bytes: REQUEST_BYTES, commands: REQUESTS };
const VIRTIO: virtio_blk::Sizes =
    virtio_blk::Sizes { requests: REQUESTS, request_bytes: REQUEST_BYTES, commands: REQUESTS };
const AHCI: ahci::Sizes = ahci::Sizes { ports: 0, requests: REQUESTS, request_bytes: REQUEST_BYTES };
/// Those of a drive whose driver is in ring 3.
const APART: DriveSizes = DriveSizes { requests: REQUESTS, request_bytes: REQUEST_BYTES };
/// A driver that only looks for drives, at all ports.
const SEARCH: ahci::Sizes = ahci::Sizes { ports: u32::MAX, requests: 1, request_bytes: 4096 };

// The Plan leaves this for them. What is taken is whole pages of this size.
const _: () = {
    let (rest, page) = (plan::DRIVE_MEMORY.bytes() as usize, owned::GRANULE_BYTES as usize);
    let search = (SEARCH.port_bytes() * MOST_PORTS as usize).next_multiple_of(page);
    assert!(NVME.bytes().next_multiple_of(page) <= rest);
    assert!(VIRTIO.bytes().next_multiple_of(page) <= rest);
    assert!(AHCI.port_bytes().next_multiple_of(page) + search <= rest);
    // In ring 3 the data of requests is apart from the queues, and both are as much together.
    assert!(APART.data_bytes().is_multiple_of(page));
};

type AnyDrive = Box<dyn Drive + Send>;

/// Brings up the drives of the Plan, each function's once. What goes wrong with one is said on the
/// log, and costs those who use it.
pub fn bring_up(plan: &Plan, platform: &Platform, common: &Common) -> (Vec<Disk>, Vec<DriveReach>) {
    let mut disks = Vec::with_capacity(plan.disks.len());
    let mut reaches = Vec::new();
    for (place, owned) in plan.owned.iter().enumerate() {
        let wanted: Vec<&DiskPlan> = plan.disks.iter().filter(|disk| disk.owned == place).collect();
        if wanted.is_empty() {
            continue;
        }
        let (mut drives, reach) = match drives((place, owned), &wanted, platform, common) {
            Ok((drives, reach)) => (Ok(drives), Some(reach)),
            Err(reason) => (Err(reason), None),
        };
        // A function of which guests' memory is reached has one drive.
        if let (Some(reach), [DiskPlan { name, reaches: guests, .. }]) = (reach, wanted.as_slice())
            && !guests.is_empty()
        {
            reaches.push(DriveReach { disk: name.clone(), guests: guests.clone(), reach });
        }
        for disk in wanted {
            let drive = match &mut drives {
                Ok(drives) => take(drives, disk),
                Err(reason) => Err(reason.clone()),
            };
            match drive.and_then(|drive| start(disk, drive, common)) {
                Ok(disk) => disks.push(disk),
                Err(reason) => log::error!("disk {}: {}: {reason}", disk.name, owned.function.bdf),
            }
        }
    }
    (disks, reaches)
}

fn start(disk: &DiskPlan, drive: AnyDrive, common: &Common) -> Result<Disk, String> {
    let disk = Disk::bring_up(disk.name.clone(), drive, REQUESTS.into(), &common.clock)?;
    let (geometry, name) = (disk.geometry(), &disk.name);
    let mib = geometry.blocks.saturating_mul(geometry.block_bytes.into()) >> 20;
    log::info!("disk {name}: {}, {mib} MiB in blocks of {} bytes", disk.identity(), geometry.block_bytes);
    match disk.table() {
        Ok(partitions) => log::info!("disk {name}: {} partitions", partitions.len()),
        Err(fault) => log::info!("disk {name}: no partitions: {fault}"),
    }
    Ok(disk)
}

/// Drives, each with its port where it is at one.
type Drives = Vec<(Option<u32>, AnyDrive)>;

/// The drives of a function that were not started yet, and what it reaches.
fn drives(
    (place, owned): (usize, &OwnedPlan),
    wanted: &[&DiskPlan],
    platform: &Platform,
    common: &Common,
) -> Result<(Drives, Reach), String> {
    let mut taken = owned::take(owned, platform, common)?;
    if owned.runs_in == RunsIn::Ring3 {
        // Its drive reaches no guest's memory.
        let reach = taken.reach();
        return Ok((apart((place, owned.driver), taken, wanted, common)?, reach));
    }
    let drives = match owned.driver {
        Driver::Nvme => nvme(&mut taken),
        Driver::Ahci => ahci(&mut taken, wanted, common),
        Driver::VirtioBlock => virtio(&mut taken),
        Driver::E1000e | Driver::Igb | Driver::VirtioNet => Err("it is no drive".into()),
    }?;
    Ok((drives, taken.reach()))
}

/// The drive of a disk: that of its port, or the only one.
fn take(drives: &mut Drives, disk: &DiskPlan) -> Result<AnyDrive, String> {
    let is_its = |(port, _): &(Option<u32>, AnyDrive)| disk.port.is_none() || *port == disk.port;
    let place = drives.iter().position(is_its);
    let place = place.ok_or_else(|| match disk.port {
        Some(port) => format!("it has no port {port}"),
        None => "it has no drive".into(),
    })?;
    Ok(drives.swap_remove(place).1)
}

fn nvme(taken: &mut Taken<'_>) -> Result<Drives, String> {
    let access = taken.guarded_access(NVME_BAR, NVME.bytes())?;
    taken.master_bus();
    let controller = nvme::Controller::new(access, NVME).map_err(|error| error.to_string())?;
    Ok(Vec::from([(None, metered::drive(controller))]))
}

fn virtio(taken: &mut Taken<'_>) -> Result<Drives, String> {
    let layout = taken.virtio_layout()?;
    let access = taken.guarded_access(layout.bar, VIRTIO.bytes())?;
    taken.master_bus();
    let device = virtio_blk::Device::new(access, layout, VIRTIO).map_err(|error| error.to_string())?;
    Ok(Vec::from([(None, metered::drive(device))]))
}

/// The drive of a function whose driver is in ring 3.
fn apart(
    (place, driver): (usize, Driver),
    mut taken: Taken<'_>,
    wanted: &[&DiskPlan],
    common: &Common,
) -> Result<Drives, String> {
    let &[disk] = wanted else { return Err("its driver in ring 3 has one drive".into()) };
    let (driver, bar, all_bytes) = match driver {
        Driver::Nvme => (Which::Nvme, NVME_BAR, NVME.bytes()),
        Driver::VirtioBlock => {
            let layout = taken.virtio_layout()?;
            (Which::VirtioBlock(layout), layout.bar, VIRTIO.bytes())
        }
        Driver::Ahci => {
            let ports =
                disk.port.map_or_else(|| first_port(&mut taken, common), |port| Ok(port_bit(port)))?;
            (Which::Ahci { ports }, AHCI_BAR, AHCI.port_bytes())
        }
        Driver::E1000e | Driver::Igb | Driver::VirtioNet => return Err("it is no drive".into()),
    };
    let data = taken.buffer(APART.data_bytes())?;
    let asked = owned::Wanted {
        name: format!("disk.{}", disk.name),
        place,
        driver,
        bar,
        queue_bytes: all_bytes.saturating_sub(APART.data_bytes()),
        room: Room::Requests(APART),
        data: Some(&data),
        area_words: APART.words(),
    };
    let compartment = taken.apart(asked, common)?;
    let restarts = u16::try_from(most_restarts()).unwrap_or(u16::MAX);
    let drive = RemoteDrive::new(compartment, APART, data, restarts);
    let drive = drive.ok_or("there is not enough memory for its requests")?;
    Ok(Vec::from([(disk.port, metered::drive(drive))]))
}

fn ahci(taken: &mut Taken<'_>, wanted: &[&DiskPlan], common: &Common) -> Result<Drives, String> {
    let named = wanted.iter().filter_map(|disk| disk.port).fold(0, |ports, port| ports | port_bit(port));
    let ports = if named == 0 { first_port(taken, common)? } else { named };
    let hba = adapter(taken, ahci::Sizes { ports, ..AHCI }, common)?;
    let drives = Vec::from(hba.into_drives());
    Ok(drives.into_iter().map(|drive| (Some(drive.number()), metered::drive(drive))).collect())
}

/// An AHCI adapter that was reset, with memory for the ports of `sizes`. None of its drives was started.
fn adapter(
    taken: &mut Taken<'_>,
    sizes: ahci::Sizes,
    common: &Common,
) -> Result<Hba<Window, DmaRegion>, String> {
    let bytes = sizes.port_bytes().saturating_mul(sizes.ports.count_ones() as usize);
    let mut hba = Hba::new(taken.access(AHCI_BAR, bytes)?, sizes).map_err(|error| error.to_string())?;
    let clock = &common.clock;
    hba.reset(clock.now_ns());
    let waited = wait_until(clock, RESET_NS, || {
        hba.poll(clock.now_ns());
        hba.is_up() || hba.failure().is_some()
    });
    match hba.failure() {
        Some(error) => return Err(error.to_string()),
        None if waited.is_err() => return Err("its reset takes too long".into()),
        None => {}
    }
    // Whatever it was doing before, it does no more.
    taken.master_bus();
    Ok(hba)
}

/// The first port with a disk, by a driver with as little memory as it needs for that. The next
/// one takes the adapter from it by a reset.
fn first_port(taken: &mut Taken<'_>, common: &Common) -> Result<u32, String> {
    let mut hba = adapter(taken, SEARCH, common)?;
    let clock = &common.clock;
    hba.start(clock.now_ns());
    let is_starting = |hba: &mut Hba<Window, DmaRegion>| {
        let mut drives = (0..hba.drives()).filter_map(|index| Some(hba.drive(index)?.status().state));
        drives.any(|state| state == State::Starting)
    };
    // One that takes longer is not waited for.
    let _ = wait_until(clock, SEARCH_NS, || {
        hba.poll(clock.now_ns());
        !is_starting(&mut hba)
    });
    let mut drives = (0..hba.drives()).filter_map(|index| {
        let drive = hba.drive(index)?;
        matches!(drive.status().state, State::Ready(_)).then(|| drive.number())
    });
    drives.next().map(port_bit).ok_or_else(|| "no disk is at any of its ports".into())
}

/// The bit of a port in a mask of ports; none for what is no port.
const fn port_bit(port: u32) -> u32 {
    if port < MOST_PORTS { 1 << port } else { 0 }
}
