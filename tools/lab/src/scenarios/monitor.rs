//! Bulkhead's device models under another hypervisor: the monitor on Linux + KVM.

use super::no_failure;
use crate::column::Column;
use crate::demux::FIRMWARE;
use crate::feature::Feature;
use crate::machine::Iommu;
use crate::scenario::{Scenario, Subject};

/// Debian's kernel in a guest of the monitor's, on an emulated Linux host: it reads its virtio drive, whose
/// hash is right, and its entropy device, and has a shell at its serial port. What is typed goes by the host's
/// terminal to that shell. Both are on one console, which nobody divides.
pub fn debian() -> Scenario {
    let scenario = Scenario::new(Column::SvmVtd, Feature::Expectations, "monitor/debian", Subject::Monitor);
    no_failure(scenario.on(|machine| machine.iommu(Iommu::None)))
        .cpus(2)
        .expect(FIRMWARE, "shell: verified sha256")
        .expect(FIRMWARE, "shell: read 4096 random bytes of virtio_rng")
        .types(FIRMWARE, "Type poweroff -f", b"echo $((6 * 7)) is typed\rpoweroff -f\r")
        .expect(FIRMWARE, "Type poweroff -f to end this guest.")
        .expect(FIRMWARE, "42 is typed")
        .expect(FIRMWARE, "monitor: the guest powered itself off")
        .within(900)
        .long()
}
