//! What each guest gets: the configuration, and the Plan that comes of it and the
//! machine.
//!
//! `Config x Platform -> Plan`, or every reason why not. The same code runs in
//! `cargo hv check` and in the hypervisor before any device is touched.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "toml"))]
extern crate std;

pub mod config;

pub use config::{Config, Console, EndPolicy, Expect, GuestConfig, HypervisorConfig, Passthrough, PciConfig};
pub use platform::names;
pub use platform::names::{DevFn, DeviceId, DevicePath, Memory, ParseError};
