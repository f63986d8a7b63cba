//! What emulated functions are called.

use core::fmt;
use platform::names::DevFn;

/// What an emulated function is called: as its guest, with `:` and its slot behind, such as `linux:06.0`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FunctionName<'a> {
    /// Its guest.
    pub guest: &'a str,
    /// Where that sees it on its bus 0.
    pub slot: DevFn,
}

impl fmt::Display for FunctionName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.guest, self.slot)
    }
}
