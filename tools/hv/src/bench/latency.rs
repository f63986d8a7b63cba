//! How late a timer's handler begins, in instructions (QEMU with icount) or ticks (Bochs): alone,
//! beside a guest that starts again and again, and beside one that sends INIT to everybody.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use lab::{Boot, Iommu, Machine};
use serde_json::{Value, json};

use super::exits::{Start, hypervisor_machine, title, without_barriers};
use super::watch;
use crate::choice::Cpu;
use crate::workshop::Workshop;

/// What the guest says before its results.
const SAID: &str = "latency: ";
const TEST: &str = "latency";

/// Who is beside the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Beside {
    Nobody,
    Restarts,
    Storm,
}

impl Beside {
    const ALL: [Self; 3] = [Self::Nobody, Self::Restarts, Self::Storm];

    fn title(self) -> &'static str {
        match self {
            Self::Nobody => "alone",
            Self::Restarts => "beside a guest that starts again and again",
            Self::Storm => "beside a guest that storms with INIT, start-up and NMI",
        }
    }

    /// Where it is the hypervisor that is measured, and not the emulator:
    /// - QEMU with icount runs one processor at a time, until the next timer or longer, so beside
    ///   one that never sleeps timers are late by seconds, hypervisor or not. Where a turn ends as
    ///   an interrupt is injected, it injects it once more.
    /// - In Bochs a string instruction is one turn of its processor however long, and memory is
    ///   cleared by those before a guest starts again.
    fn says_something_on(self, cpu: Cpu, who: &str) -> bool {
        match (self, cpu) {
            (Self::Nobody, _) | (Self::Storm, Cpu::Intel) => true,
            (Self::Restarts, Cpu::Amd) => who == "direct",
            _ => false,
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Nobody => "",
            Self::Restarts => {
                "[guest.beside]\ncpus = [2]\nmemory = \"32 MiB\"\nkernel = \"testguest\"\n\
                 command_line = \"reboot\"\non_reboot = \"restart\"\nmax_restarts = 20\nexpect = \"reboot\"\n"
            }
            Self::Storm => {
                "[guest.beside]\ncpus = [2, 3]\nmemory = \"32 MiB\"\nkernel = \"testguest\"\n\
                 command_line = \"init-storm rounds=100000\"\n"
            }
        }
    }
}

/// One guest's results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Late {
    least: u64,
    most: u64,
}

/// Who takes the interrupts, and where.
struct Column {
    title: String,
    /// In the order of [`Beside::ALL`].
    late: [Option<Late>; 3],
}

/// All columns.
pub struct Latency {
    columns: Vec<Column>,
}

/// Measures on the processors of `cpus`.
///
/// # Errors
/// When something cannot be built, or the guest does not come to its end.
pub fn measure(workshop: &Workshop, folder: &Path, cpus: &[Cpu]) -> Result<Latency> {
    let mut columns = Vec::new();
    if cpus.contains(&Cpu::Amd) {
        let late = [Some(bare(workshop, folder)?), None, None];
        columns.push(Column { title: "no hypervisor, AMD-V's machine".to_owned(), late });
    }
    for &cpu in cpus {
        for who in ["direct", "virtual"] {
            let mut late = [None; 3];
            for (beside, late) in Beside::ALL.into_iter().zip(&mut late) {
                if beside.says_something_on(cpu, who) {
                    *late = Some(guest(workshop, folder, cpu, who, beside)?);
                }
            }
            columns.push(Column { title: format!("{}, {who}", title(cpu)), late });
        }
    }
    Ok(Latency { columns })
}

fn bare(workshop: &Workshop, folder: &Path) -> Result<Late> {
    let elf = lab::Workshop::testguest(workshop)?;
    let boot = Boot::Kernel { elf, initrd: None, command_line: TEST.to_owned() };
    let machine = Machine::everyday(workshop.qemu()?, boot).iommu(Iommu::None).icount();
    run(Box::new(move |logs| machine.start(logs)), folder, "timer latency, no hypervisor")
}

fn guest(workshop: &Workshop, folder: &Path, cpu: Cpu, who: &str, beside: Beside) -> Result<Late> {
    // Whoever is beside it is stopped when it is done.
    let config = format!(
        "[guest.timed]\ncpus = [1]\nmemory = \"32 MiB\"\nkernel = \"testguest\"\n\
         command_line = \"{TEST}\"\ninterrupts = \"{who}\"\non_power_off = \"halt-all\"\n{}",
        beside.config()
    );
    let start = hypervisor_machine(workshop, folder, cpu, &without_barriers(&config))?;
    run(start, folder, &format!("timer latency, {}, {who}, {}", title(cpu), beside.title()))
}

fn run(start: Start, folder: &Path, title: &str) -> Result<Late> {
    let mut late = None;
    watch(start, folder, title, |line| late = late.or(read(&line.text)))?;
    late.with_context(|| format!("{title}: the guest measured nothing; see {}", folder.display()))
}

/// Reads `latency: L at least, M at most, ...`.
fn read(text: &str) -> Option<Late> {
    let said = text.strip_prefix(SAID)?;
    let words: Vec<&str> = said.split_whitespace().collect();
    let [least, "at", "least,", most, "at", "most,", ..] = words.as_slice() else { return None };
    Some(Late { least: least.parse().ok()?, most: most.parse().ok()? })
}

impl Latency {
    /// As Markdown.
    pub fn table(&self) -> String {
        let heads: Vec<&str> = self.columns.iter().map(|column| column.title.as_str()).collect();
        let mut text = format!(
            "| a timer's handler begins later by | {} |\n|---|{}\n",
            heads.join(" | "),
            "---:|".repeat(heads.len())
        );
        for (row, beside) in Beside::ALL.into_iter().enumerate() {
            let cells: Vec<String> = self.columns.iter().map(|column| cell(column.late[row])).collect();
            let _ = writeln!(text, "| {} | {} |", beside.title(), cells.join(" | "));
        }
        text
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        let column = |column: &Column| {
            let rows: Value = Beside::ALL
                .into_iter()
                .zip(column.late)
                .map(|(beside, late)| {
                    let late = late.map(|late| json!({ "least": late.least, "most": late.most }));
                    (beside.title().to_owned(), json!(late))
                })
                .collect();
            (column.title.clone(), rows)
        };
        self.columns.iter().map(column).collect()
    }
}

fn cell(late: Option<Late>) -> String {
    match late {
        None => "-".to_owned(),
        Some(Late { least, most }) if least == most => most.to_string(),
        Some(Late { least, most }) => format!("{least} to {most}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    #[test]
    fn results_are_read_and_shown() {
        let late = read("latency: 49 at least, 60 at most, 50 on average, 2000 times");
        assert_eq!(late, Some(Late { least: 49, most: 60 }));
        assert_eq!(read("latency: starting"), None);
        let same = Some(Late { least: 49, most: 49 });
        let columns = vec![Column { title: "a".to_owned(), late: [same, late, None] }];
        let table = Latency { columns }.table();
        assert!(table.contains("| alone | 49 |") && table.contains("again | 49 to 60 |"), "{table}");
        assert!(table.ends_with("| - |\n"), "{table}");
    }

    #[test]
    fn the_configurations_are_some() {
        for beside in Beside::ALL {
            let text = format!(
                "[guest.timed]\ncpus = [1]\nmemory = \"32 MiB\"\nkernel = \"testguest\"\n{}",
                beside.config()
            );
            assert!(Source::parse(text, "x".to_owned()).is_ok(), "{beside:?}");
        }
    }
}
