//! What is on emulated drives.

use alloc::string::String;
#[cfg(feature = "toml")]
use alloc::vec::Vec;
use core::fmt;
use platform::names::Memory;
use serde::{Deserialize, Serialize};

table! {
    /// What is on an emulated drive: `backing = { disk = "system", partition = 2 }` or
    /// `backing = { image = "root.img" }`.
    #[derive(Default)]
    pub struct Backing {
        /// One of the drives that the hypervisor keeps, which the guest reads and writes.
        pub disk: Option<String> = None,
        /// The partition of its GPT, by number (from 1), name, or UUID. Without it the guest has
        /// the whole drive.
        pub partition: Option<PartitionName> = None,
        /// A file that is packed with the kernels. It stays in the hypervisor's memory as it is.
        pub image: Option<String> = None,
        /// What becomes of what the guest writes to the image.
        pub mode: ImageMode = ImageMode::ReadOnly,
        /// How much of the image the guest can change before its writes fail for want of space: memory
        /// of the hypervisor's, a multiple of 2 MiB.
        pub overlay: Option<Memory> = None,
    }
}

choice! {
    /// What becomes of what a guest writes to an image.
    pub enum ImageMode {
        /// nothing: the drive takes no writes
        ReadOnly = "read-only",
        /// it is kept beside the image (`overlay`) while the machine is on, also when the guest starts again
        CopyOnWrite = "copy-on-write",
    }
}

#[expect(clippy::derivable_impls, reason = "the macro that makes the type derives for all choices alike")]
impl Default for ImageMode {
    fn default() -> Self {
        Self::ReadOnly
    }
}

/// How a partition of a GPT is called.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PartitionName {
    /// By its place in the table, from 1.
    Number(u32),
    /// By its name or its UUID.
    Text(String),
}

impl PartitionName {
    /// The name as it is looked up: digits for a number.
    pub fn name(&self) -> String {
        match self {
            Self::Number(number) => alloc::format!("{number}"),
            Self::Text(text) => text.clone(),
        }
    }
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "\"{text}\""),
        }
    }
}

/// Where a guest's configuration says what is on a drive: in `pci`, by which key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BackingPlace {
    /// The place of its function.
    pub pci: usize,
    /// `backing` or `second_backing`.
    pub key: &'static str,
}

impl fmt::Display for BackingPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pci[{}].{}", self.pci, self.key)
    }
}
