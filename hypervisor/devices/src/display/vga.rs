//! The registers of VGA, as far as text in mode 3 goes. Others keep what is written and do nothing.

use crate::picture::{Cursor, Text};
use crate::snapshot::{RestoreFault, has};
use serde::{Deserialize, Serialize};
use spec::display::vga::{BLINKS, COLUMNS, HAS_PICTURE, LINES, NO_CURSOR, ROWS, SCREEN_OFF, crt, port};

/// Registers of the sequencer, the graphics controller and the attribute controller.
const SEQUENCER: usize = 5;
const GRAPHICS: usize = 9;
const ATTRIBUTE: usize = 21;
/// The sequencer's clocking mode, and the attribute controller's mode.
const CLOCKING: usize = 1;
const ATTRIBUTE_MODE: usize = 16;

/// What a BIOS leaves in mode 3.
const CRT_MODE_3: [u8; crt::COUNT] = [
    0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28,
    0x1f, 0x96, 0xb9, 0xa3, 0xff,
];
const SEQUENCER_MODE_3: [u8; SEQUENCER] = [3, 0, 3, 0, 2];
const GRAPHICS_MODE_3: [u8; GRAPHICS] = [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff];
const ATTRIBUTE_MODE_3: [u8; ATTRIBUTE] =
    [0, 1, 2, 3, 4, 5, 0x14, 7, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0, 0x0f, 8, 0];
const MISCELLANEOUS_MODE_3: u8 = 0x67;
/// Bits of input status 1: the beam is between two lines, or between two pictures.
const BEAM: u8 = 0x09;

/// Colors of the palette by sixteens: serde knows arrays of up to 32.
type Palette = [[[u8; 3]; 16]; 16];

/// The registers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Vga {
    miscellaneous: u8,
    crt: [u8; crt::COUNT],
    crt_index: u8,
    sequencer: [u8; SEQUENCER],
    sequencer_index: u8,
    graphics: [u8; GRAPHICS],
    graphics_index: u8,
    attribute: [u8; ATTRIBUTE],
    attribute_index: u8,
    /// The next write to the attribute controller's port is data.
    is_attribute_data: bool,
    /// Six bits each of red, green and blue.
    palette: Palette,
    palette_mask: u8,
    palette_index: u8,
    /// Which of red, green and blue comes next.
    palette_part: u8,
    /// The index was written for reading.
    palette_reads: bool,
    /// The beam's bits, which differ each time that they are read.
    beam: u8,
}

impl Vga {
    /// As a BIOS leaves it in mode 3.
    pub(super) fn new() -> Self {
        Self {
            miscellaneous: MISCELLANEOUS_MODE_3,
            crt: CRT_MODE_3,
            crt_index: 0,
            sequencer: SEQUENCER_MODE_3,
            sequencer_index: 0,
            graphics: GRAPHICS_MODE_3,
            graphics_index: 0,
            attribute: ATTRIBUTE_MODE_3,
            attribute_index: HAS_PICTURE,
            is_attribute_data: false,
            palette: core::array::from_fn(|high| core::array::from_fn(|low| ega_color(16 * high + low))),
            palette_mask: 0xff,
            palette_index: 0,
            palette_part: 0,
            palette_reads: false,
            beam: 0,
        }
    }

    /// What holds of every state.
    pub(super) fn check(&self) -> Result<(), RestoreFault> {
        let colors = self.palette.iter().flatten().flatten();
        has(self.palette_part < 3, "a color has three parts")?;
        has(colors.copied().all(|part| part < 64), "a part of a color has six bits")?;
        has(self.beam & !BEAM == 0, "the beam has two bits")
    }

    /// Whether the screen is not blanked.
    pub(super) fn has_picture(&self) -> bool {
        let clocking = get(&self.sequencer, CLOCKING as u8);
        self.attribute_index & HAS_PICTURE != 0 && clocking & SCREEN_OFF == 0
    }

    /// Reads a port, counted from the first one.
    pub(super) fn read(&mut self, at: u8) -> u8 {
        match at {
            port::ATTRIBUTE => self.attribute_index,
            port::ATTRIBUTE_READ => get(&self.attribute, self.attribute_index & 0x1f),
            port::MISCELLANEOUS => 0,
            port::SEQUENCER => self.sequencer_index,
            port::SEQUENCER_DATA => get(&self.sequencer, self.sequencer_index),
            port::PALETTE_MASK => self.palette_mask,
            port::PALETTE_READ => u8::from(self.palette_reads) * 3,
            port::PALETTE_WRITE => self.palette_index,
            port::PALETTE_DATA => {
                let value = self.color_part().map_or(0, |part| *part);
                self.next_part();
                value
            }
            port::MISCELLANEOUS_READ => self.miscellaneous,
            port::GRAPHICS => self.graphics_index,
            port::GRAPHICS_DATA => get(&self.graphics, self.graphics_index),
            port::CRT => self.crt_index,
            port::CRT_DATA => get(&self.crt, self.crt_index),
            port::STATUS => {
                self.is_attribute_data = false;
                self.beam ^= BEAM;
                self.beam
            }
            _ => 0xff,
        }
    }

    /// Writes a port, counted from the first one.
    pub(super) fn write(&mut self, at: u8, value: u8) {
        match at {
            port::ATTRIBUTE => self.write_attribute(value),
            port::MISCELLANEOUS => self.miscellaneous = value,
            port::SEQUENCER => self.sequencer_index = value,
            port::SEQUENCER_DATA => set(&mut self.sequencer, self.sequencer_index, value),
            port::PALETTE_MASK => self.palette_mask = value,
            port::PALETTE_READ | port::PALETTE_WRITE => {
                self.palette_index = value;
                self.palette_part = 0;
                self.palette_reads = at == port::PALETTE_READ;
            }
            port::PALETTE_DATA => {
                if let Some(part) = self.color_part() {
                    *part = value & 0x3f;
                }
                self.next_part();
            }
            port::GRAPHICS => self.graphics_index = value,
            port::GRAPHICS_DATA => set(&mut self.graphics, self.graphics_index, value),
            port::CRT => self.crt_index = value,
            port::CRT_DATA => {
                let is_protected = get(&self.crt, crt::RETRACE_END as u8) & 0x80 != 0;
                if !(is_protected && self.crt_index < 8) {
                    set(&mut self.crt, self.crt_index, value);
                }
            }
            _ => {}
        }
    }

    fn write_attribute(&mut self, value: u8) {
        if self.is_attribute_data {
            set(&mut self.attribute, self.attribute_index & 0x1f, value);
        } else {
            self.attribute_index = value & 0x3f;
        }
        self.is_attribute_data = !self.is_attribute_data;
    }

    fn color_part(&mut self) -> Option<&mut u8> {
        let (high, low) = (self.palette_index >> 4, self.palette_index & 15);
        let color = self.palette.get_mut(usize::from(high))?.get_mut(usize::from(low))?;
        color.get_mut(usize::from(self.palette_part))
    }

    fn next_part(&mut self) {
        self.palette_part += 1;
        if self.palette_part == 3 {
            self.palette_part = 0;
            self.palette_index = self.palette_index.wrapping_add(1);
        }
    }

    /// What is shown in mode 3.
    pub(super) fn text(&self) -> Text {
        let pair = |high, low| u16::from_be_bytes([get(&self.crt, high as u8), get(&self.crt, low as u8)]);
        let first = pair(crt::START_HIGH, crt::START_LOW);
        let place = usize::from(pair(crt::CURSOR_HIGH, crt::CURSOR_LOW).wrapping_sub(first));
        let (start, end) = (get(&self.crt, crt::CURSOR_START as u8), get(&self.crt, crt::CURSOR_END as u8));
        let lines = (start & 0x1f, (end & 0x1f).min(LINES - 1));
        let is_shown = start & NO_CURSOR == 0 && lines.0 <= lines.1 && place < COLUMNS * ROWS;
        let cursor = is_shown.then_some(Cursor { row: place / COLUMNS, column: place % COLUMNS, lines });
        let blinks = get(&self.attribute, ATTRIBUTE_MODE as u8) & BLINKS != 0;
        Text { first, cursor, colors: core::array::from_fn(|number| self.color(number as u8)), blinks }
    }

    /// The color of this number, of those that an attribute may name.
    fn color(&self, number: u8) -> u32 {
        let index = get(&self.attribute, number) & 0x3f & self.palette_mask;
        let sixteen = self.palette.get(usize::from(index >> 4));
        let color =
            sixteen.and_then(|colors| colors.get(usize::from(index & 15))).copied().unwrap_or_default();
        // Six bits become eight, so that all of them set is white.
        color.into_iter().fold(0, |all, part| all << 8 | u32::from(part << 2 | part >> 4))
    }
}

/// The color that a BIOS puts at this place: two bits each of red, green and blue.
fn ega_color(number: usize) -> [u8; 3] {
    let part = |strong: usize, weak: usize| {
        let bit = |place: usize| if number < 64 { (number >> place & 1) as u8 } else { 0 };
        0x2a * bit(strong) + 0x15 * bit(weak)
    };
    [part(2, 5), part(1, 4), part(0, 3)]
}

fn get(registers: &[u8], index: u8) -> u8 {
    registers.get(usize::from(index)).copied().unwrap_or(0)
}

fn set(registers: &mut [u8], index: u8, value: u8) {
    if let Some(register) = registers.get_mut(usize::from(index)) {
        *register = value;
    }
}
