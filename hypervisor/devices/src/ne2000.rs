//! An NE2000 of the PCI kind, Realtek's RTL8029AS: the DP8390 controller with 16 KiB of memory, which
//! the guest reaches through a data port alone.
//!
//! Its 32 ports are BAR 0. The controller never touches the guest's memory. What the guest says of
//! the receive ring, the frame to send and the memory is checked when it is used, for the registers
//! can be written in any order and at any time; where they make no sense, nothing is received, and
//! sending is an error that the controller has a bit for.
//!
//! A frame is sent when somebody takes it ([`Device::transmit`]), of which [`DeviceEffect::Wake`] tells;
//! until then TXP is set, as it is while a frame is on the wire.
//!
//! "Send packet", a command of remote DMA, is not there: no driver uses it.

use crate::device::{Accepts, Completion, Context, Device, DeviceEffect, Reception, read_one, write_one};
use crate::journal::Journal;
use crate::rest::Rest;
use crate::snapshot::RestoreFault;
use access::GuestMemory;
use network::{Frame, MacAddress, Parts};
use remote::Remote;
use ring::Ring;
use spec::Width;
use spec::dp8390::{
    COUNTER_HIGH, COUNTER_MOST, DATA, PAGE_BYTES, PORTS, RESET, command, interrupt, page0, page1, page3,
    receive_config, receive_status, transmit_config, transmit_status,
};
use spec::ethernet::{HEADER_BYTES, PAYLOAD_BYTES, TAG_BYTES};

mod remote;
mod ring;
mod state;
#[cfg(test)]
mod tests;

pub use state::STATE_BYTES;
pub(crate) use state::STATE_WORDS;

/// Ports of the interface.
pub const WINDOW_BYTES: u64 = PORTS;
/// An interrupt, and that a frame is to be sent.
pub(crate) const MOST_EFFECTS: usize = 2;
/// The largest frame, with its VLAN tag.
pub(crate) const LARGEST_BYTES: usize = HEADER_BYTES + TAG_BYTES + PAYLOAD_BYTES;
/// All bits of ISR that interrupt.
const INTERRUPTS: u8 = !interrupt::RESET;

/// The interface.
#[derive(Clone, Debug)]
pub struct Ne2000 {
    /// CR: the page and remote DMA as written last, and TXP while a frame is to be sent.
    command: u8,
    is_running: bool,
    /// PSTART, PSTOP, BNRY, CURR, RCR and the filter.
    ring: Ring,
    remote: Remote,
    transmit_page: u8,
    transmit_bytes: u16,
    transmit_config: u8,
    transmit_status: u8,
    status: u8,
    mask: u8,
    /// CNTR2.
    missed: u8,
    link_is_up: bool,
    /// The level of the line that the last effect was about.
    told: bool,
    /// Something may be other than when it was committed.
    touched: bool,
}

impl Ne2000 {
    /// The interface with the station address `mac`, as after power-up; its link is down.
    pub fn new(mac: MacAddress) -> Self {
        Self {
            command: command::REMOTE_ABORT,
            is_running: false,
            ring: Ring::default(),
            remote: Remote::new(mac),
            transmit_page: 0,
            transmit_bytes: 0,
            transmit_config: 0,
            transmit_status: 0,
            status: interrupt::RESET,
            mask: 0,
            missed: 0,
            link_is_up: false,
            told: false,
            touched: true,
        }
    }

    /// What a reset does, whoever asks for it. Memory, addresses and the ring stay as they are.
    fn reset_chip(&mut self) {
        self.command = command::REMOTE_ABORT;
        self.is_running = false;
        self.remote.abort();
        self.transmit_config = 0;
        self.status = interrupt::RESET;
        self.mask = 0;
    }

    const fn page(&self) -> u8 {
        self.command >> command::PAGE_SHIFT
    }

    const fn is_sending(&self) -> bool {
        self.command & command::TRANSMIT != 0
    }

    fn read_register(&mut self, offset: u64) -> u8 {
        match (self.page(), offset) {
            (_, 0) => {
                let state = if self.is_running { command::START } else { command::STOP };
                self.command | state
            }
            (0, _) => self.read_page0(offset),
            (1, page1::CURRENT) => self.ring.current,
            (1, page1::MULTICAST..) => {
                self.ring.multicast.to_le_bytes().get(offset as usize - 8).copied().unwrap_or(0)
            }
            (1, _) => self.ring.station.get(offset as usize - 1).copied().unwrap_or(0),
            (2, _) => self.read_page2(offset),
            (_, page3::CONFIG2) => page3::CONFIG2_10BASE_T,
            (_, page3::CONFIG3) => page3::CONFIG3_FULL_DUPLEX,
            (_, page3::ID) => 0x29,
            (_, 0xf) => 0x80,
            _ => 0,
        }
    }

    fn read_page0(&mut self, offset: u64) -> u8 {
        let [low, high] = self.remote.address.to_le_bytes();
        match offset {
            page0::BOUNDARY => self.ring.boundary,
            page0::TRANSMIT_STATUS => self.transmit_status,
            page0::INTERRUPT_STATUS => self.status,
            page0::REMOTE_ADDRESS => low,
            0x9 => high,
            page0::RTL8029_ID0 => b'P',
            page0::RTL8029_ID1 => b'C',
            page0::RECEIVE_STATUS => self.ring.status,
            page0::MISSED => core::mem::take(&mut self.missed),
            // No collisions, no damaged frames, an empty FIFO; CLDA says where reception is.
            0x2 => self.ring.current,
            _ => 0,
        }
    }

    const fn read_page2(&self, offset: u64) -> u8 {
        match offset {
            page0::PAGE_START => self.ring.start,
            page0::PAGE_STOP => self.ring.stop,
            page0::TRANSMIT_PAGE => self.transmit_page,
            page0::RECEIVE_CONFIG => self.ring.config,
            page0::TRANSMIT_CONFIG => self.transmit_config,
            page0::DATA_CONFIG => self.remote.config,
            page0::INTERRUPT_MASK => self.mask,
            _ => 0,
        }
    }

    fn write_register(&mut self, offset: u64, value: u8, context: &mut Context<'_>) {
        match (self.page(), offset) {
            (_, 0) => self.write_command(value, context),
            (0, _) => self.write_page0(offset, value),
            (1, page1::CURRENT) => self.ring.current = value,
            (1, page1::MULTICAST..) => {
                let shift = 8 * (offset - page1::MULTICAST);
                self.ring.multicast = self.ring.multicast & !(0xff << shift) | u64::from(value) << shift;
            }
            (1, _) => {
                if let Some(byte) = self.ring.station.get_mut(offset as usize - 1) {
                    *byte = value;
                }
            }
            // Page 2 is for diagnosis, and in page 3 nothing that could be configured is there.
            _ => {}
        }
    }

    fn write_page0(&mut self, offset: u64, value: u8) {
        match offset {
            page0::PAGE_START => self.ring.start = value,
            page0::PAGE_STOP => self.ring.stop = value,
            page0::BOUNDARY => self.ring.boundary = value,
            page0::TRANSMIT_PAGE => self.transmit_page = value,
            page0::TRANSMIT_BYTES => set_low(&mut self.transmit_bytes, value),
            0x6 => set_high(&mut self.transmit_bytes, value),
            page0::INTERRUPT_STATUS => self.status &= !(value & INTERRUPTS),
            page0::REMOTE_ADDRESS => set_low(&mut self.remote.address, value),
            0x9 => set_high(&mut self.remote.address, value),
            page0::REMOTE_BYTES => set_low(&mut self.remote.left, value),
            0xb => set_high(&mut self.remote.left, value),
            page0::RECEIVE_CONFIG => self.ring.config = value,
            page0::TRANSMIT_CONFIG => self.transmit_config = value,
            page0::DATA_CONFIG => self.remote.config = value,
            _ => self.mask = value & INTERRUPTS,
        }
    }

    fn write_command(&mut self, value: u8, context: &mut Context<'_>) {
        // Of neither start nor stop the chip stays what it is.
        if value & command::STOP != 0 {
            self.is_running = false;
            self.status |= interrupt::RESET;
        } else if value & command::START != 0 {
            self.is_running = true;
            self.status &= !interrupt::RESET;
        }
        let was_sending = self.command & command::TRANSMIT;
        self.command = value & !(command::START | command::STOP | command::TRANSMIT) | was_sending;
        if self.remote.command(value) {
            self.status |= interrupt::REMOTE_COMPLETE;
        }
        if value & command::TRANSMIT != 0 && self.is_running && !self.is_sending() {
            self.start_sending(context);
        }
    }

    /// The guest has a frame to send. What goes nowhere is over at once.
    fn start_sending(&mut self, context: &mut Context<'_>) {
        self.command |= command::TRANSMIT;
        if self.transmit_config & transmit_config::LOOPBACK != 0 {
            self.sent(transmit_status::SENT);
        } else if !self.link_is_up {
            self.sent(transmit_status::SENT | transmit_status::NO_CARRIER);
        } else {
            context.effects.push(DeviceEffect::Wake);
        }
    }

    /// The frame is sent, or is not.
    const fn sent(&mut self, status: u8) {
        self.command &= !command::TRANSMIT;
        self.transmit_status = status;
        let is_sent = status & transmit_status::SENT != 0;
        self.status |= if is_sent { interrupt::SENT } else { interrupt::TRANSMIT_ERROR };
    }

    /// A frame was not received for which there was no room, or no wish (MPA).
    const fn miss(&mut self) {
        self.ring.status = receive_status::MISSED;
        if self.missed < COUNTER_MOST {
            self.missed += 1;
        }
        if self.missed & COUNTER_HIGH != 0 {
            self.status |= interrupt::COUNTER;
        }
    }

    /// Whether reading this changes nothing but what is read: a register of one byte that is no counter.
    const fn is_plain(&self, offset: u64) -> bool {
        offset < DATA && !(offset == page0::MISSED && self.page() == 0)
    }

    /// Calls `access`, which may change anything, and says whether the line has to be looked at.
    fn with<R>(
        &mut self,
        context: &mut Context<'_>,
        access: impl FnOnce(&mut Self, &mut Context<'_>) -> R,
    ) -> R {
        self.touched = true;
        let result = access(self, context);
        if self.line() != self.told {
            self.told = self.line();
            context.effects.push(DeviceEffect::Line);
        }
        result
    }

    fn read_port(&mut self, offset: u64, width: Width) -> u64 {
        match offset {
            DATA..RESET => {
                let (value, is_complete) = self.remote.read(width, self.ring.pages());
                self.end_remote(is_complete);
                value
            }
            RESET..PORTS => {
                self.reset_chip();
                0
            }
            0..DATA => self.read_register(offset).into(),
            _ => u64::MAX,
        }
    }

    fn end_remote(&mut self, is_complete: bool) {
        if is_complete {
            self.status |= interrupt::REMOTE_COMPLETE;
        }
    }
}

impl Device for Ne2000 {
    /// The line, and a wake.
    fn most_effects(&self) -> usize {
        MOST_EFFECTS
    }

    fn most_requests(&self) -> usize {
        0
    }

    fn read(&mut self, offset: u64, width: Width, context: &mut Context<'_>) -> u64 {
        if self.is_plain(offset) {
            return self.read_register(offset).into();
        }
        self.with(context, |interface, _| interface.read_port(offset, width)) & width.mask()
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, context: &mut Context<'_>) {
        self.with(context, |interface, context| match offset {
            0..DATA => interface.write_register(offset, value as u8, context),
            DATA..RESET => {
                let is_complete = interface.remote.write(width, value, interface.ring.pages());
                interface.end_remote(is_complete);
            }
            // The end of a reset, which the read began.
            _ => {}
        });
    }

    fn read_string(
        &mut self,
        offset: u64,
        width: Width,
        bytes: &mut [u8],
        context: &mut Context<'_>,
    ) -> usize {
        if !(DATA..RESET).contains(&offset) || !self.remote.takes_strings(width) {
            return read_one(self, offset, width, bytes, context);
        }
        self.with(context, |interface, _| {
            let is_complete = interface.remote.read_bytes(bytes, interface.ring.pages());
            interface.end_remote(is_complete);
        });
        bytes.len()
    }

    fn write_string(&mut self, offset: u64, width: Width, bytes: &[u8], context: &mut Context<'_>) -> usize {
        if !(DATA..RESET).contains(&offset) || !self.remote.takes_strings(width) {
            return write_one(self, offset, width, bytes, context);
        }
        self.with(context, |interface, _| {
            let is_complete = interface.remote.write_bytes(bytes, interface.ring.pages());
            interface.end_remote(is_complete);
        });
        bytes.len()
    }

    fn complete(&mut self, _: Completion, _: &mut Context<'_>) {}

    fn line(&self) -> bool {
        self.status & self.mask != 0
    }

    fn reset(&mut self) {
        // The link stays, and nothing is allocated.
        self.touched = true;
        self.reset_chip();
        self.ring = Ring::default();
        self.remote.reset();
        self.transmit_page = 0;
        self.transmit_bytes = 0;
        self.transmit_status = 0;
        self.missed = 0;
        self.told = false;
    }

    fn rests(&self, _: &mut Rest, _: &dyn GuestMemory) -> bool {
        !self.is_sending()
    }

    /// Whether a frame waits: there is nothing else to be woken for, and a wake is never left out.
    fn want_notifications(&mut self, wanted: bool, _: &mut Context<'_>) -> bool {
        wanted && self.is_sending()
    }

    fn transmit(&mut self, frame: &mut Frame, context: &mut Context<'_>) -> bool {
        if !self.is_sending() {
            return false;
        }
        self.with(context, |interface, _| {
            let length = usize::from(interface.transmit_bytes);
            let at = usize::from(interface.transmit_page) * PAGE_BYTES;
            let bytes = interface.remote.memory.piece(at, length);
            let bytes = bytes.filter(|_| (HEADER_BYTES..=LARGEST_BYTES).contains(&length));
            let is_there = bytes.and_then(|bytes| frame.append(bytes)).is_some();
            let is_sent = is_there && frame.fits(PAYLOAD_BYTES);
            if !is_sent {
                frame.clear();
            }
            interface.sent(if is_sent { transmit_status::SENT } else { transmit_status::ABORTED });
        });
        true
    }

    fn accepts(&self) -> Accepts {
        Accepts { largest_bytes: LARGEST_BYTES, ..Accepts::default() }
    }

    fn receive(&mut self, parts: &Parts<'_>, context: &mut Context<'_>) -> Reception {
        let is_looped = self.transmit_config & transmit_config::LOOPBACK != 0;
        if !self.is_running || !self.link_is_up || is_looped {
            return Reception::Down;
        }
        if parts.bytes() > LARGEST_BYTES || !self.ring.wants(parts) {
            return Reception::Taken;
        }
        self.with(context, |interface, _| {
            if interface.ring.config & receive_config::MONITOR != 0 {
                interface.miss();
                return Reception::Taken;
            }
            if interface.ring.put(parts, &mut interface.remote.memory) {
                interface.status |= interrupt::RECEIVED;
                return Reception::Taken;
            }
            interface.miss();
            // A driver that has not looked into the ring yet will, and makes room. Any other has to be told,
            // or it might never look again: but what it has to do then costs it 10 ms.
            if interface.status & interrupt::RECEIVED == 0 {
                interface.status |= interrupt::OVERWRITE;
            }
            Reception::NoRoom
        })
    }

    /// A frame that is to be sent when the link goes is lost, as on a wire, but the driver is not left
    /// waiting.
    fn set_link(&mut self, is_up: bool, context: &mut Context<'_>) {
        self.with(context, |interface, _| {
            interface.link_is_up = is_up;
            if !is_up && interface.is_sending() {
                interface.sent(transmit_status::SENT | transmit_status::NO_CARRIER);
            }
        });
    }

    fn state_words(&self) -> usize {
        STATE_WORDS
    }

    fn is_committed(&self) -> bool {
        !self.touched
    }

    fn journal(&mut self, journal: &mut Journal<'_>) {
        self.say(journal);
    }

    fn restore_words(&mut self, words: &[u64]) -> Result<(), RestoreFault> {
        self.take_over_words(words)
    }
}

const fn set_low(register: &mut u16, value: u8) {
    *register = *register & 0xff00 | value as u16;
}

const fn set_high(register: &mut u16, value: u8) {
    *register = *register & 0x00ff | (value as u16) << 8;
}
