//! A machine with functions for one guest, which writes down what happens in it.

extern crate std;

use super::super::*;
use crate::cpuid::{CpuidPolicy, GuestCpuidConfig};
use crate::layout::GuestLayout;
use crate::waiting::Watched;
use access::fake_pci::{FakeConfigSpace, FakeFunction, FakeWindow};
use access::memory::VecMemory;
use devices::device::{Completion, Context, Device, DeviceEffect};
use devices::medium::ImageMedium;
use devices::{Backend, Chipset, ChipsetConfig, Endpoint, ide};
use iommu::{Fault, HostMsi as RemappedMsi};
use spec::pci_config::{COMMAND, command};
use spec::{Hpa, Width};
use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::string::{String, ToString};
use std::sync::{Arc, Mutex};
use std::vec::Vec;
use tables::{MapError, MemoryType, Permissions};
use vpci::{
    BarLayout, BarMemory, Conventional, Description, EmulatedFunction, Grant, Identity, PortWindow, Windows,
};

/// Behind a root port, and its slot on the guest's bus.
pub const NVME: (Bdf, Slot) = (Bdf::new(1, 0, 0), Slot::new(1, 0));
/// On the root bus.
pub const E1000E: (Bdf, Slot) = (Bdf::new(0, 2, 0), Slot::new(2, 0));
/// The slot of a [`Bell`].
pub const EMULATED: Slot = Slot::new(3, 0);
/// An emulated function with memory.
pub const SHARED: Slot = Slot::new(7, 0);
pub const SHARED_MEMORY: BarMemory = BarMemory { hpa: Hpa(0x7000_0000), bytes: 0x10_0000 };
/// A root port, and the [`Bell`] behind it.
pub const PORT: Slot = Slot::new(4, 0);
/// An IDE controller in compatibility mode.
pub const IDE: Slot = Slot::new(5, 0);
/// One with all its ports in a BAR, and INTA#.
pub const CONVENTIONAL: Slot = Slot::new(6, 0);
/// The global system interrupt of that.
pub const LINE_GSI: u8 = crate::layout::intx_gsi(6, 0);
/// What is on the disk of both.
pub static IDE_IMAGE: [u8; 4096] = image();

const fn image() -> [u8; 4096] {
    let mut image = [0; 4096];
    let mut at = 0;
    while at < image.len() {
        image[at] = (at / 512 * 37 + at) as u8;
        at += 1;
    }
    image
}

const IDE_FUNCTION: Conventional = Conventional {
    identity: Identity { vendor: 0x8086, device: 0x7111, class: 0x01_0180, revision: 1 },
    bars: &[PortWindow { place: 4, ports: 16, at: ide::BUS_MASTER }],
    fixed: &[
        PortWindow { place: 0x1f0, ports: 8, at: ide::COMMAND },
        PortWindow { place: 0x3f6, ports: 1, at: ide::CONTROL },
        PortWindow { place: 0x170, ports: 8, at: ide::COMMAND + ide::CHANNEL_STRIDE },
        PortWindow { place: 0x376, ports: 1, at: ide::CONTROL + ide::CHANNEL_STRIDE },
    ],
    has_pin: false,
    registers: &[],
};
const CONVENTIONAL_FUNCTION: Conventional = Conventional {
    bars: &[PortWindow { place: 0, ports: 64, at: 0 }],
    fixed: &[],
    has_pin: true,
    ..IDE_FUNCTION
};

fn ide_endpoint(lines: [Option<u8>; 2]) -> Endpoint {
    let disk = ide::Disk { start: 0, sectors: IDE_IMAGE.len() as u64 / 512, serial: [b' '; 20] };
    let device = Box::new(ide::Ide::new([[Some(disk), None], [None; 2]]));
    Endpoint::with_lines(device, Backend::Medium(Box::new(ImageMedium(&IDE_IMAGE))), lines)
}
pub const BEHIND: Slot = Slot::behind(1, 0);
/// Where a [`Bell`] counts.
pub const COUNT: Gpa = Gpa(0x3000);
const IO_APIC: Requester = Requester::new(0, Bdf::new(0xf0, 31, 0));
/// APIC IDs of the processors.
const PROCESSORS: [u32; 2] = [4, 6];

/// A device that counts how often it is written to, in its register and in its guest's memory,
/// and sends message 0 each time.
pub struct Bell(u64);

impl Device for Bell {
    fn resets_behind_requests(&self) -> bool {
        true
    }
    fn most_effects(&self) -> usize {
        1
    }
    fn read(&mut self, _: u64, _: Width, _: &mut Context<'_>) -> u64 {
        self.0
    }
    fn write(&mut self, _: u64, _: Width, _: u64, context: &mut Context<'_>) {
        self.0 += 1;
        let _ = context.memory.write64(COUNT, self.0);
        context.effects.push(DeviceEffect::Msi(0));
    }
    fn complete(&mut self, _: Completion, _: &mut Context<'_>) {}
    fn line(&self) -> bool {
        false
    }
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// What happened, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A function's command register: decode, bus mastering.
    Command(Bdf, u16),
    /// A function-level reset began.
    Reset(Bdf),
    Attached(Bdf),
    Detached(Bdf),
    Mapped(u64, u64),
    Unmapped(u64, u64),
    Flushed,
    Remapped(Bdf, u16),
    Released(Bdf, u16),
    LineOpened(u8),
    LineClosed(u8),
}

/// What all fakes share.
pub struct State {
    pub config: FakeConfigSpace,
    pub events: Vec<Event>,
    pub attached: BTreeSet<Bdf>,
    pub interrupts: BTreeSet<(Bdf, u16)>,
    pub mapped: BTreeMap<u64, u64>,
    pub log: Vec<String>,
    /// The next call of the IOMMU that fails, counted from now.
    pub iommu_fails_at: Option<usize>,
    /// The configuration access at which [`State::vanishing`] vanishes, counted from now.
    pub vanishes_at: Option<usize>,
    pub vanishing: Bdf,
    now: u64,
    /// Somebody stops the guest while a function is waited for.
    pub stopped_while_waiting: bool,
}

/// The machine.
#[derive(Clone)]
pub struct Machine(pub Arc<Mutex<State>>);

impl Machine {
    pub fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.0.lock().unwrap())
    }

    pub fn take_events(&self) -> Vec<Event> {
        self.with(|state| core::mem::take(&mut state.events))
    }

    /// A field of a function's configuration space.
    pub fn holds(&self, function: Bdf, at: u16, bytes: u16) -> u32 {
        self.with(|state| state.config.functions.borrow()[&function].get(at, bytes))
    }

    fn count_down(&self) {
        self.with(|state| match &mut state.vanishes_at {
            Some(0) => {
                state.vanishes_at = None;
                let gone = state.vanishing;
                state.config.change(gone, |function| function.silent = u32::MAX);
            }
            Some(left) => *left -= 1,
            None => {}
        });
    }
}

impl ConfigSpace for Machine {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        self.count_down();
        self.with(|state| state.config.read(function, offset, width))
    }
    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        self.count_down();
        self.with(|state| {
            match (offset, width) {
                (COMMAND, Width::Word) => state.events.push(Event::Command(function, value as u16)),
                (0x88, Width::Word) if value & 0x8000 != 0 => state.events.push(Event::Reset(function)),
                _ => {}
            }
            state.config.write(function, offset, width, value);
            let masters = state.config.functions.borrow().get(&function).is_some_and(|found| {
                found.silent == 0 && found.get(COMMAND, 2) as u16 & command::BUS_MASTER != 0
            });
            assert!(!masters || state.attached.contains(&function), "{function} masters and is not held");
        });
    }
    fn is_extended(&self, function: Bdf) -> bool {
        self.with(|state| state.config.is_extended(function))
    }
}

impl Clock for Machine {
    fn now_ns(&self) -> u64 {
        self.with(|state| {
            state.now += 5_000_000;
            state.now
        })
    }
}

impl NestedTables for Machine {
    fn root(&self) -> Hpa {
        Hpa(0)
    }
    fn map(
        &mut self,
        gpa: Gpa,
        hpa: Hpa,
        bytes: u64,
        permissions: Permissions,
        memory_type: MemoryType,
    ) -> Result<(), MapError> {
        let is_shared = hpa == SHARED_MEMORY.hpa;
        assert_eq!(memory_type == MemoryType::WriteBack, is_shared, "only memory is cached");
        assert!(!permissions.execute);
        self.with(|state| {
            assert!(state.mapped.insert(gpa.0, bytes).is_none(), "{gpa} is mapped twice");
            state.events.push(Event::Mapped(gpa.0, bytes));
        });
        Ok(())
    }
    fn unmap(&mut self, gpa: Gpa, bytes: u64) -> Result<(), MapError> {
        self.with(|state| {
            assert_eq!(state.mapped.remove(&gpa.0), Some(bytes), "{gpa}");
            state.events.push(Event::Unmapped(gpa.0, bytes));
        });
        Ok(())
    }
    fn flushed(&mut self) {
        self.with(|state| state.events.push(Event::Flushed));
    }
    fn frames_left(&self) -> usize {
        0
    }
}

/// The IOMMU of the machine.
pub struct Recorder(Machine);

impl Recorder {
    fn call(&self) -> Result<(), IommuError> {
        self.0.with(|state| match &mut state.iommu_fails_at {
            Some(0) => {
                state.iommu_fails_at = None;
                Err(IommuError::TimedOut("a test"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        })
    }
}

impl Iommu for Recorder {
    fn create_domain(&mut self, _: &[Requester]) -> Result<DomainId, IommuError> {
        unreachable!("the domain is made before")
    }
    fn map(&mut self, _: DomainId, _: Gpa, _: Hpa, _: u64, _: Permissions) -> Result<(), IommuError> {
        unreachable!("the guest's memory is mapped before")
    }
    fn unmap(&mut self, _: DomainId, _: Gpa, _: u64) -> Result<(), IommuError> {
        unreachable!("the guest's memory stays mapped")
    }
    fn destroy_domain(&mut self, _: DomainId) -> Result<(), IommuError> {
        unreachable!("the domain stays")
    }
    fn attach(&mut self, function: Function<'_>, _: DomainId) -> Result<(), IommuError> {
        self.call()?;
        self.0.with(|state| {
            assert!(state.attached.insert(function.requester.id), "attached twice");
            state.events.push(Event::Attached(function.requester.id));
        });
        Ok(())
    }
    fn detach(&mut self, requester: Requester) -> Result<(), IommuError> {
        self.call()?;
        self.0.with(|state| {
            assert!(state.attached.remove(&requester.id), "detached twice");
            state.events.push(Event::Detached(requester.id));
            let functions = state.config.functions.borrow();
            let found = &functions[&requester.id];
            let masters = found.silent == 0 && found.get(COMMAND, 2) as u16 & command::BUS_MASTER != 0;
            assert!(!masters, "detached while it masters the bus");
        });
        Ok(())
    }
    fn domain_of(&self, _: Requester) -> Option<DomainId> {
        None
    }
    fn grant_interrupts(&mut self, _: Function<'_>, _: u16) -> Result<(), IommuError> {
        Ok(())
    }
    fn revoke_interrupts(&mut self, _: Requester) -> Result<(), IommuError> {
        Ok(())
    }
    fn remap(&mut self, who: Requester, index: u16, _: RemappedInterrupt) -> Result<RemappedMsi, IommuError> {
        self.call()?;
        self.0.with(|state| {
            state.interrupts.insert((who.id, index));
            state.events.push(Event::Remapped(who.id, index));
        });
        Ok(RemappedMsi { address: 0xfee0_0000, data: 0x100 + u32::from(index) })
    }
    fn remap_pin(
        &mut self,
        who: Requester,
        index: u16,
        _: RemappedInterrupt,
        _: bool,
    ) -> Result<u64, IommuError> {
        self.call()?;
        self.0.with(|state| {
            state.interrupts.insert((who.id, index));
            state.events.push(Event::Remapped(who.id, index));
        });
        Ok(0)
    }
    fn release(&mut self, who: Requester, index: u16) -> Result<(), IommuError> {
        self.call()?;
        self.0.with(|state| {
            if state.interrupts.remove(&(who.id, index)) {
                state.events.push(Event::Released(who.id, index));
            }
        });
        Ok(())
    }
    fn flush(&mut self) -> Result<(), IommuError> {
        Ok(())
    }
    fn next_fault(&mut self) -> Option<Fault> {
        None
    }
    fn in_force(&self, who: Requester) -> usize {
        self.0.with(|state| state.interrupts.iter().filter(|(id, _)| *id == who.id).count())
    }
    fn frames_left(&self) -> usize {
        0
    }
}

/// What the guest sees of the machine.
pub struct Around(pub Machine);

pub type Bus = AssignedBus<Machine, FakeWindow, Recorder, Machine>;

impl Host for Around {
    type Memory = VecMemory;
    type Bus = Bus;
    fn now(&self) -> u64 {
        0
    }
    fn arm_timer(&self, _: Option<u64>) {}
    fn kick(&self, _: &Partition<Self>, _: usize) {}
    fn send_interrupt(&self, _: &Partition<Self>, _: usize, _: u8) {}
    fn give_apic(&self) {}
    fn take_apic_back(&self) {}
    fn read_apic(&self, _: u8) -> u64 {
        0
    }
    fn write_apic(&self, _: u8, _: u64) {}
    fn has_tsc_deadline(&self) -> bool {
        false
    }
    fn housekeeping_cpu(&self) -> u32 {
        0
    }
    fn wake_io(&self) {}
    fn wake_housekeeping(&self) {}
    fn console(&self, _: &Partition<Self>, _: usize, _: &[u8], _: bool) {}
    fn log(&self, partition: &Partition<Self>, text: fmt::Arguments<'_>) {
        let stop = self.0.with(|state| {
            state.log.push(text.to_string());
            state.stopped_while_waiting
        });
        if stop && text.to_string().contains("has not come back") {
            partition.request_end(crate::partition::End::Stopped);
        }
    }
    fn open_line(&self, _: &Partition<Self>, gsi: u8, _: u64) {
        self.0.with(|state| state.events.push(Event::LineOpened(gsi)));
    }
    fn close_line(&self, _: &Partition<Self>, gsi: u8) {
        self.0.with(|state| state.events.push(Event::LineClosed(gsi)));
    }
    fn lines_in_service(&self, _: &Partition<Self>) -> u32 {
        0
    }
    fn end_line(&self, _: &Partition<Self>, _: u8) {}
}

/// A guest of two processors with an NVMe drive, and a network function that has an
/// interrupt line; nothing is given yet.
pub fn guest() -> (Machine, Partition<Around>) {
    let mut network = FakeFunction::e1000e();
    network.power_state = access::fake_pci::ResetBehaviour::Works { silent_reads: 2 };
    let mut drive = FakeFunction::nvme().with_access_control(0x150, 0x5f);
    drive.put(0x156, 2, 0x1f);
    let machine = Machine(Arc::new(Mutex::new(State {
        config: FakeConfigSpace::with([(NVME.0, drive), (E1000E.0, network)]),
        events: Vec::new(),
        attached: BTreeSet::new(),
        interrupts: BTreeSet::new(),
        mapped: BTreeMap::new(),
        log: Vec::new(),
        iommu_fails_at: None,
        vanishes_at: None,
        vanishing: NVME.0,
        now: 0,
        stopped_while_waiting: false,
    })));
    let line = Line { io_apic: IO_APIC, index: 16, gsi: 18 };
    let mut bus = GuestBus::new(Windows::STANDARD, 8);
    let mut assignments = Vec::new();
    for ((bdf, slot), line) in [(NVME, None), (E1000E, Some(line))] {
        let grant = Grant { interrupt_line: line.map(|line| line.gsi), ..Grant::default() };
        let open = |_, bytes| Some(FakeWindow::new(bytes as usize));
        let function = PassedThrough::discover(machine.clone(), bdf, &grant, open).unwrap();
        let reset = ResetPath::discover(&machine, bdf).unwrap();
        bus.insert(slot, BusFunction::PassedThrough(function)).unwrap();
        assignments.push(Assignment::new(slot, Requester::new(0, bdf), Box::new([]), reset, None, line));
    }
    let layout = BarLayout::new(0x1000, 1);
    let identity = Identity { vendor: 0x1b36, device: 0x10, class: 0x01_0802, revision: 0 };
    let description =
        Description { identity, messages: 1, layout, vendor_specific: &[&[0; 5]], device_registers: 4 };
    bus.insert_port(PORT).unwrap();
    for (slot, endpoint, memory) in [(EMULATED, 0, None), (BEHIND, 1, None), (SHARED, 4, Some(SHARED_MEMORY))]
    {
        let function = match memory {
            Some(memory) => EmulatedFunction::with_memory(&description, memory),
            None => EmulatedFunction::new(&description),
        };
        bus.insert(slot, BusFunction::Emulated { function, endpoint }).unwrap();
    }
    for (slot, endpoint, description) in [(IDE, 2, IDE_FUNCTION), (CONVENTIONAL, 3, CONVENTIONAL_FUNCTION)] {
        let function = EmulatedFunction::conventional(&description);
        bus.insert(slot, BusFunction::Emulated { function, endpoint }).unwrap();
    }
    bus.place_bars().unwrap();
    machine.take_events();
    let iommu: &'static TicketMutex<Recorder> =
        Box::leak(Box::new(TicketMutex::new(Recorder(machine.clone()))));
    let bus = Bus::new(Parts {
        bus,
        assignments,
        config: machine.clone(),
        clock: machine.clone(),
        iommu,
        domain: Some(DomainId(0)),
        nested: Box::new(machine.clone()),
        apic_ids: Box::new(PROCESSORS),
    });
    let mut partition = partition(&machine, bus);
    let endpoint = || {
        Endpoint::new(
            Box::new(Bell(0)),
            Backend::Medium(Box::new(ImageMedium(&[]))),
            1,
            layout.table,
            layout.pending,
        )
    };
    let ide = ide_endpoint([Some(14), Some(15)]);
    let conventional = ide_endpoint([Some(LINE_GSI), None]);
    partition.endpoints = Box::new([endpoint(), endpoint(), ide, conventional, endpoint()].map(Watched::new));
    (machine, partition)
}

fn partition(machine: &Machine, bus: Bus) -> Partition<Around> {
    let config = ChipsetConfig {
        tsc_hz: 1_000_000_000,
        epoch_seconds: 0,
        start: 0,
        ioapic_id: 2,
        low_memory_bytes: 1 << 20,
        high_memory_bytes: 0,
    };
    let cpuid = |leaf: u32, _: u32| if leaf == 0 { [0xd, 0, 0, 0] } else { [0; 4] };
    let partition = Partition::new(
        0,
        "test".to_string(),
        Around(machine.clone()),
        VecMemory::new(1 << 16),
        GuestLayout::new(64 << 20, 2).unwrap(),
        CpuidPolicy::new(&cpuid, GuestCpuidConfig { vcpus: 2, tsc_khz: 1_000_000, modelled_timer: true }),
        config.tsc_hz,
        0,
        2,
        Chipset::new(config),
        bus,
    );
    for (id, mailbox) in (0_u64..).zip(&partition.mailboxes) {
        // In xAPIC mode, switched on.
        mailbox.set_address(id | 1 << 41 | 1 << 43);
    }
    partition
}
