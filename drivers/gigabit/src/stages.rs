//! From a controller in any state to one that works (82574 data sheet, sections 4.4 and 4.6; 82576
//! data sheet, section 4.5).

use crate::controller::{Controller, Stage, WATCH_NS};
use crate::error::Error;
use crate::model::{Model, change, read, write};
use access::{DmaMemory, RegisterWindow};
use network::MacAddress;
use spec::gigabit::{
    ADDRESS_HIGH, ADDRESS_LOW, ADDRESS_VALID, CONTROL, RECEIVE_CONTROL, TRANSMIT_CONTROL, ctrl, status, tctl,
};

/// How long requests to memory may be under way, and firmware may have what it shares, before the
/// controller is reset all the same.
const QUIET_NS: u64 = 80_000_000;
/// How long reading the configuration may take.
const RESET_NS: u64 = 100_000_000;
/// No register is read so soon after a reset.
const FIRST_LOOK_NS: u64 = 10_000_000;
/// How long the PHY is set up once the configuration was read, which nothing reports.
const SETTLE_NS: u64 = 25_000_000;
/// How long it may take after that to tell the PHY what there is to tell.
const PHY_NS: u64 = 80_000_000;
/// How long queues may take to work.
const ENABLE_NS: u64 = 20_000_000;
/// How often progress is looked for.
const LOOK_NS: u64 = 1_000_000;

impl<M: Model, R: RegisterWindow, D: DmaMemory> Controller<M, R, D> {
    /// Has the controller cease what it does, from whatever state it is in.
    pub(crate) fn begin(&mut self, now_ns: u64) -> Result<(), Error> {
        self.lose();
        self.status_register()?;
        self.model.silence(&self.registers);
        write(&self.registers, RECEIVE_CONTROL, 0);
        write(&self.registers, TRANSMIT_CONTROL, tctl::PAD);
        change(&self.registers, CONTROL, 0, ctrl::MASTER_DISABLE);
        self.stage = Stage::Quieting { until_ns: now_ns.saturating_add(QUIET_NS) };
        // What is being sent has this time to leave.
        self.next_look_ns = now_ns.saturating_add(FIRST_LOOK_NS);
        Ok(())
    }

    /// Resets the controller once it is quiet.
    pub(crate) fn look_quiet(&mut self, until_ns: u64, now_ns: u64) -> Result<(), Error> {
        let status = self.status_register()?;
        let is_quiet = self.model.may_reset(&self.registers) && status & status::MASTER_ENABLED == 0;
        if !is_quiet && now_ns < until_ns {
            self.next_look_ns = now_ns.saturating_add(LOOK_NS);
            return Ok(());
        }
        change(&self.registers, CONTROL, 0, ctrl::RESET);
        self.stage = Stage::Resetting { until_ns: now_ns.saturating_add(RESET_NS) };
        self.next_look_ns = now_ns.saturating_add(FIRST_LOOK_NS);
        Ok(())
    }

    /// Waits until the configuration was read.
    pub(crate) fn look_reset(&mut self, until_ns: u64, now_ns: u64) -> Result<(), Error> {
        self.status_register()?;
        let is_over = read(&self.registers, CONTROL) & ctrl::RESET == 0;
        let is_late = now_ns >= until_ns;
        let is_done = is_over && (self.model.is_configured(&self.registers) || M::MAY_SAY_NOTHING && is_late);
        self.next_look_ns = now_ns.saturating_add(LOOK_NS);
        if is_done {
            self.model.was_reset(&self.registers);
            self.next_look_ns = now_ns.saturating_add(SETTLE_NS);
            self.stage = Stage::Settling { until_ns: self.next_look_ns.saturating_add(PHY_NS) };
        } else if is_late {
            return Err(Error::NoConfiguration);
        }
        Ok(())
    }

    /// Tells the PHY what it has to be told, then all else.
    pub(crate) fn look_settled(&mut self, until_ns: u64, now_ns: u64) -> Result<(), Error> {
        self.status_register()?;
        if !self.model.is_settled(&self.registers) {
            if now_ns < until_ns {
                self.next_look_ns = now_ns.saturating_add(LOOK_NS);
                return Ok(());
            }
            self.model.leave_phy(&self.registers);
        }
        self.mac = Some(self.address()?);
        self.receiver.clear()?;
        self.transmitter.clear()?;
        self.dma.write_barrier();
        self.model.program(&self.registers, &self.setup());
        let until_ns = now_ns.saturating_add(ENABLE_NS);
        self.stage = Stage::Enabling { until_ns };
        self.look_enabled(until_ns, now_ns)
    }

    /// Has it work once its queues do.
    pub(crate) fn look_enabled(&mut self, until_ns: u64, now_ns: u64) -> Result<(), Error> {
        self.status_register()?;
        if !self.model.is_enabled(&self.registers) {
            if now_ns >= until_ns {
                return Err(Error::NoQueues);
            }
            self.next_look_ns = now_ns.saturating_add(LOOK_NS);
            return Ok(());
        }
        self.model.open(&self.registers);
        // Only an enabled receiver takes its tail.
        self.dma.write_barrier();
        write(&self.registers, M::RECEIVE_TAIL, self.receiver.first_tail());
        self.stage = Stage::Ready;
        (self.sent_ns, self.next_look_ns) = (now_ns, now_ns.saturating_add(WATCH_NS));
        self.arm();
        self.look_link()
    }

    /// The address that the configuration gives.
    fn address(&self) -> Result<MacAddress, Error> {
        let ([a, b, c, d], high) =
            (read(&self.registers, ADDRESS_LOW).to_le_bytes(), read(&self.registers, ADDRESS_HIGH));
        let [e, f, _, _] = high.to_le_bytes();
        let mac = MacAddress([a, b, c, d, e, f]);
        let is_right = high & ADDRESS_VALID != 0 && mac.is_station();
        if is_right { Ok(mac) } else { Err(Error::NoAddress(mac)) }
    }
}
