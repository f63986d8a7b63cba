//! Functions that firmware or a loader left able to write memory: they stop before any of the
//! loader's memory becomes a page table, a stack or the heap.
//!
//! A network card that booted the machine goes on receiving into buffers that the loader's map
//! calls free. This runs on the loader's tables, before [`crate::memory::frames`] gives anything out, so
//! it has neither ACPI's tables nor ECAM: it reaches what ports 0xcf8 and 0xcfc reach from bus 0
//! on. The kernel goes over all functions again when it has the tables.

use access::ConfigSpace;
use spec::Bdf;
use spec::pci_config::{COMMAND, HEADER_TYPE, HEADER_TYPE_BRIDGE, HEADER_TYPE_MULTI_FUNCTION, SECONDARY_BUS};
use spec::pci_config::{REVISION_ID, VENDOR_ID, command};

/// Functions that are remembered; more than that stop as well.
const REMEMBERED: usize = 128;
const DISPLAY: u8 = 0x03;
/// Class and subclass of an IOMMU (AMD's is a function); its own interrupts need the bus.
const IOMMU: u16 = 0x0806;

/// Functions that were stopped.
pub struct Stopped {
    functions: [Bdf; REMEMBERED],
    count: usize,
}

impl Stopped {
    /// None.
    pub const fn new() -> Self {
        Self { functions: [Bdf(0); REMEMBERED], count: 0 }
    }

    /// Those that are remembered.
    pub fn functions(&self) -> &[Bdf] {
        self.functions.get(..self.count).unwrap_or(&[])
    }

    fn remember(&mut self, function: Bdf) {
        if let Some(place) = self.functions.get_mut(self.count) {
            *place = function;
            self.count += 1;
        }
    }
}

impl Default for Stopped {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes bus mastering from every endpoint but screens, which show what firmware placed in
/// memory of their own, and IOMMUs. Bridges pass on what others send and stay as they are.
pub fn stop(config: &dyn ConfigSpace) -> Stopped {
    let mut walk = Walk { config, buses: [Seen::No; 256], stopped: Stopped::new() };
    walk.mark(0);
    loop {
        // Each bus is gone over once, so this ends.
        while let Some(bus) = walk.next() {
            walk.bus(bus);
        }
        // Further host bridges have buses to which no bridge leads. Most have a device 0.
        let Some(root) = (1..=255).find(|bus| walk.is_other_root(*bus)) else { break };
        walk.mark(root);
    }
    walk.stopped
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    No,
    Waits,
    Done,
}

struct Walk<'a> {
    config: &'a dyn ConfigSpace,
    buses: [Seen; 256],
    stopped: Stopped,
}

impl Walk<'_> {
    fn mark(&mut self, bus: u8) {
        if let Some(seen) = self.buses.get_mut(usize::from(bus)).filter(|seen| **seen == Seen::No) {
            *seen = Seen::Waits;
        }
    }

    fn next(&mut self) -> Option<u8> {
        let bus = self.buses.iter().position(|seen| *seen == Seen::Waits)?;
        *self.buses.get_mut(bus)? = Seen::Done;
        Some(bus as u8)
    }

    fn is_there(&self, function: Bdf) -> bool {
        !matches!(self.config.read16(function, VENDOR_ID), 0 | 0xffff)
    }

    /// Whether the bus is one of its own, with a device 0. What is found not to be is not asked
    /// again.
    fn is_other_root(&mut self, bus: u8) -> bool {
        let fresh = self.buses.get(usize::from(bus)) == Some(&Seen::No);
        let found = fresh && self.is_there(Bdf::new(bus, 0, 0));
        if fresh
            && !found
            && let Some(seen) = self.buses.get_mut(usize::from(bus))
        {
            *seen = Seen::Done;
        }
        found
    }

    fn bus(&mut self, bus: u8) {
        for device in 0..32 {
            let first = Bdf::new(bus, device, 0);
            if !self.is_there(first) {
                continue;
            }
            let several = self.config.read8(first, HEADER_TYPE) & HEADER_TYPE_MULTI_FUNCTION != 0;
            for function in 0..if several { 8 } else { 1 } {
                let function = Bdf::new(bus, device, function);
                if self.is_there(function) {
                    self.function(function);
                }
            }
        }
    }

    fn function(&mut self, function: Bdf) {
        if self.config.read8(function, HEADER_TYPE) & !HEADER_TYPE_MULTI_FUNCTION == HEADER_TYPE_BRIDGE {
            // 0 is what a bridge has that nobody gave a bus.
            let secondary = self.config.read8(function, SECONDARY_BUS);
            if secondary != 0 {
                self.mark(secondary);
            }
            return;
        }
        let class = self.config.read16(function, REVISION_ID + 2);
        let value = self.config.read16(function, COMMAND);
        if (class >> 8) as u8 == DISPLAY || class == IOMMU || value & command::BUS_MASTER == 0 {
            return;
        }
        self.config.write16(function, COMMAND, value & !command::BUS_MASTER);
        // Once it has answered, nothing that it sent before is still on its way.
        self.config.read16(function, COMMAND);
        self.stopped.remember(function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::fake_pci::{FakeConfigSpace, FakeFunction};
    use std::vec::Vec;

    fn working(class: u32) -> FakeFunction {
        let mut function = FakeFunction::new(0x8086, 0x10d3, class);
        function.put(COMMAND, 2, u32::from(command::BUS_MASTER | command::MEMORY_SPACE));
        function
    }

    fn bridge(secondary: u8) -> FakeFunction {
        let mut function = working(0x06_0400);
        function.put(HEADER_TYPE, 1, HEADER_TYPE_BRIDGE.into());
        function.put(SECONDARY_BUS, 1, secondary.into());
        function
    }

    #[test]
    fn every_endpoint_stops_but_screens_and_iommus() {
        let at = |bus, device| Bdf::new(bus, device, 0);
        let machine = FakeConfigSpace::with([
            (at(0, 1), working(0x03_0000)),
            (at(0, 2), working(0x02_0000)),
            (at(0, 3), working(0x08_0600)),
            (at(0, 4), bridge(5)),
            (at(5, 0), working(0x01_0802)),
            (at(5, 1), bridge(6)),
            // A bridge that leads back to where it stands ends nothing.
            (at(6, 0), bridge(5)),
            (at(6, 1), working(0x0c_0330)),
            // Another host bridge's bus.
            (at(0x80, 0), working(0x06_0000)),
            (at(0x80, 2), working(0x02_0000)),
        ]);
        let stopped: Vec<_> = stop(&machine).functions().to_vec();
        assert_eq!(stopped, [at(0, 2), at(5, 0), at(6, 1), at(0x80, 0), at(0x80, 2)]);
        for function in stopped {
            assert_eq!(machine.read16(function, COMMAND), command::MEMORY_SPACE, "{function}");
        }
        for stays in [at(0, 1), at(0, 3), at(0, 4), at(5, 1)] {
            assert_ne!(machine.read16(stays, COMMAND) & command::BUS_MASTER, 0, "{stays}");
        }
    }

    #[test]
    fn a_space_in_which_everything_answers_ends_too() {
        struct Everywhere;
        impl ConfigSpace for Everywhere {
            fn read(&self, _: Bdf, offset: u16, width: spec::Width) -> u32 {
                let byte = if offset == HEADER_TYPE { HEADER_TYPE_BRIDGE } else { 0x81 };
                u32::from_le_bytes([byte; 4]) & width.mask() as u32
            }
            fn write(&self, _: Bdf, _: u16, _: spec::Width, _: u32) {}
            fn is_extended(&self, _: Bdf) -> bool {
                false
            }
        }
        assert_eq!(stop(&Everywhere).functions(), []);
    }
}
