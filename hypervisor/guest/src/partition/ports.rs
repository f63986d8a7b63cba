//! Who has a port: the PCI bus with the devices behind it, or the chipset.

use super::Partition;
use crate::host::{BusAccess, Host, Reply};
use crate::layout::PCI_CONFIG_PORT;
use spec::Width;
use spec::display::registers::VGA_PORTS;
use spec::display::vga;

impl<H: Host> Partition<H> {
    /// Reads a port of the bus or the chipset. Returns the value, and whether the
    /// caller has to look at its interrupts and timers.
    pub fn port_read(&self, from: usize, port: u16, width: Width) -> (u32, bool) {
        if is_bus_port(port) {
            let reply = self.bus().port_read(self, port, width);
            match reply {
                Reply::Done(value) => return (value, false),
                Reply::Endpoint { number, offset } => {
                    let (value, own) = self.endpoint_read(from, number, offset, width);
                    return (value as u32, own);
                }
                Reply::Nothing => {}
            }
        }
        self.with_chipset(from, |chipset, effects, now| chipset.port_read(port, width, now, effects))
    }

    /// Writes a port of the bus or the chipset. Returns whether the caller has to
    /// look at its interrupts and timers.
    pub fn port_write(&self, from: usize, port: u16, width: Width, value: u32) -> bool {
        if is_bus_port(port) {
            let reply = self.bus().port_write(self, port, width, value);
            match reply {
                Reply::Done(()) => return true,
                Reply::Endpoint { number, offset } => {
                    return self.endpoint_write(from, number, offset, width, value.into());
                }
                Reply::Nothing => {}
            }
        }
        self.with_chipset(from, |chipset, effects, now| chipset.port_write(port, width, value, now, effects))
            .1
    }

    /// Reads a port of an emulated device over and over, `width` bytes each time, until `bytes` are
    /// full. Returns whether the caller has to look at its interrupts; `None` where the port is
    /// somebody else's.
    pub fn port_read_string(&self, from: usize, port: u16, width: Width, bytes: &mut [u8]) -> Option<bool> {
        let (number, offset) = self.endpoint_at(port)?;
        Some(self.endpoint_read_string(from, number, offset, width, bytes))
    }

    /// Writes a port of an emulated device over and over; as
    /// [`port_read_string`](Self::port_read_string).
    pub fn port_write_string(&self, from: usize, port: u16, width: Width, bytes: &[u8]) -> Option<bool> {
        let (number, offset) = self.endpoint_at(port)?;
        Some(self.endpoint_write_string(from, number, offset, width, bytes))
    }

    fn endpoint_at(&self, port: u16) -> Option<(usize, u64)> {
        if is_bus_port(port) { self.bus().port_endpoint(port) } else { None }
    }
}

/// Whether the PCI bus may have something at `port`: configuration mechanism 1, the window for I/O
/// BARs, or the ports of IDE channels and of VGA.
const fn is_bus_port(port: u16) -> bool {
    port & !7 == PCI_CONFIG_PORT || port >= IO_BAR_WINDOW || is_ide_port(port) || is_vga_port(port)
}

/// Whether it is one of VGA's in colors: 0x3c0 to 0x3df.
const fn is_vga_port(port: u16) -> bool {
    port & !(VGA_PORTS - 1) == vga::PORTS
}

/// Whether it is one of the two channels' of IDE controllers in compatibility mode: 0x1f0 to 0x1f7
/// and 0x3f6, and both 0x80 below.
const fn is_ide_port(port: u16) -> bool {
    port & !0x87 == 0x170 || port & !0x80 == 0x376
}

/// First port of the window for I/O BARs, which goes to the last port.
const IO_BAR_WINDOW: u16 = 0xc000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bus_is_asked_for_its_ports_only() {
        let asked: alloc::vec::Vec<u16> = (0..IO_BAR_WINDOW).filter(|&port| is_bus_port(port)).collect();
        let ide = (0x170..0x178).chain(0x1f0..0x1f8).chain([0x376, 0x3f6]);
        let mut expected: alloc::vec::Vec<u16> = ide.chain(0x3c0..0x3e0).chain(0xcf8..0xd00).collect();
        expected.sort_unstable();
        assert_eq!(asked, expected);
        assert!((IO_BAR_WINDOW..=u16::MAX).all(is_bus_port));
    }
}
