//! What can go wrong with a request.

use core::fmt;

/// Why a request was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The drive is not [`Ready`](crate::State::Ready).
    NotReady,
    /// As many requests as there is room for are reserved, in flight, or done and not released.
    Busy,
    /// No such request is reserved.
    NotReserved,
    /// It has no blocks.
    NoBlocks,
    /// Not all of its blocks are on the medium.
    BeyondEnd,
    /// It is larger than a request's buffer, which has this many bytes, or has 2^32 blocks or more.
    TooLarge(usize),
    /// The medium is write protected.
    ReadOnly,
    /// The drive does not do that; its [`Geometry`](crate::Geometry) says what it does.
    Unsupported,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady => f.write_str("the drive is not ready"),
            Self::Busy => f.write_str("as many requests as there is room for are not over yet"),
            Self::NotReserved => f.write_str("no such request is reserved"),
            Self::NoBlocks => f.write_str("a request is for at least one block"),
            Self::BeyondEnd => f.write_str("not all of its blocks are on the medium"),
            Self::TooLarge(bytes) => write!(f, "a request has at most {bytes} bytes"),
            Self::ReadOnly => f.write_str("the medium is write protected"),
            Self::Unsupported => f.write_str("the drive does not do that"),
        }
    }
}

/// Why a request that was taken failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The medium did not give or keep the data; other parts of the request may have been
    /// carried out.
    Medium(Cause),
    /// The drive failed a command for another reason; other parts of the request may have been
    /// carried out.
    Command(Cause),
    /// The drive failed, or was started again: what was carried out nobody knows.
    Drive,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Medium(cause) | Self::Command(cause) => cause.fmt(f),
            Self::Drive => f.write_str("the drive failed meanwhile"),
        }
    }
}

/// What a drive said of a command that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cause {
    /// What its specification calls that.
    pub name: &'static str,
    /// What it said, as its driver knows it.
    pub code: u16,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (status {:#05x})", self.name, self.code)
    }
}
