//! The machine's real-time clock, read once at boot (MC146818; its registers are
//! reached by ports 0x70 and 0x71).

use crate::cpu::ports;

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const UPDATE_IN_PROGRESS: u8 = 1 << 7;
const BINARY: u8 = 1 << 2;
const HOURS_24: u8 = 1 << 1;
/// Seconds, minutes, hours, day, month, year.
const REGISTERS: [u8; 6] = [0x00, 0x02, 0x04, 0x07, 0x08, 0x09];

fn register(index: u8) -> u8 {
    // SAFETY: the index port selects a register and keeps NMIs enabled (bit 7 clear);
    // no register read here has a side effect. Only the boot processor reads them.
    unsafe {
        ports::write8(INDEX, index);
        ports::read8(DATA)
    }
}

/// Seconds since 1970, if the clock can be read: two readings agree within a bounded
/// number of tries, and what they say is a date.
pub fn read() -> Option<u64> {
    let mut last = None;
    for _ in 0..1000 {
        if register(STATUS_A) & UPDATE_IN_PROGRESS != 0 {
            continue;
        }
        let now = REGISTERS.map(register);
        if last == Some(now) {
            return decode(now, register(STATUS_B));
        }
        last = Some(now);
    }
    None
}

fn decode(raw: [u8; 6], status: u8) -> Option<u64> {
    let value = |byte: u8| -> u64 {
        match status & BINARY {
            0 => u64::from(byte >> 4) * 10 + u64::from(byte & 15),
            _ => byte.into(),
        }
    };
    let [seconds, minutes, hours, day, month, year] = raw;
    let mut hour = value(hours & 0x7f);
    if status & HOURS_24 == 0 {
        hour = hour % 12 + if hours & 0x80 != 0 { 12 } else { 0 };
    }
    let (second, minute, day, month) = (value(seconds), value(minutes), value(day), value(month));
    if second > 60 || minute > 59 || hour > 23 || !(1..=31).contains(&day) || !(1..=12).contains(&month) {
        return None;
    }
    let days = days_since_1970(2000 + value(year), month, day);
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days from 1970-01-01 in the Gregorian calendar, years counted from March so that
/// the leap day is the last.
const fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + in_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days() {
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 2, 29), 11_016);
        assert_eq!(days_since_1970(2026, 1, 1), 20_454);
    }

    #[test]
    fn bcd_binary_and_twelve_hours() {
        let new_year = 20_454 * 86_400;
        assert_eq!(
            decode([0x59, 0x30, 0x13, 1, 1, 0x26], HOURS_24),
            Some(new_year + 13 * 3600 + 30 * 60 + 59)
        );
        assert_eq!(
            decode([59, 30, 13, 1, 1, 26], HOURS_24 | BINARY),
            Some(new_year + 13 * 3600 + 30 * 60 + 59)
        );
        assert_eq!(decode([0, 0, 0x92, 1, 1, 0x26], 0), Some(new_year + 12 * 3600));
        assert_eq!(decode([0xff; 6], HOURS_24), None);
    }
}
