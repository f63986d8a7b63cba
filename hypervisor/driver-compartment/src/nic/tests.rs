//! An interface in a compartment is the interface; killed at any entry it loses no frame that its device had not, and
//! whatever it says does no harm.

mod hardware;
mod kills;
mod lies;

use crate::nic::{NicServer, NicSizes, RemoteNic};
use crate::testing::{Fate, InProcess};
use hardware::{Device, Driver, LARGEST, ROOM};
use network::{Frame, Offload, Tagging};
use nic::{Link, Nic, Refused, State};
use proptest::prelude::*;
use std::boxed::Box;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

const SIZES: NicSizes = NicSizes { frames: 8, frame_bytes: 320 };
const SECOND: u64 = 1_000_000_000;

fn remote(device: &Device, restarts: u16) -> RemoteNic<InProcess> {
    let made = device.clone();
    let compartment = InProcess::new(
        SIZES.words(),
        Box::new(move || {
            made.reset();
            let mut server = NicServer::new(Box::new(Driver::new(&made)), SIZES);
            Box::new(move |area| server.serve(area))
        }),
    );
    RemoteNic::new(compartment, SIZES, restarts).unwrap()
}

fn start(nic: &mut dyn Nic, now_ns: &mut u64) {
    nic.start(*now_ns);
    for _ in 0..200 {
        *now_ns += SECOND / 100;
        if nic.poll(*now_ns).state != State::Starting {
            return;
        }
    }
    panic!("it starts and starts");
}

fn transmit(nic: &mut dyn Nic, frame: &mut Frame, bytes: &[u8], offload: Offload) -> Result<(), Refused> {
    frame.clear();
    frame.append(bytes).unwrap();
    frame.offload = offload;
    let parts = frame.parts(Tagging::Keep).ok_or(Refused::TooShort)?;
    nic.transmit(&parts)
}

/// All that came.
fn receive(nic: &mut dyn Nic, frame: &mut Frame) -> Vec<(Vec<u8>, Offload)> {
    core::iter::from_fn(|| nic.receive(frame).then(|| (frame.bytes().to_vec(), frame.offload))).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Transmit(Vec<u8>, Offload),
    Kick,
    Send(usize),
    Incoming(Vec<u8>),
    Message(u16),
    Quiet(bool),
    Down(bool),
    Break(bool),
    Start,
}

fn offload() -> impl Strategy<Value = Offload> {
    use network::Checksum::{Good, InPlace, Missing};
    prop_oneof![
        Just(InPlace),
        Just(Good),
        (0_u16..400, 0_u16..40).prop_map(|(start, offset)| Missing { start, offset })
    ]
    .prop_map(|checksum| Offload { checksum, segmentation: None })
}

fn step() -> impl Strategy<Value = Step> {
    let frame = || proptest::collection::vec(any::<u8>(), 14..LARGEST + 10);
    let came = proptest::collection::vec(any::<u8>(), 14..LARGEST);
    prop_oneof![
        12 => (frame(), offload()).prop_map(|(frame, offload)| Step::Transmit(frame, offload)),
        4 => Just(Step::Kick),
        5 => (0_usize..8).prop_map(Step::Send),
        6 => came.prop_map(Step::Incoming),
        2 => (0_u16..70).prop_map(Step::Message),
        1 => any::<bool>().prop_map(Step::Quiet),
        1 => any::<bool>().prop_map(Step::Down),
        1 => any::<bool>().prop_map(Step::Break),
        1 => Just(Step::Start),
    ]
}

/// What is seen of an interface after a step.
fn seen(
    nic: &mut dyn Nic,
    device: &Device,
    step: &Step,
    now_ns: u64,
    frame: &mut Frame,
) -> Vec<std::string::String> {
    let mut all = Vec::new();
    match step {
        Step::Transmit(bytes, offload) => {
            all.push(std::format!("{:?}", transmit(nic, frame, bytes, *offload)));
            return all;
        }
        Step::Kick => {
            nic.kick(now_ns);
        }
        Step::Send(count) => {
            nic.kick(now_ns);
            device.send(*count);
        }
        Step::Incoming(bytes) => device.hardware().incoming.push_back(bytes.clone()),
        Step::Message(message) => {
            nic.interrupt(*message, now_ns);
        }
        Step::Quiet(is_quiet) => nic.set_quiet(*is_quiet),
        Step::Down(is_down) => {
            // What the driver was given before is in the device.
            nic.kick(now_ns);
            device.hardware().is_down = *is_down;
        }
        Step::Break(is_broken) => {
            nic.kick(now_ns);
            device.hardware().is_broken = *is_broken;
        }
        Step::Start => {
            nic.start(now_ns);
        }
    }
    // As many times as frames come together: the area has room for a few.
    let mut came = Vec::new();
    for _ in 0..14 {
        nic.kick(now_ns);
        nic.poll(now_ns);
        nic.poll(now_ns);
        came.extend(receive(nic, frame));
    }
    all.push(std::format!("{came:?}"));
    all.push(std::format!("{:?} {:?} {:?}", nic.status().state, nic.link(), nic.queue()));
    all.push(std::format!("{:?} {:?} {:?}", nic.mac(), nic.capabilities(), nic.counters()));
    all.push(nic.error().map(|error| error.to_string()).unwrap_or_default());
    all
}

proptest! {
    #[test]
    fn an_interface_in_a_compartment_is_the_interface(steps in proptest::collection::vec(step(), 0..100)) {
        let (here, there) = (Device::default(), Device::default());
        let mut local = Driver::new(&here);
        let mut remote = remote(&there, 5);
        let mut frame = Frame::new();
        let (mut our_ns, mut their_ns) = (SECOND, SECOND);
        start(&mut local, &mut our_ns);
        start(&mut remote, &mut their_ns);
        for step in &steps {
            // As long as a link that went is down at least.
            our_ns += SECOND / 10;
            let ours = seen(&mut local, &here, step, our_ns, &mut frame);
            let theirs = seen(&mut remote, &there, step, our_ns, &mut frame);
            prop_assert_eq!(ours, theirs, "{:?}", step);
        }
        prop_assert!(here.hardware().sent == there.hardware().sent, "they sent different things");
        if local.status().state == State::Ready {
            prop_assert_eq!(here.hardware().is_quiet, there.hardware().is_quiet);
        }
        prop_assert_eq!(remote.account().ends, 0);
    }

    /// What its user gave it is sent, but for what the device had when its driver died; and its user sees
    /// nothing of that but the count.
    #[test]
    fn its_user_finds_little_of_it(
        fates in proptest::collection::vec(prop_oneof![
            6 => Just(Fate::Serves), 1 => Just(Fate::DiesBefore), 1 => Just(Fate::DiesAfter)], 0..60),
        steps in proptest::collection::vec((0_usize..5, any::<u8>()), 1..100),
        takes in 0_usize..3,
        looks in 0_usize..3,
    ) {
        let device = Device::default();
        let mut nic = remote(&device, 1000);
        let (mut now_ns, mut frame) = (SECOND, Frame::new());
        start(&mut nic, &mut now_ns);
        device.hardware().looks = looks;
        nic.compartment_mut().fates = fates;
        nic.compartment_mut().takes = takes;
        let (mut given, mut came, mut received) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (what, byte)) in steps.into_iter().enumerate() {
            now_ns += SECOND / 100;
            let bytes = vec![number as u8; 20 + usize::from(byte)];
            match what {
                0 | 1 => {
                    if transmit(&mut nic, &mut frame, &bytes, Offload::default()).is_ok() {
                        given.push(bytes);
                    }
                }
                2 => device.send(usize::from(byte >> 5)),
                3 => {
                    came.push(bytes.clone());
                    device.hardware().incoming.push_back(bytes);
                }
                _ => {
                    nic.kick(now_ns);
                }
            }
            prop_assert_eq!(nic.poll(now_ns).state, State::Ready);
            prop_assert_ne!(nic.link(), Link::Down);
            received.extend(receive(&mut nic, &mut frame).into_iter().map(|(bytes, _)| bytes));
        }
        for _ in 0..400 {
            now_ns += SECOND / 100;
            nic.kick(now_ns);
            device.send(100);
            nic.poll(now_ns);
            received.extend(receive(&mut nic, &mut frame).into_iter().map(|(bytes, _)| bytes));
        }
        let counters = nic.counters();
        prop_assert_eq!(nic.queue().waiting, 0);
        prop_assert_eq!(counters.sent.frames + counters.lost, given.len() as u64);
        let sent = device.hardware().sent.clone();
        // Those that it sent, it sent in order; what was sent before the driver died and could say so may come twice.
        let missing = given.iter().filter(|frame| !sent.contains(frame)).count() as u64;
        prop_assert!(missing <= counters.lost, "{} of {}", missing, counters.lost);
        let mut left = came.iter();
        prop_assert!(received.iter().all(|frame| left.any(|other| other == frame)), "out of order");
    }

    #[test]
    fn no_answer_harms_ring_0(
        fates in proptest::collection::vec(lie(), 0..80),
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let device = Device::default();
        let mut nic = remote(&device, 20);
        let (mut now_ns, mut frame) = (SECOND, Frame::new());
        start(&mut nic, &mut now_ns);
        nic.compartment_mut().fates = fates;
        let mut given = 0;
        for step in &steps {
            now_ns += SECOND / 4;
            if let Step::Transmit(bytes, offload) = step {
                given += u64::from(transmit(&mut nic, &mut frame, bytes, *offload).is_ok());
            } else {
                seen(&mut nic, &device, step, now_ns, &mut frame);
            }
            for (bytes, _) in receive(&mut nic, &mut frame) {
                prop_assert!(bytes.len() <= SIZES.frame_bytes);
            }
            if let Some(deadline_ns) = nic.poll(now_ns).deadline_ns {
                prop_assert!(deadline_ns >= now_ns);
            }
            let (counters, queue) = (nic.counters(), nic.queue());
            prop_assert!(counters.sent.frames + counters.lost <= given, "{:?} of {}", counters, given);
            prop_assert!(queue.room <= SIZES.frames.into() && queue.waiting as u64 <= given);
            prop_assert!(nic.capabilities().largest_bytes <= SIZES.frame_bytes);
            prop_assert!(!nic.capabilities().segmentation);
        }
        nic.compartment_mut().fates.clear();
        *device.hardware() = hardware::Hardware::default();
        now_ns += 61 * SECOND;
        start(&mut nic, &mut now_ns);
        now_ns += SECOND;
        nic.poll(now_ns);
        prop_assert_eq!(nic.status().state, State::Ready);
        let counters = nic.counters();
        prop_assert_eq!(counters.sent.frames + counters.lost, given);
    }
}

fn lie() -> impl Strategy<Value = Fate> {
    let word = prop_oneof![
        0_u64..10,
        0_u64..400,
        any::<u64>(),
        Just(u64::MAX),
        Just(1 << 63),
        Just(1 << 63 | 0x1000)
    ];
    let at = prop_oneof![0_usize..56, 0_usize..SIZES.words()];
    let lies = proptest::collection::vec((at, word), 0..6);
    prop_oneof![
        3 => Just(Fate::Serves),
        3 => lies.clone().prop_map(Fate::Lies),
        2 => (lies, 0_u64..3, 0_u64..6).prop_map(|(mut lies, operation, state)| {
            // As an answer is.
            lies.extend([(7, operation), (8, state)]);
            Fate::OnlyLies(lies)
        }),
        1 => Just(Fate::DiesAfter),
    ]
}

/// Frames that were given while there was no driver are sent by the next one, all of them.
#[test]
fn what_the_device_had_not_is_not_lost() {
    let device = Device::default();
    let mut nic = remote(&device, 5);
    let (mut now_ns, mut frame) = (SECOND, Frame::new());
    start(&mut nic, &mut now_ns);
    // The link of the new one takes a second.
    nic.compartment_mut().fates = vec![Fate::DiesBefore];
    nic.compartment_mut().takes = 2;
    device.hardware().is_down = true;
    let frames: Vec<Vec<u8>> = (0..ROOM).map(|number| vec![number as u8; 60]).collect();
    for bytes in &frames[..2] {
        assert_eq!(transmit(&mut nic, &mut frame, bytes, Offload::default()), Ok(()));
    }
    nic.kick(now_ns);
    for bytes in &frames[2..] {
        now_ns += SECOND / 4;
        assert_eq!(nic.poll(now_ns).state, State::Ready);
        assert_ne!(nic.link(), Link::Down);
        assert_eq!(transmit(&mut nic, &mut frame, bytes, Offload::default()), Ok(()));
        nic.kick(now_ns);
    }
    device.hardware().is_down = false;
    now_ns += SECOND;
    nic.poll(now_ns);
    nic.kick(now_ns);
    device.send(100);
    nic.poll(now_ns);
    nic.poll(now_ns);
    assert_eq!(device.hardware().sent, frames);
    assert_eq!((nic.counters().lost, nic.account().renewals), (0, 1));
}

/// Where there is no link for long, it is told, and what waited is lost.
#[test]
fn what_waited_too_long_is_old() {
    let device = Device::default();
    let mut nic = remote(&device, 5);
    let (mut now_ns, mut frame) = (SECOND, Frame::new());
    start(&mut nic, &mut now_ns);
    nic.compartment_mut().fates = vec![Fate::DiesBefore];
    device.hardware().is_down = true;
    assert_eq!(transmit(&mut nic, &mut frame, &[1; 60], Offload::default()), Ok(()));
    nic.kick(now_ns);
    for _ in 0..12 {
        now_ns += SECOND / 2;
        nic.poll(now_ns);
    }
    assert_eq!((nic.status().state, nic.link(), nic.counters().lost), (State::Ready, Link::Down, 1));
    assert_eq!(transmit(&mut nic, &mut frame, &[1; 60], Offload::default()), Err(Refused::Down));
}

#[test]
fn one_that_always_dies_fails() {
    let device = Device::default();
    let mut nic = remote(&device, 3);
    let mut now_ns = SECOND;
    start(&mut nic, &mut now_ns);
    nic.compartment_mut().fates = vec![Fate::DiesBefore; 100];
    for _ in 0..20 {
        now_ns += SECOND / 10;
        nic.poll(now_ns);
    }
    assert_eq!((nic.status().state, nic.link()), (State::Failed, Link::Down));
    let error = nic.error().unwrap().to_string();
    assert_eq!(error, "its driver was ended too often: it did not come back in time");
    nic.compartment_mut().fates.clear();
    now_ns += 61 * SECOND;
    start(&mut nic, &mut now_ns);
    nic.poll(now_ns);
    assert_eq!((nic.status().state, nic.link() == Link::Down), (State::Ready, false));
}

/// Who has turn after turn enters one that has nothing to do now and then, and one that has something each time.
#[test]
fn one_that_has_nothing_is_left_alone() {
    let device = Device::default();
    let mut nic = remote(&device, 0);
    let (mut now_ns, mut frame) = (SECOND, Frame::new());
    start(&mut nic, &mut now_ns);
    let turns = |nic: &mut RemoteNic<InProcess>, now_ns: &mut u64| {
        let before = nic.compartment_mut().entries;
        for _ in 0..1000 {
            *now_ns += 1000;
            nic.poll(*now_ns);
        }
        nic.compartment_mut().entries - before
    };
    assert!(matches!(turns(&mut nic, &mut now_ns), 18..=22));
    device.hardware().incoming.extend((0..2).map(|number| vec![number; 60]));
    assert!(matches!(turns(&mut nic, &mut now_ns), 18..=24));
    assert_eq!(receive(&mut nic, &mut frame).len(), 2);
    assert_eq!(transmit(&mut nic, &mut frame, &[7; 60], Offload::default()), Ok(()));
    // A frame that is under way is waited for.
    nic.kick(now_ns);
    let before = nic.compartment_mut().entries;
    for _ in 0..100 {
        now_ns += 1000;
        nic.poll(now_ns);
    }
    assert_eq!(nic.compartment_mut().entries - before, 99, "the first was fresh");
    // Whatever is told comes at once.
    device.send(1);
    nic.poll(now_ns);
    nic.poll(now_ns);
    device.hardware().incoming.push_back(vec![9; 60]);
    nic.interrupt(0, now_ns);
    nic.poll(now_ns);
    assert_eq!(receive(&mut nic, &mut frame).len(), 1);
}
