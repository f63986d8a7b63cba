//! From a controller in any state to one that works.

use crate::fake::*;
use crate::twin::{Controller, Error, Sizes};
use access::DeviceAccess;
use access::device::MessageInterrupt;
use access::fake_dma::FakeDma;
use nic::{Link, Nic, State};
use spec::gigabit::{ADDRESS_HIGH, ADDRESS_LOW, ADDRESS_VALID};

fn failed(driver: &Driver) -> String {
    assert_eq!(driver.status().state, State::Failed);
    assert_eq!(driver.status().deadline_ns, None);
    driver.error().expect("a failure has its words").to_string()
}

#[test]
fn nothing_is_touched_before_the_start() {
    let (fake, mut driver) = Fake::new(2);
    driver.poll(5);
    driver.interrupt(0, 5);
    driver.kick(5);
    assert!(!driver.receive(&mut frame(0, 0)));
    assert_eq!((driver.status().state, driver.mac(), driver.link()), (State::Off, None, Link::Down));
    assert!(fake.state.borrow().writes.is_empty());
}

#[test]
fn sizes_memory_and_messages_are_checked() {
    let make = |bytes, messages, transmit, receive| {
        let (dma, domain) = FakeDma::new(bytes);
        let (fake, _) = Fake::new(1);
        let fake = Fake { domain, ..fake };
        let access = DeviceAccess { registers: fake, dma, interrupt: MessageInterrupt { messages } };
        Controller::new(access, Sizes { transmit, receive }).err()
    };
    for (transmit, receive) in [(0, 8), (8, 12), (264, 8), (8, 7)] {
        assert_eq!(make(1 << 20, 1, transmit, receive), Some(Error::Sizes));
    }
    assert_eq!(make(1 << 20, 0, 8, 8), Some(Error::NoMessages));
    assert_eq!(make(32 << 10, 1, 8, 8), Some(Error::NoMemory));
    assert_eq!(make(2 << 20, 1, 256, 256), None);
}

#[test]
fn one_that_is_never_quiet_is_reset_all_the_same() {
    let (fake, mut driver) = Fake::new(1);
    fake.state.borrow_mut().never_quiet = true;
    let now = bring_up(&mut driver, 1);
    assert_eq!(driver.status().state, State::Ready);
    assert!(now > 80_000_000);
    // Firmware that never gives up the PHY is passed by likewise.
    let (fake, mut driver) = Fake::new(1);
    fake.state.borrow_mut().never_shared = true;
    fake.state.borrow_mut().loses_link = true;
    let now = bring_up(&mut driver, 1);
    assert_eq!(driver.status().state, State::Ready);
    assert!(now > 80_000_000);
}

#[test]
fn an_address_that_no_station_has_is_refused() {
    for (low, high) in [(0x0000_5452, 0x0302), (0, ADDRESS_VALID), (1, ADDRESS_VALID | 0x0302)] {
        let (fake, mut driver) = Fake::new(1);
        fake.state.borrow_mut().lies.extend([(ADDRESS_LOW, low), (ADDRESS_HIGH, high)]);
        bring_up(&mut driver, 1);
        assert!(failed(&driver).starts_with("it has no address of its own, but "));
    }
}

#[test]
fn one_that_is_not_there_is_not_written_to() {
    let (fake, mut driver) = Fake::new(1);
    fake.state.borrow_mut().is_gone = true;
    bring_up(&mut driver, 1);
    assert_eq!(failed(&driver), "its registers read ones: it is not there any more");
    assert!(fake.state.borrow().writes.is_empty());
}
