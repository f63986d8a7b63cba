//! The guest's PCI bus: which function is where, and one decoder behind both configuration
//! mechanisms.

mod placement;
mod ports;

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use spec::pci_config::{EXTENDED_CONFIG_BYTES, HEADER_TYPE, HEADER_TYPE_MULTI_FUNCTION, port};
use spec::{Gpa, Width};

use crate::bar::BARS;
use crate::effect::{PciEffect, PciEffects};
use crate::function::PciFunction;
use crate::host_bridge::HostBridge;
use crate::root_port::RootPort;
use crate::slot::Slot;

pub use placement::{Allocator, PlaceError};

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
pub enum InsertError {
    /// Something is there; 00.0 always is.
    Taken(Slot),
    /// There is no such root port.
    NoPort(Slot),
    /// All of the bus's places are used.
    Full,
}

impl fmt::Display for InsertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(slot) => write!(f, "slot {slot} is taken"),
            Self::NoPort(slot) => write!(f, "{slot} is behind a root port that is not there"),
            Self::Full => write!(f, "the bus has no place for one more function"),
        }
    }
}

/// In the place of a BAR's number: ports that a function has without one.
pub const FIXED: u8 = BARS as u8;

/// A byte of a mapped BAR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BarTarget {
    /// Whose BAR it is.
    pub slot: Slot,
    /// Number of the BAR, or [`FIXED`].
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

impl<F: PciFunction> Entry<F> {
    fn reset(&mut self) {
        let mut asked = PciEffects::new();
        self.function.reset(&mut asked);
        self.effects.collect(&asked);
    }
}

/// The guest's bus. The host bridge is at 00.0 of the root bus, whose number is 0; root ports
/// are put there with [`GuestBus::insert_port`], functions on it and behind ports with
/// [`GuestBus::insert`]. One lock around it serves every virtual
/// processor; after each write take the effects out, before the lock is given up.
pub struct GuestBus<F> {
    windows: Windows,
    bridge: HostBridge,
    /// The root ports and where each is, in the order of their numbers, of which the first is 1.
    ports: Vec<(Slot, RootPort)>,
    /// Sorted by slot. It never grows past its first capacity.
    functions: Vec<Entry<F>>,
    /// The address register of configuration mechanism 1.
    address: u32,
}

impl<F: PciFunction> GuestBus<F> {
    /// A bus with nothing but its host bridge, and room for so many functions.
    pub fn new(windows: Windows, places: usize) -> Self {
        let functions = Vec::with_capacity(places);
        Self { windows, bridge: HostBridge::new(), ports: Vec::new(), functions, address: 0 }
    }

    /// Puts a function on the bus, also while the guest runs: nothing is allocated.
    ///
    /// # Errors
    /// The slot is taken or is none, or there is no room.
    pub fn insert(&mut self, slot: Slot, function: F) -> Result<(), InsertError> {
        if self.is_there(slot) {
            return Err(InsertError::Taken(slot));
        }
        if usize::from(slot.port()) > self.ports.len() {
            return Err(InsertError::NoPort(slot));
        }
        if self.functions.len() == self.functions.capacity() {
            return Err(InsertError::Full);
        }
        let (mapped, refused, effects) = ([None; BARS], [None; BARS], PciEffects::new());
        let mut entry = Entry { slot, function, mapped, refused, effects };
        entry.tell_forwarding(&self.ports);
        let place = self.functions.partition_point(|other| other.slot < slot);
        self.functions.insert(place, entry);
        Ok(())
    }

    /// Takes a function off the bus, as after its reset. It leaves the effects that are to be
    /// applied before anything else happens to it: what was mapped of it is to be unmapped.
    pub fn remove(&mut self, slot: Slot) -> Option<(F, PciEffects)> {
        let place = self.find(slot)?;
        let mut entry = self.functions.remove(place);
        entry.reset();
        for (bar, mapped) in (0_u8..).zip(&entry.mapped) {
            if mapped.is_some() {
                entry.effects.unmap_bar(bar);
            }
        }
        self.reconcile();
        Some((entry.function, entry.effects))
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
        let Some((slot, register)) = self.ecam_target(offset) else { return width.mask() };
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
        let Some((slot, register)) = self.ecam_target(offset) else { return };
        match width {
            Width::Qword => {
                self.config_write(slot, register, Width::Dword, value as u32);
                self.config_write(slot, register + 4, Width::Dword, (value >> 32) as u32);
            }
            _ => self.config_write(slot, register, width, value as u32),
        }
    }

    /// The function and the register that an access to a port of configuration mechanism 1 reaches.
    pub fn port_register(&self, port: u16, width: Width) -> Option<(&F, u16)> {
        let (slot, offset, bytes) = self.port_target(port, width)?;
        if bytes == width.bytes() { Some((self.answering(slot?)?, offset)) } else { None }
    }

    /// The same of an access to the ECAM window.
    pub fn ecam_register(&self, offset: u64) -> Option<(&F, u16)> {
        let (slot, register) = self.ecam_target(offset)?;
        Some((self.answering(slot)?, register))
    }

    /// The function in `slot`, where it answers accesses to configuration space.
    fn answering(&self, slot: Slot) -> Option<&F> {
        if slot.function() == 0 || self.is_there(slot.first()) { self.function(slot) } else { None }
    }

    /// Reads configuration space; absent functions read ones, and so do those of a device without
    /// a function 0.
    pub fn config_read(&mut self, slot: Slot, offset: u16, width: Width) -> u32 {
        let ones = (width.mask() & Width::Dword.mask()) as u32;
        if slot.function() != 0 && !self.is_there(slot.first()) {
            return ones;
        }
        let value = if slot == Slot(0) {
            self.bridge.config_read(offset, width)
        } else if let Some(entry) = self.find(slot).and_then(|place| self.functions.get_mut(place)) {
            entry.function.config_read(offset, width)
        } else if let Some((_, port)) = self.port_in(slot) {
            port.config_read(offset, width)
        } else {
            return ones;
        };
        // Whether the device has more functions only the bus knows.
        match HEADER_TYPE.checked_sub(offset) {
            Some(index) if u64::from(index) < width.bytes().min(4) => {
                let bit = u32::from(HEADER_TYPE_MULTI_FUNCTION) << (8 * index);
                if self.is_multi_function(slot) { value | bit } else { value & !bit }
            }
            _ => value,
        }
    }

    /// Writes configuration space; absent functions ignore it.
    pub fn config_write(&mut self, slot: Slot, offset: u16, width: Width, value: u32) {
        if slot.function() != 0 && !self.is_there(slot.first()) {
            return;
        }
        if slot == Slot(0) {
            self.bridge.config_write(offset, width, value);
        } else if let Some(entry) = self.find(slot).and_then(|place| self.functions.get_mut(place)) {
            let mut asked = PciEffects::new();
            entry.function.config_write(offset, width, value, &mut asked);
            if entry.effects.collect(&asked) {
                self.reconcile();
            }
        } else {
            self.write_port(slot, offset, width, value);
        }
    }

    /// The mapped memory BAR that takes an access at `gpa`.
    pub fn memory_target(&self, gpa: Gpa) -> Option<BarTarget> {
        self.target(gpa, true)
    }

    /// The mapped I/O BAR that takes an access at `port`, or the function that has it without one.
    pub fn port_bar_target(&self, port: u16) -> Option<BarTarget> {
        if self.windows.ports.contains(&port.into()) {
            return self.target(Gpa(port.into()), false);
        }
        let mut functions = self.functions.iter().enumerate();
        functions.find_map(|(place, entry)| {
            let offset = entry.function.fixed_port(port)?;
            Some(BarTarget { slot: entry.slot, bar: FIXED, offset, entry: place })
        })
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
        self.bridge.reset();
        for (_, port) in &mut self.ports {
            port.reset();
        }
        for entry in &mut self.functions {
            entry.reset();
        }
        self.settle_ports();
    }

    fn find(&self, slot: Slot) -> Option<usize> {
        self.functions.binary_search_by_key(&slot, |entry| entry.slot).ok()
    }

    fn is_there(&self, slot: Slot) -> bool {
        slot == Slot(0) || self.find(slot).is_some() || self.port_in(slot).is_some()
    }

    fn is_multi_function(&self, slot: Slot) -> bool {
        let is_more = |other: Slot| other.first() == slot.first() && other.function() != 0;
        self.functions.iter().any(|entry| is_more(entry.slot))
            || self.ports.iter().any(|(at, _)| is_more(*at))
    }

    /// The function (`None`: none can answer), register and number of bytes that
    /// an access to the data port reaches; `None` if it is none of this mechanism.
    fn port_target(&self, port: u16, width: Width) -> Option<(Option<Slot>, u16, u64)> {
        // Ports take no more than 4 bytes at once.
        let byte = port.checked_sub(port::DATA).filter(|byte| *byte < 4 && width <= Width::Dword)?;
        let enabled = self.address & port::ENABLE != 0;
        let slot = enabled.then(|| self.route((self.address >> 8) as u16)).flatten();
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

    /// The place and the register that an access to the ECAM window reaches.
    fn ecam_target(&self, offset: u64) -> Option<(Slot, u16)> {
        let register = (offset % u64::from(EXTENDED_CONFIG_BYTES)) as u16;
        let id = u16::try_from(offset / u64::from(EXTENDED_CONFIG_BYTES)).ok()?;
        Some((self.route(id)?, register))
    }
}
