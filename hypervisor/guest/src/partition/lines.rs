//! The lines of the emulated devices: any of several may assert one global system interrupt.

use crate::layout::IOAPIC_PINS;

/// How many devices assert each global system interrupt.
#[derive(Default)]
pub struct Lines([u8; IOAPIC_PINS as usize]);

impl Lines {
    /// One device asserts it, or does not any more. Its level then.
    pub(crate) fn count(&mut self, gsi: u8, asserts: bool) -> bool {
        let Some(count) = self.0.get_mut(usize::from(gsi)) else { return false };
        *count = if asserts { count.saturating_add(1) } else { count.saturating_sub(1) };
        *count > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_asserted_while_any_device_does() {
        let mut lines = Lines::default();
        assert!(lines.count(17, true));
        assert!(lines.count(17, true));
        assert!(lines.count(17, false));
        assert!(!lines.count(17, false));
        assert!(!lines.count(17, false), "what nobody asserted stays so");
        assert!(!lines.count(200, true), "a pin that is not there");
    }
}
