//! The area of a drive: what was submitted, what is over, and what the drive is.

use crate::causes;
use crate::words::{Words, at};
use block::{Fault, Geometry, Identity, Operation, Text};
use compartment::Ended;
use serde::{Deserialize, Serialize};

/// Words of a request that is submitted.
const SUBMISSION_WORDS: usize = 3;
/// Bytes of who a drive says that it is: serial number, model, firmware.
const IDENTITY_BYTES: usize = 20 + 40 + 8;

/// How many requests are submitted.
const SUBMITTED: usize = at::ARGUMENTS;

/// Words by their place.
mod own {
    use super::{IDENTITY_BYTES, at};
    use crate::words::WORD_BYTES;

    pub const COMPLETED: usize = at::OWN;
    /// Blocks, and what they are like.
    pub const BLOCKS: usize = at::OWN + 1;
    pub const IS_IDENTIFIED: usize = at::OWN + 3;
    pub const IDENTITY: usize = at::OWN + 4;
    pub const LISTS: usize = IDENTITY + IDENTITY_BYTES.div_ceil(WORD_BYTES);
}

/// What a drive in a compartment is used with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DriveSizes {
    /// Requests at a time, as many as its driver was made with: 1 to 256.
    pub requests: u16,
    /// Bytes of each, as its driver was made with.
    pub request_bytes: usize,
}

impl DriveSizes {
    /// Words of the area.
    pub const fn words(self) -> usize {
        let words = self.completions_at().saturating_add(self.requests as usize);
        if words > at::KEPT { words } else { at::KEPT }
    }

    /// Bytes of memory for the data of requests, which begin one behind the other.
    pub const fn data_bytes(self) -> usize {
        (self.requests as usize).saturating_mul(self.request_bytes)
    }

    const fn completions_at(self) -> usize {
        own::LISTS.saturating_add((self.requests as usize).saturating_mul(SUBMISSION_WORDS))
    }
}

/// A request that is submitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Submission {
    pub slot: u16,
    pub operation: Operation,
    pub first_block: u64,
    pub blocks: u64,
}

/// A request that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Completion {
    pub slot: u16,
    pub outcome: Result<(), Fault>,
}

const OPERATIONS: [Operation; 5] =
    [Operation::Read, Operation::Write, Operation::Flush, Operation::Discard, Operation::WriteZeroes];

const READ_ONLY: u64 = 1 << 32;
const CAN_DISCARD: u64 = 1 << 33;
const CAN_WRITE_ZEROES: u64 = 1 << 34;

impl Words<'_> {
    pub fn submitted(&self) -> usize {
        usize::try_from(self.get(SUBMITTED)).unwrap_or(usize::MAX)
    }

    pub fn set_submitted(&mut self, count: usize) {
        self.put(SUBMITTED, count as u64);
    }

    /// Request `index` of those that are submitted, where it is one.
    pub fn submission(&self, index: usize) -> Option<Submission> {
        let first = own::LISTS.saturating_add(index.saturating_mul(SUBMISSION_WORDS));
        let [request, first_block, blocks] = self.all(first);
        let operation = OPERATIONS.get(usize::try_from(request >> 16).ok()?)?;
        Some(Submission { slot: request as u16, operation: *operation, first_block, blocks })
    }

    pub fn set_submission(&mut self, index: usize, submission: &Submission) {
        let Submission { slot, operation, first_block, blocks } = *submission;
        let number = OPERATIONS.iter().position(|known| *known == operation).unwrap_or(0) as u64;
        let first = own::LISTS.saturating_add(index.saturating_mul(SUBMISSION_WORDS));
        self.put_all(first, &[u64::from(slot) | number << 16, first_block, blocks]);
    }

    /// How many requests are over: no more than there are.
    pub fn completed(&self, sizes: DriveSizes) -> Result<usize, Ended> {
        let count = usize::try_from(self.get(own::COMPLETED)).ok();
        count
            .filter(|count| *count <= sizes.requests.into())
            .ok_or(Ended::Answer("more requests than there are"))
    }

    pub fn set_completed(&mut self, count: usize) {
        self.put(own::COMPLETED, count as u64);
    }

    pub fn completion(&self, index: usize, sizes: DriveSizes) -> Result<Completion, Ended> {
        let word = self.get(sizes.completions_at().saturating_add(index));
        let outcome = causes::decode(word >> 16);
        outcome
            .map(|outcome| Completion { slot: word as u16, outcome })
            .ok_or(Ended::Answer("an outcome that there is not"))
    }

    pub fn set_completion(&mut self, index: usize, completion: &Completion, sizes: DriveSizes) {
        let word = u64::from(completion.slot) | causes::encode(completion.outcome) << 16;
        self.put(sizes.completions_at().saturating_add(index), word);
    }

    /// What the drive is, where that can be.
    pub fn geometry(&self) -> Result<Geometry, Ended> {
        let [blocks, shape] = self.all(own::BLOCKS);
        let block_bytes = shape as u32;
        let is_right = blocks > 0
            && block_bytes.is_power_of_two()
            && matches!(block_bytes, 512..=0x1_0000)
            && blocks.checked_mul(block_bytes.into()).is_some();
        if !is_right {
            return Err(Ended::Answer("blocks that no drive has"));
        }
        Ok(Geometry {
            blocks,
            block_bytes,
            is_read_only: shape & READ_ONLY != 0,
            can_discard: shape & CAN_DISCARD != 0,
            can_write_zeroes: shape & CAN_WRITE_ZEROES != 0,
        })
    }

    pub fn set_geometry(&mut self, geometry: &Geometry) {
        let Geometry { blocks, block_bytes, is_read_only, can_discard, can_write_zeroes } = *geometry;
        let flag = |is_set: bool, flag: u64| if is_set { flag } else { 0 };
        let flags = flag(is_read_only, READ_ONLY)
            | flag(can_discard, CAN_DISCARD)
            | flag(can_write_zeroes, CAN_WRITE_ZEROES);
        self.put_all(own::BLOCKS, &[blocks, u64::from(block_bytes) | flags]);
    }

    /// Who it says that it is.
    pub fn identity(&mut self) -> Option<Identity> {
        if self.get(own::IS_IDENTIFIED) != 1 {
            return None;
        }
        let (serial, rest) = self.bytes(own::IDENTITY, IDENTITY_BYTES).split_first_chunk()?;
        let (model, rest) = rest.split_first_chunk()?;
        let firmware = rest.first_chunk()?;
        Some(Identity { serial: Text(*serial), model: Text(*model), firmware: Text(*firmware) })
    }

    pub fn set_identity(&mut self, identity: Option<&Identity>) {
        self.put(own::IS_IDENTIFIED, identity.is_some().into());
        let Some(Identity { serial, model, firmware }) = identity else { return };
        let said = serial.0.iter().chain(&model.0).chain(&firmware.0);
        for (byte, said) in self.bytes(own::IDENTITY, IDENTITY_BYTES).iter_mut().zip(said) {
            *byte = *said;
        }
    }
}
