//! How guests end, and what follows.

use super::{
    EDU, EDU_PATH, Guest, INVALID_STATE, NOT_STARTED, POWER_OFF, REBOOT, STOPPED, TRIPLE_FAULT, hosted,
    lab_machine,
};
use crate::column::{Column, Need};
use crate::demux::HYPERVISOR;
use crate::feature::Feature;
use crate::scenario::Scenario;

/// QEMU's NVMe drive, and an e1000e behind a root port.
const NVME: &str = "1b36:0010";
const NVME_PATH: &str = "00:03.0";
const NIC: &str = "8086:10d3";
const NIC_PATH: &str = "00:02.0/00.0";

/// All of them.
pub fn on(column: Column) -> Vec<Scenario> {
    let mut list = ends(column, "");
    if column != Column::SvmAmdVi {
        list.extend(ends(column, VIRTUAL).into_iter().map(|end| end.needs(Need::KeptApic)));
    }
    list.push(restarts(column, 30));
    list.push(restarts(column, 1000).long());
    if column == Column::SvmVtd {
        list.push(bad_entry(column));
        list.push(pulled_out(column));
    }
    list.push(refused(column, "absent-device", "00:1d.7", EDU));
    list.push(refused(column, "other-device", EDU_PATH, "8086:10d3"));
    list
}

/// Starts again and again with a drive and a NIC in use: nothing is missing at the end that was
/// there after the first. It takes about a second a time.
fn restarts(column: Column, restarts: u32) -> Scenario {
    let guest = Guest::new("one", &[1], "restarts")
        .set("memory", "\"16 MiB\"")
        .set("on_reboot", "\"restart\"")
        .set("max_restarts", &restarts.to_string())
        .set("expect", "\"reboot\"")
        .passes("01.0", NVME_PATH, NVME)
        .passes("02.0", NIC_PATH, NIC);
    hosted(column, Feature::Lifecycle, &format!("lifecycle/restarts-{restarts}"), &[guest])
        .on(|machine| lab_machine(machine).e1000e(2))
        .nvme(8)
        .needs(Need::PassedFunction)
        .expect("one", "restarts: 2 functions in use")
        .expect(HYPERVISOR, &format!("runs={} kept_frames=0 kept_in_force=0", restarts + 1))
        .ends("one", REBOOT)
        .within(60 + 3 * u64::from(restarts))
}

/// After the name of a scenario whose guests leave their interrupts to the hypervisor; by
/// default they take them themselves.
const VIRTUAL: &str = "-virtual";

fn ends(column: Column, who: &str) -> Vec<Scenario> {
    vec![
        starts_again(column, "reboot", who, REBOOT, "on_reboot", "reboot"),
        starts_again(column, "triple-fault", who, TRIPLE_FAULT, "on_crash", "crash"),
        stopped_by_another(column, "spin", who, "spin: spinning"),
        stopped_by_another(column, "halt-forever", who, "halt-forever: halting"),
    ]
}

/// One of the guests whose end is tried. Its neighbour always takes its own interrupts, so
/// that both ways stand side by side.
fn ending(cpus: &[u32], name: &str, test: &str, who: &str) -> Guest {
    let guest = Guest::new(name, cpus, test);
    if who == VIRTUAL { guest.set("interrupts", "\"virtual\"") } else { guest }
}

/// Ends by itself, is started once more in clean memory, then stays off, while a
/// neighbour watches.
fn starts_again(column: Column, test: &str, who: &str, end: &str, policy: &str, expect: &str) -> Scenario {
    let guest = ending(&[1, 2], "one", test, who)
        .set(policy, "\"restart\"")
        .set("max_restarts", "1")
        .set("expect", &format!("{expect:?}"))
        .passes_on(column, "01.0", EDU_PATH, EDU);
    let guests = [guest, Guest::new("neighbour", &[3], "neighbour seconds=4")];
    hosted(column, Feature::Lifecycle, &format!("lifecycle/{test}{who}"), &guests)
        .expect("one", "memory is clean")
        .expect("one", "starting")
        .expect("one", "memory is clean")
        .expect("neighbour", "neighbour: unharmed")
        .ends("one", end)
        .ends("neighbour", POWER_OFF)
}

/// Makes an entry fail, which ends that guest alone. No emulator but QEMU lets one, by a value of
/// CR3 for which processors raise #GP.
fn bad_entry(column: Column) -> Scenario {
    let guests = [
        Guest::new("one", &[2], "bad-entry").set("expect", "\"crash\""),
        Guest::new("neighbour", &[1], "neighbour seconds=2"),
    ];
    hosted(column, Feature::Lifecycle, "lifecycle/bad-entry", &guests)
        .expect("one", "bad-entry: ending")
        .expect("hypervisor", "the processor refuses its state")
        .expect("neighbour", "neighbour: unharmed")
        .ends("one", INVALID_STATE)
        .ends("neighbour", POWER_OFF)
}

/// Never ends and never exits: another guest's end must stop it all the same.
fn stopped_by_another(column: Column, test: &str, who: &str, says: &str) -> Scenario {
    let guests = [
        ending(&[2], "stubborn", test, who).set("expect", "\"running\""),
        Guest::new("master", &[1], "neighbour seconds=3").set("on_power_off", "\"halt-all\""),
    ];
    hosted(column, Feature::Lifecycle, &format!("lifecycle/{test}{who}"), &guests)
        .expect("stubborn", says)
        .expect("master", "neighbour: unharmed")
        .ends("stubborn", STOPPED)
        .ends("master", POWER_OFF)
        .within(30)
}

/// Of the port above the guest's device an error is reported, and then its slot loses its power.
/// The guest finds nothing there; it cannot start again without its device; nobody else notices.
fn pulled_out(column: Column) -> Scenario {
    let guests = [
        Guest::new("one", &[2], "vanish")
            .set("on_reboot", "\"restart\"")
            .set("expect", "\"refused\"")
            .passes("01.0", EDU_PATH, EDU),
        Guest::new("neighbour", &[1], "neighbour seconds=10"),
    ];
    hosted(column, Feature::Lifecycle, "lifecycle/pulled-out", &guests)
        // Slots are the port's own affair, not the firmware's.
        .on(|machine| {
            lab_machine(machine)
                .argument("-global")
                .argument("ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off")
        })
        .incident(
            "one",
            "vanish: in use",
            &[
                "pcie_aer_inject_error port4 MALF_TLP",
                "pcie_aer_inject_error -c port4 1",
                // Slot control of the port at 00:04.0: power and its indicator off.
                "o/w 0xcf8 0x8000206c",
                "o/h 0xcfc 0x700",
            ],
        )
        .expect("one", "its registers are gone: ok")
        .expect("one", "it moves nothing: ok")
        .expect("one", "at its place, ending")
        .expect(HYPERVISOR, "one: does not start: 01:00.0 is quarantined")
        .expect("neighbour", "neighbour: unharmed")
        .ends("one", NOT_STARTED)
        .ends("neighbour", POWER_OFF)
}

/// Asks for a function that the machine does not have like that.
fn refused(column: Column, name: &str, path: &str, id: &str) -> Scenario {
    let guests = [
        Guest::new("wanting", &[2], "hello").set("expect", "\"refused\"").passes("01.0", path, id),
        Guest::new("content", &[1], "hello"),
    ];
    hosted(column, Feature::Passthrough, &format!("refused/{name}"), &guests)
        .expect("hypervisor", "wanting is refused")
        .expect("content", "hello, world")
        .forbid("wanting", "hello")
        .ends("content", POWER_OFF)
}
