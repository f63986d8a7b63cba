//! A bundle: every byte string is refused, or verified to the last bit.
#![no_main]

use fuzz::Input;
use fuzz::sealed::seal;
use handoff::{Bundle, ItemKind, Program};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let (kind, flip) = (input.u8(), usize::from(input.u16()));
    let mut bytes = input.rest().to_vec();
    if kind & 1 != 0 {
        seal(&mut bytes);
    }
    let opened = Bundle::open(&bytes);
    let Ok(bundle) = Bundle::parse(&bytes) else {
        // Whoever opens only verifies what it uses.
        return opened.iter().flat_map(Bundle::items).for_each(|item| drop(item.verify()));
    };
    assert!(opened.is_ok());
    for item in bundle.items() {
        if item.kind == ItemKind::Program {
            check_program(item.contents);
        }
        assert_eq!(item.verify(), Ok(()));
        assert_eq!(bundle.bytes()[item.offset..][..item.contents.len()], *item.contents);
        assert_eq!(item.kind.is_of_guest(), !item.guest.is_empty());
        assert!(item.offset.is_multiple_of(4096));
        assert!(bundle.find(item.kind, item.guest).is_some());
    }
    for guest in bundle.config().guest.keys() {
        assert!(bundle.start_files(guest).all(|item| item.kind.is_started_with() && item.guest == guest));
    }
    // No bit of it changes without notice.
    let length = bundle.bytes().len();
    bytes[flip % length] ^= 1 << (kind >> 5);
    assert!(Bundle::parse(&bytes).is_err(), "byte {} changed without notice", flip % length);
});

/// What is accepted as a program is where programs are, and is written as it was read.
fn check_program(bytes: &[u8]) {
    let within = 0x40_0000..0x4000_0000;
    let Ok(program) = Program::parse(bytes, within.clone()) else { return };
    let memory = program.memory_bytes().expect("it was checked");
    assert!(program.address >= within.start && program.address + memory <= within.end);
    assert!((program.entry - program.address) < program.text.len() as u64);
    let written = program.to_bytes();
    assert_eq!(Program::parse(&written, within), Ok(program));
}
