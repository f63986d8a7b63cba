//! Ring 0's side of a drive and of a network interface whose driver is in a compartment that says anything.
#![no_main]

use access::DmaMemory;
use access::fake_dma::FakeDma;
use block::{Drive, Operation, State, Tag};
use driver_compartment::{DriveSizes, NicSizes, RemoteDrive, RemoteNic};
use fuzz::Input;
use fuzz::lying_compartment::Liar;
use libfuzzer_sys::fuzz_target;
use network::{Frame, Tagging};
use nic::Nic;
use std::collections::HashSet;

const REQUESTS: DriveSizes = DriveSizes { requests: 5, request_bytes: 4096 };
const FRAMES: NicSizes = NicSizes { frames: 5, frame_bytes: 320 };
/// Where an answer begins.
const ANSWERED: Option<usize> = Some(7);
const SECOND: u64 = 1_000_000_000;
const RESTARTS: u16 = 20;

fuzz_target!(|data: &[u8]| {
    let (half, rest) = data.split_at(data.len() / 2);
    match rest.split_first() {
        Some((kind, script)) if kind & 1 == 0 => drive(half, script),
        Some((_, script)) => interface(half, script),
        None => {}
    }
});

fn drive(steps: &[u8], script: &[u8]) {
    let (mut dma, _domain) = FakeDma::new(REQUESTS.data_bytes());
    let data = dma.allocate(REQUESTS.data_bytes(), 4096).expect("it is as much");
    let liar = Liar::new(REQUESTS.words(), script, ANSWERED);
    let mut drive = RemoteDrive::new(liar, REQUESTS, data, RESTARTS).expect("there is room");
    let (mut input, mut now_ns) = (Input::new(steps), SECOND);
    let mut asked: HashSet<Tag> = HashSet::new();
    while !input.is_empty() {
        let (what, byte) = (input.u8(), input.u8());
        now_ns += SECOND * u64::from(byte & 3);
        match what & 7 {
            0 => _ = drive.start(now_ns),
            1..=3 => {
                if let Ok(tag) = drive.reserve() {
                    let operations = [
                        Operation::Read,
                        Operation::Write,
                        Operation::Flush,
                        Operation::Discard,
                        Operation::WriteZeroes,
                    ];
                    drive.put(tag, usize::from(byte) * 16, &[byte; 32]);
                    let operation = input.pick(&operations);
                    match drive.submit(tag, operation, byte.into(), u64::from(what >> 4)) {
                        Ok(()) => assert!(asked.insert(tag), "two requests are known by the same"),
                        Err(_) => drive.release(tag),
                    }
                }
            }
            4 => _ = drive.kick(now_ns),
            5 => _ = drive.interrupt(byte.into(), now_ns),
            _ => {}
        }
        let status = drive.poll(now_ns);
        assert!(status.deadline_ns.is_none_or(|at_ns| at_ns >= now_ns), "its turn is always due");
        assert_eq!(drive.error().is_some(), status.state == State::Failed);
        if what & 0x80 != 0 {
            take(&mut drive, &mut asked);
        }
    }
    // One that fails for good ends what is left.
    for _ in 0..drive.compartment_mut().left() + 2 * usize::from(RESTARTS) {
        now_ns += SECOND;
        drive.start(now_ns);
        drive.poll(now_ns);
        take(&mut drive, &mut asked);
    }
    assert!(asked.is_empty(), "{asked:?}");
}

/// What is over was asked, and is over once.
fn take(drive: &mut dyn Drive, asked: &mut HashSet<Tag>) {
    while let Some(done) = drive.next_done() {
        assert!(asked.remove(&done.tag), "{done:?}");
        let mut data = [0; 4096];
        let is_there = drive.get(done.tag, 0, &mut data[..done.bytes]).is_some();
        assert_eq!(is_there, done.operation == Operation::Read && done.outcome.is_ok());
        assert!(done.bytes == 4096 || drive.get(done.tag, done.bytes, &mut [0]).is_none());
        drive.release(done.tag);
    }
}

fn interface(steps: &[u8], script: &[u8]) {
    let liar = Liar::new(FRAMES.words(), script, ANSWERED);
    let mut nic = RemoteNic::new(liar, FRAMES, RESTARTS).expect("there is room");
    let (mut input, mut now_ns, mut frame) = (Input::new(steps), SECOND, Frame::new());
    let mut given = 0;
    while !input.is_empty() {
        let (what, byte) = (input.u8(), input.u8());
        now_ns += SECOND * u64::from(byte & 3);
        match what & 7 {
            0 => _ = nic.start(now_ns),
            1..=3 => {
                frame.clear();
                frame
                    .append(&[byte; 340][..usize::from(byte) + usize::from(what >> 4)])
                    .expect("there is room");
                if let Some(parts) = frame.parts(Tagging::Keep) {
                    given += u64::from(nic.transmit(&parts).is_ok());
                }
            }
            4 => _ = nic.kick(now_ns),
            5 => _ = nic.interrupt(byte.into(), now_ns),
            6 => nic.set_quiet(byte & 1 != 0),
            _ => {}
        }
        let status = nic.poll(now_ns);
        assert!(status.deadline_ns.is_none_or(|at_ns| at_ns >= now_ns), "its turn is always due");
        if what & 0x80 != 0 {
            while nic.receive(&mut frame) {
                assert!(frame.len() <= FRAMES.frame_bytes);
            }
        }
        let (counters, queue) = (nic.counters(), nic.queue());
        assert!(counters.sent.frames + counters.lost <= given, "{counters:?} of {given}");
        assert!(queue.waiting as u64 <= given && queue.room <= usize::from(FRAMES.frames));
        assert!(nic.capabilities().largest_bytes <= FRAMES.frame_bytes && !nic.capabilities().segmentation);
    }
}
