//! The whole backend against a unit that caches as much as it may.

mod deny_all;
mod dma;
mod events;
mod interrupts;
mod mock;
mod property;

use crate::fake_ram::Ram;
use crate::{Architecture, Function, Iommu, IommuError, Limits, RemappedInterrupt, Requester};
use crate::{UnitDescription, UnitLimits, Units};
use access::clock::SteppingClock;
use access::fake_pci::{FakeConfigSpace, FakeFunction};
use mock::{MockUnit, Mood, QEMU_FEATURES};
use platform::remapping::AmdVi;
use spec::amdvi::feature;
use spec::{Bdf, RequesterRange, apic::DeliveryMode};
use std::vec::Vec;

const NIC: Bdf = Bdf::new(0, 2, 0);
const DISK: Bdf = Bdf::new(0, 3, 0);
const BRIDGE: Bdf = Bdf::new(1, 0, 0);
/// Behind the bridge.
const CARD: Bdf = Bdf::new(1, 4, 0);
const IOAPIC: Bdf = Bdf::new(0, 0x14, 0);
/// The unit's own function.
const OWN: Bdf = Bdf::new(0, 0, 2);
const CAPABILITY: u16 = 0x40;
const MSI: u16 = 0x64;
const PAGE: u64 = 4096;

const LIMITS: Limits = Limits {
    unit: UnitLimits {
        buses: 2,
        tags: UnitLimits::ALL_TAGS,
        interrupts: 512,
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
    config: FakeConfigSpace,
}

/// What firmware says of a unit.
fn own(coherent: bool) -> AmdVi {
    AmdVi {
        function: OWN,
        capability: CAPABILITY,
        msi_number: 0,
        tunnel_translation: false,
        pass_posted_writes: true,
        responses_pass_posted_writes: false,
        isochronous: false,
        coherent,
        signals: Vec::new(),
    }
}

/// The unit's function, with a capability block whose header says whether the unit
/// caches what is absent.
fn config(vendor_device: (u16, u16), greedy: bool) -> FakeConfigSpace {
    let header = 0x0b | if greedy { 1 << 2 } else { 0 };
    let function = FakeFunction::new(vendor_device.0, vendor_device.1, 0x08_0600)
        .capability(0x0f, CAPABILITY, &[3, header])
        .with_msi(MSI, 0x80);
    FakeConfigSpace::with([(OWN, function)])
}

impl Bench {
    fn with(features: u64, greedy: bool, coherent: bool, limits: Limits) -> Self {
        let ram = Ram::new(400, coherent);
        let mock = MockUnit::new(ram.clone(), features, greedy);
        Self::start(mock, ram, coherent, limits)
    }

    fn start(mock: MockUnit, ram: Ram, coherent: bool, limits: Limits) -> Self {
        let (greedy, qemu) = (mock.0.borrow().greedy, mock.0.borrow().qemu);
        let config = config((0x1022, if qemu { 0 } else { 0x1631 }), greedy);
        let description = UnitDescription {
            registers: Some(mock.clone()),
            architecture: Architecture::AmdVi(own(coherent)),
            segment: 0,
            serves_rest: false,
            requesters: Vec::from([RequesterRange::ALL]),
            unsure: false,
        };
        let clock = SteppingClock::new(1_000_000);
        let units = Units::new([description].into(), ram.clone(), clock, &config, limits);
        Self { units, mock, ram, config }
    }
}

/// QEMU's unit without its events; one that caches only what is present and snoops; one
/// that does neither.
fn benches() -> Vec<Bench> {
    let kinds = [(QEMU_FEATURES, true, false), (QEMU_FEATURES, false, true), (QEMU_FEATURES, false, false)];
    kinds
        .into_iter()
        .map(|(features, greedy, coherent)| Bench::with(features, greedy, coherent, LIMITS))
        .collect()
}

fn bench() -> Bench {
    Bench::with(QEMU_FEATURES, false, true, LIMITS)
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
