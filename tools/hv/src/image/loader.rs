//! Images with the loader `bootloader`, made by the program in `boot/image`.
//!
//! That program is built when it is first needed: its dependency builds the loader's stages for
//! bare metal, which takes minutes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::sysroot;
use crate::process;
use crate::progress::Step;
use crate::toolchain::Toolchain;
use crate::workshop::Workshop;

/// Makes a disk image of kind `uefi` or `bios` in `folder`.
///
/// # Errors
/// When the loader does not build or refuses.
pub fn disk(workshop: &Workshop, kind: &str, bundle: &Path, folder: &Path) -> Result<PathBuf> {
    let output = folder.join(format!("bulkhead-{kind}.img"));
    make(workshop, kind, kind, bundle, &output)?;
    Ok(output)
}

/// Fills the folder of a TFTP server with what UEFI boots.
///
/// # Errors
/// As `disk`.
pub fn tftp(workshop: &Workshop, bundle: &Path, served: &Path) -> Result<()> {
    make(workshop, "uefi", "pxe", bundle, served)
}

fn make(workshop: &Workshop, firmware: &str, kind: &str, bundle: &Path, output: &Path) -> Result<()> {
    let program = program(workshop, firmware)?;
    let mut step = Step::start(format!("making an image for {kind}"));
    let mut command = Command::new(program);
    command.arg(kind).arg(workshop.hypervisor()?).arg(bundle).arg(output);
    process::run(&mut command, &mut step)?;
    step.done("");
    Ok(())
}

/// The program of `boot/image` for one firmware.
fn program(workshop: &Workshop, firmware: &str) -> Result<PathBuf> {
    let toolchain = workshop.toolchain()?;
    let mut step = Step::start(format!("building the loader for {firmware} (minutes, once)"));
    // One folder per firmware: the features of the one would rebuild the other's stages.
    let target = workshop.project().output().join("loader").join(firmware);
    let mut cargo = match toolchain {
        Toolchain::Debian => sysroot::cargo(workshop.project(), toolchain)?,
        Toolchain::Nightly { .. } => toolchain.cargo(),
    };
    cargo
        // The settings of the workspace are for the hypervisor's own target.
        .current_dir(workshop.project().root().join("boot/image"))
        .args(["build", "--release", "--locked", "--features", firmware, "--target-dir"])
        .arg(&target);
    process::run(&mut cargo, &mut step)?;
    let program = target.join("release/image");
    ensure!(program.is_file(), "cargo left no {}", program.display());
    step.done("");
    Ok(program)
}
