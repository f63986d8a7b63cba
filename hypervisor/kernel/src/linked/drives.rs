//! Drivers of drives in ring 0.

use crate::disks::sizes::{AHCI, AHCI_BAR, Drives, NVME, NVME_BAR, SEARCH, VIRTIO, port_bit};
use crate::guests::Common;
use crate::metered;
use crate::owned::Taken;
use access::{Clock, wait_until};
use ahci::Hba;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use block::{Drive, State};
use machine::memory::dma::DmaRegion;
use machine::memory::mmio::Window;
use plan::{DiskPlan, Driver};

/// How long a reset of an adapter may take, in nanoseconds. Drivers have shorter times for each step.
const RESET_NS: u64 = 10_000_000_000;
/// How long the start of drives may take that are looked for, in nanoseconds.
const SEARCH_NS: u64 = 60_000_000_000;

/// The drives of a function with this driver, none of which was started: those that are wanted of an AHCI
/// adapter's.
///
/// # Errors
/// Why there are none, in words.
pub fn drives(
    driver: Driver,
    taken: &mut Taken<'_>,
    wanted: &[&DiskPlan],
    common: &Common,
) -> Result<Drives, String> {
    match driver {
        Driver::Nvme => nvme(taken),
        Driver::Ahci => ahci(taken, wanted, common),
        Driver::VirtioBlock => virtio(taken),
        Driver::E1000e | Driver::Igb | Driver::VirtioNet => Err("it is no drive".into()),
    }
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
/// one takes the adapter from it by a reset. Its bit in a mask of ports.
///
/// # Errors
/// Why none was found, in words.
pub fn first_port(taken: &mut Taken<'_>, common: &Common) -> Result<u32, String> {
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
