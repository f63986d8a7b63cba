//! Little-endian fields of a table, each checked.

/// A field of `N` bytes at `offset`; `None` where the table ends before it does.
pub(crate) fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

/// `field!(table, Layout.field: u16)`: the field of a table where crate `acpi` has it; `None`
/// where the table ends before it does.
macro_rules! field {
    ($bytes:expr, $layout:ident.$($field:ident).+: $number:ty) => {
        crate::bytes::array($bytes, core::mem::offset_of!($layout, $($field).+)).map(<$number>::from_le_bytes)
    };
}
pub(crate) use field;

pub(crate) fn u8_at(bytes: &[u8], offset: usize) -> Option<u8> {
    bytes.get(offset).copied()
}

pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array(bytes, offset).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array(bytes, offset).map(u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    array(bytes, offset).map(u64::from_le_bytes)
}
