//! A compartment that says whatever the fuzzer does.

use crate::Input;
use compartment::{Compartment, Ended};
use driver_compartment::{Function, Renewal};

/// An area, and what is written there at each entry.
pub struct Liar {
    area: Vec<u64>,
    script: Vec<u8>,
    read: usize,
    /// Words that say how an answer that is one begins: what was asked, in the first word, is said again here, and
    /// in the next word that it went well.
    answered: Option<usize>,
}

impl Liar {
    /// One with an area of `words` words that says what is in the script.
    pub fn new(words: usize, script: &[u8], answered: Option<usize>) -> Self {
        Self { area: vec![0; words], script: script.to_vec(), read: 0, answered }
    }

    /// How many of the script's bytes are left.
    pub fn left(&self) -> usize {
        self.script.len().saturating_sub(self.read)
    }
}

impl Compartment for Liar {
    fn area(&mut self) -> &mut [u64] {
        &mut self.area
    }

    fn enter(&mut self) -> Result<(), Ended> {
        let script = self.script.get(self.read..).unwrap_or_default();
        let mut input = Input::new(script);
        let (mut used, head) = (1, input.u8());
        if head == 0xff {
            self.read += used;
            return Err(Ended::Fault { vector: 14, rip: 0 });
        }
        if let Some(answered) = self.answered.filter(|_| head & 0x80 == 0) {
            self.area[answered] = self.area[0];
            self.area[answered + 1] = u64::from(head >> 4 & 3) + 1;
        }
        for _ in 0..head & 0xf {
            let (place, kind) = (usize::from(input.u8()), input.u8());
            let value = match kind & 7 {
                0..=3 => u64::from(kind >> 3),
                4 => u64::from(kind >> 3) << 16,
                5 => 1 << (kind >> 2),
                6 => input.u64(),
                _ => u64::MAX,
            };
            used += if kind & 7 == 6 { 10 } else { 2 };
            // Half of them where an answer begins, half anywhere.
            let words = self.area.len();
            let at =
                if place & 0x80 == 0 { place & 0x7f } else { words - 1 - (place & 0x7f) * words / 0x100 };
            self.area[at % words] = value;
        }
        self.read += used;
        Ok(())
    }
}

impl Function for Liar {
    fn begin_renewal(&mut self, _: u64) {}

    fn renewal(&mut self, now_ns: u64) -> Renewal {
        let head = self.script.get(self.read).copied().unwrap_or(0);
        self.read += 1;
        match head & 0xf {
            0 => Renewal::Failed("it does not answer"),
            1 => Renewal::Waits { until_ns: now_ns.wrapping_add(head.into()) },
            _ => Renewal::Done { keeps_cache: head & 0x10 != 0 },
        }
    }
}
