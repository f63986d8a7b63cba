//! Whatever is done in whatever order: a device reaches what it was granted, and
//! after it was taken away nothing, whatever the unit had cached. For units of either
//! vendor.

use crate::{DomainId, Function, Iommu, RemappedInterrupt, Requester};
use proptest::prelude::*;
use spec::apic::DeliveryMode;
use spec::{Bdf, Gpa, Hpa};
use std::collections::BTreeMap;
use std::vec::Vec;
use tables::Permissions;

/// A unit that remembers all it may, and what drives it.
pub trait Bench {
    /// The unit as the hypervisor uses it.
    fn iommu(&mut self) -> &mut dyn Iommu;
    /// Where a write of a device at `address` ends, if anywhere.
    fn dma(&self, requester: Bdf, address: u64) -> Option<u64>;
    /// Whether the unit has walked a table that was freed.
    fn has_read_freed(&self) -> bool;
    /// Forgets what was recorded for tests that look at it.
    fn forget(&self);
}

/// Two functions that the unit serves.
const FUNCTIONS: [Bdf; 2] = [Bdf::new(0, 2, 0), Bdf::new(0, 3, 0)];
/// Granularity of the ranges below: half a large page.
const CHUNK: u64 = 1 << 20;
const CHUNKS: u64 = 6;

/// Something to be done.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Attach { function: usize, domain: usize },
    Detach { function: usize },
    Map { domain: usize, first: u64, chunks: u64, output: u64 },
    Unmap { domain: usize, first: u64, chunks: u64 },
    Recreate { domain: usize },
}

fn operation() -> impl Strategy<Value = Operation> {
    let (domain, function) = (0usize..2, 0usize..2);
    let range = (0..CHUNKS, 1..CHUNKS);
    prop_oneof![
        2 => (function.clone(), domain.clone()).prop_map(|(function, domain)| Operation::Attach { function, domain }),
        1 => function.prop_map(|function| Operation::Detach { function }),
        4 => (domain.clone(), range.clone(), 0..4u64).prop_map(|(domain, (first, chunks), output)| Operation::Map {
            domain, first, chunks, output
        }),
        3 => (domain.clone(), range).prop_map(|(domain, (first, chunks))| Operation::Unmap { domain, first, chunks }),
        1 => domain.prop_map(|domain| Operation::Recreate { domain }),
    ]
}

/// What should be reachable.
#[derive(Default)]
struct Model {
    attached: [Option<usize>; 2],
    mapped: [BTreeMap<u64, u64>; 2],
}

fn apply(units: &mut dyn Iommu, domains: &mut [DomainId; 2], model: &mut Model, operation: Operation) {
    match operation {
        Operation::Attach { function, domain } => {
            let done = units.attach(Function::alone(who(FUNCTIONS[function])), domains[domain]).is_ok();
            assert_eq!(done, model.attached[function].is_none());
            model.attached[function].get_or_insert(domain);
        }
        Operation::Detach { function } => {
            let done = units.detach(who(FUNCTIONS[function])).is_ok();
            assert_eq!(done, model.attached[function].take().is_some());
        }
        Operation::Map { domain, first, chunks, output } => {
            let wanted = |chunk: u64| ((1 + output) << 30) + chunk * CHUNK;
            let mapped = &mut model.mapped[domain];
            let clash = (first..first + chunks).any(|c| mapped.get(&c).is_some_and(|at| *at != wanted(c)));
            let rights = Permissions::READ_WRITE;
            let (gpa, hpa) = (Gpa(first * CHUNK), Hpa(wanted(first)));
            let done = units.map(domains[domain], gpa, hpa, chunks * CHUNK, rights).is_ok();
            assert_eq!(done, !clash);
            if done {
                mapped.extend((first..first + chunks).map(|chunk| (chunk, wanted(chunk))));
            }
        }
        Operation::Unmap { domain, first, chunks } => {
            units.unmap(domains[domain], Gpa(first * CHUNK), chunks * CHUNK).unwrap();
            model.mapped[domain].retain(|chunk, _| !(first..first + chunks).contains(chunk));
        }
        Operation::Recreate { domain } => {
            let used = model.attached.contains(&Some(domain));
            let done = units.destroy_domain(domains[domain]).is_ok();
            assert_eq!(done, !used);
            if done {
                domains[domain] = units.create_domain(&[who(FUNCTIONS[0])]).unwrap();
                model.mapped[domain].clear();
            }
        }
    }
}

fn check(bench: &impl Bench, model: &Model) {
    for (function, id) in FUNCTIONS.into_iter().enumerate() {
        for chunk in 0..2 * CHUNKS {
            let address = chunk * CHUNK + 0x5678;
            let granted = model.attached[function].and_then(|domain| model.mapped[domain].get(&chunk));
            let expected = granted.map(|output| output + 0x5678);
            assert_eq!(bench.dma(id, address), expected, "{id} at {address:#x}");
        }
    }
    assert!(!bench.has_read_freed(), "the unit walked a table that was freed");
}

fn who(id: Bdf) -> Requester {
    Requester::new(0, id)
}

/// What to do, in order.
pub fn operations() -> impl Strategy<Value = Vec<Operation>> {
    prop::collection::vec(operation(), 1..24)
}

/// Does it, and looks after each step at everything that both functions reach.
pub fn a_device_reaches_exactly_what_it_is_granted(bench: &mut impl Bench, operations: Vec<Operation>) {
    let mut create = || bench.iommu().create_domain(&[who(FUNCTIONS[0])]).unwrap();
    let mut domains = [create(), create()];
    let mut model = Model::default();
    for operation in operations {
        apply(bench.iommu(), &mut domains, &mut model, operation);
        check(bench, &model);
    }
}

/// A guest's functions come and go so many times: not one frame, domain, remapping entry
/// or record is lost, and a device that is between two guests reaches nothing.
pub fn lives_lose_nothing(bench: &mut impl Bench, lives: u32) {
    let [drive, network] = FUNCTIONS.map(who);
    // The first life may take tables that stay: those of a bus, say.
    let mut left = None;
    for life in 0..lives {
        let units = bench.iommu();
        let domain = units.create_domain(&[drive, network]).unwrap();
        // Pages of both sizes, each time elsewhere.
        let hpa = Hpa((1 << 30) + u64::from(life % 64) * 2 * CHUNK);
        for (start, bytes) in [(0, 2 * CHUNK), (2 * CHUNK, 0x3000)] {
            units.map(domain, Gpa(start), hpa + start, bytes, Permissions::READ_WRITE).unwrap();
        }
        for (requester, entries) in [(drive, 65), (network, 5)] {
            units.attach(Function::alone(requester), domain).unwrap();
            units.grant_interrupts(Function::alone(requester), entries).unwrap();
            let vector = 0x20 + (life % 200) as u8;
            let mode = DeliveryMode::Fixed;
            let interrupt = RemappedInterrupt { vector, destination: 1, mode, level: false };
            units.remap(requester, entries - 1, interrupt).unwrap();
            if life % 2 == 0 {
                units.release(requester, entries - 1).unwrap();
            }
        }
        if life % 1000 == 0 {
            assert_eq!(bench.dma(FUNCTIONS[0], 0x1234), Some(hpa.0 + 0x1234));
        }
        let units = bench.iommu();
        units.unmap(domain, Gpa(2 * CHUNK), 0x2000).unwrap();
        for requester in [network, drive] {
            units.detach(requester).unwrap();
            units.revoke_interrupts(requester).unwrap();
            assert_eq!(units.in_force(requester), 0, "life {life}");
        }
        units.destroy_domain(domain).unwrap();
        let now = units.frames_left();
        assert_eq!(now, *left.get_or_insert(now), "life {life}");
        if life % 100 == 0 {
            assert!(FUNCTIONS.iter().all(|id| bench.dma(*id, 0x1234).is_none()), "life {life}");
            bench.forget();
        }
    }
    assert!(!bench.has_read_freed(), "the unit walked a table that was freed");
}
