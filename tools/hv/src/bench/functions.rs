//! What a request or a frame of an emulated function takes of the hypervisor, part by part, and of its
//! guest: by a bare-metal guest with drivers that do as Linux's do, on AMD-V with time by instructions.
//!
//! The hypervisor is built for this with its account switched on, whose own cost is taken off. It counts
//! the turns of its housekeeping CPU that did something, not those that waited for a device.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, ensure};
use lab::Line;
use serde_json::{Value, json};

use super::exits::{hypervisor_machine, without_barriers};
use super::watch;
use crate::choice::Cpu;
use crate::workshop::Workshop;

/// One drive and one interface are the hypervisor's; a guest has parts of the drive by every model, and
/// interfaces of every model, and another is at the network.
const GUESTS: &str = r#"
[disk.nvme]
device = { path = "00:03.0", id = "1b36:0010" }

[network.lan]
uplink = { path = "00:02.0/00.0", id = "8086:10d3" }

[guest.load]
cpus = [1]
memory = "64 MiB"
kernel = "testguest"
command_line = "load"

[[guest.load.pci]]
slot = "02.0"
emulate = "virtio-blk"
backing = { disk = "nvme", partition = 1 }

[[guest.load.pci]]
slot = "03.0"
emulate = "nvme"
backing = { disk = "nvme", partition = 2 }

[[guest.load.pci]]
slot = "04.0"
emulate = "ide"
backing = { disk = "nvme", partition = 3 }

[[guest.load.pci]]
slot = "05.0"
emulate = "virtio-net"
network = "lan"
mac = "52:54:00:00:0b:01"

[[guest.load.pci]]
slot = "06.0"
emulate = "ne2000"
network = "lan"
mac = "52:54:00:00:0b:03"

[guest.peer]
cpus = [2]
memory = "64 MiB"
kernel = "testguest"
command_line = "load-peer"

[[guest.peer.pci]]
slot = "05.0"
emulate = "virtio-net"
network = "lan"
mac = "52:54:00:00:0b:02"
"#;

/// The parts of the hypervisor's account, as it says them and as they are called here.
const PARTS: [(&str, &str); 5] = [
    ("model", "rings or registers"),
    ("layer", "block layer or switch"),
    ("driver", "driver"),
    ("copy", "copies of data"),
    ("interrupt", "interrupts"),
];

/// What some requests or frames took.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Row {
    name: String,
    /// How many there were.
    count: u64,
    exits: u64,
    /// Instructions at ports, each string as one.
    ports: u64,
    interrupts: u64,
    /// Instructions of the hypervisor, in the order of [`PARTS`].
    parts: [u64; PARTS.len()],
}

/// What all of them took.
#[derive(Default)]
pub struct Functions {
    rows: Vec<Row>,
    /// That of which the last line was, until it is over.
    current: Option<Row>,
    complaints: Vec<String>,
    /// Bytes of the hypervisor's memory for a function of each model.
    memory: Vec<(String, u64)>,
}

/// Measures with `metered`, which builds a hypervisor that counts.
///
/// # Errors
/// When something cannot be built, or a guest does not come to its end.
pub fn measure(metered: &Workshop, folder: &Path) -> Result<Functions> {
    let mut functions = Functions::default();
    let start = hypervisor_machine(metered, folder, Cpu::Amd, &without_barriers(GUESTS))?;
    watch(start, folder, "AMD-V: counting instructions of requests and frames", |line| functions.take(line))?;
    let Functions { rows, complaints, .. } = &functions;
    let place = folder.display();
    ensure!(complaints.is_empty(), "{}; what was said is in {place}", complaints.join("; "));
    ensure!(!rows.is_empty(), "the guest measured nothing; its messages are in {place}");
    Ok(functions)
}

impl Functions {
    fn take(&mut self, line: &Line) {
        if let Some((_, account)) = line.text.split_once("metered: ") {
            if let Some(row) = &mut self.current {
                for (sum, (part, _)) in row.parts.iter_mut().zip(PARTS) {
                    *sum += number_of(account, part).unwrap_or(0);
                }
            }
        } else if let Some(memory) = memory(&line.text) {
            if !self.memory.iter().any(|(model, _)| *model == memory.0) {
                self.memory.push(memory);
            }
        } else if let Some(said) = line.text.strip_prefix("load: ") {
            if said.starts_with("FAILED") {
                self.complaints.push(said.to_owned());
            } else if let Some(name) = said.strip_suffix(": starting") {
                self.current = Some(Row { name: name.to_owned(), ..Row::default() });
            } else if let Some((name, rest)) = said.rsplit_once(": ") {
                self.end(name, rest);
            }
        }
    }

    /// Takes `C done, E exits, P port instructions, I interrupts, ...` of the current row.
    fn end(&mut self, name: &str, said: &str) {
        let Some(mut row) = self.current.take_if(|row| row.name == name) else { return };
        let numbers: Vec<u64> =
            said.split(", ").filter_map(|piece| piece.split(' ').next()?.parse().ok()).collect();
        if let [count, exits, ports, interrupts, ..] = numbers[..] {
            (row.count, row.exits, row.ports, row.interrupts) = (count.max(1), exits, ports, interrupts);
            self.rows.push(row);
        }
    }

    /// As Markdown.
    pub fn table(&self) -> String {
        let heads: Vec<&str> = PARTS.iter().map(|(_, title)| *title).collect();
        let mut text = format!(
            "| instructions in the hypervisor for each | {} | in all | exits | interrupts |\n|---|{}\n",
            heads.join(" | "),
            "---:|".repeat(heads.len() + 3)
        );
        for row in &self.rows {
            let each = |sum: u64| (sum + row.count / 2) / row.count;
            let parts: Vec<String> = row.parts.iter().map(|sum| each(*sum).to_string()).collect();
            let all = each(row.parts.iter().sum());
            let (exits, interrupts) = (per(row.exits, row.count), per(row.interrupts, row.count));
            let _ =
                writeln!(text, "| {} | {} | {all} | {exits} | {interrupts} |", row.name, parts.join(" | "));
        }
        [text, self.ports(), self.memory()].join("\n")
    }

    fn memory(&self) -> String {
        let mut text = "| model | bytes of memory for a function |\n|---|---:|\n".to_owned();
        for (model, bytes) in &self.memory {
            let _ = writeln!(text, "| {model} | {bytes} |");
        }
        text
    }

    /// Of the models that are at ports: that each exit is one of their guest's instructions there.
    fn ports(&self) -> String {
        let mut text =
            "| of models at ports, for each | exits | instructions at ports |\n|---|---:|---:|\n".to_owned();
        for row in self.rows.iter().filter(|row| row.ports > 0) {
            let (exits, ports) = (per(row.exits, row.count), per(row.ports, row.count));
            let _ = writeln!(text, "| {} | {exits} | {ports} |", row.name);
        }
        text
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        let row = |row: &Row| {
            let parts: Value = PARTS
                .iter()
                .zip(row.parts)
                .map(|((part, _), sum)| ((*part).to_owned(), json!(sum)))
                .collect();
            let value = json!({
                "times": row.count, "exits": row.exits, "port_instructions": row.ports,
                "interrupts": row.interrupts, "instructions": parts,
            });
            (row.name.clone(), value)
        };
        let memory: Value = self.memory.iter().map(|(model, bytes)| (model.clone(), json!(bytes))).collect();
        json!({ "each": self.rows.iter().map(row).collect::<Value>(), "memory": memory })
    }
}

/// Reads `GUEST: SLOT: MODEL takes B bytes`.
fn memory(text: &str) -> Option<(String, u64)> {
    let (rest, bytes) = text.strip_suffix(" bytes")?.rsplit_once(" takes ")?;
    let (_, model) = rest.rsplit_once(": ")?;
    Some((model.to_owned(), bytes.parse().ok()?))
}

/// The number of `NAME=NUMBER` in an account.
pub(super) fn number_of(account: &str, name: &str) -> Option<u64> {
    let value = account.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value?.parse().ok()
}

fn per(sum: u64, count: u64) -> String {
    match sum {
        0 => "0".to_owned(),
        _ if sum.is_multiple_of(count) => (sum / count).to_string(),
        _ => format!("{:.2}", sum as f64 / count as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    #[test]
    fn the_configuration_is_one() {
        assert!(Source::parse(without_barriers(GUESTS), "x".to_owned()).is_ok());
    }

    #[test]
    fn accounts_belong_to_the_row_that_goes_on() {
        let mut functions = Functions::default();
        for text in [
            "metered: turns=1 model=9 layer=9 driver=9 copy=9 interrupt=9 idle_turns=0",
            "load: 03.0: ide takes 4096 bytes",
            "load: IDE, 4 KiB, alone: starting",
            "metered: turns=3 model=100 layer=200 driver=300 copy=400 interrupt=50 idle_turns=7",
            "metered: turns=3 model=100 layer=200 driver=300 copy=400 interrupt=51 idle_turns=7",
            "load: IDE, 4 KiB, alone: 2 done, 36 exits, 36 port instructions, 1 interrupts, 99 ticks",
            "metered: turns=1 model=9 layer=9 driver=9 copy=9 interrupt=9 idle_turns=0",
            "load: over",
        ] {
            functions.take(&Line { owner: "load".to_owned(), text: text.to_owned() });
        }
        let table = functions.table();
        let row = "| IDE, 4 KiB, alone | 100 | 200 | 300 | 400 | 51 | 1051 | 18 | 0.50 |\n";
        assert!(table.contains(row), "{table}");
        assert!(table.contains("| IDE, 4 KiB, alone | 18 | 18 |\n"), "{table}");
        assert!(table.ends_with("| ide | 4096 |\n"), "{table}");
    }

    #[test]
    fn a_failure_is_kept() {
        let mut functions = Functions::default();
        functions
            .take(&Line { owner: "load".to_owned(), text: "load: FAILED, IDE, 4 KiB, alone".to_owned() });
        assert_eq!(functions.complaints, ["FAILED, IDE, 4 KiB, alone"]);
    }
}
