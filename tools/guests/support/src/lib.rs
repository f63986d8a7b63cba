//! What a bare-metal test guest needs of a machine: a way in, a serial line, traps
//! that can be survived, interrupt controllers, PCI, a second processor.
//!
//! A test guest owns its machine whole and has nothing to lose: reaching any port,
//! register or address is what it is for. So the wrappers of privileged
//! instructions are safe functions here, and a block's SAFETY comment speaks only
//! of what the compiler relies on: that memory of Rust objects is left alone.
#![no_std]

pub mod apic;
pub mod boot;
pub mod cpu;
pub mod edu;
pub mod ide;
pub mod ioapic;
pub mod multiboot;
pub mod ne2000;
pub mod nvme;
pub mod paging;
pub mod pci;
pub mod ports;
pub mod power;
pub mod serial;
pub mod smp;
pub mod time;
pub mod trap;
pub mod virtio;
