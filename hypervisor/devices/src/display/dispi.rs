//! The DISPI registers: how the linear framebuffer is shown.

use crate::picture::{DOT_BYTES, Graphics};
use serde::{Deserialize, Serialize};
use spec::display::{dispi, enable};

/// Bits of a dot: there is one depth.
const DEPTH: u16 = 32;
/// The most dots in a line, and the most lines, that the device says it has; the memory may hold fewer.
const MOST: u16 = 8192;

/// The registers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Dispi {
    /// As they were written; those that cannot be hold nothing.
    values: [u16; dispi::COUNT],
    pub(super) memory_bytes: u64,
}

impl Dispi {
    /// The registers of a display with so much video memory.
    pub(super) const fn new(memory_bytes: u64) -> Self {
        Self { values: [0; dispi::COUNT], memory_bytes }
    }

    pub(super) const fn reset(&mut self) {
        self.values = [0; dispi::COUNT];
    }

    fn value(&self, register: usize) -> u16 {
        self.values.get(register).copied().unwrap_or(0)
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.value(dispi::ENABLE) & enable::ENABLED != 0
    }

    pub(super) fn read(&self, register: usize) -> u16 {
        let asks = self.value(dispi::ENABLE) & enable::CAPABILITIES != 0;
        match register {
            dispi::ID => dispi::VERSION,
            dispi::DEPTH => DEPTH,
            dispi::WIDTH | dispi::HEIGHT if asks => MOST,
            dispi::MEMORY => u16::try_from(self.memory_bytes / dispi::MEMORY_UNIT).unwrap_or(u16::MAX),
            _ => self.value(register),
        }
    }

    /// Writes a register. Whether that switched a picture on.
    pub(super) fn write(&mut self, register: usize, value: u16) -> bool {
        if matches!(register, dispi::ID | dispi::DEPTH | dispi::BANK | dispi::MEMORY) {
            return false;
        }
        let was = self.is_enabled();
        if let Some(place) = self.values.get_mut(register) {
            *place = value;
        }
        self.is_enabled() && !was
    }

    /// The picture; `None` where the memory does not hold all of it.
    pub(super) fn graphics(&self, is_big_endian: bool) -> Option<Graphics> {
        let size = (self.value(dispi::WIDTH), self.value(dispi::HEIGHT));
        let stride = DOT_BYTES * u64::from(self.value(dispi::VIRTUAL_WIDTH).max(size.0));
        let start = u64::from(self.value(dispi::Y_OFFSET)) * stride
            + u64::from(self.value(dispi::X_OFFSET)) * DOT_BYTES;
        Graphics::new(size, start, stride, is_big_endian, self.memory_bytes)
    }
}
