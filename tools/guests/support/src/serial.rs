//! COM1, for `println!`.

use crate::cpu::{in8, out8};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

const COM1: u16 = 0x3f8;
/// Transmit holding register empty, in the line status register.
const EMPTY: u8 = 1 << 5;

/// Only one processor writes at a time, a whole message each.
static BUSY: AtomicBool = AtomicBool::new(false);

struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // Bounded: a line without a UART behind it reads ones or never empties.
            for _ in 0..100_000 {
                if in8(COM1 + 5) & EMPTY != 0 {
                    break;
                }
            }
            out8(COM1, byte);
        }
        Ok(())
    }
}

/// Sets the UART up: 8 bits, no parity, FIFO on, interrupts off.
pub fn install() {
    for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 7), (4, 3)] {
        out8(COM1 + register, value);
    }
}

/// Prints a message.
pub fn print(message: fmt::Arguments<'_>) {
    while BUSY.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
        core::hint::spin_loop();
    }
    let _ = Serial.write_fmt(message);
    BUSY.store(false, Ordering::Release);
}

/// Prints a message even if another processor was stopped while it printed.
pub fn print_anyway(message: fmt::Arguments<'_>) {
    BUSY.store(false, Ordering::Release);
    print(message);
}

/// Prints a line on COM1.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {
        $crate::serial::print(format_args!("{}\n", format_args!($($argument)*)))
    };
}
