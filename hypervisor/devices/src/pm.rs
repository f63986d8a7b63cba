//! Power management: the ACPI PM1 registers and timer (ACPI 6.5 section 4.8.3), the
//! reset control register 0xcf9 and the fast reset of port 0x92.

use crate::effect::{Effect, Effects};
use crate::rate::Rate;
use crate::snapshot::{self, RestoreFault};
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// First port of PM1 status and enable (2 bytes each).
pub const PM1_EVENT: u16 = 0x600;
/// First port of PM1 control (2 bytes).
pub const PM1_CONTROL: u16 = 0x604;
/// First port of the timer (4 bytes).
pub const PM_TIMER: u16 = 0x608;
/// Last port of the block.
pub const PM_LAST: u16 = 0x60b;
/// Timer frequency in Hz.
pub const PM_TIMER_HZ: u64 = 3_579_545;

/// PM1 status and enable: the timer's top bit changed.
const TIMER: u16 = 1 << 0;
/// PM1 status and enable: the global lock was released.
const GLOBAL: u16 = 1 << 5;
/// PM1 status and enable: power button.
const POWER_BUTTON: u16 = 1 << 8;
/// PM1 status and enable: the RTC's alarm. It never sets its status here (the FADT says that the
/// alarm is not in the fixed registers), but ACPICA turns it on and looks whether it stays.
const RTC: u16 = 1 << 10;
/// PM1 status only: woke up.
const WAKE: u16 = 1 << 15;

/// The bits of PM1 enable that are kept.
const ENABLES: u16 = TIMER | GLOBAL | POWER_BUTTON | RTC;

/// PM1 control: ACPI mode. There is no SMM to hand over from, so it is always on.
const SCI_ENABLE: u16 = 1 << 0;
const SLEEP_TYPE: u16 = 7 << 10;
const SLEEP_ENABLE: u16 = 1 << 13;

/// The registers of the power-management block, and the two reset ports.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PowerManagement {
    timer: Rate,
    status: u16,
    enable: u16,
    control: u16,
    /// Half wraps of the timer that `status` knows of.
    halves: u64,
    /// Tick of the next half wrap, while somebody waits for it.
    deadline: Option<u64>,
    reset_control: u8,
    port_92: u8,
}

impl PowerManagement {
    /// The block with its timer at 0 at tick `start`.
    pub const fn new(start: u64, tsc_hz: u64) -> Self {
        Self {
            timer: Rate::new(start, PM_TIMER_HZ, tsc_hz),
            status: 0,
            enable: 0,
            control: SCI_ENABLE,
            halves: 0,
            deadline: None,
            reset_control: 0,
            // A20 is on.
            port_92: 0x02,
        }
    }

    /// Says what about this state cannot be, of a block made as `own` is.
    pub(crate) fn check(&self, own: &Self) -> Result<(), RestoreFault> {
        const STATUS: u16 = TIMER | GLOBAL | POWER_BUTTON | WAKE;
        snapshot::is_of(self.timer.has_the_speed_of(&own.timer))?;
        snapshot::has(self.status & !STATUS == 0 && self.enable & !ENABLES == 0, "PM1 status or enable")?;
        snapshot::has(self.control & !(SLEEP_TYPE | SCI_ENABLE) == 0, "PM1 control")?;
        snapshot::has(self.halves <= u64::MAX >> 31, "the power management timer")?;
        snapshot::has(self.reset_control & !0x0e == 0 && self.port_92 & !0x03 == 0, "a reset port")
    }

    /// Level of the SCI.
    pub const fn line(&self) -> bool {
        self.status & self.enable & (TIMER | GLOBAL | POWER_BUTTON) != 0
    }

    /// Tick at which the SCI rises by itself.
    pub const fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Takes in what happened until `now`.
    pub fn advance(&mut self, now: u64) {
        let halves = self.timer.count_at(now) >> 31;
        if halves > self.halves {
            self.halves = halves;
            self.status |= TIMER;
        }
        self.plan();
    }

    /// Somebody pressed the power button: the guest is asked to shut down.
    pub fn press_power_button(&mut self) {
        self.status |= POWER_BUTTON;
    }

    /// Reads a byte of ports 0x600 to 0x60b. The caller has called
    /// [`advance`](Self::advance).
    pub fn read(&self, port: u16, now: u64) -> u8 {
        let (register, index) = match port {
            0x600..0x602 => (u32::from(self.status), port - 0x600),
            0x602..0x604 => (u32::from(self.enable), port - 0x602),
            0x604..0x606 => (u32::from(self.control), port - PM1_CONTROL),
            PM_TIMER..=PM_LAST => (self.read_timer(now), port - PM_TIMER),
            _ => return 0xff,
        };
        (register >> (8 * index)) as u8
    }

    /// Reads the timer, 32 bits. The caller has called [`advance`](Self::advance).
    pub fn read_timer(&self, now: u64) -> u32 {
        self.timer.count_at(now) as u32
    }

    /// Writes a byte of ports 0x600 to 0x60b; the timer is read-only. The caller has
    /// called [`advance`](Self::advance).
    pub fn write(&mut self, port: u16, value: u8, out: &mut Effects) {
        let high = port & 1 != 0;
        let bits = if high { u16::from(value) << 8 } else { u16::from(value) };
        let kept = if high { 0x00ff } else { 0xff00 };
        match port {
            // Status bits are cleared by writing ones.
            0x600..0x602 => self.status &= !bits,
            0x602..0x604 => self.enable = self.enable & kept | bits & ENABLES,
            0x604..0x606 => {
                // SLP_EN is write-only, and bits 3 to 8 are reserved.
                self.control = self.control & kept | bits & SLEEP_TYPE | SCI_ENABLE;
                if bits & SLEEP_ENABLE != 0 {
                    // Software that comes back from a sleep nobody granted waits for this.
                    self.status |= WAKE;
                    out.push(Effect::PowerOff { sleep_type: ((self.control & SLEEP_TYPE) >> 10) as u8 });
                }
            }
            _ => {}
        }
        self.plan();
    }

    fn plan(&mut self) {
        self.deadline = if self.enable & TIMER != 0 && self.status & TIMER == 0 {
            (self.halves + 1).checked_mul(1 << 31).and_then(|count| self.timer.tick_of(count))
        } else {
            None
        };
    }

    /// Reads port 0xcf9.
    pub const fn read_reset_control(&self) -> u8 {
        self.reset_control
    }

    /// Writes port 0xcf9: a rising RST_CPU (bit 2) resets.
    pub fn write_reset_control(&mut self, value: u8, out: &mut Effects) {
        let rising = value & !self.reset_control & 0x04 != 0;
        // RST_CPU, SYS_RST, FULL_RST.
        self.reset_control = value & 0x0e;
        if rising {
            out.push(Effect::Reset);
        }
    }

    /// Reads port 0x92.
    pub const fn read_port_92(&self) -> u8 {
        self.port_92
    }

    /// Writes port 0x92: a rising bit 0 resets; bit 1 is A20 and changes nothing.
    pub fn write_port_92(&mut self, value: u8, out: &mut Effects) {
        let rising = value & !self.port_92 & 0x01 != 0;
        self.port_92 = value & 0x03;
        if rising {
            out.push(Effect::Reset);
        }
    }
}
