//! Linux's bzImage (Linux `Documentation/arch/x86/boot.rst`).

use crate::entry::Entry;
use crate::error::LoadError;
use crate::files::{GuestFiles, Part};
use crate::parse::{slice, u8_at, u16_at, u32_at, u64_at};
use crate::place::{COMMAND_LINE, START_INFO, Space};
use guest::layout::{ACPI_AREA, LEGACY_HOLE_END};
use spec::Gpa;

/// Offsets in the setup header, and of its copy in the zero page.
mod header {
    pub const START: u64 = 0x1f1;
    pub const SETUP_SECTORS: u64 = 0x1f1;
    pub const SYSTEM_PARAGRAPHS: u64 = 0x1f4;
    pub const VIDEO_MODE: u64 = 0x1fa;
    pub const BOOT_FLAG: u64 = 0x1fe;
    /// Second byte of the jump: the header ends that far after 0x202.
    pub const JUMP: u64 = 0x201;
    pub const MAGIC: u64 = 0x202;
    pub const VERSION: u64 = 0x206;
    pub const LOADER: u64 = 0x210;
    pub const LOAD_FLAGS: u64 = 0x211;
    pub const CODE32_START: u64 = 0x214;
    pub const RAMDISK_IMAGE: u64 = 0x218;
    pub const RAMDISK_SIZE: u64 = 0x21c;
    pub const COMMAND_LINE: u64 = 0x228;
    pub const INITRD_MAX: u64 = 0x22c;
    pub const ALIGNMENT: u64 = 0x230;
    pub const RELOCATABLE: u64 = 0x234;
    pub const EXTENDED_LOAD_FLAGS: u64 = 0x236;
    pub const COMMAND_LINE_SIZE: u64 = 0x238;
    pub const PREFERRED: u64 = 0x258;
    pub const INIT_SIZE: u64 = 0x260;
    /// Where the header has to end: the zero page has other fields there.
    pub const END_MAX: u64 = 0x290;
}

/// Offsets in the zero page outside the header.
mod zero_page {
    pub const SCREEN_INFO: u64 = 0x000;
    pub const ACPI_RSDP: u64 = 0x070;
    pub const E820_ENTRIES: u64 = 0x1e8;
    pub const E820_TABLE: u64 = 0x2d0;
}

/// The first protocol with a 64-bit entry.
const VERSION_MIN: u16 = 0x020c;
/// Extended load flags: there is a 64-bit entry at 0x200.
const KERNEL_64: u16 = 1 << 0;
/// Where in the loaded kernel it is.
const ENTRY_64: u64 = 0x200;
/// Load flags: the kernel is loaded at 1 MiB or above.
const LOADED_HIGH: u8 = 1 << 0;
/// A loader without a number of its own.
const LOADER_UNDEFINED: u8 = 0xff;
/// Video mode: leave it as it is.
const VIDEO_NORMAL: u16 = 0xffff;

/// `struct screen_info` (Linux `include/uapi/linux/screen_info.h`) of VGA's text mode 3, up to the lines of a
/// character: 80 columns and 25 rows of a color VGA with 256 KiB of memory, the cursor at the upper left.
const TEXT_SCREEN: [u8; 18] = [0, 0, 0, 0, 0, 0, 3, 80, 0, 0, 3, 0, 0, 0, 25, 1, 16, 0];

/// Whether the file has Linux's setup header.
pub(crate) fn is_bzimage(file: &[u8]) -> bool {
    slice(file, header::MAGIC, 4) == Some(b"HdrS") && u16_at(file, header::BOOT_FLAG) == Some(0xaa55)
}

/// What the header says, checked.
struct Header<'a> {
    /// The header itself, for the zero page.
    bytes: &'a [u8],
    /// What is loaded.
    kernel: Part,
    /// Memory that the kernel uses from its load address on until it knows the map.
    init_bytes: u64,
    preferred: Gpa,
    alignment: u64,
    relocatable: bool,
    initrd_end_max: u64,
    command_line_max: u64,
}

impl<'a> Header<'a> {
    fn parse(file: &'a [u8]) -> Result<Self, LoadError> {
        const SHORT: LoadError = LoadError::Malformed("the bzImage ends within its setup header");
        let version = u16_at(file, header::VERSION).ok_or(SHORT)?;
        if version < VERSION_MIN {
            return Err(LoadError::Unsupported(
                "the bzImage speaks a boot protocol before 2.12, which has no 64-bit entry",
            ));
        }
        let flags = u16_at(file, header::EXTENDED_LOAD_FLAGS).ok_or(SHORT)?;
        if flags & KERNEL_64 == 0 {
            return Err(LoadError::Unsupported("the bzImage is a 32-bit kernel"));
        }
        if u8_at(file, header::LOAD_FLAGS).ok_or(SHORT)? & LOADED_HIGH == 0 {
            return Err(LoadError::Unsupported("the kernel is a zImage, which is loaded below 640 KiB"));
        }
        let end = header::MAGIC + u64::from(u8_at(file, header::JUMP).ok_or(SHORT)?);
        if !(header::INIT_SIZE + 4..=header::END_MAX).contains(&end) {
            return Err(LoadError::Malformed("the bzImage's setup header has an impossible length"));
        }
        let alignment = u64::from(u32_at(file, header::ALIGNMENT).ok_or(SHORT)?);
        if !alignment.is_power_of_two() {
            return Err(LoadError::Malformed("the bzImage's alignment is no power of two"));
        }
        let kernel = Self::kernel(file)?;
        let init_bytes = u64::from(u32_at(file, header::INIT_SIZE).ok_or(SHORT)?);
        Ok(Self {
            bytes: slice(file, header::START, end - header::START).ok_or(SHORT)?,
            kernel,
            init_bytes: init_bytes.max(kernel.bytes),
            preferred: Gpa(u64_at(file, header::PREFERRED).ok_or(SHORT)?),
            alignment,
            relocatable: u8_at(file, header::RELOCATABLE).ok_or(SHORT)? != 0,
            initrd_end_max: u64::from(u32_at(file, header::INITRD_MAX).ok_or(SHORT)?) + 1,
            command_line_max: u32_at(file, header::COMMAND_LINE_SIZE).ok_or(SHORT)?.into(),
        })
    }

    /// What follows the real-mode part, which the 64-bit entry does without.
    fn kernel(file: &[u8]) -> Result<Part, LoadError> {
        const TRUNCATED: LoadError = LoadError::Malformed("the bzImage is shorter than its header says");
        let sectors = match u8_at(file, header::SETUP_SECTORS).ok_or(TRUNCATED)? {
            // Of a time before the field.
            0 => 4,
            sectors => u64::from(sectors),
        };
        let start = (sectors + 1) * 512;
        let rest = (file.len() as u64).checked_sub(start).ok_or(TRUNCATED)?;
        let bytes = 16 * u64::from(u32_at(file, header::SYSTEM_PARAGRAPHS).ok_or(TRUNCATED)?);
        // The size is in paragraphs of 16 bytes, of which the last need not be whole.
        if bytes > rest + 15 {
            return Err(TRUNCATED);
        }
        if bytes.min(rest) < ENTRY_64 + 16 {
            return Err(LoadError::Malformed("the bzImage has no kernel behind its header"));
        }
        Ok(Part::of_kernel(start, bytes.min(rest)))
    }

    /// Where the kernel goes: where it would like to be. One that can be moved is moved up
    /// only: loaded lower, it unpacks itself to where it would like to be all the same, by
    /// `init_bytes` from there on, whatever memory there is.
    fn place(&self, space: &mut Space) -> Result<Gpa, LoadError> {
        const WHAT: &str = "the kernel";
        let lowest = LEGACY_HOLE_END.align_up(self.alignment).unwrap_or(self.preferred);
        let start = if self.relocatable { self.preferred.max(lowest) } else { self.preferred };
        match space.take(WHAT, start, self.init_bytes) {
            Err(LoadError::NoRoom { start, bytes, .. }) if start >= LEGACY_HOLE_END => {
                Err(LoadError::TooLittleMemory { start, bytes })
            }
            other => other.map(|()| start),
        }
    }
}

/// Loads a bzImage.
pub(crate) fn load(space: &mut Space, files: GuestFiles<'_>) -> Result<Entry, LoadError> {
    if !files.modules.is_empty() {
        return Err(LoadError::Unsupported("a bzImage takes an initrd, but no modules"));
    }
    let header = Header::parse(files.kernel)?;
    let start = header.place(space)?;
    space.put(start, header.kernel);
    space.put_command_line(files.command_line, header.command_line_max)?;
    let initrd = match files.modules("initrd").next() {
        Some((_, part)) if part.bytes > 0 => {
            (space.put_high("the initrd", part, header.initrd_end_max)?, part.bytes)
        }
        _ => (Gpa(0), 0),
    };

    let at = |offset| START_INFO + offset;
    space.write(at(header::START), header.bytes)?;
    space.write(at(header::LOADER), &[LOADER_UNDEFINED])?;
    space.write(at(header::VIDEO_MODE), &VIDEO_NORMAL.to_le_bytes())?;
    // All of these are below 4 GiB: `Space::take` has seen to it.
    space.write(at(header::CODE32_START), &(start.0 as u32).to_le_bytes())?;
    space.write(at(header::RAMDISK_IMAGE), &(initrd.0.0 as u32).to_le_bytes())?;
    space.write(at(header::RAMDISK_SIZE), &(initrd.1 as u32).to_le_bytes())?;
    space.write(at(header::COMMAND_LINE), &(COMMAND_LINE.0 as u32).to_le_bytes())?;
    if files.has_display {
        space.write(at(zero_page::SCREEN_INFO), &TEXT_SCREEN)?;
    }
    space.write(at(zero_page::ACPI_RSDP), &ACPI_AREA.0.to_le_bytes())?;

    space.write_map_size(at(zero_page::E820_ENTRIES), 1, 1)?;
    space.write_map(at(zero_page::E820_TABLE), &[], 4)?;
    Entry::linux(space, start + ENTRY_64, START_INFO)
}
