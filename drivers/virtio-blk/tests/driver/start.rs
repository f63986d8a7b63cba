//! From a function that was just reset to a medium.

use crate::bench::*;
use access::DeviceAccess;
use access::device::MessageInterrupt;
use access::fake_dma::FakeDma;
use block::testing::Ask;
use block::{Drive, Refused, State};
use devices::virtio::transport::{CAPABILITIES, WINDOW_BYTES};
use spec::virtio::block::{config, feature};
use spec::virtio::feature::{ACCESS_PLATFORM, EVENT_INDEX, INDIRECT_DESCRIPTORS, VERSION_1};
use spec::virtio::pci::common;
use spec::virtio::status;
use virtio::testing::Space;
use virtio_blk::{Device, Error, Sizes};

/// Where the emulated device has its configuration.
const DEVICE: u64 = 0x2000;

#[test]
fn it_comes_up_and_says_who_it_is() {
    let mut bench = Bench::off(CONFIG, 2, SIZES);
    assert_eq!(bench.driver.status().state, State::Off);
    assert_eq!(bench.driver.read(0, 1, bench.now), Err(Refused::NotReady));
    bench.start();
    let geometry = bench.geometry();
    assert_eq!((geometry.blocks, geometry.block_bytes, geometry.is_read_only), (2048, 512, false));
    assert!(geometry.can_discard && geometry.can_write_zeroes);
    let identity = bench.driver.identity().unwrap();
    assert_eq!(format!("{} {}", identity.model, identity.serial), "virtio block device emulated 1");
    assert_eq!(bench.driver.status().deadline_ns, None, "nothing is waited for");
    assert_eq!(bench.domain.refused(), 0, "nothing but buffers was asked for");
}

#[test]
fn one_that_bypasses_the_iommu_is_refused() {
    let bench = Bench::lying(ACCESS_PLATFORM, &[]);
    assert_eq!(bench.error(), Error::BypassesIommu);
    let words = bench.error().to_string();
    assert!(words.contains("past the IOMMU") && words.contains("iommu_platform=on,disable-legacy=on"));
    let writes = bench.registers.lies.writes.borrow();
    let is_set_up = |&(offset, value): &(u64, u64)| {
        offset == common::QUEUE_ENABLE
            || offset == common::STATUS && value & u64::from(status::DRIVER_OK) != 0
    };
    assert!(!writes.iter().any(is_set_up), "it was told of memory");
    assert!(bench.domain.is_blocked(), "and it reaches none");
}

#[test]
fn one_of_before_version_1_is_refused() {
    let bench = Bench::lying(VERSION_1, &[]);
    assert_eq!(bench.error(), Error::Legacy);
    assert!(bench.error().to_string().contains("disable-legacy=on"));
}

#[test]
fn it_works_without_any_feature_that_it_can_do_without() {
    let optional = EVENT_INDEX
        | INDIRECT_DESCRIPTORS
        | feature::SIZE_MAX
        | feature::SEG_MAX
        | feature::BLOCK_SIZE
        | feature::FLUSH
        | feature::DISCARD
        | feature::WRITE_ZEROES;
    let bits = (0..64).map(|bit| 1 << bit).filter(|bit| bit & optional != 0);
    for hidden in bits.chain([optional, 0]) {
        let mut bench = Bench::lying(hidden, &[]);
        assert_eq!(bench.read(7, 9), bench.medium(7 * 512..16 * 512), "{hidden:#x}");
        bench.write(9, &[5; 1024]);
        assert_eq!(bench.medium(9 * 512..11 * 512), [5; 1024]);
        bench.driver.flush(bench.now).unwrap();
        bench.deliver();
        assert_eq!(bench.done().0.outcome, Ok(()));
        let has = |feature| hidden & feature == 0;
        assert_eq!(bench.machine.borrow().medium.flushes > 0, true, "the device or the driver does");
        let geometry = bench.geometry();
        assert_eq!(geometry.can_discard, has(feature::DISCARD));
        assert_eq!(geometry.can_write_zeroes, has(feature::WRITE_ZEROES));
    }
}

#[test]
fn one_message_is_enough() {
    let mut bench = Bench::off(CONFIG, 1, SIZES);
    bench.start();
    assert_eq!(bench.read(0, 1), bench.medium(0..512));
}

#[test]
fn what_cannot_be_made_is_refused() {
    let make = |sizes, messages, bytes| {
        let (dma, _domain) = FakeDma::new(bytes);
        let registers = Bench::off(CONFIG, 1, SIZES).registers;
        let layout = Space::new(CAPABILITIES).layout(WINDOW_BYTES).unwrap();
        let access = DeviceAccess { registers, dma, interrupt: MessageInterrupt { messages } };
        Device::new(access, layout, sizes).err()
    };
    assert_eq!(make(SIZES, 1, 16 << 20), None);
    assert_eq!(make(SIZES, 0, 16 << 20), Some(Error::NoMessages));
    for sizes in [SIZES, Sizes { requests: 1, request_bytes: 4096, commands: 1 }] {
        assert_eq!(make(sizes, 1, sizes.bytes()), None, "what it takes is what it says");
        assert_eq!(make(sizes, 1, sizes.bytes() - 1), Some(Error::NoMemory));
    }
    for sizes in [
        Sizes { requests: 0, ..SIZES },
        Sizes { requests: 257, ..SIZES },
        Sizes { commands: 0, ..SIZES },
        Sizes { commands: 65, ..SIZES },
        Sizes { request_bytes: 0, ..SIZES },
        Sizes { request_bytes: 4097, ..SIZES },
        Sizes { request_bytes: 2 << 20, ..SIZES },
    ] {
        assert_eq!(make(sizes, 1, 16 << 20), Some(Error::Sizes), "{sizes:?}");
    }
}

#[test]
fn what_the_configuration_says_has_to_make_sense() {
    let at = |offset: usize| DEVICE + offset as u64;
    let capacity = |sectors: u64| {
        [(at(config::CAPACITY), sectors & 0xffff_ffff), (at(config::CAPACITY + 4), sectors >> 32)]
    };
    for (reads, words) in [
        (capacity(0).to_vec(), "it has no blocks"),
        (capacity(u64::MAX).to_vec(), "it says to have 2^64 bytes or more"),
        (capacity(1 << 55).to_vec(), "it says to have 2^64 bytes or more"),
        (vec![(at(config::BLOCK_SIZE), 0)], "its blocks have less than 512 or more than 65536 bytes"),
        (vec![(at(config::BLOCK_SIZE), 256)], "its blocks have less than 512 or more than 65536 bytes"),
        (vec![(at(config::BLOCK_SIZE), 513)], "its blocks have less than 512 or more than 65536 bytes"),
        (vec![(at(config::BLOCK_SIZE), 1 << 17)], "its blocks have less than 512 or more than 65536 bytes"),
        (vec![(at(config::SIZE_MAX), 511)], "a block of it is more than it moves at once"),
        (vec![(at(config::SIZE_MAX), 0)], "a block of it is more than it moves at once"),
    ] {
        assert_eq!(Bench::lying(0, &reads).error().to_string(), words, "{reads:x?}");
    }
    // What it cannot have is not offered.
    let reads = [(at(config::MAX_DISCARD_SECTORS), 0), (at(config::MAX_ZEROES_SECTORS), 0)];
    let geometry = Bench::lying(0, &reads).geometry();
    assert!(!geometry.can_discard && !geometry.can_write_zeroes);
    // A part of a block at the end is nothing.
    let reads = [(at(config::BLOCK_SIZE), 4096), (at(config::CAPACITY), 2047)];
    assert_eq!(Bench::lying(0, &reads).geometry().blocks, 255);
}

#[test]
fn registers_that_make_no_sense_are_found() {
    for (offset, value, error) in [
        (common::QUEUE_SIZE, 0, Error::Size { queue: 0, entries: 0 }),
        (common::QUEUE_SIZE, 3, Error::Size { queue: 0, entries: 3 }),
        (common::QUEUE_SIZE, 1, Error::Size { queue: 0, entries: 1 }),
        (common::QUEUE_SIZE, 0xffff, Error::Size { queue: 0, entries: 0xffff }),
        (common::QUEUE_VECTOR, 0xffff, Error::Message(Some(0))),
        (common::CONFIG_VECTOR, 0xffff, Error::Message(None)),
        (common::QUEUE_NOTIFY, 0x400, Error::Notify(0)),
        (common::QUEUE_NOTIFY, 0xffff, Error::Notify(0)),
        (common::STATUS, 0xff, Error::Removed),
        (common::STATUS, 1, Error::NotReset),
        // It stays reset, whatever it is told.
        (common::STATUS, 0, Error::Features),
    ] {
        assert_eq!(Bench::lying(0, &[(offset, value)]).error(), error, "{offset:#x} {value:#x}");
    }
    // Two descriptors are a queue, but no request with data.
    let bench = Bench::lying(INDIRECT_DESCRIPTORS, &[(common::QUEUE_SIZE, 2)]);
    assert_eq!(bench.error(), Error::Size { queue: 0, entries: 2 });
}

#[test]
fn a_failed_one_can_be_started_again() {
    let mut bench = Bench::lying(ACCESS_PLATFORM, &[]);
    bench.registers.lies.hidden.set(0);
    bench.start();
    assert_eq!(bench.read(3, 1), bench.medium(3 * 512..4 * 512));
}
