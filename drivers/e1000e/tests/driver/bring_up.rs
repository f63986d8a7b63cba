//! What an 82574 is told between its reset and its work.

use crate::fake::*;
use crate::twin::*;
use network::MacAddress;
use nic::{Link, Nic, State};

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
fn one_that_reads_no_configuration_fails_and_can_be_started_again() {
    let (fake, mut driver) = Fake::new(1);
    fake.state.borrow_mut().never_configured = true;
    let now = bring_up(&mut driver, 1);
    assert_eq!(driver.error().unwrap().to_string(), "it did not read its configuration after a reset");
    assert!(now > 100_000_000 && now < SECOND);
    fake.state.borrow_mut().never_configured = false;
    bring_up(&mut driver, now);
    assert_eq!(driver.status().state, State::Ready);
    assert!(driver.error().is_none());
}
