//! An address space for ring 3: the hypervisor's upper half, which ring 3 cannot touch, and below it what is put
//! there.

use alloc::vec::Vec;
use core::num::NonZeroU64;

use crate::cpu::barriers::{self, Barriers};
use crate::cpu::ring3::{self, Left, Start};
use crate::memory::dma::DmaRange;
use crate::memory::frames;
use crate::memory::guest_ram::GuestRam;
use crate::memory::layout;
use crate::memory::memory_map::Range;
use crate::memory::mmio::Window;
use crate::memory::page_table::{Caching, MapError, PageTable, Rights};
use crate::memory::paging::{self, BootFrames};
use access::DmaBuffer;
use spec::Hpa;
use spec::address::PAGE_BYTES;

/// Addresses below this are ring 3's, but for the first page, where nothing is.
const END: u64 = 1 << 47;

/// Pages with the same contents in every address space that has them. Nobody writes them.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    hpa: Hpa,
    bytes: u64,
}

impl Published {
    /// Copies `contents`, which are not empty, into pages that are taken for good; the last one is filled with
    /// zeroes.
    ///
    /// # Errors
    /// Where there is not enough memory.
    pub fn new(contents: &[u8]) -> Result<Self, MapError> {
        let memory = Own::take(contents.len() as u64)?;
        memory.slice().get_mut(..contents.len()).ok_or(MapError::NoMemory)?.copy_from_slice(contents);
        Ok(Self { hpa: memory.hpa, bytes: memory.bytes })
    }
}

/// Memory of an address space's own.
struct Own {
    hpa: Hpa,
    bytes: u64,
}

impl Own {
    /// Takes whole pages of zeroes.
    fn take(bytes: u64) -> Result<Self, MapError> {
        let bytes = NonZeroU64::new(bytes).ok_or(MapError::Misaligned)?;
        let bytes = bytes.get().checked_next_multiple_of(PAGE_BYTES).ok_or(MapError::Misaligned)?;
        let hpa = frames::take(bytes, PAGE_BYTES).ok_or(MapError::NoMemory)?;
        let own = Self { hpa, bytes };
        own.slice().fill(0);
        Ok(own)
    }

    /// The bytes, of which the caller sees to it that they are borrowed once.
    #[allow(clippy::mut_from_ref)]
    fn slice<'a>(&self) -> &'a mut [u8] {
        // SAFETY: `take` took the frames for this alone, the direct map has them for good, and any bytes
        // are a value. The callers are `take` and `Published::new`, which just made it, and
        // `AddressSpace::memory`, which borrows the address space.
        unsafe { core::slice::from_raw_parts_mut(layout::direct(self.hpa), self.bytes as usize) }
    }
}

/// Which memory of an address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place(usize);

/// An address space for ring 3. It runs while [`enter`](Self::enter) does, which borrows it: what it shares
/// with ring 0 is read and written in between.
pub struct AddressSpace {
    table: PageTable<BootFrames>,
    own: Vec<Own>,
    start: Start,
    /// The guest whose it is.
    domain: u32,
    barriers: Barriers,
}

impl AddressSpace {
    /// One with nothing in it, which is code of guest `domain`, and is entered at `start`.
    ///
    /// # Errors
    /// Where there is no memory for its tables, or it is no place to start.
    pub fn new(domain: u32, start: Start) -> Result<Self, MapError> {
        // The way back to an address that is none would fault in ring 0.
        if start.rip >= END || start.rsp >= END {
            return Err(MapError::Misaligned);
        }
        let barriers = barriers::chosen();
        Ok(Self { table: paging::ring_3_table()?, own: Vec::new(), start, domain, barriers })
    }

    /// Gives it `bytes` bytes of memory of its own at `address`, a multiple of 4 KiB: zeroes that it can read
    /// and write.
    ///
    /// # Errors
    /// Where it cannot be there, or there is not enough.
    pub fn add_memory(&mut self, address: u64, bytes: u64) -> Result<Place, MapError> {
        let own = Own::take(bytes)?;
        let mapped = self.map(address, own.hpa, own.bytes, Rights::ReadWrite);
        self.own.push(own);
        mapped?;
        Ok(Place(self.own.len() - 1))
    }

    /// Lets it read pages at `address`, a multiple of 4 KiB, or execute them as well.
    ///
    /// # Errors
    /// Where they cannot be there.
    pub fn add_published(&mut self, address: u64, pages: Published, executes: bool) -> Result<(), MapError> {
        let rights = if executes { Rights::ReadExecute } else { Rights::Read };
        self.map(address, pages.hpa, pages.bytes, rights)
    }

    /// Gives it all memory of a guest: gpa 0 at `address`.
    ///
    /// # Errors
    /// Where it cannot be there.
    pub fn add_guest(&mut self, address: u64, memory: &GuestRam) -> Result<(), MapError> {
        memory.blocks().iter().try_for_each(|block| {
            let address = address.checked_add(block.gpa.0).ok_or(MapError::Misaligned)?;
            self.map(address, block.hpa, block.bytes, Rights::ReadWrite)
        })
    }

    /// Gives it memory that it has in common with a device, at `address`: whole pages.
    ///
    /// # Errors
    /// Where it cannot be there.
    pub fn add_shared_with_device(&mut self, address: u64, memory: &DmaRange) -> Result<(), MapError> {
        self.map(address, memory.hpa(), memory.bytes() as u64, Rights::ReadWrite)
    }

    /// Gives it registers at `address`, uncached: whole pages.
    ///
    /// # Errors
    /// Where they cannot be there.
    pub fn add_registers(&mut self, address: u64, registers: &Window) -> Result<(), MapError> {
        let (hpa, bytes) = (registers.hpa(), registers.len() as u64);
        self.map_as(address, hpa, bytes, (Rights::ReadWrite, Caching::Uncached))
    }

    fn map(&mut self, address: u64, hpa: Hpa, bytes: u64, rights: Rights) -> Result<(), MapError> {
        self.map_as(address, hpa, bytes, (rights, Caching::WriteBack))
    }

    fn map_as(
        &mut self,
        address: u64,
        hpa: Hpa,
        bytes: u64,
        (rights, caching): (Rights, Caching),
    ) -> Result<(), MapError> {
        let end = address.checked_add(bytes).ok_or(MapError::Misaligned)?;
        if address < PAGE_BYTES || end > END {
            return Err(MapError::Misaligned);
        }
        self.table.map(address, hpa, bytes, rights, caching)
    }

    /// Memory of its own.
    pub fn memory(&mut self, place: Place) -> &mut [u8] {
        self.own.get(place.0).map(Own::slice).unwrap_or_default()
    }

    /// Bytes of memory of its own, its tables aside.
    pub fn own_bytes(&self) -> u64 {
        self.own.iter().map(|own| own.bytes).sum()
    }

    /// Runs it until it is left, or for `ticks` of the TSC.
    #[inline]
    pub fn enter(&mut self, ticks: u64) -> Left {
        // SAFETY: the upper half is the hypervisor's. Below it are memory of its own, to which no reference
        // is left, since this borrows the address space; pages that it only reads; memory of a guest's or a
        // device's, of which nobody has references; and registers.
        unsafe { ring3::enter(self.table.root().0, &self.start, ticks, (self.domain, &self.barriers)) }
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        for own in &self.own {
            // SAFETY: it was taken as a whole for this alone, and no processor is in ring 3 with these tables. Where
            // they are still in force, ring 0 is kept from what they map; they themselves are never given back,
            // so no others have their root, and whoever loads others drops their translations.
            unsafe { frames::give_back(Range::new(own.hpa, own.bytes)) };
        }
    }
}
