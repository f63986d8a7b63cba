//! What crosses the ports of a network, as those at them saw it, in order.

use network::{Frame, Offload, Parts};
use std::cell::RefCell;

/// Who is at a port: a guest by its number, or the uplink.
pub type Who = Option<usize>;

/// A frame outside of a [`Frame`]'s room.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Copied {
    /// From the destination address on.
    pub bytes: Vec<u8>,
    /// What its sender left to do.
    pub offload: Offload,
}

impl Copied {
    /// A copy of a frame.
    pub fn of(frame: &Frame) -> Self {
        Self { bytes: frame.bytes().to_vec(), offload: frame.offload }
    }

    /// A copy of what is given to a device.
    pub fn of_parts(parts: &Parts<'_>) -> Self {
        Self { bytes: parts.pieces().concat(), offload: parts.offload }
    }

    /// Makes `frame` a copy of it, as much as there is room for.
    pub fn fill(&self, frame: &mut Frame) {
        frame.clear();
        let bytes = &self.bytes[..self.bytes.len().min(network::LARGEST_BYTES)];
        frame.append(bytes).expect("as much as there is room for");
        frame.offload = self.offload;
    }
}

/// Something that crossed a port.
#[derive(Clone, Debug)]
pub enum Crossing {
    /// A frame, from who is there.
    Sent(Who, Copied),
    /// Something that was none.
    Unfit(Who),
    /// A frame or a segment of one, to who is there; whether it was taken.
    Got(Who, Copied, bool),
}

thread_local! {
    static CROSSINGS: RefCell<Vec<Crossing>> = const { RefCell::new(Vec::new()) };
}

/// Notes one.
pub fn note(crossing: Crossing) {
    CROSSINGS.with_borrow_mut(|all| all.push(crossing));
}

/// Those since this was asked last.
pub fn take() -> Vec<Crossing> {
    CROSSINGS.take()
}
