//! Where a driver finds what is its device's, beside what every compartment has
//! ([`compartment::layout`]).

/// The registers: the BAR from its start on, uncached. Pages with an MSI-X table or its pending bits are
/// not mapped.
pub const BAR: u64 = 0x2000_0000_0000;
/// The memory for queues, which its device reaches too, zeroed when the compartment is built and when it is
/// renewed.
pub const QUEUES: u64 = 0x3000_0000_0000;
