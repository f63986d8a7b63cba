//! Interrupt lines: where the pins of conventional interrupts end.
//!
//! A function's pin goes through the bridges above it to a pin of a device on the root bus
//! (PCI-to-PCI Bridge Architecture Specification 1.2, section 9.1), and from there the board's
//! wires lead to an I/O APIC. Where they lead stands in AML, which nobody here interprets;
//! it is known of machines that have no choice, and of those whose board file says it.

use crate::emulators;
use crate::pci::Function;
use crate::topology::Platform;
use spec::Bdf;
use spec::pci_config::HEADER_TYPE_CARDBUS;

/// A pin of a device on a root bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RootPin {
    /// The root bus.
    pub bus: u8,
    /// Device number there.
    pub device: u8,
    /// Pin, 0 for INTA to 3 for INTD.
    pub pin: u8,
}

/// Interrupt pins of a device.
const PINS: u8 = 4;
/// Inputs of the ISA bus; a line of PCI never ends at one where there is an I/O APIC.
pub const ISA_INTERRUPTS: u32 = 16;

impl Platform {
    /// The pin on the root bus that a function's interrupt pin is wired to; `None` for a
    /// function without one. Each bridge rotates the pins by the device's number; a link
    /// has one device, number 0.
    pub fn root_pin(&self, function: &Function) -> Option<RootPin> {
        Some(self.root_pin_of(function, function.interrupt?.pin))
    }

    /// Where a function's pin `pin` would end, if it had that.
    fn root_pin_of(&self, function: &Function, mut pin: u8) -> RootPin {
        let mut at = function;
        for bridge in self.bridges_above(function) {
            let turn = if bridge.is_link() { 0 } else { at.bdf.device() };
            pin = match bridge.interrupt {
                // A card has one interrupt, and it comes out as its socket's.
                Some(its) if bridge.header == HEADER_TYPE_CARDBUS => its.pin,
                _ => pin.wrapping_add(turn) % PINS,
            };
            at = bridge;
        }
        RootPin { bus: at.bdf.bus(), device: at.bdf.device(), pin }
    }

    /// Whether a function that says it has no pin could hold down the line of another, which
    /// ends at `gsi`: nothing keeps a device from using the pin that it does not tell of.
    pub fn could_hold_line(&self, silent: &Function, other: &Function, gsi: u32) -> bool {
        let end = self.root_pin(other);
        silent.interrupt.is_none()
            && (0..PINS)
                .map(|pin| self.root_pin_of(silent, pin))
                .any(|pin| Some(pin) == end || self.q35_gsi(pin) == Some(gsi))
    }

    /// The global system interrupt of a function's pin, where it is known: because the
    /// board file says it, or as [`Platform::wired_gsi`].
    pub fn gsi(&self, function: &Function) -> Option<u32> {
        function.gsi.or_else(|| self.wired_gsi(function))
    }

    /// The global system interrupt of a function's pin on a machine that is wired in one way
    /// only, QEMU's q35: known at boot as from a board file.
    pub fn wired_gsi(&self, function: &Function) -> Option<u32> {
        self.q35_gsi(self.root_pin(function)?)
    }

    /// The input at which a pin of the root bus ends on QEMU's q35; `None` on any other machine.
    fn q35_gsi(&self, pin: RootPin) -> Option<u32> {
        let bridge = self.function(Bdf::new(0, 0, 0)).filter(|bridge| emulators::is_qemu_q35(bridge));
        bridge.and_then(|_| emulators::q35_gsi(pin.bus, pin.device, pin.pin))
    }

    /// Whether it can be seen that the pins of two functions end at one input: they meet at
    /// the root bus, or are known to end there.
    pub fn share_line(&self, one: &Function, other: &Function) -> bool {
        let same = |one: Option<u32>, other: Option<u32>| one.is_some() && one == other;
        match (self.root_pin(one), self.root_pin(other)) {
            (Some(a), Some(b)) => a == b || same(self.gsi(one), self.gsi(other)),
            _ => false,
        }
    }

    /// Whether something other than PCI functions uses a global system interrupt: the ISA
    /// bus, ACPI's events, or a source of NMIs.
    pub fn is_fixed_gsi(&self, gsi: u32) -> bool {
        gsi < ISA_INTERRUPTS
            || self.overrides().iter().any(|moved| moved.gsi == gsi)
            || self.nmi_sources().iter().any(|source| source.gsi == gsi)
            || self.fadt().is_some_and(|fadt| u32::from(fadt.sci) == gsi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acpi::{InterruptOverride, Trigger};
    use crate::names::DeviceId;
    use crate::pci::LegacyInterrupt;

    fn bridges() -> Platform {
        serde_json::from_str(include_str!("../../plan/tests/boards/bridges.json")).unwrap()
    }

    fn at<'p>(board: &'p Platform, path: &str) -> &'p Function {
        board.function_at(&path.parse().unwrap()).unwrap()
    }

    #[test]
    fn bridges_rotate_pins_and_links_do_not() {
        let board = bridges();
        let root = |path| board.root_pin(at(&board, path));
        let pin = |device, pin| Some(RootPin { bus: 0, device, pin });
        assert_eq!(root("00:04.0/01.0"), pin(4, 1));
        assert_eq!(root("00:04.0/02.0"), pin(4, 2));
        assert_eq!(root("00:05.0/00.0"), pin(5, 0));
        // A switch: its ports' numbers on the bus inside count, those behind links do not.
        assert_eq!(root("00:06.0/00.0/00.0/00.0"), pin(6, 0));
        assert_eq!(root("00:06.0/00.0/01.0/00.0"), pin(6, 1));
        assert_eq!(root("00:09.0"), pin(9, 3));
        assert_eq!(root("00:1f.0"), None, "it has no pin");
    }

    #[test]
    fn the_wires_of_q35_are_known_and_no_others() {
        let mut board = bridges();
        let gsi = |board: &Platform, path| board.gsi(at(board, path));
        assert_eq!(gsi(&board, "00:04.0/01.0"), Some(21));
        assert_eq!(gsi(&board, "00:04.0/02.0"), Some(22));
        assert_eq!(gsi(&board, "00:09.0"), Some(20));
        assert_eq!(gsi(&board, "00:1f.2"), Some(16));
        assert_eq!(gsi(&board, "80:00.0/00.0"), None, "another root bus");
        assert!(board.share_line(at(&board, "00:1f.2"), at(&board, "00:1f.3")));
        assert!(!board.share_line(at(&board, "00:04.0/01.0"), at(&board, "00:04.0/02.0")));
        board.functions[0].subsystem = Some(DeviceId { vendor: 0x1043, device: 0x1100 });
        assert_eq!(gsi(&board, "00:09.0"), None, "a real Q35");
        let edu = at(&board, "00:07.0").clone();
        assert!(board.share_line(&edu, at(&board, "00:07.1")), "that they meet needs no table");
        let known = Function { gsi: Some(18), ..edu };
        assert_eq!(board.gsi(&known), Some(18), "as the board file says");
    }

    #[test]
    fn inputs_with_another_use_are_fixed() {
        let mut board = bridges();
        assert!(board.is_fixed_gsi(9) && !board.is_fixed_gsi(20));
        let trigger = Trigger { active_low: None, level: None };
        board.tables.madt.overrides.push(InterruptOverride { isa_irq: 9, gsi: 20, trigger });
        assert!(board.is_fixed_gsi(20));
    }

    #[test]
    fn a_pin_that_a_board_file_makes_up_is_no_panic() {
        let mut board = bridges();
        for function in &mut board.functions {
            function.interrupt = Some(LegacyInterrupt { pin: 0xff, line: 0 });
        }
        for function in &board.functions {
            let _ = (board.gsi(function), board.root_pin(function));
        }
    }
}
