//! The MSI-X table as a guest writes it, whatever sends the messages, and the messages of an
//! emulated function with their pending bits (PCI Express Base Specification section 7.7.2).

use alloc::boxed::Box;
use spec::Width;
use spec::apic::{InterruptMessage, decode_msi};
use spec::pci_capability::msix::{ENTRY_BYTES, ENTRY_MASKED};

/// One entry, as the guest wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Address that the message would be written to; its lowest two bits are 0.
    pub address: u64,
    /// Data that would be written.
    pub data: u32,
    /// The message is not to be sent now.
    pub masked: bool,
}

impl Entry {
    const RESET: Self = Self { address: 0, data: 0, masked: true };
}

/// The table.
#[derive(Clone, Debug)]
pub struct MsixTable {
    entries: Box<[Entry]>,
}

impl MsixTable {
    /// A table of `messages` entries (1 to 2048) as after reset.
    pub fn new(messages: u16) -> Self {
        Self { entries: core::iter::repeat_n(Entry::RESET, messages.into()).collect() }
    }

    /// As after reset: everything is masked.
    pub fn reset(&mut self) {
        self.entries.fill(Entry::RESET);
    }

    /// How many entries there are.
    pub fn messages(&self) -> u16 {
        self.entries.len() as u16
    }

    /// Entry `index`.
    pub fn entry(&self, index: u16) -> Option<&Entry> {
        self.entries.get(usize::from(index))
    }

    /// Reads the table, `offset` bytes into it: aligned doublewords and quadwords; anything
    /// else is undefined and, as what is behind the last entry, reads ones.
    pub fn read(&self, offset: u64, width: Width) -> u64 {
        match width {
            Width::Dword if width.is_aligned(offset) => self.dword(offset).into(),
            Width::Qword if width.is_aligned(offset) => {
                u64::from(self.dword(offset + 4)) << 32 | u64::from(self.dword(offset))
            }
            _ => width.mask(),
        }
    }

    /// Writes the table, `offset` bytes into it. Returns the entry that was written; accesses
    /// of other than 4 or 8 aligned bytes are ignored.
    pub fn write(&mut self, offset: u64, width: Width, value: u64) -> Option<u16> {
        match width {
            Width::Dword if width.is_aligned(offset) => self.set_dword(offset, value as u32),
            Width::Qword if width.is_aligned(offset) => {
                self.set_dword(offset, value as u32)?;
                self.set_dword(offset + 4, (value >> 32) as u32)
            }
            _ => None,
        }
    }

    fn dword(&self, offset: u64) -> u32 {
        let index = usize::try_from(offset / ENTRY_BYTES).ok();
        let Some(entry) = index.and_then(|index| self.entries.get(index)) else { return u32::MAX };
        match offset % ENTRY_BYTES {
            0 => entry.address as u32,
            4 => (entry.address >> 32) as u32,
            8 => entry.data,
            _ => u32::from(entry.masked) * ENTRY_MASKED,
        }
    }

    fn set_dword(&mut self, offset: u64, value: u32) -> Option<u16> {
        let index = u16::try_from(offset / ENTRY_BYTES).ok()?;
        let entry = self.entries.get_mut(usize::from(index))?;
        match offset % ENTRY_BYTES {
            // The lowest two bits are reserved: messages are whole doublewords.
            0 => entry.address = entry.address & !0xffff_ffff | u64::from(value & !3),
            4 => entry.address = entry.address & 0xffff_ffff | u64::from(value) << 32,
            8 => entry.data = value,
            _ => entry.masked = value & ENTRY_MASKED != 0,
        }
        Some(index)
    }
}

/// The messages of an emulated function: its table, and those that wait.
#[derive(Clone, Debug)]
pub struct Messages {
    table: MsixTable,
    pending: Box<[bool]>,
    /// MSI-X is enabled.
    enabled: bool,
    /// Every message waits: the function mask is set, or the function may not master the bus.
    held: bool,
}

impl Messages {
    /// So many messages (1 to 2048) as after reset.
    pub fn new(messages: u16) -> Self {
        let pending = core::iter::repeat_n(false, messages.into()).collect();
        Self { table: MsixTable::new(messages), pending, enabled: false, held: true }
    }

    /// As after reset: everything is masked, and nothing is pending.
    pub fn reset(&mut self) {
        self.table.reset();
        self.pending.fill(false);
        self.enabled = false;
        self.held = true;
    }

    /// What the function's configuration space says about all messages. Those that waited go
    /// to `send`.
    pub fn set_enables(&mut self, enabled: bool, held: bool, mut send: impl FnMut(InterruptMessage)) {
        self.enabled = enabled;
        self.held = held;
        for index in 0..self.table.messages() {
            self.release(index, &mut send);
        }
    }

    /// The device sends message `index`: gives it where it is to be delivered now. One that is
    /// masked waits as a pending bit; without MSI-X, or to an address where no local APIC is,
    /// it goes nowhere.
    pub fn raise(&mut self, index: u16) -> Option<InterruptMessage> {
        let entry = self.table.entry(index).filter(|_| self.enabled)?;
        if self.held || entry.masked {
            *self.pending.get_mut(usize::from(index))? = true;
            return None;
        }
        decode_msi(entry.address, entry.data)
    }

    fn release(&mut self, index: u16, send: &mut impl FnMut(InterruptMessage)) {
        if self.enabled
            && let Some(pending) = self.pending.get_mut(usize::from(index))
            && core::mem::take(pending)
        {
            self.raise(index).into_iter().for_each(send);
        }
    }

    /// Reads the table, `offset` bytes into it; see [`MsixTable::read`].
    pub fn read(&self, offset: u64, width: Width) -> u64 {
        self.table.read(offset, width)
    }

    /// Writes the table. What waited for an entry that is not masked any more goes to `send`.
    pub fn write(&mut self, offset: u64, width: Width, value: u64, mut send: impl FnMut(InterruptMessage)) {
        if let Some(index) = self.table.write(offset, width, value) {
            self.release(index, &mut send);
        }
    }

    /// Reads the pending bits, `offset` bytes into them.
    pub fn read_pending(&self, offset: u64, width: Width) -> u64 {
        let bit = |index: u64| {
            let index = usize::try_from(offset.saturating_mul(8).saturating_add(index)).unwrap_or(usize::MAX);
            self.pending.get(index).is_some_and(|pending| *pending)
        };
        (0..8 * width.bytes()).fold(0, |bits, index| bits | u64::from(bit(index)) << index)
    }
}

#[cfg(test)]
mod tests;
