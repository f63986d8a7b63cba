//! What can go wrong, in words.

use access::memory::OutOfBounds;
use block::{Cause, Fault};
use core::fmt;
use spec::nvme::Status;

/// Why a controller is of no use, until it is started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The caller asked for queues or buffers of sizes that cannot be.
    Sizes,
    /// Memory or addresses for the device ran out.
    NoMemory,
    /// The function has no interrupt message.
    NoMessages,
    /// Its registers read ones, or zeros where no controller has any, as those of a device do that is
    /// not there any more.
    Removed,
    /// It has no NVM command set (CAP.CSS).
    NoNvmCommands,
    /// Its smallest page (CAP.MPSMIN) is larger than 4096 bytes; its shift.
    PageSize(u32),
    /// Its queues may have a single entry (CAP.MQES), which is no queue.
    QueueSize,
    /// CSTS.RDY did not become what it had to within the time of CAP.TO.
    NotReady {
        /// What it had to become.
        wanted: bool,
        /// The time that it had.
        milliseconds: u64,
    },
    /// CSTS.CFS: a fatal error of the controller.
    Fatal,
    /// CSTS.RDY became clear while the controller was in use: something reset it.
    Reset,
    /// A command was not completed in time.
    Late {
        /// The queue, 0 for the admin queue.
        queue: u16,
        /// The command.
        opcode: u8,
    },
    /// A command that the start needs failed.
    Command {
        /// What it was to do.
        purpose: &'static str,
        /// What the controller says.
        status: Status,
    },
    /// A completion names a command that is not in flight.
    UnknownCommand {
        /// The queue.
        queue: u16,
        /// CID of the completion.
        identifier: u16,
    },
    /// A completion names a submission queue (SQID) that does not belong to its queue.
    WrongQueue {
        /// The queue.
        queue: u16,
        /// SQID of the completion.
        named: u16,
    },
    /// A completion says that the controller is at an entry (SQHD) beyond the queue's end.
    HeadBeyondQueue {
        /// The queue.
        queue: u16,
        /// SQHD of the completion.
        head: u16,
        /// Entries of the queue.
        entries: u16,
    },
    /// What it says of itself or of namespace 1 makes no sense, or is nothing for this driver.
    Identify(&'static str),
    /// An access beyond the end of a buffer: a mistake of this driver.
    Buffer,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Sizes => f.write_str("no queues or buffers of these sizes can be made"),
            Self::NoMemory => f.write_str("no memory is left for its queues and buffers"),
            Self::NoMessages => f.write_str("it has no interrupt message"),
            Self::Removed => f.write_str("its registers do not answer: it is not there any more"),
            Self::NoNvmCommands => f.write_str("it has no NVM command set"),
            Self::PageSize(shift) => write!(f, "its smallest page has 4096 * 2^{shift} bytes, not 4096"),
            Self::QueueSize => f.write_str("its queues have one entry at most, and two is the least"),
            Self::NotReady { wanted, milliseconds } => {
                let what = if wanted { "ready" } else { "disabled" };
                write!(f, "it did not become {what} within {milliseconds} ms")
            }
            Self::Fatal => f.write_str("its status register says that it met a fatal error"),
            Self::Reset => f.write_str("it ceased to be ready while it was in use"),
            Self::Late { queue, opcode } => {
                write!(f, "it did not complete command {opcode:#04x} of queue {queue} in time")
            }
            Self::Command { purpose, status } => {
                write!(f, "the command to {purpose} failed: {}", fault(status))
            }
            Self::UnknownCommand { queue, identifier } => {
                write!(f, "it completed command {identifier:#06x} of queue {queue}, which is not in flight")
            }
            Self::WrongQueue { queue, named } => {
                write!(f, "it put a completion for queue {named} into queue {queue}")
            }
            Self::HeadBeyondQueue { queue, head, entries } => {
                write!(f, "it says to be at entry {head} of queue {queue}, which has {entries}")
            }
            Self::Identify(what) => f.write_str(what),
            Self::Buffer => f.write_str("the driver left one of its buffers"),
        }
    }
}

impl From<OutOfBounds> for Error {
    fn from(_: OutOfBounds) -> Self {
        Self::Buffer
    }
}

/// What is told of a request one of whose commands ended with `status`.
pub(crate) fn fault(status: Status) -> Fault {
    let cause = Cause { name: name(status), code: u16::from(status.kind()) << 8 | u16::from(status.code()) };
    if status.kind() == MEDIA_ERROR { Fault::Medium(cause) } else { Fault::Command(cause) }
}

/// The kind of status codes that are of the medium (figure 126).
const MEDIA_ERROR: u8 = 2;

/// A status in words.
fn name(status: Status) -> &'static str {
    const NAMES: [(Status, &str); 14] = [
        (Status::INVALID_OPCODE, "invalid opcode"),
        (Status::INVALID_FIELD, "invalid field"),
        (Status::IDENTIFIER_CONFLICT, "command identifier conflict"),
        (Status::DATA_TRANSFER_ERROR, "data transfer error"),
        (Status::INTERNAL_ERROR, "internal error"),
        (Status::ABORT_REQUESTED, "aborted"),
        (Status::INVALID_NAMESPACE, "invalid namespace or format"),
        (Status::PRP_OFFSET_INVALID, "invalid offset in a page"),
        (Status::WRITE_PROTECTED, "write protected"),
        (Status::BLOCK_OUT_OF_RANGE, "block out of range"),
        (Status::INVALID_QUEUE_SIZE, "invalid queue size"),
        (Status::INVALID_INTERRUPT_VECTOR, "invalid interrupt vector"),
        (Status::WRITE_FAULT, "write fault"),
        (Status::READ_ERROR, "unrecovered read error"),
    ];
    let named = NAMES.iter().find(|(known, _)| status.is(*known));
    named.map_or("an error without a name", |(_, name)| name)
}
