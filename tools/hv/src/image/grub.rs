//! Images with GRUB: a CD for BIOS and UEFI, and the boot file of a BIOS that boots by PXE.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::copy;
use crate::debian::Debian;
use crate::process;
use crate::progress::Step;
use crate::project::{Project, make_folder};
use crate::toolchain::on_path;

/// GRUB's tools and platforms, and what they call to write a CD.
const PACKAGES: [&str; 5] = ["grub-common", "grub-pc-bin", "grub-efi-amd64-bin", "xorriso", "mtools"];

/// The boot file that a DHCP server names to a BIOS.
const PXE_FILE: &str = "bulkhead.0";
const PXE_FORMAT: &str = "i386-pc-pxe";

/// How GRUB starts the hypervisor, and with what; `@` is where the files are.
const MENU: &str = "\
set timeout=0
set default=0
# The log is on the first serial port as well as on the screen.
serial --unit=0 --speed=115200
terminal_output console serial
menuentry \"Bulkhead\" {
    multiboot2 @/bulkhead
    module2 @/bundle
}
";

/// How GRUB starts Linux; `@` is its command line.
const LINUX_MENU: &str = "\
set timeout=0
set default=0
serial --unit=0 --speed=115200
terminal_output serial
menuentry \"Linux\" {
    linux /boot/kernel @
    initrd /boot/initrd
}
";

/// Makes a CD image of the hypervisor `elf` and `bundle` in `folder`.
///
/// # Errors
/// When GRUB is missing and cannot be installed, or fails.
pub fn iso(project: &Project, elf: &Path, bundle: &Path, folder: &Path) -> Result<PathBuf> {
    let menu = MENU.replace('@', "/boot");
    cd(project, &[(elf, "bulkhead"), (bundle, "bundle")], &menu, folder, "bulkhead")
}

/// Makes a CD image of a Linux in `folder`.
///
/// # Errors
/// As `iso`.
pub fn linux(
    project: &Project,
    kernel: &Path,
    initrd: &Path,
    command_line: &str,
    folder: &Path,
) -> Result<PathBuf> {
    let menu = LINUX_MENU.replace('@', command_line);
    cd(project, &[(kernel, "kernel"), (initrd, "initrd")], &menu, folder, "linux")
}

/// Makes the CD image `folder`/`name`.iso with `files`, each with its name in /boot, and `menu`.
fn cd(project: &Project, files: &[(&Path, &str)], menu: &str, folder: &Path, name: &str) -> Result<PathBuf> {
    require(project, &["grub-mkrescue", "xorriso", "mformat"])?;
    let mut step = Step::start("making a CD image");
    let tree = folder.join(format!("{name}-cd"));
    make_folder(&tree.join("boot/grub"))?;
    for (file, name) in files {
        copy(file, &tree.join("boot").join(name))?;
    }
    write(&tree.join("boot/grub/grub.cfg"), menu)?;
    let image = folder.join(format!("{name}.iso"));
    process::run(Command::new("grub-mkrescue").arg("-o").arg(&image).arg(&tree), &mut step)?;
    step.done("");
    Ok(image)
}

/// Adds what a BIOS needs to the folder of a TFTP server; gives the boot file.
///
/// # Errors
/// When GRUB is missing and cannot be installed, or fails.
pub fn pxe(project: &Project, elf: &Path, bundle: &Path, served: &Path) -> Result<PathBuf> {
    require(project, &["grub-mkimage"])?;
    let mut step = Step::start("making a boot file for PXE");
    copy(elf, &served.join("bulkhead"))?;
    copy(bundle, &served.join("bundle"))?;
    let menu = served.join("grub.cfg");
    write(&menu, &MENU.replace('@', "(pxe)"))?;
    let file = served.join(PXE_FILE);
    process::run(
        Command::new("grub-mkimage")
            .args(["-O", PXE_FORMAT, "-p", "(pxe)", "-c"])
            .arg(&menu)
            .arg("-o")
            .arg(&file)
            .args(["pxe", "tftp", "normal", "multiboot2", "serial", "terminal"]),
        &mut step,
    )?;
    step.done("");
    Ok(file)
}

fn require(project: &Project, tools: &[&str]) -> Result<()> {
    if tools.iter().all(|tool| on_path(tool)) && Path::new("/usr/lib/grub/i386-pc").is_dir() {
        return Ok(());
    }
    Debian::open(project).and_then(|debian| debian.install(&PACKAGES)).context("GRUB is needed")
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
