//! MSI-X and MSI: what the guest programs, and what reaches the hardware.

mod common;

use access::fake_pci::FakeFunction;
use common::*;
use proptest::prelude::*;
use spec::Width;
use vpci::message::MessageRefused;
use vpci::{Grant, GuestMsi, HostMsi, MessageChange, PciEffect};

const HOST: HostMsi = HostMsi { address: 0xfee0_0018, data: 0 };

fn message(index: u16, address: u64, data: u32) -> PciEffect {
    PciEffect::Message(MessageChange { index, message: Some(GuestMsi { address, data }) })
}

fn gone(index: u16) -> PciEffect {
    PciEffect::Message(MessageChange { index, message: None })
}

/// Writes entry `index` of the drive's table as kernels do: masked, then unmasked.
fn program(given: &mut Given<'_>, index: u64, address: u64, data: u32) -> Vec<PciEffect> {
    let at = 0x2000 + 16 * index;
    let mut effects = write_bar(given, 0, at + 12, Width::Dword, 1);
    effects.extend(write_bar(given, 0, at, Width::Dword, address));
    effects.extend(write_bar(given, 0, at + 4, Width::Dword, address >> 32));
    effects.extend(write_bar(given, 0, at + 8, Width::Dword, data.into()));
    effects.extend(write_bar(given, 0, at + 12, Width::Dword, 0));
    effects
}

#[test]
fn a_kernels_sequence_announces_each_entry_once() {
    let machine = machine(FakeFunction::nvme());
    let mut given = give(&machine, &Grant::default());
    assert_eq!(write(&mut given, 0x42, Width::Word, 0xc000), [], "enabled, masked as a whole");
    assert_eq!(machine.0.take_writes(), [(AT, 0x42, Width::Word, 0xc000)]);
    assert_eq!(program(&mut given, 3, 0xfee0_1000, 0x41), []);
    assert_eq!(write(&mut given, 0x42, Width::Word, 0x8000), [message(3, 0xfee0_1000, 0x41)]);
    assert_eq!(machine.1.take_writes(), [], "nothing of the guest's is in the hardware's table");
    given.set_host_message(3, Some(HOST)).unwrap();
    let entry = 0x2030 - 0x2000;
    assert_eq!(
        machine.1.take_writes(),
        [
            (entry + 12, 4, 1),
            (entry, 4, HOST.address),
            (entry + 4, 4, 0),
            (entry + 8, 4, 0),
            (entry + 12, 4, 0)
        ]
    );
    // Masking and unmasking the same message costs no effect.
    assert_eq!(write_bar(&mut given, 0, 0x203c, Width::Dword, 1), []);
    assert_eq!(write_bar(&mut given, 0, 0x203c, Width::Dword, 0), []);
    assert_eq!(machine.1.take_writes(), [(entry + 12, 4, 1), (entry + 12, 4, 0)]);
    // Moving it announces the new one, masked until it is answered.
    assert_eq!(program(&mut given, 3, 0xfee0_2000, 0x42), [message(3, 0xfee0_2000, 0x42)]);
    assert_eq!(machine.1.take_writes(), [(entry + 12, 4, 1)]);
    assert_eq!(given.bar_read(0, 0x2030, Width::Qword), 0xfee0_2000);
    assert_eq!(given.bar_read(0, 0x2038, Width::Qword), 0x42);
    // Off: the entry has no host message any more.
    given.set_host_message(3, Some(HOST)).unwrap();
    assert_eq!(write(&mut given, 0x42, Width::Word, 0), [gone(3)]);
    assert_eq!(given.set_host_message(3, Some(HOST)), Err(MessageRefused::NoSuchMessage));
    assert_eq!(machine.1.take_writes().last(), Some(&(entry + 12, 4, 1)));
}

#[test]
fn an_unanswered_entry_stays_masked() {
    let machine = machine(FakeFunction::nvme());
    let mut given = give(&machine, &Grant::default());
    write(&mut given, 0x42, Width::Word, 0x8000);
    assert_eq!(program(&mut given, 0, 0xfee0_0000, 1).len(), 1);
    given.set_host_message(0, None).unwrap();
    assert_eq!(machine.1.take_writes(), []);
    assert_eq!(machine.1.bytes.borrow()[12], 1);
}

#[test]
fn entries_out_of_range_and_odd_widths_do_nothing() {
    let machine = machine(FakeFunction::nvme());
    let mut given = give(&machine, &Grant::default());
    write(&mut given, 0x42, Width::Word, 0x8000);
    for (offset, width) in [
        (0x2000, Width::Byte),
        (0x200c, Width::Word),
        (0x2002, Width::Dword),
        (0x2004, Width::Qword),
        (0x200d, Width::Byte),
    ] {
        assert_eq!(write_bar(&mut given, 0, offset, width, 0), []);
        assert_eq!(given.bar_read(0, offset, width), width.mask(), "{offset:#x}");
    }
    assert_eq!(given.bar_read(0, 0x200c, Width::Dword), 1, "still masked");
    assert_eq!(machine.1.take_writes(), []);
    for index in [65, 2047, 2048, u16::MAX] {
        assert_eq!(given.set_host_message(index, Some(HOST)), Err(MessageRefused::NoSuchMessage));
    }
    assert_eq!(machine.1.take_writes(), []);
}

#[test]
fn what_shares_the_tables_page_is_forwarded_in_its_width() {
    let machine = machine(FakeFunction::nvme());
    let mut given = give(&machine, &Grant::default());
    // 65 entries end at 0x2410.
    write_bar(&mut given, 0, 0x2410, Width::Qword, 0x1122_3344_5566_7788);
    write_bar(&mut given, 0, 0x2501, Width::Byte, 0xab);
    write_bar(&mut given, 0, 0x2602, Width::Word, 0xabcd);
    assert_eq!(
        machine.1.take_writes(),
        [(0x410, 8, 0x1122_3344_5566_7788), (0x501, 1, 0xab), (0x602, 2, 0xabcd)]
    );
    assert_eq!(given.bar_read(0, 0x2414, Width::Dword), 0x1122_3344);
    // An access across the end of the table: each byte to its owner.
    write_bar(&mut given, 0, 0x240e, Width::Dword, 0xaabb_ccdd);
    assert_eq!(machine.1.take_writes(), [(0x410, 1, 0xbb), (0x411, 1, 0xaa)]);
    assert_eq!(given.bar_read(0, 0x240e, Width::Dword), 0xaabb_ffff);
    assert_eq!(given.bar_read(0, 0x240c, Width::Dword), 1, "the last entry is unharmed");
}

#[test]
fn pending_bits_on_a_trapped_page_are_read_only() {
    let function = FakeFunction::new(1, 2, 3).memory_bar(0, 0x1000, 0x8000_0000, false, false);
    let machine = machine(function.with_msix(0x40, 4, 0, 0, 0x800));
    let mut given = give(&machine, &Grant::default());
    machine.1.bytes.borrow_mut()[0x800] = 0b1010;
    assert_eq!(given.bar_read(0, 0x800, Width::Qword), 0b1010);
    write_bar(&mut given, 0, 0x800, Width::Qword, 0);
    write_bar(&mut given, 0, 0x801, Width::Dword, 0);
    assert_eq!(machine.1.take_writes(), []);
    assert_eq!(given.bar_read(0, 0x800, Width::Byte), 0b1010);
}

#[test]
fn a_reset_masks_everything_and_start_writes_it_anew() {
    let machine = machine(FakeFunction::nvme());
    let mut given = give(&machine, &Grant::default());
    write(&mut given, 0x42, Width::Word, 0x8000);
    program(&mut given, 64, 0xfee0_0000, 7);
    given.set_host_message(64, Some(HOST)).unwrap();
    let entry = 64 * 16;
    assert_eq!(machine.1.bytes.borrow()[entry + 12], 0);
    // The hardware lost its table; the guest's programming is put back.
    machine.1.bytes.borrow_mut().fill(0xee);
    given.start();
    assert_eq!(machine.1.bytes.borrow()[12], 1);
    assert_eq!(machine.1.bytes.borrow()[entry..entry + 4], 0xfee0_0018_u32.to_le_bytes());
    assert_eq!(machine.1.bytes.borrow()[entry + 12], 0);
    let effects = write(&mut given, 0x89, Width::Byte, 0x80);
    assert_eq!(effects, [gone(64), PciEffect::ResetRequested]);
    assert_eq!(machine.1.bytes.borrow()[entry + 12], 1);
    assert_eq!(given.bar_read(0, 0x2400, Width::Qword), 0);
    assert_eq!(given.bar_read(0, 0x240c, Width::Dword), 1);
}

#[test]
fn msi_is_off_until_it_is_answered() {
    let machine = machine(FakeFunction::e1000e());
    let mut given = give(&machine, &Grant::default());
    write(&mut given, 0xd4, Width::Dword, 0xfee0_3004);
    write(&mut given, 0xd8, Width::Dword, 1);
    write(&mut given, 0xdc, Width::Word, 0x4031);
    assert_eq!(write(&mut given, 0xd2, Width::Word, 1), [message(0, 0x1_fee0_3004, 0x4031)]);
    assert_eq!(machine.0.take_writes(), []);
    let host = HostMsi { address: 0xfee0_0238, data: 0 };
    given.set_host_message(0, Some(host)).unwrap();
    let function = machine.0.functions.borrow()[&AT].clone();
    assert_eq!((function.get(0xd4, 4), function.get(0xd8, 4), function.get(0xdc, 2)), (0xfee0_0238, 0, 0));
    assert_eq!(function.get(0xd2, 2), 0x81);
    // The old one stands until the new one is answered: there are no mask bits.
    assert_eq!(write(&mut given, 0xdc, Width::Word, 0x4032), [message(0, 0x1_fee0_3004, 0x4032)]);
    assert_eq!(machine.0.functions.borrow()[&AT].get(0xd2, 2), 0x81);
    given.set_host_message(0, Some(host)).unwrap();
    machine.0.take_writes();
    assert_eq!(write(&mut given, 0xd2, Width::Word, 0), [gone(0)]);
    assert_eq!(machine.0.take_writes(), [(AT, 0xd2, Width::Word, 0)]);
}

#[test]
fn several_msi_messages_must_be_contiguous() {
    let machine = machine(FakeFunction::new(1, 2, 3).with_msi(0x50, 0x0186 | 0x0004));
    let mut given = give(&machine, &Grant::default());
    assert_eq!(given.message_count(), 8);
    write(&mut given, 0x54, Width::Dword, 0xfee0_0000);
    write(&mut given, 0x5c, Width::Word, 0x43);
    // The guest may enable more than there are; it gets what there is.
    let effects = write(&mut given, 0x52, Width::Word, 0x0021);
    assert_eq!(effects, [0, 1, 2, 3].map(|index| message(index, 0xfee0_0000, 0x40 + u32::from(index))));
    let host = |data| HostMsi { address: 0xfee0_0018, data };
    let refused = Err(MessageRefused::NotContiguous);
    assert_eq!(given.set_host_message(1, Some(host(1))), refused, "the first is not there");
    assert_eq!(given.set_host_message(0, Some(host(1))), refused, "not aligned");
    assert_eq!(given.set_host_message(0, Some(HostMsi { address: 0xfee0_0018, data: 0x1_0000 })), refused);
    given.set_host_message(0, Some(host(8))).unwrap();
    assert_eq!(given.set_host_message(1, Some(host(10))), refused);
    assert_eq!(machine.0.functions.borrow()[&AT].get(0x60, 4) & 0xf, 0xe, "one is open");
    for index in 1..4 {
        given.set_host_message(index, Some(host(8 + u32::from(index)))).unwrap();
    }
    assert_eq!(machine.0.functions.borrow()[&AT].get(0x60, 4) & 0xf, 0);
    assert_eq!(machine.0.functions.borrow()[&AT].get(0x52, 2) & 0x71, 0x21);
    assert_eq!(write(&mut given, 0x60, Width::Dword, 2), []);
    assert_eq!(machine.0.functions.borrow()[&AT].get(0x60, 4) & 0xf, 2, "the guest's mask goes through");
    let effects = write(&mut given, 0x52, Width::Word, 0);
    assert_eq!(effects, [gone(0), gone(1), gone(2), gone(3)]);
}

#[test]
fn msix_wins_over_msi_and_takes_its_messages() {
    let machine = machine(FakeFunction::e1000e());
    let mut given = give(&machine, &Grant::default());
    assert_eq!(write(&mut given, 0xd2, Width::Word, 1), [message(0, 0, 0)]);
    given.set_host_message(0, Some(HOST)).unwrap();
    assert_eq!(write(&mut given, 0xa2, Width::Word, 0x8000), [gone(0)]);
    assert_eq!(machine.0.functions.borrow()[&AT].get(0xd2, 2), 0x80, "the hardware has MSI off");
    assert_eq!(write(&mut given, 0xa2, Width::Word, 0), [message(0, 0, 0)]);
}

proptest! {
    /// Whatever is written, an entry of the hardware is open only with a host
    /// message, and never holds anything of the guest's.
    #[test]
    fn the_hardwares_table_holds_host_messages_only(
        steps in prop::collection::vec((0..4_u8, 0x1ff0..0x2430_u64, any::<u64>(), 0..4_usize), 1..120),
    ) {
        let machine = machine(FakeFunction::nvme());
        let mut given = give(&machine, &Grant::default());
        let marked = HostMsi { address: 0xfeed_0000_fee0_0018, data: 0x5eed };
        let mut effects = Vec::new();
        for (kind, offset, value, width) in steps {
            let width = [Width::Byte, Width::Word, Width::Dword, Width::Qword][width];
            // Registers behind the table are no business of this test.
            let in_table = (0x2000..0x2410 - 8).contains(&offset);
            match kind {
                0 => effects.extend(write(&mut given, 0x43, Width::Byte, value as u32 & 0xc0)),
                1 => {
                    let _ = given.set_host_message(offset as u16 & 0x7f, Some(marked));
                }
                _ if in_table => effects.extend(write_bar(&mut given, 0, offset & !3, width, value)),
                _ => {}
            }
            for index in 0..65 {
                let bytes = machine.1.bytes.borrow();
                let entry = &bytes[16 * index..16 * index + 16];
                let open = entry[12] & 1 == 0;
                let address = u64::from_le_bytes(entry[..8].try_into().unwrap());
                prop_assert!(address == 0 || address == marked.address);
                prop_assert!(!open || address == marked.address);
            }
        }
    }
}
