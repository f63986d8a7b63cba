//! Which Rust builds the bare-metal ELF: it must have the sources of `core` and accept `-Z`.
//!
//! Two do: a rustup nightly with `rust-src`, and Debian's `rustc-web` told by `RUSTC_BOOTSTRAP`
//! to accept unstable flags. The first is what most people have; the second is what a fresh
//! Debian machine can install without asking anybody.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::debian::Debian;
use crate::process;
use crate::project::Project;

/// Debian's packages: compiler, cargo, sources of the standard library, linker.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld"];
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library";
const DEBIAN_FOLDER: &str = "/usr/bin";

/// A toolchain that can build for `x86_64-hv.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// rustup's `nightly` with the component `rust-src`.
    Nightly {
        /// `cargo` of that toolchain itself, not rustup's proxy.
        folder: PathBuf,
        /// Debian and friends put `ld.lld` on PATH; without it the bundled `rust-lld` links.
        has_lld: bool,
    },
    /// Debian's `rustc-web` and friends under /usr.
    Debian,
}

impl Toolchain {
    /// Finds a toolchain, or installs Debian's where that is allowed.
    ///
    /// # Errors
    /// When there is none and it cannot be installed; the error says which line to type.
    pub fn prepare(project: &Project) -> Result<Self> {
        if let Some(found) = Self::find() {
            return Ok(found);
        }
        let installed = Debian::open(project).and_then(|debian| debian.install(&DEBIAN_PACKAGES));
        match (installed, Self::find()) {
            (Ok(()), Some(found)) => Ok(found),
            (Ok(()), None) => bail!("installed {} and still found no toolchain", DEBIAN_PACKAGES.join(", ")),
            (Err(error), _) => Err(error.context(
                "the bare-metal build needs the sources of Rust's core library.\n\
                 Either: rustup toolchain install nightly --component rust-src\n\
                 or, on Debian 12, the packages that the next lines name",
            )),
        }
    }

    /// Looks for a toolchain without changing anything.
    pub fn find() -> Option<Self> {
        nightly().or_else(debian)
    }

    /// In a few words, for a progress line.
    pub fn describe(&self) -> String {
        let version = process::output(Command::new(self.folder().join("rustc")).arg("--version"))
            .unwrap_or_else(|_| "rustc of unknown version".to_owned());
        let origin = match self {
            Self::Nightly { .. } => "rustup nightly",
            Self::Debian => "Debian",
        };
        // `rustc 1.96.0`: what follows is the commit and the vendor's remarks.
        let version: Vec<&str> = version.split_whitespace().take(2).collect();
        format!("{} ({origin})", version.join(" "))
    }

    /// `cargo` of this toolchain, in an environment that leads to this toolchain only.
    pub fn cargo(&self) -> Command {
        let folder = self.folder();
        let mut cargo = Command::new(folder.join("cargo"));
        // The outer `cargo hv` leaves its own toolchain in these; build-std would mix the two.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(belongs_to_outer_cargo) {
                cargo.env_remove(name);
            }
        }
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&inherited));
        if let Ok(path) = std::env::join_paths(path) {
            cargo.env("PATH", path);
        }
        cargo.env("RUSTC", folder.join("rustc")).env("RUSTC_BOOTSTRAP", "1");
        cargo
    }

    /// Flags that only this toolchain needs.
    pub fn rustc_flags(&self) -> &'static [&'static str] {
        match self {
            Self::Nightly { has_lld: false, .. } => &["-Clinker=rust-lld"],
            Self::Nightly { .. } | Self::Debian => &[],
        }
    }

    fn folder(&self) -> &Path {
        match self {
            Self::Nightly { folder, .. } => folder,
            Self::Debian => Path::new(DEBIAN_FOLDER),
        }
    }
}

fn nightly() -> Option<Toolchain> {
    let mut rustup = Command::new("rustup");
    // Asking must not download: the variable keeps rustup from installing what is missing.
    rustup.args(["which", "--toolchain", "nightly", "rustc"]).env("RUSTUP_AUTO_INSTALL", "0");
    let rustc = PathBuf::from(process::output(&mut rustup).ok()?.trim_end());
    let folder = rustc.parent()?.to_path_buf();
    let sources = folder.parent()?.join("lib/rustlib/src/rust/library/core/Cargo.toml");
    let complete = sources.is_file() && folder.join("cargo").is_file();
    complete.then(|| Toolchain::Nightly { folder, has_lld: on_path("ld.lld") })
}

fn debian() -> Option<Toolchain> {
    let folder = Path::new(DEBIAN_FOLDER);
    let complete = folder.join("rustc").is_file()
        && folder.join("cargo").is_file()
        && Path::new(DEBIAN_SOURCES).join("core/Cargo.toml").is_file()
        && on_path("ld.lld");
    complete.then_some(Toolchain::Debian)
}

/// Whether `program` can be started by its bare name.
pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn belongs_to_outer_cargo(name: &str) -> bool {
    const EXACT: [&str; 12] = [
        "CARGO",
        "CARGO_BIN_NAME",
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_DIR",
        "LD_LIBRARY_PATH",
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUST_RECURSION_COUNT",
    ];
    EXACT.contains(&name)
        || ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_CRATE_", "RUSTUP_TOOLCHAIN"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_toolchain_does_not_leak_into_the_inner_build() {
        for name in ["RUSTC", "RUSTUP_TOOLCHAIN", "CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "LD_LIBRARY_PATH"] {
            assert!(belongs_to_outer_cargo(name), "{name}");
        }
    }

    #[test]
    fn settings_of_the_user_stay() {
        for name in ["CARGO_HOME", "CARGO_HTTP_PROXY", "CARGO_REGISTRIES_X_INDEX", "HOME", "RUSTUP_HOME"] {
            assert!(!belongs_to_outer_cargo(name), "{name}");
        }
    }

    #[test]
    fn the_inner_cargo_finds_its_own_rustc_first() {
        let cargo = Toolchain::Debian.cargo();
        let value = |wanted: &str| {
            cargo
                .get_envs()
                .find(|(name, _)| *name == wanted)
                .and_then(|(_, value)| value)
                .map(|value| value.to_string_lossy().into_owned())
        };
        assert_eq!(value("RUSTC").as_deref(), Some("/usr/bin/rustc"));
        assert!(value("PATH").is_some_and(|path| path.starts_with("/usr/bin")));
    }
}
