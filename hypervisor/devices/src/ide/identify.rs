//! What a disk says of itself (ATA/ATAPI-7 volume 1, section 6.17).

use super::geometry::Geometry;
use super::pio::MOST_BLOCK_SECTORS;
use super::unit::Unit;
use spec::ata::identify as at;

/// The 256 words of a device, as bytes; all of them 0 where there is none.
pub fn identify(unit: &Unit) -> [u8; at::BYTES] {
    let mut bytes = [0; at::BYTES];
    let &Unit { disk: Some(disk), multiple, geometry, .. } = unit else { return bytes };
    let mut word = |place: usize, value: u16| {
        if let Some(field) = bytes.get_mut(2 * place..2 * place + 2) {
            field.copy_from_slice(&value.to_le_bytes());
        }
    };
    text(&mut word, at::SERIAL, &disk.serial);
    text(&mut word, at::FIRMWARE, b"1.0     ");
    text(&mut word, at::MODEL, b"Bulkhead disk                           ");
    // Cylinders, heads and sectors: what there were at power-up, and what there are.
    word(1, Geometry::DEFAULT.cylinders(disk.sectors));
    word(3, Geometry::DEFAULT.heads());
    word(6, Geometry::DEFAULT.track_sectors());
    word(54, geometry.cylinders(disk.sectors));
    word(55, geometry.heads());
    word(56, geometry.track_sectors());
    let capacity = geometry.capacity(disk.sectors);
    word(57, capacity as u16);
    word(58, (capacity >> 16) as u16);
    word(47, 0x8000 | MOST_BLOCK_SECTORS as u16);
    if multiple != 0 {
        word(59, 0x100 | u16::from(multiple));
    }
    // PIO data of 32 bits at a time.
    word(48, 1);
    word(at::CAPABILITIES, at::DMA | at::LBA);
    // Words 54 to 58, 64 to 70 and 88 are valid; multi-word DMA 0 to 2; cycle times in ns; ATA-4 to ATA-7.
    word(53, 7);
    word(63, 7);
    word(64, 3);
    for place in 65..=68 {
        word(place, 120);
    }
    word(80, 0xf0);
    let short = disk.sectors.min(0x0fff_ffff);
    word(60, short as u16);
    word(61, (short >> 16) as u16);
    let sets = at::VALID | at::LBA48 | at::FLUSH | at::FLUSH_EXT;
    word(82, at::WRITE_CACHE);
    word(at::COMMAND_SETS, sets);
    word(84, at::VALID);
    word(at::COMMAND_SETS_ENABLED, at::WRITE_CACHE);
    word(86, at::LBA48 | at::FLUSH | at::FLUSH_EXT);
    word(87, at::VALID);
    // Ultra DMA 0 to 2, of which 2 is on.
    word(88, 0x0407);
    for part in 0..4 {
        word(at::BLOCKS + part, (disk.sectors >> (16 * part)) as u16);
    }
    bytes
}

fn text(word: &mut impl FnMut(usize, u16), place: usize, text: &[u8]) {
    for (index, pair) in text.chunks_exact(2).enumerate() {
        if let &[first, second] = pair {
            word(place + index, u16::from_be_bytes([first, second]));
        }
    }
}
