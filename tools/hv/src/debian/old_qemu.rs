//! QEMU as Debian 12 has it, unpacked beside the newer one that is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::Qemu;

use super::{Candidate, Debian};
use crate::process;

/// The series in which AMD-Vi remaps what the IOAPIC sends; 10.0 lets it by.
const SERIES: &str = "7.2";
/// The emulator with its accelerator's module, its option ROMs, and its BIOS.
const PACKAGES: [&str; 3] = ["qemu-system-x86", "qemu-system-common", "qemu-system-data"];
const BIOS: &str = "seabios";

impl Debian {
    /// Debian 12's own QEMU, fetched and unpacked once, not installed.
    ///
    /// # Errors
    /// When a package cannot be fetched, or what was unpacked does not run.
    pub fn old_qemu(&self) -> Result<Qemu> {
        let root = self.folder.join(format!("qemu-{SERIES}"));
        if root.is_dir() {
            return Qemu::unpacked(&root);
        }
        let mut debs = PACKAGES
            .iter()
            .map(|package| self.download(package, is_of_series))
            .collect::<Result<Vec<PathBuf>>>()?;
        debs.push(self.download(BIOS, |_| true)?);
        // Where it belongs only when it is whole: another checkout may be at it too.
        let draft = self.folder.join(format!("qemu-{SERIES}.{}", std::process::id()));
        unpack_all(&debs, &draft)?;
        // Nearly all libraries are those that the newer QEMU brought.
        if Qemu::unpacked(&draft).is_err() {
            for library in self.missing_dependencies(debs.first().context("no package")?)? {
                Self::unpack_into(&self.download(&library, |_| true)?, &draft)?;
            }
            Qemu::unpacked(&draft)?;
        }
        if std::fs::rename(&draft, &root).is_err() {
            ensure!(root.is_dir(), "cannot make {}", root.display());
            std::fs::remove_dir_all(&draft).with_context(|| format!("cannot delete {}", draft.display()))?;
        }
        Qemu::unpacked(&root)
    }

    /// The packages that the one in `deb` needs, directly or not, and that are not
    /// installed here.
    fn missing_dependencies(&self, deb: &Path) -> Result<Vec<String>> {
        let depends = process::output(Command::new("dpkg-deb").arg("-f").arg(deb).arg("Depends"))?;
        let mut wanted = dependencies(&depends);
        let mut missing: Vec<String> = Vec::new();
        while let Some(package) = wanted.pop() {
            let known = missing.contains(&package) || PACKAGES.contains(&package.as_str()) || package == BIOS;
            if known || is_installed(&package) {
                continue;
            }
            wanted.extend(dependencies(&self.depends_of(&package)?));
            missing.push(package);
        }
        Ok(missing)
    }
}

fn is_of_series(candidate: &Candidate) -> bool {
    let upstream = candidate.version.split_once(':').map_or(candidate.version.as_str(), |(_, rest)| rest);
    upstream.strip_prefix(SERIES).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn unpack_all(debs: &[PathBuf], root: &Path) -> Result<()> {
    let (first, others) = debs.split_first().context("no package")?;
    Debian::unpack(first, root)?;
    others.iter().try_for_each(|deb| Debian::unpack_into(deb, root))
}

/// Whether dpkg has it installed; libraries come in one architecture here.
fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${db:Status-Status}", package]);
    process::output(&mut query).is_ok_and(|status| status.starts_with("installed"))
}

/// Names in a `Depends` field: of alternatives the first, without versions.
fn dependencies(field: &str) -> Vec<String> {
    let name =
        |entry: &str| entry.split(['|', '(', ':', ' ']).find(|word| !word.is_empty()).map(str::to_owned);
    field.trim().split(',').filter_map(|entry| name(entry.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_without_versions_and_alternatives() {
        let field = "libaio1 (>= 0.3.93), libc6:any (>= 2.34), a | b, qemu-system-data (>> 1:7.2+dfsg~)\n";
        assert_eq!(dependencies(field), ["libaio1", "libc6", "a", "qemu-system-data"]);
        assert_eq!(dependencies(""), Vec::<String>::new());
    }

    #[test]
    fn only_the_series_is_taken() {
        let of = |version: &str| {
            let (package, architecture, depends) = Default::default();
            is_of_series(&Candidate { package, version: version.to_owned(), architecture, depends })
        };
        assert!(of("1:7.2+dfsg-7+deb12u18+b3") && of("7.2.22-1"));
        assert!(!of("1:7.20-1") && !of("1:10.0.2+ds-2~bpo12+1"));
    }
}
