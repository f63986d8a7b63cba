//! Frames from one bare-metal guest to another: at a switch of the hypervisor's, and at a bridge of Linux
//! + KVM + QEMU with vhost. The same two guests with the same drivers, by the clock.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, ensure};
use lab::Machine;
use serde_json::{Value, json};

use super::exits::IN_RING_0;
use super::spread::Spread;
use super::{hypervisor_with, watch};
use crate::reference::{self, Host};
use crate::workshop::Workshop;

/// How long frames of each size are sent, in milliseconds of the emulated machine.
const MILLISECONDS: u32 = 1000;
/// One guest that sends and one that takes; their addresses are what their drivers expect.
const GUESTS: &str = r#"
[network.lan]

[guest.sender]
cpus = [1]
memory = "64 MiB"
kernel = "testguest"
command_line = "load-rate milliseconds=MILLISECONDS"

[[guest.sender.pci]]
slot = "05.0"
emulate = "virtio-net"
network = "lan"
mac = "52:54:00:00:0b:01"

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

/// Bytes of the frames, by what the guest calls them.
const SIZES: [(&str, f64); 3] = [("64 bytes", 60.0), ("1,500 bytes", 1514.0), ("64 KiB", 64_294.0)];

/// Frames a second, of each size that was sent.
type Rates = Vec<(String, f64)>;

/// What each side did, each time.
pub struct Frames(Vec<(&'static str, Vec<Rates>)>);

/// Measures `rounds` times; Linux + KVM with `reference`.
///
/// # Errors
/// When something cannot be built, or a guest does not come to its end.
pub fn measure(workshop: &Workshop, folder: &Path, reference: bool, rounds: usize) -> Result<Frames> {
    let host = if reference { Some(reference::prepare_vfio(workshop, folder)?) } else { None };
    let mut sides = vec![("a switch of the hypervisor's", Vec::new())];
    if host.is_some() {
        sides.push(("Linux + KVM, vhost and a bridge", Vec::new()));
    }
    for round in 1..=rounds {
        for (number, (title, runs)) in sides.iter_mut().enumerate() {
            let host = if number == 0 { None } else { host.as_ref() };
            let title = format!("frames between guests, {title} ({round} of {rounds})");
            runs.push(rates(&machine(workshop, folder, host)?, folder, &title)?);
        }
    }
    Ok(Frames(sides))
}

fn machine(workshop: &Workshop, folder: &Path, host: Option<&Host>) -> Result<Machine> {
    match host {
        None => hypervisor_with(workshop, &config(), folder),
        Some(host) => {
            let mode = format!("mode=frames milliseconds={MILLISECONDS}");
            let machine = lab::reference::with_qemu(workshop.qemu()?, &host.kernel, &host.initrd, &mode);
            Ok(machine.cpus(4))
        }
    }
}

fn config() -> String {
    format!("{IN_RING_0}{}", GUESTS.replace("MILLISECONDS", &MILLISECONDS.to_string()))
}

fn rates(machine: &Machine, folder: &Path, title: &str) -> Result<Rates> {
    let mut rates = Rates::new();
    watch(|logs| machine.start(logs), folder, title, |line| rates.extend(rate(&line.text)))?;
    ensure!(
        rates.len() == SIZES.len(),
        "{title}: the guests did not measure all; what was said is in {}",
        folder.display()
    );
    Ok(rates)
}

/// Reads `rate: SIZE: S sent, C came in T us`.
fn rate(text: &str) -> Option<(String, f64)> {
    let (_, said) = text.split_once("rate: ")?;
    let (size, said) = said.split_once(": ")?;
    let words: Vec<&str> = said.split(' ').collect();
    let [_, "sent,", came, "came", "in", time, "us", ..] = words[..] else { return None };
    let (came, time): (f64, f64) = (came.parse().ok()?, time.parse().ok()?);
    (time > 0.0).then(|| (size.to_owned(), came / time * 1e6))
}

impl Frames {
    fn rate(runs: &[Rates], size: &str) -> Option<Spread> {
        Spread::of(runs.iter().flatten().filter(|(other, _)| other == size).map(|(_, rate)| *rate))
    }

    /// As Markdown.
    pub fn table(&self) -> String {
        let mut text = "| frames a second from guest to guest, by |".to_owned();
        for (title, _) in &self.0 {
            let _ = write!(text, " {title} | MiB a second |");
        }
        let ratio = self.0.len() > 1;
        let _ = writeln!(
            text,
            "{}\n|---|{}",
            if ratio { " ratio |" } else { "" },
            "---:|".repeat(2 * self.0.len() + usize::from(ratio))
        );
        for (size, bytes) in SIZES {
            let rates: Vec<_> = self.0.iter().filter_map(|(_, runs)| Self::rate(runs, size)).collect();
            let _ = write!(text, "| {size} |");
            for rate in &rates {
                let _ = write!(text, " {} | {:.1} |", rate.text(), rate.median * bytes / f64::from(1 << 20));
            }
            if let [ours, theirs] = rates[..] {
                let _ = write!(text, " {:.1} |", ours.median / theirs.median);
            }
            text.push('\n');
        }
        text
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        let side = |(title, runs): &(&'static str, Vec<Rates>)| {
            let row = |(size, _): (&str, f64)| {
                (size.to_owned(), json!(Self::rate(runs, size).map(Spread::to_json)))
            };
            ((*title).to_owned(), SIZES.into_iter().map(row).collect::<Value>())
        };
        self.0.iter().map(side).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    #[test]
    fn the_configuration_is_one() {
        assert!(Source::parse(config(), "x".to_owned()).is_ok());
    }

    #[test]
    fn sides_stand_beside_each_other() {
        let said = rate("rate: 64 bytes: 900 sent, 800 came in 500000 us");
        assert_eq!(said, Some(("64 bytes".to_owned(), 1600.0)));
        let runs = |rate: f64| vec![vec![("64 bytes".to_owned(), rate)]];
        let table = Frames(vec![("a", runs(1600.0)), ("b", runs(400.0))]).table();
        assert!(
            table.contains("| 64 bytes | 1600 (1600 to 1600) | 0.1 | 400 (400 to 400) | 0.0 | 4.0 |\n"),
            "{table}"
        );
    }
}
