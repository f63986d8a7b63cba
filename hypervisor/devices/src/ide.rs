//! An IDE controller of the PIIX4 kind with up to four hard disks: the master and the slave of each channel.
//!
//! All of them are on one medium, each from where it starts there; whoever gives the controller its medium
//! can make it of several.
//!
//! A [`Device`] has one space of offsets, the controller several windows of ports; so they are laid
//! out behind one another: [`COMMAND`] and [`CONTROL`] of the primary channel, those of the secondary
//! one [`CHANNEL_STRIDE`] further on, and at [`BUS_MASTER`] the 16 ports of BAR 4.
//!
//! Data moves by DMA between the medium and the guest's memory, and by PIO through a buffer of each
//! channel ([`Device::buffer`]), from which one string instruction takes as much as the disk asks for.

mod channel;
mod disk;
mod dma;
mod geometry;
mod identify;
mod pio;
mod ports;
mod state;
mod unit;

use crate::device::{self, Completion, Context, Device, DeviceEffect};
use crate::journal::Journal;
use crate::rest::Rest;
use crate::snapshot::RestoreFault;
use access::GuestMemory;
use alloc::boxed::Box;
use channel::{ALL, Channel};
pub use disk::Disk;
use pio::BUFFER_BYTES;
pub(crate) use pio::BUFFERS_BYTES;
use ports::END;
pub use ports::{BUS_MASTER, CHANNEL_STRIDE, COMMAND, CONTROL};
use spec::Width;
use spec::ide::register;
pub use state::STATE_BYTES;
pub(crate) use state::STATE_WORDS;

/// A request and a line; with a completion the request that follows it.
pub(crate) const MOST_EFFECTS: usize = 4;
/// The controller.
pub struct Ide {
    channels: [Channel; 2],
    /// Of each channel [`BUFFER_BYTES`].
    buffer: Box<[u8]>,
    /// The channels as they were committed last.
    committed: [Option<Channel>; 2],
    /// A bit for each channel that may be another since.
    touched: u8,
}

impl Ide {
    /// As after power-up, with these disks on the primary and the secondary channel, each with its master
    /// and its slave.
    pub fn new(disks: [[Option<Disk>; 2]; 2]) -> Self {
        let [first, second] = disks;
        let channels = [Channel::new(first, 0), Channel::new(second, 1)];
        let buffer = core::iter::repeat_n(0, BUFFERS_BYTES).collect();
        Self { channels, buffer, committed: [None; 2], touched: ALL }
    }

    fn access<R>(
        &mut self,
        context: &mut Context<'_>,
        call: impl FnOnce(&mut Self, &mut Context<'_>) -> R,
    ) -> R {
        let before = self.lines();
        let result = call(self, context);
        if self.lines() != before {
            context.effects.push(DeviceEffect::Line);
        }
        result
    }

    /// The channel that `offset` belongs to, its buffer, and the offset within its part.
    fn channel(&mut self, offset: u64) -> Option<(&mut Channel, &mut [u8], u64)> {
        let stride = if offset < BUS_MASTER { CHANNEL_STRIDE } else { 8 };
        let [first, second] = &mut self.channels;
        let (before, behind) = self.buffer.split_at_mut_checked(BUFFER_BYTES)?;
        let (channel, buffer, bit) =
            if offset & stride == 0 { (first, before, 1) } else { (second, behind, 2) };
        self.touched |= bit;
        (offset < END).then_some((channel, buffer, offset & (stride - 1)))
    }

    /// Whether `offset` is a channel's data port.
    const fn is_data(offset: u64) -> bool {
        offset < BUS_MASTER && offset & (CHANNEL_STRIDE - 1) == register::DATA
    }

    /// A register of a byte: what an access is wider, its neighbours get.
    fn read_byte(&mut self, offset: u64) -> Option<u8> {
        let (channel, _, at) = self.channel(offset)?;
        Some(channel.read(at))
    }
}

impl Device for Ide {
    fn most_effects(&self) -> usize {
        MOST_EFFECTS
    }

    fn most_requests(&self) -> usize {
        2
    }

    fn read(&mut self, offset: u64, width: Width, context: &mut Context<'_>) -> u64 {
        if Self::is_data(offset) {
            let mut bytes = [0; 8];
            let (wanted, _) = bytes.split_at_mut(width.bytes() as usize);
            self.read_string(offset, width, wanted, context);
            return u64::from_le_bytes(bytes);
        }
        let value = self.access(context, |ide, _| {
            if offset >= BUS_MASTER {
                return ide.channel(offset).map(|(channel, _, at)| channel.read_master(at));
            }
            let bytes = neighbours(offset, width);
            Some(
                bytes
                    .rev()
                    .fold(u64::MAX, |value, at| value << 8 | u64::from(ide.read_byte(at).unwrap_or(0xff))),
            )
        });
        value.unwrap_or(u64::MAX) & width.mask()
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, context: &mut Context<'_>) {
        if Self::is_data(offset) {
            let bytes = value.to_le_bytes();
            let (given, _) = bytes.split_at(width.bytes() as usize);
            self.write_string(offset, width, given, context);
            return;
        }
        self.access(context, |ide, context| {
            if offset >= BUS_MASTER {
                if let Some((channel, _, at)) = ide.channel(offset) {
                    channel.write_master(at, width, value, context);
                }
                return;
            }
            for at in neighbours(offset, width) {
                if let Some((channel, _, register)) = ide.channel(at) {
                    channel.write(register, (value >> (8 * (at - offset))) as u8, context);
                }
            }
        });
    }

    fn read_string(
        &mut self,
        offset: u64,
        width: Width,
        bytes: &mut [u8],
        context: &mut Context<'_>,
    ) -> usize {
        if !Self::is_data(offset) {
            return device::read_one(self, offset, width, bytes, context);
        }
        let moved = self.access(context, |ide, context| {
            let (channel, buffer, _) = ide.channel(offset)?;
            Some(channel.read_data(bytes, buffer, context))
        });
        whole(moved.unwrap_or(bytes.len()), width)
    }

    fn write_string(&mut self, offset: u64, width: Width, bytes: &[u8], context: &mut Context<'_>) -> usize {
        if !Self::is_data(offset) {
            return device::write_one(self, offset, width, bytes, context);
        }
        let moved = self.access(context, |ide, context| {
            let (channel, buffer, _) = ide.channel(offset)?;
            Some(channel.write_data(bytes, buffer, context))
        });
        whole(moved.unwrap_or(bytes.len()), width)
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    fn rests(&self, _: &mut Rest, _: &dyn GuestMemory) -> bool {
        true
    }

    fn complete(&mut self, completion: Completion, context: &mut Context<'_>) {
        self.touched = ALL;
        self.access(context, |ide, context| {
            for channel in &mut ide.channels {
                channel.complete(completion, context);
            }
        });
    }

    /// Whether any of the two lines is asserted.
    fn line(&self) -> bool {
        self.lines() != [false; 2]
    }

    /// Those of the two channels, ISA IRQs 14 and 15.
    fn lines(&self) -> [bool; 2] {
        self.channels.each_ref().map(Channel::line)
    }

    fn reset(&mut self) {
        self.touched = ALL;
        self.channels.iter_mut().for_each(Channel::power_up);
        self.buffer.fill(0);
    }

    fn state_words(&self) -> usize {
        STATE_WORDS
    }

    fn journal(&mut self, journal: &mut Journal<'_>) {
        self.say(journal);
    }

    fn restore_words(&mut self, words: &[u64]) -> Result<(), RestoreFault> {
        self.take_over(words)
    }
}

/// The registers that an access reaches, of those that stand together.
fn neighbours(offset: u64, width: Width) -> core::ops::Range<u64> {
    offset..(offset + width.bytes()).min((offset & !7) + 8)
}

/// An access that the end of the block cut off is gone as a whole.
fn whole(bytes: usize, width: Width) -> usize {
    bytes.next_multiple_of(width.bytes() as usize)
}

#[cfg(test)]
mod tests;
