//! A log of what a drive was told to write, as the Linux kernel's dm-log-writes and QEMU's
//! `blklogwrites` make it (Documentation/admin-guide/device-mapper/log-writes.rst): a superblock,
//! then for each request a header and its data, each in blocks of the same size.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

/// What the superblock begins with ("jsfwshr").
const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;

/// Flags of a header.
const FLUSH: u64 = 1 << 0;
const FUA: u64 = 1 << 1;
const DISCARD: u64 = 1 << 2;
const MARK: u64 = 1 << 3;

/// What a request was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Data, which may stay in the drive's cache.
    Write,
    /// Data that is on the medium when the request is over (Force Unit Access).
    ForcedWrite,
    /// All data before it is on the medium when the request is over. It has no data of its own:
    /// a write that was to be preceded by a flush is two entries here.
    Flush,
    /// The blocks may lose their contents.
    Discard,
    /// A remark of whoever wrote the log.
    Mark,
}

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What it was.
    pub kind: Kind,
    /// Which bytes of the drive it is about; empty for those that are about none.
    pub drive: Range<u64>,
    /// Where its data is in the log; empty for those without.
    data: Range<usize>,
}

/// A log, with all of its data.
pub struct WriteLog {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl WriteLog {
    /// Reads a log. What stands behind the entries that its superblock counts is not looked at:
    /// whoever wrote it had not come to count it.
    ///
    /// # Errors
    /// It is no such log, or it ends before its last entry does.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        ensure!(word(&bytes, 0)? == MAGIC, "this is no log of writes");
        let version = word(&bytes, 8)?;
        ensure!(version == VERSION, "a log of writes of version {version}");
        let count = word(&bytes, 16)?;
        let block = word(&bytes, 24)? & u64::from(u32::MAX);
        ensure!(block >= 512 && block.is_power_of_two(), "a log of writes with blocks of {block} bytes");
        let mut entries = Vec::new();
        let mut at = usize::try_from(block)?;
        for number in 0..count {
            let parsed = entry(&bytes, at, block);
            let (entry, next) = parsed.with_context(|| format!("entry {number} of {count}, byte {at:#x}"))?;
            entries.push(entry);
            at = next;
        }
        Ok(Self { bytes, entries })
    }

    /// The requests, in the order in which they were made.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What a request wrote.
    pub fn data(&self, entry: &Entry) -> &[u8] {
        self.bytes.get(entry.data.clone()).unwrap_or_default()
    }
}

/// The entry at byte `at`, and where the next one is.
fn entry(bytes: &[u8], at: usize, block: u64) -> Result<(Entry, usize)> {
    let [sector, sectors, flags, mark_bytes] = [0, 8, 16, 24].map(|offset| word(bytes, at + offset));
    let (sector, sectors, flags, mark_bytes) = (sector?, sectors?, flags?, mark_bytes?);
    let kind = match flags {
        0 => Kind::Write,
        FUA => Kind::ForcedWrite,
        FLUSH => Kind::Flush,
        DISCARD => Kind::Discard,
        MARK => Kind::Mark,
        _ => bail!("flags {flags:#x} mean nothing together"),
    };
    ensure!(kind != Kind::Flush || sectors == 0, "a flush with {sectors} sectors of data");
    let of_drive = |sectors: u64| sectors.checked_mul(block).context("beyond any drive's end");
    let drive = of_drive(sector)?..of_drive(sector.checked_add(sectors).context("beyond any drive's end")?)?;
    let data_bytes = match kind {
        Kind::Write | Kind::ForcedWrite => drive.end - drive.start,
        Kind::Mark => mark_bytes.checked_next_multiple_of(block).context("a mark without an end")?,
        Kind::Flush | Kind::Discard => 0,
    };
    let start = at + usize::try_from(block)?;
    let end = usize::try_from(data_bytes)?.checked_add(start).filter(|end| *end <= bytes.len());
    let end = end.context("the log ends before its data does")?;
    let data = if kind == Kind::Mark { start..start } else { start..end };
    let drive = if matches!(kind, Kind::Mark | Kind::Flush) { 0..0 } else { drive };
    Ok((Entry { kind, drive, data }, end))
}

/// The 64-bit word at byte `at`, with its low byte first.
fn word(bytes: &[u8], at: usize) -> Result<u64> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    found.copied().map(u64::from_le_bytes).context("the log ends before its entry does")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const BLOCK: usize = 512;

    /// A log under construction, of a drive with sectors of 512 bytes.
    pub(in super::super) struct Script(Vec<u8>);

    impl Script {
        pub(in super::super) fn new() -> Self {
            let mut block = vec![0; BLOCK];
            put(&mut block, &[MAGIC, VERSION, 0, BLOCK as u64]);
            Self(block)
        }

        fn add(mut self, words: [u64; 4], data: &[u8]) -> Self {
            let mut header = vec![0; BLOCK];
            put(&mut header, &words);
            self.0.extend(header);
            self.0.extend(data);
            let count = word(&self.0, 16).unwrap() + 1;
            self.0[16..24].copy_from_slice(&count.to_le_bytes());
            self
        }

        pub(in super::super) fn write(self, sector: u64, data: &[u8]) -> Self {
            self.add([sector, (data.len() / BLOCK) as u64, 0, 0], data)
        }

        pub(in super::super) fn forced(self, sector: u64, data: &[u8]) -> Self {
            self.add([sector, (data.len() / BLOCK) as u64, FUA, 0], data)
        }

        pub(in super::super) fn flush(self) -> Self {
            self.add([0, 0, FLUSH, 0], &[])
        }

        pub(in super::super) fn parse(self) -> Result<WriteLog> {
            WriteLog::parse(self.0)
        }
    }

    fn put(block: &mut [u8], words: &[u64]) {
        for (place, word) in block.chunks_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    fn complaint(script: Script) -> String {
        format!("{:#}", script.parse().err().expect("it is wrong"))
    }

    #[test]
    fn entries_and_their_data_are_read_in_order() {
        let (one, two) = ([1; BLOCK], [2; 2 * BLOCK]);
        let script = Script::new().write(7, &one).flush().add([9, 1, DISCARD, 0], &[]).forced(1, &two);
        let log = script.add([0, 0, MARK, 3], &[0; BLOCK]).write(0, &one).parse().unwrap();
        let kinds: Vec<_> = log.entries().iter().map(|entry| entry.kind).collect();
        use Kind::*;
        assert_eq!(kinds, [Write, Flush, Discard, ForcedWrite, Mark, Write]);
        let at = |entry: usize| log.entries()[entry].drive.clone();
        assert_eq!((at(0), at(1), at(2), at(3)), (7 * 512..8 * 512, 0..0, 9 * 512..10 * 512, 512..3 * 512));
        let data = |entry: usize| log.data(&log.entries()[entry]);
        assert_eq!((data(0), data(1), data(3), data(5)), (&one[..], &[][..], &two[..], &one[..]));
    }

    #[test]
    fn a_drive_of_larger_sectors_has_a_log_of_larger_blocks() {
        let mut bytes = vec![0; 3 * 4096];
        put(&mut bytes, &[MAGIC, VERSION, 1, 4096]);
        put(&mut bytes[4096..], &[2, 1, 0, 0]);
        let log = WriteLog::parse(bytes).unwrap();
        assert_eq!(log.entries()[0].drive, 8192..12288);
        assert_eq!(log.data(&log.entries()[0]).len(), 4096);
    }

    #[test]
    fn what_is_not_counted_is_not_read() {
        let mut script = Script::new().write(1, &[1; BLOCK]);
        script.0.extend([0xff; 100]);
        assert_eq!(script.parse().unwrap().entries().len(), 1);
        assert_eq!(Script::new().parse().unwrap().entries(), []);
    }

    #[test]
    fn a_log_that_was_cut_is_refused_wherever_it_was_cut() {
        let whole = Script::new().write(1, &[1; BLOCK]).flush().write(3, &[2; 2 * BLOCK]);
        for bytes in [0, 7, 8, 31, 511, 512, 1024, 1535, 1536, 2048, 3071] {
            let cut = whole.0[..bytes].to_vec();
            assert!(WriteLog::parse(cut).is_err(), "{bytes} bytes of {}", whole.0.len());
        }
        assert!(whole.parse().is_ok());
    }

    #[test]
    fn what_no_log_holds_is_refused_in_words() {
        let with = |index: usize, word: u64| {
            let mut script = Script::new().write(1, &[1; BLOCK]);
            script.0[8 * index..8 * index + 8].copy_from_slice(&word.to_le_bytes());
            complaint(script)
        };
        assert_eq!(with(0, 1), "this is no log of writes");
        assert_eq!(with(1, 2), "a log of writes of version 2");
        assert_eq!(with(3, 0), "a log of writes with blocks of 0 bytes");
        assert_eq!(with(3, 520), "a log of writes with blocks of 520 bytes");
        assert!(with(2, u64::MAX).contains("entry 1 of 18446744073709551615"));
        let entry = |words| complaint(Script::new().add(words, &[0; BLOCK]));
        assert!(entry([0, 1, FLUSH, 0]).contains("a flush with 1 sectors"));
        assert!(entry([0, 1, FLUSH | DISCARD, 0]).contains("flags 0x5"));
        assert!(entry([0, 1, 0x10, 0]).contains("flags 0x10"));
        assert!(entry([u64::MAX, 1, 0, 0]).contains("beyond any drive's end"));
        assert!(entry([1 << 60, 1, 0, 0]).contains("beyond any drive's end"));
        assert!(entry([0, u64::MAX / 512, 0, 0]).contains("the log ends before its data does"));
        assert!(entry([0, 0, MARK, u64::MAX]).contains("a mark without an end"));
    }
}
