//! The control fields of a VMCS, bit by bit (Intel SDM vol. 3 sections 24.6 to 24.8), and
//! what each control is called there.

/// A control: its bit, and its name in the manual.
pub type Named = (u32, &'static str);

/// Pin-based controls (table 24-5).
pub mod pin {
    use super::Named;
    /// External interrupts exit.
    pub const EXTERNAL_INTERRUPT: u32 = 1 << 0;
    /// NMIs exit.
    pub const NMI: u32 = 1 << 3;
    /// The guest's blocking by NMI is its own.
    pub const VIRTUAL_NMIS: u32 = 1 << 5;
    /// The preemption timer counts.
    pub const PREEMPTION_TIMER: u32 = 1 << 6;
    /// Posted interrupts are processed.
    pub const POSTED_INTERRUPTS: u32 = 1 << 7;
    /// Bits without a name that are always 1 (section A.3.1).
    pub const DEFAULT1: u32 = 0x16;
    /// Names.
    pub const NAMES: &[Named] = &[
        (EXTERNAL_INTERRUPT, "external-interrupt exiting"),
        (NMI, "NMI exiting"),
        (VIRTUAL_NMIS, "virtual NMIs"),
        (PREEMPTION_TIMER, "the preemption timer"),
        (POSTED_INTERRUPTS, "posted interrupts"),
    ];
}

/// Primary processor-based controls (table 24-6).
pub mod processor {
    use super::Named;
    /// Exit once the guest can take an interrupt.
    pub const INTERRUPT_WINDOW: u32 = 1 << 2;
    /// The TSC offset is added.
    pub const TSC_OFFSET: u32 = 1 << 3;
    /// HLT exits.
    pub const HLT: u32 = 1 << 7;
    /// INVLPG exits.
    pub const INVLPG: u32 = 1 << 9;
    /// MWAIT exits.
    pub const MWAIT: u32 = 1 << 10;
    /// RDPMC exits.
    pub const RDPMC: u32 = 1 << 11;
    /// RDTSC exits.
    pub const RDTSC: u32 = 1 << 12;
    /// MOV to CR3 exits.
    pub const CR3_LOAD: u32 = 1 << 15;
    /// MOV from CR3 exits.
    pub const CR3_STORE: u32 = 1 << 16;
    /// The tertiary controls count.
    pub const TERTIARY: u32 = 1 << 17;
    /// MOV to CR8 exits.
    pub const CR8_LOAD: u32 = 1 << 19;
    /// MOV from CR8 exits.
    pub const CR8_STORE: u32 = 1 << 20;
    /// CR8 is in the virtual-APIC page.
    pub const TPR_SHADOW: u32 = 1 << 21;
    /// Exit once the guest can take an NMI.
    pub const NMI_WINDOW: u32 = 1 << 22;
    /// MOV to and from debug registers exits.
    pub const DEBUG_REGISTERS: u32 = 1 << 23;
    /// Every port access exits.
    pub const ALL_PORTS: u32 = 1 << 24;
    /// Port accesses exit as the bitmaps say.
    pub const IO_BITMAPS: u32 = 1 << 25;
    /// Exit after each instruction.
    pub const MONITOR_TRAP: u32 = 1 << 27;
    /// RDMSR and WRMSR exit as the bitmap says.
    pub const MSR_BITMAP: u32 = 1 << 28;
    /// MONITOR exits.
    pub const MONITOR: u32 = 1 << 29;
    /// PAUSE exits.
    pub const PAUSE: u32 = 1 << 30;
    /// The secondary controls count.
    pub const SECONDARY: u32 = 1 << 31;
    /// Bits without a name that are always 1 (section A.3.2).
    pub const DEFAULT1: u32 = 0x0400_6172;
    /// Names.
    pub const NAMES: &[Named] = &[
        (INTERRUPT_WINDOW, "interrupt-window exiting"),
        (TSC_OFFSET, "TSC offsetting"),
        (HLT, "HLT exiting"),
        (INVLPG, "INVLPG exiting"),
        (MWAIT, "MWAIT exiting"),
        (RDPMC, "RDPMC exiting"),
        (RDTSC, "RDTSC exiting"),
        (CR3_LOAD, "CR3-load exiting"),
        (CR3_STORE, "CR3-store exiting"),
        (TERTIARY, "tertiary controls"),
        (CR8_LOAD, "CR8-load exiting"),
        (CR8_STORE, "CR8-store exiting"),
        (TPR_SHADOW, "TPR shadow"),
        (NMI_WINDOW, "NMI-window exiting"),
        (DEBUG_REGISTERS, "MOV-DR exiting"),
        (ALL_PORTS, "unconditional I/O exiting"),
        (IO_BITMAPS, "I/O bitmaps"),
        (MONITOR_TRAP, "the monitor trap flag"),
        (MSR_BITMAP, "MSR bitmaps"),
        (MONITOR, "MONITOR exiting"),
        (PAUSE, "PAUSE exiting"),
        (SECONDARY, "secondary controls"),
    ];
}

/// Secondary processor-based controls (table 24-7).
pub mod secondary {
    use super::Named;
    /// Accesses to the APIC-access page are virtualised.
    pub const APIC_ACCESSES: u32 = 1 << 0;
    /// Extended page tables.
    pub const EPT: u32 = 1 << 1;
    /// LGDT and its kin exit.
    pub const DESCRIPTOR_TABLES: u32 = 1 << 2;
    /// RDTSCP is there.
    pub const RDTSCP: u32 = 1 << 3;
    /// x2APIC MSRs are virtualised.
    pub const X2APIC: u32 = 1 << 4;
    /// Translations are tagged.
    pub const VPID: u32 = 1 << 5;
    /// WBINVD exits.
    pub const WBINVD: u32 = 1 << 6;
    /// Real mode and unpaged protected mode.
    pub const UNRESTRICTED_GUEST: u32 = 1 << 7;
    /// Reads of APIC registers come from the virtual-APIC page.
    pub const APIC_REGISTERS: u32 = 1 << 8;
    /// Virtual interrupts are evaluated and delivered.
    pub const VIRTUAL_INTERRUPTS: u32 = 1 << 9;
    /// Loops of PAUSE exit.
    pub const PAUSE_LOOP: u32 = 1 << 10;
    /// RDRAND exits.
    pub const RDRAND: u32 = 1 << 11;
    /// INVPCID is there.
    pub const INVPCID: u32 = 1 << 12;
    /// ENCLS exits as its bitmap says.
    pub const ENCLS: u32 = 1 << 15;
    /// RDSEED exits.
    pub const RDSEED: u32 = 1 << 16;
    /// XSAVES and XRSTORS are there.
    pub const XSAVES: u32 = 1 << 20;
    /// ENCLV exits as its bitmap says.
    pub const ENCLV: u32 = 1 << 28;
    /// Names.
    pub const NAMES: &[Named] = &[
        (APIC_ACCESSES, "APIC-access virtualization"),
        (EPT, "EPT"),
        (DESCRIPTOR_TABLES, "descriptor-table exiting"),
        (RDTSCP, "RDTSCP for guests"),
        (X2APIC, "x2APIC virtualization"),
        (VPID, "VPID"),
        (WBINVD, "WBINVD exiting"),
        (UNRESTRICTED_GUEST, "unrestricted guest"),
        (APIC_REGISTERS, "APIC-register virtualization"),
        (VIRTUAL_INTERRUPTS, "virtual-interrupt delivery"),
        (PAUSE_LOOP, "PAUSE-loop exiting"),
        (RDRAND, "RDRAND exiting"),
        (INVPCID, "INVPCID for guests"),
        (ENCLS, "ENCLS exiting"),
        (RDSEED, "RDSEED exiting"),
        (XSAVES, "XSAVES for guests"),
        (ENCLV, "ENCLV exiting"),
    ];
}

/// VM-exit controls (table 24-13).
pub mod exit {
    use super::Named;
    /// DR7 and IA32_DEBUGCTL are saved.
    pub const SAVE_DEBUG: u32 = 1 << 2;
    /// The host is in 64-bit mode.
    pub const HOST_64: u32 = 1 << 9;
    /// The interrupt that exits is acknowledged and its vector saved.
    pub const ACKNOWLEDGE: u32 = 1 << 15;
    /// IA32_PAT is saved.
    pub const SAVE_PAT: u32 = 1 << 18;
    /// IA32_PAT is loaded.
    pub const LOAD_PAT: u32 = 1 << 19;
    /// IA32_EFER is saved.
    pub const SAVE_EFER: u32 = 1 << 20;
    /// IA32_EFER is loaded.
    pub const LOAD_EFER: u32 = 1 << 21;
    /// The preemption timer's value is saved.
    pub const SAVE_TIMER: u32 = 1 << 22;
    /// Bits without a name that are always 1 (section A.4).
    pub const DEFAULT1: u32 = 0x0003_6dfb;
    /// Names.
    pub const NAMES: &[Named] = &[
        (SAVE_DEBUG, "saving of debug controls"),
        (HOST_64, "a 64-bit host"),
        (ACKNOWLEDGE, "acknowledgement of interrupts on exit"),
        (SAVE_PAT, "saving of IA32_PAT"),
        (LOAD_PAT, "loading of the host's IA32_PAT"),
        (SAVE_EFER, "saving of IA32_EFER"),
        (LOAD_EFER, "loading of the host's IA32_EFER"),
        (SAVE_TIMER, "saving of the preemption timer"),
    ];
}

/// VM-entry controls (table 24-15).
pub mod entry {
    use super::Named;
    /// DR7 and IA32_DEBUGCTL are loaded.
    pub const LOAD_DEBUG: u32 = 1 << 2;
    /// The guest is in IA-32e mode (EFER.LMA).
    pub const LONG_MODE: u32 = 1 << 9;
    /// IA32_PAT is loaded.
    pub const LOAD_PAT: u32 = 1 << 14;
    /// IA32_EFER is loaded.
    pub const LOAD_EFER: u32 = 1 << 15;
    /// Bits without a name that are always 1 (section A.5).
    pub const DEFAULT1: u32 = 0x11fb;
    /// Names.
    pub const NAMES: &[Named] = &[
        (LOAD_DEBUG, "loading of debug controls"),
        (LONG_MODE, "IA-32e mode guests"),
        (LOAD_PAT, "loading of the guest's IA32_PAT"),
        (LOAD_EFER, "loading of the guest's IA32_EFER"),
    ];
}
