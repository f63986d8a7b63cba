//! Requests that go to a drive as one.

use crate::device::Request;
use alloc::boxed::Box;

/// Requests that were taken together: parts of one command, each behind the other on the medium.
/// Made with room for as many as one transfer of the backend can have.
#[derive(Default)]
pub struct Group {
    room: Box<[Request]>,
    pub(super) count: usize,
    /// The life of the device in which they were taken.
    pub(super) life: u32,
}

impl Group {
    /// Room for `requests` requests.
    pub fn with_capacity(requests: usize) -> Self {
        let room = core::iter::repeat_n(Request::default(), requests).collect();
        Self { room, count: 0, life: 0 }
    }

    /// They, in order.
    pub fn requests(&self) -> &[Request] {
        self.room.get(..self.count).unwrap_or_default()
    }

    /// Whether they move data.
    pub fn moves_data(&self) -> bool {
        self.requests().first().is_some_and(|request| request.operation.moves_data())
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.requests().iter().map(|request| request.bytes as usize).sum()
    }

    /// Adds one behind the others. Whether there was room.
    pub(super) fn push(&mut self, request: Request) -> bool {
        let place = self.room.get_mut(self.count);
        let has_room = place.is_some();
        if let Some(place) = place {
            *place = request;
            self.count += 1;
        }
        has_room
    }
}
