//! What [`crate::property`] says, for this vendor's units.

use super::*;
use crate::property::{self, a_device_reaches_exactly_what_it_is_granted, lives_lose_nothing, operations};
use proptest::prelude::*;

impl property::Bench for Bench {
    fn iommu(&mut self) -> &mut dyn Iommu {
        &mut self.units
    }

    fn dma(&self, requester: Bdf, address: u64) -> Option<u64> {
        self.mock.dma(requester, address, true)
    }

    fn has_read_freed(&self) -> bool {
        self.ram.read_freed()
    }

    fn forget(&self) {
        drop((self.ram.writes(), self.ram.pairs(), self.mock.log()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    #[test]
    fn holds_for_every_kind_of_unit(operations in operations(), kind in 0usize..2) {
        a_device_reaches_exactly_what_it_is_granted(&mut Bench::with(QEMU_FEATURES, kind == 0, kind == 1, LIMITS), operations);
    }
}

#[test]
fn ten_thousand_lives_of_a_guests_functions_lose_nothing() {
    lives_lose_nothing(&mut Bench::with(QEMU_FEATURES, false, true, LIMITS), 10_000);
}
