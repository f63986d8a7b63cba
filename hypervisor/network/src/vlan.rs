//! VLAN tags: which a frame has, and what a port does to it (802.1Q, clause 9).

use crate::offload::Offload;
use spec::ethernet::{TAG_BYTES, VLAN_NONE, VLAN_RESERVED};

/// A VLAN's number, 1 to 4094.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Vlan(u16);

impl Vlan {
    /// VLAN `number`, if it is one.
    pub const fn new(number: u16) -> Option<Self> {
        if number > VLAN_NONE && number < VLAN_RESERVED { Some(Self(number)) } else { None }
    }
    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// What is done to a frame's tag when it is copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tagging {
    /// Nothing.
    Keep,
    /// It is left out.
    Untag,
    /// One with this VLAN is put in.
    Insert(Vlan),
}

/// A frame in the pieces that make it up once its tag is put in or left out.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub(crate) addresses: &'a [u8],
    pub(crate) tag: Option<[u8; TAG_BYTES]>,
    pub(crate) rest: &'a [u8],
    /// What is left to do for the frame that the pieces make.
    pub offload: Offload,
}

impl Parts<'_> {
    /// The pieces in order; the one in the middle may be empty.
    pub fn pieces(&self) -> [&[u8]; 3] {
        [self.addresses, self.tag.as_ref().map_or(&[], |tag| tag), self.rest]
    }
    /// Bytes of all pieces.
    pub fn bytes(&self) -> usize {
        self.pieces().iter().map(|piece| piece.len()).sum()
    }
}
