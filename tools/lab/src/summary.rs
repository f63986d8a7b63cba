//! What the hypervisor says at its end, one line per guest and one for itself.

use crate::demux::{HYPERVISOR, Line};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// One guest's end and counts.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct GuestSummary {
    /// How it ended: `off`, `restart`, `crashed`, `refused`, ...
    pub end: String,
    /// Number of virtual processors.
    pub cpus: u64,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// What the hypervisor needed for it, in bytes.
    pub hypervisor_bytes: u64,
    /// From the hypervisor's first instruction to the guest's first, in nanoseconds.
    pub first_instruction_ns: u64,
    /// Number of exits by kind.
    pub exits: BTreeMap<String, u64>,
    /// Those since the guest said that it is up, where its configuration has `ready` and
    /// it did.
    pub steady: Option<BTreeMap<String, u64>>,
}

/// The hypervisor's own line.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct HypervisorSummary {
    /// Its image in memory, in bytes.
    pub image_bytes: u64,
    /// All memory that no guest has, in bytes.
    pub memory_bytes: u64,
    /// TSC ticks from its first instruction to the first guest's first. Where the
    /// emulator counts instructions (icount) a tick is one instruction.
    pub boot_ticks: u64,
    /// Number of configured guests.
    pub guests: u64,
    /// How many of them ended as the configuration expects.
    pub as_expected: u64,
}

/// A run's summary as far as it was received.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Every guest that reported its end, in order of their reports.
    pub guests: Vec<(String, GuestSummary)>,
    /// The last line; without it the hypervisor did not come to its end.
    pub hypervisor: Option<HypervisorSummary>,
}

impl Summary {
    /// Takes one console line; true if it was part of the summary. Only the
    /// hypervisor can write it; unknown keys are for newer readers.
    pub fn take(&mut self, line: &Line) -> bool {
        let Some(text) = part(&line.owner, &line.text) else { return false };
        let fields = || text.split_whitespace().filter_map(|field| field.split_once('='));
        let number =
            |key: &str| fields().find(|(name, _)| *name == key).and_then(|(_, value)| value.parse().ok());
        if text.split_whitespace().next() == Some(HYPERVISOR) {
            self.hypervisor = Some(HypervisorSummary {
                image_bytes: number("image_bytes").unwrap_or(0),
                memory_bytes: number("memory_bytes").unwrap_or(0),
                boot_ticks: number("boot_ticks").unwrap_or(0),
                guests: number("guests").unwrap_or(0),
                as_expected: number("as_expected").unwrap_or(0),
            });
            return true;
        }
        let Some((_, name)) = fields().find(|(key, _)| *key == "guest") else { return false };
        let counts = |prefix: &str| {
            let count = |(key, value): (&str, &str)| {
                Some((key.strip_prefix(prefix)?.to_owned(), value.parse().ok()?))
            };
            fields().filter_map(count).collect()
        };
        let end = fields().find(|(key, _)| *key == "end").map_or("unknown", |(_, end)| end);
        let guest = GuestSummary {
            end: end.to_owned(),
            cpus: number("cpus").unwrap_or(0),
            memory_bytes: number("memory_bytes").unwrap_or(0),
            hypervisor_bytes: number("hypervisor_bytes").unwrap_or(0),
            first_instruction_ns: number("first_instruction_ns").unwrap_or(0),
            exits: counts("exits."),
            steady: number("steady").map(|_: u64| counts("steady.")),
        };
        self.guests.retain(|(other, _)| other != name);
        self.guests.push((name.to_owned(), guest));
        true
    }

    /// The guest `name`.
    pub fn guest(&self, name: &str) -> Option<&GuestSummary> {
        self.guests.iter().find(|(other, _)| other == name).map(|(_, guest)| guest)
    }

    /// Whether the hypervisor came to its end and every guest ended as configured.
    pub fn is_as_expected(&self) -> bool {
        self.hypervisor.as_ref().is_some_and(|own| own.guests > 0 && own.as_expected == own.guests)
    }

    /// The contents of summary.json.
    pub fn to_json(&self) -> Value {
        let guests: serde_json::Map<String, Value> = self
            .guests
            .iter()
            .map(|(name, guest)| {
                let value = json!({
                    "end": guest.end,
                    "cpus": guest.cpus,
                    "memory_bytes": guest.memory_bytes,
                    "hypervisor_bytes": guest.hypervisor_bytes,
                    "first_instruction_ns": guest.first_instruction_ns,
                    "exits": guest.exits,
                    "steady": guest.steady,
                });
                (name.clone(), value)
            })
            .collect();
        let hypervisor = self.hypervisor.as_ref().map(|own| {
            json!({
                "image_bytes": own.image_bytes,
                "memory_bytes": own.memory_bytes,
                "boot_instructions": own.boot_ticks,
                "guests": own.guests,
                "as_expected": own.as_expected,
            })
        });
        json!({ "guests": guests, "hypervisor": hypervisor })
    }

    /// An aligned table for people.
    pub fn to_table(&self) -> String {
        let mut rows = vec![["guest", "end", "boot", "memory", "exits"].map(str::to_owned)];
        for (name, guest) in &self.guests {
            let mut kinds: Vec<_> = guest.exits.iter().filter(|(_, count)| **count > 0).collect();
            kinds.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
            let exits: Vec<_> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            let memory = format!("{} + {}", bytes(guest.memory_bytes), bytes(guest.hypervisor_bytes));
            let boot = nanoseconds(guest.first_instruction_ns);
            rows.push([name.clone(), guest.end.clone(), boot, memory, exits.join(", ")]);
        }
        let mut table = aligned(&rows);
        match &self.hypervisor {
            Some(own) => writeln!(
                table,
                "hypervisor: image {}, memory {}, {} of {} guests ended as expected",
                bytes(own.image_bytes),
                bytes(own.memory_bytes),
                own.as_expected,
                own.guests
            ),
            None => writeln!(table, "hypervisor: did not come to its end"),
        }
        .unwrap_or_default(); // Writing to a String does not fail.
        table
    }
}

/// Whether a line of `owner` that begins with `text` is part of a summary, which is written for tools;
/// people read [`Summary::to_table`].
pub fn is_part(owner: &str, text: &str) -> bool {
    part(owner, text).is_some()
}

/// What a line of a summary says after that word. Only the hypervisor writes such lines.
fn part<'a>(owner: &str, text: &'a str) -> Option<&'a str> {
    let text = (owner == HYPERVISOR).then(|| text.strip_prefix("summary "))??;
    let first = text.split_whitespace().next()?;
    (first == HYPERVISOR || first.starts_with("guest=")).then_some(text)
}

/// Rows with every column but the last padded to its widest cell.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().enumerate().map(|(column, cell)| match column + 1 == N {
            true => cell.clone(),
            false => format!("{cell:<0$}", width(column)),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A size with its binary unit, at most one decimal.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let unit = (bytes.max(1).ilog2() / 10).min(3) as usize;
    let text = format!("{:.1}", bytes as f64 / (1u64 << (10 * unit)) as f64);
    format!("{} {}", text.trim_end_matches(".0"), UNITS[unit])
}

fn nanoseconds(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(owner: &str, text: &str) -> Line {
        Line { owner: owner.to_owned(), text: text.to_owned() }
    }

    fn example() -> Summary {
        let mut summary = Summary::default();
        assert!(summary.take(&line(
            "hypervisor",
            "summary guest=net end=off cpus=1 memory_bytes=268435456 hypervisor_bytes=69632 \
             first_instruction_ns=12345678 exits.cpuid=100 exits.port=2000"
        )));
        assert!(summary.take(&line(
            "hypervisor",
            "summary hypervisor image_bytes=300000 memory_bytes=4194304 boot_ticks=42 guests=1 as_expected=1"
        )));
        summary
    }

    #[test]
    fn reads_both_kinds_of_lines() {
        let summary = example();
        let net = summary.guest("net").unwrap();
        assert_eq!((net.end.as_str(), net.cpus, net.first_instruction_ns), ("off", 1, 12_345_678));
        assert_eq!(net.exits["port"], 2000);
        assert!(summary.is_as_expected());
    }

    #[test]
    fn a_guest_cannot_write_it() {
        let mut summary = Summary::default();
        assert!(!summary.take(&line("net", "summary hypervisor guests=1 as_expected=1")));
        assert!(!summary.is_as_expected());
    }

    #[test]
    fn damage_gives_no_panic_and_no_success() {
        let mut summary = Summary::default();
        for text in
            ["summary ", "summary guest", "summary =", "summary guest=x end=", "summary hypervisor guests=-1"]
        {
            summary.take(&line("hypervisor", text));
        }
        assert!(!summary.is_as_expected());
        assert!(!summary.to_table().is_empty());
    }

    #[test]
    fn json_has_the_documented_keys() {
        let json = example().to_json();
        assert_eq!(json["guests"]["net"]["end"], "off");
        assert_eq!(json["guests"]["net"]["exits"]["cpuid"], 100);
        assert_eq!(json["guests"]["net"]["memory_bytes"], 268_435_456);
        assert_eq!(json["hypervisor"]["boot_instructions"], 42);
        assert!(Summary::default().to_json()["hypervisor"].is_null());
    }

    #[test]
    fn the_table_is_aligned_and_sorts_exits() {
        let table = example().to_table();
        let expected = "guest  end  boot     memory            exits\n\
                        net    off  12.3 ms  256 MiB + 68 KiB  port 2000, cpuid 100\n\
                        hypervisor: image 293 KiB, memory 4 MiB, 1 of 1 guests ended as expected\n";
        assert_eq!(table, expected);
    }
}
