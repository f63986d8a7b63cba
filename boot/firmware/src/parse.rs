//! Checked reads from a file: `None` where it ends before.

/// `count` bytes at `offset`.
pub(crate) fn slice(file: &[u8], offset: u64, count: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(count).ok()?)?;
    file.get(start..end)
}

fn array<const N: usize>(file: &[u8], offset: u64) -> Option<[u8; N]> {
    slice(file, offset, N as u64)?.try_into().ok()
}

/// The byte at `offset`.
pub(crate) fn u8_at(file: &[u8], offset: u64) -> Option<u8> {
    array::<1>(file, offset).map(u8::from_le_bytes)
}

/// The 2 bytes at `offset`, little-endian.
pub(crate) fn u16_at(file: &[u8], offset: u64) -> Option<u16> {
    array(file, offset).map(u16::from_le_bytes)
}

/// The 4 bytes at `offset`, little-endian.
pub(crate) fn u32_at(file: &[u8], offset: u64) -> Option<u32> {
    array(file, offset).map(u32::from_le_bytes)
}

/// The 8 bytes at `offset`, little-endian.
pub(crate) fn u64_at(file: &[u8], offset: u64) -> Option<u64> {
    array(file, offset).map(u64::from_le_bytes)
}
