//! What a channel can be between two requests, and how it becomes one that was saved.

use super::{Channel, Phase, Then};
use crate::ide::dma::Transfer;
use crate::ide::pio::{BUFFER_BYTES, MOST_BLOCK_SECTORS, MOST_SECTORS};
use crate::ide::unit::Unit;
use crate::journal::{self, Journal, bit, ends};
use crate::snapshot::{RestoreFault, has, is_of};
use spec::ata::{error, status};
use spec::ide::control;

/// Bytes of the registers and of the command, as they are committed.
const REGISTER_BYTES: usize = 264;
/// Words of the committed state: of the request, of all else, and the buffer.
pub const STATE_WORDS: usize = BUFFER_AT + BUFFER_BYTES / 8;
const REGISTERS_AT: usize = 1;
const BUFFER_AT: usize = REGISTERS_AT + REGISTER_BYTES / 8;
/// Above the tag: whether a request is outstanding, and what follows it.
const OUTSTANDING: u32 = 32;
const THEN: u32 = 33;
const THENS: [Option<Then>; 4] = [None, Some(Then::Reset), Some(Then::Sign), Some(Then::Abort)];

impl Channel {
    /// Says what has changed since the channel was `committed`, from word `at` on.
    pub fn say(&mut self, committed: &mut Option<Self>, buffer: &[u8], at: usize, journal: &mut Journal<'_>) {
        let (start, end) = core::mem::take(&mut self.changed);
        let start = start & !7;
        let bytes = buffer.get(start..end.next_multiple_of(8)).unwrap_or_default();
        journal.put_bytes(at + BUFFER_AT + start / 8, bytes);
        if *committed == Some(*self) {
            return;
        }
        *committed = Some(*self);
        // What is outstanding is what was submitted last.
        let then = THENS.iter().position(|then| *then == self.cut_off).unwrap_or(0) as u64;
        let outstanding = u64::from(self.outstanding.is_some());
        journal.put(at, u64::from(self.tag) | outstanding << OUTSTANDING | then << THEN);
        journal.encode::<_, REGISTER_BYTES>(at + REGISTERS_AT, self);
    }

    /// Becomes as the channel that said the words from `at` on.
    pub fn take_over(&mut self, words: &[u64], buffer: &mut [u8], at: usize) -> Result<(), RestoreFault> {
        let head = journal::word(words, at)?;
        ends(head, THEN + 2)?;
        let tag = head as u32;
        let registers: Self = journal::decode::<_, REGISTER_BYTES>(words, at + REGISTERS_AT)?;
        let outstanding = bit(head, OUTSTANDING).then_some(tag);
        let cut_off = THENS.get((head >> THEN) as usize).copied().flatten();
        let said = Self { tag, outstanding, cut_off, ..registers };
        has(tag & 1 == self.tag & 1, "a request is of the other channel")?;
        match outstanding {
            Some(_) => said.check_waiting(self)?,
            None => {
                has(cut_off.is_none(), "what is cut off waits for nothing")?;
                said.check(self)?;
            }
        }
        journal::copy(words, at + BUFFER_AT, buffer)?;
        *self = said;
        Ok(())
    }

    /// Whether a channel with the disks of `own` can be as this one says, while a request is at the medium.
    fn check_waiting(&self, own: &Self) -> Result<(), RestoreFault> {
        let disks = |channel: &Self| channel.units.map(|unit| unit.disk);
        is_of(disks(self) == disks(own))?;
        has(self.master.is_possible(), "a bus master cannot be as it is")?;
        let unit = self.unit();
        let sectors = unit.disk.map_or(0, |disk| disk.sectors);
        has(unit.disk.is_some(), "a device that is not there works")?;
        let is_there = |first: u64, count: u32| {
            count <= MOST_SECTORS && first.checked_add(count.into()).is_some_and(|end| end <= sectors)
        };
        has(
            match self.phase {
                Phase::Idle => self.cut_off.is_some(),
                Phase::Pio(pio) => is_there(pio.first, pio.sectors) && pio.is_in_buffer(),
                Phase::Dma(Transfer { first, sectors, submitted, .. }) => {
                    is_there(first, sectors) && (1..=sectors).contains(&submitted)
                }
                Phase::Flush { .. } => true,
            },
            "what is at the medium is of sectors that are not there",
        )?;
        has(
            self.cut_off.is_none() || self.phase == Phase::Idle || self.is_flushing(),
            "a command goes on that was cut off",
        )
    }

    const fn is_flushing(&self) -> bool {
        matches!(self.phase, Phase::Flush { .. })
    }

    /// Whether a request is at the medium, of a command or of one that was cut off.
    pub const fn is_busy(&self) -> bool {
        self.outstanding.is_some()
    }

    /// This channel as `saved` says. It goes on to count its own requests, so that one which it has
    /// forgotten is none of the new ones when it completes.
    pub const fn restored(&self, saved: Self) -> Self {
        Self { tag: self.tag, changed: self.changed, outstanding: None, cut_off: None, ..saved }
    }

    /// Whether a channel with the disks of `own` can be as this one says, while no request is at the medium.
    pub fn check(&self, own: &Self) -> Result<(), RestoreFault> {
        let disks = |channel: &Self| channel.units.map(|unit| unit.disk);
        is_of(disks(self) == disks(own))?;
        has(self.master.is_possible(), "a bus master cannot be as it is")?;
        if self.is_empty() {
            let untouched = Self { master: self.master, ..Self::new([None; 2], own.tag & 1) };
            let is_untouched = own.restored(*self) == own.restored(untouched);
            return has(is_untouched, "a channel without a disk did something");
        }
        let is_reset = self.control & control::RESET != 0;
        has(!is_reset || self.phase == Phase::Idle, "a command is under way in the middle of a reset")?;
        self.units.iter().try_for_each(|unit| unit.check(is_reset, self.at(unit)))?;
        self.check_phase()
    }

    /// What a device is at: nothing, if it is not selected.
    fn at(&self, unit: &Unit) -> Phase {
        if core::ptr::eq(unit, self.unit()) { self.phase } else { Phase::Idle }
    }

    fn check_phase(&self) -> Result<(), RestoreFault> {
        let unit = self.unit();
        let sectors = unit.disk.map_or(0, |disk| disk.sectors);
        match self.phase {
            Phase::Idle => Ok(()),
            Phase::Pio(pio) => {
                let is_possible = unit.disk.is_some() && pio.is_possible(sectors, unit.multiple);
                has(is_possible, "data is where none can be")
            }
            Phase::Dma(transfer) => {
                let end = transfer.first.checked_add(transfer.sectors.into());
                let is_there = end.is_some_and(|end| end <= sectors);
                let is_some = (1..=MOST_SECTORS).contains(&transfer.sectors) && transfer.submitted == 0;
                has(is_there && is_some, "a transfer is of sectors that are not there")?;
                has(!self.master.is_started(), "a transfer waits that nothing holds up")
            }
            Phase::Flush { .. } => has(false, "a flush waits for nothing"),
        }
    }
}

impl Unit {
    /// Whether it can be as it says, at `phase`.
    fn check(&self, is_reset: bool, phase: Phase) -> Result<(), RestoreFault> {
        if self.disk.is_none() {
            return has(*self == Self::new(None), "a device that is not there did something");
        }
        has(is_block(self.multiple), "blocks have a size that they cannot have")?;
        has(self.geometry.is_possible(), "cylinders are as no cylinders are")?;
        let (ready, failed) = (status::READY, status::READY | status::ERROR);
        let is_right = match phase {
            Phase::Idle if is_reset => self.status == status::BUSY,
            Phase::Idle => self.status == ready || self.status == failed,
            Phase::Pio(_) => self.status == ready | status::DATA_REQUEST,
            Phase::Dma(_) | Phase::Flush { .. } => self.status == status::BUSY,
        };
        has(is_right, "the status is not that of what the disk is at")?;
        has(self.status != status::BUSY || !self.interrupt, "a busy disk interrupts")?;
        let is_failure = matches!(self.error, error::ABORTED | error::NOT_FOUND | error::UNCORRECTABLE);
        // After a reset, and after a diagnosis, the error says that the disk is well.
        let is_none = self.error == 0 || self.error == 1 && phase == Phase::Idle;
        let fits = if self.status == failed { is_failure } else { is_none || is_reset && is_failure };
        has(fits, "the error is not that of the status")
    }
}

/// Whether SET MULTIPLE MODE takes so many sectors.
const fn is_block(sectors: u8) -> bool {
    sectors == 0 || sectors.is_power_of_two() && sectors as u32 <= MOST_BLOCK_SECTORS
}
