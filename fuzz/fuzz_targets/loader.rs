//! Kernels: any file is loaded where it may be, or refused.
#![no_main]

use fuzz::Input;
use fuzz::watched::WatchedMemory;
use guest::layout::GuestLayout;
use guest::loader::{LoadImage, load};
use libfuzzer_sys::fuzz_target;

const MEMORY_BYTES: usize = 8 << 20;

thread_local! {
    static MEMORY: WatchedMemory = WatchedMemory::new(MEMORY_BYTES);
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
    let image = LoadImage {
        kernel: input.rest(),
        initrd: (shape & 1 != 0).then_some(&initrd[..]),
        modules: &modules[..usize::from(shape >> 1 & 3)],
        command_line,
    };
    let vcpus = if shape & 8 == 0 { 1 } else { 254 };
    let layout = GuestLayout::new(MEMORY_BYTES as u64, vcpus).expect("a layout");
    let loaded = MEMORY.with(|memory| {
        memory.scrub();
        load(memory, &layout, image)
    });
    match loaded {
        Ok(entry) => assert!((0x10_0000..MEMORY_BYTES as u64).contains(&entry.rip().0), "{entry:?}"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
