//! Why a guest cannot be prepared.

use core::fmt;
use guest::layout::ACPI_AREA_BYTES;
use spec::Gpa;

/// Why a guest cannot be prepared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadError {
    /// Nothing in the file says how it wants to be loaded.
    Unknown,
    /// The file contradicts itself; the sentence says how.
    Malformed(&'static str),
    /// The file asks for what is not offered; the sentence says what.
    Unsupported(&'static str),
    /// The command line does not fit; most bytes that do.
    CommandLine(u64),
    /// A text that ends with a zero has one in it; what it is.
    Zero(&'static str),
    /// The kernel unpacks itself to where there is no memory.
    TooLittleMemory {
        /// To where.
        start: Gpa,
        /// How much it needs there.
        bytes: u64,
    },
    /// Something does not fit into the guest's memory.
    NoRoom {
        /// What.
        what: &'static str,
        /// Where it has to go.
        start: Gpa,
        /// How much it is.
        bytes: u64,
    },
    /// Two things want the same place.
    Overlap {
        /// One.
        what: &'static str,
        /// The other.
        with: &'static str,
        /// Where the first has to go.
        start: Gpa,
        /// How much it is.
        bytes: u64,
    },
    /// The guest's ACPI tables do not fit into their area.
    AcpiTables,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => {
                f.write_str("the kernel is no bzImage, no ELF with a PVH note, and has no multiboot header")
            }
            Self::Malformed(sentence) | Self::Unsupported(sentence) => f.write_str(sentence),
            Self::CommandLine(most) => write!(f, "the command line is longer than {most} bytes"),
            Self::Zero(what) => write!(f, "{what} has a zero in it"),
            Self::TooLittleMemory { start, bytes } => {
                let needed = start.0.saturating_add(*bytes).div_ceil(1 << 20);
                write!(
                    f,
                    "the kernel unpacks itself into {bytes} bytes at {start}, so its guest needs {needed} MiB of \
                     memory at least"
                )
            }
            Self::NoRoom { what, start, bytes } => {
                write!(f, "{what} ({bytes} bytes at {start}) does not fit into the guest's memory")
            }
            Self::Overlap { what, with, start, bytes } => {
                write!(f, "{what} ({bytes} bytes at {start}) would overwrite {with}")
            }
            Self::AcpiTables => write!(f, "the guest's ACPI tables take more than {ACPI_AREA_BYTES} bytes"),
        }
    }
}
