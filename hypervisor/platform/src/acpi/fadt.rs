//! Fixed ACPI description table (ACPI Specification 6.5, section 5.2.9).

use crate::bytes::{u8_at, u16_at, u32_at, u64_at};
use crate::finding::{Findings, finding};
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

impl Fadt {
    pub(crate) fn parse(table: &[u8], findings: &mut Findings<'_>) -> Option<Self> {
        // Everything up to the flags is in the first revision of the table.
        let Some(flags) = u32_at(table, 112) else {
            finding!(findings, "the table has only {} bytes; ignored", table.len());
            return None;
        };
        let wide_dsdt = u64_at(table, 140).filter(|address| *address != 0);
        let timer_bytes = u8_at(table, 91)?;
        let reset = (flags & FLAG_RESET != 0)
            .then(|| Some((address(table, 116, "reset", findings)?, u8_at(table, 128)?)))
            .flatten();
        let fadt = Self {
            dsdt: Hpa(wide_dsdt.unwrap_or(u32_at(table, 40)?.into())),
            hardware_reduced: flags & FLAG_HARDWARE_REDUCED != 0,
            sci: u16_at(table, 46)?,
            smi_command: u32_at(table, 48)?.try_into().unwrap_or(0),
            acpi_enable: u8_at(table, 52)?,
            pm1a_event: block(table, 56, 148, "PM1a event", findings),
            pm1b_event: block(table, 60, 160, "PM1b event", findings),
            pm1_event_bytes: u8_at(table, 88)?,
            pm1a_control: block(table, 64, 172, "PM1a control", findings),
            pm1b_control: block(table, 68, 184, "PM1b control", findings),
            // A length other than 4 means that there is no timer.
            pm_timer: if timer_bytes == 4 { block(table, 76, 208, "PM timer", findings) } else { None },
            pm_timer_32_bits: flags & FLAG_TIMER_32_BITS != 0,
            reset,
            century: u8_at(table, 108)?,
            boot_flags: u16_at(table, 109)?,
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
    if u64_at(table, wide + 4).is_some_and(|address| address != 0)
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
    let space = u8_at(table, offset)?;
    let address = u64_at(table, offset + 4)?;
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
