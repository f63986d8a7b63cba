//! Dates and times, and how the clock's registers write them.

use serde::{Deserialize, Serialize};

/// Seconds in a day.
pub(super) const DAY_SECONDS: i64 = 86_400;

/// The last second of the year 9999: two registers of two digits end there.
pub(super) const MAXIMUM_SECONDS: i64 = 253_402_300_799;

/// A moment in the proleptic Gregorian calendar, years 0 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct DateTime {
    pub(super) year: u16,
    /// 1 to 12.
    pub(super) month: u8,
    /// 1 to 31. A guest can set the 31st of a short month; it means the days after.
    pub(super) day: u8,
    pub(super) hour: u8,
    pub(super) minute: u8,
    pub(super) second: u8,
    /// 0 is Sunday.
    pub(super) weekday: u8,
}

impl DateTime {
    /// Whether the clock shows such dates. Nobody held one of zeros yet.
    pub(super) fn is_possible(&self) -> bool {
        let is_date = self.year <= 9999 && (1..=12).contains(&self.month) && (1..=31).contains(&self.day);
        let is_time = self.hour <= 23 && self.minute <= 59 && self.second <= 59 && self.weekday <= 6;
        is_date && is_time || *self == Self::default()
    }

    /// The date at `seconds` since 1970, held within the years 0 to 9999.
    pub(super) fn from_seconds(seconds: i64, weekday_shift: u8) -> Self {
        let seconds = seconds.clamp(-62_167_219_200, MAXIMUM_SECONDS);
        let (days, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
        // Years begin in March here, so that the leap day is the last of its year;
        // 400 years have 146097 days.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self {
            year: year as u16,
            month: month as u8,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
            hour: (second / 3600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
            // 1970 began on a Thursday.
            weekday: ((days + 4).rem_euclid(7) as u8 + weekday_shift) % 7,
        }
    }

    /// Seconds since 1970.
    pub(super) fn to_seconds(self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = i64::from(self.year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        let time = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        days * DAY_SECONDS + time
    }
}

/// How register B says that numbers are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calendar {
    pub(super) binary: bool,
    pub(super) hours_24: bool,
}

impl Calendar {
    pub(super) const fn encode(self, number: u8) -> u8 {
        if self.binary { number } else { ((number / 10) << 4) | (number % 10) }
    }

    /// Digits above 9, which only a guest in error writes, count as what they say.
    pub(super) const fn decode(self, value: u8) -> u8 {
        if self.binary { value } else { (value >> 4) * 10 + (value & 0xf) }
    }

    /// With 12 hours bit 7 says afternoon, and midnight and noon are 12.
    pub(super) const fn encode_hour(self, hour: u8) -> u8 {
        if self.hours_24 {
            return self.encode(hour);
        }
        let afternoon = if hour >= 12 { 0x80 } else { 0 };
        let hour = if hour.is_multiple_of(12) { 12 } else { hour % 12 };
        self.encode(hour) | afternoon
    }

    pub(super) const fn decode_hour(self, value: u8) -> u8 {
        let hour = if self.hours_24 {
            self.decode(value)
        } else {
            self.decode(value & 0x7f) % 12 + if value & 0x80 != 0 { 12 } else { 0 }
        };
        if hour > 23 { 23 } else { hour }
    }
}

/// A time of day; a part that is absent matches anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alarm {
    pub(super) hour: Option<u8>,
    pub(super) minute: Option<u8>,
    pub(super) second: Option<u8>,
}

impl Alarm {
    /// Seconds from `second_of_day` to the first match, 0 if it matches itself;
    /// `None` where it never does. Takes a few hundred steps at most.
    pub(super) fn seconds_until(self, second_of_day: u32) -> Option<u32> {
        let matches = |wanted: Option<u8>, value: u32| wanted.is_none_or(|wanted| u32::from(wanted) == value);
        if self.minute.is_some_and(|minute| minute > 59) || self.second.is_some_and(|second| second > 59) {
            return None;
        }
        let (mut hour, mut minute, mut second) =
            (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        let mut waited = 0;
        // Skip whole hours, minutes and seconds that cannot match. A day has 24 hours;
        // the first partial one can come round again.
        for _ in 0..26 {
            if !matches(self.hour, hour) {
                waited += 3600 - minute * 60 - second;
                (hour, minute, second) = ((hour + 1) % 24, 0, 0);
                continue;
            }
            while minute < 60 && !matches(self.minute, minute) {
                waited += 60 - second;
                (minute, second) = (minute + 1, 0);
            }
            while minute < 60 {
                while second < 60 && !matches(self.second, second) {
                    waited += 1;
                    second += 1;
                }
                if second < 60 {
                    return Some(waited);
                }
                // The second has passed in this minute: the next one that matches.
                (minute, second) = (minute + 1, 0);
                while minute < 60 && !matches(self.minute, minute) {
                    waited += 60;
                    minute += 1;
                }
            }
            (hour, minute, second) = ((hour + 1) % 24, 0, 0);
        }
        None
    }
}
