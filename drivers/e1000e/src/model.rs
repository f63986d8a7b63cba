//! What an 82574 differs in. (The order of a reset is that of Linux, which knows the errata.)

use crate::program;
use access::RegisterWindow;
use gigabit::{Model, Received, Setup, change, read, write};
use spec::e1000e::{
    EEPROM_AUTO_READ, EEPROM_CONTROL, EXTENDED_CONFIGURATION, INTERRUPT_CAUSE, INTERRUPT_MASK_CLEAR,
    INTERRUPT_MASK_SET, RECEIVE_CONTROL, RECEIVE_TAIL, SOFTWARE_HAS_MDIO, TRANSMIT_CONTROL, TRANSMIT_TAIL,
    cause, rctl, receive, tctl, transmit,
};

/// The 82574.
#[derive(Default, Debug)]
pub struct Intel82574;

impl Model for Intel82574 {
    const CAUSE: u64 = INTERRUPT_CAUSE;
    const RECEIVE_TAIL: u64 = RECEIVE_TAIL;
    const TRANSMIT_TAIL: u64 = TRANSMIT_TAIL;
    const MAY_SAY_NOTHING: bool = false;

    fn received(descriptor: u64) -> Option<Received> {
        let is_looked_at = descriptor & receive::CHECKED != 0 && descriptor & receive::NO_CHECKSUM == 0;
        (descriptor & receive::DONE != 0).then_some(Received {
            length: receive::length(descriptor),
            is_whole: descriptor & receive::END != 0,
            is_damaged: descriptor & receive::DAMAGED != 0,
            is_checked: is_looked_at && descriptor & receive::WRONG_CHECKSUM == 0,
        })
    }

    fn whole(bytes: u16) -> u64 {
        transmit::whole(bytes)
    }

    fn silence(&self, registers: &impl RegisterWindow) {
        write(registers, INTERRUPT_MASK_CLEAR, cause::ALL);
    }

    /// A reset while firmware talks to the PHY leaves its bus hanging.
    fn may_reset(&mut self, registers: &impl RegisterWindow) -> bool {
        change(registers, EXTENDED_CONFIGURATION, 0, SOFTWARE_HAS_MDIO);
        read(registers, EXTENDED_CONFIGURATION) & SOFTWARE_HAS_MDIO != 0
    }

    fn is_configured(&self, registers: &impl RegisterWindow) -> bool {
        read(registers, EEPROM_CONTROL) & EEPROM_AUTO_READ != 0
    }

    fn was_reset(&mut self, registers: &impl RegisterWindow) {
        change(registers, EXTENDED_CONFIGURATION, SOFTWARE_HAS_MDIO, 0);
        self.silence(registers);
        read(registers, INTERRUPT_CAUSE);
    }

    /// It sets its PHY up by itself.
    fn is_settled(&mut self, _: &impl RegisterWindow) -> bool {
        true
    }

    fn leave_phy(&mut self, _: &impl RegisterWindow) {}

    fn program(&self, registers: &impl RegisterWindow, setup: &Setup) {
        program::follow_errata(registers);
        program::rings(registers, setup);
        program::interrupts(registers, setup);
    }

    /// There is nothing that would enable a queue alone.
    fn is_enabled(&self, _: &impl RegisterWindow) -> bool {
        true
    }

    fn open(&self, registers: &impl RegisterWindow) {
        // Its own address, everybody else's behind the switch, and all groups: tables of addresses
        // (MTA, VFTA) do not matter then.
        let stations = rctl::ALL_STATIONS | rctl::ALL_GROUPS | rctl::BROADCAST;
        write(registers, RECEIVE_CONTROL, rctl::ENABLE | stations | rctl::STRIP_CHECK);
        write(registers, TRANSMIT_CONTROL, tctl::ENABLE | tctl::PAD | tctl::COLLISIONS | tctl::RETRY_LATE);
    }

    fn arm(&self, registers: &impl RegisterWindow, setup: &Setup, with_frames: bool) {
        let frames = if with_frames { program::frame_causes(setup) } else { 0 };
        write(registers, INTERRUPT_MASK_SET, frames | cause::OTHER | cause::LINK);
    }

    fn mute(&self, registers: &impl RegisterWindow, setup: &Setup) {
        write(registers, INTERRUPT_MASK_CLEAR, program::frame_causes(setup));
    }
}
