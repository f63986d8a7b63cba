//! The lines of the emulated devices: any of several may assert one global system interrupt.

use super::Partition;
use crate::host::Host;
use crate::layout::IOAPIC_PINS;

/// How many devices assert each global system interrupt.
#[derive(Default)]
pub struct Lines([u8; IOAPIC_PINS as usize]);

impl Lines {
    /// One device asserts it, or does not any more. Its level then.
    fn count(&mut self, gsi: u8, asserts: bool) -> bool {
        let Some(count) = self.0.get_mut(usize::from(gsi)) else { return false };
        *count = if asserts { count.saturating_add(1) } else { count.saturating_sub(1) };
        *count > 0
    }
}

impl<H: Host> Partition<H> {
    /// A device has asserted the global system interrupts of `was`, a bit each, and asserts those of
    /// `is` from now on. Returns whether vCPU `from` has to look at its interrupts.
    #[inline(never)]
    pub(crate) fn drive_lines(&self, from: usize, was: u32, is: u32) -> bool {
        let mut lines = self.lines.lock();
        let (_, own) = self.with_chipset(from, |chipset, effects, _| {
            let mut changed = was ^ is;
            while changed != 0 {
                let gsi = changed.trailing_zeros() as u8;
                changed &= changed - 1;
                chipset.set_line(gsi, lines.count(gsi, is >> gsi & 1 != 0), effects);
            }
        });
        own
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
