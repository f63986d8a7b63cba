//! MSI-X of a passed-through function: a shadow of the table for the guest; the
//! hardware's own is written only with host messages.

use access::RegisterWindow;
use alloc::boxed::Box;
use alloc::vec;
use core::ops::Range;

use devices::msix::{Entry, MsixTable};
use spec::pci_capability::msix;

use super::message::Messages;
use crate::message::{GuestMsi, HostMsi};

/// The structure and its table.
pub(super) struct Msix {
    /// Offset of the structure in configuration space.
    pub at: u16,
    /// BAR that holds the table.
    pub bar: u8,
    /// The table, in bytes from the start of its BAR.
    pub table_range: Range<u64>,
    /// BAR that holds the pending bits, and where.
    pub pending: (u8, Range<u64>),
    /// The table as the guest wrote it.
    pub table: MsixTable,
    /// Whether each entry of the hardware is masked.
    hardware_masked: Box<[bool]>,
    /// What the hardware's control was last set to.
    pub control: u16,
}

/// What the guest asks of MSI-X as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct MsixWish {
    pub enabled: bool,
    pub masked: bool,
}

impl Msix {
    /// A table of `entries` entries as after reset.
    pub fn new(at: u16, entries: u16, bar: u8, table_range: Range<u64>, pending: (u8, Range<u64>)) -> Self {
        let hardware_masked = vec![true; entries.into()].into_boxed_slice();
        Self { at, bar, table_range, pending, table: MsixTable::new(entries), hardware_masked, control: 0 }
    }

    /// The guest's control bits.
    pub fn wish(control: u16) -> MsixWish {
        MsixWish { enabled: control & msix::ENABLE != 0, masked: control & msix::FUNCTION_MASK != 0 }
    }

    /// What the guest wants sent for entry `index`; a masked entry keeps what it
    /// wanted before, so that masking and unmasking costs no remapping entry.
    pub fn wanted(&self, index: u16, wish: MsixWish, before: Option<GuestMsi>) -> Option<GuestMsi> {
        let Entry { address, data, masked } = *self.table.entry(index).filter(|_| wish.enabled)?;
        if masked || wish.masked { before } else { Some(GuestMsi { address, data }) }
    }

    /// Masks every entry of the hardware. `window` starts at the table.
    pub fn mask_all<W: RegisterWindow>(&mut self, window: &Shifted<'_, W>) {
        for (index, masked) in self.hardware_masked.iter_mut().enumerate() {
            window.write32(index, 12, msix::ENTRY_MASKED);
            *masked = true;
        }
    }

    /// Writes a host message into the hardware's entry, masked meanwhile.
    pub fn program<W: RegisterWindow>(&mut self, window: &Shifted<'_, W>, index: u16, host: HostMsi) {
        let place = usize::from(index);
        let Some(masked) = self.hardware_masked.get_mut(place) else { return };
        // Address and data must not change while the entry is unmasked (section
        // 6.1.4.2); the read makes the posted mask arrive first.
        window.write32(place, 12, msix::ENTRY_MASKED);
        window.read32(place, 12);
        *masked = true;
        window.write32(place, 0, host.address as u32);
        window.write32(place, 4, (host.address >> 32) as u32);
        window.write32(place, 8, host.data);
    }

    /// Makes the mask of the hardware's entry follow the guest's; an entry that no
    /// host message stands behind stays masked.
    pub fn settle<W: RegisterWindow>(
        &mut self,
        window: &Shifted<'_, W>,
        index: u16,
        wish: MsixWish,
        messages: &Messages,
    ) {
        let place = usize::from(index);
        let (Some(entry), Some(masked)) = (self.table.entry(index), self.hardware_masked.get_mut(place))
        else {
            return;
        };
        let open = wish.enabled && !entry.masked && messages.host(index).is_some();
        if *masked == open {
            window.write32(place, 12, if open { 0 } else { msix::ENTRY_MASKED });
            *masked = !open;
        }
    }
}

/// The hardware's table: a window and where in it the table starts.
pub(super) struct Shifted<'a, W> {
    pub window: &'a W,
    pub table: u64,
}

impl<W: RegisterWindow> Shifted<'_, W> {
    fn offset(&self, index: usize, field: u64) -> usize {
        (self.table + index as u64 * msix::ENTRY_BYTES + field) as usize
    }
    fn write32(&self, index: usize, field: u64, value: u32) {
        self.window.write32(self.offset(index, field), value);
    }
    fn read32(&self, index: usize, field: u64) -> u32 {
        self.window.read32(self.offset(index, field))
    }
}
