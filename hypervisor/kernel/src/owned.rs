//! The functions that stay with the hypervisor, from the Plan to a drive that reads and writes.
//!
//! A function is given to its driver as it would be to a guest: reset with proof, in a domain of its
//! own in which nothing but the driver's buffers is mapped, with messages that the IOMMU remaps.

use crate::guests::{Common, checked_bars, enable_access_controls, prepare_bridges, requester};
use crate::host::IOMMUS;
use crate::io::MOST_MESSAGES;
use access::device::MessageInterrupt;
use access::{ConfigSpace, DeviceAccess, RegisterWindow};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use backends::Disk;
use block::Drive;
use guest::host::DEVICE_VECTOR;
use iommu::{Function, Iommu, RemappedInterrupt};
use machine::cpu::apic;
use machine::memory::dma::DmaRegion;
use machine::memory::frames;
use machine::memory::mmio::Window;
use pci::{Messages, ResetPath};
use plan::{DiskPlan, Driver, FunctionPlan, OwnedPlan, Plan};
use platform::Platform;
use spec::apic::DeliveryMode;
use spec::pci_config::{COMMAND, command};
use spec::{Gpa, Iova};
use tables::Permissions;

/// Memory for a driver's queues and buffers, in bytes: whole large pages.
const DMA_BYTES: u64 = 8 << 20;
/// Where a device finds it. Anywhere but at the interrupt range, and not at 0, which is what a device
/// reads that was told nothing.
const DMA_IOVA: Iova = Iova(1 << 30);
/// Frames of a domain's tables at most: one of each level on two ways, and some.
pub const DOMAIN_FRAMES: usize = 16;
/// What a drive is used with: requests at a time, and the bytes of each.
const REQUESTS: u16 = 32;
const REQUEST_BYTES: usize = 128 << 10;

/// Brings up the drives of the Plan. What goes wrong with one is said on the log, and costs those
/// who use it.
pub fn disks(plan: &Plan, platform: &Platform, common: &Common) -> Vec<Disk> {
    let mut disks = Vec::with_capacity(plan.disks.len());
    for disk in &plan.disks {
        let Some(owned) = plan.owned.get(disk.owned) else { continue };
        match bring_up(disk, owned, platform, common) {
            Ok(disk) => {
                report(&disk);
                disks.push(disk);
            }
            Err(reason) => log::error!("disk {}: {}: {reason}", disk.name, owned.function.bdf),
        }
    }
    disks
}

fn report(disk: &Disk) {
    let (geometry, name) = (disk.geometry(), &disk.name);
    let mib = geometry.blocks.saturating_mul(geometry.block_bytes.into()) >> 20;
    log::info!("disk {name}: {}, {mib} MiB in blocks of {} bytes", disk.identity(), geometry.block_bytes);
    match disk.table() {
        Ok(partitions) => log::info!("disk {name}: {} partitions", partitions.len()),
        Err(fault) => log::info!("disk {name}: no partitions: {fault}"),
    }
}

fn bring_up(
    disk: &DiskPlan,
    owned: &OwnedPlan,
    platform: &Platform,
    common: &Common,
) -> Result<Disk, String> {
    let Driver::Nvme = owned.driver;
    let access = take(&owned.function, platform, common)?;
    let sizes = nvme::Sizes { requests: REQUESTS, request_bytes: REQUEST_BYTES, commands: REQUESTS };
    let controller = nvme::Controller::new(access, sizes).map_err(|error| error.to_string())?;
    let drive: Box<dyn Drive + Send> = Box::new(controller);
    Disk::bring_up(disk.name.clone(), drive, REQUESTS.into(), &common.clock)
}

/// Takes a function for its driver.
fn take(
    function: &FunctionPlan,
    platform: &Platform,
    common: &Common,
) -> Result<DeviceAccess<Window, DmaRegion>, String> {
    let config = common.config;
    let functions = core::slice::from_ref(function);
    prepare_bridges(functions, platform, config)?;
    enable_access_controls(functions, config)?;
    let path = ResetPath::discover(config, function.bdf).ok_or("it does not answer")?;
    let bars = checked_bars(function);
    if path.bars() != Some(&bars) {
        return Err("its BARs are not what they were when the machine was scanned".into());
    }
    let reset = path
        .reset_while(config, &common.clock, None, &|_, _| true)
        .map_err(|quarantine| format!("{quarantine}"))?;
    log::info!("{} stays with the hypervisor: {reset}", function.bdf);
    let dma = attach(function)?;
    let registers = window(function, 0)?;
    let decode = command::MEMORY_SPACE | command::INTERRUPT_DISABLE;
    config.write16(function.bdf, COMMAND, decode);
    let messages = route_messages(function, config)?;
    config.write16(function.bdf, COMMAND, decode | command::BUS_MASTER);
    Ok(DeviceAccess { registers, dma, interrupt: MessageInterrupt { messages } })
}

/// Memory for the function, in a domain of its own that maps nothing else.
fn attach(function: &FunctionPlan) -> Result<DmaRegion, String> {
    let mut iommus = IOMMUS.get().ok_or("there is no IOMMU")?.lock();
    let requester = requester(function);
    let hpa = frames::take(DMA_BYTES, DMA_BYTES).or_else(|| frames::take(DMA_BYTES, 2 << 20));
    let hpa = hpa.ok_or("there is no memory for its buffers")?;
    let domain = iommus.create_domain(&[requester]).map_err(|error| format!("{error}"))?;
    iommus
        .map(domain, Gpa(DMA_IOVA.0), hpa, DMA_BYTES, Permissions::READ_WRITE)
        .and_then(|()| iommus.attach(Function::new(requester, &function.requesters), domain))
        .map_err(|error| format!("{error}"))?;
    // SAFETY: just taken, for this device alone, and never given back.
    Ok(unsafe { DmaRegion::new(hpa, DMA_BYTES as usize, DMA_IOVA) })
}

/// The registers behind a BAR.
fn window(function: &FunctionPlan, bar: u8) -> Result<Window, String> {
    let bar = function.bars.iter().find(|found| found.index == bar && found.is_memory());
    let bar = bar.ok_or("it has no registers in memory")?;
    Window::map(bar.address, bar.bytes).map_err(|error| format!("its registers cannot be mapped: {error:?}"))
}

/// Has the function's messages interrupt the housekeeping CPU. Returns how many it has.
fn route_messages(function: &FunctionPlan, config: &impl ConfigSpace) -> Result<u16, String> {
    let messages = Messages::find(config, function.bdf).ok_or("it has no interrupt messages")?;
    let count = messages.count().min(MOST_MESSAGES);
    let source =
        Function::new(requester(function), &function.requesters).with_messages(function.message_source);
    let interrupt = RemappedInterrupt {
        vector: DEVICE_VECTOR,
        destination: apic::id(),
        mode: DeliveryMode::Fixed,
        level: false,
    };
    let mut iommus = IOMMUS.get().ok_or("there is no IOMMU")?.lock();
    iommus.grant_interrupts(source, count).map_err(|error| format!("{error}"))?;
    let mut told = Vec::new();
    for index in 0..count {
        let message = iommus.remap(source.requester, index, interrupt).map_err(|error| format!("{error}"))?;
        told.push((message.address, message.data));
    }
    drop(iommus);
    let table = match messages {
        Messages::Msix { bar, table, .. } => {
            let all = window(function, bar)?;
            let start = table as usize;
            Some(
                all.part(start, all.len().saturating_sub(start))
                    .ok_or("its MSI-X table is outside of its BAR")?,
            )
        }
        Messages::Msi { .. } => None,
    };
    messages.enable(config, function.bdf, table.as_ref().map(|table| table as &dyn RegisterWindow), &told);
    Ok(count)
}
