//! What each guest gets: the configuration, and the Plan that comes of it and the
//! machine.
//!
//! `Config x Platform -> Plan`, or every reason why not. The same code runs in
//! `cargo hv check` and in the hypervisor before any device is touched.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;
#[cfg(any(test, feature = "toml"))]
extern crate std;

mod build;
mod check;
pub mod config;
mod plan;
mod problem;
mod reserved;
#[cfg(feature = "toml")]
#[allow(
    clippy::arithmetic_side_effects,
    reason = "the host counts lines and joins text; the hypervisor has none"
)]
pub mod text;

pub use build::{build, check_without_machine};
pub use check::machine::{COMPARTMENT_MEMORY, DRIVE_MEMORY, HYPERVISOR_MEMORY};
pub use check::rules::{HYPERVISOR_PROCESSOR, LEAST_MEMORY, MEMORY_GRANULE, MOST_MEMORY};
pub use config::{
    Backing, BackingPlace, Barriers, CompartmentName, Config, Console, ConsolePort, DiskConfig, EndPolicy,
    Expect, FunctionName, GuestConfig, HypervisorConfig, ImageMode, Interrupts, IoProcessor, Isolation, Kept,
    Kill, MachinePart, Model, NetworkConfig, NoKill, PartitionName, Passthrough, PciConfig, Ring, RunsIn,
    SerialCard, SharedMemoryConfig, StandsOn, UnmappedAccess, Uplink,
};
pub use plan::{
    Base, ConsoleName, ConsolePlan, DiskPlan, Driver, EmulatedPlan, FileKind, FileRef, FunctionPlan,
    GuestPlan, Killed, LinePlan, NetworkPlan, OwnedPlan, PeerPlan, Plan, PlannedKill, PortName, PortPlan,
    Refusal, SharedMemoryPlan,
};
pub use platform::names;
pub use platform::names::{DevFn, DeviceId, DevicePath, Memory, ParseError};
pub use problem::Problem;
pub use reserved::ReservedRange;
#[cfg(feature = "toml")]
pub use text::reference;
