//! What tests of virtio drivers have in common: registers that lie.

use crate::Layout;
use access::{ConfigSpace, RegisterWindow};
use spec::pci_capability::id::VENDOR_SPECIFIC;
use spec::pci_config::{CAPABILITIES, STATUS, status};
use spec::virtio::feature::ACCESS_PLATFORM;
use spec::virtio::pci::common;
use spec::{Bdf, Width};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec::Vec;

/// Configuration space of one function.
#[derive(Clone, Debug)]
pub struct Space(pub [u8; 256]);

impl Space {
    /// One with these vendor-specific capabilities, each from behind its length on.
    pub fn new(capabilities: &[&[u8]]) -> Self {
        let mut bytes = [0; 256];
        bytes[usize::from(STATUS)] = status::CAPABILITY_LIST as u8;
        let (mut link, mut at) = (usize::from(CAPABILITIES), 0x40);
        for contents in capabilities {
            bytes[link] = at as u8;
            bytes[at..at + 3].copy_from_slice(&[VENDOR_SPECIFIC, 0, contents.len() as u8 + 3]);
            bytes[at + 3..at + 3 + contents.len()].copy_from_slice(contents);
            link = at + 1;
            at += (contents.len() + 3).next_multiple_of(4);
        }
        Self(bytes)
    }

    /// The registers that it names, behind BARs of memory that all have so many bytes.
    pub fn layout(&self, bar_bytes: u64) -> Result<Layout, crate::Error> {
        Layout::find(self, Bdf::new(0, 0, 0), |bar| (bar < 6).then_some(bar_bytes))
    }
}

impl ConfigSpace for Space {
    fn read(&self, _: Bdf, offset: u16, width: Width) -> u32 {
        let byte = |index: u64| u32::from(self.0[usize::from(offset) + index as usize]) << (8 * index);
        (0..width.bytes()).fold(0, |value, index| value | byte(index))
    }
    fn write(&self, _: Bdf, _: u16, _: Width, _: u32) {
        panic!("nothing is written to find registers");
    }
    fn is_extended(&self, _: Bdf) -> bool {
        false
    }
}

/// The device behind registers.
pub trait Wire {
    /// Reads.
    fn read(&self, offset: u64, width: Width) -> u64;
    /// Writes.
    fn write(&self, offset: u64, width: Width, value: u64);
}

/// What stands between a device whose common configuration comes first and its driver: in any case that
/// the device is behind the IOMMU, which an emulated one is not told.
#[derive(Debug, Default)]
pub struct Lies {
    selects: [Cell<u64>; 2],
    generation: Cell<u8>,
    /// Features that it does not offer.
    pub hidden: Cell<u64>,
    /// What is read in place of what is there, by offset.
    pub reads: RefCell<BTreeMap<u64, u64>>,
    /// Its configuration is another one whenever it is asked.
    pub is_restless: Cell<bool>,
    /// It is not there any more.
    pub is_gone: Cell<bool>,
    /// Writes of the driver that were let through: offset and value.
    pub writes: RefCell<Vec<(u64, u64)>>,
}

/// Registers that lie as [`Lies`] say.
#[derive(Clone, Debug)]
pub struct Registers<W> {
    /// The device.
    pub wire: W,
    /// The lies.
    pub lies: Rc<Lies>,
}

impl<W: Wire> Registers<W> {
    /// Registers that tell the truth but of the IOMMU.
    pub fn new(wire: W) -> Self {
        Self { wire, lies: Rc::default() }
    }

    fn half(select: u64, features: u64) -> u64 {
        if select < 2 { features >> (32 * select) & 0xffff_ffff } else { 0 }
    }

    fn get(&self, offset: usize, width: Width) -> u64 {
        let (offset, lies) = (offset as u64, &self.lies);
        if lies.is_gone.get() {
            return width.mask();
        }
        let value = self.wire.read(offset, width);
        if let Some(lie) = lies.reads.borrow().get(&offset) {
            return lie & width.mask();
        }
        if offset == common::GENERATION && lies.is_restless.get() {
            lies.generation.set(lies.generation.get().wrapping_add(1));
            return lies.generation.get().into();
        }
        if offset == common::DEVICE_FEATURE {
            let half = |features| Self::half(lies.selects[0].get(), features);
            return (value | half(ACCESS_PLATFORM)) & !half(lies.hidden.get());
        }
        value
    }

    fn set(&self, offset: usize, width: Width, value: u64) {
        let (offset, lies) = (offset as u64, &self.lies);
        if lies.is_gone.get() {
            return;
        }
        lies.writes.borrow_mut().push((offset, value));
        let mut value = value;
        match offset {
            common::DEVICE_FEATURE_SELECT => lies.selects[0].set(value),
            common::DRIVER_FEATURE_SELECT => lies.selects[1].set(value),
            common::DRIVER_FEATURE => {
                let half = |features| Self::half(lies.selects[1].get(), features);
                let is_told_so = !lies.reads.borrow().contains_key(&common::DEVICE_FEATURE);
                assert!(!is_told_so || value & half(lies.hidden.get()) == 0, "it takes what is not offered");
                value &= !half(ACCESS_PLATFORM);
            }
            _ => {}
        }
        self.wire.write(offset, width, value);
    }
}

impl<W: Wire> RegisterWindow for Registers<W> {
    fn read32(&self, offset: usize) -> u32 {
        self.get(offset, Width::Dword) as u32
    }
    fn write32(&self, offset: usize, value: u32) {
        self.set(offset, Width::Dword, value.into());
    }
    fn read64(&self, offset: usize) -> u64 {
        self.get(offset, Width::Qword)
    }
    fn write64(&self, offset: usize, value: u64) {
        self.set(offset, Width::Qword, value);
    }
    fn read8(&self, offset: usize) -> u8 {
        self.get(offset, Width::Byte) as u8
    }
    fn write8(&self, offset: usize, value: u8) {
        self.set(offset, Width::Byte, value.into());
    }
    fn read16(&self, offset: usize) -> u16 {
        self.get(offset, Width::Word) as u16
    }
    fn write16(&self, offset: usize, value: u16) {
        self.set(offset, Width::Word, value.into());
    }
}
