//! Frames of any bytes through a switch, to ports that come and go, and cut into segments on the way.
#![no_main]

use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use network::{
    Checksum, Frame, MacAddress, Offload, PortConfig, PortId, PortVlan, RateLimit, SegmentKind, Segmentation,
    Switch, Tagging, Vlan,
};
use std::cell::RefCell;

const PORTS: u8 = 5;
/// Rooms are as large as frames can be, and are allocated once.
type Rooms = [Frame; 3];

thread_local! {
    static ROOMS: RefCell<Rooms> = RefCell::new([Frame::new(), Frame::new(), Frame::new()]);
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let configs: Vec<_> = (0..PORTS).map(|number| config(&mut input, number)).collect();
    let mut switch = Switch::new(&configs, 8).expect("addresses are different");
    let mut now_ns = 0_u64;
    ROOMS.with_borrow_mut(|rooms| {
        while !input.is_empty() {
            now_ns = now_ns.saturating_add(u64::from(input.u32()) << (input.u8() % 32));
            let port = PortId((input.u8() % (PORTS + 1)).into());
            match input.u8() % 8 {
                0 => {
                    let is_up = input.u8() % 4 != 0;
                    switch.set_up(port, is_up);
                    assert_eq!(switch.is_up(port), is_up && port.0 < PORTS.into());
                }
                _ => {
                    fill(&mut input, &mut rooms[0]);
                    send(&mut switch, &configs, port, rooms, now_ns);
                }
            }
        }
    });
});

fn address(number: u8) -> MacAddress {
    match number {
        14 => MacAddress::BROADCAST,
        15 => MacAddress([1, 0x80, 0xc2, 0, 0, 1]),
        _ => MacAddress([2, 0, 0, 0, 0, number]),
    }
}

fn config(input: &mut Input<'_>, number: u8) -> PortConfig {
    let (bits, vlan) = (input.u8(), Vlan::new((input.u8() % 3).into()));
    PortConfig {
        mac: (bits & 1 == 0).then(|| address(number)),
        any_source: bits & 2 != 0,
        vlan: if bits & 4 == 0 { PortVlan::Access(vlan) } else { PortVlan::Trunk },
        rate_limit: (bits & 8 != 0).then(|| RateLimit {
            bytes_per_second: (u64::from(input.u32()) + 1).try_into().expect("not zero"),
            burst_bytes: (u32::from(input.u16()) + 1).try_into().expect("not zero"),
        }),
        is_isolated: bits & 16 != 0,
    }
}

/// A frame of the input's bytes, often with addresses that ports have, and larger than the input.
fn fill(input: &mut Input<'_>, frame: &mut Frame) {
    frame.clear();
    let (kind, places) = (input.u8(), input.u8());
    if kind & 1 != 0 {
        frame.append(&address(places & 15).0).expect("there is room");
        frame.append(&address(places >> 4).0).expect("there is room");
    }
    if kind & 2 != 0 {
        frame.append(&[0x81, 0, 0, input.u8() % 4]).expect("there is room");
    }
    let headers = usize::from(input.u8());
    frame.append(input.bytes(headers)).expect("there is room");
    if kind & 4 != 0 {
        let more = frame.len() + usize::from(input.u16());
        // Where there is no room for so many, there are fewer.
        let _ = frame.set_len(more);
    }
    let checksum = match kind >> 3 & 3 {
        0 => Checksum::Missing { start: input.u16(), offset: input.u8().into() },
        1 => Checksum::Good,
        _ => Checksum::InPlace,
    };
    let segmentation = (kind & 32 != 0).then(|| Segmentation {
        kind: if kind & 64 == 0 { SegmentKind::Tcp4 } else { SegmentKind::Tcp6 },
        ecn: kind & 128 != 0,
        segment_bytes: input.u16(),
        header_bytes: input.u16(),
    });
    frame.offload = Offload { checksum, segmentation };
}

fn send(switch: &mut Switch, configs: &[PortConfig], from: PortId, rooms: &mut Rooms, now_ns: u64) {
    let [frame, copy, segment] = rooms;
    let mut way = switch.forward(from, frame, now_ns);
    let (mut last, mut count) = (None, 0);
    while let Some(delivery) = switch.next_delivery(&mut way) {
        let (port, sender) = (configs[usize::from(delivery.port.0)], configs[usize::from(from.0)]);
        assert!(delivery.port != from && last < Some(delivery.port), "back, or twice");
        assert!(switch.is_up(delivery.port) && switch.is_up(from), "a port that is down");
        assert!(!(port.is_isolated && sender.is_isolated), "isolated ports");
        let source = frame.source().expect("a frame that is forwarded has one");
        assert!(source.is_station() && (sender.any_source || sender.mac == Some(source)), "spoofed");
        let destination = frame.destination().expect("it has one");
        let owner = configs.iter().position(|port| port.mac == Some(destination));
        assert!(owner.is_none_or(|owner| owner == usize::from(delivery.port.0)), "another's frame");
        let vlan = match sender.vlan {
            PortVlan::Access(vlan) => vlan,
            PortVlan::Trunk => frame.vlan(),
        };
        assert!(matches!(port.vlan, PortVlan::Trunk) || port.vlan == PortVlan::Access(vlan), "another VLAN");
        // A checksum's start within the addresses moves nowhere; a frame at its largest takes no tag.
        if let Some(parts) = frame.parts(delivery.tagging)
            && copy.assign(&parts).is_some()
        {
            assert!(port.vlan != PortVlan::Trunk || copy.vlan() == vlan, "another tag");
            cut(copy, segment);
        }
        switch.delivered(delivery.port, frame.len());
        last = Some(delivery.port);
        count += 1;
    }
    assert!(count < PORTS);
    let _ = frame.parts(Tagging::Untag).map(|parts| parts.bytes());
}

/// What a receiver without offloads does.
fn cut(frame: &mut Frame, segment: &mut Frame) {
    let bytes = frame.len();
    if let Some(mut segments) = frame.segments() {
        let (left, largest) = (segments.left(), segments.largest_bytes());
        assert!((1..=1024).contains(&left));
        for _ in 0..left {
            assert!(segments.next_into(segment) && segment.len() <= largest);
            assert_eq!(segment.offload, Offload::default());
        }
        assert!(!segments.next_into(segment) && segment.is_empty());
    }
    let is_finished = frame.finish_checksum().is_some();
    assert_eq!(frame.len(), bytes);
    assert!(!is_finished || !matches!(frame.offload.checksum, Checksum::Missing { .. }));
}
