//! The differentiated system description table: what a bus cannot tell about itself.

use super::maker::{OEM, OEM_REVISION, OEM_TABLE, bytes_of};
use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Interrupt, Memory32Fixed, Name, Package,
    PackageBuilder, Path, ResourceTemplate, Scope, ZERO,
};
use acpi_tables::sdt::Sdt;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use guest::layout::{
    COM1_GSI, COM1_PORT, ECAM, ECAM_BYTES, GuestLayout, PCI_CONFIG_PORT, PCI_WINDOW_32, PCI_WINDOW_32_BYTES,
    PCI_WINDOW_64, PCI_WINDOW_64_BYTES, PM1A_EVENT_PORT, RTC_GSI, RTC_PORT, SLEEP_TYPE_OFF, intx_gsi,
};
use guest::start_image::{Fact, Patch};

/// Bytes in the table's header.
const HEADER_BYTES: u32 = 36;
/// Slots on the bus.
const SLOTS: u8 = 32;
/// Interrupt pins of a slot.
const PINS: u8 = 4;

/// Where a table's checksum is in its header.
const CHECKSUM: u64 = 9;
/// Where the numbers are in a QWord address space descriptor (ACPI 6.5 section 6.4.3.5.1), and what they are.
const WINDOW_FACTS: [(usize, Fact); 3] =
    [(14, Fact::WindowStart), (22, Fact::WindowLast), (38, Fact::WindowBytes)];

/// Builds the table. The 64-bit window is to be patched in; the patches' places are offsets in the table.
pub(super) fn build(layout: &GuestLayout) -> (Vec<u8>, Vec<Patch>) {
    let mut table = Sdt::new(*b"DSDT", HEADER_BYTES, 2, OEM, OEM_TABLE, OEM_REVISION);
    table.append_slice(&soft_off());
    table.append_slice(&in_system_bus(host_bridge()));
    table.append_slice(&in_system_bus(motherboard()));
    table.append_slice(&in_system_bus(serial_port()));
    table.append_slice(&in_system_bus(clock()));
    for number in 0..layout.vcpus() {
        table.append_slice(&in_system_bus(processor(number)));
    }
    leave_window_open(table.as_slice().to_vec())
}

/// Makes the numbers of the 64-bit window zeros, to which the boot adds what they are.
fn leave_window_open(mut table: Vec<u8>) -> (Vec<u8>, Vec<Patch>) {
    let descriptor = bytes_of(&window());
    let Some(start) = table.windows(descriptor.len()).position(|bytes| bytes == descriptor) else {
        return (table, Vec::new());
    };
    let mut patches = Vec::new();
    for (offset, fact) in WINDOW_FACTS {
        let at = start + offset;
        let place = table.get_mut(at..at + 8).unwrap_or_default();
        let sum = place.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        place.fill(0);
        if let Some(checksum) = table.get_mut(CHECKSUM as usize) {
            *checksum = checksum.wrapping_add(sum);
        }
        patches.push(Patch { gpa: at as u64, bytes: 8, fact: fact as u64, factor: 1, checksum: CHECKSUM });
    }
    (table, patches)
}

/// The 64-bit window for BARs, where it usually is.
fn window() -> AddressSpace<u64> {
    let (start, bytes) = (PCI_WINDOW_64.0, PCI_WINDOW_64_BYTES);
    AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, start, start + bytes - 1, None)
}

/// `\_SB` around a device.
fn in_system_bus(device: Vec<u8>) -> Vec<u8> {
    Scope::raw(Path::new("\\_SB_"), device)
}

/// `Name (name, value)`.
fn name(name: &str, value: &dyn Aml) -> Name {
    Name::new(Path::new(name), value)
}

/// `\_S5`: what to write to the control registers to switch off.
fn soft_off() -> Vec<u8> {
    let package = Package::new(vec![&SLEEP_TYPE_OFF, &SLEEP_TYPE_OFF, &ZERO, &ZERO]);
    bytes_of(&name("\\_S5_", &package))
}

/// The PCI Express root of bus 0. There is no `_OSC`: hot-plug and error reporting are
/// not the guest's.
fn host_bridge() -> Vec<u8> {
    let cacheable = AddressSpaceCacheable::NotCacheable;
    let config_end = PCI_CONFIG_PORT + 8;
    let bus = AddressSpace::<u16>::new_bus_number(0, 0);
    let config = IO::new(PCI_CONFIG_PORT, PCI_CONFIG_PORT, 1, 8);
    let low_ports = AddressSpace::<u16>::new_io(0, PCI_CONFIG_PORT - 1, None);
    let ports = AddressSpace::<u16>::new_io(config_end, u16::MAX, None);
    let memory32 = AddressSpace::<u32>::new_memory(
        cacheable,
        true,
        PCI_WINDOW_32.0 as u32,
        (PCI_WINDOW_32.0 + PCI_WINDOW_32_BYTES - 1) as u32,
        None,
    );
    let memory64 = window();
    let resources: Vec<&dyn Aml> = vec![&bus, &config, &low_ports, &ports, &memory32, &memory64];
    let resources = ResourceTemplate::new(resources).to_bytes();
    bytes_of(&Device::new(
        Path::new("PCI0"),
        vec![
            &name("_HID", &EISAName::new("PNP0A08")),
            &name("_CID", &EISAName::new("PNP0A03")),
            &name("_UID", &ZERO),
            &name("_SEG", &ZERO),
            &name("_BBN", &ZERO),
            &name("_CRS", &Raw(resources)),
            &name("_PRT", &interrupt_routing()),
        ],
    ))
}

/// `_PRT`: each pin of each slot, and the input of the IOAPIC behind it.
fn interrupt_routing() -> PackageBuilder {
    let mut table = PackageBuilder::new();
    for slot in 0..SLOTS {
        for pin in 0..PINS {
            let address = u32::from(slot) << 16 | 0xffff;
            let gsi = intx_gsi(slot, pin);
            table.add_element(&Package::new(vec![&address, &pin, &ZERO, &gsi]));
        }
    }
    table
}

/// What is on the board and not to be given to anybody: ECAM (that is what kernels
/// look for before they use it) and the power management ports.
fn motherboard() -> Vec<u8> {
    let resources = ResourceTemplate::new(vec![
        &Memory32Fixed::new(true, ECAM.0 as u32, ECAM_BYTES as u32) as &dyn Aml,
        &IO::new(PM1A_EVENT_PORT, PM1A_EVENT_PORT, 1, 12),
    ])
    .to_bytes();
    bytes_of(&Device::new(
        Path::new("MBRD"),
        vec![&name("_HID", &EISAName::new("PNP0C02")), &name("_UID", &ZERO), &name("_CRS", &Raw(resources))],
    ))
}

/// The 16550.
fn serial_port() -> Vec<u8> {
    legacy_device("COM1", "PNP0501", COM1_PORT, 8, COM1_GSI)
}

/// The real-time clock.
fn clock() -> Vec<u8> {
    legacy_device("RTC_", "PNP0B00", RTC_PORT, 2, RTC_GSI)
}

/// A device with ports and an edge-triggered interrupt.
fn legacy_device(path: &str, id: &str, port: u16, ports: u8, gsi: u8) -> Vec<u8> {
    let resources = ResourceTemplate::new(vec![
        &IO::new(port, port, 1, ports) as &dyn Aml,
        &Interrupt::new(true, true, false, false, gsi.into()),
    ])
    .to_bytes();
    bytes_of(&Device::new(
        Path::new(path),
        vec![&name("_HID", &EISAName::new(id)), &name("_UID", &ZERO), &name("_CRS", &Raw(resources))],
    ))
}

/// A processor, named by the UID that it has in the MADT.
fn processor(number: u32) -> Vec<u8> {
    bytes_of(&Device::new(
        Path::new(&format!("C{number:03X}")),
        vec![&name("_HID", &"ACPI0007"), &name("_UID", &number)],
    ))
}

/// Encoded AML. The library's lists borrow their elements, and a list of temporaries
/// does not outlive its statement; its encoding does.
struct Raw(Vec<u8>);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        sink.vec(&self.0);
    }
}

/// Encoding of a list before its elements go.
trait ToBytes {
    fn to_bytes(&self) -> Vec<u8>;
}

impl ToBytes for ResourceTemplate<'_> {
    fn to_bytes(&self) -> Vec<u8> {
        bytes_of(self)
    }
}
