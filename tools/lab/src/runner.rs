//! Runs scenarios: one line each, and a total.

use crate::bochs::{Bochs, BochsMachine, CpuModel, Medium};
use crate::column::{Column, Need};
use crate::consoles::{Consoles, Logs, View};
use crate::emulated::Emulated;
use crate::host::Host;
use crate::http::PayloadServer;
use crate::machine::{Boot, Machine};
use crate::matrix::Matrix;
use crate::qemu::find_ovmf;
use crate::running::Ended;
use crate::scenario::{Config, ImageKind, Judge, Scenario, Subject, Workshop};
use crate::session;
use anyhow::{Context, Result};
use std::cell::OnceCell;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// How many of a failed scenario's last lines are shown per console.
const TAIL: usize = 12;

/// Counts of what happened.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Report {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that this machine cannot run.
    pub skipped: usize,
}

impl Report {
    /// Adds another one's counts.
    pub fn add(&mut self, other: Report) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// How one scenario went.
#[derive(Debug)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Why it did not.
    Failed(String),
    /// Why it was not run.
    Skipped(String),
}

/// Runs scenarios one after another.
pub struct Runner<'a> {
    workshop: &'a dyn Workshop,
    host: Host,
    /// Asked for once: building it and failing takes its time.
    bochs: OnceCell<Result<Bochs, String>>,
    logs: PathBuf,
    view: View,
}

impl<'a> Runner<'a> {
    /// A runner that keeps each scenario's logs in a folder of `logs` of its name.
    pub fn new(workshop: &'a dyn Workshop, logs: &Path) -> Self {
        Self {
            workshop,
            host: Host::detect(),
            bochs: OnceCell::new(),
            logs: logs.to_owned(),
            view: View::Nothing,
        }
    }

    /// Shows the consoles meanwhile.
    pub fn view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// Runs those of `scenarios` whose name contains `filter` and writes a line for
    /// each to `output`, with the logs' tails of those that fail. `matrix` gets their
    /// outcomes.
    ///
    /// # Errors
    /// `output` cannot be written.
    pub fn run(
        &self,
        scenarios: &[Scenario],
        filter: &str,
        matrix: &mut Matrix,
        output: &mut dyn Write,
    ) -> Result<Report> {
        let mut report = Report::default();
        for scenario in scenarios.iter().filter(|scenario| scenario.name().contains(filter)) {
            let start = Instant::now();
            let outcome = self.one(scenario).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
            let name = scenario.name();
            matrix.add(scenario.feature, scenario.column, &outcome);
            match outcome {
                Outcome::Passed => {
                    report.passed += 1;
                    writeln!(output, "ok {name} {:.1} s", start.elapsed().as_secs_f64())?;
                }
                Outcome::Skipped(why) => {
                    report.skipped += 1;
                    writeln!(output, "skipped {name}: {why}")?;
                }
                Outcome::Failed(why) => {
                    report.failed += 1;
                    writeln!(output, "FAILED {name}: {why}")?;
                    let folder = self.folder(scenario);
                    output.write_all(tails(&folder).as_bytes())?;
                    writeln!(output, "    logs: {}", folder.display())?;
                }
            }
            output.flush()?;
        }
        Ok(report)
    }

    fn folder(&self, scenario: &Scenario) -> PathBuf {
        self.logs.join(scenario.name().replace('/', "-"))
    }

    /// Why it is not run here.
    fn cannot(&self, scenario: &Scenario) -> Option<String> {
        let never = scenario.never().map(str::to_owned);
        never.or_else(|| scenario.column.unavailable_on(&self.host))
    }

    fn one(&self, scenario: &Scenario) -> Result<Outcome> {
        if let Some(why) = self.cannot(scenario) {
            return Ok(Outcome::Skipped(why));
        }
        let folder = self.folder(scenario);
        // Logs of an earlier run would be shown as this one's.
        let _ = std::fs::remove_dir_all(&folder);
        let logs = Logs::new(&folder)?;
        let server = if scenario.serves_http { Some(PayloadServer::start()?) } else { None };
        let machine = match self.machine(scenario, &folder, server.as_ref())? {
            Ok(machine) => machine,
            Err(why) => return Ok(Outcome::Skipped(why)),
        };
        let mut running = machine.start(&folder)?;
        let mut consoles = Consoles::on_stdout(self.view, Some(logs));
        let mut judge = Judge::new(scenario);
        let time = scenario.time();
        let ended = session::run(&mut running, &mut consoles, Some(time), false, |line| {
            judge.take(line);
            let over = judge.is_lost() || scenario.may_run_on && judge.is_satisfied();
            if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let json = serde_json::to_string_pretty(&judge.summary.to_json())?;
        std::fs::write(folder.join("summary.json"), json)?;
        Ok(match (judge.verdict(), ended) {
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
        })
    }

    /// The machine of the scenario's column, or why it cannot be had.
    fn machine(
        &self,
        scenario: &Scenario,
        folder: &Path,
        server: Option<&PayloadServer>,
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
        if let Some(server) = server {
            machine = machine.e1000e_to(2, server.port());
        }
        if let Some(mib) = scenario.drive_mib {
            let image = folder.join("nvme.img");
            std::fs::File::create(&image)?.set_len(mib << 20)?;
            machine = machine.nvme(3, &image, false);
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
        let bundle = self.bundle(scenario, config, folder)?;
        let image = self.workshop.image(kind, &bundle, folder)?;
        let medium = if kind == ImageKind::Iso { Medium::Cdrom(image) } else { Medium::Disk(image) };
        let machine =
            BochsMachine::new(bochs, medium).cpu(model).cpus(scenario.cpus).memory_mib(scenario.memory_mib);
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
        self.workshop.pack(&text, &base, &bundle)?;
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

/// The last lines of every log in `folder`, indented.
fn tails(folder: &Path) -> String {
    let mut logs: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    let mut text = String::new();
    for path in logs {
        let contents = String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
        let owner = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let lines: Vec<_> = contents.lines().collect();
        for line in &lines[lines.len().saturating_sub(TAIL)..] {
            text.push_str(&format!("    {owner}| {}\n", crate::consoles::printable(line)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_has_its_fixed_form() {
        let mut total = Report { passed: 1, failed: 0, skipped: 2 };
        total.add(Report { passed: 4, failed: 1, skipped: 0 });
        assert_eq!(total.to_string(), "5 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn tails_show_the_last_lines_of_each_log() {
        let folder = std::env::temp_dir().join(format!("lab-tails-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let lines: String = (0..100).map(|number| format!("line {number}\n")).collect();
        std::fs::write(folder.join("net.log"), lines).unwrap();
        std::fs::write(folder.join("bundle"), "no log").unwrap();
        let text = tails(&folder);
        assert_eq!(text.lines().count(), TAIL);
        assert!(text.ends_with("    net| line 99\n"), "{text}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
