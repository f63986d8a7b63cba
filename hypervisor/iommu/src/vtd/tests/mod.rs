//! The whole backend against a unit that caches as much as it may.

mod deny_all;
mod dma;
mod faults;
mod interrupts;
mod invalidation;
mod mock;
mod property;
mod ram;
mod torn;

use crate::vtd::{Limits, UnitDescription, UnitLimits, VtdUnits};
use crate::{Function, Iommu, RemappedInterrupt, Requester};
use access::clock::SteppingClock;
use mock::{COHERENT_ECAP, MockUnit, PLAIN_CAP, QEMU_CAP, QEMU_ECAP};
use ram::Ram;
use spec::{Bdf, apic::DeliveryMode};
use std::vec::Vec;

const NIC: Bdf = Bdf::new(0, 2, 0);
const DISK: Bdf = Bdf::new(0, 3, 0);
const BRIDGE: Bdf = Bdf::new(1, 0, 0);
const IOAPIC: Bdf = Bdf::new(0xf0, 0x1f, 0);
const PAGE: u64 = 4096;

const LIMITS: Limits = Limits {
    unit: UnitLimits { interrupts: 256, interrupt_sources: 4, x2apic: true },
    domains: 4,
    requesters: 8,
};

type Machine = VtdUnits<MockUnit, Ram, SteppingClock>;

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
            registers: mock.clone(),
            segment: 0,
            include_all: true,
            requesters: Vec::new(),
        };
        let clock = SteppingClock::new(1_000_000);
        let units = VtdUnits::new([description].into(), ram.clone(), clock, limits);
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

fn who(id: Bdf) -> Requester {
    Requester::new(0, id)
}

fn alone(id: Bdf) -> Function<'static> {
    Function { requester: who(id), aliases: &[] }
}

fn edge(vector: u8, destination: u32) -> RemappedInterrupt {
    RemappedInterrupt { vector, destination, mode: DeliveryMode::Fixed, level: false }
}
