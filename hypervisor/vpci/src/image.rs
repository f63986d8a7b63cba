//! Configuration space as a table: what each bit of it does.
//!
//! A policy is written as [`Field`]s and compiled into one record per byte, so an
//! access of any width at any offset, also one that straddles fields, is decided
//! byte by byte, with the same answer whichever way it came.

use alloc::boxed::Box;
use alloc::vec;
use spec::Width;
use spec::pci_config::{CONFIG_BYTES, EXTENDED_CONFIG_BYTES};

/// What the bits of one field do. A bit in none of the masks reads 0 and ignores
/// writes; a bit can be kept and writable at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Offset of the field, in bytes from the start of its structure.
    pub at: u16,
    /// Length in bytes, 1 to 4.
    pub bytes: u8,
    /// Bits whose first value is the hardware's at discovery.
    pub keep: u32,
    /// Bits that the guest may write, in its own image only.
    pub writable: u32,
    /// Bits that each read takes from the hardware.
    pub live: u32,
    /// Bits that the guest clears in the hardware by writing ones.
    pub clear: u32,
}

impl Field {
    /// A field that reads as the hardware did at discovery.
    pub const fn fixed(at: u16, bytes: u8) -> Self {
        Self { at, bytes, keep: u32::MAX, writable: 0, live: 0, clear: 0 }
    }
    /// A field of which the bits of `keep` read as the hardware did at discovery.
    pub const fn kept(at: u16, bytes: u8, keep: u32) -> Self {
        Self { at, bytes, keep, writable: 0, live: 0, clear: 0 }
    }
    /// A field whose bits in `writable` are the guest's, 0 at first.
    pub const fn virtualised(at: u16, bytes: u8, writable: u32) -> Self {
        Self { at, bytes, keep: 0, writable, live: 0, clear: 0 }
    }
    /// A field that reads the hardware each time.
    pub const fn live(at: u16, bytes: u8, live: u32) -> Self {
        Self { at, bytes, keep: 0, writable: 0, live, clear: 0 }
    }
    /// Also keeps the bits of `keep`.
    pub const fn keeping(self, keep: u32) -> Self {
        Self { keep, ..self }
    }
    /// Also lets the guest write the bits of `writable` in its image.
    pub const fn writable(self, writable: u32) -> Self {
        Self { writable, ..self }
    }
    /// Also lets the guest clear the bits of `clear` by writing ones.
    pub const fn clearing(self, clear: u32) -> Self {
        Self { clear, ..self }
    }
}

/// One byte of configuration space.
#[derive(Clone, Copy, Default)]
struct Byte {
    value: u8,
    initial: u8,
    writable: u8,
    live: u8,
    clear: u8,
}

/// A function's configuration space as its guest sees it.
pub struct ConfigImage {
    bytes: Box<[Byte]>,
}

impl ConfigImage {
    /// An image where everything reads 0. It has only the first 256 bytes: offsets of extended
    /// capabilities always read 0.
    #[allow(clippy::new_without_default, reason = "an image without a function is nothing to fall back on")]
    pub fn new() -> Self {
        Self { bytes: vec![Byte::default(); CONFIG_BYTES.into()].into_boxed_slice() }
    }

    /// Lays `fields` of a structure at `base`; `hardware` gives a byte's value at
    /// discovery, by its offset in configuration space.
    pub fn lay(&mut self, base: u16, fields: &[Field], mut hardware: impl FnMut(u16) -> u8) {
        for field in fields {
            for index in 0..u16::from(field.bytes) {
                let at = base.saturating_add(field.at).saturating_add(index);
                let part = |mask: u32| (mask >> (8 * index)) as u8;
                if let Some(byte) = self.bytes.get_mut(usize::from(at)) {
                    let kept = part(field.keep);
                    byte.value = if kept == 0 { 0 } else { hardware(at) & kept };
                    byte.initial = byte.value;
                    byte.writable = part(field.writable);
                    byte.live = part(field.live);
                    byte.clear = part(field.clear);
                }
            }
        }
    }

    /// Sets the value at reset of the `width` bytes at `at`, as no guest can.
    pub fn set(&mut self, at: u16, width: Width, value: u32) {
        self.replace(at, width, value);
        for byte in self.span(at, width) {
            byte.initial = byte.value;
        }
    }

    /// Changes the `width` bytes at `at` until the next reset, as no guest can.
    pub fn replace(&mut self, at: u16, width: Width, value: u32) {
        for (index, byte) in self.span(at, width).iter_mut().enumerate() {
            byte.value = (value >> (8 * index)) as u8;
        }
    }

    /// Lets the guest write the bits of `mask` of the `width` bytes at `at`.
    pub fn let_write(&mut self, at: u16, width: Width, mask: u32) {
        for (index, byte) in self.span(at, width).iter_mut().enumerate() {
            byte.writable = (mask >> (8 * index)) as u8;
        }
    }

    /// Lets the guest also write the bits of `mask` of the `width` bytes at `at`.
    pub fn also_let_write(&mut self, at: u16, width: Width, mask: u32) {
        for (index, byte) in self.span(at, width).iter_mut().enumerate() {
            byte.writable |= (mask >> (8 * index)) as u8;
        }
    }

    /// Every byte as at first.
    pub fn reset(&mut self) {
        for byte in &mut self.bytes {
            byte.value = byte.initial;
        }
    }

    /// The image's `width` bytes at `at`, without what is live.
    pub fn get(&self, at: u16, width: Width) -> u32 {
        (0..width.bytes() as u16).fold(0, |value, index| {
            let byte = self.bytes.get(usize::from(at) + usize::from(index)).copied().unwrap_or_default();
            value | u32::from(byte.value) << (8 * u32::from(index))
        })
    }

    /// The image's 2 bytes at `at`.
    pub fn get16(&self, at: u16) -> u16 {
        self.get(at, Width::Word) as u16
    }

    /// The image's 4 bytes at `at`.
    pub fn get32(&self, at: u16) -> u32 {
        self.get(at, Width::Dword)
    }

    /// What the guest reads. `hardware` reads the aligned dword at an offset and is
    /// asked only for dwords that have live bits. Bytes past the end of
    /// configuration space read ones.
    pub fn read(&self, offset: u16, width: Width, mut hardware: impl FnMut(u16) -> u32) -> u32 {
        let mut value = 0;
        let mut dword = None;
        for index in 0..width.bytes().min(4) as u16 {
            let at = offset.saturating_add(index);
            let mut read = match self.bytes.get(usize::from(at)) {
                Some(byte) if byte.live != 0 => {
                    let aligned = at & !3;
                    let found = match dword {
                        Some((from, found)) if from == aligned => found,
                        _ => hardware(aligned),
                    };
                    dword = Some((aligned, found));
                    let hardware = (found >> (8 * (at & 3))) as u8;
                    byte.value & !byte.live | hardware & byte.live
                }
                Some(byte) => byte.value,
                None => 0,
            };
            if at >= EXTENDED_CONFIG_BYTES {
                read = u8::MAX;
            }
            value |= u32::from(read) << (8 * index);
        }
        value
    }

    /// Takes what the guest writes into the image, as far as the table allows it.
    /// `clear` writes one byte of the hardware, with ones in the bits to clear.
    pub fn write(&mut self, offset: u16, width: Width, value: u32, mut clear: impl FnMut(u16, u8)) {
        for index in 0..width.bytes().min(4) as u16 {
            let at = offset.saturating_add(index);
            let written = (value >> (8 * index)) as u8;
            if let Some(byte) = self.bytes.get_mut(usize::from(at)) {
                byte.value = byte.value & !byte.writable | written & byte.writable;
                if written & byte.clear != 0 {
                    clear(at, written & byte.clear);
                }
            }
        }
    }

    /// The bytes of an access, none where it does not lie inside.
    fn span(&mut self, at: u16, width: Width) -> &mut [Byte] {
        let start = usize::from(at);
        self.bytes.get_mut(start..start + width.bytes() as usize).unwrap_or_default()
    }
}
