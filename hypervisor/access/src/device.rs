//! What a driver is given for its function.

use crate::dma::DmaMemory;
use crate::registers::RegisterWindow;

/// All that a driver can reach. Whoever makes it has found and reset the function, attached it to
/// a domain in which nothing but the driver's buffers is mapped, and enabled memory decode, bus
/// mastering and MSI-X; configuration space and the MSI-X table stay there.
///
/// A driver does not wait. Its methods take the time ([`Clock::now_ns`](crate::Clock::now_ns))
/// and return at once; what it waits for is a deadline by which it wants to be called again. A
/// device that misses one is failed, with an error in words.
#[derive(Debug)]
pub struct DeviceAccess<R: RegisterWindow, D: DmaMemory> {
    /// The registers behind its BAR.
    pub registers: R,
    /// Memory that it shares with the device.
    pub dma: D,
    /// Its interrupts.
    pub interrupt: MessageInterrupt,
}

/// The messages that a function was given, numbered from 0 as the entries of its MSI-X table
/// are. Where they go is set up already; the driver is told the number of one that came.
/// Several of one number may be told once, and one may come without a cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageInterrupt {
    /// How many there are.
    pub messages: u16,
}
