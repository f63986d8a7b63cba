//! Registers, what is shown of them, and what a guest can do to that.

use super::*;
use crate::picture::{Cell, Cursor, Graphics};
use crate::snapshot::RestoreFault;
use crate::testing::{Bench, VecMedium};
use access::memory::VecMemory;
use proptest::prelude::*;
use spec::display::{dispi, enable, vga};
use std::vec::Vec;

const MIB: u64 = 1 << 20;

type Screen = Bench<Display, VecMemory>;

fn screen() -> Screen {
    Bench::new(Display::new(16 * MIB, None), VecMemory::new(0), VecMedium::new(0))
}

impl Screen {
    fn dispi(&mut self, register: usize, value: u16) {
        self.write(registers::DISPI + 2 * register as u64, Width::Word, value.into());
    }

    /// An access to a port.
    fn out(&mut self, port: u16, width: Width, value: u64) {
        self.write(registers::VGA + u64::from(port - vga::PORTS), width, value);
    }

    fn input(&mut self, port: u16) -> u8 {
        self.read(registers::VGA + u64::from(port - vga::PORTS), Width::Byte) as u8
    }

    /// What Linux's driver does to blank the screen, or to end that.
    fn blank(&mut self, attribute_index: u64) {
        self.out(0x3c2, Width::Byte, 1);
        self.input(0x3da);
        self.out(0x3c0, Width::Byte, attribute_index);
    }

    /// What Linux's driver writes for a picture of this size.
    fn set_mode(&mut self, width: u16, height: u16) {
        self.blank(0x20);
        for (register, value) in [
            (dispi::ENABLE, 0),
            (dispi::DEPTH, 32),
            (dispi::WIDTH, width),
            (dispi::HEIGHT, height),
            (dispi::BANK, 0),
            (dispi::VIRTUAL_WIDTH, width),
            (dispi::VIRTUAL_HEIGHT, height),
            (dispi::X_OFFSET, 0),
            (dispi::Y_OFFSET, 0),
            (dispi::ENABLE, 0x41),
        ] {
            self.dispi(register, value);
        }
    }

    fn shown(&self) -> Picture {
        self.device.picture().unwrap()
    }

    fn graphics(&self) -> Option<Graphics> {
        match self.shown() {
            Picture::Graphics(graphics) => Some(graphics),
            _ => None,
        }
    }
}

#[test]
fn linux_finds_the_interface_and_its_memory() {
    let mut screen = screen();
    assert_eq!(screen.read(registers::DISPI, Width::Word), 0xb0c5);
    assert_eq!(screen.read(registers::DISPI + 2 * dispi::MEMORY as u64, Width::Word) * 64 * 1024, 16 * MIB);
    assert_eq!(screen.read(registers::EXTENDED_SIZE, Width::Dword), 8);
    assert_eq!(screen.read(registers::BYTE_ORDER, Width::Dword), 0x1e1e_1e1e);
    for offset in [registers::VGA + 0x20, registers::EXTENDED_END, registers::BYTES] {
        assert_eq!(screen.read(offset, Width::Dword), 0xffff_ffff, "nothing is at {offset:#x}");
    }
}

#[test]
fn a_mode_is_shown_where_it_was_put() {
    let mut screen = screen();
    screen.set_mode(1024, 768);
    let shown = screen.graphics().unwrap();
    assert_eq!((shown.width, shown.height, shown.is_big_endian), (1024, 768, false));
    assert_eq!(shown.dots(3, 2), Some((4 * (2 * 1024 + 3), 1021)));
    assert_eq!((shown.dots(1024, 0), shown.dots(0, 768)), (Some((4096, 0)), None));
    // The next picture lies behind this one.
    screen.dispi(dispi::Y_OFFSET, 768);
    assert_eq!(screen.graphics().unwrap().dots(0, 0), Some((4 * 768 * 1024, 1024)));
    screen.write(registers::BYTE_ORDER, Width::Dword, 0xbebe_bebe);
    assert!(screen.graphics().unwrap().is_big_endian);
    screen.blank(0);
    assert_eq!(screen.shown(), Picture::Dark, "it is blanked");
    assert_eq!(screen.device.work().requests, 1);
    screen.device.reset();
    assert!(matches!(screen.shown(), Picture::Text(_)));
}

#[test]
fn other_depths_do_not_stick() {
    let mut screen = screen();
    screen.set_mode(640, 480);
    for depth in [8, 15, 16, 24, 0xffff] {
        screen.dispi(dispi::DEPTH, depth);
        assert_eq!(screen.read(registers::DISPI + 2 * dispi::DEPTH as u64, Width::Word), 32);
    }
    assert!(screen.graphics().is_some());
}

#[test]
fn what_the_memory_does_not_hold_is_dark() {
    let mut screen = screen();
    for (width, height, fits) in
        [(2048, 2048, true), (2048, 2049, false), (0, 480, false), (640, 0, false), (0xffff, 0xffff, false)]
    {
        screen.set_mode(width, height);
        assert_eq!(screen.graphics().is_some(), fits, "{width} by {height}");
    }
    screen.set_mode(2048, 2048);
    screen.dispi(dispi::X_OFFSET, 1);
    assert_eq!(screen.shown(), Picture::Dark, "one dot beyond");
    screen.set_mode(8, 8);
    for register in [dispi::VIRTUAL_WIDTH, dispi::X_OFFSET, dispi::Y_OFFSET] {
        screen.dispi(register, 0xffff);
    }
    assert_eq!(screen.shown(), Picture::Dark);
}

#[test]
fn capabilities_are_told_where_they_are_asked_for() {
    let mut screen = screen();
    screen.set_mode(800, 600);
    screen.dispi(dispi::ENABLE, enable::CAPABILITIES);
    let read = |screen: &mut Screen, register: usize| {
        screen.read(registers::DISPI + 2 * register as u64, Width::Word)
    };
    assert_eq!([1, 2, 3].map(|register| read(&mut screen, register)), [8192, 8192, 32]);
    screen.dispi(dispi::ENABLE, 0);
    assert_eq!([1, 2].map(|register| read(&mut screen, register)), [800, 600]);
}

#[test]
fn text_has_its_colors_and_its_cursor() {
    let mut screen = screen();
    let Picture::Text(text) = screen.shown() else { panic!("a BIOS leaves text") };
    assert_eq!(text.gpa(0, 0).0, 0xb_8000);
    assert_eq!(text.gpa(24, 79).0, 0xb_8000 + 3998);
    let white_on_blue = Cell { character: b'A', color: 0x00ff_ffff, background: 0x0000_00aa };
    assert_eq!(text.cell([b'A', 0x1f]), white_on_blue);
    assert_eq!(text.cell([b'A', 0x9f]), white_on_blue, "it blinks");
    assert_eq!(text.colors[6], 0x00aa_5500, "brown and no dark yellow");
    // As Linux' vgacon does: the palette in the order of the attributes, 16 bits at a time to the CRT.
    screen.input(0x3da);
    for (port, value) in [(0x3c0, 6), (0x3c0, 6), (0x3c8, 6), (0x3c9, 63), (0x3c9, 0), (0x3c9, 1)] {
        screen.out(port, Width::Byte, value);
    }
    screen.out(0x3c0, Width::Byte, 0x20);
    for value in [0x0a0e, 0x000f, 0x0d0a, 0x0e0b, 0x070c, 0xd00d] {
        screen.out(0x3d4, Width::Word, value);
    }
    let Picture::Text(text) = screen.shown() else { panic!("still text") };
    assert_eq!(text.colors[6], 0x00ff_0004);
    assert_eq!(text.gpa(0, 0).0, 0xb_8000 + 2 * 0x07d0);
    assert_eq!(text.cursor, Some(Cursor { row: 7, column: 0x0a00 - 0x07d0 - 560, lines: (13, 14) }));
    screen.out(0x3d4, Width::Byte, 0x0a);
    assert_eq!(screen.input(0x3d5), 13);
    screen.out(0x3d5, Width::Byte, 0x2d);
    assert!(matches!(screen.shown(), Picture::Text(text) if text.cursor.is_none()));
}

#[test]
fn the_beam_moves_and_the_palette_counts() {
    let mut screen = screen();
    let seen: Vec<u8> = (0..3).map(|_| screen.input(0x3da)).collect();
    assert_eq!(seen, [9, 0, 9]);
    screen.out(0x3c7, Width::Byte, 0);
    let colors: Vec<u8> = (0..6).map(|_| screen.input(0x3c9)).collect();
    assert_eq!(colors, [0, 0, 0, 0, 0, 0x2a]);
    assert_eq!(screen.input(0x3c8), 2);
}

/// The sum is 0, and Linux takes what says of itself what it wants.
#[test]
fn the_monitor_likes_the_screen_that_there_is() {
    for (memory, size, liked) in [
        (16 * MIB, None, (1024, 768)),
        (16 * MIB, Some((1280, 800)), (1280, 800)),
        (16 * MIB, Some((1920, 1080)), (1920, 1080)),
        (16 * MIB, Some((3840, 2160)), (1024, 768)),
        (64 * MIB, Some((3840, 2160)), (3840, 2160)),
        (16 * MIB, Some((320, 200)), (1024, 768)),
        (16 * MIB, Some((1366, 768)), (1024, 768)),
        (256 * MIB, Some((usize::MAX, 5000)), (1024, 768)),
    ] {
        let mut screen = Bench::new(Display::new(memory, size), VecMemory::new(0), VecMedium::new(0));
        let edid: Vec<u8> = (0..128).map(|at| screen.read(at, Width::Byte) as u8).collect();
        assert_eq!(edid.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        assert_eq!(screen.read(0, Width::Qword), 0x00ff_ffff_ffff_ff00);
        assert_eq!(screen.read(126, Width::Dword) >> 16, 0, "nothing is behind it");
        let timing = &edid[54..72];
        let of = |low: usize, high: usize| u32::from(timing[low]) | u32::from(timing[high] >> 4) << 8;
        assert_eq!((of(2, 4), of(5, 7)), liked);
        let dots = u32::from(u16::from_le_bytes([timing[0], timing[1]])) * 10_000;
        let pictures = dots / ((liked.0 + 160) * (liked.1 + 45));
        assert!((59..=60).contains(&pictures), "{pictures} pictures a second of {liked:?}");
    }
}

#[test]
fn a_saved_display_shows_the_same() {
    let mut screen = screen();
    screen.set_mode(640, 480);
    screen.out(0x3d4, Width::Word, 0x070c);
    screen.write(registers::BYTE_ORDER, Width::Dword, 0xbebe_bebe);
    let mut state = [0; STATE_BYTES];
    let bytes = screen.device.save(&mut state).unwrap();
    let mut other = Display::new(16 * MIB, None);
    other.restore(&state[..bytes]).unwrap();
    assert_eq!(other.picture(), screen.device.picture());
    let mut again = [0; STATE_BYTES];
    assert_eq!((other.save(&mut again), again), (Ok(bytes), state));
    let mut small = Display::new(8 * MIB, None);
    assert_eq!(small.restore(&state[..bytes]), Err(RestoreFault::Configuration));
    assert_eq!(small.picture(), Display::new(8 * MIB, None).picture());
    assert_eq!(other.restore(&state[..bytes - 1]), Err(RestoreFault::Malformed));
}

proptest! {
    /// Whatever is written where, what is shown is in the memory that it is in.
    #[test]
    fn nothing_else_is_shown(
        mib in 4_u64..64,
        writes in prop::collection::vec(
            (
                prop_oneof![Just(0x508_u64), 0x500_u64..0x518, 0x400_u64..0x422, any::<u64>()],
                0_usize..4,
                prop_oneof![Just(1_u64), Just(0x20_u64), 0_u64..0x1_0000, any::<u64>()],
            ),
            0..60,
        ),
    ) {
        let bytes = mib * MIB;
        let mut screen = Bench::new(Display::new(bytes, None), VecMemory::new(0), VecMedium::new(0));
        for (offset, width, value) in writes {
            let width = [Width::Byte, Width::Word, Width::Dword, Width::Qword][width];
            screen.write(offset, width, value);
            screen.read(offset, width);
            match screen.shown() {
                Picture::Dark => {}
                Picture::Graphics(shown) => {
                    prop_assert!(shown.width > 0 && shown.height > 0);
                    for y in [0, shown.height / 2, shown.height - 1] {
                        let (at, count) = shown.dots(0, y).unwrap();
                        prop_assert!(count == shown.width && at + 4 * count as u64 <= bytes);
                    }
                    prop_assert_eq!(shown.dots(0, shown.height), None);
                }
                Picture::Text(text) => {
                    for (row, column) in [(0, 0), (24, 79), (12, 40)] {
                        prop_assert!((0xb_8000..0xc_0000 - 1).contains(&text.gpa(row, column).0));
                    }
                    prop_assert!(text.cursor.is_none_or(|cursor| cursor.row < 25 && cursor.column < 80));
                }
            }
        }
        let mut state = [0; STATE_BYTES];
        let length = screen.device.save(&mut state).unwrap();
        let mut other = Display::new(bytes, None);
        prop_assert_eq!(other.restore(&state[..length]), Ok(()));
        prop_assert_eq!(other.picture(), screen.device.picture());
    }
}
