//! Building the bare-metal programs: the hypervisor and the test guests.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::process;
use crate::program;
use crate::progress::Step;
use crate::project::Project;
use crate::toolchain::Toolchain;

/// The package of the hypervisor.
pub const HYPERVISOR: &str = "kernel";
/// The package of the program of compartments, which is built with the hypervisor.
const MODELS: &str = "models";
/// The package of the program that attacks from a compartment.
const HOSTILE: &str = "hostile";
/// The package of the bare-metal test guest.
pub const TEST_GUEST: &str = "testguest";

/// What cargo is told of the hypervisor's features for one with neither drivers nor models in ring 0.
pub const RING3_FEATURES: &[&str] = &["--no-default-features", "--features", "kernel/emulators"];

/// How a bare-metal program is built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// As it is shipped and tested: optimised across crates, which takes minutes.
    Release,
    /// For a run now and then: the same code, built in half the time.
    Everyday,
    /// For a real machine: as it is shipped, without what is known of emulators.
    Product,
    /// As it is shipped, with neither drivers nor models in ring 0; for a real machine where it says so.
    Ring3 {
        /// Without what is known of emulators.
        is_product: bool,
    },
    /// For the bench: as it is tested, and counting the instructions of a request by part.
    Metered,
}

impl Profile {
    /// Cargo's name for it, and for the folder of what it makes.
    const fn name(self) -> &'static str {
        match self {
            Self::Release | Self::Product | Self::Ring3 { .. } | Self::Metered => "release",
            Self::Everyday => "everyday",
        }
    }

    /// What cargo is told of a package's features.
    fn features(self, package: &str) -> &'static [&'static str] {
        let is_hypervisor = package == HYPERVISOR;
        match self {
            Self::Product if is_hypervisor => &["--no-default-features", "--features", "kernel/ring0"],
            Self::Product | Self::Ring3 { is_product: true } => &["--no-default-features"],
            Self::Ring3 { .. } if is_hypervisor => RING3_FEATURES,
            Self::Metered if is_hypervisor => &["--features", "kernel/metered"],
            Self::Release | Self::Everyday | Self::Ring3 { .. } | Self::Metered => &[],
        }
    }

    /// What a hypervisor's ELF is called beside that which is tested.
    const fn own_name(self) -> Option<&'static str> {
        match self {
            Self::Release | Self::Everyday | Self::Product => None,
            Self::Ring3 { .. } => Some("ring3"),
            Self::Metered => Some("metered"),
        }
    }
}

/// Builds `package` for the bare machine; gives the path of its ELF.
///
/// # Errors
/// When cargo fails; the error holds the compiler's messages.
pub fn build(project: &Project, toolchain: &Toolchain, package: &str, profile: Profile) -> Result<PathBuf> {
    let mut step = Step::start(format!("building {package}"));
    let target_folder = project.output().join("bare");
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(project.root())
        .args(["build", "--profile", profile.name(), "--package", package])
        .args(match package {
            HYPERVISOR => &["--package", MODELS][..],
            HOSTILE => &["--features", "hostile/program"],
            _ => &[],
        })
        .args(["--target", "x86_64-hv.json"])
        .arg("-Zbuild-std=core,alloc,compiler_builtins")
        .arg("-Zbuild-std-features=compiler-builtins-mem")
        .arg("-Zjson-target-spec")
        .arg("--target-dir")
        .arg(&target_folder)
        .arg("--config")
        .arg(extra_flags(project.root(), toolchain));
    cargo.args(profile.features(package));
    process::run(&mut cargo, &mut step)?;
    let mut elf = target_folder.join("x86_64-hv").join(profile.name()).join(package);
    ensure!(elf.is_file(), "cargo built {package} and left no {}", elf.display());
    if let Some(name) = profile.own_name().filter(|_| package == HYPERVISOR) {
        // Where it is now the next one expects what is tested.
        let other = elf.with_extension(name);
        std::fs::rename(&elf, &other).with_context(|| format!("cannot move {}", elf.display()))?;
        elf = other;
    }
    let size = std::fs::metadata(&elf).with_context(|| format!("cannot read {}", elf.display()))?.len();
    step.done(&format!("{} KiB with symbols", size / 1024));
    Ok(elf)
}

/// Where the program of compartments is that was built with the hypervisor whose ELF is at `hypervisor`, as it is in
/// a bundle.
///
/// # Errors
/// When what was built is none.
pub fn program(hypervisor: &Path) -> Result<PathBuf> {
    flatten(&hypervisor.with_file_name(MODELS))
}

/// Builds the program that attacks from a compartment; where it is, as it is in a bundle.
///
/// # Errors
/// When it does not build, or what was built is no program.
pub fn hostile_program(project: &Project, toolchain: &Toolchain, profile: Profile) -> Result<PathBuf> {
    flatten(&build(project, toolchain, HOSTILE, profile)?)
}

fn flatten(elf: &Path) -> Result<PathBuf> {
    let bytes = std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let program = program::flatten(&bytes).with_context(|| elf.display().to_string())?;
    let path = elf.with_extension("program");
    std::fs::write(&path, program).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Flags beyond those of `.cargo/config.toml`, as a cargo setting that is merged with them.
fn extra_flags(root: &Path, toolchain: &Toolchain) -> String {
    // Panic messages carry file names; a build must not tell where it was made.
    let remap = format!("--remap-path-prefix={}=.", root.display());
    let flags: Vec<String> = toolchain
        .rustc_flags()
        .iter()
        .copied()
        .chain(std::iter::once(remap.as_str()))
        .map(|flag| format!("{flag:?}"))
        .collect();
    format!("target.x86_64-hv.rustflags=[{}]", flags.join(","))
}
