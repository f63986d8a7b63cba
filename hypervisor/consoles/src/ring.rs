//! The lines of one owner that wait for their turn.
//!
//! A line goes in whole or not at all, without waiting. Where it does not fit, it and what
//! follows is left out until half of the ring is free again: whole stretches rather than a
//! line here and there, each with a count of what is missing.

use crate::filter::LONGEST_TEXT;

/// Bytes before each line: its length, and [`Flags`].
const HEADER_BYTES: usize = 2;
/// In place of a length: the count of what is missing follows.
const LOST: u8 = 0xff;
/// Bytes of that count.
const LOST_BYTES: usize = 16;

/// How a line is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flags {
    /// It ends its owner's line; else that goes on in the owner's next.
    pub complete: bool,
    /// It is for tools: the screen leaves it out.
    pub hidden: bool,
}

/// What was left out.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Lines, or parts of lines.
    pub lines: u64,
    /// The bytes of their text.
    pub bytes: u64,
}

/// What a ring gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// A line: this many bytes of text.
    Line(usize, Flags),
    /// Here lines are missing.
    Lost(Lost),
}

/// A ring over `S`, which is bytes that it alone has.
#[derive(Debug)]
pub struct Ring<S> {
    bytes: S,
    first: usize,
    used: usize,
    /// Left out behind everything that is in the ring.
    lost: Lost,
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> Ring<S> {
    /// An empty ring.
    pub const fn new(bytes: S) -> Self {
        Self { bytes, first: 0, used: 0, lost: Lost { lines: 0, bytes: 0 } }
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.used == 0 && self.lost.lines == 0
    }

    #[cfg(test)]
    pub(crate) fn used_bytes(&self) -> usize {
        self.used
    }

    /// Puts a line in, or counts it. Text beyond [`LONGEST_TEXT`] is cut off.
    pub fn push(&mut self, text: &[u8], flags: Flags) {
        let text = text.get(..LONGEST_TEXT).unwrap_or(text);
        let size = self.bytes.as_ref().len();
        // Room for the count of what is missing before it, too.
        let needed = 2 * HEADER_BYTES + LOST_BYTES + text.len();
        let waits = self.lost.lines > 0 && self.used > size / 2;
        if waits || needed > size - self.used {
            self.lost.lines = self.lost.lines.saturating_add(1);
            self.lost.bytes = self.lost.bytes.saturating_add(text.len() as u64);
            return;
        }
        if self.lost.lines > 0 {
            let Lost { lines, bytes } = core::mem::take(&mut self.lost);
            self.put(LOST);
            self.put(0);
            lines.to_le_bytes().iter().chain(&bytes.to_le_bytes()).for_each(|byte| self.put(*byte));
        }
        self.put(text.len() as u8);
        self.put(u8::from(flags.complete) | u8::from(flags.hidden) << 1);
        text.iter().for_each(|byte| self.put(*byte));
    }

    fn put(&mut self, byte: u8) {
        let bytes = self.bytes.as_mut();
        let place = (self.first + self.used) % bytes.len().max(1);
        if let Some(place) = bytes.get_mut(place) {
            *place = byte;
            self.used += 1;
        }
    }

    fn get(&mut self) -> u8 {
        let bytes = self.bytes.as_ref();
        let byte = bytes.get(self.first).copied().unwrap_or(0);
        self.first = (self.first + 1) % bytes.len().max(1);
        self.used = self.used.saturating_sub(1);
        byte
    }

    /// Takes the oldest line into `text`, or the count of what is missing there.
    pub fn take(&mut self, text: &mut [u8; LONGEST_TEXT]) -> Option<Taken> {
        if self.used == 0 {
            let lost = core::mem::take(&mut self.lost);
            return (lost.lines > 0).then_some(Taken::Lost(lost));
        }
        let length = self.get();
        let flags = self.get();
        if length == LOST {
            let mut count = || u64::from_le_bytes(core::array::from_fn(|_| self.get()));
            return Some(Taken::Lost(Lost { lines: count(), bytes: count() }));
        }
        let length = usize::from(length).min(LONGEST_TEXT);
        for place in text.iter_mut().take(length) {
            *place = self.get();
        }
        Some(Taken::Line(length, Flags { complete: flags & 1 != 0, hidden: flags & 2 != 0 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;
    use std::vec;
    use std::vec::Vec;

    const LINE: Flags = Flags { complete: true, hidden: false };

    fn take(ring: &mut Ring<Vec<u8>>) -> Option<(Vec<u8>, Taken)> {
        let mut text = [0; LONGEST_TEXT];
        let taken = ring.take(&mut text)?;
        let length = if let Taken::Line(length, _) = taken { length } else { 0 };
        Some((text[..length].to_vec(), taken))
    }

    #[test]
    fn lines_come_out_whole_and_in_order() {
        let mut ring = Ring::new(vec![0; 100]);
        for round in 0..1000u32 {
            let flags = Flags { complete: round % 2 == 0, hidden: round % 3 == 0 };
            let text = round.to_string();
            ring.push(text.as_bytes(), flags);
            assert_eq!(take(&mut ring), Some((text.clone().into_bytes(), Taken::Line(text.len(), flags))));
            assert!(ring.is_empty() && take(&mut ring).is_none());
        }
    }

    #[test]
    fn what_does_not_fit_is_counted_where_it_is_missing() {
        let mut ring = Ring::new(vec![0; 100]);
        for _ in 0..10 {
            ring.push(&[b'a'; 20], LINE);
        }
        let mut kept = 0;
        while let Some((_, Taken::Line(..))) = take(&mut ring) {
            kept += 1;
            if kept == 2 {
                break;
            }
        }
        // Half of it is free again.
        ring.push(b"b", LINE);
        let mut rest = Vec::new();
        while let Some((text, taken)) = take(&mut ring) {
            rest.push((text.first().copied(), taken));
        }
        let lost = Taken::Lost(Lost { lines: 10 - 3, bytes: 20 * 7 });
        assert_eq!(rest[rest.len() - 2..], [(None, lost), (Some(b'b'), Taken::Line(1, LINE))]);
    }

    #[test]
    fn a_ring_without_room_counts_everything() {
        let mut ring = Ring::new(Vec::new());
        ring.push(b"abc", LINE);
        assert_eq!(take(&mut ring), Some((Vec::new(), Taken::Lost(Lost { lines: 1, bytes: 3 }))));
        assert!(ring.is_empty());
    }

    proptest! {
        /// Every line comes out as it went in, in order, or is counted at its place.
        #[test]
        fn nothing_is_lost_unsaid(
            steps in prop::collection::vec((0usize..300, any::<bool>(), any::<bool>()), 0..300),
            size in 0usize..1000,
        ) {
            let mut ring = Ring::new(vec![0; size]);
            let (mut sent, mut found, mut lost) = (Vec::new(), Vec::new(), 0);
            for (number, (length, complete, takes)) in steps.into_iter().enumerate() {
                let text = vec![number as u8; length];
                ring.push(&text, Flags { complete, hidden: false });
                sent.push(number as u8);
                if takes && let Some((text, taken)) = take(&mut ring) {
                    match taken {
                        Taken::Lost(count) => found.extend(vec![None; count.lines as usize]),
                        Taken::Line(..) => found.push(Some(text)),
                    }
                }
            }
            while let Some((text, taken)) = take(&mut ring) {
                match taken {
                    Taken::Lost(count) => {
                        lost += count.lines;
                        found.extend(vec![None; count.lines as usize]);
                    }
                    Taken::Line(..) => found.push(Some(text)),
                }
            }
            prop_assert!(lost <= sent.len() as u64);
            prop_assert_eq!(found.len(), sent.len());
            for (text, number) in found.iter().zip(sent) {
                prop_assert!(text.iter().flatten().all(|byte| *byte == number));
            }
        }
    }
}
