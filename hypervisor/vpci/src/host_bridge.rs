//! The host bridge at 00.0 of a guest's bus: what kernels look for before they
//! trust configuration mechanism 1.

use spec::Width;
use spec::pci_config::{COMMAND, REVISION_ID, VENDOR_ID, command};

use crate::image::{ConfigImage, Field};

/// The Intel 82G33/Q35 memory controller hub: kernels know it and expect nothing
/// of it.
const IDENTITY: u32 = 0x29c0_8086;
/// Class 06h subclass 00h: host bridge; revision 0.
const CLASS: u32 = 0x0600_0000;
/// A host bridge always decodes memory and masters its own bus.
const COMMAND_BITS: u16 = command::MEMORY_SPACE | command::BUS_MASTER;
/// The guest may write nothing but the error bits of the command register, which
/// do nothing here.
const FIELDS: &[Field] =
    &[Field::virtualised(COMMAND, 2, (command::PARITY_ERROR_RESPONSE | command::SERR_ENABLE) as u32)];

/// The emulated host bridge: an identity, and nothing behind it.
pub(crate) struct HostBridge {
    image: ConfigImage,
}

impl HostBridge {
    /// A host bridge as after reset.
    pub fn new() -> Self {
        let mut image = ConfigImage::new();
        image.lay(0, FIELDS, |_| 0);
        image.set(VENDOR_ID, Width::Dword, IDENTITY);
        image.set(REVISION_ID, Width::Dword, CLASS);
        image.set(COMMAND, Width::Word, COMMAND_BITS.into());
        Self { image }
    }

    /// Reads configuration space.
    pub fn config_read(&self, offset: u16, width: Width) -> u32 {
        self.image.read(offset, width, |_| 0)
    }
    /// Writes configuration space.
    pub fn config_write(&mut self, offset: u16, width: Width, value: u32) {
        self.image.write(offset, width, value, |_, _| {});
    }
    /// As after reset.
    pub fn reset(&mut self) {
        self.image.reset();
    }
}
