//! The switch: which ports a frame goes to.

use crate::counters::{Counters, Dropped};
use crate::frame::Frame;
use crate::mac::MacAddress;
use crate::port::{Port, PortConfig, PortId, PortVlan};
use crate::vlan::{Tagging, Vlan};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use spec::ethernet::{HEADER_BYTES, TYPE_VLAN, TYPE_VLAN_SERVICE};

#[cfg(test)]
mod tests;

/// What no switch can be made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// More than 65,535 ports.
    TooManyPorts,
    /// Two ports have one address.
    SameAddress(MacAddress),
    /// A port's address is a group's, or none.
    NoStation(MacAddress),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyPorts => f.write_str("a switch has 65535 ports at most"),
            Self::SameAddress(mac) => write!(f, "two ports have the address {mac}"),
            Self::NoStation(mac) => write!(f, "{mac} is no address that a port can have"),
        }
    }
}

/// A port that a frame is to be copied to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// The port.
    pub port: PortId,
    /// What is done to the frame's VLAN tag on the way.
    pub tagging: Tagging,
}

/// The way that a frame takes: a cursor over its deliveries, for [`Switch::next_delivery`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "the frame goes nowhere unless somebody asks where it goes"]
pub struct Way {
    from: PortId,
    vlan: Option<Vlan>,
    has_tag: bool,
    to: To,
    /// The first port that was not looked at.
    next: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum To {
    Nobody,
    One(PortId),
    /// A group: everybody.
    All,
    /// A station that is no port's: those behind which there can be one.
    Unknown,
}

/// A switch of a fixed set of ports, which are down at first.
#[derive(Debug)]
pub struct Switch {
    ports: Box<[Port]>,
    /// The ports' addresses, sorted.
    stations: Box<[(MacAddress, PortId)]>,
}

impl Switch {
    /// A switch of these ports, each of which that may send from any address has room to learn
    /// `learned` of them. Nothing is allocated afterwards.
    ///
    /// # Errors
    /// When no switch can be made of them.
    pub fn new(ports: &[PortConfig], learned: usize) -> Result<Self, Error> {
        let count = u16::try_from(ports.len()).map_err(|_| Error::TooManyPorts)?;
        let numbers = (0..count).map(PortId);
        let mut stations: Vec<_> =
            ports.iter().zip(numbers).filter_map(|(port, number)| Some((port.mac?, number))).collect();
        stations.sort_unstable();
        if let Some((mac, _)) = stations.iter().find(|(mac, _)| !mac.is_station()) {
            return Err(Error::NoStation(*mac));
        }
        if let Some([(mac, _), _]) = stations.array_windows().find(|[(one, _), (other, _)]| one == other) {
            return Err(Error::SameAddress(*mac));
        }
        let ports = ports.iter().map(|config| Port::new(*config, learned)).collect();
        Ok(Self { ports, stations: stations.into() })
    }

    /// How many ports it has.
    pub const fn ports(&self) -> usize {
        self.ports.len()
    }
    /// What the configuration says of a port.
    pub fn config(&self, port: PortId) -> Option<&PortConfig> {
        self.port(port).map(|port| &port.config)
    }
    /// What went through a port.
    pub fn counters(&self, port: PortId) -> Option<&Counters> {
        self.port(port).map(|port| &port.counters)
    }
    /// Whether what is behind a port takes and sends frames. One that does not exist is down.
    pub fn is_up(&self, port: PortId) -> bool {
        self.port(port).is_some_and(|port| port.is_up)
    }
    /// Says whether what is behind a port takes and sends frames. What was learned behind one
    /// that goes down is forgotten: it may be plugged in elsewhere.
    pub fn set_up(&mut self, port: PortId, is_up: bool) {
        let Some(port) = self.port_mut(port) else { return };
        port.is_up = is_up;
        if let Some(learned) = port.learned.as_mut().filter(|_| !is_up) {
            learned.clear();
        }
    }
    /// From when on the port's rate limit lets a frame pass, in nanoseconds of the clock of
    /// [`forward`](Self::forward); 0 where one passes already. Who can keep a frame until then need
    /// not lose it.
    pub fn ready_ns(&self, port: PortId) -> u64 {
        self.port(port).and_then(|port| port.bucket.as_ref()).map_or(0, |bucket| bucket.ready_ns())
    }

    /// Takes a frame that port `from` sends, and gives its way. One that goes nowhere is
    /// counted.
    pub fn forward(&mut self, from: PortId, frame: &Frame, now_ns: u64) -> Way {
        let nowhere = Way { from, vlan: None, has_tag: false, to: To::Nobody, next: 0 };
        let found = self.find_way(from, frame, now_ns);
        let Some(port) = self.port_mut(from) else { return nowhere };
        match found {
            Ok(way) => {
                port.counters.sent.add(frame.len());
                way
            }
            Err(reason) => {
                port.counters.drop(reason);
                nowhere
            }
        }
    }

    /// The next port that the frame of `way` goes to. Every port is told at most once.
    pub fn next_delivery(&self, way: &mut Way) -> Option<Delivery> {
        if way.to == To::Nobody {
            return None;
        }
        while let Some(port) = self.port(PortId(way.next)) {
            let port_id = PortId(way.next);
            way.next = way.next.saturating_add(1);
            if let Some(tagging) = self.tagging(way, port_id, port) {
                return Some(Delivery { port: port_id, tagging });
            }
            if way.to == To::One(port_id) {
                break;
            }
        }
        way.to = To::Nobody;
        None
    }

    /// Port `port` took a frame of `bytes` bytes.
    pub fn delivered(&mut self, port: PortId, bytes: usize) {
        if let Some(port) = self.port_mut(port) {
            port.counters.received.add(bytes);
        }
    }
    /// Port `port` had no room for a frame.
    pub fn refused(&mut self, port: PortId) {
        if let Some(port) = self.port_mut(port) {
            port.counters.drop(Dropped::Refused);
        }
    }

    fn find_way(&mut self, from: PortId, frame: &Frame, now_ns: u64) -> Result<Way, Dropped> {
        let port = self.port(from).filter(|port| port.is_up).ok_or(Dropped::Down)?;
        let config = port.config;
        let (Some(source), Some(destination)) = (frame.source(), frame.destination()) else {
            return Err(Dropped::Malformed);
        };
        if frame.len() < HEADER_BYTES || !source.is_station() {
            return Err(Dropped::Malformed);
        }
        if destination.is_reserved() {
            return Err(Dropped::Reserved);
        }
        let owner = self.station(source);
        let may_send =
            if config.any_source { owner.is_none_or(|owner| owner == from) } else { owner == Some(from) };
        if !may_send {
            return Err(Dropped::Spoofed);
        }
        let vlan = vlan_of(frame, config.vlan)?;
        self.charge(from, source, vlan, frame.len(), now_ns)?;
        let to = self.receivers(from, destination, vlan, now_ns);
        let next = if let To::One(port) = to { port.0 } else { 0 };
        let way = Way { from, vlan, has_tag: frame.tag().is_some(), to, next };
        self.next_delivery(&mut { way }).map(|_| way).ok_or(Dropped::Unreachable)
    }

    /// Takes what the frame costs, and learns where its source is. What the configuration says of an
    /// address goes before what is learned.
    fn charge(
        &mut self,
        from: PortId,
        source: MacAddress,
        vlan: Option<Vlan>,
        bytes: usize,
        now_ns: u64,
    ) -> Result<(), Dropped> {
        let port = self.port_mut(from).ok_or(Dropped::Down)?;
        if port.bucket.as_mut().is_some_and(|bucket| !bucket.take(bytes, now_ns)) {
            return Err(Dropped::RateLimit);
        }
        if let Some(learned) = &mut port.learned {
            learned.learn(source, vlan, now_ns);
        }
        Ok(())
    }

    fn receivers(&self, from: PortId, destination: MacAddress, vlan: Option<Vlan>, now_ns: u64) -> To {
        if destination.is_group() {
            return To::All;
        }
        if let Some(port) = self.station(destination) {
            return To::One(port);
        }
        // Where it was seen last: a station may have moved.
        let seen = self.ports.iter().zip(0..).filter_map(|(port, number)| {
            let seen_ns = port.learned.as_ref()?.seen_ns(destination, vlan, now_ns)?;
            // Of two at one moment the sender's own, behind which it would not be sent again.
            Some((seen_ns, PortId(number) == from, PortId(number)))
        });
        seen.max().map_or(To::Unknown, |(_, _, port)| To::One(port))
    }

    /// What is done to the tag of a frame that goes `way` to `port`. `None` where it does not go
    /// there.
    fn tagging(&self, way: &Way, port_id: PortId, port: &Port) -> Option<Tagging> {
        let sender = self.port(way.from)?;
        let goes = match way.to {
            To::Nobody => false,
            To::One(only) => only == port_id,
            To::All => true,
            To::Unknown => port.config.any_source,
        };
        let reaches =
            port.is_up && port_id != way.from && !(port.config.is_isolated && sender.config.is_isolated);
        if goes && reaches { port.config.vlan.tagging(way.vlan, way.has_tag) } else { None }
    }

    /// The port that the configuration gives an address.
    fn station(&self, address: MacAddress) -> Option<PortId> {
        let place = self.stations.binary_search_by_key(&address, |(mac, _)| *mac).ok()?;
        self.stations.get(place).map(|(_, port)| *port)
    }
    fn port(&self, port: PortId) -> Option<&Port> {
        self.ports.get(usize::from(port.0))
    }
    fn port_mut(&mut self, port: PortId) -> Option<&mut Port> {
        self.ports.get_mut(usize::from(port.0))
    }
}

/// The VLAN of a frame that comes from a port in `vlan`. An access port sends no tags, not even
/// one for a priority alone: behind it another could stand, for switches farther on to find.
fn vlan_of(frame: &Frame, vlan: PortVlan) -> Result<Option<Vlan>, Dropped> {
    match (vlan, frame.kind()) {
        (PortVlan::Access(_), Some(TYPE_VLAN | TYPE_VLAN_SERVICE)) => Err(Dropped::Vlan),
        (PortVlan::Access(vlan), _) => Ok(vlan),
        (PortVlan::Trunk, Some(TYPE_VLAN)) => {
            let tag = frame.tag().ok_or(Dropped::Malformed)?;
            match frame.vlan() {
                None if tag & spec::ethernet::VLAN_MASK != spec::ethernet::VLAN_NONE => {
                    Err(Dropped::Malformed)
                }
                vlan => Ok(vlan),
            }
        }
        (PortVlan::Trunk, _) => Ok(None),
    }
}
