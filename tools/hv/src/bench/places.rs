//! What an access to an emulated function costs in instructions where its model is in ring 0, and where it is in a
//! compartment in ring 3; and one to the guest's machine likewise, which is its chipset and what interprets its instructions.
//!
//! Neither emulator charges for what a processor takes to switch address spaces: an entry and its way back write CR3
//! twice and GS base once, and take an interrupt return and an exception.

use std::path::Path;

use anyhow::{Result, ensure};
use lab::bench::Column;
use serde_json::{Map, Value, json};

use super::{exits, watch};
use crate::choice::Cpu;
use crate::workshop::Workshop;

/// A function of each kind of registers.
const GUEST: &str = r#"
barriers = "none"

[network.lan]

[guest.bench]
cpus = [1]
memory = "64 MiB"
interrupts = "virtual"
kernel = "testguest"
command_line = "bench"
runs_in = "MACHINE"

[[guest.bench.pci]]
slot = "04.0"
emulate = "16550"

[[guest.bench.pci]]
slot = "05.0"
emulate = "ne2000"
network = "lan"

[[guest.bench.pci]]
slot = "06.0"
emulate = "virtio-rng"
"#;

/// Where models run, and the guest's machine, and what stands above the column.
const PLACES: [(&str, &str, &str); 3] = [
    ("hypervisor", "hypervisor", "ring 0"),
    ("ring3", "hypervisor", "ring 3"),
    ("ring3", "ring3", "its machine too"),
];

fn guest(models: &str, machine: &str) -> String {
    format!("[hypervisor]\nruns_in = \"{models}\"{}", GUEST.replace("MACHINE", machine))
}

/// Measures on the processors of `cpu`: a column for each place.
///
/// # Errors
/// When something cannot be built, or a guest does not come to its end.
pub fn measure(workshop: &Workshop, folder: &Path, cpu: Cpu) -> Result<Vec<Column>> {
    let column = |(models, machine, name): (&str, &str, &str)| {
        let title = format!("{}, {name}", exits::title(cpu));
        let (ours, _) = exits::hypervisor(workshop, folder, cpu, &guest(models, machine), &title)?;
        Ok(Column { title, ours, reference: None })
    };
    PLACES.into_iter().map(column).collect()
}

/// The functions, and when their models are ended: before the guest comes to them, so that each ends at an access.
const KILLS: &str = r#"kill = ["bench:04.0@1", "bench:05.0@1", "bench:06.0@1"]
"#;

fn with_kills() -> String {
    guest("ring3", "hypervisor").replacen("barriers", &format!("{KILLS}barriers"), 1)
}

/// How long it takes until a model that was ended at an access has answered it, made anew.
pub struct Restarts {
    title: String,
    /// Functions, and instructions.
    longest: Vec<(String, u64)>,
}

/// Ends each model once, on the processors of `cpu`.
///
/// # Errors
/// As [`measure`], or when one was not ended.
pub fn restarts(workshop: &Workshop, folder: &Path, cpu: Cpu) -> Result<Restarts> {
    let title = exits::title(cpu).to_owned();
    let (mut longest, mut tsc_khz) = (Vec::new(), 0);
    let start = exits::hypervisor_machine(workshop, folder, cpu, &with_kills())?;
    watch(start, folder, &format!("{title}: making models anew"), |line| {
        tsc_khz = ticks_a_millisecond(&line.text).unwrap_or(tsc_khz);
        longest.extend(restart(&line.text));
    })?;
    ensure!(
        longest.len() == 3,
        "{} of 3 models were ended; what was said is in {}",
        longest.len(),
        folder.display()
    );
    // An instruction is a tick.
    let longest = longest.into_iter().map(|(name, us)| (name, us * tsc_khz / 1000)).collect();
    Ok(Restarts { title, longest })
}

/// What a line of the log says of the TSC.
fn ticks_a_millisecond(text: &str) -> Option<u64> {
    let (mhz, _) = text.split_once(", TSC at ")?.1.split_once(" MHz")?;
    mhz.replace('.', "").parse().ok()
}

/// What a line of the log says of a model that was made anew: which, and how many microseconds that took.
fn restart(text: &str) -> Option<(String, u64)> {
    let (before, after) = text.split_once(": in ring 3: ")?;
    let (_, time) = after.split_once(", the longest in ")?;
    let name = before.rsplit_once("bench:").map_or(before, |(_, name)| name);
    Some((name.to_owned(), time.strip_suffix(" us")?.parse().ok()?))
}

impl Restarts {
    /// A row a function.
    pub fn table(&self) -> String {
        let head = format!("| a model made anew, {} | instructions |\n|---|---:|\n", self.title);
        let row = |(name, count): &(String, u64)| format!("| {name} | {count} |\n");
        head + &self.longest.iter().map(row).collect::<String>()
    }

    /// The same for programs.
    pub fn to_json(&self) -> Value {
        let functions = self.longest.iter().map(|(name, count)| (name.clone(), json!(count)));
        json!({ "title": self.title, "instructions": functions.collect::<Map<_, _>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    #[test]
    fn the_log_says_how_long_a_restart_took() {
        let line = "2.1 info: bench:04.0: in ring 3: 60 KiB, 7 entries, 1 restarts; the last time: it was \
                    killed, the longest in 41 us";
        assert_eq!(restart(line), Some(("04.0".to_owned(), 41)));
        assert_eq!(restart("bench:04.0: in ring 3: 60 KiB, 7 entries"), None);
        let line = "4 processors, 1017 MiB of memory, TSC at 200.002 MHz, 4 PCI functions";
        assert_eq!(ticks_a_millisecond(line), Some(200_002));
        assert_eq!(ticks_a_millisecond("TSC"), None);
    }

    #[test]
    fn the_configurations_are_some() {
        let places = PLACES.map(|(models, machine, _)| guest(models, machine));
        for text in places.into_iter().chain([with_kills()]) {
            assert!(Source::parse(text, "x".to_owned()).is_ok());
        }
    }
}
