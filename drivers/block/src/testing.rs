//! What tests of drives, and of those who use them, have in common.

use crate::{Drive, Operation, Refused, State, Tag};

/// Whole requests in one call.
pub trait Ask: Drive {
    /// Reads `blocks` blocks from `first_block` on.
    fn read(&mut self, first_block: u64, blocks: u64, now_ns: u64) -> Result<Tag, Refused> {
        self.ask(Operation::Read, first_block, blocks, &[], now_ns)
    }

    /// Writes `data`, whole blocks, from `first_block` on.
    fn write(&mut self, first_block: u64, data: &[u8], now_ns: u64) -> Result<Tag, Refused> {
        let State::Ready(geometry) = self.status().state else { return Err(Refused::NotReady) };
        let block_bytes = geometry.block_bytes as usize;
        assert!(data.len().is_multiple_of(block_bytes), "a test writes whole blocks");
        let blocks = (data.len() / block_bytes) as u64;
        self.ask(Operation::Write, first_block, blocks, data, now_ns)
    }

    /// Flushes.
    fn flush(&mut self, now_ns: u64) -> Result<Tag, Refused> {
        self.ask(Operation::Flush, 0, 0, &[], now_ns)
    }

    /// Reserves, puts, submits and kicks. A request that is not taken is released.
    fn ask(
        &mut self,
        operation: Operation,
        first_block: u64,
        blocks: u64,
        data: &[u8],
        now_ns: u64,
    ) -> Result<Tag, Refused> {
        let tag = self.reserve()?;
        let is_put = self.put(tag, 0, data).ok_or(Refused::TooLarge(self.request_bytes()));
        match is_put.and_then(|()| self.submit(tag, operation, first_block, blocks)) {
            Ok(()) => {
                self.kick(now_ns);
                Ok(tag)
            }
            Err(refused) => {
                self.release(tag);
                Err(refused)
            }
        }
    }
}

impl<D: Drive + ?Sized> Ask for D {}
