//! Encodings of the fields of a VMCS (Intel SDM vol. 3 appendix B).

/// A field's encoding: what VMREAD and VMWRITE take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field(pub u32);

/// How many bits a field has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldWidth {
    /// 16.
    Word,
    /// 64.
    Qword,
    /// 32.
    Dword,
    /// As many as the processor's registers.
    Natural,
}

impl Field {
    /// Its width (table 24-21, bits 13 and 14).
    pub const fn width(self) -> FieldWidth {
        match self.0 >> 13 & 3 {
            0 => FieldWidth::Word,
            1 => FieldWidth::Qword,
            2 => FieldWidth::Dword,
            _ => FieldWidth::Natural,
        }
    }

    /// Whether it only tells about the last exit (bits 10 and 11).
    pub const fn is_read_only(self) -> bool {
        self.0 >> 10 & 3 == 1
    }

    /// The field of segment register `index` (0 ES, 1 CS, ... 7 TR), given that of ES.
    pub const fn of_segment(self, index: usize) -> Self {
        Self(self.0.wrapping_add((index as u32 & 7) << 1))
    }
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $encoding:literal;)*) => {
        $($(#[$doc])* pub const $name: Field = Field($encoding);)*

        #[cfg(test)]
        const ALL: &[(&str, Field)] = &[$((stringify!($name), $name),)*];
    };
}

fields! {
    /// Virtual-processor identifier.
    VPID = 0x0000;
    /// Vector that announces posted interrupts.
    POSTED_VECTOR = 0x0002;
    /// Selector of ES; those of the other segments follow.
    GUEST_SELECTOR = 0x0800;
    /// Highest requested (low byte) and serviced (high byte) virtual interrupt.
    GUEST_INTERRUPT_STATUS = 0x0810;
    /// The host's ES.
    HOST_ES = 0x0c00;
    /// The host's CS.
    HOST_CS = 0x0c02;
    /// The host's SS.
    HOST_SS = 0x0c04;
    /// The host's DS.
    HOST_DS = 0x0c06;
    /// The host's FS.
    HOST_FS = 0x0c08;
    /// The host's GS.
    HOST_GS = 0x0c0a;
    /// The host's TR.
    HOST_TR = 0x0c0c;
    /// hpa of the bitmap of ports 0 to 0x7fff.
    IO_BITMAP_A = 0x2000;
    /// hpa of the bitmap of ports 0x8000 to 0xffff.
    IO_BITMAP_B = 0x2002;
    /// hpa of the MSR bitmap.
    MSR_BITMAP = 0x2004;
    /// Added to the TSC.
    TSC_OFFSET = 0x2010;
    /// hpa of the virtual-APIC page.
    VIRTUAL_APIC = 0x2012;
    /// hpa of the APIC-access page.
    APIC_ACCESS = 0x2014;
    /// hpa of the posted-interrupt descriptor.
    POSTED_DESCRIPTOR = 0x2016;
    /// EPT pointer.
    EPT_POINTER = 0x201a;
    /// Virtual interrupts whose end exits, vectors 0 to 63; three more follow.
    EOI_EXIT = 0x201c;
    /// ENCLS leaves that exit.
    ENCLS_BITMAP = 0x202e;
    /// ENCLV leaves that exit.
    ENCLV_BITMAP = 0x2036;
    /// gpa of an EPT violation or misconfiguration.
    GUEST_PHYSICAL = 0x2400;
    /// VMCS link pointer; all ones.
    LINK = 0x2800;
    /// The guest's IA32_DEBUGCTL.
    GUEST_DEBUGCTL = 0x2802;
    /// The guest's IA32_PAT.
    GUEST_PAT = 0x2804;
    /// The guest's IA32_EFER.
    GUEST_EFER = 0x2806;
    /// The guest's page-directory-pointer entry 0 (PAE); three more follow.
    GUEST_PDPTE = 0x280a;
    /// The host's IA32_PAT.
    HOST_PAT = 0x2c00;
    /// The host's IA32_EFER.
    HOST_EFER = 0x2c02;
    /// Pin-based controls.
    PIN_CONTROLS = 0x4000;
    /// Primary processor-based controls.
    PROCESSOR_CONTROLS = 0x4002;
    /// Exceptions that exit.
    EXCEPTION_BITMAP = 0x4004;
    /// Page faults: which bits of the error code count.
    PAGE_FAULT_MASK = 0x4006;
    /// Page faults: what these bits must be.
    PAGE_FAULT_MATCH = 0x4008;
    /// Number of CR3 targets.
    CR3_TARGETS = 0x400a;
    /// VM-exit controls.
    EXIT_CONTROLS = 0x400c;
    /// MSRs stored on exit.
    EXIT_MSR_STORES = 0x400e;
    /// MSRs loaded on exit.
    EXIT_MSR_LOADS = 0x4010;
    /// VM-entry controls.
    ENTRY_CONTROLS = 0x4012;
    /// MSRs loaded on entry.
    ENTRY_MSR_LOADS = 0x4014;
    /// Event to be delivered.
    ENTRY_EVENT = 0x4016;
    /// Its error code.
    ENTRY_ERROR = 0x4018;
    /// Its instruction's length.
    ENTRY_LENGTH = 0x401a;
    /// Task priority below which the guest exits.
    PRIORITY_THRESHOLD = 0x401c;
    /// Secondary processor-based controls.
    SECONDARY_CONTROLS = 0x401e;
    /// VM-instruction error.
    INSTRUCTION_ERROR = 0x4400;
    /// Exit reason.
    EXIT_REASON = 0x4402;
    /// The event that exited.
    EXIT_EVENT = 0x4404;
    /// Its error code.
    EXIT_ERROR = 0x4406;
    /// The event whose delivery was interrupted.
    DELIVERY_EVENT = 0x4408;
    /// Its error code.
    DELIVERY_ERROR = 0x440a;
    /// Length of the instruction that exited.
    INSTRUCTION_LENGTH = 0x440c;
    /// Limit of ES; those of the other segments follow.
    GUEST_LIMIT = 0x4800;
    /// Limit of GDTR.
    GUEST_GDTR_LIMIT = 0x4810;
    /// Limit of IDTR.
    GUEST_IDTR_LIMIT = 0x4812;
    /// Access rights of ES; those of the other segments follow.
    GUEST_RIGHTS = 0x4814;
    /// Interruptibility.
    GUEST_INTERRUPTIBILITY = 0x4824;
    /// Activity.
    GUEST_ACTIVITY = 0x4826;
    /// The guest's IA32_SYSENTER_CS.
    GUEST_SYSENTER_CS = 0x482a;
    /// Preemption timer.
    PREEMPTION_TIMER = 0x482e;
    /// The host's IA32_SYSENTER_CS.
    HOST_SYSENTER_CS = 0x4c00;
    /// Bits of CR0 that the host owns.
    CR0_MASK = 0x6000;
    /// Bits of CR4 that the host owns.
    CR4_MASK = 0x6002;
    /// What the guest reads of those of CR0.
    CR0_SHADOW = 0x6004;
    /// What the guest reads of those of CR4.
    CR4_SHADOW = 0x6006;
    /// Exit qualification.
    QUALIFICATION = 0x6400;
    /// Linear address of the access that exited.
    GUEST_LINEAR = 0x640a;
    /// The guest's CR0.
    GUEST_CR0 = 0x6800;
    /// The guest's CR3.
    GUEST_CR3 = 0x6802;
    /// The guest's CR4.
    GUEST_CR4 = 0x6804;
    /// Base of ES; those of the other segments follow.
    GUEST_BASE = 0x6806;
    /// Base of GDTR.
    GUEST_GDTR_BASE = 0x6816;
    /// Base of IDTR.
    GUEST_IDTR_BASE = 0x6818;
    /// The guest's DR7.
    GUEST_DR7 = 0x681a;
    /// The guest's RSP.
    GUEST_RSP = 0x681c;
    /// The guest's RIP.
    GUEST_RIP = 0x681e;
    /// The guest's RFLAGS.
    GUEST_RFLAGS = 0x6820;
    /// Pending debug exceptions.
    PENDING_DEBUG = 0x6822;
    /// The guest's IA32_SYSENTER_ESP.
    GUEST_SYSENTER_ESP = 0x6824;
    /// The guest's IA32_SYSENTER_EIP.
    GUEST_SYSENTER_EIP = 0x6826;
    /// The host's CR0.
    HOST_CR0 = 0x6c00;
    /// The host's CR3.
    HOST_CR3 = 0x6c02;
    /// The host's CR4.
    HOST_CR4 = 0x6c04;
    /// Base of the host's FS.
    HOST_FS_BASE = 0x6c06;
    /// Base of the host's GS.
    HOST_GS_BASE = 0x6c08;
    /// Base of the host's TR.
    HOST_TR_BASE = 0x6c0a;
    /// Base of the host's GDTR.
    HOST_GDTR_BASE = 0x6c0c;
    /// Base of the host's IDTR.
    HOST_IDTR_BASE = 0x6c0e;
    /// The host's IA32_SYSENTER_ESP.
    HOST_SYSENTER_ESP = 0x6c10;
    /// The host's IA32_SYSENTER_EIP.
    HOST_SYSENTER_EIP = 0x6c12;
    /// The host's RSP.
    HOST_RSP = 0x6c14;
    /// The host's RIP.
    HOST_RIP = 0x6c16;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits 10 and 11 of an encoding (table 24-21).
    fn kind(name: &str) -> u32 {
        const TOLD: [&str; 9] = [
            "GUEST_PHYSICAL",
            "INSTRUCTION_ERROR",
            "EXIT_REASON",
            "EXIT_EVENT",
            "EXIT_ERROR",
            "DELIVERY_EVENT",
            "DELIVERY_ERROR",
            "INSTRUCTION_LENGTH",
            "QUALIFICATION",
        ];
        match name {
            _ if TOLD.contains(&name) || name == "GUEST_LINEAR" => 1,
            "LINK" | "PENDING_DEBUG" | "PREEMPTION_TIMER" => 2,
            _ if name.starts_with("GUEST_") => 2,
            _ if name.starts_with("HOST_") => 3,
            _ => 0,
        }
    }

    #[test]
    fn each_encoding_says_of_itself_what_the_name_says() {
        for &(name, field) in ALL {
            assert_eq!(field.0 >> 10 & 3, kind(name), "{name}");
            assert_eq!(field.0 & !0x6ffe, 0, "{name}: only full accesses, no reserved bit");
        }
    }

    #[test]
    fn no_two_fields_are_one() {
        for (index, (name, field)) in ALL.iter().enumerate() {
            for (other, also) in &ALL[index + 1..] {
                assert_ne!(field, also, "{name} and {other}");
            }
        }
    }

    #[test]
    fn segments_follow_each_other() {
        assert_eq!(GUEST_SELECTOR.of_segment(7), Field(0x080e));
        assert_eq!(GUEST_RIGHTS.of_segment(6), Field(0x4820));
        assert_eq!(GUEST_BASE.of_segment(7), Field(0x6814));
        assert_eq!(GUEST_LIMIT.of_segment(1).width(), FieldWidth::Dword);
        assert_eq!(GUEST_EFER.width(), FieldWidth::Qword);
        assert_eq!(HOST_RIP.width(), FieldWidth::Natural);
        assert_eq!(VPID.width(), FieldWidth::Word);
        assert!(EXIT_REASON.is_read_only() && !GUEST_RIP.is_read_only());
    }
}
