//! Barriers against speculation: which a processor needs where a security domain ends, and
//! issuing them.
//!
//! A processor belongs to one guest for good, so domains meet in three places: where a guest
//! exits to the hypervisor, whose mappings lead to everybody's memory; where the hypervisor
//! enters the guest, and has left in buffers and caches what it handled; and where a guest
//! starts anew. Which barriers each of them needs is a function of what the processor says of
//! itself ([`Barriers::needed`]). Guests are not offered IA32_SPEC_CTRL, so the hypervisor's
//! value stays in force across entries and exits, and where that is all, neither has a single
//! instruction more.
//!
//! Two steps are where only assembly can be: the return stack is filled before the first return
//! after an exit, and buffers are cleared by the last instruction before an entry
//! (`svm::world`, `vmx::world`).

use core::fmt;
use core::sync::atomic::AtomicU8;
#[cfg(target_os = "none")]
use core::sync::atomic::Ordering;

use crate::cpu::facts::{Facts, Maker};
use spec::msr::{FLUSH_CMD, PRED_CMD, SPEC_CTRL};

/// A set of steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Steps(pub u32);

impl Steps {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Return predictions lead nowhere (RSB filling).
    pub const FILL_RETURNS: Self = Self(1 << 0);
    /// VERW clears the buffers between core and caches.
    pub const CLEAR_BUFFERS: Self = Self(1 << 1);
    /// IA32_SPEC_CTRL is the hypervisor's: IBRS, where it has to be set anew at each exit.
    pub const RESTRICT: Self = Self(1 << 2);
    /// IA32_SPEC_CTRL is the guest's again.
    pub const UNRESTRICT: Self = Self(1 << 3);
    /// IBPB: branch predictions that were learnt before are forgotten.
    pub const FORGET_BRANCHES: Self = Self(1 << 4);
    /// The history of branches is the hypervisor's own.
    pub const CLEAR_HISTORY: Self = Self(1 << 5);
    /// The first-level data cache is flushed.
    pub const FLUSH_L1: Self = Self(1 << 6);
    /// The divider holds nobody's operands.
    pub const CLEAR_DIVIDER: Self = Self(1 << 7);

    const NAMES: [(Self, &'static str); 8] = [
        (Self::FILL_RETURNS, "fill the return stack"),
        (Self::CLEAR_BUFFERS, "VERW"),
        (Self::RESTRICT, "IBRS"),
        (Self::UNRESTRICT, "no IBRS"),
        (Self::FORGET_BRANCHES, "IBPB"),
        (Self::CLEAR_HISTORY, "clear the branch history"),
        (Self::FLUSH_L1, "flush the L1 data cache"),
        (Self::CLEAR_DIVIDER, "clear the divider"),
    ];

    /// Whether all of `other` are in it.
    #[inline(always)]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn add(&mut self, other: Self, condition: bool) {
        if condition {
            self.0 |= other.0;
        }
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Self::NAMES.iter().filter(|(step, _)| self.has(*step)).map(|(_, name)| name);
        let Some(first) = names.next() else { return f.write_str("nothing") };
        f.write_str(first)?;
        names.try_for_each(|name| write!(f, ", {name}"))
    }
}

/// What is issued where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Barriers {
    /// After an exit.
    pub exit: Steps,
    /// Before an entry.
    pub entry: Steps,
    /// Before a guest's first instruction.
    pub start: Steps,
    /// IA32_SPEC_CTRL while the hypervisor runs; with [`Steps::RESTRICT`] set at each exit,
    /// else once.
    pub spec_ctrl: u64,
    /// EFER.AIBRSE: indirect branches are restricted outside of guests (AMD).
    pub automatic: bool,
    /// What would be needed, and needs newer microcode.
    pub missing: Steps,
}

/// Which barriers are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Those that the processor needs.
    Needed,
    /// None.
    None,
    /// All that the processor has.
    All,
}

const IBRS: u64 = 1 << 0;
const BHI_DIS_S: u64 = 1 << 10;

/// Leaf 7 EDX of Intel.
mod structured {
    pub const MD_CLEAR: u32 = 1 << 10;
    pub const SPEC_CTRL: u32 = 1 << 26;
    pub const FLUSH_CMD: u32 = 1 << 28;
}

/// Leaf 7 EBX: transactional memory, through which TAA comes.
const RTM: u32 = 1 << 11;
/// Leaf 7 subleaf 2 EDX: BHI_DIS_S.
const BHI_CTRL: u32 = 1 << 4;

/// IA32_ARCH_CAPABILITIES.
mod says {
    pub const RDCL_NO: u64 = 1 << 0;
    pub const IBRS_ALL: u64 = 1 << 1;
    pub const SKIP_L1_FLUSH: u64 = 1 << 3;
    pub const MDS_NO: u64 = 1 << 5;
    pub const TAA_NO: u64 = 1 << 8;
    /// SBDR_SSDP_NO, FBSDP_NO, PSDP_NO.
    pub const MMIO_NO: u64 = 7 << 13;
    pub const FB_CLEAR: u64 = 1 << 17;
    pub const BHI_NO: u64 = 1 << 20;
    pub const PBRSB_NO: u64 = 1 << 24;
    pub const RFDS_NO: u64 = 1 << 27;
    pub const RFDS_CLEAR: u64 = 1 << 28;
}

/// Leaf 8000_0008 EBX of AMD.
mod amd_has {
    pub const IBPB: u32 = 1 << 12;
    pub const IBRS: u32 = 1 << 14;
}

/// Leaf 8000_0021 of AMD: EAX, and ECX.
mod amd_says {
    pub const VERW_CLEAR: u32 = 1 << 5;
    pub const AUTOMATIC_IBRS: u32 = 1 << 8;
    pub const SRSO_NO: u32 = 1 << 29;
    /// TSA_SQ_NO, TSA_L1_NO.
    pub const TSA_NO: u32 = 3 << 1;
}

/// Atoms that do not speculate: Bonnell, Saltwell.
const IN_ORDER: &[u32] = &[0x1c, 0x26, 0x27, 0x35, 0x36];
/// Atoms and Xeon Phis whose L1 cache is not read by faults (L1TF): Silvermont, Airmont,
/// Goldmont, Goldmont Plus, Tremont, Knights Landing, Knights Mill.
const NO_L1TF: &[u32] = &[0x37, 0x4a, 0x4d, 0x5a, 0x4c, 0x75, 0x5c, 0x5f, 0x7a, 0x86, 0x96, 0x9c, 0x57, 0x85];
/// Those of them whose buffers are not sampled either (MDS).
const NO_MDS: &[u32] = &[0x5c, 0x5f, 0x7a, 0x86, 0x96, 0x9c];

impl Barriers {
    /// Those that are wanted of a processor.
    pub fn wanted(wanted: Wanted, facts: &Facts) -> Self {
        match wanted {
            Wanted::Needed => Self::needed(facts),
            Wanted::None => Self::default(),
            Wanted::All => Self::all(facts),
        }
    }

    /// Those that a processor needs. One that interprets instructions needs none.
    pub fn needed(facts: &Facts) -> Self {
        let mut barriers = match facts.maker {
            _ if facts.is_interpreted => return Self::default(),
            Maker::Intel if facts.is_family_6() && IN_ORDER.contains(&facts.model) => return Self::default(),
            Maker::Intel => intel(facts),
            Maker::Amd | Maker::Hygon => amd(facts),
            Maker::Other => Self { exit: Steps::FILL_RETURNS, ..Self::default() },
        };
        barriers.start = at_start(facts);
        barriers
    }

    /// All that a processor has.
    pub fn all(facts: &Facts) -> Self {
        let mut barriers = Self { start: at_start(facts), ..Self::default() };
        barriers.exit = Steps(Steps::FILL_RETURNS.0 | Steps::CLEAR_HISTORY.0);
        barriers.exit.add(Steps::FORGET_BRANCHES, has_ibpb(facts));
        barriers.entry = Steps(Steps::CLEAR_BUFFERS.0 | Steps::CLEAR_DIVIDER.0);
        barriers.entry.add(Steps::FLUSH_L1, has_l1_flush(facts));
        barriers.restrict_at_exits(has_ibrs(facts));
        barriers
    }

    /// Whether entries and exits have more to do than usual.
    pub fn guards(&self) -> bool {
        self.exit != Steps::NONE || self.entry != Steps::NONE
    }

    /// Whether everything that `others` has at entries and exits is in it: processors of one
    /// machine may be of different kinds.
    pub const fn covers(&self, others: &Self) -> bool {
        self.exit.has(others.exit) && self.entry.has(others.entry)
    }

    /// The steps that are carried out in assembly.
    pub const fn in_assembly(&self) -> u8 {
        (self.exit.0 & Steps::FILL_RETURNS.0 | self.entry.0 & Steps::CLEAR_BUFFERS.0) as u8
    }

    fn restrict_at_exits(&mut self, condition: bool) {
        self.exit.add(Steps::RESTRICT, condition);
        self.entry.add(Steps::UNRESTRICT, condition);
        self.spec_ctrl |= if condition { IBRS } else { 0 };
    }
}

/// Whether ring 3 can read memory that is mapped for ring 0 alone (CVE-2017-5754).
pub fn reads_what_is_ring_0s(facts: &Facts) -> bool {
    let is_in_order = facts.is_family_6() && IN_ORDER.contains(&facts.model);
    facts.maker == Maker::Intel
        && !facts.is_interpreted
        && !is_in_order
        && facts.arch_capabilities & says::RDCL_NO == 0
}

fn has_ibpb(facts: &Facts) -> bool {
    match facts.maker {
        Maker::Intel => facts.structured_d & structured::SPEC_CTRL != 0,
        _ => facts.extended_8b & amd_has::IBPB != 0,
    }
}

fn has_ibrs(facts: &Facts) -> bool {
    match facts.maker {
        Maker::Intel => facts.structured_d & structured::SPEC_CTRL != 0,
        _ => facts.extended_8b & amd_has::IBRS != 0,
    }
}

fn has_l1_flush(facts: &Facts) -> bool {
    facts.maker == Maker::Intel && facts.structured_d & structured::FLUSH_CMD != 0
}

/// What a run of a guest left must not meet the next: as much as there is, since it costs
/// nothing there.
fn at_start(facts: &Facts) -> Steps {
    let mut steps = Steps::FILL_RETURNS;
    steps.add(Steps::FORGET_BRANCHES, has_ibpb(facts));
    steps.add(Steps::FLUSH_L1, has_l1_flush(facts));
    steps.add(Steps::CLEAR_BUFFERS, clears_buffers(facts));
    steps
}

/// Whether VERW clears buffers.
fn clears_buffers(facts: &Facts) -> bool {
    match facts.maker {
        Maker::Intel => {
            facts.structured_d & structured::MD_CLEAR != 0
                || facts.arch_capabilities & (says::FB_CLEAR | says::RFDS_CLEAR) != 0
        }
        _ => facts.extended_21a & amd_says::VERW_CLEAR != 0,
    }
}

fn intel(facts: &Facts) -> Barriers {
    let mut barriers = Barriers::default();
    let says = |bits: u64| facts.arch_capabilities & bits == bits;
    let is_one_of = |models: &[u32]| facts.is_family_6() && models.contains(&facts.model);
    if has_ibrs(facts) && says(says::IBRS_ALL) {
        // Enhanced IBRS is set once. An exit still leaves one return to the guest (PBRSB), and
        // the history of its branches chooses among the hypervisor's (BHI).
        barriers.spec_ctrl |= IBRS;
        barriers.exit.add(Steps::FILL_RETURNS, !says(says::PBRSB_NO) && !is_one_of(NO_MDS));
        match facts.structured_2d & BHI_CTRL {
            _ if says(says::BHI_NO) => {}
            0 => barriers.exit.add(Steps::CLEAR_HISTORY, true),
            _ => barriers.spec_ctrl |= BHI_DIS_S,
        }
    } else {
        barriers.exit.add(Steps::FILL_RETURNS, true);
        barriers.restrict_at_exits(has_ibrs(facts));
        barriers.missing.add(Steps::RESTRICT, !has_ibrs(facts));
    }
    if !says(says::RDCL_NO) && !is_one_of(NO_L1TF) && !says(says::SKIP_L1_FLUSH) {
        barriers.entry.add(Steps::FLUSH_L1, has_l1_flush(facts));
        barriers.missing.add(Steps::FLUSH_L1, !has_l1_flush(facts));
    }
    let sampled = !says(says::MDS_NO) && !is_one_of(NO_MDS)
        || facts.structured_b & RTM != 0 && !says(says::TAA_NO)
        || says(says::FB_CLEAR) && !says(says::MMIO_NO)
        || says(says::RFDS_CLEAR) && !says(says::RFDS_NO);
    barriers.entry.add(Steps::CLEAR_BUFFERS, sampled && clears_buffers(facts));
    barriers.missing.add(Steps::CLEAR_BUFFERS, sampled && !clears_buffers(facts));
    barriers
}

fn amd(facts: &Facts) -> Barriers {
    const ZEN_3: u32 = 0x19;
    let mut barriers = Barriers::default();
    let says = |bits: u32| facts.extended_21a & bits == bits;
    barriers.automatic = says(amd_says::AUTOMATIC_IBRS);
    // The hypervisor's code has no thunks for branches and returns, so what guests taught the
    // predictor is forgotten where the processor does not keep it apart: branch target injection,
    // branch type confusion, speculative return stack overflow.
    let confused = !barriers.automatic || !says(amd_says::SRSO_NO);
    barriers.exit.add(Steps::FILL_RETURNS, confused);
    barriers.exit.add(Steps::FORGET_BRANCHES, confused && has_ibpb(facts));
    barriers.missing.add(Steps::FORGET_BRANCHES, confused && !has_ibpb(facts));
    // Zen and its copies by Hygon show the quotient of a division by 0.
    let zen = facts.family == 0x17 && matches!(facts.model, 0..=0x2f | 0x50..=0x5f) || facts.family == 0x18;
    barriers.entry.add(Steps::CLEAR_DIVIDER, zen);
    let sampled = facts.family == ZEN_3 && facts.extended_21c & amd_says::TSA_NO != amd_says::TSA_NO;
    barriers.entry.add(Steps::CLEAR_BUFFERS, sampled && clears_buffers(facts));
    barriers.missing.add(Steps::CLEAR_BUFFERS, sampled && !clears_buffers(facts));
    barriers
}

/// What carries steps out.
pub trait Issue {
    /// Writes a model-specific register.
    fn write_msr(&mut self, msr: u32, value: u64);
    /// Fills the return stack.
    fn fill_returns(&mut self);
    /// VERW.
    fn clear_buffers(&mut self);
    /// Makes the history of branches the hypervisor's.
    fn clear_history(&mut self);
    /// Divides something that is nobody's.
    fn clear_divider(&mut self);
    /// Waits until all before has taken place.
    fn fence(&mut self);
}

/// The steps after an exit. The return stack is filled already.
#[inline(always)]
pub fn after_exit(barriers: &Barriers, to: &mut impl Issue) {
    if barriers.exit.has(Steps::RESTRICT) {
        to.write_msr(SPEC_CTRL, barriers.spec_ctrl);
    }
    if barriers.exit.has(Steps::FORGET_BRANCHES) {
        to.write_msr(PRED_CMD, 1);
    }
    if barriers.exit.has(Steps::CLEAR_HISTORY) {
        to.clear_history();
    }
    // None of them may be passed by: the branches above are predicted as well.
    to.fence();
}

/// The steps before an entry but the last, which clears the buffers.
#[inline(always)]
pub fn before_entry(barriers: &Barriers, to: &mut impl Issue) {
    if barriers.entry.has(Steps::FLUSH_L1) {
        to.write_msr(FLUSH_CMD, 1);
    }
    if barriers.entry.has(Steps::CLEAR_DIVIDER) {
        to.clear_divider();
    }
    if barriers.entry.has(Steps::UNRESTRICT) {
        to.write_msr(SPEC_CTRL, barriers.spec_ctrl & !IBRS);
    }
}

/// The steps before a guest's first instruction.
pub fn before_start(barriers: &Barriers, to: &mut impl Issue) {
    if barriers.start.has(Steps::FORGET_BRANCHES) {
        to.write_msr(PRED_CMD, 1);
    }
    if barriers.start.has(Steps::FILL_RETURNS) {
        to.fill_returns();
    }
    if barriers.start.has(Steps::FLUSH_L1) {
        to.write_msr(FLUSH_CMD, 1);
    }
    if barriers.start.has(Steps::CLEAR_BUFFERS) {
        to.clear_buffers();
    }
    if barriers.start != Steps::NONE {
        to.fence();
    }
}

/// What [`fill_returns!`] fills: as many entries as any processor has.
pub const RETURNS: usize = 32;

/// The instructions that fill the return stack. They change RSP for a moment, the flags, and no
/// register.
#[macro_export]
macro_rules! fill_returns {
    () => {
        ".rept 32\ncall 9f\nint3\n9:\n.endr\nadd rsp, 256\nlfence"
    };
}

/// What the assembly around entries looks at: [`Steps::FILL_RETURNS`] at exits and
/// [`Steps::CLEAR_BUFFERS`] at entries.
pub static IN_ASSEMBLY: AtomicU8 = AtomicU8::new(0);

/// A selector for VERW, which wants one that can be written: the hypervisor's data segment.
pub static DATA_SELECTOR: u16 = 16;

#[cfg(target_os = "none")]
mod here {
    use super::*;
    use crate::cpu::{facts::Facts, processor, registers};
    use core::arch::asm;
    use spec::msr;

    static BARRIERS: spin::Once<Barriers> = spin::Once::new();

    /// Decides for all processors, once, and tells.
    pub fn choose(wanted: Wanted, facts: &Facts) {
        let barriers = BARRIERS.call_once(|| Barriers::wanted(wanted, facts));
        IN_ASSEMBLY.store(barriers.in_assembly(), Ordering::Relaxed);
        log::info!(
            "barriers against speculation: at exits {}; at entries {}; at starts {}",
            barriers.exit,
            barriers.entry,
            barriers.start
        );
        if barriers.missing != Steps::NONE {
            log::warn!("against speculation this processor needs newer microcode: {}", barriers.missing);
        }
    }

    /// Those that were chosen; none before.
    pub fn chosen() -> Barriers {
        BARRIERS.get().copied().unwrap_or_default()
    }

    /// Sets on this processor what stays in force.
    pub fn init() {
        const AIBRSE: u64 = 1 << 21;
        let (barriers, own) = (chosen(), Facts::here());
        if barriers != Barriers::default() && !barriers.covers(&Barriers::needed(&own)) {
            log::warn!("processor {} needs other barriers than the first", processor::current_index());
        }
        // SAFETY: CPUID says that both are there where the bits are set, by the facts from
        // which the barriers were chosen; they only restrict predictions.
        unsafe {
            if barriers.spec_ctrl != 0 && has_ibrs(&own) {
                registers::write_msr(SPEC_CTRL, barriers.spec_ctrl);
            }
            if barriers.automatic {
                registers::write_msr(msr::EFER, registers::read_msr(msr::EFER) | AIBRSE);
            }
        }
    }

    /// This processor.
    pub struct ThisProcessor;

    impl Issue for ThisProcessor {
        #[inline(always)]
        fn write_msr(&mut self, msr: u32, value: u64) {
            // SAFETY: a step that writes a register is chosen only where CPUID has it; they are
            // commands, and restrictions of predictions.
            unsafe { registers::write_msr(msr, value) };
        }
        #[inline(always)]
        fn fill_returns(&mut self) {
            // SAFETY: RSP is what it was afterwards; what is written is below it, where nothing
            // is, for the target has no red zone.
            unsafe { asm!(crate::fill_returns!()) };
        }
        #[inline(always)]
        fn clear_buffers(&mut self) {
            // SAFETY: VERW reads a selector and sets ZF.
            unsafe { asm!("verw word ptr [{}]", in(reg) &DATA_SELECTOR, options(nostack, readonly)) };
        }
        #[inline(always)]
        fn clear_history(&mut self) {
            // 256 branches that are taken are more than any history holds.
            // SAFETY: a loop over a register.
            unsafe {
                asm!("2:", "jmp 3f", "3:", "dec {0:e}", "jnz 2b", inout(reg) 128u32 => _,
                     options(nomem, nostack));
            }
        }
        #[inline(always)]
        fn clear_divider(&mut self) {
            // SAFETY: 0 divided by 1 does not fault.
            unsafe {
                asm!("div {0:e}", in(reg) 1u32, inout("eax") 0u32 => _, inout("edx") 0u32 => _,
                     options(nomem, nostack));
            }
        }
        #[inline(always)]
        fn fence(&mut self) {
            // SAFETY: LFENCE orders, nothing else.
            unsafe { asm!("lfence", options(nostack, preserves_flags)) };
        }
    }
}

#[cfg(target_os = "none")]
pub use here::{ThisProcessor, choose, chosen, init};

#[cfg(test)]
mod tests;
