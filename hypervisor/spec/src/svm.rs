//! The virtual machine control block of AMD-V (AMD APM vol. 2 appendix B) and the
//! bits and exit codes in it (section 15 and appendix C).

use bitflags::bitflags;
use core::mem::{offset_of, size_of};

bitflags! {
    /// Intercepts of the third control word, offset 0x00c (table B-1, vector 3).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[repr(transparent)]
    pub struct Intercept1: u32 {
        /// Physical interrupt.
        const INTR = 1 << 0;
        /// Physical NMI.
        const NMI = 1 << 1;
        /// Physical SMI.
        const SMI = 1 << 2;
        /// Physical INIT.
        const INIT = 1 << 3;
        /// The guest can take the virtual interrupt.
        const VINTR = 1 << 4;
        /// RDPMC.
        const RDPMC = 1 << 15;
        /// CPUID.
        const CPUID = 1 << 18;
        /// RSM.
        const RSM = 1 << 19;
        /// IRET.
        const IRET = 1 << 20;
        /// INVD.
        const INVD = 1 << 22;
        /// PAUSE.
        const PAUSE = 1 << 23;
        /// HLT.
        const HLT = 1 << 24;
        /// INVLPGA.
        const INVLPGA = 1 << 26;
        /// Ports, by the permission map.
        const IOIO = 1 << 27;
        /// MSRs, by the permission map.
        const MSR = 1 << 28;
        /// Processor freeze for a legacy floating-point error.
        const FERR_FREEZE = 1 << 30;
        /// Shutdown, such as a triple fault.
        const SHUTDOWN = 1 << 31;
    }
}

bitflags! {
    /// Intercepts of the fourth control word, offset 0x010 (table B-1, vector 4).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[repr(transparent)]
    pub struct Intercept2: u32 {
        /// VMRUN; must be set.
        const VMRUN = 1 << 0;
        /// VMMCALL.
        const VMMCALL = 1 << 1;
        /// VMLOAD.
        const VMLOAD = 1 << 2;
        /// VMSAVE.
        const VMSAVE = 1 << 3;
        /// STGI.
        const STGI = 1 << 4;
        /// CLGI.
        const CLGI = 1 << 5;
        /// SKINIT.
        const SKINIT = 1 << 6;
        /// WBINVD.
        const WBINVD = 1 << 9;
        /// MONITOR.
        const MONITOR = 1 << 10;
        /// MWAIT.
        const MWAIT = 1 << 11;
        /// XSETBV.
        const XSETBV = 1 << 13;
        /// RDPRU.
        const RDPRU = 1 << 14;
    }
}

/// Exit codes (AMD APM vol. 2 appendix C).
pub mod exit_code {
    /// MOV from CR0; CR`n` is this plus `n`.
    pub const READ_CR0: u64 = 0x00;
    /// MOV to CR0; CR`n` is this plus `n`.
    pub const WRITE_CR0: u64 = 0x10;
    /// Exception 0; vector `n` is this plus `n`.
    pub const EXCEPTION: u64 = 0x40;
    /// Physical interrupt.
    pub const INTR: u64 = 0x60;
    /// Physical NMI.
    pub const NMI: u64 = 0x61;
    /// Physical SMI.
    pub const SMI: u64 = 0x62;
    /// Physical INIT.
    pub const INIT: u64 = 0x63;
    /// Virtual interrupt window.
    pub const VINTR: u64 = 0x64;
    /// RDTSC; on one emulator also RDTSCP.
    pub const RDTSC: u64 = 0x6e;
    /// RDPMC.
    pub const RDPMC: u64 = 0x6f;
    /// CPUID.
    pub const CPUID: u64 = 0x72;
    /// RSM.
    pub const RSM: u64 = 0x73;
    /// IRET.
    pub const IRET: u64 = 0x74;
    /// INVD.
    pub const INVD: u64 = 0x76;
    /// PAUSE.
    pub const PAUSE: u64 = 0x77;
    /// HLT.
    pub const HLT: u64 = 0x78;
    /// INVLPGA.
    pub const INVLPGA: u64 = 0x7a;
    /// Port access.
    pub const IOIO: u64 = 0x7b;
    /// RDMSR (EXITINFO1 = 0) or WRMSR (1).
    pub const MSR: u64 = 0x7c;
    /// Legacy floating-point freeze.
    pub const FERR_FREEZE: u64 = 0x7e;
    /// Shutdown.
    pub const SHUTDOWN: u64 = 0x7f;
    /// VMRUN.
    pub const VMRUN: u64 = 0x80;
    /// VMMCALL.
    pub const VMMCALL: u64 = 0x81;
    /// VMLOAD.
    pub const VMLOAD: u64 = 0x82;
    /// VMSAVE.
    pub const VMSAVE: u64 = 0x83;
    /// STGI.
    pub const STGI: u64 = 0x84;
    /// CLGI.
    pub const CLGI: u64 = 0x85;
    /// SKINIT.
    pub const SKINIT: u64 = 0x86;
    /// RDTSCP.
    pub const RDTSCP: u64 = 0x87;
    /// WBINVD.
    pub const WBINVD: u64 = 0x89;
    /// MONITOR.
    pub const MONITOR: u64 = 0x8a;
    /// MWAIT.
    pub const MWAIT: u64 = 0x8b;
    /// MWAIT with an armed monitor.
    pub const MWAIT_ARMED: u64 = 0x8c;
    /// XSETBV.
    pub const XSETBV: u64 = 0x8d;
    /// RDPRU.
    pub const RDPRU: u64 = 0x8e;
    /// Nested page fault.
    pub const NESTED_FAULT: u64 = 0x400;
    /// An interrupt command that AVIC does not carry out (section 15.29.9.1).
    pub const AVIC_COMMAND: u64 = 0x401;
    /// An access to the local APIC that AVIC does not carry out (section 15.29.9.2).
    pub const AVIC_ACCESS: u64 = 0x402;
    /// The guest's state or the controls are illegal: the manual's -1.
    pub const INVALID: u64 = u64::MAX;
    /// The same, as one emulator gives it.
    pub const INVALID_32: u64 = 0xffff_ffff;
}

bitflags! {
    /// Bits of [`Control::clean`]: what the processor may keep from the last VMRUN
    /// (AMD APM vol. 2 section 15.15.3).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[repr(transparent)]
    pub struct Clean: u32 {
        /// Intercepts, TSC offset, pause filter.
        const INTERCEPTS = 1 << 0;
        /// Addresses of the permission maps.
        const PERMISSION_MAPS = 1 << 1;
        /// ASID.
        const ASID = 1 << 2;
        /// Virtual interrupt: V_TPR, V_IRQ and what stands beside them.
        const VIRTUAL_INTERRUPT = 1 << 3;
        /// Nested CR3 and the guest's PAT.
        const NESTED_PAGING = 1 << 4;
        /// CR0, CR3, CR4, EFER.
        const CONTROL_REGISTERS = 1 << 5;
        /// DR6, DR7.
        const DEBUG_REGISTERS = 1 << 6;
        /// GDTR, IDTR.
        const DESCRIPTOR_TABLES = 1 << 7;
        /// CS, DS, SS, ES and the privilege level.
        const SEGMENTS = 1 << 8;
        /// CR2.
        const CR2 = 1 << 9;
    }
}

/// Values of [`Control::tlb_control`] (AMD APM vol. 2 table 15-9).
pub mod tlb_control {
    /// Keep all translations.
    pub const NOTHING: u32 = 0;
    /// Flush the whole TLB, every ASID.
    pub const ALL: u32 = 1;
    /// Flush this guest's ASID (CPUID 8000_000A EDX bit 6).
    pub const THIS_GUEST: u32 = 3;
}

/// The 64-bit word at 0x060: virtual interrupts (AMD APM vol. 2 section 15.21).
pub mod virtual_interrupt {
    /// A virtual interrupt is pending.
    pub const IRQ: u64 = 1 << 8;
    /// A virtual NMI is pending (section 15.21.10).
    pub const NMI_PENDING: u64 = 1 << 11;
    /// The guest's handler of NMIs runs.
    pub const NMI_MASK: u64 = 1 << 12;
    /// Position of the 4-bit priority.
    pub const PRIORITY_SHIFT: u32 = 16;
    /// The virtual interrupt ignores the task priority.
    pub const IGNORE_TPR: u64 = 1 << 20;
    /// The guest's IF and CR8 act on virtual interrupts only; the host's IF at
    /// VMRUN masks physical ones.
    pub const MASKING: u64 = 1 << 24;
    /// AVIC works in x2APIC mode (section 15.29.10).
    pub const X2AVIC: u64 = 1 << 30;
    /// AVIC: the processor keeps the guest's local APIC (section 15.29).
    pub const AVIC: u64 = 1 << 31;
    /// The processor delivers NMIs by itself (CPUID 8000_000A EDX bit 25).
    pub const NMI_ENABLE: u64 = 1 << 26;
    /// Position of the pending virtual interrupt's vector.
    pub const VECTOR_SHIFT: u32 = 32;
}

/// A segment register in the save area (AMD APM vol. 2 section 15.5.1).
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct VmcbSegment {
    /// Selector.
    pub selector: u16,
    /// Attributes: descriptor bits 40 to 47 and 52 to 55, joined.
    pub attributes: u16,
    /// Limit in bytes.
    pub limit: u32,
    /// Base.
    pub base: u64,
}

/// Control area, the first 0x400 bytes (AMD APM vol. 2 table B-1).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Control {
    /// CR read intercepts in the low half, writes in the high half.
    pub intercept_cr: u32,
    /// DR read intercepts in the low half, writes in the high half.
    pub intercept_dr: u32,
    /// Exception intercepts, a bit a vector.
    pub intercept_exceptions: u32,
    /// Intercepts of events and instructions.
    pub intercept1: Intercept1,
    /// Intercepts of instructions.
    pub intercept2: Intercept2,
    /// INVLPGB and its kin.
    pub intercept3: u32,
    reserved1: [u8; 0x24],
    /// PAUSE filter threshold.
    pub pause_threshold: u16,
    /// PAUSE filter count.
    pub pause_count: u16,
    /// hpa of the 12 KiB port map.
    pub io_map: u64,
    /// hpa of the 8 KiB MSR map.
    pub msr_map: u64,
    /// Added to the TSC that the guest reads.
    pub tsc_offset: u64,
    /// Address-space identifier; 0 is the host's.
    pub asid: u32,
    /// See [`tlb_control`].
    pub tlb_control: u32,
    /// See [`virtual_interrupt`].
    pub virtual_interrupt: u64,
    /// Bit 0: the guest is in an interrupt shadow.
    pub interrupt_shadow: u64,
    /// See [`exit_code`].
    pub exit_code: u64,
    /// First word on the exit.
    pub exit_info1: u64,
    /// Second word on the exit.
    pub exit_info2: u64,
    /// The event whose delivery the exit interrupted.
    pub exit_interrupt_info: u64,
    /// Bit 0: nested paging.
    pub nested_paging: u64,
    /// AVIC register page.
    pub avic_bar: u64,
    /// hpa of the GHCB.
    pub ghcb: u64,
    /// The event to inject.
    pub event_injection: u64,
    /// hpa of the root of the nested page tables.
    pub nested_cr3: u64,
    /// Last-branch and VMLOAD virtualisation.
    pub virtualization: u64,
    /// What has not changed since the last VMRUN.
    pub clean: Clean,
    reserved2: u32,
    /// RIP of the next instruction, where the processor saves it.
    pub next_rip: u64,
    /// How many bytes of the instruction follow.
    pub fetched_count: u8,
    /// The instruction's bytes, where the processor saves them.
    pub fetched_bytes: [u8; 15],
    /// hpa of the vAPIC backing page.
    pub avic_page: u64,
    reserved3: u64,
    /// hpa of AVIC's logical APIC ID table; x2APIC mode has none.
    pub avic_logical: u64,
    /// hpa of AVIC's physical APIC ID table, and the last index in it.
    pub avic_physical: u64,
    reserved4: [u8; 0x400 - 0x100],
}

/// State save area, at 0x400 (AMD APM vol. 2 table B-2).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Save {
    /// ES, CS, SS, DS, FS, GS.
    pub segments: [VmcbSegment; 6],
    /// Global descriptor table.
    pub gdtr: VmcbSegment,
    /// Local descriptor table.
    pub ldtr: VmcbSegment,
    /// Interrupt descriptor table.
    pub idtr: VmcbSegment,
    /// Task register.
    pub tr: VmcbSegment,
    reserved1: [u8; 0x2b],
    /// Current privilege level.
    pub cpl: u8,
    reserved2: u32,
    /// EFER; SVME must be set.
    pub efer: u64,
    reserved3: [u8; 0x70],
    /// CR4.
    pub cr4: u64,
    /// CR3.
    pub cr3: u64,
    /// CR0.
    pub cr0: u64,
    /// DR7.
    pub dr7: u64,
    /// DR6.
    pub dr6: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// RIP.
    pub rip: u64,
    reserved4: [u8; 0x58],
    /// RSP.
    pub rsp: u64,
    reserved5: [u8; 0x18],
    /// RAX.
    pub rax: u64,
    /// STAR.
    pub star: u64,
    /// LSTAR.
    pub lstar: u64,
    /// CSTAR.
    pub cstar: u64,
    /// SFMASK.
    pub sfmask: u64,
    /// KernelGSBase.
    pub kernel_gs_base: u64,
    /// SYSENTER_CS.
    pub sysenter_cs: u64,
    /// SYSENTER_ESP.
    pub sysenter_esp: u64,
    /// SYSENTER_EIP.
    pub sysenter_eip: u64,
    /// CR2.
    pub cr2: u64,
    reserved6: [u8; 0x20],
    /// The guest's PAT, with nested paging.
    pub g_pat: u64,
    /// DEBUGCTL.
    pub debug_control: u64,
    reserved7: [u8; 0xc00 - 0x278],
}

/// The whole block, 4 KiB, aligned to 4 KiB.
#[derive(Clone, Copy)]
#[repr(C, align(4096))]
pub struct Vmcb {
    /// What the hypervisor asks and the processor reports.
    pub control: Control,
    /// The guest's registers.
    pub save: Save,
}

impl Vmcb {
    /// All zeros, as a new frame holds it.
    pub const ZERO: Self = Self {
        control: Control {
            intercept_cr: 0,
            intercept_dr: 0,
            intercept_exceptions: 0,
            intercept1: Intercept1::empty(),
            intercept2: Intercept2::empty(),
            intercept3: 0,
            reserved1: [0; 0x24],
            pause_threshold: 0,
            pause_count: 0,
            io_map: 0,
            msr_map: 0,
            tsc_offset: 0,
            asid: 0,
            tlb_control: 0,
            virtual_interrupt: 0,
            interrupt_shadow: 0,
            exit_code: 0,
            exit_info1: 0,
            exit_info2: 0,
            exit_interrupt_info: 0,
            nested_paging: 0,
            avic_bar: 0,
            ghcb: 0,
            event_injection: 0,
            nested_cr3: 0,
            virtualization: 0,
            clean: Clean::empty(),
            reserved2: 0,
            next_rip: 0,
            fetched_count: 0,
            fetched_bytes: [0; 15],
            avic_page: 0,
            reserved3: 0,
            avic_logical: 0,
            avic_physical: 0,
            reserved4: [0; 0x400 - 0x100],
        },
        save: Save {
            segments: [ZERO_SEGMENT; 6],
            gdtr: ZERO_SEGMENT,
            ldtr: ZERO_SEGMENT,
            idtr: ZERO_SEGMENT,
            tr: ZERO_SEGMENT,
            reserved1: [0; 0x2b],
            cpl: 0,
            reserved2: 0,
            efer: 0,
            reserved3: [0; 0x70],
            cr4: 0,
            cr3: 0,
            cr0: 0,
            dr7: 0,
            dr6: 0,
            rflags: 0,
            rip: 0,
            reserved4: [0; 0x58],
            rsp: 0,
            reserved5: [0; 0x18],
            rax: 0,
            star: 0,
            lstar: 0,
            cstar: 0,
            sfmask: 0,
            kernel_gs_base: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            cr2: 0,
            reserved6: [0; 0x20],
            g_pat: 0,
            debug_control: 0,
            reserved7: [0; 0xc00 - 0x278],
        },
    };
}

const ZERO_SEGMENT: VmcbSegment = VmcbSegment { selector: 0, attributes: 0, limit: 0, base: 0 };

const _: () = {
    assert!(size_of::<Vmcb>() == 4096);
    assert!(offset_of!(Control, pause_threshold) == 0x3c);
    assert!(offset_of!(Control, io_map) == 0x40);
    assert!(offset_of!(Control, asid) == 0x58);
    assert!(offset_of!(Control, exit_code) == 0x70);
    assert!(offset_of!(Control, exit_interrupt_info) == 0x88);
    assert!(offset_of!(Control, event_injection) == 0xa8);
    assert!(offset_of!(Control, nested_cr3) == 0xb0);
    assert!(offset_of!(Control, clean) == 0xc0);
    assert!(offset_of!(Control, next_rip) == 0xc8);
    assert!(offset_of!(Control, fetched_bytes) == 0xd1);
    assert!(offset_of!(Control, avic_bar) == 0x98);
    assert!(offset_of!(Control, avic_page) == 0xe0);
    assert!(offset_of!(Control, avic_physical) == 0xf8);
    assert!(offset_of!(Save, tr) == 0x90);
    assert!(offset_of!(Save, cpl) == 0xcb);
    assert!(offset_of!(Save, efer) == 0xd0);
    assert!(offset_of!(Save, cr4) == 0x148);
    assert!(offset_of!(Save, rip) == 0x178);
    assert!(offset_of!(Save, rsp) == 0x1d8);
    assert!(offset_of!(Save, rax) == 0x1f8);
    assert!(offset_of!(Save, cr2) == 0x240);
    assert!(offset_of!(Save, g_pat) == 0x268);
    assert!(offset_of!(Vmcb, save) == 0x400);
};
