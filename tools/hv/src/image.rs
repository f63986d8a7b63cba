//! `cargo hv image`: one bundle for every way to boot.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cli::{self, ImageKind};
use crate::config::{Source, folder_of};
use crate::process;
use crate::progress::Step;
use crate::project::make_folder;
use crate::toolchain::on_path;
use crate::workshop::Workshop;

/// What `grub-mkrescue` needs on Debian.
const GRUB_PACKAGES: &str = "grub-common grub-pc-bin grub-efi-amd64-bin xorriso mtools";

/// How GRUB starts the hypervisor, and with what.
const GRUB_MENU: &str = "\
set timeout=0
set default=0
# The log is on the first serial port as well as on the screen.
serial --unit=0 --speed=115200
terminal_output console serial
menuentry \"Bulkhead\" {
    multiboot2 /boot/bulkhead
    module2 /boot/bundle
}
";

impl From<lab::scenario::ImageKind> for ImageKind {
    fn from(kind: lab::scenario::ImageKind) -> Self {
        match kind {
            lab::scenario::ImageKind::Uefi => Self::Uefi,
            lab::scenario::ImageKind::Bios => Self::Bios,
            lab::scenario::ImageKind::Pxe => Self::Pxe,
            lab::scenario::ImageKind::Iso => Self::Iso,
        }
    }
}

/// Makes the image that was asked for.
///
/// # Errors
/// When a tool is missing, or the configuration or a file is not in order.
pub fn run(workshop: &Workshop, options: &cli::Image) -> Result<()> {
    let source = Source::read(&options.config)?;
    let folder = workshop.project().output().join("image");
    make_folder(&folder)?;
    let bundle = folder.join("bundle");
    workshop.pack(&source, &folder_of(&options.config), &bundle)?;
    let image = make(workshop.hypervisor()?, &bundle, &folder, options.kind)?;
    std::fs::copy(&image, &options.output)
        .with_context(|| format!("cannot write {}", options.output.display()))?;
    println!("{}", options.output.display());
    Ok(())
}

/// Makes an image of `kind` from the hypervisor `elf` and `bundle` in `folder`; gives its path.
///
/// # Errors
/// When a tool is missing or fails.
pub fn make(elf: &Path, bundle: &Path, folder: &Path, kind: ImageKind) -> Result<PathBuf> {
    match kind {
        ImageKind::Iso => iso(elf, bundle, folder),
        ImageKind::Uefi | ImageKind::Bios | ImageKind::Pxe => {
            bail!("images of this kind are not made yet; --kind iso boots with BIOS and UEFI")
        }
    }
}

fn iso(elf: &Path, bundle: &Path, folder: &Path) -> Result<PathBuf> {
    if !on_path("grub-mkrescue") {
        bail!("no grub-mkrescue on PATH. On Debian:\n    sudo apt-get install {GRUB_PACKAGES}");
    }
    let mut step = Step::start("making an ISO image");
    let tree = folder.join("iso");
    make_folder(&tree.join("boot/grub"))?;
    let copy = |from: &Path, to: PathBuf| {
        std::fs::copy(from, &to).map(drop).with_context(|| format!("cannot write {}", to.display()))
    };
    copy(elf, tree.join("boot/bulkhead"))?;
    copy(bundle, tree.join("boot/bundle"))?;
    let menu = tree.join("boot/grub/grub.cfg");
    std::fs::write(&menu, GRUB_MENU).with_context(|| format!("cannot write {}", menu.display()))?;
    let image = folder.join("bulkhead.iso");
    process::run(Command::new("grub-mkrescue").arg("-o").arg(&image).arg(&tree), &mut step)?;
    step.done("");
    Ok(image)
}
