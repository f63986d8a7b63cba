//! The log on a framebuffer.
//!
//! A framebuffer is slow, so the text is kept in memory, and what changed there is drawn a
//! few characters at a time: nobody waits for a screen. Scrolling moves several rows at once
//! and redraws only the characters that differ. A row at a time, the log of one Linux would
//! cost an emulated machine more than Linux itself.

mod picture;

pub use picture::{CHARACTER, Letter};

use bootloader_api::info::{FrameBufferInfo, PixelFormat};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use spec::Hpa;

use crate::memory::paging::{self, Caching, MapError, Rights};

const HEIGHT: RasterHeight = RasterHeight::Size16;
const WEIGHT: FontWeight = FontWeight::Regular;
const GLYPH_WIDTH: usize = get_raster_width(WEIGHT, HEIGHT);
const GLYPH_HEIGHT: usize = HEIGHT.val();
const MAX_COLUMNS: usize = 240;
const MAX_ROWS: usize = 80;
const STALE_WORDS: usize = MAX_COLUMNS.div_ceil(64);
/// When the screen is full, this part of its rows becomes free at once.
const FREED_PART: usize = 4;
/// Screens wider than this show every dot twice as wide and high.
const WIDE_PIXELS: usize = 2560;

/// Where the dots go. Writes outside are dropped.
pub trait Dots {
    /// Stores `value` at byte `offset`.
    fn store(&mut self, offset: usize, value: u8);

    /// Stores the four bytes of `value` from byte `offset` on, the lowest first.
    fn store_four(&mut self, offset: usize, value: u32) {
        for (place, byte) in (offset..).zip(value.to_le_bytes()) {
            self.store(place, byte);
        }
    }
}

/// The mapped framebuffer.
pub struct Mapped {
    start: *mut u8,
    bytes: usize,
    hpa: Hpa,
}

// SAFETY: the window is mapped on every processor, and the console's lock serialises
// its users.
unsafe impl Send for Mapped {}

impl Mapped {
    /// Stores a value where all of it is inside, and aligned. Whether it is.
    #[inline]
    fn write<T>(&mut self, offset: usize, value: T) -> bool {
        let is_inside = offset.checked_add(size_of::<T>()).is_some_and(|end| end <= self.bytes);
        let is_aligned = self.start.addr().wrapping_add(offset).is_multiple_of(align_of::<T>());
        if is_inside && is_aligned {
            // SAFETY: just looked at: inside the window that `Screen::map` mapped writable, and aligned;
            // nothing but the screen reads it.
            unsafe { self.start.add(offset).cast::<T>().write_volatile(value) };
        }
        is_inside && is_aligned
    }
}

impl Dots for Mapped {
    fn store(&mut self, offset: usize, value: u8) {
        self.write(offset, value);
    }

    #[inline]
    fn store_four(&mut self, offset: usize, value: u32) {
        if !self.write(offset, value) {
            for (place, byte) in (offset..).zip(value.to_le_bytes()) {
                self.store(place, byte);
            }
        }
    }
}

/// Text on a framebuffer of any stride, of 1 to 8 bytes a dot.
pub struct Screen<D = Mapped> {
    dots: D,
    info: FrameBufferInfo,
    scale: usize,
    columns: usize,
    rows: usize,
    /// What is shown, once it is drawn; 0 is blank.
    cells: [[u8; MAX_COLUMNS]; MAX_ROWS],
    /// Which of them are not drawn yet, a bit for each column.
    stale: [[u64; STALE_WORDS]; MAX_ROWS],
    /// A row above which nothing is stale.
    stale_from: usize,
    column: usize,
    row: usize,
    escape: Escape,
    /// A picture is shown instead.
    shows_picture: bool,
    /// Bytes from the start that are black, where all of them are to be.
    wiped: usize,
}

/// Terminal control sequences are swallowed (ECMA-48 section 5.4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Started,
    Control,
}

impl Screen {
    /// Maps the framebuffer at `hpa`, write-combining.
    pub fn map(hpa: Hpa, info: FrameBufferInfo) -> Result<Self, MapError> {
        let start =
            paging::map_window(hpa, info.byte_len as u64, Rights::ReadWrite, Caching::WriteCombining)?;
        Ok(Self::new(Mapped { start, bytes: info.byte_len, hpa }, info))
    }

    /// A screen of 160 by 48 dots of 4 bytes in memory of a test, with unseen dots beside them.
    #[cfg(test)]
    pub(crate) fn in_memory(memory: &'static mut [u8], hpa: Hpa) -> Self {
        let info = FrameBufferInfo {
            byte_len: memory.len(),
            width: 160,
            height: 48,
            pixel_format: PixelFormat::Bgr,
            bytes_per_pixel: 4,
            stride: 170,
        };
        Self::new(Mapped { start: memory.as_mut_ptr(), bytes: memory.len(), hpa }, info)
    }

    /// Whether any of the framebuffer is in the `bytes` bytes from `start`.
    pub fn is_in(&self, start: Hpa, bytes: u64) -> bool {
        let own_end = self.dots.hpa.0.saturating_add(self.dots.bytes as u64);
        start.0 < own_end && self.dots.hpa.0 < start.0.saturating_add(bytes)
    }

    /// The virtual address of the framebuffer's first byte.
    pub fn address(&self) -> u64 {
        self.dots.start as u64
    }
}

impl<D: Dots> Screen<D> {
    fn new(dots: D, info: FrameBufferInfo) -> Self {
        // A geometry that contradicts itself shows nothing.
        let dots_in = info.stride.checked_mul(info.height).and_then(|d| d.checked_mul(info.bytes_per_pixel));
        let sound = (1..=8).contains(&info.bytes_per_pixel)
            && info.width <= info.stride
            && dots_in.is_some_and(|bytes| bytes <= info.byte_len);
        let info = if sound { info } else { FrameBufferInfo { width: 0, height: 0, ..info } };
        let scale = if info.width > WIDE_PIXELS { 2 } else { 1 };
        let mut screen = Self {
            dots,
            info,
            scale,
            columns: (info.width / (GLYPH_WIDTH * scale)).min(MAX_COLUMNS),
            rows: (info.height / (GLYPH_HEIGHT * scale)).min(MAX_ROWS),
            cells: [[0; MAX_COLUMNS]; MAX_ROWS],
            stale: [[0; STALE_WORDS]; MAX_ROWS],
            stale_from: MAX_ROWS,
            column: 0,
            row: 0,
            escape: Escape::None,
            shows_picture: false,
            wiped: 0,
        };
        screen.wipe(usize::MAX);
        screen
    }

    /// Lines that are visible at once.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Leaves nothing of what was shown, not even where nobody sees it.
    pub fn scrub(&mut self) {
        (0..self.info.byte_len).for_each(|offset| self.dots.store(offset, 0));
        self.cells = [[0; MAX_COLUMNS]; MAX_ROWS];
    }

    /// Takes text; line ends and tabs move, other control characters are ignored.
    /// [`Screen::refresh`] shows it.
    pub fn put(&mut self, text: &[u8]) {
        if self.columns == 0 || self.rows == 0 {
            return;
        }
        for byte in text {
            match (self.escape, byte) {
                (_, 0x1b) => self.escape = Escape::Started,
                (Escape::Started, b'[') => self.escape = Escape::Control,
                (Escape::Started, _) => self.escape = Escape::None,
                (Escape::Control, 0x40..=0x7e) => self.escape = Escape::None,
                (Escape::Control, _) => {}
                (Escape::None, b'\n') => self.next_row(),
                (Escape::None, b'\r') => self.column = 0,
                (Escape::None, b'\t') => self.column = (self.column + 8) & !7,
                (Escape::None, b' '..=b'~') => self.put_character(*byte),
                (Escape::None, _) => {}
            }
        }
    }

    fn put_character(&mut self, character: u8) {
        if self.column >= self.columns {
            self.next_row();
        }
        self.set_cell(self.row, self.column, character);
        self.column += 1;
    }

    fn next_row(&mut self) {
        self.column = 0;
        if self.row + 1 < self.rows {
            self.row += 1;
            return;
        }
        let freed = (self.rows / FREED_PART).max(1);
        for row in 0..self.rows {
            for column in 0..self.columns {
                let below = if row + freed < self.rows { self.cell(row + freed, column) } else { 0 };
                self.set_cell(row, column, below);
            }
        }
        self.row = self.rows - freed;
    }

    fn set_cell(&mut self, row: usize, column: usize, character: u8) {
        let same = |a: u8, b: u8| a == b || (matches!(a, 0 | b' ') && matches!(b, 0 | b' '));
        if !same(self.cell(row, column), character) {
            if let Some(word) = self.stale.get_mut(row).and_then(|row| row.get_mut(column / 64)) {
                *word |= 1 << (column % 64);
            }
            self.stale_from = self.stale_from.min(row);
        }
        if let Some(cell) = self.cells.get_mut(row).and_then(|row| row.get_mut(column)) {
            *cell = character;
        }
    }

    fn cell(&self, row: usize, column: usize) -> u8 {
        self.cells.get(row).and_then(|row| row.get(column)).copied().unwrap_or(0)
    }

    fn first_stale(&self, row: usize) -> Option<usize> {
        let mut words = self.stale.get(row)?.iter().enumerate();
        words.find_map(|(index, word)| (*word != 0).then(|| index * 64 + word.trailing_zeros() as usize))
    }

    /// Draws at most `most` characters of what changed, from the top, or makes as much black first where
    /// something else was shown; whether more is left. Nothing while a picture is shown.
    pub fn refresh(&mut self, most: usize) -> bool {
        if self.shows_picture {
            return false;
        }
        if self.wipe(most.saturating_mul(GLYPH_WIDTH * GLYPH_HEIGHT)) {
            return true;
        }
        let mut drawn = 0;
        while self.stale_from < self.rows {
            while let Some(column) = self.first_stale(self.stale_from) {
                if drawn == most {
                    return true;
                }
                if let Some(word) =
                    self.stale.get_mut(self.stale_from).and_then(|row| row.get_mut(column / 64))
                {
                    *word &= !(1 << (column % 64));
                }
                self.draw(self.stale_from, column, self.cell(self.stale_from, column));
                drawn += 1;
            }
            self.stale_from += 1;
        }
        self.stale_from = MAX_ROWS;
        false
    }

    fn draw(&mut self, row: usize, column: usize, character: u8) {
        let shown = if character == 0 { ' ' } else { character.into() };
        let Some(glyph) = get_raster(shown, WEIGHT, HEIGHT) else { return };
        for (y, line) in glyph.rows().enumerate() {
            for (x, intensity) in line.iter().enumerate() {
                let (x, y) = ((column * GLYPH_WIDTH + x) * self.scale, (row * GLYPH_HEIGHT + y) * self.scale);
                for down in 0..self.scale {
                    (0..self.scale).for_each(|right| self.dot(x + right, y + down, *intensity));
                }
            }
        }
    }

    fn dot(&mut self, x: usize, y: usize, intensity: u8) {
        let bytes = self.info.bytes_per_pixel.min(8);
        let Some(start) = y
            .checked_mul(self.info.stride)
            .and_then(|line| line.checked_add(x))
            .and_then(|dot| dot.checked_mul(self.info.bytes_per_pixel))
        else {
            return;
        };
        for offset in 0..bytes {
            let value = match self.info.pixel_format {
                PixelFormat::Unknown { red_position, green_position, blue_position } => {
                    let at = |position: u8| usize::from(position / 8) == offset;
                    if at(red_position) || at(green_position) || at(blue_position) { intensity } else { 0 }
                }
                _ if offset < 3 => intensity,
                _ => 0,
            };
            self.dots.store(start + offset, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::vec;
    use std::vec::Vec;

    impl Dots for Vec<u8> {
        fn store(&mut self, offset: usize, value: u8) {
            if let Some(byte) = self.get_mut(offset) {
                *byte = value;
            }
        }
    }

    pub(super) fn screen(
        width: usize,
        height: usize,
        stride: usize,
        bytes_per_pixel: usize,
    ) -> Screen<Vec<u8>> {
        let byte_len = stride * height * bytes_per_pixel;
        let info = FrameBufferInfo {
            byte_len,
            width,
            height,
            pixel_format: PixelFormat::Bgr,
            bytes_per_pixel,
            stride,
        };
        Screen::new(vec![0; byte_len], info)
    }

    fn row(screen: &Screen<Vec<u8>>, row: usize) -> &[u8] {
        let cells = &screen.cells[row];
        &cells[..cells.iter().position(|cell| *cell == 0).unwrap_or(cells.len())]
    }

    #[test]
    fn scrolls_and_draws_what_a_fresh_screen_would_show() {
        for bytes_per_pixel in [3, 4] {
            let mut scrolled = screen(200, 50, 210, bytes_per_pixel);
            scrolled.put(b"one\r\ntwo\r\nthree\r\n\x1b[31mfo\x1b[0mur");
            assert_eq!(
                (row(&scrolled, 0), row(&scrolled, 1), row(&scrolled, 2)),
                (&b"two"[..], &b"three"[..], &b"four"[..])
            );
            assert!(scrolled.dots.iter().all(|byte| *byte == 0), "nobody waits for the screen");
            while scrolled.refresh(3) {}
            let mut fresh = screen(200, 50, 210, bytes_per_pixel);
            fresh.put(b"two\r\nthree\r\nfour");
            assert!(!fresh.refresh(usize::MAX));
            assert!(fresh.dots == scrolled.dots);
            assert!(fresh.dots.iter().any(|byte| *byte != 0));
        }
    }

    #[test]
    fn a_full_screen_frees_several_rows_at_once() {
        let mut screen = screen(200, 8 * GLYPH_HEIGHT, 200, 4);
        for line in 0..8 {
            screen.put(format!("{line}\r\n").as_bytes());
        }
        let shown: Vec<&[u8]> = (0..8).map(|index| row(&screen, index)).collect();
        assert_eq!(shown, [&b"2"[..], b"3", b"4", b"5", b"6", b"7", b"", b""]);
        screen.put(b"8\r\n9");
        assert_eq!((row(&screen, 0), row(&screen, 6), row(&screen, 7)), (&b"2"[..], &b"8"[..], &b"9"[..]));
    }

    #[test]
    fn wraps_long_lines_and_stays_within_the_stride() {
        let mut screen = screen(3 * GLYPH_WIDTH, 40, 3 * GLYPH_WIDTH + 5, 4);
        screen.put(b"WWWWW");
        assert!(screen.refresh(4) && !screen.refresh(4));
        assert_eq!((row(&screen, 0), row(&screen, 1)), (&b"WWW"[..], &b"WW"[..]));
        let line_bytes = (3 * GLYPH_WIDTH + 5) * 4;
        let padding =
            screen.dots.chunks(line_bytes).all(|line| line[3 * GLYPH_WIDTH * 4..].iter().all(|b| *b == 0));
        assert!(padding);
    }

    #[test]
    fn survives_absurd_geometry() {
        let mut tiny = screen(1, 1, 1, 4);
        tiny.put(b"text\r\n");
        let mut info = screen(100, 100, 100, 4).info;
        (info.stride, info.bytes_per_pixel) = (usize::MAX, usize::MAX);
        let mut screen = Screen::new(vec![0; 16], info);
        screen.put(b"text");
        assert!(!screen.refresh(usize::MAX));
    }
}
