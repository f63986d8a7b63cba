//! The MSRs that are the guest's: in the VMCS, or in the processor itself.

use super::{EFER_LMA, VmxVcpu};
use crate::cpu::registers;
use access::vcpu::SegmentName;
use spec::msr;
use spec::vmx::field::{self, Field};

/// MSRs that the hypervisor never uses, so that the guest's are in the processor itself.
const OWN_MSRS: [u32; 5] = [msr::STAR, msr::LSTAR, msr::CSTAR, msr::SFMASK, msr::KERNEL_GS_BASE];

impl VmxVcpu {
    pub(super) fn held_msr(&self, number: u32) -> Option<u64> {
        if OWN_MSRS.contains(&number) {
            // SAFETY: every 64-bit processor has these, and they hold the guest's values.
            return Some(unsafe { registers::read_msr(number) });
        }
        msr_field(number).map(|field| self.read(field))
    }

    pub(super) fn set_held_msr(&mut self, number: u32, value: u64) -> bool {
        if OWN_MSRS.contains(&number) {
            // SAFETY: as for `held_msr`; the caller checked addresses for being canonical,
            // and the hypervisor uses none of them.
            unsafe { registers::write_msr(number, value) };
            return true;
        }
        let Some(field) = msr_field(number) else { return false };
        let value = match number {
            // The processor sets LMA; a write keeps what is there.
            msr::EFER => value & !EFER_LMA | self.read(field) & EFER_LMA,
            _ => value,
        };
        self.write(field, value);
        true
    }

    pub(super) fn clear_own_msrs(&mut self) {
        for number in OWN_MSRS {
            self.set_held_msr(number, 0);
        }
    }
}

/// Where the VMCS has an MSR of the guest's.
const fn msr_field(number: u32) -> Option<Field> {
    Some(match number {
        msr::EFER => field::GUEST_EFER,
        msr::PAT => field::GUEST_PAT,
        msr::FS_BASE => field::GUEST_BASE.of_segment(SegmentName::Fs as usize),
        msr::GS_BASE => field::GUEST_BASE.of_segment(SegmentName::Gs as usize),
        msr::SYSENTER_CS => field::GUEST_SYSENTER_CS,
        msr::SYSENTER_ESP => field::GUEST_SYSENTER_ESP,
        msr::SYSENTER_EIP => field::GUEST_SYSENTER_EIP,
        _ => return None,
    })
}
