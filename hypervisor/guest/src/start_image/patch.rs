//! What only the boot knows, put into a guest's start image.
//!
//! A patch adds a fact, times a factor, to the number in its place. So the maker of the image leaves there
//! what the fact is counted from: nothing, a start, or how many there are without it.

use crate::layout::GuestLayout;
use access::GuestMemory;
use spec::Gpa;

/// What only the boot knows of a guest: of the machine's memory, which bridges claim parts of, and of
/// its processors, whose addresses have more bits or fewer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Fact {
    /// The end of memory below 4 GiB, in bytes.
    LowBytes = 0,
    /// The end of memory below 4 GiB, in KiB.
    LowKib = 1,
    /// Bytes of memory above 4 GiB.
    HighBytes = 2,
    /// 1 where there is memory above 4 GiB, else 0.
    HighRanges = 3,
    /// First address of the 64-bit window for BARs; 0 where there is none.
    WindowStart = 4,
    /// Last address of that window; 0 where there is none.
    WindowLast = 5,
    /// Bytes of that window.
    WindowBytes = 6,
}

impl Fact {
    const ALL: [Self; 7] = [
        Self::LowBytes,
        Self::LowKib,
        Self::HighBytes,
        Self::HighRanges,
        Self::WindowStart,
        Self::WindowLast,
        Self::WindowBytes,
    ];

    /// What it is for the guest with this layout.
    fn of(self, layout: &GuestLayout) -> u64 {
        let ([_, high], window) = (layout.ram(), layout.windows().memory64);
        let window = if window.is_empty() { 0..0 } else { window };
        match self {
            Self::LowBytes => layout.low_bytes(),
            Self::LowKib => layout.low_bytes() >> 10,
            Self::HighBytes => high.bytes,
            Self::HighRanges => (high.bytes != 0).into(),
            Self::WindowStart => window.start,
            Self::WindowLast => window.end.saturating_sub(1),
            Self::WindowBytes => window.end - window.start,
        }
    }
}

/// A number in the guest's memory to which a fact is added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patch {
    /// Its place.
    pub gpa: u64,
    /// Its bytes: 1, 2, 4 or 8, little-endian.
    pub bytes: u64,
    /// Number of the [`Fact`].
    pub fact: u64,
    /// How often the fact is added.
    pub factor: u64,
    /// Place of a byte that makes the sum of a table's bytes 0, and goes on doing so; 0 for none.
    pub checksum: u64,
}

impl Patch {
    pub(super) fn from_words([gpa, bytes, fact, factor, checksum]: [u64; 5]) -> Self {
        Self { gpa, bytes, fact, factor, checksum }
    }

    /// Adds the fact. `inside` tells whether so many bytes at an address are the image's.
    pub(super) fn apply(
        &self,
        memory: &impl GuestMemory,
        layout: &GuestLayout,
        inside: impl Fn(u64, u64) -> bool,
    ) -> Result<(), &'static str> {
        const OUTSIDE: &str = "is outside of every piece";
        let fact = usize::try_from(self.fact).ok().and_then(|number| Fact::ALL.get(number));
        let fact = fact.ok_or("is of an unknown fact")?;
        if !matches!(self.bytes, 1 | 2 | 4 | 8) {
            return Err("has an impossible width");
        }
        if !inside(self.gpa, self.bytes) || self.checksum != 0 && !inside(self.checksum, 1) {
            return Err(OUTSIDE);
        }
        let mut old = [0; 8];
        let place = old.get_mut(..self.bytes as usize).unwrap_or_default();
        memory.read(Gpa(self.gpa), place).map_err(|_| OUTSIDE)?;
        let added = fact.of(layout).wrapping_mul(self.factor);
        let new = u64::from_le_bytes(old).wrapping_add(added).to_le_bytes();
        let new = new.get(..self.bytes as usize).unwrap_or_default();
        memory.write(Gpa(self.gpa), new).map_err(|_| OUTSIDE)?;
        if self.checksum == 0 {
            return Ok(());
        }
        let mut byte = [0];
        memory.read(Gpa(self.checksum), &mut byte).map_err(|_| OUTSIDE)?;
        let balanced = byte[0].wrapping_add(sum(&old)).wrapping_sub(sum(new));
        memory.write(Gpa(self.checksum), &[balanced]).map_err(|_| OUTSIDE)
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}
