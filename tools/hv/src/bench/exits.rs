//! What leaving a guest costs in instructions, on each vendor's processors, beside Linux + KVM.
//!
//! One bare-metal guest counts on all four, by the TSC, which both emulators let advance by one an
//! instruction here: QEMU by icount, Bochs by turns of one instruction. So the numbers are the same
//! in every run.

use std::path::Path;

use anyhow::{Result, ensure};
use lab::bench::{Bench, Column};
use lab::bochs::{BochsMachine, Medium};
use lab::{Running, Summary};

use super::{hypervisor_with, pack, watch};
use crate::choice::Cpu;
use crate::cli::ImageKind;
use crate::emulated;
use crate::image;
use crate::reference::Host;
use crate::workshop::Workshop;

/// Two processors, for the interrupts from one to the other.
const GUEST: &str = r#"
[guest.bench]
cpus = [1, 2]
memory = "64 MiB"
interrupts = "virtual"
kernel = "testguest"
command_line = "bench cpus=2"
"#;

/// Who takes its interrupts in [`GUEST`].
const VIRTUAL: &str = "interrupts = \"virtual\"";

/// QEMU's `edu` for its MSIs, behind a port of its own since it has no reset but the bus's.
const DEVICE: &str = r#"
[[guest.bench.pci]]
slot = "01.0"
passthrough = { path = "00:04.0/00.0", id = "1234:11e8" }
"#;

/// Measures on the processors of `cpu`, and Linux + KVM with them if there is a host for it. The
/// summary is the hypervisor's own account.
///
/// # Errors
/// When something cannot be built, or a guest does not come to its end.
pub fn measure(
    workshop: &Workshop,
    folder: &Path,
    cpu: Cpu,
    host: Option<&Host>,
) -> Result<(Column, Summary)> {
    let title = title(cpu);
    let (ours, summary) = hypervisor(workshop, folder, cpu, &without_barriers(GUEST), title)?;
    let reference = host.map(|host| reference(workshop, folder, cpu, title, host)).transpose()?;
    Ok((Column { title: title.to_owned(), ours, reference }, summary))
}

/// The same guest taking its interrupts itself.
///
/// # Errors
/// As [`measure`].
pub fn measure_direct(workshop: &Workshop, folder: &Path, cpu: Cpu) -> Result<Column> {
    let title = format!("{}, direct", title(cpu));
    let guest = without_barriers(&GUEST.replace(VIRTUAL, "interrupts = \"direct\""));
    let (ours, _) = hypervisor(workshop, folder, cpu, &guest, &title)?;
    Ok(Column { title, ours, reference: None })
}

/// The guest of [`measure`] behind the barriers against speculation that the processor needs.
///
/// # Errors
/// As [`measure`].
pub fn measure_guarded(workshop: &Workshop, folder: &Path, cpu: Cpu) -> Result<Column> {
    let title = format!("{}, barriers", title(cpu));
    let (ours, _) = hypervisor(workshop, folder, cpu, GUEST, &title)?;
    Ok(Column { title, ours, reference: None })
}

/// What an exit costs by itself: the barriers depend on the processor, and stand in a column of
/// their own, and what it costs that models are in ring 3 in a table of its own ([`super::places`]).
pub(super) fn without_barriers(guest: &str) -> String {
    format!("{IN_RING_0}barriers = \"none\"\n{guest}")
}

/// The models of emulated functions are in ring 0.
pub(super) const IN_RING_0: &str = "[hypervisor]\nruns_in = \"hypervisor\"\n";

pub(super) fn title(cpu: Cpu) -> &'static str {
    match cpu {
        Cpu::Amd => "AMD-V",
        Cpu::Intel => "VT-x",
    }
}

/// The guest under the hypervisor.
pub(super) fn hypervisor(
    workshop: &Workshop,
    folder: &Path,
    cpu: Cpu,
    guest: &str,
    title: &str,
) -> Result<(Bench, Summary)> {
    let mut bench = Bench::of("bench");
    let mut complaints = String::new();
    let devices = if cpu == Cpu::Amd { DEVICE } else { "" };
    let start = hypervisor_machine(workshop, folder, cpu, &format!("{guest}{devices}"))?;
    let summary = watch(start, folder, &format!("{title}: counting instructions"), |line| {
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

/// The same guest under Linux + KVM.
fn reference(workshop: &Workshop, folder: &Path, cpu: Cpu, title: &str, host: &Host) -> Result<Bench> {
    let mut bench = Bench::of(lab::reference::OWNER);
    let start = reference_machine(workshop, folder, cpu, host)?;
    let title = format!("{title}: counting instructions under Linux + KVM");
    watch(start, folder, &title, |line| _ = bench.take(line))?;
    ensure!(
        !bench.results.is_empty(),
        "the guest measured nothing under Linux + KVM; what was said is in {}",
        folder.display()
    );
    Ok(bench)
}

/// What starts a machine with its logs in a folder.
pub(super) type Start = Box<dyn Fn(&Path) -> Result<Running>>;

/// The machine whose time is counted in instructions, with the hypervisor and `config`.
pub(super) fn hypervisor_machine(
    workshop: &Workshop,
    folder: &Path,
    cpu: Cpu,
    config: &str,
) -> Result<Start> {
    match cpu {
        Cpu::Amd => {
            let machine = hypervisor_with(workshop, config, folder)?.icount();
            Ok(Box::new(move |logs| machine.start(logs)))
        }
        Cpu::Intel => {
            let (source, bundle) = pack(workshop, config, folder)?;
            let image = image::make(workshop, &bundle, folder, ImageKind::Iso)?;
            let cpus = emulated::cpus_of(&source.config);
            let machine = BochsMachine::new(workshop.bochs()?, Medium::Cdrom(image)).cpus(cpus).icount();
            Ok(Box::new(move |logs| machine.start(logs)))
        }
    }
}

fn reference_machine(workshop: &Workshop, folder: &Path, cpu: Cpu, host: &Host) -> Result<Start> {
    match cpu {
        Cpu::Amd => {
            let machine = lab::reference::in_qemu(workshop.qemu()?, &host.kernel, &host.initrd);
            Ok(Box::new(move |logs| machine.start(logs)))
        }
        Cpu::Intel => {
            let image = host.image(workshop, folder)?;
            let machine = lab::reference::in_bochs(workshop.bochs()?, &image);
            Ok(Box::new(move |logs| machine.start(logs)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    #[test]
    fn the_configurations_of_the_bench_are_some() {
        assert!(GUEST.contains(VIRTUAL), "measure_direct replaces it");
        for text in [GUEST.to_owned(), without_barriers(&format!("{GUEST}{DEVICE}"))] {
            assert!(Source::parse(text, "x".to_owned()).is_ok());
        }
    }
}
