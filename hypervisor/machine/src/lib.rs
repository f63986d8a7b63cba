//! The machine: the one crate that may touch hardware.
//!
//! Everything unsafe of the hypervisor is here, behind the traits of `access` and
//! a few plain functions. The parts that only compute build and test on the host;
//! what needs the bare machine (entry points, stubs, the panic handler, the global
//! allocator) is gated by `target_os = "none"`.
//!
//! Order of life: an entry point of [`boot`] takes what the loader gives, [`boot::start`]
//! stops what could write memory ([`boot::bus_masters`]), makes page tables, stacks, descriptors and the log, and calls the kernel's
//! `hypervisor_main`.
#![no_std]
// On the host the entry points and stubs are gated away, and with them the users of much.
#![cfg_attr(not(target_os = "none"), allow(dead_code))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod boot;
pub mod chipset;
pub mod console;
pub mod cpu;
pub mod emulators;
pub mod memory;
pub mod virt;
