//! What is known of emulated machines: found here, and nowhere in a build without the feature
//! `emulators`, which is the one for real machines.

use crate::names::DeviceId;
use crate::pci::Function;

/// What says that QEMU made this function.
const QEMU: DeviceId = DeviceId { vendor: 0x1af4, device: 0x1100 };
/// Host bridge of Intel's Q35, at 00:00.0.
const Q35: DeviceId = DeviceId { vendor: 0x8086, device: 0x29c0 };

/// Whether this is the host bridge of QEMU's q35, which QEMU marks; a real Q35 carries its board's
/// mark.
pub fn is_qemu_q35(bridge: &Function) -> bool {
    cfg!(feature = "emulators") && bridge.id == Q35 && bridge.subsystem == Some(QEMU)
}

/// How QEMU wires its q35, by a root bus, device and pin: the lines PIRQA to PIRQH are the inputs 16 to 23.
/// Devices of the chipset (25 to 29 and 31) begin at PIRQA; the others take turns at PIRQE to PIRQH, so
/// that the chipset's are not shared; device 30 is not turned.
pub fn q35_gsi(bus: u8, device: u8, pin: u8) -> Option<u32> {
    const PIRQ_A: u8 = 16;
    const PIRQ_E: u8 = 20;
    const PINS: u8 = 4;
    let gsi = match (bus, device) {
        (0, 25..=29 | 31) => PIRQ_A + pin % PINS,
        (0, 30) => PIRQ_E + pin % PINS,
        (0, _) => PIRQ_E + device.wrapping_add(pin) % PINS,
        // Which place a further root bus takes on the first one, it does not show.
        _ => return None,
    };
    Some(gsi.into())
}
