//! What the loader's build script expects of a toolchain and Debian's does not have, laid over it
//! in a folder of our own; /usr stays as it is.
//!
//! - it looks for `llvm-objcopy` and `llvm-objdump` in the sysroot that `rustc` names;
//! - its target files name the linker `rust-lld`;
//! - it pins `x86_64` 0.15.5, which rustc 1.96 cannot build: 0.15.4 takes its place. Drop that
//!   when Debian's rustc moves on.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::debian::Debian;
use crate::project::{Project, make_folder};
use crate::toolchain::Toolchain;

const HOST: &str = "x86_64-unknown-linux-gnu";
const RUSTLIB: &str = "/usr/lib/rustlib";

/// `cargo` of Debian's toolchain over the completed sysroot.
///
/// # Errors
/// When a part is missing and cannot be installed, or the folder cannot be made.
pub fn cargo(project: &Project, toolchain: &Toolchain) -> Result<Command> {
    let folder = project.output().join("sysroot");
    lay(&folder, &llvm_tools(project)?)?;
    let mut cargo = toolchain.cargo();
    let bin = folder.join("bin");
    let path = cargo
        .get_envs()
        .find(|(name, _)| *name == "PATH")
        .and_then(|(_, value)| value)
        .map(std::ffi::OsStr::to_os_string)
        .unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(bin.clone()).chain(std::env::split_paths(&path)))?;
    cargo.env("PATH", path).env("RUSTC", bin.join("rustc"));
    Ok(cargo)
}

/// The folder of LLVM's tools; their package is `llvm`.
fn llvm_tools(project: &Project) -> Result<PathBuf> {
    let find = || {
        ["/usr/bin", "/usr/lib/llvm-14/bin"]
            .map(PathBuf::from)
            .into_iter()
            .find(|folder| folder.join("llvm-objcopy").is_file() && folder.join("llvm-objdump").is_file())
    };
    if let Some(folder) = find() {
        return Ok(folder);
    }
    Debian::open(project).and_then(|debian| debian.install(&["llvm"])).context("llvm-objcopy is needed")?;
    find().context("installed llvm and found no llvm-objcopy")
}

fn lay(folder: &Path, llvm: &Path) -> Result<()> {
    let (bin, host) = (folder.join("bin"), folder.join("lib/rustlib").join(HOST));
    make_folder(&bin)?;
    make_folder(&host.join("bin"))?;
    let rustlib = Path::new(RUSTLIB);
    link(&rustlib.join("src"), &folder.join("lib/rustlib/src"))?;
    link(&rustlib.join(HOST).join("lib"), &host.join("lib"))?;
    for tool in ["llvm-objcopy", "llvm-objdump"] {
        link(&llvm.join(tool), &host.join("bin").join(tool))?;
    }
    // Only under its own name does the generic driver accept the flavour that rustc passes.
    let lld = std::fs::canonicalize("/usr/bin/lld").context("no /usr/bin/lld")?;
    link(&lld, &bin.join("rust-lld"))?;
    let rustc = bin.join("rustc");
    std::fs::write(&rustc, wrapper(folder)?).with_context(|| format!("cannot write {}", rustc.display()))?;
    std::fs::set_permissions(&rustc, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", rustc.display()))
}

/// A `rustc` that names the folder as its sysroot and exchanges one dependency.
fn wrapper(folder: &Path) -> Result<String> {
    let Some(folder) = folder.to_str().filter(|folder| !folder.contains('\'')) else {
        bail!("the folder {} cannot be named in a shell script", folder.display());
    };
    Ok(format!(
        r#"#!/bin/sh
# Written by `cargo hv image`.
if [ "$*" = "--print sysroot" ]; then
    echo '{folder}'
    exit
fi
for argument do
    shift
    case $argument in
    */x86_64-0.15.5/src/lib.rs) argument=${{argument%/x86_64-0.15.5/*}}/x86_64-0.15.4/src/lib.rs ;;
    esac
    set -- "$@" "$argument"
done
exec /usr/bin/rustc "$@"
"#
    ))
}

fn link(target: &Path, path: &Path) -> Result<()> {
    if std::fs::read_link(path).is_ok_and(|old| old == target) {
        return Ok(());
    }
    let _ = std::fs::remove_file(path);
    symlink(target, path).with_context(|| format!("cannot link {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wrapper_names_the_folder_as_its_sysroot() {
        let folder = std::env::temp_dir().join(format!("hv-sysroot-{}", std::process::id()));
        make_folder(&folder).expect("a folder in the temporary one");
        let path = folder.join("rustc");
        std::fs::write(&path, wrapper(&folder).expect("a plain path")).expect("written");
        let said = crate::process::output(Command::new("sh").arg(&path).args(["--print", "sysroot"]));
        std::fs::remove_dir_all(&folder).expect("removed");
        assert_eq!(said.expect("the script runs").trim_end(), folder.display().to_string());
    }

    #[test]
    fn a_path_that_would_leave_its_quotes_is_refused() {
        assert!(wrapper(Path::new("/it's")).is_err());
    }
}
