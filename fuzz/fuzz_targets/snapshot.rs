//! A frozen guest that somebody has changed: every section of it, cut off, of another version, forged.
//! It is refused, and then nothing of the guest that is there may have changed; or it goes on.
#![no_main]

use access::fake_processor::StillProcessor;
use access::vcpu::{SavedProcessor, Saving, Segment};
use devices::{Chipset, ChipsetConfig, Effects, LocalApic};
use fuzz::Input;
use guest::snapshot::Section;
use libfuzzer_sys::fuzz_target;
use spec::Width;

fn chipset() -> Chipset {
    Chipset::new(ChipsetConfig {
        tsc_hz: 2_400_000_000,
        epoch_seconds: 1_700_000_000,
        start: 1000,
        ioapic_id: 2,
        low_memory_bytes: 64 << 20,
        high_memory_bytes: 0,
    })
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    match input.u8() % 3 {
        0 => forge_chipset(&mut input),
        1 => forge_local_apic(&mut input),
        _ => forge_processor(&mut input),
    }
});

/// Changes some bytes of `state`, or cuts it off.
fn forge(state: &mut Vec<u8>, input: &mut Input<'_>) {
    for _ in 0..input.u8() % 8 {
        let place = usize::from(input.u16()) % state.len().max(1);
        if let Some(byte) = state.get_mut(place) {
            *byte = input.u8();
        }
    }
    if input.u8() % 8 == 0 {
        state.truncate(usize::from(input.u16()) % (state.len() + 1));
    }
}

fn forge_chipset(input: &mut Input<'_>) {
    let (mut own, mut effects, mut now) = (chipset(), Effects::new(), 1000u64);
    for _ in 0..input.u8() % 16 {
        own.port_write(input.u16() & 0x7ff, Width::Byte, input.u32(), now, &mut effects);
        effects.clear();
        now += u64::from(input.u16());
    }
    let mut state = saved(&own);
    let before = state.clone();
    forge(&mut state, input);
    let restored = own.restored(&state);
    assert_eq!(saved(&own), before, "the chipset that runs has changed");
    let Ok(mut other) = restored else { return };
    while !input.is_empty() {
        now = now.saturating_add(input.u32().into());
        match input.u8() % 5 {
            0 => other.tick(now, &mut effects),
            1 => _ = other.port_read(input.u16() & 0x7ff, Width::Dword, now, &mut effects),
            2 => other.port_write(input.u16() & 0x7ff, Width::Byte, input.u32(), now, &mut effects),
            3 => other.end_of_interrupt(input.u8(), &mut effects),
            _ => _ = other.receive(input.u8(), &mut effects),
        }
        assert!(!effects.take_overflow(), "a chipset causes more than its queue holds");
        effects.clear();
    }
}

fn saved(chipset: &Chipset) -> Vec<u8> {
    let mut bytes = vec![0; devices::chipset::STATE_BYTES];
    let used = chipset.save(&mut bytes).expect("every state fits");
    bytes.truncate(used);
    bytes
}

fn forge_local_apic(input: &mut Input<'_>) {
    let own = LocalApic::new(1, input.u8() & 1 != 0);
    let mut bytes = vec![0; 512];
    let used = devices::snapshot::encode(1, &own, &mut bytes).expect("every state fits");
    bytes.truncate(used);
    forge(&mut bytes, input);
    let Ok(mut other) = devices::snapshot::decode::<LocalApic>(1, &bytes) else { return };
    if other.check(&own).is_err() {
        return;
    }
    let mut now = 1000u64;
    while !input.is_empty() {
        now = now.saturating_add(input.u32().into());
        match input.u8() % 5 {
            0 => other.expire(now),
            1 => _ = other.read(input.u8(), now),
            2 => _ = other.write(input.u8(), input.u64(), now),
            3 => other.accept(input.u8(), input.u8() & 1 != 0),
            _ => {
                if let Some(vector) = other.deliverable() {
                    other.acknowledge(vector);
                }
            }
        }
        let _ = (other.deadline(), other.address());
    }
}

/// The registers of a vCPU, in whatever state.
fn forge_processor(input: &mut Input<'_>) {
    let segment = Segment { selector: 8, attributes: 0xa9b, limit: u32::MAX, base: 0 };
    let mut state = SavedProcessor { rip: 0x1000, segments: [segment; 8], ..SavedProcessor::default() };
    state.registers[3] = input.u64();
    let mut section = Section::new(guest::snapshot::PROCESSOR_BYTES);
    let mut bytes = vec![0; guest::snapshot::PROCESSOR_BYTES];
    let used = devices::snapshot::encode(1, &state, &mut bytes).expect("every state fits");
    bytes.truncate(used);
    forge(&mut bytes, input);
    section.fill(&bytes);
    if let Ok(saved) = devices::snapshot::decode::<SavedProcessor>(1, section.contents()) {
        let mut other = StillProcessor::real();
        if other.accepts(&saved) {
            other.restore(&saved);
        }
        let _ = saved.own.extended.is_loadable(7, 0xffff);
    }
}
