//! What can go wrong, in words.

use access::memory::OutOfBounds;
use core::fmt;
use network::MacAddress;

/// Why a controller is of no use, until it is started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The caller asked for rings of sizes that cannot be.
    Sizes,
    /// Memory or addresses for the device ran out.
    NoMemory,
    /// The function has no interrupt message.
    NoMessages,
    /// Its registers read ones, as those of a device do that is not there any more.
    Removed,
    /// It did not read its configuration (EECD.AUTO_RD) after a reset.
    NoConfiguration,
    /// It did not enable its queues.
    NoQueues,
    /// It has no address of its own, or one that no station can have.
    NoAddress(MacAddress),
    /// A receive descriptor says a length that its buffer has not.
    Length(u16),
    /// A receive descriptor says that its frame goes on in the next (EOP), which none can.
    Split,
    /// It hung or was reset this many times without a frame in between.
    Hung(u8),
    /// An access beyond the end of a buffer: a mistake of this driver.
    Buffer,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Sizes => f.write_str("a ring has 8 to 256 descriptors, and whole groups of 8"),
            Self::NoMemory => f.write_str("no memory is left for its rings and buffers"),
            Self::NoMessages => f.write_str("it has no interrupt message"),
            Self::Removed => f.write_str("its registers read ones: it is not there any more"),
            Self::NoConfiguration => f.write_str("it did not read its configuration after a reset"),
            Self::NoQueues => f.write_str("it did not enable its queues"),
            Self::NoAddress(mac) => write!(f, "it has no address of its own, but {mac}"),
            Self::Length(bytes) => write!(f, "it says to have received a frame of {bytes} bytes"),
            Self::Split => f.write_str("it split a frame that fits a buffer"),
            Self::Hung(times) => write!(f, "it was reset {times} times, and carried no frame in between"),
            Self::Buffer => f.write_str("the driver left one of its buffers"),
        }
    }
}

impl From<OutOfBounds> for Error {
    fn from(_: OutOfBounds) -> Self {
        Self::Buffer
    }
}
