//! What can go wrong, in words.

use access::memory::OutOfBounds;
use core::fmt;

/// Why a device is of no use, until it is started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The caller asked for queues or buffers of sizes that cannot be.
    Sizes,
    /// Memory or addresses for the device ran out.
    NoMemory,
    /// The function has no interrupt message.
    NoMessages,
    /// The function does not say where its registers are, or nowhere where they can be.
    Layout(&'static str),
    /// Its registers read ones, as those of a device do that is not there any more.
    Removed,
    /// It does not offer VIRTIO_F_VERSION_1.
    Legacy,
    /// It does not offer VIRTIO_F_ACCESS_PLATFORM.
    BypassesIommu,
    /// It did not keep FEATURES_OK for features that it had offered.
    Features,
    /// It takes no message for this queue, or for its configuration.
    Message(Option<u16>),
    /// It has no such queue, or one of a size that is none.
    Size {
        /// The queue.
        queue: u16,
        /// What it says that its size is.
        entries: u16,
    },
    /// Where the queue is to be notified is outside of its registers.
    Notify(u16),
    /// It was not reset in time.
    NotReset,
    /// It says that it needs a reset (DEVICE_NEEDS_RESET).
    NeedsReset,
    /// It was reset by somebody while it was in use.
    Reset,
    /// It did not use what was made available in time.
    Late(u16),
    /// It says to have used more than it has.
    UsedIndex {
        /// The queue.
        queue: u16,
        /// How many more than the driver has seen.
        ahead: u16,
    },
    /// It used what it was not given.
    NotGiven {
        /// The queue.
        queue: u16,
        /// The descriptor that it names.
        id: u32,
    },
    /// It says to have written more than there was room for.
    Length {
        /// The queue.
        queue: u16,
        /// Bytes that it says.
        bytes: u32,
    },
    /// Its configuration changes whenever it is read.
    Generation,
    /// What its configuration says makes no sense, or is nothing for this driver.
    Configuration(&'static str),
    /// It was reset this many times, and did nothing in between.
    Hung(u8),
    /// An access beyond the end of a buffer: a mistake of this driver.
    Buffer,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Sizes => f.write_str("no queues or buffers of these sizes can be made"),
            Self::NoMemory => f.write_str("no memory is left for its queues and buffers"),
            Self::NoMessages => f.write_str("it has no interrupt message"),
            Self::Layout(what) | Self::Configuration(what) => f.write_str(what),
            Self::Removed => f.write_str("its registers read ones: it is not there any more"),
            Self::Legacy => f.write_str(
                "it is a device of before virtio 1.0 (QEMU: `disable-legacy=on` makes it another)",
            ),
            Self::BypassesIommu => f.write_str(
                "it does not offer VIRTIO_F_ACCESS_PLATFORM: it would reach all memory past the IOMMU \
                 (QEMU: `iommu_platform=on,disable-legacy=on`)",
            ),
            Self::Features => f.write_str("it does not agree to features that it offered"),
            Self::Message(None) => f.write_str("it takes no message for its configuration"),
            Self::Message(Some(queue)) => write!(f, "it takes no message for queue {queue}"),
            Self::Size { queue, entries } => write!(f, "its queue {queue} has {entries} descriptors"),
            Self::Notify(queue) => write!(f, "queue {queue} is to be notified outside of its registers"),
            Self::NotReset => f.write_str("it was not reset in time"),
            Self::NeedsReset => f.write_str("it says that it needs a reset"),
            Self::Reset => f.write_str("it was reset by somebody while it was in use"),
            Self::Late(queue) => write!(f, "it did not answer in time what queue {queue} had"),
            Self::UsedIndex { queue, ahead } => {
                write!(f, "it says to have used {ahead} chains more of queue {queue}, which it was not given")
            }
            Self::NotGiven { queue, id } => {
                write!(f, "it used descriptor {id} of queue {queue}, which it was not given")
            }
            Self::Length { queue, bytes } => {
                write!(
                    f,
                    "it says to have written {bytes} bytes to queue {queue}, more than there was room for"
                )
            }
            Self::Generation => f.write_str("its configuration changes whenever it is read"),
            Self::Hung(times) => write!(f, "it was reset {times} times, and did nothing in between"),
            Self::Buffer => f.write_str("the driver left one of its buffers"),
        }
    }
}

impl From<OutOfBounds> for Error {
    fn from(_: OutOfBounds) -> Self {
        Self::Buffer
    }
}
