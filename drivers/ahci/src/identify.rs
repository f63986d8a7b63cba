//! What a drive says of itself.

use crate::error::Error;
use access::DmaBuffer;
use block::{Geometry, Identity, Text};
use spec::ata::command;
use spec::ata::identify::*;

/// What the driver needs to know of a drive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    pub identity: Identity,
    pub geometry: Geometry,
    /// How many queued commands it has at a time; `None` where it has no queue.
    pub depth: Option<u32>,
    /// The command that flushes; `None` where there is nothing to flush and none.
    pub flush: Option<u8>,
}

/// Identify data, copied once.
struct Words([u8; BYTES]);

impl Words {
    fn field<const N: usize>(&self, number: usize) -> [u8; N] {
        self.0.get(2 * number..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
    }

    fn word(&self, number: usize) -> u16 {
        u16::from_le_bytes(self.field(number))
    }

    /// Whether all of `bits` are set.
    fn has(&self, number: usize, bits: u16) -> bool {
        self.word(number) & bits == bits
    }

    /// The same of a word that says by itself whether it says anything.
    fn has_valid(&self, number: usize, bits: u16) -> bool {
        self.word(number) & VALID_MASK == VALID && self.has(number, bits)
    }

    /// Text of `N` characters, of which the first of each word is in its high byte.
    fn text<const N: usize>(&self, number: usize) -> Text<N> {
        let mut text = self.field(number);
        text.chunks_exact_mut(2).for_each(<[u8]>::reverse);
        Text(text)
    }
}

/// Reads identify data out of `buffer` at `offset`.
pub(crate) fn facts<B: DmaBuffer>(buffer: &B, offset: usize) -> Result<Facts, Error> {
    let mut bytes = [0; BYTES];
    buffer.read(offset, &mut bytes)?;
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let words = Words(bytes);
    let [mark, _] = words.word(INTEGRITY).to_le_bytes();
    let geometry = geometry(&words)?;
    // Last, so that what nobody has written is told as what it says.
    if mark == CHECKED && sum != 0 {
        return Err(Error::Identify("what it says of itself has a wrong checksum"));
    }
    let (has_cache, flush) = (words.has(COMMAND_SETS_ENABLED, WRITE_CACHE), flush(&words));
    if has_cache && flush.is_none() {
        return Err(Error::Identify("it has a write cache, and no command that flushes it"));
    }
    // 0000h and ffffh are no capabilities.
    let is_serial_ata = !matches!(words.word(SATA_CAPABILITIES), 0 | u16::MAX);
    let has_queue = is_serial_ata && words.has(SATA_CAPABILITIES, NATIVE_QUEUING);
    Ok(Facts {
        identity: Identity {
            serial: words.text(SERIAL),
            model: words.text(MODEL),
            firmware: words.text(FIRMWARE),
        },
        geometry,
        depth: has_queue.then(|| u32::from(words.word(QUEUE_DEPTH) & 0x1f) + 1),
        flush,
    })
}

fn flush(words: &Words) -> Option<u8> {
    if words.has_valid(COMMAND_SETS, FLUSH_EXT) {
        Some(command::FLUSH_CACHE_EXT)
    } else {
        words.has_valid(COMMAND_SETS, FLUSH).then_some(command::FLUSH_CACHE)
    }
}

fn geometry(words: &Words) -> Result<Geometry, Error> {
    if words.has(GENERAL, NOT_ATA) {
        return Err(Error::Identify("it says that it is no ATA device"));
    }
    if words.has(GENERAL, INCOMPLETE) {
        return Err(Error::Identify("it is in standby until it is told to spin up"));
    }
    if words.has(SECURITY, LOCKED) {
        return Err(Error::Identify("it is locked by a password"));
    }
    if !words.has(CAPABILITIES, DMA | LBA) || !words.has_valid(COMMAND_SETS, LBA48) {
        return Err(Error::Identify("it has no DMA with 48-bit addresses"));
    }
    let blocks = u64::from_le_bytes(words.field(BLOCKS));
    if blocks == 0 || blocks > 1 << 48 {
        return Err(Error::Identify("it says to have no blocks, or more than 2^48"));
    }
    let block_words = if words.has_valid(BLOCK_SIZES, LARGE_BLOCKS) {
        u32::from_le_bytes(words.field(BLOCK_WORDS))
    } else {
        256
    };
    if !block_words.is_power_of_two() || !matches!(block_words, 256..=32768) {
        return Err(Error::Identify("its blocks have no power of two of bytes, 512 to 65536"));
    }
    let block_bytes = block_words * 2;
    if blocks.checked_mul(block_bytes.into()).is_none() {
        return Err(Error::Identify("it says to have 2^64 bytes or more"));
    }
    // What a drive of ATA reads after TRIM it chooses, so zeros are not written by it.
    let can_discard = words.has(DATA_SET_MANAGEMENT, TRIM);
    Ok(Geometry { blocks, block_bytes, is_read_only: false, can_discard, can_write_zeroes: false })
}
