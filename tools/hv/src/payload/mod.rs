//! The Linux payload: Debian's kernels, and initial file systems made of busybox, kernel
//! modules and the scripts of `tools/guests/linux`.

mod archives;
mod cpio;
mod drive;
mod modules;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use crate::debian::{Candidate, Debian};
use crate::progress::Step;
use crate::project::{Project, make_folder};

/// Raise when the recipe changes in a way that its inputs do not show.
const RECIPE: u32 = 6;

/// The file of Debian's full kernel.
pub const FULL_KERNEL: &str = "vmlinuz";
/// The file of Debian's kernel for virtual machines.
const CLOUD_KERNEL: &str = "vmlinuz-cloud";

/// Meta packages that depend on the newest kernel, and what their kernels are called here.
const KERNELS: [Kernel; 2] = [
    Kernel { meta: "linux-image-amd64", file: FULL_KERNEL, folder: "full" },
    Kernel { meta: "linux-image-cloud-amd64", file: CLOUD_KERNEL, folder: "cloud" },
];

/// The kernel series that the guests are tried with; backports offer newer ones.
const SERIES: &str = "linux-image-6.1.";

struct Kernel {
    meta: &'static str,
    file: &'static str,
    folder: &'static str,
}

/// Makes the payload if it is not there yet, and gives its folder. With `update`, looks for
/// newer packages even if it is.
///
/// # Errors
/// When packages cannot be fetched or hold something else than expected.
pub fn prepare(project: &Project, update: bool) -> Result<PathBuf> {
    let folder = project.payload();
    let scripts = archives::Scripts::read(&project.root().join("tools/guests/linux"))?;
    let stamp = folder.join("stamp");
    // The scripts are part of the stamp, so that editing one is enough.
    let recipe = format!("{RECIPE} {}", scripts.fingerprint());
    let current = std::fs::read_to_string(&stamp).is_ok_and(|text| text == recipe);
    if current && !update && outputs().all(|file| folder.join(file).is_file()) {
        return Ok(folder);
    }
    make_folder(&folder)?;
    let unpacked = unpack(project)?;
    build(project, &folder, &unpacked, &scripts)?;
    // Last: a build that was interrupted is made again.
    write(&stamp, recipe.as_bytes())?;
    Ok(folder)
}

/// Every file of the payload.
pub fn outputs() -> impl Iterator<Item = &'static str> {
    KERNELS.iter().map(|kernel| kernel.file).chain(archives::NAMES).chain([drive::NAME])
}

/// Makes the initial file system of the bench's reference at `output`: `program` as the host's
/// first, the modules of KVM, and `guest`.
///
/// # Errors
/// When packages cannot be fetched, or a file cannot be read or written.
pub fn host_archive(project: &Project, program: &Path, guest: &Path, output: &Path) -> Result<()> {
    let unpacked = project.output().join("unpacked").join("full");
    let full = match unpacked.is_dir() {
        true => unpacked,
        false => unpack(project)?.kernels.into_iter().next().context("no kernel was unpacked")?,
    };
    let modules = only_entry(&full.join("lib/modules"), "")?;
    write(output, &archives::host(&read(program)?, &read(guest)?, &modules)?)
}

/// Makes the initial file system of a host that gives drives and NICs to the bench's guests by KVM, at
/// `output`. `qemu` are the files of the emulator that runs the guests there, `testguest` is one of them.
///
/// # Errors
/// As `host_archive`.
pub fn vfio_host_archive(
    project: &Project,
    qemu: &[(String, Vec<u8>)],
    testguest: &Path,
    output: &Path,
) -> Result<()> {
    let folder = prepare(project, false)?;
    let scripts = archives::Scripts::read(&project.root().join("tools/guests/linux"))?;
    let unpacked = unpack(project)?;
    let parts = archives::VfioHost {
        qemu,
        kernel: &read(&folder.join(FULL_KERNEL))?,
        initrd: &read(&folder.join("bench.cpio"))?,
        testguest: &read(testguest)?,
    };
    write(output, &archives::vfio_host(&parts, &ingredients(&unpacked)?, &scripts)?)
}

/// Makes the initial file system of a host that has the monitor `program` run a Linux guest, at `output`.
///
/// # Errors
/// As `host_archive`.
pub fn monitor_host_archive(project: &Project, program: &Path, output: &Path) -> Result<()> {
    let folder = prepare(project, false)?;
    let scripts = archives::Scripts::read(&project.root().join("tools/guests/linux"))?;
    let unpacked = unpack(project)?;
    let mut files = vec![("monitor", read(program)?)];
    for name in [CLOUD_KERNEL, "shell.cpio", drive::NAME] {
        files.push((name, read(&folder.join(name))?));
    }
    write(output, &archives::monitor_host(&files, &ingredients(&unpacked)?, &scripts)?)
}

/// The unpacked packages.
struct Unpacked {
    /// One folder per entry of `KERNELS`.
    kernels: Vec<PathBuf>,
    busybox: PathBuf,
}

fn unpack(project: &Project) -> Result<Unpacked> {
    let debian = Debian::open(project).context(
        "the guests of the examples are made of Debian's kernels; \
         other kernels can be put beside a configuration",
    )?;
    let parent = project.output().join("unpacked");
    let mut kernels = Vec::new();
    for kernel in &KERNELS {
        let package = debian.first_dependency(kernel.meta, of_series)?;
        kernels.push(unpack_one(&debian, &package, &parent.join(kernel.folder))?);
    }
    let busybox = unpack_one(&debian, "busybox-static", &parent.join("busybox"))?;
    Ok(Unpacked { kernels, busybox })
}

fn of_series(candidate: &Candidate) -> bool {
    candidate.depends.starts_with(SERIES)
}

/// Unpacks `package` unless just this file is unpacked already.
fn unpack_one(debian: &Debian, package: &str, folder: &Path) -> Result<PathBuf> {
    let deb = debian.download(package, |_| true)?;
    let stamp = folder.with_extension("stamp");
    let name = deb.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if folder.is_dir() && std::fs::read_to_string(&stamp).is_ok_and(|text| text == name) {
        return Ok(folder.to_path_buf());
    }
    Debian::unpack(&deb, folder)?;
    write(&stamp, name.as_bytes())?;
    Ok(folder.to_path_buf())
}

fn build(project: &Project, folder: &Path, unpacked: &Unpacked, scripts: &archives::Scripts) -> Result<()> {
    let step = Step::start("building the guests' initial file systems");
    for (kernel, source) in KERNELS.iter().zip(&unpacked.kernels) {
        let image = only_entry(&source.join("boot"), "vmlinuz-")?;
        std::fs::copy(&image, folder.join(kernel.file))
            .with_context(|| format!("cannot copy {}", image.display()))?;
    }
    let ingredients = ingredients(unpacked)?;
    for name in archives::NAMES {
        write(&folder.join(name), &archives::build(name, &ingredients, scripts)?)?;
    }
    drive::build(project, folder)?;
    step.done("");
    Ok(())
}

fn ingredients(unpacked: &Unpacked) -> Result<archives::Ingredients> {
    let busybox = read(&unpacked.busybox.join("bin/busybox"))?;
    let modules = unpacked.kernels.iter().map(|kernel| only_entry(&kernel.join("lib/modules"), ""));
    let modules = modules.collect::<Result<Vec<_>>>()?;
    Ok(archives::Ingredients {
        busybox,
        modules,
        payload_hash: hash(&lab::http::payload()),
        drive_hash: hash(&drive::content()),
    })
}

/// SHA-256 in hexadecimal.
pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The one entry of `folder` whose name begins with `prefix`.
fn only_entry(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut found = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path());
    match (found.next(), found.next()) {
        (Some(path), None) => Ok(path),
        (None, _) => anyhow::bail!("no {prefix}* in {}", folder.display()),
        (Some(_), Some(_)) => anyhow::bail!("more than one {prefix}* in {}", folder.display()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_written_as_sha256sum_writes_it() {
        assert_eq!(hash(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn only_kernels_of_the_series_fit() {
        let candidate = |depends: &str| Candidate {
            package: String::new(),
            version: String::new(),
            architecture: String::new(),
            depends: depends.to_owned(),
        };
        assert!(of_series(&candidate("linux-image-6.1.0-56-amd64 (= 6.1.192-2)")));
        assert!(!of_series(&candidate("linux-image-6.12.95+deb12-amd64")));
    }
}
