//! Accesses to the trapped parts of BARs: each byte belongs to the MSI-X table,
//! to its pending bits, or to other registers of the function.

use access::{ConfigSpace, RegisterWindow};
use spec::Width;

use super::PassedThrough;
use crate::bar::TrappedRegion;
use crate::effect::PciEffects;

/// A trapped region and the window to the hardware behind it.
pub(super) struct Trapped<W> {
    pub region: TrappedRegion,
    /// Starts where the region starts.
    pub window: W,
}

impl<W> Trapped<W> {
    /// Whether the byte at `offset` of `bar` is in the region.
    pub fn holds(&self, bar: u8, offset: u64) -> bool {
        bar == self.region.bar
            && offset >= self.region.offset
            && offset - self.region.offset < self.region.bytes
    }
}

/// What an access of some bytes touches.
enum Owner {
    /// Only the MSI-X table, from this many bytes into it.
    Table(u64),
    /// Only pending bits.
    Pending,
    /// Only other registers.
    Registers,
    /// More than one of these.
    Several,
}

impl<C: ConfigSpace, W: RegisterWindow> PassedThrough<C, W> {
    pub(super) fn trapped_read(&self, bar: u8, offset: u64, width: Width) -> u64 {
        match self.owner(bar, offset, width) {
            Owner::Table(at) => self.msix.as_ref().map_or(width.mask(), |msix| msix.table.read(at, width)),
            Owner::Pending | Owner::Registers if width.is_aligned(offset) => {
                self.forward_read(bar, offset, width)
            }
            // In pieces of a byte: those of the table read ones.
            _ if width != Width::Byte => (0..width.bytes()).fold(0, |value, index| {
                let byte = match offset.checked_add(index) {
                    Some(at) => self.trapped_read(bar, at, Width::Byte),
                    None => Width::Byte.mask(),
                };
                value | byte << (8 * index)
            }),
            _ => width.mask(),
        }
    }

    pub(super) fn trapped_write(
        &mut self,
        bar: u8,
        offset: u64,
        width: Width,
        value: u64,
        effects: &mut PciEffects,
    ) {
        match self.owner(bar, offset, width) {
            Owner::Table(at) => self.table_write(at, width, value, effects),
            // The pending bits are the function's own.
            Owner::Pending => {}
            Owner::Registers if width.is_aligned(offset) => self.forward_write(bar, offset, width, value),
            // In pieces of a byte: the table takes none.
            _ if width != Width::Byte => {
                for index in 0..width.bytes() {
                    let Some(at) = offset.checked_add(index) else { return };
                    self.trapped_write(bar, at, Width::Byte, value >> (8 * index) & 0xff, effects);
                }
            }
            _ => {}
        }
    }

    /// The guest wrote its copy of the table.
    fn table_write(&mut self, at: u64, width: Width, value: u64, effects: &mut PciEffects) {
        let Some(index) = self.msix.as_mut().and_then(|msix| msix.table.write(at, width, value)) else {
            return;
        };
        if !self.seen.msix.enabled {
            return;
        }
        self.want_message(index, effects);
        self.settle_entry(index);
    }

    fn owner(&self, bar: u8, offset: u64, width: Width) -> Owner {
        let Some(msix) = &self.msix else { return Owner::Registers };
        let end = offset.saturating_add(width.bytes());
        let part = |range: &core::ops::Range<u64>| {
            (offset < range.end && end > range.start, offset >= range.start && end <= range.end)
        };
        let (touches, inside) = if bar == msix.bar { part(&msix.table_range) } else { (false, false) };
        if inside {
            return Owner::Table(offset - msix.table_range.start);
        }
        let (pending_bar, range) = &msix.pending;
        let (touches_pending, inside_pending) =
            if bar == *pending_bar { part(range) } else { (false, false) };
        match (touches, inside_pending, touches_pending) {
            (false, true, _) => Owner::Pending,
            (false, false, false) => Owner::Registers,
            _ => Owner::Several,
        }
    }

    /// The window that holds an access wholly, and where in it.
    fn window(&self, bar: u8, offset: u64, width: Width) -> Option<(&W, usize)> {
        let last = offset.checked_add(width.bytes() - 1)?;
        let found = self.trapped.iter().find(|it| it.holds(bar, offset) && it.holds(bar, last))?;
        Some((&found.window, (offset - found.region.offset) as usize))
    }

    fn forward_read(&self, bar: u8, offset: u64, width: Width) -> u64 {
        let Some((window, at)) = self.window(bar, offset, width) else { return width.mask() };
        match width {
            Width::Byte => window.read8(at).into(),
            Width::Word => window.read16(at).into(),
            Width::Dword => window.read32(at).into(),
            Width::Qword => window.read64(at),
        }
    }

    fn forward_write(&self, bar: u8, offset: u64, width: Width, value: u64) {
        let Some((window, at)) = self.window(bar, offset, width) else { return };
        match width {
            Width::Byte => window.write8(at, value as u8),
            Width::Word => window.write16(at, value as u16),
            Width::Dword => window.write32(at, value as u32),
            Width::Qword => window.write64(at, value),
        }
    }
}
