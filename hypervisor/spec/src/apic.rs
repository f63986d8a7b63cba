//! Interrupt messages between devices, IOAPICs and local APICs
//! (Intel SDM vol. 3 chapter 11, AMD APM vol. 2 chapter 16).

/// Where devices and IOAPICs write their messages, and the gpa and hpa of every processor's
/// local APIC in xAPIC mode unless it was moved (Intel SDM vol. 3 sections 11.4.1 and 11.11.1).
pub const MESSAGE_ADDRESS: u64 = 0xfee0_0000;

/// All addresses at which a write is a message, which no IOMMU's table translates (VT-d
/// specification section 3.14).
pub const MESSAGES: core::ops::Range<u64> = MESSAGE_ADDRESS..MESSAGE_ADDRESS + 0x10_0000;

/// Vectors below are reserved for exceptions; no interrupt can have one (Intel SDM vol. 3
/// section 11.5.2).
pub const FIRST_LEGAL_VECTOR: u8 = 16;

/// How a local APIC takes a message (Intel SDM vol. 3 section 11.6.1, the ICR's
/// delivery mode field, bits 8 to 10; IOAPIC and MSI use the same codes).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum DeliveryMode {
    /// The vector, at every destination.
    Fixed = 0,
    /// The vector, at one of the destinations.
    LowestPriority = 1,
    /// System management interrupt.
    Smi = 2,
    /// Non-maskable interrupt.
    Nmi = 4,
    /// INIT: the processor waits for a start-up message.
    Init = 5,
    /// Start-up message; the vector is the page to start at.
    StartUp = 6,
    /// The vector comes from the 8259A.
    ExtInt = 7,
}

impl DeliveryMode {
    /// The mode whose code is in the low 3 bits; `None` for the reserved code 3.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits & 7 {
            0 => Some(Self::Fixed),
            1 => Some(Self::LowestPriority),
            2 => Some(Self::Smi),
            4 => Some(Self::Nmi),
            5 => Some(Self::Init),
            6 => Some(Self::StartUp),
            7 => Some(Self::ExtInt),
            _ => None,
        }
    }
}

/// Whom a message addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Destination {
    /// The processor with this APIC ID (0xff in xAPIC, 0xffff_ffff in x2APIC: all).
    Physical(u32),
    /// The processors whose logical ID matches (in the format that each has chosen).
    Logical(u32),
    /// The sender alone (ICR shorthand 1).
    ToSelf,
    /// Every processor, the sender too (ICR shorthand 2).
    All,
    /// Every processor but the sender (ICR shorthand 3).
    AllButSelf,
}

/// One interrupt message as an IOAPIC, an MSI or an ICR write sends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct InterruptMessage {
    /// Whom it addresses.
    pub destination: Destination,
    /// How it is taken.
    pub mode: DeliveryMode,
    /// Interrupt vector; for a start-up message the page number.
    pub vector: u8,
    /// Level-triggered: the local APIC reports the end of interrupt to the IOAPICs.
    pub level: bool,
}

/// Decodes a guest's compatibility-format MSI (Intel SDM vol. 3 section 11.11).
/// `None` where the address is not in the interrupt range (0xfeexxxxx) or the
/// delivery mode is reserved.
pub const fn decode_msi(address: u64, data: u32) -> Option<InterruptMessage> {
    if address >> 20 != 0xfee {
        return None;
    }
    let Some(mode) = DeliveryMode::from_bits((data >> 8) as u8) else {
        return None;
    };
    // Bits 5 to 11 of the address extend the destination to 15 bits where the
    // paravirtual interface says so; elsewhere they must be 0.
    let id = ((address >> 12) & 0xff) as u32 | (((address >> 5) & 0x7f) as u32) << 8;
    Some(InterruptMessage {
        destination: if address & 4 != 0 { Destination::Logical(id) } else { Destination::Physical(id) },
        mode,
        vector: data as u8,
        level: data & 1 << 15 != 0,
    })
}
