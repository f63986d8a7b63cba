//! Who asks, and what is granted.

use core::fmt;
use platform::MessageSource;
use spec::{Bdf, apic::DeliveryMode};

/// The requester ID that a transaction carries, on its PCI segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Requester {
    /// PCI segment.
    pub segment: u16,
    /// Requester ID.
    pub id: Bdf,
}

impl Requester {
    /// `id` on `segment`.
    pub const fn new(segment: u16, id: Bdf) -> Self {
        Self { segment, id }
    }
}

impl<'a> Function<'a> {
    /// A function that only its own requester ID stands for.
    pub const fn alone(requester: Requester) -> Self {
        Self::new(requester, &[])
    }

    /// A function whose DMA may arrive under `aliases` too, and whose messages are its own.
    pub const fn new(requester: Requester, aliases: &'a [Bdf]) -> Self {
        Self { requester, aliases, messages: MessageSource::Requester(requester.id) }
    }

    /// The same, whose messages arrive as `messages` says.
    pub const fn with_messages(self, messages: MessageSource) -> Self {
        Self { messages, ..self }
    }

    /// The requester IDs besides its own.
    pub fn others(&self) -> impl Iterator<Item = Requester> + use<'a> {
        let Self { requester, aliases, .. } = *self;
        aliases
            .iter()
            .filter(move |id| **id != requester.id)
            .map(move |id| Requester::new(requester.segment, *id))
    }
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{}", self.segment, self.id)
    }
}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A function with every requester ID under which its DMA can arrive: its own, and
/// those of bridges and quirks on the way (PCI Express to PCI/PCI-X Bridge
/// Specification, section 2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Function<'a> {
    /// The function's own requester ID.
    pub requester: Requester,
    /// Others, on the same segment. All of them are granted or none.
    pub aliases: &'a [Bdf],
    /// Whose number its interrupt messages carry.
    pub messages: MessageSource,
}

/// A domain: one guest's memory as its devices see it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct DomainId(pub u16);

/// The interrupt that a requester may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct RemappedInterrupt {
    /// Vector at the processor.
    pub vector: u8,
    /// Physical APIC ID of the processor.
    pub destination: u32,
    /// How the processor takes it: fixed, lowest priority or NMI.
    pub mode: DeliveryMode,
    /// Level-triggered rather than edge-triggered.
    pub level: bool,
}

/// What to write into a device's MSI or MSI-X entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct HostMsi {
    /// Message address.
    pub address: u64,
    /// Message data. A function with several MSI messages adds the message's number.
    pub data: u32,
}
