//! The same guest on machines that lack something or are built oddly.

use super::{EDU, EDU_PATH, Guest, POWER_OFF, hosted, lab_machine};
use crate::column::Column;
use crate::demux::HYPERVISOR;
use crate::feature::Feature;
use crate::machine::{Iommu, Machine};
use crate::scenario::Scenario;

/// All of them, each on one column.
pub fn on(column: Column) -> Vec<Scenario> {
    if column != Column::SvmVtd {
        return Vec::new();
    }
    vec![
        runs("no-legacy-devices", |machine| {
            lab_machine(machine).machine_options("pit=off,hpet=off,i8042=off,pic=off")
        }),
        runs("little-memory-below-4g", |machine| {
            lab_machine(machine).memory_mib(2048).machine_options("max-ram-below-4g=1G")
        }),
        // 3 cores in a socket take 2 bits of the APIC ID: 3 is missing.
        runs("sparse-apic-ids", |machine| {
            lab_machine(machine).argument("-smp").argument("6,sockets=2,cores=3,threads=1")
        }),
        runs("narrow-iommu", |machine| with_iommu(machine, "eim=on,aw-bits=39")),
        // It cannot send interrupts to processors in x2APIC mode.
        runs("old-iommu", |machine| with_iommu(machine, "eim=off")).expect(HYPERVISOR, "xAPIC mode"),
        without_iommu(),
        tree(),
    ]
}

fn with_iommu(machine: Machine, properties: &str) -> Machine {
    // Devices find their IOMMU only if it stands before them.
    let unit = format!("intel-iommu,intremap=on,{properties}");
    lab_machine(machine.iommu(Iommu::None).device(&unit))
}

fn runs(name: &str, shape: fn(Machine) -> Machine) -> Scenario {
    let guest = Guest::new("one", &[1, 2], "msi").passes("01.0", EDU_PATH, EDU);
    hosted(Column::SvmVtd, Feature::Machines, &format!("machine/{name}"), &[guest])
        .on(shape)
        .expect("one", "msi: done")
        .ends("one", POWER_OFF)
}

/// Without an IOMMU a guest with a device is refused, one without runs.
fn without_iommu() -> Scenario {
    let guests = [
        Guest::new("wanting", &[2], "msi").set("expect", "\"refused\"").passes("01.0", EDU_PATH, EDU),
        Guest::new("content", &[1], "hello"),
    ];
    hosted(Column::SvmVtd, Feature::Machines, "machine/no-iommu", &guests)
        .on(|machine| lab_machine(machine.iommu(Iommu::None)))
        .expect("hypervisor", "wanting is refused")
        .expect("content", "hello, world")
        .ends("content", POWER_OFF)
}

/// Bridges to conventional PCI, and a switch whose ports have no access control services: what is
/// behind one of them is one guest's as a whole, or nobody's.
fn tree() -> Scenario {
    let both =
        |guest: Guest, one: &str, other: &str| guest.passes("01.0", one, EDU).passes("02.0", other, EDU);
    let refused = |name: &str, cpu: u32, path: &str| {
        Guest::new(name, &[cpu], "hello").set("expect", "\"refused\"").passes("01.0", path, EDU)
    };
    let guests = [
        both(Guest::new("bridged", &[1], "dma devices=2 targets=3"), "00:06.0/01.0", "00:06.0/02.0"),
        both(
            Guest::new("switched", &[2], "dma devices=2 targets=3"),
            "00:08.0/00.0/00.0/00.0",
            "00:08.0/00.0/01.0/00.0",
        ),
        refused("left", 3, "00:07.0/01.0"),
        refused("right", 4, "00:07.0/02.0"),
        refused("wanting", 5, "00:08.0/00.0/02.0/00.0"),
    ];
    let scenario = hosted(Column::SvmVtd, Feature::Machines, "machine/tree", &guests)
        .cpus(6)
        .on(|machine| machine.edu_behind_a_bridge(6, 2).edu_behind_a_bridge(7, 2).edu_behind_a_switch(8, 3))
        .expect(HYPERVISOR, "which hides from the IOMMU who is who")
        .expect(HYPERVISOR, "lets what is behind it reach the others (no ACS)");
    ["bridged", "switched"].into_iter().fold(scenario, |scenario, guest| {
        let held = "attack dma: held";
        scenario.expect(guest, held).expect(guest, held).ends(guest, POWER_OFF)
    })
}
