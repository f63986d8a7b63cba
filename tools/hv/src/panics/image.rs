//! What the call graph needs of the hypervisor's ELF: functions, their code, and constants.

use anyhow::{Context, Result, ensure};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags, SymbolKind, elf};

/// A function, from its symbol to the next one.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name, demangled, with neither hash nor generic arguments: what was made of one
    /// function for several types has one name.
    pub name: String,
    /// Address of its first byte.
    pub start: u64,
    /// Its bytes.
    pub code: Vec<u8>,
}

/// A section that is there at run time and is no code.
struct Data {
    start: u64,
    bytes: Vec<u8>,
}

/// The hypervisor's image.
pub struct Image {
    /// Its functions in the order of their addresses.
    pub functions: Vec<Function>,
    data: Vec<Data>,
}

/// Where the source may panic, as the compiler noted it for the message (`core::panic::Location`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file as the compiler was given it.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

impl Image {
    /// Reads an ELF.
    ///
    /// # Errors
    /// When `bytes` is no ELF with symbols.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let file = object::File::parse(bytes).context("not an ELF file")?;
        let mut image = Self { functions: Vec::new(), data: Vec::new() };
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
            if sh_flags & u64::from(elf::SHF_ALLOC) == 0 {
                continue;
            }
            let data = section.data().context("a section cannot be read")?;
            if sh_flags & u64::from(elf::SHF_EXECINSTR) == 0 {
                image.data.push(Data { start: section.address(), bytes: data.to_vec() });
            } else {
                image.functions.extend(functions(&file, section.address(), data));
            }
        }
        ensure!(!image.functions.is_empty(), "the ELF has no symbols of functions");
        image.functions.sort_by_key(|function| function.start);
        Ok(image)
    }

    /// An image of these functions and this data, for tests.
    #[cfg(test)]
    pub fn of(functions: Vec<Function>, start: u64, bytes: Vec<u8>) -> Self {
        Self { functions, data: vec![Data { start, bytes }] }
    }

    /// The function in which `address` is.
    pub fn owner(&self, address: u64) -> Option<usize> {
        let after = self.functions.partition_point(|function| function.start <= address);
        let index = after.checked_sub(1)?;
        let function = self.functions.get(index)?;
        (address - function.start < function.code.len() as u64).then_some(index)
    }

    /// The function that starts at `address`.
    pub fn starting_at(&self, address: u64) -> Option<usize> {
        self.functions.binary_search_by_key(&address, |function| function.start).ok()
    }

    /// All aligned words of the data, each of which may be a pointer.
    pub fn words(&self) -> impl Iterator<Item = u64> {
        self.data.iter().flat_map(|data| {
            let skipped = (data.start.wrapping_neg() & 7) as usize;
            let aligned = data.bytes.get(skipped..).unwrap_or_default();
            aligned
                .chunks_exact(8)
                .map(|bytes| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
        })
    }

    /// The word of the data at `address`.
    pub fn word(&self, address: u64) -> Option<u64> {
        let bytes = self.bytes(address, 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    fn bytes(&self, address: u64, length: u64) -> Option<&[u8]> {
        self.data.iter().find_map(|data| {
            let start = usize::try_from(address.checked_sub(data.start)?).ok()?;
            data.bytes.get(start..start.checked_add(usize::try_from(length).ok()?)?)
        })
    }

    /// The [`Location`] at `address`, if what is there can be one: a text that ends with `.rs`,
    /// a line, a column.
    pub fn location(&self, address: u64) -> Option<Location> {
        let length = self.word(address.checked_add(8)?).filter(|length| (4..1024).contains(length))?;
        let file = std::str::from_utf8(self.bytes(self.word(address)?, length)?).ok()?;
        let place = self.word(address.checked_add(16)?)?;
        let (line, column) = (place as u32, (place >> 32) as u32);
        let file = file.trim_end_matches('\0');
        let can_be = file.ends_with(".rs") && (1..200_000).contains(&line) && (1..2_000).contains(&column);
        can_be.then(|| Location { file: file.to_owned(), line, column })
    }
}

/// The functions of a section of code.
fn functions(file: &object::File, start: u64, code: &[u8]) -> Vec<Function> {
    let end = start + code.len() as u64;
    let mut symbols: Vec<(u64, &str)> = file
        .symbols()
        .filter(|symbol| {
            symbol.is_definition()
                && matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Label | SymbolKind::Unknown)
        })
        .filter(|symbol| (start..end).contains(&symbol.address()))
        .filter_map(|symbol| Some((symbol.address(), symbol.name().ok()?)))
        .filter(|(_, name)| !name.is_empty())
        .collect();
    symbols.sort_unstable();
    symbols.dedup_by_key(|(address, _)| *address);
    let ends = symbols.iter().skip(1).map(|(address, _)| *address).chain([end]).collect::<Vec<_>>();
    let pairs = symbols.iter().zip(ends);
    pairs
        .filter_map(|((from, name), to)| {
            let range = usize::try_from(from - start).ok()?..usize::try_from(to - start).ok()?;
            let name = without_arguments(&format!("{:#}", rustc_demangle::demangle(name)));
            Some(Function { name, start: *from, code: code.get(range)?.to_vec() })
        })
        .collect()
}

/// A name without the generic arguments in it: brackets that follow a name or `::`. Those of a
/// type (`<T as Trait>::f`) stay.
pub fn without_arguments(name: &str) -> String {
    let mut kept = String::new();
    let mut depth = 0_u32;
    let mut before = ' ';
    for character in name.chars() {
        let is_arrow = before == '-';
        match character {
            '<' if depth > 0 || before.is_alphanumeric() || matches!(before, '_' | ':') => depth += 1,
            '>' if depth > 0 && !is_arrow => depth -= 1,
            _ if depth == 0 => kept.push(character),
            _ => {}
        }
        before = character;
    }
    kept.replace("::::", "::").trim_end_matches("::").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_function_for_several_types_has_one_name() {
        let run = "<guest::processor::VirtualProcessor<machine::virt::svm::vcpu::SvmVcpu>>::run::<kernel::host::KernelHost>";
        assert_eq!(without_arguments(run), "<guest::processor::VirtualProcessor>::run");
        let cast = "<machine::memory::frames::Pool as access::frames::TableMemory<fn(u8) -> u8>>::free";
        assert_eq!(
            without_arguments(cast),
            "<machine::memory::frames::Pool as access::frames::TableMemory>::free"
        );
        assert_eq!(without_arguments("kernel::boot::run::{closure#2}"), "kernel::boot::run::{closure#2}");
        let slice = "<[machine::memory::memory_map::Range]>::copy_within::<core::ops::Range<usize>>";
        assert_eq!(without_arguments(slice), "<[machine::memory::memory_map::Range]>::copy_within");
    }

    #[test]
    fn a_location_is_a_text_and_two_numbers() {
        let mut bytes = b"a/b.rs\0\0".to_vec();
        for word in [0x1000_u64, 6, 12 | 5 << 32, 0x1000, 7, 12 | 5 << 32, 0x1000, 6, 0] {
            bytes.extend(word.to_le_bytes());
        }
        let image = Image::of(Vec::new(), 0x1000, bytes);
        let expected = Location { file: "a/b.rs".to_owned(), line: 12, column: 5 };
        assert_eq!(image.location(0x1008), Some(expected.clone()));
        assert_eq!(image.location(0x1020), Some(expected), "with the zero that newer compilers count");
        assert_eq!(image.location(0x1038), None, "no line");
        assert_eq!(image.location(0x1040), None);
        assert_eq!(image.location(0x9000), None);
        assert_eq!(image.words().next(), Some(u64::from_le_bytes(*b"a/b.rs\0\0")));
    }

    #[test]
    fn this_program_has_functions() {
        let own = std::fs::read(std::env::current_exe().expect("a path")).expect("readable");
        let image = Image::read(&own).expect("an ELF");
        let index = image.functions.iter().position(|f| f.name.ends_with("this_program_has_functions"));
        let function = &image.functions[index.expect("this one")];
        assert_eq!(image.owner(function.start + 1), index);
        assert_eq!(image.starting_at(function.start), index);
        assert!(image.functions.is_sorted_by_key(|function| function.start));
    }
}
