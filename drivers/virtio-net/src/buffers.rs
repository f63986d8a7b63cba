//! Which buffers the device has.

/// A bit for each of up to 256 buffers.
#[derive(Debug, Default)]
pub(crate) struct Held([u64; 4]);

impl Held {
    /// The device has it from now on.
    pub fn give(&mut self, buffer: u16) {
        if let Some(word) = self.0.get_mut(usize::from(buffer / 64)) {
            *word |= 1 << (buffer % 64);
        }
    }

    /// The device has it no more. Whether it had it.
    pub fn take(&mut self, buffer: u16) -> bool {
        let Some(word) = self.0.get_mut(usize::from(buffer / 64)) else { return false };
        let bit = 1 << (buffer % 64);
        let was_held = *word & bit != 0;
        *word &= !bit;
        was_held
    }
}
