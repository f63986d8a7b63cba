//! `cargo hv attacks`: makes `docs/attacks.md` out of `docs/attacks.toml`, which says for each
//! class of attack which tests hold it off. A host test keeps both true: each row has a test that
//! exists, or says in words why it has none.

mod sources;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::Column;
use serde::Deserialize;

use crate::panics;
use crate::project::Project;
use sources::HostTests;

/// The rows as they are written.
const TABLE: &str = "docs/attacks.toml";
/// The page made of them.
const PAGE: &str = "docs/attacks.md";

/// What stands before the tables.
const HEAD: &str = "\
# What an attacker may try, and what shows that it fails

`cargo hv attacks` makes this page out of [attacks.toml](attacks.toml). `cargo hv test` fails when a
row names no test, names one that does not exist, or when this page is not what the command makes.

A test named `crate::path` runs on the host, with `cargo test`. One named `attack/x`, `guest/x`,
`lifecycle/x` and so on is a scenario: the hypervisor and its guests on an emulated machine, run on the
columns in brackets. `image/panics` reads the hypervisor's ELF (`cargo hv panics`). ";

/// `docs/attacks.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    row: Vec<Row>,
}

/// A class of attack.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// The table that it stands in.
    part: String,
    /// What it is called.
    class: String,
    /// What the attacker does.
    attacker: String,
    /// What must happen.
    correct: String,
    /// What shows it: tests on the host and scenarios, by name.
    #[serde(default)]
    tests: Vec<String>,
    /// What no emulator can show, and why; what is shown instead are the tests.
    cannot_run: Option<String>,
    /// Which part of the class concerns something that does not exist here.
    not_built: Option<String>,
}

/// The scenarios by name without column, and the columns where each runs.
type Scenarios = BTreeMap<String, Vec<&'static str>>;

/// Writes the page.
///
/// # Errors
/// When the rows cannot be read, or have a problem; then the page stays as it was.
pub fn run(project: &Project) -> Result<()> {
    let table = Table::read(project.root())?;
    let problems = table.problems(&HostTests::of(project.root())?, &scenarios());
    ensure!(problems.is_empty(), "{TABLE}:\n  {}", problems.join("\n  "));
    let page = project.root().join(PAGE);
    std::fs::write(&page, table.page(&scenarios()))
        .with_context(|| format!("cannot write {}", page.display()))?;
    println!("{}", page.display());
    Ok(())
}

fn scenarios() -> Scenarios {
    let mut map = Scenarios::new();
    for scenario in lab::scenarios::all() {
        let (name, suffix) = scenario.name().split_once('@').unwrap_or((scenario.name(), ""));
        let columns = map.entry(name.to_owned()).or_default();
        if scenario.never().is_none() {
            columns.push(column_of(suffix));
        }
    }
    map
}

/// What a reader calls the column whose scenarios end with `@suffix`.
fn column_of(suffix: &str) -> &'static str {
    let all = Column::ALL.into_iter();
    all.filter(|column| column.suffix().trim_start_matches('@') == suffix)
        .map(Column::title)
        .next()
        .unwrap_or("AMD-V (Bochs)")
}

impl Table {
    fn read(root: &Path) -> Result<Self> {
        let path = root.join(TABLE);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not what it should be", path.display()))
    }

    /// What is wrong with the rows, each in a line.
    fn problems(&self, host: &HostTests, scenarios: &Scenarios) -> Vec<String> {
        let mut problems = Vec::new();
        for row in &self.row {
            let name = format!("{} / {}", row.part, row.class);
            let mut add = |what: String| problems.push(format!("{name}: {what}"));
            if row.tests.is_empty() && row.not_built.is_none() {
                add("no test, and no word why (`not_built`)".to_owned());
            }
            for text in [&row.attacker, &row.correct].into_iter().chain(&row.cannot_run).chain(&row.not_built)
            {
                if text.trim().is_empty() || text.contains(['|', '\n']) {
                    add(format!("empty, or not one cell of a table: {text:?}"));
                }
            }
            for test in &row.tests {
                if test == panics::NAME {
                    continue;
                }
                if test.contains("::") {
                    if !host.contains(test) {
                        add(format!("there is no test {test} on the host"));
                    }
                } else if scenarios.get(test).is_none_or(Vec::is_empty) {
                    add(format!("there is no scenario {test} that any column runs"));
                }
            }
        }
        for (index, row) in self.row.iter().enumerate() {
            let before = self.row.get(..index).unwrap_or_default();
            if before.iter().any(|other| (&other.part, &other.class) == (&row.part, &row.class)) {
                problems.push(format!("{} / {}: there twice", row.part, row.class));
            }
        }
        problems
    }

    /// The whole page.
    fn page(&self, scenarios: &Scenarios) -> String {
        let mut page = HEAD.to_owned();
        let nested = Column::VmxVtd.title();
        let _ = writeln!(page, "{nested} runs where the host has nested KVM.");
        let mut part = "";
        for row in &self.row {
            if row.part != part {
                part = &row.part;
                let _ = writeln!(page, "\n## {part}\n\n| class | the attacker | what must happen | tests |");
                let _ = writeln!(page, "|---|---|---|---|");
            }
            let cells = [&row.class, &row.attacker, &row.correct].map(|text| text.trim());
            let _ = writeln!(page, "| {} | {} |", cells.join(" | "), row.evidence(scenarios));
        }
        page
    }
}

impl Row {
    /// The last cell.
    fn evidence(&self, scenarios: &Scenarios) -> String {
        let mut parts = Vec::new();
        parts.extend(self.not_built.iter().map(|what| format!("not built: {}", what.trim())));
        parts.extend(self.cannot_run.iter().map(|why| format!("cannot run here: {}", why.trim())));
        parts.extend(self.tests.iter().map(|test| match scenarios.get(test) {
            Some(columns) => format!("`{test}` ({})", columns.join(", ")),
            None => format!("`{test}`"),
        }));
        parts.join("<br>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
    }

    #[test]
    fn every_row_has_a_test_that_exists() {
        let table = Table::read(root()).expect("the rows");
        let problems = table.problems(&HostTests::of(root()).expect("the sources"), &scenarios());
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        assert!(table.row.len() > 50, "rows were lost");
    }

    #[test]
    fn the_page_is_what_the_rows_say() {
        let table = Table::read(root()).expect("the rows");
        let page = std::fs::read_to_string(root().join(PAGE)).expect("the page");
        assert!(page == table.page(&scenarios()), "`cargo hv attacks` makes {PAGE} anew");
    }

    fn one(line: &str) -> Vec<String> {
        let text = format!("[[row]]\npart = 'p'\nclass = 'c'\nattacker = 'a'\ncorrect = 'o'\n{line}\n");
        let table: Table = toml::from_str(&text).expect("a row");
        let host = HostTests::from_names(["pci::tests::real"]);
        table.problems(
            &host,
            &Scenarios::from([
                ("attack/dma".to_owned(), vec!["AMD-V x VT-d"]),
                ("attack/never".to_owned(), vec![]),
            ]),
        )
    }

    #[test]
    fn a_row_without_a_test_or_with_one_that_is_not_there_is_a_problem() {
        assert_eq!(one("").len(), 1);
        assert_eq!(one("tests = ['pci::tests::gone']").len(), 1);
        assert_eq!(one("tests = ['attack/gone']").len(), 1);
        assert_eq!(one("tests = ['attack/never']").len(), 1, "a scenario that no column runs");
        assert_eq!(one("cannot_run = 'no such processor'").len(), 1, "something must be shown instead");
        assert_eq!(one("not_built = ' '").len(), 1);
        assert_eq!(one("tests = ['attack/dma', 'pci::tests::real']"), Vec::<String>::new());
        assert_eq!(one("not_built = 'no such device'"), Vec::<String>::new());
    }
}
