//! QEMU's teaching device: a DMA engine with any address (QEMU docs/specs/edu).

use crate::cpu::{read32, write32, write64};
use crate::pci::{self, Function};
use crate::time::wait_until;

/// Vendor and device.
pub const ID: u32 = 0x11e8_1234;
/// The device's own buffer as its DMA engine sees it, 4 KiB.
const BUFFER: u64 = 0x4_0000;
const COMMAND_RUN: u32 = 1;
const COMMAND_TO_MEMORY: u32 = 2;

/// A device with its registers mapped and bus mastering on.
#[derive(Clone, Copy)]
pub struct Edu {
    /// Its function.
    pub function: Function,
    /// Address of its registers.
    pub registers: u64,
}

impl Edu {
    /// The `n`th one; `None` if it is absent or its registers do not answer.
    pub fn find(n: usize) -> Option<Self> {
        let function = pci::find(ID, n)?;
        function.command(0, 6);
        let registers = function.bar(0);
        crate::paging::map(registers);
        let edu = Self { function, registers };
        edu.answers().then_some(edu)
    }

    /// Whether the registers answer: one gives back the inverse of what is written.
    pub fn answers(self) -> bool {
        write32(self.registers + 4, 0x1234_5678);
        read32(self.registers + 4) == !0x1234_5678
    }

    /// Moves `bytes` (at most 4096) from `address` into the device's buffer; false if
    /// the engine does not end.
    pub fn fetch(self, address: u64, bytes: u64) -> bool {
        self.run(address, BUFFER, bytes, 0)
    }

    /// Moves `bytes` (at most 4096) of the device's buffer to `address`.
    pub fn store(self, address: u64, bytes: u64) -> bool {
        self.run(BUFFER, address, bytes, COMMAND_TO_MEMORY)
    }

    fn run(self, source: u64, destination: u64, bytes: u64, direction: u32) -> bool {
        write64(self.registers + 0x80, source);
        write64(self.registers + 0x88, destination);
        write64(self.registers + 0x90, bytes.min(4096));
        write32(self.registers + 0x98, COMMAND_RUN | direction);
        wait_until(2_000_000, || read32(self.registers + 0x98) & COMMAND_RUN == 0)
    }

    /// Raises the interrupt.
    pub fn raise(self) {
        write32(self.registers + 0x60, 1);
    }

    /// Whether it asks for an interrupt, whoever hears of it.
    pub fn is_raised(self) -> bool {
        read32(self.registers + 0x24) != 0
    }

    /// Takes the interrupt back; it fires again only after that.
    pub fn acknowledge(self) {
        acknowledge(self.registers);
    }
}

/// Takes back the interrupt of the device whose registers are there, for handlers.
pub fn acknowledge(registers: u64) {
    write32(registers + 0x64, u32::MAX);
}
