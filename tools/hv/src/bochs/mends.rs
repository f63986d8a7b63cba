//! What has to be mended in Bochs: both mends are for one bug.
//!
//! Entering a guest changes which events may interrupt, and Bochs does not look again until
//! something else changes the interrupt flag. A guest that runs with interrupts off then gets no
//! exit for an external interrupt, and one that runs with them on no virtual interrupt that was
//! pending at the entry. With two processors the first becomes a hang.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// A line that goes behind another one.
#[derive(Debug)]
pub struct Mend {
    /// File below the sources.
    file: &'static str,
    /// The whole line, as it stands there exactly once.
    after: &'static str,
    /// The line to add.
    add: &'static str,
}

/// All of them.
pub const ALL: [Mend; 2] = [
    Mend {
        file: "cpu/vmx.cc",
        after: "  BX_CPU_THIS_PTR in_vmx_guest = true;",
        add: "  handleInterruptMaskChange();",
    },
    Mend {
        file: "cpu/svm.cc",
        after: "  BX_CPU_THIS_PTR in_svm_guest = true;",
        add: "  handleInterruptMaskChange();",
    },
];

/// Mends the sources in `folder`.
///
/// # Errors
/// When a file is not what a mend was made for.
pub fn apply_all(folder: &Path) -> Result<()> {
    for mend in &ALL {
        let path = folder.join(mend.file);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mended = mend.apply(&text)?;
        std::fs::write(&path, mended).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

impl Mend {
    fn apply(&self, text: &str) -> Result<String> {
        let places = text.lines().filter(|line| *line == self.after).count();
        ensure!(places == 1, "{} has {places} lines `{}`, not one", self.file, self.after.trim());
        let present = text.lines().any(|line| line == self.add);
        ensure!(!present, "{} is mended already", self.file);
        let line = format!("{}\n", self.after);
        Ok(text.replacen(&line, &format!("{line}{}\n", self.add), 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEND: Mend = Mend { file: "f", after: "  here;", add: "  more;" };

    #[test]
    fn the_line_goes_behind_its_place() {
        let mended = MEND.apply("a\n  here;\nb\n  here; // not this\n").expect("one place");
        assert_eq!(mended, "a\n  here;\n  more;\nb\n  here; // not this\n");
    }

    #[test]
    fn other_sources_are_refused() {
        for text in ["", "here;\n", "  here;\n  here;\n", "  here;\n  more;\n"] {
            assert!(MEND.apply(text).is_err(), "{text:?}");
        }
    }
}
