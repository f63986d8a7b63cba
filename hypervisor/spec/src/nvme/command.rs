//! Submission queue entries (section 4.2), their opcodes, and the fields of the commands.

use super::{put, take};
use crate::Gpa;

/// Bytes of an entry of the admin and NVM command sets.
pub const ENTRY_BYTES: usize = 64;

/// Opcodes of admin commands (section 5).
pub mod admin {
    /// Delete I/O submission queue (section 5.6).
    pub const DELETE_SUBMISSION_QUEUE: u8 = 0x00;
    /// Create I/O submission queue (section 5.4).
    pub const CREATE_SUBMISSION_QUEUE: u8 = 0x01;
    /// Get log page (section 5.14).
    pub const GET_LOG_PAGE: u8 = 0x02;
    /// Delete I/O completion queue (section 5.5).
    pub const DELETE_COMPLETION_QUEUE: u8 = 0x04;
    /// Create I/O completion queue (section 5.3).
    pub const CREATE_COMPLETION_QUEUE: u8 = 0x05;
    /// Identify (section 5.15).
    pub const IDENTIFY: u8 = 0x06;
    /// Abort (section 5.1).
    pub const ABORT: u8 = 0x08;
    /// Set features (section 5.21).
    pub const SET_FEATURES: u8 = 0x09;
    /// Get features (section 5.13).
    pub const GET_FEATURES: u8 = 0x0a;
    /// Asynchronous event request (section 5.2).
    pub const ASYNCHRONOUS_EVENT_REQUEST: u8 = 0x0c;
    /// Firmware commit (section 5.11).
    pub const FIRMWARE_COMMIT: u8 = 0x10;
    /// Firmware image download (section 5.12).
    pub const FIRMWARE_DOWNLOAD: u8 = 0x11;
    /// Doorbell buffer config (section 5.7).
    pub const DOORBELL_BUFFER_CONFIG: u8 = 0x7c;
    /// Format NVM (section 5.23).
    pub const FORMAT_NVM: u8 = 0x80;
}

/// Opcodes of the NVM command set (section 6).
pub mod nvm {
    /// Flush.
    pub const FLUSH: u8 = 0x00;
    /// Write.
    pub const WRITE: u8 = 0x01;
    /// Read.
    pub const READ: u8 = 0x02;
    /// Compare.
    pub const COMPARE: u8 = 0x05;
    /// Write zeroes.
    pub const WRITE_ZEROES: u8 = 0x08;
    /// Dataset management.
    pub const DATASET_MANAGEMENT: u8 = 0x09;
}

/// Dataset management (section 6.7).
pub mod dataset {
    /// AD, of dword 11: the ranges may be deallocated.
    pub const DEALLOCATE: u32 = 1 << 2;
    /// Bytes of a range: attributes, 4 bytes, blocks, 4 bytes, and first block, 8 bytes.
    pub const RANGE_BYTES: usize = 16;
}

/// One submission queue entry.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Command {
    /// OPC: see [`admin`] and [`nvm`].
    pub opcode: u8,
    /// FUSE (bits 0 and 1) and PSDT (bits 6 and 7); 0 is a command on its own, with PRPs.
    pub flags: u8,
    /// CID: what its completion is known by.
    pub identifier: u16,
    /// NSID.
    pub namespace: u32,
    /// MPTR.
    pub metadata: u64,
    /// PRP1: where the data starts.
    pub prp1: u64,
    /// PRP2: the second page, or a list of the pages from the second on.
    pub prp2: u64,
    /// Command dwords 10 to 15.
    pub dwords: [u32; 6],
}

impl Command {
    /// What 64 bytes of a queue say.
    pub const fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        Self {
            opcode: bytes[0],
            flags: bytes[1],
            identifier: u16::from_le_bytes(take(bytes, 2)),
            namespace: u32::from_le_bytes(take(bytes, 4)),
            metadata: u64::from_le_bytes(take(bytes, 16)),
            prp1: u64::from_le_bytes(take(bytes, 24)),
            prp2: u64::from_le_bytes(take(bytes, 32)),
            dwords: [
                u32::from_le_bytes(take(bytes, 40)),
                u32::from_le_bytes(take(bytes, 44)),
                u32::from_le_bytes(take(bytes, 48)),
                u32::from_le_bytes(take(bytes, 52)),
                u32::from_le_bytes(take(bytes, 56)),
                u32::from_le_bytes(take(bytes, 60)),
            ],
        }
    }

    /// The 64 bytes that go into a queue.
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        put(&mut bytes, 0, [self.opcode, self.flags]);
        put(&mut bytes, 2, self.identifier.to_le_bytes());
        put(&mut bytes, 4, self.namespace.to_le_bytes());
        put(&mut bytes, 16, self.metadata.to_le_bytes());
        put(&mut bytes, 24, self.prp1.to_le_bytes());
        put(&mut bytes, 32, self.prp2.to_le_bytes());
        let mut rest = bytes.iter_mut().skip(40);
        for byte in self.dwords.iter().flat_map(|dword| dword.to_le_bytes()) {
            if let Some(place) = rest.next() {
                *place = byte;
            }
        }
        bytes
    }

    /// Command dword 10.
    pub const fn dword10(&self) -> u32 {
        self.dwords[0]
    }
    /// Command dword 11.
    pub const fn dword11(&self) -> u32 {
        self.dwords[1]
    }
    /// Command dword 12.
    pub const fn dword12(&self) -> u32 {
        self.dwords[2]
    }

    /// QID of the commands about queues: dword 10, bits 0 to 15 (sections 5.3 to 5.6).
    pub const fn queue(&self) -> u16 {
        self.dword10() as u16
    }
    /// Entries of the queue to create: dword 10, bits 16 to 31, one less (section 5.3).
    pub const fn queue_entries(&self) -> u32 {
        (self.dword10() >> 16).wrapping_add(1)
    }

    /// CNS of an identify command: dword 10, bits 0 to 7 (section 5.15). See
    /// [`identify::cns`](super::identify::cns).
    pub const fn identify_structure(&self) -> u8 {
        self.dword10() as u8
    }

    /// FID of a features command: dword 10, bits 0 to 7 (sections 5.13 and 5.21). See
    /// [`feature`](super::feature).
    pub const fn feature(&self) -> u8 {
        self.dword10() as u8
    }

    /// LID of a get log page command: dword 10, bits 0 to 7 (section 5.14). See
    /// [`log`](super::log).
    pub const fn log_page(&self) -> u8 {
        self.dword10() as u8
    }
    /// How much of the log page is wanted, in bytes: NUMDL (dword 10, bits 16 to 31) and NUMDU
    /// (dword 11, bits 0 to 15), which are one less in dwords.
    pub const fn log_bytes(&self) -> u64 {
        let dwords = self.dword10() >> 16 | self.dword11() << 16;
        (dwords as u64).wrapping_add(1) << 2
    }
    /// Where in the log page to start, in bytes: dwords 12 and 13 (LPOL, LPOU).
    pub const fn log_offset(&self) -> u64 {
        self.dwords[2] as u64 | (self.dwords[3] as u64) << 32
    }

    /// SLBA of read and write: dwords 10 and 11 (section 6.9), in blocks.
    pub const fn first_block(&self) -> u64 {
        self.dwords[0] as u64 | (self.dwords[1] as u64) << 32
    }
    /// NLB of read and write: dword 12, bits 0 to 15, one less (section 6.9).
    pub const fn blocks(&self) -> u32 {
        (self.dword12() & 0xffff).wrapping_add(1)
    }

    /// Identify: the structure `cns` of `namespace` to the page at `to`.
    pub const fn identify(identifier: u16, cns: u8, namespace: u32, to: u64) -> Self {
        Self {
            opcode: admin::IDENTIFY,
            identifier,
            namespace,
            prp1: to,
            dwords: [cns as u32, 0, 0, 0, 0, 0],
            ..Self::EMPTY
        }
    }

    /// Create I/O completion queue `queue` of `entries` (2 to 65536) contiguous entries at
    /// `at`. Where there is a `vector` it interrupts with that.
    pub const fn create_completion_queue(
        identifier: u16,
        queue: u16,
        entries: u32,
        at: u64,
        vector: Option<u16>,
    ) -> Self {
        let flags = match vector {
            Some(vector) => create::CONTIGUOUS | create::INTERRUPTS | (vector as u32) << 16,
            None => create::CONTIGUOUS,
        };
        Self {
            opcode: admin::CREATE_COMPLETION_QUEUE,
            identifier,
            prp1: at,
            dwords: [queue as u32 | entries.wrapping_sub(1) << 16, flags, 0, 0, 0, 0],
            ..Self::EMPTY
        }
    }

    /// Create I/O submission queue `queue` of `entries` (2 to 65536) contiguous entries at
    /// `at`, whose completions go to completion queue `completions`.
    pub const fn create_submission_queue(
        identifier: u16,
        queue: u16,
        entries: u32,
        at: u64,
        completions: u16,
    ) -> Self {
        let flags = create::CONTIGUOUS | (completions as u32) << 16;
        Self {
            opcode: admin::CREATE_SUBMISSION_QUEUE,
            identifier,
            prp1: at,
            dwords: [queue as u32 | entries.wrapping_sub(1) << 16, flags, 0, 0, 0, 0],
            ..Self::EMPTY
        }
    }

    /// Read or write (`opcode`) `blocks` (1 to 65536) blocks from `first_block` of `namespace`.
    pub const fn transfer(
        opcode: u8,
        identifier: u16,
        namespace: u32,
        first_block: u64,
        blocks: u32,
        prps: [u64; 2],
    ) -> Self {
        Self {
            opcode,
            identifier,
            namespace,
            prp1: prps[0],
            prp2: prps[1],
            dwords: [
                first_block as u32,
                (first_block >> 32) as u32,
                blocks.wrapping_sub(1) & 0xffff,
                0,
                0,
                0,
            ],
            ..Self::EMPTY
        }
    }

    const EMPTY: Self = Self {
        opcode: 0,
        flags: 0,
        identifier: 0,
        namespace: 0,
        metadata: 0,
        prp1: 0,
        prp2: 0,
        dwords: [0; 6],
    };
}

/// Dword 11 of the commands that create queues (sections 5.3 and 5.4).
pub mod create {
    /// PC: the queue is contiguous, at PRP1.
    pub const CONTIGUOUS: u32 = 1 << 0;
    /// IEN: a completion queue interrupts.
    pub const INTERRUPTS: u32 = 1 << 1;
    /// IV of a completion queue; CQID of a submission queue: bits 16 to 31.
    pub const fn upper(dword11: u32) -> u16 {
        (dword11 >> 16) as u16
    }
}

/// Where an entry of a queue is: `index` entries of `entry_bytes` from `base`. `None` where
/// that leaves 64 bits.
pub fn entry_at(base: Gpa, index: u32, entry_bytes: usize) -> Option<Gpa> {
    base.checked_add(u64::from(index).checked_mul(entry_bytes as u64)?)
}
