//! Known devices that do not do as the specifications say, by their IDs: which requester
//! IDs they use besides their own, and where their registers are. Each ID and what is said
//! of it is one that Linux's PCI quirks name (drivers/pci/quirks.c), where those of Intel's
//! ports cite Intel's specification updates; none was seen on hardware here.
//!
//! Two of Linux's kinds are left out: Intel's VCA, which may send under 160 numbers of its
//! bus, and Switchtec's non-transparent bridges, whose numbers stand in their own registers.
//! A number that is not listed has no entry in an IOMMU's tables: such a device does not work
//! for a guest, and harms nobody.

use crate::names::DeviceId;
use alloc::vec::Vec;
use spec::Bdf;

const INTEL: u16 = 0x8086;

/// Root ports whose access control services have registers of 32 bits: capability at
/// 4, control at 8 (errata 23 of Intel's 100 series chipsets, 22 of the 200 series, and 22 of
/// the 7th and 8th generation's mobile I/O, as Linux cites them). Each range is first and last
/// device ID.
const DOUBLEWORD_ACCESS_CONTROL: [(u16, u16); 5] = [
    // 100 series.
    (0xa110, 0xa11f),
    (0xa167, 0xa16a),
    // 200 series.
    (0xa290, 0xa29f),
    (0xa2e7, 0xa2ee),
    // 7th and 8th generation, mobile.
    (0x9d10, 0x9d1b),
];

/// Whether a root port may have access control registers of 32 bits.
pub fn has_doubleword_access_control(id: DeviceId) -> bool {
    id.vendor == INTEL
        && DOUBLEWORD_ACCESS_CONTROL.iter().any(|(first, last)| (*first..=*last).contains(&id.device))
}

/// Bridges without a PCI Express capability that nevertheless are bridges from PCI
/// Express to conventional PCI: what is behind them sends as device 0 of their secondary
/// bus.
const HIDDEN_EXPRESS_BRIDGES: [(u16, u16); 5] =
    [(0x1b21, 0x1080), (0x10e3, 0x8113), (0x1283, 0x8892), (0x1283, 0x8893), (INTEL, 0x244e)];

/// Whether a bridge that shows no PCI Express capability is one to PCI Express.
pub fn is_hidden_express_bridge(id: DeviceId) -> bool {
    HIDDEN_EXPRESS_BRIDGES.contains(&(id.vendor, id.device))
}

/// Bridges to conventional PCI by what they say that they are, which pass on the numbers of
/// what is behind them as a switch does: ASPEED's AST1150, in front of its management
/// controllers.
const PASS_NUMBERS_ON: [(u16, u16); 1] = [(0x1a03, 0x1150)];

/// Whether a bridge to conventional PCI leaves requester IDs as they are, and so checks none.
pub fn passes_numbers_on(id: DeviceId) -> bool {
    PASS_NUMBERS_ON.contains(&(id.vendor, id.device))
}

/// Controllers that send some or all of their requests as another function of their
/// device: vendor, device, and as which function.
const SEND_AS_FUNCTION: [(u16, u16, u8); 23] = [
    // Ricoh: the functions of its card readers send as the first.
    (0x1180, 0xe476, 0),
    (0x1180, 0xe832, 0),
    // Glenfly.
    (0x6766, 0x3d40, 0),
    (0x6766, 0x3d41, 0),
    // Marvell SATA controllers.
    (0x1b4b, 0x9120, 1),
    (0x1b4b, 0x9123, 1),
    (0x1b4b, 0x9125, 1),
    (0x1b4b, 0x9128, 1),
    (0x1b4b, 0x9130, 1),
    (0x1b4b, 0x9170, 1),
    (0x1b4b, 0x9172, 1),
    (0x1b4b, 0x917a, 1),
    (0x1b4b, 0x9182, 1),
    (0x1b4b, 0x9183, 1),
    (0x1b4b, 0x91a0, 1),
    (0x1b4b, 0x9215, 1),
    (0x1b4b, 0x9220, 1),
    (0x1b4b, 0x9230, 1),
    (0x1b4b, 0x9235, 1),
    // HighPoint and Plextor boards with one.
    (0x1103, 0x0642, 1),
    (0x1103, 0x0645, 1),
    (0x1c28, 0x0122, 1),
    // JMicron's JMB388.
    (0x197b, 0x2392, 1),
];

/// RAID controllers of Adaptec whose requests come from a processor behind a hidden
/// bridge, device 1: subsystem IDs (3405 and 3805).
const ADAPTEC: u16 = 0x9005;
const ADAPTEC_RAID: u16 = 0x0285;
const ADAPTEC_HIDDEN: [u16; 2] = [0x02bb, 0x02bc];

/// Coprocessors of Intel (MIC x200) whose bridges pass on what is sent under these device and
/// function numbers.
const X200: [u16; 2] = [0x2260, 0x2264];
const X200_SENDERS: [(u8, u8); 3] = [(0x10, 0), (0x11, 0), (0x12, 3)];

/// The requester IDs on its own bus that the function at `bdf` with these IDs is known to use besides its own.
pub fn requesters_of(bdf: Bdf, id: DeviceId, subsystem: Option<DeviceId>) -> Vec<Bdf> {
    let mut requesters: Vec<Bdf> = SEND_AS_FUNCTION
        .iter()
        .filter(|(vendor, device, _)| (*vendor, *device) == (id.vendor, id.device))
        .map(|(_, _, number)| Bdf::new(bdf.bus(), bdf.device(), *number))
        .collect();
    let subsystem = subsystem.filter(|subsystem| subsystem.vendor == ADAPTEC);
    if (id.vendor, id.device) == (ADAPTEC, ADAPTEC_RAID)
        && subsystem.is_some_and(|subsystem| ADAPTEC_HIDDEN.contains(&subsystem.device))
    {
        requesters.push(Bdf::new(bdf.bus(), 1, 0));
    }
    if id.vendor == INTEL && X200.contains(&id.device) {
        requesters.extend(X200_SENDERS.map(|(device, number)| Bdf::new(bdf.bus(), device, number)));
    }
    requesters.retain(|requester| *requester != bdf);
    requesters
}
