//! The multiboot2 entry point (Multiboot2 Specification 2.0, section 3.6): the tags that
//! GRUB passes.

use bootloader_api::info::{FrameBufferInfo, PixelFormat};
use spec::Hpa;

use super::handoff::{EntryPoint, Framebuffer, Handoff, Physical, RSDP_BYTES, Rsdp};
use crate::memory::memory_map::Range;

const TAG_END: u32 = 0;
const TAG_COMMAND_LINE: u32 = 1;
const TAG_MODULE: u32 = 3;
const TAG_MEMORY_MAP: u32 = 6;
const TAG_FRAMEBUFFER: u32 = 8;
const TAG_RSDP_1: u32 = 14;
const TAG_RSDP_2: u32 = 15;

/// Reads the boot information at `info` into `handoff`; `None` where it is cut short.
/// A tag that makes no sense is passed over.
pub fn read(memory: &impl Physical, info: u64, handoff: &mut Handoff) -> Option<()> {
    let total = memory.u32(info)? as usize;
    let mut rest = memory.bytes(info, total)?.get(8..)?;
    handoff.entry_point = EntryPoint::Multiboot2;
    loop {
        let kind = number(rest, 0, 4)? as u32;
        let bytes = number(rest, 4, 4)? as usize;
        let body = rest.get(8..bytes)?;
        match kind {
            TAG_END => return Some(()),
            TAG_COMMAND_LINE => handoff.set_command_line(body),
            TAG_MODULE if handoff.ramdisk.is_none() => handoff.ramdisk = module(body),
            TAG_MEMORY_MAP => memory_map(body, handoff),
            TAG_FRAMEBUFFER => handoff.framebuffer = framebuffer(body),
            TAG_RSDP_1 if handoff.rsdp == Rsdp::Unknown => handoff.rsdp = rsdp(body),
            TAG_RSDP_2 => handoff.rsdp = rsdp(body),
            _ => {}
        }
        rest = rest.get(bytes.checked_next_multiple_of(8)?..)?;
    }
}

/// The little-endian number of `bytes` (at most 8) bytes at `offset`.
fn number(body: &[u8], offset: usize, bytes: usize) -> Option<u64> {
    let field = body.get(offset..offset.checked_add(bytes)?)?;
    Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn module(body: &[u8]) -> Option<Range> {
    let range = Range { start: Hpa(number(body, 0, 4)?), end: Hpa(number(body, 4, 4)?) };
    (range.bytes() > 0).then_some(range)
}

fn memory_map(body: &[u8], handoff: &mut Handoff) {
    // The specification lets entries grow: their size is told.
    let Some(entry_bytes) = number(body, 0, 4).filter(|bytes| *bytes >= 24) else { return };
    for entry in body.get(8..).unwrap_or(&[]).chunks_exact(entry_bytes as usize) {
        if let (Some(start), Some(bytes), Some(kind)) =
            (number(entry, 0, 8), number(entry, 8, 8), number(entry, 16, 4))
        {
            handoff.add_e820(start, bytes, kind as u32);
        }
    }
}

fn rsdp(body: &[u8]) -> Rsdp {
    let mut copy = [0; RSDP_BYTES];
    for (to, from) in copy.iter_mut().zip(body) {
        *to = *from;
    }
    Rsdp::Copy(copy)
}

/// A framebuffer with direct colours (type 1); text and palettes are not shown.
fn framebuffer(body: &[u8]) -> Option<Framebuffer> {
    let pitch = number(body, 8, 4)? as usize;
    let (width, height) = (number(body, 12, 4)? as usize, number(body, 16, 4)? as usize);
    let bits = number(body, 20, 1)?;
    let kind = number(body, 21, 1)?;
    let bytes_per_pixel = bits.div_ceil(8) as usize;
    if kind != 1 || !(3..=4).contains(&bytes_per_pixel) || width.checked_mul(bytes_per_pixel)? > pitch {
        return None;
    }
    let position = |offset| number(body, offset, 1).map(|bit| bit as u8);
    let pixel_format = match (position(24)?, position(26)?, position(28)?) {
        (16, 8, 0) => PixelFormat::Bgr,
        (0, 8, 16) => PixelFormat::Rgb,
        (red_position, green_position, blue_position) => {
            PixelFormat::Unknown { red_position, green_position, blue_position }
        }
    };
    // A pitch that is no whole number of dots cannot be told in `stride`.
    if !pitch.is_multiple_of(bytes_per_pixel) {
        return None;
    }
    let stride = pitch / bytes_per_pixel;
    let byte_len = pitch.checked_mul(height)?;
    let info = FrameBufferInfo { byte_len, width, height, pixel_format, bytes_per_pixel, stride };
    Some(Framebuffer { hpa: Hpa(number(body, 0, 8)?), info })
}

#[cfg(test)]
mod tests {
    use super::super::handoff::tests::Memory;
    use super::*;
    use proptest::prelude::*;
    use std::boxed::Box;
    use std::vec;
    use std::vec::Vec;

    fn information(tags: &[(u32, Vec<u8>)]) -> Memory {
        let mut bytes = vec![0; 8];
        for (kind, body) in tags.iter().chain([&(0, vec![])]) {
            bytes.extend(kind.to_le_bytes());
            bytes.extend((body.len() as u32 + 8).to_le_bytes());
            bytes.extend(body);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        Memory(bytes)
    }

    fn framebuffer_body(pitch: u32, width: u32, height: u32, bits: u8, kind: u8) -> Vec<u8> {
        let mut body = 0x40_8000_0000u64.to_le_bytes().to_vec();
        [pitch, width, height].iter().for_each(|field| body.extend(field.to_le_bytes()));
        body.extend([bits, kind, 0, 0, 16, 8, 8, 8, 0, 8]);
        body
    }

    #[test]
    fn reads_every_tag_it_knows_and_passes_over_the_rest() {
        let mut map = 24u32.to_le_bytes().to_vec();
        map.extend(0u32.to_le_bytes());
        for (start, bytes, kind) in
            [(0u64, 0x9_f000u64, 1u32), (1 << 32, 1 << 30, 1), (0xf_0000, 0x1_0000, 2)]
        {
            map.extend(start.to_le_bytes());
            map.extend(bytes.to_le_bytes());
            map.extend(kind.to_le_bytes());
            map.extend([0; 4]);
        }
        let mut module = 0x123_4000u32.to_le_bytes().to_vec();
        module.extend(0x200_0001u32.to_le_bytes());
        module.extend(b"bundle\0");
        let memory = information(&[
            (99, vec![1, 2, 3]),
            (TAG_COMMAND_LINE, b"a b\0".to_vec()),
            (TAG_MODULE, module),
            (TAG_MEMORY_MAP, map),
            (TAG_FRAMEBUFFER, framebuffer_body(8192, 1920, 1080, 32, 1)),
            (TAG_RSDP_2, vec![7; 36]),
            (TAG_RSDP_1, vec![8; 20]),
        ]);
        let mut handoff = Box::new(Handoff::new());
        read(&memory, 0, &mut handoff).expect("sound");
        assert_eq!(handoff.command_line(), "a b");
        assert_eq!(handoff.ramdisk, Some(Range { start: Hpa(0x123_4000), end: Hpa(0x200_0001) }));
        assert_eq!(handoff.regions().len(), 3);
        assert_eq!(handoff.regions()[1].end, (1 << 32) + (1 << 30));
        assert_eq!(handoff.rsdp, Rsdp::Copy([7; 36]));
        let framebuffer = handoff.framebuffer.expect("a framebuffer");
        assert_eq!((framebuffer.hpa, framebuffer.info.stride), (Hpa(0x40_8000_0000), 2048));
        assert_eq!(framebuffer.info.pixel_format, PixelFormat::Bgr);
    }

    #[test]
    fn a_framebuffer_that_cannot_be_shown_is_none() {
        for body in [
            framebuffer_body(8192, 1920, 1080, 32, 2),
            framebuffer_body(1000, 1920, 1080, 32, 1),
            framebuffer_body(8192, 1920, 1080, 16, 1),
            framebuffer_body(5761, 1920, 1080, 24, 1),
            vec![0; 10],
        ] {
            assert!(framebuffer(&body).is_none());
        }
        assert_eq!(
            framebuffer(&framebuffer_body(5760, 1920, 1080, 24, 1)).map(|f| f.info.stride),
            Some(1920)
        );
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let memory = information(&[(TAG_COMMAND_LINE, b"text\0".to_vec())]);
        for length in 0..memory.0.len() {
            let mut cut = Memory(memory.0[..length].to_vec());
            assert_eq!(read(&cut, 0, &mut Handoff::new()), None);
            if let Some(total) = cut.0.get_mut(..4) {
                total.copy_from_slice(&(length as u32).to_le_bytes());
                assert_eq!(read(&cut, 0, &mut Handoff::new()), None);
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(tags in proptest::collection::vec(
            (0u32..20, proptest::collection::vec(any::<u8>(), 0..64)), 0..6), garbage: Vec<u8>)
        {
            let mut handoff = Box::new(Handoff::new());
            let _ = read(&information(&tags), 0, &mut handoff);
            let mut memory = information(&tags);
            memory.0.extend(&garbage);
            let total = memory.0.len() as u32;
            memory.0[..4].copy_from_slice(&total.to_le_bytes());
            for (at, byte) in garbage.iter().enumerate() {
                if let Some(slot) = memory.0.get_mut(8 + at * 5) {
                    *slot = *byte;
                }
            }
            let _ = read(&memory, 0, &mut handoff);
        }
    }
}
