//! Interrupt lines of passed-through functions: delivered, held down, refused where they are
//! shared; and expansion ROMs.

use super::{EDU, EDU_PATH, Guest, OTHER_EDU_PATH, POWER_OFF, REBOOT, bare_machine, hosted, lab_machine};
use crate::column::{Column, Need};
use crate::feature::Feature;
use crate::scenario::{Config, Scenario, Subject};

/// All of them.
pub fn on(column: Column) -> Vec<Scenario> {
    vec![
        line(column, "intx"),
        line(column, "intx xapic"),
        held_down(column),
        storm(column),
        shared(column),
        linux(column),
        rom(column),
    ]
}

fn with_line(column: Column, name: &str, guests: &[Guest]) -> Scenario {
    hosted(column, Feature::Lines, name, guests).needs(Need::IoapicRemapping)
}

fn edu(name: &str, cpus: &[u32], test: &str) -> Guest {
    Guest::new(name, cpus, test).passes("01.0", EDU_PATH, EDU).with("gsi", "20")
}

/// Each guest has a line of its own, and neither hears of the other's.
fn line(column: Column, test: &str) -> Scenario {
    let two = Guest::new("two", &[3], &format!("{test} cpus=1"));
    let guests = [edu("one", &[1, 2], test), two.passes("0a.0", OTHER_EDU_PATH, EDU).with("gsi", "21")];
    with_line(column, &format!("guest/{}", test.replace(' ', "-")), &guests)
        .expect("one", "intx: done")
        .expect("two", "intx: done")
        .ends("one", POWER_OFF)
        .ends("two", POWER_OFF)
}

/// Resets while its device holds its line down, in the middle of an interrupt. The next
/// owner of the line, itself, hears nothing of it.
fn held_down(column: Column) -> Scenario {
    let guest = edu("one", &[1], "intx-held")
        .set("on_reboot", "\"restart\"")
        .set("max_restarts", "2")
        .set("expect", "\"reboot\"");
    let mut scenario = with_line(column, "lifecycle/line-held-down", &[guest]).ends("one", REBOOT);
    for _ in 0..3 {
        let steps = ["intx quiet: ok", "intx delivery: ok", "intx held: ok"];
        scenario = steps.into_iter().fold(scenario, |scenario, step| scenario.expect("one", step));
    }
    scenario
}

/// A line that screams, beside a neighbour that watches.
fn storm(column: Column) -> Scenario {
    let neighbour = Guest::new("neighbour", &[1], "neighbour seconds=15");
    with_line(column, "attack/intx-storm", &[edu("attacker", &[2, 3], "intx-storm"), neighbour])
        .expect("attacker", "attack intx-storm: held")
        .expect("neighbour", "neighbour: unharmed")
        .ends("attacker", POWER_OFF)
        .ends("neighbour", POWER_OFF)
        .within(90)
}

/// Another `edu`, which nobody owns, meets the guest's at one input.
fn shared(column: Column) -> Scenario {
    let guests =
        [edu("wanting", &[2], "intx").set("expect", "\"refused\""), Guest::new("content", &[1], "hello")];
    let met = "00:04.0/00.0 shares its interrupt line, global system interrupt 20, with 00:08.0/00.0";
    with_line(column, "refused/shared-line", &guests)
        .on(|machine| lab_machine(machine).edu(8))
        .expect("hypervisor", met)
        .expect("content", "hello, world")
        .forbid("wanting", "intx")
        .ends("content", POWER_OFF)
}

/// Debian's kernel with a NIC that has nothing but a line.
fn linux(column: Column) -> Scenario {
    let config = "[guest.net]\ncpus = [1]\nmemory = \"512 MiB\"\nkernel = \"vmlinuz\"\ninitrd = \"net.cpio\"\n\
                  command_line = \"console=ttyS0 panic=-1\"\non_reboot = \"off\"\n\n[[guest.net.pci]]\n\
                  slot = \"01.0\"\npassthrough = { path = \"00:06.0/01.0\", id = \"8086:100e\" }\n";
    let subject = Subject::Hypervisor(Config::Inline(config.to_owned()));
    Scenario::new(column, Feature::Lines, "linux/intx", subject)
        .needs(Need::IoapicRemapping)
        .serves_http_to_e1000()
        .expect("net", "driven by e1000")
        .expect("net", "IO-APIC")
        .expect("net", "net: verified sha256")
        .forbid_anywhere("FAILED")
        .forbid("hypervisor", "panicked")
        .ends("net", POWER_OFF)
        .all_as_expected()
        .within(200)
}

fn rom(column: Column) -> Scenario {
    let guest =
        Guest::new("one", &[1], "rom").passes("01.0", "00:02.0/00.0", "8086:10d3").with("rom", "true");
    hosted(column, Feature::Lines, "guest/rom", &[guest])
        .needs(Need::PassedFunction)
        .on(|machine| bare_machine(machine).e1000e(2))
        .expect("one", "rom: 256 KiB")
        .expect("one", "rom: signature 55 AA")
        .expect("one", "rom moved: ok")
        .ends("one", POWER_OFF)
}
