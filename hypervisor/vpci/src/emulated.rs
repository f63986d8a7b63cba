//! An emulated function: its configuration space and its BARs. The device behind them
//! is somebody else's; it hears of what the guest allows it as [`PciEffect::Enables`].
//!
//! Mostly there is one BAR. It holds the device's registers, then the MSI-X table and the pending bits,
//! each on pages of their own. A second one may be memory, which the guest reaches itself. The function
//! has no INTx pin. Behind MSI-X come the capabilities that
//! only drivers of the device understand. A [`Conventional`] function has I/O BARs and a pin instead.
//!
//! [`PciEffect::Enables`]: crate::PciEffect::Enables

mod conventional;
mod display;
mod ports;

pub use conventional::{Conventional, OwnRegister};
pub use display::DisplayDescription;
pub use ports::PortWindow;

use core::ops::Range;
use spec::address::PAGE_BYTES;
use spec::pci_capability::{id, msix};
use spec::pci_config::{
    CAPABILITIES, COMMAND, CONFIG_BYTES, REVISION_ID, STATUS, SUBSYSTEM, VENDOR_ID, command, status,
};
use spec::{Hpa, Width};

use pci::bar::BarKind;

use crate::bar::{BARS, Bar, GuestBars, TrappedRegion};
use crate::effect::{Enables, PciEffects};
use crate::function::PciFunction;
use crate::image::ConfigImage;

/// Where the MSI-X capability is in configuration space.
const MSIX: u16 = 0x40;
/// The BAR.
const REGISTERS_BAR: u8 = 0;
/// The BAR of memory.
const MEMORY_BAR: u8 = 2;
/// ID, next pointer and length of a vendor-specific capability.
const VENDOR_HEADER_BYTES: u16 = 3;

/// Who an emulated function says that it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Class code: base class, subclass and programming interface in the low 24 bits.
    pub class: u32,
    /// Revision.
    pub revision: u8,
}

/// Where things are in the BAR of an emulated function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BarLayout {
    /// Bytes from the start of the BAR to the MSI-X table: the device's registers are before
    /// it. A multiple of 4 KiB.
    pub table: u64,
    /// Bytes from the start of the BAR to the pending bits. A multiple of 4 KiB.
    pub pending: u64,
    /// Bytes of the BAR, a power of two.
    pub bytes: u64,
}

impl BarLayout {
    /// The layout for a device with `registers` bytes of registers and `messages` messages (1
    /// to 2048).
    pub const fn new(registers: u64, messages: u16) -> Self {
        let table = registers.next_multiple_of(PAGE_BYTES);
        let pending = (table + messages as u64 * msix::ENTRY_BYTES).next_multiple_of(PAGE_BYTES);
        // One bit a message: 2048 of them take 256 bytes.
        Self { table, pending, bytes: (pending + PAGE_BYTES).next_power_of_two() }
    }
}

/// What an emulated function is made of.
#[derive(Clone, Copy, Debug)]
pub struct Description<'a> {
    /// Who it says that it is.
    pub identity: Identity,
    /// How many messages it has, 1 to 2048.
    pub messages: u16,
    /// Where things are in its BAR.
    pub layout: BarLayout,
    /// What its vendor-specific capabilities hold behind their length byte (PCI Local Bus
    /// Specification 3.0, section 6.8). One for which there is no room any more is left out.
    pub vendor_specific: &'a [&'a [u8]],
    /// How many bytes at the end of the last of them are registers of the device's, which answers accesses to
    /// them itself ([`EmulatedFunction::device_register`]).
    pub device_registers: u16,
}

/// Memory of the machine's that is behind a BAR: the guest reaches it as it does its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BarMemory {
    /// Where it is, a multiple of its size.
    pub hpa: Hpa,
    /// Bytes of it: a power of two, and whole pages.
    pub bytes: u64,
}

/// The configuration space of an emulated function.
pub struct EmulatedFunction {
    image: ConfigImage,
    bars: GuestBars,
    told: Enables,
    /// Its requests are forwarded.
    forwarded: bool,
    has_messages: bool,
    /// Its I/O BARs.
    windows: &'static [PortWindow<u8>],
    /// Ports that it has without a BAR.
    fixed: &'static [PortWindow<u16>],
    /// Where the device has registers in configuration space.
    device_registers: Range<u16>,
}

impl EmulatedFunction {
    /// A function as after reset.
    pub fn new(description: &Description<'_>) -> Self {
        let Description { identity, layout, .. } = *description;
        let mut image = ConfigImage::new();
        add_identity(&mut image, identity);
        let writable = command::MEMORY_SPACE | command::BUS_MASTER | command::INTERRUPT_DISABLE;
        image.let_write(COMMAND, Width::Word, writable.into());
        image.set(STATUS, Width::Word, status::CAPABILITY_LIST.into());
        image.set(CAPABILITIES, Width::Byte, MSIX.into());
        add_msix(&mut image, description.messages, layout);
        let end = add_vendor_specific(&mut image, description.vendor_specific);
        let device_registers = end.saturating_sub(description.device_registers)..end;
        let mut bars = GuestBars::none();
        let kind = BarKind::Memory64 { prefetchable: false };
        bars.add(&mut image, REGISTERS_BAR, kind, layout.bytes, None);
        let told = Enables { line: true, ..Enables::default() };
        Self {
            image,
            bars,
            told,
            forwarded: true,
            has_messages: true,
            windows: &[],
            fixed: &[],
            device_registers,
        }
    }

    /// The same with memory behind a BAR of its own, number 2.
    pub fn with_memory(description: &Description<'_>, memory: BarMemory) -> Self {
        let mut function = Self::new(description);
        let kind = BarKind::Memory64 { prefetchable: true };
        function.bars.add(&mut function.image, MEMORY_BAR, kind, memory.bytes, Some(memory.hpa));
        function
    }

    /// Whether memory is behind this BAR, and not the device.
    pub fn is_memory(&self, bar: u8) -> bool {
        self.bars.host(bar).is_some()
    }

    /// How many bytes into the device's registers in configuration space an access is, if all of it is there.
    /// Of any other the function answers all, and as if nothing were there.
    pub fn device_register(&self, offset: u16, width: Width) -> Option<u64> {
        let Range { start, end } = self.device_registers;
        let is_inside = offset >= start && u64::from(offset) + width.bytes() <= end.into();
        is_inside.then(|| u64::from(offset - start))
    }

    fn command(&self) -> u16 {
        self.image.get16(COMMAND)
    }

    /// What the guest lets the device do.
    fn enables(&self) -> Enables {
        let control = if self.has_messages { self.image.get16(MSIX + msix::CONTROL) } else { 0 };
        Enables {
            bus_master: self.forwarded && self.command() & command::BUS_MASTER != 0,
            line: self.command() & command::INTERRUPT_DISABLE == 0,
            messages: control & msix::ENABLE != 0,
            masked: control & msix::FUNCTION_MASK != 0,
        }
    }

    fn settle(&mut self, before: [Option<Bar>; BARS], effects: &mut PciEffects) {
        for (number, (was, is)) in (0_u8..).zip(before.iter().zip(&self.bars())) {
            let at = |bar: &Option<Bar>| bar.as_ref().and_then(Bar::decoded_at);
            let (was, is) = (at(was), at(is));
            if was == is {
                continue;
            }
            if was.is_some() {
                effects.unmap_bar(number);
            }
            if let Some(gpa) = is {
                effects.map_bar(number, gpa);
            }
        }
        self.settle_enables(effects);
    }

    fn settle_enables(&mut self, effects: &mut PciEffects) {
        let enables = self.enables();
        if self.told != enables {
            self.told = enables;
            effects.enables(enables);
        }
    }
}

fn add_identity(image: &mut ConfigImage, identity: Identity) {
    let id = u32::from(identity.device) << 16 | u32::from(identity.vendor);
    image.set(VENDOR_ID, Width::Dword, id);
    image.set(REVISION_ID, Width::Dword, identity.class << 8 | u32::from(identity.revision));
    image.set(SUBSYSTEM, Width::Dword, id);
}

fn add_msix(image: &mut ConfigImage, messages: u16, layout: BarLayout) {
    image.set(MSIX, Width::Byte, id::MSIX.into());
    image.set(MSIX + msix::CONTROL, Width::Word, u32::from(messages.wrapping_sub(1) & msix::SIZE_MASK));
    let control = msix::ENABLE | msix::FUNCTION_MASK;
    image.let_write(MSIX + msix::CONTROL, Width::Word, control.into());
    image.set(MSIX + msix::TABLE, Width::Dword, layout.table as u32 | u32::from(REGISTERS_BAR));
    image.set(MSIX + msix::PENDING, Width::Dword, layout.pending as u32 | u32::from(REGISTERS_BAR));
}

/// Links capabilities behind MSI-X, each at the next doubleword. Where the last one ends; 0 if it is left
/// out.
fn add_vendor_specific(image: &mut ConfigImage, contents: &[&[u8]]) -> u16 {
    let (mut last, mut next, mut end) = (MSIX, MSIX + msix::BYTES, 0);
    for contents in contents {
        let bytes = VENDOR_HEADER_BYTES + contents.len() as u16;
        if next.saturating_add(bytes) > CONFIG_BYTES {
            return 0;
        }
        image.set(last + 1, Width::Byte, next.into());
        image.set(next, Width::Byte, id::VENDOR_SPECIFIC.into());
        image.set(next + 2, Width::Byte, bytes.into());
        for (at, byte) in (next + VENDOR_HEADER_BYTES..).zip(*contents) {
            image.set(at, Width::Byte, u32::from(*byte));
        }
        end = next + bytes;
        (last, next) = (next, end.next_multiple_of(4));
    }
    end
}

impl PciFunction for EmulatedFunction {
    fn config_read(&mut self, offset: u16, width: Width) -> u32 {
        self.image.read(offset, width, |_| 0)
    }

    fn config_write(&mut self, offset: u16, width: Width, value: u32, effects: &mut PciEffects) {
        let before = self.bars();
        self.image.write(offset, width, value, |_, _| {});
        self.settle(before, effects);
    }

    fn bars(&self) -> [Option<Bar>; BARS] {
        self.bars.current(&self.image, self.command())
    }

    fn fixed_port(&self, port: u16) -> Option<u64> {
        self.fixed_offset(port)
    }

    fn trapped_regions(&self) -> &[TrappedRegion] {
        &[]
    }

    fn set_forwarded(&mut self, forwarded: bool, effects: &mut PciEffects) {
        self.forwarded = forwarded;
        self.settle_enables(effects);
    }

    fn reset(&mut self, effects: &mut PciEffects) {
        let before = self.bars();
        self.image.reset();
        self.settle(before, effects);
    }
}

#[cfg(test)]
mod tests;
