//! A second opinion: a machine made at random, its configuration space, and a model that
//! sends packets through it one hop at a time. It knows nothing of the decision that it
//! is compared with; what is switched on it reads from the ports' registers.

use crate::pci::tests::{FakeBus, FakeFunction};
use access::ConfigSpace;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use spec::Bdf;

/// Where the fakes have their access control services.
const ACCESS_CONTROL: u16 = 0x100;
const SOURCE_VALIDATION: u16 = 1 << 0;
const REQUEST_REDIRECT: u16 = 1 << 2;
const COMPLETION_REDIRECT: u16 = 1 << 3;
const UPSTREAM_FORWARDING: u16 = 1 << 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A device of conventional PCI.
    Conventional,
    /// A device of PCI Express: on a link, or inside the root complex.
    Express,
    RootPort,
    Upstream,
    Downstream,
    /// From PCI Express to conventional PCI, and back.
    ToConventional,
    FromConventional,
    /// Bridges without a PCI Express capability.
    Conventional1,
    CardBus,
    Hidden,
}

impl Kind {
    fn is_bridge(self) -> bool {
        !matches!(self, Self::Conventional | Self::Express)
    }
    /// What is right behind it: one bus for all, on which everybody hears everything.
    fn has_shared_bus(self) -> bool {
        matches!(self, Self::ToConventional | Self::Conventional1 | Self::CardBus | Self::Hidden)
    }
}

#[derive(Clone, Debug)]
pub struct Node {
    pub bdf: Bdf,
    pub kind: Kind,
    /// The services of its capability.
    pub services: Option<u16>,
    /// Its access control registers have 32 bits.
    pub doublewords: bool,
    pub phantom: bool,
    /// It sends as function 1 of its device.
    pub sends_as_1: bool,
    /// Of which physical function it is a virtual one.
    pub physical: Option<usize>,
    pub parent: Option<usize>,
    buses: (u8, u8),
}

/// What a function sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Packet {
    Request,
    Completion,
}

/// How it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// At the IOMMU.
    Checked,
    /// At the target, which nobody translated.
    Arrived,
}

/// What two functions can do to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Apart,
    /// Only through the switch inside a device with virtual functions.
    Inside(Bdf),
    Together,
}

pub struct Machine {
    pub nodes: Vec<Node>,
    pub config: FakeBus,
}

/// Takes choices from bytes; then there is nothing more to choose.
struct Dice<'a>(&'a [u8]);

impl Dice<'_> {
    fn of(&mut self, sides: u8) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first % sides
    }
}

struct Maker<'a> {
    dice: Dice<'a>,
    nodes: Vec<Node>,
    next_bus: u8,
}

impl Maker<'_> {
    fn services(&mut self) -> Option<u16> {
        match self.dice.of(8) {
            0 | 1 => None,
            // All, with egress control and direct translated requests too.
            2 => Some(0x7f),
            3 | 4 => Some(0x1f),
            5 => Some(0x0f),
            6 => Some(0),
            _ => Some(self.dice.of(32).into()),
        }
    }

    fn add(&mut self, bdf: Bdf, kind: Kind, parent: Option<usize>) -> usize {
        let is_express =
            !matches!(kind, Kind::Conventional | Kind::Conventional1 | Kind::CardBus | Kind::Hidden);
        let services = if is_express { self.services() } else { None };
        let rare = self.dice.of(16);
        self.nodes.push(Node {
            bdf,
            kind,
            services,
            doublewords: kind == Kind::RootPort && rare % 3 == 1,
            phantom: kind == Kind::Express && rare == 7,
            sends_as_1: kind == Kind::Express && rare == 9,
            physical: None,
            parent,
            buses: (0, 0),
        });
        self.nodes.len() - 1
    }

    /// What is behind a bridge, if a bus number is left.
    fn behind(&mut self, bridge: usize, depth: u8) {
        if self.next_bus >= 0x40 || !self.nodes[bridge].kind.is_bridge() {
            return;
        }
        let bus = self.next_bus;
        self.next_bus += 1;
        self.nodes[bridge].buses = (bus, bus);
        match self.nodes[bridge].kind {
            Kind::RootPort | Kind::Downstream | Kind::FromConventional => self.link(bridge, bus, depth),
            Kind::Upstream => self.inside_switch(bridge, bus, depth),
            _ => self.shared_bus(bridge, bus, depth),
        }
        self.nodes[bridge].buses.1 = self.next_bus - 1;
    }

    fn link(&mut self, bridge: usize, bus: u8, depth: u8) {
        let count = 1 + self.dice.of(3);
        let deeper = depth > 0;
        let kinds = [Kind::Express, Kind::Express, Kind::Upstream, Kind::ToConventional, Kind::Hidden];
        let mut made = Vec::new();
        for number in 0..count {
            let kind = kinds[usize::from(self.dice.of(if deeper { 5 } else { 1 }))];
            made.push(self.add(Bdf::new(bus, 0, number), kind, Some(bridge)));
        }
        let physical = made[0];
        if self.nodes[physical].kind == Kind::Express && self.dice.of(3) == 1 {
            for number in 4..6 + self.dice.of(2) {
                let it = self.add(Bdf::new(bus, 0, number), Kind::Express, Some(bridge));
                self.nodes[it].physical = Some(physical);
            }
        }
        made.into_iter().for_each(|node| self.behind(node, depth.saturating_sub(1)));
    }

    fn inside_switch(&mut self, switch: usize, bus: u8, depth: u8) {
        let count = 1 + self.dice.of(3);
        let one_device = self.dice.of(4) == 1;
        let ports: Vec<_> = (0..count)
            .map(|number| {
                let (device, function) = if one_device { (0, number) } else { (number, 0) };
                self.add(Bdf::new(bus, device, function), Kind::Downstream, Some(switch))
            })
            .collect();
        ports.into_iter().for_each(|port| self.behind(port, depth));
    }

    fn shared_bus(&mut self, bridge: usize, bus: u8, depth: u8) {
        let kinds = [Kind::Conventional, Kind::Conventional1, Kind::CardBus, Kind::FromConventional];
        let made: Vec<_> = (0..1 + self.dice.of(2))
            .map(|device| {
                let kind = kinds[usize::from(self.dice.of(if depth > 0 { 4 } else { 1 }))];
                self.add(Bdf::new(bus, device + 1, 0), kind, Some(bridge))
            })
            .collect();
        made.into_iter().for_each(|node| self.behind(node, depth.saturating_sub(1)));
    }

    fn root(&mut self) {
        let bus = self.next_bus;
        self.next_bus += 1;
        let kinds = [
            Kind::RootPort,
            Kind::RootPort,
            Kind::Express,
            Kind::Conventional,
            Kind::Conventional1,
            Kind::CardBus,
            Kind::ToConventional,
        ];
        let mut made = Vec::new();
        for device in 0..1 + self.dice.of(3) {
            for function in 0..1 + self.dice.of(3) {
                let kind = kinds[usize::from(self.dice.of(7))];
                made.push(self.add(Bdf::new(bus, device, function), kind, None));
            }
        }
        made.into_iter().for_each(|node| self.behind(node, 2));
    }
}

impl Machine {
    /// A machine as the bytes choose it.
    pub fn new(choices: &[u8]) -> Self {
        let mut maker = Maker { dice: Dice(choices), nodes: Vec::new(), next_bus: 0 };
        for _ in 0..1 + maker.dice.of(2) {
            maker.root();
        }
        let nodes = maker.nodes;
        let config = FakeBus::of(nodes.iter().map(|node| (node.bdf, registers(node, &nodes))).collect());
        Self { nodes, config }
    }

    /// Every access control register as the firmware left it: what is most dangerous is on.
    pub fn power_on(&self) {
        for node in &self.nodes {
            let Some(services) = node.services else { continue };
            let register = ACCESS_CONTROL + if node.doublewords { 8 } else { 6 };
            self.config.write16(node.bdf, register, services & 0x60);
        }
    }

    /// Whether a node could be given to a guest.
    pub fn is_function(&self, node: usize) -> bool {
        !self.nodes[node].kind.is_bridge()
    }

    /// What two functions can do to each other, with the services that are on now.
    pub fn outcome(&self, one: usize, other: usize) -> Outcome {
        let harm = |closed| self.harms(one, other, closed) || self.harms(other, one, closed);
        match (self.nodes[one].physical, self.nodes[other].physical) {
            // A physical function rules its virtual ones.
            (Some(physical), _) if physical == other => Outcome::Together,
            (_, Some(physical)) if physical == one => Outcome::Together,
            (Some(a), Some(b)) if a == b && harm(false) && !harm(true) => Outcome::Inside(self.nodes[a].bdf),
            _ if harm(false) => Outcome::Together,
            _ => Outcome::Apart,
        }
    }

    fn harms(&self, one: usize, other: usize, closed: bool) -> bool {
        [Packet::Request, Packet::Completion]
            .into_iter()
            .any(|packet| self.send(one, other, packet, closed) == End::Arrived)
            || self.passes_for(one, other)
            || !self.arrives_as(one).is_disjoint(&self.arrives_as(other))
            || self.arrives_as(one).iter().any(|id| self.interrupts_as(other, *id))
    }

    fn is_behind(&self, node: usize, bridge: usize) -> bool {
        let mut at = Some(node);
        while let Some(node) = at {
            if node == bridge {
                return true;
            }
            at = self.nodes[node].parent;
        }
        false
    }

    /// One packet, hop by hop.
    fn send(&self, from: usize, to: usize, packet: Packet, closed: bool) -> End {
        let mut at = from;
        loop {
            let peers = self.peers(at, closed && at == from);
            if peers.into_iter().any(|peer| self.is_behind(to, peer)) && !self.redirects(at, packet) {
                return End::Arrived;
            }
            let Some(above) = self.nodes[at].parent else { return End::Checked };
            // It comes up through `above`, and may want down there again.
            if self.is_behind(to, above)
                && self.nodes[above].kind == Kind::Downstream
                && self.on(above) & UPSTREAM_FORWARDING == 0
            {
                return End::Arrived;
            }
            at = above;
        }
    }

    /// Who takes a packet that `at` sends up, before anybody above sees it.
    fn peers(&self, at: usize, closed: bool) -> Vec<usize> {
        let node = &self.nodes[at];
        let is_peer = |index: &usize| {
            let other = &self.nodes[*index];
            if *index == at || other.parent != node.parent || other.bdf.bus() != node.bdf.bus() {
                return false;
            }
            match node.parent.map(|parent| self.nodes[parent].kind) {
                // The root complex translates what comes from two of its devices.
                None => other.bdf.device() == node.bdf.device(),
                Some(_) if closed => other.physical.is_none() || other.physical != node.physical,
                Some(_) => true,
            }
        };
        (0..self.nodes.len()).filter(is_peer).collect()
    }

    /// Whether what `at` sends to a peer goes up instead.
    fn redirects(&self, at: usize, packet: Packet) -> bool {
        let node = &self.nodes[at];
        if node.parent.is_some_and(|parent| self.nodes[parent].kind.has_shared_bus()) {
            return false;
        }
        // Inside a switch, only its ports know how.
        let in_switch = node.parent.is_some_and(|parent| self.nodes[parent].kind == Kind::Upstream);
        let bit = match packet {
            Packet::Request => REQUEST_REDIRECT,
            Packet::Completion => COMPLETION_REDIRECT,
        };
        match node.kind {
            Kind::RootPort | Kind::Downstream => self.on(at) & bit != 0,
            // What a function does not offer, it does not need.
            Kind::Express | Kind::Upstream if !in_switch => {
                node.services.is_some_and(|offered| offered & bit == 0 || self.on(at) & bit != 0)
            }
            _ => false,
        }
    }

    /// The services that are in force at a node. A port that lacks what every port of its
    /// kind has is believed in nothing.
    fn on(&self, at: usize) -> u16 {
        let node = &self.nodes[at];
        let Some(offered) = node.services else { return 0 };
        let needed = match node.kind {
            Kind::RootPort => SOURCE_VALIDATION | REQUEST_REDIRECT | COMPLETION_REDIRECT,
            Kind::Downstream => {
                SOURCE_VALIDATION | REQUEST_REDIRECT | COMPLETION_REDIRECT | UPSTREAM_FORWARDING
            }
            _ => 0,
        };
        let control = ACCESS_CONTROL + if node.doublewords { 8 } else { 6 };
        let control = self.config.read16(node.bdf, control);
        assert_eq!(control & 0x60, 0, "{}: peers reach each other in spite of the redirects", node.bdf);
        match node.kind {
            // Source validation alone is believed, for it is asked for alone.
            Kind::RootPort | Kind::Downstream if offered & needed != needed => control & SOURCE_VALIDATION,
            _ => control & offered,
        }
    }

    /// Whether `one` can send under a number that the IOMMU takes for `other`. Functions of
    /// one device, or of the root complex, are believed; so are devices behind different
    /// devices of the root complex.
    fn passes_for(&self, one: usize, other: usize) -> bool {
        let root = |mut node: usize| {
            while let Some(parent) = self.nodes[node].parent {
                node = parent;
            }
            (self.nodes[node].bdf.bus(), self.nodes[node].bdf.device())
        };
        let is_sibling = self.peers(one, false).into_iter().any(|peer| self.is_behind(other, peer));
        if root(one) != root(other) || is_sibling {
            return false;
        }
        self.arrives_as(other).into_iter().any(|id| self.forges(one, other, id))
    }

    fn forges(&self, one: usize, other: usize, id: Bdf) -> bool {
        let mut at = self.nodes[one].parent;
        while let Some(bridge) = at {
            let node = &self.nodes[bridge];
            let believes = match node.kind {
                Kind::RootPort | Kind::Downstream => self.on(bridge) & SOURCE_VALIDATION == 0,
                Kind::Upstream => true,
                // It puts a number of its own.
                _ => false,
            };
            let (first, last) = node.buses;
            let is_inside = (first..=last).contains(&id.bus()) && self.is_behind(other, bridge);
            if !believes && !is_inside {
                return false;
            }
            at = node.parent;
        }
        true
    }

    /// The numbers under which requests of a function reach the IOMMU.
    fn arrives_as(&self, function: usize) -> BTreeSet<Bdf> {
        let node = &self.nodes[function];
        let mut ids = BTreeSet::from([node.bdf]);
        if node.sends_as_1 {
            ids.insert(Bdf::new(node.bdf.bus(), node.bdf.device(), 1));
        }
        if node.phantom {
            ids.extend((0..8).map(|number| Bdf::new(node.bdf.bus(), node.bdf.device(), number)));
        }
        let mut at = node.parent;
        while let Some(bridge) = at {
            let node = &self.nodes[bridge];
            let secondary = Bdf::new(node.buses.0, 0, 0);
            match node.kind {
                Kind::ToConventional => {
                    ids.retain(|id| id.bus() == node.buses.0);
                    ids.insert(secondary);
                }
                Kind::Hidden => ids = BTreeSet::from([node.bdf, secondary]),
                Kind::Conventional1 | Kind::CardBus | Kind::FromConventional => {
                    ids = BTreeSet::from([node.bdf]);
                }
                _ => {}
            }
            at = node.parent;
        }
        ids
    }

    /// Whether a message with this number is taken for one of the function's.
    fn interrupts_as(&self, function: usize, id: Bdf) -> bool {
        let mut exact = self.nodes[function].bdf;
        let mut bus = None;
        let mut at = self.nodes[function].parent;
        while let Some(bridge) = at {
            let node = &self.nodes[bridge];
            match node.kind {
                Kind::ToConventional | Kind::Hidden => bus = Some(node.buses.0),
                Kind::Conventional1 | Kind::CardBus | Kind::FromConventional => {
                    (exact, bus) = (node.bdf, None);
                }
                _ => {}
            }
            at = node.parent;
        }
        bus.map_or(id == exact, |bus| id.bus() == bus)
    }
}

/// The configuration space of a node.
fn registers(node: &Node, nodes: &[Node]) -> FakeFunction {
    let (device, class) = match node.kind {
        Kind::RootPort if node.doublewords => (0xa110, 0x06_0400),
        kind if kind.is_bridge() => (0x1234, 0x06_0400),
        _ => (0x10d3, 0x02_0000),
    };
    let id = match node.kind {
        Kind::Hidden => "1b21:1080".into(),
        _ if node.sends_as_1 => "1b4b:9230".into(),
        _ => format!("8086:{device:04x}"),
    };
    let mut function = FakeFunction::new(&id, class);
    let port = match node.kind {
        Kind::Express => Some(0),
        Kind::RootPort => Some(4),
        Kind::Upstream => Some(5),
        Kind::Downstream => Some(6),
        Kind::ToConventional => Some(7),
        Kind::FromConventional => Some(8),
        _ => None,
    };
    if let Some(port) = port {
        function = function.express(port);
        function.put(0x44, &[if node.phantom { 1 << 3 } else { 0 }, 0, 0, 0]);
    }
    let is_same_device = |other: &&Node| {
        (other.bdf.bus(), other.bdf.device()) == (node.bdf.bus(), node.bdf.device()) && other.bdf != node.bdf
    };
    let header = match node.kind {
        Kind::CardBus => 2,
        kind => u8::from(kind.is_bridge()),
    };
    let several = if nodes.iter().any(|other| is_same_device(&other)) { 0x80 } else { 0 };
    function.put(0x0e, &[header | several]);
    if node.kind.is_bridge() {
        function.put(0x19, &[node.buses.0, node.buses.1]);
    }
    if let Some(services) = node.services {
        let at = usize::from(ACCESS_CONTROL);
        let control = ACCESS_CONTROL + if node.doublewords { 8 } else { 6 };
        function.put(at, &[0x0d, 0, 1, 0]);
        function = function.register(control, 0, services.into());
        function.put(at + 4, &services.to_le_bytes());
    }
    function
}

/// Enough choices for a machine.
pub fn choices() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    proptest::collection::vec(proptest::arbitrary::any::<u8>(), 24..112)
}

/// A machine without choices has one root port and one function.
#[test]
fn nothing_chosen() {
    let machine = Machine::new(&[]);
    let kinds: Vec<_> = machine.nodes.iter().map(|node| node.kind).collect();
    assert_eq!(kinds, vec![Kind::RootPort, Kind::Express]);
}
