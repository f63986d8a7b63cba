//! What a console of the guest's is between its bytes and its lines.

use spin::mutex::TicketMutex;

/// Longest piece of a line that is written at once.
pub(super) const LINE_BYTES: usize = 240;
/// The console at the serial port of the chipset. Those of the functions follow it.
pub const SERIAL_PORT: usize = 0;

/// The line of a console that has no end yet.
pub(super) struct Line {
    pub(super) bytes: [u8; LINE_BYTES],
    pub(super) used: usize,
}

impl Line {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; LINE_BYTES], used: 0 }
    }

    pub(super) fn text(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    pub(super) const fn is_unfinished(&self) -> bool {
        self.used > 0
    }
}

/// A console that is one of the guest's functions.
pub struct FunctionConsole {
    /// Its endpoint's number.
    pub(super) endpoint: usize,
    /// It is taken after that endpoint.
    pub(super) line: TicketMutex<Line>,
}

impl FunctionConsole {
    /// The console behind endpoint `endpoint`.
    pub const fn new(endpoint: usize) -> Self {
        Self { endpoint, line: TicketMutex::new(Line::new()) }
    }
}
