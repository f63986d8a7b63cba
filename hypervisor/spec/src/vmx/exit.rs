//! Basic exit reasons (Intel SDM vol. 3 appendix C).

/// The exit is a failed entry: nothing of the guest ran.
pub const ENTRY_FAILURE: u32 = 1 << 31;
/// Mask of the basic reason.
pub const BASIC: u32 = 0xffff;

macro_rules! reasons {
    ($($(#[$doc:meta])* $constant:ident = $number:literal, $name:literal;)*) => {
        $($(#[$doc])* pub const $constant: u32 = $number;)*

        /// What a basic reason is called.
        pub const fn name(reason: u32) -> &'static str {
            match reason {
                $($number => $name,)*
                _ => "an unknown reason",
            }
        }
    };
}

reasons! {
    /// Exception or NMI.
    EXCEPTION = 0, "an exception or NMI";
    /// External interrupt.
    EXTERNAL_INTERRUPT = 1, "an external interrupt";
    /// Triple fault.
    TRIPLE_FAULT = 2, "a triple fault";
    /// INIT.
    INIT = 3, "INIT";
    /// Start-up message.
    START_UP = 4, "a start-up message";
    /// SMI after a port access.
    IO_SMI = 5, "an SMI of a port access";
    /// Another SMI.
    SMI = 6, "an SMI";
    /// The guest can take an interrupt.
    INTERRUPT_WINDOW = 7, "the interrupt window";
    /// The guest can take an NMI.
    NMI_WINDOW = 8, "the NMI window";
    /// Task switch.
    TASK_SWITCH = 9, "a task switch";
    /// CPUID.
    CPUID = 10, "CPUID";
    /// GETSEC.
    GETSEC = 11, "GETSEC";
    /// HLT.
    HLT = 12, "HLT";
    /// INVD.
    INVD = 13, "INVD";
    /// INVLPG.
    INVLPG = 14, "INVLPG";
    /// RDPMC.
    RDPMC = 15, "RDPMC";
    /// RDTSC.
    RDTSC = 16, "RDTSC";
    /// RSM.
    RSM = 17, "RSM";
    /// VMCALL.
    VMCALL = 18, "VMCALL";
    /// VMCLEAR.
    VMCLEAR = 19, "VMCLEAR";
    /// VMLAUNCH.
    VMLAUNCH = 20, "VMLAUNCH";
    /// VMPTRLD.
    VMPTRLD = 21, "VMPTRLD";
    /// VMPTRST.
    VMPTRST = 22, "VMPTRST";
    /// VMREAD.
    VMREAD = 23, "VMREAD";
    /// VMRESUME.
    VMRESUME = 24, "VMRESUME";
    /// VMWRITE.
    VMWRITE = 25, "VMWRITE";
    /// VMXOFF.
    VMXOFF = 26, "VMXOFF";
    /// VMXON.
    VMXON = 27, "VMXON";
    /// Access to a control register.
    CONTROL_REGISTER = 28, "an access to a control register";
    /// Access to a debug register.
    DEBUG_REGISTER = 29, "an access to a debug register";
    /// Port access.
    PORT = 30, "a port access";
    /// RDMSR.
    RDMSR = 31, "RDMSR";
    /// WRMSR.
    WRMSR = 32, "WRMSR";
    /// Entry failure: the guest's state.
    INVALID_STATE = 33, "an invalid guest state";
    /// Entry failure: the list of MSRs.
    INVALID_MSRS = 34, "an MSR that could not be loaded";
    /// MWAIT.
    MWAIT = 36, "MWAIT";
    /// Monitor trap flag.
    MONITOR_TRAP = 37, "the monitor trap flag";
    /// MONITOR.
    MONITOR = 39, "MONITOR";
    /// PAUSE.
    PAUSE = 40, "PAUSE";
    /// Entry failure: machine check.
    MACHINE_CHECK = 41, "a machine check during entry";
    /// The task priority fell below the threshold.
    PRIORITY = 43, "a task priority below the threshold";
    /// Access to the APIC page.
    APIC_ACCESS = 44, "an access to the APIC page";
    /// A virtual interrupt ended, and the hypervisor asked to hear of it.
    VIRTUAL_EOI = 45, "the end of a virtual interrupt";
    /// LGDT, LIDT, SGDT, SIDT.
    DESCRIPTOR_TABLE = 46, "an access to GDTR or IDTR";
    /// LLDT, LTR, SLDT, STR.
    LDTR_TR = 47, "an access to LDTR or TR";
    /// EPT violation.
    EPT_VIOLATION = 48, "an EPT violation";
    /// EPT misconfiguration.
    EPT_MISCONFIGURATION = 49, "an EPT misconfiguration";
    /// INVEPT.
    INVEPT = 50, "INVEPT";
    /// RDTSCP.
    RDTSCP = 51, "RDTSCP";
    /// Preemption timer.
    PREEMPTION_TIMER = 52, "the preemption timer";
    /// INVVPID.
    INVVPID = 53, "INVVPID";
    /// WBINVD or WBNOINVD.
    WBINVD = 54, "WBINVD";
    /// XSETBV.
    XSETBV = 55, "XSETBV";
    /// A virtualised write of an APIC register, done.
    APIC_WRITE = 56, "a write of an APIC register";
    /// RDRAND.
    RDRAND = 57, "RDRAND";
    /// INVPCID.
    INVPCID = 58, "INVPCID";
    /// VMFUNC.
    VMFUNC = 59, "VMFUNC";
    /// ENCLS.
    ENCLS = 60, "ENCLS";
    /// RDSEED.
    RDSEED = 61, "RDSEED";
    /// The page-modification log is full.
    LOG_FULL = 62, "a full page-modification log";
    /// XSAVES.
    XSAVES = 63, "XSAVES";
    /// XRSTORS.
    XRSTORS = 64, "XRSTORS";
    /// PCONFIG.
    PCONFIG = 65, "PCONFIG";
    /// UMWAIT.
    UMWAIT = 67, "UMWAIT";
    /// TPAUSE.
    TPAUSE = 68, "TPAUSE";
    /// LOADIWKEY.
    LOADIWKEY = 69, "LOADIWKEY";
    /// ENCLV.
    ENCLV = 70, "ENCLV";
    /// ENQCMD, for want of a PASID's translation.
    ENQCMD = 72, "ENQCMD";
    /// ENQCMDS, likewise.
    ENQCMDS = 73, "ENQCMDS";
    /// Bus lock.
    BUS_LOCK = 74, "a bus lock";
    /// No window for an event for too long.
    NOTIFY = 75, "the notification window";
    /// SEAMCALL.
    SEAMCALL = 76, "SEAMCALL";
    /// TDCALL.
    TDCALL = 77, "TDCALL";
}
