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
}

/// What a request is known by, from its reservation to its release. One that was released names
/// nothing until its slot was used 2^32 times.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tag {
    pub(crate) slot: u16,
    pub(crate) turn: u32,
}

/// A request that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// Which one.
    pub tag: Tag,
    /// What it did.
    pub operation: Operation,
    /// Bytes of its data.
    pub bytes: usize,
    /// What came of it.
    pub outcome: Result<(), Fault>,
}
