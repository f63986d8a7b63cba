//! An HBA with the least that the driver needs, and drives behind it, which tests bend: every field
//! is what it does next. A drive works when a command is issued, or later when it is told to.

use access::fake_dma::FakeDomain;
use access::{GuestMemory, RegisterWindow};
use spec::Gpa;
use spec::ahci::fis::Registers;
use spec::ahci::port::{self, cmd, interrupt, signature};
use spec::ahci::{self as hba, bohc, cap, cap2, ghc, header, table};
use spec::ata::{command, identify, status, trim};
use std::cell::{RefCell, RefMut};
use std::rc::Rc;

/// Blocks of the fake's drives.
pub const BLOCKS: u64 = 1024;

const READY: u32 = status::READY as u32;
const BUSY: u32 = status::BUSY as u32;

/// Says what is wrong with a command: its status and error.
pub type Judge = Box<dyn FnMut(&Registers) -> Option<u16>>;

/// A command that the drive has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Issued {
    pub slot: u32,
    pub registers: Registers,
    pub table: u64,
    regions: u16,
}

impl Issued {
    pub fn is_queued(&self) -> bool {
        matches!(self.registers.command, command::READ_FPDMA_QUEUED | command::WRITE_FPDMA_QUEUED)
    }

    pub fn blocks(&self) -> u64 {
        let count = if self.is_queued() { self.registers.features } else { self.registers.count };
        if count == 0 { 65536 } else { count.into() }
    }
}

/// A port and its drive.
pub struct FakePort {
    pub registers: [u32; 32],
    /// What it is, where something is there.
    pub signature: Option<u32>,
    /// How many looks at the status it is busy after a reset of the link.
    pub spin_looks: u32,
    /// DET of a link that does not come up.
    pub bad_link: Option<u32>,
    /// CR stays set.
    pub is_stuck: bool,
    pub identify: Vec<u8>,
    pub medium: Vec<u8>,
    /// Commands are only noted, until [`Fake::work`].
    pub holds: bool,
    pub judge: Option<Judge>,
    /// It has the command done that failed, as some HBAs do.
    pub clears_failed: bool,
    /// It knows no log.
    pub has_no_log: bool,
    /// What a failed queued command left: the first bytes of the log.
    pub log: Option<[u8; 4]>,
    /// Commands that it has, and every command that it was given.
    pub pending: Vec<Issued>,
    pub commands: Vec<Issued>,
    /// What was written to ACTIVE and ISSUE.
    pub doorbells: Vec<(usize, u32)>,
    pub link_resets: usize,
    /// Ranges that were trimmed.
    pub trimmed: Vec<(u64, u64)>,
    /// Its registers are changed behind its back, so the driver may be wrong about them.
    pub lies: bool,
    has_failed: bool,
}

pub struct Bent {
    pub capabilities: u32,
    pub capabilities_2: u32,
    pub control: u32,
    pub interrupts: u32,
    pub implemented: u32,
    pub handoff: u32,
    /// How many looks the firmware needs to give the HBA up; never where it is `None`.
    pub handoff_looks: Option<u32>,
    pub reset_hangs: bool,
    /// A reset ends at once and changes nothing.
    pub reset_does_nothing: bool,
    /// This port is at work again after a reset.
    pub works_after_reset: Option<usize>,
    /// IE cannot be set.
    pub never_interrupts: bool,
    pub is_gone: bool,
    pub ports: Vec<FakePort>,
    /// Messages that it sent and nobody took.
    pub messages: usize,
    pub writes: usize,
    pub reads: usize,
}

/// A handle on it; clones are the same HBA.
#[derive(Clone)]
pub struct Fake {
    pub domain: Rc<FakeDomain>,
    state: Rc<RefCell<Bent>>,
}

impl FakePort {
    fn new() -> Self {
        let mut port = Self {
            registers: [0; 32],
            signature: Some(signature::ATA),
            spin_looks: 0,
            bad_link: None,
            is_stuck: false,
            identify: vec![0; identify::BYTES],
            medium: (0..BLOCKS as usize * 512).map(|byte| (byte / 512 + byte % 251) as u8).collect(),
            holds: false,
            judge: None,
            clears_failed: false,
            has_no_log: false,
            log: None,
            pending: Vec::new(),
            commands: Vec::new(),
            doorbells: Vec::new(),
            link_resets: 0,
            trimmed: Vec::new(),
            lies: false,
            has_failed: false,
        };
        port.set_text(identify::SERIAL, b"S1                  ");
        port.set_text(identify::FIRMWARE, b"1.0     ");
        port.set_text(identify::MODEL, b"Fake\x07 drive                             ");
        port.set_word(identify::CAPABILITIES, identify::DMA | identify::LBA);
        port.set_word(identify::SATA_CAPABILITIES, identify::NATIVE_QUEUING);
        port.set_word(identify::QUEUE_DEPTH, 31);
        let sets = identify::VALID | identify::LBA48 | identify::FLUSH | identify::FLUSH_EXT;
        port.set_word(identify::COMMAND_SETS, sets);
        port.set_word(identify::COMMAND_SETS_ENABLED, identify::WRITE_CACHE);
        port.set_blocks(BLOCKS);
        port
    }

    pub fn word(&self, number: usize) -> u16 {
        u16::from_le_bytes([self.identify[2 * number], self.identify[2 * number + 1]])
    }

    pub fn set_word(&mut self, number: usize, word: u16) {
        self.identify[2 * number..][..2].copy_from_slice(&word.to_le_bytes());
    }

    pub fn set_text(&mut self, number: usize, text: &[u8]) {
        for (place, pair) in text.chunks_exact(2).enumerate() {
            self.set_word(number + place, u16::from_be_bytes([pair[0], pair[1]]));
        }
    }

    pub fn set_blocks(&mut self, blocks: u64) {
        self.identify[2 * identify::BLOCKS..][..8].copy_from_slice(&blocks.to_le_bytes());
    }

    pub fn set_block_bytes(&mut self, bytes: u32) {
        self.set_word(identify::BLOCK_SIZES, identify::VALID | identify::LARGE_BLOCKS);
        let words = (bytes / 2).to_le_bytes();
        self.identify[2 * identify::BLOCK_WORDS..][..4].copy_from_slice(&words);
    }

    /// Has no queue.
    pub fn set_simple(&mut self) {
        self.set_word(identify::SATA_CAPABILITIES, 2);
    }

    pub fn register(&mut self, register: usize) -> &mut u32 {
        &mut self.registers[register / 4]
    }

    fn is_started(&mut self) -> bool {
        *self.register(port::COMMAND) & cmd::START != 0
    }

    /// The address that two registers say.
    fn address(&self, register: usize) -> u64 {
        u64::from(self.registers[register / 4]) | u64::from(self.registers[register / 4 + 1]) << 32
    }

    /// The link is lost, as when somebody pulls the cable.
    pub fn unplug(&mut self) {
        self.signature = None;
        *self.register(port::LINK_STATUS) = 0;
        *self.register(port::INTERRUPT_STATUS) |= interrupt::LINK_CHANGE | interrupt::CONNECT_CHANGE;
    }

    fn link_up(&mut self) {
        let (detection, signature) = match (self.bad_link, self.signature) {
            (Some(detection), _) => (detection, None),
            (None, None) => (0, None),
            (None, signature) => (3, signature),
        };
        *self.register(port::LINK_STATUS) = detection;
        *self.register(port::TASK_FILE) = 0x7f;
        if let Some(signature) = signature {
            *self.register(port::LINK_ERROR) |= 1 << 26 | 1 << 16;
            *self.register(port::INTERRUPT_STATUS) |= interrupt::LINK_CHANGE | interrupt::CONNECT_CHANGE;
            *self.register(port::SIGNATURE) = signature;
            *self.register(port::TASK_FILE) = if self.spin_looks == 0 { READY | 1 << 8 } else { BUSY };
        }
    }

    fn read(&mut self, register: usize) -> u32 {
        if register == port::TASK_FILE && self.spin_looks > 0 {
            self.spin_looks -= 1;
            if self.spin_looks == 0 {
                *self.register(port::TASK_FILE) = READY | 1 << 8;
            }
        }
        *self.register(register)
    }

    fn write_command(&mut self, value: u32) {
        let mut is_at_work = value & cmd::START != 0;
        if is_at_work && !self.lies {
            let task_file = *self.register(port::TASK_FILE);
            assert_eq!(task_file & 0x88, 0, "started with a drive that is busy");
            assert!(value & cmd::RECEIVE_ENABLE != 0, "started without memory for received FISes");
        } else if !is_at_work && self.is_started() {
            self.pending.clear();
            *self.register(port::ISSUE) = 0;
            *self.register(port::ACTIVE) = 0;
            self.has_failed = false;
        }
        is_at_work |= self.is_stuck;
        let running = if is_at_work { cmd::RUNNING } else { 0 };
        let receiving = if value & cmd::RECEIVE_ENABLE != 0 { cmd::RECEIVING } else { 0 };
        *self.register(port::COMMAND) = value & !(cmd::RUNNING | cmd::RECEIVING) | running | receiving;
    }
}

impl Fake {
    pub fn new(domain: Rc<FakeDomain>, ports: usize) -> Self {
        let state = Bent {
            capabilities: cap::ADDRESSES_64 | cap::NATIVE_QUEUING | 31 << 8,
            capabilities_2: 0,
            control: ghc::AHCI_ENABLE,
            interrupts: 0,
            implemented: (1 << ports) - 1,
            handoff: 0,
            handoff_looks: None,
            reset_hangs: false,
            reset_does_nothing: false,
            works_after_reset: None,
            never_interrupts: false,
            is_gone: false,
            ports: (0..ports).map(|_| FakePort::new()).collect(),
            messages: 0,
            writes: 0,
            reads: 0,
        };
        Self { domain, state: Rc::new(RefCell::new(state)) }
    }

    pub fn state(&self) -> RefMut<'_, Bent> {
        self.state.borrow_mut()
    }

    /// The first port.
    pub fn port(&self) -> RefMut<'_, FakePort> {
        self.port_at(0)
    }

    pub fn port_at(&self, number: usize) -> RefMut<'_, FakePort> {
        RefMut::map(self.state(), |state| &mut state.ports[number])
    }

    /// The first port's drive carries out all that it has.
    pub fn work(&self) {
        while self.complete(0, 0) {}
    }

    /// The drive of a port carries out the command at `place` of those that it has.
    pub fn complete(&self, number: usize, place: usize) -> bool {
        let mut port = self.port_at(number);
        if port.has_failed || place >= port.pending.len() {
            return false;
        }
        let issued = port.pending.remove(place);
        let mut judge = port.judge.take();
        let fault = judge.as_mut().and_then(|judge| judge(&issued.registers));
        port.judge = judge;
        let fault = fault.or_else(|| self.carry_out(&mut port, &issued));
        let bit = 1 << issued.slot;
        if let Some(fault) = fault {
            port.has_failed = true;
            *port.register(port::TASK_FILE) = fault.into();
            *port.register(port::INTERRUPT_STATUS) |= interrupt::TASK_FILE_ERROR;
            if issued.is_queued() {
                let [status, error] = fault.to_le_bytes();
                port.log = Some([issued.slot as u8, 0, status, error]);
            } else if port.clears_failed {
                *port.register(port::ISSUE) &= !bit;
            }
        } else {
            *port.register(port::TASK_FILE) = READY;
            *port.register(port::ISSUE) &= !bit;
            *port.register(port::ACTIVE) &= !bit;
            let cause = if issued.is_queued() { interrupt::DEVICE_BITS } else { interrupt::REGISTERS };
            *port.register(port::INTERRUPT_STATUS) |= cause;
        }
        drop(port);
        self.signal(number);
        true
    }

    /// Sends the message if a port has a cause for it.
    pub fn signal(&self, number: usize) {
        let mut state = self.state();
        let port = &mut state.ports[number];
        let causes = *port.register(port::INTERRUPT_STATUS) & *port.register(port::INTERRUPT_ENABLE);
        if causes != 0 {
            state.interrupts |= 1 << number;
            state.messages += usize::from(state.control & ghc::INTERRUPT_ENABLE != 0);
        }
    }

    fn fetch(&self, port: &FakePort, slot: u32) -> Issued {
        let list = port.address(port::COMMAND_LIST);
        let head = list + u64::from(slot) * header::BYTES as u64;
        let regions = header::regions(self.domain.read32(Gpa(head)).expect("the list is mapped"));
        let table = self.domain.read64(Gpa(head + 8)).expect("the list is mapped");
        assert!(table.is_multiple_of(128));
        let mut frame = [0; 20];
        self.domain.read(Gpa(table), &mut frame).expect("the table is mapped");
        let registers = Registers::decode(&frame).expect("it is a command");
        Issued { slot, registers, table, regions }
    }

    /// Carries a command out; what is wrong with it.
    fn carry_out(&self, port: &mut FakePort, issued: &Issued) -> Option<u16> {
        const ABORTED: u16 = 0x0441;
        let Issued { registers, .. } = *issued;
        match registers.command {
            command::IDENTIFY_DEVICE => self.give(issued, &port.identify),
            command::READ_LOG_EXT if port.has_no_log => return Some(ABORTED),
            command::READ_LOG_EXT => {
                assert_eq!((registers.lba, registers.count), (0x10, 1));
                let mut log = vec![0; 512];
                log[..4].copy_from_slice(&port.log.take().unwrap_or([0x80, 0, 0, 0]));
                self.give(issued, &log);
            }
            _ if port.log.is_some() => return Some(ABORTED),
            command::FLUSH_CACHE | command::FLUSH_CACHE_EXT => {}
            command::DATA_SET_MANAGEMENT => {
                assert_eq!((registers.features, registers.count), (trim::TRIM, 1));
                let (address, bytes) = self.region(issued);
                assert_eq!(bytes, trim::BYTES);
                for place in (address..address + trim::BYTES as u64).step_by(8) {
                    let range = self.domain.read64(Gpa(place)).expect("the list is mapped");
                    if range >> 48 != 0 {
                        port.trimmed.push((range & 0xffff_ffff_ffff, range >> 48));
                    }
                }
            }
            command::READ_DMA_EXT
            | command::WRITE_DMA_EXT
            | command::READ_FPDMA_QUEUED
            | command::WRITE_FPDMA_QUEUED => {
                let bytes = block_bytes(port);
                let start = registers.lba as usize * bytes;
                let range = start..start + issued.blocks() as usize * bytes;
                assert_eq!(registers.device, 0x40);
                if matches!(registers.command, command::READ_DMA_EXT | command::READ_FPDMA_QUEUED) {
                    self.give(issued, &port.medium[range]);
                } else {
                    let (address, length) = self.region(issued);
                    assert_eq!(length, range.len());
                    self.domain.read(Gpa(address), &mut port.medium[range]).expect("data is mapped");
                }
            }
            _ => return Some(ABORTED),
        }
        None
    }

    fn region(&self, issued: &Issued) -> (u64, usize) {
        assert_eq!(issued.regions, 1);
        let place = issued.table + table::REGIONS as u64;
        let address = self.domain.read64(Gpa(place)).expect("the table is mapped");
        let bytes = table::region_bytes(self.domain.read32(Gpa(place + 12)).expect("it is mapped"));
        (address, bytes as usize)
    }

    fn give(&self, issued: &Issued, data: &[u8]) {
        let (address, bytes) = self.region(issued);
        assert_eq!(bytes, data.len());
        self.domain.write(Gpa(address), data).expect("the data is mapped");
    }

    fn write_port(&self, number: usize, register: usize, value: u32) {
        let mut port = self.port_at(number);
        match register {
            port::COMMAND => port.write_command(value),
            port::INTERRUPT_STATUS => *port.register(register) &= !value,
            port::LINK_ERROR => {
                *port.register(register) &= !value;
                *port.register(port::INTERRUPT_STATUS) &= !(1 << 22 | 1 << 6);
            }
            port::LINK_CONTROL => {
                let was_reset = *port.register(register) & 0xf == 1;
                *port.register(register) = value;
                if value & 0xf == 1 {
                    assert!(
                        port.lies || !port.is_started(),
                        "the link is reset while commands are worked on"
                    );
                    *port.register(port::TASK_FILE) = BUSY;
                    *port.register(port::LINK_STATUS) = 0;
                    port.link_resets += 1;
                    port.log = None;
                } else if was_reset {
                    port.link_up();
                }
            }
            port::ACTIVE => {
                port.doorbells.push((register, value));
                *port.register(register) |= value;
            }
            port::ISSUE => {
                assert!(port.lies || port.is_started(), "issued to a port that is stopped");
                assert!(self.domain.is_published(), "a command that is not published");
                port.doorbells.push((register, value));
                *port.register(register) |= value;
                for slot in (0..32).filter(|slot| value >> slot & 1 != 0) {
                    let issued = self.fetch(&port, slot);
                    port.pending.push(issued);
                    port.commands.push(issued);
                    if port.lies {
                        continue;
                    }
                    let is_active = *port.register(port::ACTIVE) >> slot & 1 != 0;
                    assert_eq!(issued.is_queued(), is_active, "{issued:?}");
                    assert!(issued.is_queued() || port.pending.len() == 1, "beside others: {issued:?}");
                    let others = port.pending.iter().rev().skip(1);
                    assert!({ others }.all(|other| other.is_queued() && other.slot != slot));
                }
                let holds = port.holds;
                drop(port);
                while !holds && self.complete(number, 0) {}
            }
            port::TASK_FILE | port::SIGNATURE | port::LINK_STATUS => panic!("a write to {register:#x}"),
            _ => *port.register(register) = value,
        }
    }
}

pub fn block_bytes(port: &FakePort) -> usize {
    match port.word(identify::BLOCK_SIZES) {
        0 => 512,
        _ => 2 * usize::from(port.word(identify::BLOCK_WORDS)),
    }
}

impl RegisterWindow for Fake {
    fn read32(&self, offset: usize) -> u32 {
        let mut state = self.state();
        state.reads += 1;
        if state.is_gone {
            return u32::MAX;
        }
        match offset {
            hba::CAPABILITIES => state.capabilities,
            hba::CONTROL => state.control,
            hba::INTERRUPT_STATUS => state.interrupts,
            hba::PORTS_IMPLEMENTED => state.implemented,
            hba::CAPABILITIES_2 => state.capabilities_2,
            hba::HANDOFF => {
                assert!(state.capabilities_2 & cap2::HANDOFF != 0);
                if let Some(looks) = &mut state.handoff_looks {
                    *looks = looks.saturating_sub(1);
                    if *looks == 0 {
                        state.handoff &= !bohc::FIRMWARE_OWNED;
                    }
                }
                state.handoff
            }
            0x100.. => state.ports[(offset - 0x100) / 0x80].read(offset & 0x7f),
            _ => panic!("a read of {offset:#x}"),
        }
    }

    fn write32(&self, offset: usize, value: u32) {
        let mut state = self.state();
        assert!(!state.is_gone, "a write of {value:#x} to {offset:#x} of what is gone");
        state.writes += 1;
        match offset {
            hba::CONTROL => {
                let is_reset = value & ghc::RESET != 0 && !state.reset_does_nothing;
                state.control = if is_reset && !state.reset_hangs { 0 } else { value };
                if state.reset_does_nothing {
                    state.control &= !ghc::RESET;
                }
                if state.never_interrupts {
                    state.control &= !ghc::INTERRUPT_ENABLE;
                }
                if is_reset {
                    for port in &mut state.ports {
                        (port.registers, port.has_failed) = ([0; 32], false);
                        port.pending.clear();
                    }
                    if let Some(number) = state.works_after_reset {
                        *state.ports[number].register(port::COMMAND) = cmd::RECEIVE_ENABLE;
                    }
                }
            }
            hba::INTERRUPT_STATUS => state.interrupts &= !value,
            hba::HANDOFF => state.handoff |= value,
            0x100.. => {
                drop(state);
                self.write_port((offset - 0x100) / 0x80, offset & 0x7f, value);
            }
            _ => panic!("a write of {value:#x} to {offset:#x}"),
        }
    }

    fn read64(&self, offset: usize) -> u64 {
        panic!("8 bytes are read at {offset:#x}")
    }
    fn write64(&self, offset: usize, _: u64) {
        panic!("8 bytes are written at {offset:#x}")
    }
    fn read8(&self, offset: usize) -> u8 {
        panic!("a byte is read at {offset:#x}")
    }
    fn write8(&self, offset: usize, _: u8) {
        panic!("a byte is written at {offset:#x}")
    }
    fn read16(&self, offset: usize) -> u16 {
        panic!("a word is read at {offset:#x}")
    }
    fn write16(&self, offset: usize, _: u16) {
        panic!("a word is written at {offset:#x}")
    }
}
