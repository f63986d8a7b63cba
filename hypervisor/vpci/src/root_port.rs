//! An emulated PCI Express root port: the bridge between the root bus of a guest and a bus with
//! one device (PCI Express Base Specification sections 7.3.3, 7.5.1.3 and 7.5.3). The guest gives
//! that bus a number, and the port windows of memory to forward.
//!
//! It forwards no ports, says nothing of what is plugged in behind it, and has no interrupt.

use pci::bridge::{MemoryWindow, memory_windows};
use spec::Width;
use spec::pci_capability::{express, id};
use spec::pci_config::{
    BRIDGE_CONTROL, BRIDGE_CONTROL_PARITY_ERRORS, BRIDGE_CONTROL_SECONDARY_RESET,
    BRIDGE_CONTROL_SYSTEM_ERRORS, BRIDGE_MEMORY, BRIDGE_PREFETCHABLE, CAPABILITIES, COMMAND, HEADER_TYPE,
    HEADER_TYPE_BRIDGE, PRIMARY_BUS, REVISION_ID, SECONDARY_BUS, STATUS, SUBORDINATE_BUS, VENDOR_ID, command,
    status,
};

use crate::image::{ConfigImage, Field};

/// QEMU's generic root port: drivers take it by its class.
const IDENTITY: u32 = 0x000c_1b36;
/// Class 06h subclass 04h: PCI-to-PCI bridge; revision 0.
const CLASS: u32 = 0x0604_0000;
/// Where the PCI Express capability is.
const EXPRESS: u16 = 0x40;
/// Version 2 of the structure, of a root port without a slot.
const EXPRESS_CAPABILITIES: u32 = (express::TYPE_ROOT_PORT << express::TYPE_SHIFT | 2) as u32;
/// A link of 2.5 GT/s and one lane, which is what link capabilities and link status say alike.
const LINK: u32 = 0x11;
const LINK_CAPABILITIES: u16 = 0x0c;
const LINK_STATUS: u16 = 0x12;
/// Bits of the two halves of a window's register that are an address.
const WINDOW: u32 = 0xfff0_fff0;
/// The prefetchable window has 64 bits.
const WINDOW_64: u32 = 0x0001_0001;

const COMMAND_BITS: u16 = command::MEMORY_SPACE
    | command::BUS_MASTER
    | command::PARITY_ERROR_RESPONSE
    | command::SERR_ENABLE
    | command::INTERRUPT_DISABLE;
const CONTROL_BITS: u16 =
    BRIDGE_CONTROL_PARITY_ERRORS | BRIDGE_CONTROL_SYSTEM_ERRORS | BRIDGE_CONTROL_SECONDARY_RESET;

/// What the guest may write. Of ports nothing is forwarded: their window reads 0.
const FIELDS: &[Field] = &[
    Field::virtualised(COMMAND, 2, COMMAND_BITS as u32),
    // The primary, the secondary and the subordinate bus number.
    Field::virtualised(PRIMARY_BUS, 3, 0xff_ffff),
    Field::virtualised(BRIDGE_MEMORY, 4, WINDOW),
    Field::virtualised(BRIDGE_PREFETCHABLE, 4, WINDOW),
    Field::virtualised(BRIDGE_PREFETCHABLE + 4, 4, u32::MAX),
    Field::virtualised(BRIDGE_PREFETCHABLE + 8, 4, u32::MAX),
    Field::virtualised(BRIDGE_CONTROL, 2, CONTROL_BITS as u32),
    Field::virtualised(EXPRESS + express::DEVICE_CONTROL, 2, express::ERROR_REPORTING as u32),
];

/// A root port.
pub(crate) struct RootPort {
    image: ConfigImage,
}

impl RootPort {
    /// A root port as after reset: it forwards nothing.
    pub fn new() -> Self {
        let mut image = ConfigImage::new();
        image.lay(0, FIELDS, |_| 0);
        image.set(VENDOR_ID, Width::Dword, IDENTITY);
        image.set(REVISION_ID, Width::Dword, CLASS);
        image.set(HEADER_TYPE, Width::Byte, HEADER_TYPE_BRIDGE.into());
        image.set(BRIDGE_PREFETCHABLE, Width::Dword, WINDOW_64);
        image.set(STATUS, Width::Word, status::CAPABILITY_LIST.into());
        image.set(CAPABILITIES, Width::Byte, EXPRESS.into());
        image.set(EXPRESS, Width::Byte, id::EXPRESS.into());
        image.set(EXPRESS + express::CAPABILITIES, Width::Word, EXPRESS_CAPABILITIES);
        image.set(EXPRESS + LINK_CAPABILITIES, Width::Dword, LINK);
        image.set(EXPRESS + LINK_STATUS, Width::Word, LINK);
        Self { image }
    }

    /// Reads configuration space.
    pub fn config_read(&self, offset: u16, width: Width) -> u32 {
        self.image.read(offset, width, |_| 0)
    }

    /// Writes configuration space. Returns whether a reset of the bus behind it began.
    pub fn config_write(&mut self, offset: u16, width: Width, value: u32) -> bool {
        let before = self.holds_reset();
        self.image.write(offset, width, value, |_, _| {});
        self.holds_reset() && !before
    }

    /// As after reset.
    pub fn reset(&mut self) {
        self.image.reset();
    }

    /// Gives it bus numbers and windows, as firmware does. A window of no bytes is closed.
    pub fn place(&mut self, secondary: u8, memory: MemoryWindow, prefetchable: MemoryWindow) {
        let window = |(start, bytes): MemoryWindow| match bytes {
            // A limit below the base.
            0 => (u64::from(WINDOW & 0xffff) << 16, 0),
            _ => (start, start + (bytes - 1)),
        };
        let register = |(base, limit): (u64, u64)| (base >> 16) as u32 & 0xfff0 | limit as u32 & 0xfff0_0000;
        let wide = window(prefetchable);
        let buses = u32::from(secondary) << 8 | u32::from(secondary) << 16;
        for (at, value) in [
            (PRIMARY_BUS, buses),
            (BRIDGE_MEMORY, register(window(memory))),
            (BRIDGE_PREFETCHABLE, register(wide)),
            (BRIDGE_PREFETCHABLE + 4, (wide.0 >> 32) as u32),
            (BRIDGE_PREFETCHABLE + 8, (wide.1 >> 32) as u32),
        ] {
            self.image.write(at, Width::Dword, value, |_, _| {});
        }
    }

    /// Whether a configuration access to bus `bus` is one to the bus right behind it. Nothing is
    /// behind that, so what lies between it and the subordinate bus number is nobody's.
    pub fn leads_to(&self, bus: u8) -> bool {
        let number = |at| self.image.get(at, Width::Byte) as u8;
        bus != 0 && bus == number(SECONDARY_BUS) && bus <= number(SUBORDINATE_BUS) && !self.holds_reset()
    }

    /// Whether it forwards memory accesses to `bytes` bytes from `start`, all of them.
    pub fn forwards(&self, start: u64, bytes: u64) -> bool {
        let inside = |(base, length): MemoryWindow| {
            start
                .checked_sub(base)
                .and_then(|offset| offset.checked_add(bytes))
                .is_some_and(|end| end <= length)
        };
        let on = self.image.get16(COMMAND) & command::MEMORY_SPACE != 0;
        on && memory_windows(|at| self.image.get32(at)).into_iter().flatten().any(inside)
    }

    /// Whether it forwards the requests of what is behind it.
    pub fn masters(&self) -> bool {
        self.image.get16(COMMAND) & command::BUS_MASTER != 0
    }

    fn holds_reset(&self) -> bool {
        self.image.get16(BRIDGE_CONTROL) & BRIDGE_CONTROL_SECONDARY_RESET != 0
    }
}
