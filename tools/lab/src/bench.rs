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

/// A Markdown table with a row per name: (title, results), and beside them those of a reference
/// with ours as a part of them. What one of the two has not is a dash.
pub fn table(ours: (&str, &Bench), reference: Option<(&str, &Bench)>) -> String {
    let Some((other_title, other)) = reference else { return table_of_one(ours) };
    let (title, bench) = ours;
    let missing = other.results.iter().map(|(name, _)| name).filter(|name| bench.get(name).is_none());
    let names = bench.results.iter().map(|(name, _)| name).chain(missing);
    let mut text = format!("| {UNIT} | {title} | {other_title} | ratio |\n|---|---:|---:|---:|\n");
    for name in names {
        let (ours, theirs) = (bench.get(name), other.get(name));
        let ratio = ratio(ours, theirs).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let _ = writeln!(text, "| {name} | {} | {} | {ratio} |", cell(ours), cell(theirs));
    }
    text
}

fn table_of_one((title, bench): (&str, &Bench)) -> String {
    let mut text = format!("| {UNIT} | {title} |\n|---|---:|\n");
    for (name, number) in &bench.results {
        let _ = writeln!(text, "| {name} | {number} |");
    }
    text
}

/// What the numbers are.
const UNIT: &str = "instructions per round trip";

fn cell(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
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
        let expected = "| instructions per round trip | ours | theirs | ratio |\n|---|---:|---:|---:|\n\
                        | cpuid | 142 | 1420 | 0.10 |\n| msi | 5 | - | - |\n| ipi | - | 9 | - |\n";
        assert_eq!(table(("ours", &ours), Some(("theirs", &reference))), expected);
    }

    #[test]
    fn without_a_reference_there_is_one_column() {
        let ours = of("a", &["bench cpuid 142"]);
        let expected = "| instructions per round trip | ours |\n|---|---:|\n| cpuid | 142 |\n";
        assert_eq!(table(("ours", &ours), None), expected);
    }
}
