//! `cargo hv image`: one bundle for every way to boot.

mod grub;
mod loader;
mod sysroot;

pub use grub::linux;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cli::{self, ImageKind};
use crate::config::{Source, folder_of};
use crate::project::make_folder;
use crate::workshop::Workshop;

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
    let image = make(workshop, &bundle, &folder, options.kind)?;
    match (options.kind, image.parent()) {
        (ImageKind::Pxe, Some(served)) => copy_files(served, &options.output)?,
        _ => copy(&image, &options.output)?,
    }
    println!("{}", options.output.display());
    Ok(())
}

/// Makes an image of `kind` from the hypervisor and `bundle` in `folder`; gives its path, for PXE
/// the path of the boot file.
///
/// # Errors
/// When a tool is missing or fails.
pub fn make(workshop: &Workshop, bundle: &Path, folder: &Path, kind: ImageKind) -> Result<PathBuf> {
    let elf = workshop.hypervisor()?;
    match kind {
        ImageKind::Iso => grub::iso(workshop.project(), elf, bundle, folder),
        ImageKind::Uefi => loader::disk(workshop, "uefi", bundle, folder),
        ImageKind::Bios => loader::disk(workshop, "bios", bundle, folder),
        ImageKind::Pxe => {
            let served = folder.join("tftp");
            make_folder(&served)?;
            loader::tftp(workshop, bundle, &served)?;
            grub::pxe(workshop.project(), elf, bundle, &served)
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).map(drop).with_context(|| format!("cannot write {}", to.display()))
}

/// Copies the files of a folder that has no folders in it.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    make_folder(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", from.display()))?.path();
        if let Some(name) = path.file_name() {
            copy(&path, &to.join(name))?;
        }
    }
    Ok(())
}
