//! What a device's requests go to: one backend, or a second one too, of a device that has two drives.

use crate::device::Request;
use crate::effect::Effects;
use crate::medium::Medium;
use alloc::boxed::Box;

/// What a device's requests go to.
pub enum Backend {
    /// A medium that does each at once, where the device is accessed.
    Medium(Box<dyn Medium>),
    /// Somebody else, who takes them (`Endpoint::take_requests`) and tells when they are done
    /// (`Endpoint::finish`).
    Served,
}

/// One of the backends that an endpoint can have.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Which {
    /// That which every endpoint has.
    #[default]
    First,
    /// That of a second drive.
    Second,
}

impl Backend {
    /// Room for so many requests that wait for whoever serves it.
    pub(super) fn requests(&self, most: usize) -> Effects<Request> {
        Effects::with_capacity(if matches!(self, Self::Served) { most } else { 0 })
    }
}

/// What is behind the first backend on the device's medium.
pub(super) struct Second {
    /// The byte of the medium that is its first.
    pub(super) start: u64,
    pub(super) backend: Backend,
    /// Requests to it that nobody has taken yet.
    pub(super) requests: Effects<Request>,
}

impl Second {
    pub(super) fn new(start: u64, backend: Backend, most_requests: usize) -> Self {
        Self { start, requests: backend.requests(most_requests), backend }
    }

    pub(super) fn clear(&mut self) {
        self.requests.clear();
    }
}
