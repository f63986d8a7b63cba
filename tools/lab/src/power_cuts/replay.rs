//! What is left of a part of a drive after its power was cut: all that a flush had made sure of,
//! and of what was written since then nothing, some, or parts.

use std::ops::Range;

use super::random::Random;
use super::write_log::{Entry, Kind, WriteLog};

/// What a drive writes at once: of a request, each of these may be there or not.
const ATOM_BYTES: usize = 512;

/// What became of the writes that no flush had made sure of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// None is there.
    Dropped,
    /// Some are there, written in any order.
    Reordered,
    /// Of some a part is there, each sector of 512 bytes by itself.
    Torn,
}

impl Fate {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Dropped, Self::Reordered, Self::Torn];
}

/// What the log says of flushes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flushes {
    /// They are carried out.
    Kept,
    /// There were none: the log of somebody who answers a flush and does nothing.
    Forgotten,
}

/// A part of a drive while the log is read from its start.
pub struct Replay<'l> {
    log: &'l WriteLog,
    /// Which bytes of the drive are the part's.
    part: Range<u64>,
    flushes: Flushes,
    /// The part as the last flush left it.
    safe: Vec<u8>,
    /// How many entries that flush came after.
    safe_entries: usize,
    /// How many entries have been looked at for flushes.
    read: usize,
}

impl<'l> Replay<'l> {
    /// A part that begins at byte `start` of the drive and held `contents` before the log begins.
    pub fn new(log: &'l WriteLog, start: u64, contents: Vec<u8>, flushes: Flushes) -> Self {
        let part = start..start.saturating_add(contents.len() as u64);
        Self { log, part, flushes, safe: contents, safe_entries: 0, read: 0 }
    }

    /// What may be found in the part when the power is cut after `entries` requests were made.
    /// Numbers of entries must not fall from one call to the next.
    pub fn cut(&mut self, entries: usize, fate: Fate, random: &mut Random) -> Vec<u8> {
        let log = self.log;
        self.read_to(entries);
        let since = log.entries().get(self.safe_entries..entries).unwrap_or_default();
        let (mut open, forced): (Vec<&Entry>, Vec<&Entry>) =
            since.iter().filter(|entry| self.is_about(entry)).partition(|entry| entry.kind == Kind::Write);
        let mut found = self.safe.clone();
        if fate == Fate::Dropped {
            open.clear();
        }
        open.retain(|_| random.coin());
        random.shuffle(&mut open);
        for entry in open {
            apply(log, &self.part, entry, &mut found, || fate != Fate::Torn || random.coin());
        }
        // What was forced comes last: nothing older may stand over it.
        for entry in forced {
            apply(log, &self.part, entry, &mut found, || true);
        }
        found
    }

    /// Looks for the last flush before an entry, and brings what is safe to it.
    fn read_to(&mut self, entries: usize) {
        let log = self.log;
        let new = log.entries().get(self.read..entries).unwrap_or_default();
        let is_flush = |entry: &Entry| entry.kind == Kind::Flush && self.flushes == Flushes::Kept;
        if let Some(place) = new.iter().rposition(is_flush) {
            let end = self.read + place + 1;
            for entry in log.entries().get(self.safe_entries..end).unwrap_or_default() {
                apply(log, &self.part, entry, &mut self.safe, || true);
            }
            self.safe_entries = end;
        }
        self.read = self.read.max(entries);
    }

    fn is_about(&self, entry: &Entry) -> bool {
        entry.drive.start < self.part.end && self.part.start < entry.drive.end
    }
}

/// Writes those sectors of a request that are the part's, and for which `is_there` says so.
fn apply(
    log: &WriteLog,
    part: &Range<u64>,
    entry: &Entry,
    contents: &mut [u8],
    mut is_there: impl FnMut() -> bool,
) {
    // What a discard leaves is not said. It leaves what was there.
    for (sector, data) in log.data(entry).chunks(ATOM_BYTES).enumerate() {
        let at = entry.drive.start + (sector * ATOM_BYTES) as u64;
        if !part.contains(&at) || !is_there() {
            continue;
        }
        let place = usize::try_from(at - part.start).ok();
        let place = place.and_then(|place| contents.get_mut(place..place + data.len()));
        if let Some(place) = place {
            place.copy_from_slice(data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::write_log::tests::Script;
    use super::*;
    use std::collections::BTreeSet;

    /// The part under test begins at sector 2 and has 4.
    const START: u64 = 2 * 512;
    const SECTORS: usize = 4;

    fn filled(bytes: &[u8]) -> Vec<u8> {
        bytes.iter().flat_map(|byte| [*byte; ATOM_BYTES]).collect()
    }

    /// What the part's sectors are filled with after all cuts at this place, whatever the seed.
    fn outcomes(script: Script, entries: usize, fate: Fate, flushes: Flushes) -> BTreeSet<[u8; SECTORS]> {
        let log = script.parse().unwrap();
        let outcome = |seed| {
            let mut replay = Replay::new(&log, START, vec![0; SECTORS * ATOM_BYTES], flushes);
            let found = replay.cut(entries, fate, &mut Random::new(seed));
            let mut sectors = [0; SECTORS];
            for (sector, bytes) in sectors.iter_mut().zip(found.chunks(ATOM_BYTES)) {
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "sectors are never torn themselves");
                *sector = bytes[0];
            }
            sectors
        };
        (0..400).map(outcome).collect()
    }

    /// 1 and 2 are written and flushed, 3 and 4 are not.
    fn script() -> Script {
        let script = Script::new().write(2, &filled(&[1, 1])).write(3, &filled(&[2])).flush();
        script.write(3, &filled(&[3, 3])).write(4, &filled(&[4]))
    }

    #[test]
    fn what_was_flushed_is_there_whatever_becomes_of_the_rest() {
        let after = |entries, fate| outcomes(script(), entries, fate, Flushes::Kept);
        for fate in Fate::ALL {
            assert_eq!(after(3, fate), [[1, 2, 0, 0]].into());
            assert!(after(5, fate).iter().all(|sectors| sectors[0] == 1 && sectors[1] != 1));
        }
        assert_eq!(after(5, Fate::Dropped), [[1, 2, 0, 0]].into());
    }

    #[test]
    fn what_was_not_is_there_or_not_and_in_any_order() {
        let all = outcomes(script(), 5, Fate::Reordered, Flushes::Kept);
        assert_eq!(all, [[1, 2, 0, 0], [1, 2, 4, 0], [1, 3, 3, 0], [1, 3, 4, 0]].into());
        let before = outcomes(script(), 2, Fate::Reordered, Flushes::Kept);
        assert_eq!(before, [[0, 0, 0, 0], [1, 1, 0, 0], [0, 2, 0, 0], [1, 2, 0, 0]].into());
    }

    #[test]
    fn a_torn_request_is_there_by_sectors() {
        let all = outcomes(script(), 4, Fate::Torn, Flushes::Kept);
        assert_eq!(all, [[1, 2, 0, 0], [1, 3, 0, 0], [1, 2, 3, 0], [1, 3, 3, 0]].into());
    }

    #[test]
    fn what_was_forced_is_there_and_nothing_older_over_it() {
        let script =
            || Script::new().write(2, &filled(&[1])).forced(2, &filled(&[2])).write(3, &filled(&[3]));
        assert_eq!(
            outcomes(script(), 3, Fate::Reordered, Flushes::Kept),
            [[2, 0, 0, 0], [2, 3, 0, 0]].into()
        );
        assert_eq!(outcomes(script(), 2, Fate::Dropped, Flushes::Kept), [[2, 0, 0, 0]].into());
    }

    #[test]
    fn without_flushes_all_of_it_may_be_gone() {
        let after = |fate| outcomes(script(), 5, fate, Flushes::Forgotten);
        assert_eq!(after(Fate::Dropped), [[0, 0, 0, 0]].into());
        assert!(after(Fate::Reordered).iter().any(|sectors| sectors[0] == 0));
    }

    #[test]
    fn other_parts_of_the_drive_are_none_of_its_business() {
        let around =
            Script::new().write(0, &filled(&[9, 9, 1])).write(5, &filled(&[2, 9])).write(100, &filled(&[9]));
        assert_eq!(outcomes(around.flush(), 4, Fate::Torn, Flushes::Kept), [[1, 0, 0, 2]].into());
    }

    #[test]
    fn one_replay_gives_what_many_give() {
        let log = script().flush().write(5, &filled(&[7])).parse().unwrap();
        let fresh = || Replay::new(&log, START, vec![0; SECTORS * ATOM_BYTES], Flushes::Kept);
        let mut one = fresh();
        for entries in 0..=log.entries().len() {
            let seed = || Random::new(entries as u64);
            let alone = fresh().cut(entries, Fate::Torn, &mut seed());
            assert_eq!(one.cut(entries, Fate::Torn, &mut seed()), alone, "after {entries}");
        }
    }
}
