//! A disk of an IDE controller.

use serde::{Deserialize, Serialize};

/// A disk of 512-byte sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Disk {
    /// Where it starts on the controller's medium, in bytes.
    pub start: u64,
    /// How many sectors it has.
    pub sectors: u64,
    /// What it says its serial number is, ASCII.
    pub serial: [u8; 20],
}
