//! Where the words of a committed state are, and which of them may have changed.

use crate::virtio::queue::{FAR_WORDS, PLACE_WORDS};

/// How far the queues are is behind the first word.
pub(super) const FAR_AT: usize = 1;
/// Words of registers.
pub(super) const REGISTERS: usize = 5;

/// Words of the committed state of a device with so many queues, but for those of its type.
pub(crate) const fn state_words(queues: usize) -> usize {
    FAR_AT + REGISTERS + queues * (FAR_WORDS + PLACE_WORDS)
}

/// What may be another than when it was committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touched {
    /// How far the queues are, the first word, and what the type says.
    pub(super) queues: bool,
    /// The registers that say which half of the features and which queue other registers are of.
    pub(super) selects: bool,
    /// All registers, and where queues are.
    pub(super) registers: bool,
}

impl Touched {
    pub(super) const ALL: Self = Self { queues: true, selects: true, registers: true };
    pub(super) const NOTHING: Self = Self { queues: false, selects: false, registers: false };

    pub(super) const fn is_anything(self) -> bool {
        self.queues || self.selects || self.registers
    }
}
