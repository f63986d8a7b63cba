//! What a function's extended capabilities must hold while a guest has it. A reset
//! clears them, so all of it is written again after each, and what isolation stands on is
//! proved by read-back.

use access::ConfigSpace;
use alloc::vec::Vec;
use spec::Bdf;
use spec::pci_capability::{
    LATENCY_TOLERANCE_MOST, access_control, error_reporting, extended_id, resizable_bar, single_root_iov,
    translation,
};
use spec::pci_config::EXTENDED_CONFIG_BYTES;

use super::fault::ResetFault;
use crate::capability::walk_extended;

/// A register and what it must hold.
#[derive(Clone, Copy, Debug)]
struct Kept {
    at: u16,
    wide: bool,
    value: u32,
    /// The bits that must read back; 0 where nothing depends on it.
    proved: u32,
}

/// The registers of a function.
#[derive(Clone, Debug, Default)]
pub(super) struct Extended {
    kept: Vec<Kept>,
}

impl Extended {
    /// Looks at a function at boot, when its access control services are enabled.
    pub fn discover<C: ConfigSpace + ?Sized>(config: &C, function: Bdf) -> Self {
        let mut this = Self::default();
        // A fault ends the list: what was found before it counts.
        let _ = walk_extended(config, function, |id, _, at| {
            this.note(config, function, id, at);
            Ok(())
        });
        this
    }

    fn note<C: ConfigSpace + ?Sized>(&mut self, config: &C, function: Bdf, id: u16, at: u16) {
        match id {
            extended_id::ACCESS_CONTROL => {
                let at = at + access_control::CONTROL;
                let value = read(config, function, at, false);
                self.keep(at, false, value, 0xffff);
            }
            extended_id::RESIZABLE_BAR => self.note_sizes(config, function, at),
            // Its errors are told to nobody: see `crate::bridge`.
            extended_id::ADVANCED_ERROR_REPORTING => {
                self.keep(at + error_reporting::UNCORRECTABLE_MASK, true, u32::MAX, 0);
                self.keep(at + error_reporting::CORRECTABLE_MASK, true, u32::MAX, 0);
            }
            extended_id::LATENCY_TOLERANCE => {
                let at = at + LATENCY_TOLERANCE_MOST;
                let value = read(config, function, at, true);
                self.keep(at, true, value, 0);
            }
            // What reaches past the IOMMU, or adds requesters, is never on.
            extended_id::ADDRESS_TRANSLATION => {
                self.keep(at + translation::SERVICES_CONTROL, false, 0, 1 << 15);
            }
            extended_id::PAGE_REQUEST => self.keep(at + translation::PAGE_REQUEST_CONTROL, false, 0, 1),
            extended_id::PROCESS_ADDRESS_SPACE => {
                self.keep(at + translation::ADDRESS_SPACE_CONTROL, false, 0, 1);
            }
            extended_id::SINGLE_ROOT_IOV => self.keep(at + single_root_iov::CONTROL, false, 0, 1),
            _ => {}
        }
    }

    fn note_sizes<C: ConfigSpace + ?Sized>(&mut self, config: &C, function: Bdf, at: u16) {
        let first = at + resizable_bar::CONTROL;
        if first > EXTENDED_CONFIG_BYTES - 4 {
            return;
        }
        let count = read(config, function, first, true) >> resizable_bar::COUNT_SHIFT;
        let count = ((count & resizable_bar::COUNT_MASK) as u16).min(resizable_bar::MOST);
        for index in 0..count {
            let at = first.saturating_add(index * resizable_bar::STRIDE);
            if at <= EXTENDED_CONFIG_BYTES - 4 {
                let value = read(config, function, at, true);
                self.keep(at, true, value, resizable_bar::SIZE);
            }
        }
    }

    fn keep(&mut self, at: u16, wide: bool, value: u32, proved: u32) {
        let end = at.saturating_add(if wide { 4 } else { 2 });
        if end <= EXTENDED_CONFIG_BYTES {
            self.kept.push(Kept { at, wide, value, proved });
        }
    }

    /// Writes everything again. The sizes of BARs come with it, so their addresses are
    /// restored after this.
    pub fn restore<C: ConfigSpace + ?Sized>(&self, config: &C, function: Bdf) {
        for kept in &self.kept {
            match kept.wide {
                true => config.write32(function, kept.at, kept.value),
                false => config.write16(function, kept.at, kept.value as u16),
            }
        }
    }

    /// Whether what must hold reads back.
    pub fn verify<C: ConfigSpace + ?Sized>(&self, config: &C, function: Bdf) -> Result<(), ResetFault> {
        let differs =
            |kept: &&Kept| (read(config, function, kept.at, kept.wide) ^ kept.value) & kept.proved != 0;
        match self.kept.iter().find(differs) {
            Some(kept) => Err(ResetFault::NotRestored { register: kept.at }),
            None => Ok(()),
        }
    }
}

fn read<C: ConfigSpace + ?Sized>(config: &C, function: Bdf, at: u16, wide: bool) -> u32 {
    match wide {
        true => config.read32(function, at),
        false => config.read16(function, at).into(),
    }
}
