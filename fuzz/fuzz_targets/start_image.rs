//! Start images: whatever one says, it is placed in its guest's memory or refused in words.
#![no_main]

use access::fake_processor::StillProcessor;
use access::vcpu::ProcessorState;
use fuzz::Input;
use fuzz::scrubbed::ScrubbedMemory;
use guest::layout::GuestLayout;
use guest::start_image::{HEADER_WORDS, LONG_MODE, PROTECTED_MODE, StartImage};
use libfuzzer_sys::fuzz_target;

const MEMORY_BYTES: usize = 4 << 20;

thread_local! {
    static MEMORY: ScrubbedMemory = ScrubbedMemory::new(MEMORY_BYTES);
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let shape = input.u8();
    let low_end = MEMORY_BYTES as u64 - (u64::from(shape >> 4) << 16);
    let layout = GuestLayout::new(MEMORY_BYTES as u64, 2)
        .and_then(|layout| layout.with_low_memory_end(low_end))
        .expect("a layout");
    let layout = layout.on_processors(36 + (shape & 0xf)).expect("a layout");
    let file = [0x5a; 0x3000];
    let mut image = input.rest().to_vec();
    // A fuzzer does not find the one mode or the other by itself.
    if shape & 1 != 0 && image.len() as u64 >= 8 * HEADER_WORDS {
        let (cr0, cr4, efer) = if shape & 2 == 0 { LONG_MODE } else { PROTECTED_MODE };
        for (word, value) in [(20, cr0), (22, cr4), (23, efer)] {
            image[8 * word..8 * word + 8].copy_from_slice(&value.to_le_bytes());
        }
    }
    let start = match StartImage::parse(&image) {
        Ok(start) => start,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let placed = MEMORY.with(|memory| {
        memory.scrub();
        start.place(memory, &layout, |number| (number == 1).then_some(&file[..]))
    });
    if let Err(error) = placed {
        assert!(!error.to_string().is_empty());
    }
    let mut vcpu = StillProcessor::real();
    start.start(&mut vcpu);
    let control = vcpu.control();
    let mode = (control.cr0, control.cr4, control.efer);
    assert!(mode == LONG_MODE || mode == PROTECTED_MODE, "{mode:x?}");
});
