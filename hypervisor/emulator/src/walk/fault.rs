//! What an access asks of a translation, and the exception where it is refused.

use access::vcpu::Event;

/// What an access does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reads data.
    Read,
    /// Writes data.
    Write,
    /// Fetches an instruction.
    Fetch,
}

/// A #PF to inject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageFault {
    /// The linear address, for CR2.
    pub address: u64,
    /// The error code.
    pub error_code: u32,
}

impl PageFault {
    /// The exception; the injector sets CR2 to [`PageFault::address`] as well.
    pub const fn event(&self) -> Event {
        Event::Exception { vector: 14, error: Some(self.error_code) }
    }
}

/// Error code bits of #PF (Intel SDM vol. 3 section 4.7).
pub(super) mod error {
    pub const PROTECTION: u32 = 1 << 0;
    pub const WRITE: u32 = 1 << 1;
    pub const USER: u32 = 1 << 2;
    pub const RESERVED: u32 = 1 << 3;
    pub const FETCH: u32 = 1 << 4;
}
