//! What a port carried, and what it did not and why.

/// Why a frame went no further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Dropped {
    /// The sender's port is down.
    Down,
    /// It has no header, or its source is no station's address.
    Malformed,
    /// It is for the bridge itself (01:80:c2:00:00:0x), such as a pause frame.
    Reserved,
    /// Its source is not the port's address, or that of another port.
    Spoofed,
    /// It has a tag, and its port takes none.
    Vlan,
    /// The port has sent more than it may.
    RateLimit,
    /// No port takes it: none in its VLAN that is up and not isolated from its own has its
    /// destination.
    Unreachable,
    /// The receiver had no room. This one is counted for the port that it was to go to.
    Refused,
}

impl Dropped {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Down,
        Self::Malformed,
        Self::Reserved,
        Self::Spoofed,
        Self::Vlan,
        Self::RateLimit,
        Self::Unreachable,
        Self::Refused,
    ];

    /// The reason in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Down => "link down",
            Self::Malformed => "malformed",
            Self::Reserved => "for the bridge",
            Self::Spoofed => "foreign source address",
            Self::Vlan => "tagged",
            Self::RateLimit => "over the rate limit",
            Self::Unreachable => "no receiver",
            Self::Refused => "no room at the receiver",
        }
    }
}

/// Frames and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Frames; one that is yet to be segmented is one.
    pub frames: u64,
    /// Their bytes, from the destination address on.
    pub bytes: u64,
}

impl Traffic {
    pub(crate) const fn add(&mut self, bytes: usize) {
        self.frames = self.frames.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

/// What went through one port since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// What it sent, and the switch took.
    pub sent: Traffic,
    /// What it was given, and took.
    pub received: Traffic,
    dropped: [u64; Dropped::ALL.len()],
}

impl Counters {
    /// How many frames were dropped for this reason.
    pub fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }
    pub(crate) fn drop(&mut self, reason: Dropped) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count = count.saturating_add(1);
        }
    }
}
