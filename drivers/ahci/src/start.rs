//! Bringing a port up (sections 10.1.2 and 10.4.2): stop it, tell it where its memory is, reset the
//! link, wait for the drive, ask who it is.

use crate::command::{Command, PAGE};
use crate::error::Error;
use crate::identify;
use crate::port::{Port, Stage, Step};
use access::{DmaMemory, RegisterWindow};
use spec::ahci::cap;
use spec::ahci::port::{self, cmd, interrupt, link, signature, tfd};
use spec::ata::{command, status};

const MILLISECOND_NS: u64 = 1_000_000;
/// How long PxCMD.CR and FR may take to become clear.
pub(crate) const STOP_NS: u64 = 500 * MILLISECOND_NS;
/// How long the link is reset; section 10.4.2 has 1 ms at least.
const RESET_NS: u64 = 2 * MILLISECOND_NS;
/// How long a link may take, and how long it takes until a device is seen at all.
const LINK_NS: u64 = 2_000 * MILLISECOND_NS;
const PRESENCE_NS: u64 = 200 * MILLISECOND_NS;
/// How long a drive may take to spin up.
const SPIN_NS: u64 = 30_000 * MILLISECOND_NS;
/// How long a command of the driver's own may take.
pub(crate) const OWN_NS: u64 = 10_000 * MILLISECOND_NS;
/// How often is looked at what sends no interrupt.
const LOOK_NS: u64 = 5 * MILLISECOND_NS;

/// What interrupts.
const CAUSES: u32 = interrupt::REGISTERS
    | interrupt::PIO_SETUP
    | interrupt::DEVICE_BITS
    | interrupt::CONNECT_CHANGE
    | interrupt::LINK_CHANGE
    | interrupt::FATAL;

impl<R: RegisterWindow, D: DmaMemory> Port<R, D> {
    /// Begins to bring the port up, from whatever state it is in.
    pub(crate) fn begin(&mut self, now_ns: u64) -> Result<(), Error> {
        let Some(capabilities) = self.capabilities else {
            return if self.is_waiting() { Ok(()) } else { Err(Error::HbaOff) };
        };
        let has_low_data = self.requests.end().is_some_and(|end| end.0 <= 1 << 32);
        if capabilities & cap::ADDRESSES_64 == 0 && !(has_low_data && self.memory.is_low()) {
            return Err(Error::Addresses);
        }
        let command = self.registers.read_there(port::COMMAND)?;
        self.registers.write(port::INTERRUPT_ENABLE, 0);
        self.registers.write(port::COMMAND, command & !cmd::START);
        self.enter(Step::Stopping, STOP_NS, now_ns);
        self.stopping(now_ns.saturating_add(STOP_NS), now_ns)
    }

    /// Waits for `step`, for `time_ns` at most.
    pub(crate) const fn enter(&mut self, step: Step, time_ns: u64, now_ns: u64) {
        self.stage = Stage::Step { step, until_ns: now_ns.saturating_add(time_ns) };
        self.next_look_ns = now_ns.saturating_add(LOOK_NS);
    }

    /// Looks whether what is waited for has come. It is asked before the time is, so that a stall
    /// of this processor is no failure of the drive.
    pub(crate) fn look_at_step(&mut self, step: Step, until_ns: u64, now_ns: u64) -> Result<(), Error> {
        self.next_look_ns = now_ns.saturating_add(LOOK_NS);
        match step {
            Step::Stopping => self.stopping(until_ns, now_ns),
            Step::Resetting if now_ns < until_ns => Ok(()),
            Step::Resetting => {
                self.registers.write(port::LINK_CONTROL, link::NO_POWER_STATES);
                self.enter(Step::Linking, LINK_NS, now_ns);
                Ok(())
            }
            Step::Linking => self.linking(until_ns, now_ns),
            Step::Spinning => self.spinning(until_ns, now_ns),
            Step::Halting => self.halting(until_ns, now_ns),
            Step::Identifying | Step::ReadingLog => {
                self.check_link()?;
                let is_log = step == Step::ReadingLog;
                let command = if is_log { command::READ_LOG_EXT } else { command::IDENTIFY_DEVICE };
                if now_ns < until_ns { Ok(()) } else { Err(Error::Late(command)) }
            }
        }
    }

    fn stopping(&mut self, until_ns: u64, now_ns: u64) -> Result<(), Error> {
        let command = self.registers.read_there(port::COMMAND)?;
        if command & cmd::RUNNING == 0 {
            if command & cmd::RECEIVE_ENABLE != 0 {
                self.registers.write(port::COMMAND, command & !(cmd::START | cmd::RECEIVE_ENABLE));
            }
            let command = self.registers.read_there(port::COMMAND)?;
            if command & cmd::RECEIVING == 0 {
                return self.set_up(command, now_ns);
            }
        }
        if now_ns < until_ns { Ok(()) } else { Err(Error::Stuck) }
    }

    /// Tells the port where its memory is, and has the drive spin up.
    fn set_up(&mut self, command: u32, now_ns: u64) -> Result<(), Error> {
        let (list, received) = self.memory.places().ok_or(Error::Buffer)?;
        self.registers.write_address(port::COMMAND_LIST, list);
        self.registers.write_address(port::RECEIVED_FIS, received);
        self.registers.write(port::LINK_ERROR, u32::MAX);
        self.registers.dma().write_barrier();
        let command = command & !(cmd::LINK_POWER_MASK | cmd::START);
        let on = cmd::LINK_ACTIVE | cmd::POWER_ON | cmd::SPIN_UP | cmd::RECEIVE_ENABLE;
        self.registers.write(port::COMMAND, command | on);
        self.reset_link(now_ns);
        Ok(())
    }

    /// Resets the link, and the drive with it (COMRESET), while the port is stopped.
    pub(crate) fn reset_link(&mut self, now_ns: u64) {
        self.registers.write(port::LINK_CONTROL, link::NO_POWER_STATES | link::RESET);
        self.enter(Step::Resetting, RESET_NS, now_ns);
    }

    fn linking(&mut self, until_ns: u64, now_ns: u64) -> Result<(), Error> {
        let detection = link::detection(self.registers.read_there(port::LINK_STATUS)?);
        if detection == link::WORKS {
            self.registers.write(port::LINK_ERROR, u32::MAX);
            self.enter(Step::Spinning, SPIN_NS, now_ns);
            return self.spinning(now_ns.saturating_add(SPIN_NS), now_ns);
        }
        let presence_ns = until_ns.saturating_sub(LINK_NS - PRESENCE_NS);
        match detection {
            link::NOTHING if now_ns >= presence_ns => Err(Error::Empty),
            _ if now_ns >= until_ns => Err(Error::NoLink(detection)),
            _ => Ok(()),
        }
    }

    /// Waits for the drive's first frame, which says what it is.
    fn spinning(&mut self, until_ns: u64, now_ns: u64) -> Result<(), Error> {
        self.check_link()?;
        let task_file = self.registers.read_there(port::TASK_FILE)?;
        if tfd::status(task_file) & (status::BUSY | status::DATA_REQUEST) != 0 {
            return if now_ns < until_ns { Ok(()) } else { Err(Error::Busy(task_file)) };
        }
        match self.registers.read(port::SIGNATURE) {
            signature::ATA => {}
            signature::ATAPI => return Err(Error::Packets),
            signature::PORT_MULTIPLIER => return Err(Error::Multiplier),
            other => return Err(Error::Signature(other)),
        }
        self.run()?;
        let command = self.memory.read_page(command::IDENTIFY_DEVICE, 0)?;
        self.begin_own(Step::Identifying, &command, now_ns)
    }

    /// Has the HBA work on commands, and interrupt from now on.
    pub(crate) fn run(&mut self) -> Result<(), Error> {
        self.registers.write(port::LINK_ERROR, u32::MAX);
        self.registers.clear_causes(u32::MAX);
        self.registers.write(port::INTERRUPT_ENABLE, CAUSES);
        let command = self.registers.read_there(port::COMMAND)?;
        self.registers.write(port::COMMAND, command | cmd::START);
        Ok(())
    }

    /// Issues the command of `step`.
    pub(crate) fn begin_own(&mut self, step: Step, command: &Command, now_ns: u64) -> Result<(), Error> {
        self.enter(step, OWN_NS, now_ns);
        self.watch(now_ns);
        self.issue_own(command)
    }

    /// The drive has said who it is.
    pub(crate) fn identified(&mut self, now_ns: u64) -> Result<(), Error> {
        let facts = identify::facts(&self.memory.0, PAGE)?;
        if self.facts.is_some_and(|known| known != facts) {
            return Err(Error::Changed);
        }
        (self.facts, self.stage) = (Some(facts), Stage::Running);
        self.issue(now_ns)
    }
}
