//! Which unit serves a requester ID, and when nobody can tell.

use core::fmt;
use spec::{Bdf, RequesterRange};

/// What a unit says about whom it serves.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The PCI segment that it serves.
    pub segment: u16,
    /// The requester IDs that it serves by name.
    pub requesters: &'a [RequesterRange],
    /// It also serves every requester ID of its segment that no unit names.
    pub serves_rest: bool,
    /// It can be driven.
    pub usable: bool,
    /// It names more, and nobody can tell whom.
    pub unsure: bool,
}

/// Who serves a requester ID; units by their index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// This unit.
    By(usize),
    /// A unit that cannot be driven, so nothing holds the requester.
    Unusable(usize),
    /// The unit for the rest, unless this one does, of which nobody can tell whom it
    /// serves.
    Unsure(usize),
    /// Nobody.
    Nobody,
}

impl Service {
    /// The unit, where one serves the requester for certain.
    pub const fn unit(self) -> Option<usize> {
        match self {
            Self::By(unit) => Some(unit),
            Self::Unusable(_) | Self::Unsure(_) | Self::Nobody => None,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(unit) => write!(f, "the IOMMU unit {unit} serves it"),
            Self::Unusable(unit) => write!(f, "the IOMMU unit {unit} serves it and cannot be used"),
            Self::Unsure(unit) => write!(f, "nobody can tell whether the IOMMU unit {unit} serves it"),
            Self::Nobody => f.write_str("no IOMMU unit serves it"),
        }
    }
}

/// Who serves a requester ID: the unit that names it, else the one that serves the rest
/// of its segment. A unit that cannot be driven keeps its requesters, for another one does
/// not see their DMA; and what is left for the rest is known only while it is known whom
/// every other unit names. The same answer for the tables alone and for units that run.
pub fn serving<'a>(units: impl Iterator<Item = Claim<'a>> + Clone, segment: u16, requester: Bdf) -> Service {
    let units = units.enumerate().filter(|(_, claim)| claim.segment == segment);
    let names = |claim: &Claim<'_>| claim.requesters.iter().any(|range| range.contains(requester));
    let named = units.clone().filter(|(_, claim)| names(claim));
    let rest = units.clone().filter(|(_, claim)| claim.serves_rest);
    let unsure = units.clone().find(|(_, claim)| claim.unsure);
    let unusable = |(unit, claim): (usize, Claim<'_>)| (!claim.usable).then_some(unit);
    let by_name = named.clone().next();
    let candidates_unusable =
        if by_name.is_some() { named.clone().find_map(unusable) } else { rest.clone().find_map(unusable) };
    match (candidates_unusable, by_name, rest.clone().next(), unsure) {
        (Some(unit), ..) => Service::Unusable(unit),
        (None, Some((unit, _)), ..) => Service::By(unit),
        (None, None, Some(_), Some((unit, _))) => Service::Unsure(unit),
        (None, None, Some((unit, _)), None) => Service::By(unit),
        (None, None, None, _) => Service::Nobody,
    }
}
