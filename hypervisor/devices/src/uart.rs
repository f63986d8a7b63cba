//! A 16550A UART (National Semiconductor PC16550D data sheet).
//!
//! The line is infinitely fast: a byte written is sent at once, so the transmitter
//! is always empty. Received bytes below the FIFO's trigger level interrupt at once
//! with the character timeout, as if four character times had passed. What the FIFO has no
//! room for waits on the line, as if the other side had been told to stop.

use crate::snapshot::{self, RestoreFault};
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;
mod words;

pub(crate) use words::STATE_WORDS;

/// Bytes in the receive FIFO.
pub const FIFO_BYTES: usize = 16;
/// Bytes that wait on the line for room in it.
pub const WAITING_BYTES: usize = 4096;

/// IER bits: received data, transmitter empty, line status, modem status.
const ENABLE_RECEIVED: u8 = 1 << 0;
const ENABLE_TRANSMITTER: u8 = 1 << 1;
const ENABLE_LINE: u8 = 1 << 2;
const ENABLE_MODEM: u8 = 1 << 3;

/// IIR: nothing pending, and the causes in order of priority.
const CAUSE_NONE: u8 = 0x01;
const CAUSE_LINE: u8 = 0x06;
const CAUSE_RECEIVED: u8 = 0x04;
const CAUSE_TIMEOUT: u8 = 0x0c;
const CAUSE_TRANSMITTER: u8 = 0x02;
const CAUSE_MODEM: u8 = 0x00;
/// IIR: the FIFOs are on.
const FIFOS_ON: u8 = 0xc0;

const LCR_DIVISOR_ACCESS: u8 = 1 << 7;

const LSR_DATA: u8 = 1 << 0;
const LSR_OVERRUN: u8 = 1 << 1;
const LSR_EMPTY: u8 = 0x60;

/// MCR: OUT2 connects the interrupt to the bus; bit 4 loops back.
const MCR_OUT2: u8 = 1 << 3;
const MCR_LOOP: u8 = 1 << 4;

/// MSR of a terminal that is there: CTS, DSR, DCD.
const MSR_CONNECTED: u8 = 0xb0;

/// One UART at 8 ports.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Uart {
    fifo: [u8; FIFO_BYTES],
    first: u8,
    used: u8,
    fifo_on: bool,
    #[serde(with = "snapshot::bytes")]
    waiting: [u8; WAITING_BYTES],
    waiting_first: u16,
    waiting_used: u16,
    /// Bytes in the FIFO at which received data interrupts.
    trigger: u8,
    overrun: bool,
    /// The transmitter-empty interrupt is pending.
    transmitter_pending: bool,
    ier: u8,
    lcr: u8,
    mcr: u8,
    /// Lower half: changes since it was read.
    msr_delta: u8,
    scratch: u8,
    divisor: [u8; 2],
}

impl Uart {
    /// A UART after reset, with 115200 baud set.
    pub const fn new() -> Self {
        Self {
            fifo: [0; FIFO_BYTES],
            first: 0,
            used: 0,
            fifo_on: false,
            waiting: [0; WAITING_BYTES],
            waiting_first: 0,
            waiting_used: 0,
            trigger: 1,
            overrun: false,
            transmitter_pending: false,
            ier: 0,
            lcr: 0,
            mcr: 0,
            msr_delta: 0,
            scratch: 0,
            divisor: [1, 0],
        }
    }

    /// Says what about this state cannot be.
    pub(crate) fn check(&self) -> Result<(), RestoreFault> {
        let is_within = |first: usize, used: usize, bytes: usize| first < bytes && used <= bytes;
        snapshot::has(is_within(self.first.into(), self.used.into(), FIFO_BYTES), "the serial port's FIFO")?;
        snapshot::has(self.fifo_on || self.used <= 1, "the serial port's FIFO")?;
        snapshot::has(
            is_within(self.waiting_first.into(), self.waiting_used.into(), WAITING_BYTES),
            "what waits for the serial port",
        )?;
        snapshot::has(matches!(self.trigger, 1 | 4 | 8 | 14), "the serial port's trigger level")?;
        snapshot::has(self.ier <= 0x0f && self.mcr <= 0x1f && self.msr_delta <= 0x0f, "the serial port")
    }

    /// Level of the interrupt line.
    pub fn line(&self) -> bool {
        // In loopback OUT2 ends inside the chip and the pin is off.
        self.mcr & (MCR_OUT2 | MCR_LOOP) == MCR_OUT2 && self.cause() != CAUSE_NONE
    }

    /// A byte from outside; false when there is no room for it to wait, then offer it again
    /// later. In loopback the input is cut off: the byte is taken and lost.
    pub fn receive(&mut self, byte: u8) -> bool {
        if self.mcr & MCR_LOOP != 0 || self.waiting_used == 0 && self.enqueue(byte) {
            return true;
        }
        let end = usize::from(self.waiting_first + self.waiting_used) % WAITING_BYTES;
        match self.waiting.get_mut(end).filter(|_| usize::from(self.waiting_used) < WAITING_BYTES) {
            Some(place) => {
                *place = byte;
                self.waiting_used += 1;
                true
            }
            None => false,
        }
    }

    /// Takes what waits into the FIFO as far as there is room.
    fn refill(&mut self) {
        while self.waiting_used > 0 && self.mcr & MCR_LOOP == 0 {
            let byte = self.waiting.get(usize::from(self.waiting_first)).copied().unwrap_or(0);
            if !self.enqueue(byte) {
                return;
            }
            self.waiting_first = (self.waiting_first + 1) % WAITING_BYTES as u16;
            self.waiting_used -= 1;
        }
    }

    /// Whether reading this register may change anything but what is read.
    pub(crate) const fn changes_by_read(&self, register: u8) -> bool {
        match register {
            1 | 3 | 4 | 7 => false,
            5 => self.overrun,
            6 => self.msr_delta != 0,
            _ => true,
        }
    }

    /// Whether writing this to this register may change anything.
    pub(crate) const fn changes_by_write(&self, register: u8, value: u8) -> bool {
        match register {
            3 => value != self.lcr,
            5 | 6 => false,
            7 => value != self.scratch,
            _ => true,
        }
    }

    /// Reads register 0 to 7.
    pub fn read(&mut self, register: u8) -> u8 {
        let divisor_access = self.lcr & LCR_DIVISOR_ACCESS != 0;
        match register {
            0 if divisor_access => self.divisor[0],
            1 if divisor_access => self.divisor[1],
            0 => {
                let byte = self.dequeue();
                if self.waiting_used > 0 {
                    self.refill();
                }
                byte
            }
            1 => self.ier,
            2 => self.read_cause(),
            3 => self.lcr,
            4 => self.mcr,
            5 => {
                let status = LSR_EMPTY
                    | if self.used != 0 { LSR_DATA } else { 0 }
                    | if self.overrun { LSR_OVERRUN } else { 0 };
                self.overrun = false;
                status
            }
            6 => self.modem_lines() | core::mem::take(&mut self.msr_delta),
            7 => self.scratch,
            _ => 0xff,
        }
    }

    /// Writes register 0 to 7; gives the byte that went out.
    pub fn write(&mut self, register: u8, value: u8) -> Option<u8> {
        let divisor_access = self.lcr & LCR_DIVISOR_ACCESS != 0;
        match register {
            0 if divisor_access => self.divisor[0] = value,
            1 if divisor_access => self.divisor[1] = value,
            0 => return self.transmit(value),
            1 => {
                // Enabling it while the transmitter is empty, which it is, raises it.
                if value & !self.ier & ENABLE_TRANSMITTER != 0 {
                    self.transmitter_pending = true;
                }
                self.ier = value & 0x0f;
            }
            2 => {
                self.write_fifo_control(value);
                self.refill();
            }
            3 => self.lcr = value,
            4 => {
                self.write_modem_control(value);
                self.refill();
            }
            7 => self.scratch = value,
            // LSR and MSR are for the factory's test only.
            _ => {}
        }
        None
    }

    fn transmit(&mut self, byte: u8) -> Option<u8> {
        self.transmitter_pending = true;
        if self.mcr & MCR_LOOP == 0 {
            return Some(byte);
        }
        if !self.enqueue(byte) {
            self.overrun = true;
        }
        None
    }

    fn write_fifo_control(&mut self, value: u8) {
        let on = value & 1 != 0;
        // Switching the FIFOs empties them; the reset bits and the trigger level
        // count only while they are on.
        if on != self.fifo_on || (on && value & 2 != 0) {
            self.first = 0;
            self.used = 0;
        }
        self.fifo_on = on;
        self.trigger = match (on, value >> 6) {
            (false, _) | (true, 0) => 1,
            (true, 1) => 4,
            (true, 2) => 8,
            (true, _) => 14,
        };
    }

    fn write_modem_control(&mut self, value: u8) {
        let before = self.modem_lines();
        self.mcr = value & 0x1f;
        let after = self.modem_lines();
        let changed = before ^ after;
        // CTS, DSR, DCD: any change; RI: its trailing edge.
        self.msr_delta |= (changed & 0xb0 | before & !after & 0x40) >> 4;
    }

    /// CTS, DSR, RI and DCD; in loopback they are RTS, DTR, OUT1 and OUT2.
    fn modem_lines(&self) -> u8 {
        if self.mcr & MCR_LOOP == 0 {
            return MSR_CONNECTED;
        }
        let (dtr, rts) = (self.mcr & 1, self.mcr >> 1 & 1);
        rts << 4 | dtr << 5 | (self.mcr & 0x0c) << 4
    }

    /// The most urgent enabled cause.
    fn cause(&self) -> u8 {
        if self.ier & ENABLE_LINE != 0 && self.overrun {
            CAUSE_LINE
        } else if self.ier & ENABLE_RECEIVED != 0 && self.used >= self.trigger {
            CAUSE_RECEIVED
        } else if self.ier & ENABLE_RECEIVED != 0 && self.used != 0 {
            CAUSE_TIMEOUT
        } else if self.ier & ENABLE_TRANSMITTER != 0 && self.transmitter_pending {
            CAUSE_TRANSMITTER
        } else if self.ier & ENABLE_MODEM != 0 && self.msr_delta != 0 {
            CAUSE_MODEM
        } else {
            CAUSE_NONE
        }
    }

    /// Reading the IIR ends the transmitter interrupt if that is what it shows.
    fn read_cause(&mut self) -> u8 {
        let cause = self.cause();
        if cause == CAUSE_TRANSMITTER {
            self.transmitter_pending = false;
        }
        cause | if self.fifo_on { FIFOS_ON } else { 0 }
    }

    fn enqueue(&mut self, byte: u8) -> bool {
        let room = if self.fifo_on { FIFO_BYTES } else { 1 };
        if usize::from(self.used) >= room {
            return false;
        }
        let end = usize::from(self.first + self.used) % FIFO_BYTES;
        if let Some(slot) = self.fifo.get_mut(end) {
            *slot = byte;
        }
        self.used += 1;
        true
    }

    fn dequeue(&mut self) -> u8 {
        if self.used == 0 {
            return 0;
        }
        let byte = self.fifo.get(usize::from(self.first)).copied().unwrap_or(0);
        self.first = (self.first + 1) % FIFO_BYTES as u8;
        self.used -= 1;
        byte
    }
}

impl Default for Uart {
    fn default() -> Self {
        Self::new()
    }
}
