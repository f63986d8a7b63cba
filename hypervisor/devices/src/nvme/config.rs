//! What a controller is made of.

use serde::{Deserialize, Serialize};

/// The most messages: as many as INTMS has bits.
pub const MOST_MESSAGES: u16 = 32;

/// The identifier of the namespace.
pub(super) const NAMESPACE: u32 = 1;
/// I/O queues of each kind.
pub(super) const IO_QUEUES: u16 = 4;
/// Entries of an I/O queue (CAP.MQES and one more).
pub(super) const IO_ENTRIES: u16 = 64;
/// Asynchronous event requests that are kept.
pub(super) const EVENT_REQUESTS: u8 = 4;

/// How large a block is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BlockSize {
    /// 512 bytes.
    Bytes512,
    /// 4096 bytes.
    Bytes4096,
}

impl BlockSize {
    /// A block has 2^this bytes.
    pub const fn shift(self) -> u32 {
        match self {
            Self::Bytes512 => 9,
            Self::Bytes4096 => 12,
        }
    }
}

/// What a controller is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Blocks of the medium. Those past 2^64 bytes are not reachable.
    pub blocks: u64,
    /// How large they are.
    pub block: BlockSize,
    /// Whether the guest may write to the medium.
    pub writable: bool,
    /// Whether somebody polls the controller: then its doorbells can be in the guest's memory, and
    /// what completes interrupts once, with the next poll.
    pub is_polled: bool,
    /// Messages that the PCI function has, 1 to [`MOST_MESSAGES`]; others are taken for the
    /// nearest of these.
    pub messages: u16,
    /// The serial number. What does not print is shown as a space.
    pub serial: [u8; 20],
    /// The UUID of the namespace and of the subsystem, in the order of its text; it must not be zero.
    pub uuid: [u8; 16],
    /// The PCI vendor of the function.
    pub vendor: u16,
    /// The PCI subsystem vendor of the function.
    pub subsystem_vendor: u16,
}

impl Config {
    /// Blocks that the guest sees.
    pub(super) const fn blocks(&self) -> u64 {
        let most = u64::MAX >> self.block.shift();
        if self.blocks < most { self.blocks } else { most }
    }
}
