//! The ring of a queue that is enabled, of either kind.

use super::places::{Places, Progress};
use super::{Broken, Chain, Packed, Split, Taken};
use crate::rest::Rest;
use access::GuestMemory;
use spec::virtio::feature;

/// A ring. What its methods do is said with those of [`Split`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ring {
    /// Section 2.7.
    Split(Split),
    /// Section 2.8.
    Packed(Packed),
}

/// The same of either kind.
macro_rules! either {
    ($ring:expr, $one:ident => $what:expr) => {
        match $ring {
            Ring::Split($one) => $what,
            Ring::Packed($one) => $what,
        }
    };
}

/// Whether queues are packed with these features.
pub(super) const fn is_packed(features: u64) -> bool {
    features & feature::RING_PACKED != 0
}

impl Ring {
    /// The ring of a queue at `places`, of the kind that was agreed on.
    ///
    /// # Errors
    /// It cannot be there.
    pub fn new(places: Places, features: u64) -> Result<Self, Broken> {
        if is_packed(features) {
            Packed::new(places).map(Self::Packed)
        } else {
            Split::new(places).map(Self::Split)
        }
    }

    /// The ring that is so far.
    ///
    /// # Errors
    /// It cannot be there, or not be so far.
    pub(super) fn restored(places: Places, features: u64, progress: Progress) -> Result<Self, Broken> {
        if is_packed(features) {
            Packed::restored(places, progress).map(Self::Packed)
        } else {
            Split::restored(places, progress).map(Self::Split)
        }
    }

    pub(super) const fn progress(&self) -> Progress {
        either!(self, ring => ring.progress())
    }

    /// What bounds that which is taken, as a word.
    pub(super) fn bounds(&self) -> u64 {
        either!(self, ring => ring.bounds())
    }

    /// Goes on with so many entries put that the driver was not told of, and with these bounds. Whether there are
    /// such.
    pub(super) fn go_on(&mut self, untold: u16, bounds: u64) -> bool {
        either!(self, ring => ring.go_on(untold, bounds))
    }

    /// How many entries were taken and not put yet.
    pub const fn outstanding(&self) -> u16 {
        either!(self, ring => ring.outstanding())
    }

    /// See [`Split::admit`].
    ///
    /// # Errors
    /// See there.
    pub fn admit(&mut self, memory: &dyn GuestMemory) -> Result<(), Broken> {
        either!(self, ring => ring.admit(memory))
    }

    /// See [`Split::hold`].
    pub const fn hold(&mut self) {
        either!(self, ring => ring.hold());
    }

    /// See [`Split::take`].
    ///
    /// # Errors
    /// See there.
    pub fn take(&mut self, memory: &dyn GuestMemory, chain: &mut Chain) -> Result<bool, Broken> {
        either!(self, ring => ring.take(memory, chain))
    }

    /// See [`Split::put_all`].
    ///
    /// # Errors
    /// See there.
    pub fn put_all(&mut self, memory: &dyn GuestMemory, chains: &[(Taken, u32)]) -> Result<(), Broken> {
        either!(self, ring => ring.put_all(memory, chains))
    }

    /// See [`Split::untake`].
    ///
    /// # Errors
    /// See there.
    pub fn untake(&mut self, entries: u16) -> Result<(), Broken> {
        either!(self, ring => ring.untake(entries))
    }

    /// See [`Split::rests`].
    pub(super) fn rests(&self, is_taken: bool, rest: &mut Rest, memory: &dyn GuestMemory) -> bool {
        either!(self, ring => ring.rests(is_taken, rest, memory))
    }

    /// See [`Split::take_interrupt`].
    ///
    /// # Errors
    /// See there.
    pub fn take_interrupt(&mut self, memory: &dyn GuestMemory) -> Result<bool, Broken> {
        either!(self, ring => ring.take_interrupt(memory))
    }

    /// See [`Split::want_notifications`].
    ///
    /// # Errors
    /// See there.
    pub fn want_notifications(&mut self, wanted: bool, memory: &dyn GuestMemory) -> Result<bool, Broken> {
        either!(self, ring => ring.want_notifications(wanted, memory))
    }
}

/// Whether a ring that works can be so far.
pub(super) const fn is_at_rest(progress: &Progress, size: u16, features: u64) -> bool {
    if is_packed(features) { Packed::is_at_rest(progress, size) } else { Split::is_at_rest(progress, size) }
}

#[cfg(test)]
mod tests;
