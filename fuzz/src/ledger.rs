//! What has to be true of what crosses the ports of a network: a second account of where frames may go,
//! of how much of a turn a port has, and of what the counters say.

use crate::crossing::{Copied, Crossing, Who};
use backends::Network;
use network::{Counters, Dropped, Frame, LARGEST_BYTES, PortConfig, PortVlan, Tagging, Vlan};
use spec::ethernet::{TYPE_VLAN, TYPE_VLAN_SERVICE, VLAN_MASK, VLAN_RESERVED};

/// What one port may send in one turn: copies, and bytes.
const TURN_COPIES: usize = 10;
const TURN_BYTES: usize = 128 << 10;

/// How far a frame is on its way to one port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    /// So many segments of it.
    Segments(u16),
    Over,
}

/// A port, and what it did.
struct Port {
    who: Who,
    config: PortConfig,
    /// What it sent last, and how far that is at each port.
    frame: Frame,
    progress: Vec<Progress>,
    sent: u64,
    unfit: u64,
    received: u64,
    received_bytes: u64,
    refused: u64,
    /// Of this turn: frames that it gave, those that were none, bytes, and copies.
    frames: usize,
    unfit_frames: usize,
    bytes: usize,
    copies: usize,
}

/// The account.
pub struct Ledger {
    ports: Vec<Port>,
    /// The port that sent last.
    latest: usize,
    spare: Frame,
}

impl Ledger {
    /// Of a network that nobody is at but an uplink, if it has one.
    pub fn new(has_uplink: bool) -> Self {
        let mut ledger = Self { ports: Vec::new(), latest: 0, spare: Frame::new() };
        if has_uplink {
            ledger.add(None, PortConfig::uplink());
        }
        ledger
    }

    /// A port is added.
    pub fn add(&mut self, who: Who, config: PortConfig) {
        let (frame, progress) = (Frame::new(), Vec::new());
        let (sent, unfit, received, received_bytes, refused) = (0, 0, 0, 0, 0);
        let (frames, unfit_frames, bytes, copies) = (0, 0, 0, 0);
        self.ports.push(Port {
            who,
            config,
            frame,
            progress,
            sent,
            unfit,
            received,
            received_bytes,
            refused,
            frames,
            unfit_frames,
            bytes,
            copies,
        });
    }

    /// The ports of a guest are removed: what is on its way is lost, and the switch counts anew.
    pub fn remove(&mut self, guest: usize) {
        self.ports.retain(|port| port.who != Some(guest));
        self.latest = 0;
        for port in &mut self.ports {
            port.frame.clear();
            port.progress.clear();
            (port.sent, port.received, port.received_bytes, port.refused) = (0, 0, 0, 0);
        }
    }

    /// Looks at what crossed in one turn.
    pub fn turn(&mut self, crossings: &[Crossing], network: &Network) {
        for port in &mut self.ports {
            (port.frames, port.unfit_frames, port.bytes, port.copies) = (0, 0, 0, 0);
        }
        for crossing in crossings {
            match crossing {
                Crossing::Sent(who, frame) => self.sent(*who, frame),
                Crossing::Unfit(who) => {
                    let port = self.port(*who);
                    self.ports[port].unfit += 1;
                    self.ports[port].unfit_frames += 1;
                }
                Crossing::Got(who, copy, is_taken) => self.got(*who, copy, *is_taken),
            }
        }
        let ports = self.ports.len();
        for port in &self.ports {
            assert!(port.frames + port.unfit_frames <= TURN_COPIES, "{:?} has more than its turn", port.who);
            assert!(port.unfit_frames <= TURN_BYTES.div_ceil(LARGEST_BYTES), "{:?} is no frames", port.who);
            assert!(port.bytes <= TURN_BYTES + LARGEST_BYTES, "{:?} has more bytes", port.who);
            assert!(port.copies <= TURN_COPIES + ports, "{:?} is copied too often", port.who);
        }
        self.count(network);
    }

    /// What the counters of a network have to say.
    fn count(&self, network: &Network) {
        for port in &self.ports {
            let (counters, unfit): (Counters, u64) = match port.who {
                Some(guest) => network.counters(guest, 0).expect("a port of it"),
                None => (network.uplink_counters().expect("an uplink").port, 0),
            };
            let dropped = Dropped::ALL.into_iter().filter(|reason| *reason != Dropped::Refused);
            let dropped: u64 = dropped.map(|reason| counters.dropped(reason)).sum();
            assert_eq!(counters.sent.frames + dropped, port.sent, "{:?} sent", port.who);
            assert_eq!(unfit, port.unfit, "{:?} gave what is no frame", port.who);
            assert_eq!(counters.received.frames, port.received, "{:?} received", port.who);
            assert_eq!(counters.received.bytes, port.received_bytes, "{:?} received", port.who);
            // Who may send no more keeps its frames.
            assert_eq!(counters.dropped(Dropped::RateLimit), 0, "{:?} lost frames to its limit", port.who);
            // What is not even offered is refused too.
            assert!(counters.dropped(Dropped::Refused) >= port.refused, "{:?} refused", port.who);
        }
    }

    fn port(&self, who: Who) -> usize {
        self.ports.iter().position(|port| port.who == who).expect("nothing crosses where no port is")
    }

    fn sent(&mut self, who: Who, frame: &Copied) {
        let (index, ports) = (self.port(who), self.ports.len());
        self.latest = index;
        let before = core::mem::take(&mut self.ports[index].progress);
        for (receiver, progress) in self.ports.iter_mut().zip(before) {
            // What began to come and does not go on was refused, before the receiver saw it.
            receiver.refused += u64::from(matches!(progress, Progress::Segments(1..)));
        }
        let port = &mut self.ports[index];
        frame.fill(&mut port.frame);
        port.progress = vec![Progress::Segments(0); ports];
        port.sent += 1;
        port.frames += 1;
        port.bytes += frame.bytes.len();
    }

    /// Somebody has sent what is received, and it may come here.
    fn got(&mut self, who: Who, copy: &Copied, is_taken: bool) {
        let to = self.port(who);
        let mut senders: Vec<_> = (0..self.ports.len()).collect();
        // What is not cut is received before anybody sends again.
        senders.sort_by_key(|from| *from != self.latest);
        let found = senders.into_iter().find_map(|from| Some((from, self.follows(from, to, copy)?)));
        let (from, progress) = found.unwrap_or_else(|| panic!("nobody sent {who:?} this: {copy:?}"));
        let progress = if is_taken { progress } else { Progress::Over };
        let sender = &mut self.ports[from];
        sender.copies += 1;
        sender.progress[to] = progress;
        let bytes = sender.frame.len() as u64;
        let receiver = &mut self.ports[to];
        if !is_taken {
            receiver.refused += 1;
        } else if progress == Progress::Over {
            receiver.received += 1;
            receiver.received_bytes += bytes;
        }
    }

    /// How far the last frame of `from` is at `to` once `copy` of it came there. `None` where it is not
    /// what comes next.
    fn follows(&mut self, from: usize, to: usize, copy: &Copied) -> Option<Progress> {
        let tagging = self.tagging(from, to)?;
        let sender = &self.ports[from];
        let Progress::Segments(told) = *sender.progress.get(to)? else { return None };
        let (frame, spare) = (&sender.frame, &mut self.spare);
        if frame.offload.segmentation.is_some() && copy.offload.segmentation.is_none() {
            let mut segments = frame.segments()?.skip(told);
            let is_one = segments.next_into(spare) && is_same(spare, tagging, copy);
            let is_last = segments.left() == 0;
            return is_one.then(|| if is_last { Progress::Over } else { Progress::Segments(told + 1) });
        }
        if from != self.latest && frame.offload.segmentation.is_none() {
            return None;
        }
        let mut is_it = is_same(frame, tagging, copy);
        if !is_it && frame.offload.segmentation.is_none() {
            // One before may have needed the checksum.
            spare.assign(&frame.parts(Tagging::Keep)?)?;
            is_it = spare.finish_checksum().is_some() && is_same(spare, tagging, copy);
        }
        is_it.then_some(Progress::Over)
    }

    /// What is done to the tag of the last frame of `from` where it may come to `to`.
    fn tagging(&self, from: usize, to: usize) -> Option<Tagging> {
        let (sender, receiver) = (&self.ports[from], &self.ports[to]);
        let (source, destination) = (sender.frame.source()?, sender.frame.destination()?);
        let owner = |mac| self.ports.iter().position(|port| port.config.mac == Some(mac));
        let is_own = match owner(source) {
            Some(owner) => owner == from,
            None => sender.config.any_source && source.is_station(),
        };
        let is_for_it = match owner(destination) {
            _ if destination.is_reserved() => false,
            Some(owner) => owner == to,
            None => destination.is_group() || receiver.config.any_source,
        };
        let is_isolated = sender.config.is_isolated && receiver.config.is_isolated;
        if from == to || !is_own || !is_for_it || is_isolated {
            return None;
        }
        let vlan = vlan(&sender.frame, sender.config.vlan)?;
        let is_tagged = sender.frame.tag().is_some();
        match (receiver.config.vlan, vlan) {
            (PortVlan::Access(own), _) if own != vlan => None,
            (PortVlan::Access(_), _) if is_tagged => Some(Tagging::Untag),
            (PortVlan::Trunk, Some(vlan)) if !is_tagged => Some(Tagging::Insert(vlan)),
            _ => Some(Tagging::Keep),
        }
    }
}

/// The VLAN that a frame is in, if it may be sent.
fn vlan(frame: &Frame, of_port: PortVlan) -> Option<Option<Vlan>> {
    match (of_port, frame.kind()?) {
        (PortVlan::Access(_), TYPE_VLAN | TYPE_VLAN_SERVICE) => None,
        (PortVlan::Access(vlan), _) => Some(vlan),
        (PortVlan::Trunk, TYPE_VLAN) => (frame.tag()? & VLAN_MASK != VLAN_RESERVED).then(|| frame.vlan()),
        (PortVlan::Trunk, _) => Some(None),
    }
}

fn is_same(frame: &Frame, tagging: Tagging, copy: &Copied) -> bool {
    frame.parts(tagging).is_some_and(|parts| parts.pieces().concat() == copy.bytes)
}
