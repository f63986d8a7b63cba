use super::*;
use crate::fake_drive::{BLOCK, FakeDrive, Script};
use crate::faults::FAULTS_NS;
use access::clock::SteppingClock;
use access::memory::VecMemory;
use devices::device::{Completion, Context, DeviceEffect, Request};
use devices::{Backend, Device};
use spec::{Gpa, Width};
use std::sync::{Arc, Mutex};

const MEMORY: usize = 0x40_0000;

/// A write of its register submits what the test put into [`Asked::next`]; it notes the outcomes.
#[derive(Default)]
struct Asked {
    next: Vec<Request>,
    outcomes: Vec<(u32, Result<(), RequestFault>)>,
    resets_at_once: bool,
}

struct Asker(Arc<Mutex<Asked>>);

impl Device for Asker {
    fn most_effects(&self) -> usize {
        200
    }
    fn read(&mut self, _: u64, width: Width, _: &mut Context<'_>) -> u64 {
        width.mask()
    }
    fn write(&mut self, _: u64, _: Width, _: u64, context: &mut Context<'_>) {
        for request in self.0.lock().unwrap().next.drain(..) {
            context.effects.push(DeviceEffect::Submit(request));
        }
    }
    fn complete(&mut self, completion: Completion, _: &mut Context<'_>) {
        self.0.lock().unwrap().outcomes.push((completion.tag, completion.outcome));
    }
    fn line(&self) -> bool {
        false
    }
    fn resets_behind_requests(&self) -> bool {
        !self.0.lock().unwrap().resets_at_once
    }
    fn reset(&mut self) {}
}

/// Guests of one device each, and the drive.
struct Bench {
    disk: Disk,
    script: Arc<Mutex<Script>>,
    guests: Guests,
    asked: Vec<Arc<Mutex<Asked>>>,
    now: u64,
}

struct Guests(Vec<(Endpoint, VecMemory)>);

impl Clients for Guests {
    fn with(&mut self, guest: usize, _: usize, serve: &mut dyn FnMut(&mut Endpoint, &mut Surroundings<'_>)) {
        let (endpoint, memory) = &mut self.0[guest];
        serve(
            endpoint,
            &mut Surroundings { memory: &*memory, now: 0, send: &mut |_| (), print: &mut |_| () },
        );
    }
}

fn bench(requests: usize, guests: usize) -> Bench {
    let medium = (0..64 * BLOCK * 64).map(|byte| (byte / BLOCK) as u8).collect();
    let script = Arc::new(Mutex::new(Script { medium, ..Script::default() }));
    let drive = Box::new(FakeDrive::new(script.clone(), requests));
    let mut disk = Disk::bring_up("system".into(), drive, requests, &SteppingClock::new(1000)).unwrap();
    // There is no table; each guest has a part by hand.
    assert_eq!(*disk.table(), Err(TableFault::NoTable));
    let mut asked = Vec::new();
    let mut all = Vec::new();
    for guest in 0..guests {
        let (first_block, blocks) = (1024 * guest as u64, 1024);
        disk.parts.push(Part::new((guest, 0, Which::First), first_block, blocks));
        let shared = Arc::new(Mutex::new(Asked::default()));
        let mut endpoint = Endpoint::new(Box::new(Asker(shared.clone())), Backend::Served, 1, 0x1000, 0x2000);
        let memory = VecMemory::new(MEMORY);
        let mut around = Surroundings { memory: &memory, now: 0, send: &mut |_| (), print: &mut |_| () };
        endpoint.set_enables(true, true, false, &mut around);
        all.push((endpoint, memory));
        asked.push(shared);
    }
    script.lock().unwrap().seen.clear();
    Bench { disk, script, guests: Guests(all), asked, now: 0 }
}

impl Bench {
    fn ask(&mut self, guest: usize, requests: &[Request]) {
        self.asked[guest].lock().unwrap().next = requests.to_vec();
        self.guests.with(guest, 0, &mut |endpoint, around| endpoint.write(0, Width::Dword, 0, around));
    }
    fn turn(&mut self) -> Turn {
        self.now += 1000;
        self.disk.turn(self.now, &mut self.guests)
    }
    fn failure(&mut self) -> Option<(String, u64)> {
        let mut told = None;
        self.disk.report_failure(&mut |_, why, count| told = Some((why.to_string(), count)));
        told
    }
    fn faults(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        let mut tell = |name: &str, fault: &FaultReport| told.push(std::format!("{name}: {fault}"));
        self.disk.report_faults(self.now, &mut tell);
        told
    }
    /// Breaks the drive and starts it again.
    fn restart(&mut self) {
        self.script.lock().unwrap().broken = Some("it is gone".into());
        self.turn();
        self.script.lock().unwrap().broken = None;
        self.disk.restart(self.now);
        self.turn();
    }
    fn outcome(&mut self, guest: usize, request: Request) -> Result<(), RequestFault> {
        self.ask(guest, &[request]);
        while self.turn() != Turn::default() {}
        self.outcomes(guest).first().expect("it is answered").1
    }
    fn outcomes(&self, guest: usize) -> Vec<(u32, Result<(), RequestFault>)> {
        core::mem::take(&mut self.asked[guest].lock().unwrap().outcomes)
    }
    fn memory(&self, guest: usize, at: usize, bytes: usize) -> Vec<u8> {
        self.guests.0[guest].1.0.borrow()[at..at + bytes].to_vec()
    }
}

fn request(tag: u32, operation: device::Operation, at: u64, gpa: u64, bytes: u32) -> Request {
    Request { tag, operation, at, gpa: Gpa(gpa), bytes }
}

use device::Operation::{Flush, Read, Write};

#[test]
fn parts_of_a_command_go_to_the_drive_as_one_and_stay_in_their_part() {
    let mut bench = bench(4, 2);
    bench.ask(1, &[request(7, Read, 512, 0x1000, 512), request(7, Read, 1024, 0x8000, 1024)]);
    assert_eq!(bench.turn(), Turn { worked: true, in_flight: true, deadline_ns: None });
    assert_eq!(bench.script.lock().unwrap().seen, [(Operation::Read, 1025, 3)]);
    assert!(bench.turn().worked);
    assert_eq!(bench.outcomes(1), [(7, Ok(())), (7, Ok(()))]);
    assert_eq!(bench.memory(1, 0x1000, 512), [1025_u64 as u8; 512]);
    assert_eq!(bench.memory(1, 0x8200, 512), [1027_u64 as u8; 512]);
    assert!(bench.memory(0, 0, MEMORY).iter().all(|&byte| byte == 0), "nobody else's memory");
    assert_eq!(bench.turn(), Turn::default());
    let counters = bench.disk.counters(1, 0).unwrap();
    assert_eq!(counters, Counters { requests: 1, bytes: 1536, errors: 0, lent: 0 });
}

#[test]
fn what_is_written_is_there_and_a_flush_is_one() {
    let mut bench = bench(4, 1);
    bench.guests.0[0].1.0.borrow_mut()[0x2000..0x2400].fill(0xa5);
    bench.ask(0, &[request(1, Write, 1024, 0x2000, 1024), request(2, Flush, 0, 0, 0)]);
    bench.turn();
    bench.turn();
    assert_eq!(bench.outcomes(0), [(1, Ok(())), (2, Ok(()))]);
    assert_eq!(bench.script.lock().unwrap().medium[1024..2048], [0xa5; 1024]);
    assert_eq!(bench.script.lock().unwrap().seen, [(Operation::Write, 2, 2), (Operation::Flush, 0, 0)]);
}

#[test]
fn nothing_leaves_a_part_and_nothing_reaches_beyond_memory() {
    let mut bench = bench(4, 2);
    let end = 1024 * 512;
    bench.ask(
        0,
        &[
            request(1, Read, end - 512, 0, 1024),
            request(2, Read, u64::MAX - 511, 0, 512),
            request(3, Read, 1, 0, 512),
            request(4, Write, 0, MEMORY as u64 - 100, 512),
            request(5, Read, 0, u64::MAX - 100, 512),
        ],
    );
    bench.turn();
    bench.turn();
    let (range, memory) = (Err(RequestFault::Range), Err(RequestFault::Memory));
    assert_eq!(bench.outcomes(0), [(1, range), (2, range), (3, range), (4, memory), (5, memory)]);
    assert_eq!(
        bench.script.lock().unwrap().seen,
        [(Operation::Read, 0, 1)],
        "the last one's memory is its own affair"
    );
    assert_eq!(bench.disk.counters(0, 0).unwrap().errors, 4);
}

#[test]
fn what_is_done_after_a_reset_reaches_nobody() {
    let mut bench = bench(4, 1);
    bench.script.lock().unwrap().hold = true;
    bench.ask(0, &[request(1, Read, 512, 0x1000, 512)]);
    bench.turn();
    bench.guests.0[0].0.reset();
    bench.script.lock().unwrap().hold = false;
    bench.turn();
    bench.turn();
    assert_eq!(bench.outcomes(0), []);
    assert!(bench.memory(0, 0, MEMORY).iter().all(|&byte| byte == 0));
    assert!(bench.disk.flights.iter().all(|flight| flight.tag.is_none()), "its place is free");
}

#[test]
fn what_comes_after_a_reset_waits_for_what_came_before() {
    let mut bench = bench(4, 2);
    bench.script.lock().unwrap().hold = true;
    bench.ask(0, &[request(1, Write, 0, 0x1000, 512)]);
    bench.turn();
    bench.guests.0[0].0.reset();
    bench.guests.with(0, 0, &mut |endpoint, around| endpoint.set_enables(true, true, false, around));
    bench.ask(0, &[request(2, Write, 0, 0x1000, 512)]);
    bench.ask(1, &[request(3, Read, 0, 0x1000, 512)]);
    bench.turn();
    bench.turn();
    let seen = [(Operation::Write, 0, 1), (Operation::Read, 1024, 1)];
    assert_eq!(bench.script.lock().unwrap().seen, seen, "the other guest waits for nobody");
    bench.script.lock().unwrap().hold = false;
    while bench.turn() != Turn::default() {}
    assert_eq!((bench.outcomes(0), bench.outcomes(1)), ([(2, Ok(()))].into(), [(3, Ok(()))].into()));
}

#[test]
fn without_bus_mastering_no_memory_is_reached() {
    let mut bench = bench(4, 1);
    bench.ask(0, &[request(1, Read, 512, 0x1000, 512), request(2, Write, 0, 0x1000, 512)]);
    bench.guests.with(0, 0, &mut |endpoint, around| endpoint.set_enables(false, true, false, around));
    bench.turn();
    bench.turn();
    let mut outcomes = bench.outcomes(0);
    outcomes.sort_by_key(|(tag, _)| *tag);
    assert_eq!(outcomes, [(1, Err(RequestFault::Memory)), (2, Err(RequestFault::Memory))]);
    assert!(bench.memory(0, 0, MEMORY).iter().all(|&byte| byte == 0));
}

#[test]
fn a_flood_of_one_guest_leaves_the_other_its_turn() {
    let mut bench = bench(32, 2);
    bench.script.lock().unwrap().hold = true;
    let flood: Vec<Request> = (0..100).map(|tag| request(tag, Read, 0, 0, 512)).collect();
    bench.ask(0, &flood);
    bench.ask(1, &[request(1000, Read, 0, 0, 512)]);
    bench.turn();
    let seen = bench.script.lock().unwrap().seen.clone();
    assert_eq!(seen.len(), TURN_REQUESTS + 1);
    assert!(seen.contains(&(Operation::Read, 1024, 1)), "the other's is among the first");
    bench.script.lock().unwrap().hold = false;
    while bench.turn() != Turn::default() {}
    assert_eq!((bench.outcomes(0).len(), bench.outcomes(1).len()), (100, 1));
}

#[test]
fn a_drive_without_room_is_waited_for() {
    let mut bench = bench(2, 1);
    bench.script.lock().unwrap().hold = true;
    let requests: Vec<Request> = (0..5).map(|tag| request(tag, Read, 0, 0, 512)).collect();
    bench.ask(0, &requests);
    bench.turn();
    assert_eq!(bench.turn(), Turn { worked: false, in_flight: true, deadline_ns: None });
    assert_eq!(bench.script.lock().unwrap().seen.len(), 2);
    bench.script.lock().unwrap().hold = false;
    while bench.turn() != Turn::default() {}
    assert_eq!(bench.outcomes(0).len(), 5);
}

#[test]
fn a_drive_that_fails_ends_requests_and_is_started_again() {
    let mut bench = bench(4, 1);
    bench.script.lock().unwrap().faulty = 1;
    bench.ask(0, &[request(1, Read, 0, 0, 512)]);
    bench.turn();
    bench.turn();
    assert_eq!(bench.outcomes(0), [(1, Err(RequestFault::Medium))]);
    assert_eq!(bench.failure(), None, "the drive itself is well");
    bench.script.lock().unwrap().broken = Some("it is gone".into());
    bench.ask(0, &[request(2, Read, 0, 0, 512)]);
    bench.turn();
    bench.turn();
    assert_eq!(bench.outcomes(0), [(2, Err(RequestFault::Medium))]);
    assert_eq!(bench.failure(), Some(("it is gone".into(), 1)));
    assert_eq!(bench.failure(), None);
    bench.ask(0, &[request(3, Read, 0, 0, 512)]);
    bench.turn();
    assert_eq!(bench.outcomes(0), [(3, Err(RequestFault::Medium))], "nobody waits for one that failed");
    bench.script.lock().unwrap().broken = None;
    bench.disk.restart(bench.now);
    bench.ask(0, &[request(4, Read, 0, 0, 512)]);
    bench.turn();
    bench.turn();
    assert_eq!(bench.outcomes(0), [(4, Ok(()))]);
    assert_eq!(bench.script.lock().unwrap().starts, 2);
}

#[test]
fn requests_that_fail_are_told_in_words_and_not_too_often() {
    let mut bench = bench(4, 2);
    assert!(bench.faults().is_empty());
    bench.script.lock().unwrap().faulty = 3;
    let failed = Err(RequestFault::Medium);
    assert_eq!(bench.outcome(1, request(1, Read, 512, 0, 1024)), failed);
    assert_eq!(bench.outcome(0, request(2, Write, 0, 0, 512)), failed);
    let first = "system: a read of 2 blocks at 1025 failed: read error (status 0x000), 2 requests did so far";
    assert_eq!(bench.faults(), [first]);
    assert_eq!(bench.outcome(0, request(3, Write, 512, 0, 512)), failed);
    assert!(bench.faults().is_empty(), "that was a moment ago");
    bench.now += FAULTS_NS;
    let next = "system: a write of 1 blocks at 1 failed: read error (status 0x000), 3 requests did so far";
    assert_eq!(bench.faults(), [next]);
    bench.now += FAULTS_NS;
    assert!(bench.faults().is_empty(), "nothing new");
}

#[test]
fn a_drive_that_failed_is_told_as_a_whole() {
    let mut bench = bench(4, 1);
    bench.script.lock().unwrap().broken = Some("it is gone".into());
    assert_eq!(bench.outcome(0, request(1, Read, 0, 0, 512)), Err(RequestFault::Medium));
    assert!(bench.failure().is_some() && bench.faults().is_empty());
}

#[test]
fn a_flush_does_not_confirm_what_a_failure_may_have_lost() {
    let mut bench = bench(4, 3);
    let lost = Err(RequestFault::Medium);
    for guest in 0..2 {
        assert_eq!(bench.outcome(guest, request(1, Write, 0, 0, 512)), Ok(()));
    }
    assert_eq!(bench.outcome(1, request(2, Flush, 0, 0, 0)), Ok(()));
    assert_eq!(bench.outcome(2, request(3, Read, 0, 0, 512)), Ok(()));
    bench.restart();
    bench.script.lock().unwrap().seen.clear();
    assert_eq!(bench.outcome(0, request(4, Write, 0, 0, 512)), Ok(()), "it is used again");
    assert_eq!(bench.outcome(0, request(5, Flush, 0, 0, 0)), lost, "what was written before may be gone");
    assert_eq!(bench.outcome(1, request(6, Flush, 0, 0, 0)), Ok(()), "this one had flushed");
    assert_eq!(bench.outcome(2, request(7, Flush, 0, 0, 0)), Ok(()), "and this one only read");
    assert_eq!(bench.outcome(0, request(8, Flush, 0, 0, 0)), Ok(()), "it is told once");
    let seen = bench.script.lock().unwrap().seen.clone();
    assert_eq!(seen.iter().filter(|(operation, ..)| *operation == Operation::Flush).count(), 3);
}

#[test]
fn what_is_written_beside_a_flush_is_not_confirmed_by_it() {
    let mut bench = bench(4, 1);
    bench.script.lock().unwrap().hold = true;
    bench.ask(0, &[request(1, Flush, 0, 0, 0), request(2, Write, 0, 0, 512)]);
    bench.turn();
    bench.script.lock().unwrap().hold = false;
    while bench.turn() != Turn::default() {}
    assert_eq!(bench.outcomes(0), [(1, Ok(())), (2, Ok(()))]);
    bench.restart();
    assert_eq!(bench.outcome(0, request(3, Flush, 0, 0, 0)), Err(RequestFault::Medium));
}

#[test]
fn a_flush_that_failed_has_confirmed_nothing() {
    let mut bench = bench(4, 1);
    assert_eq!(bench.outcome(0, request(1, Write, 0, 0, 512)), Ok(()));
    bench.script.lock().unwrap().faulty = 1;
    assert_eq!(bench.outcome(0, request(2, Flush, 0, 0, 0)), Err(RequestFault::Medium));
    bench.restart();
    assert_eq!(bench.outcome(0, request(3, Flush, 0, 0, 0)), Err(RequestFault::Medium));
}

#[test]
fn another_drive_in_its_place_is_not_used() {
    let mut bench = bench(4, 1);
    bench.script.lock().unwrap().broken = Some("it is gone".into());
    bench.turn();
    assert!(bench.failure().is_some());
    bench.script.lock().unwrap().broken = None;
    bench.script.lock().unwrap().medium.truncate(2048 * BLOCK);
    bench.disk.restart(bench.now);
    bench.ask(0, &[request(1, Write, 0, 0, 512)]);
    bench.turn();
    assert_eq!(bench.outcomes(0), [(1, Err(RequestFault::Medium))]);
    assert_eq!(bench.script.lock().unwrap().seen, [], "nothing is written to it");
    assert_eq!(bench.failure(), Some(("another drive is in its place".into(), 2)));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    /// However a drive is loaded and holds its requests, each is answered once, and reads give what
    /// was written last.
    #[test]
    fn every_request_is_answered_once(
        steps in proptest::collection::vec((0_usize..3, 0_u64..1030, 1_u32..9, proptest::prelude::any::<bool>()), 1..60),
        requests in 1_usize..6,
    ) {
        let mut bench = bench(requests, 3);
        let mut asked = [0; 3];
        for (tag, (guest, block, blocks, hold)) in steps.into_iter().enumerate() {
            bench.script.lock().unwrap().hold = hold;
            let gpa = 0x1000 * tag as u64 % 0x30_0000;
            bench.ask(guest, &[request(tag as u32, Read, block * 512, gpa, blocks * 512)]);
            asked[guest] += 1;
            bench.turn();
        }
        bench.script.lock().unwrap().hold = false;
        while bench.turn() != Turn::default() {}
        for (guest, asked) in asked.into_iter().enumerate() {
            let mut tags: Vec<u32> = bench.outcomes(guest).iter().map(|(tag, _)| *tag).collect();
            tags.sort_unstable();
            tags.dedup();
            proptest::prop_assert_eq!(tags.len(), asked);
        }
        for &(_, block, blocks) in &bench.script.lock().unwrap().seen {
            proptest::prop_assert!(block / 1024 == (block + blocks - 1) / 1024 && block < 3 * 1024);
        }
    }
}

mod lent;

/// In the exit of a guest only what is that guest's is given to the drive, and what is over waits for a whole turn.
#[test]
fn an_exit_takes_what_its_endpoint_has_and_no_more() {
    let mut bench = bench(8, 2);
    bench.turn();
    assert_eq!([(1, 0), (1, 1), (2, 0)].map(|whose| bench.disk.parts_of(whose)), [1, 0, 0]);
    bench.ask(0, &[request(1, Read, 0, 0, 512)]);
    bench.ask(1, &[request(2, Read, 0, 0, 512)]);
    let kicks = bench.script.lock().unwrap().kicks;
    let found = bench.disk.turn_of((1, 0), bench.now, &mut bench.guests);
    assert_eq!(found, Turn { worked: true, ..Turn::default() });
    {
        let script = bench.script.lock().unwrap();
        assert_eq!(
            (script.seen.as_slice(), script.kicks),
            ([(Operation::Read, 1024, 1)].as_slice(), kicks + 1)
        );
    }
    assert_eq!(bench.disk.turn_of((1, 0), bench.now, &mut bench.guests), Turn::default(), "nothing is left");
    assert_eq!((bench.outcomes(0).len(), bench.outcomes(1).len()), (0, 0), "nobody looked");
    bench.turn();
    bench.turn();
    assert_eq!([0, 1].map(|guest| bench.outcomes(guest)), [[(1, Ok(()))], [(2, Ok(()))]]);
    assert_eq!(bench.disk.turn_of((1, 1), bench.now, &mut bench.guests), Turn::default(), "it has no part");
}

/// A drive that fails under the request of an exit wants a turn at once, which says so.
#[test]
fn a_drive_that_fails_in_an_exit_is_seen_to_at_once() {
    let mut bench = bench(8, 1);
    bench.turn();
    bench.script.lock().unwrap().broken = Some("it is gone".into());
    bench.ask(0, &[request(1, Read, 0, 0, 512)]);
    let found = bench.disk.turn_of((0, 0), bench.now, &mut bench.guests);
    assert_eq!(found.deadline_ns, Some(bench.now));
    assert_eq!(bench.failure(), None, "that is for a whole turn to say");
    bench.turn();
    assert_eq!(bench.failure(), Some(("it is gone".into(), 1)));
    assert_eq!(bench.outcomes(0), [(1, Err(RequestFault::Medium))]);
}
