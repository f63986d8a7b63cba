//! How a configuration writes sizes, slots, paths and identities.
//!
//! Each is text for people (TOML, JSON) and compact in the bundle (postcard).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text that does not name what it should; displays as what was expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseError {
    expected: &'static str,
}

impl ParseError {
    const fn new(expected: &'static str) -> Self {
        Self { expected }
    }
    /// What the text should have looked like, with an example.
    pub const fn expected(self) -> &'static str {
        self.expected
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)
    }
}

impl core::error::Error for ParseError {}

/// Serde for a type that is text for people and `$raw` in compact formats.
macro_rules! text_or_raw {
    ($name:ident, $raw:ty, |$from:ident| $make:expr, |$value:ident| $raw_of:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    let $value = self;
                    Serialize::serialize(&$raw_of, serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(de::Error::custom)
                } else {
                    let $from = <$raw>::deserialize(deserializer)?;
                    $make.ok_or_else(|| de::Error::custom(concat!("bad ", stringify!($name))))
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

/// An amount of memory in bytes, written as `256 MiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Memory(pub u64);

impl Memory {
    const EXPECTED: ParseError = ParseError::new("a size such as \"256 MiB\" (units: KiB, MiB, GiB, TiB)");
    const UNITS: [(&'static str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

    /// `count` MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }
    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Memory {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| Self::EXPECTED)?;
        let unit = unit.trim_start();
        let (_, shift) = Self::UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(Self::EXPECTED)?;
        number.checked_mul(1 << shift).map(Self).ok_or(Self::EXPECTED)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in Self::UNITS {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{} {unit}", self.0 >> shift);
            }
        }
        // Not written by a person: a remainder smaller than the smallest unit.
        write!(f, "{} bytes", self.0)
    }
}

text_or_raw!(Memory, u64, |raw| Some(Memory(raw)), |value| value.0);

/// A device and function number on some bus, written as `01.0`: hexadecimal
/// device 00 to 1f, function 0 to 7.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DevFn(u8);

impl DevFn {
    const EXPECTED: ParseError =
        ParseError::new("a device and function such as \"01.0\" (device 00 to 1f, function 0 to 7)");

    /// Function `function` (0 to 7) of device `device` (0 to 31).
    pub const fn new(device: u8, function: u8) -> Self {
        Self((device & 31) << 3 | function & 7)
    }
    /// From the byte that configuration cycles and context tables use.
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }
    /// Device number, 0 to 31.
    pub const fn device(self) -> u8 {
        self.0 >> 3
    }
    /// Function number, 0 to 7.
    pub const fn function(self) -> u8 {
        self.0 & 7
    }
    /// Device and function as one byte.
    pub const fn byte(self) -> u8 {
        self.0
    }
}

impl FromStr for DevFn {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (device, function) = text.split_once('.').ok_or(Self::EXPECTED)?;
        let device = hex(device, 2).filter(|device| *device < 32).ok_or(Self::EXPECTED)?;
        let function = hex(function, 1).filter(|function| *function < 8).ok_or(Self::EXPECTED)?;
        Ok(Self::new(device as u8, function as u8))
    }
}

impl fmt::Display for DevFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{}", self.device(), self.function())
    }
}

text_or_raw!(DevFn, u8, |raw| Some(DevFn(raw)), |value| value.0);

/// Where a function sits, from the root down: the root bus and the device and
/// function there, then one `/device.function` for each bridge that is crossed.
/// `00:1c.0/00.0` is function 00.0 behind the port at 00:1c.0, whatever number the
/// firmware gave to the bus between them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DevicePath {
    /// Bus number of the host bridge.
    pub root_bus: u8,
    /// Device and function on each bus from the root down; at least one.
    pub hops: Vec<DevFn>,
}

impl DevicePath {
    const EXPECTED: ParseError = ParseError::new(
        "a path from the root such as \"00:02.0\", or \"00:1c.0/00.0\" for a function behind a bridge",
    );
    /// More bridges than any machine nests; keeps a path from being endless.
    const MOST_HOPS: usize = 32;
}

impl FromStr for DevicePath {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (bus, rest) = text.split_once(':').ok_or(Self::EXPECTED)?;
        let root_bus = hex(bus, 2).ok_or(Self::EXPECTED)? as u8;
        let hops: Vec<DevFn> =
            rest.split('/').map(str::parse).collect::<Result<_, _>>().map_err(|_| Self::EXPECTED)?;
        if hops.len() > Self::MOST_HOPS { Err(Self::EXPECTED) } else { Ok(Self { root_bus, hops }) }
    }
}

impl fmt::Display for DevicePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:", self.root_bus)?;
        for (index, hop) in self.hops.iter().enumerate() {
            write!(f, "{}{hop}", if index == 0 { "" } else { "/" })?;
        }
        Ok(())
    }
}

text_or_raw!(
    DevicePath,
    (u8, Vec<DevFn>),
    |raw| (1..=DevicePath::MOST_HOPS)
        .contains(&raw.1.len())
        .then_some(DevicePath { root_bus: raw.0, hops: raw.1 }),
    |value| (value.root_bus, &value.hops)
);

/// What a function says it is: vendor and device ID, written as `8086:10d3`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId {
    /// Vendor ID, configuration register 0.
    pub vendor: u16,
    /// Device ID, configuration register 2.
    pub device: u16,
}

impl DeviceId {
    const EXPECTED: ParseError = ParseError::new("a vendor and device ID such as \"8086:10d3\"");
}

impl FromStr for DeviceId {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (vendor, device) = text.split_once(':').ok_or(Self::EXPECTED)?;
        Ok(Self {
            vendor: hex(vendor, 4).ok_or(Self::EXPECTED)?,
            device: hex(device, 4).ok_or(Self::EXPECTED)?,
        })
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

text_or_raw!(DeviceId, (u16, u16), |raw| Some(DeviceId { vendor: raw.0, device: raw.1 }), |value| (
    value.vendor,
    value.device
));

/// A hexadecimal number of 1 to `most_digits` digits and nothing else
/// (`from_str_radix` alone would take a sign).
fn hex(text: &str, most_digits: usize) -> Option<u16> {
    let digits = text.len();
    if digits == 0 || digits > most_digits || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u16::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        assert_eq!("256 MiB".parse(), Ok(Memory::mib(256)));
        assert_eq!(" 3GiB ".parse(), Ok(Memory::mib(3072)));
        assert_eq!(Memory(3 << 20 | 1 << 10).to_string(), "3073 KiB");
        assert_eq!(Memory(5).to_string(), "5 bytes");
        for wrong in
            ["", "1", "MiB", "-1 MiB", "+1 MiB", "1.5 GiB", "1 MB", "1 mib", "99999999999 TiB", "1 MiB x"]
        {
            assert!(wrong.parse::<Memory>().is_err(), "{wrong:?} was read");
        }
    }

    #[test]
    fn paths() {
        let path: DevicePath = "00:1c.4/0.0/1F.7".parse().unwrap();
        assert_eq!(path.to_string(), "00:1c.4/00.0/1f.7");
        let deep = alloc::format!("00:{}", ["00.0"; 33].join("/"));
        assert!(deep.parse::<DevicePath>().is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused_in_compact_formats_too() {
        let no_hops = postcard::to_allocvec(&(0u8, Vec::<DevFn>::new())).unwrap();
        assert!(postcard::from_bytes::<DevicePath>(&no_hops).is_err());
        let many = postcard::to_allocvec(&(0u8, alloc::vec![DevFn::new(0, 0); 33])).unwrap();
        assert!(postcard::from_bytes::<DevicePath>(&many).is_err());
    }

    proptest! {
        #[test]
        fn texts_read_back(bus: u8, hops in prop::collection::vec(any::<u8>(), 1..33), vendor: u16, device: u16, size: u32) {
            let path = DevicePath { root_bus: bus, hops: hops.into_iter().map(DevFn::from_byte).collect() };
            prop_assert_eq!(path.to_string().parse(), Ok(path.clone()));
            prop_assert_eq!(postcard::from_bytes(&postcard::to_allocvec(&path).unwrap()), Ok(path));
            let id = DeviceId { vendor, device };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            let memory = Memory(u64::from(size.max(1)) << 10);
            prop_assert_eq!(memory.to_string().parse(), Ok(memory));
        }

        #[test]
        fn no_text_panics(text in "[0-9a-fA-F:./ KMGTiBx+é-]{0,20}") {
            let _ = text.parse::<Memory>();
            let _ = text.parse::<DevFn>();
            let _ = text.parse::<DevicePath>();
            let _ = text.parse::<DeviceId>();
        }
    }
}
