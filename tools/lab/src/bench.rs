//! Benchmark results of a bare-metal guest, as a table.

use crate::demux::Line;
use std::fmt::Write;

/// What one guest's `bench NAME N` lines said: instructions per round trip.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Bench {
    /// Name and instructions, in order.
    pub results: Vec<(String, u64)>,
    /// Name, exits and how many times it was done, in order.
    pub exits: Vec<(String, u64, u64)>,
    owner: String,
}

impl Bench {
    /// Takes the results of guest `owner`.
    pub fn of(owner: &str) -> Self {
        Self { owner: owner.to_owned(), ..Self::default() }
    }

    /// Takes a line; true if it was a result.
    pub fn take(&mut self, line: &Line) -> bool {
        if line.owner != self.owner {
            return false;
        }
        if let Some(counted) = line.text.strip_prefix("exits ") {
            return self.take_exits(counted).is_some();
        }
        let Some((name, number)) = line.text.strip_prefix("bench ").and_then(|text| text.rsplit_once(' '))
        else {
            return false;
        };
        let Ok(number) = number.parse() else { return false };
        self.results.push((name.trim().to_owned(), number));
        true
    }

    /// Takes `NAME EXITS TIMES`.
    fn take_exits(&mut self, counted: &str) -> Option<()> {
        let (counted, times) = counted.rsplit_once(' ')?;
        let (name, exits) = counted.rsplit_once(' ')?;
        self.exits.push((name.to_owned(), exits.parse().ok()?, times.parse().ok()?));
        Some(())
    }

    /// Exits each time that `name` was done.
    pub fn exits_each(&self, name: &str) -> Option<f64> {
        let found = self.exits.iter().find(|(other, ..)| other == name)?;
        Some(found.1 as f64 / found.2 as f64)
    }

    /// The result `name`.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.results.iter().find(|(other, _)| other == name).map(|(_, number)| *number)
    }
}

/// What was measured on one kind of processor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// What stands above it.
    pub title: String,
    /// Bulkhead's results.
    pub ours: Bench,
    /// Those of Linux + KVM.
    pub reference: Option<Bench>,
}

impl Column {
    /// The titles of its columns in the table.
    fn heads(&self) -> Vec<String> {
        match self.reference {
            None => vec![self.title.clone()],
            Some(_) => vec![self.title.clone(), "Linux + KVM".to_owned(), "ratio".to_owned()],
        }
    }

    /// The cells of the row `name`. What was not measured is a dash.
    fn cells(&self, name: &str) -> Vec<String> {
        let cell = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let ours = self.ours.get(name);
        let Some(reference) = &self.reference else { return vec![cell(ours)] };
        let theirs = reference.get(name);
        let ratio = ratio(ours, theirs).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        vec![cell(ours), cell(theirs), ratio]
    }
}

/// A Markdown table of exits each time that something was done, by those of `columns` that
/// count them.
pub fn exits_table(columns: &[Column]) -> String {
    let counting: Vec<&Column> = columns.iter().filter(|column| !column.ours.exits.is_empty()).collect();
    let mut names: Vec<&str> = Vec::new();
    for (name, ..) in counting.iter().flat_map(|column| &column.ours.exits) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let heads: Vec<&str> = counting.iter().map(|column| column.title.as_str()).collect();
    let mut text =
        format!("| exits for each | {} |\n|---|{}\n", heads.join(" | "), "---:|".repeat(heads.len()));
    for name in names {
        let cell = |column: &&Column| column.ours.exits_each(name).map_or_else(|| "-".to_owned(), each);
        let cells: Vec<String> = counting.iter().map(cell).collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text
}

/// Whole numbers as such.
fn each(exits: f64) -> String {
    if exits.fract() == 0.0 { format!("{exits:.0}") } else { format!("{exits:.2}") }
}

/// A Markdown table with a row per name; beside a reference stands ours as a part of it.
pub fn table(columns: &[Column]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for bench in columns.iter().flat_map(|column| std::iter::once(&column.ours).chain(&column.reference)) {
        for (name, _) in &bench.results {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    let heads: Vec<String> = columns.iter().flat_map(Column::heads).collect();
    let mut text = format!(
        "| instructions per round trip | {} |\n|---|{}\n",
        heads.join(" | "),
        "---:|".repeat(heads.len())
    );
    for name in names {
        let cells: Vec<String> = columns.iter().flat_map(|column| column.cells(name)).collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text
}

/// Ours as a part of theirs, where that says something.
fn ratio(ours: Option<u64>, theirs: Option<u64>) -> Option<f64> {
    match (ours?, theirs?) {
        (_, 0) => None,
        (ours, theirs) => Some(ours as f64 / theirs as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(owner: &str, text: &str) -> Line {
        Line { owner: owner.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn reads_results_of_its_guest_only() {
        let mut bench = Bench::of("bench");
        assert!(bench.take(&line("bench", "bench cpuid 142")));
        assert!(bench.take(&line("bench", "bench port write 300")));
        assert!(!bench.take(&line("other", "bench cpuid 1")));
        assert!(!bench.take(&line("bench", "bench cpuid many")));
        assert!(!bench.take(&line("bench", "hello")));
        assert_eq!((bench.get("cpuid"), bench.get("port write")), (Some(142), Some(300)));
    }

    fn of(owner: &str, results: &[&str]) -> Bench {
        let mut bench = Bench::of(owner);
        for result in results {
            assert!(bench.take(&line(owner, result)), "{result}");
        }
        bench
    }

    #[test]
    fn a_reference_stands_beside_with_its_ratio() {
        let ours = of("a", &["bench cpuid 142", "bench msi 5"]);
        let reference = of("b", &["bench ipi 9", "bench cpuid 1420"]);
        let columns = [Column { title: "AMD-V".to_owned(), ours, reference: Some(reference) }];
        let expected = "| instructions per round trip | AMD-V | Linux + KVM | ratio |\n|---|---:|---:|---:|\n\
                        | cpuid | 142 | 1420 | 0.10 |\n| msi | 5 | - | - |\n| ipi | - | 9 | - |\n";
        assert_eq!(table(&columns), expected);
    }

    #[test]
    fn exits_stand_in_a_table_of_their_own() {
        let column = |title: &str, lines: &[&str]| Column {
            title: title.to_owned(),
            ours: of("a", lines),
            reference: None,
        };
        let columns = [
            column("AMD-V", &["exits timer interrupt 300 100", "exits IPI 3 2"]),
            column("direct", &["exits timer interrupt 0 100"]),
            column("uncounted", &["bench cpuid 1"]),
        ];
        let expected = "| exits for each | AMD-V | direct |\n|---|---:|---:|\n\
                        | timer interrupt | 3 | 0 |\n| IPI | 1.50 | - |\n";
        assert_eq!(exits_table(&columns), expected);
    }

    #[test]
    fn columns_without_a_reference_are_one_each() {
        let column = |title: &str, result: &str| Column {
            title: title.to_owned(),
            ours: of("a", &[result]),
            reference: None,
        };
        let columns = [column("AMD-V", "bench cpuid 142"), column("VT-x", "bench ipi 7")];
        let expected = "| instructions per round trip | AMD-V | VT-x |\n|---|---:|---:|\n\
                        | cpuid | 142 | - |\n| ipi | - | 7 |\n";
        assert_eq!(table(&columns), expected);
    }
}
