//! Bochs, the machine with VT-x: built once from Debian's source package and kept in the cache.
//!
//! Debian 12's own Bochs 2.7 is four times slower and lacks parts of VT-x. The sources of a
//! newer release come through apt, which proves them by the archive's signature.

mod patches;

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::Bochs;

use crate::debian::Debian;
use crate::payload::hash;
use crate::process;
use crate::progress::Step;
use crate::project::{Project, make_folder};
use crate::toolchain::on_path;

/// The release whose source package is built, and the version that the patches are made for.
const RELEASE: &str = "trixie";
const VERSION: &str = "3.0";

/// Raise when the steps below change in a way that their inputs do not show.
const RECIPE: u32 = 1;

/// What the tests need (VT-x with all it has, AMD-V, PCI, several processors), without what
/// costs time at each instruction or needs a display. Its speed would be logged by a signal
/// handler, which waits for ever where the signal came amid a line of the log.
const CONFIGURATION: [&str; 20] = [
    "--enable-x86-64",
    "--enable-smp",
    "--enable-cpu-level=6",
    "--enable-vmx=2",
    "--enable-svm",
    "--enable-avx",
    "--enable-evex",
    "--enable-cet",
    "--enable-protection-keys",
    "--enable-memtype",
    "--enable-pci",
    "--enable-e1000",
    "--enable-all-optimizations",
    "--disable-debugger",
    "--disable-debugger-gui",
    "--disable-x86-debugger",
    "--disable-docbook",
    "--disable-plugins",
    "--disable-show-ips",
    "--with-nogui",
];

/// Optimised further than by default, which is worth a fifth.
const FLAGS: &str = "-O3";

/// Packages with the BIOS and the VGA BIOS, where they are in there, and how they are called
/// here.
const ROMS: [(&str, &str, &str); 2] = [
    ("bochsbios", "usr/share/bochs/BIOS-bochs-latest", "bios"),
    ("vgabios", "usr/share/vgabios/vgabios.bin", "vgabios"),
];

/// The emulator's program in its folder.
const PROGRAM: &str = "bochs";

/// Debian 12's own Bochs, and its display that needs no X server.
const PACKAGES: [&str; 4] = ["bochs", "bochs-term", "bochsbios", "vgabios"];

/// Bochs out of the cache; on the first call it is built, which takes one to three minutes.
/// Where that fails, Debian's own, with a line that says so.
///
/// # Errors
/// When it can neither be built nor installed.
pub fn prepare(project: &Project) -> Result<Bochs> {
    let error = match built(project) {
        Ok(bochs) => return Ok(bochs),
        Err(error) => error,
    };
    if let Ok(found) = Bochs::find() {
        eprintln!("  !! Bochs {VERSION} cannot be built ({error:#}); using {found}");
        return Ok(found);
    }
    let installed = Debian::open(project).and_then(|debian| debian.install(&PACKAGES));
    match (installed, Bochs::find()) {
        (Ok(()), Ok(found)) => {
            eprintln!("  !! Bochs {VERSION} cannot be built ({error:#}); using {found}");
            Ok(found)
        }
        (Err(_), _) => Err(error.context(format!("Bochs {VERSION} cannot be built"))),
        (Ok(()), Err(missing)) => Err(missing.context(format!("{error:#}"))),
    }
}

/// The Bochs in the cache, built if it is not there.
fn built(project: &Project) -> Result<Bochs> {
    let parent = project.cache().join("bochs");
    let folder = parent.join(format!("{VERSION}-{}", key()));
    let found = || Bochs::at(&folder.join(PROGRAM), &folder.join(ROMS[0].2), &folder.join(ROMS[1].2));
    if folder.is_dir() {
        return found();
    }
    make_folder(&parent)?;
    let _lock = lock(&parent)?;
    if !folder.is_dir() {
        let partial = parent.join("partial");
        remove(&partial)?;
        make_folder(&partial)?;
        build(project, &parent.join("build"), &partial)?;
        // Last and at once: what is interrupted before is built again.
        std::fs::rename(&partial, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    found()
}

/// Names the recipe: whatever changes what comes out changes it.
fn key() -> String {
    let recipe =
        format!("{RECIPE} {RELEASE} {VERSION} {FLAGS} {CONFIGURATION:?} {ROMS:?} {:?}", patches::ALL);
    hash(recipe.as_bytes()).chars().take(12).collect()
}

/// Builds in `scratch`, which is removed, and leaves program and ROMs in `output`.
fn build(project: &Project, scratch: &Path, output: &Path) -> Result<()> {
    let debian = Debian::open(project)?;
    require_compiler(&debian)?;
    let tarball = debian.source_tarball("bochs", RELEASE, VERSION)?;
    let roms = ROMS.map(|(package, ..)| debian.download(package, |_| true));

    remove(scratch)?;
    make_folder(scratch)?;
    let mut step = Step::start(format!("building Bochs {VERSION} (minutes, once)"));
    process::run(
        Command::new("tar").arg("xf").arg(&tarball).args(["--strip-components=1", "-C"]).arg(scratch),
        &mut step,
    )?;
    patches::apply_all(scratch)?;
    compile(scratch, &mut step)?;
    copy(&scratch.join(PROGRAM), &output.join(PROGRAM))?;
    step.done("");

    for (deb, (package, path, name)) in roms.into_iter().zip(ROMS) {
        let unpacked = scratch.join(package);
        Debian::unpack(&deb?, &unpacked)?;
        copy(&unpacked.join(path), &output.join(name))?;
    }
    remove(scratch)
}

fn compile(sources: &Path, step: &mut Step) -> Result<()> {
    let mut configure = Command::new("./configure");
    configure.current_dir(sources).args(CONFIGURATION).env("CFLAGS", FLAGS).env("CXXFLAGS", FLAGS);
    process::run(&mut configure, step)?;
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut make = Command::new("make");
    // What this process was told about jobs is not for that make.
    make.current_dir(sources).arg(format!("-j{jobs}")).env_remove("MAKEFLAGS");
    process::run_briefly(&mut make, step, last_word)
}

/// The object file that a compiler's command line is about.
fn last_word(line: &str) -> &str {
    line.rsplit(' ').next().unwrap_or(line)
}

fn require_compiler(debian: &Debian) -> Result<()> {
    const TOOLS: [(&str, &str); 3] = [("g++", "g++"), ("make", "make"), ("xz", "xz-utils")];
    let missing: Vec<&str> =
        TOOLS.iter().filter(|(program, _)| !on_path(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() { Ok(()) } else { debian.install(&missing) }
}

/// Two checkouts at once would build in the same folder.
fn lock(parent: &Path) -> Result<File> {
    let path = parent.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if file.try_lock().is_err() {
        let step = Step::start("waiting for another `cargo hv` that builds Bochs");
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        step.done("");
    }
    Ok(file)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    ensure!(from.is_file(), "{} is missing", from.display());
    std::fs::copy(from, to).map(drop).with_context(|| format!("cannot write {}", to.display()))
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_a_folder_name() {
        assert_eq!(key().len(), 12);
        assert!(key().chars().all(|c| c.is_ascii_hexdigit()));
    }

    #[test]
    #[ignore = "builds an emulator where none is in the cache"]
    fn the_recipe_makes_an_emulator() {
        let project = Project::find().expect("this is a checkout");
        let bochs = built(&project).expect("it builds");
        assert_eq!(bochs.version(), (3, 0));
        assert!(bochs.lacks().is_empty());
    }

    #[test]
    fn progress_names_the_object() {
        assert_eq!(last_word("g++ -c -I.. -O3 vmx.cc -o vmx.o"), "vmx.o");
        assert_eq!(last_word("done"), "done");
    }
}
