//! One scenario: what it needs is made, its machine runs, its consoles are judged.

use crate::bochs::{Bochs, BochsMachine, CpuModel, Medium};
use crate::column::{Column, Need};
use crate::consoles::{Consoles, Logs, View};
use crate::emulated::Emulated;
use crate::host::Host;
use crate::http::PayloadServer;
use crate::judge::Judge;
use crate::machine::{Boot, Machine};
use crate::power_cuts::{self, LoggedDrive, PowerCuts};
use crate::qemu::find_ovmf;
use crate::qmp::Qmp;
use crate::reference;
use crate::runner::Outcome;
use crate::running::Ended;
use crate::scenario::{Config, ImageKind, Scenario, Subject, Workshop};
use crate::screen::Screen;
use crate::session;
use anyhow::{Context, Result};
use std::cell::OnceCell;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Makes what scenarios need.
pub(crate) struct Bench<'a> {
    workshop: &'a dyn Workshop,
    host: Host,
    /// Asked for once: building it and failing takes its time.
    bochs: OnceCell<Result<Bochs, String>>,
    logs: PathBuf,
}

/// A scenario with everything made.
pub(crate) struct Trial<'s> {
    scenario: &'s Scenario,
    machine: Emulated,
    logs: Logs,
    folder: PathBuf,
    /// The drives whose power is cut afterwards.
    logged: Vec<LoggedDrive>,
    /// Serves while the machine runs.
    _server: Option<PayloadServer>,
}

impl Trial<'_> {
    /// Runs the machine to its end.
    ///
    /// # Errors
    /// The emulator cannot be started or watched.
    pub(crate) fn run(self, view: View) -> Result<Outcome> {
        let (scenario, folder) = (self.scenario, self.folder);
        let mut running = self.machine.start(&folder)?;
        let mut consoles = Consoles::on_stdout(view, Some(self.logs));
        let mut judge = Judge::new(scenario);
        let time = scenario.time();
        let (mut typed, mut input) = (scenario.typed.iter().peekable(), running.input()?);
        let mut incidents = scenario.incidents.iter().peekable();
        let mut looks = scenario.looks.iter().enumerate().peekable();
        let has_orders = !scenario.incidents.is_empty() || !scenario.looks.is_empty();
        let mut monitor = if has_orders { running.take_qmp() } else { None };
        let mut complaint = None;
        scenario.reads_slowly.into_iter().for_each(|time| running.read_slowly(time));
        let ended = session::run(&mut running, &mut consoles, Some(time), false, |line| {
            judge.take(line);
            if let Some(next) = typed.next_if(|next| next.after.matches(line))
                && let Some(input) = &mut input
            {
                // A machine that is gone has its own outcome.
                let _ = input.write_all(&next.bytes);
            }
            if let Some(next) = incidents.next_if(|next| next.after.matches(line)) {
                complaint = next.commands.iter().find_map(|command| refused(monitor.as_mut(), command));
            }
            if let Some((number, next)) = looks.next_if(|(_, next)| next.after.matches(line)) {
                match look(monitor.as_mut(), &folder, number, next.check) {
                    Ok(()) => drop(input.as_mut().map(|input| input.write_all(&next.bytes))),
                    Err(why) => complaint = Some(format!("the screen {:?}: {why}", next.after.text)),
                }
            }
            let over = complaint.is_some() || judge.is_lost() || scenario.may_run_on && judge.is_satisfied();
            if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let json = serde_json::to_string_pretty(&judge.summary.to_json())?;
        std::fs::write(folder.join("summary.json"), json)?;
        if let Some(complaint) = complaint {
            return Ok(Outcome::Failed(complaint));
        }
        let outcome = match (judge.outcome(), ended) {
            (Ok(()), Ended::Killed) if !scenario.may_run_on => {
                Outcome::Failed(format!("the machine still ran after {} s", time.as_secs()))
            }
            (Ok(()), Ended::ByItself(status)) if !status.success() => {
                Outcome::Failed(format!("the emulator ended with {status}: {}", running.messages().trim()))
            }
            (Ok(()), _) => Outcome::Passed,
            (Err(why), Ended::Killed) if !judge.is_lost() => {
                Outcome::Failed(format!("{why} within {} s", time.as_secs()))
            }
            (Err(why), _) => Outcome::Failed(why),
        };
        match (outcome, scenario.power_cuts) {
            (Outcome::Passed, Some(wanted)) => cut(&folder, &self.logged, wanted),
            (outcome, _) => Ok(outcome),
        }
    }
}

/// Makes the power cuts; what they showed is a log of its own.
fn cut(folder: &Path, drives: &[LoggedDrive], wanted: PowerCuts) -> Result<Outcome> {
    match power_cuts::check(folder, drives, wanted) {
        Ok(table) => {
            std::fs::write(folder.join("power-cuts.md"), table)?;
            Ok(Outcome::Passed)
        }
        Err(why) => Ok(Outcome::Failed(format!("{why:#}"))),
    }
}

/// How long a screen may take to show what it has to.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at: nothing tells of what changes there.
const LOOKS: Duration = Duration::from_millis(250);

/// Looks at the screen until nothing is wrong. What it showed last is in the logs, as picture `number`.
fn look(
    monitor: Option<&mut Qmp>,
    folder: &Path,
    number: usize,
    check: fn(&Screen) -> Result<(), String>,
) -> Result<(), String> {
    let monitor = monitor.ok_or("this emulator shows no screen")?;
    let (end, file) = (Instant::now() + PATIENCE, folder.join("screen.ppm"));
    let mut once = || -> Result<Result<(), String>> {
        monitor.pixmap(&file)?;
        Ok(check(&Screen::parse(&std::fs::read(&file)?)?))
    };
    let outcome = loop {
        match once() {
            Ok(Err(_)) if Instant::now() < end => std::thread::sleep(LOOKS),
            Ok(outcome) => break outcome,
            Err(error) => break Err(format!("{error:#}")),
        }
    };
    let _ = std::fs::remove_file(&file);
    let kept = monitor.screenshot(&folder.join(format!("screen-{number}.png")));
    outcome.and(kept.map_err(|error| format!("{error:#}")))
}

/// What the emulator has against a command, if anything.
fn refused(monitor: Option<&mut Qmp>, command: &str) -> Option<String> {
    let said = match monitor.map(|monitor| monitor.monitor(command)) {
        None => "this emulator takes no commands".to_owned(),
        Some(Err(error)) => format!("{error:#}"),
        // What succeeds says nothing, or that it did.
        Some(Ok(said)) if said.is_empty() || said.starts_with("OK") => return None,
        Some(Ok(said)) => said,
    };
    Some(format!("{command}: {}", said.trim()))
}

impl<'a> Bench<'a> {
    /// Logs go to folders in `logs`.
    pub(crate) fn new(workshop: &'a dyn Workshop, logs: &Path) -> Self {
        Self { workshop, host: Host::detect(), bochs: OnceCell::new(), logs: logs.to_owned() }
    }

    /// The folder of a scenario's logs.
    pub(crate) fn folder(&self, scenario: &Scenario) -> PathBuf {
        self.logs.join(scenario.name().replace('/', "-"))
    }

    /// Why it is not run here.
    fn cannot(&self, scenario: &Scenario) -> Option<String> {
        let never = scenario.never().map(str::to_owned);
        never.or_else(|| scenario.column.unavailable_on(&self.host))
    }

    /// Makes what the scenario needs, or says why it is skipped.
    ///
    /// # Errors
    /// Something cannot be made.
    pub(crate) fn prepare<'s>(&self, scenario: &'s Scenario) -> Result<Result<Trial<'s>, String>> {
        if let Some(why) = self.cannot(scenario) {
            return Ok(Err(why));
        }
        let folder = self.folder(scenario);
        // Logs of an earlier run would be shown as this one's.
        let _ = std::fs::remove_dir_all(&folder);
        let logs = Logs::new(&folder)?;
        let server = scenario.serves_http.map(|_| PayloadServer::start()).transpose()?;
        let mut logged = Vec::new();
        let machine = self.machine(scenario, &folder, server.as_ref(), &mut logged)?;
        Ok(machine.map(|machine| Trial { scenario, machine, logs, folder, logged, _server: server }))
    }

    /// The machine of the scenario's column, or why it cannot be had.
    fn machine(
        &self,
        scenario: &Scenario,
        folder: &Path,
        server: Option<&PayloadServer>,
        logged: &mut Vec<LoggedDrive>,
    ) -> Result<Result<Emulated, String>> {
        if let Some(model) = scenario.bochs {
            return self.in_bochs(scenario, model, folder);
        }
        let boot = match self.boot(scenario, folder)? {
            Ok(boot) => boot,
            Err(why) => return Ok(Err(why)),
        };
        let old = scenario.column == Column::SvmAmdVi && scenario.needs.contains(&Need::IoapicRemapping);
        let qemu = if old { self.workshop.old_qemu()? } else { self.workshop.qemu()? };
        let mut machine = Machine::everyday(&qemu, boot)
            .iommu(scenario.column.iommu())
            .cpus(scenario.cpus)
            .memory_mib(scenario.memory_mib);
        if scenario.column == Column::VmxVtd {
            machine = machine.kvm();
        }
        if let (Some(server), Some(nic)) = (server, scenario.serves_http) {
            machine = nic(machine, server.port());
        }
        if let Some(mib) = scenario.drive_mib {
            let image = drive(folder, "nvme.img", mib, &scenario.partitions_mib)?;
            machine = match scenario.power_cuts {
                None => machine.nvme(3, &image, false),
                Some(wanted) => {
                    let drive = LoggedDrive::prepare(folder, "NVMe", &image, wanted.models)?;
                    let machine = machine.logged_node("logged0", &image, drive.log());
                    logged.push(drive);
                    machine.nvme_on(3, "logged0")
                }
            };
        }
        if let Some((mib, partitions)) = &scenario.sata_mib {
            let image = drive(folder, "sata.img", *mib, partitions)?;
            machine = match scenario.power_cuts {
                None => machine.sata_cd(0).sata(1, &image, false),
                Some(wanted) => {
                    let drive = LoggedDrive::prepare(folder, "SATA", &image, wanted.models)?;
                    let machine = machine.logged_node("logged1", &image, drive.log());
                    logged.push(drive);
                    machine.sata_cd(0).sata_on(1, "logged1")
                }
            };
        }
        if let Some(mib) = scenario.virtio_mib {
            machine = machine.virtio_blk(5, &drive(folder, "virtio.img", mib, &[])?);
        }
        Ok(Ok((scenario.shape)(machine).into()))
    }

    /// Bochs loads no kernel by itself: what QEMU gets by `-kernel` it gets from a CD.
    fn in_bochs(
        &self,
        scenario: &Scenario,
        model: CpuModel,
        folder: &Path,
    ) -> Result<Result<Emulated, String>> {
        let (kind, config) = match &scenario.subject {
            Subject::Bare(_) => return Ok(Err("Bochs has no loader for the guest alone".to_owned())),
            Subject::Monitor => return Ok(Err("Linux in a guest of Linux takes Bochs hours".to_owned())),
            Subject::Hypervisor(config) => (ImageKind::Iso, config),
            Subject::Image(kind, config) => (*kind, config),
        };
        let bochs =
            self.bochs.get_or_init(|| self.workshop.bochs().map_err(|why| format!("no Bochs: {why:#}")));
        let bochs = match bochs {
            Ok(bochs) => bochs,
            // A build's whole story is no reason; its first line is.
            Err(why) => return Ok(Err(why.lines().next().unwrap_or_default().to_owned())),
        };
        if scenario.needs.contains(&Need::KeptApic) && !bochs.lacks().is_empty() {
            return Ok(Err(bochs.to_string()));
        }
        let bundle = self.bundle(scenario, config, folder)?;
        let image = self.workshop.image(kind, &bundle, folder)?;
        let medium = if kind == ImageKind::Iso { Medium::Cdrom(image) } else { Medium::Disk(image) };
        let machine =
            BochsMachine::new(bochs, medium).cpu(model).cpus(scenario.cpus).memory_mib(scenario.memory_mib);
        let machine = if scenario.typed.is_empty() { machine } else { machine.typed_to() };
        Ok(Ok(machine.into()))
    }

    /// Packs the scenario's configuration, and damages the bundle where that is wanted.
    fn bundle(&self, scenario: &Scenario, config: &Config, folder: &Path) -> Result<PathBuf> {
        let (text, base) = match config {
            Config::Inline(text) => (text.clone(), self.workshop.root().to_owned()),
            Config::File(name) => {
                let path = self.workshop.root().join(name);
                let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
                (text, path.parent().unwrap_or(self.workshop.root()).to_owned())
            }
        };
        let bundle = folder.join("bundle");
        self.workshop.pack(&text, scenario.models, &base, &bundle)?;
        if let Some(damage) = scenario.damage {
            let mut bytes = std::fs::read(&bundle)?;
            damage(&mut bytes);
            std::fs::write(&bundle, bytes)?;
        }
        Ok(bundle)
    }

    /// What QEMU starts with, or why this one cannot.
    fn boot(&self, scenario: &Scenario, folder: &Path) -> Result<Result<Boot, String>> {
        let (kind, config) = match &scenario.subject {
            Subject::Bare(command_line) => {
                let elf = self.workshop.testguest()?;
                return Ok(Ok(Boot::Kernel { elf, initrd: None, command_line: command_line.clone() }));
            }
            Subject::Monitor => {
                let (elf, initrd) = self.workshop.monitor_host()?;
                let command_line = reference::COMMAND_LINE.to_owned();
                return Ok(Ok(Boot::Kernel { elf, initrd: Some(initrd), command_line }));
            }
            Subject::Hypervisor(config) => (None, config),
            Subject::Image(kind, config) => (Some(*kind), config),
        };
        let bundle = self.bundle(scenario, config, folder)?;
        let Some(kind) = kind else {
            let elf = self.workshop.hypervisor()?;
            return Ok(Ok(Boot::Kernel { elf, initrd: Some(bundle), command_line: String::new() }));
        };
        let ovmf = match (kind, find_ovmf()) {
            (ImageKind::Uefi, None) => return Ok(Err("no OVMF here (Debian package ovmf)".to_owned())),
            (_, ovmf) => ovmf,
        };
        let image = self.workshop.image(kind, &bundle, folder)?;
        Ok(Ok(match (kind, ovmf) {
            (ImageKind::Uefi, Some((code, variables))) => Boot::Uefi { image, code, variables },
            (ImageKind::Pxe, _) => {
                let file = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Boot::Pxe { folder: image.parent().unwrap_or(folder).to_owned(), file }
            }
            (ImageKind::Iso, _) => Boot::Cdrom(image),
            (ImageKind::Bios | ImageKind::Uefi, _) => Boot::Bios(image),
        }))
    }
}

/// Makes an empty drive of `mib` MiB, with partitions of these sizes where there are any.
fn drive(folder: &Path, name: &str, mib: u64, partitions_mib: &[u64]) -> Result<PathBuf> {
    let image = folder.join(name);
    std::fs::File::create(&image)?.set_len(mib << 20)?;
    if !partitions_mib.is_empty() {
        let named = (1..).zip(partitions_mib).map(|(n, mib)| (format!("part{n}"), *mib));
        crate::partitions::write(&image, &named.collect::<Vec<_>>())?;
    }
    Ok(image)
}
