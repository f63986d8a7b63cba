//! What a VMCS begins with: controls and pointers, the host's state, and the guest's registers
//! after INIT.

use super::{DR7_RESET, EXCEPTIONS, PAT_RESET, UNSETTLED, VPID, VmxVcpu};
use crate::virt::vmx::{host, world};
use access::vcpu::{ControlRegisters, InterruptMode, ProcessorState, Segment, SegmentName};
use spec::vmx::control::SecondaryControls;
use spec::vmx::field::{self, Field};
use spec::vmx::interruptibility;

impl VmxVcpu {
    /// Makes the VMCS current, with everything in it that never changes.
    pub(super) fn set_up(&mut self) {
        let frames = self.frames;
        // SAFETY: by the contract of `new` the frame is a VMCS's, this vCPU's alone, and
        // the processor is in VMX operation.
        let loaded = unsafe { world::clear(frames.vmcs) && world::load(frames.vmcs) };
        if !loaded {
            log::error!("the processor does not take the VMCS at {}. This is a bug", frames.vmcs);
        }
        self.launched = false;
        self.context.host_rsp = 0;
        let controls = self.features.controls;
        self.controls = controls.processor;
        self.pins = controls.pin;
        self.pending_work = UNSETTLED;
        self.threshold = 0;
        self.tsc_offset = 0;
        let fixed = [
            (field::PIN_CONTROLS, controls.pin.bits().into()),
            (field::PROCESSOR_CONTROLS, controls.processor.bits().into()),
            (field::SECONDARY_CONTROLS, controls.secondary.bits().into()),
            (field::EXIT_CONTROLS, controls.exit.bits().into()),
            (field::EXCEPTION_BITMAP, EXCEPTIONS.into()),
            (field::PAGE_FAULT_MASK, 0),
            (field::PAGE_FAULT_MATCH, 0),
            (field::CR3_TARGETS, 0),
            (field::EXIT_MSR_STORES, 0),
            (field::EXIT_MSR_LOADS, 0),
            (field::ENTRY_MSR_LOADS, 0),
            (field::ENTRY_EVENT, 0),
            (field::PRIORITY_THRESHOLD, 0),
            (field::TSC_OFFSET, 0),
            (field::IO_BITMAP_A, frames.io_maps.0),
            (field::IO_BITMAP_B, frames.io_maps.0 + 4096),
            (field::MSR_BITMAP, frames.msr_maps.of(InterruptMode::Emulated).0),
            (field::VIRTUAL_APIC, frames.virtual_apic.0),
            (field::EPT_POINTER, self.features.ept_pointer(frames.nested.0)),
            (field::CR0_MASK, self.cr0.mask),
            (field::CR4_MASK, self.cr4.mask),
            (field::LINK, u64::MAX),
        ];
        for (field, value) in fixed {
            self.write(field, value);
        }
        for (control, field, value) in [
            (SecondaryControls::VPID, field::VPID, VPID.into()),
            (SecondaryControls::ENCLS, field::ENCLS_BITMAP, u64::MAX),
            (SecondaryControls::ENCLV, field::ENCLV_BITMAP, u64::MAX),
        ] {
            if controls.secondary.contains(control) {
                self.write(field, value);
            }
        }
        // SAFETY: the VMCS is this processor's, and so is the state.
        unsafe { host::write_state() };
    }

    /// The registers after INIT (Intel SDM vol. 3 table 10-1) that are in the VMCS.
    pub(super) fn reset_guest_state(&mut self) {
        let segment = |attributes| Segment { selector: 0, attributes, limit: 0xffff, base: 0 };
        for name in [SegmentName::Es, SegmentName::Ss, SegmentName::Ds, SegmentName::Fs, SegmentName::Gs] {
            self.set_segment(name, segment(0x93));
        }
        self.set_segment(SegmentName::Cs, Segment { selector: 0xf000, base: 0xffff_0000, ..segment(0x9b) });
        self.set_segment(SegmentName::Ldtr, segment(0x82));
        self.set_segment(SegmentName::Tr, segment(0x8b));
        self.set_descriptor_table(false, 0, 0xffff);
        self.set_descriptor_table(true, 0, 0xffff);
        self.set_control(ControlRegisters { cr0: 0x6000_0010, ..ControlRegisters::default() });
        for (field, value) in [
            (field::GUEST_RIP, 0xfff0),
            (field::GUEST_RSP, 0),
            (field::GUEST_RFLAGS, 2),
            (field::GUEST_DR7, DR7_RESET),
            (field::GUEST_DEBUGCTL, 0),
            (field::GUEST_PAT, PAT_RESET),
            (field::GUEST_SYSENTER_CS, 0),
            (field::GUEST_SYSENTER_ESP, 0),
            (field::GUEST_SYSENTER_EIP, 0),
            (field::GUEST_INTERRUPTIBILITY, 0),
            (field::GUEST_ACTIVITY, interruptibility::ACTIVE.into()),
            (field::PENDING_DEBUG, 0),
        ] {
            self.write(field, value);
        }
        self.write_pae_pointers([0; 4]);
    }

    /// See [`ProcessorState::set_pae_pointers`].
    pub(super) fn write_pae_pointers(&mut self, pointers: [u64; 4]) {
        for (entry, pointer) in (0..).zip(pointers) {
            self.write(Field(field::GUEST_PDPTE.0 + 2 * entry), pointer);
        }
    }
}
