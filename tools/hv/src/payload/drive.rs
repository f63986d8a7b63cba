//! The image of an emulated drive: a file system with one file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::write;
use crate::debian::Debian;
use crate::process;
use crate::project::Project;

/// The image, by the name that configurations use.
pub const NAME: &str = "drive.img";
/// Bytes of the file in it.
const FILE_BYTES: usize = 2 << 20;
/// Blocks of 1 KiB of the image.
const IMAGE_KIB: usize = 3 << 10;
/// Where the program is that makes file systems, which is on no user's path.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/bin"];

/// The program that makes file systems; installs it where it is missing.
fn program(project: &Project) -> Result<PathBuf> {
    let find = || FOLDERS.iter().map(|folder| Path::new(folder).join("mke2fs")).find(|path| path.is_file());
    if find().is_none() {
        Debian::open(project).and_then(|debian| debian.install(&["e2fsprogs"]))?;
    }
    find().context("there is no mke2fs, though e2fsprogs is installed")
}

/// The file's contents.
pub fn content() -> Vec<u8> {
    let mut bytes = lab::http::payload();
    bytes.truncate(FILE_BYTES);
    bytes
}

/// Makes the image in `folder`. The same input gives the same bytes.
///
/// # Errors
/// When `mke2fs` is missing and cannot be installed, or fails.
pub fn build(project: &Project, folder: &Path) -> Result<()> {
    let program = program(project)?;
    let root = folder.join("drive");
    let image = folder.join(NAME);
    std::fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    write(&root.join("data"), &content())?;
    // mke2fs keeps what is there.
    write(&image, &[])?;
    let arguments = ["-q", "-F", "-t", "ext2", "-b", "1024", "-L", "bulkhead", "-m", "0"];
    let mut command = Command::new(program);
    command
        .args(arguments)
        .args(["-U", "00000000-0000-0000-0000-000000000002"])
        .args(["-E", "root_owner=0:0,hash_seed=00000000-0000-0000-0000-000000000001", "-d"])
        .arg(&root)
        .arg(&image)
        .arg(OsString::from(IMAGE_KIB.to_string()))
        .env("SOURCE_DATE_EPOCH", "0");
    process::output(&mut command)?;
    std::fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))
}
