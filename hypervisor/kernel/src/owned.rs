//! The functions that stay with the hypervisor, from the Plan to what their drivers are given.
//!
//! A function is given to its driver as it would be to a guest: reset with proof, in a domain of its
//! own in which nothing but the driver's buffers is mapped, and where the configuration has it so the
//! memory of the guests that it serves, with messages that the IOMMU remaps. Where PCI offers no reset
//! of it, its driver's counts, and until that is done it does not master the bus.

mod apart;
#[cfg(feature = "ring0")]
mod here;

use crate::guests::{
    Common, checked_bars, enable_access_controls, memory_frames, prepare_bridges, requester,
};
use crate::host::IOMMUS;
use crate::io::MOST_MESSAGES;
use crate::reach::Reach;
use access::{ConfigSpace, DmaMemory, RegisterWindow};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use guest::host::DEVICE_VECTOR;
use iommu::{DomainId, Function, Iommu, IommuError, RemappedInterrupt, Requester};
use machine::cpu::apic;
use machine::memory::dma::{DmaRange, DmaRegion};
use machine::memory::frames;
use machine::memory::mmio::Window;
use pci::reset::OwnedBus;
use pci::{Messages, ResetPath};
use plan::{FunctionPlan, OwnedPlan, Plan};
use platform::Platform;
use spec::apic::DeliveryMode;
use spec::pci_config::{COMMAND, HEADER_TYPE_BRIDGE, command};
use spec::{Bdf, Gpa, Iova};
use tables::{Geometry, Permissions};
use virtio::Layout;

pub use apart::Wanted;

/// What memory for a driver's queues and buffers consists of: large pages.
pub const GRANULE_BYTES: u64 = 2 << 20;
/// Where a device finds it. Anywhere but at the interrupt range, and not at 0, which is what a device
/// reads that was told nothing.
const DMA_IOVA: Iova = Iova(1 << 30);
/// All of a function's memory is below this, so that any device reaches it.
const DMA_END: Iova = Iova(2 << 30);
/// Frames of a domain's tables at most: one of each level on two ways, and some; and those of a
/// drive's memory, or a network interface's, where the IOMMU has no large pages.
const DOMAIN_FRAMES: usize = 16;
const MEMORY_FRAMES: usize = 4;

/// Frames that the domains' tables take at most, for the IOMMUs' pool.
pub fn domain_frames(plan: &Plan, geometry: Geometry) -> usize {
    let reached = plan.disks.iter().flat_map(|disk| &disk.reaches);
    let reached = reached.filter_map(|name| plan.guests.iter().find(|guest| guest.name == *name));
    let reached: usize = reached.map(|guest| memory_frames(guest, geometry)).sum();
    plan.owned.len() * DOMAIN_FRAMES + (plan.disks.len() + plan.networks.len()) * MEMORY_FRAMES + reached
}

/// A function that was taken for its driver. It does not master the bus yet.
pub struct Taken<'a> {
    function: &'a FunctionPlan,
    common: &'a Common,
    domain: DomainId,
    routed: Routed,
    path: ResetPath,
    /// The bridge above its bus, where it is alone there.
    bridge: Option<Bdf>,
    /// PCI offered a reset of it.
    is_reset: bool,
    /// Where its next memory is.
    next: Iova,
}

/// The messages of a function, as it is told them.
struct Routed {
    messages: Messages,
    /// The table of MSI-X.
    table: Option<Window>,
    /// Addresses and data.
    told: Box<[(u64, u32)]>,
}

impl Routed {
    /// How many there are.
    fn count(&self) -> u16 {
        self.told.len() as u16
    }

    /// Has the function send them.
    fn tell<C: ConfigSpace + ?Sized>(&self, config: &C, function: Bdf) {
        let table = self.table.as_ref().map(|table| table as &dyn RegisterWindow);
        self.messages.enable(config, function, table, &self.told);
    }
}

/// Takes a function for its driver.
///
/// # Errors
/// Why it cannot be had, in words.
pub fn take<'a>(owned: &'a OwnedPlan, platform: &Platform, common: &'a Common) -> Result<Taken<'a>, String> {
    let (function, config) = (&owned.function, common.config);
    let functions = core::slice::from_ref(function);
    prepare_bridges(functions, platform, config)?;
    enable_access_controls(functions, config)?;
    let path = ResetPath::discover(config, function.bdf).ok_or("it does not answer")?;
    let bus = bus_alone(function, platform);
    let is_reset = reset(owned, &path, bus, common)?;
    let domain = attach(function)?;
    config.write16(function.bdf, COMMAND, DECODE);
    let routed = route_messages(function, config)?;
    let bridge = bus.map(|bus| bus.bridge);
    Ok(Taken { function, common, domain, routed, path, bridge, is_reset, next: DMA_IOVA })
}

const DECODE: u16 = command::MEMORY_SPACE | command::INTERRUPT_DISABLE;

impl Taken<'_> {
    /// Where a virtio function has its registers: behind which BAR, and where there.
    ///
    /// # Errors
    /// It does not say so, or they are nowhere where they can be.
    pub fn virtio_layout(&self) -> Result<Layout, String> {
        let bars = || self.function.bars.iter().filter(|bar| bar.is_memory());
        let bytes = |index| bars().find(|bar| bar.index == index).map(|bar| bar.bytes);
        Layout::find(self.common.config, self.function.bdf, bytes).map_err(|error| error.to_string())
    }

    /// The domain of the function, for memory of the guests that it serves.
    pub const fn reach(&self) -> Reach {
        Reach::new(self.domain)
    }

    /// Lets the function reach its driver's memory, and send messages.
    pub fn master_bus(&self) {
        self.common.config.write16(self.function.bdf, COMMAND, DECODE | command::BUS_MASTER);
    }

    /// Memory of exactly `bytes` bytes for the function and ring 0.
    ///
    /// # Errors
    /// There is none.
    pub fn buffer(&mut self, bytes: usize) -> Result<DmaRange, String> {
        let buffer = self.memory(bytes)?.allocate(bytes, GRANULE_BYTES as usize);
        buffer.ok_or_else(|| "there is no memory for its buffers".into())
    }

    fn memory(&mut self, bytes: usize) -> Result<DmaRegion, String> {
        let bytes = (bytes as u64).next_multiple_of(GRANULE_BYTES);
        let end = self.next.checked_add(bytes).filter(|end| *end <= DMA_END);
        let end = end.ok_or("its buffers are more than it can be given")?;
        let hpa = frames::take(bytes, GRANULE_BYTES).ok_or("there is no memory for its buffers")?;
        let mut iommus = IOMMUS.get().ok_or("there is no IOMMU")?.lock();
        iommus
            .map(self.domain, Gpa(self.next.0), hpa, bytes, Permissions::READ_WRITE)
            .map_err(|error| format!("{error}"))?;
        let start = core::mem::replace(&mut self.next, end);
        // SAFETY: just taken, for this device alone, and never given back.
        Ok(unsafe { DmaRegion::new(hpa, bytes as usize, start) })
    }
}

/// Resets a function by what PCI offers, which leaves it unable to master the bus. Where that is
/// nothing, so does this, and its driver resets it. Whether it was reset.
fn reset(
    owned: &OwnedPlan,
    path: &ResetPath,
    bus: Option<OwnedBus<'_>>,
    common: &Common,
) -> Result<bool, String> {
    let function = &owned.function;
    if path.bars() != Some(&checked_bars(function)) {
        return Err("its BARs are not what they were when the machine was scanned".into());
    }
    match path.reset_while(common.config, &common.clock, bus, &|_, _| true) {
        Ok(report) => {
            log::info!("{} stays with the hypervisor: {report}", function.bdf);
            Ok(true)
        }
        Err(quarantine)
            if owned.driver.resets_controller() && quarantine.failed.iter().all(Option::is_none) =>
        {
            log::info!(
                "{} stays with the hypervisor: PCI offers no reset, so its driver resets it",
                function.bdf
            );
            Ok(false)
        }
        Err(quarantine) => Err(quarantine.to_string()),
    }
}

/// The bus of a function that is alone on it.
fn bus_alone(function: &FunctionPlan, platform: &Platform) -> Option<OwnedBus<'static>> {
    let bridge = platform.function(platform.function(function.bdf)?.parent?)?;
    let is_beside =
        |other: &platform::Function| other.bdf != function.bdf && other.bdf.bus() == function.bdf.bus();
    let is_alone = bridge.header == HEADER_TYPE_BRIDGE && !platform.functions.iter().any(is_beside);
    is_alone.then_some(OwnedBus { bridge: bridge.bdf, others: &[] })
}

/// Puts the function into a domain of its own, with nothing in it.
fn attach(function: &FunctionPlan) -> Result<DomainId, String> {
    let mut iommus = IOMMUS.get().ok_or("there is no IOMMU")?.lock();
    let requester = requester(function);
    let domain = iommus.create_domain(&[requester]).map_err(|error| format!("{error}"))?;
    drop(iommus);
    let attached = attach_to(domain, requester, &function.requesters);
    attached.ok_or("there is no IOMMU")?.map_err(|error| format!("{error}"))?;
    Ok(domain)
}

/// Puts a function into this domain. `None` where there is no IOMMU.
fn attach_to(domain: DomainId, requester: Requester, requesters: &[Bdf]) -> Option<Result<(), IommuError>> {
    let mut iommus = IOMMUS.get()?.lock();
    Some(iommus.attach(Function::new(requester, requesters), domain))
}

/// The registers behind a BAR.
fn window(function: &FunctionPlan, bar: u8) -> Result<Window, String> {
    let bar = function.bars.iter().find(|found| found.index == bar && found.is_memory());
    let bar = bar.ok_or("it has no registers in memory")?;
    Window::map(bar.address, bar.bytes).map_err(|error| format!("its registers cannot be mapped: {error:?}"))
}

/// Has the function's messages interrupt the housekeeping CPU.
fn route_messages(function: &FunctionPlan, config: &impl ConfigSpace) -> Result<Routed, String> {
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
    let routed = Routed { messages, table, told: told.into_boxed_slice() };
    routed.tell(config, function.bdf);
    Ok(routed)
}
