//! The last bytes that were written to the console, for the panic report and for machines
//! without any console.

/// How many.
pub const HISTORY_BYTES: usize = 16 * 1024;

/// A ring of them.
pub struct History {
    bytes: [u8; HISTORY_BYTES],
    written: usize,
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    /// Nothing written.
    pub const fn new() -> Self {
        Self { bytes: [0; HISTORY_BYTES], written: 0 }
    }

    /// Takes what is written.
    pub fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(place) = self.bytes.get_mut(self.written % HISTORY_BYTES) {
                *place = *byte;
            }
            self.written = self.written.wrapping_add(1);
        }
    }

    /// The byte `back` places before the end, 1 being the last.
    pub fn back(&self, back: usize) -> Option<u8> {
        let place = self.written.wrapping_sub(back) % HISTORY_BYTES;
        (back <= self.written.min(HISTORY_BYTES)).then(|| self.bytes.get(place).copied()).flatten()
    }

    /// How far back the last `lines` whole lines start.
    pub fn start_of_last(&self, lines: usize) -> usize {
        let mut ends = 0;
        let mut back = 0;
        while let Some(byte) = self.back(back + 1) {
            if byte == b'\n' {
                ends += 1;
                if ends > lines {
                    break;
                }
            }
            back += 1;
        }
        back
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::format;

    #[test]
    fn the_last_lines_are_found_also_after_it_wrapped() {
        let mut history = Box::new(History::new());
        assert_eq!(history.start_of_last(2), 0);
        for line in 0..2000 {
            history.push(format!("hypervisor| line {line}\r\n").as_bytes());
        }
        let back = history.start_of_last(2);
        let expected = "hypervisor| line 1998\r\nhypervisor| line 1999\r\n";
        assert_eq!(back, expected.len());
        assert!((1..=back).rev().filter_map(|back| history.back(back)).eq(expected.bytes()));
        assert_eq!(history.start_of_last(100_000), HISTORY_BYTES);
    }
}
