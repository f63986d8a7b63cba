//! What has to be patched in Bochs.
//!
//! Entering a guest changes which events may interrupt, and Bochs does not look again until
//! something else changes the interrupt flag. A guest that runs with interrupts off then gets no
//! exit for an external interrupt, and one that runs with them on no virtual interrupt that was
//! pending at the entry. With two processors the first becomes a hang.
//!
//! A guest in HLT wakes, or exits, by what is let through to it, whatever its own interrupt flag
//! says: by an external interrupt that exits, by a virtual interrupt that is pending. Bochs looks at
//! the flag and at the former alone. And an external interrupt that exits while the guest has
//! interrupts off makes it deliver the virtual one that is held back.
//!
//! A posted-interrupt descriptor is aligned to 64 bytes (Intel SDM vol. 3 section 26.2.1.1), and
//! Bochs wants it to start a page: Linux's KVM cannot enter a guest then.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// A line that others stand in for.
#[derive(Debug)]
pub struct Patch {
    /// File below the sources.
    file: &'static str,
    /// The whole line, as it stands there exactly once.
    line: &'static str,
    /// What stands there instead; the last of it is not there before.
    with: &'static [&'static str],
}

/// All of them.
pub const ALL: [Patch; 5] = [
    Patch {
        file: "cpu/vmx.cc",
        line: "  BX_CPU_THIS_PTR in_vmx_guest = true;",
        with: &["  BX_CPU_THIS_PTR in_vmx_guest = true;", "  handleInterruptMaskChange();"],
    },
    Patch {
        file: "cpu/svm.cc",
        line: "  BX_CPU_THIS_PTR in_svm_guest = true;",
        with: &["  BX_CPU_THIS_PTR in_svm_guest = true;", "  handleInterruptMaskChange();"],
    },
    Patch {
        file: "cpu/event.cc",
        line: "    if ((is_pending(BX_EVENT_PENDING_INTR | BX_EVENT_PENDING_LAPIC_INTR | BX_EVENT_PENDING_UINTR) \
               && (BX_CPU_THIS_PTR get_IF() || BX_CPU_THIS_PTR activity_state == BX_ACTIVITY_STATE_MWAIT_IF)) ||",
        with: &[
            "    if (is_unmasked_event_pending(BX_EVENT_PENDING_INTR | BX_EVENT_PENDING_LAPIC_INTR |",
            "            BX_EVENT_PENDING_VMX_VIRTUAL_INTR) ||",
            "        (is_pending(BX_EVENT_PENDING_INTR | BX_EVENT_PENDING_LAPIC_INTR | BX_EVENT_PENDING_UINTR) \
             && (BX_CPU_THIS_PTR get_IF() || BX_CPU_THIS_PTR activity_state == BX_ACTIVITY_STATE_MWAIT_IF)) ||",
        ],
    },
    Patch {
        file: "cpu/event.cc",
        line: "    if (is_pending(BX_EVENT_PENDING_VMX_VIRTUAL_INTR)) {",
        with: &["    if (is_unmasked_event_pending(BX_EVENT_PENDING_VMX_VIRTUAL_INTR)) {"],
    },
    Patch {
        file: "cpu/vmx.cc",
        line: "      if (! IsValidPageAlignedPhyAddr(vm->pid_addr)) {",
        with: &["      if (! IsValidPhyAddr(vm->pid_addr) || (vm->pid_addr & 0x3f) != 0) {"],
    },
];

/// Patches the sources in `folder`.
///
/// # Errors
/// When a file is not what a patch was made for.
pub fn apply_all(folder: &Path) -> Result<()> {
    for patch in &ALL {
        let path = folder.join(patch.file);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let patched = patch.apply(&text)?;
        std::fs::write(&path, patched).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

impl Patch {
    fn apply(&self, text: &str) -> Result<String> {
        let places = text.lines().filter(|line| *line == self.line).count();
        ensure!(places == 1, "{} has {places} lines `{}`, not one", self.file, self.line.trim());
        let present = text.lines().any(|line| Some(&line) == self.with.last());
        ensure!(!present, "{} is patched already", self.file);
        let with = self.with.join("\n");
        Ok(text.replacen(&format!("{}\n", self.line), &format!("{with}\n"), 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: Patch = Patch { file: "f", line: "  here;", with: &["  here;", "  more;"] };

    #[test]
    fn the_lines_stand_in_for_theirs() {
        let patched = PATCH.apply("a\n  here;\nb\n  here; // not this\n").expect("one place");
        assert_eq!(patched, "a\n  here;\n  more;\nb\n  here; // not this\n");
        let other = Patch { file: "f", line: "  here;", with: &["  there;"] };
        assert_eq!(other.apply("  here;\n").expect("one place"), "  there;\n");
    }

    #[test]
    fn other_sources_are_refused() {
        for text in ["", "here;\n", "  here;\n  here;\n", "  here;\n  more;\n"] {
            assert!(PATCH.apply(text).is_err(), "{text:?}");
        }
    }
}
