//! What an emulated drive keeps its blocks on.

use crate::device::{Operation, Request, RequestFault};
use access::GuestMemory;
use spec::Gpa;

mod overlay;

pub use overlay::OverlayMedium;

/// A medium: bytes that requests read and write.
pub trait Medium: Send {
    /// How many bytes it has.
    fn bytes(&self) -> u64;
    /// Whether it takes no writes.
    fn is_read_only(&self) -> bool;
    /// Does a request at once, between the medium and `memory`.
    ///
    /// # Errors
    /// Why nothing, or not all of it, was done.
    fn perform(&mut self, request: &Request, memory: &dyn GuestMemory) -> Result<(), RequestFault>;
}

/// An image in memory that nobody changes, such as one of the bundle's.
///
/// The medium is as long as whole blocks of 4 KiB are; what the image lacks of the last one
/// reads zeros.
pub struct ImageMedium<'a>(pub &'a [u8]);

/// The medium's length is a multiple of this.
const BLOCK: u64 = 4096;
static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

impl Medium for ImageMedium<'_> {
    fn bytes(&self) -> u64 {
        (self.0.len() as u64).next_multiple_of(BLOCK)
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn perform(&mut self, request: &Request, memory: &dyn GuestMemory) -> Result<(), RequestFault> {
        match request.operation {
            Operation::Read => self.read(request, memory),
            Operation::Write | Operation::Discard | Operation::WriteZeroes => Err(RequestFault::ReadOnly),
            Operation::Flush => Ok(()),
        }
    }
}

impl ImageMedium<'_> {
    /// Copies a block, of which the image may lack the end.
    fn copy_block(&self, block: u64, page: &mut [u8; BLOCK as usize]) {
        let start = usize::try_from(block.saturating_mul(BLOCK)).unwrap_or(usize::MAX);
        let rest = self.0.get(start..).unwrap_or_default();
        page.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    }

    fn read(&self, request: &Request, memory: &dyn GuestMemory) -> Result<(), RequestFault> {
        let end = request.at.checked_add(request.bytes.into()).filter(|&end| end <= self.bytes());
        let (Some(end), Ok(start)) = (end, usize::try_from(request.at)) else {
            return Err(RequestFault::Range);
        };
        let end = usize::try_from(end).map_err(|_| RequestFault::Range)?;
        let image = self.0.get(start.min(self.0.len())..end.min(self.0.len())).unwrap_or_default();
        let missing = (end - start).saturating_sub(image.len());
        // At most a block is missing, as `bytes` says.
        let zeros = ZEROS.get(..missing).ok_or(RequestFault::Range)?;
        let behind = request.gpa.0.checked_add(image.len() as u64).ok_or(RequestFault::Memory)?;
        memory.write(request.gpa, image).map_err(|_| RequestFault::Memory)?;
        memory.write(Gpa(behind), zeros).map_err(|_| RequestFault::Memory)
    }
}

#[cfg(test)]
mod tests;
