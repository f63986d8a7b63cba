//! What all drivers of network interfaces have in common: the [`Nic`] that each of them is, and
//! the words for what it can do, what it carried, and why it takes a frame not; and [`send`], which does what it cannot do.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

#[cfg(test)]
extern crate std;

mod send;

pub use send::send;

use core::fmt::{self, Display};
use network::{Frame, MacAddress, Parts, Traffic};

/// What an interface can be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing yet: it was not started.
    Off,
    /// Nothing yet: it is being brought up.
    Starting,
    /// Frames, while its link is up.
    Ready,
    /// Nothing any more, unless it is started again; [`Nic::error`] says why.
    Failed,
}

/// What every call that takes the time gives back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// What the interface can be used for.
    pub state: State,
    /// When to call [`Nic::poll`] at the latest, in nanoseconds of the clock whose time the calls
    /// are given. `None` while nothing is waited for.
    pub deadline_ns: Option<u64>,
}

/// The link of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// Nobody is at the other end.
    Down,
    /// Somebody is.
    Up {
        /// Its speed in megabits a second; 0 where nobody says.
        megabits: u32,
        /// Whether both ends may send at once.
        full_duplex: bool,
    },
}

impl Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => f.write_str("link down"),
            Self::Up { megabits: 0, .. } => f.write_str("link up"),
            Self::Up { megabits, full_duplex: true } => write!(f, "link up, {megabits} Mb/s"),
            Self::Up { megabits, full_duplex: false } => write!(f, "link up, {megabits} Mb/s half duplex"),
        }
    }
}

/// What an interface does of what the sender of a frame left to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// It computes a checksum that is missing.
    pub checksum: bool,
    /// It cuts TCP segments.
    pub segmentation: bool,
    /// Bytes of the largest frame that it takes and gives, header and tag included; of one that
    /// it cuts, of the largest segment.
    pub largest_bytes: usize,
}

/// Why a frame was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The interface is not [`State::Ready`].
    NotReady,
    /// Its link is down.
    Down,
    /// As many frames as there is room for are not sent yet. There is room again after a message
    /// or a poll.
    Full,
    /// The frame has no header.
    TooShort,
    /// It is larger than what the interface takes, which is this many bytes.
    TooLong(usize),
    /// What its sender left to do is not among the interface's [`Capabilities`].
    Offload,
    /// Nothing can be made of what its sender left to do, or of its tag.
    Senseless,
}

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady => f.write_str("the interface is not ready"),
            Self::Down => f.write_str("the link is down"),
            Self::Full => f.write_str("as many frames as there is room for are not sent yet"),
            Self::TooShort => f.write_str("a frame has a header at least"),
            Self::TooLong(bytes) => write!(f, "a frame has at most {bytes} bytes"),
            Self::Offload => f.write_str("the interface does not compute what its sender left out"),
            Self::Senseless => f.write_str("what its sender left out makes no sense"),
        }
    }
}

/// Frames that an interface was given and has not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Queue {
    /// How many there are.
    pub waiting: usize,
    /// How many more it takes.
    pub room: usize,
}

/// What an interface carried since its driver was made, and what it did not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames that were sent, by the interface's word.
    pub sent: Traffic,
    /// Frames that were given to whoever asked.
    pub received: Traffic,
    /// Frames that were taken to be sent, and were lost by a reset.
    pub lost: u64,
    /// Frames that came damaged.
    pub damaged: u64,
    /// Frames that came while there was no room, by the interface's word.
    pub missed: u64,
    /// How often the driver reset an interface that hung.
    pub resets: u64,
}

/// A network interface and its driver. Whoever keeps some of several kinds has them as
/// `dyn Nic + Send`; a driver can be sent if what it was made of can.
///
/// It stands behind a switch: it takes frames from any address, and gives every frame that comes,
/// whatever its address and VLAN, with its tag. No call waits, and none takes longer than
/// its queues are long.
pub trait Nic {
    /// Begins to bring the interface up, from whatever state it and its driver are in. Frames
    /// that are not sent yet are lost.
    fn start(&mut self, now_ns: u64) -> Status;

    /// Sees to what is due. It may be called at any time, and has to be at a [`Status`]'s deadline.
    fn poll(&mut self, now_ns: u64) -> Status;

    /// Message `message` came; there may be frames to [receive](Self::receive), room for others,
    /// and a link that changed. One that nobody waits for is no harm.
    fn interrupt(&mut self, message: u16, now_ns: u64) -> Status;

    /// What the interface can be used for, and when to call next.
    fn status(&self) -> Status;

    /// Why the interface is [`State::Failed`], in words. `None` in any other state.
    fn error(&self) -> Option<&dyn Display>;

    /// Its own address. `None` before it was asked.
    fn mac(&self) -> Option<MacAddress>;

    /// Its link, as of the last call that took the time. Down while it is not ready.
    fn link(&self) -> Link;

    /// What it does of what the sender of a frame left to do.
    fn capabilities(&self) -> Capabilities;

    /// Takes a copy of the frame that `parts` make, to be sent. The interface has it at the next
    /// [`kick`](Self::kick), so that several frames cost one doorbell.
    ///
    /// # Errors
    /// When it is not taken; nothing has happened then.
    fn transmit(&mut self, parts: &Parts<'_>) -> Result<(), Refused>;

    /// The frames that it was given and has not sent, as of the last call that took the time. None,
    /// and no room, while it is not [`State::Ready`].
    fn queue(&self) -> Queue;

    /// Has the interface begin with what it was given.
    fn kick(&mut self, now_ns: u64) -> Status;

    /// Says whether frames cause no messages, sent or received: who looks anyway asks for quiet.
    /// Links and failures do as before. Once the quiet is over, whoever ends it
    /// [receives](Self::receive) what came meanwhile, for which there may be no message.
    fn set_quiet(&mut self, is_quiet: bool);

    /// Makes the next frame that came of `into`. False, and `into` is empty, where there is none,
    /// or no more for now: who got as many as it has time for asks again later.
    fn receive(&mut self, into: &mut Frame) -> bool;

    /// What it carried.
    fn counters(&self) -> Counters;
}
