//! A driver that is the attacker, one lie at a time.

use super::{SECOND, transmit};
use crate::function::{Function, Renewal};
use crate::nic::area::{Facts, NicSizes, Progress};
use crate::nic::remote::RemoteNic;
use crate::words::{Operation, Words, at, state};
use compartment::{Compartment, Ended};
use network::{Checksum, Frame, MacAddress, Offload, SegmentKind, Segmentation, Traffic};
use nic::{Capabilities, Link, Nic, Refused, State};
use std::boxed::Box;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

const SIZES: NicSizes = NicSizes { frames: 8, frame_bytes: 320 };
const UP: Link = Link::Up { megabits: 1000, full_duplex: true };
const MS: u64 = SECOND / 1000;

/// What is said of an interface that is up, takes what it is given, and has sent it.
fn facts() -> Facts {
    Facts {
        link: UP,
        capabilities: Capabilities { checksum: false, segmentation: false, largest_bytes: 300 },
        mac: Some(MacAddress([2, 0, 0, 0, 0, 1])),
        room: 8,
    }
}

/// Says an answer that is right, and then what the attacker says.
type Says = Box<dyn FnMut(&mut Words<'_>, usize) + Send>;

struct Liar {
    area: Vec<u64>,
    says: Says,
    entries: usize,
}

impl Compartment for Liar {
    fn area(&mut self) -> &mut [u64] {
        &mut self.area
    }
    fn enter(&mut self) -> Result<(), Ended> {
        self.entries += 1;
        let mut words = Words(&mut self.area);
        let operation = words.get(at::OPERATION);
        let to_send = words.ask().to_send;
        words.put(at::ANSWERED, operation);
        words.put(at::STATE, state::READY);
        words.put(at::DEADLINE, u64::MAX);
        words.put(at::IS_OURS, 1);
        words.set_facts(&facts());
        words.set_moved(to_send, 0);
        let sent = Traffic { frames: to_send as u64, bytes: to_send as u64 * 60 };
        words.set_progress(&Progress { sent, ..Progress::default() });
        if operation == Operation::Turn as u64 {
            (self.says)(&mut words, self.entries);
        }
        Ok(())
    }
}

impl Function for Liar {
    fn begin_renewal(&mut self, _: u64) {}
    fn renewal(&mut self, _: u64) -> Renewal {
        Renewal::Done { keeps_cache: true }
    }
}

/// An interface that was started, in its second 1: its next poll is entry 2, the first turn.
fn liar(restarts: u16, says: impl FnMut(&mut Words<'_>, usize) + Send + 'static) -> RemoteNic<Liar> {
    let compartment = Liar { area: vec![0; SIZES.words()], says: Box::new(says), entries: 0 };
    let mut nic = RemoteNic::new(compartment, SIZES, restarts).unwrap();
    nic.start(SECOND);
    nic.poll(SECOND);
    nic
}

fn send(nic: &mut RemoteNic<Liar>, frame: &mut Frame) -> Result<(), Refused> {
    transmit(nic, frame, &[7; 60], Offload::default())
}

/// What no wire carries is no frame: the switch is asked neither to cut it nor to write a checksum into it, and no guest
/// is.
#[test]
fn frames_say_nothing_that_is_left_to_do() {
    let cut = Segmentation { kind: SegmentKind::Tcp4, ecn: true, segment_bytes: 0, header_bytes: u16::MAX };
    let missing = |start, offset| Checksum::Missing { start, offset };
    let of = |checksum, segmentation| Offload { checksum, segmentation };
    let said = [
        (of(Checksum::Good, None), true),
        (of(Checksum::InPlace, None), true),
        (of(missing(0, 0), None), false),
        (of(missing(34, 16), None), false),
        (of(missing(u16::MAX, u16::MAX), None), false),
        (of(Checksum::Good, Some(cut)), false),
        (of(missing(34, 16), Some(cut)), false),
    ];
    for (offload, is_frame) in said {
        let mut nic = liar(5, move |words, _| {
            words.set_moved(0, 1);
            let place = SIZES.came_at(words.ask().first_free);
            words.set_header(place, 60, &offload);
        });
        let mut frame = Frame::new();
        nic.poll(SECOND);
        assert_eq!(nic.receive(&mut frame), is_frame, "{offload:?}");
        assert_eq!((frame.is_empty(), nic.counters().damaged), (!is_frame, u64::from(!is_frame)));
        assert_eq!((nic.account().ends, nic.status().state), (0, State::Ready));
    }
}

/// Of no kind, too long, too short, too many: it ends, or has sent nothing, and the interface is made anew.
#[test]
fn frames_that_there_cannot_be() {
    let ends = |says: fn(&mut Words<'_>, usize)| {
        let mut nic = liar(5, move |words, entry| {
            if entry == 2 {
                says(words, SIZES.came_at(words.ask().first_free));
            }
        });
        let mut frame = Frame::new();
        nic.poll(SECOND);
        let received = nic.receive(&mut frame);
        let why = nic.account().ended.map(|ended| ended.to_string()).unwrap_or_default();
        assert!(!received && frame.is_empty(), "{why}");
        nic.poll(SECOND + MS);
        nic.poll(SECOND + 2 * MS);
        assert_eq!((nic.status().state, nic.link(), send(&mut nic, &mut frame)), (State::Ready, UP, Ok(())));
        why
    };
    let told = [
        ends(|words, place| {
            words.set_moved(0, 1);
            words.put_all(place, &[321, 0, 0]);
        }),
        ends(|words, place| {
            words.set_moved(0, 1);
            words.put_all(place, &[u64::MAX, 0, 0]);
        }),
        ends(|words, place| {
            words.set_moved(0, 1);
            words.put_all(place, &[60, 3, 0]);
        }),
        ends(|words, _| words.set_moved(0, 9)),
        ends(|words, _| words.set_moved(1, 0)),
        ends(|words, _| words.set_moved(usize::MAX, usize::MAX)),
        ends(|words, place| {
            words.set_moved(0, 1);
            words.put_all(place, &[13, 0, 0]);
        }),
    ];
    assert!(told[..6].iter().all(|why| why.contains("answer")), "{told:?}");
    assert_eq!(told[6], "", "one that is too short is damaged");
}

/// A link that is said to come and go is down for the most part, and its guests are told seldom.
#[test]
fn a_link_that_flaps_is_down() {
    for is_by_state in [false, true] {
        let mut nic = liar(5, move |words, entry| {
            let flaps = (10..2000).contains(&entry) && entry % 2 == 1;
            if flaps && is_by_state {
                words.put(at::STATE, state::STARTING);
            } else if flaps {
                words.set_facts(&Facts { link: Link::Down, ..facts() });
            }
        });
        let (mut changes, mut before, mut now_ns) = (0, Link::Down, SECOND);
        while nic.compartment_mut().entries < 2000 {
            now_ns += MS / 10;
            nic.interrupt(0, now_ns);
            nic.poll(now_ns);
            changes += u32::from(nic.link() != before);
            before = nic.link();
        }
        assert!(changes <= 3, "it came and went {changes} times in 200 ms");
        // It is there again as soon as it stays, and that is due.
        let status = nic.status();
        assert!(status.deadline_ns.is_some_and(|at_ns| at_ns <= now_ns + 100 * MS), "{status:?}");
        assert_eq!(nic.link(), Link::Down);
        nic.poll(now_ns + 100 * MS);
        assert_eq!((nic.link(), send(&mut nic, &mut Frame::new())), (UP, Ok(())));
    }
}

/// One that takes frames and says nothing of them has everybody wait for room who sent some, also among each other: it
/// is ended.
#[test]
fn frames_are_not_kept() {
    let mut nic = liar(2, |words, _| words.set_progress(&Progress::default()));
    let (mut frame, mut now_ns) = (Frame::new(), SECOND);
    let mut given = 0;
    while nic.account().ends == 0 {
        given += u64::from(send(&mut nic, &mut frame).is_ok());
        nic.kick(now_ns);
        assert!(now_ns < 20 * SECOND);
        // It wants nothing, so this is what has it be looked at.
        let status = nic.poll(now_ns);
        now_ns = status.deadline_ns.unwrap_or(u64::MAX).min(now_ns + SECOND);
    }
    let ended = nic.account().ended.map(|ended| ended.to_string()).unwrap_or_default();
    assert!(ended.contains("nothing of the frames that it has"), "{ended}");
    assert_eq!((nic.counters().lost + nic.queue().waiting as u64, nic.state()), (given, State::Ready));
    // Where that is all that it ever does, the network has no uplink at last.
    while nic.state() != State::Failed {
        now_ns += SECOND / 2;
        assert!(now_ns < 60 * SECOND);
        let _ = send(&mut nic, &mut frame);
        nic.poll(now_ns);
        nic.kick(now_ns);
    }
    assert_eq!((nic.link(), nic.queue().waiting), (Link::Down, 0));
}

/// One that tells of each of its frames in time keeps none.
#[test]
fn frames_that_take_their_time_are_waited_for() {
    let mut nic = liar(0, |words, entry| {
        let sent = Traffic { frames: u64::from(entry % 20 == 0), bytes: 0 };
        words.set_progress(&Progress { sent, ..Progress::default() });
    });
    let mut frame = Frame::new();
    for second in 0..100 {
        let _ = send(&mut nic, &mut frame);
        nic.kick(SECOND * second / 2 + SECOND);
    }
    assert_eq!((nic.account().ends, nic.state()), (0, State::Ready));
}

/// However soon it wants its turn again, and whatever it counts.
#[test]
fn wishes_and_counts_have_bounds() {
    let mut nic = liar(5, |words, entry| {
        words.put(at::DEADLINE, if entry % 2 == 0 { 0 } else { u64::MAX - 1 });
        let all = Progress { damaged: u64::MAX, missed: u64::MAX, resets: u64::MAX, ..Progress::default() };
        words.set_progress(&all);
        words.set_facts(&Facts {
            capabilities: Capabilities { checksum: true, segmentation: true, largest_bytes: usize::MAX >> 1 },
            room: usize::MAX,
            mac: Some(MacAddress([0xff; 6])),
            ..facts()
        });
    });
    let mut now_ns = SECOND;
    while now_ns < SECOND + 10 * MS {
        let status = nic.poll(now_ns);
        now_ns = status.deadline_ns.unwrap().min(now_ns + MS);
    }
    assert!(nic.compartment_mut().entries <= 502, "{}", nic.compartment_mut().entries);
    let capabilities = nic.capabilities();
    assert_eq!((capabilities.segmentation, capabilities.largest_bytes), (false, SIZES.frame_bytes));
    assert_eq!((nic.queue().room, nic.mac(), nic.account().ends), (8, None, 0));
    assert_eq!(nic.counters().damaged, u64::MAX);
}

impl RemoteNic<Liar> {
    fn state(&self) -> State {
        self.status().state
    }
}
