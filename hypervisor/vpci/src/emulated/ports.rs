//! Ports of an emulated function.

/// Ports of a device that its function decodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortWindow<P: 'static> {
    /// Where: an I/O BAR's number, or the first of ports that are the function's while its I/O space
    /// is on.
    pub place: P,
    /// How many there are; of a BAR a power of two, 4 at least.
    pub ports: u16,
    /// Where they are in the device's space of offsets.
    pub at: u64,
}
