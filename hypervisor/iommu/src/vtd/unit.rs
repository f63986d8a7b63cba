//! One remapping unit, from deny-all on.

use super::capabilities::Capabilities;
use super::command::{command, leave_other_table_mode, release_protected_memory, states, switch};
use super::context::ContextTables;
use super::faults;
use super::interrupts::InterruptTable;
use super::queue::Queue;
use crate::fault::Recorded;
use crate::{Function, HostMsi, IommuError, RemappedInterrupt, Requester, UnitLimits};
use access::{Clock, RegisterWindow, TableMemory};
use spec::vtd::{Global, descriptor, register, remappable};
use spec::{Bdf, Hpa};

/// Frames that a unit takes at most when functions on `buses` buses are attached,
/// besides the tables of domains.
pub(crate) fn frames_needed(limits: UnitLimits, buses: usize) -> usize {
    // The root table, the queue and its status word.
    3 + super::interrupts::frames(limits.interrupts) + buses
}

/// First of the vectors that name pins; below are those of processors' own business.
const FIRST_PIN_VECTOR: u8 = 0x20;

/// The vector in the redirection entry of interrupt `index`. Where interrupts are remapped no processor
/// sees it; only the IOAPIC compares it, with what it is told was ended.
const fn pin_vector(index: u16) -> u8 {
    FIRST_PIN_VECTOR.wrapping_add(index as u8)
}

/// A unit in force: what is not granted is blocked.
pub(crate) struct Unit<R> {
    registers: R,
    capabilities: Capabilities,
    queue: Queue,
    contexts: ContextTables,
    interrupts: InterruptTable,
    /// A flush failed: nothing that looks unchanged is skipped until one works.
    stale: bool,
}

impl<R: RegisterWindow> Unit<R> {
    /// Takes the unit over, in whatever state firmware or a boot loader left it, and
    /// denies everything.
    pub fn start(
        registers: R,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        limits: UnitLimits,
    ) -> Result<Self, IommuError> {
        let capabilities = Capabilities::detect(&registers)?;
        if limits.x2apic && !capabilities.has_extended_interrupts() {
            return Err(IommuError::Lacks("interrupts to processors in x2APIC mode"));
        }
        let coherent = capabilities.is_coherent();
        let contexts = ContextTables::new(memory, coherent)?;
        let queue = Queue::new(memory, coherent)?;
        let interrupts =
            InterruptTable::new(memory, limits.interrupts, limits.interrupt_sources, limits.x2apic)?;
        if !coherent {
            memory.write_back(interrupts.base(), interrupts.bytes());
        }
        let mut unit = Self { registers, capabilities, queue, contexts, interrupts, stale: false };
        unit.deny_all(memory, clock)?;
        Ok(unit)
    }

    /// Puts the empty tables in force. Where translation is on already, with tables of the
    /// mode that is used here, it stays on while the root changes, so at no moment is a
    /// device let through (and some graphics units hang when it is switched off).
    fn deny_all(&mut self, memory: &mut impl TableMemory, clock: &impl Clock) -> Result<(), IommuError> {
        faults::mask_interrupt(&self.registers);
        leave_other_table_mode(&self.registers, clock, self.capabilities.cap)?;
        self.queue.start(&self.registers, clock)?;
        self.flush_write_buffer(clock)?;

        self.registers.write64(register::ROOT_TABLE, self.contexts.register());
        command(&self.registers, clock, Global::SET_ROOT_TABLE, "taking the root table")?;
        // In this order: an entry of the IOTLB is filled from the context cache.
        let translations = [descriptor::CONTEXT_GLOBAL, descriptor::iotlb_global(self.capabilities.drain())];
        self.invalidate(memory, clock, &translations)?;

        self.registers.write64(register::INTERRUPT_TABLE, self.interrupts.register());
        command(&self.registers, clock, Global::SET_INTERRUPT_TABLE, "taking the interrupt table")?;
        self.invalidate(memory, clock, &[descriptor::INTERRUPTS_GLOBAL])?;
        if states(&self.registers).contains(Global::COMPATIBILITY_INTERRUPTS) {
            let what = "blocking compatibility interrupts";
            switch(&self.registers, clock, Global::COMPATIBILITY_INTERRUPTS, false, what)?;
        }
        switch(&self.registers, clock, Global::INTERRUPT_REMAPPING, true, "interrupt remapping on")?;
        switch(&self.registers, clock, Global::TRANSLATION, true, "translation on")?;

        // What was recorded before is not about our tables.
        for _ in 0..=u8::MAX {
            if self.take_fault(0, 0).fault.is_none() {
                break;
            }
        }
        release_protected_memory(&self.registers, clock)
    }

    /// What the unit can do.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Has the unit forget cached entries; see [`Queue::run`].
    fn invalidate(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        descriptors: &[[u64; 2]],
    ) -> Result<(), IommuError> {
        let result = self.queue.run(&self.registers, memory, clock, descriptors);
        self.stale |= result.is_err();
        result
    }

    fn flush_write_buffer(&self, clock: &impl Clock) -> Result<(), IommuError> {
        if !self.capabilities.needs_write_buffer_flush() {
            return Ok(());
        }
        command(&self.registers, clock, Global::WRITE_BUFFER_FLUSH, "flushing the write buffer")
    }

    /// Makes hardware see an update by which something absent became present.
    fn after_adding(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        descriptors: &[[u64; 2]],
    ) -> Result<(), IommuError> {
        if self.stale {
            // An older entry may be cached where an absent one should be.
            return self.flush_all(memory, clock);
        }
        self.flush_write_buffer(clock)?;
        if self.capabilities.caches_absent() { self.invalidate(memory, clock, descriptors) } else { Ok(()) }
    }

    /// Makes hardware forget what was present before an update.
    fn after_removing(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        descriptors: &[[u64; 2]],
    ) -> Result<(), IommuError> {
        let flushed = self.flush_write_buffer(clock);
        self.stale |= flushed.is_err();
        flushed?;
        self.invalidate(memory, clock, descriptors)
    }

    /// Forgets everything that is cached.
    pub fn flush_all(&mut self, memory: &mut impl TableMemory, clock: &impl Clock) -> Result<(), IommuError> {
        let drain = self.capabilities.drain();
        let everything =
            [descriptor::CONTEXT_GLOBAL, descriptor::iotlb_global(drain), descriptor::INTERRUPTS_GLOBAL];
        self.after_removing(memory, clock, &everything)?;
        self.stale = false;
        Ok(())
    }

    /// After pages of `domain` became present.
    pub fn flush_after_map(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        domain: u16,
    ) -> Result<(), IommuError> {
        self.after_adding(memory, clock, &[descriptor::iotlb_domain(domain, self.capabilities.drain())])
    }

    /// After pages of `domain` went; DMA to them has ended when this returns.
    pub fn flush_after_unmap(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        domain: u16,
    ) -> Result<(), IommuError> {
        self.after_removing(memory, clock, &[descriptor::iotlb_domain(domain, self.capabilities.drain())])
    }

    /// Lets a requester use the table at `root`.
    pub fn attach(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Bdf,
        root: Hpa,
        domain: u16,
    ) -> Result<(), IommuError> {
        let levels = self.capabilities.geometry().levels;
        self.contexts.set(memory, requester, root, levels, domain)?;
        // An absent context is cached under domain 0.
        let absent = [
            descriptor::context_of(0, requester.0),
            descriptor::iotlb_domain(domain, self.capabilities.drain()),
        ];
        self.after_adding(memory, clock, &absent)
    }

    /// Blocks a requester that was in `domain`; its DMA has ended when this returns.
    pub fn detach(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Bdf,
        domain: u16,
    ) -> Result<(), IommuError> {
        self.contexts.clear(memory, requester);
        let present = [
            descriptor::context_of(domain, requester.0),
            descriptor::iotlb_domain(domain, self.capabilities.drain()),
        ];
        self.after_removing(memory, clock, &present)
    }

    /// Reserves interrupt entries; see [`InterruptTable::grant`].
    pub fn grant_interrupts(&mut self, function: Function<'_>, entries: u16) -> Result<(), IommuError> {
        self.interrupts.grant(function, entries)
    }

    /// How many interrupts a requester may send at present.
    pub fn interrupts_in_force(&self, memory: &impl TableMemory, requester: Requester) -> usize {
        self.interrupts.present(memory, requester)
    }

    /// Blocks a requester's interrupts and returns its entries once none is cached.
    pub fn revoke_interrupts(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Requester,
    ) -> Result<(), IommuError> {
        self.interrupts.clear_all(memory, self.capabilities.is_coherent(), requester)?;
        self.after_removing(memory, clock, &[descriptor::INTERRUPTS_GLOBAL])?;
        self.interrupts.forget(requester);
        Ok(())
    }

    /// Sets one interrupt entry. An entry that is present changes by one write of
    /// the half that says what is sent, so no interrupt is lost meanwhile; who may
    /// send it never changes while it is granted.
    pub fn remap(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Requester,
        index: u16,
        interrupt: RemappedInterrupt,
    ) -> Result<(), IommuError> {
        let low = self.interrupts.encode(interrupt)?;
        let (entry, grant) = self.interrupts.entry_of(requester, index)?;
        let coherent = self.capabilities.is_coherent();
        let [old, verify] = self.interrupts.read(memory, entry);
        if old == low && verify == grant.verify() && !self.stale {
            return Ok(());
        }
        if old == 0 {
            self.interrupts.fill(memory, coherent, entry, [low, grant.verify()]);
            return self.after_adding(memory, clock, &[descriptor::interrupt(entry)]);
        }
        self.interrupts.write_low(memory, coherent, entry, low);
        self.after_removing(memory, clock, &[descriptor::interrupt(entry)])
    }

    /// The message by which a requester sends its interrupt `index`.
    pub fn message(&self, requester: Requester, index: u16) -> Result<HostMsi, IommuError> {
        let (_, grant) = self.interrupts.entry_of(requester, index)?;
        Ok(HostMsi { address: remappable::msi_address(grant.first), data: index.into() })
    }

    /// The redirection entry by which an IOAPIC sends its pin `index`.
    pub fn redirection(
        &self,
        ioapic: Requester,
        index: u16,
        interrupt: RemappedInterrupt,
        active_low: bool,
    ) -> Result<u64, IommuError> {
        let (entry, _) = self.interrupts.entry_of(ioapic, index)?;
        Ok(remappable::redirection_entry(entry, pin_vector(index), interrupt.level, active_low))
    }

    /// Makes one interrupt entry absent.
    pub fn release(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Requester,
        index: u16,
    ) -> Result<(), IommuError> {
        let (entry, _) = self.interrupts.entry_of(requester, index)?;
        self.interrupts.write_low(memory, self.capabilities.is_coherent(), entry, 0);
        self.after_removing(memory, clock, &[descriptor::interrupt(entry)])
    }

    /// Takes the next recorded fault; `unit` and `segment` go into it.
    pub fn take_fault(&self, unit: usize, segment: u16) -> Recorded {
        faults::take(&self.registers, self.capabilities, unit, segment)
    }

    /// Has the unit announce faults.
    pub fn set_fault_interrupt(&self, vector: u8, apic_id: u32) {
        faults::set_interrupt(&self.registers, vector, apic_id);
    }
}
