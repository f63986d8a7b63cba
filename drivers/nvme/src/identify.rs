//! What the controller says of itself and of its namespace.

use crate::error::Error;
use access::DmaBuffer;
use block::{Geometry, Identity, Text};
use spec::nvme::identify::{controller, namespace};

/// What the driver needs to know of the controller.
pub(crate) struct Limits {
    pub identity: Identity,
    /// Commands that it may have or not (ONCS).
    pub optional: u16,
    /// The most that one command moves (MDTS), in bytes; `None` where the controller has no limit.
    pub transfer_bytes: Option<u64>,
}

/// Bits of an entry's size, of submission and completion queues of the NVM command set.
const ENTRY_SHIFTS: (u8, u8) = (6, 4);

/// Reads identify controller data (section 5.15.2.2) out of `page`, each field once.
pub(crate) fn controller<B: DmaBuffer>(page: &B) -> Result<Limits, Error> {
    let allows = |sizes: u8, shift: u8| (sizes & 0xf) <= shift && shift <= (sizes >> 4);
    let [submission, completion] = field(page, controller::SUBMISSION_ENTRY)?;
    if !allows(submission, ENTRY_SHIFTS.0) || !allows(completion, ENTRY_SHIFTS.1) {
        return Err(Error::Identify("it does not take queue entries of 64 and 16 bytes"));
    }
    // 0 is a controller from before revision 1.4.
    if !matches!(field(page, controller::CONTROLLER_TYPE)?, [0 | controller::CONTROLLER_TYPE_IO]) {
        return Err(Error::Identify("it is no controller for input and output"));
    }
    if u32::from_le_bytes(field(page, controller::NAMESPACES)?) == 0 {
        return Err(Error::Identify("it has no namespaces"));
    }
    let [shift] = field(page, controller::TRANSFER_SHIFT)?;
    let transfer_bytes = (shift != 0).then(|| spec::nvme::PAGE_BYTES.checked_shl(shift.into())).flatten();
    let identity = Identity {
        serial: Text(field(page, controller::SERIAL)?),
        model: Text(field(page, controller::MODEL)?),
        firmware: Text(field(page, controller::FIRMWARE)?),
    };
    // What was shifted out of 64 bits is no limit.
    let optional = u16::from_le_bytes(field(page, controller::OPTIONAL_COMMANDS)?);
    Ok(Limits { identity, optional, transfer_bytes: transfer_bytes.filter(|&bytes| bytes != 0) })
}

/// Reads identify namespace data (section 5.15.2.1) out of `page`, each field once.
/// `most_bytes` is the most that one command moves, `optional` what the controller has of optional
/// commands.
pub(crate) fn namespace<B: DmaBuffer>(page: &B, most_bytes: u64, optional: u16) -> Result<Geometry, Error> {
    let blocks = u64::from_le_bytes(field(page, namespace::SIZE)?);
    let capacity = u64::from_le_bytes(field(page, namespace::CAPACITY)?);
    if blocks == 0 || capacity == 0 {
        return Err(Error::Identify("namespace 1 is not there, or has no blocks"));
    }
    if capacity > blocks {
        return Err(Error::Identify("namespace 1 says to have a larger capacity than it has blocks"));
    }
    let [formats, in_use] = field(page, namespace::FORMATS)?;
    let chosen = in_use & 0xf;
    if chosen > formats {
        return Err(Error::Identify("namespace 1 says to have a format that it does not have"));
    }
    let format = u32::from_le_bytes(field(page, namespace::FORMAT_0 + 4 * usize::from(chosen))?);
    if namespace::format_metadata_bytes(format) != 0 {
        return Err(Error::Identify("namespace 1 has blocks with metadata, which this driver does not move"));
    }
    let shift = namespace::format_block_shift(format);
    if !(9..=16).contains(&shift) {
        return Err(Error::Identify("namespace 1 has blocks of less than 512 or more than 65536 bytes"));
    }
    let block_bytes = 1_u32 << shift;
    if u64::from(block_bytes) > most_bytes {
        return Err(Error::Identify("a block of namespace 1 is more than one command moves"));
    }
    if blocks.checked_mul(block_bytes.into()).is_none() {
        return Err(Error::Identify("namespace 1 says to have 2^64 bytes or more"));
    }
    let [attributes] = field(page, namespace::ATTRIBUTES)?;
    Ok(Geometry {
        blocks,
        block_bytes,
        is_read_only: attributes & namespace::WRITE_PROTECTED != 0,
        can_discard: optional & controller::DATASET_MANAGEMENT != 0,
        can_write_zeroes: optional & controller::WRITE_ZEROES != 0,
    })
}

fn field<B: DmaBuffer, const N: usize>(page: &B, offset: usize) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    page.read(offset, &mut bytes)?;
    Ok(bytes)
}
