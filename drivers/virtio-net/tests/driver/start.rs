//! From a function that was just reset to an interface.

use crate::bench::*;
use nic::{Link, Nic, State};
use spec::virtio::feature::{ACCESS_PLATFORM, EVENT_INDEX, VERSION_1};
use spec::virtio::net::{config, feature};
use spec::virtio::pci::common;
use virtio_net::Error;

/// Where the emulated device has its configuration.
const DEVICE: u64 = 0x2000;

#[test]
fn it_comes_up_with_its_address_and_its_link() {
    let mut bench = Bench::off(1500, 2);
    assert_eq!((bench.driver.status().state, bench.driver.mac()), (State::Off, None));
    bench.driver.start(bench.now);
    bench.run();
    bench.check_ready();
    assert_eq!((bench.driver.mac(), bench.driver.link()), (Some(MAC), UP));
    assert_eq!(bench.driver.link().to_string(), "link up");
    assert_eq!(bench.driver.capabilities().largest_bytes, 1518);
    assert_eq!(bench.domain.refused(), 0, "nothing but buffers was asked for");
}

#[test]
fn what_bypasses_the_iommu_is_refused_and_so_is_what_is_old() {
    assert_eq!(Bench::lying(ACCESS_PLATFORM, &[]).error(), Error::BypassesIommu);
    assert_eq!(Bench::lying(VERSION_1, &[]).error(), Error::Legacy);
}

#[test]
fn it_works_without_any_feature_that_it_can_do_without() {
    let optional = [
        EVENT_INDEX,
        feature::CHECKSUM,
        feature::MTU,
        feature::STATUS,
        feature::CONTROL_QUEUE,
        feature::CONTROL_RECEIVE,
    ];
    for hidden in optional.into_iter().chain([optional.iter().fold(0, |all, bit| all | bit)]) {
        let mut bench = Bench::lying(hidden, &[]);
        assert_eq!(bench.driver.link(), UP);
        bench.send(&frame(100, 3)).unwrap();
        assert_eq!(bench.sent().unwrap().bytes(), frame(100, 3).bytes(), "{hidden:#x}");
        // What is for others comes where the device was told so; where it cannot be, it is for itself.
        let mut mine = frame(200, 4);
        mine.bytes_mut()[..6].copy_from_slice(&MAC.0);
        bench.comes(&mine);
        assert_eq!(bench.received().unwrap(), mine.bytes());
        assert_eq!(bench.driver.capabilities().checksum, hidden & feature::CHECKSUM == 0);
    }
    // Without an address nobody knows whose it is.
    assert_eq!(Bench::lying(feature::MAC, &[]).error().to_string(), "it has no address of its own");
}

#[test]
fn one_message_is_enough() {
    let mut bench = Bench::off(1500, 1);
    bench.driver.start(bench.now);
    bench.run();
    bench.check_ready();
    bench.set_link(false);
    bench.deliver();
    assert_eq!(bench.driver.link(), Link::Down);
}

#[test]
fn frames_are_as_large_as_the_device_says() {
    for (mtu, largest) in [(68, 86), (1400, 1418), (1500, 1518), (9000, 1518)] {
        let mut bench = Bench::off(mtu, 2);
        bench.driver.start(bench.now);
        bench.run();
        assert_eq!(bench.driver.capabilities().largest_bytes, largest);
        assert_eq!(bench.send(&frame(largest + 1, 1)), Err(nic::Refused::TooLong(largest)));
    }
    let reads = [(DEVICE + config::MTU as u64, 67)];
    assert_eq!(Bench::lying(0, &reads).error().to_string(), "it carries less than 68 bytes in a frame");
}

#[test]
fn what_makes_no_sense_is_found() {
    let size = |queue, entries| Error::Size { queue, entries };
    for (offset, value, error) in [
        (common::QUEUE_SIZE, 0, size(0, 0)),
        (common::QUEUE_SIZE, 1, size(0, 1)),
        (common::QUEUE_SIZE, 24, size(0, 24)),
        (common::QUEUE_VECTOR, 0xffff, Error::Message(Some(0))),
        (common::CONFIG_VECTOR, 0xffff, Error::Message(None)),
        (common::QUEUE_NOTIFY, 0x400, Error::Notify(0)),
        (common::STATUS, 0xff, Error::Removed),
        (common::STATUS, 1, Error::NotReset),
        (common::STATUS, 0, Error::Features),
        (DEVICE, 0x0101_0101_0101, Error::Configuration("its address is none of a station")),
    ] {
        assert_eq!(Bench::lying(0, &[(offset, value)]).error(), error, "{offset:#x} {value:#x}");
    }
    let mut bench = Bench::off(1500, 2);
    bench.registers.lies.is_restless.set(true);
    bench.driver.start(bench.now);
    assert_eq!(bench.error(), Error::Generation);
    bench.registers.lies.is_restless.set(false);
    bench.driver.start(bench.now);
    bench.run();
    bench.check_ready();
}

#[test]
fn one_that_does_not_answer_a_command_is_given_up() {
    let mut bench = Bench::off(1500, 2);
    bench.driver.start(bench.now);
    assert_eq!(bench.driver.status().state, State::Starting);
    bench.pass(6 * SECOND);
    assert_eq!(bench.error(), Error::Late(2));
}
