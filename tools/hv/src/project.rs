//! Where things are: the checkout, what is built, and what is kept between checkouts.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The folders that the tool works in.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
    output: PathBuf,
    cache: PathBuf,
}

impl Project {
    /// Finds the checkout this tool was built from, or the one around the current folder.
    ///
    /// # Errors
    /// When neither is a checkout of Bulkhead, or a folder cannot be made.
    pub fn find() -> Result<Self> {
        let root = find_root()?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let project = Self { output: std::path::absolute(target)?.join("hv"), cache: cache_folder()?, root };
        make_folder(&project.output)?;
        make_folder(&project.cache)?;
        Ok(project)
    }

    /// The checkout.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `target/hv`: everything that this tool builds.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// `target/hv/payload`: kernels and initial file systems for guests.
    pub fn payload(&self) -> PathBuf {
        self.output.join("payload")
    }

    /// What outlives a checkout: package lists and packages.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The configuration that `cargo hv run` uses when it is given none.
    pub fn default_config(&self) -> PathBuf {
        self.root.join("examples/two-linux.toml")
    }

    /// The board file that `cargo hv check` uses when it is given none.
    pub fn default_board(&self) -> PathBuf {
        self.root.join("examples/boards/q35.json")
    }
}

/// Makes `folder` and its parents.
///
/// # Errors
/// When the file system refuses.
pub fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))
}

fn find_root() -> Result<PathBuf> {
    let is_root = |path: &Path| path.join("x86_64-hv.json").is_file() && path.join("Cargo.toml").is_file();
    // Cargo sets the variable for `cargo run`; a tool started by hand looks around itself.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = std::env::current_dir().context("the current folder is gone")?;
    let built = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let starts = manifest.into_iter().chain([here, built]);
    for start in starts {
        if let Some(root) = start.ancestors().find(|path| is_root(path)) {
            return Ok(root.to_path_buf());
        }
    }
    bail!("this is no checkout of Bulkhead: no x86_64-hv.json here or above")
}

fn cache_folder() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = variable("BULKHEAD_CACHE") {
        return Ok(std::path::absolute(folder)?);
    }
    if let Some(folder) = variable("XDG_CACHE_HOME") {
        return Ok(folder.join("bulkhead"));
    }
    let home = variable("HOME").context("neither BULKHEAD_CACHE, XDG_CACHE_HOME nor HOME is set")?;
    Ok(home.join(".cache/bulkhead"))
}
