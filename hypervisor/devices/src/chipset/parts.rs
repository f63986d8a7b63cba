//! The state of a chipset in parts, for whoever keeps it and has seldom all of it changed.

use super::{Chipset, VERSION};
use crate::snapshot::SaveFault;
use serde::Serialize;

/// Bytes that the state of a part has at most, but for the serial port's.
const SMALL_BYTES: usize = 512;
/// Those of the serial port's, which keeps what was typed.
const SERIAL_BYTES: usize = 4608;

/// A part of the state. Behind the version, all of them in their order are what [`Chipset::save`] writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Part {
    /// The IOAPIC.
    Ioapic = 0,
    /// The 8259A pair.
    Pics = 1,
    /// The 8254.
    Pit = 2,
    /// The clock, and the CMOS memory.
    Rtc = 3,
    /// COM1.
    Uart = 4,
    /// Power management.
    PowerManagement = 5,
    /// The 8042, and the level of INTR that was told.
    Rest = 6,
}

impl Part {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Ioapic, Self::Pics, Self::Pit, Self::Rtc, Self::Uart, Self::PowerManagement, Self::Rest];

    /// Bytes that its state has at most.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Uart => SERIAL_BYTES,
            _ => SMALL_BYTES,
        }
    }
}

impl Chipset {
    /// Whether this part of it is otherwise than that of `other`.
    pub fn differs(&self, part: Part, other: &Self) -> bool {
        match part {
            Part::Ioapic => self.ioapic != other.ioapic,
            Part::Pics => self.pics != other.pics,
            Part::Pit => self.pit != other.pit,
            Part::Rtc => self.rtc != other.rtc,
            Part::Uart => self.uart != other.uart,
            Part::PowerManagement => self.pm != other.pm,
            Part::Rest => (&self.i8042, self.external) != (&other.i8042, other.external),
        }
    }

    /// Has this part of it be as that of `other`.
    pub fn take_part(&mut self, part: Part, other: &Self) {
        match part {
            Part::Ioapic => self.ioapic.clone_from(&other.ioapic),
            Part::Pics => self.pics.clone_from(&other.pics),
            Part::Pit => self.pit.clone_from(&other.pit),
            Part::Rtc => self.rtc.clone_from(&other.rtc),
            Part::Uart => self.uart.clone_from(&other.uart),
            Part::PowerManagement => self.pm.clone_from(&other.pm),
            Part::Rest => {
                self.i8042.clone_from(&other.i8042);
                self.external = other.external;
            }
        }
    }

    /// Writes this part of its state into `into`, of which [`Part::bytes`] are enough, and says how many bytes it has.
    ///
    /// # Errors
    /// The place is too small.
    pub fn save_part(&self, part: Part, into: &mut [u8]) -> Result<usize, SaveFault> {
        match part {
            Part::Ioapic => encode(&self.ioapic, into),
            Part::Pics => encode(&self.pics, into),
            Part::Pit => encode(&self.pit, into),
            Part::Rtc => encode(&self.rtc, into),
            Part::Uart => encode(&self.uart, into),
            Part::PowerManagement => encode(&self.pm, into),
            Part::Rest => encode(&(&self.i8042, self.external), into),
        }
    }
}

fn encode(state: &impl Serialize, into: &mut [u8]) -> Result<usize, SaveFault> {
    postcard::to_slice(state, into).map(|written| written.len()).map_err(|_| SaveFault::TooLong)
}

/// Writes the parts of a state, in their order, as [`Chipset::save`] writes all of it.
///
/// # Errors
/// The place is too small.
pub fn join<'a>(parts: impl Iterator<Item = &'a [u8]>, into: &mut [u8]) -> Result<usize, SaveFault> {
    let mut used = encode(&VERSION, into)?;
    for part in parts {
        let end = used.checked_add(part.len()).ok_or(SaveFault::TooLong)?;
        into.get_mut(used..end).ok_or(SaveFault::TooLong)?.copy_from_slice(part);
        used = end;
    }
    Ok(used)
}
