//! Runs scenarios: one line each, and a total.

use crate::consoles::View;
use crate::matrix::Matrix;
use crate::record::Record;
use crate::scenario::{Scenario, Workshop};
use crate::trial::{Bench, Trial};
use anyhow::Result;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{channel, sync_channel};
use std::time::{Duration, Instant};

/// How many of a failed scenario's last lines are shown per console.
const TAIL: usize = 12;

/// Counts of what happened.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Report {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that this machine cannot run.
    pub skipped: usize,
}

impl Report {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed(_) => self.failed += 1,
            Outcome::Skipped(_) => self.skipped += 1,
        }
    }

    /// Adds another one's counts.
    pub fn add(&mut self, other: Report) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// How one scenario went.
#[derive(Debug)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Why it did not.
    Failed(String),
    /// Why it was not run.
    Skipped(String),
}

/// Runs scenarios, those in QEMU one after another: their guests measure time, which they
/// would take from each other. In Bochs time is what instructions make it, on one thread,
/// so there are as many at once as this machine has processors.
pub struct Runner<'a> {
    bench: Bench<'a>,
    view: View,
}

/// A scenario, how it went, and how long that took.
type Done<'s> = (&'s Scenario, Result<Outcome>, Duration);

impl<'a> Runner<'a> {
    /// A runner that keeps each scenario's logs in a folder of `logs` of its name.
    pub fn new(workshop: &'a dyn Workshop, logs: &Path) -> Self {
        Self { bench: Bench::new(workshop, logs), view: View::Nothing }
    }

    /// Shows the consoles meanwhile.
    pub fn view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// Runs those of `scenarios` whose name contains `filter` and writes a line for
    /// each to `output`, with the logs' tails of those that fail. `matrix` and `record` get
    /// their outcomes.
    ///
    /// # Errors
    /// `output` cannot be written.
    pub fn run(
        &self,
        scenarios: &[Scenario],
        filter: &str,
        matrix: &mut Matrix,
        record: &mut Record,
        output: &mut dyn Write,
    ) -> Result<Report> {
        let mut report = Report::default();
        let mut tell = |(scenario, outcome, time): Done<'_>| {
            let outcome = outcome.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
            matrix.add(scenario.feature, scenario.column, &outcome);
            record.add(scenario.name(), &outcome, time);
            report.count(&outcome);
            self.tell(scenario, &outcome, time, output)
        };
        let chosen: Vec<_> = scenarios.iter().filter(|scenario| scenario.name().contains(filter)).collect();
        for alike in chosen.chunk_by(|one, other| one.bochs.is_some() == other.bochs.is_some()) {
            let in_bochs = alike.first().is_some_and(|scenario| scenario.bochs.is_some());
            let workers = std::thread::available_parallelism().map_or(1, usize::from);
            if in_bochs && workers > 1 {
                self.at_once(alike, workers, &mut tell)?;
            } else {
                alike.iter().try_for_each(|scenario| tell(self.one(scenario)))?;
            }
        }
        Ok(report)
    }

    fn one<'s>(&self, scenario: &'s Scenario) -> Done<'s> {
        let start = Instant::now();
        let outcome = self.bench.prepare(scenario).and_then(|made| match made {
            Ok(trial) => trial.run(self.view),
            Err(why) => Ok(Outcome::Skipped(why)),
        });
        (scenario, outcome, start.elapsed())
    }

    /// Makes what `scenarios` need on this thread, for which the workshop is, and runs
    /// them on others.
    fn at_once<'s>(
        &self,
        scenarios: &[&'s Scenario],
        workers: usize,
        tell: &mut dyn FnMut(Done<'s>) -> Result<()>,
    ) -> Result<()> {
        // Nothing is made ahead of a worker that takes it: images are large.
        let (jobs, queue) = sync_channel::<(&Scenario, Trial<'_>)>(0);
        let (sender, outcomes) = channel();
        let (queue, view) = (Mutex::new(queue), self.view);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                let (queue, sender) = (&queue, sender.clone());
                scope.spawn(move || {
                    let next = || queue.lock().ok()?.recv().ok();
                    while let Some((scenario, trial)) = next() {
                        let start = Instant::now();
                        let outcome = trial.run(view);
                        let _ = sender.send((scenario, outcome, start.elapsed()));
                    }
                });
            }
            drop(sender);
            for scenario in scenarios {
                match self.bench.prepare(scenario) {
                    Ok(Ok(trial)) => drop(jobs.send((scenario, trial))),
                    Ok(Err(why)) => tell((scenario, Ok(Outcome::Skipped(why)), Duration::ZERO))?,
                    Err(error) => tell((scenario, Err(error), Duration::ZERO))?,
                }
                outcomes.try_iter().try_for_each(&mut *tell)?;
            }
            drop(jobs);
            outcomes.into_iter().try_for_each(tell)
        })
    }

    fn tell(
        &self,
        scenario: &Scenario,
        outcome: &Outcome,
        time: Duration,
        output: &mut dyn Write,
    ) -> Result<()> {
        let name = scenario.name();
        match outcome {
            Outcome::Passed => writeln!(output, "ok {name} {:.1} s", time.as_secs_f64())?,
            Outcome::Skipped(why) => writeln!(output, "skipped {name}: {why}")?,
            Outcome::Failed(why) => {
                let folder = self.bench.folder(scenario);
                writeln!(output, "FAILED {name}: {why}")?;
                output.write_all(tails(&folder).as_bytes())?;
                writeln!(output, "    logs: {}", folder.display())?;
            }
        }
        Ok(output.flush()?)
    }
}

/// The last lines of every log in `folder`, indented.
fn tails(folder: &Path) -> String {
    let mut logs: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    let mut text = String::new();
    for path in logs {
        let contents = String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
        let owner = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let lines: Vec<_> = contents.lines().collect();
        for line in &lines[lines.len().saturating_sub(TAIL)..] {
            text.push_str(&format!("    {owner}| {}\n", crate::consoles::printable(line)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_has_its_fixed_form() {
        let mut total = Report { passed: 1, failed: 0, skipped: 2 };
        total.add(Report { passed: 4, failed: 1, skipped: 0 });
        assert_eq!(total.to_string(), "5 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn tails_show_the_last_lines_of_each_log() {
        let folder = std::env::temp_dir().join(format!("lab-tails-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let lines: String = (0..100).map(|number| format!("line {number}\n")).collect();
        std::fs::write(folder.join("net.log"), lines).unwrap();
        std::fs::write(folder.join("bundle"), "no log").unwrap();
        let text = tails(&folder);
        assert_eq!(text.lines().count(), TAIL);
        assert!(text.ends_with("    net| line 99\n"), "{text}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
