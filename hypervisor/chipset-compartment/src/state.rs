//! The state that a chipset has for good: in ring 0's own memory, as bytes that it does not read.

use crate::area::{PARTS, STATE_BYTES, range_of};
use alloc::boxed::Box;
use compartment::Ended;
use devices::Chipset;
use devices::chipset::parts::{self, Part};
use devices::snapshot::SaveFault;

/// The bytes of each part, and how many they are.
pub(crate) struct Committed {
    bytes: Box<[u8; STATE_BYTES]>,
    used: [u16; PARTS],
}

impl Committed {
    /// Room for one.
    pub fn new() -> Self {
        Self { bytes: Box::new([0; STATE_BYTES]), used: [0; PARTS] }
    }

    /// Becomes that of this chipset.
    pub fn take(&mut self, chipset: &Chipset) -> Result<(), SaveFault> {
        for (part, used) in Part::ALL.into_iter().zip(&mut self.used) {
            let place = self.bytes.get_mut(range_of(part)).ok_or(SaveFault::TooLong)?;
            *used = chipset.save_part(part, place)? as u16;
        }
        Ok(())
    }

    /// Takes over the parts that changed, of which each has so many bytes at its place; none of those that have none.
    pub fn change(&mut self, used: &[Option<u16>; PARTS], from: &[u8]) -> Result<(), Ended> {
        for ((part, used), mine) in Part::ALL.into_iter().zip(used).zip(&mut self.used) {
            let Some(count) = *used else { continue };
            let start = range_of(part).start;
            let place = start..start + usize::from(count);
            let (to, from) = (self.bytes.get_mut(place.clone()), from.get(place));
            let (to, from) = to.zip(from).ok_or(Ended::Answer("a state that is too long"))?;
            // Both are as long, which the compiler does not see: a copy of slices would panic where they are not.
            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            *mine = count;
        }
        Ok(())
    }

    /// Writes it as [`Chipset::save`] does.
    pub fn save(&self, into: &mut [u8]) -> Result<usize, SaveFault> {
        let parts = Part::ALL.into_iter().zip(self.used).map(|(part, used)| {
            let start = range_of(part).start;
            self.bytes.get(start..start + usize::from(used)).unwrap_or_default()
        });
        parts::join(parts, into)
    }
}
