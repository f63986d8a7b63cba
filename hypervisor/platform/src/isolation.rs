//! Can two functions be kept apart? One question about the pair, with one answer for the
//! check before a configuration goes to a machine and for its start.
//!
//! A function that a guest drives sends whatever its guest wants: reads and writes of any
//! address, completions that nobody asked for, messages. They are apart where all that either
//! sends to the other's registers goes through the IOMMU, and the IOMMU can tell whose it is.
//! That is decided by the two paths to the bus where they meet, by every port above it,
//! and by the requester IDs that arrive. Both directions count: access control services on
//! one side alone leave the other side free.
//!
//! What is believed of hardware:
//! - A root complex translates first and decodes then, so what enters it from two root ports,
//!   or comes from two of its own devices, is apart (VT-d specification section 3.12). Functions
//!   of one device there are not, unless they say so.
//! - A downstream port of a switch has all of source validation, both redirects and upstream
//!   forwarding, or is not believed to have any. A root port beside others in its device
//!   needs no upstream forwarding.
//! - A function of a device of several, that has access control services, has those that
//!   it needs (PCI Express Base Specification 6.0, section 6.12.1.2): one that offers no
//!   redirect does not reach its peers at all.
//! - Functions of one device send under their own numbers: nothing could check them.
//! - Bridges to conventional PCI, CardBus among them, keep nobody apart: what is
//!   behind them shares a bus and a requester ID.
//! - Whether a root port checks numbers is no question of a pair: see
//!   [`Platform::is_validated`].

use crate::pci::{AccessControl, Function, PortType, quirks};
use crate::remapping::SEGMENT;
use crate::topology::Platform;
use alloc::vec::Vec;
use spec::Bdf;

/// What holds between two functions, once the services of [`Platform::access_controls`] of
/// both are enabled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    /// They are apart.
    Apart,
    /// Virtual functions of this physical one, which offers no access control services: they
    /// are apart only while its driver holds their internal switch closed.
    ApartWhile {
        /// The physical function.
        physical: Bdf,
    },
    /// They cannot be kept apart.
    Together(Reason),
}

/// Why two functions cannot be kept apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Both are behind this bridge to conventional PCI.
    Bridge(Bdf),
    /// Both are behind this switch, and this port of it does not keep them apart.
    Switch {
        /// Its upstream port.
        switch: Bdf,
        /// The port.
        port: Bdf,
    },
    /// Both are behind this downstream port, which does not send upwards what comes back.
    Port(Bdf),
    /// They are, or are behind, functions of one device, of which this one does not say that
    /// it keeps out of the others.
    Device(Bdf),
    /// Nobody between this function and the other checks under which number it sends.
    Unchecked(Bdf),
    /// Requests of both carry this number.
    Requester(Bdf),
    /// The one is the other's physical function.
    Physical(Bdf),
    /// What is above this function is not known.
    Unknown(Bdf),
}

/// Whose number the interrupt messages of a function carry when they reach the IOMMU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageSource {
    /// Its own, or that of the bridge which sends them on as its own.
    Requester(Bdf),
    /// Any on this bus: the secondary bus of a bridge from PCI Express to conventional PCI.
    Bus(u8),
}

impl MessageSource {
    /// Whether a message with this number is taken for the function's.
    pub fn accepts(self, id: Bdf) -> bool {
        match self {
            Self::Requester(own) => own == id,
            Self::Bus(bus) => bus == id.bus(),
        }
    }
}

/// What a bridge makes of the requester IDs of what is behind it (PCI Express to PCI/PCI-X
/// Bridge Specification 1.0, section 2.3).
enum Carries {
    /// It passes them on.
    Theirs,
    /// Its own.
    Own,
    /// That of device 0 on its secondary bus, or there any other.
    Secondary(u8),
}

fn carries(bridge: &Function) -> Carries {
    let secondary = bridge.bridge.map(|buses| buses.secondary);
    match (bridge.port(), secondary) {
        (Some(PortType::ToConventional) | None, _) if quirks::passes_numbers_on(bridge.id) => Carries::Theirs,
        (Some(PortType::ToConventional), Some(bus)) => Carries::Secondary(bus),
        (None, Some(bus)) if quirks::is_hidden_express_bridge(bridge.id) && bridge.parent.is_some() => {
            Carries::Secondary(bus)
        }
        (Some(PortType::ToConventional | PortType::FromConventional) | None, _) => Carries::Own,
        (Some(_), _) => Carries::Theirs,
    }
}

/// Whether a bridge leads to a shared bus, or from one.
fn is_conventional(bridge: &Function) -> bool {
    !matches!(bridge.port(), Some(PortType::RootPort | PortType::UpstreamPort | PortType::DownstreamPort))
}

fn has(function: &Function, services: u16) -> bool {
    function.capabilities.access_control.is_some_and(|found| found.has(services))
}

/// Whether a function, or a port, keeps what it sends out of its peers: the other functions
/// of its device, or the other ports of its switch.
fn keeps_out(function: &Function) -> bool {
    match function.port() {
        Some(PortType::RootPort) => has(function, AccessControl::OF_ROOT_PORT),
        Some(PortType::DownstreamPort) => has(function, AccessControl::OF_DOWNSTREAM_PORT),
        Some(PortType::Endpoint | PortType::IntegratedEndpoint | PortType::UpstreamPort) => has(function, 0),
        // Not for these (section 6.12.1), nor for conventional PCI.
        Some(_) | None => false,
    }
}

/// Whether what comes up through a bridge carries numbers from behind it: a port checks it,
/// or a bridge puts its own.
fn validates(bridge: &Function) -> bool {
    match carries(bridge) {
        Carries::Own | Carries::Secondary(_) => true,
        Carries::Theirs => {
            matches!(bridge.port(), Some(PortType::RootPort | PortType::DownstreamPort))
                && has(bridge, AccessControl::SOURCE_VALIDATION)
        }
    }
}

/// Where the paths of two functions meet.
struct Meeting<'p> {
    /// From each function up to the bus that both reach, that function or the bridge on
    /// that bus last.
    paths: [Vec<&'p Function>; 2],
    /// The bridges above that bus, nearest first.
    above: Vec<&'p Function>,
}

impl Platform {
    /// Whether two functions can be kept apart.
    pub fn isolation(&self, one: &Function, other: &Function) -> Isolation {
        match self.meeting(one, other).and_then(|meeting| self.decide(one, other, &meeting)) {
            Ok(isolation) => isolation,
            Err(reason) => Isolation::Together(reason),
        }
    }

    fn decide(&self, one: &Function, other: &Function, meeting: &Meeting<'_>) -> Result<Isolation, Reason> {
        for (virtual_one, physical) in [(one, other), (other, one)] {
            if virtual_one.physical == Some(physical.bdf) {
                return Err(Reason::Physical(physical.bdf));
            }
        }
        check_above(meeting)?;
        let isolation = check_peers(meeting)?;
        check_senders(meeting)?;
        self.check_requesters(one, other)?;
        Ok(isolation)
    }

    /// Where two functions meet; an error where nobody knows.
    fn meeting<'p>(&'p self, one: &'p Function, other: &'p Function) -> Result<Meeting<'p>, Reason> {
        let path = |function: &'p Function| -> Result<Vec<&'p Function>, Reason> {
            let path: Vec<_> = core::iter::once(function).chain(self.bridges_above(function)).collect();
            // A board file may be edited by hand: a bridge that is not there, or a loop.
            match path.last() {
                Some(last) if last.parent.is_none() => Ok(path),
                last => Err(Reason::Unknown(last.map_or(function.bdf, |last| last.bdf))),
            }
        };
        let (mut first, mut second) = (path(one)?, path(other)?);
        let mut above = Vec::new();
        // From the root down, as long as both have the same bridge.
        while let (Some(a), Some(b)) = (first.last(), second.last())
            && a.bdf == b.bdf
        {
            above.push(*a);
            first.pop();
            second.pop();
        }
        above.reverse();
        match above.first() {
            // One is above the other, or they are one.
            Some(bridge) if first.is_empty() || second.is_empty() => Err(Reason::Bridge(bridge.bdf)),
            _ => Ok(Meeting { paths: [first, second], above }),
        }
    }

    fn check_requesters(&self, one: &Function, other: &Function) -> Result<(), Reason> {
        let (mine, theirs) = (self.senders(one), self.senders(other));
        let shared = mine.iter().find(|id| theirs.contains(id));
        // A remapping entry believes whoever carries the right number.
        let accepted = |function: &Function, senders: &[Bdf]| {
            let source = self.message_source(function);
            senders.iter().copied().find(|id| source.accepts(*id))
        };
        let believed = accepted(one, &theirs).or_else(|| accepted(other, &mine));
        shared.copied().or(believed).map_or(Ok(()), |id| Err(Reason::Requester(id)))
    }

    /// Every requester ID under which the IOMMU may see a function, its own first: what
    /// the bridges above it make of it, what the tables say, and what is known of its kind.
    /// Each needs an entry in the unit's tables.
    pub fn requesters(&self, function: &Function) -> Vec<Bdf> {
        let mut requesters = Vec::from([function.bdf]);
        let mut add = |requester| {
            if !requesters.contains(&requester) {
                requesters.push(requester);
            }
        };
        for bridge in self.bridges_above(function) {
            match carries(bridge) {
                Carries::Theirs => {}
                Carries::Own => add(bridge.bdf),
                // A bridge of PCI-X may leave the numbers of that bus as they are.
                Carries::Secondary(bus) => add(Bdf::new(bus, 0, 0)),
            }
            // One that hides what it is may also do as a conventional bridge does.
            if bridge.port().is_none() {
                add(bridge.bdf);
            }
        }
        quirks::requesters_of(function.bdf, function.id, function.subsystem).into_iter().for_each(&mut add);
        self.remapping.aliases_of(SEGMENT, function.bdf).for_each(add);
        requesters
    }

    /// As [`Platform::requesters`], with the numbers of functions that do not exist where
    /// it may use those (phantom functions, section 6.28).
    fn senders(&self, function: &Function) -> Vec<Bdf> {
        let mut senders = self.requesters(function);
        if function.capabilities.express.is_some_and(|express| express.phantom_functions) {
            let (bus, device) = (function.bdf.bus(), function.bdf.device());
            senders.extend((0..8).map(|number| Bdf::new(bus, device, number)));
        }
        senders
    }

    /// Whose number the interrupt messages of a function carry: its own, or what the topmost
    /// bridge to conventional PCI above it makes of them.
    pub fn message_source(&self, function: &Function) -> MessageSource {
        let mut source = MessageSource::Requester(function.bdf);
        for bridge in self.bridges_above(function) {
            match carries(bridge) {
                Carries::Theirs => {}
                Carries::Own => source = MessageSource::Requester(bridge.bdf),
                Carries::Secondary(bus) => source = MessageSource::Bus(bus),
            }
        }
        source
    }

    /// Whose access control services must be enabled to keep a function apart from
    /// others, and which: those of the ports above it, and where its device has
    /// several functions its own.
    pub fn access_controls(&self, function: &Function) -> Vec<(Bdf, AccessControl)> {
        let has_siblings = |function: &Function| function.multifunction || function.physical.is_some();
        let own = Some(function).filter(|function| has_siblings(function));
        own.into_iter()
            .chain(self.bridges_above(function))
            .filter_map(|function| Some((function.bdf, function.capabilities.access_control?)))
            .collect()
    }

    /// Whether a port above a function checks under which numbers it sends. Devices inside
    /// the root complex have no port, and none is asked for them; where a root port does
    /// not check, a device with changed firmware could pass for another anywhere.
    pub fn is_validated(&self, function: &Function) -> bool {
        let mut ports = self.bridges_above(function).peekable();
        ports.peek().is_none() || ports.any(validates)
    }
}

/// Every bridge above the bus where two functions meet sends what comes from there upwards,
/// or keeps nobody apart.
fn check_above(meeting: &Meeting<'_>) -> Result<(), Reason> {
    for bridge in &meeting.above {
        if is_conventional(bridge) {
            return Err(Reason::Bridge(bridge.bdf));
        }
        // What was redirected below it comes to it with an address that is below it.
        if bridge.port() == Some(PortType::DownstreamPort) && !keeps_out(bridge) {
            return Err(Reason::Port(bridge.bdf));
        }
    }
    Ok(())
}

/// What is on the bus where they meet keeps out of each other, both ways.
fn check_peers(meeting: &Meeting<'_>) -> Result<Isolation, Reason> {
    let [one, other] = [&meeting.paths[0], &meeting.paths[1]];
    let (Some(a), Some(b)) = (one.last(), other.last()) else { return Ok(Isolation::Apart) };
    let lacking = [a, b].into_iter().find(|peer| !keeps_out(peer)).map(|peer| peer.bdf);
    match meeting.above.first() {
        // Inside a switch: only its downstream ports keep anybody out.
        Some(switch) if switch.port() == Some(PortType::UpstreamPort) => {
            let stranger = [a, b].into_iter().find(|peer| peer.port() != Some(PortType::DownstreamPort));
            match stranger.map(|peer| peer.bdf).or(lacking) {
                Some(port) => Err(Reason::Switch { switch: switch.bdf, port }),
                None => Ok(Isolation::Apart),
            }
        }
        // On a link, whatever their numbers, and in one device of the root complex.
        above if above.is_some() || device_of(a) == device_of(b) => match lacking {
            None => Ok(Isolation::Apart),
            Some(lacking) => match (a.physical, b.physical) {
                (Some(physical), Some(its)) if physical == its => Ok(Isolation::ApartWhile { physical }),
                _ => Err(Reason::Device(lacking)),
            },
        },
        _ => Ok(Isolation::Apart),
    }
}

/// Bus and device of a function; those of its physical function for a virtual one.
fn device_of(function: &Function) -> (u8, u8) {
    let bdf = function.physical.unwrap_or(function.bdf);
    (bdf.bus(), bdf.device())
}

/// Nobody can send under a number of the other side: somebody checks before the paths meet.
/// Of devices of the root complex that is not asked, as of its functions.
fn check_senders(meeting: &Meeting<'_>) -> Result<(), Reason> {
    let [Some(a), Some(b)] = [meeting.paths[0].last(), meeting.paths[1].last()] else { return Ok(()) };
    if meeting.above.is_empty() && device_of(a) != device_of(b) {
        return Ok(());
    }
    for path in &meeting.paths {
        if let [function, bridges @ ..] = &path[..]
            && !bridges.is_empty()
            && !bridges.iter().any(|bridge| validates(bridge))
        {
            return Err(Reason::Unchecked(function.bdf));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
