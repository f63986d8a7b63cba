//! The chipset and two local APICs behind it: any accesses at any time.
#![no_main]

use devices::{ApicAddress, ApicEffect, Chipset, ChipsetConfig, Effect, Effects, LocalApic};
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use spec::apic::{DeliveryMode, InterruptMessage};

/// Every register of the chipset that is at a port.
const PORTS: [u16; 30] = [
    0x20, 0x21, 0xa0, 0xa1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x60, 0x64, 0x70, 0x71, 0x72, 0x73, 0x92, 0x3f8,
    0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x4d0, 0x4d1, 0x600, 0x602, 0x604, 0x608, 0xcf9,
];

struct World {
    chipset: Chipset,
    apics: [LocalApic; 2],
    /// The level of INTR as the effects told it.
    external: bool,
    now: u64,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let tsc_hz = input.pick(&[2_400_000_000, 0, 1, u64::MAX, 1_000_000]);
    let start = input.pick(&[0, 1 << 40, u64::MAX]);
    let mut world = World {
        chipset: Chipset::new(ChipsetConfig {
            tsc_hz,
            epoch_seconds: input.pick(&[1_700_000_000, 0, u64::MAX]),
            start,
            ioapic_id: 2,
            low_memory_bytes: 64 << 20,
            high_memory_bytes: u64::MAX,
        }),
        apics: [LocalApic::new(0, true), LocalApic::new(1, false)],
        external: false,
        now: start,
    };
    while !input.is_empty() {
        world.step(&mut input);
        world.check();
    }
});

impl World {
    fn step(&mut self, input: &mut Input<'_>) {
        let mut effects = Effects::new();
        let Self { chipset, apics, now, .. } = self;
        match input.u8() % 16 {
            0 => *now = now.saturating_add(input.u16().into()),
            1 => *now = now.saturating_add(input.u64() >> (input.u8() & 63)),
            2 | 3 => {
                let port = port(input);
                let width = input.width();
                let value = chipset.port_read(port, width, *now, &mut effects);
                assert_eq!(u64::from(value) & !width.mask(), 0);
            }
            4..7 => {
                let port = port(input);
                chipset.port_write(port, input.width(), input.u32(), *now, &mut effects);
            }
            7 => {
                let (register, value) = (input.u8(), input.u32());
                chipset.ioapic_write(0, register.into(), &mut effects);
                chipset.ioapic_write(0x10, value, &mut effects);
                chipset.ioapic_read(0x10);
            }
            8 => {
                let offset = input.u16().into();
                chipset.ioapic_read(offset);
                chipset.ioapic_write(offset, input.u32(), &mut effects);
            }
            9 => chipset.set_line(input.u8(), input.u8() & 1 != 0, &mut effects),
            10 => match input.u8() & 3 {
                0 => chipset.press_power_button(&mut effects),
                1 => {
                    chipset.acknowledge_external();
                    self.external = chipset.external_pending();
                }
                _ => drop(chipset.receive(input.u8(), &mut effects)),
            },
            11 => chipset.end_of_interrupt(input.u8(), &mut effects),
            kind => {
                let effect = apic_step(&mut apics[usize::from(kind & 1)], input, *now);
                match effect {
                    ApicEffect::EndOfInterrupt { vector, level: true } => {
                        chipset.end_of_interrupt(vector, &mut effects);
                    }
                    ApicEffect::Send(message) => self.deliver(message),
                    _ => {}
                }
            }
        }
        self.apply(effects);
    }

    fn apply(&mut self, mut effects: Effects) {
        assert!(!effects.take_overflow(), "one access overflows the queue");
        while let Some(effect) = effects.pop() {
            match effect {
                Effect::Message(message) => self.deliver(message),
                Effect::External(level) => {
                    assert_ne!(level, self.external, "INTR did not change");
                    self.external = level;
                }
                Effect::Resample(_) | Effect::Transmit(_) | Effect::PowerOff { .. } | Effect::Reset => {}
            }
        }
    }

    fn deliver(&mut self, message: InterruptMessage) {
        for apic in &mut self.apics {
            match message.mode {
                DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                    apic.accept(message.vector, message.level);
                }
                DeliveryMode::Init => apic.reset(),
                _ => {}
            }
        }
    }

    fn check(&mut self) {
        let mut effects = Effects::new();
        self.chipset.tick(self.now, &mut effects);
        self.apply(effects);
        assert_eq!(self.external, self.chipset.external_pending());
        // Serving a deadline makes progress, or its caller would go round for ever.
        assert!(self.chipset.deadline().is_none_or(|deadline| deadline > self.now));
        for apic in &mut self.apics {
            apic.expire(self.now);
            assert!(apic.deadline().is_none_or(|deadline| deadline > self.now));
            if let Some(vector) = apic.deliverable() {
                assert!(vector >= 16 && vector >> 4 > apic.task_priority() >> 4);
                assert_eq!(apic.pending_below_priority(), None);
            }
            assert_eq!(ApicAddress::from_bits(apic.address().to_bits()), apic.address());
            assert_eq!(apic.base() & !0xfff, 0xfee0_0000);
        }
    }
}

fn port(input: &mut Input<'_>) -> u16 {
    match input.u8() {
        0xff => input.u16(),
        place => PORTS[usize::from(place) % PORTS.len()],
    }
}

fn apic_step(apic: &mut LocalApic, input: &mut Input<'_>, now: u64) -> ApicEffect {
    match input.u8() % 12 {
        0 => drop(apic.read(input.u8(), now)),
        1 => return apic.write(input.u8(), input.u32().into(), now).unwrap_or(ApicEffect::Changed),
        2 => return apic.write(input.u8(), input.u64(), now).unwrap_or(ApicEffect::Changed),
        3 => drop(apic.mmio_read(input.u16().into(), now)),
        4 => {
            let offset = u32::from(input.u8() & 0x3f) << 4;
            return apic.mmio_write(offset, input.u32(), now);
        }
        5 => return apic.mmio_write(input.u16().into(), input.u32(), now),
        6 => drop(apic.set_base(0xfee0_0000 | u64::from(input.u8()) << 8)),
        7 => drop(apic.set_base(input.u64())),
        8 => {
            if let Some(vector) = apic.deliverable() {
                apic.acknowledge(vector);
                assert!(apic.deliverable().is_none_or(|next| next >> 4 > vector >> 4));
            }
        }
        9 => apic.acknowledge(input.u8()),
        10 => apic.set_cr8(input.u8()),
        _ => apic.set_tsc_deadline(input.u64() >> (input.u8() & 63), now),
    }
    ApicEffect::Changed
}
