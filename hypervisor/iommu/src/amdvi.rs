//! AMD-Vi (AMD I/O Virtualization Technology specification, revision 3.08).
//!
//! The device table has an entry for every requester ID, and every entry is valid from
//! the start: it blocks. Commands are carried out by the command buffer, each batch
//! ended by a COMPLETION_WAIT. Device TLBs, guest translation and page requests stay
//! off; a page request that arrives all the same is refused.

mod command_buffer;
mod device_table;
mod events;
mod features;
mod interrupts;
mod log;
mod own_interrupt;
#[cfg(test)]
mod tests;
mod unit;

pub use features::Features;
pub(crate) use unit::{Unit, frames_needed};

/// Domain identifiers, of which 0 is not given out: entries that block have it.
pub(crate) const DOMAINS: usize = 1 << 16;

/// How long a unit may take for anything.
const TIMEOUT_NS: u64 = 1_000_000_000;
