//! Bringing a device up (section 3.1.1): reset, features, configuration, queues, and what it receives.

use crate::interface::{Interface, LARGEST_BYTES, Stage, WATCH_NS};
use access::{DmaMemory, RegisterWindow};
use network::MacAddress;
use nic::Link;
use spec::ethernet::{HEADER_BYTES, PAYLOAD_BYTES, TAG_BYTES};
use spec::virtio::feature::EVENT_INDEX;
use spec::virtio::net::{config, feature, queue};
use virtio::{Error, RESET_LOOK_NS, RESET_NS};

/// How long the device may take to answer a command, and how often that is looked for.
const ANSWER_NS: u64 = 5_000_000_000;
const ANSWER_LOOK_NS: u64 = 10_000_000;
/// The least largest payload that a device may have (section 5.1.4.1).
const LEAST_MTU: u16 = 68;

impl<R: RegisterWindow, D: DmaMemory> Interface<R, D> {
    /// Begins to reset the device, from whatever state it is in.
    pub(crate) fn begin(&mut self, now_ns: u64) -> Result<(), Error> {
        self.lose();
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
        let offered = self.transport.offered()?;
        let mtu = self.mtu(offered)?;
        self.features = self.transport.agree(offered, wanted(offered, mtu))?;
        self.largest_bytes =
            mtu.map_or(LARGEST_BYTES, |mtu| HEADER_BYTES + TAG_BYTES + usize::from(mtu).min(PAYLOAD_BYTES));
        self.mac = Some(self.address()?);
        let (configuration, frames) = self.message_numbers();
        self.transport.set_configuration_message(configuration)?;
        let (has_event_index, is_quiet) = (self.has(EVENT_INDEX), self.is_quiet);
        let most = self.transport.most_entries(queue::RECEIVE as u16)?;
        self.receiver.queue.clear(most, has_event_index)?;
        self.receiver.queue.set_quiet(is_quiet)?;
        self.receiver.fill()?;
        self.transport.enable(&mut self.receiver.queue, frames)?;
        let most = self.transport.most_entries(queue::TRANSMIT as u16)?;
        self.transmitter.queue.clear(most, has_event_index)?;
        self.transmitter.queue.set_quiet(is_quiet)?;
        self.transport.enable(&mut self.transmitter.queue, frames)?;
        let has_filter = self.has(feature::CONTROL_RECEIVE);
        if has_filter {
            let most = self.transport.most_entries(queue::CONTROL as u16)?;
            self.control.queue.clear(most, has_event_index)?;
            self.transport.enable(&mut self.control.queue, configuration)?;
        }
        self.dma.write_barrier();
        self.transport.begin()?;
        if has_filter { self.ask(now_ns) } else { self.ready(now_ns) }
    }

    /// The largest payload, where the device says one that frames here are to keep to. Larger ones are no
    /// reason to make larger buffers, so they are not agreed on.
    fn mtu(&self, offered: u64) -> Result<Option<u16>, Error> {
        if offered & feature::MTU == 0 {
            return Ok(None);
        }
        match self.transport.configuration(|transport| transport.read16(config::MTU))? {
            ..LEAST_MTU => Err(Error::Configuration("it carries less than 68 bytes in a frame")),
            mtu if usize::from(mtu) <= PAYLOAD_BYTES => Ok(Some(mtu)),
            _ => Ok(None),
        }
    }

    /// The device's own address.
    fn address(&self) -> Result<MacAddress, Error> {
        if !self.has(feature::MAC) {
            return Err(Error::Configuration("it has no address of its own"));
        }
        let mac = self.transport.configuration(|transport| {
            let mut mac = [0; 6];
            for (byte, offset) in mac.iter_mut().zip(config::MAC..) {
                *byte = transport.read8(offset)?;
            }
            Ok(MacAddress(mac))
        })?;
        if mac.is_station() { Ok(mac) } else { Err(Error::Configuration("its address is none of a station")) }
    }

    /// Asks for every frame: others than the device's own are for guests behind the switch.
    fn ask(&mut self, now_ns: u64) -> Result<(), Error> {
        let until_ns = now_ns.saturating_add(ANSWER_NS);
        self.stage = Stage::Asking { until_ns };
        self.control.ask_for_all()?;
        if self.control.queue.publish(&self.dma)? {
            self.transport.notify(&self.control.queue);
        }
        self.look_answer(until_ns, now_ns)
    }

    /// Looks for the answer, if there is a question.
    pub(crate) fn look_answer_now(&mut self, now_ns: u64) -> Result<(), Error> {
        match self.stage {
            Stage::Asking { until_ns } => self.look_answer(until_ns, now_ns),
            _ => Ok(()),
        }
    }

    pub(crate) fn look_answer(&mut self, until_ns: u64, now_ns: u64) -> Result<(), Error> {
        self.next_look_ns = now_ns.saturating_add(ANSWER_LOOK_NS);
        match self.control.answer(&self.dma)? {
            Some(true) => self.ready(now_ns),
            Some(false) => Err(Error::Configuration("it does not receive what is for guests")),
            None if now_ns < until_ns => {
                self.transport.check()?;
                // One that is done meanwhile may send no message; it is found by the next look.
                self.control.queue.arm(&self.dma).map(|_| ())
            }
            None => Err(Error::Late(queue::CONTROL as u16)),
        }
    }

    /// The device works from now on.
    fn ready(&mut self, now_ns: u64) -> Result<(), Error> {
        self.transmitter.open();
        self.stage = Stage::Ready;
        (self.sent_ns, self.next_look_ns) = (now_ns, now_ns.saturating_add(WATCH_NS));
        self.publish_buffers()?;
        self.look_link()
    }

    /// Looks at what a change of the configuration may be about, if there was one since. That it needs a
    /// reset is found when it is looked at next.
    pub(crate) fn look_configuration(&mut self, now_ns: u64) -> Result<(), Error> {
        let is_new = matches!(self.stage, Stage::Ready) && self.transport.generation() != self.generation;
        if is_new {
            self.next_look_ns = now_ns.saturating_add(1);
            self.look_link()?;
        }
        Ok(())
    }

    /// Sees whether the link is up. Where nothing says so, it is.
    pub(crate) fn look_link(&mut self) -> Result<(), Error> {
        let has_status = self.has(feature::STATUS);
        let (status, generation) = self.transport.configuration(|transport| {
            let status = if has_status { transport.read16(config::STATUS)? } else { config::LINK_UP };
            Ok((status, transport.generation()))
        })?;
        self.generation = generation;
        self.link = if status & config::LINK_UP == 0 {
            Link::Down
        } else {
            Link::Up { megabits: 0, full_duplex: true }
        };
        Ok(())
    }
}

/// What the driver takes of what is offered.
const fn wanted(offered: u64, mtu: Option<u16>) -> u64 {
    let mut wanted = feature::MAC | feature::STATUS | feature::CHECKSUM;
    if mtu.is_some() {
        wanted |= feature::MTU;
    }
    let filter = feature::CONTROL_QUEUE | feature::CONTROL_RECEIVE;
    if offered & filter == filter {
        wanted |= filter;
    }
    wanted
}
