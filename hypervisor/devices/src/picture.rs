//! What a display shows: where it is, and that it never leaves the memory that it is in.

use spec::Gpa;
use spec::display::vga;

/// What a display shows at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Picture {
    /// Nothing.
    Dark,
    /// Dots of the video memory.
    Graphics(Graphics),
    /// Characters of the guest's memory.
    Text(Text),
}

/// Dots of the video memory, 4 bytes each: blue, green, red, and one that means nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Graphics {
    /// Dots in a line, at least one.
    pub width: usize,
    /// Lines, at least one.
    pub height: usize,
    /// Bytes from the start of the video memory to the first dot.
    pub(crate) start: u64,
    /// Bytes from one line to the next.
    pub(crate) stride: u64,
    /// The bytes of a dot are the other way round.
    pub is_big_endian: bool,
}

/// Bytes of a dot.
pub(crate) const DOT_BYTES: u64 = 4;

impl Graphics {
    /// The picture of `width` by `height` dots that begins `start` bytes into the video memory;
    /// `None` where not all of it is inside the memory's `memory_bytes` bytes, or where it has no dot.
    pub(crate) fn new(
        (width, height): (u16, u16),
        start: u64,
        stride: u64,
        is_big_endian: bool,
        memory_bytes: u64,
    ) -> Option<Self> {
        let below = stride.checked_mul(u64::from(height).checked_sub(1)?)?;
        let line = DOT_BYTES * u64::from(width);
        let end = start.checked_add(below)?.checked_add(line)?;
        let picture = Self { width: width.into(), height: height.into(), start, stride, is_big_endian };
        (width > 0 && line <= stride && end <= memory_bytes).then_some(picture)
    }

    /// Where the dots of line `y` from `x` on are, in bytes from the start of the video memory, and how
    /// many of them the line has.
    pub fn dots(&self, x: usize, y: usize) -> Option<(u64, usize)> {
        let count = self.width.checked_sub(x).filter(|_| y < self.height)?;
        Some((self.start + self.stride * y as u64 + DOT_BYTES * x as u64, count))
    }
}

/// Characters in 25 rows of 80.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Text {
    /// The number of the first character, from the start of the memory for text.
    pub(crate) first: u16,
    /// Where the cursor is, if it is shown.
    pub cursor: Option<Cursor>,
    /// The colors, red, green and blue in the low 24 bits.
    pub colors: [u32; 16],
    /// The upper bit of a character's attribute is no color.
    pub(crate) blinks: bool,
}

/// The cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// In which row it is, if it is in one that is shown.
    pub row: usize,
    /// In which column.
    pub column: usize,
    /// Its first and last line of dots, of [`vga::LINES`].
    pub lines: (u8, u8),
}

/// A character as it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cell {
    /// Its number in code page 437.
    pub character: u8,
    /// Its color, as in [`Text::colors`].
    pub color: u32,
    /// The color behind it.
    pub background: u32,
}

/// Characters that the memory for text holds, a power of two.
const CHARACTERS: u64 = vga::TEXT_BYTES / 2;

impl Text {
    /// Where in the guest's memory a character and its attribute are.
    pub fn gpa(&self, row: usize, column: usize) -> Gpa {
        let number = u64::from(self.first) + (vga::COLUMNS * row + column) as u64;
        vga::TEXT + 2 * (number & (CHARACTERS - 1))
    }

    /// How a character with this attribute is shown.
    pub fn cell(&self, [character, attribute]: [u8; 2]) -> Cell {
        let color = |number: u8| self.colors.get(usize::from(number & 15)).copied().unwrap_or(0);
        let behind = if self.blinks { attribute >> 4 & 7 } else { attribute >> 4 };
        Cell { character, color: color(attribute), background: color(behind) }
    }
}
