//! A network: its switch, the guests at it, and the interface that leads outside.
//!
//! A frame is copied out of a guest once, into the network's own room, and from there once to each
//! that it is for. No two devices are locked at a time.

use crate::disk::{Clients, Turn};
use crate::uplink::Uplink;
use access::Clock;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Display;
use devices::device::Reception;
use network::{
    Counters, Cut, Delivery, Error, Frame, LARGEST_BYTES, MacAddress, PortConfig, PortId, Switch, Way,
};
use nic::{Link, Nic};

/// Stations that are known behind the uplink at a time.
const LEARNED: usize = 1024;
/// What one port may send in one turn, so that others wait for it no longer than the copying of as
/// much takes: copies of frames, and their bytes.
const TURN_COPIES: usize = 10;
const TURN_BYTES: usize = 128 << 10;

/// A guest's device at a port.
struct Member {
    guest: usize,
    endpoint: usize,
    /// Whether the guest was told that the network is there.
    told: Option<bool>,
    /// When its last frame to the uplink is over: see [`Uplink::over_then`].
    over_then: u64,
    /// Frames that the guest gave and that were none.
    unfit: u64,
    /// The guest is to be interrupted for frames of this turn.
    is_untold: bool,
    /// What it sent last, and how far that is where there was no time for all of it.
    frame: Frame,
    under_way: Option<UnderWay>,
}

/// A frame on its way: to whom it is being copied, and whom it is for after that.
#[derive(Clone, Copy)]
struct UnderWay {
    way: Way,
    delivery: Option<Delivery>,
    cut: Cut,
}

/// What went through the uplink.
#[derive(Clone, Copy, Debug)]
pub struct UplinkCounters {
    /// As the switch sees it: what came in by it is what it "sent".
    pub port: Counters,
    /// As the interface does.
    pub nic: nic::Counters,
}

/// A network.
pub struct Network {
    /// Its name in the configuration.
    pub name: String,
    uplink: Option<Uplink>,
    switch: Switch,
    /// Who is at the ports behind the uplink's, if there is one.
    members: Vec<Member>,
    /// The frame that is carried, and one of its segments.
    frame: Frame,
    spare: Frame,
    /// The member whose turn is first.
    first: usize,
}

impl UnderWay {
    const fn new(way: Way) -> Self {
        Self { way, delivery: None, cut: Cut { told: 0, most: 0, goes_on: false } }
    }
}

/// What a guest sends next.
enum Next {
    Nothing,
    /// No frame, but it asked its device for something besides.
    Command,
    /// Something that is no frame.
    Unfit,
    Frame(Way),
}

/// What is left of a port's part of a turn.
struct Budget {
    copies: usize,
    bytes: usize,
}

impl Budget {
    const fn new() -> Self {
        Self { copies: TURN_COPIES, bytes: TURN_BYTES }
    }
    const fn is_left(&self) -> bool {
        self.copies > 0 && self.bytes > 0
    }
    /// Segments that may be copied at once: one at least, so that a frame that is under way ends.
    fn copies(&self) -> u16 {
        u16::try_from(self.copies.max(1)).unwrap_or(u16::MAX)
    }
    const fn take(&mut self, copies: usize, bytes: usize) {
        self.copies = self.copies.saturating_sub(copies);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Network {
    /// A network that nobody is at, with this interface as its uplink. This is for the boot: it waits
    /// until the interface is ready.
    ///
    /// # Errors
    /// Why the interface is of no use, in words.
    pub fn bring_up(
        name: String,
        nic: Option<Box<dyn Nic + Send>>,
        clock: &dyn Clock,
    ) -> Result<Self, String> {
        let uplink = nic.map(|nic| Uplink::bring_up(nic, clock)).transpose()?;
        let switch = Switch::new(uplink.as_ref().map_or(&[], |_| &[UPLINK]), LEARNED);
        Ok(Self {
            name,
            uplink,
            switch: switch.map_err(|error| alloc::format!("{error}"))?,
            members: Vec::new(),
            frame: Frame::new(),
            spare: Frame::new(),
            first: 0,
        })
    }

    /// Connects a guest's endpoint. This is for the boot too.
    ///
    /// # Errors
    /// The switch cannot have such a port beside the others.
    pub fn add_port(&mut self, guest: usize, endpoint: usize, config: PortConfig) -> Result<(), Error> {
        let mut ports: Vec<_> = self.configs().collect();
        ports.push(config);
        self.switch = Switch::new(&ports, LEARNED)?;
        self.members.push(Member {
            guest,
            endpoint,
            told: None,
            over_then: 0,
            unfit: 0,
            is_untold: false,
            frame: Frame::new(),
            under_way: None,
        });
        self.raise();
        Ok(())
    }

    /// Forgets the ports of a guest that is not built after all, and what is under way: the other ports
    /// have other numbers afterwards.
    pub fn remove_ports(&mut self, guest: usize) {
        let members = core::mem::take(&mut self.members);
        let first = self.first_member();
        let configs = self.configs().enumerate().filter(|(port, _)| {
            let member = port.checked_sub(first).and_then(|member| members.get(member));
            member.is_none_or(|member| member.guest != guest)
        });
        let configs: Vec<_> = configs.map(|(_, config)| config).collect();
        // With less ports nothing can be wrong that was right.
        if let Ok(switch) = Switch::new(&configs, LEARNED) {
            self.switch = switch;
        }
        self.members = members;
        self.members.retain(|member| member.guest != guest);
        self.members.iter_mut().for_each(|member| member.under_way = None);
        self.raise();
    }

    /// The interface that leads outside: its address and its link.
    pub fn uplink(&self) -> Option<(Option<MacAddress>, Link)> {
        self.uplink.as_ref().map(|uplink| (uplink.nic.mac(), uplink.nic.link()))
    }

    /// What went through the port of an endpoint, and how many frames its guest gave that were none.
    pub fn counters(&self, guest: usize, endpoint: usize) -> Option<(Counters, u64)> {
        let index = self.member_of((guest, endpoint))?;
        let counters = self.switch.counters(self.port_of(index))?;
        Some((*counters, self.members.get(index)?.unfit))
    }

    /// What went through the uplink.
    pub fn uplink_counters(&self) -> Option<UplinkCounters> {
        let port = *self.switch.counters(UPLINK_PORT)?;
        Some(UplinkCounters { port, nic: self.uplink.as_ref()?.nic.counters() })
    }

    /// Tells `report` of the network why its uplink failed, and how often it has, once for each time
    /// that it did. Whether it was told: then it is to be started again ([`restart`](Self::restart)).
    pub fn report_failure(&mut self, report: &mut dyn FnMut(&str, &dyn Display, u64)) -> bool {
        let name = &self.name;
        let uplink = self.uplink.as_mut();
        uplink
            .is_some_and(|uplink| uplink.report_failure(&mut |error, failures| report(name, error, failures)))
    }

    /// Tells `report` of the network whether its uplink has a link, where that is news, and not too
    /// often.
    pub fn report_link(&mut self, now_ns: u64, report: &mut dyn FnMut(&str, bool)) {
        let name = &self.name;
        if let Some(uplink) = &mut self.uplink {
            uplink.report_link(now_ns, &mut |is_up| report(name, is_up));
        }
    }

    /// Starts an uplink that failed again, after [`report_failure`](Self::report_failure) told of it.
    pub fn restart(&mut self, now_ns: u64) {
        if let Some(uplink) = &mut self.uplink {
            uplink.restart(now_ns);
        }
    }

    /// The uplink sent a message.
    pub fn interrupt(&mut self, message: u16, now_ns: u64) {
        if let Some(uplink) = &mut self.uplink {
            uplink.nic.interrupt(message, now_ns);
        }
    }

    /// Says whether the network has turns one after the other, so that neither guests nor the uplink
    /// need tell of frames. Whether there may be some that nobody told of: then a turn is due.
    pub fn set_polled(&mut self, is_polled: bool, clients: &mut dyn Clients) -> bool {
        let mut missed = false;
        if let Some(uplink) = &mut self.uplink {
            uplink.nic.set_quiet(is_polled);
            missed |= !is_polled;
        }
        for member in &self.members {
            clients.with(member.guest, member.endpoint, &mut |endpoint, around| {
                missed |= endpoint.want_notifications(!is_polled, around);
            });
        }
        missed
    }

    /// Carries the frames that wait, within the turn's bounds.
    pub fn turn(&mut self, now_ns: u64, clients: &mut dyn Clients) -> Turn {
        let mut deadline_ns = self.uplink.as_mut().and_then(|uplink| uplink.poll(now_ns));
        self.pass_link(clients);
        let mut worked = self.take_from_uplink(now_ns, clients);
        let members = self.members.len();
        for step in 0..members {
            let index = (self.first + step) % members;
            let ready_ns = self.switch.ready_ns(self.port_of(index));
            worked |= self.take_from_guest(index, now_ns, clients);
            if ready_ns > now_ns {
                deadline_ns = deadline_ns.into_iter().chain([ready_ns]).min();
            }
        }
        self.first = if members == 0 { 0 } else { (self.first + 1) % members };
        self.tell(clients);
        if let Some(uplink) = &mut self.uplink {
            let status = uplink.nic.kick(now_ns);
            deadline_ns = deadline_ns.into_iter().chain(status.deadline_ns).min();
        }
        Turn { worked, in_flight: false, deadline_ns }
    }

    /// Whether an endpoint, of a guest's number and its own, is connected to it.
    pub fn serves(&self, whose: (usize, usize)) -> bool {
        self.member_of(whose).is_some()
    }

    fn member_of(&self, whose: (usize, usize)) -> Option<usize> {
        self.members.iter().position(|member| (member.guest, member.endpoint) == whose)
    }

    /// Carries the frames that wait at one endpoint and no others, for the guest that told of them. Where
    /// this says that it has a deadline, some may be taken then and not now, or the uplink is to be seen to.
    pub fn turn_of(&mut self, whose: (usize, usize), now_ns: u64, clients: &mut dyn Clients) -> Turn {
        let Some(index) = self.member_of(whose) else { return Turn::default() };
        let ready_ns = self.switch.ready_ns(self.port_of(index));
        let worked = self.take_from_guest(index, now_ns, clients);
        self.tell(clients);
        let kicked = self.uplink.as_mut().and_then(|uplink| uplink.nic.kick(now_ns).deadline_ns);
        let deadlines = [(ready_ns > now_ns).then_some(ready_ns), kicked.filter(|at_ns| *at_ns <= now_ns)];
        Turn { worked, in_flight: false, deadline_ns: deadlines.into_iter().flatten().min() }
    }

    /// Interrupts the guests once for all the frames of a turn.
    fn tell(&mut self, clients: &mut dyn Clients) {
        for member in self.members.iter_mut().filter(|member| member.is_untold) {
            member.is_untold = false;
            clients.with(member.guest, member.endpoint, &mut |endpoint, around| endpoint.send_held(around));
        }
    }

    /// The network is there for the guests while the uplink's link is up, or has no uplink.
    fn pass_link(&mut self, clients: &mut dyn Clients) {
        let is_up = self.uplink.as_ref().is_none_or(Uplink::is_up);
        if self.uplink.is_some() && self.switch.is_up(UPLINK_PORT) != is_up {
            self.switch.set_up(UPLINK_PORT, is_up);
        }
        for member in self.members.iter_mut().filter(|member| member.told != Some(is_up)) {
            clients.with(member.guest, member.endpoint, &mut |endpoint, around| {
                endpoint.set_link(is_up, around);
                member.told = Some(is_up);
            });
        }
    }

    /// Carries what came from outside. Whether something did.
    fn take_from_uplink(&mut self, now_ns: u64, clients: &mut dyn Clients) -> bool {
        let mut budget = Budget::new();
        let mut worked = false;
        while budget.is_left() {
            let Some(uplink) = &mut self.uplink else { break };
            if !uplink.nic.receive(&mut self.frame) {
                break;
            }
            worked = true;
            let way = self.switch.forward(UPLINK_PORT, &self.frame, now_ns);
            // No frame from outside is cut.
            let _ = self.deliver(UPLINK_PORT, UnderWay::new(way), &mut budget, clients);
        }
        worked
    }

    /// Carries what a guest sends. Whether there was something.
    fn take_from_guest(&mut self, index: usize, now_ns: u64, clients: &mut dyn Clients) -> bool {
        let mut budget = Budget::new();
        let Some(member) = self.members.get_mut(index) else { return false };
        // The frame that is under way is this guest's meanwhile.
        core::mem::swap(&mut self.frame, &mut member.frame);
        let mut under_way = member.under_way.take();
        let mut worked = under_way.is_some();
        while budget.is_left() {
            if under_way.is_none() {
                under_way = match self.next_of_guest(index, now_ns, &mut budget, clients) {
                    Next::Nothing => break,
                    Next::Command => {
                        worked = true;
                        break;
                    }
                    Next::Unfit => None,
                    Next::Frame(way) => Some(UnderWay::new(way)),
                };
                worked = true;
            }
            if let Some(frame) = under_way {
                under_way = self.deliver(self.port_of(index), frame, &mut budget, clients);
            }
        }
        if let Some(member) = self.members.get_mut(index) {
            core::mem::swap(&mut self.frame, &mut member.frame);
            member.under_way = under_way;
        }
        worked
    }

    /// Takes the next frame that a guest sends.
    fn next_of_guest(
        &mut self,
        index: usize,
        now_ns: u64,
        budget: &mut Budget,
        clients: &mut dyn Clients,
    ) -> Next {
        let may_send = self.may_send(index, now_ns);
        let Some(member) = self.members.get_mut(index) else { return Next::Nothing };
        let (mut taken, mut commanded, frame) = (false, false, &mut self.frame);
        clients.with(member.guest, member.endpoint, &mut |endpoint, around| {
            taken = may_send && endpoint.transmit(frame, around);
            // Its driver's commands wait for no frame: a processor spins until they are answered.
            commanded = !taken && endpoint.poll(around);
            member.is_untold |= endpoint.has_held();
        });
        if !taken {
            return if commanded { Next::Command } else { Next::Nothing };
        }
        if self.frame.is_empty() {
            member.unfit = member.unfit.saturating_add(1);
            // That it is none may have shown when all of it was copied.
            budget.take(1, LARGEST_BYTES);
            return Next::Unfit;
        }
        Next::Frame(self.switch.forward(self.port_of(index), &self.frame, now_ns))
    }

    /// Whether a guest's frames are taken now. Those that its rate limit lets through later stay with
    /// it, and those for which the uplink has no room.
    fn may_send(&self, index: usize, now_ns: u64) -> bool {
        let Some(member) = self.members.get(index) else { return false };
        self.switch.ready_ns(self.port_of(index)) <= now_ns
            && self.uplink.as_ref().is_none_or(|uplink| !uplink.is_crowded(member.over_then))
    }

    /// Copies the frame to whom it is for, those of them that there is budget for. Returns how far it is
    /// where it is not over.
    fn deliver(
        &mut self,
        from: PortId,
        mut frame: UnderWay,
        budget: &mut Budget,
        clients: &mut dyn Clients,
    ) -> Option<UnderWay> {
        let bytes = self.frame.len();
        let mut is_for_nobody = true;
        while let Some(delivery) = frame.delivery.or_else(|| self.switch.next_delivery(&mut frame.way)) {
            is_for_nobody = false;
            let before = frame.cut.told;
            frame.cut.most = budget.copies();
            let is_taken = self.copy(from, delivery, &mut frame.cut, clients);
            let segments = usize::from(frame.cut.told.saturating_sub(before)).max(1);
            if frame.cut.goes_on {
                // Its bytes are counted with the last of them.
                budget.take(segments, 0);
                frame.delivery = Some(delivery);
                return Some(frame);
            }
            budget.take(segments, bytes);
            match is_taken {
                Some(true) => self.switch.delivered(delivery.port, bytes),
                Some(false) => self.switch.refused(delivery.port),
                None => {}
            }
            frame = UnderWay::new(frame.way);
        }
        if is_for_nobody {
            budget.take(1, bytes);
        }
        None
    }

    /// Copies the frame, or the next of its segments, to one port. Whether that took it; `None` where
    /// nobody is there.
    fn copy(
        &mut self,
        from: PortId,
        delivery: Delivery,
        cut: &mut Cut,
        clients: &mut dyn Clients,
    ) -> Option<bool> {
        let (frame, spare) = (&mut self.frame, &mut self.spare);
        match &mut self.uplink {
            Some(uplink) if delivery.port == UPLINK_PORT => {
                let taken = uplink.send(frame, delivery.tagging, spare, cut);
                let sender = member_of(true, from).and_then(|sender| self.members.get_mut(sender));
                if let Some(sender) = sender {
                    sender.over_then = uplink.over_then();
                }
                Some(taken)
            }
            uplink => {
                let member = self.members.get_mut(member_of(uplink.is_some(), delivery.port)?)?;
                let mut taken = false;
                clients.with(member.guest, member.endpoint, &mut |endpoint, around| {
                    let reception = endpoint.receive(frame, delivery.tagging, spare, cut, around);
                    taken = reception == Reception::Taken;
                    member.is_untold |= endpoint.has_held();
                });
                Some(taken)
            }
        }
    }

    /// What each port may do, in their order.
    fn configs(&self) -> impl Iterator<Item = PortConfig> {
        (0..=u16::MAX).map_while(|port| self.switch.config(PortId(port)).copied())
    }

    /// The guests' ports are up. The uplink's is seen to in the first turn.
    fn raise(&mut self) {
        for index in 0..self.members.len() {
            self.switch.set_up(self.port_of(index), true);
        }
    }

    const fn first_member(&self) -> usize {
        self.uplink.is_some() as usize
    }

    fn port_of(&self, member: usize) -> PortId {
        PortId(u16::try_from(member + self.first_member()).unwrap_or(u16::MAX))
    }
}

/// The uplink's port and what it may do, where there is one.
const UPLINK_PORT: PortId = PortId(0);
const UPLINK: PortConfig = PortConfig::uplink();

/// The member at a port.
fn member_of(has_uplink: bool, port: PortId) -> Option<usize> {
    usize::from(port.0).checked_sub(has_uplink.into())
}

#[cfg(test)]
mod tests;
