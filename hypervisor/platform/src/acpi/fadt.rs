//! Fixed ACPI description table (ACPI Specification 6.5, section 5.2.9).

use crate::bytes::{field, u32_at, u64_at};
use crate::finding::{Findings, finding};
use ::acpi::address::RawGenericAddress;
use ::acpi::sdt::fadt::Fadt as Layout;
use core::mem::offset_of;
use serde::{Deserialize, Serialize};
use spec::{Bdf, Hpa};

/// Where a register is (generic address structure, section 5.2.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Register {
    /// I/O port.
    Port(u16),
    /// Memory.
    Memory(Hpa),
    /// Configuration space of a function of bus 0.
    Config {
        /// Function.
        function: Bdf,
        /// Offset in bytes.
        offset: u16,
    },
}

impl Register {
    /// The port, where it is one.
    pub const fn port(self) -> Option<u16> {
        match self {
            Self::Port(port) => Some(port),
            Self::Memory(_) | Self::Config { .. } => None,
        }
    }
}

/// What the FADT says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fadt {
    /// Differentiated system description table; 0 for none.
    pub dsdt: Hpa,
    /// No fixed hardware at all: none of the PM registers below counts
    /// (flag HW_REDUCED_ACPI).
    pub hardware_reduced: bool,
    /// Interrupt of ACPI events, an ISA number where there is a PIC.
    pub sci: u16,
    /// Port to which `acpi_enable` is written to take the PM registers over from
    /// system management mode; 0 where they are not its own.
    pub smi_command: u16,
    /// What to write there.
    pub acpi_enable: u8,
    /// PM1a event block: status, and enable in its upper half.
    pub pm1a_event: Option<Register>,
    /// PM1b event block.
    pub pm1b_event: Option<Register>,
    /// Bytes of each event block.
    pub pm1_event_bytes: u8,
    /// PM1a control register.
    pub pm1a_control: Option<Register>,
    /// PM1b control register.
    pub pm1b_control: Option<Register>,
    /// Power management timer, 3.579545 MHz.
    pub pm_timer: Option<Register>,
    /// The timer counts 32 bits; else 24 (flag TMR_VAL_EXT).
    pub pm_timer_32_bits: bool,
    /// Register and value of a reset (flag RESET_REG_SUP).
    pub reset: Option<(Register, u8)>,
    /// CMOS register of the century; 0 for none.
    pub century: u8,
    /// Boot architecture flags (table 5.10): bit 0 legacy devices, 1 8042, 2 no VGA,
    /// 3 no MSI, 5 no CMOS clock.
    pub boot_flags: u16,
}

const FLAG_TIMER_32_BITS: u32 = 1 << 8;
const FLAG_RESET: u32 = 1 << 10;
const FLAG_HARDWARE_REDUCED: u32 = 1 << 20;

/// The register block of this name, or the wide one where the table has it.
macro_rules! block {
    ($table:ident, $narrow:ident, $wide:ident, $name:literal, $findings:ident) => {
        block($table, offset_of!(Layout, $narrow), offset_of!(Layout, $wide), $name, $findings)
    };
}

impl Fadt {
    pub(crate) fn parse(table: &[u8], findings: &mut Findings<'_>) -> Option<Self> {
        // Everything up to the flags is in the first revision of the table.
        let Some(flags) = field!(table, Layout.flags: u32) else {
            finding!(findings, "the table has only {} bytes; ignored", table.len());
            return None;
        };
        let wide_dsdt = field!(table, Layout.x_dsdt_address: u64).filter(|address| *address != 0);
        let timer_bytes = field!(table, Layout.pm_timer_length: u8)?;
        let reset = (flags & FLAG_RESET != 0)
            .then(|| {
                Some((
                    address(table, offset_of!(Layout, reset_reg), "reset", findings)?,
                    field!(table, Layout.reset_value: u8)?,
                ))
            })
            .flatten();
        let fadt = Self {
            dsdt: Hpa(wide_dsdt.unwrap_or(field!(table, Layout.dsdt_address: u32)?.into())),
            hardware_reduced: flags & FLAG_HARDWARE_REDUCED != 0,
            sci: field!(table, Layout.sci_interrupt: u16)?,
            smi_command: field!(table, Layout.smi_cmd_port: u32)?.try_into().unwrap_or(0),
            acpi_enable: field!(table, Layout.acpi_enable: u8)?,
            pm1a_event: block!(table, pm1a_event_block, x_pm1a_event_block, "PM1a event", findings),
            pm1b_event: block!(table, pm1b_event_block, x_pm1b_event_block, "PM1b event", findings),
            pm1_event_bytes: field!(table, Layout.pm1_event_length: u8)?,
            pm1a_control: block!(table, pm1a_control_block, x_pm1a_control_block, "PM1a control", findings),
            pm1b_control: block!(table, pm1b_control_block, x_pm1b_control_block, "PM1b control", findings),
            // A length other than 4 means that there is no timer.
            pm_timer: if timer_bytes == 4 {
                block!(table, pm_timer_block, x_pm_timer_block, "PM timer", findings)
            } else {
                None
            },
            pm_timer_32_bits: flags & FLAG_TIMER_32_BITS != 0,
            reset,
            century: field!(table, Layout.century: u8)?,
            boot_flags: field!(table, Layout.iapc_boot_arch: u16)?,
        };
        if fadt.pm1a_control.is_none() && !fadt.hardware_reduced {
            finding!(findings, "there is no PM1a control register, so the machine cannot be powered off");
        }
        Some(fadt)
    }
}

/// A register block: the generic address at `wide` where the table has it and it
/// is not 0, else the port at `narrow`.
fn block(
    table: &[u8],
    narrow: usize,
    wide: usize,
    name: &str,
    findings: &mut Findings<'_>,
) -> Option<Register> {
    let narrow = u32_at(table, narrow)?;
    if u64_at(table, wide + offset_of!(RawGenericAddress, address)).is_some_and(|address| address != 0)
        && let Some(register) = address(table, wide, name, findings)
    {
        return Some(register);
    }
    match u16::try_from(narrow) {
        Ok(0) => None,
        Ok(port) => Some(Register::Port(port)),
        Err(_) => {
            finding!(findings, "the {name} register is at port {narrow:#x}, which cannot be; ignored");
            None
        }
    }
}

/// The generic address structure at `offset`; `None`, with a finding, where it
/// makes no sense.
fn address(table: &[u8], offset: usize, name: &str, findings: &mut Findings<'_>) -> Option<Register> {
    let raw = table.get(offset..)?;
    let space = field!(raw, RawGenericAddress.address_space: u8)?;
    let address = field!(raw, RawGenericAddress.address: u64)?;
    let register = match space {
        0 if address != 0 && address != u64::MAX => Some(Register::Memory(Hpa(address))),
        1 => u16::try_from(address).ok().filter(|port| *port != 0).map(Register::Port),
        // Segment and bus are 0; device, function and offset are 16 bits each.
        2 if address >> 48 == 0 => {
            let (device, function) = ((address >> 32) as u16, (address >> 16) as u16);
            (device < 32 && function < 8).then(|| Register::Config {
                function: Bdf::new(0, device as u8, function as u8),
                offset: address as u16,
            })
        }
        _ => None,
    };
    if register.is_none() {
        finding!(
            findings,
            "the {name} register is at {address:#x} of address space {space}, which cannot be; ignored"
        );
    }
    register
}
