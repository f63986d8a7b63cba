//! The pair of 8259A interrupt controllers of a PC (Intel 8259A data sheet), with
//! the edge/level control registers of the EISA and PCI chipsets.
//!
//! A line that falls before its edge was taken stays requested, as in all chipsets
//! that a PC of the last thirty years had; the data sheet's spurious IRQ 7 comes
//! where the request was masked, or a level went away, between INTR and INTA.

use crate::snapshot::{self, RestoreFault};
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// Line of the master at which the slave is.
const CASCADE: u8 = 2;

/// Lines that the ELCR can make level-triggered: not the timer, keyboard, cascade,
/// RTC and FPU.
const ELCR_MASTER: u8 = 0b1111_1000;
const ELCR_SLAVE: u8 = 0b1101_1110;

/// What the next write to the data port is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Expect {
    /// OCW1, the mask.
    Mask,
    Icw2,
    Icw3,
    Icw4,
}

/// One 8259A.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Controller {
    lines: u8,
    irr: u8,
    isr: u8,
    imr: u8,
    /// Level-triggered lines.
    elcr: u8,
    elcr_mask: u8,
    /// Vector of line 0.
    base: u8,
    /// Line of highest priority; rotation moves it.
    highest: u8,
    expect: Expect,
    /// ICW1 said that ICW4 comes, and that there is no slave.
    wants_icw4: bool,
    single: bool,
    auto_eoi: bool,
    rotate_on_auto_eoi: bool,
    special_fully_nested: bool,
    special_mask: bool,
    read_isr: bool,
    poll: bool,
}

impl Controller {
    /// As firmware leaves it: initialised, everything masked.
    const fn new(base: u8, elcr_mask: u8) -> Self {
        Self {
            lines: 0,
            irr: 0,
            isr: 0,
            imr: 0xff,
            elcr: 0,
            elcr_mask,
            base,
            highest: 0,
            expect: Expect::Mask,
            wants_icw4: false,
            single: false,
            auto_eoi: false,
            rotate_on_auto_eoi: false,
            special_fully_nested: false,
            special_mask: false,
            read_isr: false,
            poll: false,
        }
    }

    /// Whether a controller that is wired as `own` is can be as this one is said to be.
    const fn is_possible(&self, own: &Self) -> bool {
        self.elcr_mask == own.elcr_mask
            && self.elcr & !own.elcr_mask == 0
            && self.highest <= 7
            && self.base & 7 == 0
    }

    fn set_line(&mut self, line: u8, level: bool) {
        let bit = 1 << (line & 7);
        if level {
            if self.elcr & bit != 0 || self.lines & bit == 0 {
                self.irr |= bit;
            }
            self.lines |= bit;
        } else {
            self.lines &= !bit;
            if self.elcr & bit != 0 {
                self.irr &= !bit;
            }
        }
    }

    /// Distance of the most urgent of `lines` from the line of highest priority: 0 is
    /// most urgent; 8 if there is none.
    fn urgency(&self, lines: u8) -> u32 {
        lines.rotate_right(u32::from(self.highest)).trailing_zeros()
    }

    /// The line that the controller asks to be served.
    fn requested(&self) -> Option<u8> {
        let request = self.urgency(self.irr & !self.imr);
        if request == 8 {
            return None;
        }
        let mut in_service = self.isr;
        if self.special_mask {
            // Masked lines in service hold nothing back.
            in_service &= !self.imr;
        }
        if self.special_fully_nested {
            // The slave may interrupt its own service with a more urgent line.
            in_service &= !(1 << CASCADE);
        }
        (request < self.urgency(in_service)).then(|| (request as u8 + self.highest) & 7)
    }

    /// INTA or poll for `line`.
    fn acknowledge(&mut self, line: u8) {
        let bit = 1 << (line & 7);
        if self.elcr & bit == 0 {
            self.irr &= !bit;
        }
        if self.auto_eoi {
            if self.rotate_on_auto_eoi {
                self.highest = (line + 1) & 7;
            }
        } else {
            self.isr |= bit;
        }
    }

    fn write_command(&mut self, value: u8) {
        if value & 0x10 != 0 {
            self.initialise(value);
        } else if value & 0x08 != 0 {
            self.write_ocw3(value);
        } else {
            self.write_ocw2(value);
        }
    }

    /// ICW1. Its level-trigger bit is dead: the ELCR decides.
    fn initialise(&mut self, icw1: u8) {
        *self = Self {
            lines: self.lines,
            // A level that is there is requested again at once; edges are forgotten.
            irr: self.lines & self.elcr,
            elcr: self.elcr,
            base: self.base,
            imr: 0,
            expect: Expect::Icw2,
            wants_icw4: icw1 & 1 != 0,
            single: icw1 & 2 != 0,
            ..Self::new(self.base, self.elcr_mask)
        };
    }

    /// End of interrupt and rotation.
    fn write_ocw2(&mut self, value: u8) {
        let (rotate, specific, end) = (value & 0x80 != 0, value & 0x40 != 0, value & 0x20 != 0);
        match (specific, end) {
            (false, false) => self.rotate_on_auto_eoi = rotate,
            (true, false) => {
                if rotate {
                    self.highest = (value + 1) & 7;
                }
            }
            (_, true) => {
                let line = if specific {
                    value & 7
                } else {
                    // Non-specific: the most urgent in service, in special mask mode
                    // among the unmasked ones.
                    let in_service = if self.special_mask { self.isr & !self.imr } else { self.isr };
                    match self.urgency(in_service) {
                        8 => return,
                        distance => (distance as u8 + self.highest) & 7,
                    }
                };
                self.isr &= !(1 << line);
                if rotate {
                    self.highest = (line + 1) & 7;
                }
            }
        }
    }

    fn write_ocw3(&mut self, value: u8) {
        if value & 0x40 != 0 {
            self.special_mask = value & 0x20 != 0;
        }
        if value & 0x04 != 0 {
            self.poll = true;
        } else if value & 0x02 != 0 {
            self.read_isr = value & 0x01 != 0;
        }
    }

    fn write_data(&mut self, value: u8) {
        match self.expect {
            Expect::Mask => self.imr = value,
            Expect::Icw2 => {
                self.base = value & 0xf8;
                self.expect = match (self.single, self.wants_icw4) {
                    (false, _) => Expect::Icw3,
                    (true, true) => Expect::Icw4,
                    (true, false) => Expect::Mask,
                };
            }
            // The wiring of the cascade is fixed.
            Expect::Icw3 => self.expect = if self.wants_icw4 { Expect::Icw4 } else { Expect::Mask },
            Expect::Icw4 => {
                self.special_fully_nested = value & 0x10 != 0;
                self.auto_eoi = value & 0x02 != 0;
                self.expect = Expect::Mask;
            }
        }
    }

    fn write_elcr(&mut self, value: u8) {
        self.elcr = value & self.elcr_mask;
        // A line that became level-triggered is requested exactly while it is high.
        self.irr = self.irr & !self.elcr | self.lines & self.elcr;
    }
}

/// Master and slave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pics {
    master: Controller,
    slave: Controller,
}

impl Pics {
    /// The pair as a BIOS leaves it: vectors 0x08 and 0x70, everything masked.
    pub const fn new() -> Self {
        Self { master: Controller::new(0x08, ELCR_MASTER), slave: Controller::new(0x70, ELCR_SLAVE) }
    }

    /// Says what about this state cannot be, of a pair made as `own` is.
    pub(crate) fn check(&self, own: &Self) -> Result<(), RestoreFault> {
        snapshot::has(self.master.is_possible(&own.master) && self.slave.is_possible(&own.slave), "an 8259A")
    }

    /// Sets an IRQ line, 0 to 15. IRQ 2 is the cascade and no line; it and numbers
    /// beyond are ignored.
    pub fn set_line(&mut self, irq: u8, level: bool) {
        match irq {
            CASCADE => {}
            0..8 => self.master.set_line(irq, level),
            8..16 => self.slave.set_line(irq - 8, level),
            _ => {}
        }
        self.cascade();
    }

    /// INTR to the processor.
    pub fn is_requesting(&self) -> bool {
        self.master.requested().is_some()
    }

    /// The processor's INTA cycle: takes the most urgent request and gives its
    /// vector. With nothing requested it is a spurious interrupt: line 7, and nothing
    /// goes in service.
    pub fn acknowledge(&mut self) -> u8 {
        let Some(line) = self.master.requested() else { return self.master.base | 7 };
        self.master.acknowledge(line);
        if line != CASCADE {
            return self.master.base | line;
        }
        // A spurious interrupt of the slave leaves the cascade in service at the
        // master, as software that knows it expects.
        let vector = match self.slave.requested() {
            Some(line) => {
                self.slave.acknowledge(line);
                self.slave.base | line
            }
            None => self.slave.base | 7,
        };
        self.cascade();
        vector
    }

    /// Whether `irq` would get through if nothing of higher priority is in service.
    pub fn is_open(&self, irq: u8) -> bool {
        match irq {
            0..8 => self.master.imr >> irq & 1 == 0,
            8..16 => self.slave.imr >> (irq - 8) & 1 == 0 && self.master.imr >> CASCADE & 1 == 0,
            _ => false,
        }
    }

    /// Reads port 0x20, 0x21, 0xa0, 0xa1, 0x4d0 or 0x4d1; other ports read ones.
    pub fn read(&mut self, port: u16) -> u8 {
        let value = match port {
            0x20 | 0x21 if self.master.poll => self.poll(true),
            0xa0 | 0xa1 if self.slave.poll => self.poll(false),
            0x20 => status(&self.master),
            0x21 => self.master.imr,
            0xa0 => status(&self.slave),
            0xa1 => self.slave.imr,
            0x4d0 => self.master.elcr,
            0x4d1 => self.slave.elcr,
            _ => 0xff,
        };
        self.cascade();
        value
    }

    /// Writes one of the ports of [`read`](Self::read).
    pub fn write(&mut self, port: u16, value: u8) {
        match port {
            0x20 => self.master.write_command(value),
            0x21 => self.master.write_data(value),
            0xa0 => self.slave.write_command(value),
            0xa1 => self.slave.write_data(value),
            0x4d0 => self.master.write_elcr(value),
            0x4d1 => self.slave.write_elcr(value),
            _ => {}
        }
        self.cascade();
    }

    /// The poll command turns the next read into an INTA of that controller.
    fn poll(&mut self, master: bool) -> u8 {
        let controller = if master { &mut self.master } else { &mut self.slave };
        controller.poll = false;
        match controller.requested() {
            Some(line) => {
                controller.acknowledge(line);
                0x80 | line
            }
            None => 0,
        }
    }

    /// The master's cascade line follows the slave's output. It is requested exactly
    /// while the slave requests, so a slave request that went away takes it along.
    fn cascade(&mut self) {
        let bit = 1 << CASCADE;
        if self.slave.requested().is_some() {
            self.master.irr |= bit;
        } else {
            self.master.irr &= !bit;
        }
    }
}

fn status(controller: &Controller) -> u8 {
    if controller.read_isr { controller.isr } else { controller.irr }
}

impl Default for Pics {
    fn default() -> Self {
        Self::new()
    }
}
