//! When a scenario looks at the machine's screen, and for what.

use crate::scenario::{Expected, Scenario};
use crate::screen::Screen;

/// What the screen has to show, and after which line.
#[derive(Clone)]
pub(crate) struct Look {
    /// The line.
    pub after: Expected,
    /// What is wrong with what it shows.
    pub check: fn(&Screen) -> Result<(), String>,
    /// What is typed when it shows that.
    pub bytes: Vec<u8>,
}

impl Scenario {
    /// Has `check` look at the screen once `owner` has written a line with `text` in it, and what was to be
    /// seen before was, until it finds nothing wrong; then types `bytes`.
    pub fn sees(
        mut self,
        owner: &str,
        text: &str,
        check: fn(&Screen) -> Result<(), String>,
        bytes: &[u8],
    ) -> Self {
        let after = Expected { owner: Some(owner.to_owned()), text: text.to_owned() };
        self.looks.push(Look { after, check, bytes: bytes.to_owned() });
        self
    }
}
