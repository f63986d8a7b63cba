//! The host bus adapter: its hand-off, its reset, and its ports.

use crate::command::Memory;
use crate::error::Error;
use crate::flights::bits;
use crate::port::Port;
use crate::registers::{PortRegisters, Shared};
use access::{DeviceAccess, DmaMemory, RegisterWindow};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::{Drive, Requests};
use spec::address::PAGE_BYTES;
use spec::ahci::port::cmd;
use spec::ahci::{self, bohc, cap, cap2, ghc, port};

const MILLISECOND_NS: u64 = 1_000_000;
/// How long the firmware may take to give the HBA up, and how long where it says that it is about
/// to finish what it began (section 10.6.3). The HBA is taken from it then.
const HANDOFF_NS: u64 = 25 * MILLISECOND_NS;
const HANDOFF_BUSY_NS: u64 = 2_000 * MILLISECOND_NS;
/// How long a reset may take (section 10.4.3).
const RESET_NS: u64 = 1_000 * MILLISECOND_NS;
/// How often is looked at either.
const LOOK_NS: u64 = 5 * MILLISECOND_NS;

/// How much of what is allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// The ports to be used, a bit for each: of those that there are, each gets its memory.
    pub ports: u32,
    /// Requests of a port that can be reserved, in flight, or over and not released, at a time; 1
    /// to 256.
    pub requests: u16,
    /// The largest request, in bytes: a multiple of 4096.
    pub request_bytes: usize,
}

impl Sizes {
    /// Bytes of memory for devices that a driver of these sizes takes for each of its ports.
    pub const fn port_bytes(self) -> usize {
        let data = (self.requests as usize).saturating_mul(self.request_bytes);
        data.saturating_add(Memory::<()>::PAGES * PAGE_BYTES as usize)
    }

    const fn check(self) -> Result<(), Error> {
        let are_right = matches!(self.requests, 1..=256)
            && self.request_bytes != 0
            && self.request_bytes.is_multiple_of(PAGE_BYTES as usize);
        if are_right { Ok(()) } else { Err(Error::Sizes) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Off,
    HandingOff { since_ns: u64 },
    Resetting { until_ns: u64 },
    Up,
    Failed(Error),
}

/// An AHCI host bus adapter and the ports that it was made for. Whoever uses a drive has it from
/// [`drive`](Self::drive), and calls it as if it was alone; the HBA's own methods take the message,
/// which all drives share, and start them.
pub struct Hba<R: RegisterWindow, D: DmaMemory> {
    shared: Arc<Shared<R, D>>,
    ports: Box<[Port<R, D>]>,
    stage: Stage,
    capabilities: u32,
    next_look_ns: u64,
}

impl<R: RegisterWindow, D: DmaMemory> Hba<R, D> {
    /// Allocates all that the driver needs. Nothing but PI, which says what ports there are, is
    /// read, and nothing is written, before [`start`](Self::start).
    ///
    /// # Errors
    /// [`Error::Sizes`], [`Error::NoMemory`], [`Error::NoMessages`], [`Error::NoPorts`] and
    /// [`Error::Removed`].
    pub fn new(access: DeviceAccess<R, D>, sizes: Sizes) -> Result<Self, Error> {
        let DeviceAccess { registers, mut dma, interrupt } = access;
        sizes.check()?;
        if interrupt.messages == 0 {
            return Err(Error::NoMessages);
        }
        let ports = match registers.read32(ahci::PORTS_IMPLEMENTED) {
            // This many have no HBA.
            u32::MAX => return Err(Error::Removed),
            ports => ports & sizes.ports,
        };
        if ports == 0 {
            return Err(Error::NoPorts);
        }
        let mut memories = Vec::new();
        for number in bits(ports) {
            let memory = Memory::new(&mut dma).ok_or(Error::NoMemory)?;
            let page = PAGE_BYTES as usize;
            let requests = Requests::new(&mut dma, sizes.requests, sizes.request_bytes, page);
            memories.push((number, memory, requests.ok_or(Error::NoMemory)?));
        }
        let shared = Arc::new(Shared { registers, dma });
        let ports = memories.into_iter().map(|(number, memory, requests)| {
            Port::new(PortRegisters::new(Arc::clone(&shared), number), memory, requests)
        });
        let ports = ports.collect();
        Ok(Self { shared, ports, stage: Stage::Off, capabilities: 0, next_look_ns: 0 })
    }

    /// Takes the HBA from the firmware, resets it, and starts all drives, one after the other
    /// where it asks for that. Requests that are in flight end with
    /// [`Fault::Drive`](block::Fault::Drive).
    pub fn start(&mut self, now_ns: u64) -> Option<u64> {
        self.ports.iter_mut().for_each(Port::wait);
        self.attempt(|hba| hba.begin(now_ns))
    }

    /// The same without the drives, each of which waits for [`Drive::start`] once the HBA [is
    /// up](Self::is_up). Until then the HBA neither reads memory nor writes it, so it may be kept from
    /// that, whatever it was doing before.
    pub fn reset(&mut self, now_ns: u64) -> Option<u64> {
        self.ports.iter_mut().for_each(Port::turn_off);
        self.attempt(|hba| hba.begin(now_ns))
    }

    /// Sees to what is due, at the HBA and at all drives. It may be called at any time, and has to
    /// be at the deadline, in nanoseconds of the clock whose time the calls are given, that this
    /// and the other calls return.
    pub fn poll(&mut self, now_ns: u64) -> Option<u64> {
        self.attempt(|hba| hba.look(now_ns));
        for port in &mut self.ports {
            port.poll(now_ns);
        }
        self.start_ports(now_ns);
        self.deadline()
    }

    /// The HBA's message came. One that nobody waits for is no harm.
    pub fn interrupt(&mut self, now_ns: u64) -> Option<u64> {
        self.attempt(|hba| {
            if hba.stage != Stage::Up {
                return Ok(());
            }
            let status = hba.read_there(ahci::INTERRUPT_STATUS)?;
            let mut others = status;
            for port in &mut hba.ports {
                let bit = 1 << (port.number() & 31);
                if status & bit != 0 {
                    port.interrupt(0, now_ns);
                    others &= !bit;
                }
            }
            if others != 0 {
                // Of ports that nobody uses.
                hba.write(ahci::INTERRUPT_STATUS, others);
            }
            Ok(())
        });
        self.start_ports(now_ns);
        self.deadline()
    }

    /// How many ports are used, empty ones included.
    pub fn drives(&self) -> usize {
        self.ports.len()
    }

    /// The drive of one of them, counted from 0 in the order of the ports' numbers.
    pub fn drive(&mut self, index: usize) -> Option<&mut Port<R, D>> {
        self.ports.get_mut(index)
    }

    /// Whether the HBA is reset and its drives are started, or are about to be.
    pub fn is_up(&self) -> bool {
        self.stage == Stage::Up
    }

    /// The drives apart, for whoever gives each to somebody else, once the HBA [is up](Self::is_up).
    /// The message is told to each of them then, since it may be of any. A drive that was not started
    /// yet waits for [`Drive::start`], and a reset of the HBA, which takes all of them, is no more.
    pub fn into_drives(self) -> Box<[Port<R, D>]> {
        self.ports
    }

    /// When to call [`poll`](Self::poll) at the latest. `None` while nothing is waited for.
    pub fn deadline(&self) -> Option<u64> {
        let own = match self.stage {
            Stage::Off | Stage::Up | Stage::Failed(_) => None,
            Stage::HandingOff { .. } | Stage::Resetting { .. } => Some(self.next_look_ns),
        };
        let drives = self.ports.iter().filter_map(|port| port.status().deadline_ns);
        drives.chain(own).min()
    }

    /// Why the HBA, and each drive with it, is of no use until it is started again. `None` while
    /// it is of use.
    pub const fn failure(&self) -> Option<Error> {
        match self.stage {
            Stage::Failed(error) => Some(error),
            _ => None,
        }
    }

    fn begin(&mut self, now_ns: u64) -> Result<(), Error> {
        self.stage = Stage::Off;
        if self.read_there(ahci::CAPABILITIES_2)? & cap2::HANDOFF == 0 {
            return self.begin_reset(now_ns);
        }
        let handoff = self.read_there(ahci::HANDOFF)?;
        self.write(ahci::HANDOFF, handoff | bohc::SYSTEM_OWNED);
        self.stage = Stage::HandingOff { since_ns: now_ns };
        self.look(now_ns)
    }

    /// Resets the HBA. What is set before and clear after it proves it: IE.
    fn begin_reset(&mut self, now_ns: u64) -> Result<(), Error> {
        let witness = ghc::AHCI_ENABLE | ghc::INTERRUPT_ENABLE;
        self.write(ahci::CONTROL, ghc::AHCI_ENABLE);
        self.write(ahci::CONTROL, witness);
        if self.read_there(ahci::CONTROL)? & ghc::INTERRUPT_ENABLE == 0 {
            return Err(Error::NoProof);
        }
        self.write(ahci::CONTROL, witness | ghc::RESET);
        self.stage = Stage::Resetting { until_ns: now_ns.saturating_add(RESET_NS) };
        self.look(now_ns)
    }

    /// Looks whether the firmware is done, or the reset.
    fn look(&mut self, now_ns: u64) -> Result<(), Error> {
        self.next_look_ns = now_ns.saturating_add(LOOK_NS);
        match self.stage {
            Stage::Off | Stage::Up | Stage::Failed(_) => Ok(()),
            Stage::HandingOff { since_ns } => {
                let handoff = self.read_there(ahci::HANDOFF)?;
                let is_busy = handoff & bohc::FIRMWARE_BUSY != 0;
                let time_ns = if is_busy { HANDOFF_BUSY_NS } else { HANDOFF_NS };
                let is_over = now_ns >= since_ns.saturating_add(time_ns);
                if handoff & bohc::FIRMWARE_OWNED == 0 || is_over { self.begin_reset(now_ns) } else { Ok(()) }
            }
            Stage::Resetting { until_ns } => {
                if self.read_there(ahci::CONTROL)? & ghc::RESET == 0 {
                    return self.go_up(now_ns);
                }
                if now_ns < until_ns { Ok(()) } else { Err(Error::HbaReset) }
            }
        }
    }

    fn go_up(&mut self, now_ns: u64) -> Result<(), Error> {
        if self.read_there(ahci::CONTROL)? & ghc::INTERRUPT_ENABLE != 0 {
            return Err(Error::NotReset);
        }
        self.write(ahci::CONTROL, ghc::AHCI_ENABLE);
        self.capabilities = self.read_there(ahci::CAPABILITIES)?;
        let there = self.read_there(ahci::PORTS_IMPLEMENTED)?;
        self.check_idle(there)?;
        if self.ports.iter().any(|port| there >> (port.number() & 31) & 1 == 0) {
            return Err(Error::HbaChanged);
        }
        self.write(ahci::INTERRUPT_STATUS, u32::MAX);
        self.write(ahci::CONTROL, ghc::AHCI_ENABLE | ghc::INTERRUPT_ENABLE);
        self.stage = Stage::Up;
        for port in &mut self.ports {
            port.capabilities = Some(self.capabilities);
        }
        self.start_ports(now_ns);
        Ok(())
    }

    /// Fails where a port, used or not, still works on what it was given before the reset.
    fn check_idle(&self, ports: u32) -> Result<(), Error> {
        let at_work = cmd::START | cmd::RECEIVE_ENABLE | cmd::RECEIVING | cmd::RUNNING;
        for number in bits(ports) {
            let command = self.read_there(ahci::port_registers(number) + port::COMMAND)?;
            if command & at_work != 0 {
                return Err(Error::NotReset);
            }
        }
        Ok(())
    }

    /// Starts what waits for it: all drives, or the next one where they are spun up in turn.
    fn start_ports(&mut self, now_ns: u64) {
        if self.stage != Stage::Up {
            return;
        }
        let in_turn = self.capabilities & cap::STAGGERED_SPIN_UP != 0;
        let mut is_busy = in_turn && self.ports.iter().any(Port::is_starting);
        for port in &mut self.ports {
            if port.is_waiting() && !is_busy {
                port.start(now_ns);
                is_busy = in_turn && port.is_starting();
            }
        }
    }

    /// Does some work, and fails the HBA, with all of its drives, if that fails.
    fn attempt(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Error>) -> Option<u64> {
        if let Err(error) = work(self) {
            self.stage = Stage::Failed(error);
            for port in &mut self.ports {
                port.fail(error);
            }
        }
        self.deadline()
    }

    /// Reads a register that is never all ones, unless nothing answers.
    fn read_there(&self, register: usize) -> Result<u32, Error> {
        match self.shared.registers.read32(register) {
            u32::MAX => Err(Error::Removed),
            value => Ok(value),
        }
    }

    fn write(&self, register: usize, value: u32) {
        self.shared.registers.write32(register, value);
    }
}
