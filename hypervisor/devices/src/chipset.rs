//! The guest's chipset: everything at legacy ports, and the IOAPIC, wired together.
//!
//! | ports | what | line |
//! |---|---|---|
//! | 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1 | 8259A pair | INTR: [`Effect::External`] |
//! | 0x40..=0x43, 0x61 | 8254 | IRQ 0 at GSI 2 |
//! | 0x60, 0x64 | 8042, nothing plugged in | |
//! | 0x70..=0x73 | RTC and CMOS | GSI 8 |
//! | 0x80 | POST code, swallowed | |
//! | 0x92, 0xcf9 | resets | |
//! | 0x3f8..=0x3ff | 16550A, COM1 | GSI 4 |
//! | 0x600..=0x60b | PM1 and PM timer | SCI at GSI 9 |
//!
//! Any other port reads ones and swallows writes. PCI configuration ports never
//! come here.

use crate::effect::{Effect, Effects};
use crate::i8042::I8042;
use crate::ioapic::Ioapic;
use crate::pic::Pics;
use crate::pit::Pit;
use crate::pm::{PM_LAST, PM_TIMER, PM1_EVENT, PowerManagement};
use crate::rtc::Rtc;
use crate::snapshot::{self, RestoreFault, SaveFault};
use crate::uart::Uart;
use serde::{Deserialize, Serialize};
use spec::Width;

pub mod parts;
#[cfg(test)]
mod tests;

/// Global system interrupt of the PIT (IRQ 0, moved by a MADT override).
pub const GSI_TIMER: u8 = 2;
/// Global system interrupt of COM1.
pub const GSI_SERIAL: u8 = 4;
/// Global system interrupt of the RTC.
pub const GSI_CLOCK: u8 = 8;
/// Global system interrupt of the SCI, level-triggered.
pub const GSI_SCI: u8 = 9;

/// First port of COM1.
pub const SERIAL: u16 = 0x3f8;
/// Its last.
pub const SERIAL_LAST: u16 = 0x3ff;

/// What a chipset is made from.
#[derive(Clone, Copy, Debug)]
pub struct ChipsetConfig {
    /// Ticks of the time-stamp counter a second.
    pub tsc_hz: u64,
    /// Wall clock, seconds since 1970, at tick `start`.
    pub epoch_seconds: u64,
    /// Tick at which the guest's machine begins.
    pub start: u64,
    /// APIC ID of the IOAPIC.
    pub ioapic_id: u8,
    /// RAM below 4 GiB, for the CMOS.
    pub low_memory_bytes: u64,
    /// RAM above 4 GiB, for the CMOS.
    pub high_memory_bytes: u64,
}

/// Changes with each change of a model's state.
const VERSION: u16 = 1;
/// Every state fits in so many bytes.
pub const STATE_BYTES: usize = 6144;

/// The chipset of one guest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Chipset {
    ioapic: Ioapic,
    pics: Pics,
    pit: Pit,
    rtc: Rtc,
    uart: Uart,
    pm: PowerManagement,
    i8042: I8042,
    /// Level of INTR that the caller knows of.
    external: bool,
}

impl Chipset {
    /// A chipset after power-up.
    pub fn new(config: ChipsetConfig) -> Self {
        let ChipsetConfig { tsc_hz, epoch_seconds, start, ioapic_id, low_memory_bytes, high_memory_bytes } =
            config;
        Self {
            ioapic: Ioapic::new(ioapic_id),
            pics: Pics::new(),
            pit: Pit::new(start, tsc_hz),
            rtc: Rtc::new(start, tsc_hz, epoch_seconds, low_memory_bytes, high_memory_bytes),
            uart: Uart::new(),
            pm: PowerManagement::new(start, tsc_hz),
            i8042: I8042::new(),
            external: false,
        }
    }

    /// Writes the state into `into`, of which [`STATE_BYTES`] are enough, and says how many bytes it
    /// has. The caller has applied all effects.
    ///
    /// # Errors
    /// The place is too small.
    pub fn save(&self, into: &mut [u8]) -> Result<usize, SaveFault> {
        snapshot::encode(VERSION, self, into)
    }

    /// The chipset that `from` was saved of, which was made as this one was. This one stays as it is.
    /// Deadlines are as they were, and so is time to be.
    ///
    /// # Errors
    /// What is wrong with the state.
    pub fn restored(&self, from: &[u8]) -> Result<Self, RestoreFault> {
        let state: Self = snapshot::decode(VERSION, from)?;
        state.check(self)?;
        Ok(state)
    }

    /// The chipset that `from` was saved of, whatever that was made of.
    ///
    /// # Errors
    /// What is wrong with the state.
    pub fn of_state(from: &[u8]) -> Result<Self, RestoreFault> {
        let state: Self = snapshot::decode(VERSION, from)?;
        state.check(&state)?;
        Ok(state)
    }

    /// Says what about this state cannot be, of a chipset made as `own` is.
    fn check(&self, own: &Self) -> Result<(), RestoreFault> {
        self.ioapic.check()?;
        self.pics.check(&own.pics)?;
        self.pit.check(&own.pit)?;
        self.rtc.check(&own.rtc)?;
        self.uart.check()?;
        self.pm.check(&own.pm)?;
        snapshot::has(self.external == self.pics.is_requesting(), "the line from the 8259As")
    }

    /// Whether an access of `width` (1, 2 or 4 bytes) from `port` on reaches any device. Where not, it reads ones, and
    /// writes nothing.
    pub fn decodes(port: u16, width: Width) -> bool {
        (0..port_bytes(width)).filter_map(|index| port.checked_add(index)).any(is_of_a_device)
    }

    /// IN of `width` (1, 2 or 4 bytes) from `port`. Every byte goes to the device at
    /// its own port; bytes of nobody, and those beyond port 0xffff, read ones.
    pub fn port_read(&mut self, port: u16, width: Width, now: u64, out: &mut Effects) -> u32 {
        // Kernels read their clock often, and all of it at once.
        if port == PM_TIMER && width == Width::Dword {
            self.pm.advance(now);
            self.set_line(GSI_SCI, self.pm.line(), out);
            return self.pm.read_timer(now);
        }
        let mut value = u32::MAX;
        for index in 0..port_bytes(width) {
            let byte = match port.checked_add(index) {
                Some(port) => self.read_byte(port, now, out),
                None => 0xff,
            };
            let shift = 8 * u32::from(index);
            value = value & !(0xff << shift) | u32::from(byte) << shift;
        }
        value & width.mask() as u32
    }

    /// OUT of `width` (1, 2 or 4 bytes) to `port`, byte by byte from the lowest.
    pub fn port_write(&mut self, port: u16, width: Width, value: u32, now: u64, out: &mut Effects) {
        // The reset control register lies within PCI's CONFIG_ADDRESS; it answers to
        // byte accesses only, as chipsets do to tell the two apart.
        if port == 0xcf9 && width == Width::Byte {
            self.pm.write_reset_control(value as u8, out);
            return;
        }
        for index in 0..port_bytes(width) {
            if let Some(port) = port.checked_add(index) {
                self.write_byte(port, (value >> (8 * u32::from(index))) as u8, now, out);
            }
        }
    }

    /// Reads 32 bits of the IOAPIC's window (offset from 0xfec0_0000).
    pub fn ioapic_read(&self, offset: u32) -> u32 {
        self.ioapic.read(offset)
    }

    /// Writes 32 bits of the IOAPIC's window. It can open a pin that the timer waits
    /// for, so ask for [`deadline`](Self::deadline) again. Edges that the masked timer
    /// made meanwhile come as one, at once.
    pub fn ioapic_write(&mut self, offset: u32, value: u32, out: &mut Effects) {
        self.ioapic.write(offset, value, out);
    }

    /// A local APIC ended the level-triggered interrupt `vector`.
    pub fn end_of_interrupt(&mut self, vector: u8, out: &mut Effects) {
        self.ioapic.end_of_interrupt(vector, out);
    }

    /// Sets a global system interrupt: the IOAPIC's pin and, for the first 16, the
    /// 8259A's line. GSI 2 is IRQ 0; GSI 0 is no IRQ. Where several functions share
    /// a GSI, the level is the OR of theirs and the caller's to form.
    #[inline(always)]
    pub fn set_line(&mut self, gsi: u8, level: bool, out: &mut Effects) {
        // Levels are set again after every access to a device; mostly they stand.
        if self.ioapic.is_asserted(gsi) != level {
            self.change_line(gsi, level, out);
        }
    }

    #[inline(never)]
    fn change_line(&mut self, gsi: u8, level: bool, out: &mut Effects) {
        self.ioapic.set_line(gsi, level, out);
        if let Some(irq) = irq_of(gsi) {
            self.pics.set_line(irq, level);
            self.report_external(out);
        }
    }

    /// The machine's line behind `gsi` (from 16 on) is asserted, and its interrupt stays
    /// in service there until an [`Effect::Resample`] asks to end it: so a line that stays
    /// asserted interrupts the guest once for each end of interrupt.
    pub fn assert_line(&mut self, gsi: u8, out: &mut Effects) {
        self.ioapic.assert_resampled(gsi, out);
    }

    /// The machine's line behind `gsi` goes nowhere any more.
    pub fn deassert_line(&mut self, gsi: u8) {
        self.ioapic.deassert_resampled(gsi);
    }

    /// The global system interrupts that are asserted, a bit each.
    pub const fn asserted(&self) -> u32 {
        self.ioapic.asserted()
    }

    /// Level of the 8259A's INTR. An [`Effect::External`] tells of its changes, but
    /// for the one that [`acknowledge_external`](Self::acknowledge_external) makes.
    pub fn external_pending(&self) -> bool {
        self.pics.is_requesting()
    }

    /// The processor's INTA cycle: gives the vector (a spurious one if INTR fell in
    /// between). It mostly drops INTR, and no effect tells of that: whoever keeps its
    /// level takes it from [`external_pending`](Self::external_pending) afterwards,
    /// under the same lock, or goes on taking spurious interrupts for ever.
    pub fn acknowledge_external(&mut self) -> u8 {
        let vector = self.pics.acknowledge();
        self.external = self.pics.is_requesting();
        vector
    }

    /// A byte typed on the console; false when more waits for the guest already than the
    /// UART keeps: offer it again later.
    #[must_use]
    pub fn receive(&mut self, byte: u8, out: &mut Effects) -> bool {
        let taken = self.uart.receive(byte);
        self.drive_serial(out);
        taken
    }

    /// The power button: the guest's operating system is asked to shut down.
    pub fn press_power_button(&mut self, out: &mut Effects) {
        self.pm.press_power_button();
        self.set_line(GSI_SCI, self.pm.line(), out);
    }

    /// Tick at which [`tick`](Self::tick) is to be called; it may be in the past, then
    /// call it now. Devices whose interrupt is masked at both controllers are not
    /// waited for. Ask again after every port write, IOAPIC write and tick.
    pub fn deadline(&self) -> Option<u64> {
        let devices = [
            (self.pit.deadline(), GSI_TIMER),
            (self.rtc.deadline(), GSI_CLOCK),
            (self.pm.deadline(), GSI_SCI),
        ];
        let mut next = None::<u64>;
        for (deadline, gsi) in devices {
            // Mostly there is none, and no need to look at the controllers.
            if let Some(deadline) = deadline
                && self.is_open(gsi)
            {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
            }
        }
        next
    }

    /// Lets time go by up to `now`. Afterwards [`deadline`](Self::deadline) is later.
    pub fn tick(&mut self, now: u64, out: &mut Effects) {
        if self.pit.advance(now) {
            // The falling edge in between is of no interest to anybody.
            self.set_line(GSI_TIMER, false, out);
            self.set_line(GSI_TIMER, true, out);
        }
        self.rtc.advance(now);
        self.set_line(GSI_CLOCK, self.rtc.line(), out);
        self.pm.advance(now);
        self.set_line(GSI_SCI, self.pm.line(), out);
    }

    /// Whether somebody would see an interrupt at `gsi`.
    fn is_open(&self, gsi: u8) -> bool {
        self.ioapic.is_open(gsi) || irq_of(gsi).is_some_and(|irq| self.pics.is_open(irq))
    }

    fn read_byte(&mut self, port: u16, now: u64, out: &mut Effects) -> u8 {
        match port {
            SERIAL..=SERIAL_LAST => {
                let value = self.uart.read((port - SERIAL) as u8);
                self.drive_serial(out);
                value
            }
            // An edge at a masked 8259A line is kept, so it must be there before the
            // guest looks, although nobody waited for it.
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => {
                self.tick(now, out);
                let value = self.pics.read(port);
                self.report_external(out);
                value
            }
            0x40..=0x43 | 0x61 => self.pit.read(port, now),
            0x60 | 0x64 => self.i8042.read(port),
            0x70..=0x73 => {
                self.rtc.advance(now);
                let value = self.rtc.read(port, now);
                self.set_line(GSI_CLOCK, self.rtc.line(), out);
                value
            }
            0x92 => self.pm.read_port_92(),
            0xcf9 => self.pm.read_reset_control(),
            PM1_EVENT..=PM_LAST => {
                self.pm.advance(now);
                self.set_line(GSI_SCI, self.pm.line(), out);
                self.pm.read(port, now)
            }
            _ => 0xff,
        }
    }

    fn write_byte(&mut self, port: u16, value: u8, now: u64, out: &mut Effects) {
        match port {
            SERIAL..=SERIAL_LAST => {
                if let Some(byte) = self.uart.write((port - SERIAL) as u8, value) {
                    out.push(Effect::Transmit(byte));
                }
                self.drive_serial(out);
            }
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => {
                self.tick(now, out);
                self.pics.write(port, value);
                self.report_external(out);
            }
            0x40..=0x43 | 0x61 => {
                self.tick(now, out);
                self.pit.write(port, value, now);
            }
            0x60 | 0x64 => self.i8042.write(port, value, out),
            0x70..=0x73 => {
                self.rtc.advance(now);
                self.rtc.write(port, value, now);
                self.set_line(GSI_CLOCK, self.rtc.line(), out);
            }
            0x92 => self.pm.write_port_92(value, out),
            PM1_EVENT..=PM_LAST => {
                self.pm.advance(now);
                self.pm.write(port, value, out);
                self.set_line(GSI_SCI, self.pm.line(), out);
            }
            _ => {}
        }
    }

    fn drive_serial(&mut self, out: &mut Effects) {
        self.set_line(GSI_SERIAL, self.uart.line(), out);
    }

    /// Tells the caller of INTR when it has changed.
    fn report_external(&mut self, out: &mut Effects) {
        let external = self.pics.is_requesting();
        if external != self.external {
            self.external = external;
            out.push(Effect::External(external));
        }
    }
}

/// The 8259A line of a global system interrupt.
const fn irq_of(gsi: u8) -> Option<u8> {
    match gsi {
        GSI_TIMER => Some(0),
        0 => None,
        1..16 => Some(gsi),
        _ => None,
    }
}

/// Bytes that a port access moves; there is none of 8.
const fn is_of_a_device(port: u16) -> bool {
    matches!(
        port,
        0x20 | 0x21
            | 0x40..=0x43
            | 0x60 | 0x61 | 0x64
            | 0x70..=0x73
            | 0x92
            | 0xa0 | 0xa1
            | SERIAL..=SERIAL_LAST
            | 0x4d0 | 0x4d1
            | PM1_EVENT..=PM_LAST
            | 0xcf9
    )
}

const fn port_bytes(width: Width) -> u16 {
    match width {
        Width::Byte => 1,
        Width::Word => 2,
        Width::Dword | Width::Qword => 4,
    }
}
