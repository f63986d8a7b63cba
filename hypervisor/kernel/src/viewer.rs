//! The displays of guests on the machine's screen: the one that is asked for is copied there a piece at a
//! time, and nothing is while the log is shown.
//!
//! A guest changes its picture, and where it is, while it is copied. Each piece asks the device anew what is
//! shown, which gives no place outside of the video memory, and reads by checked copies.

use crate::host::Machine;
use access::GuestMemory;
use alloc::boxed::Box;
use consoles::code_page;
use devices::picture::{Cell, Cursor, Graphics, Picture, Text};
use machine::console::framebuffer::Letter;
use machine::console::picture::{self, CHARACTER_DOTS};
use machine::cpu::registers;
use machine::memory::guest_ram::GuestRam;
use spec::Gpa;
use spec::display::vga::{COLUMNS, ROWS};

/// Pictures that are copied in a second, at most.
const PICTURES_PER_SECOND: u64 = 25;
/// Dots that are copied in a turn, and at once.
const DOTS_PER_TURN: usize = 2048;
const DOTS_AT_ONCE: usize = 512;
/// Characters that are looked at and drawn in a turn.
const LOOKS_PER_TURN: usize = 640;
const LETTERS_PER_TURN: usize = 32;
/// Bytes of the screen that are made black in a turn.
const WIPED_PER_TURN: usize = 32 << 10;
const DOT_BYTES: usize = 4;

/// What the screen was made black for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Dark,
    /// So many dots in width and height.
    Graphics(usize, usize),
    Text,
}

/// What shows the display that was asked for.
pub struct Viewer<'m> {
    machine: &'m Machine,
    /// TSC ticks from one picture to the next, at least.
    period: u64,
    /// The number of the guest whose display is shown.
    guest: Option<usize>,
    shape: Shape,
    /// When the picture that is being copied was begun.
    begun: Option<u64>,
    /// When the next one is.
    due: u64,
    /// The column and the line of what is copied next: dots, or characters.
    at: (usize, usize),
    /// The characters that are on the screen.
    cells: Box<[Option<(Cell, Option<(u8, u8)>)>]>,
}

impl<'m> Viewer<'m> {
    /// The log is shown.
    pub fn new(machine: &'m Machine, tsc_hz: u64) -> Self {
        Self {
            machine,
            period: tsc_hz / PICTURES_PER_SECOND,
            guest: None,
            shape: Shape::Dark,
            begun: None,
            due: u64::MAX,
            at: (0, 0),
            cells: core::iter::repeat_n(None, COLUMNS * ROWS).collect(),
        }
    }

    /// Shows the display of this guest, or the log if a display is shown.
    pub fn switch(&mut self, guest: usize) {
        if self.guest.is_some() {
            return self.close();
        }
        let Some(wanted) = self.machine.guests.get(guest) else { return };
        let name = &wanted.partition.name;
        if wanted.display.is_none() {
            log::info!("{name} has no display");
        } else if wanted.lifecycle.is_over() {
            log::info!("{name} is off, and shows nothing");
        } else if picture::show_picture() {
            (self.guest, self.due) = (Some(guest), 0);
            self.begin(Shape::Dark);
            log::info!("the screen shows what {name} shows; Ctrl-T d: the log again");
        } else {
            log::info!("this machine has no screen");
        }
    }

    /// The keyboard is another guest's now: where a display was shown, that guest's is, or the log.
    pub fn follow(&mut self, guest: usize) {
        if self.guest.take().is_some() {
            self.switch(guest);
            if self.guest.is_none() {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        picture::show_log();
        (self.guest, self.due) = (None, u64::MAX);
        log::info!("the screen shows the log");
    }

    /// The screen becomes black, and what is on it is not known any more.
    fn begin(&mut self, shape: Shape) {
        picture::show_picture();
        self.shape = shape;
        self.cells.fill(None);
        self.begun = None;
    }

    /// Copies a piece of what is shown. When to be called again, as a TSC.
    pub fn turn(&mut self, now: u64) -> u64 {
        let Some(guest) = self.guest.and_then(|guest| self.machine.guests.get(guest)) else {
            return u64::MAX;
        };
        let Some(display) = guest.display.as_ref().filter(|_| !guest.lifecycle.is_over()) else {
            self.close();
            return u64::MAX;
        };
        if self.begun.is_none() && now < self.due {
            return self.due;
        }
        let shown = guest.partition.serve_endpoint(display.endpoint, |endpoint, _| endpoint.picture());
        let shown = shown.flatten().unwrap_or(Picture::Dark);
        let shape = shape_of(&shown);
        if shape != self.shape {
            self.begin(shape);
        }
        if picture::wipe(WIPED_PER_TURN) {
            return now;
        }
        if self.begun.is_none() {
            (self.begun, self.at) = (Some(now), (0, 0));
        }
        let is_done = match &shown {
            Picture::Dark => true,
            Picture::Graphics(graphics) => self.draw_dots(&display.memory, graphics),
            Picture::Text(text) => self.draw_letters(&guest.partition.memory, text),
        };
        if is_done { self.finish(now) } else { now }
    }

    /// A picture is copied. The next one follows in time, but not before as much time as this one took has
    /// gone by: the rest is for others.
    fn finish(&mut self, now: u64) -> u64 {
        let begun = self.begun.take().unwrap_or(now);
        let end = registers::read_tsc();
        self.due = begun.saturating_add(self.period).max(end.saturating_add(end.saturating_sub(begun)));
        self.due
    }

    /// Copies dots. Whether they were the last ones.
    fn draw_dots(&mut self, memory: &GuestRam, graphics: &Graphics) -> bool {
        let Some((screen_width, screen_height)) = picture::screen_size() else { return true };
        let (width, height) = (graphics.width.min(screen_width), graphics.height.min(screen_height));
        let (left, above) = (middle(width, screen_width), middle(height, screen_height));
        let mut bytes = [0; DOTS_AT_ONCE * DOT_BYTES];
        let mut room = DOTS_PER_TURN;
        while room > 0 {
            let (x, y) = self.at;
            let found = graphics.dots(x, y).filter(|_| y < height);
            let Some((start, _)) = found else { return true };
            let count = width.saturating_sub(x).min(DOTS_AT_ONCE);
            let piece = bytes.get_mut(..count * DOT_BYTES).unwrap_or_default();
            if memory.read(Gpa(start), piece).is_ok() {
                picture::put_dots(left + x, above + y, piece, graphics.is_big_endian);
            }
            self.at = if x + count < width { (x + count, y) } else { (0, y + 1) };
            // A line costs something even where it has no dots.
            room = room.saturating_sub(count.max(1));
        }
        false
    }

    /// Draws the characters that changed. Whether all were looked at.
    fn draw_letters(&mut self, memory: &GuestRam, text: &Text) -> bool {
        let Some((screen_width, screen_height)) = picture::screen_size() else { return true };
        let (width, height) = CHARACTER_DOTS;
        let left = middle(COLUMNS * width, screen_width);
        let above = middle(ROWS * height, screen_height);
        let mut drawn = 0;
        for _ in 0..LOOKS_PER_TURN {
            let (column, row) = self.at;
            if row >= ROWS {
                return true;
            }
            if drawn == LETTERS_PER_TURN {
                break;
            }
            let mut character = [0; 2];
            // Where the guest has no memory there is nothing.
            let _ = memory.read(text.gpa(row, column), &mut character);
            let wanted = Some((text.cell(character), bar(text.cursor, row, column)));
            if let Some(place) = self.cells.get_mut(COLUMNS * row + column)
                && *place != wanted
            {
                *place = wanted;
                drawn += 1;
                if let Some((cell, bar)) = wanted {
                    picture::put_letter(left + width * column, above + height * row, &letter(cell, bar));
                }
            }
            self.at = if column + 1 < COLUMNS { (column + 1, row) } else { (0, row + 1) };
        }
        false
    }
}

fn shape_of(picture: &Picture) -> Shape {
    match picture {
        Picture::Dark => Shape::Dark,
        Picture::Graphics(graphics) => Shape::Graphics(graphics.width, graphics.height),
        Picture::Text(_) => Shape::Text,
    }
}

/// How far from its start something stands in the middle of something larger.
const fn middle(of: usize, all: usize) -> usize {
    all.saturating_sub(of) / 2
}

/// The lines of the cursor, where it is here.
fn bar(cursor: Option<Cursor>, row: usize, column: usize) -> Option<(u8, u8)> {
    cursor.filter(|cursor| (cursor.row, cursor.column) == (row, column)).map(|cursor| cursor.lines)
}

fn letter(cell: Cell, bar: Option<(u8, u8)>) -> Letter {
    Letter {
        character: code_page::character(cell.character),
        color: cell.color,
        background: cell.background,
        bar: bar.map(|(first, last)| (first.into(), last.into())),
    }
}
