use super::*;
use crate::effect::PciEffect;
use spec::Gpa;
use spec::pci_config::BAR0;
use std::vec::Vec;

const NVME: Identity = Identity { vendor: 0x1b36, device: 0x0010, class: 0x01_0802, revision: 2 };

fn function() -> EmulatedFunction {
    with(&[])
}

fn with(vendor_specific: &[&[u8]]) -> EmulatedFunction {
    with_registers(vendor_specific, 0)
}

fn with_registers(vendor_specific: &[&[u8]], device_registers: u16) -> EmulatedFunction {
    let layout = BarLayout::new(0x2000, 5);
    let description = Description { identity: NVME, messages: 5, layout, vendor_specific, device_registers };
    EmulatedFunction::new(&description)
}

fn write(function: &mut EmulatedFunction, offset: u16, width: Width, value: u32) -> Vec<PciEffect> {
    let mut effects = PciEffects::new();
    function.config_write(offset, width, value, &mut effects);
    std::iter::from_fn(|| effects.pop(|| function.next_message())).collect()
}

#[test]
fn registers_table_and_pending_bits_are_on_pages_of_their_own() {
    assert_eq!(BarLayout::new(0x2000, 5), BarLayout { table: 0x2000, pending: 0x3000, bytes: 0x4000 });
    assert_eq!(BarLayout::new(0x1001, 2048), BarLayout { table: 0x2000, pending: 0xa000, bytes: 0x1_0000 });
}

#[test]
fn a_guest_finds_the_device_its_bar_and_its_messages() {
    let mut function = function();
    assert_eq!(function.config_read(VENDOR_ID, Width::Dword), 0x0010_1b36);
    assert_eq!(function.config_read(REVISION_ID, Width::Dword), 0x0108_0202);
    // Sized as PCI says: what of all ones sticks.
    write(&mut function, BAR0, Width::Dword, u32::MAX);
    write(&mut function, BAR0 + 4, Width::Dword, u32::MAX);
    assert_eq!(function.config_read(BAR0, Width::Dword), 0xffff_c004);
    assert_eq!(function.config_read(BAR0 + 4, Width::Dword), u32::MAX);
    let at = function.config_read(CAPABILITIES, Width::Byte) as u16;
    assert_eq!(function.config_read(at, Width::Word), id::MSIX.into(), "the only capability");
    assert_eq!(function.config_read(at + msix::CONTROL, Width::Word), 4);
    assert_eq!(function.config_read(at + msix::TABLE, Width::Dword), 0x2000);
    assert_eq!(function.config_read(at + msix::PENDING, Width::Dword), 0x3000);
    assert_eq!(function.config_read(spec::pci_config::INTERRUPT_PIN, Width::Byte), 0);
}

#[test]
fn what_the_guest_allows_is_told_once() {
    let mut function = function();
    let master = Enables { bus_master: true, line: true, ..Enables::default() };
    let on = command::BUS_MASTER.into();
    assert_eq!(write(&mut function, COMMAND, Width::Word, on), [PciEffect::Enables(master)]);
    assert_eq!(write(&mut function, COMMAND, Width::Word, on), []);
    let both = Enables { messages: true, masked: true, ..master };
    let control = MSIX + msix::CONTROL;
    assert_eq!(write(&mut function, control, Width::Word, 0xffff), [PciEffect::Enables(both)]);
    assert_eq!(function.config_read(control, Width::Word), 0xc004, "the size stays");
    let mut effects = PciEffects::new();
    function.reset(&mut effects);
    assert_eq!(
        effects.pop(|| function.next_message()),
        Some(PciEffect::Enables(Enables { line: true, ..Enables::default() }))
    );
}

#[test]
fn its_bar_comes_and_goes_with_the_decode() {
    let mut function = function();
    write(&mut function, BAR0, Width::Dword, 0xc000_0000);
    let gpa = Gpa(0xc000_0000);
    let on = command::MEMORY_SPACE.into();
    assert_eq!(write(&mut function, COMMAND, Width::Word, on), [PciEffect::MapBar { bar: 0, gpa }]);
    assert_eq!(function.direct_ranges(0).count(), 0, "every access comes to the device");
    assert_eq!(write(&mut function, COMMAND, Width::Word, 0), [PciEffect::UnmapBar { bar: 0 }]);
}

#[test]
fn vendor_specific_capabilities_follow_each_other_and_end_with_the_room() {
    let long = [7; 0x60];
    let mut function = with(&[&[1, 2, 3], &long, &long, &[9]]);
    let mut at = function.config_read(CAPABILITIES, Width::Byte) as u16;
    let mut found = Vec::new();
    while at != 0 {
        let header = function.config_read(at, Width::Dword);
        found.push((at, header as u8, (header >> 16) as u8));
        at = (header >> 8 & 0xff) as u16;
    }
    assert_eq!(found, [(0x40, id::MSIX, 4), (0x4c, 9, 6), (0x54, 9, 0x63)]);
    assert_eq!(function.config_read(0x4f, Width::Byte), 1);
    assert_eq!(function.config_read(0x50, Width::Word), 0x0302);
    let before = function.config_read(0x50, Width::Dword);
    write(&mut function, 0x50, Width::Dword, u32::MAX);
    assert_eq!(function.config_read(0x50, Width::Dword), before);
}

#[test]
fn registers_of_the_device_are_at_the_end_of_its_last_capability() {
    let none = function();
    assert!((0..0x1000).all(|offset| none.device_register(offset, Width::Byte).is_none()));
    let mut function = with_registers(&[&[1; 5], &[5, 0, 0, 0, 0, 0, 0, 0, 0]], 8);
    // The first capability is at 0x4c and ends at 0x54, where the second one is.
    assert_eq!(function.config_read(0x54, Width::Dword), 0x050c_0009);
    for (width, bytes) in [(Width::Byte, 1), (Width::Word, 2), (Width::Dword, 4), (Width::Qword, 8)] {
        for offset in 0..0x1000 {
            let is_inside = offset >= 0x58 && offset + bytes <= 0x60;
            let expected = is_inside.then(|| u64::from(offset) - 0x58);
            assert_eq!(function.device_register(offset, width), expected, "{width:?} at {offset:#x}");
        }
    }
    // What is not the device's alone finds nothing there.
    write(&mut function, 0x56, Width::Dword, u32::MAX);
    assert_eq!(function.config_read(0x56, Width::Dword), 0x050c);
    // Those that have no room are nowhere.
    let left_out = with_registers(&[&[7; 0xa0], &[5; 17]], 16);
    assert!((0..0x1000).all(|offset| left_out.device_register(offset, Width::Byte).is_none()));
}
