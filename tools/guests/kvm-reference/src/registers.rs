//! The registers that this monitor emulates itself: what KVM has no model of.

use std::time::Instant;

use crate::console::{self, Lines};

const COM1: u16 = 0x3f8;
const RTC_INDEX: u16 = 0x70;
const PM1_CONTROL: u16 = 0x604;
const PM_TIMER: u16 = 0x608;
const PM_HZ: u128 = 3_579_545;
/// Transmitter empty, transmit holding register empty.
const LINE_STATUS: u8 = 0x60;
/// SLP_EN, in the high byte of PM1 control.
const SLEEP_ENABLE: u8 = 1 << 5;
/// Configuration space of bus 0.
const ECAM: u64 = 0xe000_0000;
/// Identity of its one function, a host bridge.
const HOST_BRIDGE: u32 = 0x0d57_1b36;

/// What a write asks for beyond itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing.
    None,
    /// The guest powers itself off.
    PowerOff,
}

/// The registers of one guest.
pub struct Registers {
    started: Instant,
    line_control: u8,
    scratch: u8,
    rtc_index: u8,
    lines: Lines,
}

impl Registers {
    /// As after a reset.
    pub fn new() -> Self {
        Self { started: Instant::now(), line_control: 0, scratch: 0, rtc_index: 0, lines: Lines::default() }
    }

    /// Reads `data.len()` bytes of a port; what is not there reads ones.
    pub fn read_port(&self, port: u16, data: &mut [u8]) {
        match (port, data) {
            (0x3fb, [value]) => *value = self.line_control,
            (0x3fd, [value]) => *value = LINE_STATUS,
            (0x3ff, [value]) => *value = self.scratch,
            (RTC_INDEX, [value]) => *value = self.rtc_index,
            (PM_TIMER, data) if data.len() == 4 => data.copy_from_slice(&self.pm_timer().to_le_bytes()),
            (_, data) => data.fill(0xff),
        }
    }

    /// Writes a port.
    pub fn write_port(&mut self, port: u16, data: &[u8]) -> Effect {
        match (port, data) {
            // With the divisor latch open the first register is the divisor's.
            (COM1, &[value]) if self.line_control & 0x80 == 0 => {
                if let Some(line) = self.lines.take(value) {
                    console::line(&line);
                }
            }
            (0x3fb, &[value]) => self.line_control = value,
            (0x3ff, &[value]) => self.scratch = value,
            (RTC_INDEX, &[value]) => self.rtc_index = value,
            (PM1_CONTROL, &[_, high]) if high & SLEEP_ENABLE != 0 => return Effect::PowerOff,
            _ => {}
        }
        Effect::None
    }

    /// Reads `data.len()` bytes at `gpa`; what is not there reads ones.
    pub fn read_memory(&self, gpa: u64, data: &mut [u8]) {
        match (gpa, data) {
            (ECAM, data) if data.len() == 4 => data.copy_from_slice(&HOST_BRIDGE.to_le_bytes()),
            (_, data) => data.fill(0xff),
        }
    }

    fn pm_timer(&self) -> u32 {
        (self.started.elapsed().as_nanos() * PM_HZ / 1_000_000_000) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(registers: &Registers, port: u16) -> u8 {
        let mut data = [0];
        registers.read_port(port, &mut data);
        data[0]
    }

    #[test]
    fn the_uart_is_always_ready_and_keeps_its_scratch() {
        let mut registers = Registers::new();
        registers.write_port(0x3ff, &[7]);
        assert_eq!((read(&registers, 0x3fd), read(&registers, 0x3ff)), (0x60, 7));
        assert_eq!(read(&registers, 0x2f8), 0xff, "there is no second one");
    }

    #[test]
    fn the_divisor_is_not_printed() {
        let mut registers = Registers::new();
        registers.write_port(0x3fb, &[0x80]);
        registers.write_port(0x3f8, b"x");
        registers.write_port(0x3fb, &[3]);
        registers.write_port(0x3f8, b"y");
        assert_eq!(registers.lines.take(b'\n').as_deref(), Some("y"));
    }

    #[test]
    fn only_sleep_enable_powers_off() {
        let mut registers = Registers::new();
        assert_eq!(registers.write_port(0x604, &[0, 0x14]), Effect::None);
        assert_eq!(registers.write_port(0x604, &[0, 0x34]), Effect::PowerOff);
        assert_eq!(registers.write_port(0x606, &[0, 0x34]), Effect::None);
    }

    #[test]
    fn accesses_of_odd_sizes_read_ones() {
        let registers = Registers::new();
        let mut data = [0; 2];
        registers.read_port(PM_TIMER, &mut data);
        assert_eq!(data, [0xff; 2]);
        let mut data = [0; 4];
        registers.read_memory(ECAM + 4096, &mut data);
        assert_eq!(data, [0xff; 4]);
        registers.read_memory(ECAM, &mut data);
        assert_eq!(data, HOST_BRIDGE.to_le_bytes());
    }
}
