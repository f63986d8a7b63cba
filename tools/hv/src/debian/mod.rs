//! Debian's packages, through an apt configuration of our own: the machine's archives and keys,
//! but private lists and cache, and backports. Nothing under /etc or /var/lib/apt changes.

mod apt;
mod old_qemu;
mod sources;
mod version;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use self::sources::Source;
use crate::process;
use crate::progress::Step;
use crate::project::{Project, make_folder};

/// The release whose kernels and packages the project is tried with.
const RELEASE: &str = "bookworm";
const BACKPORTS: &str = "bookworm-backports";

/// Package lists younger than this are used as they are.
const LISTS_FRESH: Duration = Duration::from_secs(24 * 3600);

/// QEMU with the machine that the tests use; older ones lack parts of its IOMMU model.
const QEMU_PACKAGES: [&str; 2] = ["qemu-system-x86", "ovmf"];

/// Debian's archives, ready to be asked.
pub struct Debian {
    folder: PathBuf,
    /// The machine's main archive.
    main: Source,
}

impl Debian {
    /// Prepares the private apt configuration; touches no network.
    ///
    /// # Errors
    /// When this machine does not run Debian 12, or names no archive of it.
    pub fn open(project: &Project) -> Result<Self> {
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let codename = os_release_value(&release, "VERSION_CODENAME").unwrap_or_default();
        ensure!(
            codename == RELEASE,
            "packages are fetched on Debian 12 ({RELEASE}) only, this is {}",
            os_release_value(&release, "PRETTY_NAME").unwrap_or_else(|| "something else".to_owned())
        );
        let mut found = sources::of_machine(Path::new("/etc/apt"), RELEASE);
        let Some(main) = found.iter().find(|source| source.suite == RELEASE).cloned() else {
            bail!(
                "no archive of {RELEASE} with the component main in /etc/apt/sources.list or sources.list.d"
            );
        };
        if !found.iter().any(|source| source.suite == BACKPORTS) {
            found.push(main.with_suite(BACKPORTS));
        }
        let folder = project.cache().join("apt");
        apt::write_configuration(&folder, &found)?;
        Ok(Self { folder, main })
    }

    /// Downloads the newest version of `package` whose dependencies satisfy `wanted`, and gives
    /// the path of its `.deb`. `wanted` sees the version and the `Depends` field.
    ///
    /// # Errors
    /// When no version fits or the archive cannot be reached.
    pub fn download(&self, package: &str, wanted: impl Fn(&Candidate) -> bool) -> Result<PathBuf> {
        let _lock = self.lock()?;
        self.refresh()?;
        let candidate = self.newest(package, wanted)?;
        let file = self.folder.join("debs").join(candidate.file_name());
        if file.is_file() {
            return Ok(file);
        }
        let mut step = Step::start(format!("fetching {package} {}", candidate.version));
        let partial = self.folder.join("partial");
        make_folder(&partial)?;
        apt::retry(&mut step, |step| {
            let mut command = apt::command(&self.folder, "apt-get");
            command.current_dir(&partial).args(["download", &candidate.pinned()]);
            process::run(&mut command, step)
        })?;
        let fetched = partial.join(candidate.file_name());
        ensure!(fetched.is_file(), "apt-get downloaded {package} and left no {}", fetched.display());
        make_folder(&self.folder.join("debs"))?;
        std::fs::rename(&fetched, &file).with_context(|| format!("cannot keep {}", file.display()))?;
        step.done("");
        Ok(file)
    }

    /// What the newest fitting version of the meta package `package` depends on first.
    ///
    /// # Errors
    /// As `download`.
    pub fn first_dependency(&self, package: &str, wanted: impl Fn(&Candidate) -> bool) -> Result<String> {
        let _lock = self.lock()?;
        self.refresh()?;
        let candidate = self.newest(package, wanted)?;
        let first = candidate.depends.split([',', ' ', '|']).next().unwrap_or_default();
        ensure!(!first.is_empty(), "{package} {} depends on nothing", candidate.version);
        Ok(first.to_owned())
    }

    /// The `Depends` field of the newest version of `package`.
    fn depends_of(&self, package: &str) -> Result<String> {
        let _lock = self.lock()?;
        self.refresh()?;
        Ok(self.newest(package, |_| true)?.depends)
    }

    /// Downloads the upstream tarball of the newest source package in `release` whose version
    /// begins with `version`, and gives its path. apt checks it against the archive's signature.
    ///
    /// # Errors
    /// When there is none or the archive cannot be reached.
    pub fn source_tarball(&self, package: &str, release: &str, version: &str) -> Result<PathBuf> {
        // A state of its own: the binary packages of another release shall never be candidates.
        let sources = Self { folder: self.folder.join(release), main: self.main.with_suite(release) };
        apt::write_configuration(&sources.folder, &[sources.main.of_sources()])?;
        let _lock = sources.lock()?;
        sources.refresh()?;
        let text = process::output(apt::command(&sources.folder, "apt-cache").args([
            "showsrc",
            "--only-source",
            package,
        ]))?;
        let found = newest_source(&text, version)
            .with_context(|| format!("{release} has no source package {package} {version}"))?;
        let folder = sources.folder.join("sources-of").join(package);
        make_folder(&folder)?;
        let mut step = Step::start(format!("fetching the sources of {package} {found}"));
        apt::retry(&mut step, |step| {
            let mut command = apt::command(&sources.folder, "apt-get");
            command.current_dir(&folder).args(["source", "--tar-only", "--download-only"]);
            process::run(command.arg(format!("{package}={found}")), step)
        })?;
        step.done("");
        let name = tarball_prefix(package, &found);
        std::fs::read_dir(&folder)
            .with_context(|| format!("cannot list {}", folder.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&name)))
            .with_context(|| format!("apt-get left no {name}* in {}", folder.display()))
    }

    /// Installs QEMU 10 and the UEFI firmware.
    ///
    /// # Errors
    /// As `install`.
    pub fn install_qemu(&self) -> Result<()> {
        self.install_from(&["-t", BACKPORTS], &QEMU_PACKAGES)
    }

    /// Installs `packages` on the machine.
    ///
    /// # Errors
    /// Without the right to install, the error holds the line to type; otherwise apt's own words.
    pub fn install(&self, packages: &[&str]) -> Result<()> {
        self.install_from(&[], packages)
    }

    fn install_from(&self, release: &[&str], packages: &[&str]) -> Result<()> {
        let _lock = self.lock()?;
        self.refresh()?;
        let Some(mut command) = apt::privileged(&self.folder) else {
            let mut line = apt::command(&self.folder, "apt-get");
            line.args(apt::INSTALL).args(release).args(packages);
            bail!("not root, and sudo asks for a password. Type:\n    sudo {}", process::show(&line));
        };
        let mut step = Step::start(format!("installing {}", packages.join(", ")));
        command.args(apt::INSTALL).args(release).args(packages);
        apt::retry(&mut step, |step| process::run(&mut command, step))?;
        step.done("");
        Ok(())
    }

    /// Unpacks a `.deb` into `folder`, which is replaced.
    ///
    /// # Errors
    /// When dpkg refuses.
    pub fn unpack(deb: &Path, folder: &Path) -> Result<()> {
        if folder.exists() {
            std::fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        Self::unpack_into(deb, folder)
    }

    /// Unpacks a `.deb` into `folder`, to what is there.
    ///
    /// # Errors
    /// When dpkg refuses.
    pub fn unpack_into(deb: &Path, folder: &Path) -> Result<()> {
        make_folder(folder)?;
        let name = deb.file_name().unwrap_or_default().to_string_lossy();
        let mut step = Step::start(format!("unpacking {name}"));
        process::run(Command::new("dpkg").arg("-x").arg(deb).arg(folder), &mut step)?;
        step.done("");
        Ok(())
    }

    /// Two apt-get at once break each other, also those of two checkouts: one lock for the cache.
    fn lock(&self) -> Result<File> {
        let path = self.folder.join("lock");
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        if file.try_lock().is_err() {
            let step = Step::start("waiting for another `cargo hv` that fetches packages");
            file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
            step.done("");
        }
        Ok(file)
    }

    /// Fetches the package lists if they are old.
    fn refresh(&self) -> Result<()> {
        let stamp = self.folder.join("lists.stamp");
        // The configuration is part of the stamp: new archives need new lists.
        let configuration = apt::read_sources(&self.folder)?;
        let age = std::fs::metadata(&stamp)
            .and_then(|meta| meta.modified())
            .ok()
            .and_then(|written| SystemTime::now().duration_since(written).ok());
        let same = std::fs::read_to_string(&stamp).is_ok_and(|text| text == configuration);
        if same && age.is_some_and(|age| age < LISTS_FRESH) {
            return Ok(());
        }
        let mut step = Step::start("fetching Debian's package lists");
        apt::retry(&mut step, |step| {
            let mut command = apt::command(&self.folder, "apt-get");
            // By default apt calls an archive that did not answer a warning and succeeds.
            process::run(command.args(["update", "--error-on=any"]), step)
        })?;
        std::fs::write(&stamp, configuration).with_context(|| format!("cannot write {}", stamp.display()))?;
        step.done("");
        Ok(())
    }

    fn newest(&self, package: &str, wanted: impl Fn(&Candidate) -> bool) -> Result<Candidate> {
        let text = process::output(apt::command(&self.folder, "apt-cache").args(["show", package]))
            .with_context(|| format!("Debian has no package {package}"))?;
        newest(parse_candidates(&text), wanted)
            .with_context(|| format!("no version of {package} in Debian's archives fits"))
    }
}

/// One version of a package that the archives offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Name of the binary package.
    pub package: String,
    /// Version with epoch and revision.
    pub version: String,
    /// Architecture, `all` included.
    pub architecture: String,
    /// The field `Depends`, as it is written.
    pub depends: String,
}

impl Candidate {
    fn pinned(&self) -> String {
        format!("{}={}", self.package, self.version)
    }

    /// The name that `apt-get download` gives the file: a colon is not welcome in file names.
    fn file_name(&self) -> String {
        format!("{}_{}_{}.deb", self.package, self.version.replace(':', "%3a"), self.architecture)
    }
}

fn newest(candidates: Vec<Candidate>, wanted: impl Fn(&Candidate) -> bool) -> Option<Candidate> {
    candidates.into_iter().filter(wanted).max_by(|a, b| version::compare(&a.version, &b.version))
}

fn field(stanza: &str, name: &str) -> Option<String> {
    let mut fields = stanza.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
}

/// The newest version beginning with `version` that `apt-cache showsrc` tells of.
fn newest_source(text: &str, version: &str) -> Option<String> {
    text.split("\n\n")
        .filter_map(|stanza| field(stanza, "Version"))
        .filter(|found| found.strip_prefix(version).is_some_and(|rest| rest.starts_with(['+', '-', '.'])))
        .max_by(|a, b| version::compare(a, b))
}

/// How the upstream tarball's name begins: neither epoch nor revision are in it.
fn tarball_prefix(package: &str, version: &str) -> String {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let upstream = version.rsplit_once('-').map_or(version, |(upstream, _)| upstream);
    format!("{package}_{upstream}.orig.tar.")
}

fn parse_candidates(text: &str) -> Vec<Candidate> {
    text.split("\n\n")
        .filter_map(|stanza| {
            Some(Candidate {
                package: field(stanza, "Package")?,
                version: field(stanza, "Version")?,
                architecture: field(stanza, "Architecture")?,
                depends: field(stanza, "Depends").unwrap_or_default(),
            })
        })
        .collect()
}

fn os_release_value(text: &str, name: &str) -> Option<String> {
    let (_, value) = text.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| *key == name)?;
    Some(value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "\
Package: linux-image-amd64
Architecture: amd64
Version: 6.12.95-1~bpo12+1
Depends: linux-image-6.12.95+deb12-amd64 (= 6.12.95-1~bpo12+1)
Description: meta package
 with: a colon

Package: linux-image-amd64
Architecture: amd64
Version: 6.1.176-1
Depends: linux-image-6.1.0-50-amd64 (= 6.1.176-1)

Package: linux-image-amd64
Architecture: amd64
Version: 6.1.192-2
Depends: linux-image-6.1.0-56-amd64 (= 6.1.192-2)
";

    #[test]
    fn the_newest_fitting_version_is_taken() {
        let wanted = |candidate: &Candidate| candidate.depends.starts_with("linux-image-6.1.");
        let found = newest(parse_candidates(SHOWN), wanted).expect("two versions fit");
        assert_eq!(found.version, "6.1.192-2");
    }

    #[test]
    fn nothing_fitting_is_nothing() {
        assert_eq!(newest(parse_candidates(SHOWN), |c| c.version.starts_with("7.")), None);
    }

    #[test]
    fn a_source_package_is_of_the_version_that_was_asked_for() {
        let text = "Package: x\nVersion: 3.0+dfsg-1\n\nPackage: x\nVersion: 3.0+dfsg-2\n\n\
                    Package: x\nVersion: 3.01-1\n\nPackage: x\nVersion: 2.7+dfsg-4\n";
        assert_eq!(newest_source(text, "3.0").as_deref(), Some("3.0+dfsg-2"));
        assert_eq!(newest_source(text, "4"), None);
    }

    #[test]
    fn a_tarball_has_no_epoch_and_no_revision_in_its_name() {
        assert_eq!(tarball_prefix("x", "1:3.0+dfsg-1"), "x_3.0+dfsg.orig.tar.");
        assert_eq!(tarball_prefix("x", "3.0"), "x_3.0.orig.tar.");
    }

    #[test]
    fn an_epoch_is_escaped_in_the_file_name() {
        let candidate = Candidate {
            package: "busybox-static".to_owned(),
            version: "1:1.35.0-4".to_owned(),
            architecture: "amd64".to_owned(),
            depends: String::new(),
        };
        assert_eq!(candidate.file_name(), "busybox-static_1%3a1.35.0-4_amd64.deb");
        assert_eq!(candidate.pinned(), "busybox-static=1:1.35.0-4");
    }

    #[test]
    fn the_release_is_read_with_and_without_quotes() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_CODENAME=bookworm\n";
        assert_eq!(os_release_value(text, "VERSION_CODENAME").as_deref(), Some("bookworm"));
        assert_eq!(os_release_value(text, "PRETTY_NAME").as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(os_release_value(text, "ID"), None);
    }
}
