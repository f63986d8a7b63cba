//! Access control services (PCI Express Base Specification sections 6.12 and 7.7.11) are put
//! in force, and proved to be.

use access::ConfigSpace;
use core::fmt;
use spec::Bdf;
use spec::pci_capability::access_control::{CONTROL, DIRECT_TRANSLATED, EGRESS_CONTROL, WIDER};

/// A port or function, and the services that it is to enforce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccessControls {
    /// The port or function.
    pub function: Bdf,
    /// Offset of the capability.
    pub offset: u16,
    /// The services: bits of the control register. All others are switched off.
    pub services: u16,
    /// The control register may be 2 bytes further on: this is a port of a kind whose
    /// registers have 32 bits.
    pub doublewords: bool,
}

/// A port or function does not enforce what is asked of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotEnforced {
    /// The port or function.
    pub function: Bdf,
    /// The services that were to be enabled.
    pub services: u16,
    /// What its control register says instead.
    pub control: u16,
}

impl fmt::Display for NotEnforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, services, control } = self;
        write!(f, "{function} does not enable access control services {services:#x} but {control:#x}")
    }
}

impl core::error::Error for NotEnforced {}

impl AccessControls {
    /// Enables the services.
    ///
    /// # Errors
    /// When the control register does not read back as it should: then what is behind
    /// the port reaches its neighbours past the IOMMU.
    pub fn enable<C: ConfigSpace + ?Sized>(&self, config: &C) -> Result<(), NotEnforced> {
        let standard = self.offset.saturating_add(CONTROL);
        // Within the kinds that are listed, not every stepping need have the fault. Where the
        // textbook has the control register, theirs have bits that cannot be written.
        let first = self.write(config, standard);
        if first.is_err() && self.doublewords {
            return self.write(config, standard.saturating_add(WIDER));
        }
        first
    }

    fn write<C: ConfigSpace + ?Sized>(&self, config: &C, register: u16) -> Result<(), NotEnforced> {
        let Self { function, services, .. } = *self;
        config.write16(function, register, services);
        let control = config.read16(function, register);
        // Either of these lets peers reach each other in spite of the redirects.
        let is_closed = control & (EGRESS_CONTROL | DIRECT_TRANSLATED) == 0;
        if is_closed && control & services == services {
            Ok(())
        } else {
            Err(NotEnforced { function, services, control })
        }
    }
}
