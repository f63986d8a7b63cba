//! The guest's registers: most in the control block, the others where assembly keeps them.

use super::super::control::{EFER_LMA, EFER_SVME};
use super::SvmVcpu;
use crate::virt::guest_registers;
use access::vcpu::{ControlRegisters, ProcessorState, RAX, RSP, Segment, SegmentName};
use spec::msr;
use spec::svm::{Clean, VmcbSegment};

impl SvmVcpu {
    fn segment_mut(&mut self, name: SegmentName) -> &mut VmcbSegment {
        let save = &mut self.vmcb.save;
        match name {
            SegmentName::Ldtr => &mut save.ldtr,
            SegmentName::Tr => &mut save.tr,
            other => &mut save.segments[other as usize],
        }
    }
}

impl ProcessorState for SvmVcpu {
    fn register(&self, index: usize) -> u64 {
        match index & 15 {
            RAX => self.vmcb.save.rax,
            RSP => self.vmcb.save.rsp,
            other => self.registers.0[other],
        }
    }

    fn set_register(&mut self, index: usize, value: u64) {
        match index & 15 {
            RAX => self.vmcb.save.rax = value,
            RSP => self.vmcb.save.rsp = value,
            other => self.registers.0[other] = value,
        }
    }

    fn rip(&self) -> u64 {
        self.vmcb.save.rip
    }

    fn set_rip(&mut self, value: u64) {
        self.vmcb.save.rip = value;
    }

    fn rflags(&self) -> u64 {
        self.vmcb.save.rflags
    }

    fn set_rflags(&mut self, value: u64) {
        self.vmcb.save.rflags = value;
    }

    fn control(&self) -> ControlRegisters {
        let save = &self.vmcb.save;
        ControlRegisters {
            cr0: save.cr0,
            cr2: save.cr2,
            cr3: save.cr3,
            cr4: save.cr4,
            efer: save.efer & !EFER_SVME,
        }
    }

    fn set_control(&mut self, control: ControlRegisters) {
        let save = &mut self.vmcb.save;
        save.cr0 = control.cr0;
        save.cr2 = control.cr2;
        save.cr3 = control.cr3;
        save.cr4 = control.cr4;
        save.efer = control.efer | EFER_SVME;
        self.vmcb.control.clean.remove(Clean::CONTROL_REGISTERS | Clean::CR2);
        // A change of paging mode or CR3 here is not the guest's own MOV, which
        // would flush.
        self.entry.flush_translations();
    }

    fn segment(&self, name: SegmentName) -> Segment {
        let save = &self.vmcb.save;
        let segment = match name {
            SegmentName::Ldtr => &save.ldtr,
            SegmentName::Tr => &save.tr,
            other => &save.segments[other as usize],
        };
        Segment {
            selector: segment.selector,
            attributes: segment.attributes,
            limit: segment.limit,
            base: segment.base,
        }
    }

    fn set_segment(&mut self, name: SegmentName, segment: Segment) {
        *self.segment_mut(name) = VmcbSegment {
            selector: segment.selector,
            attributes: segment.attributes,
            limit: segment.limit,
            base: segment.base,
        };
        if name == SegmentName::Ss {
            self.vmcb.save.cpl = (segment.attributes >> 5) as u8 & 3;
        }
        self.vmcb.control.clean.remove(Clean::SEGMENTS);
    }

    fn global_table(&self) -> (u64, u16) {
        (self.vmcb.save.gdtr.base, self.vmcb.save.gdtr.limit as u16)
    }

    fn set_descriptor_table(&mut self, interrupt: bool, base: u64, limit: u16) {
        let save = &mut self.vmcb.save;
        let table = if interrupt { &mut save.idtr } else { &mut save.gdtr };
        *table = VmcbSegment { selector: 0, attributes: 0, limit: limit.into(), base };
        self.vmcb.control.clean.remove(Clean::DESCRIPTOR_TABLES);
    }

    fn privilege_level(&self) -> u8 {
        self.vmcb.save.cpl & 3
    }

    fn read_msr(&self, number: u32) -> Option<u64> {
        let save = &self.vmcb.save;
        Some(match number {
            msr::EFER => save.efer & !EFER_SVME,
            msr::PAT => save.g_pat,
            msr::STAR => save.star,
            msr::LSTAR => save.lstar,
            msr::CSTAR => save.cstar,
            msr::SFMASK => save.sfmask,
            msr::KERNEL_GS_BASE => save.kernel_gs_base,
            msr::FS_BASE => save.segments[SegmentName::Fs as usize].base,
            msr::GS_BASE => save.segments[SegmentName::Gs as usize].base,
            msr::SYSENTER_CS => save.sysenter_cs,
            msr::SYSENTER_ESP => save.sysenter_esp,
            msr::SYSENTER_EIP => save.sysenter_eip,
            _ => return None,
        })
    }

    fn write_msr(&mut self, number: u32, value: u64) -> bool {
        let save = &mut self.vmcb.save;
        match number {
            msr::EFER => {
                save.efer = value & !EFER_LMA | save.efer & EFER_LMA | EFER_SVME;
                self.vmcb.control.clean.remove(Clean::CONTROL_REGISTERS);
            }
            msr::PAT => {
                save.g_pat = value;
                self.vmcb.control.clean.remove(Clean::NESTED_PAGING);
            }
            msr::STAR => save.star = value,
            msr::LSTAR => save.lstar = value,
            msr::CSTAR => save.cstar = value,
            msr::SFMASK => save.sfmask = value,
            msr::KERNEL_GS_BASE => save.kernel_gs_base = value,
            msr::FS_BASE => save.segments[SegmentName::Fs as usize].base = value,
            msr::GS_BASE => save.segments[SegmentName::Gs as usize].base = value,
            msr::SYSENTER_CS => save.sysenter_cs = value,
            msr::SYSENTER_ESP => save.sysenter_esp = value,
            msr::SYSENTER_EIP => save.sysenter_eip = value,
            _ => return false,
        }
        true
    }

    fn next_rip(&self) -> Option<u64> {
        let control = &self.vmcb.control;
        match control.exit_code {
            // A port exit gives it whatever the processor (APM section 15.10.2).
            spec::svm::exit_code::IOIO => Some(control.exit_info2),
            _ if self.features.next_rip => Some(control.next_rip),
            _ => None,
        }
    }

    fn fetched_bytes(&self) -> &[u8] {
        let control = &self.vmcb.control;
        let count = if self.features.decode_assists { control.fetched_count.min(15) } else { 0 };
        &control.fetched_bytes[..count.into()]
    }

    #[inline(always)]
    fn is_delivering(&self) -> bool {
        !self.entry.is_free()
    }

    fn take_interrupted(&mut self) -> Option<u32> {
        self.entry.take_interrupted()
    }

    fn clear_interrupt_shadow(&mut self) {
        self.vmcb.control.interrupt_shadow = 0;
    }

    fn set_xcr0(&mut self, value: u64) {
        // SAFETY: the guest owns the extended state; the caller checked the value against
        // what CPUID offers, and CR4.OSXSAVE is set wherever that is anything.
        unsafe { guest_registers::set_xcr0(value) };
    }
}
