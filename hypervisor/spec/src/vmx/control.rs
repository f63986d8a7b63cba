//! The control fields of a VMCS, bit by bit (Intel SDM vol. 3 sections 24.6 to 24.8), and
//! what each control is called there.

use bitflags::bitflags;

/// A control: its bit, and its name in the manual.
pub type Named = (u32, &'static str);

/// The controls of one field: `NAME = bit, "its name in the manual"`, and the bits without a
/// name that are always 1.
macro_rules! controls {
    (
        $(#[doc = $doc:literal])*
        $kind:ident, default1 $default1:literal;
        $($(#[doc = $what:literal])* $control:ident = $bit:literal, $name:literal;)*
    ) => {
        bitflags! {
            $(#[doc = $doc])*
            #[derive(Clone, Copy, PartialEq, Eq, Debug)]
            pub struct $kind: u32 {
                $($(#[doc = $what])* const $control = 1 << $bit;)*
                /// Bits without a name that are always 1 (appendix A.3 to A.5).
                const DEFAULT1 = $default1;
            }
        }

        impl $kind {
            /// What the manual calls each.
            pub const NAMES: &[Named] = &[$((1 << $bit, $name)),*];
        }
    };
}

controls! {
    /// Pin-based controls (table 24-5).
    PinControls, default1 0x16;
    /// External interrupts exit.
    EXTERNAL_INTERRUPT = 0, "external-interrupt exiting";
    /// NMIs exit.
    NMI = 3, "NMI exiting";
    /// The guest's blocking by NMI is its own.
    VIRTUAL_NMIS = 5, "virtual NMIs";
    /// The preemption timer counts.
    PREEMPTION_TIMER = 6, "the preemption timer";
    /// Posted interrupts are processed.
    POSTED_INTERRUPTS = 7, "posted interrupts";
}

controls! {
    /// Primary processor-based controls (table 24-6).
    PrimaryControls, default1 0x0400_6172;
    /// Exit once the guest can take an interrupt.
    INTERRUPT_WINDOW = 2, "interrupt-window exiting";
    /// The TSC offset is added.
    TSC_OFFSET = 3, "TSC offsetting";
    /// HLT exits.
    HLT = 7, "HLT exiting";
    /// INVLPG exits.
    INVLPG = 9, "INVLPG exiting";
    /// MWAIT exits.
    MWAIT = 10, "MWAIT exiting";
    /// RDPMC exits.
    RDPMC = 11, "RDPMC exiting";
    /// RDTSC exits.
    RDTSC = 12, "RDTSC exiting";
    /// MOV to CR3 exits.
    CR3_LOAD = 15, "CR3-load exiting";
    /// MOV from CR3 exits.
    CR3_STORE = 16, "CR3-store exiting";
    /// The tertiary controls count.
    TERTIARY = 17, "tertiary controls";
    /// MOV to CR8 exits.
    CR8_LOAD = 19, "CR8-load exiting";
    /// MOV from CR8 exits.
    CR8_STORE = 20, "CR8-store exiting";
    /// CR8 is in the virtual-APIC page.
    TPR_SHADOW = 21, "TPR shadow";
    /// Exit once the guest can take an NMI.
    NMI_WINDOW = 22, "NMI-window exiting";
    /// MOV to and from debug registers exits.
    DEBUG_REGISTERS = 23, "MOV-DR exiting";
    /// Every port access exits.
    ALL_PORTS = 24, "unconditional I/O exiting";
    /// Port accesses exit as the bitmaps say.
    IO_BITMAPS = 25, "I/O bitmaps";
    /// Exit after each instruction.
    MONITOR_TRAP = 27, "the monitor trap flag";
    /// RDMSR and WRMSR exit as the bitmap says.
    MSR_BITMAP = 28, "MSR bitmaps";
    /// MONITOR exits.
    MONITOR = 29, "MONITOR exiting";
    /// PAUSE exits.
    PAUSE = 30, "PAUSE exiting";
    /// The secondary controls count.
    SECONDARY = 31, "secondary controls";
}

controls! {
    /// Secondary processor-based controls (table 24-7).
    SecondaryControls, default1 0;
    /// Accesses to the APIC-access page are virtualised.
    APIC_ACCESSES = 0, "APIC-access virtualization";
    /// Extended page tables.
    EPT = 1, "EPT";
    /// LGDT and its kin exit.
    DESCRIPTOR_TABLES = 2, "descriptor-table exiting";
    /// RDTSCP is there.
    RDTSCP = 3, "RDTSCP for guests";
    /// x2APIC MSRs are virtualised.
    X2APIC = 4, "x2APIC virtualization";
    /// Translations are tagged.
    VPID = 5, "VPID";
    /// WBINVD exits.
    WBINVD = 6, "WBINVD exiting";
    /// Real mode and unpaged protected mode.
    UNRESTRICTED_GUEST = 7, "unrestricted guest";
    /// Reads of APIC registers come from the virtual-APIC page.
    APIC_REGISTERS = 8, "APIC-register virtualization";
    /// Virtual interrupts are evaluated and delivered.
    VIRTUAL_INTERRUPTS = 9, "virtual-interrupt delivery";
    /// Loops of PAUSE exit.
    PAUSE_LOOP = 10, "PAUSE-loop exiting";
    /// RDRAND exits.
    RDRAND = 11, "RDRAND exiting";
    /// INVPCID is there.
    INVPCID = 12, "INVPCID for guests";
    /// ENCLS exits as its bitmap says.
    ENCLS = 15, "ENCLS exiting";
    /// RDSEED exits.
    RDSEED = 16, "RDSEED exiting";
    /// XSAVES and XRSTORS are there.
    XSAVES = 20, "XSAVES for guests";
    /// ENCLV exits as its bitmap says.
    ENCLV = 28, "ENCLV exiting";
}

controls! {
    /// VM-exit controls (table 24-13).
    ExitControls, default1 0x0003_6dfb;
    /// DR7 and IA32_DEBUGCTL are saved.
    SAVE_DEBUG = 2, "saving of debug controls";
    /// The host is in 64-bit mode.
    HOST_64 = 9, "a 64-bit host";
    /// The interrupt that exits is acknowledged and its vector saved.
    ACKNOWLEDGE = 15, "acknowledgement of interrupts on exit";
    /// IA32_PAT is saved.
    SAVE_PAT = 18, "saving of IA32_PAT";
    /// IA32_PAT is loaded.
    LOAD_PAT = 19, "loading of the host's IA32_PAT";
    /// IA32_EFER is saved.
    SAVE_EFER = 20, "saving of IA32_EFER";
    /// IA32_EFER is loaded.
    LOAD_EFER = 21, "loading of the host's IA32_EFER";
    /// The preemption timer's value is saved.
    SAVE_TIMER = 22, "saving of the preemption timer";
}

controls! {
    /// VM-entry controls (table 24-15).
    EntryControls, default1 0x11fb;
    /// DR7 and IA32_DEBUGCTL are loaded.
    LOAD_DEBUG = 2, "loading of debug controls";
    /// The guest is in IA-32e mode (EFER.LMA).
    LONG_MODE = 9, "IA-32e mode guests";
    /// IA32_PAT is loaded.
    LOAD_PAT = 14, "loading of the guest's IA32_PAT";
    /// IA32_EFER is loaded.
    LOAD_EFER = 15, "loading of the guest's IA32_EFER";
}
