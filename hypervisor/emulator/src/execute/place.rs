//! Where an operand is in the guest's physical address space, and access to it.

use super::bus::Bus;
use super::outcome::{Outcome, Stop};
use super::processor::Processor;
use crate::walk::{Access, Walker};
use access::GuestMemory;
use access::vcpu::{ProcessorState, SegmentName};
use spec::{Gpa, Width};

/// The bus does not know yet.
pub(super) const WAITING: Stop = Stop::Outcome(Outcome::Waiting);

/// An operand whose segment and page checks have passed. It may cross from one page to
/// another, and so from memory to a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    start: Gpa,
    width: Width,
    /// Where it goes on after the end of the page, if it does.
    rest: Option<Gpa>,
}

/// Resolves the operand of `width` at `offset` in a segment.
#[inline]
pub(super) fn resolve<V: ProcessorState, M: GuestMemory>(
    vcpu: &V,
    walker: &mut Walker<M>,
    processor: &Processor,
    (segment, offset): (SegmentName, u64),
    width: Width,
    access: Access,
) -> Result<Place, Stop> {
    let linear = processor.linear(vcpu, segment, offset, width.bytes(), access)?;
    let start = walker.translate(&processor.paging, linear, access)?;
    let mut place = Place { start, width, rest: None };
    if (linear & 0xfff) + width.bytes() > 0x1000 {
        let mut next = (linear | 0xfff).wrapping_add(1);
        if !processor.is_64_bit() {
            next &= 0xffff_ffff;
        }
        place.rest = Some(walker.translate(&processor.paging, next, access)?);
    }
    Ok(place)
}

impl Place {
    /// Whether any of it is in the page of `fault`.
    #[inline]
    pub(super) fn touches(&self, fault: Gpa) -> bool {
        same_page(self.start, fault) || matches!(self.rest, Some(rest) if same_page(rest, fault))
    }

    /// Whether all of it is memory.
    pub(super) fn is_memory(&self, memory: &impl GuestMemory) -> bool {
        let mut byte = [0];
        memory.read(self.start, &mut byte).is_ok()
            && match self.rest {
                Some(rest) => memory.read(rest, &mut byte).is_ok(),
                None => true,
            }
    }

    /// Where it is, if it is in one page.
    #[inline]
    pub(super) fn in_one_page(&self) -> Option<Gpa> {
        if self.rest.is_none() { Some(self.start) } else { None }
    }

    /// Reads it, zero-extended.
    #[inline]
    pub(super) fn read<M: GuestMemory, B: Bus>(
        &self,
        memory: &M,
        bus: &mut B,
        fault: Gpa,
    ) -> Result<u64, Stop> {
        if self.rest.is_none() {
            return read_piece(memory, bus, fault, self.start, self.width).ok_or(WAITING);
        }
        let mut value = 0;
        for (index, gpa) in self.bytes() {
            let byte = read_piece(memory, bus, fault, gpa, Width::Byte).ok_or(WAITING)?;
            value |= byte << (8 * index);
        }
        Ok(value)
    }

    /// Writes it.
    #[inline]
    pub(super) fn write<M: GuestMemory, B: Bus>(&self, memory: &M, bus: &mut B, fault: Gpa, value: u64) {
        if self.rest.is_none() {
            return write_piece(memory, bus, fault, self.start, self.width, value & self.width.mask());
        }
        for (index, gpa) in self.bytes() {
            write_piece(memory, bus, fault, gpa, Width::Byte, value >> (8 * index) & 0xff);
        }
    }

    /// Its bytes one by one. What crosses a page is rare, and no device has registers
    /// there, so the order is all that is kept.
    fn bytes(&self) -> impl Iterator<Item = (u64, Gpa)> {
        let (start, rest) = (self.start, self.rest.unwrap_or_default());
        let first = 0x1000 - start.page_offset();
        (0..self.width.bytes())
            .map(move |index| (index, if index < first { start + index } else { rest + (index - first) }))
    }
}

#[inline]
fn same_page(a: Gpa, b: Gpa) -> bool {
    (a.0 ^ b.0) >> 12 == 0
}

#[inline]
fn read_piece<M: GuestMemory, B: Bus>(
    memory: &M,
    bus: &mut B,
    fault: Gpa,
    gpa: Gpa,
    width: Width,
) -> Option<u64> {
    if !same_page(gpa, fault) {
        let mut bytes = [0; 8];
        let (used, _) = bytes.split_at_mut(width.bytes() as usize);
        if memory.read(gpa, used).is_ok() {
            return Some(u64::from_le_bytes(bytes));
        }
    }
    bus.read(gpa, width).map(|value| value & width.mask())
}

#[inline]
fn write_piece<M: GuestMemory, B: Bus>(
    memory: &M,
    bus: &mut B,
    fault: Gpa,
    gpa: Gpa,
    width: Width,
    value: u64,
) {
    if !same_page(gpa, fault) {
        let bytes = value.to_le_bytes();
        let (used, _) = bytes.split_at(width.bytes() as usize);
        if memory.write(gpa, used).is_ok() {
            return;
        }
    }
    bus.write(gpa, width, value);
}
