//! An AMD-Vi unit that works, but for what it lies about.

use crate::Input;
use crate::remapping::SharedFrames;
use crate::units::Disturb;
use access::fake_pci::{FakeConfigSpace, FakeFunction};
use access::{ConfigSpace, RegisterWindow};
use platform::remapping::AmdVi;
use spec::Bdf;
use spec::amdvi::{Control, register, Status};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// QEMU's unit.
const FEATURES: u64 = 0x29d7;
/// The unit's own function, and where its capability block is.
const OWN: Bdf = Bdf::new(0, 0, 2);
const CAPABILITY: u16 = 0x40;
/// The header of QEMU's capability block.
const HEADER: u32 = 0x1f0b_000f;
/// Code of COMPLETION_WAIT.
const WAIT: u64 = 1;
/// Commands that one write of the tail can be for.
const SLOTS: usize = 256;

/// What firmware says of every unit.
pub fn own() -> AmdVi {
    AmdVi {
        function: OWN,
        capability: CAPABILITY,
        msi_number: 0,
        tunnel_translation: true,
        pass_posted_writes: false,
        responses_pass_posted_writes: false,
        isochronous: false,
        coherent: false,
        signals: Vec::new(),
    }
}

/// The units' function; 4 bytes of the input spoil its capability block, and one its
/// list of capabilities.
pub fn config(input: &mut Input<'_>) -> FakeConfigSpace {
    let header = HEADER ^ if input.u8() & 1 == 0 { 0 } else { input.u32() };
    let [_, _, low, high] = header.to_le_bytes();
    let mut function = FakeFunction::new(0x1022, u16::from(input.u8() & 1), 0x08_0600).capability(
        0x0f,
        CAPABILITY,
        &[low, high],
    );
    function = function.with_msi(0x64, if input.u8() & 1 == 0 { 0x80 } else { 0 });
    if input.u8() & 0xf == 0xf {
        function.put(0x65, 1, input.u8().into());
    }
    FakeConfigSpace::with([(OWN, function)])
}

/// Whether that function is one of QEMU's kind.
pub fn is_honest(config: &FakeConfigSpace) -> bool {
    config.read32(OWN, CAPABILITY) & 0xffff_00ff == HEADER & 0xffff_00ff
}

struct State {
    frames: SharedFrames,
    features: u64,
    status: u64,
    head: u64,
    registers: BTreeMap<usize, u64>,
    /// What the bits of each read are flipped with, in a circle.
    lies: Vec<u64>,
    reads: usize,
}

/// The unit's registers.
#[derive(Clone)]
pub struct LyingAmdVi(Rc<RefCell<State>>);

impl LyingAmdVi {
    /// Takes its features and its lies from the input: a byte for whether the features
    /// differ from QEMU's and 8 bytes by what, then how many lies and each.
    pub fn new(frames: SharedFrames, input: &mut Input<'_>) -> Self {
        let features = if input.u8() & 1 == 0 { 0 } else { input.u64() };
        let count = input.u8().saturating_sub(0x80);
        let state = State {
            frames,
            features: FEATURES ^ features,
            status: 0,
            head: 0,
            registers: BTreeMap::new(),
            lies: (0..count).map(|_| input.u64()).collect(),
            reads: 0,
        };
        Self(Rc::new(RefCell::new(state)))
    }

    /// Whether it is a unit of QEMU's kind that tells the truth.
    pub fn is_honest(&self) -> bool {
        let state = self.0.borrow();
        state.lies.is_empty() && state.features == FEATURES
    }
}

impl Disturb for LyingAmdVi {
    /// A register of hardware's, or an entry of a log.
    fn disturb(&self, input: &mut Input<'_>) {
        let mut state = self.0.borrow_mut();
        let value = input.u64();
        match input.u8() & 7 {
            0 => state.status = value,
            1 => state.head = value,
            2 => drop(state.registers.insert(register::CONTROL, value)),
            3 => drop(state.registers.insert(register::PPR_TAIL, value & 0xff0)),
            4 => drop(state.registers.insert(register::EVENT_TAIL, value)),
            kind => {
                let log = if kind & 1 == 0 { register::EVENT_LOG } else { register::PPR_LOG };
                let tail = if kind & 1 == 0 { register::EVENT_TAIL } else { register::PPR_TAIL };
                let at = state.register(tail) & 0xff0;
                let base = state.register(log) & 0x000f_ffff_ffff_f000;
                state.frames.store64(base + at, value);
                state.frames.store64(base + at + 8, input.u64());
                state.registers.insert(tail, (at + 16) & 0xff0);
            }
        }
    }
}

impl State {
    fn register(&self, offset: usize) -> u64 {
        self.registers.get(&offset).copied().unwrap_or(0)
    }

    fn read(&mut self, offset: usize) -> u64 {
        let value = match offset {
            register::EXTENDED_FEATURES => self.features,
            register::STATUS => self.status,
            register::COMMAND_HEAD => self.head,
            _ => self.register(offset),
        };
        let lie = self.reads.checked_rem(self.lies.len()).map_or(0, |place| self.lies[place]);
        self.reads += 1;
        value ^ lie
    }

    fn write(&mut self, offset: usize, value: u64) {
        match offset {
            register::CONTROL => {
                self.registers.insert(offset, value);
                let runs = [
                    (Control::COMMAND_BUFFER.bits(), Status::COMMANDS_RUN.bits()),
                    (Control::EVENT_LOG.bits(), Status::EVENT_LOG_RUNS.bits()),
                    (Control::PPR_LOG.bits(), Status::PPR_LOG_RUNS.bits()),
                ];
                for (bit, run) in runs {
                    let on = value & bit != 0 && value & Control::ENABLE.bits() != 0;
                    self.status = self.status & !run | if on { run } else { 0 };
                }
            }
            register::STATUS => self.status &= !value,
            register::COMMAND_HEAD => self.head = value,
            register::COMMAND_TAIL => {
                self.registers.insert(offset, value);
                self.run_commands(value);
            }
            _ => drop(self.registers.insert(offset, value)),
        }
    }

    fn run_commands(&mut self, tail: u64) {
        let base = self.register(register::COMMAND_BUFFER) & 0x000f_ffff_ffff_f000;
        for _ in 0..SLOTS {
            if self.head == tail || self.status & Status::COMMANDS_RUN.bits() == 0 {
                break;
            }
            let at = base.wrapping_add(self.head & 0xff0);
            let low = self.frames.fetch(at);
            if low >> 60 == WAIT {
                self.frames.store64(low & 0x000f_ffff_ffff_fff8, self.frames.fetch(at + 8));
            }
            self.head = (self.head & 0xff0).wrapping_add(16) % 4096;
        }
    }
}

impl RegisterWindow for LyingAmdVi {
    fn read32(&self, offset: usize) -> u32 {
        assert!(offset.is_multiple_of(4));
        self.0.borrow_mut().read(offset) as u32
    }
    fn write32(&self, offset: usize, value: u32) {
        assert!(offset.is_multiple_of(4));
        self.0.borrow_mut().write(offset, value.into());
    }
    fn read64(&self, offset: usize) -> u64 {
        assert!(offset.is_multiple_of(8));
        self.0.borrow_mut().read(offset)
    }
    fn write64(&self, offset: usize, value: u64) {
        assert!(offset.is_multiple_of(8));
        self.0.borrow_mut().write(offset, value);
    }
    fn read8(&self, _: usize) -> u8 {
        panic!("a unit has no registers of less than 32 bits")
    }
    fn write8(&self, _: usize, _: u8) {
        panic!("a unit has no registers of less than 32 bits")
    }
    fn read16(&self, _: usize) -> u16 {
        panic!("a unit has no registers of less than 32 bits")
    }
    fn write16(&self, _: usize, _: u16) {
        panic!("a unit has no registers of less than 32 bits")
    }
}
