//! Messages of a passed-through function: what its guest wants sent, and what the machine sends
//! for it.

/// A message as the guest programmed it: an untrusted value, not a right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GuestMsi {
    /// Address that the message would be written to.
    pub address: u64,
    /// Data that would be written.
    pub data: u32,
}

/// A message that the machine accepts: it names a remapping entry of this
/// function's requester ID.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HostMsi {
    /// Address of the message.
    pub address: u64,
    /// Data of the message.
    pub data: u32,
}

/// A message of a function became deliverable, changed, or stopped being so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageChange {
    /// Number of the message: MSI-X table entry, or MSI message.
    pub index: u16,
    /// What the guest wants sent; `None`: nothing any more.
    pub message: Option<GuestMsi>,
}

/// Why a host message was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageRefused {
    /// The function has no message of this index, or the guest took it back.
    NoSuchMessage,
    /// The messages of MSI share one address and all but the low bits of their
    /// data; this one does not fit the first.
    NotContiguous,
}
