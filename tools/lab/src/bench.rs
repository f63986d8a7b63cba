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

/// A Markdown table with a row per name and a column per (title, results). What a
/// column has not is a dash.
pub fn table(columns: &[(&str, &Bench)]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (_, bench) in columns {
        for (name, _) in &bench.results {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    let mut text = String::from("| instructions per round trip |");
    for (title, _) in columns {
        let _ = write!(text, " {title} |");
    }
    let _ = writeln!(text, "\n|---|{}", "---:|".repeat(columns.len()));
    for name in names {
        let _ = write!(text, "| {name} |");
        for (_, bench) in columns {
            let cell = bench.get(name).map_or_else(|| "-".to_owned(), |number| number.to_string());
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
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

    #[test]
    fn the_table_has_a_dash_for_what_is_missing() {
        let mut ours = Bench::of("a");
        ours.take(&line("a", "bench cpuid 142"));
        let mut bare = Bench::of("b");
        bare.take(&line("b", "bench ipi 9"));
        let expected = "| instructions per round trip | ours | bare |\n|---|---:|---:|\n\
                        | cpuid | 142 | - |\n| ipi | - | 9 |\n";
        assert_eq!(table(&[("ours", &ours), ("bare", &bare)]), expected);
    }
}
