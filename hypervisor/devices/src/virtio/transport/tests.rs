use super::*;
use crate::testing::VecMedium;
use crate::virtio::block::{Block, Config};
use crate::virtio::net;
use crate::virtio::testing::Guest;
use network::MacAddress;
use proptest::prelude::*;
use spec::virtio::pci::common;

mod words;

const USUAL: u64 = FEATURES;

fn guest() -> Guest<Block> {
    let config = Config {
        sectors: 64,
        block_bytes: 512,
        segment_bytes: 4096,
        writable: true,
        can_discard: false,
        can_write_zeroes: false,
        most_discarded: crate::virtio::block::MOST_DISCARDED,
        queues: 2,
        name: [b'n'; 20],
    };
    Guest::new(Transport::new(Block::new(config), 3, false), VecMedium::new(64 * 512))
}

fn select(guest: &mut Guest<Block>, queue: u64) {
    guest.set_common(common::QUEUE_SELECT, Width::Word, queue);
}

/// What a register has after a value was written to it.
fn after(guest: &mut Guest<Block>, offset: u64, width: Width, value: u64) -> u64 {
    guest.set_common(offset, width, value);
    guest.common(offset, width)
}

#[test]
fn the_capabilities_tell_of_the_window() {
    let kinds: std::vec::Vec<u8> = CAPABILITIES.iter().map(|capability| capability[0]).collect();
    let places = [structure::COMMON, structure::ISR, structure::DEVICE, structure::NOTIFY];
    assert_eq!(kinds, [&places[..], &[structure::CONFIG_ACCESS]].concat());
    for capability in &CAPABILITIES[..places.len()] {
        assert_eq!(capability[1], 0, "BAR 0");
        let dword = |at: usize| u32::from_le_bytes(capability[at..at + 4].try_into().unwrap());
        assert!(u64::from(dword(5)) + u64::from(dword(9)) <= WINDOW_BYTES);
        assert!(dword(5).is_multiple_of(PAGE_BYTES));
    }
}

#[test]
fn power_up() {
    let mut guest = guest();
    assert_eq!(guest.status(), 0);
    assert_eq!(guest.common(common::QUEUES, Width::Word), 2);
    assert_eq!(guest.common(common::CONFIG_VECTOR, Width::Word), u64::from(NO_VECTOR));
    for queue in 0..2 {
        select(&mut guest, queue);
        assert_eq!(guest.common(common::QUEUE_SIZE, Width::Word), 128);
        assert_eq!(guest.common(common::QUEUE_ENABLE, Width::Word), 0);
        assert_eq!(guest.common(common::QUEUE_NOTIFY, Width::Word), queue);
        assert_eq!(guest.common(common::QUEUE_VECTOR, Width::Word), u64::from(NO_VECTOR));
    }
    // A queue that is not there has no descriptors (section 4.1.4.3.1), and takes none.
    for queue in [2, 0xffff] {
        select(&mut guest, queue);
        assert_eq!(after(&mut guest, common::QUEUE_SIZE, Width::Word, 8), 0);
        assert_eq!(after(&mut guest, common::QUEUE_VECTOR, Width::Word, 1), u64::from(NO_VECTOR));
        assert_eq!(after(&mut guest, common::QUEUE_ENABLE, Width::Word, 1), 0);
        assert_eq!(after(&mut guest, common::QUEUE_DESCRIPTORS, Width::Qword, 0x1000), 0);
    }
}

#[test]
fn features_have_two_halves() {
    let mut guest = guest();
    assert_eq!(guest.offered() & FEATURES, FEATURES);
    guest.set_common(common::DEVICE_FEATURE_SELECT, Width::Dword, 2);
    assert_eq!(guest.common(common::DEVICE_FEATURE, Width::Dword), 0);
    guest.set_common(common::DRIVER_FEATURE_SELECT, Width::Dword, 2);
    assert_eq!(after(&mut guest, common::DRIVER_FEATURE, Width::Dword, 0xffff_ffff), 0);
    guest.set_common(common::DRIVER_FEATURE_SELECT, Width::Dword, 0);
    assert_eq!(guest.common(common::DRIVER_FEATURE, Width::Dword), 0);
}

/// Section 2.2.2: what was not offered, or is not a device of version 1, is not agreed on.
#[test]
fn features_that_cannot_be() {
    for features in [0, FEATURES & !feature::VERSION_1, FEATURES | 1 << 63, FEATURES | 1 << 33, FEATURES | 1]
    {
        let mut guest = guest();
        assert!(!guest.negotiate(features), "{features:#x}");
        guest.add_status(status::DRIVER_OK);
        assert_eq!(guest.status(), status::ACKNOWLEDGE | status::DRIVER);
        // It may try again.
        assert!(guest.negotiate(FEATURES));
    }
}

#[test]
fn features_are_agreed_on_once() {
    let mut guest = guest();
    assert!(guest.negotiate(USUAL));
    guest.set_common(common::DRIVER_FEATURE_SELECT, Width::Dword, 0);
    let before = guest.common(common::DRIVER_FEATURE, Width::Dword);
    assert_eq!(after(&mut guest, common::DRIVER_FEATURE, Width::Dword, 0), before);
    // Bits of the status stay until a reset.
    guest.set_common(common::STATUS, Width::Byte, status::ACKNOWLEDGE.into());
    assert_eq!(guest.status(), status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
    assert!(guest.reset());
    guest.set_common(common::DRIVER_FEATURE_SELECT, Width::Dword, 0);
    assert_eq!(guest.common(common::DRIVER_FEATURE, Width::Dword), 0);
}

#[test]
fn bits_of_the_status_that_mean_nothing_are_not_kept() {
    let mut guest = guest();
    guest.set_common(common::STATUS, Width::Byte, 0x70);
    assert_eq!(guest.status(), 0);
    assert!(guest.negotiate(USUAL));
    guest.add_status(status::NEEDS_RESET | 0x30);
    assert_eq!(guest.status(), status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
}

/// A queue is enabled between FEATURES_OK and a reset, and where it is changes no more then
/// (CVE-2019-18960 and its kind).
#[test]
fn a_queue_that_is_enabled_stays_where_it_is() {
    let mut guest = guest();
    select(&mut guest, 0);
    assert_eq!(after(&mut guest, common::QUEUE_ENABLE, Width::Word, 1), 0, "too early");
    guest.start(USUAL, 64, true);
    select(&mut guest, 1);
    let places = [common::QUEUE_DESCRIPTORS, common::QUEUE_DRIVER, common::QUEUE_DEVICE];
    for offset in places {
        let before = guest.common(offset, Width::Qword);
        assert_ne!(before, 0);
        assert_eq!(after(&mut guest, offset, Width::Qword, 0x1234_5000), before);
        assert_eq!(after(&mut guest, offset, Width::Dword, 0x1234_5000), before & 0xffff_ffff);
        assert_eq!(after(&mut guest, offset + 4, Width::Dword, 1), before >> 32);
    }
    assert_eq!(after(&mut guest, common::QUEUE_SIZE, Width::Word, 128), 64);
    assert_eq!(after(&mut guest, common::QUEUE_ENABLE, Width::Word, 0), 1, "only a reset disables it");
    // Its message may change.
    assert_eq!(after(&mut guest, common::QUEUE_VECTOR, Width::Word, 0), 0);
    assert!(guest.reset());
    select(&mut guest, 1);
    for offset in places {
        assert_eq!(guest.common(offset, Width::Qword), 0);
    }
    assert_eq!(guest.common(common::QUEUE_SIZE, Width::Word), 128);
    assert_eq!(guest.common(common::QUEUE_ENABLE, Width::Word), 0);
}

#[test]
fn sizes_that_no_queue_has() {
    let mut guest = guest();
    select(&mut guest, 0);
    for size in [0, 3, 127, 129, 256, 0x8000, 0xffff] {
        assert_eq!(after(&mut guest, common::QUEUE_SIZE, Width::Word, size), 128);
    }
    assert_eq!(after(&mut guest, common::QUEUE_SIZE, Width::Word, 1), 1);
}

#[test]
fn a_queue_where_none_can_be_needs_a_reset() {
    for (offset, gpa) in [
        (common::QUEUE_DESCRIPTORS, 8),
        (common::QUEUE_DRIVER, 1),
        (common::QUEUE_DEVICE, 2),
        (common::QUEUE_DESCRIPTORS, u64::MAX - 15),
    ] {
        let mut guest = guest();
        assert!(guest.negotiate(USUAL));
        select(&mut guest, 0);
        guest.set_common(offset, Width::Qword, gpa);
        assert_eq!(after(&mut guest, common::QUEUE_ENABLE, Width::Word, 1), 0);
        assert_ne!(guest.status() & status::NEEDS_RESET, 0);
        assert!(guest.bench.messages.is_empty() && !guest.bench.line, "the driver is not set up");
        guest.add_status(status::DRIVER_OK);
        guest.kick(0);
        assert!(guest.reset());
    }
}

/// Rings that are no memory show when they are used.
#[test]
fn rings_outside_of_memory_need_a_reset() {
    let mut guest = guest();
    assert!(guest.negotiate(USUAL));
    select(&mut guest, 0);
    for offset in [common::QUEUE_DESCRIPTORS, common::QUEUE_DRIVER, common::QUEUE_DEVICE] {
        guest.set_common(offset, Width::Qword, 0xff00_0000);
    }
    guest.set_common(common::QUEUE_ENABLE, Width::Word, 1);
    guest.add_status(status::DRIVER_OK);
    guest.kick(0);
    assert_ne!(guest.status() & status::NEEDS_RESET, 0);
    assert!(guest.bench.line, "without a message the line tells");
    assert!(guest.reset());
    assert!(!guest.bench.line);
}

/// Section 4.1.5.1.2.
#[test]
fn vectors_that_there_are_no_messages_for_are_none() {
    let mut guest = guest();
    for register in [common::CONFIG_VECTOR, common::QUEUE_VECTOR] {
        for vector in [3, 4, 31, 32, 0x7fff, 0xffff] {
            assert_eq!(after(&mut guest, register, Width::Word, 2), 2);
            assert_eq!(after(&mut guest, register, Width::Word, vector), u64::from(NO_VECTOR));
        }
    }
}

#[test]
fn notifications_before_the_driver_is_ready_are_nothing() {
    let mut guest = guest();
    guest.kick(0);
    assert!(guest.negotiate(USUAL));
    guest.enable(0, 16, 1, USUAL);
    let header = guest.rings[0].header(0);
    guest.rings[0].add(&guest.bench.memory, &[(header, 16), (header + 16, 1)], 1, false);
    guest.kick(0);
    assert_eq!(guest.rings[0].take_used(&guest.bench.memory), None);
    // What waits is taken once it is ready.
    guest.add_status(status::DRIVER_OK);
    assert!(guest.rings[0].take_used(&guest.bench.memory).is_some());
    // Any write anywhere in the page is a notification.
    for (offset, width) in [(0, Width::Byte), (4, Width::Dword), (0xff8, Width::Qword), (0xfff, Width::Byte)]
    {
        guest.rings[0].add(&guest.bench.memory, &[(header, 16), (header + 16, 1)], 1, false);
        guest.bench.write(NOTIFY + offset, width, u64::MAX);
        assert!(guest.rings[0].take_used(&guest.bench.memory).is_some(), "{offset}");
    }
    // One that has given the device up is not served.
    guest.add_status(status::FAILED);
    guest.rings[0].add(&guest.bench.memory, &[(header, 16), (header + 16, 1)], 1, false);
    guest.kick(0);
    assert_eq!(guest.rings[0].take_used(&guest.bench.memory), None);
}

/// Registers take accesses of their own size (section 4.1.3.1); others change nothing.
#[test]
fn accesses_of_other_sizes_change_nothing() {
    let mut guest = guest();
    let all = |guest: &mut Guest<Block>| {
        let bytes = (0..0x38).step_by(2).filter(|offset| ![0x14].contains(offset));
        let mut values: std::vec::Vec<u64> = bytes.map(|offset| guest.common(offset, Width::Word)).collect();
        values.push(guest.status().into());
        values
    };
    let before = all(&mut guest);
    for offset in 0..0x38_u64 {
        for width in [Width::Byte, Width::Word, Width::Dword, Width::Qword] {
            let own = match offset {
                0 | 4 | 8 | 12 => width == Width::Dword,
                common::CONFIG_VECTOR | common::QUEUE_SELECT..=common::QUEUE_NOTIFY => width == Width::Word,
                common::STATUS => width == Width::Byte,
                0x20.. => width.is_aligned(offset) && matches!(width, Width::Dword | Width::Qword),
                _ => false,
            };
            if !own {
                guest.set_common(offset, width, 0x0101_0101_0101_0101);
                assert_eq!(all(&mut guest), before, "{width:?} to {offset:#x}");
            }
        }
    }
    assert_eq!(guest.bench.read(WINDOW_BYTES, Width::Dword), 0xffff_ffff);
    guest.bench.write(WINDOW_BYTES, Width::Dword, 1);
    guest.bench.write(0x1000, Width::Byte, 1);
    guest.bench.write(0x2000, Width::Qword, 1);
    assert_eq!(all(&mut guest), before);
}

/// Section 4.1.4.3.1: who reads the configuration while it changes can tell.
#[test]
fn a_configuration_that_changes_is_of_another_generation() {
    let config = net::Config { mac: MacAddress([2, 0, 0, 0, 0, 9]), mtu: 1500, any_source: false };
    let device = Transport::new(net::Net::new(config), 4, false);
    let mut guest = Guest::new(device, VecMedium::new(0));
    let features = guest.offered();
    guest.start(features, 64, true);
    let before = guest.common(common::GENERATION, Width::Byte);
    for (is_up, changes) in [(true, 1), (true, 1), (false, 2)] {
        guest.bench.with(|device, context| device.set_link(is_up, context));
        assert_eq!(guest.common(common::GENERATION, Width::Byte), before + changes);
        assert_eq!(guest.bench.messages.len() as u64, changes);
    }
}

proptest! {
    /// No registers panic, and afterwards a reset ends.
    #[test]
    fn any_registers(
        writes in proptest::collection::vec((0_u64..WINDOW_BYTES + 8, 0_u64..0x40, 0_u8..5, any::<u64>()), 0..200),
    ) {
        let mut guest = guest();
        for (anywhere, common, how, value) in writes {
            let width = [Width::Byte, Width::Word, Width::Dword, Width::Qword][usize::from(how) & 3];
            // Values mostly have few bits.
            let value = if how == 4 { value } else { value & 0x1_0000_0f0f };
            let offset = if value & 1 == 0 { anywhere } else { common };
            guest.bench.write(offset, width, value);
            prop_assert_eq!(guest.bench.read(offset, width) & !width.mask(), 0);
        }
        prop_assert!(guest.reset());
        guest.start(USUAL, 128, true);
        prop_assert_eq!(guest.status() & status::NEEDS_RESET, 0);
    }
}
