//! From a controller in any state to one that works.

use crate::fake::*;
use access::DeviceAccess;
use access::device::MessageInterrupt;
use access::fake_dma::FakeDma;
use e1000e::{Controller, Error, Sizes};
use network::MacAddress;
use nic::{Link, Nic, State};
use spec::e1000e::*;

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
fn a_controller_is_reset_before_it_is_used() {
    let (fake, driver, now) = Fake::ready();
    assert_eq!(driver.mac(), Some(MacAddress(MAC)));
    assert_eq!(driver.link(), Link::Up { megabits: 1000, full_duplex: true });
    assert_eq!(fake.state.borrow().resets, 2);
    // Before the reset, after it, and for the PHY.
    assert!(now >= 10_000_000 + 10_000_000 + 25_000_000);
    let state = fake.state.borrow();
    let place = |wanted: (u64, u32)| state.writes.iter().position(|write| *write == wanted).unwrap();
    let masked = place((INTERRUPT_MASK_CLEAR, cause::ALL));
    let stopped = place((RECEIVE_CONTROL, 0));
    let reset =
        state.writes.iter().position(|(at, value)| *at == CONTROL && value & ctrl::RESET != 0).unwrap();
    let enabled = state
        .writes
        .iter()
        .position(|(at, value)| *at == RECEIVE_CONTROL && value & rctl::ENABLE != 0)
        .unwrap();
    assert!(masked < reset && stopped < reset && reset < enabled);
    // Software gave the PHY's bus back.
    assert!(state.writes.contains(&(EXTENDED_CONFIGURATION, SOFTWARE_HAS_MDIO)));
    assert!(state.is_published);
    drop(state);
    assert_eq!(fake.get(EXTENDED_CONFIGURATION) & SOFTWARE_HAS_MDIO, 0);
}

#[test]
fn what_the_errata_ask_for_is_set() {
    let (fake, _driver, _) = Fake::ready();
    for register in TRANSMIT_DESCRIPTORS {
        assert_eq!(fake.get(register), 1 << 22 | 1 << 24 | 1 << 16);
    }
    assert_eq!(fake.get(TRANSMIT_ARBITRATION), 0x403 | 1 << 26);
    let control = fake.get(CONTROL);
    assert_eq!(control, ctrl::LINK_UP | ctrl::FULL_DUPLEX);
    assert_eq!(fake.get(CONTROL_EXTENDED), 1 << 22 | 1 << 28 | 1 << 31);
    assert_eq!(fake.get(PCIE_CONTROL), 1 << 22 | 1 << 27);
    assert_eq!(fake.get(PCIE_CONTROL_2), 1);
    assert_eq!(fake.get(RECEIVE_CONTROL), 1 << 1 | 1 << 3 | 1 << 4 | 1 << 15 | 1 << 26);
    assert_eq!(fake.get(RECEIVE_BYTES), 16 * 16);
    assert_eq!((fake.get(RECEIVE_HEAD), fake.get(RECEIVE_TAIL)), (0, 15));
    assert_eq!((fake.get(TRANSMIT_HEAD), fake.get(TRANSMIT_TAIL)), (0, 0));
}

#[test]
fn causes_go_to_the_messages_that_there_are() {
    for (messages, allocation, set) in
        [(2, 0x8009_0808_u32, 0x0150_0004), (1, 0x8008_0808, 0x0150_0085), (5, 0x8009_0808, 0x0150_0004)]
    {
        let (fake, mut driver) = Fake::new(messages);
        bring_up(&mut driver, 1);
        assert_eq!(fake.get(INTERRUPT_ALLOCATION), allocation);
        assert_eq!(fake.get(INTERRUPT_AUTO_CLEAR), 0x0050_0000);
        assert_eq!(fake.get(INTERRUPT_MASK_SET), set);
    }
}

#[test]
fn one_that_is_never_quiet_is_reset_all_the_same() {
    let (fake, mut driver) = Fake::new(1);
    fake.state.borrow_mut().never_quiet = true;
    let now = bring_up(&mut driver, 1);
    assert_eq!(driver.status().state, State::Ready);
    assert!(now > 80_000_000);
    // Firmware that never gives up the PHY's bus is passed by likewise.
    let (fake, mut driver) = Fake::new(1);
    fake.state.borrow_mut().lies.insert(EXTENDED_CONFIGURATION, 0);
    let now = bring_up(&mut driver, 1);
    assert_eq!(driver.status().state, State::Ready);
    assert!(now > 80_000_000);
}

#[test]
fn one_that_reads_no_configuration_fails_and_can_be_started_again() {
    let (fake, mut driver) = Fake::new(1);
    fake.state.borrow_mut().never_configured = true;
    let now = bring_up(&mut driver, 1);
    assert_eq!(failed(&driver), "it did not read its configuration after a reset");
    assert!(now > 100_000_000 && now < SECOND);
    fake.state.borrow_mut().never_configured = false;
    bring_up(&mut driver, now);
    assert_eq!(driver.status().state, State::Ready);
    assert!(driver.error().is_none());
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
