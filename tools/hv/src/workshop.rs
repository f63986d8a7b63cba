//! Makes what a run needs, each thing once: emulator, hypervisor, guests, bundles, images.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lab::scenario::Models;
use lab::{Bochs, Qemu};

use crate::bochs;
use crate::config::{Shelves, Source};
use crate::debian::Debian;
use crate::kernel::{self, Profile};
use crate::pack::{self, Built};
use crate::payload;
use crate::progress::Step;
use crate::project::Project;
use crate::reference;
use crate::toolchain::Toolchain;

/// The name under which configurations find the bare-metal test guest.
const TEST_GUEST: &str = "testguest";

/// Makes things and keeps them.
pub struct Workshop {
    project: Project,
    profile: Profile,
    /// Where that runs in all configurations of which no table of its own says it.
    runs_in: Option<plan::RunsIn>,
    qemu: OnceCell<Qemu>,
    old_qemu: OnceCell<Qemu>,
    bochs: OnceCell<Bochs>,
    toolchain: OnceCell<Toolchain>,
    hypervisor: OnceCell<PathBuf>,
    program: OnceCell<PathBuf>,
    hostile: OnceCell<PathBuf>,
    testguest: OnceCell<PathBuf>,
}

impl Workshop {
    /// A workshop with nothing made yet, which builds bare-metal programs by `profile`.
    pub fn new(project: &Project, profile: Profile) -> Self {
        Self {
            project: project.clone(),
            profile,
            runs_in: None,
            qemu: OnceCell::new(),
            old_qemu: OnceCell::new(),
            bochs: OnceCell::new(),
            toolchain: OnceCell::new(),
            hypervisor: OnceCell::new(),
            program: OnceCell::new(),
            hostile: OnceCell::new(),
            testguest: OnceCell::new(),
        }
    }

    /// The same with this place in the hypervisor's table of each configuration.
    pub fn with_default_place(self, runs_in: Option<plan::RunsIn>) -> Self {
        Self { runs_in, ..self }
    }

    /// Puts that place into a configuration.
    pub fn place(&self, source: Source) -> Source {
        match self.runs_in {
            Some(place) => source.with_default_place(place),
            None => source,
        }
    }

    /// The folders.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// An emulator that is new enough, installed where that is allowed.
    ///
    /// # Errors
    /// When there is none and none can be installed.
    pub fn qemu(&self) -> Result<&Qemu> {
        once(&self.qemu, || {
            let missing = match Qemu::find() {
                Ok(qemu) => return Ok(qemu),
                Err(error) => error,
            };
            Debian::open(&self.project)
                .and_then(|debian| debian.install_qemu())
                .with_context(|| format!("{missing:#}"))?;
            Qemu::find()
        })
    }

    /// QEMU 7.2, unpacked beside the other: it alone remaps the IOAPIC's interrupts by
    /// AMD-Vi.
    ///
    /// # Errors
    /// When it cannot be fetched or does not run.
    pub fn old_qemu(&self) -> Result<&Qemu> {
        once(&self.old_qemu, || Debian::open(&self.project)?.old_qemu())
    }

    /// Bochs, for VT-x: built in the cache on the first call, or Debian's.
    ///
    /// # Errors
    /// When it can neither be built nor installed.
    pub fn bochs(&self) -> Result<&Bochs> {
        once(&self.bochs, || bochs::prepare(&self.project))
    }

    /// The toolchain of the bare machine.
    ///
    /// # Errors
    /// When there is none and none can be installed.
    pub fn toolchain(&self) -> Result<&Toolchain> {
        once(&self.toolchain, || Toolchain::prepare(&self.project))
    }

    /// The hypervisor's ELF.
    ///
    /// # Errors
    /// When it does not build.
    pub fn hypervisor(&self) -> Result<&PathBuf> {
        once(&self.hypervisor, || {
            kernel::build(&self.project, self.toolchain()?, kernel::HYPERVISOR, self.profile)
        })
    }

    /// What of the hypervisor goes into a bundle.
    ///
    /// # Errors
    /// When it does not build.
    fn built(&self) -> Result<Built<'_>> {
        let hypervisor = self.hypervisor()?;
        let program = once(&self.program, || kernel::program(hypervisor))?;
        Ok(Built { hypervisor, program })
    }

    /// The test guest's ELF.
    ///
    /// # Errors
    /// When it does not build.
    pub fn testguest(&self) -> Result<&PathBuf> {
        once(&self.testguest, || {
            kernel::build(&self.project, self.toolchain()?, kernel::TEST_GUEST, self.profile)
        })
    }

    /// Where the files that `config` names are: beside it, then among what is made here. Makes
    /// what it names and is not beside it.
    ///
    /// # Errors
    /// When something cannot be made.
    pub fn shelves(&self, config: &plan::Config, folder: &Path) -> Result<Shelves> {
        let beside = Shelves::new([folder.to_path_buf()]);
        let absent: Vec<&str> = named_files(config).filter(|name| beside.find(name).is_none()).collect();
        let mut folders = vec![folder.to_path_buf()];
        if payload::outputs().any(|made| absent.contains(&made)) {
            folders.push(payload::prepare(&self.project, false)?);
        }
        if absent.contains(&TEST_GUEST) {
            folders.extend(self.testguest()?.parent().map(Path::to_path_buf));
        }
        Ok(Shelves::new(folders))
    }

    /// Packs `source`, whose own files are in `folder`, into the bundle at `output`.
    ///
    /// # Errors
    /// When the configuration or a file that it names is not in order.
    pub fn pack(&self, source: &Source, folder: &Path, output: &Path) -> Result<()> {
        let (built, shelves) = (self.built()?, self.shelves(&source.config, folder)?);
        let step = Step::start(format!("packing {}", source.name));
        let bytes = pack::pack(source, &shelves, built, output)?;
        step.done(&format!("{} KiB", bytes / 1024));
        Ok(())
    }

    /// Says which tools are used.
    ///
    /// # Errors
    /// When one is missing and cannot be installed.
    pub fn prepare_tools(&self) -> Result<()> {
        let (toolchain, qemu) = (self.toolchain()?, self.qemu()?);
        let step = Step::start("tools");
        let (major, minor) = qemu.version();
        step.done(&format!("{}, QEMU {major}.{minor}", toolchain.describe()));
        Ok(())
    }
}

/// The files that a configuration names.
fn named_files(config: &plan::Config) -> impl Iterator<Item = &str> {
    config.guest.values().flat_map(|guest| {
        std::iter::once(&guest.kernel).chain(&guest.initrd).chain(&guest.modules).map(String::as_str)
    })
}

fn once<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(made) = cell.get() {
        return Ok(made);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}

impl lab::Workshop for Workshop {
    fn qemu(&self) -> Result<Qemu> {
        self.qemu().cloned()
    }

    fn old_qemu(&self) -> Result<Qemu> {
        self.old_qemu().cloned()
    }

    fn bochs(&self) -> Result<Bochs> {
        self.bochs().cloned()
    }

    fn hypervisor(&self) -> Result<PathBuf> {
        self.hypervisor().cloned()
    }

    fn testguest(&self) -> Result<PathBuf> {
        self.testguest().cloned()
    }

    fn monitor_host(&self) -> Result<(PathBuf, PathBuf)> {
        let host = reference::prepare_monitor(&self.project)?;
        Ok((host.kernel, host.initrd))
    }

    fn pack(&self, config: &str, models: Models, folder: &Path, bundle: &Path) -> Result<()> {
        let name = bundle.with_extension("toml");
        let source = self.place(Source::parse(config.to_owned(), name.display().to_string())?);
        // Quietly: a test is one line.
        let shelves = self.shelves(&source.config, folder)?;
        let built = self.built()?;
        let program = match models {
            Models::Own => built.program,
            Models::Hostile => once(&self.hostile, || {
                kernel::hostile_program(&self.project, self.toolchain()?, self.profile)
            })?,
        };
        pack::pack(&source, &shelves, Built { program, ..built }, bundle).map(drop)
    }

    fn image(&self, kind: lab::scenario::ImageKind, bundle: &Path, folder: &Path) -> Result<PathBuf> {
        crate::image::make(self, bundle, folder, kind.into())
    }

    fn root(&self) -> &Path {
        self.project.root()
    }
}
