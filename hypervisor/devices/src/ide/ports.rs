//! Where the controller's windows of ports are in the device's space of offsets.

/// Where the primary channel's command block is, 8 ports.
pub const COMMAND: u64 = 0;
/// Where its control block is, 1 port.
pub const CONTROL: u64 = 8;
/// From a port of the primary channel to that of the secondary one.
pub const CHANNEL_STRIDE: u64 = 0x10;
/// Where the bus-master registers are, 8 ports a channel.
pub const BUS_MASTER: u64 = 0x20;
pub(super) const END: u64 = BUS_MASTER + 0x10;
