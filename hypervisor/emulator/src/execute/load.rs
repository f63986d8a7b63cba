//! From memory to a register, and nowhere else.

use super::processor::write_register;
use crate::decode::{Extension, Register};
use access::vcpu::ProcessorState;
use spec::Width;

/// What becomes of a value that is read, where all that becomes of it is a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Width of what is read.
    pub from: Width,
    /// Where it goes.
    pub register: Register,
    /// Width of that.
    pub to: Width,
    /// How the value is extended to it.
    pub extension: Extension,
    /// Whether its bytes are reversed.
    pub swap: bool,
}

impl Load {
    /// Loads `value`, of which the bits above its width are 0.
    #[inline]
    pub fn finish(self, vcpu: &mut impl ProcessorState, value: u64) {
        let value = if self.swap { swap_bytes(value, self.from) } else { value };
        let value = if self.extension == Extension::Sign { sign_extend(value, self.from) } else { value };
        write_register(vcpu, self.register, self.to, value);
    }
}

#[inline]
pub(super) fn sign_extend(value: u64, width: Width) -> u64 {
    let unused = 64 - 8 * width.bytes() as u32;
    ((value << unused) as i64 >> unused) as u64
}

#[inline]
pub(super) fn swap_bytes(value: u64, width: Width) -> u64 {
    value.swap_bytes() >> (64 - 8 * width.bytes() as u32)
}
