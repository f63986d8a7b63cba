//! An IDE controller of the PIIX4 kind with a hard disk as the master of each channel, or none.
//! No slave is there.
//!
//! A [`Device`] has one space of offsets, the controller several windows of ports; so they are laid
//! out behind one another: [`COMMAND`] and [`CONTROL`] of the primary channel, those of the secondary
//! one [`CHANNEL_STRIDE`] further on, and at [`BUS_MASTER`] the 16 ports of BAR 4.
//!
//! Data of the disks moves by DMA. The commands that move it by PIO are aborted; IDENTIFY DEVICE,
//! whose data the model has itself, is not.

mod channel;
mod disk;
mod dma;
mod identify;
mod ports;

use crate::device::{Completion, Context, Device, DeviceEffect};
use channel::Channel;
pub use disk::Disk;
use ports::END;
pub use ports::{BUS_MASTER, CHANNEL_STRIDE, COMMAND, CONTROL};
use spec::Width;

/// The controller.
pub struct Ide {
    channels: [Channel; 2],
}

impl Ide {
    /// As after power-up, with these disks on the primary and the secondary channel.
    pub fn new(disks: [Option<Disk>; 2]) -> Self {
        let [first, second] = disks;
        Self { channels: [Channel::new(first, 0), Channel::new(second, 1)] }
    }

    /// Levels of the two channels' interrupt lines, ISA IRQs 14 and 15.
    pub fn lines(&self) -> [bool; 2] {
        self.channels.each_ref().map(Channel::line)
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

    /// The channel that `offset` belongs to, and the offset within its part.
    fn channel(&mut self, offset: u64) -> Option<(&mut Channel, u64)> {
        let stride = if offset < BUS_MASTER { CHANNEL_STRIDE } else { 8 };
        let [first, second] = &mut self.channels;
        let channel = if offset & stride == 0 { first } else { second };
        (offset < END).then_some((channel, offset & (stride - 1)))
    }
}

impl Device for Ide {
    /// A request and a line; with a completion the request that follows it.
    fn most_effects(&self) -> usize {
        4
    }

    fn most_requests(&self) -> usize {
        2
    }

    fn read(&mut self, offset: u64, width: Width, context: &mut Context<'_>) -> u64 {
        let value = self.access(context, |ide, _| {
            let (channel, at) = ide.channel(offset)?;
            Some(if offset >= BUS_MASTER { channel.read_master(at) } else { channel.read(at, width) })
        });
        value.unwrap_or(u64::MAX) & width.mask()
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, context: &mut Context<'_>) {
        self.access(context, |ide, context| match ide.channel(offset) {
            Some((channel, at)) if offset >= BUS_MASTER => channel.write_master(at, width, value, context),
            Some((channel, at)) => channel.write(at, value as u8, context),
            None => {}
        });
    }

    fn complete(&mut self, completion: Completion, context: &mut Context<'_>) {
        self.access(context, |ide, context| {
            for channel in &mut ide.channels {
                channel.complete(completion, context);
            }
        });
    }

    /// Whether any of the two lines is asserted; see [`Ide::lines`].
    fn line(&self) -> bool {
        self.lines() != [false; 2]
    }

    fn reset(&mut self) {
        self.channels.iter_mut().for_each(Channel::power_up);
    }
}

#[cfg(test)]
mod tests;
