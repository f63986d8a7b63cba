//! The machine's serial ports, 16550s at I/O ports or in memory (National PC16550D data
//! sheet), by the crate `uart_16550`.

use consoles::port::{Cause, SerialPort};
use consoles::presence::{self, Absent, NOBODY, Registers as _};
use spec::Hpa;
use uart_16550::backend::Backend;
use uart_16550::spec::registers::{FifoTriggerLevel, IER, InterruptType, LSR, MCR};
use uart_16550::{BaudRate, Config, Uart16550};

use crate::cpu::ports;
use crate::memory::mmio::Window;

pub use consoles::presence::divisor;

/// The first serial port of every PC.
pub const COM1: u16 = 0x3f8;

/// Registers: data, interrupt enable, modem control, line status.
const DATA: u8 = 0;
const INTERRUPT_ENABLE: u8 = 1;
const MODEM_CONTROL: u8 = 4;
const LINE_STATUS: u8 = 5;
/// Polls before a transmitter counts as stuck; each takes about a microsecond on
/// real hardware, and 16 characters at 115200 baud take 1.4 ms. An emulator's takes as
/// long as whoever reads its output wants, on a busy machine some tenths of a second.
pub const POLLS: u32 = 2_000_000;
/// Bytes that a transmitter with a FIFO takes at once.
const FIFO_BYTES: usize = 16;
/// What a PC's ports divide their clock by to have 115,200 bits in a second.
pub const PC_DIVISOR: u16 = 1;

/// Where a port's registers are.
#[derive(Clone, Copy, Debug)]
pub enum Registers {
    /// At 8 I/O ports from here on.
    Ports(u16),
    /// In memory, this many bytes apart, with accesses of 32 bits or of 8.
    Memory {
        /// The mapped registers.
        window: Window,
        /// Bytes from one to the next.
        stride: u8,
        /// Accesses are of 32 bits.
        wide: bool,
    },
}

impl Registers {
    /// Maps registers in memory.
    ///
    /// # Errors
    /// They cannot be mapped: RAM is there.
    pub fn map(hpa: Hpa, stride: u8, wide: bool) -> Result<Self, Absent> {
        let window = Window::map(hpa, 8 * u64::from(stride)).map_err(|_| Absent::Unmapped)?;
        Ok(Self::Memory { window, stride, wide })
    }

    /// Whether they are where every PC has its serial ports, if it has any.
    fn is_of_pc(self) -> bool {
        matches!(self, Self::Ports(COM1 | 0x2f8 | 0x3e8 | 0x2e8))
    }

    /// Sends by polling, past everybody who may be sending too. For what is said when
    /// nothing else can be relied on. Returns whether the transmitter took everything.
    pub fn send_anyway(self, bytes: &[u8]) -> bool {
        let empty = || self.read(LINE_STATUS) & LSR::THR_EMPTY.bits() != 0;
        bytes.iter().all(|byte| {
            let took = (0..POLLS).any(|_| empty());
            if took {
                self.write(DATA, *byte);
            }
            took
        })
    }
}

impl presence::Registers for Registers {
    fn read(&self, register: u8) -> u8 {
        match *self {
            // SAFETY: the ports of a serial port or of nobody: those of a PC, or what tables or
            // a BAR name and the plan compared with the board's own. No guest has them, and a
            // UART does no DMA.
            Self::Ports(base) => unsafe { ports::read8(base.wrapping_add(register.into())) },
            Self::Memory { window, stride, wide } => {
                let offset = usize::from(register) * usize::from(stride);
                if wide { window.read_u32(offset) as u8 } else { window.read_u8(offset) }
            }
        }
    }

    fn write(&self, register: u8, value: u8) {
        match *self {
            // SAFETY: as above.
            Self::Ports(base) => unsafe { ports::write8(base.wrapping_add(register.into()), value) },
            Self::Memory { window, stride, wide } => {
                let offset = usize::from(register) * usize::from(stride);
                if wide { window.write_u32(offset, value.into()) } else { window.write_u8(offset, value) }
            }
        }
    }
}

/// Registers that end every poll of the crate's while it sets the port up: after too many looks
/// at a line status that says "busy", it says "empty". Nothing is sent by way of them.
#[derive(Debug)]
struct Bounded<R> {
    registers: R,
    polls: u32,
}

impl<R: presence::Registers> Backend for Bounded<R> {
    unsafe fn read(&mut self, register: u8) -> u8 {
        let value = self.registers.read(register);
        if register != LINE_STATUS || value & LSR::TRANSMITTER_EMPTY.bits() != 0 {
            return value;
        }
        if self.polls < POLLS {
            self.polls += 1;
            return value;
        }
        value | (LSR::TRANSMITTER_EMPTY | LSR::THR_EMPTY).bits()
    }

    unsafe fn write(&mut self, register: u8, value: u8) {
        self.registers.write(register, value);
    }
}

/// A serial port that answers.
#[derive(Debug)]
pub struct Port {
    uart: Uart16550<Bounded<Registers>>,
    interrupts: IER,
    ready: bool,
}

impl Port {
    /// Sets a port to 8 data bits, no parity, one stop bit, FIFOs on, no interrupts, and has
    /// it divide its clock by `divisor`, or by what it does already.
    ///
    /// # Errors
    /// Nothing answers there as a port does.
    pub fn probe(registers: Registers, divisor: Option<u16>) -> Result<Self, Absent> {
        presence::test(&registers, registers.is_of_pc())?;
        // SAFETY: a UART's registers, as it was asked; they are the hypervisor's alone.
        let mut uart = unsafe { Uart16550::new_with_backend(Bounded { registers, polls: 0 }) };
        let divisor = divisor.unwrap_or_else(|| {
            let (low, high) = uart.dll_dlm();
            u16::from_le_bytes([low, high])
        });
        let config = Config {
            interrupts: IER::empty(),
            // With room for 8 more while somebody comes.
            fifo_trigger_level: Some(FifoTriggerLevel::Eight),
            // Whatever its clock is: what gives this divisor. One that was never set is 0.
            frequency: 16 * u32::from(divisor.max(PC_DIVISOR)),
            baud_rate: BaudRate::Custom(1),
            ..Config::DEFAULT
        };
        uart.init(config).map_err(|_| Absent::Forgets)?;
        if uart.backend().polls == POLLS {
            return Err(Absent::Stuck);
        }
        Ok(Self { uart, interrupts: IER::empty(), ready: true })
    }

    /// Where it is.
    pub fn registers(&self) -> Registers {
        self.uart.backend().registers
    }

    /// Waits until everything is on the line, before the machine goes off.
    pub fn drain(&mut self) {
        let registers = self.registers();
        let _ = (0..POLLS).any(|_| registers.read(LINE_STATUS) & LSR::TRANSMITTER_EMPTY.bits() != 0);
    }
}

impl SerialPort for Port {
    fn room(&mut self) -> usize {
        match self.registers().read(LINE_STATUS) & LSR::THR_EMPTY.bits() != 0 {
            false => 0,
            true if self.uart.fifo_enabled() => FIFO_BYTES,
            true => 1,
        }
    }

    fn send(&mut self, byte: u8) {
        self.registers().write(DATA, byte);
    }

    fn receive(&mut self) -> Option<u8> {
        has_received(self.registers().read(LINE_STATUS)).then(|| self.registers().read(DATA))
    }

    fn set_interrupts(&mut self, receive: bool, transmit: bool) {
        let mut wanted = IER::empty();
        wanted.set(IER::DATA_READY, receive);
        wanted.set(IER::THR_EMPTY, transmit);
        if wanted != self.interrupts {
            self.interrupts = wanted;
            self.registers().write(INTERRUPT_ENABLE, wanted.bits());
        }
    }

    fn set_ready(&mut self, ready: bool) {
        if ready != self.ready {
            self.ready = ready;
            let mut lines = MCR::DTR | MCR::OUT_2_INT_ENABLE;
            lines.set(MCR::RTS, ready);
            self.registers().write(MODEM_CONTROL, lines.bits());
        }
    }

    fn cause(&mut self) -> Cause {
        match self.uart.isr().interrupt_type() {
            None => Cause::None,
            Some(InterruptType::TransmitterHoldingRegisterEmpty) => Cause::Transmit,
            Some(_) => Cause::Other,
        }
    }
}

/// Whether a line status says that a byte waits. One of ones is nobody's.
const fn has_received(status: u8) -> bool {
    status != NOBODY && status & LSR::DATA_READY.bits() != 0
}

#[cfg(test)]
mod tests;
