//! The PVH entry point: Xen's start information (xen/include/public/arch-x86/hvm/start_info.h),
//! which QEMU passes to a kernel with a PVH note.

use spec::Hpa;

use super::handoff::{EntryPoint, Handoff, Physical, Rsdp};
use crate::memory::memory_map::Range;

const MAGIC: u32 = 0x336e_c578;
/// More entries than this are no memory map.
const MAX_ENTRIES: u64 = 4096;

/// Reads the start information at `info` into `handoff`; `None` where it is none or
/// points outside of what the entry point can see. The memory map must be there; the rest
/// is taken as far as it goes.
pub fn read(memory: &impl Physical, info: u64, handoff: &mut Handoff) -> Option<()> {
    if memory.u32(info)? != MAGIC || memory.u32(info + 4)? < 1 {
        return None;
    }
    handoff.entry_point = EntryPoint::Pvh;
    let entries = u64::from(memory.u32(info + 48)?).min(MAX_ENTRIES);
    let map = memory.u64(info + 40)?;
    for entry in 0..entries {
        let at = map.checked_add(entry * 24)?;
        handoff.add_e820(memory.u64(at)?, memory.u64(at + 8)?, memory.u32(at + 16)?);
    }
    let rsdp = memory.u64(info + 32)?;
    handoff.rsdp = if rsdp == 0 { Rsdp::Unknown } else { Rsdp::At(Hpa(rsdp)) };
    if memory.u32(info + 12)? > 0 {
        let module = memory.u64(info + 16)?;
        handoff.ramdisk = memory
            .u64(module)
            .zip(memory.u64(module.saturating_add(8)))
            .map(|(start, bytes)| Range::new(Hpa(start), bytes))
            .filter(|range| range.bytes() > 0);
    }
    read_command_line(memory, memory.u64(info + 24)?, handoff);
    Some(())
}

fn read_command_line(memory: &impl Physical, at: u64, handoff: &mut Handoff) {
    let longest = super::handoff::COMMAND_LINE_BYTES;
    if at != 0
        && let Some(text) = memory.bytes(at, longest)
    {
        handoff.set_command_line(text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::handoff::tests::Memory;
    use super::*;
    use std::boxed::Box;
    use std::vec;

    fn put(memory: &mut Memory, at: usize, value: u64, bytes: usize) {
        memory.0[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
    }

    fn sample() -> Memory {
        let mut memory = Memory(vec![0; 0x4000]);
        put(&mut memory, 0x100, MAGIC.into(), 4);
        put(&mut memory, 0x104, 1, 4);
        put(&mut memory, 0x10c, 1, 4);
        put(&mut memory, 0x110, 0x200, 8); // modules
        put(&mut memory, 0x118, 0x300, 8); // command line
        put(&mut memory, 0x120, 0xf_5678, 8); // RSDP
        put(&mut memory, 0x128, 0x400, 8); // memory map
        put(&mut memory, 0x130, 2, 4);
        put(&mut memory, 0x200, 0x1234_5000, 8);
        put(&mut memory, 0x208, 0x1801, 8);
        memory.0[0x300..0x305].copy_from_slice(b"quiet");
        put(&mut memory, 0x408, 0x9_fc00, 8);
        put(&mut memory, 0x410, 1, 4);
        put(&mut memory, 0x418, 0x9_fc00, 8);
        put(&mut memory, 0x420, 0x400, 8);
        put(&mut memory, 0x428, 2, 4);
        memory
    }

    #[test]
    fn reads_everything() {
        let mut handoff = Box::new(Handoff::new());
        read(&sample(), 0x100, &mut handoff).expect("sound");
        assert_eq!(handoff.regions().len(), 2);
        assert_eq!(handoff.regions()[0].end, 0x9_fc00);
        assert_eq!(handoff.rsdp, Rsdp::At(Hpa(0xf_5678)));
        assert_eq!(handoff.ramdisk, Some(Range { start: Hpa(0x1234_5000), end: Hpa(0x1234_6801) }));
        assert_eq!(handoff.command_line(), "quiet");
    }

    #[test]
    fn refuses_another_magic_and_pointers_out_of_sight() {
        let mut handoff = Box::new(Handoff::new());
        let mut memory = sample();
        put(&mut memory, 0x128, u64::MAX - 8, 8);
        assert_eq!(read(&memory, 0x100, &mut handoff), None);
        put(&mut memory, 0x100, 0, 4);
        assert_eq!(read(&memory, 0x100, &mut handoff), None);
        assert_eq!(read(&memory, u64::MAX - 2, &mut handoff), None);
    }

    #[test]
    fn lives_without_module_and_command_line() {
        let mut handoff = Box::new(Handoff::new());
        let mut memory = sample();
        put(&mut memory, 0x110, 1 << 50, 8);
        put(&mut memory, 0x118, 1 << 50, 8);
        read(&memory, 0x100, &mut handoff).expect("sound enough");
        assert_eq!((handoff.ramdisk, handoff.command_line()), (None, ""));
    }
}
