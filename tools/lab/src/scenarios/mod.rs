//! The scenarios of `cargo hv test`, by topic.
//!
//! Most have the test guest (`tools/guests/attack`) as their only kernel, so they
//! take seconds; its command line says which of its tests runs.

mod attacks;
mod boots;
mod guests;
mod lifecycle;
mod linux;
mod machines;

use crate::machine::Machine;
use crate::scenario::{Config, Scenario, Subject};

/// How guests end, in the words of the summary (`guest::End`).
const POWER_OFF: &str = "power-off";
const REBOOT: &str = "reboot";
const TRIPLE_FAULT: &str = "triple-fault";
const STOPPED: &str = "stopped";
const BAD_ACCESS: &str = "bad-access";

/// Vendor and device of QEMU's `edu`.
const EDU: &str = "1234:11e8";
/// Where the lab's machine has one, and the other.
const EDU_PATH: &str = "00:04.0/00.0";
const OTHER_EDU_PATH: &str = "00:05.0/00.0";

/// All of them, in the order in which they run: what the later ones lean on first.
pub fn all() -> Vec<Scenario> {
    let mut list = guests::bare();
    list.extend(guests::hosted_tests());
    list.extend(lifecycle::all());
    list.extend(attacks::all());
    list.extend(machines::all());
    list.extend(boots::all());
    list.extend(linux::all());
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

    /// Passes the function at `path` with this identity through, at `slot`.
    pub fn passes(mut self, slot: &str, path: &str, id: &str) -> Self {
        self.functions.push_str(&format!(
            "\n[[guest.{}.pci]]\nslot = \"{slot}\"\npassthrough = {{ path = \"{path}\", id = \"{id}\" }}\n",
            self.name
        ));
        self
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
/// test guest's own verdicts of failure are forbidden.
pub(crate) fn hosted(name: &str, guests: &[Guest]) -> Scenario {
    no_failure(Scenario::new(name, Subject::Hypervisor(config(guests))).on(lab_machine))
        .forbid("hypervisor", "panicked")
        .all_as_expected()
}

/// 4 processors, of which guests get 1 to 3, and two `edu`, at [`EDU_PATH`] and
/// [`OTHER_EDU_PATH`].
pub(crate) fn lab_machine(machine: Machine) -> Machine {
    machine.cpus(4).memory_mib(1024).edu(4).edu(5)
}

/// The same for a test guest that is alone with it and looks at bus 0 only.
pub(crate) fn bare_machine(machine: Machine) -> Machine {
    machine.cpus(4).memory_mib(1024).edu_on_root_bus(4).edu_on_root_bus(5)
}

fn no_failure(scenario: Scenario) -> Scenario {
    ["FAILED", "WRONG", "BROKEN", "HARMED"].into_iter().fold(scenario, Scenario::forbid_anywhere)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_make_folders() {
        let all = all();
        let names: BTreeSet<_> = all.iter().map(Scenario::name).collect();
        assert_eq!(names.len(), all.len());
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-".contains(c);
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
    fn configurations_are_what_plan_reads() {
        let guest = Guest::new("a", &[2, 3], "x y").set("memory", "\"8 MiB\"").passes("01.0", "00:04.0", EDU);
        let Config::Inline(text) = config(&[guest]) else { unreachable!() };
        let expected = "[guest.a]\ncpus = [2, 3]\nkernel = \"testguest\"\ncommand_line = \"x y\"\n\
                        on_reboot = \"off\"\nmemory = \"8 MiB\"\n\n[[guest.a.pci]]\nslot = \"01.0\"\n\
                        passthrough = { path = \"00:04.0\", id = \"1234:11e8\" }\n\n";
        assert_eq!(text, expected);
    }
}
