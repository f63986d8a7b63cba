//! A function that the hypervisor keeps and whose driver is in ring 0: what that is given.

use super::{Taken, window};
use crate::guests::requester;
use crate::host::IOMMUS;
use access::device::MessageInterrupt;
use access::{DeviceAccess, DmaMemory};
use alloc::boxed::Box;
use alloc::string::String;
use iommu::{DomainId, Function, Iommu, Requester};
use machine::memory::dma::{DmaRange, DmaRegion};
use machine::memory::mmio::Window;
use spec::Bdf;

impl Taken<'_> {
    /// What a driver gets: the registers behind BAR `bar`, and memory of at least `bytes` bytes.
    ///
    /// # Errors
    /// There are no such registers, or there is no memory.
    pub fn access(&mut self, bar: u8, bytes: usize) -> Result<DeviceAccess<Window, DmaRegion>, String> {
        let registers = window(self.function, bar)?;
        let interrupt = MessageInterrupt { messages: self.routed.count() };
        Ok(DeviceAccess { registers, dma: self.memory(bytes)?, interrupt })
    }

    /// As [`access`](Self::access), for a driver that takes all memory away from a function that failed.
    ///
    /// # Errors
    /// As there.
    pub fn guarded_access(
        &mut self,
        bar: u8,
        bytes: usize,
    ) -> Result<DeviceAccess<Window, GuardedDma>, String> {
        let DeviceAccess { registers, dma, interrupt } = self.access(bar, bytes)?;
        let requesters = self.function.requesters.clone().into_boxed_slice();
        let requester = requester(self.function);
        let dma = GuardedDma { region: dma, requester, requesters, domain: self.domain, is_blocked: false };
        Ok(DeviceAccess { registers, dma, interrupt })
    }
}

/// Memory for a driver whose function is attached to its domain only while the driver knows what it does.
pub struct GuardedDma {
    region: DmaRegion,
    requester: Requester,
    requesters: Box<[Bdf]>,
    domain: DomainId,
    is_blocked: bool,
}

impl DmaMemory for GuardedDma {
    type Buffer = DmaRange;

    fn allocate(&mut self, bytes: usize, alignment: usize) -> Option<DmaRange> {
        self.region.allocate(bytes, alignment)
    }

    fn block(&mut self) -> bool {
        let is_attached = !self.is_blocked;
        if let Some(iommus) = IOMMUS.get().filter(|_| is_attached) {
            let detached = iommus.lock().detach(self.requester);
            self.is_blocked = detached.is_ok();
            if let Err(error) = detached {
                log::error!("{}: its DMA cannot be stopped: {error}", self.requester);
            }
        }
        self.is_blocked
    }

    fn allow(&mut self) {
        if let Some(iommus) = IOMMUS.get().filter(|_| self.is_blocked) {
            let function = Function::new(self.requester, &self.requesters);
            let attached = iommus.lock().attach(function, self.domain);
            self.is_blocked = attached.is_err();
            if let Err(error) = attached {
                log::error!("{}: it cannot be attached to its domain: {error}", self.requester);
            }
        }
    }

    fn write_barrier(&self) {
        self.region.write_barrier();
    }

    fn read_barrier(&self) {
        self.region.read_barrier();
    }

    fn full_barrier(&self) {
        self.region.full_barrier();
    }
}
