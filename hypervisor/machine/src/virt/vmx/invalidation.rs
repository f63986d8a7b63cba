//! Which cached translations to drop, and how (Intel SDM vol. 3 section 28.4.3).
//!
//! Under EPT a processor caches guest-physical mappings (of the nested tables) and
//! combined mappings (of these and the guest's own tables); both are tagged with the EPT
//! pointer, the latter also with the VPID. INVEPT drops both kinds of a pointer, for every
//! VPID. INVVPID drops combined mappings of a VPID. Entries and exits drop nothing where
//! VPIDs are used; where they are not, they drop all combined mappings of VPID 0, but no
//! guest-physical ones.

use super::features::Features;

/// What of a guest's cached translations may be wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// The nested tables lost or changed an entry.
    pub nested: bool,
    /// The hypervisor changed the guest's own paging: CR3, CR0, CR4, EFER.
    pub paging: bool,
}

impl Stale {
    /// Nothing is known of what is cached.
    pub const ALL: Self = Self { nested: true, paging: true };
    /// Nothing is wrong.
    pub const NOTHING: Self = Self { nested: false, paging: false };
}

/// How much an instruction drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Extent {
    /// What belongs to one EPT pointer or VPID. The numbers are the instructions' types
    /// (section 30.3).
    One = 1,
    /// What belongs to any.
    All = 2,
}

/// The instructions to execute before the next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commands {
    /// INVEPT.
    pub invept: Option<Extent>,
    /// INVVPID.
    pub invvpid: Option<Extent>,
}

/// What drops what is stale.
pub const fn commands(stale: Stale, features: &Features) -> Commands {
    let invept = match (stale.nested, features.invept_one) {
        (false, _) => None,
        (true, true) => Some(Extent::One),
        (true, false) => Some(Extent::All),
    };
    // INVEPT has dropped the combined mappings too, whatever their VPID.
    let invvpid = match (stale.paging && !stale.nested && features.has_vpid(), features.invvpid_one) {
        (false, _) => None,
        (true, true) => Some(Extent::One),
        (true, false) => Some(Extent::All),
    };
    Commands { invept, invvpid }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virt::vmx::features::{Controls, Fixed};
    use Extent::{All, One};
    use spec::vmx::control::{EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls};

    fn features(vpid: bool, invept_one: bool, invvpid_one: bool) -> Features {
        let fixed = Fixed { must: 0, may: !0 };
        let secondary = if vpid { SecondaryControls::VPID } else { SecondaryControls::empty() };
        Features {
            small_code_pages: false,
            revision: 1,
            controls: Controls {
                pin: PinControls::empty(),
                processor: PrimaryControls::empty(),
                secondary,
                exit: ExitControls::empty(),
                entry: EntryControls::empty(),
            },
            cr0: fixed,
            cr4: fixed,
            huge_pages: true,
            accessed_dirty: true,
            invept_one,
            keeps_apic: false,
            takes_posted: false,
            timer_rate: None,
            invvpid_one,
        }
    }

    fn drops(stale: Stale, features: &Features) -> (Option<Extent>, Option<Extent>) {
        let Commands { invept, invvpid } = commands(stale, features);
        (invept, invvpid)
    }

    const NESTED: Stale = Stale { nested: true, paging: false };
    const PAGING: Stale = Stale { nested: false, paging: true };

    #[test]
    fn nothing_stale_costs_nothing() {
        assert_eq!(drops(Stale::NOTHING, &features(true, true, true)), (None, None));
    }

    #[test]
    fn a_change_of_the_nested_tables_drops_whatever_leads_through_them() {
        for vpid in [false, true] {
            assert_eq!(drops(NESTED, &features(vpid, true, true)), (Some(One), None));
            assert_eq!(drops(NESTED, &features(vpid, false, true)), (Some(All), None));
            assert_eq!(drops(Stale::ALL, &features(vpid, true, true)), (Some(One), None));
        }
    }

    #[test]
    fn a_change_of_the_guests_paging_leaves_the_nested_mappings() {
        assert_eq!(drops(PAGING, &features(true, true, true)), (None, Some(One)));
        assert_eq!(drops(PAGING, &features(true, true, false)), (None, Some(All)));
        assert_eq!(drops(PAGING, &features(false, true, true)), (None, None), "the entry does it");
    }
}
