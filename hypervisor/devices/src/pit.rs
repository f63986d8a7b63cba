//! The 8254 interval timer and the speaker port 0x61 (Intel 8254 data sheet).
//!
//! Nothing counts: a channel remembers when it was loaded, and count and output
//! follow from the time. Channel 0 is wired to IRQ 0, channel 1 was the memory
//! refresh, channel 2 is the speaker and what kernels calibrate against.

use crate::rate::Rate;
use crate::snapshot::{self, RestoreFault};
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// Input clock in Hz.
pub const PIT_HZ: u64 = 1_193_182;

/// Fewest input clocks between two interrupts of channel 0, about 100 µs: faster
/// periods still count right, but their interrupts coalesce.
pub const MINIMUM_INTERRUPT_CLOCKS: u64 = 120;

/// Which bytes of a count an access moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Bytes {
    Low = 1,
    High = 2,
    Both = 3,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Channel {
    /// 0 to 5.
    mode: u8,
    bytes: Bytes,
    bcd: bool,
    /// Initial count, 1 to 65536 (10000 in BCD).
    initial: u32,
    /// A count was written since the control word.
    loaded: bool,
    /// Modes 1 and 5: the gate has risen since the count was written.
    triggered: bool,
    /// Input clock at which counting began.
    origin: u64,
    /// Clocks counted before the gate fell, while it is low.
    paused: u64,
    gate: bool,
    /// First byte of a count of two.
    low_written: Option<u8>,
    /// The next read of a count of two gives the upper byte.
    high_next: bool,
    latched_count: Option<u16>,
    latched_status: Option<u8>,
}

impl Channel {
    const fn new(gate: bool) -> Self {
        Self {
            mode: 3,
            bytes: Bytes::Both,
            bcd: false,
            initial: 0x1_0000,
            loaded: false,
            triggered: false,
            origin: 0,
            paused: 0,
            gate,
            low_written: None,
            high_next: false,
            latched_count: None,
            latched_status: None,
        }
    }

    /// Whether a counter can be as this one is said to be.
    const fn is_possible(&self) -> bool {
        let has_low_byte = self.low_written.is_none() || matches!(self.bytes, Bytes::Both);
        // Before the first count is written it is the longest in binary.
        let most = if self.loaded { self.modulus() } else { 0x1_0000 };
        self.mode <= 5 && self.initial != 0 && self.initial as u64 <= most && has_low_byte
    }

    /// Counts that the counter has: 65536, or 10000 in BCD.
    const fn modulus(&self) -> u64 {
        if self.bcd { 10_000 } else { 0x1_0000 }
    }

    /// Input clocks counted at input clock `clock`.
    fn elapsed(&self, clock: u64) -> u64 {
        // Modes 1 and 5 use the gate's edge, not its level.
        if self.gate || matches!(self.mode, 1 | 5) { clock.saturating_sub(self.origin) } else { self.paused }
    }

    /// Whether the counter runs at all.
    const fn started(&self) -> bool {
        self.loaded && (self.triggered || !matches!(self.mode, 1 | 5))
    }

    fn output(&self, clock: u64) -> bool {
        if !self.started() {
            return self.mode != 0;
        }
        let (elapsed, initial) = (self.elapsed(clock), u64::from(self.initial));
        match self.mode {
            0 | 1 => elapsed >= initial,
            2 => !self.gate || phase(elapsed, initial) != initial - 1,
            3 => !self.gate || phase(elapsed, initial) < initial.div_ceil(2),
            _ => elapsed != initial,
        }
    }

    /// The counting element as software reads it.
    fn count(&self, clock: u64) -> u16 {
        let initial = u64::from(self.initial);
        let elapsed = if self.started() { self.elapsed(clock) } else { 0 };
        let count = match self.mode {
            2 => initial - phase(elapsed, initial),
            // Square wave: it counts by two, twice a period.
            3 => initial - phase(2 * phase(elapsed, initial), initial),
            // The others wrap after the terminal count.
            _ => (initial + self.modulus() - elapsed % self.modulus()) % self.modulus(),
        };
        let count = (count % self.modulus()) as u16;
        if self.bcd { to_bcd(count) } else { count }
    }

    fn status(&self, clock: u64) -> u8 {
        u8::from(self.output(clock)) << 7
            | u8::from(!self.loaded) << 6
            | (self.bytes as u8) << 4
            | self.mode << 1
            | u8::from(self.bcd)
    }

    fn control(&mut self, word: u8, bytes: Bytes) {
        *self = Self {
            mode: match word >> 1 & 7 {
                // The upper bit is ignored in modes 2 and 3.
                mode @ 6.. => mode - 4,
                mode => mode,
            },
            bytes,
            bcd: word & 1 != 0,
            ..Self::new(self.gate)
        };
    }

    /// Writes a byte of the count; true when the count is complete.
    fn write(&mut self, value: u8, clock: u64) -> bool {
        let count = match (self.bytes, self.low_written) {
            (Bytes::Low, _) => u16::from(value),
            (Bytes::High, _) => u16::from(value) << 8,
            (Bytes::Both, None) => {
                self.low_written = Some(value);
                return false;
            }
            (Bytes::Both, Some(low)) => u16::from_le_bytes([low, value]),
        };
        self.low_written = None;
        let count = if self.bcd { from_bcd(count) } else { u32::from(count) };
        // 0 is the longest count, so no count is ever 0.
        self.initial = if count == 0 { self.modulus() as u32 } else { count };
        self.loaded = true;
        self.triggered = false;
        self.origin = clock;
        self.paused = 0;
        true
    }

    fn read(&mut self, clock: u64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let [low, high] = self.latched_count.unwrap_or_else(|| self.count(clock)).to_le_bytes();
        let (value, done) = match (self.bytes, self.high_next) {
            (Bytes::Low, _) => (low, true),
            (Bytes::High, _) | (Bytes::Both, true) => (high, true),
            (Bytes::Both, false) => (low, false),
        };
        self.high_next = !done;
        if done {
            self.latched_count = None;
        }
        value
    }

    /// A latch holds until it is read; a second one changes nothing.
    fn latch_count(&mut self, clock: u64) {
        if self.latched_count.is_none() {
            self.latched_count = Some(self.count(clock));
        }
    }

    fn latch_status(&mut self, clock: u64) {
        if self.latched_status.is_none() {
            self.latched_status = Some(self.status(clock));
        }
    }

    fn set_gate(&mut self, gate: bool, clock: u64) {
        if gate == self.gate {
            return;
        }
        let elapsed = self.elapsed(clock);
        self.gate = gate;
        match (self.mode, gate) {
            (1 | 5, true) => {
                self.origin = clock;
                self.triggered = true;
            }
            (1 | 5, false) => {}
            (_, false) => self.paused = elapsed,
            // Modes 2 and 3 start their period again.
            (2 | 3, true) => self.origin = clock,
            (_, true) => self.origin = clock.saturating_sub(self.paused),
        }
    }

    /// Input clock after `clock` at which the output next rises.
    fn next_rise(&self, clock: u64) -> Option<u64> {
        if !self.started() || !self.gate {
            return None;
        }
        let initial = u64::from(self.initial);
        match self.mode {
            2 | 3 => {
                let periods = clock.saturating_sub(self.origin).checked_div(initial)?.checked_add(1)?;
                self.origin.checked_add(periods.checked_mul(initial)?)
            }
            _ => self.origin.checked_add(initial).filter(|rise| *rise > clock),
        }
    }
}

/// Input clocks since the last period of `initial` began. A counter's initial count is never 0,
/// which stands for 65536; if it were, there would be no period.
fn phase(elapsed: u64, initial: u64) -> u64 {
    elapsed.checked_rem(initial).unwrap_or(0)
}

/// The timer chip and port 0x61.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pit {
    rate: Rate,
    channels: [Channel; 3],
    /// Input clock of the next interrupt, and its tick.
    next: Option<(u64, u64)>,
    /// Port 0x61 bits 0 to 3 as written; bit 0 is channel 2's gate.
    speaker: u8,
}

impl Pit {
    /// A timer whose input clock reads 0 at tick `start`. No channel counts.
    pub const fn new(start: u64, tsc_hz: u64) -> Self {
        Self {
            rate: Rate::new(start, PIT_HZ, tsc_hz),
            channels: [Channel::new(true), Channel::new(true), Channel::new(false)],
            next: None,
            speaker: 0,
        }
    }

    /// Says what about this state cannot be, of a timer made as `own` is.
    pub(crate) fn check(&self, own: &Self) -> Result<(), RestoreFault> {
        let next_is_right = self.next.is_none_or(|(rise, tick)| self.rate.tick_of(rise) == Some(tick));
        snapshot::is_of(self.rate.has_the_speed_of(&own.rate))?;
        snapshot::has(self.channels.iter().all(Channel::is_possible), "a counter of the 8254")?;
        snapshot::has(next_is_right, "the 8254's next interrupt")?;
        snapshot::has(self.speaker <= 0x0f, "port 0x61")
    }

    /// Reads port 0x40 to 0x43 or 0x61; other ports, and the write-only control
    /// port, read ones.
    pub fn read(&mut self, port: u16, now: u64) -> u8 {
        let clock = self.rate.count_at(now);
        match port {
            0x40..=0x42 => {
                self.channels.get_mut(usize::from(port - 0x40)).map_or(0xff, |channel| channel.read(clock))
            }
            0x61 => {
                // Bit 4 toggled with each memory refresh, about every 15 µs.
                let refresh = ((clock / 18) & 1) as u8;
                let output = self.channels.get(2).is_some_and(|channel| channel.output(clock));
                self.speaker | refresh << 4 | u8::from(output) << 5
            }
            _ => 0xff,
        }
    }

    /// Writes port 0x40 to 0x43 or 0x61.
    pub fn write(&mut self, port: u16, value: u8, now: u64) {
        let clock = self.rate.count_at(now);
        match port {
            0x40..=0x42 => {
                let complete = self
                    .channels
                    .get_mut(usize::from(port - 0x40))
                    .is_some_and(|channel| channel.write(value, clock));
                if complete && port == 0x40 {
                    self.plan(clock, 0);
                }
            }
            0x43 => self.control(value, clock),
            0x61 => {
                self.speaker = value & 0x0f;
                if let Some(channel) = self.channels.get_mut(2) {
                    channel.set_gate(value & 1 != 0, clock);
                }
            }
            _ => {}
        }
    }

    /// Tick at which [`advance`](Self::advance) next reports an edge of IRQ 0.
    pub const fn deadline(&self) -> Option<u64> {
        match self.next {
            Some((_, tick)) => Some(tick),
            None => None,
        }
    }

    /// Whether IRQ 0 rose since the last call. However often it did, that is one
    /// edge, and the next deadline is after `now`.
    pub fn advance(&mut self, now: u64) -> bool {
        if self.next.is_none_or(|(_, tick)| tick > now) {
            return false;
        }
        self.plan(self.rate.count_at(now), MINIMUM_INTERRUPT_CLOCKS - 1);
        true
    }

    /// Sets the next interrupt to the first edge more than `gap` clocks after `clock`.
    fn plan(&mut self, clock: u64, gap: u64) {
        self.next = self
            .channels
            .first()
            .and_then(|channel| channel.next_rise(clock.saturating_add(gap)))
            .and_then(|rise| Some((rise, self.rate.tick_of(rise)?)));
    }

    fn control(&mut self, word: u8, clock: u64) {
        let select = usize::from(word >> 6);
        if select == 3 {
            self.read_back(word, clock);
            return;
        }
        let Some(channel) = self.channels.get_mut(select) else { return };
        let bytes = match word >> 4 & 3 {
            0 => return channel.latch_count(clock),
            1 => Bytes::Low,
            2 => Bytes::High,
            _ => Bytes::Both,
        };
        channel.control(word, bytes);
        if select == 0 {
            self.next = None;
        }
    }

    /// Bits 5 and 4 clear: latch count, latch status; bits 1 to 3: of which channels.
    fn read_back(&mut self, word: u8, clock: u64) {
        for (index, channel) in self.channels.iter_mut().enumerate() {
            if word >> (index + 1) & 1 == 0 {
                continue;
            }
            if word & 0x20 == 0 {
                channel.latch_count(clock);
            }
            if word & 0x10 == 0 {
                channel.latch_status(clock);
            }
        }
    }
}

/// Four decimal digits.
const fn to_bcd(value: u16) -> u16 {
    (value % 10) | (value / 10 % 10) << 4 | (value / 100 % 10) << 8 | (value / 1000 % 10) << 12
}

/// The inverse for what a guest writes: digits above 9 count as what they say.
const fn from_bcd(value: u16) -> u32 {
    let value = value as u32;
    ((value & 0xf) + (value >> 4 & 0xf) * 10 + (value >> 8 & 0xf) * 100 + (value >> 12) * 1000) % 10_000
}
