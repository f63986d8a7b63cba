//! The initial file systems: a script as `/init`, busybox, and modules in load order.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cpio::Archive;
use super::modules::Modules;

/// The archives, by the names that configurations use.
pub const NAMES: [&str; 6] =
    ["net.cpio", "disk.cpio", "appliance.cpio", "shell.cpio", "bench.cpio", "display.cpio"];

/// Drivers by archive. `crc32c_generic` is what ext4 asks for by an alias only.
const NET: [&str; 5] = ["e1000e", "e1000", "virtio_pci", "virtio_net", "ne2k-pci"];
const DISK: [&str; 5] = ["nvme", "virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];
/// What IDE disks need: `shell.cpio` and `appliance.cpio` load it where they are told to.
const IDE: [&str; 2] = ["sd_mod", "ata_piix"];
/// What random numbers and consoles need: `shell.cpio` has it.
const CHARACTER: [&str; 2] = ["virtio-rng", "virtio_console"];
/// What displays need: `display.cpio` loads it where text was seen. The cloud kernel has none of it.
const DISPLAY: [&str; 1] = ["bochs"];
/// What reads MSRs, one of which counts exits.
const COUNT: [&str; 1] = ["msr"];
/// Both vendors': the host has one of them.
const KVM: [&str; 2] = ["kvm_amd", "kvm_intel"];
/// What gives a function to a guest of KVM's, or drives it and gives what is like it.
const KVM_HOST: [&str; 8] =
    ["kvm_amd", "vfio_iommu_type1", "vfio-pci", "nvme", "e1000e", "tun", "bridge", "vhost_net"];

/// What the monitor's host needs: emulators that run Linux twice have AMD-V.
const MONITOR_HOST: [&str; 1] = ["kvm_amd"];

/// Everything an archive is made of but the scripts.
pub struct Ingredients {
    /// The static program.
    pub busybox: Vec<u8>,
    /// `lib/modules/VERSION` of each kernel, the full one first: the others have fewer drivers.
    pub modules: Vec<PathBuf>,
    /// SHA-256 of the file that the guest `net` fetches.
    pub payload_hash: String,
    /// SHA-256 of the file on the drive's image.
    pub drive_hash: String,
}

/// The scripts of `tools/guests/linux`.
pub struct Scripts {
    files: Vec<(&'static str, Vec<u8>)>,
}

impl Scripts {
    /// What the first program of an archive is made of.
    const PARTS: [&'static str; 5] = ["lib.sh", "measure.sh", "drives.sh", "network.sh", "faults.sh"];
    const FILES: [&'static str; 14] = [
        "lib.sh",
        "measure.sh",
        "drives.sh",
        "network.sh",
        "faults.sh",
        "lease.sh",
        "net.sh",
        "disk.sh",
        "appliance.sh",
        "shell.sh",
        "bench.sh",
        "host.sh",
        "monitor.sh",
        "display.sh",
    ];

    /// Reads them.
    ///
    /// # Errors
    /// When one is missing.
    pub fn read(folder: &Path) -> Result<Self> {
        let read = |name: &'static str| Ok((name, super::read(&folder.join(name))?));
        Ok(Self { files: Self::FILES.into_iter().map(read).collect::<Result<_>>()? })
    }

    /// A hash over all of them.
    pub fn fingerprint(&self) -> String {
        let all: Vec<u8> = self.files.iter().flat_map(|(_, content)| content.iter().copied()).collect();
        super::hash(&all)
    }

    fn get(&self, name: &str) -> Result<&[u8]> {
        let found = self.files.iter().find(|(known, _)| *known == name);
        found.map(|(_, content)| content.as_slice()).with_context(|| format!("no script {name}"))
    }
}

/// What a host needs to give functions to a guest of KVM's.
pub struct VfioHost<'a> {
    /// QEMU: its program, the libraries at their places, and its firmware.
    pub qemu: &'a [(String, Vec<u8>)],
    /// The guest's kernel.
    pub kernel: &'a [u8],
    /// The guest's initial file system.
    pub initrd: &'a [u8],
    /// The bare-metal guest.
    pub testguest: &'a [u8],
}

/// Makes the archive of such a host.
///
/// # Errors
/// As `build`.
pub fn vfio_host(parts: &VfioHost<'_>, ingredients: &Ingredients, scripts: &Scripts) -> Result<Vec<u8>> {
    let mut archive = begin(ingredients, scripts, "host.sh", &KVM_HOST)?;
    for (path, content) in parts.qemu {
        archive.file(path, 0o755, content);
    }
    archive.file("vmlinuz", 0o644, parts.kernel);
    archive.file("bench.cpio", 0o644, parts.initrd);
    archive.file("testguest", 0o644, parts.testguest);
    Ok(archive.finish())
}

/// Makes the archive of a host that runs the monitor, which is one of `files`, with a Linux guest.
///
/// # Errors
/// As `build`.
pub fn monitor_host(
    files: &[(&str, Vec<u8>)],
    ingredients: &Ingredients,
    scripts: &Scripts,
) -> Result<Vec<u8>> {
    let mut archive = begin(ingredients, scripts, "monitor.sh", &MONITOR_HOST)?;
    for (path, content) in files {
        archive.file(path, 0o755, content);
    }
    Ok(archive.finish())
}

/// Makes the archive `name`.
///
/// # Errors
/// When the kernel lacks a module or a module cannot be read.
pub fn build(name: &str, ingredients: &Ingredients, scripts: &Scripts) -> Result<Vec<u8>> {
    let (drivers, init): (Vec<&str>, &str) = match name {
        "net.cpio" => (NET.to_vec(), "net.sh"),
        "disk.cpio" => ([&DISK[..], &COUNT[..]].concat(), "disk.sh"),
        "appliance.cpio" => ([&NET[..], &DISK[..], &COUNT[..]].concat(), "appliance.sh"),
        "display.cpio" => (Vec::new(), "display.sh"),
        "bench.cpio" => ([&NET[..], &DISK[..], &COUNT[..]].concat(), "bench.sh"),
        _ => ([&NET[..], &DISK[..], &CHARACTER[..]].concat(), "shell.sh"),
    };
    let mut archive = begin(ingredients, scripts, init, &drivers)?;
    if init == "display.sh" {
        let folder = ingredients.modules.first().context("there is no kernel")?;
        let into = format!("lib/display/{}", version(folder)?);
        add_modules(&mut archive, &Modules::list(folder)?, &DISPLAY, &into)?;
    }
    if matches!(init, "shell.sh" | "appliance.sh") {
        for folder in &ingredients.modules {
            add_modules(
                &mut archive,
                &Modules::list(folder)?,
                &IDE,
                &format!("lib/ide/{}", version(folder)?),
            )?;
        }
    }
    Ok(archive.finish())
}

/// An archive with busybox, the script `init` and what it needs, and modules.
fn begin(ingredients: &Ingredients, scripts: &Scripts, init: &str, drivers: &[&str]) -> Result<Archive> {
    let mut archive = Archive::new();
    for folder in ["proc", "sys", "dev", "run"] {
        archive.directory(folder);
    }
    add_console(&mut archive);
    archive.file("bin/busybox", 0o755, &ingredients.busybox);
    archive.link("bin/sh", "busybox");
    archive.file("init", 0o755, scripts.get(init)?);
    for part in Scripts::PARTS {
        archive.file(part, 0o644, scripts.get(part)?);
    }
    archive.file("lease.sh", 0o755, scripts.get("lease.sh")?);
    archive.file("payload.sha256", 0o644, ingredients.payload_hash.as_bytes());
    archive.file("drive.sha256", 0o644, ingredients.drive_hash.as_bytes());
    for (index, folder) in ingredients.modules.iter().enumerate() {
        let into = format!("lib/modules/{}", version(folder)?);
        let modules = Modules::list(folder)?;
        let known = drivers.iter().copied().filter(|driver| index == 0 || modules.has(driver));
        add_modules(&mut archive, &modules, &known.collect::<Vec<_>>(), &into)?;
    }
    Ok(archive)
}

/// The version of the kernel that a folder of modules is of.
fn version(folder: &Path) -> Result<&str> {
    folder.file_name().and_then(|name| name.to_str()).context("the kernel has no version")
}

/// Makes the archive of a host that runs `guest` on KVM by `program`, with the kernel's modules in
/// `modules`.
///
/// # Errors
/// As `build`.
pub fn host(program: &[u8], guest: &[u8], modules: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    archive.directory("dev");
    add_console(&mut archive);
    // KVM's number is fixed (Documentation/admin-guide/devices.txt), so nothing need be mounted.
    archive.character_device("dev/kvm", 10, 232);
    archive.file("init", 0o755, program);
    archive.file("guest", 0o644, guest);
    add_modules(&mut archive, &Modules::list(modules)?, &KVM, "modules")?;
    Ok(archive.finish())
}

/// Linux opens /dev/console before /init can mount anything.
fn add_console(archive: &mut Archive) {
    archive.character_device("dev/console", 5, 1);
}

/// Numbered names keep the load order where whoever loads them sorts them.
fn add_modules(archive: &mut Archive, modules: &Modules, drivers: &[&str], into: &str) -> Result<()> {
    let order = modules.load_order(drivers)?;
    for (index, path) in order.iter().enumerate() {
        let name = path.file_name().and_then(|name| name.to_str()).context("a module has no name")?;
        let content = super::read(path)?;
        archive.file(&format!("{into}/{index:02}-{name}"), 0o644, &content);
    }
    Ok(())
}
