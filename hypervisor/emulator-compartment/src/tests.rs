//! The interpreter in a compartment and the interpreter itself do the same.

mod hostile;
mod same;

use crate::area::AREA_WORDS;
use crate::{EmulatorServer, First, RemoteEmulator};
use access::fake_processor::StillProcessor;
use access::vcpu::{Event, NestedAccess, PortAccess, ProcessorState, RAX, RBX, RCX, RDI, RDX, RSI};
use access::{GuestMemory, OutOfBounds};
use compartment::{Compartment, Ended, Kind, Range, Restarts};
use emulator::{Bus, Moved, Outcome, Ports, Recent};
use spec::{Gpa, Width};
use std::boxed::Box;
use std::sync::{Arc, Mutex, OnceLock};
use std::vec::Vec;

const MEMORY_BYTES: usize = 1 << 20;
const TABLES: u64 = 0x1000;
const LEAVES: u64 = 0x4000;
const CODE: u64 = 0x8000;
/// Linear address of the device, behind memory.
const DEVICE: u64 = MEMORY_BYTES as u64;
/// Where that is with paging.
const DEVICE_GPA: u64 = 0xd000_0000;

/// Memory that both sides have.
#[derive(Clone)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl GuestMemory for Shared {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        let (memory, start) = (self.0.lock().unwrap(), gpa.0 as usize);
        let end = start.checked_add(bytes.len()).ok_or(OutOfBounds)?;
        bytes.copy_from_slice(memory.get(start..end).ok_or(OutOfBounds)?);
        Ok(())
    }
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let (mut memory, start) = (self.0.lock().unwrap(), gpa.0 as usize);
        let end = start.checked_add(bytes.len()).ok_or(OutOfBounds)?;
        memory.get_mut(start..end).ok_or(OutOfBounds)?.copy_from_slice(bytes);
        Ok(())
    }
    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        gpa.0.checked_add(bytes).is_some_and(|end| end <= MEMORY_BYTES as u64)
    }
}

impl Shared {
    /// Page tables that map 1 MiB of memory one to one, and the device behind it; some bytes everywhere else.
    fn new() -> Self {
        static TEMPLATE: OnceLock<Vec<u8>> = OnceLock::new();
        let bytes = TEMPLATE.get_or_init(|| {
            let bytes = (0..MEMORY_BYTES).map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8).collect();
            let memory = Self(Arc::new(Mutex::new(bytes)));
            let put = |at, value| memory.write64(Gpa(at), value).unwrap();
            put(TABLES, (TABLES + 0x1000) | 7);
            put(TABLES + 0x1000, (TABLES + 0x2000) | 7);
            put(TABLES + 0x2000, LEAVES | 7);
            for page in 0..512 {
                let gpa = if page < 256 { page << 12 } else { DEVICE_GPA + ((page - 256) << 12) };
                put(LEAVES + 8 * page, gpa | 7);
            }
            memory.bytes()
        });
        Self(Arc::new(Mutex::new(bytes.clone())))
    }

    fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.bytes())))
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

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

/// A compartment in this process.
struct Process {
    area: Box<[u64]>,
    life: Option<(EmulatorServer, Vec<Range>)>,
    memory: Shared,
    fates: Vec<Fate>,
    /// Changes an answer.
    forge: Option<Forge>,
    entries: usize,
}

impl Process {
    fn new(memory: &Shared) -> Self {
        let area = std::vec![0x5555_5555_5555_5555; AREA_WORDS].into();
        Self { area, life: None, memory: memory.clone(), fates: Vec::new(), forge: None, entries: 0 }
    }

    fn emulator(self) -> RemoteEmulator {
        RemoteEmulator::begin(Box::new(self), &Self::first(), Restarts { most: 1_000_000, minute: 60 })
            .unwrap()
    }

    fn first() -> First {
        First::new(std::vec![Range { start: Gpa(0), bytes: MEMORY_BYTES as u64 }]).unwrap()
    }
}

impl Compartment for Process {
    fn area(&mut self) -> &mut [u64] {
        &mut self.area
    }

    fn enter(&mut self) -> Result<(), Ended> {
        let Some((server, _)) = &mut self.life else {
            assert_eq!(Kind::of(&self.area), Some(Kind::Interpreter));
            let ranges = First::serve(&mut self.area).unwrap();
            self.life = Some((EmulatorServer::default(), ranges));
            return Ok(());
        };
        self.entries += 1;
        let fate = self.fates.pop().unwrap_or(Fate::Serves);
        if fate != Fate::DiesAtOnce {
            assert!(server.serve(&self.memory, &mut self.area));
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
        self.life = None;
        Self::first().enter(self)
    }
}

/// What is on the bus and at the ports: what is read depends on all that was done before. A string is its elements.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Outside {
    log: Vec<(u64, Width, Option<u64>)>,
    takes_strings: bool,
}

impl Outside {
    fn value(&mut self, place: u64, width: Width) -> u64 {
        self.log.push((place, width, None));
        let seed = (self.log.len() as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (seed ^ seed >> 29) & width.mask()
    }
}

impl Bus for Outside {
    fn read(&mut self, gpa: Gpa, width: Width) -> Option<u64> {
        Some(self.value(gpa.0, width))
    }
    fn write(&mut self, gpa: Gpa, width: Width, value: u64) {
        self.log.push((gpa.0, width, Some(value)));
    }
}

impl Ports for Outside {
    fn input(&mut self, port: u16, width: Width) -> Option<u32> {
        Some(self.value(port.into(), width) as u32)
    }
    fn output(&mut self, port: u16, width: Width, value: u32) {
        self.log.push((port.into(), width, Some(value.into())));
    }
    fn input_string(&mut self, port: u16, width: Width, bytes: &mut [u8]) -> Moved {
        if !self.takes_strings {
            return Moved::Nothing;
        }
        for part in bytes.chunks_mut(width.bytes() as usize) {
            let value = self.value(port.into(), width).to_le_bytes();
            part.copy_from_slice(&value[..part.len()]);
        }
        Moved::All
    }
    fn output_string(&mut self, port: u16, width: Width, bytes: &[u8]) -> Moved {
        if !self.takes_strings {
            return Moved::Nothing;
        }
        for part in bytes.chunks(width.bytes() as usize) {
            let value = part.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
            self.output(port, width, value);
        }
        Moved::All
    }
}

/// Why an instruction exits.
#[derive(Clone, Copy, Debug)]
enum Cause {
    Device(Gpa),
    Port(PortAccess),
}

/// A processor, at an instruction.
#[derive(Clone, Debug)]
struct Case {
    cpu: StillProcessor,
    code: Vec<u8>,
    cause: Cause,
    takes_strings: bool,
    /// Leaf entries of page tables that are otherwise: a page, and what is its lowest byte.
    leaves: Vec<(u64, u8)>,
}

/// What became of it.
#[derive(Clone, PartialEq, Debug)]
struct Result_ {
    outcome: Outcome,
    cpu: StillProcessor,
    outside: Outside,
    unsupported: Vec<u8>,
}

impl Case {
    fn memory(&self) -> Shared {
        let memory = Shared::new();
        memory.write(Gpa(CODE), &self.code).unwrap();
        for (page, low) in &self.leaves {
            memory.write(Gpa(LEAVES + 8 * (page % 512)), &[*low]).unwrap();
        }
        memory
    }

    /// Executes it, over and over while it repeats: some exits of one are fewer of the other.
    fn run(&self, mut exit: impl FnMut(&mut StillProcessor, &mut Outside) -> (Outcome, Vec<u8>)) -> Result_ {
        let mut cpu = self.cpu.clone();
        let mut outside = Outside { takes_strings: self.takes_strings, ..Outside::default() };
        loop {
            let (outcome, unsupported) = exit(&mut cpu, &mut outside);
            let count = cpu.register(RCX) as u16;
            let goes_on = outcome == Outcome::Done && cpu.rip == self.cpu.rip && count != 0;
            if !goes_on {
                return Result_ { outcome, cpu, outside, unsupported };
            }
        }
    }

    fn here(&self, memory: &Shared) -> Result_ {
        let mut recent = Recent::default();
        self.run(|cpu, outside| {
            let outcome = match self.cause {
                Cause::Device(gpa) => {
                    emulator::memory_access(cpu, memory, outside, &mut recent, gpa, NestedAccess::Read)
                }
                Cause::Port(access) => emulator::string_port(cpu, memory, outside, &mut recent, access),
            };
            let bytes = recent.unsupported();
            let is_it = outcome == Outcome::Unsupported;
            (outcome, if is_it { bytes.as_slice().to_vec() } else { Vec::new() })
        })
    }

    fn there(&self, emulator: &mut RemoteEmulator) -> Result_ {
        self.run(|cpu, outside| {
            let outcome = match self.cause {
                Cause::Device(gpa) => emulator.memory_access(cpu, outside, (gpa, NestedAccess::Read), || 0),
                Cause::Port(access) => emulator.string_port(cpu, outside, access, || 0),
            };
            let outcome = outcome.unwrap();
            let is_it = outcome == Outcome::Unsupported;
            (outcome, if is_it { emulator.unsupported().to_vec() } else { Vec::new() })
        })
    }
}

/// At `code`, in 64-bit mode, with RBX at the device.
fn at(code: &[u8]) -> Case {
    let mut cpu = StillProcessor::long(TABLES);
    cpu.rip = CODE;
    cpu.registers[RBX] = DEVICE + 0x10;
    let cause = Cause::Device(Gpa(DEVICE_GPA + 0x10));
    Case { cpu, code: code.to_vec(), cause, takes_strings: false, leaves: Vec::new() }
}
