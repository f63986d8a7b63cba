//! Bochs: finding one, and what it can do.

mod machine;

pub use machine::{BochsMachine, CpuModel, Medium};

use crate::qemu::search;
use anyhow::{Context, Result, ensure};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The first release with the parts of VT-x that the hypervisor needs.
pub const OLDEST: (u32, u32) = (2, 7);

/// What 2.7, which Debian 12 has, lacks of what the project's own build has.
const LACKS_OLD: [&str; 4] =
    ["posted interrupts", "the monitor trap flag", "mode-based execute control", "several guest processors"];

/// A Bochs that was found, with its firmware.
#[derive(Clone, Debug)]
pub struct Bochs {
    program: PathBuf,
    bios: PathBuf,
    vga_bios: PathBuf,
    version: (u32, u32),
}

impl Bochs {
    /// The Bochs on PATH with the firmware where Debian's packages put it. It has none of
    /// the project's patches.
    ///
    /// # Errors
    /// A part is missing, it does not run, or it is older than [`OLDEST`].
    pub fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = search(&path, "bochs").context("no bochs on PATH")?;
        let bios = Path::new("/usr/share/bochs/BIOS-bochs-latest");
        let vga_bios = Path::new("/usr/share/vgabios/vgabios.bin");
        Self::at(&program, bios, vga_bios)
    }

    /// The Bochs at `program` with this firmware.
    ///
    /// # Errors
    /// A file is missing, it does not run, or it is older than [`OLDEST`].
    pub fn at(program: &Path, bios: &Path, vga_bios: &Path) -> Result<Self> {
        for file in [program, bios, vga_bios] {
            ensure!(file.is_file(), "{} is missing", file.display());
        }
        // The help is all that ends by itself; its first lines are a banner.
        let output = Command::new(program)
            .arg("--help")
            .output()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let version = parse_version(&text)
            .with_context(|| format!("{} does not say its version: {text:?}", program.display()))?;
        ensure!(version >= OLDEST, "{} is Bochs {}.{}, too old", program.display(), version.0, version.1);
        let (program, bios, vga_bios) = (program.to_owned(), bios.to_owned(), vga_bios.to_owned());
        Ok(Self { program, bios, vga_bios, version })
    }

    /// One that is never started.
    #[cfg(test)]
    pub(crate) fn imaginary(version: (u32, u32)) -> Self {
        Self { program: "bochs".into(), bios: "/rom/bios".into(), vga_bios: "/rom/vga".into(), version }
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Major and minor version.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// What it lacks of what the project's own build has, for the reason of a skipped test.
    pub fn lacks(&self) -> &'static [&'static str] {
        if self.version < (3, 0) { &LACKS_OLD } else { &[] }
    }
}

impl fmt::Display for Bochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bochs {}.{}", self.version.0, self.version.1)?;
        if !self.lacks().is_empty() {
            write!(f, ", which lacks {}", self.lacks().join(", "))?;
        }
        Ok(())
    }
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let number = text.split_once("Bochs x86 Emulator ")?.1;
    let mut parts = number.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_of_the_banner() {
        let text = "=====\n          Bochs x86 Emulator 3.0\n    Built from GitHub snapshot\n";
        assert_eq!(parse_version(text), Some((3, 0)));
        assert_eq!(parse_version("Bochs x86 Emulator 2.7\n"), Some((2, 7)));
        assert_eq!(parse_version("Usage: bochs"), None);
    }

    #[test]
    fn an_old_one_says_what_it_lacks() {
        assert_eq!(Bochs::imaginary((3, 0)).to_string(), "Bochs 3.0");
        assert!(Bochs::imaginary((2, 7)).to_string().contains("lacks posted interrupts"));
    }

    #[test]
    fn an_absent_program_is_an_error_that_names_it() {
        let error = Bochs::at(Path::new("/nonexistent/bochs"), Path::new("/"), Path::new("/")).unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/bochs"), "{error:#}");
    }
}
