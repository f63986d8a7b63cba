//! The control block as plain data: initial state, what an exit means, how an
//! event is injected. Nothing here touches hardware, so all of it runs on the host.

use super::{Features, avic};
use access::vcpu::{Event, Exit, InterruptMode, NestedAccess, PortAccess};
pub use spec::processor::{EFER_LMA, EFER_SVME};
use spec::svm::virtual_interrupt;
use spec::svm::{Clean, Control, Intercept1, Intercept2, Save, Vmcb, VmcbSegment, exit_code, tlb_control};
use spec::{Gpa, Width};

/// The guest is in the shadow of STI or MOV SS.
pub const SHADOW: u64 = 1;
/// EVENTINJ and EXITINTINFO: there is an event.
pub const EVENT_VALID: u64 = 1 << 31;
const EVENT_HAS_ERROR: u64 = 1 << 11;
const EVENT_TYPE_SHIFT: u32 = 8;
const EVENT_TYPE_NMI: u64 = 2;
const EVENT_TYPE_EXCEPTION: u64 = 3;
const EVENT_TYPE_SOFTWARE: u64 = 4;

/// Exceptions that are intercepted: #DB and #AC, since their delivery can repeat
/// for ever without an instruction boundary at which an interrupt would be taken
/// (CVE-2015-8104, CVE-2015-5307), and #MC, which is the machine's business.
pub const INTERCEPTED_EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 18;

const INTERCEPTS1: Intercept1 = Intercept1::INTR
    .union(Intercept1::NMI)
    .union(Intercept1::INIT)
    .union(Intercept1::RDPMC)
    .union(Intercept1::CPUID)
    .union(Intercept1::RSM)
    .union(Intercept1::INVD)
    .union(Intercept1::HLT)
    .union(Intercept1::INVLPGA)
    .union(Intercept1::IOIO)
    .union(Intercept1::MSR)
    .union(Intercept1::FERR_FREEZE)
    .union(Intercept1::SHUTDOWN);

const INTERCEPTS2: Intercept2 = Intercept2::VMRUN
    .union(Intercept2::VMMCALL)
    .union(Intercept2::VMLOAD)
    .union(Intercept2::VMSAVE)
    .union(Intercept2::STGI)
    .union(Intercept2::CLGI)
    .union(Intercept2::SKINIT)
    .union(Intercept2::WBINVD)
    .union(Intercept2::MONITOR)
    .union(Intercept2::MWAIT)
    .union(Intercept2::XSETBV)
    .union(Intercept2::RDPRU);

/// MOV to CR4: the processor would let the guest set bits of features that CPUID does not tell
/// it of, and what those switch on is not cleared between owners. Bit 16 + n is MOV to CRn.
const WRITE_CR4: u32 = 1 << (16 + 4);

/// The addresses that a control block points to, all hpa.
#[derive(Clone, Copy, Debug)]
pub struct Roots {
    /// 12 KiB port map.
    pub io_map: u64,
    /// 8 KiB MSR map.
    pub msr_map: u64,
    /// Root of the nested page tables.
    pub nested: u64,
}

/// Fills the control area of a new guest. Of the accesses to control registers only writes of
/// CR4 are intercepted: nested paging lets the guest own the others, and one emulator loses the
/// exits of reads.
pub fn initialize(control: &mut Control, roots: Roots, features: Features) {
    *control = Vmcb::ZERO.control;
    control.intercept_exceptions = INTERCEPTED_EXCEPTIONS;
    control.intercept_cr = WRITE_CR4;
    control.intercept1 = INTERCEPTS1;
    control.intercept2 = INTERCEPTS2;
    control.io_map = roots.io_map;
    control.msr_map = roots.msr_map;
    control.nested_cr3 = roots.nested;
    control.nested_paging = 1;
    control.asid = 1;
    // What an earlier owner of this ASID left is flushed at the first entry.
    control.tlb_control = tlb_control::ALL;
    control.virtual_interrupt = virtual_interrupt::MASKING;
    if features.virtual_nmi {
        control.virtual_interrupt |= virtual_interrupt::NMI_ENABLE;
    }
    control.clean = Clean::empty();
}

/// The registers after INIT (AMD APM vol. 2 table 14-1).
pub fn reset_registers(save: &mut Save) {
    let segment = |selector, attributes, base| VmcbSegment { selector, attributes, limit: 0xffff, base };
    *save = Vmcb::ZERO.save;
    save.segments = [segment(0, 0x93, 0); 6];
    save.segments[1] = segment(0xf000, 0x9b, 0xffff_0000);
    save.gdtr = segment(0, 0, 0);
    save.idtr = segment(0, 0, 0);
    save.ldtr = segment(0, 0x82, 0);
    save.tr = segment(0, 0x8b, 0);
    save.efer = EFER_SVME;
    save.cr0 = 0x6000_0010;
    save.rflags = 2;
    save.rip = 0xfff0;
    save.dr6 = 0xffff_0ff0;
    save.dr7 = 0x400;
    save.g_pat = 0x0007_0406_0007_0406;
}

/// How the next entry must treat the TLB.
pub const fn flush_command(wanted: bool, flush_by_asid: bool) -> u32 {
    match (wanted, flush_by_asid) {
        (false, _) => tlb_control::NOTHING,
        (true, true) => tlb_control::THIS_GUEST,
        (true, false) => tlb_control::ALL,
    }
}

/// EVENTINJ for an event (AMD APM vol. 2 section 15.20).
pub const fn encode_event(event: Event) -> u64 {
    match event {
        Event::Interrupt(vector) => EVENT_VALID | vector as u64,
        Event::Nmi => EVENT_VALID | EVENT_TYPE_NMI << EVENT_TYPE_SHIFT | 2,
        Event::Exception { vector, error } => {
            let kind = EVENT_VALID | EVENT_TYPE_EXCEPTION << EVENT_TYPE_SHIFT | vector as u64;
            match error {
                Some(code) => kind | EVENT_HAS_ERROR | (code as u64) << 32,
                None => kind,
            }
        }
    }
}

/// What to inject again, given EXITINTINFO: the event whose delivery the exit
/// interrupted; 0 for nothing. A software interrupt, INT3 and INTO are not injected
/// again: RIP still points at the instruction, which simply runs again.
pub const fn reinjection(exit_interrupt_info: u64) -> u64 {
    if exit_interrupt_info & EVENT_VALID == 0 {
        return 0;
    }
    let kind = exit_interrupt_info >> EVENT_TYPE_SHIFT & 7;
    let vector = exit_interrupt_info & 0xff;
    let software =
        kind == EVENT_TYPE_SOFTWARE || kind == EVENT_TYPE_EXCEPTION && (vector == 3 || vector == 4);
    if software { 0 } else { exit_interrupt_info }
}

/// Whether `event`, in EVENTINJ's layout, is a maskable interrupt.
pub const fn is_interrupt(event: u64) -> bool {
    event & EVENT_VALID != 0 && event >> EVENT_TYPE_SHIFT & 7 == 0
}

/// The error code of `event`, in EVENTINJ's layout, if it has one.
pub const fn error_code(event: u64) -> Option<u32> {
    if event & EVENT_VALID != 0 && event & EVENT_HAS_ERROR != 0 { Some((event >> 32) as u32) } else { None }
}

/// Whether `event`, in EVENTINJ's layout, is an NMI.
pub const fn is_nmi(event: u64) -> bool {
    event & EVENT_VALID != 0 && event >> EVENT_TYPE_SHIFT & 7 == EVENT_TYPE_NMI
}

/// The event that `event`, in EVENTINJ's layout, is; `None` where it is none.
pub const fn decode_event(event: u64) -> Option<Event> {
    if event & EVENT_VALID == 0 {
        return None;
    }
    let vector = event as u8;
    match event >> EVENT_TYPE_SHIFT & 7 {
        0 => Some(Event::Interrupt(vector)),
        EVENT_TYPE_NMI => Some(Event::Nmi),
        EVENT_TYPE_EXCEPTION => Some(Event::Exception { vector, error: error_code(event) }),
        _ => None,
    }
}

/// Whether an exit is for an exception that is intercepted.
pub const fn is_exception(code: u64) -> bool {
    matches!(code.checked_sub(exit_code::EXCEPTION), Some(0..32))
}

/// What the exit in `control` means.
///
/// Not inlined: what it gives is in memory then, where the loop looks at it, and not in
/// pieces in a dozen registers that are put together at each use.
#[inline(never)]
pub fn decode_exit(control: &Control) -> Exit {
    match control.exit_code {
        exit_code::CPUID => Exit::Cpuid,
        exit_code::VMMCALL => Exit::Hypercall,
        exit_code::MSR if control.exit_info1 & 1 == 0 => Exit::ReadMsr,
        exit_code::MSR => Exit::WriteMsr,
        exit_code::IOIO => decode_port(control.exit_info1),
        exit_code::NESTED_FAULT => decode_nested_fault(control),
        exit_code::INTR => Exit::Interrupt,
        exit_code::NMI => Exit::Kick,
        exit_code::VINTR => Exit::InterruptWindow,
        exit_code::IRET => Exit::NmiWindow,
        exit_code::HLT => Exit::Halt,
        exit_code::PAUSE => Exit::Idle,
        exit_code::INIT => Exit::Init,
        exit_code::SHUTDOWN => Exit::Shutdown,
        exit_code::XSETBV => Exit::SetXcr,
        exit_code::WBINVD | exit_code::INVD => Exit::WriteBackCaches,
        exit_code::VMRUN
        | exit_code::VMLOAD
        | exit_code::VMSAVE
        | exit_code::STGI
        | exit_code::CLGI
        | exit_code::SKINIT
        | exit_code::INVLPGA
        | exit_code::RDPRU
        | exit_code::RSM
        | exit_code::MONITOR
        | exit_code::MWAIT
        | exit_code::MWAIT_ARMED => Exit::UndefinedOpcode,
        exit_code::RDPMC => Exit::GeneralProtection,
        code @ exit_code::WRITE_CR0..exit_code::EXCEPTION if code < exit_code::WRITE_CR0 + 16 => {
            Exit::WriteControl { register: (code - exit_code::WRITE_CR0) as u8, value: None }
        }
        code @ exit_code::EXCEPTION..exit_code::INTR => {
            Exit::Exception { vector: (code - exit_code::EXCEPTION) as u8, error: control.exit_info1 as u32 }
        }
        exit_code::AVIC_ACCESS | exit_code::AVIC_COMMAND => avic::decode_exit(control),
        exit_code::INVALID | exit_code::INVALID_32 => Exit::InvalidState,
        code => Exit::Unexpected(code),
    }
}

/// EXITINFO1 of a port exit (AMD APM vol. 2 section 15.10.2).
fn decode_port(info: u64) -> Exit {
    let width = match info >> 4 & 7 {
        1 => Width::Byte,
        2 => Width::Word,
        _ => Width::Dword,
    };
    Exit::Port(PortAccess {
        port: (info >> 16) as u16,
        width,
        input: info & 1 != 0,
        string: info & 1 << 2 != 0,
        repeat: info & 1 << 3 != 0,
    })
}

/// EXITINFO1 and 2 of a nested page fault (AMD APM vol. 2 section 15.25.6).
fn decode_nested_fault(control: &Control) -> Exit {
    const WRITE: u64 = 1 << 1;
    const FETCH: u64 = 1 << 4;
    const WALK: u64 = 1 << 33;
    let access = match control.exit_info1 {
        info if info & WALK != 0 => NestedAccess::Walk,
        info if info & FETCH != 0 => NestedAccess::Fetch,
        info if info & WRITE != 0 => NestedAccess::Write,
        _ => NestedAccess::Read,
    };
    Exit::NestedFault { gpa: Gpa(control.exit_info2), access }
}

/// Asks for an exit as soon as the guest can take a maskable interrupt, or takes
/// the wish back. The pending virtual interrupt never reaches the guest: the exit
/// comes first.
pub fn request_interrupt_window(control: &mut Control, wanted: bool) {
    const WISH: u64 =
        virtual_interrupt::IRQ | virtual_interrupt::IGNORE_TPR | 0xf << virtual_interrupt::PRIORITY_SHIFT;
    if control.intercept1.contains(Intercept1::VINTR) == wanted {
        return;
    }
    if wanted {
        control.intercept1.insert(Intercept1::VINTR);
        control.virtual_interrupt |= WISH;
    } else {
        control.intercept1.remove(Intercept1::VINTR);
        control.virtual_interrupt &= !WISH;
    }
    control.clean.remove(Clean::INTERCEPTS | Clean::VIRTUAL_INTERRUPT);
}

const PENDING: u64 = virtual_interrupt::IRQ
    | virtual_interrupt::IGNORE_TPR
    | 0xf << virtual_interrupt::PRIORITY_SHIFT
    | 0xff << virtual_interrupt::VECTOR_SHIFT;

/// Leaves `event`, an interrupt in EVENTINJ's layout, to the guest as a virtual interrupt,
/// which it takes at its first instruction with interrupts on (AMD APM vol. 2 section
/// 15.21.4). No interrupt window can be asked for beside it.
pub fn pend(control: &mut Control, event: u64) {
    control.virtual_interrupt &= !PENDING;
    control.virtual_interrupt |= virtual_interrupt::IRQ
        | virtual_interrupt::IGNORE_TPR
        | (event & 0xff) << virtual_interrupt::VECTOR_SHIFT;
    control.clean.remove(Clean::VIRTUAL_INTERRUPT);
}

/// Takes a virtual interrupt back, in EVENTINJ's layout; 0 if the guest took it.
pub fn withdraw(control: &mut Control) -> u64 {
    let left = control.virtual_interrupt & virtual_interrupt::IRQ != 0;
    let vector = control.virtual_interrupt >> virtual_interrupt::VECTOR_SHIFT & 0xff;
    control.virtual_interrupt &= !PENDING;
    control.clean.remove(Clean::VIRTUAL_INTERRUPT);
    if left { EVENT_VALID | vector } else { 0 }
}

/// Says who takes interrupts: with interception and V_INTR_MASKING the hypervisor, else
/// the guest, by its own interrupt flag and task priority (AMD APM vol. 2 section
/// 15.21). With AVIC what the hypervisor passes on, or another posts, wakes the guest from
/// its HLT. `msr_map` (hpa) goes with it.
pub fn take_interrupts(control: &mut Control, interrupts: InterruptMode, msr_map: u64) {
    const AVIC: u64 = virtual_interrupt::AVIC | virtual_interrupt::X2AVIC;
    control.intercept1.remove(Intercept1::INTR | Intercept1::HLT);
    control.virtual_interrupt &= !(virtual_interrupt::MASKING | AVIC);
    let (intercepts, bits) = match interrupts {
        InterruptMode::Emulated => (Intercept1::INTR | Intercept1::HLT, virtual_interrupt::MASKING),
        InterruptMode::Accelerated => (Intercept1::INTR, virtual_interrupt::MASKING | AVIC),
        InterruptMode::Direct | InterruptMode::DirectWithEoiExits => (Intercept1::empty(), 0),
    };
    control.intercept1 |= intercepts;
    control.virtual_interrupt |= bits;
    control.msr_map = msr_map;
    control.clean.remove(Clean::INTERCEPTS | Clean::VIRTUAL_INTERRUPT | Clean::PERMISSION_MAPS);
}

/// Makes HLT exit, whoever takes interrupts; gives whether it did already.
pub fn watch_halt(control: &mut Control, wanted: bool) -> bool {
    let watched = control.intercept1.contains(Intercept1::HLT);
    if watched != wanted {
        control.intercept1.toggle(Intercept1::HLT);
        control.clean.remove(Clean::INTERCEPTS);
    }
    watched
}

/// Asks for an exit at the guest's next IRET, which ends its NMI handler.
pub fn watch_iret(control: &mut Control, wanted: bool) {
    let before = control.intercept1;
    control.intercept1.set(Intercept1::IRET, wanted);
    if control.intercept1 != before {
        control.clean.remove(Clean::INTERCEPTS);
    }
}

/// Asks for an exit at the guest's next write of CR8, or takes the wish back. Writes
/// alone: one emulator loses the exits of CR reads.
pub fn watch_priority(control: &mut Control, wanted: bool) {
    const WRITE_CR8: u32 = 1 << (16 + 8);
    if (control.intercept_cr & WRITE_CR8 != 0) != wanted {
        control.intercept_cr ^= WRITE_CR8;
        control.clean.remove(Clean::INTERCEPTS);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::boxed::Box;

    fn exited(code: u64, info1: u64, info2: u64) -> Exit {
        let mut vmcb = Box::new(Vmcb::ZERO);
        vmcb.control.exit_code = code;
        vmcb.control.exit_info1 = info1;
        vmcb.control.exit_info2 = info2;
        decode_exit(&vmcb.control)
    }

    #[test]
    fn a_new_guest_flushes_what_its_asid_held_and_has_nothing_clean() {
        let mut vmcb = Box::new(Vmcb::ZERO);
        let roots = Roots { io_map: 1 << 12, msr_map: 2 << 12, nested: 3 << 12 };
        initialize(&mut vmcb.control, roots, Features::LEAST);
        assert_eq!(vmcb.control.tlb_control, tlb_control::ALL);
        assert_eq!(vmcb.control.clean, Clean::empty());
        assert_ne!(vmcb.control.asid, 0, "ASID 0 is the host's");
        assert!(vmcb.control.intercept2.contains(Intercept2::VMRUN), "VMRUN must be intercepted");
        assert_eq!(vmcb.control.intercept_cr, WRITE_CR4);
        assert!(vmcb.control.intercept2.contains(Intercept2::XSETBV));
    }

    #[test]
    fn flushes_as_the_processor_can() {
        assert_eq!(flush_command(false, true), tlb_control::NOTHING);
        assert_eq!(flush_command(true, true), tlb_control::THIS_GUEST);
        assert_eq!(flush_command(true, false), tlb_control::ALL);
    }

    #[test]
    fn ports_are_decoded() {
        let outb = Exit::Port(PortAccess {
            port: 0x3f8,
            width: Width::Byte,
            input: false,
            string: false,
            repeat: false,
        });
        assert_eq!(exited(exit_code::IOIO, 0x3f8 << 16 | 1 << 4, 0), outb);
        let insd = Exit::Port(PortAccess {
            port: 0xcfc,
            width: Width::Dword,
            input: true,
            string: true,
            repeat: true,
        });
        assert_eq!(exited(exit_code::IOIO, 0xcfc << 16 | 4 << 4 | 0b1101, 0), insd);
    }

    #[test]
    fn nested_faults_tell_walks_from_accesses() {
        let fault = |info| match exited(exit_code::NESTED_FAULT, info, 0xfec0_0010) {
            Exit::NestedFault { gpa: Gpa(0xfec0_0010), access } => access,
            other => panic!("{other:?}"),
        };
        assert_eq!(fault(1 << 32 | 1 << 2), NestedAccess::Read);
        assert_eq!(fault(1 << 32 | 1 << 1 | 1 << 2), NestedAccess::Write);
        assert_eq!(fault(1 << 32 | 1 << 4), NestedAccess::Fetch);
        assert_eq!(fault(1 << 33 | 1 << 1), NestedAccess::Walk);
    }

    #[test]
    fn both_spellings_of_an_invalid_state() {
        assert_eq!(exited(u64::MAX, 0, 0), Exit::InvalidState);
        assert_eq!(exited(0xffff_ffff, 0, 0), Exit::InvalidState);
    }

    #[test]
    fn every_code_decodes_to_something_and_none_is_lost() {
        for code in 0..0x500 {
            let _ = exited(code, 0, 0).kind();
        }
        assert_eq!(exited(0x40 + 17, 5, 0), Exit::Exception { vector: 17, error: 5 });
        assert_eq!(exited(0x14, 0, 0), Exit::WriteControl { register: 4, value: None });
        assert_eq!(exited(0x84, 0, 0), Exit::UndefinedOpcode);
        assert_eq!(exited(0x6f, 0, 0), Exit::GeneralProtection, "RDPMC: there are no counters");
        assert_eq!(exited(0x403, 0, 0), Exit::Unexpected(0x403));
    }

    #[test]
    fn events_are_encoded_as_the_manual_says() {
        assert_eq!(encode_event(Event::Interrupt(0x31)), 0x8000_0031);
        assert_eq!(encode_event(Event::Nmi), 0x8000_0202);
        assert_eq!(encode_event(Event::UNDEFINED), 0x8000_0306);
        assert_eq!(encode_event(Event::PROTECTION), 0x8000_0b0d);
        let page_fault = Event::Exception { vector: 14, error: Some(7) };
        assert_eq!(encode_event(page_fault), 7 << 32 | 0x8000_0b0e);
    }

    #[test]
    fn interrupted_events_return_but_software_interrupts_run_again() {
        assert_eq!(reinjection(0), 0);
        assert_eq!(reinjection(0x31), 0, "not valid");
        assert_eq!(reinjection(0x8000_0031), 0x8000_0031);
        assert_eq!(reinjection(0x8000_0202), 0x8000_0202);
        assert_eq!(reinjection(0x8000_0480), 0, "INT 0x80");
        assert_eq!(reinjection(0x8000_0303), 0, "INT3");
        assert_eq!(reinjection(5 << 32 | 0x8000_0b0e), 5 << 32 | 0x8000_0b0e);
        assert_eq!((error_code(5 << 32 | 0x8000_0b0e), error_code(0x8000_0031)), (Some(5), None));
    }

    #[test]
    fn a_window_dirties_what_it_touches_once() {
        let mut vmcb = Box::new(Vmcb::ZERO);
        let control = &mut vmcb.control;
        control.virtual_interrupt = virtual_interrupt::MASKING | 5;
        control.clean = Clean::all();
        request_interrupt_window(control, true);
        assert_ne!(control.virtual_interrupt & virtual_interrupt::IRQ, 0);
        assert_eq!(control.virtual_interrupt & 0xf, 5, "the task priority stays");
        assert!(!control.clean.intersects(Clean::INTERCEPTS | Clean::VIRTUAL_INTERRUPT));
        control.clean = Clean::all();
        request_interrupt_window(control, true);
        assert_eq!(control.clean, Clean::all(), "nothing changed");
        request_interrupt_window(control, false);
        assert_eq!(control.virtual_interrupt, virtual_interrupt::MASKING | 5);
        assert!(!control.clean.intersects(Clean::INTERCEPTS));
    }

    #[test]
    fn whoever_takes_interrupts_the_hypervisor_keeps_nmi() {
        let mut vmcb = Box::new(Vmcb::ZERO);
        let control = &mut vmcb.control;
        initialize(control, Roots { io_map: 1 << 12, msr_map: 2 << 12, nested: 3 << 12 }, Features::LEAST);
        let before = (control.intercept1, control.virtual_interrupt);
        control.clean = Clean::all();
        take_interrupts(control, InterruptMode::Direct, 4 << 12);
        assert!(!control.intercept1.intersects(Intercept1::INTR | Intercept1::HLT));
        assert!(control.intercept1.contains(Intercept1::NMI));
        assert!(control.intercept1.contains(Intercept1::INIT));
        assert_eq!(control.virtual_interrupt & virtual_interrupt::MASKING, 0);
        assert_eq!(control.msr_map, 4 << 12);
        let dirty = Clean::INTERCEPTS | Clean::VIRTUAL_INTERRUPT | Clean::PERMISSION_MAPS;
        assert_eq!(control.clean, Clean::all() - dirty);
        take_interrupts(control, InterruptMode::Emulated, 2 << 12);
        assert_eq!((control.intercept1, control.virtual_interrupt), before);
    }

    #[test]
    fn priority_is_watched_only_while_asked_for() {
        let mut vmcb = Box::new(Vmcb::ZERO);
        vmcb.control.clean = Clean::all();
        watch_priority(&mut vmcb.control, false);
        assert_eq!((vmcb.control.intercept_cr, vmcb.control.clean), (0, Clean::all()));
        watch_priority(&mut vmcb.control, true);
        assert_eq!(vmcb.control.intercept_cr, 1 << 24);
        assert!(!vmcb.control.clean.intersects(Clean::INTERCEPTS));
        watch_priority(&mut vmcb.control, false);
        assert_eq!(vmcb.control.intercept_cr, 0);
    }

    #[test]
    fn after_init_the_guest_starts_at_the_reset_vector() {
        let mut vmcb = Box::new(Vmcb::ZERO);
        reset_registers(&mut vmcb.save);
        assert_eq!(vmcb.save.segments[1].base + vmcb.save.rip, 0xffff_fff0);
        assert_eq!(vmcb.save.efer, EFER_SVME);
        assert_eq!(vmcb.save.rflags, 2);
    }
}
