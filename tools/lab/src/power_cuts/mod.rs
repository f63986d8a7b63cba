//! Power cuts: a drive lies on a log of what it was told to write; afterwards the log is replayed to
//! what could have been left had the power failed, at many places of it, and each time the file
//! system on it must be whole and hold every record that was confirmed to the guest.

mod file_system;
mod random;
mod records;
mod replay;
mod write_log;

use std::fmt::Write as _;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use self::file_system::Tools;
use self::random::Random;
use self::replay::{Fate, Flushes, Replay};
use self::write_log::{Kind, WriteLog};

/// Bytes of each file system: what a cut costs is mostly their copying.
const FILE_SYSTEM_BYTES: usize = 4 << 20;
/// How many cuts are tried on the log without its flushes: one of them must lose something.
const CUTS_WITHOUT_FLUSHES: usize = 50;

/// How many cuts of each path are tried, and how many records the guest writes on each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PowerCuts {
    /// Cuts on each path.
    pub cuts: usize,
    /// Records on each path.
    pub records: u32,
    /// What guests have on the partitions of each drive, one by one, in words.
    pub models: &'static [&'static str],
}

/// One file system, from the guest's driver to the drive.
struct PathToDrive {
    name: String,
    /// Bytes of the drive.
    part: Range<u64>,
}

/// What came of a path's cuts.
struct Finding {
    entries: usize,
    flushes: usize,
    cuts: usize,
    /// How many cuts of the log without flushes lost something.
    losses: usize,
    time: Duration,
}

/// A drive of the machine that lies on a log, with a file system in each of its partitions.
pub struct LoggedDrive {
    log: PathBuf,
    paths: Vec<PathToDrive>,
    /// What each file system was at first.
    contents: Vec<u8>,
}

impl LoggedDrive {
    /// Makes a file system in each partition of `image`, a drive that is called `name`; `models` are
    /// what the guest sees of its partitions, one by one. The log is to be at
    /// [`log`](Self::log), in `folder`.
    ///
    /// # Errors
    /// There are fewer partitions, or one cannot be written.
    pub fn prepare(folder: &Path, name: &str, image: &Path, models: &[&str]) -> Result<Self> {
        let made = folder.join(format!("{name}.ext4"));
        let scratch = folder.join(format!("{name}.files"));
        Tools::find()?.make(&made, FILE_SYSTEM_BYTES, &records::initial_files(), &scratch)?;
        let contents = std::fs::read(&made)?;
        std::fs::remove_file(&made)?;
        let parts = crate::partitions::places(image)?;
        ensure!(parts.len() >= models.len(), "{name} has {} partitions", parts.len());
        let file = File::options().write(true).open(image)?;
        let mut paths = Vec::new();
        for (model, part) in models.iter().zip(parts) {
            file.write_all_at(&contents, part.start).context("cannot write to a partition")?;
            let part = part.start..part.start + FILE_SYSTEM_BYTES as u64;
            paths.push(PathToDrive { name: format!("{model} over {name}"), part });
        }
        let log = folder.join(format!("{name}.writes"));
        File::create(&log)?;
        Ok(Self { log, paths, contents })
    }

    /// Where the log is.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

/// Cuts the power of all paths of `drives` as `wanted` says, and gives a table of what that showed.
/// An image in which something is missing is kept in `folder`.
///
/// # Errors
/// Something is missing, or nothing is where flushes are not looked at.
pub fn check(folder: &Path, drives: &[LoggedDrive], wanted: PowerCuts) -> Result<String> {
    let tools = Tools::find()?;
    let mut logs = Vec::new();
    for drive in drives {
        let bytes = std::fs::read(&drive.log).context("cannot read a log of writes")?;
        logs.push(WriteLog::parse(bytes).with_context(|| drive.log.display().to_string())?);
    }
    let jobs: Vec<_> = drives
        .iter()
        .zip(&logs)
        .flat_map(|(drive, log)| {
            drive.paths.iter().map(move |path| Trial { log, path, contents: &drive.contents })
        })
        .collect();
    let (next, findings) = (Mutex::new(jobs.iter().enumerate()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let take = || next.lock().ok()?.next();
                while let Some((place, trial)) = take() {
                    let seed = place as u64;
                    let finding = trial.run(&tools, folder, wanted, seed);
                    if let Ok(mut findings) = findings.lock() {
                        findings.push((place, finding));
                    }
                }
            });
        }
    });
    let mut findings = findings.into_inner().unwrap_or_default();
    findings.sort_by_key(|(place, _)| *place);
    ensure!(findings.len() == jobs.len() && !jobs.is_empty(), "not all paths were tried");
    let mut table = String::from(
        "| path | records | requests in the log | flushes among them | power cuts | lost without flushes | seconds |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    for ((_, finding), job) in findings.into_iter().zip(&jobs) {
        let Finding { entries, flushes, cuts, losses, time } =
            finding.with_context(|| job.path.name.clone())?;
        let (name, records, seconds) = (&job.path.name, wanted.records, time.as_secs());
        let without = format!("{losses} of {CUTS_WITHOUT_FLUSHES}");
        writeln!(table, "| {name} | {records} | {entries} | {flushes} | {cuts} | {without} | {seconds} |")?;
    }
    Ok(table)
}

/// A path and its log.
struct Trial<'l> {
    log: &'l WriteLog,
    path: &'l PathToDrive,
    contents: &'l [u8],
}

/// Files that a path's trial works with.
struct Workplace {
    folder: PathBuf,
    image: PathBuf,
    commands: PathBuf,
    names: Vec<String>,
}

impl Trial<'_> {
    fn run(&self, tools: &Tools, folder: &Path, wanted: PowerCuts, seed: u64) -> Result<Finding> {
        let start = Instant::now();
        let entries = self.log.entries();
        let confirmed = records::confirmed(self.log, &self.path.part);
        let last = confirmed.last().copied().unwrap_or(0);
        ensure!(last + 1 == wanted.records, "the log ends after {last} of {} records", wanted.records);
        let section = self.section();
        let requests = entries.get(section.clone()).unwrap_or_default();
        let flushes = requests.iter().filter(|entry| entry.kind == Kind::Flush).count();
        let place = Workplace::new(folder, &self.path.name, wanted.records)?;

        let mut random = Random::new(seed);
        let cuts = cuts(&section, wanted.cuts, &mut random);
        self.replay(&cuts, Flushes::Kept, &mut random, |cut, fate, found| {
            let outcome = place.examine(tools, &found, confirmed.get(cut).copied().unwrap_or(0));
            if outcome.is_err() {
                // Kept as it was before the journal's replay.
                let kept = place.folder.join(format!("{}-cut-{cut}.ext4", self.path.name.replace(' ', "-")));
                std::fs::write(kept, &found)?;
            }
            outcome.with_context(|| format!("cut after {cut} requests, {fate:?}"))
        })?;

        let second_half = section.start.midpoint(section.end)..section.end;
        let without = self::cuts(&second_half, CUTS_WITHOUT_FLUSHES, &mut random);
        let mut losses = 0;
        self.replay(&without, Flushes::Forgotten, &mut random, |cut, _, found| {
            losses +=
                usize::from(place.examine(tools, &found, confirmed.get(cut).copied().unwrap_or(0)).is_err());
            Ok(())
        })?;
        place.remove();
        ensure!(losses > 0, "without flushes nothing was lost: this test proves nothing");
        Ok(Finding { entries: requests.len(), flushes, cuts: cuts.len(), losses, time: start.elapsed() })
    }

    /// The entries from the path's first to its last, and what follows that up to a flush.
    fn section(&self) -> Range<usize> {
        let entries = self.log.entries();
        let is_mine = |entry: &write_log::Entry| self.path.part.contains(&entry.drive.start);
        let first = entries.iter().position(is_mine).unwrap_or(0);
        let last = entries.iter().rposition(is_mine).unwrap_or(0);
        let after = entries.iter().skip(last).position(|entry| entry.kind == Kind::Flush);
        first..(last + after.unwrap_or(0) + 1).min(entries.len())
    }

    fn replay(
        &self,
        cuts: &[usize],
        flushes: Flushes,
        random: &mut Random,
        mut see: impl FnMut(usize, Fate, Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let mut replay = Replay::new(self.log, self.path.part.start, self.contents.to_vec(), flushes);
        for (cut, fate) in cuts.iter().zip(Fate::ALL.iter().cycle()) {
            see(*cut, *fate, replay.cut(*cut, *fate, random))?;
        }
        Ok(())
    }
}

/// So many places in a section, in order: after how many entries the power is cut.
fn cuts(section: &Range<usize>, count: usize, random: &mut Random) -> Vec<usize> {
    let mut cuts: Vec<_> = (0..count).map(|_| section.start + random.below(section.len() + 1)).collect();
    cuts.sort_unstable();
    cuts
}

impl Workplace {
    /// In memory where the host has a place for that: what checks file systems waits for its disk.
    fn new(folder: &Path, path: &str, records: u32) -> Result<Self> {
        let name = format!("lab-cut-{}-{}", std::process::id(), path.replace(' ', "-"));
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Ok(Self {
            folder: folder.to_owned(),
            image: base.join(format!("{name}.ext4")),
            commands: base.join(format!("{name}.commands")),
            names: records::names(records),
        })
    }

    /// Looks whether a file system is whole and has all records up to `confirmed`.
    fn examine(&self, tools: &Tools, contents: &[u8], confirmed: u32) -> Result<()> {
        std::fs::write(&self.image, contents).context("cannot write an image")?;
        tools.check(&self.image)?;
        records::check(&tools.read(&self.image, &self.names, &self.commands)?, confirmed)
    }

    fn remove(&self) {
        for file in [&self.image, &self.commands] {
            let _ = std::fs::remove_file(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_in_their_section_and_in_order() {
        let cuts = cuts(&(5..9), 300, &mut Random::new(3));
        assert!(cuts.is_sorted() && cuts.len() == 300);
        assert_eq!((cuts.first(), cuts.last()), (Some(&5), Some(&9)));
    }
}
