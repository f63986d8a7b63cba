//! Where a function is on the guest's bus.

use core::fmt;

/// A place on the guest's bus. The low byte is device and function number, as the guest addresses
/// them; the high byte is the root port that the place is behind, by the order in which they were
/// put on the bus, and 0 on the root bus. Which bus number a root port's bus has is the guest's
/// matter, so it is no part of a place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Slot(pub u16);

impl Slot {
    /// Function `function` (0 to 7) of device `device` (0 to 31) on the root bus.
    pub const fn new(device: u8, function: u8) -> Self {
        Self((device as u16 & 31) << 3 | function as u16 & 7)
    }
    /// Function `function` (0 to 7) of the one device behind root port `port` (from 1 on).
    pub const fn behind(port: u8, function: u8) -> Self {
        Self((port as u16) << 8 | function as u16 & 7)
    }
    /// Device number, 0 to 31.
    pub const fn device(self) -> u8 {
        (self.0 >> 3) as u8 & 31
    }
    /// Function number, 0 to 7.
    pub const fn function(self) -> u8 {
        self.0 as u8 & 7
    }
    /// The root port that it is behind; 0 on the root bus.
    pub const fn port(self) -> u8 {
        (self.0 >> 8) as u8
    }
    /// Function 0 of the same device.
    pub(crate) const fn first(self) -> Self {
        Self(self.0 & !7)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.port() != 0 {
            write!(f, "port {}: ", self.port())?;
        }
        write!(f, "{:02x}.{:x}", self.device(), self.function())
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
