//! Where the words of the controller's committed state are, and which of them may have changed.

use super::config::IO_QUEUES;
use super::features::Features;
use super::queues::{FAR_WORDS, PLACE_WORDS};
use crate::slots;

/// Pairs of queues, the admin queues' included.
const PAIRS: usize = 1 + IO_QUEUES as usize;
/// Words of the committed state.
pub(crate) const STATE_WORDS: usize = SLOTS_AT + slots::STATE_WORDS;
pub(super) const FAR_AT: usize = 1;
pub(super) const REGISTERS_AT: usize = FAR_AT + PAIRS * FAR_WORDS;
pub(super) const REGISTERS: usize = 4;
pub(super) const SHADOW_AT: usize = REGISTERS_AT + REGISTERS;
pub(super) const FEATURES_AT: usize = SHADOW_AT + 2;
pub(super) const PLACES_AT: usize = FEATURES_AT + Features::WORDS;
pub(super) const SLOTS_AT: usize = PLACES_AT + PAIRS * PLACE_WORDS;

/// What may be another than when it was committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touched {
    /// How far the queues are, and what is due.
    pub(super) queues: bool,
    /// The registers, where the queues are, and what the guest set.
    pub(super) registers: bool,
}

impl Touched {
    pub(super) const ALL: Self = Self { queues: true, registers: true };
    pub(super) const NOTHING: Self = Self { queues: false, registers: false };
}
