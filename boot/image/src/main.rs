//! Makes one image: `image KIND HYPERVISOR BUNDLE OUTPUT`, KIND being `uefi`, `bios` or `pxe`.
//!
//! `cargo hv image` builds and runs this; the bundle becomes the loader's ramdisk.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use bootloader::DiskImageBuilder;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [kind, elf, bundle, output] = arguments.as_slice() else {
        bail!("expected KIND HYPERVISOR BUNDLE OUTPUT");
    };
    let mut image = DiskImageBuilder::new(PathBuf::from(elf));
    image.set_ramdisk(PathBuf::from(bundle));
    make(&image, &kind.to_string_lossy(), Path::new(output))
}

fn make(image: &DiskImageBuilder, kind: &str, output: &Path) -> Result<()> {
    match kind {
        #[cfg(feature = "uefi")]
        "uefi" => image.create_uefi_image(output),
        #[cfg(feature = "uefi")]
        "pxe" => image.create_uefi_tftp_folder(output),
        #[cfg(feature = "bios")]
        "bios" => image.create_bios_image(output),
        _ => bail!("this build makes no image of kind {kind}"),
    }
}
