//! Bringing a device up (section 3.1.1): reset, features, configuration, queue, and who it is.

use crate::device::{Device, Stage};
use crate::limits::{Limits, WANTED};
use access::{DmaMemory, RegisterWindow};
use block::{Identity, Text};
use spec::virtio::block::ID_BYTES;
use spec::virtio::feature::EVENT_INDEX;
use virtio::{Error, RESET_LOOK_NS, RESET_NS};

/// How long the device may take to say who it is.
const IDENTIFY_NS: u64 = 10_000_000_000;
/// What stands for a model, which no virtio device has.
const MODEL: &[u8; 40] = b"virtio block device                     ";

impl<R: RegisterWindow, D: DmaMemory> Device<R, D> {
    /// Begins to reset the device, from whatever state it is in.
    pub(crate) fn begin(&mut self, now_ns: u64) -> Result<(), Error> {
        self.transport.status()?;
        self.transport.reset();
        let until_ns = now_ns.saturating_add(RESET_NS);
        self.stage = Stage::Resetting { until_ns };
        self.look_reset(until_ns, now_ns)
    }

    /// Sets the device up once it is reset. It is asked before the time is, so that a stall of this
    /// processor is no failure of the device.
    pub(crate) fn look_reset(&mut self, until_ns: u64, now_ns: u64) -> Result<(), Error> {
        self.next_look_ns = now_ns.saturating_add(RESET_LOOK_NS);
        if self.transport.is_reset()? {
            return self.set_up(now_ns);
        }
        if now_ns < until_ns { Ok(()) } else { Err(Error::NotReset) }
    }

    fn set_up(&mut self, now_ns: u64) -> Result<(), Error> {
        // Of what it was told before nothing is left.
        self.dma.allow();
        self.commands.fail(true);
        let offered = self.transport.offered()?;
        let features = self.transport.agree(offered, WANTED)?;
        let request_bytes = self.commands.requests.request_bytes();
        self.limits = Limits::read(&self.transport, features, request_bytes)?;
        let (configuration, data) = self.message_numbers();
        self.transport.set_configuration_message(configuration)?;
        let most = self.transport.most_entries(0)?;
        self.queue.clear(most, features & EVENT_INDEX != 0)?;
        self.commands.divide(self.queue.size(), &self.limits)?;
        self.can_lend = self.commands.can_lend(self.queue.size(), &self.limits);
        self.transport.enable(&mut self.queue, data)?;
        self.dma.write_barrier();
        self.transport.begin()?;
        self.stage = Stage::Identifying;
        self.watch(now_ns);
        self.commands.ask_identity(&mut self.queue, now_ns.saturating_add(IDENTIFY_NS))?;
        self.publish()
    }

    /// The device said who it is, or that it does not.
    pub(crate) fn identified(&mut self, serial: [u8; ID_BYTES]) {
        self.identity =
            Some(Identity { serial: Text(serial), model: Text(*MODEL), firmware: Text(*b"unknown ") });
        self.stage = Stage::Ready;
    }
}
