//! The IOAPIC: 24 pins to messages (Intel 82093AA data sheet; the EOI register is
//! that of version 0x20, as in the ICH and PCH data sheets).
//!
//! A pin's level here means "asserted": whoever drives it has already seen to the
//! polarity. The polarity bit is kept for the guest and changes nothing.

use crate::effect::{Effect, Effects};
use crate::snapshot::{self, RestoreFault};
use serde::{Deserialize, Serialize};
use spec::apic::{DeliveryMode, Destination, InterruptMessage};

#[cfg(test)]
mod tests;

/// Number of pins.
pub const PINS: u8 = 24;

/// Version 0x20 and the highest redirection entry.
const VERSION: u32 = 0x20 | (PINS as u32 - 1) << 16;

const WINDOW_SELECT: u32 = 0x00;
const WINDOW_DATA: u32 = 0x10;
const WINDOW_EOI: u32 = 0x40;

const REGISTER_ID: u8 = 0;
const REGISTER_VERSION: u8 = 1;
const REGISTER_ARBITRATION: u8 = 2;
const REGISTER_REDIRECTION: u8 = 0x10;

/// The ID has 4 bits (82093AA data sheet, 3.2.1); those above are reserved and read 0.
const ID_MASK: u8 = 0x0f;

const LOGICAL: u64 = 1 << 11;
const REMOTE_IRR: u64 = 1 << 14;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;
/// Vector, delivery mode, destination mode, polarity, trigger, mask; destination
/// with its 7 extended bits. Delivery status (bit 12) reads 0.
const WRITABLE: u64 = 0xfffe_0000_0001_afff;

/// One IOAPIC.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ioapic {
    id: u8,
    select: u8,
    redirections: [u64; PINS as usize],
    /// One bit a pin: it is asserted.
    asserted: u32,
    /// One bit a pin: it is asserted because the machine's own line was when it was
    /// last looked at, and nobody has looked since.
    resampled: u32,
    /// One bit a pin: there is a line of the machine's behind it, as was once seen.
    machine: u32,
}

impl Ioapic {
    /// An IOAPIC with all pins masked; `id` has 4 bits.
    pub const fn new(id: u8) -> Self {
        Self {
            id: id & ID_MASK,
            select: 0,
            redirections: [MASKED; PINS as usize],
            asserted: 0,
            resampled: 0,
            machine: 0,
        }
    }

    /// Says what about this state cannot be.
    pub(crate) fn check(&self) -> Result<(), RestoreFault> {
        const KEPT: u64 = WRITABLE | REMOTE_IRR;
        const ALL: u32 = (1 << PINS) - 1;
        let entries = self.redirections.iter().all(|entry| entry & !KEPT == 0);
        snapshot::has(self.id <= ID_MASK && entries, "a register of the IOAPIC")?;
        let pins = self.asserted | self.resampled | self.machine;
        snapshot::has(pins & !ALL == 0 && self.resampled & !self.machine == 0, "a pin of the IOAPIC")
    }

    /// Reads the window at `offset`. Where nothing is, zeros.
    pub fn read(&self, offset: u32) -> u32 {
        match offset {
            WINDOW_SELECT => u32::from(self.select),
            WINDOW_DATA => self.read_register(self.select),
            _ => 0,
        }
    }

    /// Writes the window at `offset`.
    pub fn write(&mut self, offset: u32, value: u32, out: &mut Effects) {
        match offset {
            WINDOW_SELECT => self.select = value as u8,
            WINDOW_DATA => self.write_register(self.select, value, out),
            WINDOW_EOI => self.end_of_interrupt(value as u8, out),
            _ => {}
        }
    }

    fn read_register(&self, register: u8) -> u32 {
        match register {
            REGISTER_ID | REGISTER_ARBITRATION => u32::from(self.id) << 24,
            REGISTER_VERSION => VERSION,
            _ => {
                let Some((pin, high)) = redirection_half(register) else { return 0 };
                let entry = self.redirections.get(pin).copied().unwrap_or(0);
                if high { (entry >> 32) as u32 } else { entry as u32 }
            }
        }
    }

    fn write_register(&mut self, register: u8, value: u32, out: &mut Effects) {
        if register == REGISTER_ID {
            self.id = (value >> 24) as u8 & ID_MASK;
            return;
        }
        let Some((pin, high)) = redirection_half(register) else { return };
        let Some(entry) = self.redirections.get_mut(pin) else { return };
        let merged = if high {
            *entry & 0xffff_ffff | u64::from(value) << 32
        } else {
            *entry & !0xffff_ffff | u64::from(value)
        };
        let remote_irr = *entry & REMOTE_IRR;
        *entry = merged & WRITABLE;
        // An edge-triggered pin has no remote IRR; switching to edge and back is how
        // software ends an interrupt on an IOAPIC without EOI register.
        if *entry & LEVEL != 0 {
            *entry |= remote_irr;
        }
        self.send_again(pin, out);
    }

    /// Sets a pin. Pins that do not exist are ignored.
    pub fn set_line(&mut self, pin: u8, asserted: bool, out: &mut Effects) {
        if pin >= PINS {
            return;
        }
        let bit = 1u32 << pin;
        let rising = asserted && self.asserted & bit == 0;
        if asserted {
            self.asserted |= bit;
        } else {
            self.asserted &= !bit;
        }
        let pin = usize::from(pin);
        let Some(&entry) = self.redirections.get(pin) else { return };
        if is_level(entry) {
            self.send_level(pin, out);
        } else if rising && entry & MASKED == 0 {
            // An edge at a masked pin is lost, as in the hardware.
            if let Some(message) = message(entry) {
                out.push(Effect::Message(message));
            }
        }
    }

    /// The machine's line behind a pin, whose interrupt stays in service there, was seen
    /// asserted. Before the pin sends a second time, an [`Effect::Resample`] asks to look
    /// at the line anew. Pins that do not exist are ignored.
    pub fn assert_resampled(&mut self, pin: u8, out: &mut Effects) {
        if pin < PINS {
            self.resampled |= 1 << pin;
            self.machine |= 1 << pin;
            self.set_line(pin, true, out);
        }
    }

    /// The machine's line behind a pin goes nowhere any more.
    pub fn deassert_resampled(&mut self, pin: u8) {
        if pin < PINS && self.resampled >> pin & 1 != 0 {
            self.resampled &= !(1 << pin);
            self.asserted &= !(1 << pin);
        }
    }

    /// A local APIC, or the guest through the EOI register, ended `vector`. A pin that
    /// is still asserted sends again; of a line of the machine's that is to be asked, even if
    /// nobody has seen it asserted since: an interrupt of it may be on its way to us that
    /// the guest has served meanwhile.
    pub fn end_of_interrupt(&mut self, vector: u8, out: &mut Effects) {
        for pin in 0..self.redirections.len() {
            if let Some(entry) = self.redirections.get_mut(pin)
                && *entry & REMOTE_IRR != 0
                && *entry as u8 == vector
            {
                *entry &= !REMOTE_IRR;
                if self.machine >> pin & 1 != 0 && *entry & MASKED == 0 {
                    self.deassert_resampled(pin as u8);
                    out.push(Effect::Resample(pin as u8));
                }
                self.send_again(pin, out);
            }
        }
    }

    /// The pins that are asserted, a bit each.
    pub const fn asserted(&self) -> u32 {
        self.asserted
    }

    /// Level of a pin as last set.
    pub const fn is_asserted(&self, pin: u8) -> bool {
        pin < PINS && self.asserted >> pin & 1 != 0
    }

    /// Whether an interrupt at this pin would go anywhere.
    pub fn is_open(&self, pin: u8) -> bool {
        self.redirections.get(usize::from(pin)).is_some_and(|entry| entry & MASKED == 0)
    }

    /// Whether a level-triggered pin is asserted, open and not already being serviced.
    fn is_due(&self, pin: usize) -> bool {
        let asserted = self.asserted >> pin & 1 != 0;
        let entry = self.redirections.get(pin).copied().unwrap_or(MASKED);
        asserted && is_level(entry) && entry & (MASKED | REMOTE_IRR) == 0
    }

    /// Sends for a pin that is due, unless what asserts it may be long gone. A pin that
    /// is masked keeps what was seen: it is asked for when the guest opens it.
    fn send_again(&mut self, pin: usize, out: &mut Effects) {
        if self.is_due(pin) && self.resampled >> pin & 1 != 0 {
            self.deassert_resampled(pin as u8);
            out.push(Effect::Resample(pin as u8));
        } else {
            self.send_level(pin, out);
        }
    }

    /// Sends for a pin that is due.
    fn send_level(&mut self, pin: usize, out: &mut Effects) {
        if !self.is_due(pin) {
            return;
        }
        let Some(entry) = self.redirections.get_mut(pin) else { return };
        if let Some(message) = message(*entry) {
            *entry |= REMOTE_IRR;
            out.push(Effect::Message(message));
        }
    }
}

/// The pin and half that a register index stands for: 0x10 and 0x11 are the lower
/// and upper half of pin 0. Indexes of pins that do not exist come out too; the
/// caller's `get` refuses them.
const fn redirection_half(register: u8) -> Option<(usize, bool)> {
    match register.checked_sub(REGISTER_REDIRECTION) {
        Some(index) => Some((index as usize / 2, index & 1 != 0)),
        None => None,
    }
}

/// Level-triggered: only fixed and lowest-priority interrupts are, the other modes
/// are edges whatever the trigger bit says.
const fn is_level(entry: u64) -> bool {
    entry & LEVEL != 0
        && matches!(
            DeliveryMode::from_bits((entry >> 8) as u8),
            Some(DeliveryMode::Fixed | DeliveryMode::LowestPriority)
        )
}

/// The message of an entry; `None` for reserved delivery modes.
fn message(entry: u64) -> Option<InterruptMessage> {
    let mode = match DeliveryMode::from_bits((entry >> 8) as u8)? {
        // A start-up message comes from an ICR only.
        DeliveryMode::StartUp => return None,
        mode => mode,
    };
    // Bits 49 to 55 extend the destination to 15 bits, as bits 5 to 11 do in an MSI's
    // address (the paravirtual "extended destination ID").
    let id = (entry >> 56) as u32 | ((entry >> 49 & 0x7f) as u32) << 8;
    let destination = match (id, entry & LOGICAL != 0) {
        // 8 bits of ones mean everybody also to an x2APIC, which would not see that
        // in the number.
        (0xff, _) => Destination::All,
        (_, true) => Destination::Logical(id),
        (_, false) => Destination::Physical(id),
    };
    Some(InterruptMessage { destination, mode, vector: entry as u8, level: is_level(entry) })
}
