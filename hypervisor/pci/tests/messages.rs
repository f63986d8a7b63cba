//! The messages of a function that the hypervisor drives itself.

use access::fake_pci::{FakeConfigSpace, FakeFunction, FakeWindow};
use pci::{Messages, Place};
use spec::Bdf;

const FUNCTION: Bdf = Bdf::new(0, 3, 0);
const TOLD: [(u64, u32); 2] = [(0x1_fee0_1000, 0x41), (0xfee0_2000, 0x42)];

fn with(function: FakeFunction) -> FakeConfigSpace {
    FakeConfigSpace::with([(FUNCTION, function)])
}

#[test]
fn a_table_is_filled_behind_the_mask_and_the_rest_stays_masked() {
    let config = with(FakeFunction::new(1, 2, 0x01_0802).with_msix(0x60, 4, 2, 0x2000, 0x3000));
    let messages = Messages::find(&config, FUNCTION).unwrap();
    assert_eq!(messages, Messages::Msix { at: 0x60, bar: 2, table: 0x2000, count: 4 });
    let table = FakeWindow::new(64);
    messages.enable(&config, FUNCTION, Some(&table), &TOLD);
    let writes = table.take_writes();
    let of = |entry: usize, (address, data): (u64, u32)| {
        [(12, 1), (0, u64::from(address as u32)), (4, address >> 32), (8, u64::from(data)), (12, 0)]
            .map(|(offset, value)| (entry * 16 + offset, 4, value))
    };
    assert_eq!(writes, [of(0, TOLD[0]), of(1, TOLD[1])].concat());
    let control: Vec<u32> =
        config.take_writes().iter().filter(|write| write.1 == 0x62).map(|write| write.3).collect();
    assert_eq!(control, [0xc000, 0x8000], "masked as a whole meanwhile");
}

#[test]
fn no_more_entries_are_filled_than_there_are() {
    let config = with(FakeFunction::new(1, 2, 0x01_0802).with_msix(0x60, 1, 0, 0, 0x800));
    let table = FakeWindow::new(64);
    Messages::find(&config, FUNCTION).unwrap().enable(&config, FUNCTION, Some(&table), &TOLD);
    assert!(table.take_writes().iter().all(|write| write.0 < 16));
}

#[test]
fn msi_is_one_message_and_is_enabled_last() {
    for (control, data_at) in [(0x80, 0x5c), (0x00, 0x58), (0x182, 0x5c)] {
        let mut function = FakeFunction::new(1, 2, 0x01_0601).with_msi(0x50, control);
        // Left enabled for two messages.
        function.put(0x52, 2, u32::from(control) | 0x11);
        let config = with(function);
        let messages = Messages::find(&config, FUNCTION).unwrap();
        assert_eq!((messages, messages.count()), (Messages::Msi { at: 0x50 }, 1));
        messages.enable(&config, FUNCTION, None, &TOLD);
        let writes = config.take_writes();
        let function = config.functions.borrow()[&FUNCTION].clone();
        assert_eq!(function.get(0x54, 4), 0xfee0_1000);
        assert_eq!(function.get(data_at, 2), 0x41);
        assert_eq!(function.get(0x52, 2) & 0x71, 1, "enabled, for one");
        assert_eq!(writes.first().map(|write| (write.1, write.3 & 1)), Some((0x52, 0)));
        assert_eq!(writes.last().map(|write| (write.1, write.3 & 1)), Some((0x52, 1)));
    }
}

#[test]
fn a_function_may_have_none_or_both() {
    assert_eq!(Messages::find(&with(FakeFunction::new(1, 2, 0)), FUNCTION), None);
    let both = FakeFunction::new(1, 2, 0).with_msi(0x50, 0x80).with_msix(0x70, 2, 0, 0, 0x800);
    assert!(matches!(Messages::find(&with(both), FUNCTION), Some(Messages::Msix { .. })));
}

/// What a driver must not reach is in whole pages of its BARs.
#[test]
fn where_the_table_and_the_pending_bits_are() {
    let places = |function: FakeFunction| {
        let config = with(function);
        let messages = Messages::find(&config, FUNCTION).unwrap();
        messages.places(&config, FUNCTION).collect::<Vec<_>>()
    };
    let place = |start, bytes| Place { bar: 0, start, bytes };
    assert_eq!(places(FakeFunction::nvme()), [place(0x2000, 65 * 16), place(0x3000, 16)]);
    assert_eq!(places(FakeFunction::new(1, 2, 0x01_0802).with_msi(0x60, 0)), []);
}
