//! The emulated display: any registers, by any width.
#![no_main]

use access::memory::VecMemory;
use devices::Device;
use devices::display::{Display, STATE_BYTES};
use devices::picture::Picture;
use devices::testing::{Bench, VecMedium};
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use spec::Width;
use spec::display::{dispi, registers, vga};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let bytes = 4 << 20 << (input.u8() & 3);
    let screen = (usize::from(input.u16()), usize::from(input.u16()));
    let mut display = Bench::new(Display::new(bytes, Some(screen)), VecMemory::new(0), VecMedium::new(0));
    while !input.is_empty() {
        let (kind, at, value) = (input.u8(), u64::from(input.u8()), u64::from(input.u16()));
        match kind & 7 {
            0 => _ = display.read(at << 4 | u64::from(kind >> 4), input.width()),
            1 => display.write(at << 4 | u64::from(kind >> 4), input.width(), value),
            2..=4 => display.write(registers::DISPI + (at & 0x1f), Width::Word, value),
            _ => display.write(registers::VGA + (at & 0x1f), input.width(), value),
        }
        check(display.device.picture().expect("a display"), bytes);
    }
    let mut state = [0; STATE_BYTES];
    let length = display.device.save(&mut state).expect("room");
    let mut other = Display::new(bytes, None);
    other.restore(&state[..length]).expect("a display's own state");
    assert_eq!(other.picture(), display.device.picture());
    // What somebody has made up is refused, or is a display all the same.
    if let Some(byte) = state.get_mut(usize::from(screen.0 as u8)) {
        *byte ^= screen.1 as u8;
    }
    if other.restore(&state[..length]).is_ok() {
        check(other.picture().expect("a display"), bytes);
    }
    // Whatever it was, a driver that begins anew has its picture.
    display.read(registers::VGA + 0x1a, Width::Byte);
    for (port, value) in [(0, 0x20), (4, 1), (5, 0)] {
        display.write(registers::VGA + port, Width::Byte, value);
    }
    for (register, value) in [
        (dispi::WIDTH, 640),
        (dispi::HEIGHT, 480),
        (dispi::VIRTUAL_WIDTH, 640),
        (dispi::X_OFFSET, 0),
        (dispi::Y_OFFSET, 0),
        (dispi::ENABLE, 1),
    ] {
        display.write(registers::DISPI + 2 * register as u64, Width::Word, value);
    }
    let Some(Picture::Graphics(shown)) = display.device.picture() else { panic!("dark") };
    assert_eq!((shown.width, shown.height, shown.dots(0, 1)), (640, 480, Some((2560, 640))));
});

/// What is shown is in the memory that it is in.
fn check(picture: Picture, bytes: u64) {
    match picture {
        Picture::Dark => {}
        Picture::Graphics(shown) => {
            for y in [0, shown.height / 2, shown.height - 1] {
                let (at, count) = shown.dots(0, y).expect("a line");
                assert!(count > 0 && at + 4 * count as u64 <= bytes);
            }
        }
        Picture::Text(text) => {
            for (row, column) in [(0, 0), (24, 79)] {
                let gpa = text.gpa(row, column).0 - vga::TEXT.0;
                assert!(gpa + 2 <= vga::TEXT_BYTES);
            }
            assert!(text.cursor.is_none_or(|cursor| cursor.row < 25 && cursor.column < 80));
        }
    }
}
