//! What a guest may do to the configuration space of a function that is passed
//! through, as tables. What no table names reads 0 and cannot be written.
//!
//! The tables are the whole of it: a write of the guest reaches the hardware as
//! it is only where a field says `clearing`. What the virtual bits cause in the
//! hardware is decided in [`super::PassedThrough`], from the image.

use spec::pci_capability::{express, id, msi, msix, power};
use spec::pci_config::{self as config, command, status};

use crate::image::Field;

/// Bits of the command register that the guest may set. All are its own: the
/// decode of the hardware stays on, so that no access of the guest can end in an
/// unsupported request, and errors are never signalled as SERR#.
pub const COMMAND_BITS: u16 = command::IO_SPACE
    | command::MEMORY_SPACE
    | command::BUS_MASTER
    | command::PARITY_ERROR_RESPONSE
    | command::SERR_ENABLE
    | command::INTERRUPT_DISABLE;

/// Bits of the status register that never change: 66 MHz, fast back-to-back and
/// DEVSEL timing. The capability list bit follows what is shown.
const STATUS_FIXED: u32 = 0x06a0;

/// The header of an endpoint. BARs, expansion ROM, capability pointer and
/// interrupt pin are laid by discovery; the self test and the latency timer are
/// not there.
pub const HEADER: &[Field] = &[
    Field::fixed(config::VENDOR_ID, 2),
    Field::fixed(config::DEVICE_ID, 2),
    Field::virtualised(config::COMMAND, 2, COMMAND_BITS as u32),
    Field::live(config::STATUS, 2, (status::ERRORS | status::INTERRUPT) as u32)
        .keeping(STATUS_FIXED)
        .clearing(status::ERRORS as u32),
    Field::fixed(config::REVISION_ID, 4),
    Field::virtualised(config::CACHE_LINE_SIZE, 1, 0xff),
    Field::fixed(config::SUBSYSTEM, 4),
    Field::virtualised(config::INTERRUPT_LINE, 1, 0xff),
];

/// Power management: the state is the guest's own; the hardware stays in D0. No
/// wake-up, and of the states between D0 and D3hot none.
pub const POWER: &[Field] = &[
    Field::kept(power::CAPABILITIES, 2, 0x003f),
    Field::virtualised(power::CONTROL, 2, power::STATE_MASK as u32).keeping(power::NO_SOFT_RESET as u32),
];

/// MSI-X: the table is shadowed, so its control bits are the guest's own.
pub const MSIX: &[Field] = &[
    Field::virtualised(msix::CONTROL, 2, (msix::ENABLE | msix::FUNCTION_MASK) as u32)
        .keeping(msix::SIZE_MASK as u32),
    Field::fixed(msix::TABLE, 4),
    Field::fixed(msix::PENDING, 4),
];

/// Bits of MSI's control that say what the function can do.
const MSI_CAPABLE: u16 = msi::COUNT_MASK << msi::CAPABLE_SHIFT | msi::WIDE_ADDRESS | msi::MASKABLE;
/// Bits of MSI's control that are the guest's.
const MSI_WRITABLE: u16 = msi::ENABLE | msi::COUNT_MASK << msi::ENABLED_SHIFT;

/// The parts of MSI that every layout has. Address, data, mask and pending bits
/// follow at offsets that depend on its control.
pub const MSI: &[Field] = &[
    Field::virtualised(msi::CONTROL, 2, MSI_WRITABLE as u32).keeping(MSI_CAPABLE as u32),
    Field::virtualised(msi::ADDRESS, 4, !3),
];

/// Bits of the device control register that the guest may write, in its image.
/// Of these only [`EXPRESS_FORWARDED`] go on to the hardware. The payload size
/// stays as the firmware matched it to the path: a wrong one makes the root port
/// report a fatal error.
const DEVICE_CONTROL_BITS: u16 =
    0xf | express::RELAXED_ORDERING | express::MAX_PAYLOAD | express::NO_SNOOP | express::MAX_READ_REQUEST;

/// Bits of the device control register that go on to the hardware: they change
/// how fast the function reads memory and nothing else.
pub const EXPRESS_FORWARDED: u16 = express::RELAXED_ORDERING | express::MAX_READ_REQUEST;

/// Bits of the device control register that are off in the hardware as long as a guest has
/// the function, whatever the firmware or the guest says: it reports no errors, which the
/// root could make a system error of, and its requests snoop, whether the IOMMU can force
/// that or not.
pub const EXPRESS_NEVER: u16 = express::ERROR_REPORTING | express::NO_SNOOP | express::INITIATE_RESET;

/// PCI Express, up to the device registers. What the machine's link is like is none of
/// the guest's business, so the function is shown as integrated into the root complex,
/// wherever it is on the guest's bus, and has no link registers. The type and the reset bit are set by discovery.
pub const EXPRESS: &[Field] = &[
    Field::kept(express::CAPABILITIES, 2, 0x3e0f),
    Field::kept(express::DEVICE_CAPABILITIES, 4, !express::PHANTOM_FUNCTIONS),
    Field::virtualised(express::DEVICE_CONTROL, 2, DEVICE_CONTROL_BITS as u32)
        .keeping(DEVICE_CONTROL_BITS as u32),
    Field::live(
        express::DEVICE_STATUS,
        2,
        (express::DEVICE_STATUS_ERRORS | express::TRANSACTIONS_PENDING) as u32,
    )
    .clearing(express::DEVICE_STATUS_ERRORS as u32),
];

/// The second set of PCI Express registers: only the completion timeout, in the
/// image. Atomics, latency reports and identifiers that need ports are not there.
pub const EXPRESS_2: &[Field] = &[
    Field::kept(express::DEVICE_CAPABILITIES_2, 4, express::COMPLETION_TIMEOUT as u32),
    Field::virtualised(express::DEVICE_CONTROL_2, 2, express::COMPLETION_TIMEOUT as u32),
];

/// Capabilities that are shown, where the function has them. No vendor-specific ones, and no
/// extended ones: the function's space behind the first 256 bytes reads 0.
pub const SHOWN: &[u8] = &[id::POWER_MANAGEMENT, id::MSI, id::EXPRESS, id::MSIX];
