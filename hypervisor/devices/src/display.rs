//! A display: the linear framebuffer of Bochs and QEMU, and text as VGA's mode 3 has it.
//!
//! The guest reaches the video memory itself, behind a BAR, and writes text to its own memory at 0xb8000.
//! Here are the registers, which say what of that is shown: [`Device::picture`] makes a [`Picture`] of
//! them. Whoever shows it reads the memory; a picture never leaves it, whatever the registers hold.
//!
//! Dots have 32 bits, and no other depth sticks. There are no planes, no fonts but the screen's own and no
//! other text mode: what is written to their registers is kept, and shows nothing. Nothing interrupts.

use crate::device::{Completion, Context, Device, Work};
use crate::picture::Picture;
use core::ops::Range;
use dispi::Dispi;
use spec::Width;
use spec::display::{byte_order, registers};
use vga::Vga;

mod dispi;
mod edid;
mod state;
#[cfg(test)]
mod tests;
mod vga;

pub use state::STATE_BYTES;

/// The least video memory, in bytes: Linux's driver wants that much.
pub const LEAST_MEMORY: u64 = 4 << 20;
/// The most.
pub const MOST_MEMORY: u64 = 256 << 20;

/// The device.
pub struct Display {
    dispi: Dispi,
    vga: Vga,
    is_big_endian: bool,
    edid: [u8; edid::BYTES],
    /// Pictures that were switched on.
    modes: u64,
}

impl Display {
    /// A display with so much video memory, as after power-up. Its monitor would like to have as many
    /// dots as `screen` has, in width and height, where the memory holds two such pictures.
    pub fn new(memory_bytes: u64, screen: Option<(usize, usize)>) -> Self {
        Self {
            dispi: Dispi::new(memory_bytes),
            vga: Vga::new(),
            is_big_endian: false,
            edid: edid::of(edid::preferred(memory_bytes, screen)),
            modes: 0,
        }
    }

    /// The register of 4 bytes at `offset`, for reading.
    fn extended(&self, offset: u64) -> u32 {
        match offset {
            registers::EXTENDED_SIZE => (registers::EXTENDED_END - registers::EXTENDED_SIZE) as u32,
            _ if self.is_big_endian => byte_order::BIG,
            _ => byte_order::LITTLE,
        }
    }

    fn read_byte(&mut self, offset: u64) -> u8 {
        let of = |value: u32, byte: u64| (value >> (8 * byte)) as u8;
        if let Some(at) = within(offset, VGA) {
            self.vga.read(at as u8)
        } else if let Some(at) = within(offset, EDID) {
            usize::try_from(at).ok().and_then(|at| self.edid.get(at)).copied().unwrap_or(0)
        } else if let Some(at) = within(offset, DISPI) {
            of(self.dispi.read((at / 2) as usize).into(), at % 2)
        } else if let Some(at) = within(offset, EXTENDED) {
            of(self.extended(registers::EXTENDED_SIZE + (at & !3)), at % 4)
        } else {
            0xff
        }
    }

    fn write_dispi(&mut self, register: u64, value: u16) {
        if self.dispi.write(register as usize, value) {
            self.modes += 1;
        }
    }
}

const EDID: Range<u64> = registers::EDID..registers::VGA;
const VGA: Range<u64> = registers::VGA..registers::VGA + registers::VGA_PORTS as u64;
const DISPI: Range<u64> = registers::DISPI..registers::DISPI + 2 * spec::display::dispi::COUNT as u64;
const EXTENDED: Range<u64> = registers::EXTENDED_SIZE..registers::EXTENDED_END;

/// How far `offset` is into `range`, if it is in there.
fn within(offset: u64, range: Range<u64>) -> Option<u64> {
    offset.checked_sub(range.start).filter(|_| offset < range.end)
}

impl Device for Display {
    fn most_effects(&self) -> usize {
        1
    }

    fn most_requests(&self) -> usize {
        0
    }

    fn read(&mut self, offset: u64, width: Width, _: &mut Context<'_>) -> u64 {
        (0..width.bytes()).fold(0, |value, byte| {
            let read = offset.checked_add(byte).map_or(0xff, |offset| self.read_byte(offset));
            value | u64::from(read) << (8 * byte)
        })
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, _: &mut Context<'_>) {
        if within(offset, VGA).is_some() {
            // As a bus of 8 bits does it: an index and its data by one access.
            for byte in 0..width.bytes() {
                if let Some(at) = within(offset + byte, VGA) {
                    self.vga.write(at as u8, (value >> (8 * byte)) as u8);
                }
            }
        } else if let Some(at) = within(offset, DISPI).filter(|at| at.is_multiple_of(2)) {
            for register in 0..width.bytes() / 2 {
                self.write_dispi(at / 2 + register, (value >> (16 * register)) as u16);
            }
        } else if offset == registers::BYTE_ORDER && width == Width::Dword {
            match value as u32 {
                byte_order::LITTLE => self.is_big_endian = false,
                byte_order::BIG => self.is_big_endian = true,
                _ => {}
            }
        }
    }

    fn complete(&mut self, _: Completion, _: &mut Context<'_>) {}

    fn line(&self) -> bool {
        false
    }

    fn reset(&mut self) {
        self.dispi.reset();
        self.vga = Vga::new();
        self.is_big_endian = false;
    }

    fn work(&self) -> Work {
        Work { requests: self.modes, ..Work::default() }
    }

    fn picture(&self) -> Option<Picture> {
        Some(if !self.vga.has_picture() {
            Picture::Dark
        } else if self.dispi.is_enabled() {
            self.dispi.graphics(self.is_big_endian).map_or(Picture::Dark, Picture::Graphics)
        } else {
            Picture::Text(self.vga.text())
        })
    }
}
