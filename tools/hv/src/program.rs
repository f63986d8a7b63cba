//! The program of compartments: from the linker's ELF to what a bundle has of it.

use anyhow::{Context, Result, ensure};
use handoff::Program;
use handoff::program::PAGE_BYTES;
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object as _, elf};

/// A part of the ELF: where it is in memory, what it begins as, and how many bytes it has there.
struct Part<'a> {
    address: u64,
    contents: &'a [u8],
    bytes: u64,
}

/// The program of an ELF that has instructions, constants and variables right behind one another, each at a page of
/// its own, and nothing else that is loaded.
///
/// # Errors
/// When the ELF is not like that.
pub fn flatten(bytes: &[u8]) -> Result<Vec<u8>> {
    let file = ElfFile64::<Endianness>::parse(bytes).context("not an ELF file")?;
    let endian = file.endian();
    let mut parts = Vec::new();
    for header in file.elf_program_headers().iter().filter(|header| header.p_type(endian) == elf::PT_LOAD) {
        let contents = header.data(endian, bytes).ok().context("a part is not in the file")?;
        let part = Part { address: header.p_vaddr(endian), contents, bytes: header.p_memsz(endian) };
        parts.push((header.p_flags(endian) & (elf::PF_R | elf::PF_W | elf::PF_X), part));
    }
    let entry = file.entry();
    let mut take = |flags, end| take(&mut parts, flags, end);
    let (text, end) = take(elf::PF_R | elf::PF_X, None)?;
    let address = text.address;
    ensure!(
        text.contents.len() as u64 == text.bytes,
        "its instructions end with zeros that are not in the file"
    );
    let (rodata, end) = take(elf::PF_R, Some(end))?;
    ensure!(
        rodata.contents.len() as u64 == rodata.bytes,
        "its constants end with zeros that are not in the file"
    );
    let (data, _) = take(elf::PF_R | elf::PF_W, Some(end))?;
    ensure!(parts.is_empty(), "it has parts that no compartment has");
    let stored = (data.contents.len() as u64).next_multiple_of(PAGE_BYTES);
    let zero_bytes = data.bytes.saturating_sub(stored);
    let program = Program {
        address,
        entry,
        text: text.contents,
        rodata: rodata.contents,
        data: data.contents,
        zero_bytes,
    };
    let bytes = program.to_bytes();
    // The hypervisor would say it too, later.
    Program::parse(&bytes, 0..u64::MAX).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(bytes)
}

/// Takes the part of these rights out of `parts`, which starts at `end` where that is given; and the page behind it.
/// One that is not there is empty.
fn take<'a>(parts: &mut Vec<(u32, Part<'a>)>, flags: u32, end: Option<u64>) -> Result<(Part<'a>, u64)> {
    let place = parts.iter().position(|(of, _)| *of == flags);
    let part = match (place, end) {
        (Some(place), _) => parts.swap_remove(place).1,
        (None, Some(end)) => Part { address: end, contents: &[], bytes: 0 },
        (None, None) => anyhow::bail!("it has no instructions"),
    };
    let Part { address, bytes, .. } = part;
    ensure!(address.is_multiple_of(PAGE_BYTES), "a part at {address:#x} is at no page");
    ensure!(end.is_none_or(|end| end == address), "a part at {address:#x} is not behind the one before it");
    let next = address.checked_add(bytes).and_then(|end| end.checked_next_multiple_of(PAGE_BYTES));
    Ok((part, next.context("a part is outside of the address space")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: u64 = 0x40_0000;

    /// An ELF with these parts: rights, address, contents and bytes in memory.
    fn elf(parts: &[(u32, u64, &[u8], u64)]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        bytes.extend([2, 0, 0x3e, 0, 1, 0, 0, 0]);
        bytes.extend([TEXT, 64, 0].iter().flat_map(|field| field.to_le_bytes()));
        bytes.extend([0, 0, 0, 0, 64, 0, 56, 0]);
        bytes.extend([parts.len() as u16, 64, 0, 0].iter().flat_map(|field| field.to_le_bytes()));
        let mut offset = (64 + 56 * parts.len()) as u64;
        for (flags, address, contents, memory) in parts {
            bytes.extend([elf::PT_LOAD, *flags].iter().flat_map(|field| field.to_le_bytes()));
            let sizes = [offset, *address, *address, contents.len() as u64, *memory, 4096];
            bytes.extend(sizes.iter().flat_map(|field| field.to_le_bytes()));
            offset += contents.len() as u64;
        }
        bytes.extend(parts.iter().flat_map(|(_, _, contents, _)| *contents));
        bytes
    }

    const X: u32 = elf::PF_R | elf::PF_X;
    const R: u32 = elf::PF_R;
    const W: u32 = elf::PF_R | elf::PF_W;

    #[test]
    fn parts_are_pages_and_zeros_are_counted() {
        let bytes = elf(&[
            (X, TEXT, &[0xc3; 5000], 5000),
            (R, TEXT + 0x2000, b"r", 1),
            (W, TEXT + 0x3000, b"w", 0x3001),
        ]);
        let flat = flatten(&bytes).expect("a program");
        let program = Program::parse(&flat, TEXT..TEXT + 0x10_0000).expect("a program");
        assert_eq!((program.address, program.entry), (TEXT, TEXT));
        assert_eq!((program.text.len(), program.rodata[0], program.data[0]), (0x2000, b'r', b'w'));
        // The first page of variables is in the file; the rest and one byte more are not.
        assert_eq!(program.zero_bytes, 0x3000);
        assert_eq!(program.memory_bytes(), Some(0x2000 + 0x1000 + 0x1000 + 0x3000));
    }

    #[test]
    fn zeros_alone_are_variables_too() {
        let flat = flatten(&elf(&[(X, TEXT, &[0xc3], 1), (W, TEXT + 0x1000, b"", 0x10)])).expect("a program");
        let program = Program::parse(&flat, TEXT..TEXT + 0x10_0000).expect("a program");
        assert_eq!((program.rodata, program.data, program.zero_bytes), (&b""[..], &b""[..], 0x1000));
    }

    #[test]
    fn what_is_linked_otherwise_is_refused() {
        let refused = |parts: &[_]| flatten(&elf(parts)).expect_err("refused").to_string();
        let text = (X, TEXT, &[0xc3][..], 1);
        assert!(refused(&[]).contains("no instructions"));
        assert!(refused(&[text, (R, TEXT + 0x2000, b"r", 1)]).contains("not behind"));
        assert!(refused(&[text, (R, TEXT + 0x1001, b"r", 1)]).contains("at no page"));
        assert!(refused(&[text, (X | W, TEXT + 0x1000, b"r", 1)]).contains("no compartment has"));
        assert!(refused(&[text, text]).contains("no compartment has"));
        assert!(refused(&[(X, TEXT, b"", 5000)]).contains("not in the file"));
        assert!(flatten(b"#!/bin/sh").expect_err("refused").to_string().contains("not an ELF"));
    }
}
