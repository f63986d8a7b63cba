//! Names of PCI functions (PCI Express Base Specification, section 2.2.4.2).

use crate::text;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Class codes: base class, subclass and programming interface (PCI Code and ID Assignment
/// Specification, section 1).
pub mod class {
    /// A Serial ATA controller with the registers of AHCI.
    pub const AHCI: u32 = 0x01_0601;
    /// An NVM Express controller for input and output.
    pub const NVME: u32 = 0x01_0802;
}

/// A PCI function's address on its segment: bus, device, function. Its 16 bits
/// are the requester ID that the function puts into its transactions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bdf(pub u16);

impl Bdf {
    /// Function `function` (0 to 7) of device `device` (0 to 31) on `bus`.
    pub const fn new(bus: u8, device: u8, function: u8) -> Self {
        Self((bus as u16) << 8 | ((device & 31) as u16) << 3 | (function & 7) as u16)
    }
    /// Bus number.
    pub const fn bus(self) -> u8 {
        (self.0 >> 8) as u8
    }
    /// Device number, 0 to 31.
    pub const fn device(self) -> u8 {
        (self.0 >> 3) as u8 & 31
    }
    /// Function number, 0 to 7.
    pub const fn function(self) -> u8 {
        self.0 as u8 & 7
    }
    /// Device and function as one byte, as context tables index them.
    pub const fn devfn(self) -> u8 {
        self.0 as u8
    }
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus(), self.device(), self.function())
    }
}

impl fmt::Debug for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Bdf {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str, digits: usize, limit: u8| {
            let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let value = u8::from_str_radix(text, 16).map_err(|_| ())?;
            if plain && value <= limit { Ok(value) } else { Err(()) }
        };
        let (bus, rest) = text.split_once(':').ok_or(())?;
        let (device, function) = rest.split_once('.').ok_or(())?;
        Ok(Self::new(number(bus, 2, 0xff)?, number(device, 2, 31)?, number(function, 1, 7)?))
    }
}

/// The requester IDs from `first` to `last`, both included; none where `last` comes
/// before `first`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequesterRange {
    /// First requester ID.
    pub first: Bdf,
    /// Last requester ID.
    pub last: Bdf,
}

impl RequesterRange {
    /// Every requester ID of a segment.
    pub const ALL: Self = Self { first: Bdf(0), last: Bdf(0xffff) };

    /// One requester ID alone.
    pub const fn one(id: Bdf) -> Self {
        Self { first: id, last: id }
    }
    /// All of the buses from `first` to `last`.
    pub const fn buses(first: u8, last: u8) -> Self {
        Self { first: Bdf::new(first, 0, 0), last: Bdf::new(last, 31, 7) }
    }
    /// Whether `id` is one of them.
    pub const fn contains(self, id: Bdf) -> bool {
        self.first.0 <= id.0 && id.0 <= self.last.0
    }
}

impl fmt::Display for RequesterRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{} to {}", self.first, self.last) }
    }
}

// `00:02.0` for people, the requester ID in compact formats.
impl Serialize for Bdf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u16(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Bdf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(text::FromText(|text: &str| text.parse().ok()))
        } else {
            u16::deserialize(deserializer).map(Self)
        }
    }
}
