//! A bus that remembers, for the tests of this crate.

use access::vcpu::Event;
use alloc::vec::Vec;
use spec::{Gpa, Width};

use crate::Bus;

/// One access to a [`RecordingBus`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BusAccess {
    Read(u64, Width),
    Write(u64, Width, u64),
}

/// Registers that read as set and remember what was done to them.
#[derive(Clone, Default, Debug)]
pub struct RecordingBus {
    pub reads_as: u64,
    pub log: Vec<BusAccess>,
}

impl Bus for RecordingBus {
    fn read(&mut self, gpa: Gpa, width: Width) -> Option<u64> {
        self.log.push(BusAccess::Read(gpa.0, width));
        Some(self.reads_as)
    }
    fn write(&mut self, gpa: Gpa, width: Width, value: u64) {
        self.log.push(BusAccess::Write(gpa.0, width, value));
    }
}

/// #GP(0), #SS(0) or another exception with error code 0.
pub fn fault(vector: u8) -> Event {
    Event::Exception { vector, error: Some(0) }
}
