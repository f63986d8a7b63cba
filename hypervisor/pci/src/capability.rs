//! Bounded walks of capability lists (PCI Express Base Specification sections
//! 7.5.3 and 7.6). A list is what a device says: it may point outside, at itself or
//! into another structure. A walk ends at the first thing that cannot be true.

use core::fmt;

use access::ConfigSpace;
use spec::pci_capability::FIRST_EXTENDED;
use spec::pci_config::{
    CAPABILITIES, CARDBUS_CAPABILITIES, CONFIG_BYTES, EXTENDED_CONFIG_BYTES, HEADER_BYTES, HEADER_TYPE,
    HEADER_TYPE_CARDBUS, HEADER_TYPE_MULTI_FUNCTION, STATUS, status,
};
use spec::{Bdf, Width};

/// How many structures of 4 bytes fit behind the header.
const MAX_CAPABILITIES: usize = ((CONFIG_BYTES - HEADER_BYTES) / 4) as usize;
/// How many structures of 8 bytes fit into extended configuration space.
const MAX_EXTENDED: usize = ((EXTENDED_CONFIG_BYTES - FIRST_EXTENDED) / 8) as usize;

/// Why a walk ended before the list said it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CapabilityFault {
    /// A pointer leads outside the space that capabilities may take.
    Outside {
        /// The pointer.
        pointer: u16,
    },
    /// Nothing answers where a pointer leads.
    Absent {
        /// The pointer.
        pointer: u16,
    },
    /// The list leads back to a structure that was seen, or has more of them
    /// than fit.
    Loop {
        /// Offset of the structure seen twice.
        at: u16,
    },
    /// A structure reaches past the end of configuration space or into another.
    Truncated {
        /// Offset of the structure.
        at: u16,
        /// Its ID.
        id: u16,
    },
}

impl fmt::Display for CapabilityFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside { pointer } => write!(f, "a capability pointer leads to {pointer:#x}"),
            Self::Absent { pointer } => {
                write!(f, "there is no capability at {pointer:#x}, where a pointer leads")
            }
            Self::Loop { at } => write!(f, "the capability list comes back to {at:#x}"),
            Self::Truncated { at, id } => {
                write!(f, "capability {id:#x} at {at:#x} reaches into another or past the end")
            }
        }
    }
}

/// Calls `each(id, offset)` for every capability in the first 256 bytes, in the
/// order of the list; ends early where `each` returns an error.
pub fn walk<C: ConfigSpace + ?Sized>(
    config: &C,
    function: Bdf,
    mut each: impl FnMut(u8, u16) -> Result<(), CapabilityFault>,
) -> Result<(), CapabilityFault> {
    if config.read16(function, STATUS) & status::CAPABILITY_LIST == 0 {
        return Ok(());
    }
    // The lowest two bits of a pointer are reserved (section 7.5.1.1.11).
    let list = match config.read8(function, HEADER_TYPE) & !HEADER_TYPE_MULTI_FUNCTION {
        HEADER_TYPE_CARDBUS => CARDBUS_CAPABILITIES,
        _ => CAPABILITIES,
    };
    let mut at = u16::from(config.read8(function, list) & !3);
    let mut seen = 0_u64;
    for _ in 0..MAX_CAPABILITIES {
        if at == 0 {
            return Ok(());
        }
        if at < HEADER_BYTES {
            return Err(CapabilityFault::Outside { pointer: at });
        }
        if seen >> (at / 4) & 1 != 0 {
            return Err(CapabilityFault::Loop { at });
        }
        seen |= 1 << (at / 4);
        let header = config.read16(function, at);
        if header == u16::MAX {
            return Err(CapabilityFault::Absent { pointer: at });
        }
        each(header as u8, at)?;
        at = header >> 8 & !3;
    }
    if at == 0 { Ok(()) } else { Err(CapabilityFault::Loop { at }) }
}

/// Calls `each(id, version, offset)` for every extended capability, in the order
/// of the list; ends early where `each` returns an error.
pub fn walk_extended<C: ConfigSpace + ?Sized>(
    config: &C,
    function: Bdf,
    mut each: impl FnMut(u16, u8, u16) -> Result<(), CapabilityFault>,
) -> Result<(), CapabilityFault> {
    if !config.is_extended(function) {
        return Ok(());
    }
    let mut at = FIRST_EXTENDED;
    let mut seen = [0_u64; EXTENDED_CONFIG_BYTES as usize / 4 / 64];
    for _ in 0..MAX_EXTENDED {
        let (word, bit) = (usize::from(at / 4 / 64), at / 4 % 64);
        let Some(seen) = seen.get_mut(word) else {
            return Err(CapabilityFault::Outside { pointer: at });
        };
        if *seen >> bit & 1 != 0 {
            return Err(CapabilityFault::Loop { at });
        }
        *seen |= 1 << bit;
        let header = config.read(function, at, Width::Dword);
        // Zeros: the list is empty. Ones: there is no extended space.
        if at == FIRST_EXTENDED && (header == 0 || header == u32::MAX) {
            return Ok(());
        }
        if header == u32::MAX {
            return Err(CapabilityFault::Absent { pointer: at });
        }
        each(header as u16, (header >> 16 & 0xf) as u8, at)?;
        at = (header >> 20 & !3) as u16;
        if at == 0 {
            return Ok(());
        }
        if at < FIRST_EXTENDED {
            return Err(CapabilityFault::Outside { pointer: at });
        }
    }
    Err(CapabilityFault::Loop { at })
}

/// Offset of the first capability of this ID, if a sound part of the list has it.
pub fn find<C: ConfigSpace + ?Sized>(config: &C, function: Bdf, id: u8) -> Option<u16> {
    let mut found = None;
    // A fault ends the list: what was found before it counts.
    let _ = walk(config, function, |this, at| {
        if this == id && found.is_none() {
            found = Some(at);
        }
        Ok(())
    });
    found
}
