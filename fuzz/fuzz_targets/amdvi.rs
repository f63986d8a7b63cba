//! AMD-Vi units that lie: whatever their registers and their logs say, every call ends,
//! and no frame is freed twice or written after it was.
#![no_main]

use access::clock::SteppingClock;
use fuzz::Input;
use fuzz::lying_amdvi::{self, LyingAmdVi};
use fuzz::remapping::SharedFrames;
use fuzz::units::{self, LIMITS, POLL_NS};
use iommu::{Architecture, UnitDescription, Units};
use libfuzzer_sys::fuzz_target;
use spec::{Bdf, RequesterRange};

/// What both units have for their tables: enough for a domain, and soon used up.
const FRAMES: usize = 64;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let frames = SharedFrames::new(FRAMES);
    let config = lying_amdvi::config(&mut input);
    let describe = |registers, requesters| UnitDescription {
        registers: Some(registers),
        architecture: Architecture::AmdVi(lying_amdvi::own()),
        segment: 0,
        serves_rest: false,
        requesters,
        unsure: false,
    };
    let first = LyingAmdVi::new(frames.clone(), &mut input);
    let rest = LyingAmdVi::new(frames.clone(), &mut input);
    let scope = vec![RequesterRange::one(Bdf::new(0, 2, 0)), RequesterRange::buses(1, 2)];
    let descriptions =
        vec![describe(first.clone(), scope), describe(rest.clone(), vec![RequesterRange::ALL])];
    let mut units = Units::new(descriptions, frames.clone(), SteppingClock::new(POLL_NS), &config, LIMITS);
    for (index, unit) in [&first, &rest].into_iter().enumerate() {
        let status = units.status(index).expect("a unit");
        assert!(status.is_ok() || !unit.is_honest() || !lying_amdvi::is_honest(&config), "{status:?}");
    }
    units.set_fault_interrupt(&config, 0x19, u32::from(input.u16()));
    units::run(&mut units, [&first, &rest], &mut input);
    assert!(frames.left() <= FRAMES, "more frames than there were");
});
