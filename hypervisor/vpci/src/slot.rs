//! Where a function is on the guest's bus.

use core::fmt;

/// A place on the guest's bus: device and function number in one byte, as the
/// guest addresses them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Slot(pub u8);

impl Slot {
    /// Function `function` (0 to 7) of device `device` (0 to 31).
    pub const fn new(device: u8, function: u8) -> Self {
        Self((device & 31) << 3 | function & 7)
    }
    /// Device number, 0 to 31.
    pub const fn device(self) -> u8 {
        self.0 >> 3
    }
    /// Function number, 0 to 7.
    pub const fn function(self) -> u8 {
        self.0 & 7
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{:x}", self.device(), self.function())
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
