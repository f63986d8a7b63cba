//! Where BARs are and may be.
//!
//! A guest may move a BAR anywhere; whether anything is there then is decided
//! here. BARs on memory, on the local APIC, on the ECAM window or on another BAR
//! are attacks or mistakes: they decode nothing.

use core::fmt;
use core::ops::Range;

use spec::{Gpa, Width};

use pci::bar::{BarKind, register};

use super::ports::reached_at;
use super::{GuestBus, Windows};
use crate::bar::{BARS, Bar};
use crate::effect::Refusal;
use crate::function::PciFunction;
use crate::slot::Slot;

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom { slot, bar, size } => {
                write!(f, "BAR {bar} in slot {slot}, of {size:#x} bytes, does not fit the guest's windows")
            }
            Self::NoFunctionZero { slot } => write!(f, "the device of {slot} has no function 0"),
        }
    }
}

/// The BARs could not all be placed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlaceError {
    /// A BAR does not fit into the windows for its kind.
    NoRoom {
        /// Whose BAR it is.
        slot: Slot,
        /// Number of the BAR.
        bar: u8,
        /// Bytes or ports that it needs.
        size: u64,
    },
    /// A device has functions but no function 0: no guest would find them.
    NoFunctionZero {
        /// One of its functions.
        slot: Slot,
    },
}

/// Gives places in a guest's windows away, as firmware does.
pub struct Allocator {
    windows: Windows,
    /// The lowest free address of each window.
    memory32: u64,
    memory64: u64,
    ports: u64,
}

impl Allocator {
    /// Windows in which nothing is yet.
    pub fn new(windows: Windows) -> Self {
        let (memory32, memory64) = (windows.memory32.start, windows.memory64.start);
        let ports = windows.ports.start;
        Self { windows, memory32, memory64, ports }
    }

    /// A place for a BAR of `size` bytes, a power of two, aligned to its size: 64-bit
    /// prefetchable memory above 4 GiB, everything else below, where there is room.
    /// Without gaps where the larger ones come first.
    pub fn place(&mut self, kind: BarKind, size: u64) -> Option<u64> {
        let Self { windows, memory32, memory64, ports } = self;
        let low = (memory32, &windows.memory32);
        let high = (memory64, &windows.memory64);
        match kind {
            BarKind::Io => take(ports, &windows.ports, size),
            BarKind::Memory32 { .. } | BarKind::Rom => take(low.0, low.1, size),
            BarKind::Memory64 { prefetchable: true } => {
                take(high.0, high.1, size).or_else(|| take(low.0, low.1, size))
            }
            BarKind::Memory64 { prefetchable: false } => {
                take(low.0, low.1, size).or_else(|| take(high.0, high.1, size))
            }
        }
    }

    /// Leaves the rest of a MiB of memory, and gives the lowest free address of each window of
    /// memory.
    fn align(&mut self) -> (u64, u64) {
        for free in [&mut self.memory32, &mut self.memory64] {
            *free = free.next_multiple_of(1 << 20);
        }
        (self.memory32, self.memory64)
    }
}

impl<F: PciFunction> GuestBus<F> {
    /// Puts every BAR into the windows, as firmware does: aligned to their size,
    /// the biggest first; 64-bit prefetchable memory above 4 GiB, everything else
    /// below. Root ports get bus numbers and windows for what is behind them, and forward
    /// nothing until the guest lets them. Allocates nothing, so a guest that restarts gets the same places.
    ///
    /// # Errors
    /// The first BAR that does not fit, or a device without function 0.
    pub fn place_bars(&mut self) -> Result<(), PlaceError> {
        let lost = self.functions.iter().find(|entry| !self.is_there(entry.slot.first()));
        if let Some(entry) = lost {
            return Err(PlaceError::NoFunctionZero { slot: entry.slot });
        }
        let mut room = Allocator::new(self.windows.clone());
        self.place_bus(0, &mut room)?;
        for number in (1_u8..).take(self.ports.len()) {
            // A port's windows are whole MiB, and what is in them is behind it alone.
            let before = room.align();
            self.place_bus(number, &mut room)?;
            let after = room.align();
            if let Some((_, port)) = self.ports.get_mut(usize::from(number - 1)) {
                port.place(number, (before.0, after.0 - before.0), (before.1, after.1 - before.1));
            }
        }
        self.settle_ports();
        Ok(())
    }

    /// Places the BARs of the functions behind one root port; 0 is the root bus.
    fn place_bus(&mut self, port: u8, room: &mut Allocator) -> Result<(), PlaceError> {
        for size in (0..u64::BITS).rev().map(|shift| 1_u64 << shift) {
            for place in 0..self.functions.len() {
                if self.functions.get(place).is_some_and(|entry| entry.slot.port() == port) {
                    self.place_bars_of(place, size, room)?;
                }
            }
        }
        Ok(())
    }

    /// Places the BARs of `size` bytes of one function.
    fn place_bars_of(&mut self, place: usize, size: u64, room: &mut Allocator) -> Result<(), PlaceError> {
        let Some(entry) = self.functions.get(place) else { return Ok(()) };
        let slot = entry.slot;
        for (number, bar) in (0_u8..).zip(entry.function.bars()) {
            let Some(Bar { kind, size: this, .. }) = bar else { continue };
            if this != size {
                continue;
            }
            let address = room.place(kind, size).ok_or(PlaceError::NoRoom { slot, bar: number, size })?;
            self.config_write(slot, register(number), Width::Dword, address as u32);
            if matches!(kind, BarKind::Memory64 { .. }) {
                self.config_write(slot, register(number) + 4, Width::Dword, (address >> 32) as u32);
            }
        }
        Ok(())
    }

    /// Makes what is mapped agree with where the guest decodes its BARs. Unmaps
    /// come first; a BAR that was refused because another was in its place is
    /// tried again, since that one may be gone.
    pub(super) fn reconcile(&mut self) {
        for entry in &mut self.functions {
            let bars = entry.function.bars();
            for (number, bar) in (0_u8..).zip(bars) {
                let index = usize::from(number);
                let wanted = bar.as_ref().and_then(|bar| reached_at(&self.ports, entry.slot, bar));
                let mapped = entry.mapped.get_mut(index).and_then(|mapped| {
                    if mapped.is_some_and(|(gpa, _)| Some(gpa) != wanted) { mapped.take() } else { None }
                });
                if mapped.is_some() {
                    entry.effects.unmap_bar(number);
                }
                if let Some(refused) = entry.refused.get_mut(index)
                    && *refused != wanted
                {
                    *refused = None;
                }
            }
        }
        for place in 0..self.functions.len() {
            self.map_bars_of(place);
        }
    }

    /// Maps what one function decodes and may have there.
    fn map_bars_of(&mut self, place: usize) {
        let Some(entry) = self.functions.get(place) else { return };
        let (slot, bars) = (entry.slot, entry.function.bars());
        for (number, bar) in (0_u8..).zip(bars) {
            let Some(bar) = bar else { continue };
            let Some(gpa) = reached_at(&self.ports, slot, &bar) else { continue };
            if self.mapped(place, number).is_some() {
                continue;
            }
            let allowed = self.may_be_at(bar.kind, gpa, bar.size);
            let Some(entry) = self.functions.get_mut(place) else { return };
            let index = usize::from(number);
            let (Some(mapped), Some(refused)) = (entry.mapped.get_mut(index), entry.refused.get_mut(index))
            else {
                return;
            };
            match allowed {
                Ok(()) => {
                    *mapped = Some((gpa, bar.size));
                    *refused = None;
                    entry.effects.map_bar(number, gpa);
                }
                // Said once for each place.
                Err(refusal) if *refused != Some(gpa) => {
                    *refused = Some(gpa);
                    entry.effects.refuse_bar(number, gpa, refusal);
                }
                Err(_) => {}
            }
        }
    }

    fn mapped(&self, place: usize, bar: u8) -> Option<(Gpa, u64)> {
        *self.functions.get(place)?.mapped.get(usize::from(bar))?
    }

    /// Whether a BAR may be mapped here: wholly inside one window for its kind,
    /// and over no BAR that is mapped.
    fn may_be_at(&self, kind: BarKind, gpa: Gpa, size: u64) -> Result<(), Refusal> {
        let inside = |window: &Range<u64>| {
            gpa.0 >= window.start && gpa.0.checked_add(size).is_some_and(|end| end <= window.end)
        };
        let windows = &self.windows;
        let allowed = match kind {
            BarKind::Io => inside(&windows.ports),
            _ => inside(&windows.memory32) || inside(&windows.memory64),
        };
        if !allowed {
            return Err(Refusal::OutsideWindows);
        }
        for entry in &self.functions {
            for (bar, mapped) in (0_u8..BARS as u8).zip(&entry.mapped) {
                // Windows of ports and of memory are disjoint, so a plain
                // comparison cannot take a port for an address.
                if let Some((start, length)) = *mapped
                    && gpa < start + length
                    && start < gpa + size
                {
                    return Err(Refusal::Overlaps { slot: entry.slot, bar });
                }
            }
        }
        Ok(())
    }
}

/// The next free place of `size` bytes in a window.
fn take(cursor: &mut u64, window: &Range<u64>, size: u64) -> Option<u64> {
    let start = Gpa(*cursor).align_up(size)?.0;
    let end = start.checked_add(size)?;
    if end > window.end {
        return None;
    }
    *cursor = end;
    Some(start)
}
