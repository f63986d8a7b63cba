//! The hypervisor's binary: boot order and wiring, nothing else.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod backings;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod clients;
mod compartments;
#[cfg(target_os = "none")]
mod disks;
#[cfg(target_os = "none")]
mod display;
#[cfg(target_os = "none")]
mod emulated;
mod freeze;
#[cfg(target_os = "none")]
mod guests;
#[cfg(target_os = "none")]
mod host;
#[cfg(target_os = "none")]
mod housekeeping;
#[cfg(target_os = "none")]
mod io;
#[cfg(target_os = "none")]
mod iommus;
#[cfg(target_os = "none")]
mod keyboard;
#[cfg(target_os = "none")]
mod lifecycle;
#[cfg(target_os = "none")]
mod lines;
#[cfg(target_os = "none")]
mod linked;
#[cfg(target_os = "none")]
mod metered;
mod networks;
#[cfg(target_os = "none")]
mod owned;
mod reach;
#[cfg(target_os = "none")]
mod rom;
#[cfg(target_os = "none")]
mod serial;
#[cfg(target_os = "none")]
mod shared_memory;
#[cfg(target_os = "none")]
mod summary;
#[cfg(target_os = "none")]
mod taken;
#[cfg(target_os = "none")]
mod viewer;
#[cfg(target_os = "none")]
mod virtualization;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the hypervisor runs on the bare machine: build it with `cargo hv`");
}

/// What every entry point of the boot ends in: own tables and stack, the log, one processor.
#[cfg(target_os = "none")]
#[unsafe(no_mangle)]
fn hypervisor_main(boot: &'static mut bootloader_api::BootInfo) -> ! {
    boot::run(boot);
    boot::halt()
}
