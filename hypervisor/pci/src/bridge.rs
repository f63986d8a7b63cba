//! What a bridge above a guest's function must do, and what it must not.
//!
//! It must forward: firmware that saw no use for a function leaves the bridges above it
//! with their memory decode or bus mastering off. And it must not report errors: a guest can
//! have its function send what a port calls a fatal error, and where the root makes a system
//! error of that, an NMI, an SMI or a reset ends everybody. Nothing here handles those
//! reports, so they are turned off; what the error broke is between the guest and its
//! function. Containment (DPC) stays as the firmware set it.

use access::ConfigSpace;
use core::fmt;
use spec::Bdf;
use spec::pci_capability::{error_reporting, express, extended_id, id};
use spec::pci_config::{
    BRIDGE_CONTROL, BRIDGE_CONTROL_PARITY_ERRORS, BRIDGE_CONTROL_SYSTEM_ERRORS, BRIDGE_MEMORY,
    BRIDGE_PREFETCHABLE, COMMAND, HEADER_TYPE, HEADER_TYPE_BRIDGE, HEADER_TYPE_MULTI_FUNCTION, command,
};

use crate::capability::{find, walk_extended};

/// Header layout 2: a bridge to CardBus.
const CARDBUS: u8 = 2;

/// Bits 3 to 0 of the prefetchable base where the window has 64 bits.
const WIDE: u32 = 1;

/// First address and bytes of a window of a bridge.
pub type MemoryWindow = (u64, u64);

/// The memory that a bridge with a header of type 1 claims for what is behind it: its window, and
/// the prefetchable one (PCI-to-PCI Bridge Architecture Specification 1.2, sections 3.2.5.6 to
/// 3.2.5.10). One that is closed has its limit below its base; one from address 0 is what a reset
/// leaves. `read32` reads its configuration space.
pub fn memory_windows(read32: impl Fn(u16) -> u32) -> [Option<MemoryWindow>; 2] {
    let low = |register: u32| u64::from(register & 0xfff0) << 16;
    let (memory, prefetchable) = (read32(BRIDGE_MEMORY), read32(BRIDGE_PREFETCHABLE));
    let upper = |offset| match prefetchable & 0xf {
        WIDE => u64::from(read32(BRIDGE_PREFETCHABLE + offset)) << 32,
        _ => 0,
    };
    let ranges = [
        (low(memory), low(memory >> 16)),
        (low(prefetchable) | upper(4), low(prefetchable >> 16) | upper(8)),
    ];
    let open = |(base, limit): (u64, u64)| {
        (base != 0 && base <= limit).then(|| (base, (limit - base).saturating_add(1 << 20)))
    };
    ranges.map(open)
}

/// A bridge did not take what it was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BridgeFault {
    /// It is no bridge any more, or does not answer.
    Absent(Bdf),
    /// It does not forward memory requests in both directions.
    DoesNotForward(Bdf),
    /// It still reports errors.
    ReportsErrors(Bdf),
}

impl fmt::Display for BridgeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(bridge) => write!(f, "the bridge {bridge} does not answer"),
            Self::DoesNotForward(bridge) => write!(f, "the bridge {bridge} does not forward requests"),
            Self::ReportsErrors(bridge) => {
                write!(f, "the bridge {bridge} does not stop reporting errors, which a guest could cause")
            }
        }
    }
}

/// Prepares a bridge above a guest's function.
///
/// # Errors
/// It does not take it; the guest must not have the function.
pub fn prepare<C: ConfigSpace + ?Sized>(config: &C, bridge: Bdf) -> Result<(), BridgeFault> {
    // A CardBus bridge has these registers where others have them.
    let header = config.read8(bridge, HEADER_TYPE) & !HEADER_TYPE_MULTI_FUNCTION;
    if !matches!(header, HEADER_TYPE_BRIDGE | CARDBUS) {
        return Err(BridgeFault::Absent(bridge));
    }
    silence(config, bridge)?;
    let forward = command::MEMORY_SPACE | command::BUS_MASTER;
    let before = config.read16(bridge, COMMAND);
    config.write16(bridge, COMMAND, before | forward);
    match config.read16(bridge, COMMAND) & forward == forward {
        true => Ok(()),
        false => Err(BridgeFault::DoesNotForward(bridge)),
    }
}

/// Whether a bridge says that nothing is plugged in behind it.
pub fn has_empty_slot<C: ConfigSpace + ?Sized>(config: &C, bridge: Bdf) -> bool {
    let found = find(config, bridge, id::EXPRESS).filter(|at| *at < 0x100 - express::SLOT_STATUS);
    found.is_some_and(|at| {
        let capabilities = config.read16(bridge, at + express::CAPABILITIES);
        capabilities & express::SLOT_IMPLEMENTED != 0
            && config.read16(bridge, at + express::SLOT_STATUS) & express::PRESENCE_DETECTED == 0
    })
}

fn silence<C: ConfigSpace + ?Sized>(config: &C, bridge: Bdf) -> Result<(), BridgeFault> {
    let mut masked = clear(config, bridge, COMMAND, command::SERR_ENABLE | command::PARITY_ERROR_RESPONSE);
    masked &=
        clear(config, bridge, BRIDGE_CONTROL, BRIDGE_CONTROL_SYSTEM_ERRORS | BRIDGE_CONTROL_PARITY_ERRORS);
    if let Some(at) = find(config, bridge, id::EXPRESS).filter(|at| *at <= 0x100 - express::BYTES_V1) {
        masked &= clear(config, bridge, at + express::DEVICE_CONTROL, express::ERROR_REPORTING);
        let kind = config.read16(bridge, at + express::CAPABILITIES) & express::TYPE_MASK;
        if kind == express::TYPE_ROOT_PORT << express::TYPE_SHIFT {
            masked &= clear(config, bridge, at + express::ROOT_CONTROL, express::ROOT_SYSTEM_ERRORS);
            // A fault ends the list: what was found before it counts.
            let _ = walk_extended(config, bridge, |id, _, at| {
                if id == extended_id::ADVANCED_ERROR_REPORTING && at <= 0x1000 - 0x30 {
                    config.write32(bridge, at + error_reporting::ROOT_COMMAND, 0);
                }
                Ok(())
            });
        }
    }
    if masked { Ok(()) } else { Err(BridgeFault::ReportsErrors(bridge)) }
}

/// Clears bits of a register that has no bits that are cleared by writing one; whether they
/// read 0 then.
fn clear<C: ConfigSpace + ?Sized>(config: &C, function: Bdf, at: u16, bits: u16) -> bool {
    let before = config.read16(function, at);
    if before & bits != 0 {
        config.write16(function, at, before & !bits);
    }
    config.read16(function, at) & bits == 0
}
