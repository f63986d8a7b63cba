//! Whom a request to the medium is for.

use crate::device::Operation;

/// Whom a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// A command of the guest's.
    Command {
        /// The submission queue that it came from.
        queue: u16,
        /// Its identifier there.
        identifier: u16,
        /// What it does.
        operation: Operation,
        /// It is answered only after a flush.
        then_flush: bool,
    },
    /// The shutdown that the guest announced.
    Shutdown,
}
