//! The lines of the source that an ELF's line table has: those of which there is code.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use gimli::{Dwarf, EndianSlice, LineProgramHeader, LineRow, LittleEndian, SectionId, Unit};
use object::{Object as _, ObjectSection as _, SectionKind};

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// Lines of which there is code, by files as the compiler was given them.
pub type Linked = BTreeMap<PathBuf, BTreeSet<u64>>;

/// Those of an ELF. What the linker threw away is not among them.
///
/// # Errors
/// When `elf` is no ELF with a line table.
pub fn read(elf: &[u8]) -> Result<Linked> {
    let file = object::File::parse(elf).context("not an ELF file")?;
    let section = |id: SectionId| {
        let section = file.section_by_name(id.name());
        let data = section.map(|section| section.data()).transpose()?.unwrap_or_default();
        Ok::<_, object::Error>(EndianSlice::new(data, LittleEndian))
    };
    let dwarf = Dwarf::load(section).context("its debug information cannot be read")?;
    let code: Vec<Range<u64>> = file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text)
        .map(|section| section.address()..section.address() + section.size())
        .collect();
    let mut linked = Linked::new();
    let mut units = dwarf.units();
    while let Some(header) = units.next()? {
        add_unit(&dwarf, &dwarf.unit(header)?, &code, &mut linked)?;
    }
    ensure!(!linked.is_empty(), "the ELF has no line table");
    Ok(linked)
}

fn add_unit(
    dwarf: &Dwarf<Bytes<'_>>,
    unit: &Unit<Bytes<'_>>,
    code: &[Range<u64>],
    linked: &mut Linked,
) -> Result<()> {
    let Some(program) = unit.line_program.clone() else { return Ok(()) };
    let mut names: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut rows = program.rows();
    while let Some((header, row)) = rows.next_row()? {
        // What was thrown away is at address 0.
        let is_there = !row.end_sequence() && code.iter().any(|range| range.contains(&row.address()));
        let Some(line) = row.line().filter(|_| is_there) else { continue };
        let name = match names.entry(row.file_index()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(name(dwarf, unit, header, row)?),
        };
        linked.entry(name.clone()).or_default().insert(line.get());
    }
    Ok(())
}

/// The file of a row, below the folder in which the compiler ran where it is there.
fn name(
    dwarf: &Dwarf<Bytes<'_>>,
    unit: &Unit<Bytes<'_>>,
    header: &LineProgramHeader<Bytes<'_>>,
    row: &LineRow,
) -> Result<PathBuf> {
    let file = row.file(header).context("a row of the line table has no file")?;
    let mut path = PathBuf::new();
    if let Some(folder) = file.directory(header).filter(|_| file.directory_index() != 0) {
        path.push(&*dwarf.attr_string(unit, folder)?.to_string_lossy());
    }
    path.push(&*dwarf.attr_string(unit, file.path_name())?.to_string_lossy());
    Ok(path.strip_prefix(".").map(PathBuf::from).unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_has_code_of_its_lines() {
        let own = std::fs::read(std::env::current_exe().expect("a path")).expect("readable");
        let here = u64::from(line!());
        let linked = read(&own).expect("a line table");
        let lines = &linked[std::path::Path::new(file!())];
        assert!(lines.contains(&(here - 1)) && lines.contains(&(here + 1)), "{lines:?}");
        let comments = include_str!("linked.rs").lines().zip(1_u64..);
        let mut comments = comments.filter(|(text, _)| text.trim_start().starts_with("//"));
        assert!(comments.all(|(_, line)| !lines.contains(&line)), "{lines:?}");
    }

    #[test]
    fn what_has_no_line_table_is_refused() {
        assert!(read(b"#!/bin/sh").is_err());
    }
}
