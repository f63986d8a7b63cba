//! What emulators do otherwise than processors and boards: found here, and nowhere in a build without
//! the feature `emulators`, which is the one for real machines.

use crate::cpu::ports;
use crate::cpu::registers;
use raw_cpuid::{CpuId, CpuIdReader, FeatureInfo, Hypervisor};

/// Whether QEMU translates this processor's code: where it does it gives TCG's name. It needs no barriers
/// against speculation, and delivers what VMRUN injects a second time
/// ([`injects_twice`](crate::virt::svm::Features::injects_twice)).
pub fn is_interpreted(cpuid: &CpuId<impl CpuIdReader>) -> bool {
    cfg!(feature = "emulators")
        && cpuid.get_hypervisor_info().is_some_and(|info| info.identify() == Hypervisor::QEMU)
}

/// Whether this is QEMU, which has a device that ends it: a hypervisor is above us, and its firmware
/// configuration device answers (docs/specs/fw_cfg of QEMU).
pub fn is_qemu() -> bool {
    if !cfg!(feature = "emulators") || !registers::has(FeatureInfo::has_hypervisor) {
        return false;
    }
    // SAFETY: selecting and reading the signature moves no memory. On another
    // hypervisor the ports are nobody's.
    unsafe {
        ports::write16(0x510, 0);
        b"QEMU".iter().all(|byte| ports::read8(0x511) == *byte)
    }
}
