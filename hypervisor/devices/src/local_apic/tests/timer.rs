//! The timer in its three modes.

use super::*;

#[test]
fn one_shot_counts_down_and_fires_once() {
    let mut apic = x2apic(0);
    let _ = apic.write(0x3e, 0b0011, 0).unwrap(); // divide by 16
    let _ = apic.write(0x32, 0x40, 0).unwrap();
    assert_eq!(apic.write(0x38, 100, 1000), Ok(ApicEffect::TimerChanged));
    assert_eq!(apic.deadline(), Some(2600));
    assert_eq!(apic.read(0x39, 1000), Ok(100));
    assert_eq!(apic.read(0x39, 1016), Ok(99));
    assert_eq!(apic.read(0x39, 2599), Ok(1));
    assert_eq!(apic.read(0x39, 5000), Ok(0));
    apic.expire(2599);
    assert_eq!(apic.deliverable(), None);
    apic.expire(2600);
    assert_eq!((take(&mut apic), apic.deadline()), (Some(0x40), None));
    assert_eq!(apic.read(0x38, 5000), Ok(100));
}

#[test]
fn every_divide_code() {
    for (code, divisor) in [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)] {
        let mut apic = x2apic(0);
        let _ = apic.write(0x3e, code, 0).unwrap();
        let _ = apic.write(0x38, 1000, 0).unwrap();
        assert_eq!(apic.deadline(), Some(1000 * divisor));
        assert_eq!(apic.read(0x3e, 0), Ok(code));
    }
}

#[test]
fn the_divisor_changes_while_it_runs() {
    let mut apic = x2apic(0);
    let _ = apic.write(0x3e, 0b1011, 0).unwrap(); // 1
    let _ = apic.write(0x38, 1000, 0).unwrap();
    let _ = apic.write(0x3e, 0b0000, 400).unwrap(); // 2
    assert_eq!(apic.read(0x39, 400), Ok(600));
    assert_eq!(apic.deadline(), Some(400 + 1200));
}

#[test]
fn periods_that_went_by_together_are_one_interrupt() {
    let mut apic = x2apic(0);
    let _ = apic.write(0x3e, 0b1011, 0).unwrap();
    let _ = apic.write(0x32, 0x2_0040, 0).unwrap();
    let _ = apic.write(0x38, 100_000, 0).unwrap();
    assert_eq!(apic.deadline(), Some(100_000));
    // A day later.
    let now = 86_400 * 3_000_000_000 + 1;
    apic.expire(now);
    assert_eq!(take(&mut apic), Some(0x40));
    let _ = apic.write(0x0b, 0, now);
    apic.expire(now);
    assert_eq!(take(&mut apic), None);
    // The phase is kept.
    assert_eq!(apic.deadline(), Some(now - 1 + 100_000));
}

#[test]
fn a_tiny_period_is_held_at_the_floor() {
    let mut apic = x2apic(0);
    let _ = apic.write(0x3e, 0b1011, 0).unwrap();
    let _ = apic.write(0x32, 0x2_0040, 0).unwrap();
    let _ = apic.write(0x38, 1, 0).unwrap();
    assert_eq!(apic.deadline(), Some(MINIMUM_PERIOD_TICKS));
    apic.expire(MINIMUM_PERIOD_TICKS);
    assert_eq!(apic.deadline(), Some(2 * MINIMUM_PERIOD_TICKS));
    assert_eq!(apic.read(0x39, MINIMUM_PERIOD_TICKS + 3), Ok(1));
}

#[test]
fn a_count_of_zero_stops() {
    for mode in [0x40, 0x2_0040] {
        let mut apic = x2apic(0);
        let _ = apic.write(0x32, mode, 0).unwrap();
        let _ = apic.write(0x38, 100, 0).unwrap();
        assert!(apic.deadline().is_some());
        let _ = apic.write(0x38, 0, 0).unwrap();
        assert_eq!((apic.deadline(), apic.read(0x39, 0)), (None, Ok(0)));
    }
}

#[test]
fn a_masked_period_wakes_nobody_but_counts() {
    let mut apic = x2apic(0);
    let _ = apic.write(0x3e, 0b1011, 0).unwrap();
    let _ = apic.write(0x32, 0x3_0040, 0).unwrap();
    let _ = apic.write(0x38, 100_000, 0).unwrap();
    assert_eq!(apic.deadline(), None);
    assert_eq!(apic.read(0x39, 1_030_000), Ok(70_000));
    // What went by masked is lost when it is unmasked.
    let _ = apic.write(0x32, 0x2_0040, 1_030_000).unwrap();
    assert_eq!(apic.deliverable(), None);
    assert_eq!(apic.deadline(), Some(1_100_000));
}

#[test]
fn tsc_deadline_mode() {
    let mut apic = x2apic(0);
    apic.set_tsc_deadline(500, 0);
    assert_eq!((apic.tsc_deadline(), apic.deadline()), (0, None), "ignored in another mode");
    let _ = apic.write(0x32, 0x4_0041, 0).unwrap();
    apic.set_tsc_deadline(500, 0);
    assert_eq!((apic.tsc_deadline(), apic.deadline()), (500, Some(500)));
    // The count registers are dead.
    let _ = apic.write(0x38, 77, 0).unwrap();
    assert_eq!((apic.read(0x38, 0), apic.read(0x39, 0)), (Ok(0), Ok(0)));
    apic.expire(500);
    assert_eq!((take(&mut apic), apic.tsc_deadline()), (Some(0x41), 0));
    let _ = apic.write(0x0b, 0, 0);
    // A tick of the past fires at once.
    apic.set_tsc_deadline(400, 600);
    assert_eq!((take(&mut apic), apic.deadline()), (Some(0x41), None));
    let _ = apic.write(0x0b, 0, 0);
    // 0 disarms, and so does leaving the mode.
    apic.set_tsc_deadline(5000, 600);
    apic.set_tsc_deadline(0, 600);
    assert_eq!(apic.deadline(), None);
    apic.set_tsc_deadline(5000, 600);
    let _ = apic.write(0x32, 0x41, 600).unwrap();
    assert_eq!((apic.deadline(), apic.tsc_deadline()), (None, 0));
}

#[test]
fn a_timer_with_an_illegal_vector_is_an_error() {
    let mut apic = x2apic(0);
    let _ = apic.write(0x32, 0x4_0003, 0).unwrap();
    apic.set_tsc_deadline(1, 1);
    assert_eq!(apic.deliverable(), None);
    let _ = apic.write(0x28, 0, 0).unwrap();
    assert_eq!(apic.read(0x28, 0), Ok(0x40));
}
