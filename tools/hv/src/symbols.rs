//! The hypervisor's symbols, for the backtrace that it prints when it panics. The format is the
//! one of `machine::symbols`: number of symbols, then per symbol its address, offset and length
//! of its name, then the names.

use anyhow::{Context, Result};
use object::{Object as _, ObjectSymbol as _, SymbolKind};

/// Makes the table from an ELF.
///
/// # Errors
/// When `elf` is no ELF or has more names than the format can hold.
pub fn table(elf: &[u8]) -> Result<Vec<u8>> {
    let file = object::File::parse(elf).context("not an ELF file")?;
    let mut symbols: Vec<(u64, String)> = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
        .filter_map(|symbol| Some((symbol.address(), demangled(symbol.name().ok()?))))
        .filter(|(_, name)| !name.is_empty())
        .collect();
    symbols.sort();
    // Functions with the same code share one address; one name is enough.
    symbols.dedup_by_key(|(address, _)| *address);
    encode(&symbols)
}

fn encode(symbols: &[(u64, String)]) -> Result<Vec<u8>> {
    let mut bytes = (symbols.len() as u64).to_le_bytes().to_vec();
    let mut names: Vec<u8> = Vec::new();
    for (address, name) in symbols {
        let offset = u32::try_from(names.len()).context("the names of the symbols exceed 4 GiB")?;
        let length = u32::try_from(name.len()).context("the name of a symbol exceeds 4 GiB")?;
        bytes.extend(address.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        names.extend(name.as_bytes());
    }
    bytes.extend(names);
    Ok(bytes)
}

/// Without the hash at the end, which says nothing to a reader.
fn demangled(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stand_before_the_names() {
        let symbols = [(0x1000, "one".to_owned()), (0x1010, "two::three".to_owned())];
        let bytes = encode(&symbols).expect("short names");
        assert_eq!(bytes.len(), 8 + 2 * 16 + 3 + 10);
        assert_eq!(bytes[..8], 2_u64.to_le_bytes());
        assert_eq!(bytes[8..16], 0x1000_u64.to_le_bytes());
        assert_eq!(bytes[24..32], 0x1010_u64.to_le_bytes());
        assert_eq!(bytes[32..36], 3_u32.to_le_bytes());
        assert_eq!(&bytes[40..], b"onetwo::three");
    }

    #[test]
    fn names_are_demangled_and_lose_their_hash() {
        assert_eq!(demangled("_ZN6kernel4main17h0123456789abcdefE"), "kernel::main");
        assert_eq!(demangled("memcpy"), "memcpy");
    }

    #[test]
    fn an_elf_gives_sorted_addresses() {
        let own = std::fs::read(std::env::current_exe().expect("a path")).expect("readable");
        let bytes = table(&own).expect("an ELF");
        let count =
            usize::try_from(u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"))).expect("fits");
        assert!(count > 100);
        let addresses: Vec<u64> = bytes[8..8 + 16 * count]
            .chunks_exact(16)
            .map(|entry| u64::from_le_bytes(entry[..8].try_into().expect("8 bytes")))
            .collect();
        assert!(addresses.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn what_is_no_elf_is_refused() {
        assert!(table(b"#!/bin/sh").is_err());
    }
}
