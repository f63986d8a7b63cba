use super::calendar::{Alarm, Calendar, DateTime};
use super::*;
use proptest::prelude::*;

/// 2026-01-02 03:04:05, a Friday.
const EPOCH: u64 = 1_767_323_045;
const MIB: u64 = 1 << 20;
const SECOND: u64 = CRYSTAL_HZ;

/// Ticks are crystal clocks.
fn rtc() -> Rtc {
    Rtc::new(0, CRYSTAL_HZ, EPOCH, 64 * MIB, 0)
}

fn read(rtc: &mut Rtc, register: u8, now: u64) -> u8 {
    rtc.advance(now);
    rtc.write(0x70, register, now);
    rtc.read(0x71, now)
}

fn write(rtc: &mut Rtc, register: u8, value: u8, now: u64) {
    rtc.advance(now);
    rtc.write(0x70, register, now);
    rtc.write(0x71, value, now);
}

fn date(rtc: &mut Rtc, now: u64) -> [u8; 8] {
    [CENTURY, YEAR, MONTH, DAY, WEEKDAY, HOURS, MINUTES, SECONDS].map(|register| read(rtc, register, now))
}

#[test]
fn shows_the_date_in_bcd() {
    assert_eq!(date(&mut rtc(), 0), [0x20, 0x26, 0x01, 0x02, 0x06, 0x03, 0x04, 0x05]);
    assert_eq!(date(&mut rtc(), 55 * SECOND), [0x20, 0x26, 0x01, 0x02, 0x06, 0x03, 0x05, 0x00]);
}

#[test]
fn binary_and_12_hours() {
    let mut rtc = rtc();
    write(&mut rtc, REGISTER_B, BINARY | HOURS_24, 0);
    assert_eq!(date(&mut rtc, 0), [20, 26, 1, 2, 6, 3, 4, 5]);
    write(&mut rtc, REGISTER_B, 0, 0);
    for (hours_later, expected) in [(0, 0x03), (8, 0x11), (9, 0x92), (10, 0x81), (20, 0x91), (21, 0x12)] {
        assert_eq!(read(&mut rtc, HOURS, hours_later * 3600 * SECOND), expected);
    }
    write(&mut rtc, HOURS, 0x92, 0);
    write(&mut rtc, REGISTER_B, HOURS_24, 0);
    assert_eq!(read(&mut rtc, HOURS, 0), 0x12);
}

#[test]
fn stands_still_while_the_time_is_set() {
    let mut rtc = rtc();
    write(&mut rtc, REGISTER_B, SET | HOURS_24, 0);
    for (register, value) in [
        (CENTURY, 0x19),
        (YEAR, 0x99),
        (MONTH, 0x12),
        (DAY, 0x31),
        (WEEKDAY, 0x06),
        (HOURS, 0x23),
        (MINUTES, 0x59),
        (SECONDS, 0x58),
    ] {
        write(&mut rtc, register, value, 10 * SECOND);
    }
    assert_eq!(date(&mut rtc, 20 * SECOND), [0x19, 0x99, 0x12, 0x31, 0x06, 0x23, 0x59, 0x58]);
    write(&mut rtc, REGISTER_B, HOURS_24, 20 * SECOND);
    assert_eq!(date(&mut rtc, 22 * SECOND), [0x20, 0x00, 0x01, 0x01, 0x07, 0x00, 0x00, 0x00]);
}

#[test]
fn one_register_can_be_set_alone() {
    let mut rtc = rtc();
    write(&mut rtc, MINUTES, 0x30, 0);
    assert_eq!(date(&mut rtc, SECOND), [0x20, 0x26, 0x01, 0x02, 0x06, 0x03, 0x30, 0x06]);
    // A wrong weekday is the guest's business, and stays.
    write(&mut rtc, WEEKDAY, 0x01, SECOND);
    assert_eq!(read(&mut rtc, WEEKDAY, SECOND), 0x01);
    assert_eq!(read(&mut rtc, WEEKDAY, 86_401 * SECOND), 0x02);
}

#[test]
fn nonsense_is_held_within_the_calendar() {
    for binary in [0, BINARY] {
        for value in 0..=255 {
            let mut rtc = rtc();
            write(&mut rtc, REGISTER_B, binary | HOURS_24, 0);
            for register in [CENTURY, YEAR, MONTH, DAY, WEEKDAY, HOURS, MINUTES, SECONDS] {
                write(&mut rtc, register, value, 0);
            }
            write(&mut rtc, REGISTER_B, BINARY | HOURS_24, 0);
            let [century, year, month, day, weekday, hour, minute, second] = date(&mut rtc, 0);
            assert!(century < 100 && year < 100 && (1..=12).contains(&month) && (1..=31).contains(&day));
            assert!((1..=7).contains(&weekday) && hour < 24 && minute < 60 && second < 60);
        }
    }
}

#[test]
fn warns_before_an_update() {
    let mut rtc = rtc();
    for (now, updating) in
        [(0, false), (SECOND - 9, false), (SECOND - 8, true), (SECOND - 1, true), (SECOND, false)]
    {
        assert_eq!(read(&mut rtc, REGISTER_A, now) & UPDATE_IN_PROGRESS != 0, updating, "{now}");
    }
    write(&mut rtc, REGISTER_B, SET, 2 * SECOND);
    assert_eq!(read(&mut rtc, REGISTER_A, 3 * SECOND - 1), 0x26);
}

#[test]
fn the_periodic_interrupt_waits_for_register_c() {
    let mut rtc = rtc();
    assert_eq!(rtc.deadline(), None);
    write(&mut rtc, REGISTER_B, PERIODIC, 0);
    assert_eq!(rtc.deadline(), Some(32), "1024 Hz");
    rtc.advance(32);
    assert!(rtc.line());
    assert_eq!(rtc.deadline(), None, "nothing new can be shown");
    rtc.advance(100 * SECOND);
    assert_eq!(read(&mut rtc, REGISTER_C, 100 * SECOND), INTERRUPT | PERIODIC | UPDATE_ENDED);
    assert!(!rtc.line());
    assert_eq!(read(&mut rtc, REGISTER_C, 100 * SECOND), 0);
    assert_eq!(rtc.deadline(), Some(100 * SECOND + 32));
}

#[test]
fn every_rate() {
    for rate in 0..16u8 {
        let mut rtc = rtc();
        write(&mut rtc, REGISTER_A, 0x20 | rate, 0);
        write(&mut rtc, REGISTER_B, PERIODIC, 0);
        let expected = match rate {
            0 => None,
            1 => Some(128),
            2 => Some(256),
            rate => Some(1 << (rate - 1)),
        };
        assert_eq!(rtc.deadline(), expected, "{rate}");
    }
}

#[test]
fn the_update_interrupt() {
    let mut rtc = rtc();
    write(&mut rtc, REGISTER_B, UPDATE_ENDED, 100);
    assert_eq!(rtc.deadline(), Some(SECOND));
    rtc.advance(SECOND);
    assert!(rtc.line());
    assert_eq!(read(&mut rtc, REGISTER_C, SECOND) & (INTERRUPT | UPDATE_ENDED), INTERRUPT | UPDATE_ENDED);
    // Setting the time ends it.
    write(&mut rtc, REGISTER_B, SET | UPDATE_ENDED, SECOND);
    assert_eq!(rtc.deadline(), None);
    assert_eq!(read(&mut rtc, REGISTER_B, SECOND), SET);
}

#[test]
fn the_alarm() {
    let mut rtc = rtc();
    for (register, value) in [(HOURS_ALARM, 0x03), (MINUTES_ALARM, 0x05), (SECONDS_ALARM, 0x00)] {
        write(&mut rtc, register, value, 0);
    }
    write(&mut rtc, REGISTER_B, ALARM | HOURS_24, 0);
    assert_eq!(rtc.deadline(), Some(55 * SECOND));
    rtc.advance(55 * SECOND);
    assert!(rtc.line());
    read(&mut rtc, REGISTER_C, 55 * SECOND);
    assert_eq!(rtc.deadline(), Some((55 + 86_400) * SECOND));
    // Any hour, any minute.
    write(&mut rtc, HOURS_ALARM, 0xc0, 55 * SECOND);
    write(&mut rtc, MINUTES_ALARM, 0xff, 55 * SECOND);
    assert_eq!(rtc.deadline(), Some(115 * SECOND));
    // A second that never comes.
    write(&mut rtc, SECONDS_ALARM, 0x75, 55 * SECOND);
    assert_eq!(rtc.deadline(), None);
}

#[test]
fn cmos_remembers_and_knows_the_memory() {
    let mut rtc = Rtc::new(0, CRYSTAL_HZ, EPOCH, 3 << 30, 5 << 30);
    let mut word = |low: u8| u32::from(read(&mut rtc, low, 0)) | u32::from(read(&mut rtc, low + 1, 0)) << 8;
    assert_eq!((word(0x15), word(0x17), word(0x30)), (640, 0xffff, 0xffff));
    assert_eq!(word(0x34) << 16, (3 << 30) - (16 << 20));
    assert_eq!(word(0x5b), 5 << 14 & 0xffff);
    assert_eq!(word(0x5c), 5 << 6);
    write(&mut rtc, 0x0f, 0x0a, 0);
    assert_eq!(read(&mut rtc, 0x8f, 0), 0x0a, "bit 7 is no part of the index");
    assert_eq!(read(&mut rtc, REGISTER_D, 0), VALID);
    // The second bank is another memory.
    rtc.write(0x72, 0x8f, 0);
    rtc.write(0x73, 0x77, 0);
    assert_eq!((rtc.read(0x72, 0), rtc.read(0x73, 0)), (0x8f, 0x77));
    assert_eq!(read(&mut rtc, 0x0f, 0), 0x0a);
    assert_eq!(rtc.read(0x70, 0), 0xff);
}

#[test]
fn a_second_bank_index_cannot_reach_the_clock() {
    let mut rtc = rtc();
    rtc.write(0x72, REGISTER_B, 0);
    rtc.write(0x73, 0xff, 0);
    assert_eq!(read(&mut rtc, REGISTER_B, 0), HOURS_24);
}

#[test]
fn the_calendar_knows_some_dates() {
    for (seconds, year, month, day, weekday) in [
        (0, 1970, 1, 1, 4),
        (951_782_400, 2000, 2, 29, 2),
        (951_868_800, 2000, 3, 1, 3),
        (4_107_456_000, 2100, 2, 28, 0),
        (4_107_542_400, 2100, 3, 1, 1),
        (calendar::MAXIMUM_SECONDS, 9999, 12, 31, 5),
        (-62_167_219_200, 0, 1, 1, 6),
    ] {
        let date = DateTime::from_seconds(seconds, 0);
        assert_eq!((date.year, date.month, date.day, date.weekday), (year, month, day, weekday));
    }
}

proptest! {
    #[test]
    fn dates_round_trip(seconds in -62_167_219_200..=calendar::MAXIMUM_SECONDS) {
        prop_assert_eq!(DateTime::from_seconds(seconds, 0).to_seconds(), seconds);
    }

    #[test]
    fn hours_round_trip(hour in 0..24u8, binary: bool, hours_24: bool) {
        let calendar = Calendar { binary, hours_24 };
        prop_assert_eq!(calendar.decode_hour(calendar.encode_hour(hour)), hour);
    }

    #[test]
    fn the_next_alarm_is_the_first_match(
        hour in proptest::option::of(0..24u8),
        minute in proptest::option::of(0..61u8),
        second in proptest::option::of(0..61u8),
        from in 0..86_400u32,
    ) {
        let is = |wanted: Option<u8>, value: u32| wanted.is_none_or(|wanted| u32::from(wanted) == value);
        let expected = (0..86_400).find(|waited| {
            let time = (from + waited) % 86_400;
            is(hour, time / 3600) && is(minute, time / 60 % 60) && is(second, time % 60)
        });
        prop_assert_eq!(Alarm { hour, minute, second }.seconds_until(from), expected);
    }

    #[test]
    fn survives_anything(
        tsc_hz in prop_oneof![Just(0u64), 1..10_000_000_000u64],
        epoch: u64,
        accesses in proptest::collection::vec(
            (0..6u8, 0..0x40u8, any::<u8>(), prop_oneof![0..1_000_000u64, any::<u64>()]), 0..150),
    ) {
        let mut rtc = Rtc::new(0, tsc_hz, epoch, u64::MAX, u64::MAX);
        let mut now = 0u64;
        for (what, register, value, wait) in accesses {
            match what {
                0 | 1 => write(&mut rtc, register, value, now),
                2 | 3 => { read(&mut rtc, register, now); }
                4 => { rtc.write(0x72, value, now); rtc.write(0x73, value, now); rtc.read(0x73, now); }
                _ => now = now.saturating_add(wait),
            }
            rtc.advance(now);
            prop_assert!(rtc.deadline().is_none_or(|deadline| deadline > now));
            prop_assert!(!rtc.line() || rtc.deadline().is_none());
        }
    }
}
