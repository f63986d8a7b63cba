//! Turning the machine off (ACPI specification section 4.8.3.2).

use crate::console;
use crate::cpu::{ports, tsc};
use crate::emulators;

/// What `\_S5` and the FADT say about turning off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SoftOff {
    /// PM1a control port.
    pub pm1a_control: u16,
    /// PM1b control port, where there is one.
    pub pm1b_control: Option<u16>,
    /// SLP_TYP for PM1a, 3 bits.
    pub sleep_type_a: u8,
    /// SLP_TYP for PM1b, 3 bits.
    pub sleep_type_b: u8,
}

const SLEEP_TYPE: u16 = 7 << 10;
const SLEEP_ENABLE: u16 = 1 << 13;

fn sleep_control(old: u16, sleep_type: u8) -> u16 {
    old & !(SLEEP_TYPE | SLEEP_ENABLE) | u16::from(sleep_type & 7) << 10
}

/// Turns the machine off. Returns if it is still on after a second: then there is
/// nothing but to stay halted.
pub fn power_off(off: &SoftOff) {
    console::drain();
    let registers = [(Some(off.pm1a_control), off.sleep_type_a), (off.pm1b_control, off.sleep_type_b)];
    // The type goes into both before either is enabled.
    for enable in [0, SLEEP_ENABLE] {
        for (port, sleep_type) in registers {
            let Some(port) = port.filter(|port| *port != 0) else { continue };
            // SAFETY: the FADT says that this is PM1 control; writing it does no DMA,
            // and nothing runs on when it works.
            unsafe { ports::write16(port, sleep_control(ports::read16(port), sleep_type) | enable) };
        }
    }
    tsc::delay_us(1_000_000);
}

/// Ends QEMU with status `2 * code + 1` where it has an `isa-debug-exit` device at port
/// 0xf4. Does nothing on a machine that is not QEMU's.
pub fn debug_exit(code: u8) {
    if emulators::is_qemu() {
        // SAFETY: in QEMU the port belongs to that device or to nobody.
        unsafe { ports::write8(0xf4, code) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sleep_type_replaces_the_old_one_and_spares_the_rest() {
        assert_eq!(sleep_control(0x3c01 | 0x0200, 5), 0x1601);
        assert_eq!(sleep_control(0, 0xff), 0x1c00);
    }
}
