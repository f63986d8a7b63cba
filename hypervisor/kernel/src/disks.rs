//! The drives that the hypervisor keeps, from functions that it has taken to drives that read and
//! write.

pub mod sizes;

use crate::backings::DriveReach;
use crate::compartments::most_restarts;
use crate::guests::Common;
use crate::linked;
use crate::metered;
use crate::owned::{self, Taken};
use crate::reach::Reach;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use backends::Disk;
use driver_compartment::{Driver as Which, RemoteDrive, Room};
use plan::{DiskPlan, Driver, OwnedPlan, Plan, RunsIn};
use platform::Platform;
use sizes::{AHCI, AHCI_BAR, APART, AnyDrive, Drives, NVME, NVME_BAR, REQUESTS, VIRTIO, port_bit};

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
    Ok((linked::drives(owned.driver, &mut taken, wanted, common)?, taken.reach()))
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
            let ports = disk
                .port
                .map_or_else(|| linked::first_port(&mut taken, common), |port| Ok(port_bit(port)))?;
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
