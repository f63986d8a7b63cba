//! The requests that a drive failed, for the log.

use block::{Fault, Operation};
use core::fmt;

/// How long after one line the next follows, in nanoseconds: a medium that goes bad fails every
/// request, and whoever sends them could fill the log.
pub(crate) const FAULTS_NS: u64 = 10_000_000_000;

/// A request that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultReport {
    operation: Operation,
    /// Blocks of the drive.
    block: u64,
    blocks: u64,
    fault: Fault,
    /// How many have failed, with this one and those after it.
    count: u64,
}

impl FaultReport {
    pub(crate) const fn of(operation: Operation, block: u64, blocks: u64, fault: Fault) -> Self {
        Self { operation, block, blocks, fault, count: 0 }
    }
}

impl fmt::Display for FaultReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, block, blocks, fault, count } = self;
        let what = match operation {
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Flush => "flush",
            Operation::Discard => "discard",
            Operation::WriteZeroes => "write of zeroes",
        };
        write!(f, "a {what} of {blocks} blocks at {block} failed: {fault}, {count} requests did so far")
    }
}

/// What is to be told of them.
#[derive(Default)]
pub(crate) struct Faults {
    count: u64,
    /// The first that nobody was told of.
    first: Option<FaultReport>,
    next_ns: u64,
}

impl Faults {
    /// A request failed. What the drive's own failure ends is told as that.
    pub fn add(&mut self, report: FaultReport) {
        if report.fault != Fault::Drive {
            self.count = self.count.saturating_add(1);
            self.first.get_or_insert(report);
        }
    }

    /// The one to tell of, if it is time.
    pub fn take(&mut self, now_ns: u64) -> Option<FaultReport> {
        if now_ns < self.next_ns {
            return None;
        }
        let report = self.first.take()?;
        self.next_ns = now_ns.saturating_add(FAULTS_NS);
        Some(FaultReport { count: self.count, ..report })
    }
}
