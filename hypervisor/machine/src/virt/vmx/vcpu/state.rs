//! The guest's registers: most in the VMCS, the others where assembly keeps them.

use super::super::{exits, segments};
use super::{SHADOW, UNSETTLED, VmxVcpu};
use crate::cpu::registers;
use crate::virt::guest_registers;
use access::vcpu::{ControlRegisters, ProcessorState, RSP, Segment, SegmentName};
use spec::processor::EFER_LMA;
use spec::vmx::control::EntryControls;
use spec::vmx::{event, field};
use x86_64::registers::control::Cr2;

impl ProcessorState for VmxVcpu {
    #[inline]
    fn register(&self, index: usize) -> u64 {
        match index & 15 {
            RSP => self.read(field::GUEST_RSP),
            other => self.context.general.0[other],
        }
    }

    #[inline]
    fn set_register(&mut self, index: usize, value: u64) {
        match index & 15 {
            RSP => self.write(field::GUEST_RSP, value),
            other => self.context.general.0[other] = value,
        }
    }

    #[inline]
    fn rip(&self) -> u64 {
        self.read(field::GUEST_RIP)
    }

    #[inline]
    fn set_rip(&mut self, value: u64) {
        self.write(field::GUEST_RIP, value);
    }

    #[inline]
    fn rflags(&self) -> u64 {
        self.read(field::GUEST_RFLAGS)
    }

    fn set_rflags(&mut self, value: u64) {
        self.write(field::GUEST_RFLAGS, value);
    }

    #[inline]
    fn control(&self) -> ControlRegisters {
        ControlRegisters {
            cr0: self.cr0.seen(self.read(field::GUEST_CR0), self.read(field::CR0_SHADOW)),
            // Neither an entry nor an exit touches CR2, and the hypervisor never faults.
            cr2: Cr2::read_raw(),
            cr3: self.read(field::GUEST_CR3),
            cr4: self.cr4.seen(self.read(field::GUEST_CR4), self.read(field::CR4_SHADOW)),
            efer: self.read(field::GUEST_EFER),
        }
    }

    fn set_control(&mut self, control: ControlRegisters) {
        let mut entry_controls = self.features.controls.entry;
        if control.efer & EFER_LMA != 0 {
            entry_controls |= EntryControls::LONG_MODE;
        }
        // SAFETY: CR2 is the guest's, see `control`.
        unsafe { registers::write_cr2(control.cr2) };
        for (field, value) in [
            (field::GUEST_CR0, self.cr0.real(control.cr0)),
            (field::CR0_SHADOW, control.cr0),
            (field::GUEST_CR3, control.cr3),
            (field::GUEST_CR4, self.cr4.real(control.cr4)),
            (field::CR4_SHADOW, control.cr4),
            (field::GUEST_EFER, control.efer),
            (field::ENTRY_CONTROLS, entry_controls.bits().into()),
        ] {
            self.write(field, value);
        }
        self.stale.paging = true;
        self.pending_work |= UNSETTLED;
    }

    fn segment(&self, name: SegmentName) -> Segment {
        let index = name as usize;
        Segment {
            selector: self.read(field::GUEST_SELECTOR.of_segment(index)) as u16,
            attributes: segments::to_attributes(self.read(field::GUEST_RIGHTS.of_segment(index)) as u32),
            limit: self.read(field::GUEST_LIMIT.of_segment(index)) as u32,
            base: self.read(field::GUEST_BASE.of_segment(index)),
        }
    }

    fn set_segment(&mut self, name: SegmentName, segment: Segment) {
        let index = name as usize;
        let rights = segments::to_rights(segment.attributes);
        self.write(field::GUEST_SELECTOR.of_segment(index), segment.selector.into());
        self.write(field::GUEST_RIGHTS.of_segment(index), rights.into());
        self.write(field::GUEST_LIMIT.of_segment(index), segment.limit.into());
        self.write(field::GUEST_BASE.of_segment(index), segment.base);
    }

    fn global_table(&self) -> (u64, u16) {
        (self.read(field::GUEST_GDTR_BASE), self.read(field::GUEST_GDTR_LIMIT) as u16)
    }

    fn set_descriptor_table(&mut self, interrupt: bool, base: u64, limit: u16) {
        let (base_field, limit_field) = match interrupt {
            true => (field::GUEST_IDTR_BASE, field::GUEST_IDTR_LIMIT),
            false => (field::GUEST_GDTR_BASE, field::GUEST_GDTR_LIMIT),
        };
        self.write(base_field, base);
        self.write(limit_field, limit.into());
    }

    #[inline]
    fn privilege_level(&self) -> u8 {
        segments::privilege_level(self.read(field::GUEST_RIGHTS.of_segment(SegmentName::Ss as usize)) as u32)
    }

    fn read_msr(&self, number: u32) -> Option<u64> {
        self.held_msr(number)
    }

    fn write_msr(&mut self, number: u32, value: u64) -> bool {
        self.set_held_msr(number, value)
    }

    #[inline]
    fn next_rip(&self) -> Option<u64> {
        if !exits::has_length(self.reason) && !self.switches_by_instruction() {
            return None;
        }
        let length = self.read(field::INSTRUCTION_LENGTH);
        Some(exits::next_rip(self.rip(), length, || self.is_64_bit()))
    }

    fn fetched_bytes(&self) -> &[u8] {
        &[]
    }

    #[inline(always)]
    fn is_delivering(&self) -> bool {
        self.interrupted.is_some()
    }

    fn take_interrupted(&mut self) -> Option<u32> {
        let injection = self.interrupted.take()?;
        (injection.info & event::HAS_ERROR != 0).then_some(injection.error)
    }

    fn set_pae_pointers(&mut self, pointers: [u64; 4]) {
        self.write_pae_pointers(pointers);
    }

    fn end_local_breakpoints(&mut self) {
        self.clear_local_breakpoints();
    }

    #[inline]
    fn clear_interrupt_shadow(&mut self) {
        let state = self.read(field::GUEST_INTERRUPTIBILITY);
        if state as u32 & SHADOW != 0 {
            self.write(field::GUEST_INTERRUPTIBILITY, state & !u64::from(SHADOW));
        }
    }

    fn set_xcr0(&mut self, value: u64) {
        // SAFETY: the guest owns the extended state; the caller checked the value against
        // what CPUID offers, and CR4.OSXSAVE is set wherever that is anything.
        unsafe { guest_registers::set_xcr0(value) };
    }
}
