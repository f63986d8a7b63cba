//! What every entry point hands over to the common start.

use bootloader_api::info::{FrameBufferInfo, MemoryRegion, MemoryRegionKind};
use spec::Hpa;

use crate::memory::memory_map::Range;

/// Regions of memory that a hand-off can hold. A longer map loses usable regions,
/// smallest first, never reserved ones.
pub const REGIONS: usize = 1024;
/// Bytes of the command line that are kept.
pub const COMMAND_LINE_BYTES: usize = 1024;
/// Bytes of an RSDP of revision 2 (ACPI specification section 5.2.5.3).
pub const RSDP_BYTES: usize = 36;

/// Which entry point the loader called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryPoint {
    /// `qemu -kernel`, Xen: the PVH entry.
    Pvh,
    /// GRUB: multiboot2.
    Multiboot2,
    /// The `bootloader` crate: BIOS, UEFI and PXE images.
    Bootloader,
}

impl core::fmt::Display for EntryPoint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Pvh => "its PVH note",
            Self::Multiboot2 => "multiboot2",
            Self::Bootloader => "the bootloader crate",
        })
    }
}

/// Where the ACPI root pointer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rsdp {
    /// The loader did not say.
    Unknown,
    /// In memory.
    At(Hpa),
    /// A copy that the loader passed along.
    Copy([u8; RSDP_BYTES]),
}

/// A framebuffer that firmware or the loader set up.
#[derive(Clone, Copy, Debug)]
pub struct Framebuffer {
    /// Its first byte.
    pub hpa: Hpa,
    /// Its geometry.
    pub info: FrameBufferInfo,
}

/// Physical memory as an entry point sees it before the hypervisor has its own tables.
pub trait Physical {
    /// `bytes` bytes at `hpa`; `None` where the entry point cannot see that far.
    fn bytes(&self, hpa: u64, bytes: usize) -> Option<&[u8]>;

    /// A little-endian number of 4 bytes.
    fn u32(&self, hpa: u64) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(hpa, 4)?.try_into().ok()?))
    }
    /// A little-endian number of 8 bytes.
    fn u64(&self, hpa: u64) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(hpa, 8)?.try_into().ok()?))
    }
}

/// Everything that a loader tells, copied out of the loader's memory.
pub struct Handoff {
    /// The entry point.
    pub entry_point: EntryPoint,
    regions: [MemoryRegion; REGIONS],
    region_count: usize,
    /// Regions that did not fit.
    pub regions_lost: usize,
    /// The bundle.
    pub ramdisk: Option<Range>,
    /// The ACPI root pointer.
    pub rsdp: Rsdp,
    /// The framebuffer.
    pub framebuffer: Option<Framebuffer>,
    command_line: [u8; COMMAND_LINE_BYTES],
    command_line_bytes: usize,
}

impl Handoff {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self {
            entry_point: EntryPoint::Pvh,
            regions: [MemoryRegion::empty(); REGIONS],
            region_count: 0,
            regions_lost: 0,
            ramdisk: None,
            rsdp: Rsdp::Unknown,
            framebuffer: None,
            command_line: [0; COMMAND_LINE_BYTES],
            command_line_bytes: 0,
        }
    }

    /// The memory map, in the loader's order.
    pub fn regions(&self) -> &[MemoryRegion] {
        self.regions.get(..self.region_count).unwrap_or(&[])
    }

    /// Adds a region of memory.
    pub fn add_region(&mut self, region: MemoryRegion) {
        if let Some(slot) = self.regions.get_mut(self.region_count) {
            *slot = region;
            self.region_count += 1;
            return;
        }
        self.regions_lost += 1;
        if region.kind == MemoryRegionKind::Usable {
            return;
        }
        let usable = self.regions.iter_mut().filter(|old| old.kind == MemoryRegionKind::Usable);
        if let Some(smallest) = usable.min_by_key(|old| old.end.saturating_sub(old.start)) {
            *smallest = region;
        }
    }

    /// Adds a region in the numbering of the BIOS's E820 map: type 1 is usable
    /// (ACPI specification section 15.1).
    pub fn add_e820(&mut self, start: u64, bytes: u64, kind: u32) {
        let kind = if kind == 1 { MemoryRegionKind::Usable } else { MemoryRegionKind::UnknownBios(kind) };
        self.add_region(MemoryRegion { start, end: start.saturating_add(bytes), kind });
    }

    /// Takes memory out of the usable.
    pub fn reserve(&mut self, range: Range) {
        let kind = MemoryRegionKind::Bootloader;
        self.add_region(MemoryRegion { start: range.start.0, end: range.end.0, kind });
    }

    /// Keeps the command line: up to the first zero byte.
    pub fn set_command_line(&mut self, text: &[u8]) {
        let text = text.split(|byte| *byte == 0).next().unwrap_or(&[]);
        let bytes = text.len().min(COMMAND_LINE_BYTES);
        for (slot, byte) in self.command_line.iter_mut().zip(text) {
            *slot = *byte;
        }
        self.command_line_bytes = bytes;
    }

    /// The command line; empty if it is no text.
    pub fn command_line(&self) -> &str {
        let bytes = self.command_line.get(..self.command_line_bytes).unwrap_or(&[]);
        core::str::from_utf8(bytes).unwrap_or("")
    }
}

impl Default for Handoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::boxed::Box;
    use std::vec::Vec;

    /// Memory from hpa 0 in a vector.
    pub struct Memory(pub Vec<u8>);

    impl Physical for Memory {
        fn bytes(&self, hpa: u64, bytes: usize) -> Option<&[u8]> {
            let start = usize::try_from(hpa).ok()?;
            self.0.get(start..start.checked_add(bytes)?)
        }
    }

    #[test]
    fn a_map_that_is_too_long_loses_usable_regions_only() {
        let mut handoff = Box::new(Handoff::new());
        for index in 0..REGIONS as u64 {
            handoff.add_e820(index << 20, 0x1000 + index, 1);
        }
        handoff.add_e820(5 << 40, 0x1000, 1);
        handoff.add_e820(6 << 40, 0x1000, 2);
        assert_eq!(handoff.regions_lost, 2);
        let reserved: Vec<_> =
            handoff.regions().iter().filter(|r| r.kind != MemoryRegionKind::Usable).collect();
        assert_eq!(reserved.len(), 1);
        assert_eq!(reserved[0].start, 6 << 40);
        assert!(handoff.regions().iter().all(|r| r.start != 0));
    }

    #[test]
    fn the_command_line_ends_at_zero_and_is_text() {
        let mut handoff = Box::new(Handoff::new());
        handoff.set_command_line(b"quiet\0rest");
        assert_eq!(handoff.command_line(), "quiet");
        handoff.set_command_line(&[b'x'; 5000]);
        assert_eq!(handoff.command_line().len(), COMMAND_LINE_BYTES);
        handoff.set_command_line(&[0xff, 0xfe]);
        assert_eq!(handoff.command_line(), "");
    }
}
