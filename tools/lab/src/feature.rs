//! The rows of the matrix: what is shown to work, in groups that mean something to a
//! user.

use crate::column::Column;

/// A group of scenarios.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Feature {
    /// Firmware and loaders, and bundles that are damaged.
    Boots,
    /// Debian's kernel to its shell.
    Linux,
    /// Debian's kernel with drivers for what is passed through.
    LinuxWithFunctions,
    /// CPUID, timers, interrupts between processors.
    Processors,
    /// Interrupts that cost a guest no exit.
    DirectInterrupts,
    /// Interrupts that the hypervisor takes and the processor delivers.
    KeptApic,
    /// What newer processors have of AMD-V.
    NewerSvm,
    /// The models of 8259A, PIT and IOAPIC.
    LegacyInterrupts,
    /// Ends, restarts, guests that let nobody stop them.
    Lifecycle,
    /// Guests that are frozen and go on.
    Snapshots,
    /// A function's MSIs, and functions that a guest cannot have.
    Passthrough,
    /// A function's interrupt line and expansion ROM.
    Lines,
    /// DMA out of a guest's memory.
    DmaIsolation,
    /// Interrupt messages that a device forges.
    InterruptIsolation,
    /// Configuration space and BARs.
    ConfigIsolation,
    /// Ports, MSRs and addresses that a guest does not have.
    Sweeps,
    /// Instructions that are carried out for a guest.
    Emulation,
    /// Faults in handlers of faults, INIT storms.
    Storms,
    /// What a guest tells a local APIC that is its own.
    Commands,
    /// Guests' drives on a drive that the hypervisor keeps.
    Drives,
    /// Guests at a network that the hypervisor switches, with a network interface that it keeps.
    Networks,
    /// Memory that guests share, with doorbells.
    SharedMemory,
    /// Emulated functions that are told everything wrong.
    EmulatedFunctions,
    /// Floods, control characters, pastes, the menu.
    Consoles,
    /// Machines that lack something.
    Machines,
    /// The test guest alone; the device models under another hypervisor.
    Expectations,
}

impl Feature {
    /// All of them, from top to bottom.
    pub const ALL: [Self; 26] = [
        Self::Boots,
        Self::Linux,
        Self::LinuxWithFunctions,
        Self::Processors,
        Self::DirectInterrupts,
        Self::KeptApic,
        Self::NewerSvm,
        Self::LegacyInterrupts,
        Self::Lifecycle,
        Self::Snapshots,
        Self::Passthrough,
        Self::Lines,
        Self::DmaIsolation,
        Self::InterruptIsolation,
        Self::ConfigIsolation,
        Self::Sweeps,
        Self::Emulation,
        Self::Storms,
        Self::Commands,
        Self::Drives,
        Self::Networks,
        Self::SharedMemory,
        Self::EmulatedFunctions,
        Self::Consoles,
        Self::Machines,
        Self::Expectations,
    ];

    /// What stands before it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Boots => "BIOS, UEFI, PXE, ISO; damaged bundles",
            Self::Linux => "Linux to its shell",
            Self::LinuxWithFunctions => "two Linux guests with a NIC and a drive",
            Self::Processors => "CPUID, timers, IPIs, both APIC modes",
            Self::DirectInterrupts => "guests that take their interrupts themselves",
            Self::KeptApic => "virtual interrupts delivered by the processor, posted IPIs",
            Self::NewerSvm => "AMD-V's next RIP and flush by ASID (Bochs)",
            Self::LegacyInterrupts => "8259A, PIT, IOAPIC",
            Self::Lifecycle => "ends, restarts, guests that never let go",
            Self::Snapshots => "guests that are frozen and go on",
            Self::Passthrough => "a function's MSIs; functions refused",
            Self::Lines => "a function's interrupt line (INTx), expansion ROM",
            Self::DmaIsolation => "DMA isolation",
            Self::InterruptIsolation => "interrupt isolation",
            Self::ConfigIsolation => "configuration space and BARs",
            Self::Sweeps => "ports, MSRs, memory that is not there",
            Self::Emulation => "instruction emulation under attack",
            Self::Storms => "nested faults, INIT storms",
            Self::Commands => "what a local APIC of one's own can be told",
            Self::Drives => "emulated drives on partitions of drives that the hypervisor keeps",
            Self::Networks => {
                "emulated network interfaces, each other and the outside by an 82574L, an 82576 or a virtio interface \
                 that the hypervisor keeps"
            }
            Self::SharedMemory => "memory that guests share, with doorbells between them",
            Self::EmulatedFunctions => "emulated functions under attack",
            Self::Consoles => "the console: floods, control characters, pastes, the menu",
            Self::Machines => "machines that lack something",
            Self::Expectations => {
                "without the hypervisor: the test guest; the device models under KVM (`--long`)"
            }
        }
    }
}

/// What is built and what no emulator runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NeverRun {
    /// What stands before it.
    pub title: &'static str,
    /// Where it would be.
    pub columns: &'static [Column],
    /// Why it is not, and what there is instead.
    pub why: &'static str,
}

/// All of them.
pub const NEVER_RUN: &[NeverRun] = &[
    NeverRun {
        title: "TLB entries kept over exits, VMCB clean bits",
        columns: &[Column::SvmVtd, Column::SvmAmdVi],
        why: "QEMU flushes at every entry and reads the whole VMCB; shown on the models of the host's tests",
    },
    NeverRun {
        title: "decode assists, virtual NMIs",
        columns: &[Column::SvmVtd, Column::SvmAmdVi],
        why: "no emulator's AMD-V has them; shown on a model of the control block",
    },
    NeverRun {
        title: "local APICs that AMD-V's processors keep (x2AVIC)",
        columns: &[Column::SvmVtd, Column::SvmAmdVi],
        why: "no emulator's AMD-V has AVIC; shown on its tables, pages, intercepts and exits",
    },
    NeverRun {
        title: "faults that AMD-Vi tells of",
        columns: &[Column::SvmAmdVi],
        why: "QEMU's AMD-Vi writes no event for what is not present, and gives the wrong requester; \
              shown on a model of the event log",
    },
    NeverRun {
        title: "messages of the compatibility format blocked",
        columns: &[Column::SvmVtd, Column::VmxVtd],
        why: "QEMU's VT-d delivers them whatever it is told; shown that the bit is never set",
    },
    NeverRun { title: "a real machine", columns: &Column::ALL, why: "nobody has booted it on one yet" },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rows_have_titles_of_their_own() {
        let rows = Feature::ALL.iter().map(|feature| feature.title());
        let titles: Vec<_> = rows.chain(NEVER_RUN.iter().map(|row| row.title)).collect();
        let unique: BTreeSet<_> = titles.iter().collect();
        assert_eq!(unique.len(), titles.len());
        assert!(titles.iter().all(|title| !title.contains('|')), "a table's bar");
    }

    #[test]
    fn they_stand_in_their_order() {
        assert!(Feature::ALL.is_sorted());
    }
}
