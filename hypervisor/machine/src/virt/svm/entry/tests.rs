extern crate std;
use super::*;
use crate::virt::svm::control::{Roots, initialize};
use access::vcpu::Exit;
use spec::svm::{Intercept1, Save, tlb_control};
use std::boxed::Box;

const QUIET: Resume =
    Resume { inject: None, interrupt_window: false, nmi_window: false, priority_window: false };
const NMI: Resume = Resume { inject: Some(Event::Nmi), ..QUIET };
const WAITING_NMI: Resume = Resume { nmi_window: true, ..QUIET };
const IRET_AT: u64 = 0x1000;
const WRITE_CR8: u32 = 1 << 24;

/// A vCPU of which only the control block exists; the test is the processor.
struct Model {
    entry: Entry,
    vmcb: Box<Vmcb>,
}

impl Model {
    fn new(features: Features) -> Self {
        let mut vmcb = Box::new(Vmcb::ZERO);
        initialize(&mut vmcb.control, Roots { io_map: 0x1000, msr_map: 0x2000, nested: 0x3000 }, features);
        let mut model = Self { entry: Entry::new(features), vmcb };
        model.enter(QUIET);
        model.exit(exit_code::CPUID, |_| ());
        model
    }

    /// What the loop and the vCPU do before VMRUN.
    fn enter(&mut self, resume: Resume) {
        if self.entry.needs_preparation() || resume != QUIET {
            self.entry.prepare(&mut self.vmcb, resume);
        }
    }

    /// An exit with `code` after the guest changed its registers.
    fn exit(&mut self, code: u64, guest: impl FnOnce(&mut Save)) -> Exit {
        self.vmcb.control.exit_code = code;
        guest(&mut self.vmcb.save);
        self.entry.finish(&mut self.vmcb);
        self.vmcb.control.exit_interrupt_info = 0;
        control::decode_exit(&self.vmcb.control)
    }

    fn injected(&self) -> u64 {
        self.vmcb.control.event_injection
    }

    fn watches_iret(&self) -> bool {
        self.vmcb.control.intercept1.contains(Intercept1::IRET)
    }

    fn takes_nmi(&self) -> bool {
        self.entry.takes_nmi(&self.vmcb.control)
    }

    fn traps(&self) -> bool {
        self.vmcb.save.rflags & RFLAGS_TF != 0
    }

    /// Delivers an NMI and comes to its handler's IRET while another NMI waits.
    fn at_iret(features: Features) -> Self {
        let mut model = Self::new(features);
        model.enter(NMI);
        model.exit(exit_code::CPUID, |save| save.rip = 0x500);
        assert!(!model.takes_nmi());
        model.enter(WAITING_NMI);
        assert!(!model.traps(), "the handler runs freely");
        assert_eq!(model.exit(exit_code::IRET, |save| save.rip = IRET_AT), Exit::NmiWindow);
        model
    }
}

#[test]
fn an_entry_that_asks_for_nothing_leaves_the_control_block_alone() {
    let mut model = Model::new(Features::LEAST);
    model.enter(QUIET);
    model.exit(exit_code::CPUID, |_| ());
    assert!(!model.entry.needs_preparation(), "the first flush was taken back");
    model.vmcb.control.tlb_control = 0x55;
    model.enter(QUIET);
    assert_eq!(model.vmcb.control.tlb_control, 0x55);
}

#[test]
fn an_event_is_injected_once() {
    let mut model = Model::new(Features::LEAST);
    model.enter(Resume { inject: Some(Event::Interrupt(0x31)), ..QUIET });
    assert_eq!(model.injected(), 0x8000_0031);
    model.exit(exit_code::CPUID, |_| ());
    model.enter(QUIET);
    assert_eq!(model.injected(), 0);
}

#[test]
fn a_flush_is_for_one_entry_and_again_after_one_that_failed() {
    for (flush_by_asid, command) in [(false, tlb_control::ALL), (true, tlb_control::THIS_GUEST)] {
        let mut model = Model::new(Features { flush_by_asid, ..Features::LEAST });
        model.enter(QUIET);
        assert_eq!(model.vmcb.control.tlb_control, tlb_control::NOTHING);
        model.entry.flush_translations();
        model.enter(QUIET);
        assert_eq!(model.vmcb.control.tlb_control, command);
        assert_eq!(model.exit(exit_code::INVALID, |_| ()), Exit::InvalidState);
        model.enter(QUIET);
        assert_eq!(model.vmcb.control.tlb_control, command, "nothing ran");
        model.exit(exit_code::CPUID, |_| ());
        model.enter(QUIET);
        assert_eq!(model.vmcb.control.tlb_control, tlb_control::NOTHING);
    }
}

#[test]
fn an_interrupted_delivery_comes_before_anything_new_but_exceptions() {
    let mut model = Model::new(Features::LEAST);
    model.enter(QUIET);
    model.vmcb.control.exit_interrupt_info = 0x8000_0031;
    model.exit(exit_code::NESTED_FAULT, |_| ());
    assert!(!model.entry.is_free());
    model.enter(Resume { inject: Some(Event::UNDEFINED), ..QUIET });
    assert_eq!(model.injected(), control::encode_event(Event::UNDEFINED));
    model.exit(exit_code::CPUID, |_| ());
    model.enter(QUIET);
    assert_eq!(model.injected(), 0x8000_0031);
    model.exit(exit_code::CPUID, |_| ());
    assert!(model.entry.is_free());
    model.enter(QUIET);
    assert_eq!(model.injected(), 0);
}

#[test]
fn an_emulator_that_injects_twice_is_given_virtual_interrupts() {
    const IRQ: u64 = virtual_interrupt::IRQ;
    let mut model = Model::new(Features { injects_twice: true, ..Features::LEAST });
    let before = model.vmcb.control.virtual_interrupt;
    let pending = |model: &Model| {
        let bits = model.vmcb.control.virtual_interrupt;
        (bits & IRQ != 0).then_some(bits >> virtual_interrupt::VECTOR_SHIFT)
    };
    model.enter(Resume { inject: Some(Event::Interrupt(0x31)), ..QUIET });
    assert_eq!((model.injected(), pending(&model)), (0, Some(0x31)));
    assert!(!model.vmcb.control.clean.intersects(Clean::VIRTUAL_INTERRUPT));
    // An interrupt of the machine's comes first, and a fault in the delivery is told as an
    // exception of that number: it comes again all the same.
    for told in [0, 0x8000_0331] {
        model.vmcb.control.exit_interrupt_info = told;
        model.exit(exit_code::INTR, |_| ());
        assert!(!model.entry.is_free());
        assert_eq!(model.vmcb.control.virtual_interrupt, before);
        model.enter(QUIET);
        assert_eq!((model.injected(), pending(&model)), (0, Some(0x31)));
    }
    // It is delivered.
    model.vmcb.control.virtual_interrupt &= !IRQ;
    model.exit(exit_code::CPUID, |_| ());
    assert!(model.entry.is_free());
    assert_eq!(model.vmcb.control.virtual_interrupt, before);
    model.enter(QUIET);
    assert_eq!((model.injected(), pending(&model)), (0, None));
    // Other events go the usual way, and an interrupt that waits together with a window.
    model.exit(exit_code::CPUID, |_| ());
    model.enter(Resume { inject: Some(Event::UNDEFINED), ..QUIET });
    assert_eq!((model.injected(), pending(&model)), (control::encode_event(Event::UNDEFINED), None));
    model.vmcb.control.exit_interrupt_info = 0x8000_0031;
    model.exit(exit_code::NESTED_FAULT, |_| ());
    model.enter(Resume { interrupt_window: true, ..QUIET });
    assert_eq!(model.injected(), 0x8000_0031);
    assert!(model.vmcb.control.intercept1.contains(Intercept1::VINTR));
}

#[test]
fn windows_are_taken_back() {
    let mut model = Model::new(Features::LEAST);
    model.enter(Resume { interrupt_window: true, priority_window: true, ..QUIET });
    assert!(model.vmcb.control.intercept1.contains(Intercept1::VINTR));
    assert_ne!(model.vmcb.control.intercept_cr & WRITE_CR8, 0);
    model.exit(exit_code::CPUID, |_| ());
    model.enter(QUIET);
    assert!(!model.vmcb.control.intercept1.intersects(Intercept1::VINTR));
    assert_eq!(model.vmcb.control.intercept_cr & WRITE_CR8, 0);
}

#[test]
fn an_nmi_that_waits_is_delivered_right_after_the_iret() {
    let mut model = Model::at_iret(Features::LEAST);
    assert!(!model.takes_nmi(), "the IRET has not run yet");
    model.enter(WAITING_NMI);
    assert!(model.traps() && !model.watches_iret());
    assert_eq!(model.injected(), 0);
    // The IRET returns and its own flags take over; the trap follows at once.
    let exit = model.exit(exit_code::EXCEPTION + 1, |save| {
        (save.rip, save.rflags) = (0x200, 2);
        save.dr6 |= DR6_BS;
    });
    assert_eq!(exit, Exit::NmiWindow, "the trap is not the guest's");
    assert!(model.takes_nmi() && !model.traps());
    assert_eq!(model.vmcb.save.dr6 & DR6_BS, 0);
    assert!(!model.vmcb.control.clean.intersects(Clean::DEBUG_REGISTERS), "DR6 was changed");
    model.enter(NMI);
    assert!(control::is_nmi(model.injected()) && model.watches_iret());
}

#[test]
fn what_comes_before_the_iret_does_not_unmask() {
    let mut model = Model::at_iret(Features::LEAST);
    for _ in 0..3 {
        model.enter(WAITING_NMI);
        assert!(model.traps());
        assert_eq!(model.exit(exit_code::INTR, |_| ()), Exit::Interrupt);
        assert!(!model.traps(), "nobody sees the flag");
        assert!(!model.takes_nmi());
    }
}

#[test]
fn without_an_nmi_that_waits_the_iret_is_not_stepped() {
    let mut model = Model::at_iret(Features::LEAST);
    model.enter(QUIET);
    assert!(!model.traps());
    model.exit(exit_code::INTR, |_| ());
    assert!(!model.takes_nmi(), "still at the IRET");
    model.enter(QUIET);
    model.exit(exit_code::CPUID, |save| save.rip = 0x200);
    assert!(model.takes_nmi());
}

#[test]
fn a_guest_that_steps_by_itself_gets_its_trap() {
    let mut model = Model::at_iret(Features::LEAST);
    model.vmcb.save.rflags |= RFLAGS_TF;
    model.enter(WAITING_NMI);
    model.exit(exit_code::INTR, |_| ());
    assert!(model.traps(), "its own");
    model.enter(WAITING_NMI);
    let exit = model.exit(exit_code::EXCEPTION + 1, |save| {
        save.rip = 0x200;
        save.dr6 |= DR6_BS;
    });
    assert!(matches!(exit, Exit::Exception { vector: 1, .. }));
    assert_ne!(model.vmcb.save.dr6 & DR6_BS, 0);
    assert!(model.takes_nmi());
}

#[test]
fn a_breakpoint_that_the_iret_meets_is_the_guests() {
    let mut model = Model::at_iret(Features::LEAST);
    model.enter(WAITING_NMI);
    let exit = model.exit(exit_code::EXCEPTION + 1, |save| {
        save.rip = 0x200;
        save.dr6 |= DR6_BS | 1;
    });
    assert!(matches!(exit, Exit::Exception { vector: 1, .. }));
    assert_eq!(model.vmcb.save.dr6 & (DR6_BS | 1), 1);
}

#[test]
fn an_exception_at_the_iret_runs_its_handler_first() {
    let mut model = Model::at_iret(Features::LEAST);
    model.enter(Resume { inject: Some(Event::PROTECTION), nmi_window: true, ..QUIET });
    assert!(!model.traps() && model.watches_iret());
    model.exit(exit_code::CPUID, |save| save.rip = 0x700);
    assert!(!model.takes_nmi());
}

#[test]
fn a_processor_with_virtual_nmis_holds_them_back_itself() {
    let mut model = Model::new(Features { virtual_nmi: true, ..Features::LEAST });
    assert_ne!(model.vmcb.control.virtual_interrupt & virtual_interrupt::NMI_ENABLE, 0);
    for _ in 0..2 {
        assert!(model.takes_nmi(), "a second one merges with the first");
        model.enter(NMI);
        assert_eq!((model.injected(), model.watches_iret()), (0, false));
        assert_ne!(model.vmcb.control.virtual_interrupt & virtual_interrupt::NMI_PENDING, 0);
        assert!(!model.vmcb.control.clean.intersects(Clean::VIRTUAL_INTERRUPT));
        model.exit(exit_code::CPUID, |_| ());
    }
    // A delivery that an exit interrupted goes by injection all the same.
    model.vmcb.control.exit_interrupt_info = 0x8000_0202;
    model.exit(exit_code::NESTED_FAULT, |_| ());
    model.enter(NMI);
    assert_eq!((model.injected(), model.watches_iret()), (0x8000_0202, false));
}

/// In the shadow of STI, of a guest that takes its interrupts and halts by itself.
fn in_shadow() -> Model {
    let mut model = Model::new(Features::LEAST);
    model.vmcb.control.intercept1.remove(Intercept1::HLT);
    model.enter(QUIET);
    model.vmcb.control.interrupt_shadow = 1;
    model.exit(exit_code::NMI, |save| save.rip = 0x300);
    assert!(!model.takes_nmi());
    model
}

#[test]
fn an_nmi_that_meets_an_interrupt_shadow_comes_at_its_end() {
    let mut model = in_shadow();
    model.enter(WAITING_NMI);
    assert!(model.traps());
    model.vmcb.control.interrupt_shadow = 0;
    let exit = model.exit(exit_code::EXCEPTION + 1, |save| {
        save.rip = 0x301;
        save.dr6 |= DR6_BS;
    });
    assert_eq!(exit, Exit::NmiWindow, "the trap is not the guest's");
    assert_eq!((model.vmcb.save.dr6 & DR6_BS, model.traps()), (0, false));
    assert!(model.takes_nmi());
    assert!(!model.vmcb.control.intercept1.intersects(Intercept1::HLT));
}

#[test]
fn a_halt_in_the_shadow_exits_once() {
    let mut model = in_shadow();
    model.enter(WAITING_NMI);
    assert!(model.vmcb.control.intercept1.contains(Intercept1::HLT));
    assert!(!model.vmcb.control.clean.intersects(Clean::INTERCEPTS));
    assert_eq!(model.exit(exit_code::HLT, |_| ()), Exit::Halt);
    assert!(!model.traps(), "nobody sees the flag");
    assert!(!model.vmcb.control.intercept1.intersects(Intercept1::HLT));
    assert!(!model.vmcb.control.clean.intersects(Clean::INTERCEPTS));
}

#[test]
fn what_exits_in_the_shadow_is_stepped_over_again() {
    let mut model = in_shadow();
    for _ in 0..3 {
        model.enter(WAITING_NMI);
        assert!(model.traps());
        assert!(matches!(model.exit(exit_code::NESTED_FAULT, |_| ()), Exit::NestedFault { .. }));
        assert!(!model.traps() && !model.takes_nmi());
    }
}

#[test]
fn a_guest_that_steps_out_of_the_shadow_itself_gets_its_trap() {
    let mut model = in_shadow();
    model.vmcb.save.rflags |= RFLAGS_TF;
    model.enter(WAITING_NMI);
    model.vmcb.control.interrupt_shadow = 0;
    let exit = model.exit(exit_code::EXCEPTION + 1, |save| save.dr6 |= DR6_BS);
    assert!(matches!(exit, Exit::Exception { vector: 1, .. }));
    assert!(model.traps() && model.takes_nmi());
}

#[test]
fn a_processor_with_virtual_nmis_leaves_the_shadow_by_itself() {
    let mut model = Model::new(Features { virtual_nmi: true, ..Features::LEAST });
    model.vmcb.control.interrupt_shadow = 1;
    assert!(model.takes_nmi());
}

const STEP: Resume = Resume { inject: Some(Event::Exception { vector: 1, error: None }), ..QUIET };

#[test]
fn a_step_over_what_exited_is_told_as_one() {
    let mut model = Model::new(Features::LEAST);
    model.vmcb.save.dr6 = 0xffff_0ff0;
    model.exit(exit_code::CPUID, |_| ());
    model.enter(STEP);
    assert_eq!(model.vmcb.save.dr6, 0xffff_4ff0);
    assert!(!model.vmcb.control.clean.intersects(Clean::DEBUG_REGISTERS));
}

#[test]
fn a_debug_exception_that_exited_has_told_its_reason() {
    let mut model = Model::new(Features::LEAST);
    model.exit(exit_code::EXCEPTION + 1, |save| save.dr6 = 0xffff_0ff1);
    model.enter(STEP);
    assert_eq!(model.vmcb.save.dr6, 0xffff_0ff1);
}
