//! Names for code addresses, for backtraces.
//!
//! The tool that packs the hypervisor makes the table from the ELF's symbols. All
//! numbers are little-endian:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | number of symbols, `n` |
//! | 8 | 16 n | per symbol, ascending by address: address (8 bytes), offset of the name from the end of these entries (4), its length (4) |
//! | 8 + 16 n | | the names, UTF-8, already demangled |

/// A table of symbols.
#[derive(Clone, Copy)]
pub struct Symbols<'a> {
    entries: &'a [[u8; 16]],
    names: &'a [u8],
}

impl<'a> Symbols<'a> {
    /// The table in `bytes`; `None` if it is cut short.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk::<8>()?;
        let count = usize::try_from(u64::from_le_bytes(*count)).ok()?;
        let (entries, names) = rest.split_at_checked(count.checked_mul(16)?)?;
        Some(Self { entries: entries.as_chunks::<16>().0, names })
    }

    /// The symbol that `address` is in (the last that begins at or before it) and how
    /// far in. Entries that are not sorted or point outside cost only their names.
    pub fn find(&self, address: u64) -> Option<(&'a str, u64)> {
        let after = self.entries.partition_point(|entry| start_of(entry) <= address);
        let entry = self.entries.get(after.checked_sub(1)?)?;
        let field = |at: usize| {
            entry.get(at..at + 4)?.try_into().ok().map(|bytes| u32::from_le_bytes(bytes) as usize)
        };
        let (offset, length) = (field(8)?, field(12)?);
        let name = self.names.get(offset..offset.checked_add(length)?)?;
        Some((core::str::from_utf8(name).ok()?, address.checked_sub(start_of(entry))?))
    }
}

fn start_of(entry: &[u8; 16]) -> u64 {
    entry.iter().take(8).rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

static TABLE: spin::Once<&'static [u8]> = spin::Once::new();

/// Gives the panic report the names. Only the first call counts; false if `table` is
/// no table.
pub fn set_symbols(table: &'static [u8]) -> bool {
    if Symbols::parse(table).is_none() {
        return false;
    }
    TABLE.call_once(|| table);
    true
}

/// The symbol that `address` is in, once [`set_symbols`] was called.
pub fn find(address: u64) -> Option<(&'static str, u64)> {
    Symbols::parse(TABLE.get()?)?.find(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn table(symbols: &[(u64, &str)]) -> Vec<u8> {
        let mut bytes = (symbols.len() as u64).to_le_bytes().to_vec();
        let mut offset = 0u32;
        for (address, name) in symbols {
            bytes.extend(address.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            bytes.extend((name.len() as u32).to_le_bytes());
            offset += name.len() as u32;
        }
        symbols.iter().for_each(|(_, name)| bytes.extend(name.as_bytes()));
        bytes
    }

    #[test]
    fn finds_the_symbol_before_an_address() {
        let bytes = table(&[(0x1000, "one"), (0x1010, "two::three")]);
        let symbols = Symbols::parse(&bytes).expect("a table");
        assert_eq!(symbols.find(0xfff), None);
        assert_eq!(symbols.find(0x1000), Some(("one", 0)));
        assert_eq!(symbols.find(0x100f), Some(("one", 15)));
        assert_eq!(symbols.find(u64::MAX), Some(("two::three", u64::MAX - 0x1010)));
    }

    #[test]
    fn a_broken_table_gives_no_names_and_no_panic() {
        let bytes = table(&[(0x1000, "one"), (0x1010, "two")]);
        for length in 0..bytes.len() {
            if let Some(symbols) = Symbols::parse(&bytes[..length]) {
                assert_eq!(symbols.find(0x1010), None);
            }
        }
        let mut wrong = bytes.clone();
        wrong[16..24].fill(0xff);
        assert_eq!(Symbols::parse(&wrong).expect("long enough").find(0x1000), None);
        wrong[..8].fill(0xff);
        assert!(Symbols::parse(&wrong).is_none());
    }
}
