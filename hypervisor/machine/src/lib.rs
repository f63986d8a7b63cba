//! The machine: the one crate that may touch hardware.
//!
//! Everything unsafe of the hypervisor is here, behind the traits of `access` and
//! a few plain functions. The parts that only compute build and test on the host;
//! what needs the bare machine (doors, stubs, the panic handler, the global
//! allocator) is gated by `target_os = "none"`.
//!
//! Order of life: a door of [`boot`] takes what the loader gives, [`boot::start`]
//! stops what could write memory ([`bus_masters`]), makes page tables, stacks, descriptors and the log, and calls the kernel's
//! `hypervisor_main`.
#![no_std]
// On the host the doors and stubs are gated away, and with them the users of much.
#![cfg_attr(not(target_os = "none"), allow(dead_code))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod apic;
pub mod apic_page;
mod arrival;
pub mod barriers;
pub mod boot;
pub mod bus_masters;
pub mod config_space;
pub mod console;
pub mod descriptors;
pub mod errata;
pub mod facts;
pub mod framebuffer;
pub mod frames;
pub mod guest_ram;
#[cfg(any(test, target_os = "none"))]
pub mod guest_registers;
pub mod heap;
pub mod history;
pub mod interrupts;
pub mod ioapic;
pub mod layout;
pub mod log;
pub mod machine_check;
pub mod memory_map;
pub mod mmio;
pub mod page_table;
pub mod paging;
#[cfg(target_os = "none")]
pub mod panic;
pub mod passed_msrs;
pub mod pic;
pub mod ports;
pub mod power;
pub mod processor;
pub mod registers;
pub mod serial;
pub mod svm;
pub mod symbols;
pub mod timer;
pub mod trampoline;
pub mod tsc;
#[cfg(target_os = "none")]
pub mod virtualization;
pub mod vmx;
pub mod wall_clock;
