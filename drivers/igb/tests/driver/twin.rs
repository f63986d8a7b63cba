//! What the scripted controller of the driver's tests differs in as an 82576.

use crate::fake::Fake;
use network::Checksum;

pub use igb::{Controller, Error, Sizes};
pub use spec::igb::*;

/// Registers that are not 0 after a reset, beside those that all have.
pub const AFTER_RESET: [(u64, u32); 7] = [
    (CONTROL, ctrl::FLOW_CONTROL | ctrl::FORCE_SPEED),
    (CONTROL_EXTENDED, ctrl_ext::EXTENDED_VLAN),
    (EEPROM_MANAGEMENT, 1 << 18),
    (PCIE_CONTROL, gcr::COMPLETION_RESEND),
    (RECEIVE_QUEUE, queue::ENABLE),
    (TRANSMIT_QUEUE, queue::ENABLE),
    (TRANSMIT_CONTROL, 0xa004_0ff8),
];
/// Registers that it lies in.
pub const LIES: [u64; 12] = [
    STATUS,
    EEPROM_CONTROL,
    INTERRUPT_CAUSE,
    CONTROL,
    RECEIVE_CONTROL,
    MISSED,
    SEMAPHORE,
    RESOURCES,
    PHY_ACCESS,
    EEPROM_MANAGEMENT,
    RECEIVE_QUEUE,
    TRANSMIT_QUEUE,
];

/// What it says of a frame that is one.
pub const WHOLE: u64 = receive::DONE | receive::END;
/// The same of one that goes on.
pub const SPLIT: u64 = receive::DONE;
/// What says that one is damaged.
pub const DAMAGE: [u64; 5] = [1 << 24, 1 << 25, 1 << 26, 1 << 28, 1 << 31];
/// What is known of a checksum by which bits.
pub const CHECKSUMS: [(u64, Checksum); 5] = [
    (0, Checksum::InPlace),
    (1 << 5, Checksum::Good),
    (1 << 4, Checksum::Good),
    (1 << 5 | 1 << 29, Checksum::InPlace),
    (1 << 5 | 1 << 30, Checksum::InPlace),
];

/// A length where a descriptor has it.
pub const fn with_length(bytes: u16) -> u64 {
    receive::with_length(bytes)
}

/// Frames came, or were sent: whether a message tells of it, which masks itself.
pub fn frame_message(fake: &Fake) -> bool {
    let allocation = fake.get(QUEUE_ALLOCATION);
    let (received, sent) = (allocation as u8, (allocation >> 8) as u8);
    assert_eq!(received, sent, "one message tells of both");
    message_of(fake, received)
}
/// The link changed: whether a message tells of it.
pub fn link_message(fake: &Fake) -> bool {
    fake.get(INTERRUPT_MASK_SET) & LINK_CHANGED != 0
        && message_of(fake, (fake.get(OTHER_ALLOCATION) >> 8) as u8)
}
fn message_of(fake: &Fake, allocation: u8) -> bool {
    let (mode, mask) = (fake.get(INTERRUPT_MODE), fake.get(MESSAGE_MASK_SET));
    let bit = message(allocation & 0x7f);
    let is_sent = allocation & 0x80 != 0 && mode & mode::MANY_MESSAGES != 0 && mask & bit != 0;
    if is_sent && mode & mode::AUTO_MASK != 0 {
        fake.set(MESSAGE_MASK_SET, mask & !(bit & fake.get(MESSAGE_AUTO_MASK)));
    }
    is_sent
}
pub fn raise_link(fake: &Fake) {
    fake.set(INTERRUPT_CAUSE, LINK_CHANGED);
}

/// A register was read: one that has the semaphore has it alone, and causes are told once.
pub fn was_read(fake: &Fake, register: u64) {
    match register {
        SEMAPHORE => fake.set(SEMAPHORE, fake.get(SEMAPHORE) | semaphore::DRIVER),
        INTERRUPT_CAUSE if fake.get(INTERRUPT_MODE) & mode::READ_CLEARS != 0 => fake.set(register, 0),
        MESSAGE_CAUSE => fake.set(register, 0),
        _ => {}
    }
}

/// Whether a write of this register does more than to set it, which was done.
pub fn was_written(fake: &Fake, register: u64, value: u32) -> bool {
    let never_shared = fake.state.borrow().never_shared;
    match register {
        INTERRUPT_MASK_SET | MESSAGE_MASK_SET => fake.set(register, fake.get(register) | value),
        INTERRUPT_MASK_CLEAR => fake.set(INTERRUPT_MASK_SET, fake.get(INTERRUPT_MASK_SET) & !value),
        MESSAGE_MASK_CLEAR => fake.set(MESSAGE_MASK_SET, fake.get(MESSAGE_MASK_SET) & !value),
        INTERRUPT_CAUSE => fake.set(INTERRUPT_CAUSE, fake.get(INTERRUPT_CAUSE) & !value),
        SEMAPHORE if never_shared => fake.set(register, value & !semaphore::SOFTWARE),
        PHY_ACCESS => {
            // One that lied about its port is believed.
            let drivers = software_has_phy(0) | software_has_phy(1);
            let is_mine = fake.get(RESOURCES) & drivers != 0;
            assert!(is_mine, "the PHY is not the driver's to talk to");
            fake.set(PHY_ACCESS, value | mdic::READY);
            if value == mdic::write(PHY_CONTROL, PHY_NEGOTIATE) {
                fake.set_link(true);
            }
        }
        _ => return false,
    }
    true
}
