//! What can go wrong, in words.

use access::memory::OutOfBounds;
use block::{Cause, Fault};
use core::fmt;
use spec::ahci::port::tfd;
use spec::ata::{error, status};

/// Why an HBA or a drive is of no use, until it is started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The caller asked for buffers of sizes that cannot be.
    Sizes,
    /// Memory or addresses for the device ran out.
    NoMemory,
    /// The function has no interrupt message.
    NoMessages,
    /// The HBA has none of the ports that were asked for.
    NoPorts,
    /// The HBA reaches 4 GiB only, and its buffers are above.
    Addresses,
    /// Registers read ones, as those of a device do that is not there any more.
    Removed,
    /// The HBA's reset did not end within a second.
    HbaReset,
    /// A reset of the HBA could not be proved: what would show it cannot be set.
    NoProof,
    /// The HBA's reset ended, and left it as it was.
    NotReset,
    /// The HBA is another one after its reset: a port is missing.
    HbaChanged,
    /// The HBA was not started, so none of its drives can be.
    HbaOff,
    /// The port did not cease to work on commands, or to receive, within 500 ms.
    Stuck,
    /// No device is there.
    Empty,
    /// A device is there, and no link to it; DET of PxSSTS.
    NoLink(u32),
    /// The link to the drive was lost while it was used.
    Unplugged,
    /// The device remained busy; its status and error.
    Busy(u32),
    /// It is a drive of packets.
    Packets,
    /// It is a port multiplier.
    Multiplier,
    /// It is something else; PxSIG.
    Signature(u32),
    /// What it says of itself makes no sense, or is nothing for this driver.
    Identify(&'static str),
    /// It did not say who it is; its status and error.
    NoIdentity(u32),
    /// After a reset of the link another drive was there.
    Changed,
    /// A command was not completed in time.
    Late(u8),
    /// The port says that commands are in flight which nobody issued; a bit for each slot.
    UnknownCommands(u32),
    /// An access beyond the end of a buffer: a mistake of this driver.
    Buffer,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Sizes => f.write_str("no buffers of these sizes can be made"),
            Self::NoMemory => f.write_str("no memory is left for its buffers"),
            Self::NoMessages => f.write_str("it has no interrupt message"),
            Self::NoPorts => f.write_str("it has none of the ports that were asked for"),
            Self::Addresses => f.write_str("it reaches 4 GiB only, and its buffers are above"),
            Self::Removed => f.write_str("its registers read ones: it is not there any more"),
            Self::HbaReset => f.write_str("its reset did not end within 1000 ms"),
            Self::NoProof => f.write_str("its reset could not be proved"),
            Self::NotReset => f.write_str("its reset left it as it was"),
            Self::HbaChanged => f.write_str("a port was not there any more after its reset"),
            Self::HbaOff => f.write_str("its host bus adapter was not started"),
            Self::Stuck => f.write_str("the port did not stop within 500 ms"),
            Self::Empty => f.write_str("no device is at this port"),
            Self::NoLink(detection) => {
                write!(f, "a device is at this port, and no link to it (DET {detection})")
            }
            Self::Unplugged => f.write_str("the link to it is lost: it was unplugged, or lost power"),
            Self::Busy(task_file) => {
                write!(f, "it did not become ready within 30 s (status {:#04x})", tfd::status(task_file))
            }
            Self::Packets => f.write_str("it is an ATAPI drive, which this driver leaves alone"),
            Self::Multiplier => f.write_str("it is a port multiplier, which this driver does not use"),
            Self::Signature(signature) => write!(f, "it is no disk (signature {signature:#010x})"),
            Self::Identify(what) => f.write_str(what),
            Self::NoIdentity(task_file) => write!(f, "it did not say who it is: {}", fault(task_file)),
            Self::Changed => f.write_str("another drive was there after the link was reset"),
            Self::Late(command) => write!(f, "it did not complete command {command:#04x} in time"),
            Self::UnknownCommands(slots) => {
                write!(f, "it has commands in flight that nobody issued (slots {slots:#010x})")
            }
            Self::Buffer => f.write_str("the driver left one of its buffers"),
        }
    }
}

impl From<OutOfBounds> for Error {
    fn from(_: OutOfBounds) -> Self {
        Self::Buffer
    }
}

/// What is told of a request one of whose commands ended with this status and error (PxTFD).
pub(crate) fn fault(task_file: u32) -> Fault {
    let code = task_file as u16;
    let (status, error) = (tfd::status(task_file), tfd::error(task_file));
    let cause = |name| Cause { name, code };
    match error {
        _ if status & status::DEVICE_FAULT != 0 => Fault::Command(cause("device fault")),
        _ if status & status::ERROR == 0 => Fault::Command(cause("interface error")),
        _ if error & error::UNCORRECTABLE != 0 => Fault::Medium(cause("uncorrectable error")),
        _ if error & error::NOT_FOUND != 0 => Fault::Medium(cause("address not found")),
        _ if error & error::INTERFACE_CRC != 0 => Fault::Command(cause("interface CRC error")),
        _ if error & error::ABORTED != 0 => Fault::Command(cause("aborted")),
        _ => Fault::Command(cause("error")),
    }
}
