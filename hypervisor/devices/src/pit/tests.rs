use super::*;
use proptest::prelude::*;

/// With a counter as fast as the input clock, ticks are input clocks.
fn pit() -> Pit {
    Pit::new(0, PIT_HZ)
}

fn program(pit: &mut Pit, channel: u8, mode: u8, count: u16, now: u64) {
    pit.write(0x43, channel << 6 | 0x30 | mode << 1, now);
    let [low, high] = count.to_le_bytes();
    pit.write(0x40 + u16::from(channel), low, now);
    pit.write(0x40 + u16::from(channel), high, now);
}

fn count(pit: &mut Pit, channel: u8, now: u64) -> u16 {
    let port = 0x40 + u16::from(channel);
    u16::from_le_bytes([pit.read(port, now), pit.read(port, now)])
}

fn output_2(pit: &mut Pit, now: u64) -> bool {
    pit.read(0x61, now) & 0x20 != 0
}

#[test]
fn mode_0_fires_once() {
    let mut pit = pit();
    program(&mut pit, 0, 0, 1000, 10);
    assert_eq!(pit.deadline(), Some(1010));
    assert!(!pit.advance(1009));
    assert!(pit.advance(1010));
    assert!(!pit.advance(1010));
    assert_eq!(pit.deadline(), None);
    // It counts on below zero.
    assert_eq!(count(&mut pit, 0, 1011), 0xffff);
}

#[test]
fn modes_2_and_3_fire_every_period() {
    for mode in [2, 3, 6, 7] {
        let mut pit = pit();
        program(&mut pit, 0, mode, 1000, 0);
        for period in 1..5 {
            assert_eq!(pit.deadline(), Some(1000 * period));
            assert!(pit.advance(1000 * period));
        }
    }
}

#[test]
fn a_long_pause_is_one_edge() {
    let mut pit = pit();
    program(&mut pit, 0, 2, 1000, 0);
    assert!(pit.advance(1_000_000_500));
    assert!(!pit.advance(1_000_000_500));
    assert_eq!(pit.deadline(), Some(1_000_001_000));
}

#[test]
fn tiny_periods_coalesce() {
    for initial in 1..MINIMUM_INTERRUPT_CLOCKS as u16 {
        let mut pit = pit();
        program(&mut pit, 0, 2, initial, 0);
        let mut now = 0;
        for _ in 0..10 {
            let deadline = pit.deadline().unwrap();
            assert!(now == 0 || deadline - now >= MINIMUM_INTERRUPT_CLOCKS, "{initial}");
            assert_eq!(deadline % u64::from(initial), 0);
            now = deadline;
            assert!(pit.advance(now));
        }
    }
}

#[test]
fn a_count_of_zero_is_the_longest() {
    let mut pit = pit();
    program(&mut pit, 0, 2, 0, 0);
    assert_eq!(pit.deadline(), Some(0x1_0000));
    // BCD.
    pit.write(0x43, 0x35, 0);
    pit.write(0x40, 0, 0);
    pit.write(0x40, 0, 0);
    assert_eq!(pit.deadline(), Some(10_000));
    assert_eq!(count(&mut pit, 0, 1), 0x9999);
}

#[test]
fn bcd_counts_and_reads_decimal() {
    let mut pit = pit();
    pit.write(0x43, 0x31, 0);
    pit.write(0x40, 0x34, 0);
    pit.write(0x40, 0x12, 0);
    assert_eq!(count(&mut pit, 0, 4), 0x1230);
    // Digits that are none give some count, not a fault.
    pit.write(0x40, 0xff, 0);
    pit.write(0x40, 0xff, 0);
    assert!(pit.deadline().is_some());
}

#[test]
fn single_byte_counts() {
    let mut pit = pit();
    pit.write(0x43, 0x14, 0);
    pit.write(0x40, 200, 0);
    assert_eq!(pit.deadline(), Some(200));
    assert_eq!((pit.read(0x40, 1), pit.read(0x40, 2)), (199, 198));
    pit.write(0x43, 0x24, 0);
    pit.write(0x40, 2, 0);
    assert_eq!(pit.deadline(), Some(512));
    assert_eq!(pit.read(0x40, 1), 1);
}

#[test]
fn a_new_control_word_stops_the_interrupts() {
    let mut pit = pit();
    program(&mut pit, 0, 2, 1000, 0);
    pit.write(0x43, 0x30, 5);
    assert_eq!(pit.deadline(), None);
    // Half a count is none.
    pit.write(0x40, 1, 5);
    assert_eq!(pit.deadline(), None);
}

#[test]
fn a_latch_holds_until_it_is_read() {
    let mut pit = pit();
    program(&mut pit, 0, 2, 1000, 0);
    pit.write(0x43, 0x00, 100);
    pit.write(0x43, 0x00, 200);
    assert_eq!(count(&mut pit, 0, 300), 900);
    assert_eq!(count(&mut pit, 0, 300), 700);
}

#[test]
fn read_back_latches_status_and_count() {
    let mut pit = pit();
    program(&mut pit, 0, 2, 1000, 0);
    pit.write(0x43, 0xc2, 100); // both, channel 0
    // Output high, loaded, both bytes, mode 2.
    assert_eq!(pit.read(0x40, 500), 0xb4);
    assert_eq!(count(&mut pit, 0, 500), 900);
    pit.write(0x43, 0x76, 0); // channel 1, mode 3, no count yet
    pit.write(0x43, 0xe4, 0); // status only, channel 1
    assert_eq!(pit.read(0x41, 0), 0xf6);
}

#[test]
fn the_speaker_gate_drives_channel_2() {
    let mut pit = pit();
    program(&mut pit, 2, 0, 1000, 0);
    assert!(!output_2(&mut pit, 5000), "the gate is low");
    assert_eq!(count(&mut pit, 2, 5000), 1000);
    pit.write(0x61, 0x01, 5000);
    assert_eq!(count(&mut pit, 2, 5400), 600);
    // Paused, and on again.
    pit.write(0x61, 0x00, 5400);
    assert_eq!(count(&mut pit, 2, 9000), 600);
    pit.write(0x61, 0x01, 9000);
    assert!(!output_2(&mut pit, 9599));
    assert!(output_2(&mut pit, 9600));
    assert_eq!(pit.read(0x61, 9600) & 0x0f, 1);
    assert_eq!(pit.deadline(), None, "channel 2 has no interrupt");
}

#[test]
fn a_rising_gate_triggers_mode_1() {
    let mut pit = pit();
    pit.write(0x61, 0x01, 0);
    program(&mut pit, 2, 1, 1000, 0);
    assert!(output_2(&mut pit, 2000));
    pit.write(0x61, 0x00, 2000);
    pit.write(0x61, 0x01, 3000);
    assert!(!output_2(&mut pit, 3999));
    assert!(output_2(&mut pit, 4000));
}

#[test]
fn a_square_wave_is_high_for_the_longer_half() {
    let mut pit = pit();
    pit.write(0x61, 0x01, 0);
    program(&mut pit, 2, 3, 5, 0);
    let wave: std::vec::Vec<bool> = (0..10).map(|now| output_2(&mut pit, now)).collect();
    assert_eq!(wave, [true, true, true, false, false, true, true, true, false, false]);
}

#[test]
fn calibration_sees_the_upper_byte_fall_at_the_right_rate() {
    // As kernels calibrate the counter: mode 0 on channel 2, gate on, watch the MSB.
    let tsc_hz = 2_400_000_000;
    let mut pit = Pit::new(12345, tsc_hz);
    let start = 1_000_000;
    pit.write(0x61, 0x01, start);
    program(&mut pit, 2, 0, 0xffff, start);
    let fell = (start..).step_by(1000).find(|now| count(&mut pit, 2, *now) >> 8 == 0xef).unwrap();
    let expected = 16 * 256 * tsc_hz / PIT_HZ;
    assert!((fell - start).abs_diff(expected) < 10_000, "{} {expected}", fell - start);
}

#[test]
fn the_refresh_bit_toggles() {
    let mut pit = pit();
    assert_ne!(pit.read(0x61, 0) & 0x10, pit.read(0x61, 18) & 0x10);
}

#[test]
fn a_zero_rate_is_no_division_by_zero() {
    let mut pit = Pit::new(0, 0);
    program(&mut pit, 0, 2, 1, 0);
    pit.advance(u64::MAX);
    assert!(pit.deadline().is_none_or(|deadline| deadline > 0));
}

proptest! {
    #[test]
    fn survives_anything(
        tsc_hz in prop_oneof![Just(0u64), 1..10_000_000_000u64],
        accesses in proptest::collection::vec((0..8u16, any::<u8>(), prop_oneof![0..100_000u64, any::<u64>()]), 0..200),
    ) {
        let mut pit = Pit::new(0, tsc_hz);
        let mut now = 0u64;
        for (what, value, wait) in accesses {
            match what {
                0..=3 => pit.write(0x40 + what, value, now),
                4 => pit.write(0x61, value, now),
                5 => { pit.read(0x40 + u16::from(value & 3), now); }
                6 => { pit.read(0x61, now); }
                _ => now = now.saturating_add(wait),
            }
            pit.advance(now);
            prop_assert!(pit.deadline().is_none_or(|deadline| deadline > now));
            prop_assert!(!pit.advance(now));
        }
    }
}
