//! What an 82576 is told between its reset and its work.

use crate::fake::*;
use crate::twin::*;
use network::MacAddress;
use nic::{Link, Nic, State};

fn place(fake: &Fake, is_wanted: impl Fn(u64, u32) -> bool) -> usize {
    let state = fake.state.borrow();
    state.writes.iter().position(|(at, value)| is_wanted(*at, *value)).expect("it is written")
}

#[test]
fn a_controller_is_reset_before_it_is_used() {
    let (fake, driver, now) = Fake::ready();
    assert_eq!(driver.mac(), Some(MacAddress(MAC)));
    assert_eq!(driver.link(), Link::Up { megabits: 1000, full_duplex: true });
    assert_eq!(fake.state.borrow().resets, 2);
    // Before the reset, after it, and for the PHY.
    assert!(now >= 10_000_000 + 10_000_000 + 25_000_000);
    let masked = [INTERRUPT_MASK_CLEAR, MESSAGE_MASK_CLEAR]
        .map(|register| place(&fake, |at, value| (at, value) == (register, u32::MAX)));
    let stopped = place(&fake, |at, value| (at, value) == (RECEIVE_CONTROL, 0));
    let quiet = place(&fake, |at, value| at == CONTROL && value & ctrl::MASTER_DISABLE != 0);
    let reset = place(&fake, |at, value| at == CONTROL && value & ctrl::RESET != 0);
    let open = place(&fake, |at, value| at == RECEIVE_CONTROL && value & rctl::ENABLE != 0);
    let tail = place(&fake, |at, value| at == RECEIVE_TAIL && value != 0);
    assert!(masked[0].max(masked[1]) < reset && stopped < quiet && quiet < reset);
    assert!(reset < open && open < tail, "only an enabled receiver takes its tail");
    assert!(fake.state.borrow().is_published);
}

#[test]
fn queue_0_has_all_that_comes_once_it_ceased() {
    let (fake, _driver, _) = Fake::ready();
    let ceased = place(&fake, |at, value| (at, value) == (RECEIVE_QUEUE, 0));
    let based = place(&fake, |at, _| at == RECEIVE_BASE_LOW);
    let works = place(&fake, |at, value| at == RECEIVE_QUEUE && value & queue::ENABLE != 0);
    assert!(ceased < based && based < works);
    assert_eq!(fake.get(RECEIVE_QUEUE), 8 | 8 << 8 | 1 << 16 | 1 << 25);
    assert_eq!(fake.get(TRANSMIT_QUEUE), 8 | 8 << 8 | 1 << 16 | 1 << 25);
    assert_eq!(fake.get(RECEIVE_BUFFERS), 2 | 1 << 25);
    assert_eq!((fake.get(MULTIPLE_QUEUES), fake.get(VIRTUALIZATION)), (0, 0));
    assert_eq!(fake.get(RECEIVE_BYTES), 16 * 16);
    assert_eq!((fake.get(RECEIVE_HEAD), fake.get(RECEIVE_TAIL)), (0, 15));
    assert_eq!((fake.get(TRANSMIT_HEAD), fake.get(TRANSMIT_TAIL)), (0, 0));
    assert_eq!(fake.get(RECEIVE_CONTROL), 1 << 1 | 1 << 3 | 1 << 4 | 1 << 15 | 1 << 26);
    assert_eq!(fake.get(TRANSMIT_CONTROL), 1 << 1 | 1 << 3 | 15 << 4 | 0x40 << 12 | 1 << 24 | 0xa << 28);
    assert_eq!(fake.get(CONTROL), ctrl::LINK_UP | ctrl::FULL_DUPLEX);
    assert_eq!(fake.get(CONTROL_EXTENDED), 1 << 28);
    assert_eq!(fake.get(PCIE_CONTROL), 1 << 12, "completions have their time, and are not asked for twice");
}

#[test]
fn causes_go_to_the_messages_that_there_are() {
    for (messages, other, armed) in [(2, 0x8100, 0b11), (1, 0x8000, 0b1), (5, 0x8100, 0b11)] {
        let (fake, mut driver) = Fake::new(messages);
        bring_up(&mut driver, 1);
        assert_eq!(fake.get(INTERRUPT_MODE), 1 | 1 << 4 | 1 << 30 | 1 << 31);
        assert_eq!((fake.get(QUEUE_ALLOCATION), fake.get(OTHER_ALLOCATION)), (0x8080, other));
        assert_eq!((fake.get(MESSAGE_AUTO_CLEAR), fake.get(MESSAGE_AUTO_MASK)), (armed, armed));
        assert_eq!((fake.get(MESSAGE_MASK_SET), fake.get(INTERRUPT_MASK_SET)), (armed, 1 << 2));
        assert_eq!(fake.get(MESSAGE_THROTTLE), 20 << 2);
    }
}

#[test]
fn a_link_that_a_reset_cost_is_negotiated_by_the_phy() {
    for port in [0, 1] {
        let (fake, mut driver) = Fake::new(2);
        fake.state.borrow_mut().loses_link = true;
        fake.state.borrow_mut().port = port;
        bring_up(&mut driver, 1);
        assert_eq!(driver.status().state, State::Ready);
        assert_ne!(driver.link(), Link::Down);
        let told = (PHY_ACCESS, 1 << 21 | 1 << 26 | 0x1340);
        assert_eq!(fake.state.borrow().writes.iter().filter(|write| **write == told).count(), 1);
        // It was given back, and so was the semaphore.
        assert_eq!((fake.get(RESOURCES), fake.get(SEMAPHORE) & 3), (0, 0));
    }
}

#[test]
fn a_phy_that_others_have_is_left_alone() {
    for taken in [1 << 1, 1 << 17] {
        let (fake, mut driver) = Fake::new(2);
        fake.state.borrow_mut().loses_link = true;
        fake.state.borrow_mut().lies.insert(RESOURCES, taken);
        bring_up(&mut driver, 1);
        assert_eq!((driver.status().state, driver.link()), (State::Ready, Link::Down));
        assert!(fake.state.borrow().writes.iter().all(|(at, _)| ![PHY_ACCESS, RESOURCES].contains(at)));
    }
    // What another driver has stays its own.
    let (fake, mut driver) = Fake::new(2);
    fake.state.borrow_mut().loses_link = true;
    fake.state.borrow_mut().lies.insert(SEMAPHORE, semaphore::DRIVER);
    bring_up(&mut driver, 1);
    assert_eq!(driver.status().state, State::Ready);
    assert!(fake.state.borrow().writes.iter().all(|(at, _)| ![PHY_ACCESS, SEMAPHORE].contains(at)));
}

#[test]
fn a_phy_that_does_not_hear_is_given_back() {
    let (fake, mut driver) = Fake::new(2);
    fake.state.borrow_mut().loses_link = true;
    fake.state.borrow_mut().lies.insert(PHY_ACCESS, 0);
    let now = bring_up(&mut driver, 1);
    assert_eq!(driver.status().state, State::Ready);
    assert!(now > 80_000_000);
    assert_eq!((fake.get(RESOURCES), fake.get(SEMAPHORE) & 3), (0, 0));
}

#[test]
fn a_phy_that_could_not_be_given_back_is_given_back_by_the_next_start() {
    let (fake, mut driver) = Fake::new(2);
    fake.state.borrow_mut().loses_link = true;
    driver.start(1);
    let mut now = 1;
    while fake.get(RESOURCES) == 0 {
        now = driver.status().deadline_ns.expect("it starts");
        driver.poll(now);
    }
    driver.start(now);
    pass(&mut driver, now);
    assert_eq!((fake.get(RESOURCES), driver.status().state), (0, State::Ready));
}

#[test]
fn one_that_says_nothing_of_its_configuration_works_if_it_has_an_address() {
    for silent in [EEPROM_CONTROL, EEPROM_MANAGEMENT] {
        let (fake, mut driver) = Fake::new(1);
        fake.state.borrow_mut().lies.insert(silent, 0);
        let now = bring_up(&mut driver, 1);
        assert_eq!(driver.status().state, State::Ready);
        assert!(now > 100_000_000 && now < SECOND);
        fake.state.borrow_mut().lies.insert(ADDRESS_HIGH, 0);
        bring_up(&mut driver, now);
        let words = driver.error().expect("it has no address").to_string();
        assert_eq!(words, "it has no address of its own, but 52:54:00:01:00:00");
    }
}

#[test]
fn one_that_stays_in_reset_fails_and_can_be_started_again() {
    let (fake, mut driver) = Fake::new(1);
    fake.state.borrow_mut().lies.insert(CONTROL, ctrl::RESET);
    let now = bring_up(&mut driver, 1);
    let words = driver.error().expect("it failed").to_string();
    assert_eq!(words, "it did not read its configuration after a reset");
    fake.state.borrow_mut().lies.clear();
    bring_up(&mut driver, now);
    assert_eq!(driver.status().state, State::Ready);
}

#[test]
fn queues_that_never_work_fail_it() {
    for register in [RECEIVE_QUEUE, TRANSMIT_QUEUE] {
        let (fake, mut driver) = Fake::new(1);
        fake.state.borrow_mut().lies.insert(register, queue::THRESHOLDS);
        let now = bring_up(&mut driver, 1);
        let words = driver.error().expect("it failed").to_string();
        assert_eq!(words, "it did not enable its queues");
        assert_eq!((fake.get(RECEIVE_CONTROL), fake.get(MESSAGE_MASK_SET)), (0, 0));
        fake.state.borrow_mut().lies.clear();
        bring_up(&mut driver, now);
        assert_eq!(driver.status().state, State::Ready);
        // One that ceases later was reset by somebody.
        fake.set(register, 0);
        driver.poll(driver.status().deadline_ns.expect("it is watched"));
        assert_eq!((driver.status().state, driver.counters().resets), (State::Starting, 1));
    }
}
