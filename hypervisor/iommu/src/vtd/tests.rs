//! The whole backend against a unit that caches as much as it may.

mod deny_all;
mod dma;
mod faults;
mod interrupts;
mod invalidation;
mod mock;
mod property;
mod torn;

use crate::fake_ram::Ram;
use crate::{
    Architecture, Function, Iommu, Limits, RemappedInterrupt, Requester, UnitDescription, UnitLimits, Units,
};
use access::clock::SteppingClock;
use access::fake_pci::FakeConfigSpace;
use mock::{COHERENT_ECAP, MockUnit, PLAIN_CAP, QEMU_CAP, QEMU_ECAP};
use spec::{Bdf, apic::DeliveryMode};
use std::vec::Vec;

const NIC: Bdf = Bdf::new(0, 2, 0);
const DISK: Bdf = Bdf::new(0, 3, 0);
const BRIDGE: Bdf = Bdf::new(1, 0, 0);
const IOAPIC: Bdf = Bdf::new(0xf0, 0x1f, 0);
const PAGE: u64 = 4096;

const LIMITS: Limits = Limits {
    unit: UnitLimits {
        buses: 256,
        tags: UnitLimits::ALL_TAGS,
        interrupts: 256,
        interrupt_sources: 4,
        x2apic: true,
    },
    domains: 4,
    requesters: 8,
};

type Machine = Units<MockUnit, Ram, SteppingClock>;

/// One unit that serves everything, and the memory that it shares with us.
struct Bench {
    units: Machine,
    mock: MockUnit,
    ram: Ram,
}

impl Bench {
    fn with(cap: u64, ecap: u64, limits: Limits) -> Self {
        let ram = Ram::new(200, ecap & 1 != 0 && cap & 1 << 4 == 0);
        let mock = MockUnit::new(ram.clone(), cap, ecap);
        Self::start(mock, ram, limits)
    }

    fn start(mock: MockUnit, ram: Ram, limits: Limits) -> Self {
        let description = UnitDescription {
            registers: Some(mock.clone()),
            architecture: Architecture::Vtd,
            segment: 0,
            serves_rest: true,
            requesters: Vec::new(),
            unsure: false,
        };
        let clock = SteppingClock::new(1_000_000);
        let units = Units::new([description].into(), ram.clone(), clock, &no_config(), limits);
        Self { units, mock, ram }
    }
}

/// Every kind of unit: not snooping and caching mode as in QEMU, a plain one, one
/// with write buffers.
fn benches() -> Vec<Bench> {
    let kinds = [
        (QEMU_CAP, QEMU_ECAP),
        (PLAIN_CAP, COHERENT_ECAP),
        (PLAIN_CAP, QEMU_ECAP),
        (PLAIN_CAP | 1 << 4, COHERENT_ECAP),
    ];
    kinds.into_iter().map(|(cap, ecap)| Bench::with(cap, ecap, LIMITS)).collect()
}

fn no_config() -> FakeConfigSpace {
    FakeConfigSpace::with([])
}

fn who(id: Bdf) -> Requester {
    Requester::new(0, id)
}

fn alone(id: Bdf) -> Function<'static> {
    Function::alone(who(id))
}

fn edge(vector: u8, destination: u32) -> RemappedInterrupt {
    RemappedInterrupt { vector, destination, mode: DeliveryMode::Fixed, level: false }
}
