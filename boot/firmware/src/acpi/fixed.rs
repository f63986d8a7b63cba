//! Tables of fixed form: FADT and MADT.

use super::maker::{OEM, OEM_REVISION, OEM_TABLE, bytes_of};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::sdt::Sdt;
use alloc::vec::Vec;
use guest::layout::{
    GuestLayout, IOAPIC, LOCAL_APIC, PIT_GSI, PM_TIMER_PORT, PM1A_CONTROL_PORT, PM1A_EVENT_PORT, RESET_PORT,
    RESET_VALUE, SCI_GSI,
};
use spec::Gpa;

/// Boot architecture flags (ACPI 6.5 table 5.10).
mod boot_flags {
    /// There are devices on a bus that says nothing about itself: the serial port.
    pub const LEGACY_DEVICES: u16 = 1 << 0;
    /// There is no VGA. (That bit 1 is clear tells that there is no 8042 either.)
    pub const VGA_ABSENT: u16 = 1 << 2;
    /// The operating system must not switch on ASPM: links belong to the host.
    pub const NO_ASPM: u16 = 1 << 4;
}

/// CMOS byte with the century.
const CENTURY: u8 = 0x32;
/// Latencies in microseconds that say that C2 and C3 are not there.
const NO_C2: u16 = 101;
const NO_C3: u16 = 1001;

/// A register of `bits` bits in I/O space.
fn port(port: u16, bits: u8, access: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, bits, 0, access, port.into())
}

/// Fixed ACPI description table (ACPI 6.5 section 5.2.9). There is no SMI command port:
/// the machine is in ACPI mode from the start.
pub(super) fn fadt(dsdt: Gpa, facs: Gpa) -> Vec<u8> {
    let mut table = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        // Sleep button and RTC alarm are not in the fixed registers.
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        // The PM timer has 32 bits.
        .flag(Flags::TmrValExt)
        .flag(Flags::ResetRegSup);
    // Both forms of each address: some kernels read only the old ones. All of them are
    // below 1 MiB.
    table.dsdt = (dsdt.0 as u32).into();
    table.x_dsdt = dsdt.0.into();
    table.firmware_ctrl = (facs.0 as u32).into();
    table.sci_int = u16::from(SCI_GSI).into();
    table.pm1a_evt_blk = u32::from(PM1A_EVENT_PORT).into();
    table.x_pm1a_evt_blk = port(PM1A_EVENT_PORT, 32, AccessSize::WordAccess);
    table.pm1_evt_len = 4;
    table.pm1a_cnt_blk = u32::from(PM1A_CONTROL_PORT).into();
    table.x_pm1a_cnt_blk = port(PM1A_CONTROL_PORT, 16, AccessSize::WordAccess);
    table.pm1_cnt_len = 2;
    table.pm_tmr_blk = u32::from(PM_TIMER_PORT).into();
    table.x_pm_tmr_blk = port(PM_TIMER_PORT, 32, AccessSize::DwordAccess);
    table.pm_tmr_len = 4;
    table.p_lvl2_lat = NO_C2.into();
    table.p_lvl3_lat = NO_C3.into();
    table.century = CENTURY;
    let boot = boot_flags::LEGACY_DEVICES | boot_flags::VGA_ABSENT | boot_flags::NO_ASPM;
    table.iapc_boot_arch = boot.into();
    table.reset_reg = port(RESET_PORT, 8, AccessSize::ByteAccess);
    table.reset_value = RESET_VALUE;
    bytes_of(&table.finalize())
}

/// Bytes of the MADT before its structures.
const MADT_HEADER_BYTES: u32 = 44;
/// MADT flag: there are 8259s as well, to be masked.
const PC_COMPATIBLE: u32 = 1;
/// Interrupt flags (ACPI 6.5 table 5.26): active high, level-triggered.
const HIGH_LEVEL: u16 = 0b1101;
/// Interrupt flags: as the bus has it.
const CONFORMS: u16 = 0;

/// Multiple APIC description table (ACPI 6.5 section 5.2.12). APIC IDs are below 255,
/// so the processors are listed as local APICs, in x2APIC mode as well.
pub(super) fn madt(layout: &GuestLayout) -> Vec<u8> {
    let mut table = Sdt::new(*b"APIC", MADT_HEADER_BYTES, 5, OEM, OEM_TABLE, OEM_REVISION);
    table.write_u32(36, LOCAL_APIC.0 as u32);
    table.write_u32(40, PC_COMPATIBLE);
    let mut structures = Vec::new();
    for id in 0..layout.vcpus() as u8 {
        structures.extend(bytes_of(&ProcessorLocalApic::new(id, id, EnabledStatus::Enabled)));
    }
    structures.extend(bytes_of(&IoApic::new(layout.ioapic_id(), IOAPIC.0 as u32, 0)));
    structures.extend(source_override(0, PIT_GSI, CONFORMS));
    structures.extend(source_override(SCI_GSI, SCI_GSI, HIGH_LEVEL));
    structures.extend(NMI_AT_LINT1);
    table.append_slice(&structures);
    table.as_slice().to_vec()
}

/// Interrupt source override: ISA interrupt `source` is at input `gsi` (section
/// 5.2.12.5).
fn source_override(source: u8, gsi: u8, flags: u16) -> [u8; 10] {
    let [low, high] = flags.to_le_bytes();
    [2, 10, 0, source, gsi, 0, 0, 0, low, high]
}

/// Local APIC NMI: at LINT1 of every processor (section 5.2.12.7).
const NMI_AT_LINT1: [u8; 6] = [4, 6, 0xff, 0, 0, 1];
