//! The MSI-X table of an emulated function, with its pending bits (PCI Express Base
//! Specification section 7.7.2).

use alloc::boxed::Box;
use spec::Width;
use spec::apic::{InterruptMessage, decode_msi};
use spec::pci_capability::msix::{ENTRY_BYTES, ENTRY_MASKED};

/// One entry, as the guest wrote it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    data: u32,
    masked: bool,
    pending: bool,
}

impl Entry {
    const RESET: Self = Self { address: 0, data: 0, masked: true, pending: false };

    fn message(&self) -> Option<InterruptMessage> {
        decode_msi(self.address, self.data)
    }
}

/// The table and the pending bits.
#[derive(Clone, Debug)]
pub struct MsixTable {
    entries: Box<[Entry]>,
    /// MSI-X is enabled.
    enabled: bool,
    /// Every message waits: the function mask is set, or the function may not master the bus.
    held: bool,
}

impl MsixTable {
    /// A table of `messages` entries as after reset.
    pub fn new(messages: u16) -> Self {
        let entries = core::iter::repeat_n(Entry::RESET, messages.into()).collect();
        Self { entries, enabled: false, held: true }
    }

    /// As after reset: everything is masked, and nothing is pending.
    pub fn reset(&mut self) {
        self.entries.fill(Entry::RESET);
        self.enabled = false;
        self.held = true;
    }

    /// What the function's configuration space says about all messages. Those that waited go
    /// to `send`.
    pub fn set_enables(&mut self, enabled: bool, held: bool, mut send: impl FnMut(InterruptMessage)) {
        self.enabled = enabled;
        self.held = held;
        for index in 0..self.entries.len() {
            self.release(index, &mut send);
        }
    }

    /// The device sends message `index`: gives it where it is to be delivered now. One that is
    /// masked waits as a pending bit; without MSI-X, or to an address where no local APIC is,
    /// it goes nowhere.
    pub fn raise(&mut self, index: u16) -> Option<InterruptMessage> {
        let held = self.held;
        let entry = self.entries.get_mut(usize::from(index)).filter(|_| self.enabled)?;
        if held || entry.masked {
            entry.pending = true;
            return None;
        }
        entry.message()
    }

    fn release(&mut self, index: usize, send: &mut impl FnMut(InterruptMessage)) {
        if !self.enabled || self.held {
            return;
        }
        if let Some(entry) = self.entries.get_mut(index)
            && entry.pending
            && !entry.masked
        {
            entry.pending = false;
            entry.message().into_iter().for_each(send);
        }
    }

    /// Reads the table, `offset` bytes into it: aligned doublewords and quadwords; anything
    /// else, and what is behind the last entry, reads ones.
    pub fn read(&self, offset: u64, width: Width) -> u64 {
        match width {
            Width::Dword if offset.is_multiple_of(4) => self.dword(offset).into(),
            Width::Qword if offset.is_multiple_of(8) => {
                u64::from(self.dword(offset + 4)) << 32 | u64::from(self.dword(offset))
            }
            _ => width.mask(),
        }
    }

    /// Writes the table. What waited for an entry that is not masked any more goes to `send`.
    pub fn write(&mut self, offset: u64, width: Width, value: u64, mut send: impl FnMut(InterruptMessage)) {
        match width {
            Width::Dword if offset.is_multiple_of(4) => self.set_dword(offset, value as u32),
            Width::Qword if offset.is_multiple_of(8) => {
                self.set_dword(offset, value as u32);
                self.set_dword(offset + 4, (value >> 32) as u32);
            }
            _ => return,
        }
        if let Ok(index) = usize::try_from(offset / ENTRY_BYTES) {
            self.release(index, &mut send);
        }
    }

    /// Reads the pending bits, `offset` bytes into them.
    pub fn read_pending(&self, offset: u64, width: Width) -> u64 {
        let bit = |index: u64| {
            let index = usize::try_from(offset.saturating_mul(8).saturating_add(index)).unwrap_or(usize::MAX);
            self.entries.get(index).is_some_and(|entry| entry.pending)
        };
        (0..8 * width.bytes()).fold(0, |bits, index| bits | u64::from(bit(index)) << index)
    }

    fn dword(&self, offset: u64) -> u32 {
        let Some(entry) =
            usize::try_from(offset / ENTRY_BYTES).ok().and_then(|index| self.entries.get(index))
        else {
            return u32::MAX;
        };
        match offset % ENTRY_BYTES {
            0 => entry.address as u32,
            4 => (entry.address >> 32) as u32,
            8 => entry.data,
            _ => u32::from(entry.masked) * ENTRY_MASKED,
        }
    }

    fn set_dword(&mut self, offset: u64, value: u32) {
        let index = usize::try_from(offset / ENTRY_BYTES).ok();
        let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) else { return };
        match offset % ENTRY_BYTES {
            // The low two bits read 0.
            0 => entry.address = entry.address & !0xffff_ffff | u64::from(value & !3),
            4 => entry.address = entry.address & 0xffff_ffff | u64::from(value) << 32,
            8 => entry.data = value,
            _ => entry.masked = value & ENTRY_MASKED != 0,
        }
    }
}

#[cfg(test)]
mod tests;
