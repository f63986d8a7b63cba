use super::*;
use proptest::prelude::*;
use std::vec::Vec;

const ADDRESS: u64 = 0xfee0_1000;

fn open_table() -> Messages {
    let mut table = Messages::new(3);
    table.set_enables(true, false, |_| panic!("nothing waits"));
    for (dword, value) in [(0, ADDRESS), (4, 0), (8, 0x41)] {
        table.write(16 + dword, Width::Dword, value, |_| panic!("nothing waits"));
    }
    table
}

fn write(table: &mut Messages, offset: u64, value: u64) -> Vec<InterruptMessage> {
    let mut sent = Vec::new();
    table.write(offset, Width::Dword, value, |message| sent.push(message));
    sent
}

#[test]
fn a_masked_message_waits_and_is_sent_once() {
    let mut table = open_table();
    assert_eq!(table.raise(1), None, "masked after reset");
    assert_eq!(table.raise(1), None);
    assert_eq!(table.read_pending(0, Width::Qword), 0b010);
    let sent = write(&mut table, 16 + 12, 0);
    assert_eq!(sent, Vec::from_iter(decode_msi(ADDRESS, 0x41)));
    assert_eq!(table.read_pending(0, Width::Byte), 0);
    assert_eq!(table.raise(1), decode_msi(ADDRESS, 0x41), "open now");
    assert_eq!(write(&mut table, 16 + 12, 0), []);
}

#[test]
fn the_function_mask_holds_every_message_and_disabling_drops_them() {
    let mut table = open_table();
    write(&mut table, 16 + 12, 0);
    table.set_enables(true, true, |_| panic!("held"));
    assert_eq!(table.raise(1), None);
    let mut sent = 0;
    table.set_enables(true, false, |_| sent += 1);
    assert_eq!(sent, 1);
    table.set_enables(false, false, |_| panic!("disabled"));
    assert_eq!(table.raise(1), None);
    assert_eq!(table.read_pending(0, Width::Byte), 0, "without MSI-X nothing waits");
}

#[test]
fn what_is_no_entry_is_not_sent() {
    let mut table = open_table();
    assert_eq!(table.raise(3), None);
    assert_eq!(table.read(48, Width::Dword), 0xffff_ffff);
    assert_eq!(write(&mut table, 48, 0), []);
    write(&mut table, 16, 0x1000);
    write(&mut table, 16 + 12, 0);
    assert_eq!(table.raise(1), None, "there is no local APIC at that address");
}

proptest! {
    /// Whatever is written where, nothing panics, no message is sent that is masked, and what
    /// was raised is either sent or pending.
    #[test]
    fn nothing_is_lost_and_nothing_is_sent_unasked(
        steps in proptest::collection::vec((0_u8..4, 0_u64..80, any::<u32>()), 1..60),
    ) {
        let mut table = open_table();
        let mut raised = [0_u32; 3];
        for (what, place, value) in steps {
            match what {
                0 => {
                    let index = (place % 4) as u16;
                    let sent = table.raise(index);
                    let pending = table.read_pending(0, Width::Byte) >> index & 1 != 0;
                    let entry = table.table.entry(index);
                    let valid = entry.is_some_and(|entry| decode_msi(entry.address, entry.data).is_some());
                    let lost = !table.enabled || entry.is_none() || !valid;
                    prop_assert!(sent.is_some() || pending || lost);
                    if let Some(count) = raised.get_mut(usize::from(index)) {
                        *count += 1;
                    }
                }
                1 => table.set_enables(value & 1 != 0, value & 2 != 0, |_| ()),
                2 => table.write(place, Width::Dword, value.into(), |_| ()),
                _ => table.write(place, Width::Qword, u64::from(value) << 20, |_| ()),
            }
            let pending = table.read_pending(0, Width::Dword);
            for (index, entry) in table.table.entries.iter().enumerate() {
                let waits = !table.enabled || table.held || entry.masked;
                prop_assert!(pending >> index & 1 == 0 || waits, "an open message is not held back");
                prop_assert!(pending >> index & 1 == 0 || raised[index] > 0);
            }
        }
    }
}
