//! `cargo hv test`: the host's tests, then guests on emulated machines.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lab::{Matrix, Record, Report, Runner};
use serde_json::Value;

use crate::cli;
use crate::count;
use crate::panics;
use crate::process;
use crate::progress::Step;
use crate::structure;
use crate::workshop::Workshop;

/// Before the names of tests on the host: crate and path of the test follow.
const HOST: &str = "host/";

/// Why a scenario does not run with everything in the hypervisor.
const ABOUT_RING_3: &str = "it is about what is in ring 3";

/// What a page must have for the matrix, in words.
const MARKERS: &str = "it needs a line `<!-- matrix -->` and below it a line `<!-- /matrix -->`";

/// Around the table of the long scenarios.
const LONG_START: &str = "<!-- long -->";
const LONG_END: &str = "<!-- /long -->";

/// Runs the tests and prints the matrix and the slowest of them; the status is 0 only if none
/// failed. The last line is always `N passed, N failed, N skipped`.
///
/// # Errors
/// When the host's tests do not build, or a table cannot be written where it shall go.
pub fn run(workshop: &Workshop, options: &cli::Test) -> Result<ExitCode> {
    let filter = options.filter.as_deref().unwrap_or_default();
    if let Some(page) = &options.matrix {
        // Before the wait for the tests, not after it.
        write_matrix(page, None)?;
    }
    if let Some(page) = &options.table {
        write_long_table(page, "")?;
    }
    let on_host = !options.long && may_be_on_host(filter);
    let binaries = if on_host { build(workshop.project().root())? } else { Vec::new() };
    let mut scenarios = lab::scenarios::all();
    scenarios.retain(|scenario| scenario.is_long() == options.long);
    if options.runs_in == Some(cli::Place::Hypervisor) {
        for scenario in scenarios.iter_mut().filter(|scenario| scenario.is_about_ring_3()) {
            *scenario = scenario.clone().skip(ABOUT_RING_3);
        }
    }
    if options.list {
        let mut names = Vec::new();
        for binary in &binaries {
            names.extend(binary.list()?.iter().map(|name| binary.full(name)));
        }
        if !options.long {
            names.extend([count::NAME, structure::NAME, panics::NAME].map(str::to_owned));
        }
        names.extend(scenarios.iter().map(|scenario| scenario.name().to_string()));
        // A reader that has seen enough, such as `head`, is no error.
        let _ = writeln!(std::io::stdout(), "{}", names.join("\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let (mut report, mut record) = (Report::default(), Record::default());
    for binary in &binaries {
        let start = Instant::now();
        let ran = binary.run(filter)?;
        if ran != Report::default() {
            record.add_program(&format!("{HOST}{} (all of its tests)", binary.krate), start.elapsed());
        }
        report.add(ran);
    }
    if !options.long && count::NAME.contains(filter) {
        report.add(told(count::NAME, &count::problems(workshop.project())?));
    }
    if !options.long && structure::NAME.contains(filter) {
        report.add(told(structure::NAME, &structure::problems(workshop.project())?));
    }
    if !options.long && panics::NAME.contains(filter) {
        report.add(check_panics(workshop)?);
    }
    let logs = workshop.project().output().join("test-logs");
    let (mut matrix, runner) = (Matrix::default(), Runner::new(workshop, &logs));
    report.add(runner.run(&scenarios, filter, &mut matrix, &mut record, &mut std::io::stdout())?);
    if !matrix.is_empty() {
        println!("\n{}", matrix.to_text(filter.is_empty()));
    }
    if let Some(page) = &options.matrix {
        write_matrix(page, Some(&format!("{}\n`cargo hv test`: {report}.", matrix.to_markdown())))?;
    }
    if let Some(page) = &options.table {
        let state = describe_checkout(workshop.project().root());
        write_long_table(page, &format!("{}\n{state}: {report}.", record.to_markdown()))?;
    }
    if !record.slowest().is_empty() {
        println!("the slowest:\n{}", record.slowest());
    }
    println!("{report}");
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Holds what can panic in the hypervisor's image against what is argued.
fn check_panics(workshop: &Workshop) -> Result<Report> {
    let name = panics::NAME;
    if let Some(why) = panics::other_profile() {
        println!("skipped {name}: {why}");
        return Ok(Report { skipped: 1, ..Report::default() });
    }
    Ok(told(name, &panics::problems(workshop)?))
}

/// Says what came of the check `name`, which found `problems`.
fn told(name: &str, problems: &[String]) -> Report {
    if problems.is_empty() {
        println!("ok {name}");
        return Report { passed: 1, ..Report::default() };
    }
    println!("FAILED {name}\n    {}", problems.join("\n    "));
    Report { failed: 1, ..Report::default() }
}

/// Puts `table` between the markers of `page`; without one, only looks whether that can be done.
fn write_matrix(page: &Path, table: Option<&str>) -> Result<()> {
    let text = std::fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let new = lab::matrix::replace_in(&text, table.unwrap_or_default());
    let new = new.with_context(|| format!("{} has no place for the matrix: {MARKERS}", page.display()))?;
    match table {
        Some(_) => std::fs::write(page, new).with_context(|| format!("cannot write {}", page.display())),
        None => Ok(()),
    }
}

/// Puts the long scenarios' table between its markers of `page`; an empty one only looks whether
/// that can be done.
fn write_long_table(page: &Path, table: &str) -> Result<()> {
    let text = std::fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let new = lab::matrix::replace_between(&text, LONG_START, LONG_END, table);
    let new = new.with_context(|| format!("{} has no `{LONG_START}` and `{LONG_END}`", page.display()))?;
    if table.is_empty() {
        return Ok(());
    }
    std::fs::write(page, new).with_context(|| format!("cannot write {}", page.display()))
}

/// Which state of the project the tests ran on, and of which day it is.
fn describe_checkout(root: &Path) -> String {
    let mut git = Command::new("git");
    git.current_dir(root).args(["log", "-1", "--format=%cs, commit %h"]);
    process::output(&mut git).map_or_else(|_| "unknown state".to_owned(), |text| text.trim().to_owned())
}

/// Whether `filter` can be in a name of the host's: those have one slash, after `host`, and no
/// column. Building all test programs for one scenario would be a long wait for nothing.
fn may_be_on_host(filter: &str) -> bool {
    !filter.contains('@') && filter.split_once('/').is_none_or(|(before, _)| "host".ends_with(before))
}

/// A test program of the host.
struct Binary {
    krate: String,
    program: PathBuf,
    /// Where cargo would run it: the folder of its package.
    folder: PathBuf,
}

/// Builds the test programs of the default members.
fn build(root: &Path) -> Result<Vec<Binary>> {
    let mut step = Step::start("building the host's tests");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["test", "--no-run", "--message-format=json-render-diagnostics"]);
    let mut found = BTreeMap::new();
    process::stream(&mut cargo, &mut step, |line| {
        if let Some(binary) = parse_artifact(line) {
            found.insert((binary.krate.clone(), binary.program.clone()), binary);
        }
    })?;
    step.done(&format!("{} programs", found.len()));
    ensure!(!found.is_empty(), "cargo built no tests");
    Ok(found.into_values().collect())
}

/// A test program out of cargo's messages, which are one JSON object per line.
fn parse_artifact(line: &str) -> Option<Binary> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_test = message["profile"]["test"].as_bool()?;
    let program = PathBuf::from(message["executable"].as_str().filter(|_| is_test)?);
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_path_buf();
    Some(Binary { krate: message["target"]["name"].as_str()?.to_owned(), program, folder })
}

impl Binary {
    fn full(&self, name: &str) -> String {
        format!("{HOST}{}::{name}", self.krate)
    }

    fn list(&self) -> Result<Vec<String>> {
        let text = process::output(self.command().args(["--list", "--format", "terse"]))?;
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }

    /// Runs those of its tests whose full name contains `filter`; one line each.
    fn run(&self, filter: &str) -> Result<Report> {
        let wanted: Vec<String> =
            self.list()?.into_iter().filter(|name| self.full(name).contains(filter)).collect();
        if wanted.is_empty() {
            return Ok(Report::default());
        }
        let output = self
            .command()
            .arg("--exact")
            .args(&wanted)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut report = Report::default();
        let mut stdout = std::io::stdout().lock();
        for name in &wanted {
            let full = self.full(name);
            match outcome(&text, name) {
                Outcome::Passed => {
                    report.passed += 1;
                    writeln!(stdout, "ok {full}")?;
                }
                Outcome::Ignored => {
                    report.skipped += 1;
                    writeln!(stdout, "skipped {full}: marked as slow")?;
                }
                Outcome::Failed => {
                    report.failed += 1;
                    writeln!(stdout, "FAILED {full}")?;
                }
            }
        }
        if report.failed > 0 {
            // The whole story, once: the harness's own account of what failed.
            let story = text.split_once("\nfailures:\n").map_or(&*text, |(_, story)| story);
            let errors = String::from_utf8_lossy(&output.stderr);
            for line in story.lines().chain(errors.lines()) {
                writeln!(stdout, "    {line}")?;
            }
        }
        Ok(report)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Tests that read files of their package expect what cargo would give them.
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Ignored,
}

/// How the harness says that `name` went; a test it never came to has failed, for the program
/// ended before.
fn outcome(output: &str, name: &str) -> Outcome {
    let said = output.lines().find_map(|line| {
        let rest = line.strip_prefix("test ")?.strip_prefix(name)?;
        let (mark, word) = rest.split_once("... ")?;
        matches!(mark, " " | " - should panic ").then_some(word)
    });
    match said {
        Some(word) if word.starts_with("ok") => Outcome::Passed,
        Some(word) if word.starts_with("ignored") => Outcome::Ignored,
        _ => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 4 tests
test a::one ... ok
test a::one_more ... FAILED
test b - should panic ... ok
test slow ... ignored, takes minutes
";

    #[test]
    fn outcomes_are_read_from_the_harness() {
        assert_eq!(outcome(OUTPUT, "a::one"), Outcome::Passed);
        assert_eq!(outcome(OUTPUT, "a::one_more"), Outcome::Failed);
        assert_eq!(outcome(OUTPUT, "b"), Outcome::Passed);
        assert_eq!(outcome(OUTPUT, "slow"), Outcome::Ignored);
    }

    #[test]
    fn a_test_that_never_ran_has_failed() {
        assert_eq!(outcome(OUTPUT, "aborted"), Outcome::Failed);
    }

    #[test]
    fn a_scenario_needs_no_tests_of_the_host() {
        assert!(may_be_on_host("") && may_be_on_host("plan") && may_be_on_host("host/plan::x"));
        assert!(may_be_on_host("st/hv"));
        assert!(!may_be_on_host("boot/uefi") && !may_be_on_host("@amdvi"));
    }

    #[test]
    fn only_test_programs_are_taken_from_cargo() {
        let message = |test: bool, executable: &str| {
            format!(
                r#"{{"manifest_path":"/p/plan/Cargo.toml","target":{{"name":"plan"}},"profile":{{"test":{test}}},"executable":{executable}}}"#
            )
        };
        let binary = parse_artifact(&message(true, r#""/t/plan-1""#)).expect("a test program");
        assert_eq!((binary.krate.as_str(), binary.folder.as_path()), ("plan", Path::new("/p/plan")));
        assert!(parse_artifact(&message(false, r#""/t/hv""#)).is_none());
        assert!(parse_artifact(&message(true, "null")).is_none());
        assert!(parse_artifact("not json").is_none());
    }
}
