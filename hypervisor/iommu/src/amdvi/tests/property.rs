//! Whatever is done in whatever order: a device reaches what it was granted, and
//! after it was taken away nothing, whatever the unit had cached.

use super::*;
use crate::DomainId;
use proptest::prelude::*;
use spec::{Gpa, Hpa};
use std::collections::BTreeMap;
use tables::Permissions;

const FUNCTIONS: [Bdf; 2] = [NIC, DISK];
/// Granularity of the ranges below: half a large page.
const CHUNK: u64 = 1 << 20;
const CHUNKS: u64 = 6;

#[derive(Clone, Copy, Debug)]
enum Operation {
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

fn apply(bench: &mut Bench, domains: &mut [DomainId; 2], model: &mut Model, operation: Operation) {
    let units = &mut bench.units;
    match operation {
        Operation::Attach { function, domain } => {
            let done = units.attach(alone(FUNCTIONS[function]), domains[domain]).is_ok();
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
                domains[domain] = units.create_domain(&[who(NIC)]).unwrap();
                model.mapped[domain].clear();
            }
        }
    }
}

fn check(bench: &Bench, model: &Model) {
    for (function, id) in FUNCTIONS.into_iter().enumerate() {
        for chunk in 0..2 * CHUNKS {
            let address = chunk * CHUNK + 0x5678;
            let granted = model.attached[function].and_then(|domain| model.mapped[domain].get(&chunk));
            let expected = granted.map(|output| output + 0x5678);
            assert_eq!(bench.mock.dma(id, address, true), expected, "{id} at {address:#x}");
        }
    }
    assert!(!bench.ram.read_freed(), "the unit walked a table that was freed");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    #[test]
    fn a_device_reaches_exactly_what_it_is_granted(
        operations in prop::collection::vec(operation(), 1..24),
        kind in 0usize..2,
    ) {
        let mut bench = Bench::with(QEMU_FEATURES, kind == 0, kind == 1, LIMITS);
        let create = |bench: &mut Bench| bench.units.create_domain(&[who(NIC)]).unwrap();
        let mut domains = [create(&mut bench), create(&mut bench)];
        let mut model = Model::default();
        for operation in operations {
            apply(&mut bench, &mut domains, &mut model, operation);
            check(&bench, &model);
        }
    }
}
