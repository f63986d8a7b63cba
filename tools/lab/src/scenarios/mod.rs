//! The scenarios of `cargo hv test`, by topic.
//!
//! Most have the test guest (`tools/guests/attack`) as their only kernel, so they
//! take seconds; its command line says which of its tests runs.

mod attacks;
mod boots;
mod consoles;
mod guests;
mod lifecycle;
mod lines;
mod linux;
mod machines;
mod monitor;
mod power;

use crate::column::Column;
use crate::feature::Feature;
use crate::machine::Machine;
use crate::scenario::{Config, Scenario, Subject};

/// How guests end, in the words of the summary (`guest::End`).
const POWER_OFF: &str = "power-off";
const REBOOT: &str = "reboot";
const TRIPLE_FAULT: &str = "triple-fault";
const NOT_STARTED: &str = "not-started";
const STOPPED: &str = "stopped";
const BAD_ACCESS: &str = "bad-access";
const INVALID_STATE: &str = "invalid-state";

/// A backing, as TOML writes it, of which it does not matter what is on it: the test guest's own file.
const IMAGE: &str = "{ image = \"testguest\" }";

/// Vendor and device of QEMU's `edu`.
const EDU: &str = "1234:11e8";
/// Where the lab's machine has one, and the other. Their lines end at the inputs 20 and 21.
const EDU_PATH: &str = "00:04.0/00.0";
const OTHER_EDU_PATH: &str = "00:05.0/00.0";

/// All of them, in the order in which they run: what the later ones lean on first. What
/// guests see and do is repeated on every column; entry points and odd machines are not, for
/// nothing of them depends on one.
pub fn all() -> Vec<Scenario> {
    let mut list = guests::bare();
    for column in Column::ALL {
        list.extend(guests::hosted_tests(column));
        list.extend(lifecycle::on(column));
        list.extend(lines::on(column));
        list.extend(attacks::on(column));
        list.extend(consoles::on(column));
        list.extend(machines::on(column));
        list.extend(boots::on(column));
        list.extend(linux::on(column));
        list.extend(power::on(column));
    }
    list.push(monitor::debian());
    list
}

/// A guest of the test kernel under construction, as a part of a configuration.
pub(crate) struct Guest {
    name: String,
    lines: Vec<String>,
    functions: String,
}

impl Guest {
    /// `name` on `cpus`, with 64 MiB and this command line. Unlike the default, a
    /// reset ends it: a guest that should not reset would run for ever.
    pub fn new(name: &str, cpus: &[u32], command_line: &str) -> Self {
        let lines = vec![
            format!("cpus = {cpus:?}"),
            "memory = \"64 MiB\"".to_owned(),
            "kernel = \"testguest\"".to_owned(),
            format!("command_line = {command_line:?}"),
        ];
        Self { name: name.to_owned(), lines, functions: String::new() }.set("on_reboot", "\"off\"")
    }

    /// Sets a key to a value as TOML writes it, in place of an earlier one.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        let start = format!("{key} = ");
        self.lines.retain(|line| !line.starts_with(&start));
        self.lines.push(start + value);
        self
    }

    /// Passes the function through if `column` has what that takes.
    pub fn passes_on(self, column: Column, slot: &str, path: &str, id: &str) -> Self {
        if column.passes_functions() { self.passes(slot, path, id) } else { self }
    }

    /// Passes the function at `path` with this identity through, at `slot`.
    pub fn passes(mut self, slot: &str, path: &str, id: &str) -> Self {
        self.functions.push_str(&format!(
            "\n[[guest.{}.pci]]\nslot = \"{slot}\"\npassthrough = {{ path = \"{path}\", id = \"{id}\" }}\n",
            self.name
        ));
        self
    }

    /// Gives the guest an emulated NVMe drive at `slot`, of the test guest's own file.
    pub fn drive(self, slot: &str) -> Self {
        self.emulates(slot, "nvme").with("backing", IMAGE)
    }

    /// Gives the guest an emulated function at `slot`.
    pub fn emulates(mut self, slot: &str, model: &str) -> Self {
        self.functions
            .push_str(&format!("\n[[guest.{}.pci]]\nslot = \"{slot}\"\nemulate = \"{model}\"\n", self.name));
        self
    }

    /// Lets the guest share a memory by an emulated function at `slot`.
    pub fn shares(mut self, slot: &str, memory: &str) -> Self {
        self.functions.push_str(&format!(
            "\n[[guest.{}.pci]]\nslot = \"{slot}\"\nemulate = \"ivshmem\"\nshared_memory = \"{memory}\"\n",
            self.name
        ));
        self
    }

    /// Sets a key of the function that was added last.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.functions.push_str(&format!("{key} = {value}\n"));
        self
    }

    /// Which of the test guest's tests it runs.
    fn test(&self) -> &str {
        let line = self.lines.iter().find_map(|line| line.strip_prefix("command_line = \""));
        line.and_then(|words| words.split([' ', '"']).next()).unwrap_or_default()
    }

    fn text(&self) -> String {
        format!("[guest.{}]\n{}\n{}\n", self.name, self.lines.join("\n"), self.functions)
    }
}

/// A configuration of these guests.
pub(crate) fn config(guests: &[Guest]) -> Config {
    Config::Inline(guests.iter().map(Guest::text).collect())
}

/// A scenario with these guests on the lab's machine. A panic of the hypervisor and a
/// test guest's own reports of failure are forbidden.
pub(crate) fn hosted(column: Column, feature: Feature, name: &str, guests: &[Guest]) -> Scenario {
    let mut config = config(guests);
    if let (Column::VmxBochs, Config::Inline(text)) = (column, &mut config) {
        // Two of Bochs' processors are threads of a core.
        text.insert_str(0, "[hypervisor]\nshare_cores = true\n\n");
    }
    let subject = Subject::Hypervisor(config);
    no_failure(Scenario::new(column, feature, name, subject).on(lab_machine))
        .forbid("hypervisor", "panicked")
        .all_as_expected()
}

/// As [`hosted`], with keys that concern the hypervisor itself.
pub(crate) fn hosted_with(
    column: Column,
    feature: Feature,
    name: &str,
    keys: &str,
    guests: &[Guest],
) -> Scenario {
    let mut scenario = hosted(column, feature, name, guests);
    if let Subject::Hypervisor(Config::Inline(text)) = &mut scenario.subject {
        const HEADER: &str = "[hypervisor]\n";
        match text.strip_prefix(HEADER) {
            Some(rest) => *text = format!("{HEADER}{keys}\n{rest}"),
            None => text.insert_str(0, &format!("{HEADER}{keys}\n")),
        }
    }
    scenario
}

/// Two `edu`, at [`EDU_PATH`] and [`OTHER_EDU_PATH`]. Of the 4 processors guests get 1 to 3.
pub(crate) fn lab_machine(machine: Machine) -> Machine {
    machine.edu(4).edu(5)
}

/// The same for a test guest that is alone with it and looks at bus 0 only.
pub(crate) fn bare_machine(machine: Machine) -> Machine {
    machine.edu_on_root_bus(4).edu_on_root_bus(5)
}

fn no_failure(scenario: Scenario) -> Scenario {
    ["FAILED", "WRONG", "BROKEN", "HARMED"].into_iter().fold(scenario, Scenario::forbid_anywhere)
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::vcpu::Exit;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_make_folders() {
        let all = all();
        let names: BTreeSet<_> = all.iter().map(Scenario::name).collect();
        assert_eq!(names.len(), all.len());
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-@".contains(c);
        assert!(names.iter().all(|name| name.chars().all(plain)), "{names:?}");
    }

    #[test]
    fn every_scenario_expects_something() {
        for scenario in all() {
            let expects = !scenario.expect.is_empty() || !scenario.ends.is_empty();
            assert!(expects, "{} cannot fail", scenario.name());
        }
    }

    #[test]
    fn exits_that_must_not_be_are_kinds_of_exits() {
        for scenario in all() {
            for kind in scenario.exits_at_most.iter().flat_map(|(_, kinds, _)| kinds.iter()) {
                assert!(Exit::KIND_NAMES.contains(kind), "{} would never count {kind}", scenario.name());
            }
        }
    }

    #[test]
    fn attacks_run_on_every_column_with_an_iommu() {
        let attacks = |column| {
            let all = attacks::on(column).into_iter();
            let able = all.filter(|scenario| scenario.never().is_none());
            able.map(|scenario| scenario.name().trim_end_matches(column.suffix()).to_owned())
                .collect::<BTreeSet<_>>()
        };
        let reference = attacks(Column::SvmVtd);
        for column in Column::ALL.into_iter().filter(|column| column.passes_functions()) {
            assert!(attacks(column).is_superset(&reference), "{column:?}");
        }
    }

    #[test]
    fn every_feature_has_a_scenario() {
        let shown: BTreeSet<_> = all().iter().map(|scenario| scenario.feature).collect();
        assert!(shown.iter().eq(Feature::ALL.iter()), "{shown:?}");
    }

    #[test]
    fn guests_without_an_iommu_are_given_no_function() {
        for scenario in all().iter().filter(|scenario| scenario.never().is_none()) {
            let passes = match &scenario.subject {
                Subject::Hypervisor(Config::Inline(text)) => text.contains("passthrough"),
                _ => false,
            };
            let able = scenario.column.passes_functions() || scenario.name().starts_with("refused/");
            assert!(!passes || able, "{}", scenario.name());
        }
    }

    #[test]
    fn configurations_are_what_plan_reads() {
        let guest = Guest::new("a", &[2, 3], "x y").set("memory", "\"8 MiB\"").passes("01.0", "00:04.0", EDU);
        let Config::Inline(text) = config(&[guest]) else { unreachable!() };
        let expected = "[guest.a]\ncpus = [2, 3]\nkernel = \"testguest\"\ncommand_line = \"x y\"\n\
                        on_reboot = \"off\"\nmemory = \"8 MiB\"\n\n[[guest.a.pci]]\nslot = \"01.0\"\n\
                        passthrough = { path = \"00:04.0\", id = \"1234:11e8\" }\n\n";
        assert_eq!(text, expected);
    }
}
