//! Ring 0's side of an emulated function whose model is in a compartment that says anything.
#![no_main]

use access::memory::VecMemory;
use compartment::{Remote, Sizes};
use devices::Device;
use devices::device::{Completion, Context, DEVICE_BUFFER, DeviceEffect};
use devices::effect::Effects;
use fuzz::Input;
use fuzz::lying_compartment::Liar;
use libfuzzer_sys::fuzz_target;
use network::{Frame, Tagging};

const SIZES: Sizes = Sizes { effects: 8, buffer_bytes: 1024, data_bytes: 2048, state_words: 64 };

fuzz_target!(|data: &[u8]| {
    let (steps, script) = data.split_at(data.len() / 2);
    let Ok(mut device) = Remote::new(Liar::new(SIZES.words(), script, None), SIZES) else { return };
    assert!(device.most_effects() <= SIZES.effects && device.most_requests() <= SIZES.effects);
    let memory = VecMemory::new(4096);
    let mut effects = Effects::with_capacity(device.most_effects());
    let (mut input, mut frame, mut room) = (Input::new(steps), Frame::new(), vec![0; 4096]);
    while !input.is_empty() {
        let (what, byte) = (input.u8(), input.u8());
        let (offset, width) = (u64::from(byte), input.width());
        let string = &mut room[..usize::from(what >> 4) * 0x100 + usize::from(byte)];
        let context = &mut Context { memory: &memory, now: 7, effects: &mut effects };
        match what & 0xf {
            0 | 1 => _ = device.read(offset, width, context),
            2 | 3 => device.write(offset, width, input.u64(), context),
            4 => {
                let whole = string.len() - string.len() % width.bytes() as usize;
                let count = device.read_string(offset, width, &mut string[..whole], context);
                assert!(count <= whole && (count > 0 || whole == 0), "it goes on for ever");
            }
            5 => {
                let whole = string.len() - string.len() % width.bytes() as usize;
                let count = device.write_string(offset, width, &string[..whole], context);
                assert!(count <= whole && (count > 0 || whole == 0), "it goes on for ever");
            }
            6 => device.complete(Completion { tag: byte.into(), outcome: Ok(()) }, context),
            7 => device.reset(),
            8 => _ = device.poll(context),
            9 => _ = device.want_notifications(byte & 1 != 0, context),
            10 => _ = device.transmit(&mut frame, context),
            11 => {
                frame.clear();
                frame.append(string).expect("there is room");
                if let Some(parts) = frame.parts(Tagging::Keep) {
                    device.receive(&parts, context);
                }
            }
            12 => assert!(device.output(string, context) <= string.len()),
            13 => _ = device.input(byte, context),
            14 => device.set_link(byte & 1 != 0, context),
            _ => _ = device.take_doorbell(),
        }
        for effect in effects.by_ref() {
            let DeviceEffect::Submit(request) = effect else { continue };
            if request.operation.moves_data() && request.gpa >= DEVICE_BUFFER {
                let end = request.gpa.0 - DEVICE_BUFFER.0 + u64::from(request.bytes);
                assert!(end <= SIZES.buffer_bytes as u64, "{request:?}");
            }
        }
        assert!(!effects.take_overflow(), "there was no room for an effect");
    }
});
