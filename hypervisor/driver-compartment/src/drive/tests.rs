//! A drive in a compartment is the drive: whatever is asked of both, they answer the same. Killed at any entry, or
//! lying in any word, it does no harm to whoever uses it.

mod hardware;
mod kills;
mod lies;
mod same;

use crate::drive::{DriveServer, DriveSizes, One, RemoteDrive};
use crate::testing::InProcess;
use block::{Done, Drive, Operation, State, Tag};
use hardware::{BLOCK, Device, InCompartment, Memory, REQUEST_BYTES, REQUESTS, divided};
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

const SIZES: DriveSizes = DriveSizes { requests: REQUESTS, request_bytes: REQUEST_BYTES };
const SECOND: u64 = 1_000_000_000;

type Remote = RemoteDrive<InProcess, Memory>;

/// A drive in a compartment, on this device.
fn remote(device: &Device, restarts: u16) -> Remote {
    let made = device.clone();
    let compartment = InProcess::new(
        SIZES.words(),
        Box::new(move || {
            let device = made.clone();
            device.reset();
            let driver = InCompartment::new(&device, &mut divided());
            let mut server = DriveServer::new(Box::new(One(driver)), 1, SIZES);
            Box::new(move |area| server.serve(0, area))
        }),
    );
    RemoteDrive::new(compartment, SIZES, device.1.clone(), restarts).unwrap()
}

/// Polls until the drive is ready, or failed.
fn start(drive: &mut dyn Drive, now_ns: &mut u64) {
    drive.start(*now_ns);
    settle(drive, now_ns);
}

fn settle(drive: &mut dyn Drive, now_ns: &mut u64) {
    for _ in 0..100 {
        *now_ns += SECOND / 100;
        if drive.poll(*now_ns).state != State::Starting {
            return;
        }
    }
    panic!("it starts and starts");
}

/// All that is over, with what reads have read.
fn take(drive: &mut dyn Drive) -> Vec<(Done, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(done) = drive.next_done() {
        let mut data = Vec::new();
        if done.operation == Operation::Read && done.outcome.is_ok() {
            data = vec![0; done.bytes];
            drive.get(done.tag, 0, &mut data).unwrap();
            assert!(drive.get(done.tag, 1, &mut data).is_none(), "no more than it has");
        }
        drive.release(done.tag);
        all.push((done, data));
    }
    all
}

/// Submits one. What it is known by, if it was taken.
fn submit(drive: &mut dyn Drive, operation: Operation, first: u64, blocks: u64, byte: u8) -> Option<Tag> {
    let tag = drive.reserve().ok()?;
    if operation == Operation::Write {
        drive.put(tag, 0, &vec![byte; blocks as usize * BLOCK]);
    }
    match drive.submit(tag, operation, first, blocks) {
        Ok(()) => Some(tag),
        Err(_) => {
            drive.release(tag);
            None
        }
    }
}
