//! What a run of all scenarios showed, as a table: features by processor and IOMMU.

use crate::column::Column;
use crate::feature::{Feature, NEVER_RUN};
use crate::runner::Outcome;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Where a feature has no scenario on a column.
const NOT_REPEATED: &str = "shown on another column; nothing of it depends on this one";

/// Before and after the table in a Markdown file.
const START: &str = "<!-- matrix -->";
const END: &str = "<!-- /matrix -->";

/// The outcomes so far.
#[derive(Clone, Default, Debug)]
pub struct Matrix {
    cells: BTreeMap<(Feature, Column), Cell>,
}

/// The outcomes of one feature on one column.
#[derive(Clone, Default, Debug)]
struct Cell {
    passed: usize,
    failed: usize,
    /// Reasons, each once, in their order.
    skipped: Vec<String>,
}

/// Reasons by their number, from 1.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn number(&mut self, why: &str) -> usize {
        let known = self.0.iter().position(|note| note == why);
        1 + known.unwrap_or_else(|| {
            self.0.push(why.to_owned());
            self.0.len() - 1
        })
    }

    fn marks<'a>(&mut self, reasons: impl IntoIterator<Item = &'a str>) -> String {
        reasons.into_iter().map(|why| format!(" [{}]", self.number(why))).collect()
    }
}

impl Cell {
    fn text(&self, notes: &mut Notes) -> String {
        let marks = notes.marks(self.skipped.iter().map(String::as_str));
        match (self.passed, self.failed) {
            (0, 0) => format!("skipped{marks}"),
            (passed, 0) => format!("passed {passed}{marks}"),
            (passed, failed) => format!("FAILED {failed} of {}{marks}", passed + failed),
        }
    }
}

impl Matrix {
    /// Adds how a scenario went.
    pub fn add(&mut self, feature: Feature, column: Column, outcome: &Outcome) {
        let cell = self.cells.entry((feature, column)).or_default();
        match outcome {
            Outcome::Passed => cell.passed += 1,
            Outcome::Failed(_) => cell.failed += 1,
            Outcome::Skipped(why) if cell.skipped.contains(why) => {}
            Outcome::Skipped(why) => cell.skipped.push(why.clone()),
        }
    }

    /// Whether no scenario was run.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Title and cells of each row. After a run of some scenarios only, `whole` is
    /// false, and what was not asked for is left out.
    fn rows(&self, whole: bool, notes: &mut Notes) -> Vec<(&'static str, Vec<String>)> {
        let mut rows = Vec::new();
        for feature in Feature::ALL {
            let cells = Column::ALL.map(|column| self.cells.get(&(feature, column)));
            if !whole && cells.iter().all(Option::is_none) {
                continue;
            }
            let cells = cells.into_iter().map(|cell| match cell {
                Some(cell) => cell.text(notes),
                None if whole => format!("skipped [{}]", notes.number(NOT_REPEATED)),
                None => "-".to_owned(),
            });
            rows.push((feature.title(), cells.collect()));
        }
        for row in NEVER_RUN.iter().filter(|_| whole) {
            let cells = Column::ALL.iter().map(|column| match row.columns.contains(column) {
                true => format!("never run [{}]", notes.number(row.why)),
                false => "-".to_owned(),
            });
            rows.push((row.title, cells.collect()));
        }
        rows
    }

    /// As it stands at the end of `cargo hv test`; `whole` says that nothing was
    /// filtered out.
    pub fn to_text(&self, whole: bool) -> String {
        let mut notes = Notes::default();
        let rows = self.rows(whole, &mut notes);
        let head = Column::ALL.map(Column::title);
        let first = rows.iter().map(|(title, _)| title.len()).max().unwrap_or(0);
        let widths: Vec<usize> = head
            .iter()
            .enumerate()
            .map(|(place, title)| {
                let cells = rows.iter().filter_map(|(_, cells)| cells.get(place)).map(String::len);
                cells.max().unwrap_or(0).max(title.len())
            })
            .collect();
        let mut text = String::new();
        let mut line = |title: &str, cells: &[&str]| {
            let mut line = format!("{title:first$}");
            for (cell, width) in cells.iter().zip(&widths) {
                let _ = write!(line, "   {cell:width$}");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        };
        line("", &head);
        for (title, cells) in &rows {
            line(title, &cells.iter().map(String::as_str).collect::<Vec<_>>());
        }
        for (number, why) in notes.0.iter().enumerate() {
            let _ = writeln!(text, "[{}] {why}", number + 1);
        }
        text
    }

    /// The whole of it in Markdown.
    pub fn to_markdown(&self) -> String {
        let mut notes = Notes::default();
        let rows = self.rows(true, &mut notes);
        let mut text =
            format!("| |{}\n", Column::ALL.map(|column| format!(" {} |", column.title())).concat());
        let _ = writeln!(text, "|---|{}", "---|".repeat(Column::ALL.len()));
        for (title, cells) in rows {
            let _ = writeln!(text, "| {title} | {} |", cells.join(" | "));
        }
        text.push('\n');
        for (number, why) in notes.0.iter().enumerate() {
            let _ = writeln!(text, "{}. {why}", number + 1);
        }
        text
    }
}

/// Puts `table` between the markers `<!-- matrix -->` and `<!-- /matrix -->` of `page`; `None`
/// if it has none.
pub fn replace_in(page: &str, table: &str) -> Option<String> {
    replace_between(page, START, END, table)
}

/// Puts `table` between the lines `start` and `end` of `page`; `None` if it has none.
pub fn replace_between(page: &str, start: &str, end: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(start)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{start}\n{}\n{end}{after}", table.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(why: &str) -> Outcome {
        Outcome::Skipped(why.to_owned())
    }

    fn matrix(outcomes: &[(Feature, Column, Outcome)]) -> Matrix {
        let mut matrix = Matrix::default();
        for (feature, column, outcome) in outcomes {
            matrix.add(*feature, *column, outcome);
        }
        matrix
    }

    fn row<'a>(text: &'a str, title: &str) -> &'a str {
        text.lines().find(|line| line.contains(title)).unwrap()
    }

    #[test]
    fn one_failure_shows_whatever_else_passed() {
        let matrix = matrix(&[
            (Feature::Linux, Column::SvmVtd, Outcome::Passed),
            (Feature::Linux, Column::SvmVtd, Outcome::Failed("late".to_owned())),
            (Feature::Linux, Column::SvmAmdVi, Outcome::Passed),
        ]);
        let text = matrix.to_text(true);
        let row = row(&text, Feature::Linux.title());
        assert!(row.contains("FAILED 1 of 2") && row.contains("passed 1"), "{row}");
    }

    #[test]
    fn a_reason_is_one_note_wherever_it_stands() {
        let matrix = matrix(&[
            (Feature::Linux, Column::VmxVtd, skipped("no vmx")),
            (Feature::Storms, Column::VmxVtd, skipped("no vmx")),
            (Feature::Storms, Column::SvmVtd, Outcome::Passed),
            (Feature::Storms, Column::SvmVtd, skipped("an emulator's bug")),
        ]);
        let text = matrix.to_text(false);
        assert_eq!(text.matches("no vmx").count(), 1, "{text}");
        assert!(row(&text, Feature::Storms.title()).contains("passed 1 [2]"), "{text}");
        assert!(row(&text, Feature::Storms.title()).ends_with("skipped [1]"), "{text}");
        assert!(text.contains("\n[1] no vmx\n[2] an emulator's bug\n"), "{text}");
    }

    #[test]
    fn a_part_says_nothing_of_the_rest() {
        let matrix = matrix(&[(Feature::Linux, Column::SvmVtd, Outcome::Passed)]);
        let text = matrix.to_text(false);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains("never run"), "{text}");
    }

    #[test]
    fn no_cell_of_the_whole_is_without_a_word() {
        let text = matrix(&[(Feature::Linux, Column::SvmVtd, Outcome::Passed)]).to_markdown();
        let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| ")).collect();
        assert_eq!(rows.len(), 1 + Feature::ALL.len() + NEVER_RUN.len());
        for line in &rows[1..] {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 1 + Column::ALL.len(), "{line}");
            assert!(cells.iter().all(|cell| !cell.is_empty()), "{line}");
        }
        assert!(text.contains(NOT_REPEATED) && text.contains("never run"));
    }

    #[test]
    fn the_table_goes_between_its_markers_and_nowhere_else() {
        let page = "# x\n<!-- matrix -->\nold\n<!-- /matrix -->\nend\n";
        let new = replace_in(page, "| a |\n").unwrap();
        assert_eq!(new, "# x\n<!-- matrix -->\n| a |\n<!-- /matrix -->\nend\n");
        assert_eq!(replace_in(&new, "| a |\n").as_deref(), Some(new.as_str()));
        assert_eq!(replace_in("# x\n", "| a |\n"), None);
        assert_eq!(replace_in("<!-- /matrix -->\n<!-- matrix -->\n", "| a |\n"), None);
    }
}
