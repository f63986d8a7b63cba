//! One unit, from deny-all on.

use super::command_buffer::CommandBuffer;
use super::device_table::{self, DeviceTable};
use super::features::Features;
use super::interrupts::{self, InterruptTables, Width};
use super::log::{self, Log, status};
use super::{TIMEOUT_NS, events, own_interrupt};
use crate::fault::Recorded;
use crate::{Function, HostMsi, IommuError, RemappedInterrupt, Requester, UnitLimits};
use access::{Clock, ConfigSpace, RegisterWindow, TableMemory, wait_until};
use platform::remapping::AmdVi;
use spec::amdvi::event::page_request;
use spec::amdvi::{Control, Status, command, event, interrupt_entry, register};
use spec::{Bdf, Hpa};

/// Frames that a unit takes at most, besides the tables of domains.
pub(crate) fn frames_needed(limits: UnitLimits) -> usize {
    // The device table and the gap before it, as it is aligned to its own size; the
    // command buffer and its report; two logs.
    2 * device_table::frames(limits.buses)
        + 4
        + interrupts::frames(limits.interrupts, limits.interrupt_sources)
}

/// A unit in force: what is not granted is blocked.
pub(crate) struct Unit<R> {
    registers: R,
    features: Features,
    own: Requester,
    limits: UnitLimits,
    /// The control register as it is meant to be.
    control: Control,
    commands: CommandBuffer,
    devices: DeviceTable,
    interrupts: InterruptTables,
    events: Log,
    page_requests: Option<Log>,
    /// A flush failed: nothing that looks unchanged is skipped until one works.
    stale: bool,
}

impl<R: RegisterWindow> Unit<R> {
    /// Takes the unit over, in whatever state firmware or a boot loader left it, and
    /// denies everything.
    pub fn start(
        registers: R,
        own: &AmdVi,
        segment: u16,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        config: &impl ConfigSpace,
        limits: UnitLimits,
    ) -> Result<Self, IommuError> {
        let features = Features::detect(&registers, config, own)?;
        let width = match (limits.x2apic, features.has_wide_entries()) {
            (true, _) if features.reaches_x2apic() => Width::X2apic,
            (true, _) => return Err(IommuError::Lacks("interrupts to processors in x2APIC mode")),
            (false, true) => Width::Wide,
            (false, false) => Width::Narrow,
        };
        let coherent = features.coherent;
        let devices = DeviceTable::new(memory, limits.buses, coherent)?;
        // Chips of the board are named one by one; a whole range is nobody's need.
        let named = own.signals.iter().filter(|signals| signals.requesters.first == signals.requesters.last);
        for signals in named {
            // Beyond the table's end there is nobody.
            let _ = devices.pass_signals(memory, signals.requesters.first, signals.bits);
        }
        let commands = CommandBuffer::new(memory, coherent)?;
        let events = Log::new(memory, log::EVENTS, coherent)?;
        let page_requests = match features.has_page_requests() {
            true => Some(Log::new(memory, log::PAGE_REQUESTS, coherent)?),
            false => None,
        };
        let interrupts = InterruptTables::new(width, limits.interrupt_sources, coherent);
        let own_id = Requester::new(segment, own.function);
        let control = Control::empty();
        let mut unit = Self {
            registers,
            features,
            own: own_id,
            limits,
            control,
            commands,
            devices,
            interrupts,
            events,
            page_requests,
            stale: false,
        };
        unit.deny_all(memory, clock, wanted_control(own, width))?;
        Ok(unit)
    }

    /// Puts the empty tables in force. A unit that is on stays on, and looks into the
    /// new device table before anything else of it changes: at no moment is a device
    /// let through.
    fn deny_all(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        wanted: Control,
    ) -> Result<(), IommuError> {
        let before = Control::from_bits_retain(self.registers.read64(register::CONTROL));
        let was_on = before.contains(Control::ENABLE);
        // The formats of the entries stay what they were until the old ones are gone.
        let formats = Control::WIDE_INTERRUPT_ENTRIES | Control::X2APIC;
        let keep = Control::ENABLE | formats;
        self.control = if was_on { before & keep } else { Control::empty() };
        self.registers.write64(register::CONTROL, self.control.bits());
        self.stopped(clock)?;

        self.registers.write64(register::EXCLUSION_BASE, 0);
        self.registers.write64(register::EXCLUSION_LIMIT, 0);
        self.registers.write64(register::DEVICE_TABLE, self.devices.register());
        self.commands.set(&self.registers);
        self.events.set(&self.registers);
        let mut on = Control::ENABLE | Control::COMMAND_BUFFER | self.events.enable();
        if let Some(log) = &mut self.page_requests {
            log.set(&self.registers);
            on |= log.enable() | Control::PPR;
        }
        if was_on {
            self.switch(clock, self.control | on | wanted.difference(formats))?;
            self.flush_all(memory, clock)?;
        }
        self.switch(clock, on | wanted)?;
        self.flush_all(memory, clock)
    }

    /// Waits until the unit reads no commands and writes no logs.
    fn stopped(&self, clock: &impl Clock) -> Result<(), IommuError> {
        let runs = Status::COMMANDS_RUN | Status::EVENT_LOG_RUNS | Status::PPR_LOG_RUNS;
        wait_until(clock, TIMEOUT_NS, || !status(&self.registers).intersects(runs))
            .map_err(|_| IommuError::TimedOut("command buffer and logs off"))
    }

    /// Writes the control register and waits until commands are taken.
    fn switch(&mut self, clock: &impl Clock, control: Control) -> Result<(), IommuError> {
        self.control = control;
        self.registers.write64(register::CONTROL, control.bits());
        if self.registers.read64(register::CONTROL) & Control::ENABLE.bits() == 0 {
            return Err(IommuError::Lacks("an enable bit that stays set"));
        }
        wait_until(clock, TIMEOUT_NS, || status(&self.registers).contains(Status::COMMANDS_RUN))
            .map_err(|_| IommuError::TimedOut("command buffer on"))
    }

    /// What the unit can do.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Has the unit forget cached entries; see [`CommandBuffer::run`].
    fn invalidate(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        commands: impl IntoIterator<Item = [u64; 2]>,
    ) -> Result<(), IommuError> {
        if self.stale {
            return self.flush_all(memory, clock);
        }
        let result = self.commands.run(&self.registers, memory, clock, self.control, commands);
        self.stale |= result.is_err();
        result
    }

    /// Forgets everything that is cached. Device table entries go first: what is cached
    /// of pages and interrupts is filled by way of them.
    pub fn flush_all(&mut self, memory: &mut impl TableMemory, clock: &impl Clock) -> Result<(), IommuError> {
        let Self { registers, commands, control, .. } = self;
        let result = if self.features.invalidates_all() {
            commands.run(registers, memory, clock, *control, [command::INVALIDATE_ALL])
        } else {
            let ids = || self.devices.requesters();
            // What is cached of before may have any tag.
            let tags = (0..=u16::MAX).take(self.limits.tags as usize);
            let everything = ids()
                .map(command::invalidate_device)
                .chain(tags.map(command::invalidate_domain))
                .chain(ids().map(command::invalidate_interrupts));
            commands.run(registers, memory, clock, *control, everything)
        };
        self.stale = result.is_err();
        result
    }

    /// After pages of `domain` became present.
    pub fn flush_after_map(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        domain: u16,
    ) -> Result<(), IommuError> {
        if self.features.caches_absent() || self.stale {
            return self.flush_after_unmap(memory, clock, domain);
        }
        Ok(())
    }

    /// After pages of `domain` went; DMA to them has ended when this returns.
    pub fn flush_after_unmap(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        domain: u16,
    ) -> Result<(), IommuError> {
        self.invalidate(memory, clock, [command::invalidate_domain(domain)])
    }

    /// Lets a requester use the table at `root`. The entry that blocks is as valid as any
    /// and may be cached, with what it leads to under domain 0.
    pub fn attach(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Bdf,
        root: Hpa,
        domain: u16,
    ) -> Result<(), IommuError> {
        let levels = self.features.geometry().levels;
        self.devices.allow_dma(memory, requester, root, levels, domain)?;
        self.after_device_change(memory, clock, requester, domain)
    }

    /// Blocks a requester that was in `domain`; its DMA has ended when this returns.
    pub fn detach(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Bdf,
        domain: u16,
    ) -> Result<(), IommuError> {
        self.devices.block_dma(memory, requester)?;
        self.after_device_change(memory, clock, requester, domain)
    }

    /// Section 2.2.2.1: the entry, then the pages under both tags that it has had.
    fn after_device_change(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Bdf,
        domain: u16,
    ) -> Result<(), IommuError> {
        let commands = [
            command::invalidate_device(requester.0),
            command::invalidate_domain(0),
            command::invalidate_domain(domain),
        ];
        self.invalidate(memory, clock, commands)
    }

    /// Reserves interrupt entries; see [`InterruptTables::grant`]. Where that fails at the
    /// flush the grant stays, and revoking it tries again.
    pub fn grant_interrupts(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        function: Function<'_>,
        entries: u16,
    ) -> Result<(), IommuError> {
        self.interrupts.grant(memory, &self.devices, function, entries)?;
        self.flush_interrupts_of(memory, clock, function.requester, true)
    }

    /// How many interrupts a function may send at present.
    pub fn interrupts_in_force(&self, memory: &impl TableMemory, requester: Requester) -> usize {
        self.interrupts.present(memory, requester)
    }

    /// Blocks a function's interrupts and returns its entries once none is cached.
    pub fn revoke_interrupts(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Requester,
    ) -> Result<(), IommuError> {
        self.interrupts.clear_all(memory, &self.devices, requester)?;
        self.flush_interrupts_of(memory, clock, requester, true)?;
        self.interrupts.forget(memory, requester);
        Ok(())
    }

    /// Flushes the interrupt entries of every ID of a function, and with `devices` what
    /// leads there.
    fn flush_interrupts_of(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Requester,
        devices: bool,
    ) -> Result<(), IommuError> {
        if self.stale {
            return self.flush_all(memory, clock);
        }
        let Self { registers, commands, control, interrupts, .. } = self;
        let ids = &interrupts.grant_of(requester)?.ids;
        let entries = ids.iter().filter(|_| devices).map(|id| command::invalidate_device(id.0));
        let tables = ids.iter().map(|id| command::invalidate_interrupts(id.0));
        let result = commands.run(registers, memory, clock, *control, entries.chain(tables));
        self.stale |= result.is_err();
        result
    }

    /// Sets one interrupt entry by one write, so that no interrupt is lost meanwhile.
    pub fn remap(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Requester,
        index: u16,
        interrupt: RemappedInterrupt,
    ) -> Result<(), IommuError> {
        let entry = self.interrupts.encode(interrupt)?;
        let grant = self.interrupts.grant_of(requester)?;
        grant.check(index)?;
        let old = self.interrupts.read(memory, grant, index);
        if old == entry && !self.stale {
            return Ok(());
        }
        self.interrupts.write(memory, grant, index, entry);
        if old == self.interrupts.absent() && !self.features.caches_absent() && !self.stale {
            return Ok(());
        }
        self.flush_interrupts_of(memory, clock, requester, false)
    }

    /// The message by which a requester sends its interrupt `index`.
    pub fn message(&self, requester: Requester, index: u16) -> Result<HostMsi, IommuError> {
        let data = self.index_of(requester, index)?;
        Ok(HostMsi { address: spec::apic::MESSAGE_ADDRESS, data: data.into() })
    }

    /// The redirection entry by which an IOAPIC sends its pin `index`.
    pub fn redirection(
        &self,
        ioapic: Requester,
        index: u16,
        interrupt: RemappedInterrupt,
        active_low: bool,
    ) -> Result<u64, IommuError> {
        let entry = self.index_of(ioapic, index)?;
        Ok(interrupt_entry::redirection_entry(entry, interrupt.level, active_low))
    }

    fn index_of(&self, requester: Requester, index: u16) -> Result<u16, IommuError> {
        let grant = self.interrupts.grant_of(requester)?;
        grant.check(index)?;
        Ok(grant.first + index)
    }

    /// Makes one interrupt entry absent.
    pub fn release(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Requester,
        index: u16,
    ) -> Result<(), IommuError> {
        let grant = self.interrupts.grant_of(requester)?;
        grant.check(index)?;
        self.interrupts.write(memory, grant, index, self.interrupts.absent());
        self.flush_interrupts_of(memory, clock, requester, false)
    }

    /// Takes the next recorded event, or refuses the next page request; `unit` goes into
    /// it.
    pub fn take_fault(&mut self, memory: &mut impl TableMemory, clock: &impl Clock, unit: usize) -> Recorded {
        let taken = self.events.take(&self.registers, memory, clock, self.control);
        if let Some(entry) = taken.entry {
            return events::fault(entry, unit, self.own, self.features.qemu_events);
        }
        let overflowed = taken.overflowed;
        let Some(log) = &mut self.page_requests else {
            return Recorded { overflowed, ..Recorded::default() };
        };
        let taken = log.take(&self.registers, memory, clock, self.control);
        let overflowed = overflowed || taken.overflowed;
        let Some(entry) = taken.entry else { return Recorded { overflowed, ..Recorded::default() } };
        let answer = command::refuse_page_request(event::requester(entry[0]), page_request::tag(entry[0]));
        // A device that gets no answer has its own time-out.
        let _ = self.invalidate(memory, clock, [answer]);
        Recorded { overflowed, ..events::refused_page_request(entry, unit, self.own.segment) }
    }

    /// Has the unit announce events.
    pub fn set_fault_interrupt(&mut self, config: &impl ConfigSpace, vector: u8, apic_id: u32) {
        let x2apic = self.limits.x2apic;
        own_interrupt::set(&self.registers, config, self.own.id, vector, apic_id, x2apic);
        self.control |= Control::EVENT_INTERRUPT;
        if self.page_requests.is_some() {
            self.control |= Control::PPR_INTERRUPT;
        }
        if x2apic {
            self.control |= Control::X2APIC_OWN_INTERRUPTS;
        }
        self.registers.write64(register::CONTROL, self.control.bits());
    }
}

/// What the control register is to hold besides what is switched on step by step.
fn wanted_control(own: &AmdVi, width: Width) -> Control {
    let asked = [
        (own.tunnel_translation, Control::TUNNEL_TRANSLATION),
        (own.pass_posted_writes, Control::PASS_POSTED_WRITES),
        (own.responses_pass_posted_writes, Control::RESPONSES_PASS_POSTED_WRITES),
        (own.isochronous, Control::ISOCHRONOUS),
        // Where the firmware does not ask for it entries are written back as well, but
        // no unit is worse for snooping.
        (true, Control::COHERENT),
        (width != Width::Narrow, Control::WIDE_INTERRUPT_ENTRIES),
        (width == Width::X2apic, Control::X2APIC),
    ];
    asked.into_iter().filter(|(asked, _)| *asked).map(|(_, bit)| bit).collect()
}
