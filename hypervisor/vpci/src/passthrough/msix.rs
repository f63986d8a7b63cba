//! MSI-X of a passed-through function: a shadow of the table for the guest; the
//! hardware's own is written only with host messages.

use access::RegisterWindow;
use alloc::boxed::Box;
use alloc::vec;
use core::ops::Range;

use spec::Width;
use spec::pci_capability::msix;

use super::message::Messages;
use crate::message::{GuestMsi, HostMsi};

/// An entry as the guest wrote it.
#[derive(Clone, Copy)]
struct TableEntry {
    message: GuestMsi,
    /// Vector control; only the mask bit is there.
    control: u32,
    /// Whether the hardware's entry is masked.
    hardware_masked: bool,
}

impl TableEntry {
    /// All zeros but masked (PCI Express Base Specification section 7.7.2).
    const RESET: Self = Self {
        message: GuestMsi { address: 0, data: 0 },
        control: msix::ENTRY_MASKED,
        hardware_masked: true,
    };
}

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
    table: Box<[TableEntry]>,
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
        let table = vec![TableEntry::RESET; entries.into()].into_boxed_slice();
        Self { at, bar, table_range, pending, table, control: 0 }
    }

    /// How many entries the table has.
    pub fn entries(&self) -> u16 {
        self.table.len() as u16
    }

    /// The guest's control bits.
    pub fn wish(control: u16) -> MsixWish {
        MsixWish { enabled: control & msix::ENABLE != 0, masked: control & msix::FUNCTION_MASK != 0 }
    }

    /// What the guest wants sent for entry `index`; a masked entry keeps what it
    /// wanted before, so that masking and unmasking costs no remapping entry.
    pub fn wanted(&self, index: u16, wish: MsixWish, before: Option<GuestMsi>) -> Option<GuestMsi> {
        let entry = self.table.get(usize::from(index)).filter(|_| wish.enabled)?;
        let masked = wish.masked || entry.control & msix::ENTRY_MASKED != 0;
        if masked { before } else { Some(entry.message) }
    }

    /// Reads the table, `offset` bytes into it. Accesses of other than 4 or 8
    /// aligned bytes are undefined (section 7.7.2) and read ones.
    pub fn read(&self, offset: u64, width: Width) -> u64 {
        match width {
            Width::Dword if width.is_aligned(offset) => self.read_dword(offset).into(),
            Width::Qword if width.is_aligned(offset) => {
                u64::from(self.read_dword(offset + 4)) << 32 | u64::from(self.read_dword(offset))
            }
            _ => width.mask(),
        }
    }

    /// Writes the table, `offset` bytes into it. Returns the entry that changed;
    /// accesses of other than 4 or 8 aligned bytes are ignored.
    pub fn write(&mut self, offset: u64, width: Width, value: u64) -> Option<u16> {
        if !width.is_aligned(offset) {
            return None;
        }
        match width {
            Width::Dword => self.write_dword(offset, value as u32),
            Width::Qword => {
                self.write_dword(offset, value as u32);
                self.write_dword(offset + 4, (value >> 32) as u32)
            }
            _ => None,
        }
    }

    fn read_dword(&self, offset: u64) -> u32 {
        let Some(entry) = self.table.get((offset / msix::ENTRY_BYTES) as usize) else { return u32::MAX };
        match offset % msix::ENTRY_BYTES {
            0 => entry.message.address as u32,
            4 => (entry.message.address >> 32) as u32,
            8 => entry.message.data,
            _ => entry.control,
        }
    }

    fn write_dword(&mut self, offset: u64, value: u32) -> Option<u16> {
        let index = offset / msix::ENTRY_BYTES;
        let entry = self.table.get_mut(index as usize)?;
        let address = &mut entry.message.address;
        match offset % msix::ENTRY_BYTES {
            // The lowest two bits are reserved: messages are whole dwords.
            0 => *address = *address & !0xffff_ffff | u64::from(value & !3),
            4 => *address = *address & 0xffff_ffff | u64::from(value) << 32,
            8 => entry.message.data = value,
            _ => entry.control = value & msix::ENTRY_MASKED,
        }
        Some(index as u16)
    }

    /// Every entry as after reset, in the guest's view.
    pub fn reset(&mut self) {
        for entry in &mut self.table {
            *entry = TableEntry { hardware_masked: entry.hardware_masked, ..TableEntry::RESET };
        }
    }

    /// Masks every entry of the hardware. `window` starts at the table.
    pub fn mask_all<W: RegisterWindow>(&mut self, window: &Shifted<'_, W>) {
        for (index, entry) in self.table.iter_mut().enumerate() {
            window.write32(index, 12, msix::ENTRY_MASKED);
            entry.hardware_masked = true;
        }
    }

    /// Writes a host message into the hardware's entry, masked meanwhile.
    pub fn program<W: RegisterWindow>(&mut self, window: &Shifted<'_, W>, index: u16, host: HostMsi) {
        let place = usize::from(index);
        let Some(entry) = self.table.get_mut(place) else { return };
        // Address and data must not change while the entry is unmasked (section
        // 6.1.4.2); the read makes the posted mask arrive first.
        window.write32(place, 12, msix::ENTRY_MASKED);
        window.read32(place, 12);
        entry.hardware_masked = true;
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
        let Some(entry) = self.table.get_mut(place) else { return };
        let open = wish.enabled && entry.control & msix::ENTRY_MASKED == 0 && messages.host(index).is_some();
        if entry.hardware_masked == open {
            window.write32(place, 12, if open { 0 } else { msix::ENTRY_MASKED });
            entry.hardware_masked = !open;
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
