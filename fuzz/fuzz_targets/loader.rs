//! Kernels: of any file an image is made that its guest starts from, or it is refused.
#![no_main]

use access::fake_processor::StillProcessor;
use firmware::{GuestFiles, prepare};
use fuzz::Input;
use fuzz::scrubbed::ScrubbedMemory;
use guest::layout::GuestLayout;
use guest::start_image::StartImage;
use libfuzzer_sys::fuzz_target;

const MEMORY_BYTES: usize = 8 << 20;

thread_local! {
    static MEMORY: ScrubbedMemory = ScrubbedMemory::new(MEMORY_BYTES);
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let shape = input.u8();
    let initrd_bytes = usize::from(input.u16());
    let command_line = usize::from(input.u8());
    let command_line = std::str::from_utf8(input.bytes(command_line)).unwrap_or("console=ttyS0");
    let module = input.bytes(usize::from(shape >> 4));
    let initrd = vec![0x5a; initrd_bytes];
    let modules = [("first", module), (command_line, &initrd[..]), ("", b"")];
    let files = GuestFiles {
        kernel: input.rest(),
        initrd: (shape & 1 != 0).then_some(&initrd[..]),
        modules: &modules[..usize::from(shape >> 1 & 3)],
        command_line,
        has_display: shape & 0x80 != 0,
    };
    let vcpus = if shape & 8 == 0 { 1 } else { 254 };
    let layout = GuestLayout::new(MEMORY_BYTES as u64, vcpus).expect("a layout");
    let image = match prepare(&layout, files) {
        Ok(prepared) => prepared.into_image(),
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let contents: Vec<&[u8]> = std::iter::once(files.kernel)
        .chain(files.initrd)
        .chain(files.modules.iter().map(|(_, content)| *content))
        .collect();
    let start = StartImage::parse(&image).expect("an image");
    MEMORY.with(|memory| {
        memory.scrub();
        let file = |number: u64| contents.get(number.checked_sub(1)? as usize).copied();
        start.place(memory, &layout, file).expect("what was prepared has its place");
    });
    let mut vcpu = StillProcessor::real();
    start.start(&mut vcpu);
    assert!((0x3000..MEMORY_BYTES as u64).contains(&vcpu.rip), "{:#x}", vcpu.rip);
});
