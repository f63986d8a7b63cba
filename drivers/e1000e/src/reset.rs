//! Resetting a controller (data sheet, section 4.4; the order is that of Linux, which knows the errata).

use crate::controller::{Controller, Stage};
use crate::error::Error;
use access::{DmaMemory, RegisterWindow};
use spec::e1000e::{
    CONTROL, EEPROM_AUTO_READ, EEPROM_CONTROL, EXTENDED_CONFIGURATION, INTERRUPT_CAUSE, INTERRUPT_MASK_CLEAR,
    RECEIVE_CONTROL, SOFTWARE_HAS_MDIO, TRANSMIT_CONTROL, cause, ctrl, status, tctl,
};

/// How long requests to memory may be under way, and firmware may have the PHY's bus, before the
/// controller is reset all the same.
const QUIET_NS: u64 = 80_000_000;
/// How long reading the configuration may take.
const RESET_NS: u64 = 100_000_000;
/// No register is read so soon after a reset.
const FIRST_LOOK_NS: u64 = 10_000_000;
/// How long the PHY is set up once the configuration was read, which nothing reports.
const SETTLE_NS: u64 = 25_000_000;
/// How often progress is looked for.
const LOOK_NS: u64 = 1_000_000;

impl<R: RegisterWindow, D: DmaMemory> Controller<R, D> {
    /// Has the controller cease what it does, from whatever state it is in.
    pub(crate) fn begin(&mut self, now_ns: u64) -> Result<(), Error> {
        self.lose();
        self.status_register()?;
        self.write(INTERRUPT_MASK_CLEAR, cause::ALL);
        self.write(RECEIVE_CONTROL, 0);
        self.write(TRANSMIT_CONTROL, tctl::PAD);
        self.write(CONTROL, self.read(CONTROL) | ctrl::MASTER_DISABLE);
        self.stage = Stage::Quieting { until_ns: now_ns.saturating_add(QUIET_NS) };
        // What is being sent has this time to leave.
        self.next_look_ns = now_ns.saturating_add(FIRST_LOOK_NS);
        Ok(())
    }

    /// Resets the controller once it is quiet.
    pub(crate) fn look_quiet(&mut self, until_ns: u64, now_ns: u64) -> Result<(), Error> {
        let status = self.status_register()?;
        let external = self.read(EXTENDED_CONFIGURATION);
        self.write(EXTENDED_CONFIGURATION, external | SOFTWARE_HAS_MDIO);
        // A reset while firmware talks to the PHY leaves its bus hanging.
        let has_phy = self.read(EXTENDED_CONFIGURATION) & SOFTWARE_HAS_MDIO != 0;
        let is_quiet = status & status::MASTER_ENABLED == 0 && has_phy;
        if !is_quiet && now_ns < until_ns {
            self.next_look_ns = now_ns.saturating_add(LOOK_NS);
            return Ok(());
        }
        self.write(CONTROL, self.read(CONTROL) | ctrl::RESET);
        self.stage = Stage::Resetting { until_ns: now_ns.saturating_add(RESET_NS) };
        self.next_look_ns = now_ns.saturating_add(FIRST_LOOK_NS);
        Ok(())
    }

    /// Waits until the configuration was read.
    pub(crate) fn look_reset(&mut self, until_ns: u64, now_ns: u64) -> Result<(), Error> {
        self.status_register()?;
        let is_done =
            self.read(EEPROM_CONTROL) & EEPROM_AUTO_READ != 0 && self.read(CONTROL) & ctrl::RESET == 0;
        self.next_look_ns = now_ns.saturating_add(LOOK_NS);
        if is_done {
            let external = self.read(EXTENDED_CONFIGURATION);
            self.write(EXTENDED_CONFIGURATION, external & !SOFTWARE_HAS_MDIO);
            self.write(INTERRUPT_MASK_CLEAR, cause::ALL);
            self.read(INTERRUPT_CAUSE);
            self.stage = Stage::Settling;
            self.next_look_ns = now_ns.saturating_add(SETTLE_NS);
        } else if now_ns >= until_ns {
            return Err(Error::NoConfiguration);
        }
        Ok(())
    }
}
