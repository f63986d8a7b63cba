//! What the scripted controller of the driver's tests differs in as an 82574.

use crate::fake::Fake;
use network::Checksum;

pub use e1000e::{Controller, Error, Sizes};
pub use spec::e1000e::*;

/// Registers that are not 0 after a reset, beside those that all have.
pub const AFTER_RESET: [(u64, u32); 2] =
    [(CONTROL, ctrl::FLOW_CONTROL | ctrl::ERRATA_CLEAR), (TRANSMIT_ARBITRATION, 0x403 | ARBITRATION_CLEAR)];
/// Registers that it lies in.
pub const LIES: [u64; 7] =
    [STATUS, EEPROM_CONTROL, INTERRUPT_CAUSE, CONTROL, RECEIVE_CONTROL, MISSED, EXTENDED_CONFIGURATION];

/// What it says of a frame that is one.
pub const WHOLE: u64 = receive::DONE | receive::END;
/// The same of one that goes on.
pub const SPLIT: u64 = receive::DONE;
/// What says that one is damaged.
pub const DAMAGE: [u64; 4] = [1 << 40, 1 << 41, 1 << 42, 1 << 47];
/// What is known of a checksum by which bits.
pub const CHECKSUMS: [(u64, Checksum); 6] = [
    (0, Checksum::InPlace),
    (1 << 37, Checksum::Good),
    (1 << 36, Checksum::Good),
    (1 << 37 | receive::NO_CHECKSUM, Checksum::InPlace),
    (1 << 37 | 1 << 45, Checksum::InPlace),
    (1 << 37 | 1 << 46, Checksum::InPlace),
];

/// A length where a descriptor has it.
pub const fn with_length(bytes: u16) -> u64 {
    bytes as u64
}

/// Frames came, or were sent: whether a message tells of it, which masks its cause.
pub fn frame_message(fake: &Fake) -> bool {
    let [received, sent] = [cause::RECEIVE, cause::TRANSMIT].map(|cause| message(fake, cause));
    assert_eq!(received, sent, "one message tells of both");
    received
}
/// The link changed: whether a message tells of it.
pub fn link_message(fake: &Fake) -> bool {
    message(fake, cause::LINK)
}
fn message(fake: &Fake, cause: u32) -> bool {
    let mask = fake.get(INTERRUPT_MASK_SET);
    fake.set(INTERRUPT_MASK_SET, mask & !(cause & fake.get(INTERRUPT_AUTO_CLEAR)));
    mask & cause != 0
}
pub fn raise_link(fake: &Fake) {
    fake.set(INTERRUPT_CAUSE, cause::OTHER | cause::LINK);
}

/// A register was read.
pub fn was_read(_: &Fake, _: u64) {}

/// Whether a write of this register does more than to set it, which was done.
pub fn was_written(fake: &Fake, register: u64, value: u32) -> bool {
    let never_shared = fake.state.borrow().never_shared;
    match register {
        INTERRUPT_MASK_SET => fake.set(INTERRUPT_MASK_SET, fake.get(INTERRUPT_MASK_SET) | value),
        INTERRUPT_MASK_CLEAR => fake.set(INTERRUPT_MASK_SET, fake.get(INTERRUPT_MASK_SET) & !value),
        INTERRUPT_CAUSE => fake.set(INTERRUPT_CAUSE, fake.get(INTERRUPT_CAUSE) & !value),
        EXTENDED_CONFIGURATION if never_shared => fake.set(register, value & !SOFTWARE_HAS_MDIO),
        _ => return false,
    }
    true
}
