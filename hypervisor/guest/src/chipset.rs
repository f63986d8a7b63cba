//! Where a guest's chipset is.

use alloc::boxed::Box;
use chipset_compartment::RemoteChipset;
use compartment::Ended;
use devices::snapshot::{RestoreFault, SaveFault};
use devices::{Chipset, Effects};
use spec::Width;

/// A guest's chipset: in the hypervisor, or in a compartment. The methods are those of [`Chipset`]; where the compartment is gone,
/// reads are ones, nothing else happens, and [`take_end`](Self::take_end) says why.
pub struct GuestChipset {
    /// The chipset. Where it is in a compartment, as it began there: what another one must be made as.
    here: Chipset,
    apart: Option<Box<RemoteChipset>>,
}

impl GuestChipset {
    /// This one, in the hypervisor.
    pub const fn new(here: Chipset) -> Self {
        Self { here, apart: None }
    }

    /// From now on it is there, where one begins that is as this one.
    pub(crate) fn leave_to(&mut self, apart: Box<RemoteChipset>) {
        self.apart = Some(apart);
    }

    /// Becomes as this one.
    pub(crate) fn replace(&mut self, chipset: Chipset) {
        if let Some(apart) = &mut self.apart {
            apart.replace(&chipset);
        }
        self.here = chipset;
    }

    /// It is `now`, in ticks of the guest's time.
    #[inline]
    pub(crate) fn set_time(&mut self, now: u64) {
        if let Some(apart) = &mut self.apart {
            apart.set_time(now);
        }
    }

    /// Why its compartment is no more, which is told once.
    #[inline]
    pub(crate) fn take_end(&mut self) -> Option<Ended> {
        self.apart.as_mut().and_then(|apart| apart.take_end())
    }

    /// As [`Chipset::save`].
    pub(crate) fn save(&self, into: &mut [u8]) -> Result<usize, SaveFault> {
        match &self.apart {
            Some(apart) => apart.save(into),
            None => self.here.save(into),
        }
    }

    /// As [`Chipset::restored`].
    pub(crate) fn restored(&self, from: &[u8]) -> Result<Chipset, RestoreFault> {
        self.here.restored(from)
    }

    /// As [`Chipset::port_read`].
    pub fn port_read(&mut self, port: u16, width: Width, now: u64, out: &mut Effects) -> u32 {
        match &mut self.apart {
            Some(apart) => apart.port_read(port, width, out),
            None => self.here.port_read(port, width, now, out),
        }
    }

    /// As [`Chipset::port_write`].
    pub fn port_write(&mut self, port: u16, width: Width, value: u32, now: u64, out: &mut Effects) {
        match &mut self.apart {
            Some(apart) => apart.port_write(port, width, value, out),
            None => self.here.port_write(port, width, value, now, out),
        }
    }

    /// As [`Chipset::ioapic_read`].
    pub fn ioapic_read(&mut self, offset: u32, out: &mut Effects) -> u32 {
        match &mut self.apart {
            Some(apart) => apart.ioapic_read(offset, out),
            None => self.here.ioapic_read(offset),
        }
    }

    /// As [`Chipset::ioapic_write`].
    pub fn ioapic_write(&mut self, offset: u32, value: u32, out: &mut Effects) {
        match &mut self.apart {
            Some(apart) => apart.ioapic_write(offset, value, out),
            None => self.here.ioapic_write(offset, value, out),
        }
    }

    /// As [`Chipset::end_of_interrupt`].
    pub fn end_of_interrupt(&mut self, vector: u8, out: &mut Effects) {
        match &mut self.apart {
            Some(apart) => apart.end_of_interrupt(vector, out),
            None => self.here.end_of_interrupt(vector, out),
        }
    }

    /// As [`Chipset::set_line`].
    #[inline]
    pub fn set_line(&mut self, gsi: u8, level: bool, out: &mut Effects) {
        match &mut self.apart {
            Some(apart) => apart.set_line(gsi, level, out),
            None => self.here.set_line(gsi, level, out),
        }
    }

    /// As [`Chipset::assert_line`].
    pub fn assert_line(&mut self, gsi: u8, out: &mut Effects) {
        match &mut self.apart {
            Some(apart) => apart.assert_line(gsi, out),
            None => self.here.assert_line(gsi, out),
        }
    }

    /// As [`Chipset::deassert_line`].
    pub fn deassert_line(&mut self, gsi: u8, out: &mut Effects) {
        match &mut self.apart {
            Some(apart) => apart.deassert_line(gsi, out),
            None => self.here.deassert_line(gsi),
        }
    }

    /// As [`Chipset::acknowledge_external`].
    pub fn acknowledge_external(&mut self, out: &mut Effects) -> u8 {
        match &mut self.apart {
            Some(apart) => apart.acknowledge_external(out),
            None => self.here.acknowledge_external(),
        }
    }

    /// As [`Chipset::receive`].
    pub fn receive(&mut self, byte: u8, out: &mut Effects) -> bool {
        match &mut self.apart {
            Some(apart) => apart.receive(byte, out),
            None => self.here.receive(byte, out),
        }
    }

    /// As [`Chipset::tick`].
    pub fn tick(&mut self, now: u64, out: &mut Effects) {
        match &mut self.apart {
            Some(apart) => apart.tick(out),
            None => self.here.tick(now, out),
        }
    }

    /// As [`Chipset::external_pending`].
    pub fn external_pending(&self) -> bool {
        match &self.apart {
            Some(apart) => apart.external_pending(),
            None => self.here.external_pending(),
        }
    }

    /// As [`Chipset::deadline`].
    #[inline]
    pub fn deadline(&self) -> Option<u64> {
        match &self.apart {
            Some(apart) => apart.deadline(),
            None => self.here.deadline(),
        }
    }
}
