//! A drive whose driver is in a compartment, on an emulated device, and the compartment of any driver.

use access::fake_dma::{FakeBuffer, FakeDma, FakeDomain};
use access::{DmaBuffer, DmaMemory, RegisterWindow};
use block::{Drive, State};
use compartment::{Compartment, Ended};
use devices::Device;
use devices::nvme::{BlockSize, Config, Nvme};
use devices::testing::{Bench, VecMedium};
use devices::virtio::Transport;
use devices::virtio::block::{Block, Config as VirtioConfig};
use devices::virtio::transport::{CAPABILITIES, WINDOW_BYTES};
use driver_compartment::{
    Description, DriveSizes, Driver, Function, RemoteDrive, Renewal, Room, Server, serve_first,
};
use spec::Width;
use std::cell::RefCell;
use std::rc::Rc;
use virtio::testing::{Registers as VirtioRegisters, Space, Wire};

pub const SECOND: u64 = 1_000_000_000;
pub const SIZES: DriveSizes = DriveSizes { requests: 6, request_bytes: 32 << 10 };
pub const BLOCKS: u64 = MEDIUM as u64 / 512;
const MEDIUM: usize = 256 << 10;
const MESSAGES: u16 = 2;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Nvme,
    Virtio,
}

/// Memory of which each driver that is made anew takes some.
#[derive(Clone)]
pub struct Memory(pub Rc<RefCell<FakeDma>>);

impl DmaMemory for Memory {
    type Buffer = FakeBuffer;
    fn allocate(&mut self, bytes: usize, alignment: usize) -> Option<FakeBuffer> {
        self.0.borrow_mut().allocate(bytes, alignment)
    }
    fn write_barrier(&self) {
        self.0.borrow().write_barrier();
    }
    fn read_barrier(&self) {
        self.0.borrow().read_barrier();
    }
    fn full_barrier(&self) {
        self.0.borrow().full_barrier();
    }
}

/// A device behind its registers.
pub struct Line<D>(pub Rc<RefCell<Bench<D, Rc<FakeDomain>>>>);

impl<D> Clone for Line<D> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<D: Device> Wire for Line<D> {
    fn read(&self, offset: u64, width: Width) -> u64 {
        self.0.borrow_mut().read(offset, width)
    }
    fn write(&self, offset: u64, width: Width, value: u64) {
        self.0.borrow_mut().write(offset, width, value);
    }
}

impl<D: Device> RegisterWindow for Line<D> {
    fn read32(&self, offset: usize) -> u32 {
        self.read(offset as u64, Width::Dword) as u32
    }
    fn write32(&self, offset: usize, value: u32) {
        self.write(offset as u64, Width::Dword, value.into());
    }
    fn read64(&self, offset: usize) -> u64 {
        self.read(offset as u64, Width::Qword)
    }
    fn write64(&self, offset: usize, value: u64) {
        self.write(offset as u64, Width::Qword, value);
    }
    fn read8(&self, offset: usize) -> u8 {
        self.read(offset as u64, Width::Byte) as u8
    }
    fn write8(&self, offset: usize, value: u8) {
        self.write(offset as u64, Width::Byte, value.into());
    }
    fn read16(&self, offset: usize) -> u16 {
        self.read(offset as u64, Width::Word) as u16
    }
    fn write16(&self, offset: usize, value: u16) {
        self.write(offset as u64, Width::Word, value.into());
    }
}

/// Makes a driver.
pub type Make = Box<dyn FnMut(&Description) -> Result<Server, String>>;

/// What runs in a compartment, and makes that anew. It stays on this thread, and is known by its number.
struct Program {
    server: Server,
    make: Make,
    description: Description,
}

thread_local! {
    static PROGRAMS: RefCell<Vec<Program>> = const { RefCell::new(Vec::new()) };
}

pub struct InProcess {
    program: usize,
    area: Vec<u64>,
    /// It dies at its next entry.
    pub dies: bool,
    /// Its next entry is the first.
    pub is_new: bool,
}

impl InProcess {
    /// One for which this was made, with so many words.
    pub fn new(mut make: Make, description: Description, words: usize) -> Self {
        let server = make(&description).unwrap();
        let program = PROGRAMS.with(|programs| {
            programs.borrow_mut().push(Program { server, make, description });
            programs.borrow().len() - 1
        });
        Self { program, area: vec![0; words], dies: false, is_new: false }
    }

    fn with<R>(&self, apply: impl FnOnce(&mut Program) -> R) -> R {
        PROGRAMS.with(|programs| apply(&mut programs.borrow_mut()[self.program]))
    }
}

impl Compartment for InProcess {
    fn area(&mut self) -> &mut [u64] {
        &mut self.area
    }
    fn enter(&mut self) -> Result<(), Ended> {
        if core::mem::take(&mut self.dies) {
            return Err(Ended::Late);
        }
        let mut area = core::mem::take(&mut self.area);
        let is_first = compartment::Kind::of(&area) == Some(compartment::Kind::Driver);
        assert_eq!(is_first, core::mem::take(&mut self.is_new));
        self.with(|program| {
            if !is_first {
                program.server.serve(0, &mut area);
            } else if let Some(server) = serve_first(&mut area, &mut program.make) {
                program.server = server;
            }
        });
        self.area = area;
        Ok(())
    }
}

impl Function for InProcess {
    fn begin_renewal(&mut self, _: u64) {}
    fn renewal(&mut self, _: u64) -> Renewal {
        // The device is reset by its new driver alone, as where PCI offers no reset.
        self.with(|program| program.server = (program.make)(&program.description).unwrap());
        Renewal::Done { keeps_cache: true }
    }
}

pub struct World {
    pub drive: RemoteDrive<InProcess, FakeBuffer>,
    pub description: Description,
    pub domain: Rc<FakeDomain>,
    pub now_ns: u64,
    messages: Box<dyn Fn() -> Vec<u16>>,
    medium: Box<dyn Fn() -> Vec<u8>>,
}

impl World {
    pub fn new(kind: Kind, restarts: u16) -> Self {
        let (dma, domain) = FakeDma::new(1 << 30);
        let memory = Memory(Rc::new(RefCell::new(dma)));
        let data = memory.clone().allocate(SIZES.data_bytes(), 4096).unwrap();
        match kind {
            Kind::Nvme => {
                let device = Nvme::new(Config {
                    blocks: BLOCKS,
                    block: BlockSize::Bytes512,
                    writable: true,
                    messages: MESSAGES,
                    serial: *b"emulated 1          ",
                    uuid: [7; 16],
                    vendor: 0x1b36,
                    subsystem_vendor: 0x1af4,
                    is_polled: false,
                });
                Self::of(device, Driver::Nvme, data, memory, domain, restarts, |line| line)
            }
            Kind::Virtio => {
                let config = VirtioConfig {
                    sectors: BLOCKS,
                    block_bytes: 512,
                    segment_bytes: 1 << 20,
                    writable: true,
                    can_discard: true,
                    can_write_zeroes: true,
                    most_discarded: 64,
                    queues: 1,
                    name: *b"emulated 1\0\0\0\0\0\0\0\0\0\0",
                };
                let device = Transport::new(Block::new(config), MESSAGES, false);
                let layout = Space::new(CAPABILITIES).layout(WINDOW_BYTES).unwrap();
                let driver = Driver::VirtioBlock(layout);
                Self::of(device, driver, data, memory, domain, restarts, VirtioRegisters::new)
            }
        }
    }

    fn of<D: Device + 'static, R: RegisterWindow + 'static>(
        device: D,
        driver: Driver,
        data: FakeBuffer,
        memory: Memory,
        domain: Rc<FakeDomain>,
        restarts: u16,
        registers: impl Fn(Line<D>) -> R + 'static,
    ) -> Self {
        let bytes = (0..MEDIUM).map(|byte| (byte / 512 + byte % 251) as u8).collect();
        let medium = VecMedium { bytes, ..VecMedium::new(0) };
        let line = Line(Rc::new(RefCell::new(Bench::new(device, Rc::clone(&domain), medium))));
        let room = Room::Requests(SIZES);
        let own = data.iova() + 0x100_0000;
        let mut description = Description {
            driver,
            messages: MESSAGES,
            registers_bytes: 0x4000,
            own,
            own_bytes: 0,
            room,
            data: data.iova(),
        };
        description.own_bytes = description.own_bytes_needed().unwrap() as u64;
        let (wire, of_messages, of_medium) = (line.clone(), line.clone(), line);
        let make: Make =
            Box::new(move |description| description.build(registers(wire.clone()), memory.clone()));
        let compartment = InProcess::new(make, description, SIZES.words());
        Self {
            drive: RemoteDrive::new(compartment, SIZES, data, restarts).unwrap(),
            description,
            domain,
            now_ns: SECOND,
            messages: Box::new(move || std::mem::take(&mut of_messages.0.borrow_mut().messages)),
            medium: Box::new(move || of_medium.0.borrow().medium.bytes.clone()),
        }
    }

    pub fn medium(&self) -> Vec<u8> {
        (self.medium)()
    }

    pub fn start(&mut self) {
        self.drive.start(self.now_ns);
        self.pass();
    }

    /// Until the drive is not being brought up, nothing has a message, and what is in flight is over.
    pub fn pass(&mut self) {
        for turn in 0.. {
            assert!(turn < 1000, "it goes on and on");
            let messages = (self.messages)();
            for message in &messages {
                self.drive.interrupt(*message, self.now_ns);
            }
            let status = self.drive.poll(self.now_ns);
            let waits = status.state == State::Starting;
            if waits {
                self.now_ns = status.deadline_ns.unwrap_or(self.now_ns).max(self.now_ns);
            }
            let is_due = status.deadline_ns.is_some_and(|at_ns| at_ns <= self.now_ns);
            if !waits && messages.is_empty() && !is_due {
                return;
            }
        }
    }
}
