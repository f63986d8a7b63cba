//! An image that takes writes: what changes is kept beside it.
//!
//! The medium is divided into blocks of 4 KiB. A block is where it always was, in the image, until
//! it is written; then it gets a place in the store, and keeps it until it is discarded. When no
//! place is left what needs one fails, and nothing of the block has changed.

use super::{BLOCK, ImageMedium, Medium, ZEROS};
use crate::device::{Operation, Request, RequestFault};
use access::GuestMemory;
use alloc::boxed::Box;
use alloc::vec::Vec;
use spec::Gpa;

/// An image below what was written since.
pub struct OverlayMedium<'a> {
    image: ImageMedium<'a>,
    /// Blocks that are not in the image, from address 0 on.
    store: Box<dyn GuestMemory + Send>,
    /// Where each block of the medium is.
    places: Box<[Place]>,
    /// Numbers of places in the store; the first `left` of them are free.
    free: Box<[u32]>,
    left: usize,
}

/// Where a block is: a number, so that a map of a large image is small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place(u32);

impl Place {
    const IMAGE: Self = Self(u32::MAX);
    /// Nowhere: it reads zeroes.
    const ZEROES: Self = Self(u32::MAX - 1);
    /// The most places of a store.
    const MOST: u64 = (u32::MAX - 1) as u64;

    /// The address in the store, if it is there.
    fn address(self) -> Option<Gpa> {
        (u64::from(self.0) < Self::MOST).then(|| Gpa(u64::from(self.0) * BLOCK))
    }
}

/// A part of a request inside one block.
#[derive(Clone, Copy)]
struct Piece {
    /// The block's number.
    block: u64,
    /// Where in the block it starts, in bytes.
    within: usize,
    bytes: usize,
    gpa: Gpa,
}

impl Piece {
    const fn is_whole(&self) -> bool {
        self.bytes as u64 == BLOCK
    }
}

type Page = [u8; BLOCK as usize];

impl<'a> OverlayMedium<'a> {
    /// The `image` as it is, with room for changes: `bytes` bytes of `store`, from address 0 on.
    ///
    /// `None`: there is no memory to say of each block where it is, which takes 4 bytes for each 4 KiB
    /// of the image and of the store.
    pub fn new(image: &'a [u8], store: Box<dyn GuestMemory + Send>, bytes: u64) -> Option<Self> {
        let image = ImageMedium(image);
        let blocks = usize::try_from(image.bytes() / BLOCK).ok()?;
        let room = u32::try_from((bytes / BLOCK).min(Place::MOST)).ok()?;
        let mut places = Vec::new();
        places.try_reserve_exact(blocks).ok()?;
        places.resize(blocks, Place::IMAGE);
        let mut free = Vec::new();
        free.try_reserve_exact(room as usize).ok()?;
        // The last is taken first: from the start of the store on.
        free.extend((0..room).rev());
        let left = free.len();
        Some(Self { image, store, places: places.into(), free: free.into(), left })
    }

    /// How many bytes can still change, in blocks that have not yet.
    pub fn bytes_left(&self) -> u64 {
        self.left as u64 * BLOCK
    }

    fn place(&self, piece: Piece) -> Result<Place, RequestFault> {
        let index = usize::try_from(piece.block).map_err(|_| RequestFault::Range)?;
        self.places.get(index).copied().ok_or(RequestFault::Range)
    }

    fn set_place(&mut self, piece: Piece, place: Place) {
        let index = usize::try_from(piece.block).unwrap_or(usize::MAX);
        if let Some(known) = self.places.get_mut(index) {
            *known = place;
        }
    }

    fn read(&self, piece: Piece, memory: &dyn GuestMemory) -> Result<(), RequestFault> {
        let place = self.place(piece)?;
        if let Some(address) = place.address() {
            let mut page = [0; BLOCK as usize];
            let part = page.get_mut(..piece.bytes).ok_or(RequestFault::Range)?;
            let from = Gpa(address.0 + piece.within as u64);
            self.store.read(from, part).map_err(|_| RequestFault::Medium)?;
            return memory.write(piece.gpa, part).map_err(|_| RequestFault::Memory);
        }
        if place == Place::ZEROES {
            let part = ZEROS.get(..piece.bytes).ok_or(RequestFault::Range)?;
            return memory.write(piece.gpa, part).map_err(|_| RequestFault::Memory);
        }
        let at = piece.block * BLOCK + piece.within as u64;
        let bytes = piece.bytes as u32;
        let request = Request { tag: 0, operation: Operation::Read, at, gpa: piece.gpa, bytes };
        self.image.read(&request, memory)
    }

    /// Writes what `fill` puts into the part of a page. Nothing has changed where that fails, or no
    /// place is left.
    fn write(
        &mut self,
        piece: Piece,
        fill: &dyn Fn(&mut [u8]) -> Result<(), RequestFault>,
    ) -> Result<(), RequestFault> {
        let place = self.place(piece)?;
        let mut page: Page = [0; BLOCK as usize];
        let end = piece.within + piece.bytes;
        if let Some(address) = place.address() {
            let part = page.get_mut(..piece.bytes).ok_or(RequestFault::Range)?;
            fill(part)?;
            let to = Gpa(address.0 + piece.within as u64);
            return self.store.write(to, part).map_err(|_| RequestFault::Medium);
        }
        if place == Place::IMAGE && !piece.is_whole() {
            self.image.copy_block(piece.block, &mut page);
        }
        fill(page.get_mut(piece.within..end).ok_or(RequestFault::Range)?)?;
        let left = self.left.checked_sub(1).ok_or(RequestFault::NoSpace)?;
        let place = Place(self.free.get(left).copied().ok_or(RequestFault::NoSpace)?);
        let address = place.address().ok_or(RequestFault::NoSpace)?;
        self.store.write(address, &page).map_err(|_| RequestFault::Medium)?;
        self.left = left;
        self.set_place(piece, place);
        Ok(())
    }

    /// The block is nowhere any more, and reads zeroes.
    fn forget(&mut self, piece: Piece) -> Result<(), RequestFault> {
        let place = self.place(piece)?;
        if place.address().is_some()
            && let Some(slot) = self.free.get_mut(self.left)
        {
            *slot = place.0;
            self.left += 1;
        }
        self.set_place(piece, Place::ZEROES);
        Ok(())
    }

    fn piece(
        &mut self,
        operation: Operation,
        piece: Piece,
        memory: &dyn GuestMemory,
    ) -> Result<(), RequestFault> {
        match operation {
            Operation::Read => self.read(piece, memory),
            Operation::Write => {
                let fill = |part: &mut [u8]| memory.read(piece.gpa, part).map_err(|_| RequestFault::Memory);
                self.write(piece, &fill)
            }
            Operation::Discard | Operation::WriteZeroes if piece.is_whole() => self.forget(piece),
            // Of what a part of a block holds a discard promises nothing.
            Operation::Discard | Operation::Flush => Ok(()),
            Operation::WriteZeroes if self.place(piece)? == Place::ZEROES => Ok(()),
            Operation::WriteZeroes => self.write(piece, &|part| {
                part.fill(0);
                Ok(())
            }),
        }
    }
}

impl Medium for OverlayMedium<'_> {
    fn bytes(&self) -> u64 {
        self.image.bytes()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    /// A request that fails may have changed blocks before the one that made it fail. A flush has
    /// nothing to do: the changes are as lasting as they get.
    fn perform(&mut self, request: &Request, memory: &dyn GuestMemory) -> Result<(), RequestFault> {
        let end = request.at.checked_add(request.bytes.into()).filter(|&end| end <= self.bytes());
        let end = end.ok_or(RequestFault::Range)?;
        let (mut at, mut gpa) = (request.at, request.gpa);
        while at < end && request.operation != Operation::Flush {
            let within = at % BLOCK;
            let bytes = (BLOCK - within).min(end - at);
            let piece = Piece { block: at / BLOCK, within: within as usize, bytes: bytes as usize, gpa };
            self.piece(request.operation, piece, memory)?;
            at += bytes;
            gpa = Gpa(gpa.0.checked_add(bytes).ok_or(RequestFault::Memory)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
