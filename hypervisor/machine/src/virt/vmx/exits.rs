//! What an exit means (Intel SDM vol. 3 section 27.2, appendix C).

use access::vcpu::{Exit, NestedAccess, PortAccess, TaskSource};
use spec::vmx::field::{self, Field};
use spec::vmx::qualification::{control_register, ept, port, task_switch};
use spec::vmx::{event, exit, qualification};
use spec::{Gpa, Width};

const MACHINE_CHECK: u8 = 18;

/// Decodes the exit for `reason`; `read` reads fields of the VMCS, and no more of them
/// than the reason needs.
#[inline(always)]
pub fn decode(reason: u32, read: impl Fn(Field) -> u64) -> Exit {
    if reason & exit::ENTRY_FAILURE != 0 {
        return entry_failed(reason);
    }
    match reason & exit::BASIC {
        exit::CPUID => Exit::Cpuid,
        exit::EPT_VIOLATION => Exit::NestedFault {
            gpa: Gpa(read(field::GUEST_PHYSICAL)),
            access: nested_access(read(field::QUALIFICATION)),
        },
        exit::WRMSR => Exit::WriteMsr,
        exit::RDMSR => Exit::ReadMsr,
        exit::PORT => Exit::Port(port_access(read(field::QUALIFICATION))),
        exit::EXTERNAL_INTERRUPT => Exit::Interrupt,
        exit::PREEMPTION_TIMER => Exit::Timer,
        exit::HLT => Exit::Halt,
        // The guest can take an interrupt, or its task priority fell: either way the
        // hypervisor wanted to look at what waits.
        exit::INTERRUPT_WINDOW | exit::PRIORITY => Exit::InterruptWindow,
        exit::NMI_WINDOW => Exit::NmiWindow,
        exit::EXCEPTION => exception(read(field::EXIT_EVENT) as u32, || read(field::EXIT_ERROR) as u32),
        exit::VMCALL => Exit::Hypercall,
        exit::TRIPLE_FAULT => Exit::Shutdown,
        exit::CONTROL_REGISTER => control_write(reason, read(field::QUALIFICATION)),
        exit::XSETBV => Exit::SetXcr,
        exit::WBINVD | exit::INVD => Exit::WriteBackCaches,
        exit::PAUSE => Exit::Idle,
        exit::INIT => Exit::Init,
        exit::TASK_SWITCH => {
            let qualification = read(field::QUALIFICATION);
            let selector = (qualification & task_switch::SELECTOR) as u16;
            Exit::TaskSwitch { selector, source: task_source(qualification) }
        }
        exit::VIRTUAL_EOI => Exit::EndOfInterrupt { vector: read(field::QUALIFICATION) as u8 },
        // The qualification is the offset in the page; the value is in there.
        exit::APIC_WRITE => Exit::ApicWrite { register: (read(field::QUALIFICATION) >> 4) as u8 },
        // There are no counters.
        exit::RDPMC => Exit::GeneralProtection,
        // Those that exit on their own, and those of controls that are off.
        exit::GETSEC
        | exit::RSM
        | exit::VMCLEAR..=exit::VMXON
        | exit::MWAIT
        | exit::MONITOR
        | exit::INVEPT
        | exit::INVVPID
        | exit::VMFUNC
        | exit::ENCLS
        | exit::XSAVES
        | exit::XRSTORS
        | exit::PCONFIG
        | exit::UMWAIT
        | exit::TPAUSE
        | exit::LOADIWKEY
        | exit::ENCLV
        | exit::ENQCMD
        | exit::ENQCMDS
        | exit::SEAMCALL
        | exit::TDCALL => Exit::UndefinedOpcode,
        other => Exit::Unexpected(other.into()),
    }
}

/// A machine check that keeps an entry from being made has nothing to do with the guest's
/// state, which was not even looked at.
#[cold]
fn entry_failed(reason: u32) -> Exit {
    match reason & exit::BASIC {
        exit::MACHINE_CHECK => Exit::Exception { vector: MACHINE_CHECK, error: 0 },
        _ => Exit::InvalidState,
    }
}

/// Table 27-5.
fn port_access(qualification: u64) -> PortAccess {
    let width = match qualification & port::SIZE {
        0 => Width::Byte,
        1 => Width::Word,
        _ => Width::Dword,
    };
    PortAccess {
        port: (qualification >> port::NUMBER_SHIFT) as u16,
        width,
        input: qualification & port::INPUT != 0,
        string: qualification & port::STRING != 0,
        repeat: qualification & port::REPEAT != 0,
    }
}

/// Table 27-7. With accessed and dirty flags a walk of the guest's tables is a write to
/// them as well; it stays a walk.
fn nested_access(qualification: u64) -> NestedAccess {
    match qualification {
        bits if bits & ept::LINEAR != 0 && bits & ept::TRANSLATED == 0 => NestedAccess::Walk,
        bits if bits & ept::FETCH != 0 => NestedAccess::Fetch,
        bits if bits & ept::WRITE != 0 => NestedAccess::Write,
        _ => NestedAccess::Read,
    }
}

fn exception(event: u32, error: impl Fn() -> u32) -> Exit {
    if event >> event::KIND_SHIFT & event::KIND == event::NMI {
        return Exit::Kick;
    }
    let error = if event & event::HAS_ERROR != 0 { error() } else { 0 };
    Exit::Exception { vector: event as u8, error }
}

/// Table 27-3. Only writes exit, and CLTS and LMSW change no bit of the hypervisor's.
fn control_write(reason: u32, qualification: u64) -> Exit {
    match qualification >> control_register::KIND_SHIFT & 3 {
        control_register::WRITE => {
            Exit::WriteControl { register: (qualification & control_register::NUMBER) as u8, value: None }
        }
        _ => Exit::Unexpected(reason.into()),
    }
}

/// What asks for a task switch (table 27-2).
pub const fn task_source(qualification: u64) -> TaskSource {
    match qualification >> task_switch::SOURCE_SHIFT & 3 {
        task_switch::CALL => TaskSource::Call,
        task_switch::RETURN => TaskSource::Return,
        task_switch::JUMP => TaskSource::Jump,
        _ => TaskSource::Gate,
    }
}

/// Whether a task switch is an instruction's, so that its length is told: that of CALL, JMP,
/// IRET, and of a software interrupt that led to the gate. `delivery` is the IDT-vectoring
/// information.
pub const fn switches_by_instruction(source: TaskSource, delivery: u32) -> bool {
    let software = delivery & event::VALID != 0
        && delivery >> event::KIND_SHIFT & event::KIND >= event::SOFTWARE_INTERRUPT;
    !matches!(source, TaskSource::Gate) || software
}

/// Number of the general register that a MOV to a control register reads (table 27-3).
pub const fn control_source(qualification: u64) -> usize {
    (qualification >> control_register::SOURCE_SHIFT & 0xf) as usize
}

/// Whether the exit is that of an instruction, so that its length is told (section
/// 24.9.4). An EPT violation is not: its length is undefined unless it interrupted the
/// delivery of an event.
#[inline]
pub const fn has_length(reason: u32) -> bool {
    matches!(
        reason,
        exit::CPUID
            | exit::GETSEC..=exit::VMXON
            | exit::CONTROL_REGISTER..=exit::WRMSR
            | exit::MWAIT
            | exit::MONITOR
            | exit::PAUSE
            | exit::INVEPT
            | exit::RDTSCP
            | exit::INVVPID..=exit::XSETBV
            | exit::RDRAND..=exit::RDSEED
            | exit::XSAVES..=exit::PCONFIG
    )
}

/// The instruction pointer `length` bytes after `rip`. Outside of 64-bit code it is one of
/// 32 bits; only where the sum crosses that boundary does it matter which code this is.
#[inline]
pub fn next_rip(rip: u64, length: u64, is_64_bit: impl FnOnce() -> bool) -> u64 {
    let next = rip.wrapping_add(length);
    if (rip ^ next) >> 32 == 0 || is_64_bit() { next } else { next & 0xffff_ffff }
}

/// Why an entry failed after it had begun, in words (section 26.8); `None` where it is
/// some register of the guest's ([`super::guest_state`] finds which).
pub fn entry_failure(reason: u32, qualification: u64) -> Option<&'static str> {
    match reason & exit::BASIC {
        exit::INVALID_STATE => qualification::entry_failure(qualification),
        other => Some(exit::name(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A VMCS in which the given fields can be read, and no others.
    fn decoded(reason: u32, fields: &[(Field, u64)]) -> Exit {
        decode(reason, |wanted| {
            let found = fields.iter().find(|(field, _)| *field == wanted);
            found.unwrap_or_else(|| panic!("reads {wanted:x?}")).1
        })
    }

    fn qualified(reason: u32, qualification: u64) -> Exit {
        decoded(reason, &[(field::QUALIFICATION, qualification), (field::GUEST_PHYSICAL, 0xfec0_0010)])
    }

    #[test]
    fn ports_are_decoded_as_table_27_5_says() {
        let outb = PortAccess { port: 0x3f8, width: Width::Byte, input: false, string: false, repeat: false };
        assert_eq!(qualified(exit::PORT, 0x3f8 << 16), Exit::Port(outb));
        assert_eq!(qualified(exit::PORT, 0x3f8 << 16 | 1 << 6), Exit::Port(outb), "an immediate operand");
        let insd = PortAccess { port: 0xcfc, width: Width::Dword, input: true, string: true, repeat: true };
        assert_eq!(qualified(exit::PORT, 0xcfc << 16 | 0x3b), Exit::Port(insd));
    }

    #[test]
    fn violations_tell_walks_from_accesses() {
        let fault = |bits| match qualified(exit::EPT_VIOLATION, bits) {
            Exit::NestedFault { gpa: Gpa(0xfec0_0010), access } => access,
            other => panic!("{other:?}"),
        };
        assert_eq!(fault(0x181), NestedAccess::Read);
        assert_eq!(fault(0x182), NestedAccess::Write);
        assert_eq!(fault(0x183), NestedAccess::Write, "read, modify, write");
        assert_eq!(fault(0x184), NestedAccess::Fetch);
        assert_eq!(fault(0x081), NestedAccess::Walk);
        assert_eq!(fault(0x083), NestedAccess::Walk, "with accessed and dirty flags");
        assert_eq!(fault(0x001), NestedAccess::Read, "no linear address: page-directory pointers");
    }

    #[test]
    fn exceptions_and_the_hypervisors_own_nmi() {
        let event = |info| decoded(exit::EXCEPTION, &[(field::EXIT_EVENT, info), (field::EXIT_ERROR, 9)]);
        assert_eq!(event(0x8000_0202), Exit::Kick);
        assert_eq!(event(0x8000_0301), Exit::Exception { vector: 1, error: 0 });
        assert_eq!(event(0x8000_0b11), Exit::Exception { vector: 17, error: 9 });
        assert_eq!(event(0x8000_0312), Exit::Exception { vector: 18, error: 0 });
    }

    #[test]
    fn a_write_names_its_register_and_source() {
        assert_eq!(qualified(exit::CONTROL_REGISTER, 0x204), Exit::WriteControl { register: 4, value: None });
        assert_eq!(control_source(0xc04), 12);
        assert_eq!(qualified(exit::CONTROL_REGISTER, 0x13), Exit::Unexpected(28), "a read of CR3");
        assert_eq!(qualified(exit::CONTROL_REGISTER, 0x20), Exit::Unexpected(28), "CLTS");
    }

    #[test]
    fn task_switches_tell_their_task_and_source() {
        let switch = |qualification| qualified(exit::TASK_SWITCH, qualification);
        for (bits, source) in
            [(0, TaskSource::Call), (1, TaskSource::Return), (2, TaskSource::Jump), (3, TaskSource::Gate)]
        {
            assert_eq!(switch(bits << 30 | 0x28), Exit::TaskSwitch { selector: 0x28, source });
        }
        assert!(switches_by_instruction(TaskSource::Jump, 0));
        assert!(!switches_by_instruction(TaskSource::Gate, 0x8000_0b0d), "an exception's");
        assert!(switches_by_instruction(TaskSource::Gate, 0x8000_0430), "INT 0x30");
    }

    #[test]
    fn what_the_processor_leaves_of_a_kept_apic_is_named() {
        assert_eq!(qualified(exit::VIRTUAL_EOI, 0x91), Exit::EndOfInterrupt { vector: 0x91 });
        assert_eq!(qualified(exit::APIC_WRITE, 0x3f0), Exit::ApicWrite { register: 0x3f });
    }

    #[test]
    fn failed_entries_are_no_exits() {
        assert_eq!(decoded(exit::ENTRY_FAILURE | exit::INVALID_STATE, &[]), Exit::InvalidState);
        // The guest's state is not to blame.
        let check = Exit::Exception { vector: 18, error: 0 };
        assert_eq!(decoded(exit::ENTRY_FAILURE | exit::MACHINE_CHECK, &[]), check);
        let failure = |basic, qualification| entry_failure(exit::ENTRY_FAILURE | basic, qualification);
        assert_eq!(failure(exit::INVALID_STATE, 4), Some("the VMCS link pointer"));
        assert_eq!(failure(exit::INVALID_STATE, 0), None);
        assert_eq!(failure(exit::MACHINE_CHECK, 0), Some("a machine check during entry"));
    }

    #[test]
    fn every_reason_decodes_to_something_and_the_common_ones_read_nothing() {
        for reason in [exit::CPUID, exit::RDMSR, exit::WRMSR, exit::HLT, exit::EXTERNAL_INTERRUPT] {
            assert!(!matches!(decoded(reason, &[]), Exit::Unexpected(_)), "{}", exit::name(reason));
        }
        for reason in 0..0x100 {
            let _ = decode(reason, |_| 0).kind();
        }
        for reason in [exit::EPT_MISCONFIGURATION, exit::START_UP, exit::RDTSC, 200] {
            assert_eq!(decoded(reason, &[]), Exit::Unexpected(reason.into()));
        }
        assert_eq!(decoded(exit::RDPMC, &[]), Exit::GeneralProtection);
        let virtualisation = [exit::GETSEC, exit::RSM, exit::INVEPT, exit::INVVPID, exit::VMFUNC];
        let newer = [exit::ENCLS, exit::XSAVES, exit::XRSTORS, exit::PCONFIG, exit::UMWAIT, exit::TPAUSE];
        let rare = [exit::LOADIWKEY, exit::ENCLV, exit::ENQCMD, exit::ENQCMDS, exit::SEAMCALL, exit::TDCALL];
        for instruction in (19..=27).chain(virtualisation).chain(newer).chain(rare) {
            assert_eq!(decoded(instruction, &[]), Exit::UndefinedOpcode, "{}", exit::name(instruction));
        }
    }

    #[test]
    fn lengths_are_believed_for_instructions_only() {
        for instruction in
            [exit::CPUID, exit::HLT, exit::PORT, exit::RDMSR, exit::WRMSR, exit::XSETBV, exit::WBINVD]
        {
            assert!(has_length(instruction));
        }
        for other in [
            exit::EXCEPTION,
            exit::EXTERNAL_INTERRUPT,
            exit::EPT_VIOLATION,
            exit::TASK_SWITCH,
            exit::PRIORITY,
            exit::APIC_WRITE,
            exit::INVALID_STATE,
        ] {
            assert!(!has_length(other), "{}", exit::name(other));
        }
    }

    #[test]
    fn short_code_wraps_at_4_gib_and_long_code_does_not() {
        assert_eq!(next_rip(0x1000, 2, || panic!("no need to know")), 0x1002);
        assert_eq!(next_rip(0xffff_ffff, 2, || false), 1);
        assert_eq!(next_rip(0xffff_ffff, 2, || true), 0x1_0000_0001);
        assert_eq!(next_rip(0xffff_ffff_8000_0000, 2, || panic!("no need to know")), 0xffff_ffff_8000_0002);
    }
}
