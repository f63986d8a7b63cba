//! Emulated functions of conventional PCI: ports, where theirs are or where they have always been, a
//! line, and no messages.

use super::ports::PortWindow;
use super::{EmulatedFunction, Identity};
use crate::bar::GuestBars;
use crate::effect::Enables;
use crate::image::ConfigImage;
use pci::bar::BarKind;
use spec::Width;
use spec::pci_config::{COMMAND, INTERRUPT_PIN, command};

/// A register of the function's own in configuration space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnRegister {
    /// Where it is, in bytes.
    pub offset: u16,
    /// How wide it is.
    pub width: Width,
    /// What it reads after a reset.
    pub value: u32,
    /// Which bits of it keep what is written.
    pub writable: u32,
}

/// What an emulated function of conventional PCI is made of.
#[derive(Clone, Copy, Debug)]
pub struct Conventional {
    /// Who it says that it is.
    pub identity: Identity,
    /// Its I/O BARs.
    pub bars: &'static [PortWindow<u8>],
    /// Ports that it has without a BAR.
    pub fixed: &'static [PortWindow<u16>],
    /// Whether it interrupts by INTA#; else its lines are not those of PCI.
    pub has_pin: bool,
    /// Registers of its own.
    pub registers: &'static [OwnRegister],
}

impl EmulatedFunction {
    /// A function of conventional PCI, as after reset.
    pub fn conventional(description: &Conventional) -> Self {
        let Conventional { identity, bars: windows, fixed, has_pin, registers } = *description;
        let mut image = ConfigImage::new();
        super::add_identity(&mut image, identity);
        let pin = if has_pin { command::INTERRUPT_DISABLE } else { 0 };
        image.let_write(COMMAND, Width::Word, (command::IO_SPACE | command::BUS_MASTER | pin).into());
        image.set(INTERRUPT_PIN, Width::Byte, has_pin.into());
        for register in registers {
            image.set(register.offset, register.width, register.value);
            image.let_write(register.offset, register.width, register.writable);
        }
        let mut bars = GuestBars::none();
        for window in windows {
            bars.add(&mut image, window.place, BarKind::Io, window.ports.into(), None);
        }
        let told = Enables { line: true, ..Enables::default() };
        Self {
            image,
            bars,
            told,
            forwarded: true,
            has_messages: false,
            windows,
            fixed,
            device_registers: 0..0,
        }
    }

    /// Where in the device's space of offsets an access is that the bus found `offset` bytes into
    /// BAR `bar`, or into [`FIXED`](crate::FIXED).
    pub fn device_offset(&self, bar: u8, offset: u64) -> u64 {
        let window = self.windows.iter().find(|window| window.place == bar);
        window.map_or(offset, |window| window.at + offset)
    }

    /// Where in the device's space of offsets `port` is, if the function has it without a BAR.
    pub(super) fn fixed_offset(&self, port: u16) -> Option<u64> {
        let find = |window: &PortWindow<u16>| {
            let offset = port.checked_sub(window.place).filter(|offset| *offset < window.ports)?;
            Some(window.at + u64::from(offset))
        };
        let decodes = self.command() & command::IO_SPACE != 0;
        self.fixed.iter().filter(|_| decodes).find_map(find)
    }
}

#[cfg(test)]
mod tests;
