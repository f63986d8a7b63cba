//! A display as Bochs and QEMU have it: registers of VGA for text, and "DISPI" registers for a linear
//! framebuffer (QEMU, `docs/specs/standard-vga.rst`; Bochs, VBE display specification).

/// Vendor ID.
pub const VENDOR: u16 = 0x1234;
/// Device ID.
pub const DEVICE: u16 = 0x1111;
/// Revision: from 2 on the extended registers are there.
pub const REVISION: u8 = 2;
/// Class code: a VGA-compatible controller (PCI Code and ID Assignment Specification, section 1.4).
pub const CLASS: u32 = 0x03_0000;

/// Where registers are in the BAR of registers, in bytes.
pub mod registers {
    /// Bytes of the BAR.
    pub const BYTES: u64 = 0x1000;
    /// What the monitor says of itself.
    pub const EDID: u64 = 0;
    /// The ports of VGA, from 0x3c0 on.
    pub const VGA: u64 = 0x400;
    /// How many ports of VGA there are.
    pub const VGA_PORTS: u16 = 0x20;
    /// The DISPI registers, two bytes each.
    pub const DISPI: u64 = 0x500;
    /// Bytes of the extended registers, 4 bytes.
    pub const EXTENDED_SIZE: u64 = 0x600;
    /// In which order the bytes of a dot are, 4 bytes.
    pub const BYTE_ORDER: u64 = 0x604;
    /// End of the extended registers.
    pub const EXTENDED_END: u64 = 0x608;
}

/// What the register of the byte order holds.
pub mod byte_order {
    /// The least significant byte comes first.
    pub const LITTLE: u32 = 0x1e1e_1e1e;
    /// The most significant byte comes first.
    pub const BIG: u32 = 0xbebe_bebe;
}

/// The DISPI registers, by number.
pub mod dispi {
    /// Which interface it is: [`VERSION`].
    pub const ID: usize = 0;
    /// Dots in a line.
    pub const WIDTH: usize = 1;
    /// Lines.
    pub const HEIGHT: usize = 2;
    /// Bits of a dot.
    pub const DEPTH: usize = 3;
    /// See [`super::enable`].
    pub const ENABLE: usize = 4;
    /// Which 64 KiB are at 0xa0000.
    pub const BANK: usize = 5;
    /// Dots from one line to the next.
    pub const VIRTUAL_WIDTH: usize = 6;
    /// Lines in memory.
    pub const VIRTUAL_HEIGHT: usize = 7;
    /// Dots to the left of what is shown.
    pub const X_OFFSET: usize = 8;
    /// Lines above what is shown.
    pub const Y_OFFSET: usize = 9;
    /// Video memory, in units of 64 KiB.
    pub const MEMORY: usize = 10;
    /// How many there are.
    pub const COUNT: usize = 11;

    /// Version 5 of the interface.
    pub const VERSION: u16 = 0xb0c5;
    /// Bytes of a unit of [`MEMORY`].
    pub const MEMORY_UNIT: u64 = 64 << 10;
}

/// Bits of the DISPI register that enables.
pub mod enable {
    /// The linear framebuffer is shown.
    pub const ENABLED: u16 = 1 << 0;
    /// Width, height and depth read as the most that there is.
    pub const CAPABILITIES: u16 = 1 << 1;
}

/// VGA's text modes (IBM, VGA Technical Reference; Intel, Open Source HD Graphics PRM vol. 2c).
pub mod vga {
    use crate::Gpa;

    /// The first port.
    pub const PORTS: u16 = 0x3c0;
    /// Text: characters and attributes, a byte each.
    pub const TEXT: Gpa = Gpa(0xb_8000);
    /// Bytes of it.
    pub const TEXT_BYTES: u64 = 0x8000;
    /// Characters in a row, in mode 3.
    pub const COLUMNS: usize = 80;
    /// Rows, in mode 3.
    pub const ROWS: usize = 25;
    /// Lines of dots of a character, in mode 3.
    pub const LINES: u8 = 16;

    /// Ports, from [`PORTS`] on.
    pub mod port {
        /// Attribute controller: index and data in turn.
        pub const ATTRIBUTE: u8 = 0x00;
        /// Attribute controller: data, for reading.
        pub const ATTRIBUTE_READ: u8 = 0x01;
        /// Miscellaneous output; input status 0 for reading.
        pub const MISCELLANEOUS: u8 = 0x02;
        /// Sequencer: index.
        pub const SEQUENCER: u8 = 0x04;
        /// Sequencer: data.
        pub const SEQUENCER_DATA: u8 = 0x05;
        /// Palette: mask.
        pub const PALETTE_MASK: u8 = 0x06;
        /// Palette: index for reading; its state for reading.
        pub const PALETTE_READ: u8 = 0x07;
        /// Palette: index for writing.
        pub const PALETTE_WRITE: u8 = 0x08;
        /// Palette: red, green and blue in turn.
        pub const PALETTE_DATA: u8 = 0x09;
        /// Miscellaneous output, for reading.
        pub const MISCELLANEOUS_READ: u8 = 0x0c;
        /// Graphics controller: index.
        pub const GRAPHICS: u8 = 0x0e;
        /// Graphics controller: data.
        pub const GRAPHICS_DATA: u8 = 0x0f;
        /// CRT controller: index.
        pub const CRT: u8 = 0x14;
        /// CRT controller: data.
        pub const CRT_DATA: u8 = 0x15;
        /// Input status 1, for reading.
        pub const STATUS: u8 = 0x1a;
    }

    /// Registers of the CRT controller, by index.
    pub mod crt {
        /// First line of the cursor; bit 5 hides it.
        pub const CURSOR_START: usize = 0x0a;
        /// Last line of the cursor.
        pub const CURSOR_END: usize = 0x0b;
        /// The character at the upper left, upper half of its number.
        pub const START_HIGH: usize = 0x0c;
        /// Lower half.
        pub const START_LOW: usize = 0x0d;
        /// The character with the cursor, upper half of its number.
        pub const CURSOR_HIGH: usize = 0x0e;
        /// Lower half.
        pub const CURSOR_LOW: usize = 0x0f;
        /// Bit 7 protects the first eight.
        pub const RETRACE_END: usize = 0x11;
        /// How many there are.
        pub const COUNT: usize = 0x19;
    }

    /// Bit of the attribute controller's index: the screen has a picture.
    pub const HAS_PICTURE: u8 = 1 << 5;
    /// Bit of the sequencer's clocking mode, register 1: the screen has none.
    pub const SCREEN_OFF: u8 = 1 << 5;
    /// Bit of the attribute controller's mode, register 16: an attribute's bit 7 blinks, and is no color.
    pub const BLINKS: u8 = 1 << 3;
    /// Bit of [`crt::CURSOR_START`]: there is no cursor.
    pub const NO_CURSOR: u8 = 1 << 5;
}
