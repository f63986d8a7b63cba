//! How long a guest whose rings are full delays others, in instructions: how long the hypervisor's
//! housekeeping CPU looks elsewhere at most, and how long another guest's requests and frames take.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, ensure};
use lab::Line;
use serde_json::{Value, json};

use super::exits::{hypervisor_machine, without_barriers};
use super::functions::number_of;
use super::watch;
use crate::choice::Cpu;
use crate::workshop::Workshop;

/// The one that is measured. Whoever is beside it is stopped when it is done.
const MEASURED: &str = r#"
[disk.nvme]
device = { path = "00:03.0", id = "1b36:0010" }

[network.lan]

[guest.measured]
cpus = [1]
memory = "64 MiB"
kernel = "testguest"
command_line = "load-beside"
on_power_off = "halt-all"

[[guest.measured.pci]]
slot = "02.0"
emulate = "virtio-blk"
backing = { disk = "nvme", partition = 1 }

[[guest.measured.pci]]
slot = "05.0"
emulate = "virtio-net"
network = "lan"

[[guest.measured.pci]]
slot = "06.0"
emulate = "virtio-net"
network = "lan"
"#;

const FLOOD: &str = r#"
[guest.flood]
cpus = [2]
memory = "64 MiB"
kernel = "testguest"
command_line = "load-flood WITH"

[[guest.flood.pci]]
slot = "02.0"
emulate = "virtio-blk"
backing = { disk = "nvme", partition = 2 }

[[guest.flood.pci]]
slot = "05.0"
emulate = "virtio-net"
network = "lan"

[[guest.flood.pci]]
slot = "06.0"
emulate = "virtio-net"
network = "lan"
"#;

/// Who floods: what the guest is told, and what stands in the table.
const FLOODS: [(Option<&str>, &str); 4] = [
    (None, "nobody"),
    (Some("disk"), "reads of 64 KiB"),
    (Some("net"), "frames of 64 KiB that are cut into segments"),
    (Some("disk net"), "both"),
];

/// What the hypervisor said of some turns for the emulated functions.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Account {
    /// The longest one, what of it was copies, and the longest time from the start of one to that of the next.
    turn: u64,
    copies: u64,
    wait: u64,
}

/// What was measured beside one flood.
#[derive(Default, PartialEq, Eq, Debug)]
struct Row {
    /// Of 256 turns each, or fewer.
    accounts: Vec<Account>,
    /// What was measured by the guest: name, at most, on average.
    own: Vec<(String, u64, u64)>,
}

/// Beside each flood.
pub struct Floods(Vec<(&'static str, Row)>);

/// Measures with `metered`, which builds a hypervisor that counts.
///
/// # Errors
/// When something cannot be built, or a guest does not come to its end.
pub fn measure(metered: &Workshop, folder: &Path) -> Result<Floods> {
    let mut rows = Vec::new();
    for (flood, title) in FLOODS {
        let mut row = Row::default();
        let start = hypervisor_machine(metered, folder, Cpu::Amd, &without_barriers(&config(flood)))?;
        watch(start, folder, &format!("AMD-V: delays beside {title}"), |line| row.take(line))?;
        ensure!(
            !row.own.is_empty() && !row.accounts.is_empty(),
            "beside {title} nothing was measured; what was said is in {}",
            folder.display()
        );
        rows.push((title, row));
    }
    Ok(Floods(rows))
}

fn config(flood: Option<&str>) -> String {
    let flood = flood.map_or(String::new(), |with| FLOOD.replace("WITH", with));
    format!("{MEASURED}{flood}")
}

impl Row {
    fn take(&mut self, line: &Line) {
        if let Some((_, account)) = line.text.split_once("metered: ") {
            let of = |name| number_of(account, name).unwrap_or(0);
            self.accounts.push(Account {
                turn: of("longest"),
                copies: of("longest_copies"),
                wait: of("longest_wait"),
            });
        } else if let Some(own) = line.text.strip_prefix("beside: ").and_then(own) {
            self.own.push(own);
        }
    }
}

impl Row {
    /// The account in the middle: an emulator that runs one processor after the other may let others run
    /// in the middle of a turn, which is in the longest of all.
    fn usual(&self) -> Account {
        let mut accounts = self.accounts.clone();
        accounts.sort_unstable();
        accounts.get(accounts.len() / 2).copied().unwrap_or_default()
    }

    fn longest(&self) -> u64 {
        self.accounts.iter().map(|account| account.wait.max(account.turn)).max().unwrap_or(0)
    }
}

/// Reads `NAME: M at most, A on average, ...`.
fn own(said: &str) -> Option<(String, u64, u64)> {
    let (name, rest) = said.split_once(": ")?;
    let (most, rest) = rest.split_once(" at most, ")?;
    let (average, _) = rest.split_once(" on average")?;
    Some((name.to_owned(), most.parse().ok()?, average.parse().ok()?))
}

impl Floods {
    /// As Markdown.
    pub fn table(&self) -> String {
        let names: Vec<&str> = match self.0.first() {
            Some((_, row)) => row.own.iter().map(|(name, ..)| name.as_str()).collect(),
            None => Vec::new(),
        };
        let heads: String = names.iter().map(|name| format!(" {name}, on average | at most |")).collect();
        let mut text = format!(
            "| instructions beside a flood of | longest of 256 turns | of it copies | longest of all |{heads}\n|---|{}\n",
            "---:|".repeat(3 + 2 * names.len())
        );
        for (title, row) in &self.0 {
            let own: String =
                row.own.iter().map(|(_, most, average)| format!(" {average} | {most} |")).collect();
            let Account { turn, copies, .. } = row.usual();
            let _ = writeln!(text, "| {title} | {turn} | {copies} | {} |{own}", row.longest());
        }
        text
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        let row = |(title, row): &(&'static str, Row)| {
            let own: Value = row
                .own
                .iter()
                .map(|(name, most, average)| (name.clone(), json!({ "most": most, "average": average })))
                .collect();
            let Account { turn, copies, .. } = row.usual();
            let value =
                json!({ "longest_of_256": turn, "copies": copies, "longest": row.longest(), "own": own });
            ((*title).to_owned(), value)
        };
        self.0.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    #[test]
    fn the_configurations_are_some() {
        for (flood, title) in FLOODS {
            assert!(Source::parse(config(flood), "x".to_owned()).is_ok(), "{title}");
        }
    }

    #[test]
    fn the_longest_of_all_accounts_stands_beside_what_the_guest_measured() {
        let mut row = Row::default();
        for text in [
            "metered: turns=1 longest=70 longest_copies=30 longest_wait=80",
            "beside: read of 4 KiB: 900 at most, 500 on average, 200 times",
            "metered: turns=1 longest=60 longest_copies=60 longest_wait=90",
        ] {
            row.take(&Line { owner: String::new(), text: text.to_owned() });
        }
        let table = Floods(vec![("both", row)]).table();
        assert!(table.ends_with("| both | 70 | 30 | 90 | 500 | 900 |\n"), "{table}");
    }
}
