//! A virtual processor on VT-x.

use super::control_registers::Divided;
use super::events::{Injection, can_interrupt_delivery};
use super::features::Features;
use super::invalidation::{Stale, commands};
use super::posting::Posted;
use super::{exits, world};
use crate::cpu::barriers::{self, Barriers};
use crate::cpu::registers;
use crate::virt::apic_page::ApicPage;
use crate::virt::guest_registers;
use crate::virt::passed_msrs::MsrMaps;
use access::vcpu::{
    ApicVirtualization, Event, Execution, Exit, GeneralRegisters, InterruptMode, ProcessorState, RDX, Resume,
    SegmentName,
};
use spec::Hpa;
use spec::processor::{CR0_PE, EFER_LMA, RFLAGS_IF, RFLAGS_TF};
use spec::vmx::control::{PinControls, PrimaryControls};
use spec::vmx::field::{self, Field};
use spec::vmx::{event, exit, interruptibility};

mod apic;
mod control;
mod debug;
mod delivery;
mod explain;
mod guard;
mod interrupts;
mod msrs;
mod saved;
mod setup;
mod state;
mod timer;

/// Exceptions that exit: #DB and #AC, since their delivery can repeat for ever without an
/// instruction boundary at which an interrupt would be taken (CVE-2015-8104,
/// CVE-2015-5307), and #MC, which is the machine's business.
const EXCEPTIONS: u32 = 1 << DEBUG | 1 << 17 | 1 << 18;
const DEBUG: u8 = 1;

const DR7_GD: u64 = 1 << 13;
const DR7_RESET: u64 = 0x400;
const DR6_RESET: u64 = 0xffff_0ff0;
const PAT_RESET: u64 = 0x0007_0406_0007_0406;
/// Shadows of STI and MOV SS.
const SHADOW: u32 = interruptibility::STI | interruptibility::MOV_SS;
/// Access rights: code that runs in 64-bit mode, where EFER.LMA is set.
const RIGHTS_LONG: u32 = 1 << 13;
/// The VMCS does not say yet what an entry does of which nothing is asked.
const UNSETTLED: u8 = 1 << 0;
/// So it will be after the next entry, of which something is asked.
const UNSETTLED_NEXT: u8 = 1 << 1;
/// The preemption timer counts, anew from each entry.
const TIMED: u8 = 1 << 2;
/// All guests have this VPID: each processor runs one.
const VPID: u16 = 1;

/// The frames that a vCPU and its guest need.
#[derive(Clone, Copy, Debug)]
pub struct VmxFrames {
    /// The VMCS, 4 KiB, this vCPU's alone, with the revision in its first word.
    pub vmcs: Hpa,
    /// The virtual-APIC page, 4 KiB, this vCPU's alone.
    pub virtual_apic: Hpa,
    /// Where others post interrupts, 4 KiB, where the processor takes posted ones.
    pub posted: Option<Hpa>,
    /// The two I/O bitmaps, 8 KiB, all ones, shared by all guests.
    pub io_maps: Hpa,
    /// The MSR bitmaps ([`super::permissions::fill_msr_map`]), 4 KiB each, shared.
    pub msr_maps: MsrMaps,
    /// Root of the guest's nested tables.
    pub nested: Hpa,
}

/// A virtual processor on VT-x. Its VMCS is current on the processor that runs it from
/// the first [`Execution::reset`] on, for good.
pub struct VmxVcpu {
    context: world::Context,
    frames: VmxFrames,
    virtual_apic: &'static ApicPage,
    posted: Option<&'static Posted>,
    features: Features,
    cr0: Divided,
    cr4: Divided,
    stale: Stale,
    /// The event whose delivery the last exit interrupted.
    interrupted: Option<Injection>,
    /// The last exit's reason.
    reason: u32,
    /// What the last entry that failed, or exit that nobody asked for, means.
    explanation: Option<(&'static str, u64)>,
    launched: bool,
    interrupts: InterruptMode,
    /// Vectors whose end exits while the processor keeps the local APIC.
    watched_ends: [u64; 4],
    /// Pin-based and primary processor-based controls and threshold as the VMCS has them.
    pins: PinControls,
    controls: PrimaryControls,
    threshold: u8,
    /// What is added to the TSC.
    tsc_offset: u64,
    /// TSC at which the guest exits, with [`TIMED`].
    deadline: u64,
    /// What the next entry has to do though nothing new is asked of it: [`UNSETTLED`],
    /// [`UNSETTLED_NEXT`], [`TIMED`].
    pending_work: u8,
    barriers: Barriers,
}

impl VmxVcpu {
    /// A vCPU. [`Execution::reset`], on its own processor, brings it to the state after INIT.
    ///
    /// # Safety
    /// `virtual_apic` and `posted` are the mappings of the frames of these names; all frames
    /// are as [`VmxFrames`] says and stay so. The vCPU is used on one processor only, which
    /// is in VMX operation and runs no other, and `reset` is what it is first used for.
    pub unsafe fn new(
        virtual_apic: &'static ApicPage,
        posted: Option<&'static Posted>,
        frames: VmxFrames,
        features: Features,
    ) -> Self {
        Self {
            context: world::Context::default(),
            frames,
            virtual_apic,
            posted,
            features,
            cr0: Divided::cr0(features.guest_cr0()),
            cr4: Divided::cr4(features.cr4),
            stale: Stale::ALL,
            interrupted: None,
            reason: 0,
            explanation: None,
            launched: false,
            interrupts: InterruptMode::Emulated,
            watched_ends: [0; 4],
            pins: PinControls::empty(),
            controls: PrimaryControls::empty(),
            threshold: 0,
            tsc_offset: 0,
            deadline: 0,
            pending_work: UNSETTLED,
            barriers: barriers::chosen(),
        }
    }

    #[inline(always)]
    fn read(&self, field: Field) -> u64 {
        // SAFETY: by the contract of `new` this processor is in VMX operation.
        unsafe { world::read(field) }
    }

    /// Writes a field of the guest's state. Host state and pointers are written by
    /// `reset` alone.
    #[inline(always)]
    fn write(&mut self, field: Field, value: u64) {
        // SAFETY: as for `read`; an illegal guest state makes the entry fail.
        unsafe { world::write(field, value) }
    }

    fn set_controls(&mut self, wanted: PrimaryControls) {
        if wanted != self.controls {
            self.controls = wanted;
            self.write(field::PROCESSOR_CONTROLS, wanted.bits().into());
        }
    }

    fn set_threshold(&mut self, wanted: u8) {
        if wanted != self.threshold {
            self.threshold = wanted;
            self.write(field::PRIORITY_THRESHOLD, wanted.into());
        }
    }

    /// Whether the guest runs 64-bit code.
    fn is_64_bit(&self) -> bool {
        let rights = self.read(field::GUEST_RIGHTS.of_segment(SegmentName::Cs as usize)) as u32;
        rights & RIGHTS_LONG != 0 && self.read(field::GUEST_EFER) & EFER_LMA != 0
    }

    fn deliver(&mut self, injection: Injection) {
        if injection.is_nmi() {
            // An entry that delivers an NMI wants it unblocked, and blocks it then.
            let state = self.read(field::GUEST_INTERRUPTIBILITY);
            self.write(field::GUEST_INTERRUPTIBILITY, state & !u64::from(interruptibility::NMI));
        }
        self.write(field::ENTRY_EVENT, injection.info.into());
        if injection.info & event::HAS_ERROR != 0 {
            self.write(field::ENTRY_ERROR, injection.error.into());
        }
    }

    fn choose_event(&mut self, wanted: Option<Event>) {
        if matches!(wanted, Some(Event::Exception { vector: DEBUG, .. })) && !self.left_by_exception() {
            self.note_trap();
        }
        let protected = self.read(field::GUEST_CR0) & CR0_PE != 0;
        let wanted = wanted.map(|event| (event, Injection::of(event, protected)));
        match (self.interrupted.take(), wanted) {
            // An exception that the hypervisor raises while it steps over what
            // interrupted a delivery comes first; the delivery waits one entry.
            (waiting, Some((Event::Exception { .. }, exception))) => {
                self.interrupted = waiting;
                self.deliver(exception);
            }
            (Some(again), _) => self.deliver(again),
            (None, Some((_, new))) => self.deliver(new),
            (None, None) => {}
        }
    }

    #[inline(never)]
    fn do_pending_work(&mut self) {
        if self.pending_work & UNSETTLED != 0 {
            self.prepare(Resume::default());
        }
        if self.pending_work & TIMED != 0 {
            self.load_timer();
        }
    }

    /// The control that makes the guest exit as soon as it can take an NMI. Whether the
    /// NMI window is open in the shadow of STI differs between processors, while an NMI
    /// must not be delivered there: the interrupt window opens after it.
    #[cold]
    fn nmi_window(&self) -> PrimaryControls {
        let state = self.read(field::GUEST_INTERRUPTIBILITY) as u32;
        if state & interruptibility::STI != 0 {
            PrimaryControls::INTERRUPT_WINDOW
        } else {
            PrimaryControls::NMI_WINDOW
        }
    }

    #[cold]
    fn invalidate(&mut self) {
        let commands = commands(self.stale, &self.features);
        self.stale = Stale::NOTHING;
        // SAFETY: this processor is in VMX operation, and `commands` names only extents
        // that `features` says it has.
        unsafe {
            if let Some(extent) = commands.invept {
                world::invalidate_nested(extent, self.features.ept_pointer(self.frames.nested.0));
            }
            if let Some(extent) = commands.invvpid {
                world::invalidate_tagged(extent, VPID);
            }
        }
    }

    /// What the exit that just came was. Part of both of the loop's ways in, behind barriers and
    /// not: a call would hand the exit over in memory.
    #[inline(always)]
    fn finish(&mut self) -> Exit {
        self.launched = true;
        if self.pending_work & UNSETTLED_NEXT != 0 {
            self.pending_work = self.pending_work & !UNSETTLED_NEXT | UNSETTLED;
        }
        let reason = self.read(field::EXIT_REASON) as u32;
        self.reason = reason;
        if can_interrupt_delivery(reason) {
            self.note_delivery(reason);
        }
        let exit = exits::decode(reason, |field| self.read(field));
        match exit {
            Exit::Interrupt => crate::cpu::interrupts::acknowledge(self.read(field::EXIT_EVENT) as u8),
            Exit::Kick => self.take_nmi(),
            Exit::WriteControl { register, .. } => return self.write_control(register),
            Exit::Exception { vector: DEBUG, .. } => self.note_debug(),
            Exit::InvalidState => self.explain_failure(reason),
            Exit::Unexpected(_) => self.explain_exit(reason),
            _ => {}
        }
        exit
    }

    fn left_by_exception(&self) -> bool {
        self.reason & exit::BASIC == exit::EXCEPTION
    }
}

impl Execution for VmxVcpu {
    #[inline(never)]
    fn prepare(&mut self, resume: Resume) {
        self.pending_work &= !(UNSETTLED | UNSETTLED_NEXT);
        if resume.inject.is_some() || self.interrupted.is_some() {
            self.choose_event(resume.inject);
        }
        let usual = self.usual_controls();
        let mut controls = usual;
        if resume.interrupt_window {
            controls |= PrimaryControls::INTERRUPT_WINDOW;
        }
        if resume.nmi_window {
            controls |= self.nmi_window();
        }
        self.set_controls(controls);
        // Any lower priority than the present one exits.
        self.set_threshold(if resume.priority_window { self.cr8() } else { 0 });
        if self.interrupted.is_some() || controls != usual || self.threshold != 0 {
            self.pending_work |= UNSETTLED_NEXT;
        }
        if self.stale != Stale::NOTHING {
            self.invalidate();
        }
    }

    #[inline(always)]
    fn enter(&mut self) -> Exit {
        if self.pending_work & !UNSETTLED_NEXT != 0 {
            self.do_pending_work();
        }
        // SAFETY: `reset` made this vCPU's VMCS current here and wrote the host's state;
        // the hypervisor runs guests with interrupts off.
        match unsafe { world::run(&mut self.context, self.launched) } {
            world::RAN => self.finish(),
            world::KICKED => self.kicked(),
            result => self.refused(result),
        }
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        if offset != self.tsc_offset {
            self.tsc_offset = offset;
            self.write(field::TSC_OFFSET, offset);
            self.pending_work |= UNSETTLED;
        }
    }

    fn is_guarded(&self) -> bool {
        self.barriers.guards()
    }

    #[inline(always)]
    fn enter_guarded(&mut self) -> Exit {
        self.enter_behind_barriers()
    }

    fn explanation(&self) -> Option<(&'static str, u64)> {
        self.explanation
    }

    fn can_take_interrupt(&self) -> bool {
        self.interrupted.is_none()
            && self.rflags() & RFLAGS_IF != 0
            && self.read(field::GUEST_INTERRUPTIBILITY) as u32 & SHADOW == 0
    }

    fn can_take_nmi(&self) -> bool {
        const BLOCKS: u32 = SHADOW | interruptibility::NMI;
        self.interrupted.is_none() && self.read(field::GUEST_INTERRUPTIBILITY) as u32 & BLOCKS == 0
    }

    fn take_interrupts(&mut self) -> [u64; 4] {
        crate::cpu::interrupts::take_vectors()
    }

    fn exit_at(&mut self, deadline: Option<u64>) -> bool {
        self.set_deadline(deadline)
    }

    fn sleep(&mut self) {
        // A kick between the last look and the HLT stays pending until STI.
        crate::cpu::interrupts::halt_until_interrupt();
        crate::cpu::interrupts::was_kicked();
    }

    fn flush_translations(&mut self) {
        self.stale.nested = true;
        self.pending_work |= UNSETTLED;
    }

    /// Interrupts are off by their flag while a guest is out, so there is nothing to undo.
    fn release(&mut self) {}

    fn reset(&mut self) {
        self.interrupts = InterruptMode::Emulated;
        self.set_up();
        self.reset_guest_state();
        self.context.general = GeneralRegisters::default();
        // RDX holds the processor's signature after INIT (CPUID 1 EAX).
        self.context.general.0[RDX] = registers::cpuid(1, 0).eax.into();
        self.set_task_priority(0);
        self.stale = Stale::ALL;
        self.pending_work |= UNSETTLED;
        self.interrupted = None;
        self.reason = 0;
        self.explanation = None;
        self.clear_own_msrs();
        barriers::before_start(&self.barriers, &mut barriers::ThisProcessor);
        // SAFETY: the hypervisor uses none of these registers, and the guest that owns
        // this processor begins anew.
        unsafe {
            guest_registers::reset();
            registers::write_dr6(DR6_RESET);
        }
    }
}
