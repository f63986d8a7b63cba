//! One of the two devices that a channel has, 0 (master) and 1 (slave): what its registers show while it
//! is selected.

use super::disk::Disk;
use super::geometry::Geometry;
use super::pio::MOST_BLOCK_SECTORS;
use serde::{Deserialize, Serialize};
use spec::ata::status;
use spec::ide::register;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unit {
    /// Without one nothing is there, and nothing below changes.
    pub disk: Option<Disk>,
    /// Count and address, as written last, and before.
    pub task: [[u8; 2]; 4],
    pub status: u8,
    pub error: u8,
    /// Sectors of a block of READ MULTIPLE and WRITE MULTIPLE; 0 where they are not to be used.
    pub multiple: u8,
    pub geometry: Geometry,
    pub interrupt: bool,
}

impl Unit {
    pub fn new(disk: Option<Disk>) -> Self {
        let mut unit = Self {
            disk,
            task: [[0; 2]; 4],
            status: 0,
            error: 0,
            multiple: MOST_BLOCK_SECTORS as u8,
            geometry: Geometry::DEFAULT,
            interrupt: false,
        };
        unit.sign();
        unit
    }

    /// What a disk says after a reset (ATA/ATAPI-7 volume 2, section 9.12).
    pub const fn sign(&mut self) {
        if self.disk.is_some() {
            self.task = [[1, 0], [1, 0], [0; 2], [0; 2]];
            self.error = 1;
            self.status = status::READY;
            self.interrupt = false;
        }
    }

    /// It works, and can be told nothing until it has done so.
    pub const fn work(&mut self) {
        if self.disk.is_some() {
            self.status = status::BUSY;
        }
    }

    /// Whether it takes neither a command nor what one has to know.
    pub const fn is_at_work(&self) -> bool {
        self.status & (status::BUSY | status::DATA_REQUEST) != 0
    }

    pub fn field(&self, at: u64, high: usize) -> u8 {
        let field = self.task.get((at - register::COUNT) as usize);
        field.and_then(|field| field.get(high)).copied().unwrap_or(0xff)
    }

    pub fn set_field(&mut self, at: u64, value: u8) {
        if self.disk.is_none() {
            return;
        }
        if let Some([now, before]) = self.task.get_mut((at - register::COUNT) as usize) {
            *before = core::mem::replace(now, value);
        }
    }
}
