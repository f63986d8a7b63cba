//! A virtual processor on AMD-V.

use super::avic::Avic;
use super::control::{self, EFER_LMA, EFER_SVME, Roots, SHADOW};
use super::entry::Entry;
use super::{Features, world};
use crate::cpu::barriers::{self, Barriers};
use crate::cpu::{apic, interrupts, registers};
use crate::virt::apic_page::Bitmap;
use crate::virt::guest_registers;
use crate::virt::passed_msrs::MsrMaps;
use access::vcpu::{
    ControlRegisters, Exit, GeneralRegisters, InterruptMode, KeptApic, Posting, RAX, RSP, Resume, Segment,
    SegmentName, Vcpu,
};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use spec::local_apic::{COMMAND, TASK_PRIORITY};
use spec::processor::RFLAGS_IF;
use spec::svm::{Vmcb, VmcbSegment, clean};
use spec::{Hpa, msr};

const VM_CR_SVMDIS: u64 = 1 << 4;

/// Switches AMD-V on for this processor.
///
/// # Safety
/// `host_save` is a 4 KiB frame that is given to this processor for ever: VMRUN
/// writes it (AMD APM vol. 2 section 15.30.4). The processor has AMD-V and its
/// firmware did not lock it off ([`Features::detect`]).
pub unsafe fn enable(host_save: Hpa) {
    // SAFETY: VM_CR exists with AMD-V; clearing SVMDIS has an effect only where
    // firmware left it unlocked. SVME and VM_HSAVE_PA only prepare for VMRUN.
    unsafe {
        let vm_cr = registers::read_msr(msr::VM_CR);
        if vm_cr & VM_CR_SVMDIS != 0 {
            registers::write_msr(msr::VM_CR, vm_cr & !VM_CR_SVMDIS);
        }
        registers::write_msr(msr::EFER, registers::read_msr(msr::EFER) | EFER_SVME);
        registers::write_msr(msr::VM_HSAVE_PA, host_save.0);
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
    /// [`Vcpu::release`].
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
            self.dirty_processor = false;
            // SAFETY: the hypervisor uses none of these registers, and the guest that
            // owns this processor begins anew.
            unsafe { guest_registers::reset() };
            barriers::before_start(&self.barriers, &mut barriers::ThisProcessor);
        }
    }

    fn segment_mut(&mut self, name: SegmentName) -> &mut VmcbSegment {
        let save = &mut self.vmcb.save;
        match name {
            SegmentName::Ldtr => &mut save.ldtr,
            SegmentName::Tr => &mut save.tr,
            other => &mut save.segments[other as usize],
        }
    }
}

impl Vcpu for SvmVcpu {
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

    fn register(&self, index: usize) -> u64 {
        match index & 15 {
            RAX => self.vmcb.save.rax,
            RSP => self.vmcb.save.rsp,
            other => self.registers.0[other],
        }
    }

    fn set_register(&mut self, index: usize, value: u64) {
        match index & 15 {
            RAX => self.vmcb.save.rax = value,
            RSP => self.vmcb.save.rsp = value,
            other => self.registers.0[other] = value,
        }
    }

    fn rip(&self) -> u64 {
        self.vmcb.save.rip
    }

    fn set_rip(&mut self, value: u64) {
        self.vmcb.save.rip = value;
    }

    fn rflags(&self) -> u64 {
        self.vmcb.save.rflags
    }

    fn set_rflags(&mut self, value: u64) {
        self.vmcb.save.rflags = value;
    }

    fn control(&self) -> ControlRegisters {
        let save = &self.vmcb.save;
        ControlRegisters {
            cr0: save.cr0,
            cr2: save.cr2,
            cr3: save.cr3,
            cr4: save.cr4,
            efer: save.efer & !EFER_SVME,
        }
    }

    fn set_control(&mut self, control: ControlRegisters) {
        let save = &mut self.vmcb.save;
        save.cr0 = control.cr0;
        save.cr2 = control.cr2;
        save.cr3 = control.cr3;
        save.cr4 = control.cr4;
        save.efer = control.efer | EFER_SVME;
        self.vmcb.control.clean &= !(clean::CONTROL_REGISTERS | clean::CR2);
        // A change of paging mode or CR3 here is not the guest's own MOV, which
        // would flush.
        self.entry.flush_translations();
    }

    fn segment(&self, name: SegmentName) -> Segment {
        let save = &self.vmcb.save;
        let segment = match name {
            SegmentName::Ldtr => &save.ldtr,
            SegmentName::Tr => &save.tr,
            other => &save.segments[other as usize],
        };
        Segment {
            selector: segment.selector,
            attributes: segment.attributes,
            limit: segment.limit,
            base: segment.base,
        }
    }

    fn set_segment(&mut self, name: SegmentName, segment: Segment) {
        *self.segment_mut(name) = VmcbSegment {
            selector: segment.selector,
            attributes: segment.attributes,
            limit: segment.limit,
            base: segment.base,
        };
        if name == SegmentName::Ss {
            self.vmcb.save.cpl = (segment.attributes >> 5) as u8 & 3;
        }
        self.vmcb.control.clean &= !clean::SEGMENTS;
    }

    fn global_table(&self) -> (u64, u16) {
        (self.vmcb.save.gdtr.base, self.vmcb.save.gdtr.limit as u16)
    }

    fn set_descriptor_table(&mut self, interrupt: bool, base: u64, limit: u16) {
        let save = &mut self.vmcb.save;
        let table = if interrupt { &mut save.idtr } else { &mut save.gdtr };
        *table = VmcbSegment { selector: 0, attributes: 0, limit: limit.into(), base };
        self.vmcb.control.clean &= !clean::DESCRIPTOR_TABLES;
    }

    fn privilege_level(&self) -> u8 {
        self.vmcb.save.cpl & 3
    }

    fn read_msr(&self, number: u32) -> Option<u64> {
        let save = &self.vmcb.save;
        Some(match number {
            msr::EFER => save.efer & !EFER_SVME,
            msr::PAT => save.g_pat,
            msr::STAR => save.star,
            msr::LSTAR => save.lstar,
            msr::CSTAR => save.cstar,
            msr::SFMASK => save.sfmask,
            msr::KERNEL_GS_BASE => save.kernel_gs_base,
            msr::FS_BASE => save.segments[SegmentName::Fs as usize].base,
            msr::GS_BASE => save.segments[SegmentName::Gs as usize].base,
            msr::SYSENTER_CS => save.sysenter_cs,
            msr::SYSENTER_ESP => save.sysenter_esp,
            msr::SYSENTER_EIP => save.sysenter_eip,
            _ => return None,
        })
    }

    fn write_msr(&mut self, number: u32, value: u64) -> bool {
        let save = &mut self.vmcb.save;
        match number {
            msr::EFER => {
                save.efer = value & !EFER_LMA | save.efer & EFER_LMA | EFER_SVME;
                self.vmcb.control.clean &= !clean::CONTROL_REGISTERS;
            }
            msr::PAT => {
                save.g_pat = value;
                self.vmcb.control.clean &= !clean::NESTED_PAGING;
            }
            msr::STAR => save.star = value,
            msr::LSTAR => save.lstar = value,
            msr::CSTAR => save.cstar = value,
            msr::SFMASK => save.sfmask = value,
            msr::KERNEL_GS_BASE => save.kernel_gs_base = value,
            msr::FS_BASE => save.segments[SegmentName::Fs as usize].base = value,
            msr::GS_BASE => save.segments[SegmentName::Gs as usize].base = value,
            msr::SYSENTER_CS => save.sysenter_cs = value,
            msr::SYSENTER_ESP => save.sysenter_esp = value,
            msr::SYSENTER_EIP => save.sysenter_eip = value,
            _ => return false,
        }
        true
    }

    fn next_rip(&self) -> Option<u64> {
        let control = &self.vmcb.control;
        match control.exit_code {
            // A port exit gives it whatever the processor (APM section 15.10.2).
            spec::svm::exit_code::IOIO => Some(control.exit_info2),
            _ if self.features.next_rip => Some(control.next_rip),
            _ => None,
        }
    }

    fn fetched_bytes(&self) -> &[u8] {
        let control = &self.vmcb.control;
        let count = if self.features.decode_assists { control.fetched_count.min(15) } else { 0 };
        &control.fetched_bytes[..count.into()]
    }

    #[inline(always)]
    fn is_delivering(&self) -> bool {
        !self.entry.is_free()
    }

    fn let_events_in(&mut self) {
        self.take_events();
    }

    fn take_interrupted(&mut self) -> Option<u32> {
        self.entry.take_interrupted()
    }

    fn can_take_interrupt(&self) -> bool {
        self.entry.is_free()
            && self.vmcb.save.rflags & RFLAGS_IF != 0
            && self.vmcb.control.interrupt_shadow & SHADOW == 0
    }

    fn can_take_nmi(&self) -> bool {
        self.entry.takes_nmi(&self.vmcb.control)
    }

    fn clear_interrupt_shadow(&mut self) {
        self.vmcb.control.interrupt_shadow = 0;
    }

    fn cr8(&self) -> u8 {
        match self.avic {
            Some(avic) if self.interrupts == InterruptMode::Accelerated => avic.page.0.task_priority() >> 4,
            _ => self.vmcb.control.virtual_interrupt as u8 & 0xf,
        }
    }

    fn set_task_priority(&mut self, value: u8) {
        if let Some(avic) = self.avic {
            avic.page.0.write(TASK_PRIORITY, value.into());
        }
        let word = self.vmcb.control.virtual_interrupt & !0xff | u64::from(value >> 4);
        if word != self.vmcb.control.virtual_interrupt {
            self.vmcb.control.virtual_interrupt = word;
            self.vmcb.control.clean &= !clean::VIRTUAL_INTERRUPT;
        }
    }

    fn set_xcr0(&mut self, value: u64) {
        // SAFETY: the guest owns the extended state; the caller checked the value against
        // what CPUID offers, and CR4.OSXSAVE is set wherever that is anything.
        unsafe { guest_registers::set_xcr0(value) };
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

    fn set_interrupts(&mut self, interrupts: InterruptMode) {
        if interrupts == self.interrupts {
            return;
        }
        self.hold_events();
        // From one way of direct ones to the other nothing changes hands.
        if !(self.interrupts.is_direct() && interrupts.is_direct()) {
            // SAFETY: as for `take_events`.
            unsafe { world::window() }
        }
        self.interrupts = interrupts;
        match self.avic {
            Some(avic) if interrupts == InterruptMode::Accelerated => avic.begin(apic::id()),
            Some(avic) => avic.end(),
            None => {}
        }
        control::take_interrupts(&mut self.vmcb.control, interrupts, self.frames.msr_maps.of(interrupts).0);
    }

    fn request(&mut self, vector: u8, level: bool) {
        if let Some(avic) = self.avic {
            avic.page.0.set(Bitmap::TriggerMode, vector, level);
            avic.page.0.insert(Bitmap::Requests, vector);
        }
    }

    fn end_kept(&mut self, vector: u8) {
        if let Some(avic) = self.avic {
            avic.end_of_interrupt(vector);
        }
    }

    fn kept_write(&self, register: u8) -> u64 {
        match self.avic {
            Some(avic) if register != COMMAND => avic.page.0.read(register).into(),
            // The exit tells all of that register.
            _ => self.vmcb.control.exit_info1,
        }
    }

    fn kept_apic(&mut self) -> KeptApic {
        self.avic.map_or(KeptApic::default(), |avic| avic.page.0.take_interrupts())
    }

    fn posting(&self) -> Option<&'static dyn Posting> {
        self.avic.map(|avic| avic as &dyn Posting)
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
