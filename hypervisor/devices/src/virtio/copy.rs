//! Copies between a chain's segments and bytes that are here.

use super::Segment;
use access::GuestMemory;
use spec::Gpa;

/// Bytes of all of `segments`.
pub fn total(segments: &[Segment]) -> usize {
    segments.iter().map(|segment| segment.bytes as usize).sum()
}

/// Where byte `at` of `segments` is.
pub fn place(segments: &[Segment], at: usize) -> Option<Gpa> {
    pieces(segments, at, 1).next().map(|(gpa, _)| gpa)
}

/// Copies the bytes of `segments` from byte `at` on. `None` where they have not so many, or some are
/// not memory.
pub fn gather(segments: &[Segment], at: usize, memory: &dyn GuestMemory, into: &mut [u8]) -> Option<()> {
    let mut rest = into;
    for (gpa, bytes) in pieces(segments, at, rest.len()) {
        let (now, later) = core::mem::take(&mut rest).split_at_mut_checked(bytes)?;
        memory.read(gpa, now).ok()?;
        rest = later;
    }
    rest.is_empty().then_some(())
}

/// Copies `from` to byte `at` of `segments` and on. `None` where they have not so many, or some are
/// not memory.
pub fn scatter(segments: &[Segment], at: usize, memory: &dyn GuestMemory, from: &[u8]) -> Option<()> {
    let mut rest = from;
    for (gpa, bytes) in pieces(segments, at, rest.len()) {
        let (now, later) = rest.split_at_checked(bytes)?;
        memory.write(gpa, now).ok()?;
        rest = later;
    }
    rest.is_empty().then_some(())
}

/// The pieces of memory in which `bytes` bytes of `segments` are, from byte `at` on, or as many as there
/// are.
fn pieces(segments: &[Segment], at: usize, bytes: usize) -> impl Iterator<Item = (Gpa, usize)> {
    let (mut skip, mut left) = (at, bytes);
    segments.iter().filter_map(move |segment| {
        let size = segment.bytes as usize;
        let begin = skip.min(size);
        skip -= begin;
        let now = left.min(size - begin);
        left -= now;
        let gpa = segment.gpa.0.checked_add(begin as u64)?;
        (now > 0).then_some((Gpa(gpa), now))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::memory::VecMemory;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    proptest! {
        /// Segments that lie behind one another in another order than in memory are as one piece.
        #[test]
        fn segments_are_as_one_piece(
            sizes in prop::collection::vec(1_u32..40, 0..8),
            at in 0_usize..200,
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let memory = VecMemory::new(0x1000);
            let places = (0..).map(|number: u64| Gpa(0x800 - 0x40 * number));
            let segments: Vec<_> = sizes.iter().zip(places).map(|(bytes, gpa)| Segment { gpa, bytes: *bytes }).collect();
            let all = total(&segments);
            prop_assert_eq!(all, sizes.iter().sum::<u32>() as usize);
            let fits = at + bytes.len() <= all || bytes.is_empty();
            prop_assert_eq!(scatter(&segments, at, &memory, &bytes).is_some(), fits);
            let mut read = vec![0; bytes.len()];
            prop_assert_eq!(gather(&segments, at, &memory, &mut read).is_some(), fits);
            if fits {
                prop_assert_eq!(&read, &bytes);
                for (place_at, byte) in (at..).zip(&bytes) {
                    let mut one = [0];
                    memory.read(place(&segments, place_at).unwrap(), &mut one).unwrap();
                    prop_assert_eq!(one[0], *byte);
                }
            }
            prop_assert_eq!(place(&segments, all), None);
        }
    }
}
