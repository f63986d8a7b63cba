//! The boot's part: a drive is started, and its table is read, while nobody else uses it.

use crate::table::{self, Partition, TableFault};
use access::Clock;
use access::clock::wait_until;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use block::{Drive, Geometry, Operation, State};

/// How long a drive may take until it is ready, in nanoseconds. Its driver has shorter times for
/// each step.
const READY_NS: u64 = 60_000_000_000;
/// How long a read of its table may take.
const READ_NS: u64 = 30_000_000_000;

/// Starts a drive.
///
/// # Errors
/// Why it is of no use, in words.
pub(crate) fn start(drive: &mut dyn Drive, clock: &dyn Clock) -> Result<Geometry, String> {
    drive.start(clock.now_ns());
    let waited = wait_until(clock, READY_NS, || drive.poll(clock.now_ns()).state != State::Starting);
    match (drive.status().state, waited) {
        (State::Ready(geometry), _) => Ok(geometry),
        (State::Failed, _) => {
            Err(drive.error().map_or_else(|| "it failed".into(), |error| error.to_string()))
        }
        (State::Off | State::Starting, _) => {
            Err(format!("it was not ready after {} s", READY_NS / 1_000_000_000))
        }
    }
}

/// Reads the partition table of a drive that is ready.
pub(crate) fn partitions(
    drive: &mut dyn Drive,
    geometry: Geometry,
    clock: &dyn Clock,
) -> Result<Vec<Partition>, TableFault> {
    let Geometry { blocks, block_bytes, .. } = geometry;
    table::read(blocks, block_bytes, &mut |first, into| read(drive, first, block_bytes, into, clock))
}

/// Reads whole blocks, in requests as large as the drive takes.
fn read(
    drive: &mut dyn Drive,
    first: u64,
    block_bytes: u32,
    into: &mut [u8],
    clock: &dyn Clock,
) -> Option<()> {
    let unit = block_bytes as usize;
    let most = drive.request_bytes() / unit * unit;
    if most == 0 {
        return None;
    }
    for (index, chunk) in into.chunks_mut(most).enumerate() {
        let block = first + (index * most / unit) as u64;
        let tag = drive.reserve().ok()?;
        let submitted = drive.submit(tag, Operation::Read, block, (chunk.len() / unit) as u64);
        drive.kick(clock.now_ns());
        let done = submitted.is_ok()
            && wait_until(clock, READ_NS, || {
                drive.poll(clock.now_ns());
                drive.next_done().is_some()
            })
            .is_ok();
        let copied = if done { drive.get(tag, 0, chunk) } else { None };
        drive.release(tag);
        copied?;
    }
    Some(())
}
