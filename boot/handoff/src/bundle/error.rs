//! Why a bundle is refused.

use super::{ItemKind, VERSION};
use alloc::string::String;
use core::fmt;

/// Which item a message is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Location {
    /// Place in the item table, from 0.
    pub index: u32,
    /// Its kind, where it could be read.
    pub kind: Option<ItemKind>,
    /// The guest it belongs to; empty for none.
    pub guest: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "item {}", self.index)?;
        if let Some(kind) = self.kind {
            write!(f, " ({}", kind.word())?;
            if !self.name.is_empty() {
                write!(f, " `{}`", self.name)?;
            }
            if !self.guest.is_empty() {
                write!(f, " of guest `{}`", self.guest)?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// Why a bundle is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BundleError {
    /// The first bytes are not a bundle's.
    NotABundle,
    /// A format of another version.
    Version(u32),
    /// Fewer bytes than the bundle says it has.
    Truncated {
        /// Bytes that the bundle needs.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// Header or item table were changed.
    HeaderHash,
    /// The header's numbers contradict each other.
    Header(&'static str),
    /// An entry of the item table makes no sense.
    Entry(Location, &'static str),
    /// The contents of an item were changed.
    ItemHash(Location),
    /// Two items of which there may be one only.
    Duplicate(Location),
    /// Two items share bytes.
    Overlap(Location, Location),
    /// A byte between the items is not zero.
    Padding {
        /// Its offset in the bundle.
        offset: u64,
    },
    /// There is no configuration.
    NoConfig,
    /// The configuration does not decode.
    Config,
    /// Something that cannot be put into a bundle.
    Build(&'static str),
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotABundle => f.write_str("this is no bundle: the first bytes are not `BULKHEAD`"),
            Self::Version(version) => write!(
                f,
                "the bundle's format is version {version}, this hypervisor reads version {VERSION}; \
                 pack it again with the same release"
            ),
            Self::Truncated { expected, found } => {
                write!(f, "the bundle is cut short: {found} bytes of {expected}")
            }
            Self::HeaderHash => f.write_str("the bundle's header is corrupt: its SHA-256 does not match"),
            Self::Header(what) => write!(f, "the bundle's header is corrupt: {what}"),
            Self::Entry(item, what) => write!(f, "{item} of the bundle: {what}"),
            Self::ItemHash(item) => write!(f, "{item} of the bundle is corrupt: its SHA-256 does not match"),
            Self::Duplicate(item) => write!(f, "{item} of the bundle is there twice"),
            Self::Overlap(item, other) => write!(f, "{item} of the bundle overlaps {other}"),
            Self::Padding { offset } => {
                write!(f, "the bundle is corrupt: byte {offset:#x} is of no item and not zero")
            }
            Self::NoConfig => f.write_str("the bundle holds no configuration"),
            Self::Config => f.write_str("the bundle's configuration does not decode"),
            Self::Build(what) => f.write_str(what),
        }
    }
}

impl core::error::Error for BundleError {}
