//! Address spaces: the guest's and the host's physical memory, and what a device sends behind
//! an IOMMU.

use crate::text;
use core::fmt;
use core::ops::{Add, Sub};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes in the smallest page of every translation format here (4 KiB).
pub const PAGE_BYTES: u64 = 4096;

/// Whether a linear address of 48 bits is canonical: bits 63 to 48 are copies of bit 47 (Intel SDM vol. 1 section
/// 3.3.7.1). Guests have four levels of page tables, so theirs have 48.
pub const fn is_canonical(linear: u64) -> bool {
    (linear << 16) as i64 >> 16 == linear as i64
}

macro_rules! address_space {
    ($(#[$doc:meta])* $name:ident, $tag:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The address rounded down to `alignment` bytes, a power of two.
            pub const fn align_down(self, alignment: u64) -> Self {
                Self(self.0 & !alignment.wrapping_sub(1))
            }
            /// The address rounded up to `alignment` bytes, a power of two;
            /// `None` where that leaves 64 bits.
            pub const fn align_up(self, alignment: u64) -> Option<Self> {
                let inside = alignment.wrapping_sub(1);
                match self.0.checked_add(inside) {
                    Some(sum) => Some(Self(sum & !inside)),
                    None => None,
                }
            }
            /// Whether the address is a multiple of `alignment`, a power of two.
            pub const fn is_aligned(self, alignment: u64) -> bool {
                self.0 & alignment.wrapping_sub(1) == 0
            }
            /// The address `bytes` higher; `None` where that leaves 64 bits.
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }
            /// Offset within its 4 KiB page.
            pub const fn page_offset(self) -> u64 {
                self.0 & (PAGE_BYTES - 1)
            }
        }

        impl Add<u64> for $name {
            type Output = Self;
            fn add(self, bytes: u64) -> Self {
                Self(self.0.wrapping_add(bytes))
            }
        }

        impl Sub<$name> for $name {
            type Output = u64;
            fn sub(self, other: Self) -> u64 {
                self.0.wrapping_sub(other.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($tag, " {:#x}"), self.0)
            }
        }

        // Hexadecimal text for people, a number in compact formats.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(&format_args!("{:#x}", self.0))
                } else {
                    serializer.serialize_u64(self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    deserializer.deserialize_str(text::FromText(|text: &str| {
                        u64::from_str_radix(text.strip_prefix("0x")?, 16).ok().map(Self)
                    }))
                } else {
                    u64::deserialize(deserializer).map(Self)
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

address_space!(
    /// A guest-physical address: what a guest's processor puts on its bus, and
    /// what nested paging translates (Intel SDM vol. 3 section 28.3, AMD APM vol. 2
    /// section 15.25).
    Gpa,
    "gpa"
);

address_space!(
    /// A host-physical address: what the machine's memory and devices answer to.
    Hpa,
    "hpa"
);

address_space!(
    /// An I/O virtual address: what a device puts into its requests, and what the IOMMU
    /// translates by the tables of the device's domain (VT-d section 3.6, AMD-Vi section 2.2).
    /// A driver gives its device nothing else.
    Iova,
    "iova"
);
