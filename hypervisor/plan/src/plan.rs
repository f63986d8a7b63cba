//! The Plan: what each guest gets.

use crate::config::{Backing, FunctionName, GuestConfig, MachinePart, Model, Ring, RunsIn};
use crate::problem::Problem;
use crate::reserved::ReservedRange;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use network::PortConfig;
use platform::acpi::{SerialAddress, SerialInterrupt, SerialRate};
use platform::names::{DevFn, DeviceId, DevicePath};
use platform::pci::Bar;
use platform::{AccessControl, MessageSource};
use spec::virtio::pci as virtio;
use spec::{Bdf, Hpa};

/// What each guest gets on this machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// The guests that can have all they ask for, by name.
    pub guests: Vec<GuestPlan>,
    /// The guests that cannot, and every reason why.
    pub refused: Vec<Refusal>,
    /// What is wrong with the configuration as a whole.
    pub problems: Vec<Problem>,
    /// What is better otherwise, though the guests start.
    pub warnings: Vec<Problem>,
    /// The functions that stay with the hypervisor.
    pub owned: Vec<OwnedPlan>,
    /// Its drives, by name.
    pub disks: Vec<DiskPlan>,
    /// Its networks, by name.
    pub networks: Vec<NetworkPlan>,
    /// The memories that guests share.
    pub shared_memory: Vec<SharedMemoryPlan>,
    /// The compartments that are ended on purpose, the first one first.
    pub kills: Vec<PlannedKill>,
    /// The serial ports that the console may be at, the best first. Empty where the
    /// configuration wants none or its card is not there.
    pub console: Vec<ConsolePlan>,
}

impl Plan {
    /// The functions of the machine that somebody has: guests', then the hypervisor's.
    pub fn all_functions(&self) -> impl Iterator<Item = &FunctionPlan> {
        let owned = self.owned.iter().map(|owned| &owned.function);
        self.guests.iter().flat_map(|guest| &guest.functions).chain(owned)
    }

    /// Every problem; none means that every guest starts.
    pub fn all_problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().chain(self.refused.iter().flat_map(|refusal| &refusal.problems))
    }
}

/// A compartment that is ended on purpose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PlannedKill {
    /// When, in milliseconds from the start of the guests.
    pub at_ms: u32,
    /// Which.
    pub whose: Killed,
}

/// Whose compartment is ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Killed {
    /// An emulated function's.
    Function {
        /// Its guest's place in [`Plan::guests`].
        guest: usize,
        /// Its place in [`GuestPlan::emulated`].
        function: usize,
    },
    /// Those of a guest's machine.
    Machine {
        /// Its place in [`Plan::guests`].
        guest: usize,
        /// What of it.
        part: MachinePart,
    },
    /// That of the driver of a function of the hypervisor's: its place in [`Plan::owned`].
    Driver(usize),
}

/// A guest that does not start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Its name.
    pub name: String,
    /// Every reason, at least one.
    pub problems: Vec<Problem>,
}

/// What a guest gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestPlan {
    /// Its name.
    pub name: String,
    /// What it asked for: files, command line, policies.
    pub config: GuestConfig,
    /// Where its machine runs.
    pub runs_in: RunsIn,
    /// APIC IDs of its processors; virtual processor 0 runs on the first.
    pub apic_ids: Vec<u32>,
    /// Bytes of memory, a multiple of 2 MiB.
    pub memory_bytes: u64,
    /// Where its memory below 4 GiB ends, if it has that much; the rest is above 4 GiB.
    pub low_memory_end: u64,
    /// Its physical functions, in the order of the configuration.
    pub functions: Vec<FunctionPlan>,
    /// Its emulated functions, in the order of the configuration.
    pub emulated: Vec<EmulatedPlan>,
    /// Memory that the firmware keeps using with its physical functions, to be mapped one to one for DMA:
    /// sorted and apart. Empty unless the configuration allows it.
    pub reserved_memory: Vec<ReservedRange>,
}

/// An emulated function that a guest gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EmulatedPlan {
    /// Where the guest sees it on its bus 0.
    pub slot: DevFn,
    /// What it is.
    pub model: Model,
    /// Where its model runs.
    pub runs_in: RunsIn,
    /// What it stands on.
    pub base: Base,
    /// What is on its second drive, if it has one.
    pub second_backing: Option<Backing>,
    /// The queues that it offers, if it is a virtio device.
    pub ring: Ring,
}

/// What an emulated function stands on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Base {
    /// A drive: what is on it.
    Drive(Backing),
    /// A network interface: the port that it is connected to.
    Port(PortPlan),
    /// An entropy device: the processors' random numbers.
    RandomNumbers,
    /// Memory that guests share: who of them it is.
    SharedMemory(PeerPlan),
    /// A console: the stream of the guests' consoles.
    Console,
    /// A display.
    Display {
        /// Bytes of its video memory, a power of two.
        video_memory_bytes: u64,
    },
}

impl GuestPlan {
    /// The consoles among its emulated functions, each with its place among these.
    pub fn consoles(&self) -> impl Iterator<Item = (usize, &EmulatedPlan)> {
        self.emulated.iter().enumerate().filter(|(_, function)| function.base == Base::Console)
    }

    /// What its console of this number is called: 0 is the one at its serial port, and those of its functions
    /// follow.
    pub fn console_name(&self, number: usize) -> ConsoleName<'_> {
        let function = number.checked_sub(1).and_then(|place| self.consoles().nth(place));
        ConsoleName { guest: &self.name, slot: function.map(|(_, function)| function.slot) }
    }

    /// What its emulated function of this number is called, and its compartment where it has one; `None` where
    /// there is no such function.
    pub fn function_name(&self, number: usize) -> Option<FunctionName<'_>> {
        let function = self.emulated.get(number)?;
        Some(FunctionName { guest: &self.name, slot: function.slot })
    }

    /// The compartments that its emulated functions run in, each with the function's place among these.
    pub fn compartments(&self) -> impl Iterator<Item = (usize, FunctionName<'_>)> {
        let apart = self.emulated.iter().enumerate().filter(|(_, it)| it.runs_in == RunsIn::Ring3);
        apart.map(|(number, it)| (number, FunctionName { guest: &self.name, slot: it.slot }))
    }
}

/// What a console is called: as its guest, and where it is not the one at the serial port as its function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConsoleName<'a> {
    guest: &'a str,
    slot: Option<DevFn>,
}

impl fmt::Display for ConsoleName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.slot {
            None => f.write_str(self.guest),
            Some(slot) => FunctionName { guest: self.guest, slot }.fmt(f),
        }
    }
}

/// A port of a network, to which an emulated function is connected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortPlan {
    /// The network's name.
    pub network: String,
    /// What the switch lets it do.
    pub config: PortConfig,
}

/// One of those that share a memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerPlan {
    /// The memory's name.
    pub memory: String,
    /// Who it is among them, from 0.
    pub position: u16,
}

/// Memory that guests share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SharedMemoryPlan {
    /// Its name.
    pub name: String,
    /// Bytes of it, a power of two.
    pub bytes: u64,
    /// How many functions share it, whether or not their guests start.
    pub peers: u16,
}

/// A function that stays with the hypervisor, which drives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedPlan {
    /// The function. No guest sees it: its slot is 00.0, and it has neither ROM nor line.
    pub function: FunctionPlan,
    /// By which driver.
    pub driver: Driver,
    /// Where that runs.
    pub runs_in: RunsIn,
}

/// A network of the hypervisor's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkPlan {
    /// Its name.
    pub name: String,
    /// The network interface that leads outside, if one does: its place in [`Plan::owned`].
    pub uplink: Option<usize>,
}

/// The drivers, by what they drive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    /// NVM Express controllers, each of which is one drive.
    Nvme,
    /// Serial ATA controllers by AHCI, which have a drive at each of their ports.
    Ahci,
    /// Virtio block devices, each of which is one drive.
    VirtioBlock,
    /// Intel's 82574 network interfaces.
    E1000e,
    /// The physical functions of Intel's 82576 network interfaces.
    Igb,
    /// Virtio network interfaces.
    VirtioNet,
}

impl Driver {
    /// The driver of network interfaces with this identity: what they have in common is not enough
    /// to drive one.
    pub fn of_interface(id: DeviceId) -> Option<Self> {
        match (id.vendor, id.device) {
            _ if id == INTEL_82574L => Some(Self::E1000e),
            _ if id == INTEL_82576 => Some(Self::Igb),
            (virtio::VENDOR, VIRTIO_NET | virtio::TRANSITIONAL_NET) => Some(Self::VirtioNet),
            _ => None,
        }
    }

    /// The driver of drives with this identity and class code (PCI Code and ID Assignment Specification,
    /// section 1), which says nothing of virtio devices.
    pub const fn of_drive(id: DeviceId, class: u32) -> Option<Self> {
        match (id.vendor, id.device, class) {
            (virtio::VENDOR, VIRTIO_BLOCK | virtio::TRANSITIONAL_BLOCK, _) => Some(Self::VirtioBlock),
            (_, _, spec::pci::class::NVME) => Some(Self::Nvme),
            (_, _, spec::pci::class::AHCI) => Some(Self::Ahci),
            _ => None,
        }
    }

    /// Whether the driver resets all of the function by its registers, and proves it: what it does
    /// anyway counts where the function offers PCI's reset neither alone nor by its bus. That is
    /// for the hypervisor alone, whose driver has the registers to itself and lets nothing master
    /// the bus before; a guest's function is reset without its driver.
    pub const fn resets_controller(self) -> bool {
        matches!(self, Self::Ahci)
    }

    /// Whether the device can read and write the memory of guests itself. Its driver then takes all
    /// memory away from it as soon as it fails, which behind an adapter of several drives would be the
    /// others' too.
    pub const fn can_reach_guests(self) -> bool {
        matches!(self, Self::Nvme | Self::VirtioBlock)
    }
}

/// A virtio block device, and a network interface (section 4.1.2).
const VIRTIO_BLOCK: u16 = virtio::DEVICE_BASE + spec::virtio::block::DEVICE_TYPE;
const VIRTIO_NET: u16 = virtio::DEVICE_BASE + spec::virtio::net::DEVICE_TYPE;

/// The 82574L (82574 data sheet, section 9.1.2).
const INTEL_82574L: DeviceId = DeviceId { vendor: 0x8086, device: 0x10d3 };
/// The 82576 with copper ports (82576 data sheet, section 9.4.2).
const INTEL_82576: DeviceId = DeviceId { vendor: 0x8086, device: 0x10c9 };

/// A drive of the hypervisor's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskPlan {
    /// Its name.
    pub name: String,
    /// The function that it is, or is at: its place in [`Plan::owned`].
    pub owned: usize,
    /// The port of an AHCI controller, where the configuration names one.
    pub port: Option<u32>,
    /// The guests whose memory it reaches: it moves their data without a copy.
    pub reaches: Vec<String>,
}

/// A physical function that a guest gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FunctionPlan {
    /// Its place among the functions that the configuration asks for.
    pub index: usize,
    /// Where the guest sees it on its bus 0.
    pub slot: DevFn,
    /// Its physical address.
    pub bdf: Bdf,
    /// Its physical path.
    pub path: DevicePath,
    /// Its identity.
    pub id: DeviceId,
    /// Every requester ID under which the IOMMU may see it, its own first.
    pub requesters: Vec<Bdf>,
    /// Whose number its interrupt messages carry when the IOMMU sees them.
    pub message_source: MessageSource,
    /// Index of the remapping unit that serves it, in the platform's units.
    pub remapping_unit: usize,
    /// Whose access control services must be enabled, and which, before it may master
    /// the bus: without them it could reach its neighbours past the IOMMU.
    pub access_controls: Vec<(Bdf, AccessControl)>,
    /// MSI messages it can send; 0 without MSI.
    pub msi_messages: u16,
    /// Entries of its MSI-X table; 0 without MSI-X.
    pub msix_messages: u16,
    /// What its BARs decode and where the firmware placed them.
    pub bars: Vec<Bar>,
    /// Bytes of the expansion ROM that the guest sees; 0 for none.
    pub rom_bytes: u32,
    /// Its interrupt line, where the guest gets it.
    pub line: Option<LinePlan>,
}

/// What a file of the configuration is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A guest's kernel.
    Kernel,
    /// Its initial RAM disk.
    Initrd,
    /// A module of its multiboot kernel.
    Module,
    /// The contents of an emulated drive.
    Image,
}

/// A file that a configuration names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileRef<'a> {
    /// The guest that wants it.
    pub guest: &'a str,
    /// What for.
    pub kind: FileKind,
    /// Its name, as the configuration says it.
    pub name: &'a str,
}

/// The interrupt line of a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinePlan {
    /// Global system interrupt on the machine.
    pub gsi: u32,
    /// Registers of the I/O APIC where it ends.
    pub io_apic: Hpa,
    /// The pin there.
    pub pin: u8,
    /// Who the IOMMU takes that I/O APIC for.
    pub source: Bdf,
    /// The function's own pin, 0 for INTA to 3 for INTD: the guest sees the same.
    pub intx: u8,
}

/// A serial port that the console may be at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsolePlan {
    /// What it is called.
    pub name: PortName,
    /// Its registers.
    pub address: SerialAddress,
    /// Its rate.
    pub rate: SerialRate,
    /// Its interrupt; `None` where it is not known, or is a card's.
    pub interrupt: Option<SerialInterrupt>,
    /// The function whose BAR the registers are in.
    pub function: Option<Bdf>,
}

/// What a serial port is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PortName {
    /// COM1 to COM4.
    Com(u8),
    /// One that the firmware's tables name.
    OfTables(SerialAddress),
    /// One of a PCI card.
    OfCard(DevicePath, SerialAddress),
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Com(number) => write!(f, "COM{number}"),
            Self::OfTables(address) => write!(f, "the firmware's serial port at {address}"),
            Self::OfCard(path, address) => write!(f, "the serial port of {path} at {address}"),
        }
    }
}
