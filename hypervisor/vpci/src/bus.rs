//! The guest's PCI bus 0: which function is where, and one decoder behind both
//! configuration mechanisms.

mod placement;

use alloc::vec::Vec;
use core::ops::Range;

use spec::pci_config::{EXTENDED_CONFIG_BYTES, HEADER_TYPE, HEADER_TYPE_MULTI_FUNCTION, port};
use spec::{Gpa, Width};

use crate::bar::BARS;
use crate::effect::{PciEffect, PciEffects};
use crate::function::PciFunction;
use crate::host_bridge::HostBridge;
use crate::slot::Slot;

pub use placement::{Allocator, PlaceError};

/// Bytes of the ECAM window of one bus.
pub const ECAM_BYTES: u64 = 1 << 20;

/// Where BARs may be: what the guest's ACPI tables give as the windows of its
/// host bridge. Nothing else of the guest may be inside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Windows {
    /// Guest-physical addresses below 4 GiB.
    pub memory32: Range<u64>,
    /// Guest-physical addresses above 4 GiB.
    pub memory64: Range<u64>,
    /// Ports.
    pub ports: Range<u64>,
}

impl Windows {
    /// The windows of every guest's memory map.
    pub const STANDARD: Self = Self {
        memory32: 0xc000_0000..0xe000_0000,
        memory64: 0x20_0000_0000..0x40_0000_0000,
        ports: 0xc000..0x1_0000,
    };

    /// The windows of a guest whose processors' physical addresses have so many bits; 0
    /// where nobody knows. Where they do not reach the standard window, the upper half of
    /// what they reach is given to BARs.
    pub fn for_processors(address_bits: u8) -> Self {
        let standard = Self::STANDARD;
        match address_bits {
            33.. if 1 << address_bits.min(63) < standard.memory64.end => {
                Self { memory64: 1 << (address_bits - 1)..1 << address_bits, ..standard }
            }
            1..33 => Self { memory64: 1 << 32..1 << 32, ..standard },
            _ => standard,
        }
    }
}

/// A function could not be put on the bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotTaken(pub Slot);

/// A byte of a mapped BAR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BarTarget {
    /// Whose BAR it is.
    pub slot: Slot,
    /// Number of the BAR.
    pub bar: u8,
    /// Bytes from the start of the BAR.
    pub offset: u64,
    entry: usize,
}

/// A function on the bus, and what the guest sees of its BARs.
struct Entry<F> {
    slot: Slot,
    function: F,
    /// Address and size of each BAR that is mapped.
    mapped: [Option<(Gpa, u64)>; BARS],
    /// Where each BAR is that was refused there.
    refused: [Option<Gpa>; BARS],
    effects: PciEffects,
}

/// The guest's bus 0. The host bridge is at 00.0; everything else is put in with
/// [`GuestBus::insert`] at boot. One lock around it serves every virtual
/// processor; after each write take the effects out, before the lock is given up.
pub struct GuestBus<F> {
    windows: Windows,
    bridge: HostBridge,
    /// Sorted by slot.
    functions: Vec<Entry<F>>,
    /// The address register of configuration mechanism 1.
    address: u32,
}

impl<F: PciFunction> GuestBus<F> {
    /// A bus with nothing but its host bridge.
    pub fn new(windows: Windows) -> Self {
        Self { windows, bridge: HostBridge::new(), functions: Vec::new(), address: 0 }
    }

    /// Puts a function on the bus. At boot only: it allocates.
    ///
    /// # Errors
    /// The slot is taken; 00.0 always is.
    pub fn insert(&mut self, slot: Slot, function: F) -> Result<(), SlotTaken> {
        if slot == Slot(0) {
            return Err(SlotTaken(slot));
        }
        match self.functions.binary_search_by_key(&slot, |entry| entry.slot) {
            Ok(_) => Err(SlotTaken(slot)),
            Err(place) => {
                let entry = Entry {
                    slot,
                    function,
                    mapped: [None; BARS],
                    refused: [None; BARS],
                    effects: PciEffects::new(),
                };
                self.functions.insert(place, entry);
                Ok(())
            }
        }
    }

    /// The function in `slot`; not the host bridge.
    pub fn function(&self, slot: Slot) -> Option<&F> {
        self.functions.get(self.find(slot)?).map(|entry| &entry.function)
    }

    /// The function in `slot`; not the host bridge.
    pub fn function_mut(&mut self, slot: Slot) -> Option<&mut F> {
        let place = self.find(slot)?;
        self.functions.get_mut(place).map(|entry| &mut entry.function)
    }

    /// Every function but the host bridge, in the order of the slots.
    pub fn functions(&self) -> impl Iterator<Item = (Slot, &F)> {
        self.functions.iter().map(|entry| (entry.slot, &entry.function))
    }

    /// Reads a port from 0xcf8 to 0xcff. `None`: the access is none of
    /// configuration mechanism 1, such as a byte at 0xcf9.
    pub fn port_read(&mut self, port: u16, width: Width) -> Option<u32> {
        if port == port::ADDRESS && width == Width::Dword {
            return Some(self.address);
        }
        let (slot, offset, bytes) = self.port_target(port, width)?;
        let ones = width.mask() as u32;
        let Some(slot) = slot else { return Some(ones) };
        if bytes == width.bytes() {
            return Some(self.config_read(slot, offset, width));
        }
        // The access leaves the data port: bytes beyond it read ones.
        let inside = (0..bytes as u16).fold(0, |value, index| {
            value | self.config_read(slot, offset + index, Width::Byte) << (8 * index)
        });
        Some(inside | ones & u32::MAX << (8 * bytes))
    }

    /// Writes a port from 0xcf8 to 0xcff. False: the access is none of
    /// configuration mechanism 1.
    pub fn port_write(&mut self, port: u16, width: Width, value: u32) -> bool {
        if port == port::ADDRESS && width == Width::Dword {
            self.address = value;
            return true;
        }
        let Some((slot, offset, bytes)) = self.port_target(port, width) else { return false };
        let Some(slot) = slot else { return true };
        if bytes == width.bytes() {
            self.config_write(slot, offset, width, value);
        } else {
            for index in 0..bytes as u16 {
                self.config_write(slot, offset + index, Width::Byte, value >> (8 * index) & 0xff);
            }
        }
        true
    }

    /// Reads the ECAM window, `offset` bytes into it.
    pub fn ecam_read(&mut self, offset: u64, width: Width) -> u64 {
        let Some((slot, register)) = ecam_target(offset) else { return width.mask() };
        match width {
            Width::Qword => {
                let low = self.config_read(slot, register, Width::Dword);
                let high = self.config_read(slot, register + 4, Width::Dword);
                u64::from(high) << 32 | u64::from(low)
            }
            _ => self.config_read(slot, register, width).into(),
        }
    }

    /// Writes the ECAM window, `offset` bytes into it.
    pub fn ecam_write(&mut self, offset: u64, width: Width, value: u64) {
        let Some((slot, register)) = ecam_target(offset) else { return };
        match width {
            Width::Qword => {
                self.config_write(slot, register, Width::Dword, value as u32);
                self.config_write(slot, register + 4, Width::Dword, (value >> 32) as u32);
            }
            _ => self.config_write(slot, register, width, value as u32),
        }
    }

    /// Reads configuration space; absent functions read ones.
    pub fn config_read(&mut self, slot: Slot, offset: u16, width: Width) -> u32 {
        let value = if slot == Slot(0) {
            self.bridge.config_read(offset, width)
        } else if let Some(entry) = self.find(slot).and_then(|place| self.functions.get_mut(place)) {
            entry.function.config_read(offset, width)
        } else {
            return (width.mask() & Width::Dword.mask()) as u32;
        };
        // Whether the device has more functions only the bus knows.
        match HEADER_TYPE.checked_sub(offset) {
            Some(index) if u64::from(index) < width.bytes().min(4) => {
                let bit = u32::from(HEADER_TYPE_MULTI_FUNCTION) << (8 * index);
                if self.is_multi_function(slot.device()) { value | bit } else { value & !bit }
            }
            _ => value,
        }
    }

    /// Writes configuration space; absent functions ignore it.
    pub fn config_write(&mut self, slot: Slot, offset: u16, width: Width, value: u32) {
        if slot == Slot(0) {
            self.bridge.config_write(offset, width, value, &mut PciEffects::new());
        } else if let Some(entry) = self.find(slot).and_then(|place| self.functions.get_mut(place)) {
            let mut asked = PciEffects::new();
            entry.function.config_write(offset, width, value, &mut asked);
            if entry.effects.collect(&asked) {
                self.reconcile();
            }
        }
    }

    /// The mapped memory BAR that takes an access at `gpa`.
    pub fn memory_target(&self, gpa: Gpa) -> Option<BarTarget> {
        self.target(gpa, true)
    }

    /// The mapped I/O BAR that takes an access at `port`.
    pub fn port_bar_target(&self, port: u16) -> Option<BarTarget> {
        self.target(Gpa(port.into()), false)
    }

    /// Lets `access` use the function whose BAR takes an access, and tells it the number of
    /// the BAR and how many bytes into it the access is.
    pub fn with_bar<R>(
        &mut self,
        target: BarTarget,
        access: impl FnOnce(&mut F, u8, u64, &mut PciEffects) -> R,
    ) -> Option<R> {
        let entry = self.functions.get_mut(target.entry)?;
        let mut asked = PciEffects::new();
        let result = access(&mut entry.function, target.bar, target.offset, &mut asked);
        if entry.effects.collect(&asked) {
            self.reconcile();
        }
        Some(result)
    }

    /// The next thing to do because of the accesses so far, and whose it is. What
    /// takes something away, of any function, comes first.
    pub fn next_effect(&mut self) -> Option<(Slot, PciEffect)> {
        for entry in &mut self.functions {
            if let Some(effect) = entry.effects.pop_revocation() {
                return Some((entry.slot, effect));
            }
        }
        for entry in &mut self.functions {
            if let Some(effect) = entry.effects.pop(|| entry.function.next_message()) {
                return Some((entry.slot, effect));
            }
        }
        None
    }

    /// Every function as after reset, and nothing mapped. The effects say what is
    /// to be undone.
    pub fn reset(&mut self) {
        self.address = 0;
        self.bridge.reset(&mut PciEffects::new());
        for entry in &mut self.functions {
            let mut asked = PciEffects::new();
            entry.function.reset(&mut asked);
            entry.effects.collect(&asked);
        }
        self.reconcile();
    }

    fn find(&self, slot: Slot) -> Option<usize> {
        self.functions.binary_search_by_key(&slot, |entry| entry.slot).ok()
    }

    fn is_multi_function(&self, device: u8) -> bool {
        self.functions.iter().any(|entry| entry.slot.device() == device && entry.slot.function() != 0)
    }

    /// The function (`None`: none can answer), register and number of bytes that
    /// an access to the data port reaches; `None` if it is none of this mechanism.
    fn port_target(&self, port: u16, width: Width) -> Option<(Option<Slot>, u16, u64)> {
        // Ports take no more than 4 bytes at once.
        let byte = port.checked_sub(port::DATA).filter(|byte| *byte < 4 && width <= Width::Dword)?;
        let bus = self.address >> 16 & 0xff;
        let slot = (self.address & port::ENABLE != 0 && bus == 0).then_some(Slot((self.address >> 8) as u8));
        let register = (self.address & 0xfc) as u16 + byte;
        Some((slot, register, width.bytes().min(4 - u64::from(byte))))
    }

    fn target(&self, gpa: Gpa, memory: bool) -> Option<BarTarget> {
        for (place, entry) in self.functions.iter().enumerate() {
            for (bar, mapped) in (0_u8..).zip(&entry.mapped) {
                let Some((start, size)) = *mapped else { continue };
                // Ports and memory are different spaces, told apart by the windows.
                let is_memory = !self.windows.ports.contains(&start.0);
                if is_memory == memory && gpa >= start && gpa - start < size {
                    return Some(BarTarget { slot: entry.slot, bar, offset: gpa - start, entry: place });
                }
            }
        }
        None
    }
}

/// The function and register that an access to the ECAM window reaches.
fn ecam_target(offset: u64) -> Option<(Slot, u16)> {
    let register = (offset % u64::from(EXTENDED_CONFIG_BYTES)) as u16;
    (offset < ECAM_BYTES).then_some((Slot((offset >> 12) as u8), register))
}
