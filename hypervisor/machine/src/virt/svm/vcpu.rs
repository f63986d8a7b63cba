//! A virtual processor on AMD-V.

use super::avic::Avic;
use super::control::{self, EFER_SVME, Roots, SHADOW};
use super::entry::Entry;
use super::{Features, world};
use crate::cpu::barriers::{self, Barriers};
#[cfg(target_os = "none")]
use crate::cpu::syscall;
use crate::cpu::{interrupts, registers};
use crate::virt::guest_registers;
use crate::virt::passed_msrs::MsrMaps;
use access::vcpu::{Execution, Exit, GeneralRegisters, InterruptMode, Resume};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use spec::processor::RFLAGS_IF;
use spec::svm::{Clean, Vmcb};
use spec::{Hpa, msr};

mod apic;
mod saved;
mod state;

const VM_CR_SVMDIS: u64 = 1 << 4;

/// Switches AMD-V on for this processor.
///
/// # Safety
/// `host_save` is a 4 KiB frame that is given to this processor for ever: VMRUN
/// writes it (AMD APM vol. 2 section 15.30.4). The processor has AMD-V and its
/// firmware did not lock it off ([`Features::detect`]).
pub unsafe fn enable(host_save: Hpa) {
    // SAFETY: VM_CR exists with AMD-V; clearing SVMDIS has an effect only where
    // firmware left it unlocked. SVME and VM_HSAVE_PA only prepare for VMRUN. SYSCALL's registers are brought back
    // by VMLOAD with each exit, since `save_host` comes later.
    unsafe {
        let vm_cr = registers::read_msr(msr::VM_CR);
        if vm_cr & VM_CR_SVMDIS != 0 {
            registers::write_msr(msr::VM_CR, vm_cr & !VM_CR_SVMDIS);
        }
        registers::write_msr(msr::EFER, registers::read_msr(msr::EFER) | EFER_SVME);
        registers::write_msr(msr::VM_HSAVE_PA, host_save.0);
        #[cfg(target_os = "none")]
        syscall::enable();
    }
}

/// The frames that a vCPU and its guest need.
#[derive(Clone, Copy, Debug)]
pub struct SvmFrames {
    /// The control block, 4 KiB, this vCPU's alone.
    pub vmcb: Hpa,
    /// Where the host's own registers wait, 4 KiB, this vCPU's alone.
    pub host: Hpa,
    /// The 12 KiB port map, all ones, shared by all guests.
    pub io_map: Hpa,
    /// The 8 KiB MSR maps ([`super::permissions::fill_msr_map`]), shared.
    pub msr_maps: MsrMaps,
    /// Root of the guest's nested tables.
    pub nested: Hpa,
}

/// A control block. VMRUN and VMSAVE write it, so no reference to it lasts over an entry: each
/// access makes one of its own.
struct Block(NonNull<Vmcb>);

// SAFETY: the block belongs to one vCPU, as `SvmVcpu::new` was promised, and moves with it.
unsafe impl Send for Block {}

impl Deref for Block {
    type Target = Vmcb;
    #[inline(always)]
    fn deref(&self) -> &Vmcb {
        // SAFETY: it is mapped for good and nobody else's, and while a reference lives the
        // guest does not run.
        unsafe { self.0.as_ref() }
    }
}

impl DerefMut for Block {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Vmcb {
        // SAFETY: as above.
        unsafe { self.0.as_mut() }
    }
}

/// A virtual processor on AMD-V.
pub struct SvmVcpu {
    vmcb: Block,
    registers: GeneralRegisters,
    frames: SvmFrames,
    features: Features,
    entry: Entry,
    avic: Option<&'static Avic>,
    interrupts: InterruptMode,
    /// This processor takes events only where the guest's loop lets it.
    started: bool,
    /// Registers that VMRUN does not switch hold what an earlier run left.
    dirty_processor: bool,
    barriers: Barriers,
}

impl SvmVcpu {
    /// A vCPU in the state after INIT.
    ///
    /// # Safety
    /// `vmcb` is the mapping of the frame `frames.vmcb`; all frames are as
    /// [`SvmFrames`] says and stay so; `avic`, where the processor has it, is this vCPU's
    /// alone, and what it points to is mapped; the vCPU runs on one processor only, on which
    /// [`enable`] ran.
    pub unsafe fn new(
        vmcb: NonNull<Vmcb>,
        frames: SvmFrames,
        features: Features,
        avic: Option<&'static Avic>,
    ) -> Self {
        let mut vcpu = Self {
            vmcb: Block(vmcb),
            registers: GeneralRegisters::default(),
            frames,
            features,
            entry: Entry::new(features),
            avic,
            interrupts: InterruptMode::Emulated,
            started: false,
            dirty_processor: true,
            barriers: barriers::chosen(),
        };
        vcpu.reset();
        vcpu
    }

    /// Takes what made the guest exit. Maskable interrupts stay where they are the
    /// guest's.
    #[inline(never)]
    fn take_events(&mut self) {
        // SAFETY: the vCPU started on this processor with the host's tables in place, and
        // no lock is held in `enter`.
        unsafe {
            match self.interrupts {
                InterruptMode::Emulated | InterruptMode::Accelerated => world::window(),
                InterruptMode::Direct | InterruptMode::DirectWithEoiExits => world::nmi_window(),
            }
        }
        // The mail is looked at before the next sleep anyhow.
        interrupts::was_kicked();
    }

    /// Makes this processor take events only where the guest's loop lets it, until
    /// [`Execution::release`].
    #[inline]
    fn hold_events(&mut self) {
        if !self.started {
            self.started = true;
            // SAFETY: `new` was promised that this processor runs the vCPU alone and
            // has SVM enabled; `host` is the vCPU's own frame.
            unsafe {
                world::save_host(self.frames.host.0);
                world::close();
            }
        }
        if self.dirty_processor {
            self.clean_processor();
        }
    }

    /// Nothing of an earlier run is left in the registers that VMRUN does not switch.
    fn clean_processor(&mut self) {
        self.dirty_processor = false;
        // SAFETY: the hypervisor uses none of these registers, and the guest that
        // owns this processor begins anew.
        unsafe { guest_registers::reset() };
        barriers::before_start(&self.barriers, &mut barriers::ThisProcessor);
    }
}

impl Execution for SvmVcpu {
    #[inline(never)]
    fn prepare(&mut self, resume: Resume) {
        self.hold_events();
        self.entry.prepare(&mut self.vmcb, resume);
    }

    #[inline(always)]
    fn enter(&mut self) -> Exit {
        if self.entry.needs_preparation() {
            self.prepare(Resume::default());
        }
        // SAFETY: `hold_events` cleared GIF before the first entry and every path since has
        // left it clear; the frames are this vCPU's by the contract of `new`.
        unsafe { world::run(&mut self.registers, self.frames.vmcb.0, self.frames.host.0) }
        self.entry.finish(&mut self.vmcb);
        let exit = control::decode_exit(&self.vmcb.control);
        if matches!(exit, Exit::Interrupt | Exit::Kick) {
            self.take_events();
        }
        exit
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        if self.vmcb.control.tsc_offset != offset {
            self.vmcb.control.tsc_offset = offset;
            self.vmcb.control.clean.remove(Clean::INTERCEPTS);
        }
    }

    fn is_guarded(&self) -> bool {
        self.barriers.guards()
    }

    #[inline(always)]
    fn enter_guarded(&mut self) -> Exit {
        if self.entry.needs_preparation() {
            self.prepare(Resume::default());
        }
        barriers::before_entry(&self.barriers, &mut barriers::ThisProcessor);
        // SAFETY: as for `enter`.
        unsafe { world::run_guarded(&mut self.registers, self.frames.vmcb.0, self.frames.host.0) }
        barriers::after_exit(&self.barriers, &mut barriers::ThisProcessor);
        self.entry.finish(&mut self.vmcb);
        let exit = control::decode_exit(&self.vmcb.control);
        if matches!(exit, Exit::Interrupt | Exit::Kick) {
            self.take_events();
        }
        exit
    }

    fn let_events_in(&mut self) {
        self.take_events();
    }

    fn can_take_interrupt(&self) -> bool {
        self.entry.is_free()
            && self.vmcb.save.rflags & RFLAGS_IF != 0
            && self.vmcb.control.interrupt_shadow & SHADOW == 0
    }

    fn can_take_nmi(&self) -> bool {
        self.entry.takes_nmi(&self.vmcb.control)
    }

    fn take_interrupts(&mut self) -> [u64; 4] {
        interrupts::take_vectors()
    }

    fn sleep(&mut self) {
        // A vCPU may sleep before it ever entered its guest; `release` undoes this too.
        self.hold_events();
        // SAFETY: as for `take_events`.
        unsafe { world::open() };
        interrupts::halt_until_interrupt();
        interrupts::was_kicked();
        // SAFETY: AMD-V is on where the vCPU runs.
        unsafe { world::close() };
    }

    fn flush_translations(&mut self) {
        self.entry.flush_translations();
    }

    fn release(&mut self) {
        if self.started {
            self.started = false;
            self.entry.unsettle();
            // SAFETY: `hold_events` closed it on this processor; the host's GS and TR are
            // loaded.
            unsafe { world::open() };
        }
    }

    fn reset(&mut self) {
        let frames = &self.frames;
        let roots = Roots {
            io_map: frames.io_map.0,
            msr_map: frames.msr_maps.of(InterruptMode::Emulated).0,
            nested: frames.nested.0,
        };
        control::initialize(&mut self.vmcb.control, roots, self.features);
        control::reset_registers(&mut self.vmcb.save);
        self.registers = GeneralRegisters::default();
        // RDX holds the processor's signature after INIT (CPUID 1 EAX).
        self.registers.0[access::vcpu::RDX] = registers::cpuid(1, 0).eax.into();
        let msr_map = self.frames.msr_maps.of(self.interrupts);
        control::take_interrupts(&mut self.vmcb.control, self.interrupts, msr_map.0);
        if let Some(avic) = self.avic {
            avic.set_up(&mut self.vmcb.control);
        }
        self.entry = Entry::new(self.features);
        self.dirty_processor = true;
    }
}
