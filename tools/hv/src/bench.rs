//! `cargo hv bench`: what leaving a guest costs in instructions, and what passing a drive through
//! costs in time.
//!
//! Instructions are counted by the emulator (icount) and are the same in every run. Times are
//! not, so both sides of a ratio are measured in one run, on the same emulator with the same
//! kernel, one after the other.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::bench::Bench;
use lab::{Boot, Consoles, Iommu, Line, Machine, Summary, View};
use serde_json::{Value, json};

use crate::cli;
use crate::config::Source;
use crate::emulated;
use crate::payload;
use crate::progress::Step;
use crate::project::make_folder;
use crate::reference;
use crate::workshop::Workshop;

/// Longest time of one run.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Reads of 4 KiB from the drive.
const READS: u32 = 4000;
/// The slot that both sides find the drive at.
const DRIVE_SLOT: u8 = 3;
const DRIVE_BYTES: u64 = 64 << 20;

/// Two processors for the guest's inter-processor interrupts, and QEMU's `edu` for its MSIs, behind
/// a port of its own since it has no reset but the bus's.
const INSTRUCTIONS: &str = r#"
[guest.bench]
cpus = [1, 2]
memory = "64 MiB"
kernel = "testguest"
command_line = "bench cpus=2"

[[guest.bench.pci]]
slot = "01.0"
passthrough = { path = "00:04.0/00.0", id = "1234:11e8" }
"#;

/// Measures, and prints a table or JSON.
///
/// # Errors
/// When something cannot be built, or a guest does not come to its end.
pub fn run(workshop: &Workshop, options: &cli::Bench) -> Result<()> {
    workshop.prepare_tools()?;
    let folder = workshop.project().output().join("bench");
    make_folder(&folder)?;
    let (bench, summary) = instructions(workshop, &folder)?;
    let reference = if options.no_reference { None } else { Some(reference(workshop, &folder)?) };
    let drive = drive(workshop, &folder)?;
    if options.json {
        println!("{:#}", as_json(&bench, reference.as_ref(), &summary, &drive));
    } else {
        println!(
            "{}",
            lab::bench::table(("Bulkhead", &bench), reference.as_ref().map(|kvm| ("Linux + KVM", kvm)))
        );
        println!("{}", footprint(&summary));
        println!("{}", drive.table());
    }
    Ok(())
}

/// The bare-metal guest's table, and the hypervisor's own account.
fn instructions(workshop: &Workshop, folder: &Path) -> Result<(Bench, Summary)> {
    let machine = hypervisor_with(workshop, INSTRUCTIONS, folder)?.icount();
    let mut bench = Bench::of("bench");
    let mut complaints = String::new();
    let summary = watch(&machine, folder, "counting instructions", |line| {
        bench.take(line);
        if line.owner == lab::demux::HYPERVISOR && line.text.contains("error:") {
            complaints += &format!("\n    {}", line.text);
        }
    })?;
    let place = folder.display();
    ensure!(!bench.results.is_empty(), "the guest measured nothing; its messages are in {place}{complaints}");
    ensure!(summary.hypervisor.is_some(), "the hypervisor did not come to its end");
    Ok((bench, summary))
}

/// The same guest's table under Linux + KVM.
fn reference(workshop: &Workshop, folder: &Path) -> Result<Bench> {
    let host = reference::prepare(workshop, folder)?;
    let machine = lab::reference::machine(workshop.qemu()?, &host.kernel, &host.initrd);
    let mut bench = Bench::of(lab::reference::OWNER);
    watch(&machine, folder, "counting instructions, Linux + KVM", |line| _ = bench.take(line))?;
    ensure!(
        !bench.results.is_empty(),
        "the guest measured nothing under Linux + KVM; what was said is in {}",
        folder.display()
    );
    Ok(bench)
}

/// What a Linux guest did with its drive.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct DriveTimes {
    /// From the kernel's start to its init, in seconds.
    init: f64,
    /// For all reads, in seconds.
    reads: f64,
}

struct Drive {
    bare: DriveTimes,
    guest: DriveTimes,
}

fn drive(workshop: &Workshop, folder: &Path) -> Result<Drive> {
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
    watch(machine, folder, title, |line| take_times(&mut times, &line.text))?;
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

/// The machine that `config` is for, with the hypervisor.
fn hypervisor_with(workshop: &Workshop, config: &str, folder: &Path) -> Result<Machine> {
    let bundle: PathBuf = folder.join("bundle");
    let source = Source::parse(config.to_owned(), "the bench's configuration".to_owned())?;
    workshop.pack(&source, folder, &bundle)?;
    let elf = workshop.hypervisor()?.clone();
    let boot = Boot::Kernel { elf, initrd: Some(bundle), command_line: String::new() };
    let machine = Machine::everyday(workshop.qemu()?, boot);
    let (machine, missing) = emulated::equip(machine, &source.config, folder, 0, false)?;
    ensure!(missing.is_empty(), "{}", missing.join(", "));
    Ok(machine)
}

fn watch(machine: &Machine, folder: &Path, title: &str, mut each: impl FnMut(&Line)) -> Result<Summary> {
    let mut step = Step::start(title);
    let mut running = machine.start(folder)?;
    let mut consoles = Consoles::on_stdout(View::Nothing, Some(lab::Logs::new(folder)?));
    let mut summary = Summary::default();
    let ended = lab::session::run(&mut running, &mut consoles, Some(TIMEOUT), false, |line| {
        step.note(&line.text);
        summary.take(line);
        each(line);
        if crate::run::has_stopped(line) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    ensure!(
        matches!(ended, lab::Ended::ByItself(_)),
        "{title}: the machine had to be stopped (after {} s at most); what was said is in {}",
        TIMEOUT.as_secs(),
        folder.display()
    );
    step.done("");
    Ok(summary)
}

fn footprint(summary: &Summary) -> String {
    let Some(own) = &summary.hypervisor else { return String::new() };
    let guests: String = summary
        .guests
        .iter()
        .map(|(name, guest)| {
            format!(
                "| hypervisor memory for guest `{name}` | {} |\n",
                lab::summary::bytes(guest.hypervisor_bytes)
            )
        })
        .collect();
    format!(
        "| footprint | |\n|---|---:|\n| instructions from the first to the first guest's first | {} |\n\
         | image | {} |\n| hypervisor memory in all | {} |\n{guests}",
        own.boot_ticks,
        lab::summary::bytes(own.image_bytes),
        lab::summary::bytes(own.memory_bytes)
    )
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

    fn table(&self) -> String {
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
}

fn as_json(bench: &Bench, reference: Option<&Bench>, summary: &Summary, drive: &Drive) -> Value {
    let instructions = |bench: &Bench| -> Value {
        bench.results.iter().map(|(name, count)| (name.clone(), json!(count))).collect()
    };
    json!({
        "instructions": instructions(bench),
        "instructions_linux_kvm": reference.map(instructions),
        "footprint": summary.to_json(),
        "drive": {
            "init_seconds": { "bare": drive.bare.init, "guest": drive.guest.init },
            "init_ratio": drive.init_ratio(),
            "reads": READS,
            "reads_seconds": { "bare": drive.bare.reads, "guest": drive.guest.reads },
            "reads_ratio": drive.reads_ratio(),
        },
    })
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

    #[test]
    fn the_configuration_of_the_bench_is_one() {
        assert!(Source::parse(INSTRUCTIONS.to_owned(), "x".to_owned()).is_ok());
    }
}
