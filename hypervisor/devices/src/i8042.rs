//! As much of the 8042 keyboard controller as software needs to find that nothing
//! is plugged into it, and to reset the machine through it.

use crate::effect::{Effect, Effects};
use serde::{Deserialize, Serialize};

/// Status: a byte for the guest is in the output buffer.
const OUTPUT_FULL: u8 = 1 << 0;
/// Status: the self-test has passed.
const SYSTEM: u8 = 1 << 2;
/// Status: the last write was a command.
const COMMAND: u8 = 1 << 3;

/// What the next write to the data port belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Expect {
    /// A device; there is none, so the byte is lost.
    Device,
    /// Command 0x60.
    Configuration,
    /// Command 0xd1.
    OutputPort,
}

/// The controller.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct I8042 {
    output: Option<u8>,
    /// The last byte stays readable.
    last: u8,
    configuration: u8,
    expect: Expect,
    command: bool,
}

impl I8042 {
    /// A controller with both device ports disabled.
    pub const fn new() -> Self {
        Self { output: None, last: 0, configuration: 0x30, expect: Expect::Device, command: false }
    }

    /// Reads port 0x60 or 0x64; others read ones.
    pub fn read(&mut self, port: u16) -> u8 {
        match port {
            0x60 => {
                if let Some(byte) = self.output.take() {
                    self.last = byte;
                }
                self.last
            }
            0x64 => {
                SYSTEM
                    | if self.output.is_some() { OUTPUT_FULL } else { 0 }
                    | if self.command { COMMAND } else { 0 }
            }
            _ => 0xff,
        }
    }

    /// Writes port 0x60 or 0x64.
    pub fn write(&mut self, port: u16, value: u8, out: &mut Effects) {
        match port {
            0x60 => self.write_data(value, out),
            0x64 => self.write_command(value, out),
            _ => {}
        }
    }

    fn write_data(&mut self, value: u8, out: &mut Effects) {
        self.command = false;
        match core::mem::replace(&mut self.expect, Expect::Device) {
            Expect::Device => {}
            Expect::Configuration => self.configuration = value,
            // Bit 0 is the processor's reset line, active low.
            Expect::OutputPort if value & 1 == 0 => out.push(Effect::Reset),
            Expect::OutputPort => {}
        }
    }

    fn write_command(&mut self, value: u8, out: &mut Effects) {
        self.command = true;
        self.expect = Expect::Device;
        match value {
            0x20 => self.output = Some(self.configuration),
            0x60 => self.expect = Expect::Configuration,
            0xa7 => self.configuration |= 0x20,
            0xa8 => self.configuration &= !0x20,
            0xad => self.configuration |= 0x10,
            0xae => self.configuration &= !0x10,
            // Self-test passed; both device ports fail theirs (clock line low).
            0xaa => self.output = Some(0x55),
            0xa9 | 0xab => self.output = Some(0x01),
            // Output port: A20 on, no reset.
            0xd0 => self.output = Some(0x03),
            0xd1 => self.expect = Expect::OutputPort,
            // Pulse output lines: bit 0 clear pulses reset.
            0xf0..=0xff if value & 1 == 0 => out.push(Effect::Reset),
            _ => {}
        }
    }
}

impl Default for I8042 {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(i8042: &mut I8042, value: u8) -> Option<Effect> {
        let mut out = Effects::new();
        i8042.write(0x64, value, &mut out);
        out.pop()
    }

    #[test]
    fn is_there_with_nothing_plugged_in() {
        let mut i8042 = I8042::new();
        assert_eq!(i8042.read(0x64) & 3, 0, "ready for a command, and nothing to read");
        assert_eq!(command(&mut i8042, 0xaa), None);
        assert_eq!((i8042.read(0x64) & 1, i8042.read(0x60), i8042.read(0x64) & 1), (1, 0x55, 0));
        command(&mut i8042, 0xab);
        assert_ne!(i8042.read(0x60), 0, "the keyboard port fails its test");
        // A command to a keyboard is answered by nobody.
        let mut out = Effects::new();
        i8042.write(0x60, 0xf4, &mut out);
        assert_eq!(i8042.read(0x64) & 1, 0);
        assert!(out.is_empty());
    }

    #[test]
    fn keeps_its_configuration() {
        let mut i8042 = I8042::new();
        command(&mut i8042, 0x60);
        i8042.write(0x60, 0x45, &mut Effects::new());
        command(&mut i8042, 0xad);
        command(&mut i8042, 0x20);
        assert_eq!(i8042.read(0x60), 0x55);
    }

    #[test]
    fn resets() {
        let mut i8042 = I8042::new();
        assert_eq!(command(&mut i8042, 0xfe), Some(Effect::Reset));
        assert_eq!(command(&mut i8042, 0xff), None, "no line pulsed");
        assert_eq!(command(&mut i8042, 0xd1), None);
        let mut out = Effects::new();
        i8042.write(0x60, 0x03, &mut out);
        assert!(out.is_empty(), "A20 is no reset");
        command(&mut i8042, 0xd1);
        i8042.write(0x60, 0x02, &mut out);
        assert_eq!(out.pop(), Some(Effect::Reset));
    }
}
