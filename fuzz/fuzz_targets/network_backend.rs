//! A network whose guests do anything at any moment, also between the two copies of a frame, and whose
//! uplink lies.
#![no_main]

use access::clock::SteppingClock;
use backends::{Clients, Network, Turn};
use devices::{Endpoint, Surroundings};
use fuzz::Input;
use fuzz::crossing::{self, Copied, Crossing, Who};
use fuzz::ledger::Ledger;
use fuzz::lying_nic::{LyingNic, Script};
use fuzz::station::{Station, address, compose};
use libfuzzer_sys::fuzz_target;
use network::{PortConfig, PortVlan, RateLimit, Vlan};
use nic::Nic;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

const SECOND_NS: u64 = 1_000_000_000;
/// Longer than the switch remembers where somebody was.
const LONG_NS: u64 = 10_000 * SECOND_NS;
/// A station that is at no port, and of which nobody has heard.
const STRANGER: u8 = 9;
/// Turns that what was sent takes, if nobody sends more: a frame of a thousand segments for each port.
const LAST_TURNS: usize = 2000;

/// The guests, and what one of them does at the next moments at which somebody is served.
struct Guests {
    stations: Vec<Station>,
    later: VecDeque<(u8, usize, Vec<u8>)>,
}

struct World {
    network: Network,
    script: Arc<Mutex<Script>>,
    guests: Guests,
    /// What each guest's port may do. `None` where it is removed.
    configs: Vec<Option<PortConfig>>,
    ledger: Ledger,
    now_ns: u64,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    crossing::take();
    let mut world = World::new(&mut input);
    while !input.is_empty() {
        world.step(&mut input);
    }
    world.calm_down();
    world.check_that_all_reach_each_other();
});

impl Clients for Guests {
    fn with(&mut self, guest: usize, _: usize, serve: &mut dyn FnMut(&mut Endpoint, &mut Surroundings<'_>)) {
        if let Some((moments, ..)) = self.later.front_mut() {
            *moments = moments.saturating_sub(1);
            if *moments == 0
                && let Some((_, who, what)) = self.later.pop_front()
            {
                self.stations[who].act(&mut Input::new(&what));
            }
        }
        self.stations[guest].with(|endpoint, around| serve(endpoint, around));
    }
}

/// Guest `number`'s port. The first one's may send from any address.
fn config(input: &mut Input<'_>, number: u8) -> PortConfig {
    let (bits, vlan) = (input.u8(), input.pick(&[0, 7, 8]));
    PortConfig {
        mac: Some(address(number)),
        any_source: number == 0 && bits & 1 != 0,
        vlan: if bits & 6 == 6 { PortVlan::Trunk } else { PortVlan::Access(Vlan::new(vlan)) },
        rate_limit: (bits & 8 != 0).then(|| RateLimit {
            bytes_per_second: (u64::from(input.u32()) + 1000).try_into().expect("not zero"),
            burst_bytes: (u32::from(input.u16()) + 1).try_into().expect("not zero"),
        }),
        is_isolated: bits & 16 != 0,
    }
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let shape = input.u8();
        let has_uplink = shape & 1 == 0;
        let script = Script::new();
        let uplink = has_uplink.then(|| Box::new(LyingNic(script.clone())) as Box<dyn Nic + Send>);
        let network = Network::bring_up("lan".into(), uplink, &SteppingClock::new(SECOND_NS));
        let mut world = Self {
            network: network.expect("an uplink that works"),
            script,
            guests: Guests { stations: Vec::new(), later: VecDeque::new() },
            configs: Vec::new(),
            ledger: Ledger::new(has_uplink),
            now_ns: 0,
        };
        for number in 0..2 + (shape >> 1 & 1) {
            let config = config(input, number);
            let guest = usize::from(number);
            world.network.add_port(guest, 0, config).expect("addresses are different");
            world.ledger.add(Some(guest), config);
            world.configs.push(Some(config));
            let is_virtio = shape >> (2 + number) & 1 == 0;
            let mut station = Station::new(guest, is_virtio, address(number), config.any_source);
            station.reboot();
            station.start(if shape & 0x80 == 0 { u64::MAX } else { input.u64() });
            world.guests.stations.push(station);
        }
        world
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0..6 => {
                let guest = usize::from(input.u8()) % self.guests.stations.len();
                self.guests.stations[guest].act(input);
            }
            6 => {
                let guest = usize::from(input.u8()) % self.guests.stations.len();
                let what = (1 + input.u8() % 32, guest, input.bytes(8).to_vec());
                self.guests.later.push_back(what);
            }
            7 => self.script.lock().expect("nobody panicked").lie(input),
            8 => {
                let mut frame = compose(input, address(8));
                // Nothing is left to do of what comes by a wire.
                frame.offload = network::Offload::default();
                let copies = 1 + input.u8() % 32;
                let mut script = self.script.lock().expect("nobody panicked");
                script.incoming.extend((0..copies).map(|_| frame.clone()));
            }
            9 => _ = self.network.set_polled(input.u8() & 1 == 1, &mut self.guests),
            10 => match input.u8() {
                0..64 => self.network.restart(self.now_ns),
                64..128 => self.network.interrupt(input.u8().into(), self.now_ns),
                0xaa => self.remove(usize::from(input.u8()) % self.guests.stations.len()),
                _ => self.report(),
            },
            11 => self.now_ns += u64::from(input.u32()) << (input.u8() % 12),
            _ => _ = self.turn(),
        }
    }

    fn remove(&mut self, guest: usize) {
        self.network.remove_ports(guest);
        self.ledger.remove(guest);
        self.configs[guest] = None;
    }

    /// As the hypervisor does behind each turn.
    fn report(&mut self) {
        if self.network.report_failure(&mut |_, _, failures| assert!(failures > 0)) {
            self.network.restart(self.now_ns);
        }
        self.network.report_link(self.now_ns, &mut |_, _| ());
    }

    fn turn(&mut self) -> (Turn, Vec<Crossing>) {
        self.now_ns += 1000;
        let turn = self.network.turn(self.now_ns, &mut self.guests);
        let crossings = crossing::take();
        self.ledger.turn(&crossings, &self.network);
        assert!(turn.worked || crossings.is_empty(), "{crossings:?} is no work");
        let stations = self.guests.stations.iter().zip(&self.configs);
        for (station, _) in stations.filter(|(_, config)| config.is_some()) {
            assert!(!station.endpoint.has_held(), "a guest is not told");
        }
        (turn, crossings)
    }

    /// Nobody lies any more, all guests are reset, and what is under way ends.
    fn calm_down(&mut self) {
        self.guests.later.clear();
        self.guests.stations.iter_mut().for_each(Station::reboot);
        self.script.lock().expect("nobody panicked").heal();
        for _ in 0..3 {
            self.now_ns += 100 * SECOND_NS;
            self.turn();
            self.report();
        }
        let ends = (0..LAST_TURNS).any(|_| !self.turn().0.worked);
        assert!(ends, "what was sent has no end");
        let works = self.script.lock().expect("nobody panicked").works();
        assert!(works || self.network.uplink().is_none(), "the uplink is not started again");
        self.guests.stations.iter_mut().for_each(|station| station.start(u64::MAX));
        self.now_ns += LONG_NS;
    }

    fn check_that_all_reach_each_other(&mut self) {
        let guests = 0..self.configs.len();
        let has_uplink = self.network.uplink().is_some();
        let ports: Vec<Who> = guests.map(Some).chain(has_uplink.then_some(None)).collect();
        for (from, to) in ports.iter().flat_map(|from| ports.iter().map(|to| (*from, *to))) {
            let (Some(sender), Some(receiver)) = (self.config(from), self.config(to)) else { continue };
            let vlan = match (sender.vlan, receiver.vlan) {
                (PortVlan::Access(one), PortVlan::Access(other)) if one != other => continue,
                (PortVlan::Trunk, PortVlan::Access(vlan)) => vlan,
                _ => None,
            };
            if from != to && !(sender.is_isolated && receiver.is_isolated) {
                self.check_way(from, to, vlan);
            }
        }
    }

    fn config(&self, who: Who) -> Option<PortConfig> {
        who.map_or(Some(PortConfig::uplink()), |guest| self.configs[guest])
    }

    /// A frame comes from one to the other, with this tag if any.
    fn check_way(&mut self, from: Who, to: Who, tag: Option<Vlan>) {
        let number = |who: Who| who.map_or(STRANGER, |guest| guest as u8);
        let mut bytes = [address(number(to)).0, address(number(from)).0].concat();
        bytes.extend(tag.into_iter().flat_map(|vlan| [0x81, 0, 0, vlan.number() as u8]));
        bytes.extend([8, 6]);
        bytes.resize(100, 0x5a);
        let frame = Copied { bytes, offload: network::Offload::default() };
        if let Some(guest) = to {
            self.guests.stations[guest].make_room(1530);
        }
        // Nobody looks any more unless told.
        self.network.set_polled(true, &mut self.guests);
        self.network.set_polled(false, &mut self.guests);
        match from {
            Some(guest) => {
                self.guests.stations[guest].send(&frame);
                assert!(self.guests.stations[guest].tells(), "{from:?} tells of it");
            }
            None => self.script.lock().expect("nobody panicked").incoming.push_back(frame),
        }
        let came = |one: &Crossing| matches!(one, Crossing::Got(who, _, true) if *who == to);
        // It may wait for what its sender sent before, and each of the others for what it did; the turn says
        // until when.
        let is_there = (0..2 + self.configs.len()).any(|_| {
            let (turn, crossings) = self.turn();
            if !turn.worked {
                self.now_ns = turn.deadline_ns.expect("the next turn is at some time");
            }
            crossings.iter().any(came)
        });
        assert!(is_there, "{from:?} reaches {to:?}");
        if let Some(guest) = to {
            assert!(self.guests.stations[guest].take_received().is_some(), "{to:?} has it");
        }
        if let Some(guest) = from {
            assert!(self.guests.stations[guest].has_sent(), "{from:?} is told");
        }
    }
}
