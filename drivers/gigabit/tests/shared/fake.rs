//! A controller as the driver sees it: registers, and rings in its domain. It does what it is told,
//! when it is told, and lies where a test wants it to. What its model differs in is in `twin`.

use crate::twin::{self, Controller, Sizes};
use access::device::MessageInterrupt;
use access::fake_dma::{FakeDma, FakeDomain};
use access::{DeviceAccess, GuestMemory, RegisterWindow};
use network::Frame;
use nic::{Nic, State};
use spec::Gpa;
use spec::gigabit::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

pub const SIZES: Sizes = Sizes { transmit: 8, receive: 16 };
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
pub const SECOND: u64 = 1_000_000_000;

/// The controller's state.
pub struct FakeState {
    registers: BTreeMap<u64, u32>,
    /// It reads as gone.
    pub is_gone: bool,
    /// It never gets to what the driver waits for.
    pub never_quiet: bool,
    pub never_configured: bool,
    /// Firmware never gives up what it shares.
    pub never_shared: bool,
    /// A reset costs it its link.
    pub loses_link: bool,
    /// Which of its chip's ports it is.
    pub port: u32,
    /// What registers are read as, whatever they hold.
    pub lies: BTreeMap<u64, u32>,
    /// Every register that was written.
    pub writes: Vec<(u64, u32)>,
    /// Whether all descriptors were published at each doorbell.
    pub is_published: bool,
    pub resets: u32,
}

/// A handle on it; clones are the same controller.
#[derive(Clone)]
pub struct Fake {
    pub domain: Rc<FakeDomain>,
    pub state: Rc<RefCell<FakeState>>,
}

pub type Driver = Controller<Fake, FakeDma>;

impl Fake {
    pub fn new(messages: u16) -> (Self, Driver) {
        let (dma, domain) = FakeDma::new(1 << 20);
        let state = FakeState {
            registers: BTreeMap::new(),
            is_gone: false,
            never_quiet: false,
            never_configured: false,
            never_shared: false,
            loses_link: false,
            port: 0,
            lies: BTreeMap::new(),
            writes: Vec::new(),
            is_published: true,
            resets: 0,
        };
        let fake = Self { domain, state: Rc::new(RefCell::new(state)) };
        fake.reset();
        let access = DeviceAccess { registers: fake.clone(), dma, interrupt: MessageInterrupt { messages } };
        let driver = Controller::new(access, SIZES).expect("there is memory for it");
        (fake, driver)
    }

    /// A driver that is ready, with a link, and the time.
    pub fn ready() -> (Self, Driver, u64) {
        let (fake, mut driver) = Self::new(2);
        let now = bring_up(&mut driver, 1);
        assert_eq!(
            driver.status().state,
            State::Ready,
            "{:?}",
            driver.error().map(|error| error.to_string())
        );
        (fake, driver, now)
    }

    fn reset(&self) {
        let mut state = self.state.borrow_mut();
        state.registers.clear();
        let [a, b, c, d, e, f] = MAC;
        let link = if state.loses_link { 0 } else { status::LINK_UP };
        let status = link | status::FULL_DUPLEX | state.port << 2 | 2 << 6 | status::MASTER_ENABLED;
        let values = [
            (STATUS, status),
            (EEPROM_CONTROL, EEPROM_AUTO_READ),
            (ADDRESS_LOW, u32::from_le_bytes([a, b, c, d])),
            (ADDRESS_HIGH, u32::from_le_bytes([e, f, 0, 0]) | ADDRESS_VALID),
        ];
        state.registers.extend(values);
        state.registers.extend(twin::AFTER_RESET);
        if state.never_configured {
            state.registers.insert(EEPROM_CONTROL, 0);
        }
        state.resets += 1;
    }

    pub fn get(&self, register: u64) -> u32 {
        self.state.borrow().registers.get(&register).copied().unwrap_or(0)
    }
    pub fn set(&self, register: u64, value: u32) {
        self.state.borrow_mut().registers.insert(register, value);
    }
    pub fn set_link(&self, is_up: bool) {
        let status = self.get(STATUS);
        self.set(STATUS, if is_up { status | status::LINK_UP } else { status & !status::LINK_UP });
        twin::raise_link(self);
    }

    /// Where descriptor `place` of a ring is.
    pub fn descriptor(&self, base_low: u64, place: u32) -> Gpa {
        let base = u64::from(self.get(base_low + 4)) << 32 | u64::from(self.get(base_low));
        Gpa(base + u64::from(place) * DESCRIPTOR_BYTES as u64)
    }
    /// Says that it sent what descriptor `place` has.
    pub fn sent(&self, place: u32) {
        let at = self.descriptor(twin::TRANSMIT_BASE_LOW, place);
        self.domain.write32(Gpa(at.0 + 12), TRANSMIT_DONE).unwrap();
    }
    /// Says this of the frame that descriptor `place` has.
    pub fn received(&self, place: u32, what: u64) {
        let at = self.descriptor(twin::RECEIVE_BASE_LOW, place);
        self.domain.write64(Gpa(at.0 + 8), what).unwrap();
    }

    /// Sends the next frame that it was told of.
    pub fn send_one(&self) -> Option<Vec<u8>> {
        let (head, tail) = (self.get(twin::TRANSMIT_HEAD), self.get(twin::TRANSMIT_TAIL));
        if head == tail || self.get(TRANSMIT_CONTROL) & tctl::ENABLE == 0 {
            return None;
        }
        let at = self.descriptor(twin::TRANSMIT_BASE_LOW, head);
        let (buffer, what) = (self.domain.read64(at).unwrap(), self.domain.read64(Gpa(at.0 + 8)).unwrap());
        assert_eq!(what, twin::transmit::whole(what as u16), "another descriptor");
        let mut bytes = vec![0; usize::from(what as u16)];
        self.domain.read(Gpa(buffer), &mut bytes).expect("the buffer is mapped");
        self.sent(head);
        self.set(twin::TRANSMIT_HEAD, (head + 1) % (self.get(twin::TRANSMIT_BYTES) / 16));
        Some(bytes)
    }

    /// Receives a frame, if the driver gave it a descriptor.
    pub fn receive(&self, bytes: &[u8]) -> bool {
        self.receive_as(bytes, bytes.len() as u16, twin::WHOLE)
    }

    /// Receives a frame and says this of it.
    pub fn receive_as(&self, bytes: &[u8], length: u16, what: u64) -> bool {
        let (head, tail) = (self.get(twin::RECEIVE_HEAD), self.get(twin::RECEIVE_TAIL));
        if head == tail || self.get(RECEIVE_CONTROL) & rctl::ENABLE == 0 {
            self.set(MISSED, self.get(MISSED) + 1);
            return false;
        }
        let buffer = self.domain.read64(self.descriptor(twin::RECEIVE_BASE_LOW, head)).unwrap();
        self.domain.write(Gpa(buffer), bytes).expect("the buffer is mapped");
        self.received(head, twin::with_length(length) | what);
        self.set(twin::RECEIVE_HEAD, (head + 1) % (self.get(twin::RECEIVE_BYTES) / 16));
        true
    }
}

impl RegisterWindow for Fake {
    fn read32(&self, offset: usize) -> u32 {
        let register = offset as u64;
        let state = self.state.borrow();
        if state.is_gone {
            return u32::MAX;
        }
        if let Some(lie) = state.lies.get(&register) {
            return *lie;
        }
        drop(state);
        let value = self.get(register);
        if register == MISSED {
            self.set(register, 0);
        }
        twin::was_read(self, register);
        value
    }
    fn write32(&self, offset: usize, value: u32) {
        let register = offset as u64;
        let mut state = self.state.borrow_mut();
        assert!(!state.is_gone, "a controller that is gone was written to");
        state.writes.push((register, value));
        if matches!(register, twin::RECEIVE_TAIL | twin::TRANSMIT_TAIL) {
            state.is_published &= self.domain.is_published();
        }
        let never_quiet = state.never_quiet;
        drop(state);
        match register {
            CONTROL if value & ctrl::RESET != 0 => self.reset(),
            CONTROL => {
                self.set(CONTROL, value);
                if value & ctrl::MASTER_DISABLE != 0 && !never_quiet {
                    self.set(STATUS, self.get(STATUS) & !status::MASTER_ENABLED);
                }
            }
            STATUS | EEPROM_CONTROL => panic!("{register:#x} is not the driver's to write"),
            _ if twin::was_written(self, register, value) => {}
            _ => self.set(register, value),
        }
    }
    fn read64(&self, _: usize) -> u64 {
        unreachable!("registers have 32 bits")
    }
    fn write64(&self, _: usize, _: u64) {
        unreachable!("registers have 32 bits")
    }
    fn read8(&self, _: usize) -> u8 {
        unreachable!("registers have 32 bits")
    }
    fn write8(&self, _: usize, _: u8) {
        unreachable!("registers have 32 bits")
    }
    fn read16(&self, _: usize) -> u16 {
        unreachable!("registers have 32 bits")
    }
    fn write16(&self, _: usize, _: u16) {
        unreachable!("registers have 32 bits")
    }
}

/// Starts a driver and serves its deadlines until it is not starting any more; the time then.
pub fn bring_up(driver: &mut Driver, now: u64) -> u64 {
    driver.start(now);
    pass(driver, now)
}

/// Serves deadlines until the driver is not starting; the time then.
pub fn pass(driver: &mut Driver, mut now: u64) -> u64 {
    for _ in 0..1000 {
        let status = driver.status();
        if status.state != State::Starting {
            return now;
        }
        now = status.deadline_ns.expect("a start has deadlines").max(now);
        let next = driver.poll(now).deadline_ns;
        assert!(next.is_none_or(|next| next > now), "a deadline that is served moves on");
    }
    panic!("it starts for ever");
}

/// A frame of `bytes` bytes that is filled with `byte`.
pub fn frame(bytes: usize, byte: u8) -> Frame {
    let mut frame = Frame::new();
    frame.append(&vec![byte; bytes]).expect("there is room");
    frame
}
