//! Why a guest stopped running.

use spec::{Gpa, Width};

/// What a nested-paging fault was doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NestedAccess {
    /// Reading data.
    Read,
    /// Writing data.
    Write,
    /// Fetching an instruction.
    Fetch,
    /// Reading or updating the guest's own page tables.
    Walk,
}

/// A port access that exited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortAccess {
    /// Port number.
    pub port: u16,
    /// 1, 2 or 4 bytes.
    pub width: Width,
    /// IN rather than OUT.
    pub input: bool,
    /// INS or OUTS.
    pub string: bool,
    /// With a REP prefix.
    pub repeat: bool,
}

/// What asks for a task switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskSource {
    /// CALL.
    Call,
    /// IRET from a nested task.
    Return,
    /// JMP.
    Jump,
    /// A task gate in the interrupt table.
    Gate,
}

/// Why the guest stopped running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
// A plain tag: every exit is counted and told apart by it.
#[repr(u8)]
pub enum Exit {
    /// CPUID.
    Cpuid,
    /// VMCALL or VMMCALL.
    Hypercall,
    /// RDMSR; the number is in ECX.
    ReadMsr,
    /// WRMSR; the number is in ECX, the value in EDX:EAX.
    WriteMsr,
    /// IN, OUT, INS or OUTS.
    Port(PortAccess),
    /// An access outside what the nested tables map.
    NestedFault {
        /// The address that was accessed.
        gpa: Gpa,
        /// What for.
        access: NestedAccess,
    },
    /// An interrupt for this processor is pending in hardware or was taken by the
    /// backend; [`Execution::take_interrupts`](super::Execution::take_interrupts) tells which.
    Interrupt,
    /// The hypervisor's own NMI: another processor wants this one's attention.
    Kick,
    /// The deadline of [`Execution::exit_at`](super::Execution::exit_at) is over, or near.
    Timer,
    /// The guest can take a maskable interrupt now, as asked for.
    InterruptWindow,
    /// The guest can take an NMI now, as asked for.
    NmiWindow,
    /// HLT.
    Halt,
    /// PAUSE, MONITOR or MWAIT, or another instruction that needs no more than to
    /// be stepped over.
    Idle,
    /// A triple fault or a shutdown.
    Shutdown,
    /// A MOV to CR`register`: to CR4, where that exits, or to CR8, for which only
    /// [`Resume::priority_window`](super::Resume::priority_window) asks.
    WriteControl {
        /// Number of the control register.
        register: u8,
        /// The value being written, where the hardware says; else decode it.
        value: Option<u64>,
    },
    /// XSETBV; the number is in ECX, the value in EDX:EAX.
    SetXcr,
    /// WBINVD or INVD.
    WriteBackCaches,
    /// An exception that is intercepted; it was not delivered.
    Exception {
        /// Vector.
        vector: u8,
        /// Error code, where the vector has one.
        error: u32,
    },
    /// INIT reached this processor's pins.
    Init,
    /// An instruction that this machine does not offer (VMRUN, SKINIT, ...): #UD.
    UndefinedOpcode,
    /// An instruction with an operand that this machine does not take: #GP(0).
    GeneralProtection,
    /// The backend has done what there was to do; the guest goes on.
    Handled,
    /// A task switch, which this processor leaves to software. It has checked the selector
    /// and the descriptor, and done nothing yet.
    TaskSwitch {
        /// Selector of the new task's state segment.
        selector: u16,
        /// What asks for it.
        source: TaskSource,
    },
    /// The guest ends the level-triggered interrupt `vector` of an APIC that the processor
    /// keeps: [`ApicVirtualization::end_kept`](super::ApicVirtualization::end_kept). RIP is
    /// behind the write.
    EndOfInterrupt {
        /// The vector that was in service.
        vector: u8,
    },
    /// The guest has written an x2APIC register of an APIC that the processor keeps, with
    /// something that the processor leaves to the hypervisor:
    /// [`ApicVirtualization::kept_write`](super::ApicVirtualization::kept_write). RIP is behind
    /// the write.
    ApicWrite {
        /// Number of the register.
        register: u8,
    },
    /// The processor refused the guest's state; nothing ran.
    InvalidState,
    /// An exit that has no business here, with the vendor's code.
    Unexpected(u64),
}

/// Gives each variant of [`Exit`] its index and its name, out of one list. One that is left out does
/// not compile.
macro_rules! kinds {
    ($($variant:ident = $name:literal,)*) => {
        /// [`Exit`] without what it carries.
        #[derive(Clone, Copy)]
        enum Kind {
            $($variant,)*
        }

        /// Number of kinds in [`Exit::kind`].
        pub const EXIT_KINDS: usize = Exit::KIND_NAMES.len();

        impl Exit {
            /// Short names for tables of exits, in the order of [`Exit::kind`].
            pub const KIND_NAMES: &'static [&'static str] = &[$($name,)*];

            /// Index of this exit's kind in tables of counters.
            pub const fn kind(&self) -> usize {
                let kind = match self {
                    $(Self::$variant { .. } => Kind::$variant,)*
                };
                kind as usize
            }
        }
    };
}

// In the order of the variants, so that the index is the tag.
kinds! {
    Cpuid = "cpuid",
    Hypercall = "hypercall",
    ReadMsr = "rdmsr",
    WriteMsr = "wrmsr",
    Port = "port",
    NestedFault = "mmio",
    Interrupt = "interrupt",
    Kick = "kick",
    Timer = "timer",
    InterruptWindow = "interrupt-window",
    NmiWindow = "nmi-window",
    Halt = "halt",
    Idle = "idle",
    Shutdown = "shutdown",
    WriteControl = "cr-write",
    SetXcr = "xsetbv",
    WriteBackCaches = "wbinvd",
    Exception = "exception",
    Init = "init",
    UndefinedOpcode = "undefined-opcode",
    GeneralProtection = "general-protection",
    Handled = "handled",
    TaskSwitch = "task-switch",
    EndOfInterrupt = "end-of-interrupt",
    ApicWrite = "apic-write",
    InvalidState = "invalid-state",
    Unexpected = "unexpected",
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_kind_has_the_name_that_stands_beside_it() {
        let fault = Exit::NestedFault { gpa: Gpa(0), access: NestedAccess::Read };
        for (exit, name) in [
            (Exit::Cpuid, "cpuid"),
            (fault, "mmio"),
            (Exit::Timer, "timer"),
            (Exit::WriteControl { register: 4, value: None }, "cr-write"),
            (Exit::ApicWrite { register: 0x30 }, "apic-write"),
            (Exit::Unexpected(7), "unexpected"),
        ] {
            assert_eq!(Exit::KIND_NAMES.get(exit.kind()), Some(&name));
        }
        assert_eq!(Exit::Cpuid.kind(), 0);
        assert_eq!(Exit::Unexpected(0).kind(), EXIT_KINDS - 1);
    }

    #[test]
    fn names_are_keys_of_a_summary() {
        let names: BTreeSet<_> = Exit::KIND_NAMES.iter().collect();
        assert_eq!(names.len(), EXIT_KINDS, "one twice");
        let plain = |name: &str| name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
        assert!(names.iter().all(|name| plain(name)), "{names:?}");
    }
}
