//! The columns of the matrix: processor and IOMMU as pairs, and what emulates each.

use crate::host::{Host, Vendor};
use crate::machine::Iommu;

/// A pair of processor virtualisation and IOMMU, and the emulator that has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Column {
    /// AMD-V with VT-d: no real machine has the pair, QEMU's TCG does.
    SvmVtd,
    /// AMD-V with AMD-Vi, in QEMU's TCG.
    SvmAmdVi,
    /// VT-x in Bochs, which has no IOMMU.
    VmxBochs,
    /// VT-x with VT-d, in QEMU over nested KVM.
    VmxVtd,
}

/// What a scenario asks of its machine beyond processors and memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// An IOMMU, and QEMU's devices behind it.
    PassedFunction,
    /// An IOMMU that also remaps what the IOAPIC sends.
    IoapicRemapping,
    /// Guests that take their interrupts themselves.
    DirectInterrupts,
    /// Where processors keep a guest's local APIC, that they do it as the manual says: an
    /// emulator without the project's patches does not wake a guest from HLT.
    KeptApic,
}

impl Column {
    /// All of them, as they stand from left to right.
    pub const ALL: [Self; 4] = [Self::SvmVtd, Self::SvmAmdVi, Self::VmxBochs, Self::VmxVtd];

    /// What stands above it.
    pub fn title(self) -> &'static str {
        match self {
            Self::SvmVtd => "AMD-V x VT-d",
            Self::SvmAmdVi => "AMD-V x AMD-Vi",
            Self::VmxBochs => "VT-x (Bochs)",
            Self::VmxVtd => "VT-x x VT-d",
        }
    }

    /// What a scenario's name ends with on it.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::SvmVtd => "@vtd",
            Self::SvmAmdVi => "@amdvi",
            Self::VmxBochs => "@bochs",
            Self::VmxVtd => "@kvm",
        }
    }

    /// The IOMMU of its machine.
    pub fn iommu(self) -> Iommu {
        match self {
            Self::SvmVtd | Self::VmxVtd => Iommu::Intel,
            Self::SvmAmdVi => Iommu::Amd,
            Self::VmxBochs => Iommu::None,
        }
    }

    /// Whether guests can be given PCI functions on it.
    pub fn passes_functions(self) -> bool {
        self.iommu() != Iommu::None
    }

    /// Whether its processors keep a guest's local APIC: QEMU's have no AVIC.
    pub fn keeps_apics(self) -> bool {
        matches!(self, Self::VmxBochs | Self::VmxVtd)
    }

    /// Whether its IOMMU tells the hypervisor what it blocked: QEMU's AMD-Vi writes no event
    /// for a page that is not present, nor for an interrupt without an entry.
    pub fn reports_faults(self) -> bool {
        self.iommu() == Iommu::Intel
    }

    /// Why its emulator never does what `need` says; `None` if it does.
    pub fn lacks(self, need: Need) -> Option<&'static str> {
        match need {
            Need::PassedFunction | Need::IoapicRemapping if !self.passes_functions() => {
                Some("Bochs has no IOMMU, no PCI Express and no device with MSI")
            }
            _ => None,
        }
    }

    /// Why `host` cannot run it, as far as that can be told without building anything.
    pub fn unavailable_on(self, host: &Host) -> Option<String> {
        match self {
            Self::SvmVtd | Self::SvmAmdVi | Self::VmxBochs => None,
            Self::VmxVtd => host.nested(Vendor::Intel).err(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn titles_and_suffixes_are_unique() {
        let titles: BTreeSet<_> = Column::ALL.iter().map(|column| column.title()).collect();
        let suffixes: BTreeSet<_> = Column::ALL.iter().map(|column| column.suffix()).collect();
        assert_eq!((titles.len(), suffixes.len()), (Column::ALL.len(), Column::ALL.len()));
    }

    #[test]
    fn a_passed_function_needs_an_iommu() {
        for column in Column::ALL {
            let lacks = column.lacks(Need::PassedFunction).is_some();
            assert_eq!(lacks, column.iommu() == Iommu::None, "{column:?}");
        }
    }

    #[test]
    fn plain_emulation_needs_nothing_of_the_host() {
        assert_eq!(Column::SvmVtd.unavailable_on(&Host::without_nesting()), None);
        let why = Column::VmxVtd.unavailable_on(&Host::without_nesting()).unwrap();
        assert!(why.contains("vmx"), "{why}");
    }
}
