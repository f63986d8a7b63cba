//! Addresses of network interfaces.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use spec::ethernet::{ADDRESS_BYTES, GROUP, RESERVED_GROUP};

#[cfg(test)]
mod tests;

/// A MAC address, written as `52:54:00:12:34:56`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; ADDRESS_BYTES]);

impl MacAddress {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; ADDRESS_BYTES]);

    /// Whether it names a group of stations: multicast, and broadcast too.
    pub const fn is_group(self) -> bool {
        self.0[0] & GROUP != 0
    }

    /// Whether it can be a station's own: no group, and not all zeros.
    pub const fn is_station(self) -> bool {
        let [a, b, c, d, e, f] = self.0;
        !self.is_group() && (a | b | c | d | e | f) != 0
    }

    /// Whether it is one of the group addresses that a bridge keeps to itself (802.1Q, table 8-1).
    pub fn is_reserved(self) -> bool {
        self.0.starts_with(&RESERVED_GROUP) && matches!(self.0, [.., last] if last < 16)
    }
}

/// A text that is no MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseError;

impl ParseError {
    /// What the text should have looked like, with an example.
    pub const fn expected(self) -> &'static str {
        "a MAC address such as \"52:54:00:12:34:56\""
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected())
    }
}

impl core::error::Error for ParseError {}

impl FromStr for MacAddress {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut parts = text.split(':');
        let mut bytes = [0; ADDRESS_BYTES];
        for byte in &mut bytes {
            let part = parts.next().ok_or(ParseError)?;
            // `from_str_radix` takes a sign too.
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(ParseError);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| ParseError)?;
        }
        if parts.next().is_some() { Err(ParseError) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text for people, six bytes in the bundle.
impl Serialize for MacAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for MacAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <[u8; ADDRESS_BYTES]>::deserialize(deserializer).map(Self);
        }
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
