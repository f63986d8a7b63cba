//! An emulated display: memory, registers behind another BAR, and ports that it has had always.

use super::ports::PortWindow;
use super::{BarMemory, EmulatedFunction, Identity};
use crate::bar::GuestBars;
use crate::effect::Enables;
use crate::image::ConfigImage;
use pci::bar::BarKind;
use spec::Width;
use spec::pci_config::{COMMAND, command};

/// The BAR of the video memory.
const MEMORY_BAR: u8 = 0;
/// The BAR of the registers.
const REGISTERS_BAR: u8 = 2;

/// What an emulated display is made of.
#[derive(Clone, Copy, Debug)]
pub struct DisplayDescription {
    /// Who it says that it is.
    pub identity: Identity,
    /// Bytes of the BAR of registers, a power of two and whole pages.
    pub register_bytes: u64,
    /// Ports that it has without a BAR.
    pub fixed: &'static [PortWindow<u16>],
}

impl EmulatedFunction {
    /// A display with this video memory, as a BIOS leaves it, which has used it: it decodes its ports. It has
    /// neither messages nor a line.
    pub fn display(description: &DisplayDescription, memory: BarMemory) -> Self {
        let DisplayDescription { identity, register_bytes, fixed } = *description;
        let mut image = ConfigImage::new();
        super::add_identity(&mut image, identity);
        let writable = command::IO_SPACE | command::MEMORY_SPACE | command::BUS_MASTER;
        image.set(COMMAND, Width::Word, command::IO_SPACE.into());
        image.let_write(COMMAND, Width::Word, writable.into());
        let mut bars = GuestBars::none();
        let kind = BarKind::Memory32 { prefetchable: true };
        bars.add(&mut image, MEMORY_BAR, kind, memory.bytes, Some(memory.hpa));
        let kind = BarKind::Memory32 { prefetchable: false };
        bars.add(&mut image, REGISTERS_BAR, kind, register_bytes, None);
        let told = Enables { line: true, ..Enables::default() };
        Self {
            image,
            bars,
            told,
            forwarded: true,
            has_messages: false,
            windows: &[],
            fixed,
            device_registers: 0..0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::{PciEffect, PciEffects};
    use crate::function::PciFunction;
    use spec::{Gpa, Hpa};
    use std::vec::Vec;

    const MEMORY: BarMemory = BarMemory { hpa: Hpa(0x1000_0000), bytes: 16 << 20 };

    fn display() -> EmulatedFunction {
        let identity = Identity { vendor: 0x1234, device: 0x1111, class: 0x03_0000, revision: 2 };
        let fixed = &[PortWindow { place: 0x3c0, ports: 0x20, at: 0x400 }];
        EmulatedFunction::display(&DisplayDescription { identity, register_bytes: 0x1000, fixed }, MEMORY)
    }

    #[test]
    fn memory_is_mapped_and_registers_are_not() {
        let (mut display, mut effects) = (display(), PciEffects::new());
        for (bar, gpa) in [(0x10, 0xc000_0000), (0x18, 0xc100_0000)] {
            display.config_write(bar, Width::Dword, u32::MAX, &mut effects);
            let size = !(display.config_read(bar, Width::Dword) & !15) + 1;
            assert_eq!(size, if bar == 0x10 { 16 << 20 } else { 0x1000 });
            display.config_write(bar, Width::Dword, gpa, &mut effects);
        }
        assert_eq!(effects.pop(|| None), None);
        display.config_write(4, Width::Word, 3, &mut effects);
        let told: Vec<PciEffect> = std::iter::from_fn(|| effects.pop(|| None)).collect();
        let at = |bar, gpa| PciEffect::MapBar { bar, gpa: Gpa(gpa) };
        assert_eq!(told, [at(0, 0xc000_0000), at(2, 0xc100_0000)]);
        assert!(display.is_memory(0) && !display.is_memory(2));
        assert_eq!(display.bars()[0].unwrap().host, Some(MEMORY.hpa));
    }

    /// A kernel prints before it knows of PCI.
    #[test]
    fn ports_are_there_from_the_start_and_while_they_are_decoded() {
        let (mut display, mut effects) = (display(), PciEffects::new());
        assert_eq!((display.fixed_port(0x3d4), display.fixed_port(0x3e0)), (Some(0x414), None));
        display.config_write(4, Width::Word, 2, &mut effects);
        assert_eq!(display.fixed_port(0x3d4), None);
        display.reset(&mut effects);
        assert_eq!(display.fixed_port(0x3c0), Some(0x400));
    }
}
