//! `cargo hv run`: from nothing to guests on an emulated machine.

use std::io::IsTerminal as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::bochs::{Bochs, BochsMachine, Medium};
use lab::{Boot, Consoles, Emulated, Ended, Host, Line, Logs, Machine, PayloadServer, Summary, View};

use crate::choice::{self, Choice, Emulator};
use crate::cli;
use crate::config::{Source, folder_of};
use crate::emulated;
use crate::progress::Step;
use crate::project::make_folder;
use crate::workshop::Workshop;

/// Runs; the status is 0 only if everything ended as the configuration expects.
///
/// # Errors
/// When there is no such machine, or something cannot be built, packed or started.
pub fn run(workshop: &Workshop, options: &cli::Run) -> Result<ExitCode> {
    let choice = choose_machine(options)?;
    let config = options.config.clone().unwrap_or_else(|| workshop.project().default_config());
    let mut source = workshop.place(Source::read(&config)?);
    source.kill(&options.kill)?;
    eprintln!("  -- {}", choice.describe());
    for line in choice.refusals(&source.config) {
        eprintln!("  !! {line}");
    }
    let files = Files::new(workshop.project().output().join("run"), options.keep)?;
    let bundle = files.folder.join("bundle");
    let pack = || workshop.pack(&source, &folder_of(&config), &bundle);
    let server = PayloadServer::start()?;
    let machine = match choice.emulator {
        Emulator::Bochs => {
            let bochs = workshop.bochs()?;
            pack()?;
            in_bochs(workshop, bochs, &source.config, &bundle)?
        }
        Emulator::Tcg | Emulator::Kvm => {
            workshop.prepare_tools()?;
            pack()?;
            let machine = in_qemu(workshop, &choice, options.cpu_model.as_deref(), &bundle)?;
            let folder = &files.folder;
            let (machine, missing) =
                emulated::equip(machine, &source.config, folder, server.port(), options.keep)?;
            missing.iter().for_each(|line| eprintln!("  !! {line}"));
            machine.into()
        }
    };
    let logs = log_folder(workshop, options);
    logs.as_deref().map(make_folder).transpose()?;
    let (summary, ended) = emulate(&machine, options, logs.as_deref(), &files.folder)?;
    report(&summary, ended, logs.as_deref(), options)?;
    if options.keep {
        println!("kept {}", files.folder.display());
    }
    let good = matches!(ended, Ended::ByItself(_)) && summary.is_as_expected();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn in_qemu(workshop: &Workshop, choice: &Choice, model: Option<&str>, bundle: &Path) -> Result<Machine> {
    let elf = workshop.hypervisor()?.clone();
    let boot = Boot::Kernel { elf, initrd: Some(bundle.to_owned()), command_line: String::new() };
    let mut machine = Machine::everyday(workshop.qemu()?, boot).iommu(choice.iommu);
    if choice.emulator == Emulator::Kvm {
        machine = machine.kvm();
    }
    Ok(match model {
        Some(model) => machine.cpu_model(model),
        None => machine,
    })
}

/// Bochs loads no kernel by itself: it boots from a CD.
fn in_bochs(workshop: &Workshop, bochs: &Bochs, config: &plan::Config, bundle: &Path) -> Result<Emulated> {
    let folder = bundle.parent().unwrap_or(Path::new("."));
    let image = crate::image::make(workshop, bundle, folder, cli::ImageKind::Iso)?;
    let machine = BochsMachine::new(bochs, Medium::Cdrom(image));
    let machine = machine.cpus(emulated::cpus_of(config)).memory_mib(emulated::memory_mib_of(config));
    eprintln!("  !! Bochs shows the consoles; what is typed does not reach it");
    Ok(machine.into())
}

fn emulate(
    machine: &Emulated,
    options: &cli::Run,
    logs: Option<&Path>,
    scratch: &Path,
) -> Result<(Summary, Ended)> {
    let interactive = !options.headless && std::io::stdin().is_terminal();
    let step = Step::start("starting the machine");
    let mut running = machine.start(logs.unwrap_or(scratch))?;
    step.done(if interactive { "Ctrl-T shows the guests: who is typed to, stop, restart" } else { "" });
    let view = if options.headless { View::Lines } else { View::of_stdout() };
    let mut consoles = Consoles::on_stdout(view, logs.map(Logs::new).transpose()?);
    let mut summary = Summary::default();
    let timeout = options.timeout.map(Duration::from_secs);
    let started = Instant::now();
    let ended = lab::session::run(&mut running, &mut consoles, timeout, interactive, |line| {
        summary.take(line);
        if has_stopped(line) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if ended == Ended::Killed && timeout.is_some_and(|timeout| started.elapsed() >= timeout) {
        eprintln!("  !! switched off after {} s", started.elapsed().as_secs());
    }
    let messages = running.messages();
    let messages: Vec<&str> = messages.lines().filter(|line| !is_noise(line)).collect();
    if summary.hypervisor.is_none() && !messages.is_empty() {
        eprintln!("the emulator said:\n{}", messages.join("\n"));
    }
    Ok((summary, ended))
}

/// Whether this is the last line of a hypervisor that has panicked: the machine would stay on.
pub fn has_stopped(line: &Line) -> bool {
    line.owner == lab::demux::HYPERVISOR && line.text.ends_with("the hypervisor has stopped")
}

/// QEMU names every feature of the processor model that it does not emulate, once a processor.
fn is_noise(line: &str) -> bool {
    line.contains("TCG doesn't support requested feature")
}

fn report(summary: &Summary, ended: Ended, logs: Option<&Path>, options: &cli::Run) -> Result<()> {
    println!("\n{}", summary.to_table().trim_end());
    if let Some(folder) = logs {
        let path = folder.join("summary.json");
        let text = format!("{:#}\n", summary.to_json());
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("logs: {}", folder.display());
    }
    if ended == Ended::Killed && options.timeout.is_none() {
        println!("stopped before the guests had ended");
    }
    Ok(())
}

/// A processor model that was asked for is emulated, and only AMD's can be.
fn choose_machine(options: &cli::Run) -> Result<Choice> {
    match options.cpu_model {
        None => choice::choose(options.cpu, options.iommu, &Host::detect()),
        Some(_) => choice::emulate_model(options.cpu, options.iommu),
    }
}

fn log_folder(workshop: &Workshop, options: &cli::Run) -> Option<PathBuf> {
    let default = || options.headless.then(|| workshop.project().output().join("logs"));
    options.log_dir.clone().or_else(default)
}

/// The files of one run, removed at its end unless they shall be kept.
struct Files {
    folder: PathBuf,
    keep: bool,
}

impl Files {
    fn new(parent: PathBuf, keep: bool) -> Result<Self> {
        let folder = parent.join(std::process::id().to_string());
        make_folder(&folder)?;
        Ok(Self { folder, keep })
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed now is in target/hv, which `cargo clean` removes.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
