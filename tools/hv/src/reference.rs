//! Making Linux hosts with KVM: the reference of the bench, whose one program runs the
//! bare-metal guest that measures Bulkhead too, and the host of the monitor, which has Bulkhead's device models.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::image;
use crate::payload;
use crate::process;
use crate::progress::Step;
use crate::project::Project;
use crate::workshop::Workshop;

/// The package of the bench's program.
const PACKAGE: &str = "kvm-reference";
/// The package of the monitor.
const MONITOR: &str = "monitor";

/// The files that the host boots with.
pub struct Host {
    /// Debian's kernel.
    pub kernel: PathBuf,
    /// The initial file system: the program, KVM's modules, the guest.
    pub initrd: PathBuf,
}

impl Host {
    /// Makes a CD image of them in `folder`, for an emulator whose machine needs one to boot.
    ///
    /// # Errors
    /// When GRUB is missing and cannot be installed, or fails.
    pub fn image(&self, workshop: &Workshop, folder: &Path) -> Result<PathBuf> {
        let command_line = lab::reference::COMMAND_LINE;
        image::linux(workshop.project(), &self.kernel, &self.initrd, command_line, folder)
    }
}

/// Makes the host's files in `folder`.
///
/// # Errors
/// When something cannot be built or fetched.
pub fn prepare(workshop: &Workshop, folder: &Path) -> Result<Host> {
    let project = workshop.project();
    let program = build(project, PACKAGE)?;
    let kernel = payload::prepare(project, false)?.join(payload::FULL_KERNEL);
    let initrd = folder.join("reference.cpio");
    payload::host_archive(project, &program, workshop.testguest()?, &initrd)?;
    Ok(Host { kernel, initrd })
}

/// Makes the files of a host that has the monitor run a Linux guest.
///
/// # Errors
/// When something cannot be built or fetched.
pub fn prepare_monitor(project: &Project) -> Result<Host> {
    let program = build(project, MONITOR)?;
    let kernel = payload::prepare(project, false)?.join(payload::FULL_KERNEL);
    let initrd = project.output().join("monitor-host.cpio");
    payload::monitor_host_archive(project, &program, &initrd)?;
    Ok(Host { kernel, initrd })
}

/// Where QEMU and its firmware are in the host that gives functions to a guest.
const QEMU_FOLDER: &str = "qemu";
/// What QEMU reads to start a guest's kernel.
const QEMU_FIRMWARE: [&str; 4] = ["bios-256k.bin", "linuxboot_dma.bin", "multiboot_dma.bin", "kvmvapic.bin"];
/// Where Debian has them.
const FIRMWARE_FOLDERS: [&str; 2] = ["/usr/share/qemu", "/usr/share/seabios"];

/// Makes the files of a host that gives drives and NICs to the bench's guests by KVM, with the QEMU that is
/// installed here.
///
/// # Errors
/// When something cannot be fetched, read or written.
pub fn prepare_vfio(workshop: &Workshop, folder: &Path) -> Result<Host> {
    let project = workshop.project();
    let testguest = workshop.testguest()?;
    let step = Step::start("packing a Linux host with KVM");
    let qemu = qemu_files(workshop.qemu()?.program())?;
    let initrd = folder.join("vfio-host.cpio");
    payload::vfio_host_archive(project, &qemu, testguest, &initrd)?;
    step.done("");
    Ok(Host { kernel: payload::prepare(project, false)?.join(payload::FULL_KERNEL), initrd })
}

/// A program with the libraries that it loads, each at its place, and its firmware.
fn qemu_files(program: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let name = program.file_name().and_then(|name| name.to_str()).context("QEMU has no name")?;
    let mut files = vec![(format!("{QEMU_FOLDER}/{name}"), read(program)?)];
    let loaded = process::output(Command::new("ldd").arg(program))?;
    for library in loaded.lines().filter_map(library) {
        files.push((library.trim_start_matches('/').to_owned(), read(Path::new(library))?));
    }
    for name in QEMU_FIRMWARE {
        let found =
            FIRMWARE_FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
        let path = found.with_context(|| format!("QEMU's {name} is not where Debian has it"))?;
        files.push((format!("{QEMU_FOLDER}/{name}"), read(&path)?));
    }
    Ok(files)
}

/// The file in a line of ldd's: `NAME => FILE (ADDRESS)`, or the loader's `FILE (ADDRESS)`.
fn library(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| word.starts_with('/'))
}

/// Builds a program for this machine's own kind of Linux, with everything it needs inside: the
/// host that runs it has no libraries.
fn build(project: &Project, package: &str) -> Result<PathBuf> {
    let mut step = Step::start(format!("building {package}"));
    let target = host_target()?;
    let target_folder = project.output().join("static");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(project.root())
        .args(["build", "--release", "--package", package, "--target", &target])
        .arg("--target-dir")
        .arg(&target_folder)
        .arg("--config")
        .arg(format!("target.{target}.rustflags=[\"-Ctarget-feature=+crt-static\"]"))
        // These would stand in for the flags above.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    process::run(&mut cargo, &mut step)?;
    let program = target_folder.join(&target).join("release").join(package);
    ensure!(program.is_file(), "cargo built {package} and left no {}", program.display());
    step.done("");
    Ok(program)
}

/// The target that the toolchain at hand builds for by itself.
fn host_target() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = process::output(Command::new(rustc).arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc does not say what it builds for")?;
    ensure!(
        host.starts_with("x86_64-") && host.contains("linux"),
        "hosts with KVM are made on x86-64 Linux only, and this is {host}; --no-reference leaves the bench's out"
    );
    Ok(host.to_owned())
}
