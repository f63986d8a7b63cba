//! The guest's base address registers, and which pages of them it reaches itself.

use pci::bar::{BarKind, register};
use spec::address::PAGE_BYTES;
use spec::pci_config::{bar, command};
use spec::{Gpa, Hpa, Width};

use crate::image::ConfigImage;

/// How many places for BARs a function has: six BARs and the expansion ROM.
pub const BARS: usize = 7;

/// One BAR of a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bar {
    /// What it decodes.
    pub kind: BarKind,
    /// Bytes (or ports) it decodes, a power of two.
    pub size: u64,
    /// Where the machine has it; `None` for the registers of an emulated function. A port number
    /// for [`BarKind::Io`].
    pub host: Option<Hpa>,
    /// Where the guest has it, whether decoded or not. A port number for
    /// [`BarKind::Io`].
    pub gpa: Gpa,
    /// Whether the guest has its decode on, so that it takes accesses at `gpa`.
    pub decoded: bool,
}

impl Bar {
    /// The address that the guest decodes it at; `None` while its decode is off.
    pub fn decoded_at(&self) -> Option<Gpa> {
        self.decoded.then_some(self.gpa)
    }
}

/// A range of whole pages of a BAR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageRange {
    /// Bytes from the start of the BAR, a multiple of 4 KiB.
    pub offset: u64,
    /// Length in bytes, a multiple of 4 KiB.
    pub bytes: u64,
}

/// The pages of a BAR that may be mapped into the guest: all but those that hold
/// any byte of a trapped region. Made by [`crate::PciFunction::direct_ranges`].
pub struct DirectRanges<'a> {
    trapped: &'a [TrappedRegion],
    bar: u8,
    at: u64,
    end: u64,
}

impl<'a> DirectRanges<'a> {
    /// The pages of the first `end` bytes of BAR number `bar` that are outside of `trapped`.
    pub(crate) fn new(trapped: &'a [TrappedRegion], bar: u8, end: u64) -> Self {
        Self { trapped, bar, at: 0, end }
    }
}

impl Iterator for DirectRanges<'_> {
    type Item = PageRange;

    fn next(&mut self) -> Option<PageRange> {
        // Each trapped region can move the start once: bounded by their number.
        for _ in 0..=self.trapped.len() {
            if self.at >= self.end {
                return None;
            }
            let (mut next, mut behind) = (self.end, None);
            for region in self.trapped.iter().filter(|region| region.bar == self.bar) {
                let start = region.offset & !(PAGE_BYTES - 1);
                let end = region.offset.saturating_add(region.bytes).saturating_add(PAGE_BYTES - 1);
                let end = end & !(PAGE_BYTES - 1);
                if (start..end).contains(&self.at) {
                    behind = Some(end);
                } else if start > self.at {
                    next = next.min(start);
                }
            }
            match behind {
                Some(behind) => self.at = behind,
                None => {
                    let range = PageRange { offset: self.at, bytes: next - self.at };
                    self.at = next;
                    return Some(range);
                }
            }
        }
        None
    }
}

/// Part of a BAR whose accesses must come to the hypervisor: never mapped into the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrappedRegion {
    /// Number of the BAR.
    pub bar: u8,
    /// Bytes from the start of the BAR.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// The guest's BARs: which there are. Their addresses are in the image.
#[derive(Clone, Copy, Debug)]
pub struct GuestBars {
    bars: [Option<(BarKind, u64, Option<Hpa>)>; BARS],
}

impl GuestBars {
    /// No BARs.
    pub const fn none() -> Self {
        Self { bars: [None; BARS] }
    }

    /// Lays a BAR into the image: its flags, and as writable the address bits
    /// above its size. `size` is a power of two of at least 16 bytes (4 ports, 2
    /// KiB of ROM); `host` is where the machine has it. A number that no BAR has is
    /// ignored.
    pub fn add(&mut self, image: &mut ConfigImage, number: u8, kind: BarKind, size: u64, host: Option<Hpa>) {
        let Some(place) = self.bars.get_mut(usize::from(number)) else { return };
        *place = Some((kind, size, host));
        let at = register(number);
        let mask = !(size.wrapping_sub(1));
        let (flags, writable) = match kind {
            BarKind::Io => (bar::IO, mask as u32 & !bar::IO_FLAGS),
            BarKind::Memory32 { prefetchable } => {
                (prefetchable_flag(prefetchable), mask as u32 & !bar::MEMORY_FLAGS)
            }
            BarKind::Memory64 { prefetchable } => {
                image.set(at + 4, Width::Dword, 0);
                image.let_write(at + 4, Width::Dword, (mask >> 32) as u32);
                (bar::TYPE_64 | prefetchable_flag(prefetchable), mask as u32 & !bar::MEMORY_FLAGS)
            }
            BarKind::Rom => (0, mask as u32 & !bar::ROM_FLAGS | bar::ROM_ENABLE),
        };
        image.set(at, Width::Dword, flags);
        image.let_write(at, Width::Dword, writable);
    }

    /// Where the machine has this BAR, if it is one of the machine's.
    pub fn host(&self, number: u8) -> Option<Hpa> {
        let (_, _, host) = (*self.bars.get(usize::from(number))?)?;
        host
    }

    /// The BARs as the image has them, with the decode bits of `command`.
    pub fn current(&self, image: &ConfigImage, command: u16) -> [Option<Bar>; BARS] {
        let mut bars = [None; BARS];
        for (number, (bar, place)) in (0_u8..).zip(self.bars.iter().zip(&mut bars)) {
            *place = bar.map(|(kind, size, host)| {
                let (gpa, decoded) = decode(image, number, kind, command);
                Bar { kind, size, host, gpa, decoded }
            });
        }
        bars
    }
}

/// Where the guest put a BAR, and whether it decodes it there.
fn decode(image: &ConfigImage, number: u8, kind: BarKind, command: u16) -> (Gpa, bool) {
    let low = image.get32(register(number));
    let memory = command & command::MEMORY_SPACE != 0;
    match kind {
        BarKind::Io => (Gpa((low & !bar::IO_FLAGS).into()), command & command::IO_SPACE != 0),
        BarKind::Memory32 { .. } => (Gpa((low & !bar::MEMORY_FLAGS).into()), memory),
        BarKind::Memory64 { .. } => {
            let high = image.get32(register(number) + 4);
            (Gpa(u64::from(high) << 32 | u64::from(low & !bar::MEMORY_FLAGS)), memory)
        }
        BarKind::Rom => (Gpa((low & !bar::ROM_FLAGS).into()), memory && low & bar::ROM_ENABLE != 0),
    }
}

const fn prefetchable_flag(prefetchable: bool) -> u32 {
    if prefetchable { bar::PREFETCHABLE } else { 0 }
}
