use super::*;
use crate::uart::{FIFO_BYTES, WAITING_BYTES};
use proptest::prelude::*;
use spec::apic::{DeliveryMode, Destination, InterruptMessage};
use std::vec;
use std::vec::Vec;

mod saving;

const TSC_HZ: u64 = 2_000_000_000;

fn chipset() -> Chipset {
    Chipset::new(ChipsetConfig {
        tsc_hz: TSC_HZ,
        epoch_seconds: 1_767_323_045,
        start: 1000,
        ioapic_id: 2,
        low_memory_bytes: 256 << 20,
        high_memory_bytes: 0,
    })
}

fn out(chipset: &mut Chipset, port: u16, value: u8, now: u64) -> Vec<Effect> {
    let mut effects = Effects::new();
    chipset.port_write(port, Width::Byte, u32::from(value), now, &mut effects);
    effects.collect()
}

fn input(chipset: &mut Chipset, port: u16, now: u64) -> u8 {
    chipset.port_read(port, Width::Byte, now, &mut Effects::new()) as u8
}

fn initialise_pics(chipset: &mut Chipset, master_mask: u8, slave_mask: u8) {
    for (port, value) in [
        (0x20, 0x11),
        (0xa0, 0x11),
        (0x21, 0x20),
        (0xa1, 0x28),
        (0x21, 0x04),
        (0xa1, 0x02),
        (0x21, 0x01),
        (0xa1, 0x01),
        (0x21, master_mask),
        (0xa1, slave_mask),
    ] {
        out(chipset, port, value, 0);
    }
}

fn route(chipset: &mut Chipset, pin: u32, low: u32) -> Vec<Effect> {
    let mut effects = Effects::new();
    chipset.ioapic_write(0, 0x10 + 2 * pin, &mut effects);
    chipset.ioapic_write(0x10, low, &mut effects);
    effects.collect()
}

/// The PIT at `count` input clocks a period.
fn start_timer(chipset: &mut Chipset, count: u16, now: u64) {
    out(chipset, 0x43, 0x34, now);
    out(chipset, 0x40, count as u8, now);
    out(chipset, 0x40, (count >> 8) as u8, now);
}

fn message(vector: u8, level: bool) -> Effect {
    Effect::Message(InterruptMessage {
        destination: Destination::Physical(0),
        mode: DeliveryMode::Fixed,
        vector,
        level,
    })
}

/// Whoever does not ask for what is not decoded misses nothing.
#[test]
fn what_is_not_decoded_reaches_nobody() {
    let mut chipset = chipset();
    let state = |chipset: &Chipset| {
        let mut bytes = [0; STATE_BYTES];
        let used = chipset.save(&mut bytes).unwrap();
        bytes[..used].to_vec()
    };
    let (before, mut effects) = (state(&chipset), Effects::new());
    for port in 0..=u16::MAX {
        for width in [Width::Byte, Width::Word, Width::Dword]
            .into_iter()
            .filter(|width| !Chipset::decodes(port, *width))
        {
            assert_eq!(
                u64::from(chipset.port_read(port, width, 5000, &mut effects)),
                width.mask(),
                "{port:#x}"
            );
            chipset.port_write(port, width, 0, 5000, &mut effects);
        }
    }
    assert!(effects.is_empty());
    assert_eq!(state(&chipset), before);
    let decoded = (0..=u16::MAX).filter(|port| Chipset::decodes(*port, Width::Byte));
    assert_eq!(decoded.count(), 6 + 4 + 3 + 4 + 1 + 8 + 12 + 1);
    for (port, width) in
        [(0x1f, Width::Word), (0x3f5, Width::Dword), (0xcf6, Width::Dword), (0x608, Width::Dword)]
    {
        assert!(Chipset::decodes(port, width), "{port:#x}");
    }
}

#[test]
fn ports_of_nobody_read_ones_at_every_width() {
    let mut chipset = chipset();
    let mut effects = Effects::new();
    for port in [0x00u16, 0x80, 0x81, 0xc0, 0x170, 0x1f0, 0x2f8, 0x60c, 0x1000, 0xfffc] {
        for (width, ones) in [(Width::Byte, 0xff), (Width::Word, 0xffff), (Width::Dword, u32::MAX)] {
            assert_eq!(chipset.port_read(port, width, 0, &mut effects), ones, "{port:#x}");
            chipset.port_write(port, width, 0, 0, &mut effects);
        }
    }
    assert!(effects.is_empty());
}

#[test]
fn an_access_that_straddles_two_devices_reaches_both() {
    let mut chipset = chipset();
    let mut effects = Effects::new();
    // The last scratch register of COM1 and nobody's port 0x400.
    chipset.port_write(0x3ff, Width::Word, 0x1234, 0, &mut effects);
    assert_eq!(chipset.port_read(0x3ff, Width::Dword, 0, &mut effects), 0xffff_ff34);
    // From nobody's 0x3f7 into COM1's data port.
    chipset.port_write(0x3f7, Width::Word, u32::from(b'x') << 8, 0, &mut effects);
    assert_eq!(effects.pop(), Some(Effect::Transmit(b'x')));
    // The end of the port space wraps to nothing: 0x20 and on are not touched.
    chipset.port_write(0xffff, Width::Dword, 0, 0, &mut effects);
    assert_eq!(chipset.port_read(0xffff, Width::Dword, 0, &mut effects), u32::MAX);
    assert!(effects.is_empty());
}

#[test]
fn the_pm_timer_is_read_whole() {
    let mut chipset = chipset();
    let now = 1000 + 100 * TSC_HZ;
    let timer = chipset.port_read(0x608, Width::Dword, now, &mut Effects::new());
    assert_eq!(timer, 100 * 3_579_545);
    // In bytes it is the same, at the same moment.
    let later = 1000 + 7 * TSC_HZ;
    let whole = chipset.port_read(0x608, Width::Dword, later, &mut Effects::new());
    let bytes = [0, 1, 2, 3].map(|index| input(&mut chipset, 0x608 + index, later));
    assert_eq!(whole, u32::from_le_bytes(bytes));
}

/// Input clock of the 8254 in Hz, as software knows it.
const PIT_HZ: u64 = 1_193_182;
/// The power management timer in Hz (ACPI 6.5 section 4.8.3.3).
const TIMER_HZ: u64 = 3_579_545;

/// Software that finds out how fast the TSC runs, as kernels do that are told by nobody. It reads
/// the TSC for nothing, and each access to a port takes as long as an exit does.
struct Calibration {
    chipset: Chipset,
    now: u64,
    exit_ticks: u64,
}

impl Calibration {
    fn new(tsc_hz: u64, exit_ticks: u64) -> Self {
        let start = 1000;
        let config = ChipsetConfig {
            tsc_hz,
            epoch_seconds: 1_767_323_045,
            start,
            ioapic_id: 2,
            low_memory_bytes: 256 << 20,
            high_memory_bytes: 0,
        };
        // Some time after the guest's start, and at no particular moment of any clock.
        Self { chipset: Chipset::new(config), now: start + tsc_hz + 12_345, exit_ticks }
    }

    /// The device answers in the middle of the exit.
    fn during_exit<T>(&mut self, access: impl FnOnce(&mut Chipset, u64) -> T) -> T {
        let answer = access(&mut self.chipset, self.now + self.exit_ticks / 2);
        self.now += self.exit_ticks;
        answer
    }

    fn input(&mut self, port: u16) -> u8 {
        self.during_exit(|chipset, now| input(chipset, port, now))
    }

    fn output(&mut self, port: u16, value: u8) {
        self.during_exit(|chipset, now| _ = out(chipset, port, value, now));
    }

    /// Channel 2 counts down from `count` once, without a sound.
    fn start_counter(&mut self, count: u16) {
        let speaker = self.input(0x61);
        self.output(0x61, speaker & !0x02 | 0x01);
        self.output(0x43, 0xb0);
        self.output(0x42, count as u8);
        self.output(0x42, (count >> 8) as u8);
    }

    fn upper_byte(&mut self) -> u8 {
        self.input(0x42);
        self.input(0x42)
    }

    /// Watches the counter's upper byte while it is `value`: how often it was seen, and between
    /// which two ticks it changed.
    fn watch_upper_byte(&mut self, value: u8) -> (u64, u64, u64) {
        let (mut seen, mut last, mut before) = (0, self.now, self.now);
        while self.upper_byte() == value {
            (before, last) = (last, self.now);
            seen += 1;
        }
        (seen, before, self.now)
    }

    /// By the time between two changes of the upper byte, 25 ms apart.
    fn by_counter(&mut self) -> u64 {
        const STEPS: u8 = 116;
        self.start_counter(0xffff);
        self.upper_byte();
        let (seen, first, _) = self.watch_upper_byte(0xff);
        assert!(seen > 5, "{seen}");
        let mut latest = first;
        for step in 1..=STEPS {
            // None is left out, or the machine is thought to have stood still.
            let (seen, before, after) = self.watch_upper_byte(0xff - step);
            assert!(seen > 5 && after > before, "step {step}: {seen}");
            latest = before;
        }
        (latest - first) * PIT_HZ / (256 * u64::from(STEPS))
    }

    /// By the time until the counter's output rises in port 0x61, after `ms`.
    fn by_output(&mut self, ms: u64) -> u64 {
        let count = PIT_HZ * ms / 1000;
        self.start_counter(count as u16);
        let (start, mut last) = (self.now, self.now);
        let (mut looks, mut shortest, mut longest) = (0, u64::MAX, 0);
        while self.input(0x61) & 0x20 == 0 {
            let took = self.now - last;
            (shortest, longest, last) = (shortest.min(took), longest.max(took), self.now);
            looks += 1;
        }
        // Else Linux takes it that something else ran in between.
        assert!(looks > 100 * ms && longest <= 10 * shortest, "{looks} looks, {shortest} to {longest}");
        (last - start) * 1000 / ms
    }

    /// The timer, read three times since that of some chipsets cannot be trusted when read once.
    fn pm_timer(&mut self) -> (u64, u64) {
        let read = |chipset: &mut Chipset, now| {
            u64::from(chipset.port_read(PM_TIMER, Width::Dword, now, &mut Effects::new()))
        };
        let times: [u64; 3] = core::array::from_fn(|_| self.during_exit(read));
        assert!(times.is_sorted(), "{times:?}");
        (times[1], self.now - 3 * self.exit_ticks / 2)
    }

    /// By the power management timer, over 50 ms.
    fn by_pm_timer(&mut self) -> u64 {
        let (first, first_tsc) = self.pm_timer();
        self.by_output(50);
        let (last, last_tsc) = self.pm_timer();
        (last_tsc - first_tsc) * TIMER_HZ / (last - first)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn who_calibrates_the_tsc_finds_its_rate_by_every_clock(
        tsc_hz in 800_000_000..6_000_000_000u64,
        exit_ns in 100..9_000u64,
    ) {
        let exit_ticks = tsc_hz * exit_ns / 1_000_000_000;
        // Who looks every few microseconds is wrong by so much, and by no more. The counter has
        // ticks of 838 ns: one at the start, and one that the count is cut by.
        let is_right = |hz: u64, looks: u64, ms: u64| {
            let error = (looks * exit_ns + 2 * 838) / ms + 100;
            hz.abs_diff(tsc_hz) <= tsc_hz / 1_000_000 * error
        };
        let mut software = Calibration::new(tsc_hz, exit_ticks);
        let rates = [software.by_counter(), software.by_output(10), software.by_output(50), software.by_pm_timer()];
        prop_assert!(is_right(rates[0], 4, 25), "counter: {} of {tsc_hz}", rates[0]);
        prop_assert!(is_right(rates[1], 4, 10), "output in 10 ms: {} of {tsc_hz}", rates[1]);
        prop_assert!(is_right(rates[2], 4, 50), "output in 50 ms: {} of {tsc_hz}", rates[2]);
        prop_assert!(is_right(rates[3], 1, 50), "power management timer: {} of {tsc_hz}", rates[3]);
    }
}

#[test]
fn the_reset_register_does_not_listen_within_a_wide_access() {
    let mut chipset = chipset();
    let mut effects = Effects::new();
    chipset.port_write(0xcf8, Width::Dword, 0x8000_0600, 0, &mut effects);
    chipset.port_write(0xcf9, Width::Word, 0x0606, 0, &mut effects);
    assert!(effects.is_empty());
    assert_eq!(out(&mut chipset, 0xcf9, 0x06, 0), [Effect::Reset]);
}

#[test]
fn all_ways_out() {
    assert_eq!(out(&mut chipset(), 0x64, 0xfe, 0), [Effect::Reset]);
    assert_eq!(out(&mut chipset(), 0x92, 0x01, 0), [Effect::Reset]);
    let mut effects = Effects::new();
    chipset().port_write(0x604, Width::Word, 5 << 10 | 1 << 13, 0, &mut effects);
    assert_eq!(effects.collect::<Vec<_>>(), [Effect::PowerOff { sleep_type: 5 }]);
}

#[test]
fn the_timer_ticks_through_the_8259a() {
    let mut chipset = chipset();
    start_timer(&mut chipset, 11932, 1000);
    assert_eq!(chipset.deadline(), None, "nobody would see it");
    initialise_pics(&mut chipset, 0xfe, 0xff);
    let deadline = chipset.deadline().unwrap();
    // 10 ms.
    assert!((deadline - 1000).abs_diff(TSC_HZ / 100) < TSC_HZ / 100_000);
    let mut effects = Effects::new();
    chipset.tick(deadline, &mut effects);
    assert_eq!(effects.by_ref().collect::<Vec<_>>(), [Effect::External(true)]);
    assert!(chipset.external_pending());
    assert_eq!(chipset.acknowledge_external(), 0x20);
    assert!(!chipset.external_pending());
    assert!(chipset.deadline().unwrap() > deadline);
    out(&mut chipset, 0x20, 0x20, deadline);
    let deadline = chipset.deadline().unwrap();
    chipset.tick(deadline, &mut effects);
    assert_eq!(effects.pop(), Some(Effect::External(true)), "INTR's fall was told by the INTA");
}

#[test]
fn the_timer_ticks_through_pin_2_of_the_ioapic() {
    let mut chipset = chipset();
    start_timer(&mut chipset, 11932, 1000);
    assert_eq!(route(&mut chipset, 2, 0x30), []);
    for _ in 0..5 {
        let deadline = chipset.deadline().unwrap();
        let mut effects = Effects::new();
        chipset.tick(deadline, &mut effects);
        assert_eq!(effects.collect::<Vec<_>>(), [message(0x30, false)]);
    }
    route(&mut chipset, 2, 0x1_0030);
    assert_eq!(chipset.deadline(), None);
}

#[test]
fn a_masked_timers_edge_is_there_when_the_8259a_is_read() {
    let mut chipset = chipset();
    initialise_pics(&mut chipset, 0xff, 0xff);
    start_timer(&mut chipset, 11932, 1000);
    assert_eq!(input(&mut chipset, 0x20, 2000), 0);
    assert_eq!(input(&mut chipset, 0x20, 1000 + TSC_HZ), 1);
    assert_eq!(out(&mut chipset, 0x21, 0xfe, 1000 + TSC_HZ), [Effect::External(true)]);
}

#[test]
fn the_console_goes_both_ways() {
    let mut chipset = chipset();
    route(&mut chipset, 4, 0x34);
    assert_eq!(out(&mut chipset, 0x3f8, b'a', 0), [Effect::Transmit(b'a')]);
    out(&mut chipset, 0x3fa, 0x07, 0);
    out(&mut chipset, 0x3fc, 0x0b, 0);
    out(&mut chipset, 0x3f9, 0x01, 0);
    let mut effects = Effects::new();
    assert!(chipset.receive(b'q', &mut effects));
    assert_eq!(effects.pop(), Some(message(0x34, false)));
    for _ in 1..FIFO_BYTES + WAITING_BYTES {
        assert!(chipset.receive(b'q', &mut effects));
    }
    assert!(!chipset.receive(b'q', &mut effects));
    assert!(effects.is_empty());
    assert_eq!(input(&mut chipset, 0x3f8, 0), b'q');
    assert!(chipset.receive(b'r', &mut effects));
    assert!(!chipset.receive(b'r', &mut effects));
}

#[test]
fn a_byte_sent_comes_before_its_interrupt() {
    let mut chipset = chipset();
    route(&mut chipset, 4, 0x34);
    out(&mut chipset, 0x3fc, 0x08, 0);
    assert_eq!(out(&mut chipset, 0x3f9, 0x02, 0), [message(0x34, false)]);
    input(&mut chipset, 0x3fa, 0);
    assert_eq!(out(&mut chipset, 0x3f8, b'a', 0), [Effect::Transmit(b'a'), message(0x34, false)]);
}

#[test]
fn lines_go_to_both_controllers() {
    let mut chipset = chipset();
    initialise_pics(&mut chipset, 0, 0);
    route(&mut chipset, 11, 0x8000 | 0x3b);
    let mut effects = Effects::new();
    chipset.set_line(11, true, &mut effects);
    assert_eq!(effects.by_ref().collect::<Vec<_>>(), [message(0x3b, true), Effect::External(true)]);
    chipset.set_line(11, true, &mut effects);
    assert!(effects.is_empty());
    chipset.end_of_interrupt(0x3b, &mut effects);
    assert_eq!(effects.pop(), Some(message(0x3b, true)));
    // GSI 16 and on, GSI 0, and what does not exist, are no 8259A lines.
    chipset.acknowledge_external();
    out(&mut chipset, 0xa0, 0x20, 0);
    out(&mut chipset, 0x20, 0x20, 0);
    for gsi in [0, 16, 23, 24, 255] {
        chipset.set_line(gsi, true, &mut effects);
        assert!(effects.is_empty(), "{gsi}");
    }
}

#[test]
fn the_sci_is_a_level() {
    let mut chipset = chipset();
    route(&mut chipset, 9, 0x8000 | 0x39);
    let mut effects = Effects::new();
    chipset.port_write(0x602, Width::Word, 0x100, 0, &mut effects);
    chipset.press_power_button(&mut effects);
    assert_eq!(effects.pop(), Some(message(0x39, true)));
    chipset.end_of_interrupt(0x39, &mut effects);
    assert_eq!(effects.pop(), Some(message(0x39, true)), "still asserted");
    chipset.port_write(0x600, Width::Word, 0x100, 0, &mut effects);
    chipset.end_of_interrupt(0x39, &mut effects);
    assert!(effects.is_empty());
}

#[test]
fn the_clock_interrupts_when_open_and_waits_otherwise() {
    let mut chipset = chipset();
    out(&mut chipset, 0x70, 0x0b, 1000);
    out(&mut chipset, 0x71, 0x12, 1000);
    assert_eq!(chipset.deadline(), None);
    route(&mut chipset, 8, 0x38);
    let deadline = chipset.deadline().unwrap();
    assert_eq!(deadline, 1000 + TSC_HZ);
    let mut effects = Effects::new();
    chipset.tick(deadline, &mut effects);
    assert_eq!(effects.pop(), Some(message(0x38, false)));
    assert_eq!(chipset.deadline(), None, "register C was not read");
    out(&mut chipset, 0x70, 0x0c, deadline);
    assert_eq!(input(&mut chipset, 0x71, deadline) & 0x90, 0x90);
    assert_eq!(chipset.deadline(), Some(1000 + 2 * TSC_HZ));
}

#[derive(Clone, Debug)]
enum Step {
    In(u16, u8),
    Out(u16, u8, u32),
    IoapicRead(u32),
    IoapicWrite(u32, u32),
    Line(u8, bool),
    End(u8),
    Receive(u8),
    Acknowledge,
    Button,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let port = prop_oneof![
        6 => proptest::sample::select(vec![
            0x20u16, 0x21, 0xa0, 0xa1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x60, 0x64, 0x70, 0x71, 0x72, 0x73, 0x92,
            0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x4d0, 0x4d1, 0x600, 0x602, 0x604, 0x608, 0xcf9,
        ]),
        1 => any::<u16>(),
    ];
    let value = prop_oneof![0..0x100u32, any::<u32>()];
    prop_oneof![
        3 => (port.clone(), 0..4u8).prop_map(|(port, width)| Step::In(port, width)),
        6 => (port, 0..4u8, value.clone()).prop_map(|(port, width, value)| Step::Out(port, width, value)),
        1 => any::<u32>().prop_map(Step::IoapicRead),
        1 => (0..0x48u32).prop_map(|register| Step::IoapicWrite(0, register)),
        2 => value.clone().prop_map(|value| Step::IoapicWrite(0x10, value)),
        1 => value.prop_map(|value| Step::IoapicWrite(0x40, value)),
        2 => (0..30u8, any::<bool>()).prop_map(|(gsi, level)| Step::Line(gsi, level)),
        1 => any::<u8>().prop_map(Step::End),
        1 => any::<u8>().prop_map(Step::Receive),
        1 => Just(Step::Acknowledge),
        1 => Just(Step::Button),
        2 => prop_oneof![0..10_000_000u64, any::<u64>()].prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn nothing_a_guest_does_breaks_it(
        tsc_hz in prop_oneof![Just(0u64), Just(1), Just(TSC_HZ), any::<u64>()],
        steps in proptest::collection::vec(step(), 1..150),
    ) {
        let mut chipset = Chipset::new(ChipsetConfig {
            tsc_hz,
            epoch_seconds: u64::MAX,
            start: 0,
            ioapic_id: 255,
            low_memory_bytes: u64::MAX,
            high_memory_bytes: u64::MAX,
        });
        let widths = [Width::Byte, Width::Word, Width::Dword, Width::Qword];
        let mut now = 0u64;
        let mut external = false;
        for step in steps {
            let mut effects = Effects::new();
            match step {
                Step::In(port, width) => {
                    let width = widths[usize::from(width)];
                    let value = chipset.port_read(port, width, now, &mut effects);
                    prop_assert_eq!(value & !(width.mask() as u32), 0);
                }
                Step::Out(port, width, value) => {
                    chipset.port_write(port, widths[usize::from(width)], value, now, &mut effects);
                }
                Step::IoapicRead(offset) => { chipset.ioapic_read(offset); }
                Step::IoapicWrite(offset, value) => chipset.ioapic_write(offset, value, &mut effects),
                Step::Line(gsi, level) => chipset.set_line(gsi, level, &mut effects),
                Step::End(vector) => chipset.end_of_interrupt(vector, &mut effects),
                Step::Receive(byte) => { let _ = chipset.receive(byte, &mut effects); }
                Step::Acknowledge => {
                    chipset.acknowledge_external();
                    external = chipset.external_pending();
                }
                Step::Button => chipset.press_power_button(&mut effects),
                Step::Wait(ticks) => now = now.saturating_add(ticks),
            }
            prop_assert!(!effects.take_overflow());
            // Serving the deadline makes progress at the same moment.
            let mut ticked = Effects::new();
            chipset.tick(now, &mut ticked);
            prop_assert!(!ticked.take_overflow());
            prop_assert!(chipset.deadline().is_none_or(|deadline| deadline > now));
            // Whoever follows the effects knows INTR.
            for effect in effects.chain(ticked) {
                if let Effect::External(level) = effect {
                    prop_assert_ne!(level, external);
                    external = level;
                }
            }
            prop_assert_eq!(external, chipset.external_pending());
        }
    }
}
