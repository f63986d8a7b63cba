//! The tests of the host, found in the sources: building all test programs to ask them would
//! take minutes each time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where crates with tests on the host are.
const FOLDERS: [&str; 4] = ["hypervisor", "drivers", "boot", "tools"];

/// Names of tests as `cargo hv test --list` has them, without `host/`.
pub struct HostTests(BTreeSet<String>);

impl HostTests {
    /// Those in the sources below `root`.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub fn of(root: &Path) -> Result<Self> {
        let mut names = BTreeSet::new();
        for folder in FOLDERS {
            for member in entries(&root.join(folder))? {
                let name = member.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
                if member.join("src").is_dir() {
                    walk(&member.join("src"), &mut vec![name.replace('-', "_")], &mut names)?;
                }
                if member.join("tests").is_dir() {
                    // Each file, or folder with a `main.rs`, is a crate of its own.
                    walk(&member.join("tests"), &mut Vec::new(), &mut names)?;
                }
            }
        }
        Ok(Self(names))
    }

    #[cfg(test)]
    pub fn from_names<const N: usize>(names: [&str; N]) -> Self {
        Self(names.into_iter().map(str::to_owned).collect())
    }

    /// Whether there is a test of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>();
    let mut paths: Vec<PathBuf> = read().with_context(|| format!("cannot read {}", folder.display()))?;
    paths.sort();
    Ok(paths)
}

/// Adds the tests in the files of `folder`, which is the module `path`.
fn walk(folder: &Path, path: &mut Vec<String>, names: &mut BTreeSet<String>) -> Result<()> {
    for entry in entries(folder)? {
        let Some(stem) = entry.file_stem().and_then(|stem| stem.to_str()) else { continue };
        if entry.is_dir() {
            path.push(stem.to_owned());
            walk(&entry, path, names)?;
            path.pop();
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&entry)
                .with_context(|| format!("cannot read {}", entry.display()))?;
            let is_its_folder = ["mod", "lib", "main"].contains(&stem);
            if !is_its_folder {
                path.push(stem.to_owned());
            }
            tests_in(&text, path, names);
            if !is_its_folder {
                path.pop();
            }
        }
    }
    Ok(())
}

/// Adds the tests of a file that is the module `path`: functions after `#[test]`, in the modules
/// that are open there. The sources are formatted, so a module's block begins and ends with a
/// line of its own, at the same column.
fn tests_in(text: &str, path: &[String], names: &mut BTreeSet<String>) {
    let mut modules: Vec<(usize, &str)> = Vec::new();
    let mut marked = false;
    for line in text.lines() {
        let trimmed = line.trim_start();
        let column = line.len() - trimmed.len();
        if trimmed == "}" && modules.last().is_some_and(|(start, _)| *start == column) {
            modules.pop();
        } else if let Some(name) = module_opened(trimmed) {
            modules.push((column, name));
        } else if trimmed == "#[test]" {
            marked = true;
        } else if marked && let Some(name) = function(trimmed) {
            let modules = modules.iter().map(|(_, name)| *name);
            let parts: Vec<&str> = path.iter().map(String::as_str).chain(modules).chain([name]).collect();
            names.insert(parts.join("::"));
            marked = false;
        }
    }
}

/// The name in `mod name {`.
fn module_opened(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub ").unwrap_or(line);
    line.strip_prefix("mod ")?.strip_suffix(" {")
}

/// The name in `fn name(`.
fn function(line: &str) -> Option<&str> {
    let (name, _) = line.strip_prefix("fn ")?.split_once('(')?;
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Before the next one, whose text looks like a file of its own.
    #[test]
    fn this_test_is_found() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let tests = HostTests::of(root).expect("readable");
        assert!(tests.contains("hv::attacks::sources::tests::this_test_is_found"));
        assert!(tests.contains("reset::a_function_that_never_returns_is_quarantined"), "of a tests folder");
        assert!(tests.contains("iommu::vtd::tests::dma::all_aliases_are_granted_or_none"));
    }

    #[test]
    fn tests_are_found_in_their_modules() {
        let text = "\
mod a {
    mod b {
        #[test]
        fn one() {
        }
    }
    #[test]
    #[ignore = \"slow\"]
    fn two() {}
}
proptest! {
    #[test]
    fn three(a in 0..1) {}
}
fn four() {}
";
        let mut names = BTreeSet::new();
        tests_in(text, &["crate".to_owned(), "file".to_owned()], &mut names);
        let expected = ["crate::file::a::b::one", "crate::file::a::two", "crate::file::three"];
        assert!(names.iter().map(String::as_str).eq(expected), "{names:?}");
    }
}
