use super::*;
use crate::device::CONFIG_REGISTERS;
use crate::testing::VecMedium;
use crate::virtio::block::{Block, Config, MOST_DISCARDED, STATE_BYTES};
use crate::virtio::testing::Guest;
use crate::virtio::transport::{DEVICE, FEATURES, ISR, NOTIFY, Transport, WINDOW_BYTES};
use proptest::prelude::*;
use spec::virtio::pci::{common, isr};
use spec::virtio::status;
use std::vec::Vec;

fn guest() -> Guest<Block> {
    let config = Config {
        sectors: 64,
        block_bytes: 512,
        segment_bytes: 4096,
        writable: true,
        can_discard: false,
        can_write_zeroes: false,
        most_discarded: MOST_DISCARDED,
        queues: 2,
        name: [b'n'; 20],
    };
    Guest::new(Transport::new(Block::new(config), 3, false), VecMedium::new(64 * 512))
}

fn put(guest: &mut Guest<Block>, at: u64, width: Width, value: u64) {
    guest.bench.write(CONFIG_REGISTERS + at, width, value);
}

fn get(guest: &mut Guest<Block>, at: u64, width: Width) -> u64 {
    guest.bench.read(CONFIG_REGISTERS + at, width)
}

/// Says where the next access is.
fn point(guest: &mut Guest<Block>, bar: u8, offset: u64, length: u64) {
    put(guest, BAR, Width::Byte, bar.into());
    put(guest, OFFSET, Width::Dword, offset);
    put(guest, LENGTH, Width::Dword, length);
}

fn read_through(guest: &mut Guest<Block>, offset: u64, width: Width) -> u64 {
    point(guest, 0, offset, width.bytes());
    get(guest, DATA, width)
}

fn write_through(guest: &mut Guest<Block>, offset: u64, width: Width, value: u64) {
    point(guest, 0, offset, width.bytes());
    put(guest, DATA, width, value);
}

fn saved(guest: &Guest<Block>) -> Vec<u8> {
    let mut bytes = [0; STATE_BYTES];
    let length = guest.bench.device.save(&mut bytes).unwrap();
    bytes[..length].to_vec()
}

/// Offers the drive a request of which the driver made nothing but the header, and a byte for the answer.
fn offer(guest: &mut Guest<Block>) {
    let header = guest.rings[0].header(0);
    guest.rings[0].add(&guest.bench.memory, &[(header, 16), (header + 16, 1)], 1, false);
}

#[test]
fn a_driver_can_do_everything_through_them() {
    let mut guest = guest();
    guest.start(FEATURES, 64, false);
    offer(&mut guest);
    write_through(&mut guest, NOTIFY, Width::Word, 0);
    assert!(guest.rings[0].take_used(&guest.bench.memory).is_some(), "the notification");
    assert!(guest.bench.line);
    assert_eq!(read_through(&mut guest, ISR, Width::Byte), u64::from(isr::QUEUE));
    assert!(!guest.bench.line, "reading the ISR ends the interrupt");
    assert_eq!(get(&mut guest, DATA, Width::Byte), 0);
    assert_eq!(read_through(&mut guest, DEVICE, Width::Dword), 64, "the capacity");
    // The reset leaves the registers by which it was asked for.
    write_through(&mut guest, common::STATUS, Width::Byte, 0);
    assert_eq!(get(&mut guest, DATA, Width::Byte), 0);
    assert_eq!(get(&mut guest, OFFSET, Width::Dword), common::STATUS);
    assert_eq!(guest.common(common::QUEUE_ENABLE, Width::Word), 0);
    put(&mut guest, DATA, Width::Byte, status::ACKNOWLEDGE.into());
    assert_eq!(guest.status(), status::ACKNOWLEDGE);
    // After a reset from outside they are as after power-up.
    guest.bench.reset();
    assert_eq!((0..4).map(|dword| get(&mut guest, 4 * dword, Width::Dword)).max(), Some(0));
}

#[test]
fn a_reset_that_waits_for_the_medium_ends_for_who_asks_through_them() {
    let mut guest = guest();
    guest.start(FEATURES, 64, true);
    guest.bench.hold = true;
    let header = guest.rings[0].header(0);
    let data = crate::virtio::testing::DATA;
    guest.rings[0].add(&guest.bench.memory, &[(header, 16), (data, 512), (header + 16, 1)], 2, false);
    write_through(&mut guest, NOTIFY, Width::Word, 0);
    assert_eq!(guest.bench.waiting.len(), 1);
    write_through(&mut guest, common::STATUS, Width::Byte, 0);
    assert_ne!(get(&mut guest, DATA, Width::Byte), 0);
    assert!(guest.bench.serve());
    assert_eq!(get(&mut guest, DATA, Width::Byte), 0);
}

/// Section 4.1.4.9.2: what a driver must not name. It reads zeros, and what is written goes nowhere.
#[test]
fn places_that_there_are_not() {
    let ones = 0xffff_ffff;
    let mut wrong: Vec<(u8, u64, u64)> = (1..=255).map(|bar| (bar, 0, 4)).collect();
    wrong.extend([0, 3, 5, 8, 16, 0x100, 0x1_0000, 0x8000_0004, ones].map(|length| (0, 0, length)));
    wrong.extend([1, 2, 3, 5, 0x15].map(|offset| (0, offset, 4)));
    wrong.extend([1, 0x3fff].map(|offset| (0, offset, 2)));
    // Behind the window there is the table of MSI-X; then nothing.
    for offset in [WINDOW_BYTES, WINDOW_BYTES + 12, 0x5000, 0x8000, 0x7fff_fffc, ones - 3] {
        wrong.extend([(0, offset, 4), (0, offset, 1)]);
    }
    let mut guest = guest();
    guest.set_common(common::DRIVER_FEATURE, Width::Dword, 0x1234_5678);
    let before = guest.bench.device.registers().unwrap();
    for (bar, offset, length) in wrong {
        point(&mut guest, bar, offset, length);
        for value in [0, ones] {
            put(&mut guest, DATA, Width::Dword, value);
            assert_eq!(get(&mut guest, DATA, Width::Dword), 0, "BAR {bar}, {offset:#x}, {length:#x}");
        }
        point(&mut guest, 0, 0, 0);
        let after = guest.bench.device.registers().unwrap();
        assert_eq!(after, before, "BAR {bar}, {offset:#x}, {length:#x}");
    }
    // The last byte of the window is one.
    write_through(&mut guest, WINDOW_BYTES - 1, Width::Byte, 1);
}

#[test]
fn the_registers_keep_what_is_written_but_for_what_is_reserved() {
    let mut guest = guest();
    for at in 0..u64::from(BYTES) {
        put(&mut guest, at, Width::Byte, 0x80 | at);
    }
    assert_eq!(get(&mut guest, BAR, Width::Dword), 0x80);
    assert_eq!(get(&mut guest, OFFSET, Width::Qword), 0x8b8a_8988_8786_8584);
    assert_eq!(get(&mut guest, DATA, Width::Dword), 0, "there is no such place");
    // What is behind them is nothing.
    for at in [u64::from(BYTES), 0x1000, 1 << 29, u64::MAX - CONFIG_REGISTERS - 8] {
        put(&mut guest, at, Width::Qword, u64::MAX);
        assert_eq!(get(&mut guest, at, Width::Qword), 0);
    }
    // An access of 8 bytes has its length before its data.
    point(&mut guest, 0, common::QUEUES, 0);
    assert_eq!(get(&mut guest, LENGTH, Width::Qword), 0);
    put(&mut guest, LENGTH, Width::Qword, 2);
    assert_eq!(get(&mut guest, LENGTH, Width::Qword), 2 << 32 | 2);
    // A part of the data is a part of what the access gives, and writes the rest as it is.
    point(&mut guest, 0, common::DRIVER_FEATURE, 4);
    put(&mut guest, DATA, Width::Dword, 0x1122_3344);
    assert_eq!(get(&mut guest, DATA + 1, Width::Word), 0x2233);
    put(&mut guest, DATA + 3, Width::Byte, 0x55);
    assert_eq!(guest.common(common::DRIVER_FEATURE, Width::Dword), 0x5522_3344);
    // No more of the data than the length is written, and none of what was read before is left.
    point(&mut guest, 0, common::QUEUES, 2);
    assert_eq!(get(&mut guest, DATA, Width::Dword), 2);
    point(&mut guest, 0, common::DEVICE_FEATURE_SELECT, 4);
    put(&mut guest, DATA, Width::Dword, 0xffff_ff00);
    point(&mut guest, 0, common::STATUS, 1);
    put(&mut guest, DATA, Width::Dword, 0xffff_ff01);
    assert_eq!(guest.status(), status::ACKNOWLEDGE);
}

#[test]
fn they_are_saved_and_restored() {
    let mut guest = guest();
    point(&mut guest, 0, common::DRIVER_FEATURE, 4);
    put(&mut guest, DATA, Width::Dword, 0xa5a5_a5a5);
    let bytes = saved(&guest);
    let mut other = self::guest();
    other.bench.device.restore(&bytes).unwrap();
    assert_eq!(saved(&other), bytes);
    assert_eq!(get(&mut other, OFFSET, Width::Dword), common::DRIVER_FEATURE);
    assert_eq!(get(&mut other, DATA, Width::Dword), 0xa5a5_a5a5);
    let mut state = other.bench.device.registers().unwrap();
    state.access = ConfigAccess(u128::MAX);
    assert!(other.bench.device.take_over(&state).is_err());
    assert_eq!(saved(&other), bytes);
}

proptest! {
    /// An access through them is the direct one.
    #[test]
    fn an_access_through_them_is_the_direct_one(
        accesses in proptest::collection::vec((0_u64..WINDOW_BYTES, 0_u64..0x40, 0_u8..12, any::<u32>()), 0..150),
    ) {
        let (mut direct, mut through) = (guest(), guest());
        direct.start(FEATURES, 16, true);
        through.start(FEATURES, 16, true);
        for (anywhere, common, how, value) in accesses {
            let width = [Width::Byte, Width::Word, Width::Dword][usize::from(how) % 3];
            let offset = if how & 4 == 0 { common } else { anywhere } & !(width.bytes() - 1);
            let value = u64::from(if how < 9 { value & 0x0f0f } else { value }) & width.mask();
            if value & 64 != 0 {
                offer(&mut direct);
                offer(&mut through);
            }
            if value & 1 == 0 {
                let expected = direct.bench.read(offset, width);
                prop_assert_eq!(read_through(&mut through, offset, width), expected, "{:#x}", offset);
            } else {
                direct.bench.write(offset, width, value);
                write_through(&mut through, offset, width, value);
            }
            point(&mut through, 0, 0, 0);
            put(&mut through, DATA, Width::Dword, 0);
            prop_assert_eq!(saved(&direct), saved(&through));
            prop_assert_eq!(&direct.bench.messages, &through.bench.messages);
            prop_assert_eq!(direct.bench.line, through.bench.line);
        }
    }

    /// Whatever is in them, an access is one access, or none.
    #[test]
    fn any_registers(writes in proptest::collection::vec((0_u64..24, 0_u8..4, any::<u64>()), 0..200)) {
        let mut guest = guest();
        for (at, how, value) in writes {
            let width = [Width::Byte, Width::Word, Width::Dword, Width::Qword][usize::from(how)];
            let value = if value & 0x100 == 0 { value & 0x3007 } else { value };
            put(&mut guest, at, width, value);
            prop_assert_eq!(get(&mut guest, at, width) & !width.mask(), 0);
        }
        prop_assert!(guest.reset());
        guest.start(FEATURES, 64, true);
        prop_assert_eq!(guest.status() & status::NEEDS_RESET, 0);
    }
}
