//! Finding an emulator that is new enough.

use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The first release whose emulated AMD-V and VT-d carry the hypervisor.
pub const OLDEST: (u32, u32) = (10, 0);

/// Where the dynamic linker looks first.
const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// A QEMU for x86-64 that was found and asked for its version.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    version: (u32, u32),
    firmware: Vec<PathBuf>,
    libraries: Option<OsString>,
}

impl Qemu {
    /// The `qemu-system-x86_64` on PATH.
    ///
    /// # Errors
    /// None is there, it does not run, or it is older than [`OLDEST`].
    pub fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = search(&path, "qemu-system-x86_64").context("no qemu-system-x86_64 on PATH")?;
        Self::at(program)
    }

    /// The QEMU at `program`.
    ///
    /// # Errors
    /// It does not run, or it is older than [`OLDEST`].
    pub fn at(program: PathBuf) -> Result<Self> {
        let qemu = Self::ask(program, None)?;
        if qemu.version < OLDEST {
            let ((major, minor), (wanted, wanted_minor)) = (qemu.version, OLDEST);
            let program = qemu.program.display();
            bail!("{program} is QEMU {major}.{minor}; {wanted}.{wanted_minor} or newer is needed");
        }
        Ok(qemu)
    }

    /// Asks a program of any version for it.
    fn ask(program: PathBuf, libraries: Option<OsString>) -> Result<Self> {
        let mut command = Command::new(&program);
        command.arg("--version").envs(libraries.iter().map(|libraries| (LIBRARY_PATH, libraries)));
        let output = command.output().with_context(|| format!("cannot run {}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = parse_version(&text).with_context(|| {
            let complaint = String::from_utf8_lossy(&output.stderr);
            format!("{} does not say its version: {text}{}", program.display(), complaint.trim())
        })?;
        Ok(Self { program, version, firmware: Vec::new(), libraries })
    }

    /// A QEMU that is never started.
    #[cfg(test)]
    pub(crate) fn imaginary() -> Self {
        Self::imaginary_of(OLDEST)
    }

    /// A QEMU of this version that is never started.
    #[cfg(test)]
    pub(crate) fn imaginary_of(version: (u32, u32)) -> Self {
        Self { program: "qemu-system-x86_64".into(), version, firmware: Vec::new(), libraries: None }
    }

    /// The QEMU of packages that were unpacked at `root` and not installed: firmware and
    /// option ROMs (`-L`), and libraries that the machine may lack, are taken from there.
    ///
    /// # Errors
    /// It does not run or does not say its version.
    pub fn unpacked(root: &Path) -> Result<Self> {
        let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| root.join(folder));
        let libraries = std::env::join_paths(libraries).context("a colon in the folder's name")?;
        let mut qemu = Self::ask(root.join("usr/bin/qemu-system-x86_64"), Some(libraries))?;
        qemu.firmware = ["qemu", "seabios"].map(|name| root.join("usr/share").join(name)).into();
        Ok(qemu)
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Major and minor version.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// The folders that `-L` names.
    pub fn firmware(&self) -> &[PathBuf] {
        &self.firmware
    }

    /// What its process needs in its environment.
    pub fn environment(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.libraries.iter().map(|libraries| (LIBRARY_PATH, libraries.as_os_str()))
    }
}

/// Code and variable store of OVMF (UEFI firmware), where a distribution put them.
pub fn find_ovmf() -> Option<(PathBuf, PathBuf)> {
    const PLACES: &[(&str, &str)] = &[
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
        ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
        ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ];
    PLACES
        .iter()
        .map(|(code, variables)| (PathBuf::from(code), PathBuf::from(variables)))
        .find(|(code, variables)| code.is_file() && variables.is_file())
}

/// The first file named `name` in the folders of `path`.
pub fn search(path: &OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let number = text.split_once("version ")?.1;
    let mut parts = number.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_of_distributions_and_upstream() {
        let debian = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright (c) 2003";
        assert_eq!(parse_version(debian), Some((10, 0)));
        assert_eq!(parse_version("QEMU emulator version 7.2.22"), Some((7, 2)));
        assert_eq!(parse_version("something else"), None);
        assert_eq!(parse_version("version x.y"), None);
    }

    #[test]
    fn an_absent_program_is_an_error_that_names_it() {
        let error = Qemu::at("/nonexistent/qemu".into()).unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/qemu"), "{error:#}");
    }
}
