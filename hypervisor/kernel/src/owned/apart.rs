//! A function that the hypervisor keeps and whose driver is in ring 3: what ring 0 does for it.

use super::{DECODE, Routed, Taken, attach_to, window};
use crate::compartments::drivers::{self, Owner, Told};
use crate::compartments::{self, Space};
use crate::guests::Common;
use crate::host::IOMMUS;
use access::{ConfigSpace, DmaBuffer, DmaMemory};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use compartment::{Compartment, Ended};
use driver_compartment::layout::{BAR, QUEUES};
use driver_compartment::{Description, Driver, Function, Renewal, Room};
use iommu::{DomainId, Iommu, Requester};
use machine::chipset::config_space::MachineConfigSpace;
use machine::memory::dma::DmaRange;
use machine::memory::mmio::Window;
use pci::ResetMethod;
use pci::reset::{Progress, Stepwise};
use plan::FunctionPlan;
use spec::address::PAGE_BYTES;
use spec::pci_config::{COMMAND, command};
use spec::{Bdf, Iova};

/// Bytes of a driver's heap.
const HEAP_BYTES: usize = 256 << 10;
/// What drivers are for the processor's barriers, who are of no guest: this bit, and their function's address.
const NO_GUEST: u32 = 1 << 31;

/// What a driver is to be given.
pub struct Wanted<'a> {
    /// What it is called.
    pub name: String,
    /// Its function's place among those that stay with the hypervisor.
    pub place: usize,
    /// Which driver, and the BAR with the registers of its function.
    pub driver: Driver,
    /// See there.
    pub bar: u8,
    /// Bytes of memory for its queues, as it takes them in ring 0.
    pub queue_bytes: usize,
    /// How much its device can have at a time.
    pub room: Room,
    /// The memory for the data of its requests, where it has some. It is not mapped in the compartment.
    pub data: Option<&'a DmaRange>,
    /// Words of its area.
    pub area_words: usize,
}

/// A compartment with a driver, and its function.
pub struct Apart {
    name: String,
    space: Space,
    /// The memory for queues.
    queues: DmaRange,
    description: Description,
    function: Kept,
    told: Arc<Told>,
    /// It is told what it is for.
    is_building: bool,
}

/// What ring 0 keeps of the function.
struct Kept {
    config: &'static MachineConfigSpace,
    bdf: Bdf,
    requester: Requester,
    requesters: Box<[Bdf]>,
    domain: DomainId,
    routed: Routed,
    reset: Stepwise,
    /// PCI offers a reset of it.
    is_reset: bool,
    /// It is attached to its domain.
    is_attached: bool,
    /// Why it cannot be renewed, if it cannot.
    trouble: Option<&'static str>,
}

impl Taken<'_> {
    /// A driver in ring 3 with this function, which it is given with memory for its queues. It is not started.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn apart(mut self, wanted: Wanted<'_>, common: &Common) -> Result<Apart, String> {
        let Wanted { name, place, driver, bar, queue_bytes, room, data, area_words } = wanted;
        let registers = window(self.function, bar)?;
        let mut own = self.memory(queue_bytes)?;
        let queues = own.allocate(queue_bytes.next_multiple_of(PAGE_BYTES as usize), PAGE_BYTES as usize);
        let queues = queues.ok_or("there is no memory for its queues")?;
        let description = Description {
            driver,
            messages: self.routed.count(),
            registers_bytes: registers.len() as u64,
            own: queues.iova(),
            own_bytes: queues.bytes() as u64,
            room,
            data: data.map_or(Iova(0), DmaBuffer::iova),
        };
        let domain = NO_GUEST | u32::from(self.function.bdf.0);
        let mut space = Space::new(domain, area_words, HEAP_BYTES)?;
        let cannot = |what: &str| format!("its {what} cannot be in its compartment");
        let shared = space.space.add_shared_with_device(QUEUES, &queues);
        shared.map_err(|error| format!("{}: {error:?}", cannot("memory")))?;
        for (at, part) in parts(&registers, &self.hidden(common.config, bar)).ok_or(cannot("registers"))? {
            let added = space.space.add_registers(BAR + at, &part);
            added.map_err(|error| format!("{}: {error:?}", cannot("registers")))?;
        }
        let bytes = space.space.own_bytes();
        if self.is_reset {
            self.master_bus();
        }
        let told = drivers::add(name.clone(), Owner::Driver(place), bytes);
        let function = self.kept(common);
        let mut apart = Apart { name, space, queues, description, function, told, is_building: false };
        apart.tell().map_err(|why| format!("there is no driver in its compartment: {why}"))?;
        log::info!("{}: its driver is in ring 3, in a compartment of {} KiB", apart.name, bytes >> 10);
        Ok(apart)
    }

    /// Parts of a BAR that are ring 0's: bytes from and to.
    fn hidden(&self, config: &impl ConfigSpace, bar: u8) -> Vec<(u64, u64)> {
        let places = self.routed.messages.places(config, self.function.bdf).filter(|place| place.bar == bar);
        places.filter_map(|place| Some((place.start, place.start.checked_add(place.bytes)?))).collect()
    }

    fn kept(self, common: &Common) -> Kept {
        let FunctionPlan { bdf, requesters, .. } = self.function;
        Kept {
            config: common.config,
            bdf: *bdf,
            requester: crate::guests::requester(self.function),
            requesters: requesters.clone().into_boxed_slice(),
            domain: self.domain,
            routed: self.routed,
            reset: Stepwise::new(self.path, self.bridge),
            is_reset: self.is_reset,
            is_attached: true,
            trouble: None,
        }
    }
}

/// The registers in whole pages but for those with hidden bytes, each part with where it is in the BAR. `None` where
/// the BAR has a page in common with something else.
fn parts(registers: &Window, hidden: &[(u64, u64)]) -> Option<Vec<(u64, Window)>> {
    let bytes = registers.len() as u64;
    if registers.hpa().page_offset() != 0 || !bytes.is_multiple_of(PAGE_BYTES) {
        return None;
    }
    let is_hidden = |page: u64| hidden.iter().any(|(from, to)| *from < page + PAGE_BYTES && page < *to);
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for page in (0..bytes).step_by(PAGE_BYTES as usize).filter(|page| !is_hidden(*page)) {
        match parts.last_mut() {
            Some((_, end)) if *end == page => *end += PAGE_BYTES,
            _ => parts.push((page, page + PAGE_BYTES)),
        }
    }
    let part = |(from, to): (u64, u64)| Some((from, registers.part(from as usize, (to - from) as usize)?));
    parts.into_iter().map(part).collect()
}

impl Compartment for Apart {
    fn area(&mut self) -> &mut [u64] {
        self.space.area()
    }

    fn enter(&mut self) -> Result<(), Ended> {
        self.told.count_entry();
        if !self.is_building && self.told.take_end() {
            return Err(Ended::Killed);
        }
        self.space.enter()
    }

    fn ended(&mut self, why: Ended, is_gone: bool) {
        self.told.ended(why, is_gone);
        compartments::report_end(&self.name, why, is_gone, self.space.take_fault_address());
    }
}

impl Function for Apart {
    fn begin_renewal(&mut self, now_ns: u64) {
        self.function.begin_renewal(now_ns);
    }

    fn renewal(&mut self, now_ns: u64) -> Renewal {
        match self.function.renewal(now_ns) {
            Renewal::Done { keeps_cache } => match self.renew() {
                Ok(()) => Renewal::Done { keeps_cache },
                Err(why) => Renewal::Failed(why),
            },
            other => other,
        }
    }

    fn allow_bus(&mut self) {
        self.function.master_bus();
    }
}

impl Apart {
    /// Says what it is for.
    fn tell(&mut self) -> Result<(), driver_compartment::Unmade> {
        let description = self.description;
        self.is_building = true;
        let made = description.enter(self);
        self.is_building = false;
        made.map(|_| ())
    }

    /// Its function was reset: it is as it was when it was built.
    fn renew(&mut self) -> Result<(), &'static str> {
        self.space.begin().map_err(|_| "there is no program")?;
        self.queues.clear();
        self.function.give()?;
        if let Err(why) = self.tell() {
            log::error!("{}: its driver cannot be made anew: {why}", self.name);
            return Err("its driver could not be made anew");
        }
        self.told.renewed();
        Ok(())
    }
}

impl Kept {
    /// Takes the function from its driver: it reaches no memory, and its reset begins.
    fn begin_renewal(&mut self, now_ns: u64) {
        if self.is_attached {
            let detached = IOMMUS.get().map(|iommus| iommus.lock().detach(self.requester));
            self.is_attached = !matches!(detached, Some(Ok(())));
        }
        self.trouble = self.is_attached.then_some("its DMA cannot be stopped");
        if self.is_reset {
            self.reset.begin(self.config, now_ns);
        } else {
            self.config.write16(self.bdf, COMMAND, DECODE);
        }
    }

    fn renewal(&mut self, now_ns: u64) -> Renewal {
        match self.trouble {
            Some(why) => Renewal::Failed(why),
            // Its driver resets it, and masters the bus after that.
            None if !self.is_reset => Renewal::Done { keeps_cache: true },
            None => match self.reset.step(self.config, now_ns) {
                Progress::Waits { until_ns } => Renewal::Waits { until_ns },
                // What a function does with its cache in D3hot no specification says.
                Progress::Done(method) => Renewal::Done { keeps_cache: method != ResetMethod::PowerState },
                Progress::Failed(_) => Renewal::Failed("no reset worked"),
            },
        }
    }

    /// Gives the function, which was reset, to its driver again.
    fn give(&mut self) -> Result<(), &'static str> {
        self.config.write16(self.bdf, COMMAND, DECODE);
        self.routed.tell(self.config, self.bdf);
        let attached = attach_to(self.domain, self.requester, &self.requesters);
        if !matches!(attached, Some(Ok(()))) {
            return Err("it cannot be attached to its domain");
        }
        self.is_attached = true;
        if self.is_reset {
            self.master_bus();
        }
        Ok(())
    }

    fn master_bus(&self) {
        self.config.write16(self.bdf, COMMAND, DECODE | command::BUS_MASTER);
    }
}
