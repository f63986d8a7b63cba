//! The configuration: what the user asks for.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use platform::names::{DevFn, DeviceId, DevicePath, Memory};
use serde::{Deserialize, Serialize};

/// A whole configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What concerns the hypervisor itself.
    #[serde(default)]
    pub hypervisor: HypervisorConfig,
    /// The guests, by name.
    #[serde(default)]
    pub guest: BTreeMap<String, GuestConfig>,
}

/// What concerns the hypervisor itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HypervisorConfig {
    /// Where the log and the guests' consoles go, besides the framebuffer.
    #[serde(default)]
    pub console: Console,
}

/// Where the log and the guests' consoles go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Console {
    /// The machine's first serial port, at I/O port 0x3f8.
    #[default]
    Com1,
    /// Nowhere but the framebuffer.
    None,
}

/// One guest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestConfig {
    /// Physical processors that belong to the guest alone, by their place among the
    /// machine's usable processors, counted from 0 in the order of the MADT. Its
    /// first virtual processor runs on the first of them, and so on.
    pub cpus: Vec<u32>,
    /// Memory, a multiple of 2 MiB.
    pub memory: Memory,
    /// Kernel: a Linux bzImage, an ELF with a PVH note, or a multiboot 1 kernel.
    pub kernel: String,
    /// Initial RAM disk of a Linux kernel.
    #[serde(default)]
    pub initrd: Option<String>,
    /// Modules of a multiboot kernel, in order.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Kernel command line.
    #[serde(default)]
    pub command_line: String,
    /// What follows when the guest powers itself off.
    #[serde(default = "EndPolicy::off")]
    pub on_power_off: EndPolicy,
    /// What follows when the guest resets itself.
    #[serde(default = "EndPolicy::restart")]
    pub on_reboot: EndPolicy,
    /// What follows a triple fault or a forbidden access.
    #[serde(default = "EndPolicy::off")]
    pub on_crash: EndPolicy,
    /// How often the guest is started again before it stays off; no limit if absent.
    #[serde(default)]
    pub max_restarts: Option<u32>,
    /// How the guest must end for the run to count as expected.
    #[serde(default)]
    pub expect: Expect,
    /// PCI functions of the guest.
    #[serde(default)]
    pub pci: Vec<PciConfig>,
}

/// What follows the end of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndPolicy {
    /// The guest stays off.
    Off,
    /// The guest starts again, its memory scrubbed and its devices reset.
    Restart,
    /// Every guest is stopped.
    HaltAll,
}

impl EndPolicy {
    fn off() -> Self {
        Self::Off
    }
    fn restart() -> Self {
        Self::Restart
    }
}

/// How a guest must end for the run to count as expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// It powers itself off.
    #[default]
    PowerOff,
    /// It resets itself, and its policy or its last restart lets it stay off.
    Reboot,
    /// It crashes.
    Crash,
    /// It never starts: the machine cannot give it what it asks for.
    Refused,
    /// It still runs when everything is stopped.
    Running,
}

/// One PCI function of a guest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PciConfig {
    /// Where the guest sees it on its bus 0.
    pub slot: DevFn,
    /// The physical function that is passed through.
    pub passthrough: Passthrough,
    /// Accept a function that the firmware still uses for transfers of its own
    /// (an RMRR of the DMAR table covers it).
    #[serde(default)]
    pub allow_reserved_memory: bool,
}

/// A physical function, named by its place and by its identity: the guest gets it
/// only if both match.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passthrough {
    /// Its path from the root.
    pub path: DevicePath,
    /// Its vendor and device ID.
    pub id: DeviceId,
}
