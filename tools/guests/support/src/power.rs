//! Ways for a guest to end.

use crate::cpu::{halt, in8, out8, out16};

/// PM1a control register of the guest chipset and of SeaBIOS on q35.
const PM1_CONTROL: u16 = 0x604;
const SLEEP_ENABLE: u16 = 1 << 13;

/// Powers the machine off: `_S5` is 5 in Bulkhead's guest chipset, 0 in QEMU's.
pub fn off() -> ! {
    out16(PM1_CONTROL, 5 << 10 | SLEEP_ENABLE);
    out16(PM1_CONTROL, SLEEP_ENABLE);
    halt()
}

/// Resets the machine through the chipset's reset register.
pub fn reset() -> ! {
    out8(0xcf9, 0x02);
    out8(0xcf9, 0x06);
    halt()
}

/// Resets the machine by a fault without any handler.
pub fn triple_fault() -> ! {
    crate::trap::load_table(0, 0);
    // SAFETY: does not return: delivering #UD faults thrice.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}

/// Whether the keyboard controller answers at all (it reads ones where absent).
pub fn has_keyboard_controller() -> bool {
    in8(0x64) != 0xff
}
