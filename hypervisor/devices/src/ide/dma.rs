//! The bus master of one channel: its registers and the table of what memory a transfer has.

use crate::device::MOST_REQUEST_BYTES;
use access::GuestMemory;
use serde::{Deserialize, Serialize};
use spec::ide::bus_master::{
    ACTIVE, CAPABLE, COMMAND, ERROR, INTERRUPT, LAST, START, STATUS, TABLE, TO_MEMORY,
};
use spec::{Gpa, Width};

/// The most entries that one request is put together from.
const MOST_ENTRIES: usize = 256;

/// The most bytes of an entry.
const MOST_ENTRY_BYTES: u32 = 0x1_0000;

/// What is left of a command that moves data by DMA.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Transfer {
    pub write: bool,
    /// The next sector of the disk.
    pub first: u64,
    pub sectors: u32,
    /// Sectors of the request that is outstanding.
    pub submitted: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Master {
    command: u8,
    pub status: u8,
    table: u32,
    /// Where the next entry is.
    next: u32,
    /// Memory that entries named and no request has: where, and bytes.
    run: (u64, u32),
    /// The last entry was read.
    ended: bool,
}

impl Master {
    pub const fn is_started(&self) -> bool {
        self.command & START != 0
    }

    pub fn read(&self, at: u64) -> u64 {
        match at {
            COMMAND => self.command.into(),
            STATUS => self.status.into(),
            TABLE..=7 => u64::from(self.table) >> (8 * (at - TABLE)),
            _ => 0,
        }
    }

    pub fn write(&mut self, at: u64, width: Width, value: u64) {
        match at {
            COMMAND => self.write_command(value as u8),
            STATUS => {
                let value = value as u8;
                let kept = self.status & !(value & (ERROR | INTERRUPT)) & !CAPABLE;
                self.status = kept | value & CAPABLE;
            }
            TABLE..=7 => {
                let shift = 8 * (at - TABLE);
                let mask = (width.mask() << shift) as u32;
                self.table = (self.table & !mask | (value << shift) as u32 & mask) & !3;
            }
            _ => {}
        }
    }

    fn write_command(&mut self, value: u8) {
        let was = core::mem::replace(&mut self.command, value & (START | TO_MEMORY));
        if value & START == 0 {
            self.status &= !ACTIVE;
        } else if was & START == 0 {
            self.status |= ACTIVE;
            self.next = self.table;
            self.run = (0, 0);
            self.ended = false;
        }
    }

    /// The transfer failed.
    pub const fn fail(&mut self) {
        self.status = self.status & !ACTIVE | ERROR;
    }

    /// The disk has moved everything. While the table has more, the master stays active.
    pub const fn finish(&mut self) {
        if self.ended && self.run.1 == 0 {
            self.status &= !ACTIVE;
        }
    }

    /// The memory of the next request, whole sectors. `None` where the direction is wrong, or the
    /// table is too short, not in memory, or cuts a sector into pieces that do not adjoin.
    pub fn next_run(&mut self, transfer: &Transfer, memory: &dyn GuestMemory) -> Option<(Gpa, u32)> {
        if transfer.write == (self.command & TO_MEMORY != 0) {
            return None;
        }
        let wanted = transfer.sectors.saturating_mul(512).min(MOST_REQUEST_BYTES);
        for _ in 0..MOST_ENTRIES {
            let (start, bytes) = self.run;
            if bytes >= wanted || self.ended {
                break;
            }
            let (address, more, last) = self.entry(memory)?;
            if bytes > 0 && start + u64::from(bytes) != address {
                break;
            }
            self.run = (if bytes == 0 { address } else { start }, bytes + more);
            self.next = self.next.wrapping_add(8);
            self.ended = last;
        }
        let (start, bytes) = self.run;
        let taken = bytes.min(wanted) & !511;
        self.run = (start + u64::from(taken), bytes - taken);
        (taken > 0).then_some((Gpa(start), taken))
    }

    /// The next entry: address, bytes, and whether it is the last. It may not cross 64 KiB.
    fn entry(&self, memory: &dyn GuestMemory) -> Option<(u64, u32, bool)> {
        let mut bytes = [0; 8];
        memory.read(Gpa(self.next.into()), &mut bytes).ok()?;
        let entry = u64::from_le_bytes(bytes);
        let (address, flags) = (entry as u32 & !1, (entry >> 32) as u32);
        let bytes = match flags & 0xfffe {
            0 => MOST_ENTRY_BYTES,
            bytes => bytes,
        };
        let fits = (address & 0xffff) + bytes <= MOST_ENTRY_BYTES;
        fits.then_some((address.into(), bytes, flags & LAST != 0))
    }

    /// Whether it can be so between two requests.
    pub const fn is_possible(&self) -> bool {
        let (start, bytes) = self.run;
        let is_active = self.status & ACTIVE != 0;
        let end = start.saturating_add(bytes as u64);
        self.command & !(START | TO_MEMORY) == 0
            && self.status & !(ACTIVE | ERROR | INTERRUPT | CAPABLE) == 0
            && (!is_active || self.is_started())
            && self.table & 3 == 0
            && self.next & 3 == 0
            && start & 1 == 0
            && bytes & 1 == 0
            && bytes < MOST_REQUEST_BYTES + MOST_ENTRY_BYTES
            && end <= 1 << 32
    }

    /// As none may be.
    #[cfg(test)]
    pub const fn forge(&mut self, command: u8, next: u32, run: (u64, u32)) {
        (self.command, self.next, self.run) = (command, next, run);
    }
}
