//! The MC146818 real-time clock with its CMOS memory (Motorola data sheet; the
//! second bank and the memory sizes are those of PC firmware).
//!
//! The clock is a 32.768 kHz counter from a start tick plus an offset that the guest
//! changes by setting the time. Flags are found out when somebody looks.

use crate::rate::Rate;
use crate::snapshot::{self, RestoreFault};

mod calendar;

#[cfg(test)]
mod tests;

use calendar::{Calendar, DateTime};
use serde::{Deserialize, Serialize};

const SECONDS: u8 = 0x00;
const SECONDS_ALARM: u8 = 0x01;
const MINUTES: u8 = 0x02;
const MINUTES_ALARM: u8 = 0x03;
const HOURS: u8 = 0x04;
const HOURS_ALARM: u8 = 0x05;
const WEEKDAY: u8 = 0x06;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const REGISTER_A: u8 = 0x0a;
const REGISTER_B: u8 = 0x0b;
const REGISTER_C: u8 = 0x0c;
const REGISTER_D: u8 = 0x0d;
const CENTURY: u8 = 0x32;

/// Register A: an update is about to happen.
const UPDATE_IN_PROGRESS: u8 = 1 << 7;
/// Register B: the guest is setting the time; it stands still.
const SET: u8 = 1 << 7;
/// Registers B (enable) and C (flag): periodic, alarm, update ended.
const PERIODIC: u8 = 1 << 6;
const ALARM: u8 = 1 << 5;
const UPDATE_ENDED: u8 = 1 << 4;
const CAUSES: u8 = PERIODIC | ALARM | UPDATE_ENDED;
/// Register B: binary instead of BCD, 24 instead of 12 hours.
const BINARY: u8 = 1 << 2;
const HOURS_24: u8 = 1 << 1;
/// Register C: an enabled flag is set.
const INTERRUPT: u8 = 1 << 7;
/// Register D: the battery is good.
const VALID: u8 = 1 << 7;

/// The crystal, in Hz, and the shift from its clocks to seconds.
const CRYSTAL_HZ: u64 = 32_768;
const SECOND_SHIFT: u32 = 15;
/// 244 µs before an update UIP rises.
const UIP_CLOCKS: u64 = 8;

/// The clock and its memory, at ports 0x70 to 0x73.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rtc {
    rate: Rate,
    /// Seconds since 1970 at crystal clock 0; the guest moves it.
    epoch_seconds: i64,
    /// The weekday the guest set, relative to what the date says (0 to 6).
    weekday_shift: u8,
    /// The time as the guest sees and sets it while register B says SET.
    held: DateTime,
    /// Both banks. The clock's own registers here are only the alarm and A to C.
    #[serde(with = "snapshot::bytes")]
    memory: [u8; 256],
    index: u8,
    extended_index: u8,
    /// Crystal clock up to which register C's flags are known.
    settled: u64,
    /// Tick at which the interrupt line rises by itself.
    deadline: Option<u64>,
}

impl Rtc {
    /// A clock that shows `epoch_seconds` at tick `start`, with the CMOS of a machine
    /// of `low_memory_bytes` of RAM below 4 GiB and `high_memory_bytes` above.
    pub fn new(
        start: u64,
        tsc_hz: u64,
        epoch_seconds: u64,
        low_memory_bytes: u64,
        high_memory_bytes: u64,
    ) -> Self {
        let mut rtc = Self {
            rate: Rate::new(start, CRYSTAL_HZ, tsc_hz),
            // No calendar reaches further than this, and sums below cannot overflow.
            epoch_seconds: i64::try_from(epoch_seconds).unwrap_or(0).min(calendar::MAXIMUM_SECONDS),
            weekday_shift: 0,
            held: DateTime::default(),
            memory: [0; 256],
            index: 0,
            extended_index: 0,
            settled: 0,
            deadline: None,
        };
        // 32.768 kHz time base, 1024 Hz periodic rate; BCD, 24 hours.
        for (register, value) in [(REGISTER_A, 0x26), (REGISTER_B, HOURS_24)] {
            if let Some(byte) = rtc.memory.get_mut(usize::from(register)) {
                *byte = value;
            }
        }
        // Equipment: FPU.
        rtc.memory[0x14] = 0x02;
        rtc.set_memory_size(low_memory_bytes, high_memory_bytes);
        rtc
    }

    /// Says what about this state cannot be, of a clock made as `own` is.
    pub(crate) fn check(&self, own: &Self) -> Result<(), RestoreFault> {
        snapshot::is_of(self.rate.has_the_speed_of(&own.rate))?;
        snapshot::has(self.held.is_possible() && self.weekday_shift <= 6, "the clock's date")?;
        snapshot::has(self.index <= 0x7f, "the clock's index register")?;
        snapshot::has(self.load(REGISTER_A) & UPDATE_IN_PROGRESS == 0, "the clock's register A")?;
        snapshot::has(self.load(REGISTER_C) & !CAUSES == 0, "the clock's register C")
    }

    /// What firmware reports: KiB below 640 K, KiB above 1 MiB, 64 KiB units above
    /// 16 MiB, 64 KiB units above 4 GiB.
    fn set_memory_size(&mut self, low_bytes: u64, high_bytes: u64) {
        let base = (low_bytes >> 10).min(640) as u16;
        let above_1_mib = (low_bytes.saturating_sub(1 << 20) >> 10).min(0xffff) as u16;
        let above_16_mib = (low_bytes.saturating_sub(16 << 20) >> 16).min(0xffff) as u16;
        let above_4_gib = (high_bytes >> 16).min(0xff_ffff) as u32;
        let [base_low, base_high] = base.to_le_bytes();
        let [extended_low, extended_high] = above_1_mib.to_le_bytes();
        let [more_low, more_high] = above_16_mib.to_le_bytes();
        let [high_0, high_1, high_2, _] = above_4_gib.to_le_bytes();
        for (index, value) in [
            (0x15, base_low),
            (0x16, base_high),
            (0x17, extended_low),
            (0x18, extended_high),
            (0x30, extended_low),
            (0x31, extended_high),
            (0x34, more_low),
            (0x35, more_high),
            (0x5b, high_0),
            (0x5c, high_1),
            (0x5d, high_2),
        ] {
            self.store(index, value);
        }
    }

    /// Level of the interrupt line, as of the last [`advance`](Self::advance).
    pub fn line(&self) -> bool {
        self.load(REGISTER_B) & self.load(REGISTER_C) & CAUSES != 0
    }

    /// Tick at which the line rises by itself; `None` while it is high, because the
    /// guest must read register C first, and while nothing is enabled.
    pub const fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Takes in what happened until `now`. Periods that went by together count once.
    pub fn advance(&mut self, now: u64) {
        let clock = self.rate.count_at(now);
        if clock > self.settled {
            let mut flags = 0;
            if let Some(period) = self.period_shift()
                && clock >> period != self.settled >> period
            {
                flags |= PERIODIC;
            }
            let seconds = clock >> SECOND_SHIFT;
            let settled_seconds = self.settled >> SECOND_SHIFT;
            if seconds != settled_seconds && self.load(REGISTER_B) & SET == 0 {
                flags |= UPDATE_ENDED;
                if self.next_alarm(settled_seconds + 1).is_some_and(|alarm| alarm <= seconds) {
                    flags |= ALARM;
                }
            }
            self.settled = clock;
            self.store(REGISTER_C, self.load(REGISTER_C) | flags);
        }
        self.plan();
    }

    /// Reads port 0x70 to 0x73. The caller has called [`advance`](Self::advance).
    pub fn read(&mut self, port: u16, now: u64) -> u8 {
        match port {
            0x71 => self.read_register(self.index, now),
            0x72 => self.extended_index,
            // The second bank is plain memory.
            0x73 => self.load(self.extended_index | 0x80),
            // The index register of the first bank is write-only.
            _ => 0xff,
        }
    }

    /// Writes port 0x70 to 0x73. The caller has called [`advance`](Self::advance).
    pub fn write(&mut self, port: u16, value: u8, now: u64) {
        match port {
            // Bit 7 would mask NMIs; there are none of this machine's making.
            0x70 => self.index = value & 0x7f,
            0x71 => self.write_register(self.index, value, now),
            0x72 => self.extended_index = value,
            0x73 => self.store(self.extended_index | 0x80, value),
            _ => {}
        }
        self.plan();
    }

    fn load(&self, index: u8) -> u8 {
        self.memory.get(usize::from(index)).copied().unwrap_or(0xff)
    }

    fn store(&mut self, index: u8, value: u8) {
        if let Some(byte) = self.memory.get_mut(usize::from(index)) {
            *byte = value;
        }
    }

    fn read_register(&mut self, index: u8, now: u64) -> u8 {
        match index {
            SECONDS | MINUTES | HOURS | WEEKDAY..=YEAR | CENTURY => self.read_time(index, now),
            REGISTER_A => {
                let clock = self.rate.count_at(now);
                let left = CRYSTAL_HZ - clock % CRYSTAL_HZ;
                let updating = left <= UIP_CLOCKS && self.load(REGISTER_B) & SET == 0;
                self.load(REGISTER_A) | if updating { UPDATE_IN_PROGRESS } else { 0 }
            }
            REGISTER_C => {
                let flags = self.load(REGISTER_C) | if self.line() { INTERRUPT } else { 0 };
                self.store(REGISTER_C, 0);
                self.plan();
                flags
            }
            REGISTER_D => VALID,
            _ => self.load(index),
        }
    }

    fn write_register(&mut self, index: u8, value: u8, now: u64) {
        match index {
            SECONDS | MINUTES | HOURS | WEEKDAY..=YEAR | CENTURY => self.write_time(index, value, now),
            REGISTER_A => self.store(REGISTER_A, value & 0x7f),
            REGISTER_B => self.write_register_b(value, now),
            REGISTER_C | REGISTER_D => {}
            _ => self.store(index, value),
        }
    }

    fn write_register_b(&mut self, value: u8, now: u64) {
        let (was_set, is_set) = (self.load(REGISTER_B) & SET != 0, value & SET != 0);
        if is_set && !was_set {
            self.held = self.time(now);
        }
        // Setting SET clears the update-ended enable, as the data sheet has it.
        self.store(REGISTER_B, if is_set { value & !UPDATE_ENDED } else { value });
        if was_set && !is_set {
            self.set_time(self.held, now);
        }
    }

    /// The time that the registers show.
    fn time(&self, now: u64) -> DateTime {
        if self.load(REGISTER_B) & SET != 0 {
            return self.held;
        }
        let seconds = self.seconds_at(self.rate.count_at(now) >> SECOND_SHIFT);
        DateTime::from_seconds(seconds, self.weekday_shift)
    }

    /// Seconds since 1970 after `seconds` of the crystal.
    fn seconds_at(&self, seconds: u64) -> i64 {
        self.epoch_seconds.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX))
    }

    fn set_time(&mut self, time: DateTime, now: u64) {
        let clock_seconds = self.rate.count_at(now) >> SECOND_SHIFT;
        let clock_seconds = i64::try_from(clock_seconds).unwrap_or(i64::MAX);
        let seconds = time.to_seconds();
        self.epoch_seconds = seconds.saturating_sub(clock_seconds);
        self.weekday_shift = (time.weekday + 7 - DateTime::from_seconds(seconds, 0).weekday) % 7;
    }

    fn calendar(&self) -> Calendar {
        let b = self.load(REGISTER_B);
        Calendar { binary: b & BINARY != 0, hours_24: b & HOURS_24 != 0 }
    }

    fn read_time(&self, index: u8, now: u64) -> u8 {
        let (time, calendar) = (self.time(now), self.calendar());
        match index {
            SECONDS => calendar.encode(time.second),
            MINUTES => calendar.encode(time.minute),
            HOURS => calendar.encode_hour(time.hour),
            WEEKDAY => calendar.encode(time.weekday + 1),
            DAY => calendar.encode(time.day),
            MONTH => calendar.encode(time.month),
            YEAR => calendar.encode((time.year % 100) as u8),
            _ => calendar.encode((time.year / 100) as u8),
        }
    }

    fn write_time(&mut self, index: u8, value: u8, now: u64) {
        let (mut time, calendar) = (self.time(now), self.calendar());
        let number = calendar.decode(value);
        match index {
            SECONDS => time.second = number.min(59),
            MINUTES => time.minute = number.min(59),
            HOURS => time.hour = calendar.decode_hour(value),
            WEEKDAY => time.weekday = (number % 7 + 6) % 7,
            DAY => time.day = number.clamp(1, 31),
            MONTH => time.month = number.clamp(1, 12),
            YEAR => time.year = time.year / 100 * 100 + u16::from(number % 100),
            _ => time.year = u16::from(number % 100) * 100 + time.year % 100,
        }
        if self.load(REGISTER_B) & SET != 0 {
            self.held = time;
        } else {
            self.set_time(time, now);
        }
    }

    /// The periodic rate as a power of two of crystal clocks; `None` where it is off.
    fn period_shift(&self) -> Option<u32> {
        match self.load(REGISTER_A) & 0xf {
            0 => None,
            // 256 and 128 Hz, again.
            rate @ 1..=2 => Some(u32::from(rate) + 6),
            rate => Some(u32::from(rate) - 1),
        }
    }

    /// Second of the crystal, at `from` or later, whose time matches the alarm.
    fn next_alarm(&self, from: u64) -> Option<u64> {
        let calendar = self.calendar();
        // 0xc0 and above match anything.
        let wanted = |index, hour: bool| match self.load(index) {
            0xc0.. => None,
            value if hour => Some(calendar.decode_hour(value)),
            value => Some(calendar.decode(value)),
        };
        let alarm = calendar::Alarm {
            hour: wanted(HOURS_ALARM, true),
            minute: wanted(MINUTES_ALARM, false),
            second: wanted(SECONDS_ALARM, false),
        };
        let second_of_day = self.seconds_at(from).rem_euclid(calendar::DAY_SECONDS) as u32;
        from.checked_add(u64::from(alarm.seconds_until(second_of_day)?))
    }

    fn plan(&mut self) {
        let b = self.load(REGISTER_B);
        let wanted = b & CAUSES & !self.load(REGISTER_C);
        let next_second = (self.settled >> SECOND_SHIFT) + 1;
        let running = b & SET == 0;
        let mut next = None;
        let mut consider = |clock: Option<u64>| {
            next = match (next, clock) {
                (Some(old), Some(new)) => Some(u64::min(old, new)),
                (old, new) => old.or(new),
            };
        };
        // While the line is high nothing can raise it.
        if !self.line() {
            if wanted & PERIODIC != 0 {
                consider(
                    self.period_shift()
                        .and_then(|shift| ((self.settled >> shift) + 1).checked_mul(1 << shift)),
                );
            }
            if wanted & UPDATE_ENDED != 0 && running {
                consider(next_second.checked_mul(CRYSTAL_HZ));
            }
            if wanted & ALARM != 0 && running {
                consider(self.next_alarm(next_second).and_then(|second| second.checked_mul(CRYSTAL_HZ)));
            }
        }
        self.deadline = next.and_then(|clock| self.rate.tick_of(clock));
    }
}
