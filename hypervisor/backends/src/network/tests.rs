use super::*;
use crate::fake_nic::{FakeNic, Script};
use crate::uplink::LINK_NS;
use access::clock::SteppingClock;
use access::memory::VecMemory;
use core::num::NonZero;
use devices::device::{Accepts, Completion, Context, DeviceEffect};
use devices::{Backend, Device, Endpoint, Surroundings};
use network::{Dropped, Parts, PortVlan, RateLimit, SegmentKind, Segmentation, Vlan};
use spec::Width;
use std::collections::VecDeque;
use std::string::ToString;
use std::sync::{Arc, Mutex};

/// What the test sees and does of a guest's interface.
struct Station {
    /// What the guest sends. One that is empty is none that can be sent.
    outgoing: VecDeque<Vec<u8>>,
    segmentation: Option<Segmentation>,
    received: Vec<Vec<u8>>,
    accepts: Accepts,
    reception: Reception,
    link: Vec<bool>,
    wanted: Vec<bool>,
    /// What [`Device::want_notifications`] gives back.
    missed: bool,
    /// How often the device was asked for what it does besides frames.
    polls: usize,
    has_command: bool,
}

impl Default for Station {
    fn default() -> Self {
        Self {
            outgoing: VecDeque::new(),
            segmentation: None,
            received: Vec::new(),
            accepts: Accepts { largest_bytes: 1518, ..Accepts::default() },
            reception: Reception::Taken,
            link: Vec::new(),
            wanted: Vec::new(),
            missed: false,
            polls: 0,
            has_command: false,
        }
    }
}

struct Interface(Arc<Mutex<Station>>);

impl Device for Interface {
    fn most_effects(&self) -> usize {
        1
    }
    fn read(&mut self, _: u64, width: Width, _: &mut Context<'_>) -> u64 {
        width.mask()
    }
    fn write(&mut self, _: u64, _: Width, _: u64, _: &mut Context<'_>) {}
    fn complete(&mut self, _: Completion, _: &mut Context<'_>) {}
    fn line(&self) -> bool {
        false
    }
    fn reset(&mut self) {}
    fn want_notifications(&mut self, wanted: bool, _: &mut Context<'_>) -> bool {
        let mut station = self.0.lock().unwrap();
        station.wanted.push(wanted);
        station.missed
    }
    fn poll(&mut self, _: &mut Context<'_>) -> bool {
        let mut station = self.0.lock().unwrap();
        station.polls += 1;
        core::mem::take(&mut station.has_command)
    }
    fn transmit(&mut self, frame: &mut Frame, _: &mut Context<'_>) -> bool {
        let mut station = self.0.lock().unwrap();
        let Some(bytes) = station.outgoing.pop_front() else { return false };
        frame.append(&bytes).unwrap();
        frame.offload.segmentation = station.segmentation;
        true
    }
    fn accepts(&self) -> Accepts {
        self.0.lock().unwrap().accepts
    }
    fn receive(&mut self, parts: &Parts<'_>, context: &mut Context<'_>) -> Reception {
        let mut station = self.0.lock().unwrap();
        if station.reception == Reception::Taken {
            station.received.push(parts.pieces().concat());
            context.effects.push(DeviceEffect::Msi(0));
        }
        station.reception
    }
    fn set_link(&mut self, is_up: bool, _: &mut Context<'_>) {
        self.0.lock().unwrap().link.push(is_up);
    }
}

struct Guests(Vec<(Endpoint, VecMemory)>);

impl Clients for Guests {
    fn with(&mut self, guest: usize, _: usize, serve: &mut dyn FnMut(&mut Endpoint, &mut Surroundings<'_>)) {
        if let Some((endpoint, memory)) = self.0.get_mut(guest) {
            serve(
                endpoint,
                &mut Surroundings { memory: &*memory, now: 0, send: &mut |_| (), print: &mut |_| () },
            );
        }
    }
}

/// Guests of one interface each, and the network.
struct Bench {
    network: Network,
    nic: Arc<Mutex<Script>>,
    guests: Guests,
    stations: Vec<Arc<Mutex<Station>>>,
    now: u64,
}

const OUTSIDE: u8 = 0xee;

fn mac(station: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, station])
}

/// A frame of 100 bytes from one station to another.
fn frame(to: MacAddress, from: u8) -> Vec<u8> {
    let mut bytes = [to.0, mac(from).0].concat();
    bytes.extend([0x08, 0x06]);
    bytes.resize(100, from);
    bytes
}

impl Bench {
    /// Guest `n` has the address `mac(n)`, and what `change` says.
    fn new(has_uplink: bool, guests: usize, change: impl Fn(usize, &mut PortConfig)) -> Self {
        let nic = Arc::new(Mutex::new(Script::default()));
        let uplink = has_uplink.then(|| Box::new(FakeNic::new(nic.clone())) as Box<dyn Nic + Send>);
        let mut network = Network::bring_up("lan".into(), uplink, &SteppingClock::new(1000)).unwrap();
        let (mut stations, mut all) = (Vec::new(), Vec::new());
        for guest in 0..guests {
            let mut config = PortConfig::guest(mac(guest as u8));
            change(guest, &mut config);
            network.add_port(guest, 0, config).unwrap();
            let station = Arc::new(Mutex::new(Station::default()));
            let device = Box::new(Interface(station.clone()));
            all.push((Endpoint::new(device, Backend::Served, 1, 0x1000, 0x2000), VecMemory::new(0x1000)));
            stations.push(station);
        }
        for (endpoint, memory) in &mut all {
            let around =
                &mut Surroundings { memory: &*memory, now: 0, send: &mut |_| (), print: &mut |_| () };
            [(0, 0xfee0_0000), (8, 0x40), (12, 0)]
                .into_iter()
                .for_each(|(at, value)| endpoint.write(0x1000 + at, Width::Dword, value, around));
            endpoint.set_enables(true, true, false, around);
        }
        Self { network, nic, guests: Guests(all), stations, now: 0 }
    }

    fn turn(&mut self) -> Turn {
        self.now += 1000;
        self.network.turn(self.now, &mut self.guests)
    }
    fn send(&self, guest: usize, frames: impl IntoIterator<Item = Vec<u8>>) {
        self.stations[guest].lock().unwrap().outgoing.extend(frames);
    }
    fn waiting(&self, guest: usize) -> usize {
        self.stations[guest].lock().unwrap().outgoing.len()
    }
    fn received(&self, guest: usize) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.stations[guest].lock().unwrap().received)
    }
    fn sent(&self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.nic.lock().unwrap().sent)
    }
    fn comes(&self, frames: impl IntoIterator<Item = Vec<u8>>) {
        self.nic.lock().unwrap().incoming.extend(frames);
    }
    /// How often a guest was interrupted.
    fn interrupts(&self, guest: usize) -> u64 {
        self.guests.0[guest].0.activity().messages
    }
    fn counters(&self, guest: usize) -> Counters {
        self.network.counters(guest, 0).unwrap().0
    }
}

#[test]
fn guests_reach_each_other_and_the_outside_and_are_reached() {
    let mut bench = Bench::new(true, 3, |_, _| ());
    assert_eq!(bench.turn(), Turn::default());
    bench.send(0, [frame(mac(2), 0), frame(mac(OUTSIDE), 0), frame(MacAddress::BROADCAST, 0)]);
    bench.comes([frame(mac(1), OUTSIDE)]);
    assert_eq!(bench.turn(), Turn { worked: true, in_flight: false, deadline_ns: None });
    assert_eq!(bench.received(0), [[0_u8; 0]; 0]);
    assert_eq!(bench.received(1), [frame(mac(1), OUTSIDE), frame(MacAddress::BROADCAST, 0)]);
    assert_eq!(bench.received(2), [frame(mac(2), 0), frame(MacAddress::BROADCAST, 0)]);
    assert_eq!(bench.sent(), [frame(mac(OUTSIDE), 0), frame(MacAddress::BROADCAST, 0)]);
    let counters = bench.counters(0);
    assert_eq!((counters.sent.frames, counters.sent.bytes, counters.received.frames), (3, 300, 0));
    let uplink = bench.network.uplink_counters().unwrap();
    assert_eq!((uplink.port.sent.frames, uplink.port.received.frames, uplink.nic.sent.frames), (1, 2, 2));
    assert_eq!(bench.turn(), Turn::default());
}

#[test]
fn a_guest_is_interrupted_once_for_the_frames_of_a_turn() {
    let mut bench = Bench::new(true, 3, |_, _| ());
    bench.turn();
    bench.comes([frame(mac(1), OUTSIDE), frame(mac(1), OUTSIDE)]);
    bench.send(0, [frame(mac(1), 0), frame(mac(1), 0)]);
    bench.send(2, [frame(mac(1), 2)]);
    bench.turn();
    assert_eq!(bench.received(1).len(), 5);
    assert_eq!([0, 1, 2].map(|guest| bench.interrupts(guest)), [0, 1, 0]);
    bench.send(0, [frame(mac(1), 0)]);
    bench.turn();
    assert_eq!(bench.interrupts(1), 2, "none waits for the next turn");
}

#[test]
fn a_network_without_an_uplink_joins_guests() {
    let mut bench = Bench::new(false, 2, |_, _| ());
    bench.turn();
    bench.send(1, [frame(mac(0), 1), frame(mac(OUTSIDE), 1)]);
    assert!(bench.turn().worked);
    assert_eq!(bench.received(0), [frame(mac(0), 1)]);
    assert_eq!(bench.counters(1).dropped(Dropped::Unreachable), 1);
    assert_eq!(bench.stations[0].lock().unwrap().link, [true]);
    assert!(bench.network.uplink().is_none() && bench.network.uplink_counters().is_none());
}

#[test]
fn what_is_forged_or_has_no_receiver_goes_nowhere_and_is_counted() {
    let mut bench = Bench::new(true, 2, |_, _| ());
    bench.turn();
    bench.send(0, [frame(mac(1), 1), frame(mac(1), OUTSIDE), Vec::new(), frame(mac(1), 0)]);
    bench.stations[1].lock().unwrap().reception = Reception::NoRoom;
    bench.turn();
    assert_eq!((bench.received(1).len(), bench.sent().len()), (0, 0));
    assert_eq!(bench.counters(0).dropped(Dropped::Spoofed), 2);
    assert_eq!(bench.network.counters(0, 0).unwrap().1, 1, "of the guest's own making");
    assert_eq!(bench.counters(1).dropped(Dropped::Refused), 1);
    assert_eq!(bench.counters(1).received.frames, 0);
}

#[test]
fn a_flood_has_its_part_of_a_turn() {
    let mut bench = Bench::new(true, 3, |_, _| ());
    bench.turn();
    bench.send(0, (0..1000).map(|_| frame(mac(1), 0)));
    bench.comes((0..1000).map(|_| frame(mac(1), OUTSIDE)));
    bench.send(2, [frame(mac(1), 2)]);
    assert!(bench.turn().worked);
    let received = bench.received(1);
    assert_eq!(received.len(), 2 * TURN_COPIES + 1);
    assert!(received.contains(&frame(mac(1), 2)));
    // A frame to everybody costs as many copies.
    bench.stations[0].lock().unwrap().outgoing.clear();
    bench.nic.lock().unwrap().incoming.clear();
    bench.send(0, (0..1000).map(|_| frame(MacAddress::BROADCAST, 0)));
    bench.turn();
    assert_eq!(bench.received(1).len(), TURN_COPIES.div_ceil(3));
}

#[test]
fn large_frames_have_their_part_of_a_turn_too() {
    let mut bench = Bench::new(false, 2, |_, _| ());
    bench.stations[1].lock().unwrap().accepts.largest_bytes = 64 << 10;
    bench.turn();
    let mut large = frame(mac(1), 0);
    large.resize(50_000, 7);
    bench.send(0, (0..10).map(|_| large.clone()));
    bench.turn();
    assert_eq!(bench.received(1).len(), TURN_BYTES.div_ceil(50_000));
}

#[test]
fn frames_that_are_none_have_their_part_of_a_turn_too() {
    let mut bench = Bench::new(false, 2, |_, _| ());
    bench.turn();
    bench.send(0, (0..100).map(|_| Vec::new()));
    bench.send(1, [frame(mac(0), 1)]);
    bench.turn();
    // That it is none may have shown when all of it was copied.
    assert_eq!(100 - bench.waiting(0), TURN_BYTES.div_ceil(LARGEST_BYTES));
    assert_eq!(bench.received(0).len(), 1);
}

#[test]
fn what_is_cut_is_as_many_copies() {
    let mut bench = Bench::new(false, 2, |_, _| ());
    bench.turn();
    bench.stations[0].lock().unwrap().segmentation =
        Some(Segmentation { kind: SegmentKind::Tcp4, ecn: false, segment_bytes: 64, header_bytes: 54 });
    let mut large = large(1, 0);
    large.truncate(54 + 64 * (2 * TURN_COPIES + 1));
    bench.send(0, (0..10).map(|_| large.clone()));
    bench.turn();
    assert_eq!((bench.waiting(0), bench.received(1).len()), (9, TURN_COPIES));
    // What another sends is not behind it.
    bench.send(1, [frame(mac(0), 1)]);
    bench.turn();
    assert_eq!((bench.waiting(0), bench.received(1).len()), (9, TURN_COPIES));
    assert_eq!(bench.received(0), [frame(mac(0), 1)]);
    assert_eq!(bench.counters(1).received.frames, 0, "it is not over");
    // What is left of it takes one of the next turn.
    bench.turn();
    assert_eq!((bench.waiting(0), bench.received(1).len()), (8, TURN_COPIES));
    assert_eq!(bench.counters(1).received.frames, 1);
    // Where the receiver is not there any more the rest is lost, and the next one goes on.
    bench.stations[1].lock().unwrap().reception = Reception::Down;
    bench.turn();
    assert_eq!((bench.waiting(0), bench.received(1)), (0, Vec::new()));
    bench.stations[1].lock().unwrap().reception = Reception::Taken;
    bench.send(0, (0..9).map(|_| large.clone()));
    // Who takes it as it is costs one.
    bench.stations[1].lock().unwrap().accepts =
        Accepts { checksum: true, tcp4: true, tcp6: true, largest_bytes: 1518 };
    bench.turn();
    assert_eq!((bench.waiting(0), bench.received(1).len()), (0, 9));
}

#[test]
fn what_is_over_the_rate_limit_waits() {
    let limit = RateLimit {
        bytes_per_second: NonZero::new(100_000).unwrap(),
        burst_bytes: NonZero::new(250).unwrap(),
    };
    let mut bench = Bench::new(false, 2, |guest, config| {
        config.rate_limit = (guest == 0).then_some(limit);
    });
    bench.turn();
    bench.send(0, (0..5).map(|_| frame(mac(1), 0)));
    bench.turn();
    assert_eq!((bench.received(1).len(), bench.waiting(0)), (3, 2));
    // The next byte is earned in less than half a millisecond.
    let deadline = bench.turn().deadline_ns.unwrap();
    assert!((bench.now..bench.now + 600_000).contains(&deadline), "{deadline}");
    bench.now = deadline;
    bench.turn();
    assert_eq!((bench.received(1).len(), bench.waiting(0)), (1, 1));
    assert_eq!(bench.counters(0).dropped(Dropped::RateLimit), 0);
}

/// In the exit of a guest only that guest's frames are carried, to whoever they are for.
#[test]
fn an_exit_carries_what_its_endpoint_sends_and_no_more() {
    let limit = RateLimit {
        bytes_per_second: NonZero::new(100_000).unwrap(),
        burst_bytes: NonZero::new(250).unwrap(),
    };
    let mut bench = Bench::new(true, 2, |guest, config| config.rate_limit = (guest == 0).then_some(limit));
    bench.turn();
    bench.send(0, [frame(mac(1), 0), frame(mac(OUTSIDE), 0)]);
    bench.send(1, [frame(mac(0), 1)]);
    bench.comes([frame(mac(1), OUTSIDE)]);
    let (now, mac_of_1) = (bench.now, bench.interrupts(1));
    let found = bench.network.turn_of((0, 0), now, &mut bench.guests);
    assert_eq!(found, Turn { worked: true, ..Turn::default() });
    assert_eq!(bench.received(1), [frame(mac(1), 0)], "and nothing that came from outside");
    assert_eq!((bench.interrupts(1) - mac_of_1, bench.sent().len()), (1, 1));
    assert_eq!((bench.received(0).len(), bench.waiting(1)), (0, 1));
    // What its rate limit keeps is taken when it is time, by whoever can wait for that.
    bench.send(0, (0..3).map(|_| frame(mac(1), 0)));
    let found = [0; 2].map(|_| bench.network.turn_of((0, 0), now, &mut bench.guests));
    assert!(found[1].deadline_ns.is_some_and(|at_ns| at_ns > now) && !found[1].worked, "{found:?}");
    assert!(bench.waiting(0) > 0);
    assert_eq!(bench.network.turn_of((2, 0), now, &mut bench.guests), Turn::default(), "it has no port");
    // What its interface has to be seen to for at once is for the housekeeping CPU; what it waits for anyway is not news.
    for (deadline_ns, told) in [(now, Some(now)), (now + 1, None)] {
        bench.nic.lock().unwrap().deadline_ns = Some(deadline_ns);
        assert_eq!(bench.network.turn_of((1, 0), now, &mut bench.guests).deadline_ns, told);
    }
}

/// Who has done something is polled on, and asks to be told again after that: what a driver was told holds for
/// one command.
#[test]
fn a_command_is_work_whether_frames_wait_or_there_are_none() {
    let limit = RateLimit {
        bytes_per_second: NonZero::new(100_000).unwrap(),
        burst_bytes: NonZero::new(250).unwrap(),
    };
    let mut bench = Bench::new(false, 2, |_, config| config.rate_limit = Some(limit));
    bench.turn();
    assert!(!bench.turn().worked);
    bench.stations[0].lock().unwrap().has_command = true;
    assert!(bench.turn().worked);
    assert!(!bench.turn().worked);
    bench.send(0, (0..5).map(|_| frame(mac(1), 0)));
    bench.turn();
    assert!(!bench.turn().worked, "its frames wait");
    bench.stations[0].lock().unwrap().has_command = true;
    assert!(bench.turn().worked);
    assert_eq!(bench.waiting(0), 2);
}

#[test]
fn who_fills_the_uplink_waits_for_it_and_nobody_else_does() {
    let mut bench = Bench::new(true, 2, |_, _| ());
    bench.turn();
    bench.nic.lock().unwrap().hold = true;
    bench.send(0, (0..1000).map(|_| frame(mac(OUTSIDE), 0)));
    while bench.turn().worked {}
    let given = 1000 - bench.waiting(0);
    assert_eq!(given, crate::fake_nic::ROOM - 63, "as many as leave room for others");
    assert_eq!(bench.network.uplink_counters().unwrap().port.dropped(Dropped::Refused), 0);
    bench.send(1, [frame(mac(0), 1), frame(mac(OUTSIDE), 1)]);
    bench.turn();
    assert_eq!((bench.received(0).len(), bench.waiting(1)), (1, 0));
    bench.nic.lock().unwrap().hold = false;
    for _ in 0..200 {
        bench.turn();
    }
    assert_eq!(bench.sent().len(), 1001, "nothing is lost");
}

/// A TCP packet of IPv4 that is to be cut.
fn large(to: u8, from: u8) -> Vec<u8> {
    let mut bytes = [mac(to).0, mac(from).0].concat();
    bytes.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend([0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    bytes.resize(54 + 3000, 5);
    bytes
}

#[test]
fn a_large_frame_is_cut_for_who_takes_none() {
    let mut bench = Bench::new(true, 3, |_, _| ());
    bench.turn();
    bench.stations[2].lock().unwrap().accepts = Accepts { checksum: true, tcp4: true, ..Accepts::default() };
    let cut = Segmentation { kind: SegmentKind::Tcp4, ecn: false, segment_bytes: 1000, header_bytes: 54 };
    bench.stations[0].lock().unwrap().segmentation = Some(cut);
    bench.send(0, [large(1, 0), large(2, 0), large(OUTSIDE, 0)]);
    bench.turn();
    assert_eq!(bench.received(1).iter().map(Vec::len).collect::<Vec<_>>(), [1054; 3]);
    assert_eq!(bench.received(2), [large(2, 0)]);
    assert_eq!(bench.sent().iter().map(Vec::len).collect::<Vec<_>>(), [1054; 3]);
    assert_eq!(bench.counters(1).received.frames, 1, "of one that is yet to be cut, as at its sender");
}

#[test]
fn a_guest_in_a_vlan_sees_no_tags() {
    let mut bench = Bench::new(true, 2, |guest, config| {
        config.vlan = PortVlan::Access(if guest == 0 { Vlan::new(7) } else { None });
    });
    bench.turn();
    let mut tagged = frame(mac(0), OUTSIDE);
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    bench.comes([tagged, frame(mac(0), OUTSIDE)]);
    bench.send(0, [frame(MacAddress::BROADCAST, 0)]);
    bench.turn();
    assert_eq!(bench.received(0), [frame(mac(0), OUTSIDE)], "that of its VLAN alone");
    assert_eq!(bench.received(1), [[0_u8; 0]; 0]);
    let mut tagged = frame(MacAddress::BROADCAST, 0);
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    assert_eq!(bench.sent(), [tagged]);
}

#[test]
fn the_link_is_passed_on_once() {
    let mut bench = Bench::new(true, 1, |_, _| ());
    bench.turn();
    bench.turn();
    bench.nic.lock().unwrap().is_down = true;
    bench.send(0, [frame(mac(OUTSIDE), 0)]);
    bench.turn();
    bench.turn();
    assert_eq!(bench.counters(0).dropped(Dropped::Unreachable), 1);
    bench.nic.lock().unwrap().is_down = false;
    bench.turn();
    assert_eq!(bench.stations[0].lock().unwrap().link, [true, false, true]);
    assert_eq!(
        bench.network.uplink(),
        Some((Some(mac(0xff)), Link::Up { megabits: 1000, full_duplex: true }))
    );
}

#[test]
fn a_link_is_told_when_it_changes_and_not_too_often() {
    let mut bench = Bench::new(true, 1, |_, _| ());
    let mut now_ns = 0;
    let mut told = |bench: &mut Bench, is_down: bool, later_ns: u64| {
        now_ns += later_ns;
        bench.nic.lock().unwrap().is_down = is_down;
        bench.turn();
        let mut told = None;
        bench.network.report_link(now_ns, &mut |name, is_up| {
            assert_eq!(name, "lan");
            told = Some(is_up);
        });
        told
    };
    assert_eq!(told(&mut bench, false, 0), Some(true));
    assert_eq!(told(&mut bench, false, LINK_NS), None);
    assert_eq!(told(&mut bench, true, 0), Some(false));
    assert_eq!(told(&mut bench, false, 1), None, "it was told a moment ago");
    assert_eq!(told(&mut bench, true, 1), None);
    assert_eq!(told(&mut bench, false, LINK_NS), Some(true), "what is told is how it is");
}

#[test]
fn an_uplink_that_fails_is_started_again_and_the_guests_go_on() {
    let mut bench = Bench::new(true, 2, |_, _| ());
    bench.turn();
    bench.nic.lock().unwrap().broken = Some("it burns".into());
    let failed_at = bench.now + 1000;
    let turn = bench.turn();
    assert!(turn.deadline_ns.is_some_and(|deadline| deadline > failed_at), "{turn:?}");
    let told = |bench: &mut Bench| {
        let mut told = None;
        bench.network.report_failure(&mut |name, why, count| {
            told = Some((name.to_string(), why.to_string(), count));
        });
        told
    };
    assert_eq!(told(&mut bench), Some(("lan".into(), "it burns".into(), 1)));
    assert_eq!(told(&mut bench), None);
    bench.network.restart(bench.now);
    assert_eq!(bench.nic.lock().unwrap().starts, 2);
    // Not at once again.
    bench.turn();
    assert_eq!(told(&mut bench), None);
    bench.send(0, [frame(mac(1), 0), frame(mac(OUTSIDE), 0)]);
    bench.turn();
    assert_eq!((bench.received(1).len(), bench.waiting(0)), (1, 0));
    bench.now = turn.deadline_ns.unwrap();
    bench.turn();
    assert_eq!(told(&mut bench).unwrap().2, 2);
    bench.nic.lock().unwrap().broken = None;
    bench.network.restart(bench.now);
    bench.turn();
    bench.send(0, [frame(mac(OUTSIDE), 0)]);
    bench.turn();
    assert_eq!(bench.sent().len(), 1);
    assert_eq!(bench.stations[0].lock().unwrap().link, [true, false, true]);
}

#[test]
fn who_is_polled_need_not_tell() {
    let mut bench = Bench::new(true, 2, |_, _| ());
    assert!(!bench.network.set_polled(true, &mut bench.guests));
    assert!(bench.nic.lock().unwrap().is_quiet);
    // What came to the interface meanwhile has no message.
    assert!(bench.network.set_polled(false, &mut bench.guests));
    assert!(!bench.nic.lock().unwrap().is_quiet);
    assert_eq!(bench.stations[1].lock().unwrap().wanted, [false, true]);

    let mut alone = Bench::new(false, 2, |_, _| ());
    assert!(!alone.network.set_polled(false, &mut alone.guests));
    alone.stations[0].lock().unwrap().missed = true;
    assert!(alone.network.set_polled(false, &mut alone.guests));
    assert_eq!(alone.stations[1].lock().unwrap().wanted, [true, true], "each is asked");
}

#[test]
fn ports_are_those_of_guests_that_are_built() {
    let mut bench = Bench::new(true, 3, |_, _| ());
    assert_eq!(bench.network.add_port(3, 0, PortConfig::guest(mac(1))), Err(Error::SameAddress(mac(1))));
    bench.network.remove_ports(1);
    assert!(bench.network.counters(1, 0).is_none());
    bench.turn();
    bench.send(0, [frame(mac(2), 0), frame(mac(1), 0)]);
    bench.turn();
    assert_eq!(bench.received(2), [frame(mac(2), 0)]);
    // Whoever has its address now is outside.
    assert_eq!(bench.sent(), [frame(mac(1), 0)]);
    bench.network.add_port(1, 0, PortConfig::guest(mac(1))).unwrap();
    bench.network.interrupt(1, bench.now);
    assert_eq!(bench.nic.lock().unwrap().messages, [1]);
}

#[test]
fn what_is_under_way_when_ports_are_removed_comes_to_nobody_else() {
    let mut bench = Bench::new(false, 4, |_, _| ());
    bench.turn();
    bench.stations[1].lock().unwrap().segmentation =
        Some(Segmentation { kind: SegmentKind::Tcp4, ecn: false, segment_bytes: 64, header_bytes: 54 });
    bench.send(1, [large(2, 1)]);
    bench.turn();
    assert_eq!(bench.received(2).len(), TURN_COPIES);
    // Port 2 is guest 3's from now on.
    bench.network.remove_ports(0);
    assert!(!bench.turn().worked);
    assert_eq!([2, 3].map(|guest| bench.received(guest)), [Vec::<Vec<u8>>::new(), Vec::new()]);
    bench.send(1, [large(2, 1)]);
    bench.turn();
    assert_eq!(bench.received(2).len(), TURN_COPIES, "the next one goes on");
}

#[test]
fn an_interface_that_never_starts_is_no_uplink() {
    let nic = Arc::new(Mutex::new(Script { broken: Some("it burns".into()), ..Script::default() }));
    let network =
        Network::bring_up("lan".into(), Some(Box::new(FakeNic::new(nic))), &SteppingClock::new(1000));
    assert_eq!(network.err().as_deref(), Some("it burns"));
}
