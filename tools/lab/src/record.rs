//! What ran, how it went and how long it took: the slowest tests, and the table of the long ones.

use crate::runner::Outcome;
use std::time::Duration;

/// How many of the slowest tests are shown.
const SLOWEST: usize = 10;

/// One test, or one program with many of them.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Row {
    name: String,
    outcome: String,
    time: Duration,
}

/// Every test that ran, in order.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Record(Vec<Row>);

impl Record {
    /// Adds a scenario.
    pub fn add(&mut self, name: &str, outcome: &Outcome, time: Duration) {
        let outcome = match outcome {
            Outcome::Passed => "passed".to_owned(),
            Outcome::Failed(why) => format!("FAILED: {why}"),
            Outcome::Skipped(why) => format!("skipped: {why}"),
        };
        self.0.push(Row { name: name.to_owned(), outcome, time });
    }

    /// Adds a program that ran many tests.
    pub fn add_program(&mut self, name: &str, time: Duration) {
        self.0.push(Row { name: name.to_owned(), outcome: String::new(), time });
    }

    /// The slowest, slowest first; empty if nothing ran.
    pub fn slowest(&self) -> String {
        let mut rows: Vec<&Row> = self.0.iter().filter(|row| !row.time.is_zero()).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.time));
        let line = |row: &&Row| format!("  {:7.1} s  {}\n", row.time.as_secs_f64(), row.name);
        rows.iter().take(SLOWEST).map(line).collect()
    }

    /// All of them as a Markdown table.
    pub fn to_markdown(&self) -> String {
        let row = |row: &Row| {
            format!(
                "| `{}` | {} | {:.0} |\n",
                row.name,
                row.outcome.replace('|', "/"),
                row.time.as_secs_f64()
            )
        };
        let rows: String = self.0.iter().map(row).collect();
        format!("| test | outcome | seconds |\n|---|---|---:|\n{rows}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_come_first_and_what_did_not_run_does_not_come() {
        let mut record = Record::default();
        for second in 1..=12 {
            record.add(&format!("test-{second}"), &Outcome::Passed, Duration::from_secs(second));
        }
        record.add("absent", &Outcome::Skipped("why".to_owned()), Duration::ZERO);
        let text = record.slowest();
        assert_eq!(text.lines().count(), SLOWEST);
        assert_eq!(text.lines().next(), Some("     12.0 s  test-12"));
        assert!(!text.contains("absent") && !text.contains("test-2\n"), "{text}");
        assert_eq!(Record::default().slowest(), "");
    }

    #[test]
    fn a_reason_cannot_break_the_table() {
        let mut record = Record::default();
        record.add("a", &Outcome::Failed("x | y".to_owned()), Duration::from_secs(90));
        let table = record.to_markdown();
        assert_eq!(table.lines().last(), Some("| `a` | FAILED: x / y | 90 |"));
    }
}
