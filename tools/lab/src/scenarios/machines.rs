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
