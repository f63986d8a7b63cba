//! Benchmark results of a bare-metal guest, as a table.

use crate::demux::Line;
use std::fmt::Write;

/// What one guest's `bench NAME N` lines said: instructions per round trip.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Bench {
    /// Name and instructions, in order.
    pub results: Vec<(String, u64)>,
    owner: String,
}

impl Bench {
    /// Takes the results of guest `owner`.
    pub fn of(owner: &str) -> Self {
        Self { results: Vec::new(), owner: owner.to_owned() }
    }

    /// Takes a line; true if it was a result.
    pub fn take(&mut self, line: &Line) -> bool {
        if line.owner != self.owner {
            return false;
        }
        let Some((name, number)) = line.text.strip_prefix("bench ").and_then(|text| text.rsplit_once(' '))
        else {
            return false;
        };
        let Ok(number) = number.parse() else { return false };
        self.results.push((name.trim().to_owned(), number));
        true
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
