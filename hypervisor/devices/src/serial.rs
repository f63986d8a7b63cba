//! A 16550A that is a function of its own, with the registers of [`Uart`] at eight ports.
//!
//! The line is infinitely fast, as that of the chipset's: what is written is printed by the same access.

use crate::device::{Completion, Context, Device, DeviceEffect, Work};
use crate::journal::Journal;
use crate::rest::Rest;
use crate::snapshot::RestoreFault;
use crate::uart::Uart;
use access::GuestMemory;
use spec::Width;

mod state;
#[cfg(test)]
mod tests;

use state::PRINTED_BYTES;
pub use state::STATE_BYTES;
pub(crate) use state::STATE_WORDS;

/// Ports of the function.
pub const PORTS: u64 = 8;
/// What was printed, and the line.
pub(crate) const MOST_EFFECTS: usize = 2;

/// The device.
pub struct Serial {
    uart: Uart,
    printed: [u8; PRINTED_BYTES],
    used: usize,
    /// The level of the line that the last effect was about.
    told: bool,
    work: Work,
    /// Something may be other than when it was committed.
    touched: bool,
}

impl Serial {
    /// A port at power-up.
    pub fn new() -> Self {
        let printed = [0; PRINTED_BYTES];
        Self { uart: Uart::new(), printed, used: 0, told: false, work: Work::default(), touched: true }
    }

    fn put(&mut self, byte: u8, context: &mut Context<'_>) {
        match self.printed.get_mut(self.used) {
            Some(place) => {
                *place = byte;
                self.used += 1;
                self.work.bytes += 1;
            }
            None => self.work.errors += 1,
        }
        if self.used == 1 {
            context.effects.push(DeviceEffect::Output);
        }
    }

    fn tell(&mut self, context: &mut Context<'_>) {
        let line = self.uart.line();
        if line != self.told {
            self.told = line;
            self.touched = true;
            context.effects.push(DeviceEffect::Line);
        }
    }
}

impl Default for Serial {
    fn default() -> Self {
        Self::new()
    }
}

/// The registers that an access of `width` at `offset` reaches, one behind the other.
fn registers(offset: u64, width: Width) -> impl Iterator<Item = (u32, u8)> {
    (0..width.bytes()).filter_map(move |place| {
        let register = offset.checked_add(place).filter(|register| *register < PORTS)?;
        Some((8 * place as u32, register as u8))
    })
}

impl Device for Serial {
    fn most_effects(&self) -> usize {
        MOST_EFFECTS
    }

    fn most_requests(&self) -> usize {
        0
    }

    fn read(&mut self, offset: u64, width: Width, context: &mut Context<'_>) -> u64 {
        let mut value = width.mask();
        for (shift, register) in registers(offset, width) {
            self.touched |= self.uart.changes_by_read(register);
            value = value & !(0xff << shift) | u64::from(self.uart.read(register)) << shift;
        }
        self.tell(context);
        value
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, context: &mut Context<'_>) {
        for (shift, register) in registers(offset, width) {
            let byte = (value >> shift) as u8;
            self.touched |= self.uart.changes_by_write(register, byte);
            if let Some(byte) = self.uart.write(register, byte) {
                self.put(byte, context);
            }
        }
        self.tell(context);
    }

    fn output(&mut self, into: &mut [u8], _: &mut Context<'_>) -> usize {
        self.touched = true;
        let count = into.len().min(self.used);
        into.iter_mut().zip(&self.printed).take(count).for_each(|(place, byte)| *place = *byte);
        self.used -= count;
        for at in 0..self.used {
            let byte = self.printed.get(at + count).copied().unwrap_or_default();
            if let Some(place) = self.printed.get_mut(at) {
                *place = byte;
            }
        }
        count
    }

    fn input(&mut self, byte: u8, context: &mut Context<'_>) -> bool {
        self.touched = true;
        let taken = self.uart.receive(byte);
        self.work.bytes += u64::from(taken);
        self.tell(context);
        taken
    }

    fn complete(&mut self, _: Completion, _: &mut Context<'_>) {}

    fn rests(&self, _: &mut Rest, _: &dyn GuestMemory) -> bool {
        true
    }

    fn line(&self) -> bool {
        self.told
    }

    fn reset(&mut self) {
        *self = Self { work: self.work, ..Self::new() };
    }

    fn work(&self) -> Work {
        self.work
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
        self.take_over(words)
    }
}
