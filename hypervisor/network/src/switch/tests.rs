use super::*;
use crate::rate::RateLimit;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::{vec, vec::Vec};

const UPLINK: PortId = PortId(0);
const A: PortId = PortId(1);
const B: PortId = PortId(2);
const C: PortId = PortId(3);
const BACKUP: PortId = PortId(4);

fn station(number: u8) -> MacAddress {
    MacAddress([0x52, 0x54, 0, 0, 0, number])
}

fn stranger(number: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 1, number])
}

fn frame(to: MacAddress, from: MacAddress, vlan: Option<u16>) -> Frame {
    let mut frame = Frame::new();
    frame.append(&to.0).unwrap();
    frame.append(&from.0).unwrap();
    if let Some(vlan) = vlan {
        frame.append(&0x8100_u16.to_be_bytes()).unwrap();
        frame.append(&vlan.to_be_bytes()).unwrap();
    }
    frame.append(&[8, 0]).unwrap();
    frame.append(&[7; 50]).unwrap();
    frame
}

/// An uplink, three guests, and a second uplink.
fn configs() -> [PortConfig; 5] {
    [
        PortConfig::uplink(),
        PortConfig::guest(station(1)),
        PortConfig::guest(station(2)),
        PortConfig::guest(station(3)),
        PortConfig::uplink(),
    ]
}

fn switch(configs: &[PortConfig]) -> Switch {
    let mut switch = Switch::new(configs, 16).unwrap();
    for port in 0..configs.len() as u16 {
        assert!(!switch.is_up(PortId(port)));
        switch.set_up(PortId(port), true);
    }
    switch
}

fn send(switch: &mut Switch, from: PortId, frame: &Frame) -> Vec<(u16, Tagging)> {
    send_at(switch, from, frame, 1)
}

fn send_at(switch: &mut Switch, from: PortId, frame: &Frame, now_ns: u64) -> Vec<(u16, Tagging)> {
    let mut way = switch.forward(from, frame, now_ns);
    let told =
        core::iter::from_fn(|| switch.next_delivery(&mut way)).map(|to| (to.port.0, to.tagging)).collect();
    assert_eq!(switch.next_delivery(&mut way), None);
    told
}

fn keep(ports: &[u16]) -> Vec<(u16, Tagging)> {
    ports.iter().map(|port| (*port, Tagging::Keep)).collect()
}

fn drops(switch: &Switch, port: PortId) -> Vec<(Dropped, u64)> {
    let counters = switch.counters(port).unwrap();
    let all = Dropped::ALL.into_iter().map(|reason| (reason, counters.dropped(reason)));
    all.filter(|(_, count)| *count != 0).collect()
}

#[test]
fn no_switch_is_made_of_ports_that_cannot_be() {
    let same = [PortConfig::guest(station(1)), PortConfig::uplink(), PortConfig::guest(station(1))];
    assert_eq!(Switch::new(&same, 1).unwrap_err(), Error::SameAddress(station(1)));
    let group = [PortConfig::guest(MacAddress::BROADCAST)];
    assert_eq!(Switch::new(&group, 1).unwrap_err(), Error::NoStation(MacAddress::BROADCAST));
    let many = vec![PortConfig { any_source: false, ..PortConfig::uplink() }; 65_536];
    assert_eq!(Switch::new(&many, 1).unwrap_err(), Error::TooManyPorts);
    let mut most = switch(&many[1..]);
    assert_eq!(most.ports(), 65_535);
    assert_eq!(send(&mut most, PortId(65_535), &frame(station(1), station(2), None)), []);
}

#[test]
fn a_station_of_a_port_is_found_at_once_and_everybody_by_a_group() {
    let mut switch = switch(&configs());
    assert_eq!(send(&mut switch, A, &frame(station(2), station(1), None)), keep(&[2]));
    assert_eq!(send(&mut switch, UPLINK, &frame(station(3), stranger(1), None)), keep(&[3]));
    for group in [MacAddress::BROADCAST, MacAddress([1, 0, 0x5e, 0, 0, 1])] {
        assert_eq!(send(&mut switch, B, &frame(group, station(2), None)), keep(&[0, 1, 3, 4]));
    }
}

#[test]
fn a_stranger_is_looked_for_behind_uplinks_alone_until_it_is_seen() {
    let mut switch = switch(&configs());
    let to_stranger = frame(stranger(1), station(1), None);
    assert_eq!(send(&mut switch, A, &to_stranger), keep(&[0, 4]));
    send(&mut switch, BACKUP, &frame(station(1), stranger(1), None));
    assert_eq!(send(&mut switch, A, &to_stranger), keep(&[4]));
    // It moves; what was seen last holds.
    send_at(&mut switch, UPLINK, &frame(station(1), stranger(1), None), 2);
    assert_eq!(send_at(&mut switch, A, &to_stranger, 3), keep(&[0]));
    // What is on one side is not sent back there.
    assert_eq!(send_at(&mut switch, UPLINK, &frame(stranger(1), stranger(2), None), 3), []);
    assert_eq!(drops(&switch, UPLINK), [(Dropped::Unreachable, 1)]);
    // A cable that is pulled out forgets whom it led to.
    switch.set_up(UPLINK, false);
    assert_eq!(send_at(&mut switch, A, &to_stranger, 3), keep(&[4]));
    switch.set_up(UPLINK, true);
    let old = 2 + crate::learning::AGE_NS;
    assert_eq!(send_at(&mut switch, A, &to_stranger, old), keep(&[0, 4]));
}

#[test]
fn a_flood_of_addresses_puts_nobody_out_of_reach() {
    let mut switch = switch(&configs());
    send(&mut switch, BACKUP, &frame(station(1), stranger(1), None));
    for number in 0..10_000_u16 {
        let [high, low] = number.to_be_bytes();
        send(&mut switch, UPLINK, &frame(station(1), MacAddress([2, 0, 0, 9, high, low]), None));
    }
    // The other port's are still known; the flooded port's own are found by asking everywhere.
    assert_eq!(send(&mut switch, A, &frame(stranger(1), station(1), None)), keep(&[4]));
    assert_eq!(send(&mut switch, A, &frame(MacAddress([2, 0, 0, 9, 0, 0]), station(1), None)), keep(&[0, 4]));
    assert_eq!(send(&mut switch, B, &frame(station(1), station(2), None)), keep(&[1]));
}

#[test]
fn nobody_sends_as_somebody_else() {
    let mut switch = switch(&configs());
    let everybody = MacAddress::BROADCAST;
    for foreign in [station(2), stranger(1)] {
        assert_eq!(send(&mut switch, A, &frame(everybody, foreign, None)), []);
    }
    assert_eq!(drops(&switch, A), [(Dropped::Spoofed, 2)]);
    // Not even an uplink does as a guest.
    assert_eq!(send(&mut switch, UPLINK, &frame(station(2), station(1), None)), []);
    for source in [MacAddress([0; 6]), everybody] {
        assert_eq!(send(&mut switch, UPLINK, &frame(station(1), source, None)), []);
    }
    assert_eq!(drops(&switch, UPLINK), [(Dropped::Malformed, 2), (Dropped::Spoofed, 1)]);
    // A guest that may has the addresses that are nobody's.
    let mut configs = configs();
    configs[1].any_source = true;
    let mut switch = self::switch(&configs);
    assert_eq!(send(&mut switch, A, &frame(station(2), stranger(1), None)), keep(&[2]));
    assert_eq!(send(&mut switch, A, &frame(station(2), station(1), None)), keep(&[2]));
    assert_eq!(send(&mut switch, A, &frame(station(2), station(3), None)), []);
    assert_eq!(send(&mut switch, B, &frame(stranger(1), station(2), None)), keep(&[1]));
}

#[test]
fn what_is_for_the_bridge_stays() {
    let mut switch = switch(&configs());
    for last in 0..16 {
        assert_eq!(
            send(&mut switch, A, &frame(MacAddress([1, 0x80, 0xc2, 0, 0, last]), station(1), None)),
            []
        );
    }
    assert_eq!(drops(&switch, A), [(Dropped::Reserved, 16)]);
    let next = frame(MacAddress([1, 0x80, 0xc2, 0, 0, 16]), station(1), None);
    assert_eq!(send(&mut switch, A, &next), keep(&[0, 2, 3, 4]));
}

#[test]
fn vlans_are_apart_and_tagged_on_trunks() {
    let (five, six) = (Vlan::new(5), Vlan::new(6));
    let mut configs = configs();
    configs[1].vlan = PortVlan::Access(five);
    configs[2].vlan = PortVlan::Access(five);
    configs[3].vlan = PortVlan::Access(six);
    let mut switch = switch(&configs);
    let insert = Tagging::Insert(five.unwrap());
    assert_eq!(send(&mut switch, A, &frame(station(2), station(1), None)), keep(&[2]));
    assert_eq!(send(&mut switch, A, &frame(station(3), station(1), None)), []);
    let all = [(0, insert), (2, Tagging::Keep), (4, insert)];
    assert_eq!(send(&mut switch, A, &frame(MacAddress::BROADCAST, station(1), None)), all);
    // From a trunk by the tag, whatever its priority.
    let tagged = frame(MacAddress::BROADCAST, stranger(1), Some(0xe005));
    let all = [(1, Tagging::Untag), (2, Tagging::Untag), (4, Tagging::Keep)];
    assert_eq!(send(&mut switch, UPLINK, &tagged), all);
    assert_eq!(send(&mut switch, UPLINK, &frame(station(3), stranger(1), Some(5))), []);
    // Without a VLAN there is the other trunk alone.
    for none in [None, Some(0xe000)] {
        let untagged = frame(MacAddress::BROADCAST, stranger(1), none);
        assert_eq!(send(&mut switch, UPLINK, &untagged), keep(&[4]));
    }
    // A stranger is known in its VLAN.
    assert_eq!(send(&mut switch, A, &frame(stranger(1), station(1), None)), [(0, insert)]);
    let to_six = [(0, Tagging::Insert(six.unwrap())), (4, Tagging::Insert(six.unwrap()))];
    assert_eq!(send(&mut switch, C, &frame(stranger(1), station(3), None)), to_six);
}

#[test]
fn an_access_port_sends_no_tags() {
    let mut switch = switch(&configs());
    for vlan in [0, 5, 0xfff] {
        assert_eq!(send(&mut switch, A, &frame(station(2), station(1), Some(vlan))), []);
    }
    let mut service = frame(station(2), station(1), Some(5));
    service.bytes_mut()[12..14].copy_from_slice(&TYPE_VLAN_SERVICE.to_be_bytes());
    assert_eq!(send(&mut switch, A, &service), []);
    assert_eq!(drops(&switch, A), [(Dropped::Vlan, 4)]);
    assert_eq!(send(&mut switch, UPLINK, &frame(station(2), stranger(1), Some(0xfff))), []);
    assert_eq!(drops(&switch, UPLINK), [(Dropped::Malformed, 1)]);
}

#[test]
fn isolated_ports_do_not_reach_each_other() {
    let mut configs = configs();
    configs[1].is_isolated = true;
    configs[2].is_isolated = true;
    let mut switch = switch(&configs);
    assert_eq!(send(&mut switch, A, &frame(station(2), station(1), None)), []);
    assert_eq!(send(&mut switch, A, &frame(station(3), station(1), None)), keep(&[3]));
    assert_eq!(send(&mut switch, A, &frame(MacAddress::BROADCAST, station(1), None)), keep(&[0, 3, 4]));
    assert_eq!(send(&mut switch, C, &frame(MacAddress::BROADCAST, station(3), None)), keep(&[0, 1, 2, 4]));
}

#[test]
fn a_port_that_is_down_neither_sends_nor_takes() {
    let mut switch = switch(&configs());
    switch.set_up(A, false);
    assert_eq!(send(&mut switch, A, &frame(station(2), station(1), None)), []);
    assert_eq!(send(&mut switch, B, &frame(station(1), station(2), None)), []);
    assert_eq!(send(&mut switch, B, &frame(MacAddress::BROADCAST, station(2), None)), keep(&[0, 3, 4]));
    assert_eq!(drops(&switch, A), [(Dropped::Down, 1)]);
    assert_eq!(drops(&switch, B), [(Dropped::Unreachable, 1)]);
}

#[test]
fn what_is_over_the_limit_is_dropped_and_can_wait_instead() {
    let mut configs = configs();
    configs[1].rate_limit =
        Some(RateLimit { bytes_per_second: 1000.try_into().unwrap(), burst_bytes: 64.try_into().unwrap() });
    let mut switch = switch(&configs);
    let frame = frame(station(2), station(1), None);
    assert_eq!(switch.ready_ns(A), 0);
    assert_eq!(send_at(&mut switch, A, &frame, 0), keep(&[2]));
    assert_eq!(send_at(&mut switch, A, &frame, 0), []);
    assert_eq!(drops(&switch, A), [(Dropped::RateLimit, 1)]);
    let ready_ns = switch.ready_ns(A);
    assert!(ready_ns > 0);
    assert_eq!(send_at(&mut switch, A, &frame, ready_ns - 1), []);
    assert_eq!(send_at(&mut switch, A, &frame, ready_ns), keep(&[2]));
}

#[test]
fn each_way_is_counted() {
    let mut switch = switch(&configs());
    let frame = frame(station(2), station(1), None);
    send(&mut switch, A, &frame);
    switch.delivered(B, frame.len());
    switch.refused(B);
    let counters = switch.counters(A).unwrap();
    assert_eq!((counters.sent.frames, counters.sent.bytes), (1, 64));
    let counters = switch.counters(B).unwrap();
    assert_eq!((counters.received.frames, counters.received.bytes), (1, 64));
    assert_eq!(drops(&switch, B), [(Dropped::Refused, 1)]);
    // Ports that do not exist are no harm.
    let nowhere = PortId(9);
    switch.delivered(nowhere, 1);
    switch.refused(nowhere);
    switch.set_up(nowhere, true);
    assert!(!switch.is_up(nowhere) && switch.counters(nowhere).is_none() && switch.config(nowhere).is_none());
    assert_eq!(send(&mut switch, nowhere, &frame), []);
    for (place, reason) in Dropped::ALL.into_iter().enumerate() {
        assert_eq!(place, reason as usize);
        assert!(!reason.words().is_empty());
    }
}

fn any_port(number: u8) -> impl Strategy<Value = PortConfig> {
    let vlan =
        prop_oneof![Just(PortVlan::Trunk), (0..3_u16).prop_map(|number| PortVlan::Access(Vlan::new(number)))];
    (any::<bool>(), any::<bool>(), vlan, any::<bool>()).prop_map(
        move |(has_mac, any_source, vlan, is_isolated)| {
            let mac = has_mac.then(|| station(number));
            PortConfig { mac, any_source, vlan, rate_limit: None, is_isolated }
        },
    )
}

#[derive(Debug, Clone)]
enum Step {
    Up(u16, bool),
    Send { from: u16, source: u8, to: u8, vlan: Option<u16>, pause_ns: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    let send = (0..6_u16, 0..12_u8, 0..13_u8, prop::option::of(0..3_u16), 0..100_000_000_000_u64)
        .prop_map(|(from, source, to, vlan, pause_ns)| Step::Send { from, source, to, vlan, pause_ns });
    prop_oneof![1 => (0..6_u16, any::<bool>()).prop_map(|(port, up)| Step::Up(port, up)), 6 => send]
}

/// Addresses 0 to 5 are ports', if they have one; then come strangers, and everybody.
fn address(number: u8) -> MacAddress {
    match number {
        0..6 => station(number),
        6..12 => stranger(number),
        _ => MacAddress::BROADCAST,
    }
}

proptest! {
    #[test]
    fn no_frame_goes_where_it_must_not(
        ports in (any_port(0), any_port(1), any_port(2), any_port(3), any_port(4), any_port(5)),
        steps in prop::collection::vec(any_step(), 1..80)
    ) {
        let configs = [ports.0, ports.1, ports.2, ports.3, ports.4, ports.5];
        let mut switch = Switch::new(&configs, 4).unwrap();
        let mut up = [true; 6];
        for port in 0..6 {
            switch.set_up(PortId(port), true);
        }
        let mut now_ns = 0;
        for step in steps {
            let (from, source, to, tag) = match step {
                Step::Up(port, is_up) => {
                    switch.set_up(PortId(port), is_up);
                    up[usize::from(port)] = is_up;
                    continue;
                }
                Step::Send { from, source, to, vlan, pause_ns } => {
                    now_ns += pause_ns;
                    (from, address(source), address(to), vlan)
                }
            };
            let frame = frame(to, source, tag);
            let told = send_at(&mut switch, PortId(from), &frame, now_ns);
            let sender = configs[usize::from(from)];
            let vlan = match sender.vlan {
                PortVlan::Access(vlan) => vlan,
                PortVlan::Trunk => frame.vlan(),
            };
            let owner = configs.iter().position(|port| port.mac == Some(source));
            let distinct: BTreeSet<u16> = told.iter().map(|(port, _)| *port).collect();
            prop_assert_eq!(distinct.len(), told.len(), "a port twice");
            for (number, tagging) in &told {
                let port = configs[usize::from(*number)];
                prop_assert!(*number != from, "back to the sender");
                prop_assert!(up[usize::from(from)] && up[usize::from(*number)], "a port that is down");
                prop_assert!(!(sender.is_isolated && port.is_isolated), "isolated");
                prop_assert!(owner.map_or(sender.any_source, |owner| owner == usize::from(from)), "spoofed");
                if let Some(owner) = configs.iter().position(|port| port.mac == Some(to)) {
                    prop_assert_eq!(usize::from(*number), owner, "another's frame");
                } else if !to.is_group() {
                    prop_assert!(port.any_source, "no stranger is there");
                }
                let mut copy = Frame::new();
                copy.assign(&frame.parts(*tagging).unwrap()).unwrap();
                match port.vlan {
                    PortVlan::Access(own) => {
                        prop_assert_eq!(own, vlan, "another VLAN");
                        prop_assert_eq!(copy.kind(), Some(0x800), "a tag");
                    }
                    PortVlan::Trunk => prop_assert_eq!(copy.vlan(), vlan, "another tag"),
                }
            }
            // A frame of somebody to a port that takes it arrives.
            if let Some(owner) = configs.iter().position(|port| port.mac == Some(to)) {
                let port = configs[owner];
                let is_sent = up[usize::from(from)]
                    && owner_or_free(owner_of(&configs, source), sender, from)
                    && (sender.vlan == PortVlan::Trunk || tag.is_none());
                let is_taken = up[owner]
                    && owner != usize::from(from)
                    && !(port.is_isolated && sender.is_isolated)
                    && (port.vlan == PortVlan::Trunk || port.vlan == PortVlan::Access(vlan));
                prop_assert_eq!(!told.is_empty(), is_sent && is_taken);
            }
        }
    }
}

fn owner_of(configs: &[PortConfig], source: MacAddress) -> Option<usize> {
    configs.iter().position(|port| port.mac == Some(source))
}

fn owner_or_free(owner: Option<usize>, sender: PortConfig, from: u16) -> bool {
    owner.map_or(sender.any_source, |owner| owner == usize::from(from))
}
