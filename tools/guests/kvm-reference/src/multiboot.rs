//! Loading the guest by its multiboot 1 header (Multiboot Specification 0.6.96, section 3.1).

use anyhow::{Context, Result, ensure};

/// What a loader leaves in EAX.
pub const MAGIC: u32 = 0x2bad_b002;
const HEADER_MAGIC: u32 = 0x1bad_b002;
/// The header stands in this many first bytes of the image.
const SEARCHED: usize = 8192;
/// Header flag 16: the header has the addresses.
const HAS_ADDRESSES: u32 = 1 << 16;

/// Where the loader's information goes (gpa); the command line follows it.
const INFORMATION: usize = 0x7000;
const COMMAND_LINE: usize = 0x7100;
/// Longest command line, up to the page's end.
const LONGEST: usize = 0xeff;
/// Information flags 0 and 2: memory sizes, command line.
const FLAGS: u32 = 1 << 0 | 1 << 2;
const LOW_KIB: u32 = 640;

/// What the first processor starts with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// EIP.
    pub address: u32,
    /// EBX.
    pub information: u32,
}

/// Puts `image` and what its loader tells it into `memory`, which starts at gpa 0.
pub fn load(image: &[u8], command_line: &str, memory: &mut [u8]) -> Result<Entry> {
    let at = (0..image.len().min(SEARCHED)).step_by(4).find(|at| long(image, *at) == Some(HEADER_MAGIC));
    let at = at.context("the guest has no multiboot header")?;
    let field = |index: usize| long(image, at + 4 * index).context("the multiboot header is cut off");
    let (flags, header, load, load_end, bss_end, entry) =
        (field(1)?, field(3)?, field(4)?, field(5)?, field(6)?, field(7)?);
    ensure!(flags & HAS_ADDRESSES != 0, "the multiboot header has no addresses");

    // The header's own address says which byte of the file is the first to be loaded.
    let before = header.checked_sub(load).context("the header is not in what is loaded")?;
    let first = at.checked_sub(before as usize).context("the image starts before its file")?;
    let bytes = load_end.checked_sub(load).context("the image ends before it starts")? as usize;
    let source = image.get(first..).and_then(|rest| rest.get(..bytes)).context("the image is cut off")?;
    ensure!((bss_end as usize) < memory.len(), "the guest does not fit into its memory");
    put(memory, load as usize, source)?;

    ensure!(command_line.len() <= LONGEST, "the command line is too long");
    put(memory, COMMAND_LINE, command_line.as_bytes())?;
    let high_kib = u32::try_from(memory.len() / 1024).context("too much memory")?.saturating_sub(1024);
    let information = [FLAGS, LOW_KIB, high_kib, 0, COMMAND_LINE as u32];
    for (index, value) in information.into_iter().enumerate() {
        put(memory, INFORMATION + 4 * index, &value.to_le_bytes())?;
    }
    Ok(Entry { address: entry, information: INFORMATION as u32 })
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn put(memory: &mut [u8], gpa: usize, bytes: &[u8]) -> Result<()> {
    let place = memory.get_mut(gpa..).and_then(|rest| rest.get_mut(..bytes.len()));
    place.context("outside the guest's memory")?.copy_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with 16 bytes before what is loaded, the header 8 bytes into that, and 4 bytes of text.
    fn file(load_end: u32) -> Vec<u8> {
        let header = [HEADER_MAGIC, HAS_ADDRESSES, 0, 0x10_0008, 0x10_0000, load_end, 0x10_1000, 0x10_0028];
        let mut bytes = vec![0xee; 24];
        bytes.extend(header.iter().flat_map(|field| field.to_le_bytes()));
        bytes.extend(b"text");
        bytes
    }

    #[test]
    fn what_is_loaded_starts_where_the_header_says() {
        let mut memory = vec![0; 0x20_0000];
        let entry = load(&file(0x10_002c), "bench", &mut memory).expect("loaded");
        assert_eq!(entry, Entry { address: 0x10_0028, information: 0x7000 });
        assert_eq!(&memory[0x10_0028..0x10_002d], b"text\0");
        assert_eq!(long(&memory, 0x10_0008), Some(HEADER_MAGIC));
        assert_eq!((long(&memory, 0x7000), long(&memory, 0x7008)), (Some(5), Some(1024)));
        assert_eq!(&memory[0x7100..0x7106], b"bench\0");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut memory = vec![0; 0x20_0000];
        for (image, reason) in [
            (vec![0; 64], "no multiboot header"),
            (file(0x10_0030), "cut off"),
            (file(0xf_0000), "ends before it starts"),
        ] {
            let error = load(&image, "", &mut memory).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(load(&file(0x10_002c), "", &mut [0; 4096]).is_err(), "memory is too small");
        assert!(load(&file(0x10_002c), &"x".repeat(4096), &mut memory).is_err());
    }
}
