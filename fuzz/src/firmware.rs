//! ACPI tables in a memory image.

use crate::Input;
use platform::memory::MemoryImage;
use spec::Hpa;

/// Where the root pointer is.
pub const RSDP: Hpa = Hpa(0xf_5b20);
const ROOT: u64 = 0x7ffe_1000;
/// Tables follow the root table at odd addresses: nothing promises alignment.
const FIRST: u64 = 0x7ffe_2001;
/// Where the FADT of the seeds says that the DSDT is.
pub const DSDT: Hpa = Hpa(0x7fff_0000);
/// Signatures that are looked for; the last is nobody's.
pub const SIGNATURES: [&[u8; 4]; 9] =
    [b"APIC", b"MCFG", b"DMAR", b"HPET", b"FACP", b"SSDT", b"DSDT", b"IVRS", b"OEM1"];

/// Makes the bytes add up to 0 by the one at `at`.
fn seal(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    bytes[at] = bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
}

/// A table whose header says `length` bytes.
fn table(signature: &[u8; 4], length: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = signature.to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.resize(36, 0);
    bytes.extend(body);
    seal(&mut bytes, 9);
    bytes
}

/// Reads tables to the end of the input, and lists them in an XSDT. Each is a byte
/// for its signature, 2 for the length of its body, 2 that the length in its header
/// differs by, and the body.
pub fn tables(input: &mut Input<'_>) -> MemoryImage {
    let mut image = MemoryImage::default();
    let mut entries = Vec::new();
    let mut next = FIRST;
    while !input.is_empty() && entries.len() < 8 * 32 {
        let signature = input.pick(&SIGNATURES);
        let body = usize::from(input.u16());
        let lie = input.u16() as i16;
        let body = input.bytes(body);
        let length = (36 + body.len() as u32).wrapping_add_signed(lie.into());
        let hpa = if signature == b"DSDT" { DSDT } else { Hpa(next) };
        image.pieces.push((hpa, table(signature, length, body)));
        if signature != b"DSDT" {
            entries.extend(next.to_le_bytes());
            next += 0x10_0001;
        }
    }
    image.pieces.push((Hpa(ROOT), table(b"XSDT", 36 + entries.len() as u32, &entries)));
    let mut rsdp = b"RSD PTR \0BHKHD \x02".to_vec();
    rsdp.extend(0_u32.to_le_bytes());
    rsdp.extend(36_u32.to_le_bytes());
    rsdp.extend(ROOT.to_le_bytes());
    rsdp.resize(36, 0);
    seal(&mut rsdp[..20], 8);
    seal(&mut rsdp, 32);
    image.pieces.push((RSDP, rsdp));
    image
}
