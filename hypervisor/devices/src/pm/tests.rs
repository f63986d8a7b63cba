use super::*;
use std::vec::Vec;

fn write16(pm: &mut PowerManagement, port: u16, value: u16) -> Vec<Effect> {
    let mut out = Effects::new();
    let [low, high] = value.to_le_bytes();
    pm.write(port, low, &mut out);
    pm.write(port + 1, high, &mut out);
    out.collect()
}

fn read16(pm: &PowerManagement, port: u16) -> u16 {
    u16::from_le_bytes([pm.read(port, 0), pm.read(port + 1, 0)])
}

#[test]
fn the_timer_counts_from_the_start_and_wraps_at_32_bits() {
    let pm = PowerManagement::new(1000, PM_TIMER_HZ);
    let timer = |now| u32::from_le_bytes(core::array::from_fn(|index| pm.read(PM_TIMER + index as u16, now)));
    assert_eq!((timer(0), timer(1000), timer(1234)), (0, 0, 234));
    assert_eq!(timer(1000 + (1 << 32) + 5), 5);
    // It is read-only.
    let mut pm = pm.clone();
    write16(&mut pm, PM_TIMER, 0xffff);
    assert_eq!(pm.read(PM_TIMER, 1000), 0);
}

#[test]
fn the_sleep_button_bits_power_off() {
    let mut pm = PowerManagement::new(0, 1);
    assert_eq!(write16(&mut pm, PM1_CONTROL, 5 << 10), []);
    assert_eq!(read16(&pm, PM1_CONTROL), 5 << 10 | 1);
    assert_eq!(write16(&mut pm, PM1_CONTROL, 5 << 10 | 1 << 13), [Effect::PowerOff { sleep_type: 5 }]);
    // SLP_EN is write-only, SCI_EN stays.
    assert_eq!(read16(&pm, PM1_CONTROL), 5 << 10 | 1);
    // Type and enable in one byte, as a byte access does it.
    let mut out = Effects::new();
    pm.write(PM1_CONTROL + 1, 0x20 | 3 << 2, &mut out);
    assert_eq!(out.pop(), Some(Effect::PowerOff { sleep_type: 3 }));
}

#[test]
fn the_power_button_raises_the_sci_until_cleared() {
    let mut pm = PowerManagement::new(0, 1);
    pm.press_power_button();
    assert!(!pm.line());
    write16(&mut pm, PM1_EVENT + 2, POWER_BUTTON);
    assert!(pm.line());
    write16(&mut pm, PM1_EVENT, TIMER);
    assert!(pm.line(), "another bit's clear");
    write16(&mut pm, PM1_EVENT, POWER_BUTTON);
    assert!(!pm.line());
    assert_eq!(read16(&pm, PM1_EVENT), 0);
}

#[test]
fn the_top_bit_of_the_timer_raises_the_sci() {
    let mut pm = PowerManagement::new(0, PM_TIMER_HZ);
    assert_eq!(pm.deadline(), None);
    write16(&mut pm, PM1_EVENT + 2, TIMER);
    assert_eq!(pm.deadline(), Some(1 << 31));
    pm.advance((1 << 31) - 1);
    assert!(!pm.line());
    pm.advance(1 << 31);
    assert_eq!((pm.line(), pm.deadline()), (true, None));
    write16(&mut pm, PM1_EVENT, TIMER);
    assert_eq!((pm.line(), pm.deadline()), (false, Some(2 << 31)));
    // Many wraps are one.
    pm.advance(u64::MAX);
    assert!(pm.line());
    write16(&mut pm, PM1_EVENT, TIMER);
    assert!(!pm.line());
    assert_eq!(pm.deadline(), None, "the counter ends before the next wrap");
}

#[test]
fn only_known_events_can_be_enabled() {
    let mut pm = PowerManagement::new(0, 1);
    write16(&mut pm, PM1_EVENT + 2, 0xffff);
    assert_eq!(read16(&pm, PM1_EVENT + 2), TIMER | GLOBAL | POWER_BUTTON | RTC);
    assert_eq!((pm.read(0x606, 0), pm.read(0x60c, 0)), (0xff, 0xff));
}

#[test]
fn the_alarm_is_kept_enabled_and_never_raises_the_sci() {
    let mut pm = PowerManagement::new(0, 1);
    // ACPICA enables one fixed event after the other, byte by byte or at once, and reads back.
    let mut out = Effects::new();
    pm.write(PM1_EVENT + 3, 0x04, &mut out);
    assert_eq!(read16(&pm, PM1_EVENT + 2), 1 << 10);
    write16(&mut pm, PM1_EVENT + 2, TIMER | 1 << 10);
    pm.advance(u64::from(u32::MAX));
    write16(&mut pm, PM1_EVENT, TIMER);
    assert!(!pm.line());
    assert_eq!(read16(&pm, PM1_EVENT) & 1 << 10, 0);
}

#[test]
fn both_reset_ports_reset_on_a_rising_bit() {
    let mut pm = PowerManagement::new(0, 1);
    let mut out = Effects::new();
    pm.write_reset_control(0x02, &mut out);
    assert!(out.is_empty());
    pm.write_reset_control(0x06, &mut out);
    assert_eq!((out.pop(), pm.read_reset_control()), (Some(Effect::Reset), 0x06));
    pm.write_reset_control(0x06, &mut out);
    assert!(out.is_empty());
    pm.write_port_92(0x00, &mut out);
    assert!(out.is_empty(), "A20");
    pm.write_port_92(0x03, &mut out);
    assert_eq!(out.pop(), Some(Effect::Reset));
}
