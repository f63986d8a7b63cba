//! Registers in configuration space by which a driver that cannot map the BAR reaches the register window
//! (section 4.1.4.9): it says where, and how wide, and each access to the data is one there.
//!
//! Nothing leads from the window back to these registers, so an access through them is one access and no more.

use super::{Function, Transport, WINDOW_BYTES};
use crate::device::{Context, Device};
use serde::{Deserialize, Serialize};
use spec::Width;
use spec::virtio::pci::config_access::{BAR, BYTES, DATA, LENGTH, OFFSET};

/// The BAR of the window.
const WINDOW_BAR: u8 = 0;
/// What the driver can write of the registers: all but what is reserved behind the BAR's number.
const WRITABLE: u128 = !0xffff_ff00;

/// The registers, the first byte lowest.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(in crate::virtio) struct ConfigAccess(u128);

impl ConfigAccess {
    /// What `width` bytes read that are `at` bytes into the registers; behind their end zeros.
    pub(super) fn read(self, at: u64, width: Width) -> u64 {
        self.0.checked_shr(bits_before(at)).unwrap_or(0) as u64 & width.mask()
    }

    pub(super) fn write(&mut self, at: u64, width: Width, value: u64) {
        let place = |bits: u64| u128::from(bits & width.mask()).checked_shl(bits_before(at)).unwrap_or(0);
        let written = place(u64::MAX) & WRITABLE;
        self.0 = self.0 & !written | place(value) & written;
    }

    /// Whether an access to the registers makes one to the window.
    pub(super) const fn has_data(at: u64, width: Width) -> bool {
        at < BYTES as u64 && at.saturating_add(width.bytes()) > DATA
    }

    /// Where in the window of so many bytes it is, if the registers name such a place: of its BAR alone, before
    /// the table of MSI-X, aligned, and of a width that registers have (section 4.1.4.9.2).
    pub(super) fn target(self, window_bytes: u64) -> Option<(u64, Width)> {
        let width = match self.read(LENGTH, Width::Dword) {
            1 => Width::Byte,
            2 => Width::Word,
            4 => Width::Dword,
            _ => return None,
        };
        let (bar, offset) = (self.read(BAR, Width::Byte), self.read(OFFSET, Width::Dword));
        let is_there = bar == WINDOW_BAR.into() && width.is_aligned(offset) && offset < window_bytes;
        is_there.then_some((offset, width))
    }

    /// What the driver writes through them.
    pub(super) fn data(self) -> u64 {
        self.read(DATA, Width::Dword)
    }

    /// Keeps what was read through them.
    pub(super) fn set_data(&mut self, value: u64) {
        self.write(DATA, Width::Dword, value);
    }

    /// The registers as words, the first byte lowest.
    pub(super) const fn to_words(self) -> [u64; 2] {
        [self.0 as u64, (self.0 >> 64) as u64]
    }

    pub(super) fn of_words([low, high]: [u64; 2]) -> Self {
        Self(u128::from(low) | u128::from(high) << 64)
    }

    /// Whether registers can be so: nothing is written to what is reserved.
    pub(super) const fn is_possible(self) -> bool {
        self.0 & !WRITABLE == 0
    }
}

impl<F: Function> Transport<F> {
    /// Reads the registers in configuration space. Where they name nothing, the data is 0.
    pub(super) fn read_through(&mut self, at: u64, width: Width, context: &mut Context<'_>) -> u64 {
        self.touched.registers = true;
        if ConfigAccess::has_data(at, width) {
            let value = self
                .access
                .target(WINDOW_BYTES)
                .map_or(0, |(offset, width)| self.read(offset, width, context));
            self.access.set_data(value);
        }
        self.access.read(at, width)
    }

    pub(super) fn write_through(&mut self, at: u64, width: Width, value: u64, context: &mut Context<'_>) {
        self.touched.registers = true;
        self.access.write(at, width, value);
        if ConfigAccess::has_data(at, width)
            && let Some((offset, width)) = self.access.target(WINDOW_BYTES)
        {
            self.write(offset, width, self.access.data() & width.mask(), context);
        }
    }
}

/// Bits of the registers before the byte at `at`.
const fn bits_before(at: u64) -> u32 {
    if at < BYTES as u64 { 8 * at as u32 } else { u128::BITS }
}

#[cfg(test)]
mod tests;
