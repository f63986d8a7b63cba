//! Pictures on the screen, instead of the log: whoever shows one draws it, a piece at a time.

use super::{Dots, GLYPH_HEIGHT, GLYPH_WIDTH, HEIGHT, Screen, WEIGHT};
use bootloader_api::info::PixelFormat;
use noto_sans_mono_bitmap::get_raster;

/// Width and height of a character, in dots.
pub const CHARACTER: (usize, usize) = (GLYPH_WIDTH, GLYPH_HEIGHT);

/// A character in color.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Letter {
    /// What it is; one that the font has not is a question mark.
    pub character: char,
    /// Its color: red, green and blue in the low 24 bits.
    pub color: u32,
    /// The color behind it.
    pub background: u32,
    /// The first and the last line of dots that have its color, for a cursor.
    pub bar: Option<(usize, usize)>,
}

impl<D: Dots> Screen<D> {
    /// Dots in width and height.
    pub fn size(&self) -> (usize, usize) {
        (self.info.width, self.info.height)
    }

    /// Whether a picture is shown.
    pub fn shows_picture(&self) -> bool {
        self.shows_picture
    }

    /// Shows a picture from now on, which begins black: see [`wipe`](Self::wipe). The log goes on unseen.
    pub fn show_picture(&mut self) {
        self.shows_picture = true;
        self.wiped = 0;
    }

    /// Shows the log again, as [`refresh`](Self::refresh) draws it.
    pub fn show_log(&mut self) {
        if !self.shows_picture {
            return;
        }
        self.shows_picture = false;
        self.wiped = 0;
        for (cells, stale) in self.cells.iter().zip(&mut self.stale).take(self.rows) {
            for (cells, word) in cells.chunks(64).zip(stale) {
                let is_shown = |cell: &u8| !matches!(cell, 0 | b' ');
                *word = (0..).zip(cells).fold(0, |bits, (at, cell)| bits | u64::from(is_shown(cell)) << at);
            }
        }
        self.stale_from = 0;
    }

    /// Makes at most `most` bytes more of the screen black, where it is to be black all over; whether more
    /// are left.
    pub fn wipe(&mut self, most: usize) -> bool {
        let line = self.info.stride.saturating_mul(self.info.bytes_per_pixel);
        let all = line.saturating_mul(self.info.height).min(self.info.byte_len);
        let end = self.wiped.saturating_add(most).min(all);
        while self.wiped < end {
            self.dots.store_four(self.wiped, 0);
            self.wiped += 4;
        }
        self.wiped < all
    }

    /// Draws `dots` from column `x` of line `y` on, as far as there is screen: 4 bytes each, blue, green and
    /// red first, or the other way round.
    pub fn put_dots(&mut self, x: usize, y: usize, dots: &[u8], is_big_endian: bool) {
        let (dots, _) = dots.as_chunks::<4>();
        let room = self.info.width.saturating_sub(x);
        let Some(mut at) = self.place(x, y) else { return };
        let (format, bytes) = (self.info.pixel_format, self.info.bytes_per_pixel);
        for dot in dots.iter().take(room) {
            let color = if is_big_endian { u32::from_be_bytes(*dot) } else { u32::from_le_bytes(*dot) };
            self.put_dot(at, bytes, encoded(format, color));
            at += bytes;
        }
    }

    /// Draws a character whose upper left dot is in column `x` of line `y`.
    pub fn put_letter(&mut self, x: usize, y: usize, letter: &Letter) {
        let raster = |character| get_raster(character, WEIGHT, HEIGHT);
        let Some(glyph) = raster(letter.character).or_else(|| raster('?')) else { return };
        let (format, bytes) = (self.info.pixel_format, self.info.bytes_per_pixel);
        for (down, line) in glyph.rows().enumerate() {
            let Some(mut at) = self.place(x, y + down) else { return };
            let is_bar = letter.bar.is_some_and(|(first, last)| (first..=last).contains(&down));
            for intensity in line.iter().take(self.info.width.saturating_sub(x)) {
                let intensity = if is_bar { u8::MAX } else { *intensity };
                let color = mixed(letter.background, letter.color, intensity);
                self.put_dot(at, bytes, encoded(format, color));
                at += bytes;
            }
        }
    }

    /// Where the dot in column `x` of line `y` is, in bytes.
    fn place(&self, x: usize, y: usize) -> Option<usize> {
        let dot = y.checked_mul(self.info.stride)?.checked_add(x)?;
        (x < self.info.width && y < self.info.height).then(|| dot.checked_mul(self.info.bytes_per_pixel))?
    }

    #[inline]
    fn put_dot(&mut self, at: usize, bytes: usize, value: u32) {
        if bytes == 4 {
            self.dots.store_four(at, value);
        } else {
            for (place, byte) in (at..).zip(value.to_le_bytes()).take(bytes) {
                self.dots.store(place, byte);
            }
        }
    }
}

/// A color as the screen has it in memory, its lowest byte first.
#[inline]
fn encoded(format: PixelFormat, color: u32) -> u32 {
    let [blue, green, red, _] = color.to_le_bytes();
    match format {
        PixelFormat::Bgr => color & 0x00ff_ffff,
        PixelFormat::U8 => (u32::from(red) * 77 + u32::from(green) * 151 + u32::from(blue) * 28) >> 8,
        PixelFormat::Unknown { red_position, green_position, blue_position } => {
            let at = |part: u8, position: u8| u32::from(part).checked_shl(position.into()).unwrap_or(0);
            at(red, red_position) | at(green, green_position) | at(blue, blue_position)
        }
        _ => u32::from_le_bytes([red, green, blue, 0]),
    }
}

/// The color between `from` and `to`, at 255 all of the latter.
fn mixed(from: u32, to: u32, share: u8) -> u32 {
    match share {
        0 => from,
        u8::MAX => to,
        share => {
            let part = |shift: u32| {
                let of = |color: u32, share: u8| (color >> shift & 0xff) * u32::from(share);
                ((of(from, u8::MAX - share) + of(to, share)) / 255) << shift
            };
            part(0) | part(8) | part(16)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::screen;
    use super::*;
    use std::vec::Vec;

    /// The dots of a screen of 4 bytes each, without what is beside them.
    fn dots(screen: &Screen<Vec<u8>>) -> Vec<Vec<u32>> {
        let lines = screen.dots.chunks(4 * screen.info.stride);
        let of = |dot: &[u8]| u32::from_le_bytes(dot.try_into().unwrap());
        lines.map(|line| line.chunks(4).take(screen.info.width).map(of).collect()).collect()
    }

    #[test]
    fn a_picture_hides_the_log_and_gives_it_back() {
        let mut screen = screen(200, 50, 210, 4);
        screen.put(b"one\r\ntwo");
        screen.refresh(usize::MAX);
        let log = screen.dots.clone();
        screen.show_picture();
        assert!(screen.wipe(1000) && !screen.wipe(usize::MAX));
        assert!(screen.dots.iter().all(|byte| *byte == 0));
        screen.put_dots(3, 2, &[1, 2, 3, 0xff, 4, 5, 6, 0xff], false);
        screen.put_dots(199, 49, &[9; 800], true);
        screen.put(b"\r\nthree");
        assert!(!screen.refresh(usize::MAX), "the log is not drawn meanwhile");
        let shown = dots(&screen);
        assert_eq!((shown[2][3], shown[2][4], shown[2][5]), (0x0003_0201, 0x0006_0504, 0));
        assert_eq!(shown[49][199], 0x0009_0909);
        assert_eq!(shown.iter().flatten().filter(|dot| **dot != 0).count(), 3, "nothing beyond its edges");
        screen.show_log();
        while screen.refresh(1) {}
        assert!(screen.dots != log);
        let mut fresh = super::super::tests::screen(200, 50, 210, 4);
        fresh.put(b"one\r\ntwo\r\nthree");
        fresh.refresh(usize::MAX);
        assert!(screen.dots == fresh.dots);
    }

    #[test]
    fn colors_are_those_of_the_screen() {
        let position = |red_position, green_position, blue_position| PixelFormat::Unknown {
            red_position,
            green_position,
            blue_position,
        };
        for (format, expected) in [
            (PixelFormat::Bgr, 0x0011_2233),
            (PixelFormat::Rgb, 0x0033_2211),
            (PixelFormat::U8, 0x1e),
            (position(8, 16, 24), 0x3322_1100),
            (position(0, 40, 99), 0x11),
        ] {
            assert_eq!(encoded(format, 0xff11_2233), expected, "{format:?}");
        }
        let mut screen = screen(8, 2, 9, 3);
        screen.show_picture();
        screen.put_dots(1, 1, &[0x33, 0x22, 0x11, 0], false);
        assert_eq!(screen.dots[30..33], [0x33, 0x22, 0x11]);
        assert_eq!(screen.dots.iter().filter(|byte| **byte != 0).count(), 3);
        screen.put_dots(0, 0, &[0x33, 0x22, 0x11, 0], true);
        assert_eq!(screen.dots[..3], [0, 0x11, 0x22]);
    }

    #[test]
    fn letters_have_colors_and_a_cursor() {
        let mut screen = screen(20, 20, 20, 4);
        screen.show_picture();
        let letter = Letter {
            character: '\u{2603}',
            color: 0x00ff_0000,
            background: 0x0000_00ff,
            bar: Some((14, 15)),
        };
        screen.put_letter(2, 1, &letter);
        let shown = dots(&screen);
        assert_eq!((shown[1][1], shown[1][2]), (0, 0x0000_00ff));
        assert!(
            shown[15..17].iter().all(|line| line[2..2 + GLYPH_WIDTH].iter().all(|dot| *dot == 0x00ff_0000))
        );
        screen.put_letter(15, 10, &letter);
        screen.put_letter(100, 100, &letter);
        assert!(
            dots(&screen).iter().flatten().any(|dot| !matches!(dot, 0 | 0x0000_00ff | 0x00ff_0000)),
            "'?'"
        );
    }
}
