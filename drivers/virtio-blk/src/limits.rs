//! What a device says that it can do (section 5.2.4).

use access::RegisterWindow;
use block::{Geometry, Operation};
use spec::virtio::block::{SECTOR_BYTES, config, feature};
use spec::virtio::feature::INDIRECT_DESCRIPTORS;
use virtio::{Error, Transport};

/// What the driver takes of what is offered.
pub(crate) const WANTED: u64 = feature::SIZE_MAX
    | feature::SEG_MAX
    | feature::READ_ONLY
    | feature::BLOCK_SIZE
    | feature::FLUSH
    | feature::DISCARD
    | feature::WRITE_ZEROES
    | INDIRECT_DESCRIPTORS;

/// What one request may be.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Limits {
    pub geometry: Geometry,
    /// Whether it has a cache that is to be flushed; where it has none, what is written is written.
    pub can_flush: bool,
    /// Whether a descriptor may stand for a table of them.
    pub has_tables: bool,
    /// The most segments of a request's data.
    pub segments: u32,
    /// The most blocks of a request that moves data, that discards, and that writes zeroes.
    moved: u32,
    discarded: u32,
    zeroed: u32,
}

impl Limits {
    /// Reads what a device says that has agreed to `features`, where no request has more than
    /// `request_bytes` bytes.
    pub fn read<R: RegisterWindow>(
        transport: &Transport<R>,
        features: u64,
        request_bytes: usize,
    ) -> Result<Self, Error> {
        transport.configuration(|transport| Self::read_once(transport, features, request_bytes))
    }

    fn read_once<R: RegisterWindow>(
        transport: &Transport<R>,
        features: u64,
        request_bytes: usize,
    ) -> Result<Self, Error> {
        let has = |feature| features & feature != 0;
        let read = |feature, at, otherwise| {
            if has(feature) { transport.read32(at) } else { Ok(otherwise) }
        };
        let capacity = u64::from(transport.read32(config::CAPACITY)?)
            | u64::from(transport.read32(config::CAPACITY + 4)?) << 32;
        let block_bytes = read(feature::BLOCK_SIZE, config::BLOCK_SIZE, SECTOR_BYTES as u32)?;
        if !block_bytes.is_power_of_two() || !(512..=65536).contains(&block_bytes) {
            return Err(Error::Configuration("its blocks have less than 512 or more than 65536 bytes"));
        }
        let shift = block_bytes.trailing_zeros() - SECTOR_BYTES.trailing_zeros();
        let blocks = capacity >> shift;
        if blocks == 0 {
            return Err(Error::Configuration("it has no blocks"));
        }
        if capacity >= 1 << 55 {
            return Err(Error::Configuration("it says to have 2^64 bytes or more"));
        }
        let segment_bytes = read(feature::SIZE_MAX, config::SIZE_MAX, u32::MAX)?;
        let request_bytes = u32::try_from(request_bytes).unwrap_or(u32::MAX);
        let moved = segment_bytes.min(request_bytes) >> block_bytes.trailing_zeros();
        if moved == 0 {
            return Err(Error::Configuration("a block of it is more than it moves at once"));
        }
        let discarded = read(feature::DISCARD, config::MAX_DISCARD_SECTORS, 0)? >> shift;
        let zeroed = read(feature::WRITE_ZEROES, config::MAX_ZEROES_SECTORS, 0)? >> shift;
        let is_read_only = has(feature::READ_ONLY);
        let geometry = Geometry {
            blocks,
            block_bytes,
            is_read_only,
            can_discard: discarded > 0 && !is_read_only,
            can_write_zeroes: zeroed > 0 && !is_read_only,
        };
        Ok(Self {
            geometry,
            can_flush: has(feature::FLUSH),
            has_tables: has(INDIRECT_DESCRIPTORS),
            segments: read(feature::SEG_MAX, config::SEG_MAX, 1)?.max(1),
            moved,
            discarded,
            zeroed,
        })
    }

    /// The most blocks of one request for `operation`.
    pub const fn most_blocks(&self, operation: Operation) -> u32 {
        match operation {
            Operation::Read | Operation::Write => self.moved,
            Operation::Flush => 1,
            Operation::Discard => self.discarded,
            Operation::WriteZeroes => self.zeroed,
        }
    }

    /// The sector in which a block begins. It is on the medium, so there is such a one.
    pub const fn sector(&self, block: u64) -> u64 {
        block * (self.geometry.block_bytes as u64 / SECTOR_BYTES)
    }
}
