//! A fuzzer's bytes as numbers and choices.

use arbitrary::Unstructured;
use spec::Width;

/// The bytes, read from the front.
pub struct Input<'a>(Unstructured<'a>);

impl<'a> Input<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    /// Whether all bytes are read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// The next 2 bytes, little-endian.
    pub fn u16(&mut self) -> u16 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// The next 4 bytes, little-endian.
    pub fn u32(&mut self) -> u32 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// The next 8 bytes, little-endian.
    pub fn u64(&mut self) -> u64 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// Up to `count` bytes, fewer where the input ends.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        self.0.bytes(count.min(self.0.len())).unwrap_or_default()
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }

    /// One of `choices`, which is not empty, by the next byte.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.u8()) % choices.len()]
    }

    /// Any width.
    pub fn width(&mut self) -> Width {
        self.pick(&[Width::Byte, Width::Word, Width::Dword, Width::Qword])
    }

    /// A width that ports and configuration space have.
    pub fn port_width(&mut self) -> Width {
        self.pick(&[Width::Byte, Width::Word, Width::Dword])
    }
}
