//! Where a unit's own interrupts go: by its PCI function's MSI (section 3.6), or in
//! x2APIC mode by registers of its own (section 3.4.10).

use access::{ConfigSpace, RegisterWindow};
use spec::Bdf;
use spec::amdvi::{own_interrupt, register};
use spec::apic::MESSAGE_ADDRESS;
use spec::pci_capability::id;
use spec::pci_config::CAPABILITIES;

/// More capabilities than fit into configuration space: a list that is longer loops.
const MOST_CAPABILITIES: usize = 48;

/// MSI capability: message control, with its enable bit, the field of how many messages
/// are used, and whether addresses have 64 bits.
const CONTROL: u16 = 2;
const ENABLE: u16 = 1 << 0;
const COUNT: u16 = 7 << 4;
const WIDE: u16 = 1 << 7;

/// Programs both ways; which one is used is up to the control register.
pub(crate) fn set(
    registers: &impl RegisterWindow,
    config: &impl ConfigSpace,
    function: Bdf,
    vector: u8,
    apic_id: u32,
    x2apic: bool,
) {
    if x2apic {
        let target = own_interrupt(vector, apic_id);
        registers.write64(register::X2APIC_EVENT_INTERRUPT, target);
        registers.write64(register::X2APIC_PPR_INTERRUPT, target);
    }
    if let Some(msi) = find_msi(config, function)
        && apic_id < 0xff
    {
        set_msi(config, function, msi, vector, apic_id);
    }
}

fn set_msi(config: &impl ConfigSpace, function: Bdf, msi: u16, vector: u8, apic_id: u32) {
    let control = config.read16(function, msi + CONTROL) & !(ENABLE | COUNT);
    config.write16(function, msi + CONTROL, control);
    config.write32(function, msi + 4, MESSAGE_ADDRESS as u32 | apic_id << 12);
    let data = if control & WIDE != 0 {
        config.write32(function, msi + 8, 0);
        msi + 12
    } else {
        msi + 8
    };
    config.write16(function, data, vector.into());
    config.write16(function, msi + CONTROL, control | ENABLE);
}

fn find_msi(config: &impl ConfigSpace, function: Bdf) -> Option<u16> {
    let mut at = u16::from(config.read8(function, CAPABILITIES) & !3);
    for _ in 0..MOST_CAPABILITIES {
        if !(0x40..=0xf0).contains(&at) {
            return None;
        }
        if config.read8(function, at) == id::MSI {
            return Some(at);
        }
        at = u16::from(config.read8(function, at + 1) & !3);
    }
    None
}
