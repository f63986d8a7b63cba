use super::*;
use proptest::prelude::*;
use std::vec::Vec;

fn write(ioapic: &mut Ioapic, register: u8, value: u32) -> Vec<Effect> {
    let mut out = Effects::new();
    ioapic.write(0x00, u32::from(register), &mut out);
    ioapic.write(0x10, value, &mut out);
    out.collect()
}

fn read(ioapic: &mut Ioapic, register: u8) -> u32 {
    ioapic.write(0x00, u32::from(register), &mut Effects::new());
    ioapic.read(0x10)
}

fn route(ioapic: &mut Ioapic, pin: u8, entry: u64) -> Vec<Effect> {
    let mut effects = write(ioapic, 0x11 + 2 * pin, (entry >> 32) as u32);
    effects.extend(write(ioapic, 0x10 + 2 * pin, entry as u32));
    effects
}

fn line(ioapic: &mut Ioapic, pin: u8, level: bool) -> Vec<Effect> {
    let mut out = Effects::new();
    ioapic.set_line(pin, level, &mut out);
    out.collect()
}

fn end(ioapic: &mut Ioapic, vector: u8) -> Vec<Effect> {
    let mut out = Effects::new();
    ioapic.end_of_interrupt(vector, &mut out);
    out.collect()
}

fn fixed(destination: Destination, vector: u8, level: bool) -> Effect {
    Effect::Message(InterruptMessage { destination, mode: DeliveryMode::Fixed, vector, level })
}

#[test]
fn identifies_itself() {
    let mut ioapic = Ioapic::new(4);
    assert_eq!(read(&mut ioapic, 0), 4 << 24);
    assert_eq!(read(&mut ioapic, 1), 0x0017_0020);
    write(&mut ioapic, 0, 7 << 24);
    assert_eq!(read(&mut ioapic, 0), 7 << 24);
    // Kernels look how many bits stick.
    write(&mut ioapic, 0, 0xff5a_ffff);
    assert_eq!((read(&mut ioapic, 0), read(&mut ioapic, 2)), (0x0f << 24, 0x0f << 24));
    write(&mut ioapic, 1, 0);
    assert_eq!(read(&mut ioapic, 1), 0x0017_0020);
}

#[test]
fn edges_are_sent_once_and_lost_while_masked() {
    let mut ioapic = Ioapic::new(0);
    assert_eq!(line(&mut ioapic, 4, true), []);
    assert_eq!(route(&mut ioapic, 4, 3 << 56 | 0x31), []);
    assert_eq!(line(&mut ioapic, 4, true), [], "no edge");
    line(&mut ioapic, 4, false);
    assert_eq!(line(&mut ioapic, 4, true), [fixed(Destination::Physical(3), 0x31, false)]);
    assert_eq!(end(&mut ioapic, 0x31), [], "an edge is not sent again");
}

#[test]
fn a_level_is_sent_again_after_its_end() {
    let mut ioapic = Ioapic::new(0);
    let sent = [fixed(Destination::Physical(1), 0x40, true)];
    route(&mut ioapic, 20, 1 << 56 | LEVEL | 0x40);
    assert_eq!(line(&mut ioapic, 20, true), sent);
    assert_ne!(read(&mut ioapic, 0x10 + 40) & REMOTE_IRR as u32, 0);
    line(&mut ioapic, 20, false);
    assert_eq!(line(&mut ioapic, 20, true), [], "in service");
    assert_eq!(end(&mut ioapic, 0x41), [], "another vector's end");
    assert_eq!(end(&mut ioapic, 0x40), sent);
    line(&mut ioapic, 20, false);
    assert_eq!(end(&mut ioapic, 0x40), []);
    assert_eq!(read(&mut ioapic, 0x10 + 40) & REMOTE_IRR as u32, 0);
    assert_eq!(end(&mut ioapic, 0x40), [], "the end of nothing");
}

#[test]
fn a_level_that_waits_is_sent_when_unmasked() {
    let mut ioapic = Ioapic::new(0);
    line(&mut ioapic, 9, true);
    assert_eq!(route(&mut ioapic, 9, LEVEL | 0x29), [fixed(Destination::Physical(0), 0x29, true)]);
    // Masked while in service: its end sends nothing.
    assert_eq!(route(&mut ioapic, 9, LEVEL | MASKED | 0x29), []);
    assert_eq!(end(&mut ioapic, 0x29), []);
    assert_eq!(route(&mut ioapic, 9, LEVEL | 0x29).len(), 1);
}

#[test]
fn the_eoi_register_is_a_directed_end() {
    let mut ioapic = Ioapic::new(0);
    route(&mut ioapic, 9, LEVEL | 0x29);
    line(&mut ioapic, 9, true);
    let mut out = Effects::new();
    ioapic.write(0x40, 0x29, &mut out);
    assert_eq!(out.pop(), Some(fixed(Destination::Physical(0), 0x29, true)));
}

#[test]
fn switching_to_edge_and_back_ends_a_level() {
    let mut ioapic = Ioapic::new(0);
    route(&mut ioapic, 9, LEVEL | 0x29);
    line(&mut ioapic, 9, true);
    write(&mut ioapic, 0x22, 0x1_0029);
    assert_eq!(read(&mut ioapic, 0x22), 0x1_0029);
    assert_eq!(write(&mut ioapic, 0x22, 0x8029).len(), 1);
}

#[test]
fn software_cannot_set_the_read_only_bits() {
    let mut ioapic = Ioapic::new(0);
    write(&mut ioapic, 0x10, u32::MAX);
    assert_eq!(read(&mut ioapic, 0x10), 0x0001_afff);
    write(&mut ioapic, 0x11, u32::MAX);
    assert_eq!(read(&mut ioapic, 0x11), 0xfffe_0000);
}

#[test]
fn indexes_beyond_the_last_pin_are_nothing() {
    let mut ioapic = Ioapic::new(0);
    let before = ioapic.redirections;
    for register in (3..0x10).chain(0x40..=0xff) {
        assert_eq!(write(&mut ioapic, register, 0xffff_ffff), []);
        assert_eq!(read(&mut ioapic, register), 0);
    }
    assert_eq!(ioapic.redirections, before);
    for pin in PINS..=255 {
        assert_eq!(line(&mut ioapic, pin, true), []);
        assert!(!ioapic.is_open(pin) && !ioapic.is_asserted(pin));
    }
    for offset in [4, 0x14, 0x20, 0x44, 0x1000, u32::MAX] {
        let mut out = Effects::new();
        ioapic.write(offset, 0x29, &mut out);
        assert!(out.is_empty());
        assert_eq!(ioapic.read(offset), 0);
    }
}

#[test]
fn destinations() {
    let mut ioapic = Ioapic::new(0);
    for (entry, destination) in [
        (5u64 << 56, Destination::Physical(5)),
        (5 << 56 | LOGICAL, Destination::Logical(5)),
        (0xff << 56, Destination::All),
        (0xff << 56 | LOGICAL, Destination::All),
        (5 << 56 | 1 << 49, Destination::Physical(0x105)),
    ] {
        route(&mut ioapic, 1, entry | 0x50);
        line(&mut ioapic, 1, false);
        assert_eq!(line(&mut ioapic, 1, true), [fixed(destination, 0x50, false)]);
    }
}

#[test]
fn delivery_modes() {
    let mut ioapic = Ioapic::new(0);
    for (code, mode) in [
        (0, Some(DeliveryMode::Fixed)),
        (1, Some(DeliveryMode::LowestPriority)),
        (2, Some(DeliveryMode::Smi)),
        (3, None),
        (4, Some(DeliveryMode::Nmi)),
        (5, Some(DeliveryMode::Init)),
        (6, None),
        (7, Some(DeliveryMode::ExtInt)),
    ] {
        for trigger in [0, LEVEL] {
            line(&mut ioapic, 1, false);
            end(&mut ioapic, 0x50);
            route(&mut ioapic, 1, trigger | code << 8 | 0x50);
            let sent: Vec<_> = line(&mut ioapic, 1, true)
                .into_iter()
                .map(|effect| match effect {
                    Effect::Message(message) => (message.mode, message.level),
                    other => panic!("{other:?}"),
                })
                .collect();
            // Only the first two can be levels.
            let expected: Vec<_> = mode.map(|mode| (mode, trigger != 0 && code < 2)).into_iter().collect();
            assert_eq!(sent, expected, "mode {code}");
        }
    }
}

#[test]
fn all_pins_with_one_vector_fit_the_effects() {
    let mut ioapic = Ioapic::new(0);
    for pin in 0..PINS {
        route(&mut ioapic, pin, LEVEL | 0x60);
        line(&mut ioapic, pin, true);
    }
    let mut out = Effects::new();
    ioapic.end_of_interrupt(0x60, &mut out);
    assert!(!out.take_overflow());
    assert_eq!(out.count(), usize::from(PINS));
}

proptest! {
    #[test]
    fn survives_anything(accesses in proptest::collection::vec((0..5u8, any::<u32>(), any::<bool>()), 0..300)) {
        let mut ioapic = Ioapic::new(0);
        for (what, value, flag) in accesses {
            let mut out = Effects::new();
            match what {
                0 => ioapic.write([0, 0x10, 0x40][value as usize % 3], value, &mut out),
                1 => ioapic.write(0, value % 0x48, &mut out),
                2 => ioapic.write(0x10, value, &mut out),
                3 => ioapic.set_line(value as u8, flag, &mut out),
                _ => ioapic.end_of_interrupt(value as u8, &mut out),
            }
            ioapic.read(value & 0x7f);
            prop_assert!(!out.take_overflow());
            for (pin, entry) in ioapic.redirections.iter().enumerate() {
                prop_assert!(entry & REMOTE_IRR == 0 || entry & LEVEL != 0, "pin {}", pin);
            }
        }
    }
}

fn resampled(ioapic: &mut Ioapic, pin: u8) -> Vec<Effect> {
    let mut out = Effects::new();
    ioapic.assert_resampled(pin, &mut out);
    out.collect()
}

#[test]
fn a_resampled_line_is_looked_at_again_at_each_end() {
    let mut ioapic = Ioapic::new(0);
    let message = fixed(Destination::Physical(1), 0x41, true);
    route(&mut ioapic, 17, 1 << 56 | LEVEL | 0x41);
    assert_eq!(resampled(&mut ioapic, 17), [message]);
    assert_eq!(resampled(&mut ioapic, 17), [], "it is in service");
    assert_eq!(end(&mut ioapic, 0x42), [], "another vector");
    assert_eq!(end(&mut ioapic, 0x41), [Effect::Resample(17)]);
    assert!(!ioapic.is_asserted(17), "until the line is seen asserted again");
    assert_eq!(end(&mut ioapic, 0x41), []);
    assert_eq!(resampled(&mut ioapic, 17), [message]);
}

#[test]
fn a_masked_line_is_looked_at_again_when_the_pin_opens() {
    let mut ioapic = Ioapic::new(0);
    route(&mut ioapic, 17, MASKED | LEVEL | 0x41);
    assert_eq!(resampled(&mut ioapic, 17), []);
    assert_eq!(route(&mut ioapic, 17, LEVEL | 0x41), [Effect::Resample(17)], "not a stale interrupt");
    assert_eq!(resampled(&mut ioapic, 17), [fixed(Destination::Physical(0), 0x41, true)]);
    // As handlers in threads do: masked, ended, opened when the device is served.
    route(&mut ioapic, 17, MASKED | LEVEL | 0x41);
    assert_eq!(end(&mut ioapic, 0x41), [], "nobody waits for it yet");
    assert_eq!(route(&mut ioapic, 17, LEVEL | 0x41), [Effect::Resample(17)]);
    assert_eq!(route(&mut ioapic, 17, LEVEL | 0x41), [], "asked once");
}

#[test]
fn an_interrupt_that_was_served_before_it_was_seen_does_not_come_again() {
    let mut ioapic = Ioapic::new(0);
    let message = fixed(Destination::Physical(0), 0x41, true);
    route(&mut ioapic, 17, LEVEL | 0x41);
    assert_eq!(resampled(&mut ioapic, 17), [message]);
    // The guest closes the line and opens it, and the machine's pin sends anew: before anybody
    // looks there, the guest serves the device and ends what it got first.
    ioapic.deassert_resampled(17);
    assert_eq!(
        end(&mut ioapic, 0x41),
        [Effect::Resample(17)],
        "so the pin is ended, and says if it is asserted"
    );
    // An emulated device at the same pin is not forgotten over that.
    line(&mut ioapic, 17, true);
    assert_eq!(end(&mut ioapic, 0x41), [Effect::Resample(17), message]);
}

#[test]
fn a_deasserted_line_is_silent() {
    let mut ioapic = Ioapic::new(0);
    route(&mut ioapic, 17, LEVEL | 0x41);
    resampled(&mut ioapic, 17);
    ioapic.deassert_resampled(17);
    assert_eq!(end(&mut ioapic, 0x41), [Effect::Resample(17)], "it may have been opened again");
    assert_eq!(end(&mut ioapic, 0x41), [], "nothing was sent since");
    line(&mut ioapic, 18, true);
    ioapic.deassert_resampled(18);
    assert!(ioapic.is_asserted(18), "that is an emulated device's");
    assert_eq!(resampled(&mut ioapic, 200), []);
    ioapic.deassert_resampled(200);
}
