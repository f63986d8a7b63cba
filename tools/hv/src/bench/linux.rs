//! What passing a drive and a NIC through to Linux costs: in time, and in exits.
//!
//! Times vary with the host's load, so all sides of a ratio are measured in one run, on the same
//! emulator with the same kernel and devices, several times in turn; the best time of each counts.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::http::PayloadServer;
use lab::{Boot, Iommu, Machine};
use serde_json::{Value, json};

use super::{pack, watch};
use crate::emulated;
use crate::payload;
use crate::reference::{self, Host};
use crate::workshop::Workshop;

/// The slots that all sides find the devices at.
const NIC_SLOT: u8 = 2;
const DRIVE_SLOT: u8 = 3;
const DRIVE_BYTES: u64 = 256 << 20;
const MEMORY_MIB: u32 = 512;
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1";
/// How often each side is measured.
const ROUNDS: usize = 3;
/// What a row of nothing begins with.
const IDLE: &str = "idle";

/// Who is between Linux and its devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Nobody,
    Direct,
    Virtual,
    Kvm,
}

impl Side {
    const ALL: [Self; 4] = [Self::Nobody, Self::Direct, Self::Virtual, Self::Kvm];

    fn title(self) -> &'static str {
        match self {
            Self::Nobody => "no hypervisor",
            Self::Direct => "direct",
            Self::Virtual => "virtual",
            Self::Kvm => "Linux + KVM + VFIO",
        }
    }
}

/// One thing that a guest did many times.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Measured {
    pub name: String,
    times: u64,
    seconds: f64,
    /// Exits for so many of them, where they are counted.
    exits: Option<(u64, u64)>,
}

impl Measured {
    pub(super) fn per_second(&self) -> f64 {
        self.times as f64 / self.seconds
    }

    fn exits_each(&self) -> Option<f64> {
        let (exits, times) = self.exits?;
        Some(exits as f64 / times as f64)
    }
}

/// What one guest said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Account {
    /// From the kernel's start to its init, in seconds.
    init: f64,
    pub measured: Vec<Measured>,
}

/// Linux with its drive and its NIC, on each side.
pub struct Linux {
    sides: Vec<(Side, Account)>,
}

/// Measures all sides; Linux + KVM + VFIO with `reference`.
///
/// # Errors
/// When something cannot be built, or a guest does not come to its end.
pub fn measure(workshop: &Workshop, folder: &Path, reference: bool) -> Result<Linux> {
    let payload = payload::prepare(workshop.project(), false)?;
    let image = folder.join("drive.img");
    let file = std::fs::File::create(&image).with_context(|| format!("cannot make {}", image.display()))?;
    file.set_len(DRIVE_BYTES).with_context(|| format!("cannot size {}", image.display()))?;
    let server = PayloadServer::start()?;
    let host = if reference { Some(reference::prepare_vfio(workshop, folder)?) } else { None };
    let wanted = Side::ALL.into_iter().filter(|side| reference || *side != Side::Kvm);
    let mut sides: Vec<_> = wanted.map(|side| (side, Account::default())).collect();
    for round in 1..=ROUNDS {
        for (side, best) in &mut sides {
            let title = format!("Linux, a drive and a NIC, {} ({round} of {ROUNDS})", side.title());
            let machine = machine(workshop, folder, &payload, *side, host.as_ref())?
                .e1000e_to(NIC_SLOT, server.port())
                .nvme(DRIVE_SLOT, &image, false);
            let account = account(&machine, folder, &title)?;
            best.keep_best(account);
        }
    }
    Ok(Linux { sides })
}

/// The machine without its devices.
fn machine(
    workshop: &Workshop,
    folder: &Path,
    payload: &Path,
    side: Side,
    host: Option<&Host>,
) -> Result<Machine> {
    if let (Side::Kvm, Some(host)) = (side, host) {
        return Ok(lab::reference::with_vfio(workshop.qemu()?, &host.kernel, &host.initrd));
    }
    if side == Side::Nobody {
        let boot = Boot::Kernel {
            elf: payload.join(payload::FULL_KERNEL),
            initrd: Some(payload.join("bench.cpio")),
            command_line: COMMAND_LINE.to_owned(),
        };
        let machine = Machine::everyday(workshop.qemu()?, boot).cpus(1).memory_mib(MEMORY_MIB);
        return Ok(machine.iommu(Iommu::None));
    }
    let (source, bundle) = pack(workshop, &config(side), folder)?;
    let boot = Boot::Kernel {
        elf: workshop.hypervisor()?.clone(),
        initrd: Some(bundle),
        command_line: String::new(),
    };
    let machine = Machine::everyday(workshop.qemu()?, boot);
    Ok(machine.cpus(2).memory_mib(emulated::memory_mib_of(&source.config)))
}

fn config(side: Side) -> String {
    format!(
        "[guest.bench]\ncpus = [1]\nmemory = \"{MEMORY_MIB} MiB\"\nkernel = \"{}\"\ninitrd = \"bench.cpio\"\n\
         interrupts = \"{}\"\ncommand_line = {COMMAND_LINE:?}\n\
         [[guest.bench.pci]]\nslot = \"{NIC_SLOT:02x}.0\"\n\
         passthrough = {{ path = \"00:{NIC_SLOT:02x}.0/00.0\", id = \"8086:10d3\" }}\n\
         [[guest.bench.pci]]\nslot = \"{DRIVE_SLOT:02x}.0\"\n\
         passthrough = {{ path = \"00:{DRIVE_SLOT:02x}.0\", id = \"1b36:0010\" }}\n",
        payload::FULL_KERNEL,
        side.title(),
    )
}

pub(super) fn account(machine: &Machine, folder: &Path, title: &str) -> Result<Account> {
    let mut account = Account::default();
    watch(|logs| machine.start(logs), folder, title, |line| account.take(&line.text))?;
    ensure!(
        account.init > 0.0 && !account.measured.is_empty(),
        "{title}: the guest measured nothing; what was said is in {}",
        folder.display()
    );
    Ok(account)
}

impl Account {
    /// Takes the lines `bench: init after T s` and `bench: NAME: N in T s, E exits for M`.
    pub(super) fn take(&mut self, text: &str) {
        let Some((_, said)) = text.split_once("bench: ") else { return };
        if let Some(init) = said.strip_prefix("init after ").and_then(|rest| rest.strip_suffix(" s")) {
            self.init = init.parse().unwrap_or(0.0);
        } else if let Some(measured) = measured(said) {
            self.measured.push(measured);
        }
    }

    /// Keeps what is better of each, of what the same guest said twice.
    fn keep_best(&mut self, other: Self) {
        if self.measured.is_empty() {
            *self = other;
            return;
        }
        self.init = self.init.min(other.init);
        for (best, new) in self.measured.iter_mut().zip(other.measured) {
            if new.per_second() > best.per_second() {
                *best = new;
            }
        }
    }
}

fn measured(said: &str) -> Option<Measured> {
    let (name, rest) = said.split_once(": ")?;
    let words: Vec<&str> = rest.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let [times, "in", seconds, "s", exits, "exits", "for", counted] = words.as_slice() else { return None };
    let (seconds, times, counted): (f64, u64, u64) =
        (seconds.parse().ok()?, times.parse().ok()?, counted.parse().ok()?);
    let exits = exits.parse().ok().map(|exits| (exits, counted));
    let right = seconds > 0.0 && times > 0 && counted > 0;
    right.then(|| Measured { name: name.to_owned(), times, seconds, exits })
}

impl Linux {
    /// What `side` did, if it was measured.
    fn of(&self, side: Side) -> Option<&Account> {
        self.sides.iter().find(|(other, _)| *other == side).map(|(_, account)| account)
    }

    /// As Markdown: what each side did, as a part of what Linux does without a hypervisor.
    pub fn table(&self) -> String {
        let Some(bare) = self.of(Side::Nobody) else { return String::new() };
        let others: Vec<_> = self.sides.iter().filter(|(side, _)| *side != Side::Nobody).collect();
        let counting: Vec<_> = others.iter().filter(|(side, _)| *side != Side::Kvm).collect();
        let mut text = "| Linux, a drive and a NIC | no hypervisor |".to_owned();
        for (side, _) in &others {
            let _ = write!(text, " {} | |", side.title());
        }
        for (side, _) in &counting {
            let _ = write!(text, " exits each, {} |", side.title());
        }
        let _ = writeln!(text, "\n|---|{}", "---:|".repeat(1 + 2 * others.len() + counting.len()));
        let _ = write!(text, "| start to init | {:.2} s |", bare.init);
        for (_, account) in &others {
            let _ = write!(text, " {:.2} s | {:.2} |", account.init, account.init / bare.init);
        }
        let _ = writeln!(text, "{}", " - |".repeat(counting.len()));
        for (row, bare) in bare.measured.iter().enumerate() {
            // A second of sleep takes a second everywhere.
            let timed = !bare.name.starts_with(IDLE);
            let each = |account: &Account| account.measured.get(row).map_or_else(|| "-".to_owned(), exits);
            let _ = match timed {
                true => write!(text, "| {} a second | {:.0} |", bare.name, bare.per_second()),
                false => write!(text, "| {} | - |", bare.name),
            };
            for (_, account) in &others {
                let rate = account.measured.get(row).filter(|_| timed).map(Measured::per_second);
                let _ = match rate {
                    Some(rate) => write!(text, " {rate:.0} | {:.2} |", rate / bare.per_second()),
                    None => write!(text, " - | - |"),
                };
            }
            let cells: String = counting.iter().map(|(_, account)| format!(" {} |", each(account))).collect();
            let _ = writeln!(text, "{cells}");
        }
        text
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        let bare = self.of(Side::Nobody).map_or(0.0, |bare| bare.init);
        let side = |(side, account): &(Side, Account)| {
            let row = |row: &Measured| {
                let value = json!({
                    "times": row.times, "seconds": row.seconds, "exits_each": row.exits_each(),
                });
                (row.name.clone(), value)
            };
            let done: Value = account.measured.iter().map(row).collect();
            let value =
                json!({ "init_seconds": account.init, "init_ratio": account.init / bare, "done": done });
            (side.title().to_owned(), value)
        };
        self.sides.iter().map(side).collect()
    }
}

/// Exits each time, in as many digits as tell something.
pub(super) fn exits(row: &Measured) -> String {
    match row.exits_each() {
        None => "-".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(exits) if exits < 0.1 => format!("{exits:.4}"),
        Some(exits) => format!("{exits:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    fn said(lines: &[&str]) -> Account {
        let mut account = Account::default();
        lines.iter().for_each(|line| account.take(line));
        account
    }

    #[test]
    fn results_are_read_from_the_guest() {
        let account = said(&[
            "[  1.0] bench: init after 1.50 s",
            "bench: 4 KiB reads, 32 at a time: 4000 in 0.5 s, 2 exits for 2000",
            "bench: 64 KiB reads: 10 in 2 s, - exits for 9",
            "bench: nonsense",
        ]);
        assert_eq!(account.init, 1.5);
        assert_eq!(account.measured.len(), 2);
        let first = &account.measured[0];
        assert_eq!((first.name.as_str(), first.per_second()), ("4 KiB reads, 32 at a time", 8000.0));
        assert_eq!((first.exits_each(), account.measured[1].exits_each()), (Some(0.001), None));
    }

    #[test]
    fn the_best_of_each_counts() {
        let mut best = said(&[
            "bench: init after 2 s",
            "bench: a: 10 in 2 s, 0 exits for 9",
            "bench: b: 10 in 1 s, 0 exits for 9",
        ]);
        best.keep_best(said(&[
            "bench: init after 1 s",
            "bench: a: 10 in 1 s, 0 exits for 9",
            "bench: b: 10 in 2 s, 0 exits for 9",
        ]));
        assert_eq!(best.init, 1.0);
        assert!(best.measured.iter().all(|row| row.seconds == 1.0));
    }

    #[test]
    fn the_table_compares_with_no_hypervisor() {
        let side = |seconds, exits| {
            said(&[
                "bench: init after 2 s",
                &format!("bench: reads: 100 in {seconds} s, {exits} exits for 100"),
                &format!("bench: idle seconds: 3 in 3 s, {exits} exits for 3"),
            ])
        };
        let accounts = [side(1, "-"), side(1, "0"), side(2, "150"), side(4, "-")];
        let table = Linux { sides: Side::ALL.into_iter().zip(accounts).collect() }.table();
        for row in [
            "| reads a second | 100 | 100 | 1.00 | 50 | 0.50 | 25 | 0.25 | 0 | 1.50 |",
            "| idle seconds | - | - | - | - | - | - | - | 0 | 50.00 |",
            "| start to init | 2.00 s | 2.00 s | 1.00 | 2.00 s | 1.00 | 2.00 s | 1.00 | - | - |",
        ] {
            assert!(table.contains(row), "{table}");
        }
    }

    #[test]
    fn the_configurations_are_some() {
        for side in [Side::Direct, Side::Virtual] {
            assert!(Source::parse(config(side), "x".to_owned()).is_ok());
        }
    }
}
