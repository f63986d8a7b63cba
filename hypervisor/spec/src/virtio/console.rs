//! Consoles (section 5.3), of one port.

/// The type of the device (section 5).
pub const DEVICE_TYPE: u16 = 3;
/// Queues of a console of one port.
pub const QUEUES: u16 = 2;

/// Queues of the first port (section 5.3.2).
pub mod queue {
    /// Buffers for what is typed.
    pub const RECEIVE: usize = 0;
    /// What is printed.
    pub const TRANSMIT: usize = 1;
}
