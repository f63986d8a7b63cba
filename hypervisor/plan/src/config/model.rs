//! The kinds of emulated functions.

use serde::{Deserialize, Serialize};

choice! {
    /// What an emulated function is.
    pub enum Model {
        /// an NVMe drive with one namespace (NVM Express 1.4)
        Nvme = "nvme",
        /// an IDE controller (PIIX4) whose primary master is the drive, and the primary slave the second one
        /// if there is to be one, which old systems know
        Ide = "ide",
        /// a virtio block device (virtio 1.2), which costs fewer exits than any other drive
        VirtioBlk = "virtio-blk",
        /// a virtio network interface (virtio 1.2)
        VirtioNet = "virtio-net",
        /// an NE2000-compatible network interface (RTL8029), which old systems know
        Ne2000 = "ne2000",
        /// a virtio entropy device (virtio 1.2), which gives the processor's random numbers; refused
        /// where the processors have neither RDSEED nor RDRAND, or what these give fails its tests
        VirtioRng = "virtio-rng",
        /// memory that guests share, with doorbells (QEMU's ivshmem-doorbell, revision 1): BAR 2 is the memory
        Ivshmem = "ivshmem",
        /// a virtio console of one port (virtio 1.2). What it prints stands beside what the guest prints
        /// at its COM1, behind the name of the guest, `:` and the slot, such as `linux:06.0|`; Ctrl-T `n`
        /// gives it the keyboard, which COM1 has at first
        VirtioConsole = "virtio-console",
        /// a serial port (16550A) beside COM1, which interrupts by its own line; named and typed to as a
        /// virtio console
        Serial = "16550",
        /// a display: the linear framebuffer of Bochs and QEMU with dots of 32 bits, and VGA's text mode 3
        /// (80 by 25) from the kernel's first line on. Ctrl-T `d` shows it on the machine's screen
        BochsDisplay = "bochs-display",
    }
}

choice! {
    /// The queues that a virtio function offers (virtio 1.2, sections 2.7 and 2.8).
    pub enum Ring {
        /// as every driver knows them
        Split = "split",
        /// packed where the driver knows them, so that fewer cache lines pass between it and the device;
        /// else split
        Packed = "packed",
    }
}

impl Default for Ring {
    /// What costs the guest least.
    fn default() -> Self {
        Self::Packed
    }
}

/// What a kind of emulated function stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StandsOn {
    /// A drive of the hypervisor's, or an image.
    Drive,
    /// A network.
    Network,
    /// The processors' random numbers.
    RandomNumbers,
    /// Memory that guests share.
    SharedMemory,
    /// The stream of the guests' consoles.
    Console,
    /// Video memory, of which the machine's screen may show something.
    VideoMemory,
}

impl Model {
    /// What it stands on.
    pub const fn stands_on(self) -> StandsOn {
        match self {
            Self::Nvme | Self::Ide | Self::VirtioBlk => StandsOn::Drive,
            Self::VirtioNet | Self::Ne2000 => StandsOn::Network,
            Self::VirtioRng => StandsOn::RandomNumbers,
            Self::Ivshmem => StandsOn::SharedMemory,
            Self::VirtioConsole | Self::Serial => StandsOn::Console,
            Self::BochsDisplay => StandsOn::VideoMemory,
        }
    }

    /// Bytes of its BAR, but for shared and video memory: its registers, the MSI-X table and the pending bits, each on pages
    /// of their own; or its ports.
    pub const fn bar_bytes(self) -> u64 {
        match self {
            Self::Nvme => 0x4000,
            Self::Ide => 16,
            Self::VirtioBlk => 0x8000,
            Self::VirtioNet => 0x8000,
            Self::Ne2000 => 32,
            Self::VirtioRng | Self::VirtioConsole => 0x8000,
            Self::Ivshmem => 0x4000,
            Self::Serial => 8,
            Self::BochsDisplay => 0x1000,
        }
    }

    /// Whether it is a virtio device.
    pub const fn is_virtio(self) -> bool {
        matches!(self, Self::VirtioBlk | Self::VirtioNet | Self::VirtioRng | Self::VirtioConsole)
    }

    /// Whether it can have a second drive.
    pub const fn has_second_drive(self) -> bool {
        matches!(self, Self::Ide)
    }

    /// Whether it interrupts by INTA#.
    pub const fn has_pin(self) -> bool {
        matches!(self, Self::Ne2000 | Self::Serial)
    }

    /// Whether the BAR is one of ports and not of memory.
    pub const fn has_ports(self) -> bool {
        match self {
            Self::Nvme | Self::VirtioBlk | Self::VirtioNet => false,
            Self::VirtioRng | Self::VirtioConsole | Self::Ivshmem | Self::BochsDisplay => false,
            Self::Ide | Self::Ne2000 | Self::Serial => true,
        }
    }
}
