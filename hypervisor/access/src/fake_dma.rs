//! DMA memory and the domain that maps it, for tests of drivers.
//!
//! The device under test sees a [`FakeDomain`]: the driver's buffers at their I/O virtual
//! addresses, and nothing else. As [`GuestMemory`] it is what an emulated device is handed.

use crate::dma::{DmaBuffer, DmaMemory};
use crate::memory::{GuestMemory, OutOfBounds};
use core::cell::{Cell, RefCell};
use spec::address::PAGE_BYTES;
use spec::{Gpa, Iova};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec::Vec;

/// Where the first buffer is: an address that is neither a small number nor one of the host's.
const FIRST: u64 = 0x5_0000_0000;

/// What a driver did with its buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It read this many bytes from here.
    Read(Iova, usize),
    /// It wrote this many bytes here.
    Write(Iova, usize),
    /// A read barrier.
    ReadBarrier,
    /// A write barrier.
    WriteBarrier,
    /// A full barrier.
    FullBarrier,
}

/// The device's side: what its domain maps.
#[derive(Debug, Default)]
pub struct FakeDomain {
    buffers: RefCell<BTreeMap<u64, Vec<u8>>>,
    steps: RefCell<Option<Vec<Step>>>,
    unpublished: Cell<bool>,
    refused: Cell<usize>,
    is_blocked: Cell<bool>,
    holds: Cell<bool>,
}

impl FakeDomain {
    /// Whether everything that the driver wrote stands before a write barrier, as it has to when
    /// the driver rings a doorbell.
    pub fn is_published(&self) -> bool {
        !self.unpublished.get()
    }

    /// Where the buffers are, and how many bytes each has.
    pub fn buffers(&self) -> Vec<(Iova, usize)> {
        self.buffers.borrow().iter().map(|(&iova, bytes)| (Iova(iova), bytes.len())).collect()
    }

    /// How many accesses of the device went to where nothing is mapped, while it was not blocked.
    pub fn refused(&self) -> usize {
        self.refused.get()
    }

    /// Has [`DmaMemory::block`] fail from now on, or not.
    pub fn hold(&self, holds: bool) {
        self.holds.set(holds);
    }

    /// Whether the driver has taken all memory away from the device.
    pub fn is_blocked(&self) -> bool {
        self.is_blocked.get()
    }

    /// Maps `bytes` zeroed bytes of somebody else's memory.
    pub fn lend(&self, iova: Iova, bytes: usize) {
        self.buffers.borrow_mut().insert(iova.0, std::vec![0; bytes]);
    }

    /// Fills what is mapped at `iova`, past the device.
    pub fn fill(&self, iova: Iova, bytes: usize, byte: u8) {
        self.with(iova.0, bytes, |memory| memory.fill(byte)).expect("it is mapped");
    }

    /// Copies what is mapped at `iova`, past the device.
    pub fn look(&self, iova: Iova, bytes: usize) -> Vec<u8> {
        let mut copy = std::vec![0; bytes];
        self.with(iova.0, bytes, |memory| copy.copy_from_slice(memory)).expect("it is mapped");
        copy
    }

    fn note_refused(&self, done: Result<(), OutOfBounds>) {
        let is_refused = done.is_err() && !self.is_blocked();
        self.refused.set(self.refused.get() + usize::from(is_refused));
    }

    /// Whether the device reaches anything.
    fn reaches(&self) -> Result<(), OutOfBounds> {
        if self.is_blocked.get() { Err(OutOfBounds) } else { Ok(()) }
    }

    /// Notes what the driver does from now on, and returns what was noted until now.
    pub fn take_steps(&self) -> Vec<Step> {
        self.steps.replace(Some(Vec::new())).unwrap_or_default()
    }

    fn note(&self, step: Step) {
        match step {
            Step::Write(..) => self.unpublished.set(true),
            Step::WriteBarrier | Step::FullBarrier => self.unpublished.set(false),
            Step::Read(..) | Step::ReadBarrier => {}
        }
        if let Some(steps) = &mut *self.steps.borrow_mut() {
            steps.push(step);
        }
    }

    /// Has `apply` work on the bytes at `at`, if they are all in one buffer.
    fn with(&self, at: u64, bytes: usize, apply: impl FnOnce(&mut [u8])) -> Result<(), OutOfBounds> {
        let mut buffers = self.buffers.borrow_mut();
        let (&start, buffer) = buffers.range_mut(..=at).next_back().ok_or(OutOfBounds)?;
        let first = usize::try_from(at - start).map_err(|_| OutOfBounds)?;
        let end = first.checked_add(bytes).ok_or(OutOfBounds)?;
        apply(buffer.get_mut(first..end).ok_or(OutOfBounds)?);
        Ok(())
    }
}

impl GuestMemory for FakeDomain {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        let count = bytes.len();
        let copy = |memory: &mut [u8]| bytes.copy_from_slice(memory);
        let done = self.reaches().and_then(|()| self.with(gpa.0, count, copy));
        self.note_refused(done);
        done
    }
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let copy = |memory: &mut [u8]| memory.copy_from_slice(bytes);
        let done = self.reaches().and_then(|()| self.with(gpa.0, bytes.len(), copy));
        self.note_refused(done);
        done
    }
    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.reaches().and_then(|()| self.with(gpa.0, bytes, |_| ())).is_ok()
    }
}

impl GuestMemory for Rc<FakeDomain> {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        (**self).read(gpa, bytes)
    }
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        (**self).write(gpa, bytes)
    }
    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        (**self).contains(gpa, bytes)
    }
}

/// The driver's side.
#[derive(Debug)]
pub struct FakeDma {
    domain: Rc<FakeDomain>,
    next: u64,
    left: usize,
}

impl FakeDma {
    /// Memory of `bytes` bytes, and the domain that maps what is allocated of it.
    pub fn new(bytes: usize) -> (Self, Rc<FakeDomain>) {
        let domain = Rc::<FakeDomain>::default();
        (Self { domain: Rc::clone(&domain), next: FIRST, left: bytes }, domain)
    }
}

impl DmaMemory for FakeDma {
    type Buffer = FakeBuffer;

    fn allocate(&mut self, bytes: usize, alignment: usize) -> Option<FakeBuffer> {
        self.left = self.left.checked_sub(bytes)?;
        let iova = Iova(self.next).align_up(alignment as u64)?;
        // At least a page behind each buffer is not mapped.
        self.next = iova.checked_add(bytes as u64 + 2 * PAGE_BYTES)?.align_down(PAGE_BYTES).0;
        self.domain.buffers.borrow_mut().insert(iova.0, std::vec![0; bytes]);
        Some(FakeBuffer { domain: Rc::clone(&self.domain), iova, bytes })
    }

    fn block(&mut self) -> bool {
        self.domain.is_blocked.set(!self.domain.holds.get());
        self.domain.is_blocked.get()
    }
    fn allow(&mut self) {
        self.domain.is_blocked.set(false);
    }

    fn write_barrier(&self) {
        self.domain.note(Step::WriteBarrier);
    }
    fn read_barrier(&self) {
        self.domain.note(Step::ReadBarrier);
    }
    fn full_barrier(&self) {
        self.domain.note(Step::FullBarrier);
    }
}

/// A buffer of [`FakeDma`].
#[derive(Debug)]
pub struct FakeBuffer {
    domain: Rc<FakeDomain>,
    iova: Iova,
    bytes: usize,
}

impl FakeBuffer {
    fn get<const N: usize>(&self, offset: usize) -> Result<[u8; N], OutOfBounds> {
        let mut bytes = [0; N];
        if !offset.is_multiple_of(N) {
            return Err(OutOfBounds);
        }
        self.read(offset, &mut bytes).map(|()| bytes)
    }

    fn put<const N: usize>(&self, offset: usize, bytes: [u8; N]) -> Result<(), OutOfBounds> {
        if !offset.is_multiple_of(N) {
            return Err(OutOfBounds);
        }
        self.write(offset, &bytes)
    }

    fn at(&self, offset: usize) -> Result<Iova, OutOfBounds> {
        self.iova.checked_add(offset as u64).ok_or(OutOfBounds)
    }
}

impl DmaBuffer for FakeBuffer {
    fn iova(&self) -> Iova {
        self.iova
    }
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        let at = self.at(offset)?;
        self.domain.note(Step::Read(at, bytes.len()));
        self.domain.with(at.0, bytes.len(), |memory| bytes.copy_from_slice(memory))
    }
    fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let at = self.at(offset)?;
        self.domain.note(Step::Write(at, bytes.len()));
        self.domain.with(at.0, bytes.len(), |memory| memory.copy_from_slice(bytes))
    }

    fn read32(&self, offset: usize) -> Result<u32, OutOfBounds> {
        self.get(offset).map(u32::from_le_bytes)
    }
    fn write32(&self, offset: usize, value: u32) -> Result<(), OutOfBounds> {
        self.put(offset, value.to_le_bytes())
    }
    fn read64(&self, offset: usize) -> Result<u64, OutOfBounds> {
        self.get(offset).map(u64::from_le_bytes)
    }
    fn write64(&self, offset: usize, value: u64) -> Result<(), OutOfBounds> {
        self.put(offset, value.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_sees_the_buffers_and_nothing_between_them() {
        let (mut dma, domain) = FakeDma::new(3 * 4096);
        let (first, second) = (dma.allocate(4096, 4096).unwrap(), dma.allocate(8192, 4096).unwrap());
        assert_eq!((first.bytes(), second.bytes(), second.iova().page_offset()), (4096, 8192, 0));
        first.write64(4088, 0x1122_3344_5566_7788).unwrap();
        assert_eq!(domain.read64(Gpa(first.iova().0 + 4088)), Ok(0x1122_3344_5566_7788));
        domain.write32(Gpa(second.iova().0), 7).unwrap();
        assert_eq!(second.read32(0), Ok(7));
        assert_eq!(domain.refused(), 0);
        for gpa in [0, first.iova().0 - 1, first.iova().0 + 4093, second.iova().0 + 8192, u64::MAX] {
            assert_eq!(domain.read32(Gpa(gpa)), Err(OutOfBounds), "{gpa:#x}");
        }
        assert_eq!(domain.refused(), 5);
        assert!(dma.allocate(1, 1).is_none());
    }

    #[test]
    fn an_access_beyond_a_buffer_or_out_of_line_does_nothing() {
        let (mut dma, _domain) = FakeDma::new(4096);
        let buffer = dma.allocate(64, 64).unwrap();
        for offset in [2, 62, 64, usize::MAX - 3] {
            assert_eq!(buffer.write32(offset, 1), Err(OutOfBounds), "{offset}");
            assert_eq!(buffer.read32(offset), Err(OutOfBounds), "{offset}");
        }
        assert_eq!(buffer.read64(4), Err(OutOfBounds));
        assert_eq!(buffer.write(60, &[0; 5]), Err(OutOfBounds));
    }

    #[test]
    fn what_is_written_is_published_by_a_barrier() {
        let (mut dma, domain) = FakeDma::new(4096);
        let buffer = dma.allocate(64, 64).unwrap();
        assert!(domain.is_published());
        domain.take_steps();
        buffer.write32(4, 1).unwrap();
        assert!(!domain.is_published());
        dma.read_barrier();
        assert!(!domain.is_published());
        dma.write_barrier();
        assert!(domain.is_published());
        let steps = [Step::Write(buffer.iova() + 4, 4), Step::ReadBarrier, Step::WriteBarrier];
        assert_eq!(domain.take_steps(), steps);
    }
}
