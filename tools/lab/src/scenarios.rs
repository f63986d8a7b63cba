//! The scenarios of `cargo hv test`.

use crate::scenario::Scenario;

/// All of them, in the order in which they run.
pub fn all() -> Vec<Scenario> {
    Vec::new()
}
