//! What passing a drive through costs in time.
//!
//! Times vary with the host's load, so both sides of a ratio are measured in one run, on the same
//! emulator with the same kernel, one after the other.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::{Boot, Iommu, Machine};
use serde_json::{Value, json};

use super::{hypervisor_with, watch};
use crate::payload;
use crate::workshop::Workshop;

/// Reads of 4 KiB from the drive.
const READS: u32 = 4000;
/// The slot that both sides find the drive at.
const DRIVE_SLOT: u8 = 3;
const DRIVE_BYTES: u64 = 64 << 20;

/// What a Linux guest did with its drive.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct DriveTimes {
    /// From the kernel's start to its init, in seconds.
    init: f64,
    /// For all reads, in seconds.
    reads: f64,
}

/// Linux with its drive, without a hypervisor and with ours.
pub struct Drive {
    bare: DriveTimes,
    guest: DriveTimes,
}

/// Measures both.
///
/// # Errors
/// When something cannot be built, or a guest does not come to its end.
pub fn measure(workshop: &Workshop, folder: &Path) -> Result<Drive> {
    let payload = payload::prepare(workshop.project(), false)?;
    let image = folder.join("drive.img");
    let file = std::fs::File::create(&image).with_context(|| format!("cannot make {}", image.display()))?;
    file.set_len(DRIVE_BYTES).with_context(|| format!("cannot size {}", image.display()))?;
    let command_line = format!("console=ttyS0 quiet reads={READS}");

    let boot = Boot::Kernel {
        elf: payload.join("vmlinuz-cloud"),
        initrd: Some(payload.join("disk.cpio")),
        command_line: command_line.clone(),
    };
    let bare = Machine::everyday(workshop.qemu()?, boot).cpus(1).memory_mib(256).iommu(Iommu::None);
    let bare = times(&bare.nvme(DRIVE_SLOT, &image, false), folder, "Linux and a drive, no hypervisor")?;

    let config = format!(
        "[guest.disk]\ncpus = [1]\nmemory = \"256 MiB\"\nkernel = \"vmlinuz-cloud\"\ninitrd = \"disk.cpio\"\n\
         command_line = {command_line:?}\n[[guest.disk.pci]]\nslot = \"03.0\"\n\
         passthrough = {{ path = \"00:{DRIVE_SLOT:02x}.0\", id = \"1b36:0010\" }}\n"
    );
    let guest = hypervisor_with(workshop, &config, folder)?;
    let guest = times(&guest, folder, "Linux and a drive, passed through")?;
    Ok(Drive { bare, guest })
}

fn times(machine: &Machine, folder: &Path, title: &str) -> Result<DriveTimes> {
    let mut times = DriveTimes::default();
    watch(|logs| machine.start(logs), folder, title, |line| take_times(&mut times, &line.text))?;
    ensure!(
        times.init > 0.0 && times.reads > 0.0,
        "{title}: the guest measured nothing; what was said is in {}",
        folder.display()
    );
    Ok(times)
}

/// Takes the lines `disk: init after T s` and `disk: N reads of 4096 bytes from T to T s`.
fn take_times(times: &mut DriveTimes, text: &str) {
    let Some((_, said)) = text.split_once("disk: ") else { return };
    let words: Vec<&str> = said.split_whitespace().collect();
    match words.as_slice() {
        ["init", "after", init, "s"] => times.init = init.parse().unwrap_or(0.0),
        [_, "reads", "of", "4096", "bytes", "from", start, "to", end, "s"] => {
            if let (Ok(start), Ok(end)) = (start.parse::<f64>(), end.parse::<f64>()) {
                times.reads = end - start;
            }
        }
        _ => {}
    }
}

impl Drive {
    /// Times of the guest by times of no hypervisor: 1.1 is a tenth slower.
    fn init_ratio(&self) -> f64 {
        self.guest.init / self.bare.init
    }

    /// Reads a second of the guest by those of no hypervisor: 0.9 is a tenth fewer.
    fn reads_ratio(&self) -> f64 {
        self.bare.reads / self.guest.reads
    }

    /// As Markdown.
    pub fn table(&self) -> String {
        let per_second = |seconds: f64| f64::from(READS) / seconds;
        format!(
            "| Linux with an NVMe drive | no hypervisor | Bulkhead | ratio |\n|---|---:|---:|---:|\n\
             | start to init | {:.2} s | {:.2} s | {:.2} |\n| 4 KiB reads a second | {:.0} | {:.0} | {:.2} |\n",
            self.bare.init,
            self.guest.init,
            self.init_ratio(),
            per_second(self.bare.reads),
            per_second(self.guest.reads),
            self.reads_ratio(),
        )
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "init_seconds": { "bare": self.bare.init, "guest": self.guest.init },
            "init_ratio": self.init_ratio(),
            "reads": READS,
            "reads_seconds": { "bare": self.bare.reads, "guest": self.guest.reads },
            "reads_ratio": self.reads_ratio(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_the_guest() {
        let mut times = DriveTimes::default();
        for line in [
            "[  1.0] disk: init after 1.50 s",
            "disk: 4000 reads of 4096 bytes from 2.00 to 2.50 s",
            "disk: x",
        ] {
            take_times(&mut times, line);
        }
        assert_eq!(times, DriveTimes { init: 1.5, reads: 0.5 });
    }

    #[test]
    fn ratios_say_what_is_slower() {
        let drive = Drive {
            bare: DriveTimes { init: 1.0, reads: 1.0 },
            guest: DriveTimes { init: 1.25, reads: 2.0 },
        };
        assert_eq!((drive.init_ratio(), drive.reads_ratio()), (1.25, 0.5));
    }
}
