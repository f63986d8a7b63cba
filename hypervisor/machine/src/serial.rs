//! COM1, a 16550 at I/O ports 0x3f8 to 0x3ff (National PC16550D data sheet).

use crate::ports;

const BASE: u16 = 0x3f8;
/// Line status: received data is ready.
const DATA_READY: u8 = 1 << 0;
/// Line status: the transmitter can take data.
const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// Line status: nothing is left to send, in the FIFO or on the line.
const ALL_SENT: u8 = 1 << 6;
/// Polls before a transmitter counts as stuck; each takes about a microsecond on
/// real hardware, and 16 characters at 115200 baud take 1.4 ms. An emulator's takes as
/// long as whoever reads its output wants, on a busy machine some tenths of a second.
const POLLS: u32 = 2_000_000;
/// A transmitter that was stuck this often is not asked again.
const PATIENCE: u8 = 3;

/// COM1, if there is one.
pub struct Serial {
    /// Characters the transmitter takes at once: 16 with a FIFO.
    burst: u8,
    room: u8,
    failures: u8,
}

fn read(register: u16) -> u8 {
    // SAFETY: the ports of COM1 are the hypervisor's; a UART does no DMA.
    unsafe { ports::read8(BASE + register) }
}

fn write(register: u16, value: u8) {
    // SAFETY: as above.
    unsafe { ports::write8(BASE + register, value) }
}

impl Serial {
    /// Sets COM1 to 115200 baud, 8 data bits, no parity, one stop bit, FIFOs on, no
    /// interrupts; `None` if nothing answers there. Ports that nobody decodes read
    /// ones, so the scratch register must keep two patterns.
    pub fn probe() -> Option<Self> {
        for pattern in [0x5a, 0xa5] {
            write(7, pattern);
            if read(7) != pattern {
                return None;
            }
        }
        write(1, 0); // no interrupts
        write(3, 0x80); // divisor latch
        write(0, 1); // 115200 baud
        write(1, 0);
        write(3, 0x03); // 8N1
        write(2, 0x07); // FIFOs on and empty
        write(4, 0x03); // DTR, RTS
        let fifo = read(2) & 0xc0 == 0xc0;
        Some(Self { burst: if fifo { 16 } else { 1 }, room: 0, failures: 0 })
    }

    /// Sends `bytes`. What a stuck transmitter does not take is lost.
    pub fn send(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.failures >= PATIENCE {
                return;
            }
            if self.room == 0 {
                if !(0..POLLS).any(|_| read(5) & TRANSMITTER_EMPTY != 0) {
                    self.failures += 1;
                    return;
                }
                self.failures = 0;
                self.room = self.burst;
            }
            self.room -= 1;
            write(0, *byte);
        }
    }

    /// Waits until everything is on the line, before the machine goes off.
    pub fn drain(&mut self) {
        if self.failures < PATIENCE {
            let _ = (0..POLLS).any(|_| read(5) & ALL_SENT != 0);
        }
    }

    /// A received character, if there is one.
    pub fn receive(&mut self) -> Option<u8> {
        let status = read(5);
        (status != 0xff && status & DATA_READY != 0).then(|| read(0))
    }
}
