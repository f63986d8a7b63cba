//! The functions that a guest owns, and what its accesses to them cause in the
//! nested tables, the IOMMU and the interrupt remapping.
//!
//! Order is everything here. A function is given in this order: reset with proof,
//! the domain attached, then bus mastering allowed; the guest itself turns it on. It is taken
//! back in the opposite order, and the guest's memory is scrubbed only after that.

mod accesses;
mod mapped;
mod mappings;
mod resets;

use crate::bus_function::BusFunction;
use crate::holdings::Holdings;
use crate::host::{FIRST_GUEST_VECTOR, Host, LINE_VECTOR};
use crate::mailbox;
use crate::partition::{HOUSEKEEPING, Partition};
use access::{Clock, ConfigSpace, RegisterWindow};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use devices::ApicAddress;
use iommu::{DomainId, Function, Iommu, IommuError, RemappedInterrupt, Requester};
use mapped::Mapped;
use pci::reset::{OwnedBus, ResetReport};
use pci::{Quarantine, ResetPath};
use spec::apic::{DeliveryMode, decode_msi};
use spec::{Bdf, Gpa};
use spin::mutex::TicketMutex;
use tables::NestedTables;
use vpci::{BARS, GuestBus, HostMsi, MessageChange, PassedThrough, PciEffect, Slot};

/// How many refusals of one guest are logged.
const REFUSALS_LOGGED: u32 = 16;

/// How long an access that takes an emulated function off the bus waits for a drive that reads or writes
/// memory for it: a drive that works takes milliseconds.
const DRIVE_NS: u64 = 1_000_000_000;

/// One function of the guest, apart from what the guest sees of it.
pub struct Assignment {
    /// Where the guest sees it.
    pub slot: Slot,
    /// Its requester ID.
    pub requester: Requester,
    /// Other requester IDs under which its requests can arrive.
    pub aliases: Box<[Bdf]>,
    /// How it is reset.
    pub reset: ResetPath,
    /// Its bus, where all of it is this guest's.
    pub bus: Option<ResettableBus>,
    /// Its interrupt line, where it has one.
    pub line: Option<Line>,
    attached: bool,
    /// Its guest asked for a reset that has not happened yet.
    reset_asked: bool,
    mapped: [Option<Gpa>; BARS],
}

impl Assignment {
    /// A function that is not attached yet.
    pub fn new(
        slot: Slot,
        requester: Requester,
        aliases: Box<[Bdf]>,
        reset: ResetPath,
        bus: Option<ResettableBus>,
        line: Option<Line>,
    ) -> Self {
        Self {
            slot,
            requester,
            aliases,
            reset,
            bus,
            line,
            attached: false,
            reset_asked: false,
            mapped: [None; BARS],
        }
    }

    /// Resets the function by the first rung of the ladder that works. The whole bus
    /// only where `alone`: while the guest runs, its other functions there work. One that
    /// takes long to come back is told about, and not waited for where the guest is to end.
    fn reset<H: Host>(
        &self,
        config: &impl ConfigSpace,
        clock: &impl Clock,
        partition: &Partition<H>,
        alone: bool,
    ) -> Result<ResetReport, Quarantine> {
        let bus = self.bus.as_ref().filter(|bus| alone || bus.others.is_empty());
        let owned = bus.map(|bus| OwnedBus { bridge: bus.bridge, others: &bus.others });
        let ended = partition.ended();
        self.reset.reset_while(config, clock, owned, &|function, seconds| {
            partition.log(format_args!("{function} has not come back from its reset after {seconds} s"));
            partition.ended() == ended
        })
    }
}

/// The way of a function's INTx: from a pin of the machine's that nobody shares to one of
/// the guest's that no other of its functions uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// Who the IOMMU takes the machine's IOAPIC for.
    pub io_apic: Requester,
    /// Which of the interrupts that it was granted is the pin's.
    pub index: u16,
    /// The guest's global system interrupt.
    pub gsi: u8,
}

/// A bus that belongs to one guest as a whole, so that it may be reset.
pub struct ResettableBus {
    /// The bridge above it.
    pub bridge: Bdf,
    /// The guest's other functions on it.
    pub others: Box<[ResetPath]>,
}

/// Why a guest does not get its functions.
#[derive(Debug)]
pub enum AssignError {
    /// No reset of the function worked.
    Quarantined(Quarantine),
    /// The IOMMU refused.
    Iommu(Requester, IommuError),
}

impl fmt::Display for AssignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quarantined(quarantine) => quarantine.fmt(f),
            Self::Iommu(requester, error) => write!(f, "{requester}: {error}"),
        }
    }
}

/// The guest's PCI bus with the functions that it owns.
///
/// `C` reaches configuration space, `W` the trapped pages of BARs, `I` is the IOMMU; `T`
/// tells the time.
pub struct AssignedBus<C, W, I: 'static, T> {
    bus: GuestBus<BusFunction<C, W>>,
    assignments: Vec<Assignment>,
    config: C,
    clock: T,
    iommu: &'static TicketMutex<I>,
    domain: Option<DomainId>,
    nested: Box<dyn NestedTables>,
    /// APIC ID of the processor behind each vCPU.
    apic_ids: Box<[u32]>,
    /// Where the memory of emulated functions is mapped.
    shared: Box<[Mapped]>,
    refusals: u32,
    /// Resets that the guest asked for have not happened yet.
    resets_asked: bool,
}

/// The parts of an [`AssignedBus`].
pub struct Parts<C, W, I: 'static, T> {
    /// The bus with every function inserted and its BARs placed.
    pub bus: GuestBus<BusFunction<C, W>>,
    /// The passed-through functions, one for each that was inserted.
    pub assignments: Vec<Assignment>,
    /// Configuration space of the machine.
    pub config: C,
    /// The time.
    pub clock: T,
    /// The IOMMUs.
    pub iommu: &'static TicketMutex<I>,
    /// The domain that maps the guest's memory; `None` for a guest without functions.
    pub domain: Option<DomainId>,
    /// The nested tables, which map the guest's memory.
    pub nested: Box<dyn NestedTables>,
    /// APIC ID of the processor behind each vCPU.
    pub apic_ids: Box<[u32]>,
}

impl<C, W, I, T> AssignedBus<C, W, I, T>
where
    C: ConfigSpace,
    W: RegisterWindow,
    I: Iommu,
    T: Clock,
{
    /// The bus; nothing is given to the guest yet.
    pub fn new(parts: Parts<C, W, I, T>) -> Self {
        let Parts { bus, assignments, config, clock, iommu, domain, nested, apic_ids } = parts;
        let shared = mapped::of_emulated(&bus);
        Self {
            bus,
            assignments,
            config,
            clock,
            iommu,
            domain,
            nested,
            apic_ids,
            shared,
            refusals: 0,
            resets_asked: false,
        }
    }

    /// Gives the guest its functions: every one is reset before any may do something,
    /// since the reset of one may be that of its whole bus. `report` hears how each was
    /// reset.
    ///
    /// # Errors
    /// A function could not be reset or attached; then none is given.
    pub fn assign<H: Host<Bus = Self>>(
        &mut self,
        partition: &Partition<H>,
        mut report: impl FnMut(&Assignment, fmt::Arguments<'_>),
    ) -> Result<(), AssignError> {
        for assignment in &self.assignments {
            match assignment.reset(&self.config, &self.clock, partition, true) {
                Ok(outcome) => report(assignment, format_args!("{outcome}")),
                Err(quarantine) => {
                    self.quarantine_all();
                    return Err(AssignError::Quarantined(quarantine));
                }
            }
        }
        for index in 0..self.assignments.len() {
            if let Err(error) = self.attach(partition, index) {
                self.quarantine_all();
                self.close_lines(partition);
                self.detach_all();
                return Err(error);
            }
        }
        Ok(())
    }

    /// The guest does not start: none of its functions does anything.
    fn quarantine_all(&mut self) {
        for assignment in &self.assignments {
            if let Some(function) = passed_through(&mut self.bus, assignment.slot) {
                function.quarantine();
            }
        }
    }

    fn attach<H: Host<Bus = Self>>(
        &mut self,
        partition: &Partition<H>,
        index: usize,
    ) -> Result<(), AssignError> {
        let Some(assignment) = self.assignments.get_mut(index) else { return Ok(()) };
        let (requester, slot, line) = (assignment.requester, assignment.slot, assignment.line);
        if let Some(domain) = self.domain {
            let function = Function::new(requester, &assignment.aliases);
            self.iommu
                .lock()
                .attach(function, domain)
                .map_err(|error| AssignError::Iommu(requester, error))?;
            assignment.attached = true;
        }
        let attached = assignment.attached;
        if let Some(line) = line {
            self.open_line(partition, line).map_err(|error| AssignError::Iommu(line.io_apic, error))?;
        }
        if let Some(function) = passed_through(&mut self.bus, slot) {
            function.start();
            function.allow_bus_master(attached);
        }
        Ok(())
    }

    /// Takes every function back: bus mastering off, domain detached, reset. The
    /// guest's processors have left. Returns false when a function may still reach
    /// the guest's memory: then that must never be used for anything else.
    pub fn revoke<H: Host<Bus = Self>>(&mut self, partition: &Partition<H>) -> bool {
        for assignment in &self.assignments {
            if let Some(function) = passed_through(&mut self.bus, assignment.slot) {
                function.allow_bus_master(false);
            }
        }
        let detached = self.detach_all();
        self.bus.reset();
        // The next start finds its BARs where this one did: they fitted when the bus was
        // built, and placing them allocates nothing.
        let _ = self.bus.place_bars();
        self.apply_effects(partition);
        (0..partition.endpoints.len()).for_each(|number| partition.reset_endpoint(number));
        // After the effects: a function as after its reset has its line.
        self.close_lines(partition);
        self.resets_asked = false;
        for assignment in &mut self.assignments {
            assignment.reset_asked = false;
            if let Err(quarantine) = assignment.reset(&self.config, &self.clock, partition, true) {
                if let Some(function) = passed_through(&mut self.bus, assignment.slot) {
                    function.quarantine();
                }
                partition.log(format_args!("{quarantine}"));
            }
        }
        // No processor of the guest runs: nothing walks what was retired.
        self.nested.flushed();
        detached
    }

    /// What the guest's functions have at present.
    pub fn holdings(&self) -> Holdings {
        let iommu = self.iommu.lock();
        Holdings {
            nested_frames_left: self.nested.frames_left(),
            iommu_frames_left: iommu.frames_left(),
            in_force: self.assignments.iter().map(|assignment| iommu.in_force(assignment.requester)).sum(),
        }
    }

    fn detach_all(&mut self) -> bool {
        let mut clean = true;
        for assignment in self.assignments.iter_mut().filter(|assignment| assignment.attached) {
            match self.iommu.lock().detach(assignment.requester) {
                Ok(()) => assignment.attached = false,
                Err(_) => clean = false,
            }
        }
        clean
    }

    /// Lets a function's line interrupt the processor that raises the guest's own line
    /// then: the first of the guest, or the housekeeping CPU's.
    fn open_line<H: Host<Bus = Self>>(&self, partition: &Partition<H>, line: Line) -> Result<(), IommuError> {
        let Some(&first) = self.apic_ids.first() else { return Ok(()) };
        // Where the guest takes interrupts itself none may be ours.
        let destination = if partition.direct_interrupts { partition.host.housekeeping_cpu() } else { first };
        let interrupt =
            RemappedInterrupt { vector: LINE_VECTOR, destination, mode: DeliveryMode::Fixed, level: true };
        // The lines of conventional PCI are active low, and messages stand for such.
        let entry = self.iommu.lock().remap_pin(line.io_apic, line.index, interrupt, true)?;
        partition.host.open_line(partition, line.gsi, entry);
        Ok(())
    }

    /// Silences a line; its remapping entry stays.
    fn mask_line<H: Host<Bus = Self>>(&self, partition: &Partition<H>, line: Line) {
        partition.host.close_line(partition, line.gsi);
        partition.with_chipset(HOUSEKEEPING, |chipset, effects, _| chipset.deassert_line(line.gsi, effects));
    }

    /// Takes the lines back. Masked first, so that nothing is sent that the IOMMU would have
    /// to refuse. What was sent before has arrived when the entry is gone, and the next
    /// owner finds no line in service.
    fn close_lines<H: Host<Bus = Self>>(&self, partition: &Partition<H>) {
        for line in self.assignments.iter().filter_map(|assignment| assignment.line) {
            self.mask_line(partition, line);
            // An entry that was never there cannot be released, which is no harm.
            let _ = self.iommu.lock().release(line.io_apic, line.index);
        }
    }

    /// The guest's interrupt disable bit, or one of the kinds of messages, decides about
    /// the line. The function has its own bit too, where it knows one.
    fn switch_line<H: Host<Bus = Self>>(&mut self, partition: &Partition<H>, slot: Slot, open: bool) {
        let Some(line) = self.line_of(slot) else { return };
        if !open {
            self.mask_line(partition, line);
        } else if let Err(error) = self.open_line(partition, line) {
            self.refuse(partition, format_args!("{slot} line {}: {error}", line.gsi));
        }
    }

    fn line_of(&self, slot: Slot) -> Option<Line> {
        self.assignments.iter().find(|assignment| assignment.slot == slot)?.line
    }

    fn apply_effects<H: Host<Bus = Self>>(&mut self, partition: &Partition<H>) {
        while let Some((slot, effect)) = self.bus.next_effect() {
            self.apply(partition, slot, effect);
        }
        if self.resets_asked && !self.is_flush_due(partition) {
            self.reset_asked(partition);
        }
    }

    fn apply<H: Host<Bus = Self>>(&mut self, partition: &Partition<H>, slot: Slot, effect: PciEffect) {
        match effect {
            PciEffect::MapBar { bar, gpa } => {
                if let Err(error) = self.map_bar(partition, slot, bar, gpa) {
                    self.refuse(partition, format_args!("{slot} BAR {bar} at {gpa} is not mapped: {error}"));
                }
            }
            PciEffect::UnmapBar { bar } => self.unmap_bar(partition, slot, bar),
            PciEffect::BarRefused { bar, gpa, refusal } => {
                self.refuse(
                    partition,
                    format_args!("{slot} BAR {bar} moved to {gpa}, which is refused: {refusal:?}"),
                );
            }
            PciEffect::Enables(enables) => {
                if let Some(&BusFunction::Emulated { endpoint, .. }) = self.bus.function(slot) {
                    partition.enable_endpoint(endpoint, enables);
                    if !enables.bus_master {
                        self.await_drive(partition, slot, endpoint);
                    }
                }
            }
            PciEffect::Message(change) => self.message(partition, slot, change),
            PciEffect::ResetRequested => match self.bus.function(slot) {
                Some(&BusFunction::Emulated { endpoint, .. }) => {
                    partition.reset_endpoint(endpoint);
                    self.await_drive(partition, slot, endpoint);
                }
                _ => self.ask_reset(slot),
            },
            // The function itself lets the guest's bit through, once allowed.
            PciEffect::BusMaster(_) => {}
            PciEffect::InterruptPin(open) => self.switch_line(partition, slot, open),
        }
    }

    /// A function that may not master the bus any more writes nothing once its guest's access is over, nor
    /// does a drive for it. One that takes too long is not waited for: it writes into its own guest.
    fn await_drive<H: Host<Bus = Self>>(&mut self, partition: &Partition<H>, slot: Slot, endpoint: usize) {
        if access::wait_until(&self.clock, DRIVE_NS, || !partition.lends_memory_of(endpoint)).is_err() {
            let text = "a drive still reads or writes memory for it, though it does not master the bus";
            self.refuse(partition, format_args!("{slot}: {text}"));
        }
    }

    fn refuse<H: Host<Bus = Self>>(&mut self, partition: &Partition<H>, text: fmt::Arguments<'_>) {
        if self.refusals < REFUSALS_LOGGED {
            self.refusals += 1;
            partition.log(text);
        }
    }

    fn message<H: Host<Bus = Self>>(&mut self, partition: &Partition<H>, slot: Slot, change: MessageChange) {
        let Some(assignment) = self.assignments.iter().find(|assignment| assignment.slot == slot) else {
            return;
        };
        let requester = assignment.requester;
        let interrupt =
            change.message.and_then(|message| self.translate(partition, message.address, message.data));
        let host = match interrupt {
            Some(interrupt) => self.iommu.lock().remap(requester, change.index, interrupt),
            None => {
                // What was never remapped cannot be released, which is no harm.
                let _ = self.iommu.lock().release(requester, change.index);
                if let Some(message) = change.message {
                    let text = format_args!("{slot} message {}: no vCPU takes {message:x?}", change.index);
                    self.refuse(partition, text);
                }
                return self.answer(slot, change.index, None);
            }
        };
        match host {
            Ok(host) => {
                self.answer(slot, change.index, Some(HostMsi { address: host.address, data: host.data }));
            }
            Err(error) => {
                self.refuse(partition, format_args!("{slot} message {}: {error}", change.index));
                self.answer(slot, change.index, None);
            }
        }
    }

    fn answer(&mut self, slot: Slot, index: u16, host: Option<HostMsi>) {
        if let Some(function) = passed_through(&mut self.bus, slot) {
            // Refused where the guest has changed its mind since, which it said in
            // an effect of its own.
            let _ = function.set_host_message(index, host);
        }
    }

    /// What the guest's message means on the machine: its own vector, at the
    /// processor behind the vCPU that it addresses.
    fn translate<H: Host<Bus = Self>>(
        &self,
        partition: &Partition<H>,
        address: u64,
        data: u32,
    ) -> Option<RemappedInterrupt> {
        let message = decode_msi(address, data)?;
        if !matches!(message.mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority)
            || message.vector < FIRST_GUEST_VECTOR
        {
            return None;
        }
        let addressed = |mailbox: &mailbox::Mailbox| {
            ApicAddress::from_bits(mailbox.address()).matches(&message.destination)
        };
        let vcpu = partition.mailboxes.iter().position(addressed)?;
        Some(RemappedInterrupt {
            vector: message.vector,
            destination: *self.apic_ids.get(vcpu)?,
            mode: DeliveryMode::Fixed,
            level: false,
        })
    }
}

/// The function of the machine in a slot of the guest's bus.
fn passed_through<C: ConfigSpace, W: RegisterWindow>(
    bus: &mut GuestBus<BusFunction<C, W>>,
    slot: Slot,
) -> Option<&mut PassedThrough<C, W>> {
    bus.function_mut(slot)?.passed_through()
}

#[cfg(test)]
mod tests;
