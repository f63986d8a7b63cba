//! By what a processor translates, and what it lets through.

use super::entry::{USER, WRITABLE};
use super::fault::{Access, PageFault, error};
use access::vcpu::{ControlRegisters, ProcessorState};
use spec::processor::{CR0_WP, CR4_LA57, CR4_PAE, CR4_SMAP, CR4_SMEP, EFER_NXE, RFLAGS_AC};

/// How the processor translates now, and for whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Paging {
    pub(super) control: ControlRegisters,
    user: bool,
    /// RFLAGS.AC, which suspends SMAP.
    alignment_check: bool,
}

impl Paging {
    /// Translation as of `control` for privilege level `level` with `rflags`.
    #[inline]
    pub fn new(control: ControlRegisters, level: u8, rflags: u64) -> Self {
        Self { control, user: level == 3, alignment_check: rflags & RFLAGS_AC != 0 }
    }

    /// Translation as `vcpu` does it now.
    #[inline]
    pub fn of(vcpu: &impl ProcessorState) -> Self {
        Self::new(vcpu.control(), vcpu.privilege_level(), vcpu.rflags())
    }

    /// The control registers that it goes by.
    #[inline]
    pub fn control(&self) -> &ControlRegisters {
        &self.control
    }

    /// Whether `linear` is canonical for the number of levels in use.
    #[inline]
    pub fn is_canonical(&self, linear: u64) -> bool {
        let unused = if self.control.cr4 & CR4_LA57 != 0 { 64 - 57 } else { 64 - 48 };
        ((linear << unused) as i64 >> unused) as u64 == linear
    }

    /// Access rights (Intel SDM vol. 3 section 4.6.1). `rights` is the conjunction of
    /// the entries on the way.
    #[inline]
    pub(super) fn check(
        &self,
        linear: u64,
        access: Access,
        rights: u64,
        no_execute: u64,
    ) -> Result<(), PageFault> {
        let user_page = rights & USER != 0;
        let writable = rights & WRITABLE != 0;
        let control = &self.control;
        let refused = if self.user {
            !user_page
                || match access {
                    Access::Read => false,
                    Access::Write => !writable,
                    Access::Fetch => no_execute != 0,
                }
        } else {
            let smap = user_page && control.cr4 & CR4_SMAP != 0 && !self.alignment_check;
            match access {
                Access::Read => smap,
                Access::Write => smap || !writable && control.cr0 & CR0_WP != 0,
                Access::Fetch => no_execute != 0 || user_page && control.cr4 & CR4_SMEP != 0,
            }
        };
        if refused { Err(self.fault(linear, access, error::PROTECTION)) } else { Ok(()) }
    }

    #[cold]
    pub(super) fn fault(&self, linear: u64, access: Access, reason: u32) -> PageFault {
        let control = &self.control;
        let mut error_code = reason;
        if access == Access::Write {
            error_code |= error::WRITE;
        }
        if self.user {
            error_code |= error::USER;
        }
        // The flag is defined only where a fetch can be refused as such.
        let fetch_matters =
            control.cr4 & CR4_SMEP != 0 || control.cr4 & CR4_PAE != 0 && control.efer & EFER_NXE != 0;
        if access == Access::Fetch && fetch_matters {
            error_code |= error::FETCH;
        }
        PageFault { address: linear, error_code }
    }
}
