//! The configuration: what the user asks for.
//!
//! The tables are written down once, in the macros below: from the same lines come
//! the types, the reader of TOML with its messages, and the reference.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use network::MacAddress;
use platform::names::{DevFn, DeviceId, DevicePath, Memory};
use serde::{Deserialize, Serialize};

/// Declares a table of the configuration. A key is required unless it says
/// `= default`; an older name that it was known by stands behind `was`, and still works.
macro_rules! table {
    (
        $(#[doc = $doc:literal])*
        $(#[derive($derived:ident)])?
        pub struct $name:ident {
            $( $(#[doc = $key_doc:literal])* pub $key:ident $(was $old:ident)?: $type:ty $(= $default:expr)?, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
        $(#[derive($derived)])?
        pub struct $name {
            $( $(#[doc = $key_doc])* pub $key: $type, )*
        }

        #[cfg(feature = "toml")]
        impl crate::text::Table for $name {
            const DOC: &'static [&'static str] = &[$($doc),*];
            const RENAMED: &'static [(&'static str, &'static str)] =
                &[$( $( (stringify!($old), stringify!($key)), )? )*];

            fn keys() -> Vec<crate::text::Key> {
                Vec::from([$(
                    crate::text::Key::of::<$type>(
                        stringify!($key),
                        &[$($key_doc),*],
                        table!(@option $($default)?),
                    ),
                )*])
            }

            fn read(table: &mut crate::text::TableReader<'_, '_>) -> Option<Self> {
                // Every key is read before any is missed, so that each is told.
                $( let $key = table.key(stringify!($key), table!(@option $($default)?)); )*
                Some(Self { $( $key: $key?, )* })
            }
        }
    };
    (@option) => { None };
    (@option $default:expr) => { Some($default) };
}

/// Declares a key's choices, each a word in kebab case.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident {
            $( $(#[doc = $word_doc:literal])* $word:ident = $text:literal, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
        pub enum $name {
            $( $(#[doc = $word_doc])* $word, )*
        }

        impl $name {
            /// Every choice, as the configuration writes it.
            pub const ALL: &'static [(Self, &'static str)] = &[$( (Self::$word, $text) ),*];

            /// The choice as the configuration writes it.
            pub const fn text(self) -> &'static str {
                match self { $( Self::$word => $text, )* }
            }
        }

        #[cfg(feature = "toml")]
        impl crate::text::Choice for $name {
            const WORDS: &'static [(Self, &'static str, &'static [&'static str])] =
                &[$( (Self::$word, $text, &[$($word_doc),*]) ),*];
        }
    };
}

mod backing;
mod compartment_name;
mod function_name;
mod kill;
mod model;
mod runs_in;

pub use backing::{Backing, BackingPlace, ImageMode, PartitionName};
pub use compartment_name::{CompartmentName, MachinePart};
pub use function_name::FunctionName;
pub use kill::{Kill, NoKill};
pub use model::{Model, Ring, StandsOn};
pub use runs_in::RunsIn;

table! {
    /// A whole configuration.
    #[derive(Default)]
    pub struct Config {
        /// What concerns the hypervisor itself.
        pub hypervisor: HypervisorConfig = HypervisorConfig::default(),
        /// The drives that the hypervisor keeps, by name, for emulated functions of the guests.
        pub disk: BTreeMap<String, DiskConfig> = BTreeMap::new(),
        /// The networks that the hypervisor switches, by name, for emulated functions of the guests.
        pub network: BTreeMap<String, NetworkConfig> = BTreeMap::new(),
        /// Memory that guests share, by name, for emulated functions of theirs.
        pub shared_memory: BTreeMap<String, SharedMemoryConfig> = BTreeMap::new(),
        /// The guests, by name: up to 32 letters, digits, `-` and `_`.
        pub guest: BTreeMap<String, GuestConfig> = BTreeMap::new(),
    }
}

/// How often a model that fails is made anew in a minute, where the configuration does not say it.
pub const USUAL_RESTARTS: u32 = 10;

table! {
    /// What concerns the hypervisor itself.
    pub struct HypervisorConfig {
        /// Where the log and the guests' consoles go, besides the screen.
        pub console: Console = Console::Named(ConsolePort::Auto),
        /// Let two guests run on threads of one core. Each can measure what the other does
        /// there, and on many processors read what the other leaves in the core's buffers.
        pub share_cores: bool = false,
        /// Which barriers against speculation are issued between a guest and the hypervisor.
        pub barriers: Barriers = Barriers::Auto,
        /// Which processor does the work for emulated functions on drives and networks that the hypervisor
        /// keeps.
        pub io: IoProcessor = IoProcessor::Housekeeping,
        /// Where that runs of which its own table does not say it: guests' emulated functions, the drivers of disks and
        /// uplinks, guests' machines. What can run in the hypervisor alone runs there. Without this key the
        /// functions are in ring 3, and the others in the hypervisor.
        pub runs_in: Option<RunsIn> = None,
        /// How often in a minute the model of a function in ring 3 is made anew after it failed. Then the function
        /// is as a card that was pulled out.
        pub restarts: u32 = USUAL_RESTARTS,
        /// Compartments to end while the guests run, to see what these notice: each by guest and slot, or as
        /// `GUEST:interpreter`, `GUEST:chipset`, `disk.NAME` or `network.NAME`, with milliseconds from the guests' start. `cargo hv run --kill` adds to them.
        pub kill: Vec<Kill> = Vec::new(),
    }
}

impl Default for HypervisorConfig {
    fn default() -> Self {
        Self {
            console: Console::Named(ConsolePort::Auto),
            share_cores: false,
            barriers: Barriers::Auto,
            io: IoProcessor::Housekeeping,
            runs_in: None,
            restarts: USUAL_RESTARTS,
            kill: Vec::new(),
        }
    }
}

choice! {
    /// Which processor does the work for emulated functions on drives and networks that the hypervisor
    /// keeps.
    pub enum IoProcessor {
        /// the housekeeping CPU, which looks for more while there is some: no exit for each request, but
        /// it is busy meanwhile, and all guests share it
        Housekeeping = "housekeeping",
        /// the guest's own, in the exit by which it tells of requests or frames: an exit for each time that it
        /// tells, no polling, and who asks for much spends its own time; what is over, and what comes from outside,
        /// is the housekeeping CPU's
        Guest = "guest",
    }
}

/// Where the log and the guests' consoles go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Console {
    /// A port of the board, or none.
    Named(ConsolePort),
    /// A port of a PCI card.
    Card(SerialCard),
}

choice! {
    /// A serial port of the board.
    pub enum ConsolePort {
        /// the port that the firmware's tables name (SPCR, then DBG2) where it answers, else `"com1"`
        Auto = "auto",
        /// the machine's first serial port, at I/O port 0x3f8
        Com1 = "com1",
        /// the second, at 0x2f8
        Com2 = "com2",
        /// the third, at 0x3e8
        Com3 = "com3",
        /// the fourth, at 0x2e8
        Com4 = "com4",
        /// nowhere else
        None = "none",
    }
}

table! {
    /// A serial port of a PCI card: `console = { path = "00:03.0", id = "1b36:0002" }`. The
    /// card stays with the hypervisor, which looks at it by its timer. Until PCI is known, the
    /// log is on COM1.
    pub struct SerialCard {
        /// The card's path from the root.
        pub path: DevicePath,
        /// Its vendor and device ID.
        pub id: DeviceId,
        /// The BAR that the port's registers are in.
        pub bar: u32 = 0,
        /// How many bytes into the BAR they begin. Of a card with several ports in one BAR
        /// most are 8 apart.
        pub offset: u32 = 0,
        /// What the port divides to send 115,200 bits in a second, in Hz. Many cards have
        /// 14745600.
        pub clock_hz: u32 = 1_843_200,
    }
}

choice! {
    /// Which barriers against speculation are issued.
    pub enum Barriers {
        /// those that the processor needs, by what it says of itself
        Auto = "auto",
        /// none, for measurements and for guests that trust each other
        None = "none",
        /// all that the processor has, also those that it does not need
        All = "all",
    }
}

table! {
    /// One guest.
    pub struct GuestConfig {
        /// Physical processors that belong to the guest alone, by their place among the
        /// machine's usable processors: 0 is the one that boots, the others follow in the
        /// order of the MADT. Its first virtual processor runs on the first of them, and so
        /// on. Processor 0 stays with the hypervisor.
        pub cpus: Vec<u32>,
        /// Memory, a multiple of 2 MiB.
        pub memory: Memory,
        /// Kernel: a Linux bzImage, an ELF with a PVH note, or a multiboot 1 kernel.
        /// File names are relative to the configuration's folder.
        pub kernel: String,
        /// Initial RAM disk of a Linux kernel.
        pub initrd: Option<String> = None,
        /// Modules of a multiboot kernel, in order.
        pub modules: Vec<String> = Vec::new(),
        /// Kernel command line, given to the kernel as it is. Some multiboot kernels take its
        /// first word for the name of their file and drop it; those want a name there.
        pub command_line: String = String::new(),
        /// Where its chipset is, but for its local APICs, and where those of its instructions are interpreted that reach its
        /// devices: one compartment for the chipset, in which none of the guest's memory is, and one for each of its processors where that
        /// is ring 3. What a device then does has a place of its own. Task switches by hardware, and stepping
        /// over instructions that an exit names, are the hypervisor's either way.
        pub runs_in: Option<RunsIn> = None,
        /// Who takes the interrupts of its processors.
        pub interrupts: Interrupts = Interrupts::Auto,
        /// Part of a line that the guest writes to its console when it is up. The summary
        /// counts exits from then on apart, as `steady`.
        pub ready: Option<String> = None,
        /// What follows when the guest powers itself off.
        pub on_power_off: EndPolicy = EndPolicy::Off,
        /// What follows when the guest resets itself.
        pub on_reboot: EndPolicy = EndPolicy::Restart,
        /// What follows a triple fault or a forbidden access.
        pub on_crash: EndPolicy = EndPolicy::Off,
        /// What an access to an address that is neither the guest's memory nor any of
        /// its devices does.
        pub unmapped_access was stray_access: UnmappedAccess = UnmappedAccess::Ignore,
        /// How often the guest is started again before it stays off; without it there
        /// is no limit.
        pub max_restarts: Option<u32> = None,
        /// Whether there is room for one snapshot of the guest, as large as its memory: it can be frozen
        /// from the console's menu then, and goes on from there. Such a guest has no function of PCI, and
        /// its interrupts are `virtual` unless they are `emulated`.
        pub snapshot: bool = false,
        /// How the guest must end for the run to count as expected.
        pub expect: Expect = Expect::PowerOff,
        /// PCI functions of the guest.
        pub pci: Vec<PciConfig> = Vec::new(),
    }
}

choice! {
    /// Who takes the interrupts of a guest's processors.
    pub enum Interrupts {
        /// as `direct` where the machine has x2APIC mode, else as `virtual`
        Auto = "auto",
        /// the guest itself, without exits, from the moment that it enters x2APIC mode;
        /// refused where the machine has none
        Direct = "direct",
        /// the hypervisor, with the help of processors that keep a guest's local APIC
        Virtual = "virtual",
        /// the hypervisor, which injects every one
        Emulated = "emulated",
    }
}

choice! {
    /// What follows the end of a guest.
    pub enum EndPolicy {
        /// the guest stays off
        Off = "off",
        /// the guest starts again, its memory scrubbed and its devices reset
        Restart = "restart",
        /// every guest is stopped
        HaltAll = "halt-all",
    }
}

choice! {
    /// What an access to nothing does.
    pub enum UnmappedAccess {
        /// reads ones, writes nothing, as on a bus, and is logged
        Ignore = "ignore",
        /// ends the guest as a crash does
        Crash = "crash",
    }
}

choice! {
    /// How a guest must end for the run to count as expected.
    pub enum Expect {
        /// it powers itself off
        PowerOff = "power-off",
        /// it resets itself, and its policy or its last restart lets it stay off
        Reboot = "reboot",
        /// it crashes
        Crash = "crash",
        /// it never starts: the machine cannot give it what it asks for
        Refused = "refused",
        /// it still runs when everything is stopped
        Running = "running",
    }
}

table! {
    /// One PCI function of a guest: one of the machine, or an emulated one.
    pub struct PciConfig {
        /// Where the guest sees it on its bus 0: a device from 01 to 1f, function 0.
        pub slot: DevFn,
        /// The physical function that is passed through.
        pub passthrough: Option<Passthrough> = None,
        /// The emulated function that stands there instead. The guest needs no IOMMU for it.
        pub emulate: Option<Model> = None,
        /// Where the emulated function runs. Without it, where `[hypervisor]` says.
        pub runs_in: Option<RunsIn> = None,
        /// What is on an emulated drive.
        pub backing: Option<Backing> = None,
        /// What is on the second drive of an IDE controller, its primary slave; as `backing`. Without it the
        /// controller has one drive.
        pub second_backing: Option<Backing> = None,
        /// The network that an emulated network interface is connected to, by name.
        pub network: Option<String> = None,
        /// The interface's address, from which alone the guest sends. Without it, one that is made of
        /// the guest's name and the slot: it is the same at each start.
        pub mac: Option<MacAddress> = None,
        /// The VLAN of the network that the guest is in, from 1 to 4094. It sees no tags, and sends
        /// none. Without it, it is in that of the frames without a tag.
        pub vlan: Option<u32> = None,
        /// The most that the guest sends in a second. What is over it waits.
        pub rate_limit: Option<Memory> = None,
        /// The guest does not reach the other guests of the network that have this key, but the
        /// uplink and the guests without it.
        pub isolated: bool = false,
        /// How the queues of a virtio function may lie in memory. Without it, as `packed`.
        pub ring: Option<Ring> = None,
        /// The memory that an `ivshmem` function shares, by name.
        pub shared_memory: Option<String> = None,
        /// How much video memory a `bochs-display` has, a power of two from "4 MiB" to "256 MiB"; without it
        /// "16 MiB". A picture of 1920 by 1080 dots takes 8 MiB, and Linux wants room for two.
        pub video_memory: Option<Memory> = None,
        /// Accept a function that the firmware still uses for transfers of its own
        /// (its tables reserve that memory: RMRR, IVMD).
        pub allow_reserved_memory: bool = false,
        /// The I/O APIC input (global system interrupt) where the function's interrupt pin
        /// ends, of which the guest then gets a line of its own. A function without MSI and
        /// MSI-X needs it, but for machines whose wires are known (QEMU's q35). No other
        /// function may share the input.
        pub gsi: Option<u32> = None,
        /// Show the guest the function's expansion ROM, as a copy in memory that the
        /// hypervisor makes once.
        pub rom: bool = false,
    }
}

table! {
    /// A physical function, named by its place and by its identity: the guest gets it
    /// only if both match.
    pub struct Passthrough {
        /// Its path from the root, such as `00:02.0`, or `00:1c.0/00.0` for a function
        /// behind a bridge.
        pub path: DevicePath,
        /// Its vendor and device ID.
        pub id: DeviceId,
    }
}

table! {
    /// A drive that the hypervisor drives itself: NVMe, a SATA disk at an AHCI controller, or a virtio block
    /// device that goes through the IOMMU. Several disks of one controller are tables of their own, each with
    /// its port.
    pub struct DiskConfig {
        /// The function that it is, or that it is at. It belongs to no guest.
        pub device: Passthrough,
        /// The port of the AHCI controller that the disk is at, 0 to 31. Without it, the first port
        /// with a disk.
        pub port: Option<u32> = None,
        /// Whose memory the drive itself can reach. Without it, an NVMe or virtio drive that serves one guest
        /// reads and writes that guest's memory, and every other drive the hypervisor's buffers alone.
        pub isolation: Option<Isolation> = None,
        /// Where its driver runs. In ring 3 it has one drive, whose data is copied.
        pub runs_in: Option<RunsIn> = None,
    }
}

choice! {
    /// What memory a drive can reach that the hypervisor keeps.
    pub enum Isolation {
        /// the hypervisor's buffers, from and to which data is copied
        Copy = "copy",
        /// also all memory of all guests that use it (zero copy); NVMe and virtio drives only. A drive gone
        /// wild could read and change that
        None = "none",
    }
}

table! {
    /// A network of the guests' emulated network interfaces.
    pub struct NetworkConfig {
        /// The network interface of the machine that leads to the outside, which the hypervisor
        /// drives itself: an Intel 82574 or 82576, or a virtio interface. It belongs to no guest. Without
        /// it the network only joins guests.
        pub uplink: Option<Uplink> = None,
    }
}

table! {
    /// The network interface that leads outside, named as a function that is passed through is.
    pub struct Uplink {
        /// Its path from the root, such as `00:02.0`.
        pub path: DevicePath,
        /// Its vendor and device ID.
        pub id: DeviceId,
        /// Where its driver runs. The switch stays in the hypervisor.
        pub runs_in: Option<RunsIn> = None,
    }
}

impl Uplink {
    /// The function that it is.
    pub fn device(&self) -> Passthrough {
        Passthrough { path: self.path.clone(), id: self.id }
    }
}

table! {
    /// Memory that guests share, each by an emulated function (`emulate = "ivshmem"`). Devices that are
    /// passed through do not reach it. It keeps its contents while the machine is on.
    pub struct SharedMemoryConfig {
        /// How much, a power of two: "2 MiB" or more.
        pub size: Memory,
    }
}

impl Config {
    /// The functions that stay with the hypervisor, each with what it is kept for.
    pub fn owned(&self) -> impl Iterator<Item = (Kept<'_>, Passthrough)> {
        let drives = self.disk.iter().map(|(name, disk)| (Kept::Disk(name), disk.device.clone()));
        let uplinks = self
            .network
            .iter()
            .filter_map(|(name, network)| Some((Kept::Uplink(name), network.uplink.as_ref()?.device())));
        drives.chain(uplinks)
    }
}

/// What the hypervisor keeps a function for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept<'a> {
    /// The drive of this name.
    Disk(&'a str),
    /// The uplink of the network of this name.
    Uplink(&'a str),
}

impl fmt::Display for Kept<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(name) => write!(f, "disk `{name}`"),
            Self::Uplink(name) => write!(f, "the uplink of network `{name}`"),
        }
    }
}

impl PciConfig {
    /// What is on its drives, each with its key.
    pub fn backings(&self) -> impl Iterator<Item = (&'static str, &Backing)> + Clone {
        let all = [("backing", &self.backing), ("second_backing", &self.second_backing)];
        all.into_iter().filter_map(|(key, backing)| Some((key, backing.as_ref()?)))
    }

    /// The keys that only an emulated network interface has, each with whether it is given.
    pub fn port_keys(&self) -> [(&'static str, bool); 5] {
        [
            ("network", self.network.is_some()),
            ("mac", self.mac.is_some()),
            ("vlan", self.vlan.is_some()),
            ("rate_limit", self.rate_limit.is_some()),
            ("isolated", self.isolated),
        ]
    }
}

impl GuestConfig {
    /// The functions of the machine that it asks for, each with its place in `pci`.
    pub fn passed_through(&self) -> impl Iterator<Item = (usize, &PciConfig, &Passthrough)> {
        let all = self.pci.iter().enumerate();
        all.filter_map(|(index, pci)| Some((index, pci, pci.passthrough.as_ref()?)))
    }

    /// The emulated functions that it asks for, each with its place in `pci`.
    pub fn emulated(&self) -> impl Iterator<Item = (usize, &PciConfig, Model)> {
        let all = self.pci.iter().enumerate();
        all.filter_map(|(index, pci)| Some((index, pci, pci.emulate?)))
    }

    /// What is on its emulated drives.
    fn backings(&self) -> impl Iterator<Item = (BackingPlace, &Backing)> + Clone {
        self.pci.iter().enumerate().flat_map(|(pci, function)| {
            function.backings().map(move |(key, backing)| (BackingPlace { pci, key }, backing))
        })
    }

    /// The images of its emulated drives.
    pub fn images(&self) -> impl Iterator<Item = (BackingPlace, &str)> {
        self.backings().filter_map(|(place, backing)| Some((place, backing.image.as_deref()?)))
    }

    /// The overlays of its images, each with its size.
    pub fn overlays(&self) -> impl Iterator<Item = (BackingPlace, Memory)> {
        self.backings().filter_map(|(place, backing)| Some((place, backing.overlay?)))
    }

    /// What it has of the hypervisor's drives: the drive's name, and the partition or all of it.
    pub fn disks(&self) -> impl Iterator<Item = (BackingPlace, &str, Option<&PartitionName>)> + Clone {
        self.backings().filter_map(|(place, backing)| {
            Some((place, backing.disk.as_deref()?, backing.partition.as_ref()))
        })
    }

    /// The memories that its functions share, by name, each with the place of its function in `pci`.
    pub fn shared_memory(&self) -> impl Iterator<Item = (usize, &str)> {
        self.emulated().filter_map(|(index, pci, _)| Some((index, pci.shared_memory.as_deref()?)))
    }

    /// Its emulated network interfaces, each with its place in `pci` and its network's name.
    pub fn ports(&self) -> impl Iterator<Item = (usize, &PciConfig, &str)> {
        self.emulated().filter_map(|(index, pci, _)| Some((index, pci, pci.network.as_deref()?)))
    }

    /// Whether it asks for the machine's function at `path`.
    pub fn asks_for(&self, path: &DevicePath) -> bool {
        self.passed_through().any(|(_, _, passthrough)| passthrough.path == *path)
    }
}
