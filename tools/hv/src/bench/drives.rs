//! What Linux does with one NVMe drive and one NIC: passed through, by virtio over the hypervisor's own
//! drivers, and by virtio of Linux + KVM + QEMU over Linux's drivers, with vhost and a bridge for the NIC.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use lab::http::PayloadServer;
use lab::{Boot, Machine};
use serde_json::{Value, json};

use super::exits::IN_RING_0;
use super::linux::{self, Account};
use super::pack;
use super::spread::Spread;
use crate::emulated;
use crate::payload;
use crate::reference::{self, Host};
use crate::workshop::Workshop;

const SLOT: u8 = 3;
const NIC_SLOT: u8 = 2;
const DRIVE_BYTES: u64 = 256 << 20;
/// Told to Linux: that this is what it is to measure.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 kept";

/// Who drives them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    PassedThrough,
    Virtio,
    Kvm,
}

impl Side {
    const ALL: [Self; 3] = [Self::PassedThrough, Self::Virtio, Self::Kvm];

    const fn title(self) -> &'static str {
        match self {
            Self::PassedThrough => "passed through",
            Self::Virtio => "virtio",
            Self::Kvm => "Linux + KVM, virtio",
        }
    }
}

/// What each side did, each time.
pub struct Drives(Vec<(Side, Vec<Account>)>);

/// Measures all sides `rounds` times; Linux + KVM with `reference`.
///
/// # Errors
/// When something cannot be built, or a guest does not come to its end.
pub fn measure(workshop: &Workshop, folder: &Path, reference: bool, rounds: usize) -> Result<Drives> {
    let image = folder.join("drive.img");
    let file = std::fs::File::create(&image).with_context(|| format!("cannot make {}", image.display()))?;
    file.set_len(DRIVE_BYTES).with_context(|| format!("cannot size {}", image.display()))?;
    payload::prepare(workshop.project(), false)?;
    let server = PayloadServer::start()?;
    let host = if reference { Some(reference::prepare_vfio(workshop, folder)?) } else { None };
    let wanted = Side::ALL.into_iter().filter(|side| reference || *side != Side::Kvm);
    let mut sides: Vec<_> = wanted.map(|side| (side, Vec::new())).collect();
    for round in 1..=rounds {
        for (side, accounts) in &mut sides {
            let title =
                format!("Linux, a drive and a NIC that are kept, {} ({round} of {rounds})", side.title());
            let machine = machine(workshop, folder, *side, host.as_ref())?
                .e1000e_to(NIC_SLOT, server.port())
                .nvme(SLOT, &image, false);
            accounts.push(linux::account(&machine, folder, &title)?);
        }
    }
    Ok(Drives(sides))
}

/// The machine without its drive and its NIC.
fn machine(workshop: &Workshop, folder: &Path, side: Side, host: Option<&Host>) -> Result<Machine> {
    if let (Side::Kvm, Some(host)) = (side, host) {
        return Ok(lab::reference::with_qemu(workshop.qemu()?, &host.kernel, &host.initrd, "mode=virtio"));
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
    let drive = format!("{{ path = \"00:{SLOT:02x}.0\", id = \"1b36:0010\" }}");
    let nic = format!("{{ path = \"00:{NIC_SLOT:02x}.0/00.0\", id = \"8086:10d3\" }}");
    let (kept, [drive, nic], disk) = match side {
        Side::Virtio => (
            format!("[disk.nvme]\ndevice = {drive}\n[network.lan]\nuplink = {nic}\n"),
            [
                "emulate = \"virtio-blk\"\nbacking = { disk = \"nvme\" }",
                "emulate = \"virtio-net\"\nnetwork = \"lan\"",
            ]
            .map(str::to_owned),
            "/dev/vda",
        ),
        Side::PassedThrough | Side::Kvm => {
            (String::new(), [drive, nic].map(|device| format!("passthrough = {device}")), "/dev/nvme0n1")
        }
    };
    format!(
        "{IN_RING_0}{kept}[guest.bench]\ncpus = [1]\nmemory = \"512 MiB\"\nkernel = \"{}\"\ninitrd = \"bench.cpio\"\n\
         command_line = \"{COMMAND_LINE} disk={disk}\"\n\
         [[guest.bench.pci]]\nslot = \"{SLOT:02x}.0\"\n{drive}\n\
         [[guest.bench.pci]]\nslot = \"{NIC_SLOT:02x}.0\"\n{nic}\n",
        payload::FULL_KERNEL,
    )
}

impl Drives {
    fn names(&self) -> Vec<&str> {
        let first = self.0.first().and_then(|(_, accounts)| accounts.first());
        first.map_or(Vec::new(), |account| account.measured.iter().map(|row| row.name.as_str()).collect())
    }

    fn rate(accounts: &[Account], name: &str) -> Option<Spread> {
        let rows = accounts.iter().flat_map(|account| &account.measured).filter(|row| row.name == name);
        Spread::of(rows.map(linux::Measured::per_second))
    }

    /// As Markdown: medians and spreads, and the medians as a part of the first side's.
    pub fn table(&self) -> String {
        let mut text = "| Linux, a second, by |".to_owned();
        for (number, (side, _)) in self.0.iter().enumerate() {
            let _ = write!(text, " {} |{}", side.title(), if number > 0 { " |" } else { "" });
        }
        let _ = writeln!(text, "\n|---|{}", "---:|".repeat((2 * self.0.len()).saturating_sub(1)));
        for name in self.names() {
            let _ = write!(text, "| {name} |");
            let rates: Vec<_> = self.0.iter().map(|(_, accounts)| Self::rate(accounts, name)).collect();
            for (number, rate) in rates.iter().enumerate() {
                let Some(rate) = rate else { continue };
                let _ = write!(text, " {} |", rate.text());
                if let (1.., Some(Some(first))) = (number, rates.first()) {
                    let _ = write!(text, " {:.2} |", rate.median / first.median);
                }
            }
            text.push('\n');
        }
        text
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        let side = |(side, accounts): &(Side, Vec<Account>)| {
            let row =
                |name: &&str| ((*name).to_owned(), json!(Self::rate(accounts, name).map(Spread::to_json)));
            (side.title().to_owned(), self.names().iter().map(row).collect::<Value>())
        };
        self.0.iter().map(side).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    #[test]
    fn the_configurations_are_some() {
        for side in [Side::PassedThrough, Side::Virtio] {
            assert!(Source::parse(config(side), "x".to_owned()).is_ok(), "{side:?}");
        }
    }

    #[test]
    fn medians_are_compared_with_the_drive_passed_through() {
        let said = |seconds: u32| {
            let mut account = Account::default();
            account.take(&format!("bench: reads: 100 in {seconds} s, 0 exits for 100"));
            account
        };
        let passed = vec![said(1), said(4), said(2)];
        let drives = Drives(vec![(Side::PassedThrough, passed), (Side::Virtio, vec![said(4)])]);
        let row = "| reads | 50 (25 to 100) | 25 (25 to 25) | 0.50 |\n";
        assert!(drives.table().ends_with(row), "{}", drives.table());
    }
}
