//! A scenario: one run of a machine, and what its consoles must say.

use crate::bochs::Bochs;
use crate::bochs::CpuModel;
use crate::column::{Column, Need};
use crate::demux::Line;
use crate::feature::Feature;
use crate::look::Look;
use crate::machine::Machine;
use crate::power_cuts::PowerCuts;
use crate::qemu::Qemu;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What scenarios need built. `cargo hv` implements it; every answer is kept, so
/// asking twice costs nothing.
pub trait Workshop {
    /// The emulator.
    ///
    /// # Errors
    /// There is none and none can be installed.
    fn qemu(&self) -> Result<Qemu>;
    /// QEMU 7.2, which alone remaps the IOAPIC's interrupts by AMD-Vi.
    ///
    /// # Errors
    /// It cannot be fetched or does not run here.
    fn old_qemu(&self) -> Result<Qemu>;
    /// The emulator with VT-x.
    ///
    /// # Errors
    /// There is none and none can be built or installed.
    fn bochs(&self) -> Result<Bochs>;
    /// The hypervisor's ELF.
    ///
    /// # Errors
    /// It does not build.
    fn hypervisor(&self) -> Result<PathBuf>;
    /// The test guest's ELF (`tools/guests/attack`).
    ///
    /// # Errors
    /// It does not build.
    fn testguest(&self) -> Result<PathBuf>;
    /// The kernel and the initial file system of a Linux host that runs the monitor with a Linux guest.
    /// # Errors
    /// Something does not build, or cannot be fetched.
    fn monitor_host(&self) -> Result<(PathBuf, PathBuf)>;
    /// Packs the configuration `config` (TOML) with this program of compartments into the bundle at `bundle`. Files that
    /// it names are found in `folder`; `testguest`, and Debian's kernel and the
    /// ramdisks of the Linux payload, are found wherever they were built.
    ///
    /// # Errors
    /// The configuration or a file is not in order.
    fn pack(&self, config: &str, models: Models, folder: &Path, bundle: &Path) -> Result<()>;
    /// Makes an image of `kind` from the hypervisor and a bundle, in `folder`.
    ///
    /// # Errors
    /// It does not build.
    fn image(&self, kind: ImageKind, bundle: &Path, folder: &Path) -> Result<PathBuf>;
    /// The project's root folder, where `examples` is.
    fn root(&self) -> &Path;
}

/// Bochs interprets what QEMU translates, and boots by firmware each time.
const BOCHS_TIMES: u32 = 4;

/// Kinds of boot images, as `cargo hv image --kind` names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageKind {
    /// A disk for UEFI.
    Uefi,
    /// A disk for BIOS.
    Bios,
    /// A boot file and what it loads, in a folder for TFTP; the path is the boot file's.
    Pxe,
    /// A CD with GRUB.
    Iso,
}

/// What runs in compartments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Models {
    /// The models.
    Own,
    /// A program that attacks when its guest says so (`tools/guests/hostile`).
    Hostile,
}

/// What the machine starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// The hypervisor with a bundle, by `-kernel` and `-initrd`.
    Hypervisor(Config),
    /// The same from an image.
    Image(ImageKind, Config),
    /// The test guest alone with this command line, no hypervisor: proves that the guest is right.
    Bare(String),
    /// Linux + KVM, whose first program has the monitor (`tools/monitor`) run a Linux guest on our models.
    Monitor,
}

/// Where a configuration stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Config {
    /// Here.
    Inline(String),
    /// In a file, named from the project's root.
    File(String),
}

/// A scenario under construction; the methods add to it.
#[derive(Clone)]
pub struct Scenario {
    pub(crate) name: String,
    pub(crate) column: Column,
    pub(crate) feature: Feature,
    pub(crate) needs: Vec<Need>,
    pub(crate) bochs: Option<CpuModel>,
    pub(crate) subject: Subject,
    pub(crate) models: Models,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u32,
    pub(crate) shape: fn(Machine) -> Machine,
    pub(crate) expect: Vec<Expected>,
    pub(crate) forbidden: Vec<Expected>,
    pub(crate) ends: Vec<(String, String)>,
    pub(crate) exits_at_most: Vec<(String, &'static [&'static str], u64)>,
    pub(crate) all_as_expected: bool,
    pub(crate) timeout: Duration,
    pub(crate) may_run_on: bool,
    /// Adds the NIC for which the payload is served at this TCP port.
    pub(crate) serves_http: Option<fn(Machine, u16) -> Machine>,
    pub(crate) drive_mib: Option<u64>,
    /// Sizes of its partitions in MiB.
    pub(crate) partitions_mib: Vec<u64>,
    /// A SATA disk: its size in MiB, and those of its partitions.
    pub(crate) sata_mib: Option<(u64, Vec<u64>)>,
    pub(crate) virtio_mib: Option<u64>,
    pub(crate) skip: Option<&'static str>,
    pub(crate) long: bool,
    pub(crate) damage: Option<fn(&mut Vec<u8>)>,
    pub(crate) typed: Vec<Typed>,
    pub(crate) reads_slowly: Option<Duration>,
    pub(crate) incidents: Vec<Incident>,
    pub(crate) looks: Vec<Look>,
    /// Its drives lie on logs, of which power cuts are made afterwards.
    pub(crate) power_cuts: Option<PowerCuts>,
}

/// What happens to the machine, and after which line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Incident {
    /// The line.
    pub after: Expected,
    /// Commands of QEMU's human monitor.
    pub commands: &'static [&'static str],
}

/// What is typed, and after which line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Typed {
    /// The line.
    pub after: Expected,
    /// What follows it on COM1.
    pub bytes: Vec<u8>,
}

/// A text on a console.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Expected {
    /// Whose console; `None` is anybody's.
    pub owner: Option<String>,
    /// Part of a line.
    pub text: String,
}

impl Expected {
    pub(crate) fn matches(&self, line: &Line) -> bool {
        self.owner.as_ref().is_none_or(|owner| *owner == line.owner) && line.text.contains(&self.text)
    }
}

impl Scenario {
    /// A scenario on the everyday machine of `column` that nothing is expected of yet; its
    /// outcome counts for `feature`, and its name ends with the column.
    pub fn new(column: Column, feature: Feature, name: &str, subject: Subject) -> Self {
        Self {
            name: format!("{name}{}", column.suffix()),
            column,
            feature,
            needs: Vec::new(),
            bochs: (column == Column::VmxBochs).then_some(CpuModel::Intel),
            subject,
            models: Models::Own,
            cpus: 4,
            memory_mib: 1024,
            shape: |machine| machine,
            expect: Vec::new(),
            forbidden: Vec::new(),
            ends: Vec::new(),
            exits_at_most: Vec::new(),
            all_as_expected: false,
            timeout: Duration::from_secs(60),
            may_run_on: false,
            serves_http: None,
            drive_mib: None,
            partitions_mib: Vec::new(),
            sata_mib: None,
            virtio_mib: None,
            skip: None,
            long: false,
            damage: None,
            typed: Vec::new(),
            reads_slowly: None,
            incidents: Vec::new(),
            looks: Vec::new(),
            power_cuts: None,
        }
    }

    /// Runs it in Bochs, on a processor with more of AMD-V than QEMU emulates, and no
    /// IOMMU; its name says so.
    pub fn on_ryzen(mut self) -> Self {
        self.name = self.name.replace(self.column.suffix(), "@ryzen");
        self.bochs = Some(CpuModel::Amd);
        self
    }

    /// Has this run in compartments.
    pub fn models(mut self, models: Models) -> Self {
        self.models = models;
        self
    }

    /// Number of processors; 4 if nothing is said.
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Memory in MiB; 1024 if nothing is said.
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Changes the machine where it is QEMU's, in what only QEMU can do.
    pub fn on(mut self, shape: fn(Machine) -> Machine) -> Self {
        self.shape = shape;
        self
    }

    /// `owner` must write a line with `text` in it, after those that were expected of
    /// it before.
    pub fn expect(mut self, owner: &str, text: &str) -> Self {
        self.expect.push(Expected { owner: Some(owner.to_owned()), text: text.to_owned() });
        self
    }

    /// `owner` must never write a line with `text` in it.
    pub fn forbid(mut self, owner: &str, text: &str) -> Self {
        self.forbidden.push(Expected { owner: Some(owner.to_owned()), text: text.to_owned() });
        self
    }

    /// Nobody may write a line with `text` in it.
    pub fn forbid_anywhere(mut self, text: &str) -> Self {
        self.forbidden.push(Expected { owner: None, text: text.to_owned() });
        self
    }

    /// The summary must count no exit of these kinds for `guest` since it said that it is
    /// up.
    pub fn steady_without(self, guest: &str, kinds: &'static [&'static str]) -> Self {
        self.steady_at_most(guest, kinds, 0)
    }

    /// The summary must count at most this many exits of each of these kinds for `guest`
    /// since it said that it is up.
    pub fn steady_at_most(mut self, guest: &str, kinds: &'static [&'static str], most: u64) -> Self {
        self.exits_at_most.push((guest.to_owned(), kinds, most));
        self
    }

    /// The summary must say that `guest` ended by `end`.
    pub fn ends(mut self, guest: &str, end: &str) -> Self {
        self.ends.push((guest.to_owned(), end.to_owned()));
        self
    }

    /// The summary must say that every guest ended, or was refused, as its
    /// configuration expects.
    pub fn all_as_expected(mut self) -> Self {
        self.all_as_expected = true;
        self
    }

    /// The time that it may take; 60 seconds if nothing is said.
    pub fn within(mut self, seconds: u64) -> Self {
        self.timeout = Duration::from_secs(seconds);
        self
    }

    /// The run is over once everything expected was seen, even if the machine would
    /// run on.
    pub fn may_run_on(mut self) -> Self {
        self.may_run_on = true;
        self
    }

    /// Damages the bundle before the boot.
    pub fn damage(mut self, damage: fn(&mut Vec<u8>)) -> Self {
        self.damage = Some(damage);
        self
    }

    /// Serves the 8 MiB payload meanwhile, to an e1000e at 00:02.0 that learns its
    /// address by DHCP, as the boot file's.
    pub fn serves_http(mut self) -> Self {
        self.serves_http = Some(|machine, port| machine.e1000e_to(2, port));
        self
    }

    /// The same to the NICs that `add` adds to a machine, of which each is told that TCP port.
    pub fn serves_http_by(mut self, add: fn(Machine, u16) -> Machine) -> Self {
        self.serves_http = Some(add);
        self
    }

    /// The same to an e1000, which has nothing but an interrupt line, behind a bridge of its
    /// own: at 00:06.0/01.0.
    pub fn serves_http_to_e1000(mut self) -> Self {
        self.serves_http = Some(|machine, port| machine.e1000_to(6, port));
        self
    }

    /// Adds an NVMe drive with an empty disk of this size at 00:03.0.
    pub fn nvme(mut self, mib: u64) -> Self {
        self.drive_mib = Some(mib);
        self
    }

    /// Puts tables of their own before the guests' in an inline configuration.
    pub(crate) fn add_keys(&mut self, tables: &str) {
        if let Subject::Hypervisor(Config::Inline(text)) = &mut self.subject {
            text.insert_str(0, tables);
        }
    }

    /// Divides that drive into partitions of these sizes in MiB, called `part1`, `part2` and so on.
    pub fn partitions(mut self, mib: &[u64]) -> Self {
        self.partitions_mib = mib.to_vec();
        self
    }

    /// Adds a SATA disk of this size, divided in the same way, at port 1 of the chipset's AHCI
    /// adapter, 00:1f.2. At port 0 is a CD drive.
    pub fn sata(mut self, mib: u64, partitions_mib: &[u64]) -> Self {
        self.sata_mib = Some((mib, partitions_mib.to_vec()));
        self
    }

    /// Types `bytes` once `owner` has written a line with `text` in it, and what was to be
    /// typed before has been.
    pub fn types(mut self, owner: &str, text: &str, bytes: &[u8]) -> Self {
        let after = Expected { owner: Some(owner.to_owned()), text: text.to_owned() };
        self.typed.push(Typed { after, bytes: bytes.to_owned() });
        self
    }

    /// Has QEMU's human monitor carry out `commands` once `owner` has written a line with `text`
    /// in it, and what was to happen before has.
    pub fn incident(mut self, owner: &str, text: &str, commands: &'static [&'static str]) -> Self {
        let after = Expected { owner: Some(owner.to_owned()), text: text.to_owned() };
        self.incidents.push(Incident { after, commands });
        self
    }

    /// For so many seconds COM1 is read as slowly as a real one sends. What the emulator's
    /// channel holds comes on top.
    pub fn reads_slowly(mut self, seconds: u64) -> Self {
        self.reads_slowly = Some(Duration::from_secs(seconds));
        self
    }

    /// Cuts the power of the drives that [`nvme`](Self::nvme) and [`sata`](Self::sata) added, in a
    /// replay of what was written to them.
    pub fn power_cuts(mut self, wanted: PowerCuts) -> Self {
        self.power_cuts = Some(wanted);
        self
    }

    /// Whether it is of what is in ring 3, and says itself what that is.
    pub fn is_about_ring_3(&self) -> bool {
        let ends_some = matches!(&self.subject,
            Subject::Hypervisor(Config::Inline(text)) | Subject::Image(_, Config::Inline(text)) if text.contains("kill = "));
        let expects_some = self.expect.iter().any(|line| line.text.contains("in ring 3"));
        self.models == Models::Hostile || ends_some || expects_some
    }

    /// Says what the machine must have; a column whose emulator lacks it skips it.
    pub fn needs(mut self, need: Need) -> Self {
        self.needs.push(need);
        self
    }

    /// Skips it for this reason.
    pub fn skip(mut self, why: &'static str) -> Self {
        self.skip = Some(why);
        self
    }

    /// It takes too long for every day: it runs with `cargo hv test --long` only.
    pub fn long(mut self) -> Self {
        self.long = true;
        self
    }

    /// Whether it runs with `cargo hv test --long` only.
    pub fn is_long(&self) -> bool {
        self.long
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The time that it may take in its emulator.
    pub(crate) fn time(&self) -> Duration {
        match self.bochs {
            Some(_) => self.timeout * BOCHS_TIMES,
            None => self.timeout,
        }
    }

    /// Why it is never run on its column, whatever the host; `None` if it is.
    pub fn never(&self) -> Option<&'static str> {
        self.skip.or_else(|| self.needs.iter().find_map(|need| self.column.lacks(*need)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Judge;

    fn outcome(scenario: &Scenario, lines: &[(&str, &str)]) -> Result<(), String> {
        let mut judge = Judge::new(scenario);
        for (owner, text) in lines {
            judge.take(&Line { owner: (*owner).to_owned(), text: (*text).to_owned() });
        }
        judge.outcome()
    }

    fn empty() -> Scenario {
        Scenario::new(Column::SvmVtd, Feature::Processors, "x", Subject::Bare(String::new()))
    }

    fn scenario() -> Scenario {
        empty().expect("a", "one").expect("b", "uno").expect("a", "two").forbid_anywhere("BROKEN")
    }

    #[test]
    fn what_its_column_lacks_keeps_it_from_running() {
        let on = |column| {
            let scenario = Scenario::new(column, Feature::Linux, "x", Subject::Bare(String::new()));
            scenario.needs(Need::PassedFunction).never()
        };
        assert_eq!(on(Column::SvmVtd), None);
        assert!(on(Column::VmxBochs).is_some());
        assert_eq!(empty().skip("broken").never(), Some("broken"));
        assert_eq!(empty().name(), "x@vtd");
    }

    #[test]
    fn order_counts_per_owner_only() {
        let lines = [("b", "uno"), ("a", "say one"), ("a", "two!")];
        assert_eq!(outcome(&scenario(), &lines), Ok(()));
        let swapped = [("b", "uno"), ("a", "two"), ("a", "one")];
        assert_eq!(outcome(&scenario(), &swapped), Err("a did not write \"two\"".into()));
    }

    #[test]
    fn the_wrong_owner_does_not_count() {
        let lines = [("b", "one"), ("b", "uno"), ("a", "two")];
        assert_eq!(outcome(&scenario(), &lines), Err("a did not write \"one\"".into()));
    }

    #[test]
    fn one_line_meets_one_expectation() {
        let scenario = empty().expect("a", "x").expect("a", "x");
        assert!(outcome(&scenario, &[("a", "x x")]).is_err());
    }

    #[test]
    fn forbidden_text_wins() {
        let lines = [("b", "uno"), ("a", "one"), ("a", "two"), ("c", "attack dma: BROKEN")];
        assert_eq!(outcome(&scenario(), &lines), Err("c wrote \"attack dma: BROKEN\"".into()));
    }

    #[test]
    fn a_steady_guest_is_held_to_its_counts() {
        let scenario = empty().steady_without("net", &["halt", "interrupt"]);
        let said = |text: &str| outcome(&scenario, &[("hypervisor", text)]);
        assert_eq!(said("summary guest=net end=off"), Err("guest net never said that it is up".into()));
        assert_eq!(said("summary guest=net end=off steady=7 steady.port=7"), Ok(()));
        assert_eq!(
            said("summary guest=net end=off exits.halt=9 steady=8 steady.halt=1 steady.port=7"),
            Err("guest net exited 1 times for halt since it is up".into())
        );
    }

    #[test]
    fn ends_come_from_the_summary() {
        let scenario = empty().ends("net", "off");
        assert_eq!(outcome(&scenario, &[]), Err("no summary of guest net".into()));
        let crashed = [("hypervisor", "summary guest=net end=crashed")];
        assert_eq!(outcome(&scenario, &crashed), Err("guest net ended by crashed, not by off".into()));
        assert_eq!(outcome(&scenario, &[("hypervisor", "summary guest=net end=off")]), Ok(()));
        assert!(outcome(&scenario, &[("net", "summary guest=net end=off")]).is_err());
    }

    #[test]
    fn the_hypervisor_counts_who_ended_as_expected() {
        let scenario = empty().all_as_expected();
        assert_eq!(outcome(&scenario, &[]), Err("the hypervisor did not come to its end".into()));
        let one = [("hypervisor", "summary hypervisor guests=2 as_expected=1")];
        assert_eq!(outcome(&scenario, &one), Err("1 of 2 guests ended as expected".into()));
        let both = [("hypervisor", "summary hypervisor guests=2 as_expected=2")];
        assert_eq!(outcome(&scenario, &both), Ok(()));
    }
}
