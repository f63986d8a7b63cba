//! The hypervisor's virtual address space.
//!
//! | from | what |
//! |---|---|
//! | 0 | nothing: a null pointer faults |
//! | [`DIRECT_MAP`] | the machine's RAM, writable, never executable |
//! | [`WINDOWS`] | device registers and firmware tables, mapped on request |
//! | [`STACKS`] | stacks, each between unmapped pages |
//! | [`IMAGE`] + 2 MiB | the image: text RX, rodata R, data RW |

use spec::Hpa;

/// Where hpa 0 appears in the direct map (PML4 slot 256).
pub const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
/// Bytes that the direct map can hold: 128 slots of 512 GiB.
pub const DIRECT_MAP_BYTES: u64 = 1 << 46;
/// Start of the area of windows onto devices (PML4 slot 509).
pub const WINDOWS: u64 = 0xffff_fe80_0000_0000;
/// Bytes of that area.
pub const WINDOWS_BYTES: u64 = 1 << 39;
/// Start of the area of stacks (PML4 slot 510).
pub const STACKS: u64 = 0xffff_ff00_0000_0000;
/// Bytes of that area.
pub const STACKS_BYTES: u64 = 1 << 39;
/// Virtual address minus physical address of the image where a 32-bit entry point loaded
/// it. The linker script says the same.
pub const IMAGE: u64 = 0xffff_ffff_8000_0000;

/// Where the byte at `hpa` is in the direct map. The address can be used only if it
/// is RAM that [`crate::memory::frames`] knows; else it is unmapped and faults.
#[inline(always)]
pub const fn direct(hpa: Hpa) -> *mut u8 {
    (DIRECT_MAP + hpa.0) as *mut u8
}

/// The parts of the image, as the linker script bounds them (virtual addresses,
/// multiples of 4 KiB).
#[derive(Clone, Copy, Debug)]
pub struct ImageParts {
    /// Code: readable, executable.
    pub text: (u64, u64),
    /// Constants: readable.
    pub rodata: (u64, u64),
    /// Variables: readable, writable.
    pub data: (u64, u64),
}

#[cfg(target_os = "none")]
unsafe extern "C" {
    static image_text_start: u8;
    static image_text_end: u8;
    static image_rodata_start: u8;
    static image_rodata_end: u8;
    static image_data_start: u8;
    static image_data_end: u8;
}

/// The parts of the running image.
#[cfg(target_os = "none")]
pub fn image() -> ImageParts {
    ImageParts {
        text: (&raw const image_text_start as u64, &raw const image_text_end as u64),
        rodata: (&raw const image_rodata_start as u64, &raw const image_rodata_end as u64),
        data: (&raw const image_data_start as u64, &raw const image_data_end as u64),
    }
}

/// On the host there is no image of the hypervisor.
#[cfg(not(target_os = "none"))]
pub fn image() -> ImageParts {
    ImageParts { text: (0, 0), rodata: (0, 0), data: (0, 0) }
}

/// Bytes of the image in memory, with its variables.
pub fn image_bytes() -> u64 {
    let parts = image();
    parts.data.1 - parts.text.0
}
