//! The chipset in a compartment and the chipset itself do the same.

mod hostile;
mod same;

use crate::area::AREA_WORDS;
use crate::{ChipsetServer, RemoteChipset};
use compartment::{Compartment, Ended, Kind, Restarts};
use devices::chipset::STATE_BYTES;
use devices::{Chipset, ChipsetConfig, Effect, Effects};
use spec::Width;
use std::boxed::Box;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

/// What happens at the entries of a compartment, in their order; nothing afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Serves,
    /// It dies before it has done anything.
    DiesAtOnce,
    /// It dies when all is done but said.
    DiesLate,
}

/// Changes an answer.
type Forge = Box<dyn FnMut(&mut [u64]) + Send>;

/// How often it was entered with a call, and how often made anew.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Counts {
    entries: usize,
    restarts: usize,
    losses: usize,
}

/// A compartment in this process.
struct Process {
    area: Box<[u64]>,
    server: Option<ChipsetServer>,
    fates: Vec<Fate>,
    forge: Option<Forge>,
    counts: Arc<Mutex<Counts>>,
}

impl Process {
    fn new() -> Self {
        let area = std::vec![0x5555_5555_5555_5555; AREA_WORDS].into();
        Self { area, server: None, fates: Vec::new(), forge: None, counts: Arc::default() }
    }

    fn chipset(self, restarts: Restarts) -> RemoteChipset {
        RemoteChipset::begin(Box::new(self), &chipset(), restarts).unwrap()
    }
}

impl Compartment for Process {
    fn area(&mut self) -> &mut [u64] {
        &mut self.area
    }

    fn enter(&mut self) -> Result<(), Ended> {
        let Some(server) = &mut self.server else {
            assert_eq!(Kind::of(&self.area), Some(Kind::Chipset));
            self.server = Some(ChipsetServer::begin(&mut self.area).ok_or(Ended::GaveUp { line: 1 })?);
            return Ok(());
        };
        self.counts.lock().unwrap().entries += 1;
        let fate = self.fates.pop().unwrap_or(Fate::Serves);
        if fate != Fate::DiesAtOnce {
            assert!(server.serve(&mut self.area));
        }
        if let Some(forge) = &mut self.forge {
            forge(&mut self.area);
        }
        if fate == Fate::Serves {
            return Ok(());
        }
        self.area.fill(0x5555_5555_5555_5555);
        Err(Ended::Fault { vector: 14, rip: 5 })
    }

    fn restart(&mut self) -> Result<(), Ended> {
        self.server = None;
        Ok(())
    }

    fn ended(&mut self, _: Ended, is_gone: bool) {
        let mut counts = self.counts.lock().unwrap();
        match is_gone {
            true => counts.losses += 1,
            false => counts.restarts += 1,
        }
    }
}

const ALWAYS: Restarts = Restarts { most: 1_000_000, minute: 60 };

fn chipset() -> Chipset {
    Chipset::new(ChipsetConfig {
        tsc_hz: 2_000_000_000,
        epoch_seconds: 1_767_323_045,
        start: 1000,
        ioapic_id: 2,
        low_memory_bytes: 256 << 20,
        high_memory_bytes: 0,
    })
}

/// Every register of the chipset that is at a port, and one where nothing is.
const PORTS: [u16; 32] = [
    0x20, 0x21, 0xa0, 0xa1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x60, 0x64, 0x70, 0x71, 0x72, 0x73, 0x80, 0x92,
    0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x4d0, 0x4d1, 0x600, 0x602, 0x604, 0x608, 0xcf9,
];

/// One thing that happens to a chipset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Wait(u32),
    WaitForTick,
    Read(u16, Width),
    Write(u16, Width, u32),
    Ioapic(u8, u32),
    Select(u32),
    Line(u8, bool),
    MachineLine(u8),
    NoMachineLine(u8),
    Ended(u8),
    Acknowledge,
    Typed(u8),
}

/// What of it can be seen.
type Seen = (u32, Vec<Effect>, Option<u64>, bool);

/// Does it with a chipset here.
fn here(chipset: &mut Chipset, now: &mut u64, step: Step) -> Seen {
    let (mut effects, mut seen) = (Effects::new(), 0);
    let out = &mut effects;
    match step {
        Step::Wait(ticks) => {
            *now += u64::from(ticks);
            chipset.tick(*now, out);
        }
        Step::WaitForTick => {
            *now = chipset.deadline().map_or(*now, |deadline| deadline.max(*now));
            chipset.tick(*now, out);
        }
        Step::Read(port, width) => seen = chipset.port_read(port, width, *now, out),
        Step::Write(port, width, value) => chipset.port_write(port, width, value, *now, out),
        Step::Ioapic(register, value) => {
            chipset.ioapic_write(0, register.into(), out);
            chipset.ioapic_write(0x10, value, out);
            seen = chipset.ioapic_read(0x10);
        }
        Step::Select(offset) => seen = chipset.ioapic_read(offset),
        Step::Line(gsi, level) => chipset.set_line(gsi, level, out),
        Step::MachineLine(gsi) => chipset.assert_line(gsi, out),
        Step::NoMachineLine(gsi) => chipset.deassert_line(gsi),
        Step::Ended(vector) => chipset.end_of_interrupt(vector, out),
        Step::Acknowledge => seen = chipset.acknowledge_external().into(),
        Step::Typed(byte) => seen = chipset.receive(byte, out).into(),
    }
    (seen, effects.collect(), chipset.deadline(), chipset.external_pending())
}

/// Does it with one in a compartment.
fn there(chipset: &mut RemoteChipset, now: &mut u64, step: Step) -> Seen {
    let (mut effects, mut seen) = (Effects::new(), 0);
    let out = &mut effects;
    match step {
        Step::Wait(ticks) => *now += u64::from(ticks),
        Step::WaitForTick => *now = chipset.deadline().map_or(*now, |deadline| deadline.max(*now)),
        _ => {}
    }
    chipset.set_time(*now);
    match step {
        Step::Wait(_) | Step::WaitForTick => chipset.tick(out),
        Step::Read(port, width) => seen = chipset.port_read(port, width, out),
        Step::Write(port, width, value) => chipset.port_write(port, width, value, out),
        Step::Ioapic(register, value) => {
            chipset.ioapic_write(0, register.into(), out);
            chipset.ioapic_write(0x10, value, out);
            seen = chipset.ioapic_read(0x10, out);
        }
        Step::Select(offset) => seen = chipset.ioapic_read(offset, out),
        Step::Line(gsi, level) => chipset.set_line(gsi, level, out),
        Step::MachineLine(gsi) => chipset.assert_line(gsi, out),
        Step::NoMachineLine(gsi) => chipset.deassert_line(gsi, out),
        Step::Ended(vector) => chipset.end_of_interrupt(vector, out),
        Step::Acknowledge => seen = chipset.acknowledge_external(out).into(),
        Step::Typed(byte) => seen = chipset.receive(byte, out).into(),
    }
    (seen, effects.collect(), chipset.deadline(), chipset.external_pending())
}

/// The bytes that a state is saved as.
fn saved(save: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut bytes = std::vec![0; STATE_BYTES];
    let used = save(&mut bytes);
    bytes.truncate(used);
    bytes
}
