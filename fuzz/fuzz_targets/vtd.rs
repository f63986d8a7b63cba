//! VT-d units that lie: whatever their registers say, every call ends, and no frame is
//! freed twice or written after it was.
#![no_main]

use access::clock::SteppingClock;
use access::fake_pci::FakeConfigSpace;
use fuzz::Input;
use fuzz::remapping::{LyingUnit, SharedFrames};
use fuzz::units::{self, LIMITS, POLL_NS};
use iommu::{Architecture, UnitDescription, Units};
use libfuzzer_sys::fuzz_target;
use spec::{Bdf, RequesterRange};

/// What both units have for their tables: enough for a domain, and soon used up.
const FRAMES: usize = 24;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let frames = SharedFrames::new(FRAMES);
    let config = FakeConfigSpace::with([]);
    let describe = |registers, serves_rest, requesters| UnitDescription {
        registers: Some(registers),
        architecture: Architecture::Vtd,
        segment: 0,
        serves_rest,
        requesters,
        unsure: false,
    };
    let first = LyingUnit::new(frames.clone(), &mut input);
    let rest = LyingUnit::new(frames.clone(), &mut input);
    let scope = vec![RequesterRange::one(Bdf::new(0, 2, 0)), RequesterRange::buses(1, 2)];
    let descriptions = vec![describe(first.clone(), false, scope), describe(rest.clone(), true, Vec::new())];
    let mut units = Units::new(descriptions, frames.clone(), SteppingClock::new(POLL_NS), &config, LIMITS);
    for (index, unit) in [&first, &rest].into_iter().enumerate() {
        let status = units.status(index).expect("a unit");
        assert!(status.is_ok() || !unit.is_honest(), "{status:?}");
    }
    units::run(&mut units, [&first, &rest], &mut input);
    assert!(frames.left() <= FRAMES, "more frames than there were");
});
