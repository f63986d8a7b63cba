//! Processors: their registers and tables, what interrupts them, their clocks and timers, how they start, and
//! what is wrong with them.

pub mod apic;
mod arrival;
pub mod barriers;
pub mod descriptors;
mod domains;
pub mod errata;
pub mod facts;
pub mod interrupts;
pub mod machine_check;
pub mod ports;
pub mod processor;
pub mod random;
pub mod registers;
#[cfg(target_os = "none")]
pub mod ring3;
#[cfg(target_os = "none")]
pub mod syscall;
pub mod timer;
pub mod trampoline;
pub mod tsc;
