//! Cylinders, heads and sectors, by which drivers address a disk that know no logical block addresses
//! (ATA/ATAPI-5, sections 6.2 and 8.12).

use serde::{Deserialize, Serialize};

/// The most sectors that are addressed so, however many there are: 16,383 cylinders of 16 heads and 63
/// sectors, which is as far as most firmware gets (sections 8.12.8 and 8.12.34).
const MOST_SECTORS: u64 = 16_514_064;

/// A translation: what a driver takes the disk for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Geometry {
    /// Heads of a cylinder, 1 to 16.
    heads: u8,
    /// Sectors of a track, 1 to 255.
    track_sectors: u8,
}

impl Geometry {
    /// That of a disk which was told of no other.
    pub const DEFAULT: Self = Self { heads: 16, track_sectors: 63 };

    /// That which INITIALIZE DEVICE PARAMETERS asks for: the last head of a cylinder, and the sectors of a
    /// track. `None` where no disk is so.
    pub fn new(last_head: u8, track_sectors: u8) -> Option<Self> {
        let geometry = Self { heads: (last_head & 0xf) + 1, track_sectors };
        geometry.is_possible().then_some(geometry)
    }

    /// One that need not be possible.
    #[cfg(test)]
    pub const fn forge(heads: u8, track_sectors: u8) -> Self {
        Self { heads, track_sectors }
    }

    /// Whether a disk can be so.
    pub fn is_possible(self) -> bool {
        (1..=16).contains(&self.heads) && self.track_sectors != 0
    }

    /// Heads of a cylinder.
    pub const fn heads(self) -> u16 {
        self.heads as u16
    }

    /// Sectors of a track.
    pub const fn track_sectors(self) -> u16 {
        self.track_sectors as u16
    }

    /// Cylinders of a disk of `sectors` sectors. What is left behind the last one is not reached.
    pub fn cylinders(self, sectors: u64) -> u16 {
        let cylinder = u64::from(self.heads) * u64::from(self.track_sectors);
        let cylinders = sectors.min(MOST_SECTORS).checked_div(cylinder).unwrap_or(0);
        u16::try_from(cylinders).unwrap_or(u16::MAX)
    }

    /// How many sectors of a disk of `sectors` are reached.
    pub fn capacity(self, sectors: u64) -> u32 {
        u32::from(self.cylinders(sectors)) * u32::from(self.heads) * u32::from(self.track_sectors)
    }

    /// The logical block at this place of a disk of `sectors` sectors, if it has such a place. Sectors of a
    /// track are counted from 1.
    pub fn block(self, sectors: u64, cylinder: u16, head: u8, sector: u8) -> Option<u64> {
        let is_there = cylinder < self.cylinders(sectors)
            && head < self.heads
            && (1..=self.track_sectors).contains(&sector);
        let track = u64::from(cylinder) * u64::from(self.heads) + u64::from(head);
        let block = track * u64::from(self.track_sectors) + u64::from(sector.saturating_sub(1));
        is_there.then_some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Places follow one another as their blocks do, up to the last one that there is.
        #[test]
        fn each_block_has_one_place(head: u8, track_sectors in 1_u8.., sectors in 0_u64..20_000_000, pick: u32) {
            let geometry = Geometry::new(head, track_sectors).unwrap();
            let capacity = geometry.capacity(sectors);
            prop_assert!(u64::from(capacity) <= sectors.min(MOST_SECTORS));
            let Some(block) = pick.checked_rem(capacity) else { return Ok(()) };
            let (track, sector) = (block / u32::from(track_sectors), block % u32::from(track_sectors));
            let (cylinder, head) = (track / u32::from(geometry.heads), track % u32::from(geometry.heads));
            let found = geometry.block(sectors, cylinder as u16, head as u8, sector as u8 + 1);
            prop_assert_eq!(found, Some(block.into()));
        }
    }

    #[test]
    fn places_that_no_disk_has() {
        let geometry = Geometry::DEFAULT;
        assert_eq!(geometry.cylinders(1008 * 7 + 1007), 7);
        assert_eq!(geometry.block(1008 * 7, 6, 15, 63), Some(1008 * 7 - 1));
        for (cylinder, head, sector) in [(7, 0, 1), (6, 16, 1), (6, 0, 64), (6, 0, 0)] {
            assert_eq!(geometry.block(1008 * 7, cylinder, head, sector), None);
        }
        assert_eq!(geometry.cylinders(u64::MAX), 16383);
        assert_eq!(geometry.block(1007, 0, 0, 1), None, "less than a cylinder is none");
        assert_eq!(Geometry::new(15, 0), None);
        assert_eq!(Geometry::new(0, 1).unwrap().cylinders(u64::MAX), u16::MAX);
    }
}
