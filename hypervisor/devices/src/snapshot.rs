//! Saved states of models: bytes that one model writes and one like it takes over.
//!
//! A state is a structure of plain values, with a version that changes with the structure. Who reads
//! one believes none of it: it is a file from somewhere.

use core::fmt;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a state cannot be saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SaveFault {
    /// Something is on its way that the state has no place for; once it is done, there is a state.
    Busy,
    /// The place for it is too small.
    TooLong,
}

/// Why a state is not taken. The model is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestoreFault {
    /// It is of this version, which is another one.
    Version(u16),
    /// It ends too early, goes on too long, or has values that its types do not.
    Malformed,
    /// It is that of a model that was made of something else.
    Configuration,
    /// No model gets there: what cannot be.
    Impossible(&'static str),
}

impl fmt::Display for SaveFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("requests are on their way; once they are done it can be saved"),
            Self::TooLong => f.write_str("its state does not fit where it is to be saved"),
        }
    }
}

impl fmt::Display for RestoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "the state is of version {version}, which is not known here"),
            Self::Malformed => f.write_str("the state is cut off or damaged"),
            Self::Configuration => f.write_str("the state is of a device with another configuration"),
            Self::Impossible(what) => write!(f, "no device has such a state: {what}"),
        }
    }
}

/// What holds of every state of a model, or which state is not one.
///
/// # Errors
/// [`RestoreFault::Impossible`] where it does not hold.
pub const fn has(holds: bool, otherwise: &'static str) -> Result<(), RestoreFault> {
    if holds { Ok(()) } else { Err(RestoreFault::Impossible(otherwise)) }
}

/// What models of one configuration have in common.
///
/// # Errors
/// [`RestoreFault::Configuration`] where they have not.
pub const fn is_of(same: bool) -> Result<(), RestoreFault> {
    if same { Ok(()) } else { Err(RestoreFault::Configuration) }
}

/// Bytes of a fixed number, which serde has as arrays up to 32 alone.
pub(crate) mod bytes {
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub(crate) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        from: D,
    ) -> Result<[u8; N], D::Error> {
        struct Exactly<const N: usize>;
        impl<const N: usize> Visitor<'_> for Exactly<N> {
            type Value = [u8; N];
            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{N} bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<[u8; N], E> {
                bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        from.deserialize_bytes(Exactly)
    }
}

/// Writes `state` behind its version, and says how many bytes that took.
pub fn encode<T: Serialize>(version: u16, state: &T, into: &mut [u8]) -> Result<usize, SaveFault> {
    match postcard::to_slice(&(version, state), into) {
        Ok(written) => Ok(written.len()),
        Err(_) => Err(SaveFault::TooLong),
    }
}

/// Reads what [`encode`] wrote. All of `from` has to be that.
pub fn decode<T: DeserializeOwned>(version: u16, from: &[u8]) -> Result<T, RestoreFault> {
    let (found, rest) = postcard::take_from_bytes(from).map_err(|_| RestoreFault::Malformed)?;
    if found != version {
        return Err(RestoreFault::Version(found));
    }
    match postcard::take_from_bytes(rest) {
        Ok((state, [])) => Ok(state),
        _ => Err(RestoreFault::Malformed),
    }
}
