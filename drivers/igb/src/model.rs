//! What an 82576 differs in.

use crate::phy::Phy;
use crate::program;
use access::RegisterWindow;
use gigabit::{Model, Received, Setup, change, read, write};
use spec::igb::{
    COLLISIONS, COLLISIONS_MASK, EEPROM_AUTO_READ, EEPROM_CONTROL, EEPROM_MANAGEMENT, INTERRUPT_CAUSE,
    INTERRUPT_MASK_CLEAR, MESSAGE_CAUSE, MESSAGE_MASK_CLEAR, MESSAGE_MASK_SET, QUEUE_ALLOCATION,
    RECEIVE_CONTROL, RECEIVE_QUEUE, RECEIVE_TAIL, STATUS, TRANSMIT_CONTROL, TRANSMIT_QUEUE, TRANSMIT_TAIL,
    message, phy_configured, port, queue, queue_allocation, rctl, receive, tctl, transmit,
};

/// The 82576.
#[derive(Default, Debug)]
pub struct Intel82576 {
    phy: Phy,
}

impl Model for Intel82576 {
    const CAUSE: u64 = INTERRUPT_CAUSE;
    const RECEIVE_TAIL: u64 = RECEIVE_TAIL;
    const TRANSMIT_TAIL: u64 = TRANSMIT_TAIL;
    /// One that has an address has read what there was.
    const MAY_SAY_NOTHING: bool = true;

    fn received(descriptor: u64) -> Option<Received> {
        let is_looked_at = descriptor & receive::CHECKED != 0;
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
        write(registers, INTERRUPT_MASK_CLEAR, u32::MAX);
        write(registers, MESSAGE_MASK_CLEAR, u32::MAX);
    }

    /// What a start before this one did not give back would stay taken.
    fn may_reset(&mut self, registers: &impl RegisterWindow) -> bool {
        self.phy.give_back(registers)
    }

    fn is_configured(&self, registers: &impl RegisterWindow) -> bool {
        let port = port(read(registers, STATUS));
        read(registers, EEPROM_CONTROL) & EEPROM_AUTO_READ != 0
            && read(registers, EEPROM_MANAGEMENT) & phy_configured(port) != 0
    }

    fn was_reset(&mut self, registers: &impl RegisterWindow) {
        self.silence(registers);
        read(registers, INTERRUPT_CAUSE);
        read(registers, MESSAGE_CAUSE);
        self.phy.forget();
        program::link(registers);
        // Queue 0 works after a reset; it has the time of the PHY to cease.
        write(registers, RECEIVE_QUEUE, 0);
        write(registers, TRANSMIT_QUEUE, 0);
    }

    fn is_settled(&mut self, registers: &impl RegisterWindow) -> bool {
        self.phy.is_settled(registers)
    }

    fn leave_phy(&mut self, registers: &impl RegisterWindow) {
        self.phy.give_back(registers);
    }

    fn program(&self, registers: &impl RegisterWindow, setup: &Setup) {
        program::bus(registers);
        program::interrupts(registers, setup);
        program::queues(registers, setup);
    }

    fn is_enabled(&self, registers: &impl RegisterWindow) -> bool {
        read(registers, RECEIVE_QUEUE) & read(registers, TRANSMIT_QUEUE) & queue::ENABLE != 0
    }

    fn open(&self, registers: &impl RegisterWindow) {
        // Its own address, everybody else's behind the switch, and all groups: tables of addresses
        // (MTA, UTA, VFTA) do not matter then.
        let stations = rctl::ALL_STATIONS | rctl::ALL_GROUPS | rctl::BROADCAST;
        write(registers, RECEIVE_CONTROL, rctl::ENABLE | stations | rctl::STRIP_CHECK);
        let set = tctl::ENABLE | tctl::PAD | tctl::RETRY_LATE | COLLISIONS;
        change(registers, TRANSMIT_CONTROL, COLLISIONS_MASK, set);
    }

    /// With one message that of frames is not masked, for it is the link's too: frames have none then.
    fn arm(&self, registers: &impl RegisterWindow, setup: &Setup, with_frames: bool) {
        if setup.messages == 1 {
            let allocation = if with_frames { queue_allocation(Setup::FRAMES, Setup::FRAMES) } else { 0 };
            write(registers, QUEUE_ALLOCATION, allocation);
        }
        let frames = if with_frames { message(Setup::FRAMES) } else { 0 };
        write(registers, MESSAGE_MASK_SET, frames | message(setup.other_message()));
    }

    fn mute(&self, registers: &impl RegisterWindow, setup: &Setup) {
        if setup.messages == 1 {
            write(registers, QUEUE_ALLOCATION, 0);
        } else {
            write(registers, MESSAGE_MASK_CLEAR, message(Setup::FRAMES));
        }
    }
}
