//! The records of a guest that flushes each before it goes on to the next (`keep_records` in
//! `tools/guests/linux/drives.sh`), and which of them a file system must hold.
//!
//! Where record `n` is written, the guest's call that made sure of record `n - 1` had returned. So
//! the log of the drive says itself what was confirmed, whatever a console showed and when.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Result, bail, ensure};

use super::write_log::WriteLog;

/// A record is this line, again and again: 16 of them fill a sector.
const LINE_BYTES: usize = 32;
const BEFORE: &[u8] = b"record ";
const DIGITS: usize = 6;
const AFTER: &[u8] = b" of power cut test\n";
const SECTOR_BYTES: usize = 512;

/// How many places the file `slots` has, and how large one is.
const SLOTS: u32 = 16;
const SLOT_BYTES: usize = 4096;
/// How large the file `newest` is.
const NEWEST_BYTES: usize = 3072;

/// The files, by their names at the file system's top.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Names of the file that is written in place, and of the one that is replaced.
const IN_PLACE: &str = "slots";
const REPLACED: &str = "newest";

/// What becomes of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    /// A new file, of so many bytes.
    New(String, usize),
    /// One of the places of a file that is there.
    Slot(u32),
    /// A file that takes the place of another.
    Newest,
}

/// Where the guest puts record `number`.
fn place(number: u32) -> Place {
    match number % 3 {
        1 => Place::New(format!("r{number}"), 1024 * (1 + number as usize % 7)),
        2 => Place::Slot(number / 3 % SLOTS),
        _ => Place::Newest,
    }
}

/// The line of a record.
fn line(number: u32) -> Vec<u8> {
    [BEFORE, format!("{number:0DIGITS$}").as_bytes(), AFTER].concat()
}

/// The record whose line is repeated in all of `bytes`.
fn number_of(bytes: &[u8]) -> Option<u32> {
    let first = bytes.get(..LINE_BYTES)?;
    let digits = first.strip_prefix(BEFORE)?.strip_suffix(AFTER)?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (bytes.chunks(LINE_BYTES).all(|line| line == first)).then_some(number)
}

/// What is in the file system before the guest's first record.
pub fn initial_files() -> Files {
    let slots = line(0).repeat(SLOTS as usize * SLOT_BYTES / LINE_BYTES);
    [(IN_PLACE.to_owned(), slots)].into()
}

/// For each number of entries, which record was confirmed to the guest when so many had been
/// written: the list has one element more than there are entries. Writes outside of `part` are not
/// looked at.
pub fn confirmed(log: &WriteLog, part: &Range<u64>) -> Vec<u32> {
    let mut newest = 0;
    let mut list = vec![0];
    for entry in log.entries() {
        if part.contains(&entry.drive.start) {
            let sectors = log.data(entry).chunks_exact(SECTOR_BYTES);
            newest = sectors.filter_map(number_of).max().unwrap_or(0).max(newest);
        }
        list.push(newest.saturating_sub(1));
    }
    list
}

/// Names of the files that records up to `last` may be in.
pub fn names(last: u32) -> Vec<String> {
    let new = (1..=last).filter_map(|number| match place(number) {
        Place::New(name, _) => Some(name),
        Place::Slot(_) | Place::Newest => None,
    });
    [IN_PLACE.to_owned(), REPLACED.to_owned()].into_iter().chain(new).collect()
}

/// Looks whether all records up to `confirmed` are there. The one after it may be, or parts of it.
///
/// # Errors
/// What is missing.
pub fn check(files: &Files, confirmed: u32) -> Result<()> {
    let newest_of = |wanted: &dyn Fn(&Place) -> bool| (1..=confirmed).rev().find(|n| wanted(&place(*n)));
    for number in 1..=confirmed {
        if let Place::New(name, bytes) = place(number) {
            let found = files.get(&name);
            let is_whole = found.is_some_and(|found| *found == line(number).repeat(bytes / LINE_BYTES));
            ensure!(is_whole, "record {number} of {confirmed}: {}", describe(&name, found, bytes));
        }
    }
    let Some(slots) = files.get(IN_PLACE) else { bail!("no file {IN_PLACE}") };
    ensure!(slots.len() == SLOTS as usize * SLOT_BYTES, "{IN_PLACE} has {} bytes", slots.len());
    for (slot, bytes) in (0..SLOTS).zip(slots.chunks(SLOT_BYTES)) {
        let mine = Place::Slot(slot);
        let last = newest_of(&|place| *place == mine).unwrap_or(0);
        let next = (place(confirmed + 1) == mine).then_some(confirmed + 1);
        for sector in bytes.chunks(SECTOR_BYTES) {
            let found = number_of(sector);
            let is_right = found.is_some_and(|found| found == last || Some(found) == next);
            ensure!(is_right, "record {last} of {confirmed}: a sector of slot {slot} holds {found:?}");
        }
    }
    let last = newest_of(&|place| *place == Place::Newest);
    let next = (place(confirmed + 1) == Place::Newest).then_some(confirmed + 1);
    match (files.get(REPLACED), last) {
        (None, None) => Ok(()),
        (Some(found), _) if found.len() == NEWEST_BYTES => {
            let number = number_of(found);
            let is_right = number.is_some() && (number == last || number == next);
            ensure!(is_right, "record {last:?} of {confirmed}: {REPLACED} holds {number:?}");
            Ok(())
        }
        (found, _) => {
            bail!("record {last:?} of {confirmed}: {}", describe(REPLACED, found, NEWEST_BYTES));
        }
    }
}

/// What is wrong with a file.
fn describe(name: &str, found: Option<&Vec<u8>>, bytes: usize) -> String {
    match found {
        None => format!("no file {name}"),
        Some(found) if found.len() != bytes => format!("{name} has {} bytes, not {bytes}", found.len()),
        Some(found) => format!(
            "{name} begins with {:?}",
            String::from_utf8_lossy(found.get(..LINE_BYTES).unwrap_or(found))
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::write_log::tests::Script;
    use super::*;

    /// The files after the guest has written so many records.
    fn after(records: u32) -> Files {
        let mut files = initial_files();
        for number in 1..=records {
            let text = |bytes: usize| line(number).repeat(bytes / LINE_BYTES);
            match place(number) {
                Place::New(name, bytes) => drop(files.insert(name, text(bytes))),
                Place::Newest => drop(files.insert(REPLACED.to_owned(), text(NEWEST_BYTES))),
                Place::Slot(slot) => {
                    let start = slot as usize * SLOT_BYTES;
                    let slots = files.get_mut(IN_PLACE).unwrap();
                    slots[start..start + SLOT_BYTES].copy_from_slice(&text(SLOT_BYTES));
                }
            }
        }
        files
    }

    fn complaint(files: &Files, confirmed: u32) -> String {
        check(files, confirmed).expect_err("it is not all there").to_string()
    }

    #[test]
    fn the_line_fills_a_sector_without_a_rest() {
        assert_eq!(line(123), b"record 000123 of power cut test\n");
        assert_eq!(line(0).len(), LINE_BYTES);
        assert_eq!(number_of(&line(123).repeat(16)), Some(123));
        assert_eq!(number_of(&[line(1), line(2)].concat()), None);
        assert_eq!((number_of(b""), number_of(&[0; 512])), (None, None));
    }

    #[test]
    fn what_was_confirmed_and_the_one_after_it_may_be_there() {
        for records in 0..120 {
            check(&after(records), records).unwrap();
            check(&after(records + 1), records).unwrap();
        }
    }

    #[test]
    fn a_confirmed_record_that_is_not_there_is_missed() {
        for records in 1..120 {
            complaint(&after(records - 1), records);
        }
        assert_eq!(complaint(&after(3), 4), "record 4 of 4: no file r4");
        assert_eq!(complaint(&after(4), 5), "record 5 of 5: a sector of slot 1 holds Some(0)");
        assert_eq!(complaint(&after(5), 6), "record Some(6) of 6: newest holds Some(3)");
    }

    #[test]
    fn what_came_long_after_it_is_as_wrong() {
        // A slot of record 2 whose next is 50 holds what nobody wrote yet.
        assert!(complaint(&after(50), 40).contains("holds Some(50)"));
    }

    #[test]
    fn a_torn_sector_is_missed_and_a_torn_slot_is_not() {
        let mut files = after(4);
        let newer = after(5);
        let start = SLOT_BYTES;
        files.get_mut(IN_PLACE).unwrap()[start..start + 512]
            .copy_from_slice(&newer[IN_PLACE][start..start + 512]);
        check(&files, 4).unwrap();
        files.get_mut(IN_PLACE).unwrap()[start..start + LINE_BYTES].copy_from_slice(&line(2));
        assert_eq!(complaint(&files, 4), "record 0 of 4: a sector of slot 1 holds None");
    }

    #[test]
    fn files_that_are_cut_short_are_missed() {
        let mut files = after(9);
        files.get_mut("r7").unwrap().truncate(1000);
        assert_eq!(complaint(&files, 9), "record 7 of 9: r7 has 1000 bytes, not 1024");
        files = after(9);
        files.get_mut("r7").unwrap()[..4].fill(b'x');
        assert_eq!(
            complaint(&files, 9),
            "record 7 of 9: r7 begins with \"xxxxrd 000007 of power cut test\\n\""
        );
        files = after(9);
        files.get_mut(IN_PLACE).unwrap().pop();
        assert_eq!(complaint(&files, 9), "slots has 65535 bytes");
        files.remove(IN_PLACE);
        assert_eq!(complaint(&files, 9), "no file slots");
        files = after(9);
        files.remove(REPLACED);
        assert_eq!(complaint(&files, 9), "record Some(9) of 9: no file newest");
    }

    #[test]
    fn the_log_says_what_was_confirmed() {
        let sector = |number| line(number).repeat(16);
        let log = Script::new()
            .flush()
            .write(4, &sector(1))
            .write(9, &[0; 512])
            .write(5, &[sector(1), sector(2)].concat())
            .write(4, &sector(1))
            .write(2, &sector(7))
            .write(6, &sector(4))
            .parse()
            .unwrap();
        assert_eq!(confirmed(&log, &(4 * 512..10 * 512)), [0, 0, 0, 0, 1, 1, 1, 3]);
    }

    #[test]
    fn names_are_those_of_all_files() {
        let all = after(20);
        let names = names(20);
        assert!(all.keys().all(|name| names.contains(name)) && names.len() == all.len());
    }
}
