//! The machine's PCI configuration space: ECAM where the MCFG has it, else ports
//! 0xcf8 and 0xcfc (PCI Express Base Specification section 7.2, PCI Local Bus
//! Specification section 3.2.2.3.2).

use access::ConfigSpace;
use alloc::vec::Vec;
use spec::{Bdf, Hpa, Width};

use crate::cpu::ports;
use crate::memory::mmio::Window;
use crate::memory::paging::MapError;

const BUS_BYTES: u64 = 1 << 20;
/// The address register is one for the whole machine.
static ADDRESS: spin::mutex::TicketMutex<()> = spin::mutex::TicketMutex::new(());

struct Ecam {
    first_bus: u8,
    last_bus: u8,
    /// From the first bus on.
    window: Window,
}

/// Configuration space of segment 0.
pub struct MachineConfigSpace {
    ecam: Vec<Ecam>,
}

impl MachineConfigSpace {
    /// By ports alone.
    pub const fn new() -> Self {
        Self { ecam: Vec::new() }
    }

    /// Adds buses `first_bus` to `last_bus` by ECAM: `base` is where bus 0 would be, as
    /// in the MCFG. A bus that is there already stays as it was.
    pub fn add_ecam(&mut self, base: Hpa, first_bus: u8, last_bus: u8) -> Result<(), MapError> {
        if first_bus > last_bus {
            return Err(MapError::Misaligned);
        }
        let start = base.checked_add(u64::from(first_bus) * BUS_BYTES).ok_or(MapError::Misaligned)?;
        let buses = u64::from(last_bus - first_bus) + 1;
        let window = Window::map(start, buses * BUS_BYTES)?;
        self.ecam.push(Ecam { first_bus, last_bus, window });
        Ok(())
    }

    fn registers(&self, function: Bdf) -> Option<(&Window, usize)> {
        let bus = function.bus();
        let ecam = self.ecam.iter().find(|ecam| (ecam.first_bus..=ecam.last_bus).contains(&bus))?;
        let offset =
            usize::from(bus - ecam.first_bus) * BUS_BYTES as usize + usize::from(function.devfn()) * 4096;
        Some((&ecam.window, offset))
    }
}

impl Default for MachineConfigSpace {
    fn default() -> Self {
        Self::new()
    }
}

/// What goes to 0xcf8 for the doubleword with the register at `offset`.
const fn port_address(function: Bdf, offset: u16) -> u32 {
    1 << 31 | (function.0 as u32) << 8 | (offset as u32 & 0xfc)
}

/// Whether an access makes sense: no wider than 4 bytes, aligned, in the space.
const fn is_sound(offset: u16, width: Width, end: u16) -> bool {
    width.bytes() <= 4 && width.is_aligned(offset as u64) && offset < end
}

impl ConfigSpace for MachineConfigSpace {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        let none = width.mask() as u32;
        if let Some((window, start)) = self.registers(function) {
            let at = start + usize::from(offset);
            return match width {
                _ if !is_sound(offset, width, 4096) => none,
                Width::Byte => window.read_u8(at).into(),
                Width::Word => window.read_u16(at).into(),
                _ => window.read_u32(at),
            };
        }
        if !is_sound(offset, width, 256) {
            return none;
        }
        let _address = ADDRESS.lock();
        let data = 0xcfc + (offset & 3);
        // SAFETY: these ports are the host bridge's; reading a configuration register
        // starts no DMA. The lock keeps the address and the data together.
        unsafe {
            ports::write32(0xcf8, port_address(function, offset));
            match width {
                Width::Byte => ports::read8(data).into(),
                Width::Word => ports::read16(data).into(),
                _ => ports::read32(data),
            }
        }
    }

    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        if let Some((window, start)) = self.registers(function) {
            let at = start + usize::from(offset);
            return match width {
                _ if !is_sound(offset, width, 4096) => {}
                Width::Byte => window.write_u8(at, value as u8),
                Width::Word => window.write_u16(at, value as u16),
                _ => window.write_u32(at, value),
            };
        }
        if !is_sound(offset, width, 256) {
            return;
        }
        let _address = ADDRESS.lock();
        let data = 0xcfc + (offset & 3);
        // SAFETY: as for reading; that what is written does no harm is what `pci` and
        // `iommu` are for.
        unsafe {
            ports::write32(0xcf8, port_address(function, offset));
            match width {
                Width::Byte => ports::write8(data, value as u8),
                Width::Word => ports::write16(data, value as u16),
                _ => ports::write32(data, value),
            }
        }
    }

    fn is_extended(&self, function: Bdf) -> bool {
        self.registers(function).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_address_names_the_doubleword() {
        assert_eq!(port_address(Bdf::new(2, 3, 1), 0x3e), 0x8002_193c);
    }

    #[test]
    fn only_aligned_accesses_of_up_to_4_bytes_are_sound() {
        assert!(is_sound(252, Width::Dword, 256));
        assert!(!is_sound(256, Width::Byte, 256));
        assert!(!is_sound(2, Width::Dword, 256));
        assert!(!is_sound(0, Width::Qword, 4096));
    }

    #[test]
    fn a_function_without_ecam_is_not_extended() {
        assert!(!MachineConfigSpace::new().is_extended(Bdf::new(0, 0, 0)));
    }
}
