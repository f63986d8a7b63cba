//! Completion queue entries (section 4.6) and what they say came of a command.

use super::{put, take};

/// Bytes of an entry of the admin and NVM command sets.
pub const ENTRY_BYTES: usize = 16;

/// What came of a command: the status field without the phase tag (section 4.6.1). SC is in
/// bits 0 to 7, SCT in bits 8 to 10, M in bit 13, DNR in bit 14.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Status(pub u16);

/// Status code types (section 4.6.1.1).
pub mod kind {
    /// Generic command status.
    pub const GENERIC: u8 = 0;
    /// Command specific status.
    pub const SPECIFIC: u8 = 1;
    /// Media and data integrity errors.
    pub const MEDIA: u8 = 2;
}

impl Status {
    /// The status of type `kind` (SCT) and `code` (SC).
    pub const fn new(kind: u8, code: u8) -> Self {
        Self((kind as u16 & 7) << 8 | code as u16)
    }
    /// SCT: see [`kind`].
    pub const fn kind(self) -> u8 {
        (self.0 >> 8 & 7) as u8
    }
    /// SC.
    pub const fn code(self) -> u8 {
        self.0 as u8
    }
    /// DNR: the same command would fail again.
    pub const fn do_not_retry(self) -> bool {
        self.0 & 1 << 14 != 0
    }
    /// The same with DNR set.
    pub const fn final_answer(self) -> Self {
        Self(self.0 | 1 << 14)
    }
    /// Whether type and code are those of `other`, whatever else is set.
    pub const fn is(self, other: Self) -> bool {
        self.0 & 0x7ff == other.0 & 0x7ff
    }

    /// The command is done.
    pub const SUCCESS: Self = Self::new(kind::GENERIC, 0x00);
    /// Invalid command opcode.
    pub const INVALID_OPCODE: Self = Self::new(kind::GENERIC, 0x01);
    /// Invalid field in command.
    pub const INVALID_FIELD: Self = Self::new(kind::GENERIC, 0x02);
    /// Command identifier conflict.
    pub const IDENTIFIER_CONFLICT: Self = Self::new(kind::GENERIC, 0x03);
    /// Data transfer error: memory did not take or give the data.
    pub const DATA_TRANSFER_ERROR: Self = Self::new(kind::GENERIC, 0x04);
    /// Internal error.
    pub const INTERNAL_ERROR: Self = Self::new(kind::GENERIC, 0x06);
    /// Command abort requested.
    pub const ABORT_REQUESTED: Self = Self::new(kind::GENERIC, 0x07);
    /// Command aborted because its submission queue was deleted.
    pub const ABORTED_BY_DELETION: Self = Self::new(kind::GENERIC, 0x08);
    /// Invalid namespace or format.
    pub const INVALID_NAMESPACE: Self = Self::new(kind::GENERIC, 0x0b);
    /// Command sequence error.
    pub const SEQUENCE_ERROR: Self = Self::new(kind::GENERIC, 0x0c);
    /// Offset of a PRP entry is invalid.
    pub const PRP_OFFSET_INVALID: Self = Self::new(kind::GENERIC, 0x13);
    /// The namespace is write protected.
    pub const WRITE_PROTECTED: Self = Self::new(kind::GENERIC, 0x20);
    /// LBA out of range.
    pub const BLOCK_OUT_OF_RANGE: Self = Self::new(kind::GENERIC, 0x80);
    /// Capacity exceeded: the namespace has no room left for what is written.
    pub const CAPACITY_EXCEEDED: Self = Self::new(kind::GENERIC, 0x81);

    /// The completion queue of a create command does not exist.
    pub const COMPLETION_QUEUE_INVALID: Self = Self::new(kind::SPECIFIC, 0x00);
    /// Invalid queue identifier.
    pub const INVALID_QUEUE_IDENTIFIER: Self = Self::new(kind::SPECIFIC, 0x01);
    /// Invalid queue size.
    pub const INVALID_QUEUE_SIZE: Self = Self::new(kind::SPECIFIC, 0x02);
    /// Asynchronous event request limit exceeded.
    pub const EVENT_REQUEST_LIMIT: Self = Self::new(kind::SPECIFIC, 0x05);
    /// Invalid interrupt vector.
    pub const INVALID_INTERRUPT_VECTOR: Self = Self::new(kind::SPECIFIC, 0x08);
    /// Invalid log page.
    pub const INVALID_LOG_PAGE: Self = Self::new(kind::SPECIFIC, 0x09);
    /// Invalid queue deletion: a submission queue still uses the completion queue.
    pub const INVALID_QUEUE_DELETION: Self = Self::new(kind::SPECIFIC, 0x0c);
    /// The feature cannot be saved.
    pub const FEATURE_NOT_SAVEABLE: Self = Self::new(kind::SPECIFIC, 0x0d);
    /// The feature cannot be changed.
    pub const FEATURE_NOT_CHANGEABLE: Self = Self::new(kind::SPECIFIC, 0x0e);

    /// Write fault.
    pub const WRITE_FAULT: Self = Self::new(kind::MEDIA, 0x80);
    /// Unrecovered read error.
    pub const READ_ERROR: Self = Self::new(kind::MEDIA, 0x81);
}

/// One completion queue entry.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Completion {
    /// Dword 0: what the command gives back.
    pub result: u32,
    /// SQHD: the entry that the controller fetches next from the submission queue.
    pub submission_head: u16,
    /// SQID: the submission queue that the command came from.
    pub submission_queue: u16,
    /// CID: the command.
    pub identifier: u16,
    /// P: whether the entry is new, which changes its meaning with each turn of the queue.
    pub phase: bool,
    /// What came of it.
    pub status: Status,
}

impl Completion {
    /// What 16 bytes of a queue say.
    pub const fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let last = u16::from_le_bytes(take(bytes, 14));
        Self {
            result: u32::from_le_bytes(take(bytes, 0)),
            submission_head: u16::from_le_bytes(take(bytes, 8)),
            submission_queue: u16::from_le_bytes(take(bytes, 10)),
            identifier: u16::from_le_bytes(take(bytes, 12)),
            phase: last & 1 != 0,
            status: Status(last >> 1),
        }
    }

    /// The 16 bytes that go into a queue. The last four hold the phase tag, so they are what
    /// has to be written last.
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        put(&mut bytes, 0, self.result.to_le_bytes());
        put(&mut bytes, 8, self.submission_head.to_le_bytes());
        put(&mut bytes, 10, self.submission_queue.to_le_bytes());
        put(&mut bytes, 12, self.identifier.to_le_bytes());
        put(&mut bytes, 14, (self.status.0 << 1 | self.phase as u16).to_le_bytes());
        bytes
    }
}
