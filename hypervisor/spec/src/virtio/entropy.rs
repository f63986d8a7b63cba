//! Entropy devices (section 5.4): one queue of buffers, which the device fills with random bytes. They
//! have neither features nor a configuration of their own.

/// The type of the device (section 5).
pub const DEVICE_TYPE: u16 = 4;
/// Queues of the device (section 5.4.2).
pub const QUEUES: u16 = 1;
