//! The local APIC's state, as it is saved.

use super::registers::lvt_writable;
use super::{
    BASE_ADDRESS, BASE_BOOTSTRAP, BASE_ENABLED, BASE_X2APIC, LVT_MASKED, LocalApic, SVR_ENABLED,
    SVR_SUPPRESS_EOI_BROADCAST,
};
use crate::snapshot::{self, RestoreFault};
use spec::apic::FIRST_LEGAL_VECTOR;
use spec::local_apic::LVT_THERMAL;

impl LocalApic {
    /// Says what about this state cannot be, of an APIC made as `own` is. All of it is in the
    /// structure, which serde writes and reads; its times are the guest's.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, own: &Self) -> Result<(), RestoreFault> {
        const BASE: u64 = BASE_ADDRESS | BASE_BOOTSTRAP | BASE_X2APIC | BASE_ENABLED;
        const SVR: u32 = 0xff | SVR_ENABLED | SVR_SUPPRESS_EOI_BROADCAST;
        snapshot::is_of(self.id == own.id)?;
        let is_mode = self.base & (BASE_X2APIC | BASE_ENABLED) != BASE_X2APIC;
        let is_base = self.base & !BASE == 0 && self.base & BASE_ADDRESS == BASE_ADDRESS;
        snapshot::has(is_base && is_mode, "IA32_APIC_BASE")?;
        snapshot::has(self.svr & !SVR == 0 && self.format <= 0xf, "a register of the local APIC")?;
        let has_legal = |set: &super::VectorSet| set.register(0) & ((1 << FIRST_LEGAL_VECTOR) - 1) == 0;
        snapshot::has(has_legal(&self.irr) && has_legal(&self.isr), "an interrupt of the local APIC")?;
        snapshot::has(self.is_priority_right(), "the processor priority")?;
        snapshot::has(self.are_entries_possible(), "the local vector table")
    }

    fn is_priority_right(&self) -> bool {
        let mut same = self.clone();
        same.update_priority();
        same.ppr == self.ppr
    }

    /// An APIC that its software has switched off keeps its local vector table masked.
    fn are_entries_possible(&self) -> bool {
        let may_open = self.is_software_enabled();
        let is_masked = |entry: u32| may_open || entry & LVT_MASKED != 0;
        let mut others = (LVT_THERMAL..).zip(self.lvt);
        self.timer.is_possible()
            && is_masked(self.timer.lvt())
            && others.all(|(register, entry)| entry & !lvt_writable(register) == 0 && is_masked(entry))
    }
}
