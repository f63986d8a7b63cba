//! The words for a request.

use crate::Fault;

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// From the medium to the request's buffer.
    Read,
    /// From the request's buffer to the medium.
    Write,
    /// What was written by requests that were over before it survives a loss of power.
    Flush,
    /// The medium may forget the blocks: what they read afterwards is the drive's to choose, until
    /// they are written. A drive takes it where [`Geometry::can_discard`](crate::Geometry) says so.
    Discard,
    /// The blocks read as zeros afterwards, and no data is moved for it. A drive takes it where
    /// [`Geometry::can_write_zeroes`](crate::Geometry) says so.
    WriteZeroes,
}

impl Operation {
    /// Whether a request has data in its buffer.
    pub const fn moves_data(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }
}

/// What a request is known by, from its reservation to its release. One that was released names
/// nothing until its slot was used 2^32 times.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tag {
    pub(crate) slot: u16,
    pub(crate) turn: u32,
}

impl Tag {
    /// That of the `turn`th request in `slot`, for a drive that keeps requests without
    /// [`Requests`](crate::Requests).
    pub const fn new(slot: u16, turn: u32) -> Self {
        Self { slot, turn }
    }

    /// The slot: from 0 on, and below the number of requests that its drive has.
    pub const fn slot(self) -> u16 {
        self.slot
    }

    /// The first of `slot`, for drives that are made up.
    #[cfg(any(test, feature = "fakes"))]
    pub const fn of_test(slot: u16) -> Self {
        Self { slot, turn: 0 }
    }
}

/// A request that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// Which one.
    pub tag: Tag,
    /// What it did.
    pub operation: Operation,
    /// Bytes of its data; 0 where it [has none](Operation::moves_data).
    pub bytes: usize,
    /// What came of it.
    pub outcome: Result<(), Fault>,
}
