//! The processors of the machine: per-processor data, start, kicks.

use alloc::boxed::Box;
#[cfg(target_os = "none")]
use alloc::vec::Vec;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use raw_cpuid::FeatureInfo;
use spec::msr;
use spec::processor::{CR4_MCE, CR4_PAE, CR4_SMAP, CR4_SMEP, CR4_UMIP, EFER_LMA, EFER_LME, EFER_NXE};
use x86_64::registers::control::{Cr0, Cr4};
use x86_64::registers::debug::Dr7;

use crate::cpu::descriptors::Descriptors;
use crate::cpu::domains::Domains;
use crate::cpu::registers;
use crate::memory::page_table::PAT;
use crate::memory::paging::MapError;

/// CR0 of the hypervisor: paging, write protection, native FPU errors, protection;
/// caches on. (MP, ET and NE as 64-bit systems set them.) TS is set: neither the hypervisor nor what it runs
/// in ring 3 uses the registers of the FPU, which are the guest's ([`crate::virt::guest_registers`]).
pub const CR0: u32 = 0x8001_003b;

/// DR7 of the hypervisor: no breakpoint, and the bit that is always set. One that was left would come in ring 0 once
/// ring 3 has loaded SS and interrupts (CVE-2018-8897).
const DR7: u64 = 1 << 10;

/// What one processor has for itself; GS points to it. The stubs of
/// [`crate::cpu::interrupts`] know the offsets of its fields.
#[repr(C, align(64))]
pub struct Local {
    this: AtomicPtr<Local>,
    /// Where to end interrupts: the virtual address of the xAPIC register, or 0 for
    /// the x2APIC's MSR.
    pub(crate) eoi_register: AtomicU64,
    /// Vectors that came, as a bitmap.
    pub(crate) vectors: [AtomicU64; 4],
    /// An NMI came.
    pub(crate) kicked: AtomicBool,
    /// When ring 3 has to be left at the latest, in ticks of the TSC; 0 while it is not entered.
    pub(crate) ring3_until: AtomicU64,
    /// Whose code it runs.
    pub(crate) domains: Domains,
    index: AtomicUsize,
    apic_id: AtomicU32,
    /// The processor runs and its interrupts are set up.
    pub(crate) running: AtomicBool,
    pub(crate) descriptors: UnsafeCell<Descriptors>,
}

// SAFETY: all fields are atomics but the descriptors, which are touched only before
// the processor runs and by itself while it sets up.
unsafe impl Sync for Local {}
// SAFETY: as above.
unsafe impl Send for Local {}

impl Local {
    pub(crate) const fn new() -> Self {
        Self {
            this: AtomicPtr::new(core::ptr::null_mut()),
            eoi_register: AtomicU64::new(0),
            vectors: [const { AtomicU64::new(0) }; 4],
            kicked: AtomicBool::new(false),
            ring3_until: AtomicU64::new(0),
            domains: Domains::new(),
            index: AtomicUsize::new(0),
            apic_id: AtomicU32::new(0),
            running: AtomicBool::new(false),
            descriptors: UnsafeCell::new(Descriptors::new()),
        }
    }

    /// A processor that is to be started: its own descriptors and interrupt stacks.
    pub(crate) fn for_processor(index: usize, apic_id: u32) -> Result<Self, MapError> {
        let mut local = Self::new();
        local.index = AtomicUsize::new(index);
        local.apic_id = AtomicU32::new(apic_id);
        local.descriptors.get_mut().allocate_stacks()?;
        Ok(local)
    }

    /// Index of the processor: 0 is the one that booted.
    pub fn index(&self) -> usize {
        self.index.load(Ordering::Relaxed)
    }

    /// ID of its local APIC, which is how interrupts address it.
    pub fn apic_id(&self) -> u32 {
        self.apic_id.load(Ordering::Relaxed)
    }

    pub(crate) fn set_apic_id(&self, apic_id: u32) {
        self.apic_id.store(apic_id, Ordering::Relaxed);
    }
}

static BOOT_PROCESSOR: Local = Local::new();
/// Every processor that runs, by index.
static PROCESSORS: spin::Once<Box<[&'static Local]>> = spin::Once::new();

/// Brings control registers, EFER and the PAT into the state that the hypervisor
/// wants, whatever firmware or loader left. Global pages stay off until
/// [`enable_global_pages`], so that loading CR3 in between drops every translation.
pub fn set_control_registers() {
    let mut cr4 = CR4_PAE | CR4_MCE | registers::CR4_OSFXSR | registers::CR4_OSXMMEXCPT;
    if registers::has(FeatureInfo::has_xsave) {
        cr4 |= registers::CR4_OSXSAVE;
    }
    if registers::cpu_id().get_extended_feature_info().is_some_and(|info| info.has_smep()) {
        cr4 |= CR4_SMEP;
    }
    // SAFETY: EFER exists on 64-bit processors; LME and LMA stay as they are, NXE is
    // there on every processor that the 32-bit entry points let in and that the bootloader
    // crate runs on. CR0 and CR4 keep 4-level paging on; the bits set are said to be
    // there by CPUID or are in every 64-bit processor. PAT exists alike; the entries
    // in use so far (0: write-back) do not change, and caches and translations are
    // dropped as SDM vol. 3 section 13.12.4 asks.
    unsafe {
        let efer = registers::read_msr(msr::EFER) & (EFER_LME | EFER_LMA);
        registers::write_msr(msr::EFER, efer | EFER_NXE);
        Cr0::write_raw(CR0.into());
        Cr4::write_raw(cr4);
        Dr7::write_raw(DR7);
        asm!("wbinvd", options(nostack, preserves_flags));
        registers::write_msr(msr::PAT, PAT);
        asm!("wbinvd", options(nostack, preserves_flags));
        registers::write_cr3(registers::read_cr3());
    }
}

/// Keeps translations of the hypervisor over loads of CR3, keeps it from ring 3's memory and ring 3 from
/// reading descriptor registers; from now on nothing of a loader's is left to be kept.
pub fn enable_global_pages() {
    let mut cr4 = Cr4::read_raw() | registers::CR4_PGE;
    if let Some(features) = registers::cpu_id().get_extended_feature_info() {
        cr4 |= if features.has_smap() { CR4_SMAP } else { 0 };
        cr4 |= if features.has_umip() { CR4_UMIP } else { 0 };
    }
    // SAFETY: CR4.PGE is in every 64-bit processor, and its change drops translations; the others are there,
    // and no page that the hypervisor uses is ring 3's.
    unsafe { Cr4::write_raw(cr4) };
}

/// Whether this processor keeps ring 0 from reading, writing and executing what is ring 3's by accident.
pub(crate) fn is_kept_from_ring_3() -> bool {
    Cr4::read_raw() & (CR4_SMAP | CR4_SMEP) == CR4_SMAP | CR4_SMEP
}

/// Points GS to `local` and loads its descriptors and the interrupt table.
#[cfg(target_os = "none")]
pub(crate) fn set_local(local: &'static Local) {
    local.this.store(local as *const Local as *mut Local, Ordering::Relaxed);
    // SAFETY: the descriptors are static and this processor's alone (each is set
    // once). GS base is set before the interrupt table, so every stub finds `local`. SYSENTER_CS is in every
    // 64-bit processor; 0 makes SYSENTER in ring 3 a fault, whatever a loader had there.
    unsafe {
        (*local.descriptors.get()).set_local(local as *const Local as u64);
        (*local.descriptors.get()).load();
        registers::write_msr(msr::GS_BASE, local as *const Local as u64);
        registers::write_msr(msr::SYSENTER_CS, 0);
    }
    crate::cpu::interrupts::init();
}

/// Sets up the processor that boots.
#[cfg(target_os = "none")]
pub(crate) fn init_boot_processor() {
    enable_global_pages();
    // SAFETY: only this processor runs, and nobody uses the descriptors yet.
    let stacks = unsafe { (*BOOT_PROCESSOR.descriptors.get()).allocate_stacks() };
    set_local(&BOOT_PROCESSOR);
    // SAFETY: GS base was set just now, and no guest ever runs on this processor.
    unsafe { crate::cpu::syscall::enable() };
    BOOT_PROCESSOR.running.store(true, Ordering::Release);
    if let Err(error) = stacks {
        panic!("no interrupt stacks: {error:?}");
    }
}

/// The data of this processor.
#[inline(always)]
pub fn local() -> &'static Local {
    let local: *const Local;
    // SAFETY: GS points to this processor's `Local` since `enter`; its first field is
    // its own address, and it is never moved or dropped.
    unsafe {
        asm!("mov {}, gs:[0]", out(reg) local, options(pure, readonly, nostack, preserves_flags));
        &*local
    }
}

/// The processors that are in ring 3 for longer than they may be.
#[cfg(target_os = "none")]
pub(crate) fn late_in_ring_3(now: u64) -> impl Iterator<Item = u32> {
    let all = PROCESSORS.get().map_or(&[][..], |list| list);
    let is_late = move |local: &&&Local| (1..now).contains(&local.ring3_until.load(Ordering::Relaxed));
    all.iter().filter(is_late).map(|local| local.apic_id())
}

/// This processor runs the guest of this number from now on.
pub fn give_to(guest: u32) {
    local().domains.set_own(guest);
}

/// Index of this processor: 0 is the one that booted, the others follow in the order
/// in which they started. It is no APIC ID.
#[inline]
pub fn current_index() -> usize {
    local().index()
}

/// Number of processors that run.
pub fn count() -> usize {
    PROCESSORS.get().map_or(1, |list| list.len())
}

/// APIC ID of processor `index`; `None` if there is none.
pub fn apic_id(index: usize) -> Option<u32> {
    match PROCESSORS.get() {
        Some(list) => list.get(index).map(|local| local.apic_id()),
        None => (index == 0).then(|| BOOT_PROCESSOR.apic_id()),
    }
}

/// Starts the processors with these APIC IDs (this one's and duplicates are skipped).
/// Each gets a stack, descriptors and the local APIC in this processor's mode, and runs
/// `entry` with its index once all have been tried. One that does not answer is logged
/// and left out. Returns how many processors run, this one included. Called once.
#[cfg(target_os = "none")]
pub fn start_others(apic_ids: &[u32], entry: extern "C" fn(index: usize) -> !) -> usize {
    let mut running: Vec<&'static Local> = Vec::with_capacity(apic_ids.len() + 1);
    running.push(&BOOT_PROCESSOR);
    for (position, id) in apic_ids.iter().enumerate() {
        let earlier = apic_ids.get(..position).unwrap_or(&[]);
        if *id == BOOT_PROCESSOR.apic_id() || earlier.contains(id) {
            continue;
        }
        match crate::cpu::trampoline::start(running.len(), *id, entry) {
            Ok(local) => running.push(local),
            Err(error) => log::error!("processor with APIC ID {id} is left out: {error}"),
        }
    }
    let list = PROCESSORS.call_once(|| running.into_boxed_slice());
    crate::cpu::trampoline::release();
    list.len()
}
