//! What a processor's VT-x offers, read generically from its capability MSRs (Intel SDM
//! vol. 3 appendix A): which controls it lets be set, which it insists on, and in words
//! what is missing of what the hypervisor cannot do without.

use crate::cpu::errata::{self, Remedy};
use crate::cpu::facts::{self, Facts};
use bitflags::Flags;
use core::fmt;
use spec::processor::{CR0_PE, CR0_PG};
use spec::vmx::capability::{self, FeatureControl, Translation, basic, ept_pointer, misc};
use spec::vmx::control::{
    EntryControls, ExitControls, Named, PinControls, PrimaryControls, SecondaryControls,
};

/// Bits of a control register that VMX operation wants fixed (sections A.7 and A.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Bits that must be 1.
    pub must: u64,
    /// Bits that may be 1.
    pub may: u64,
}

impl Fixed {
    /// The nearest value to `value` that VMX operation allows.
    pub const fn fix(self, value: u64) -> u64 {
        (value | self.must) & self.may
    }
}

/// The controls with which guests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controls {
    /// Pin-based.
    pub pin: PinControls,
    /// Primary processor-based, without the windows, which come and go.
    pub processor: PrimaryControls,
    /// Secondary processor-based.
    pub secondary: SecondaryControls,
    /// VM exit.
    pub exit: ExitControls,
    /// VM entry, without "IA-32e mode guest", which follows the guest.
    pub entry: EntryControls,
}

/// What the processor offers, and what the hypervisor makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// What regions of this processor begin with.
    pub revision: u32,
    /// The controls with which guests run.
    pub controls: Controls,
    /// Fixed bits of CR0. A guest need not set PE and PG: unrestricted guest.
    pub cr0: Fixed,
    /// Fixed bits of CR4.
    pub cr4: Fixed,
    /// Nested tables may have 1 GiB pages.
    pub huge_pages: bool,
    /// Nested tables map what can be executed in pages of 4 KiB ([`crate::cpu::errata`]).
    pub small_code_pages: bool,
    /// Nested tables keep accessed and dirty flags.
    pub accessed_dirty: bool,
    /// INVEPT of one table.
    pub invept_one: bool,
    /// The processor can keep a guest's local APIC: [`KEEPS_APIC`].
    pub keeps_apic: bool,
    /// It then also takes interrupts that others post.
    pub takes_posted: bool,
    /// The preemption timer counts when this bit of the TSC changes; `None` where it is not
    /// there or not to be trusted.
    pub timer_rate: Option<u8>,
    /// INVVPID of one guest. Where neither this nor that of all is offered, VPIDs are not
    /// used.
    pub invvpid_one: bool,
}

/// Controls of one kind that are missing, and those that the processor forces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// Needed, and not to be had.
    pub absent: u32,
    /// Always on, and more than the hypervisor can deal with.
    pub forced: u32,
}

/// Everything that keeps a processor with VT-x from running guests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// Of the pin-based controls.
    pub pin: Gap,
    /// Of the primary processor-based controls.
    pub processor: Gap,
    /// Of the secondary processor-based controls.
    pub secondary: Gap,
    /// Of the exit controls.
    pub exit: Gap,
    /// Of the entry controls.
    pub entry: Gap,
    /// Bits of the EPT and VPID capability.
    pub translation: Translation,
    /// Exits do not keep EFER.LMA.
    pub long_mode: bool,
    /// The regions that the processor wants are larger than a frame.
    pub region: bool,
}

/// Why a processor cannot run guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// CPUID 1 ECX bit 5 is clear.
    NoVmx,
    /// Firmware locked IA32_FEATURE_CONTROL without allowing VMXON.
    DisabledByFirmware,
    /// Firmware allows VMXON only inside SMX operation, that is, after a measured launch.
    OnlyInsideSmx,
    /// There is VT-x, but not enough of it.
    Lacks(Lacks),
}

/// What the hypervisor asks of one kind of controls.
struct Wish<C> {
    needed: C,
    useful: C,
    default1: C,
}

impl<C: Flags<Bits = u32>> Wish<C> {
    /// The controls to be set, given the MSR that says which may be 0 (low half, a set bit
    /// may not) and which may be 1 (high half).
    fn choose(&self, capability: u64) -> Result<C, Gap> {
        let (must, may) = (capability as u32, (capability >> 32) as u32);
        let [needed, useful, default1] = [&self.needed, &self.useful, &self.default1].map(C::bits);
        let gap = Gap { absent: needed & !may, forced: must & !(needed | useful | default1) };
        if gap != Gap::default() {
            return Err(gap);
        }
        Ok(C::from_bits_retain(needed | useful & may | must))
    }
}

const PIN: Wish<PinControls> = Wish {
    needed: PinControls::EXTERNAL_INTERRUPT.union(PinControls::NMI).union(PinControls::VIRTUAL_NMIS),
    useful: PinControls::empty(),
    default1: PinControls::DEFAULT1,
};

const WINDOWS: PrimaryControls =
    PrimaryControls::INTERRUPT_WINDOW.union(PrimaryControls::NMI_WINDOW).union(PrimaryControls::TSC_OFFSET);

const PROCESSOR: Wish<PrimaryControls> = Wish {
    needed: WINDOWS
        .union(PrimaryControls::HLT)
        .union(PrimaryControls::MWAIT)
        .union(PrimaryControls::RDPMC)
        .union(PrimaryControls::TPR_SHADOW)
        .union(PrimaryControls::IO_BITMAPS)
        .union(PrimaryControls::MSR_BITMAP)
        .union(PrimaryControls::MONITOR)
        .union(PrimaryControls::SECONDARY),
    useful: PrimaryControls::empty(),
    default1: PrimaryControls::DEFAULT1,
};

/// INVPCID is added where CPUID has it: the guest is told that it is there.
const SECONDARY: Wish<SecondaryControls> = Wish {
    needed: SecondaryControls::EPT.union(SecondaryControls::UNRESTRICTED_GUEST),
    useful: SecondaryControls::VPID
        .union(SecondaryControls::WBINVD)
        .union(SecondaryControls::ENCLS)
        .union(SecondaryControls::ENCLV),
    default1: SecondaryControls::empty(),
};

/// Secondary controls with which the processor keeps a guest's local APIC in x2APIC mode and
/// delivers its interrupts (Intel SDM vol. 3 chapter 31). They come and go.
pub const KEEPS_APIC: SecondaryControls = SecondaryControls::X2APIC
    .union(SecondaryControls::APIC_REGISTERS)
    .union(SecondaryControls::VIRTUAL_INTERRUPTS);

const EXIT: Wish<ExitControls> = Wish {
    needed: ExitControls::SAVE_DEBUG
        .union(ExitControls::HOST_64)
        .union(ExitControls::ACKNOWLEDGE)
        .union(ExitControls::LOAD_PAT)
        .union(ExitControls::SAVE_EFER)
        .union(ExitControls::LOAD_EFER),
    useful: ExitControls::empty(),
    default1: ExitControls::DEFAULT1,
};

const ENTRY: Wish<EntryControls> = Wish {
    needed: EntryControls::LOAD_DEBUG
        .union(EntryControls::LONG_MODE)
        .union(EntryControls::LOAD_PAT)
        .union(EntryControls::LOAD_EFER),
    useful: EntryControls::empty(),
    default1: EntryControls::DEFAULT1,
};

const TRANSLATION: Translation = Translation::FOUR_LEVELS
    .union(Translation::WRITE_BACK_TABLES)
    .union(Translation::PAGES_2_MIB)
    .union(Translation::INVEPT)
    .union(Translation::INVEPT_ALL);

const TRANSLATION_NAMES: &[(Translation, &str)] = &[
    (Translation::FOUR_LEVELS, "EPT of 4 levels"),
    (Translation::WRITE_BACK_TABLES, "write-back EPT"),
    (Translation::PAGES_2_MIB, "EPT with 2 MiB pages"),
    (Translation::INVEPT, "INVEPT"),
    (Translation::INVEPT_ALL, "INVEPT of all contexts"),
];

impl Features {
    /// Judges a processor. `msr` reads its MSRs and is called only for those that CPUID
    /// and earlier MSRs say are there.
    ///
    /// # Errors
    /// Why it cannot run guests.
    pub fn detect(
        cpuid: impl Fn(u32, u32) -> [u32; 4],
        msr: impl Fn(u32) -> u64,
    ) -> Result<Self, Unsupported> {
        let named = facts::named(&cpuid);
        if !named.get_feature_info().is_some_and(|info| info.has_vmx()) {
            return Err(Unsupported::NoVmx);
        }
        may_be_switched_on(msr(capability::FEATURE_CONTROL))?;
        let invpcid = named.get_extended_feature_info().is_some_and(|info| info.has_invpcid());
        let basic = msr(capability::BASIC);
        let mut lacks = Lacks::default();
        let controls = choose_controls(basic, invpcid, &msr, &mut lacks);
        let offered = translation_of(&msr);
        lacks.translation = TRANSLATION.difference(offered);
        lacks.long_mode = msr(capability::MISC) & misc::SAVES_LONG_MODE == 0;
        lacks.region = basic >> basic::SIZE_SHIFT & basic::SIZE > 4096;
        if lacks != Lacks::default() {
            return Err(Unsupported::Lacks(lacks));
        }
        let facts = Facts::read(&cpuid, &msr);
        let keeps_apic = (secondary_of(&msr) >> 32) as u32 & KEEPS_APIC.bits() == KEEPS_APIC.bits();
        let mut features = Self {
            revision: (basic & basic::REVISION) as u32,
            controls,
            cr0: Fixed { must: msr(capability::CR0_FIXED0), may: msr(capability::CR0_FIXED1) },
            cr4: Fixed { must: msr(capability::CR4_FIXED0), may: msr(capability::CR4_FIXED1) },
            huge_pages: offered.contains(Translation::PAGES_1_GIB),
            small_code_pages: errata::need(&facts, Remedy::SmallCodePages),
            accessed_dirty: offered.contains(Translation::ACCESSED_DIRTY),
            invept_one: offered.contains(Translation::INVEPT_ONE),
            keeps_apic,
            takes_posted: keeps_apic && may(msr(pin_capability(basic)), PinControls::POSTED_INTERRUPTS),
            timer_rate: (may(msr(pin_capability(basic)), PinControls::PREEMPTION_TIMER)
                && !errata::need(&facts, Remedy::NoPreemptionTimer))
            .then(|| (msr(capability::MISC) & misc::TIMER_RATE) as u8),
            invvpid_one: offered.contains(Translation::INVVPID_ONE),
        };
        let kinds = Translation::INVVPID_ONE | Translation::INVVPID_ALL;
        if !offered.contains(Translation::INVVPID) || !offered.intersects(kinds) {
            features.controls.secondary.remove(SecondaryControls::VPID);
        }
        Ok(features)
    }

    /// Whether translations are tagged with a VPID, so that they outlive exits.
    pub const fn has_vpid(&self) -> bool {
        self.controls.secondary.contains(SecondaryControls::VPID)
    }

    /// The EPT pointer for tables of 4 levels whose root is at `root` (hpa).
    pub const fn ept_pointer(&self, root: u64) -> u64 {
        let flags = if self.accessed_dirty { ept_pointer::ACCESSED_DIRTY } else { 0 };
        root | ept_pointer::WRITE_BACK | ept_pointer::FOUR_LEVELS | flags
    }

    /// Fixed bits of a guest's CR0: unrestricted guest frees PE and PG.
    pub const fn guest_cr0(&self) -> Fixed {
        Fixed { must: self.cr0.must & !(CR0_PE | CR0_PG), may: self.cr0.may }
    }
}

/// Whether IA32_FEATURE_CONTROL lets VMXON work, or lets itself be set so that it does.
fn may_be_switched_on(value: u64) -> Result<(), Unsupported> {
    let value = FeatureControl::from_bits_retain(value);
    if !value.contains(FeatureControl::LOCKED) || value.contains(FeatureControl::OUTSIDE_SMX) {
        Ok(())
    } else if value.contains(FeatureControl::INSIDE_SMX) {
        Err(Unsupported::OnlyInsideSmx)
    } else {
        Err(Unsupported::DisabledByFirmware)
    }
}

/// What was chosen; where that is nothing, what is missing is noted.
fn note<C: Flags>(choice: Result<C, Gap>, gap: &mut Gap) -> C {
    choice.map_err(|found| *gap = found).unwrap_or(C::empty())
}

fn choose_controls(basic: u64, invpcid: bool, msr: &impl Fn(u32) -> u64, lacks: &mut Lacks) -> Controls {
    let exact = basic & basic::TRUE_CONTROLS != 0;
    let pick = |exactly: u32, roughly: u32| msr(if exact { exactly } else { roughly });
    let processor_offered = pick(capability::TRUE_PROCESSOR, capability::PROCESSOR);
    let mut secondary = SECONDARY;
    if invpcid {
        secondary.needed |= SecondaryControls::INVPCID;
    }
    Controls {
        pin: note(PIN.choose(msr(pin_capability(basic))), &mut lacks.pin),
        processor: note(PROCESSOR.choose(processor_offered), &mut lacks.processor).difference(WINDOWS),
        secondary: note(secondary.choose(secondary_of(msr)), &mut lacks.secondary),
        exit: note(EXIT.choose(pick(capability::TRUE_EXIT, capability::EXIT)), &mut lacks.exit),
        entry: note(ENTRY.choose(pick(capability::TRUE_ENTRY, capability::ENTRY)), &mut lacks.entry)
            .difference(EntryControls::LONG_MODE),
    }
}

/// The MSR that tells which pin-based controls there are.
const fn pin_capability(basic: u64) -> u32 {
    if basic & basic::TRUE_CONTROLS != 0 { capability::TRUE_PIN } else { capability::PIN }
}

/// IA32_VMX_PROCBASED_CTLS2, which exists where the secondary controls do; 0 elsewhere.
fn secondary_of(msr: &impl Fn(u32) -> u64) -> u64 {
    if may(msr(capability::PROCESSOR), PrimaryControls::SECONDARY) { msr(capability::SECONDARY) } else { 0 }
}

/// IA32_VMX_EPT_VPID_CAP, which exists where there is EPT or VPID; 0 elsewhere.
fn translation_of(msr: &impl Fn(u32) -> u64) -> Translation {
    let exists = may(secondary_of(msr), SecondaryControls::EPT | SecondaryControls::VPID);
    if exists { Translation::from_bits_retain(msr(capability::EPT_VPID)) } else { Translation::empty() }
}

/// Whether a capability lets any of `controls` be 1.
fn may(capability: u64, controls: impl Flags<Bits = u32>) -> bool {
    (capability >> 32) as u32 & controls.bits() != 0
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVmx => f.write_str("the processor has no VT-x (CPUID 1 ECX bit 5)"),
            Self::DisabledByFirmware => f.write_str(
                "the firmware switched VT-x off and locked it (IA32_FEATURE_CONTROL): enable it in its setup",
            ),
            Self::OnlyInsideSmx => f.write_str(
                "the firmware allows VT-x only after a measured launch (IA32_FEATURE_CONTROL): \
                 enable it without TXT in its setup",
            ),
            Self::Lacks(lacks) => lacks.fmt(f),
        }
    }
}

impl fmt::Display for Lacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = List { f, any: false };
        let kinds: [(Gap, &[Named]); 5] = [
            (self.pin, PinControls::NAMES),
            (self.processor, PrimaryControls::NAMES),
            (self.secondary, SecondaryControls::NAMES),
            (self.exit, ExitControls::NAMES),
            (self.entry, EntryControls::NAMES),
        ];
        for (gap, names) in kinds {
            list.controls("lacks", gap.absent, names)?;
        }
        for &(bit, name) in TRANSLATION_NAMES {
            if self.translation.contains(bit) {
                list.item("lacks", format_args!("{name}"))?;
            }
        }
        if self.long_mode {
            list.item("lacks", format_args!("saving of EFER.LMA on exit"))?;
        }
        if self.region {
            list.item("lacks", format_args!("control blocks of 4 KiB at most"))?;
        }
        for (gap, names) in kinds {
            list.controls("forces", gap.forced, names)?;
        }
        Ok(())
    }
}

/// Writes a sentence that grows.
struct List<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    any: bool,
}

impl List<'_, '_> {
    fn item(&mut self, verb: &str, what: fmt::Arguments<'_>) -> fmt::Result {
        let start = if self.any { ", " } else { "the processor's VT-x " };
        self.any = true;
        self.f.write_fmt(format_args!("{start}{verb} {what}"))
    }

    fn controls(&mut self, verb: &str, bits: u32, names: &[Named]) -> fmt::Result {
        let mut unnamed = bits;
        for &(bit, name) in names {
            if bits & bit != 0 {
                unnamed &= !bit;
                self.item(verb, format_args!("{name}"))?;
            }
        }
        if unnamed != 0 {
            self.item(verb, format_args!("controls {unnamed:#x} that have no name here"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
