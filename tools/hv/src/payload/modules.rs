//! Linux kernel modules: which ones a driver needs, and in which order they load.
//!
//! An unpacked kernel package has no `modules.dep` (its post-installation script makes it), so
//! the dependencies come from where depmod itself takes them: the section `.modinfo`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::{Object as _, ObjectSection as _};

/// The modules of one kernel, by their canonical names.
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

impl Modules {
    /// Lists the modules below `folder`, a kernel's `lib/modules/VERSION`.
    ///
    /// # Errors
    /// When the folder or its list of built-in modules cannot be read.
    pub fn list(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        collect(&folder.join("kernel"), &mut files)?;
        let list = folder.join("modules.builtin");
        let text =
            std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        Ok(Self { files, builtin: text.lines().filter_map(name_of_path).collect() })
    }

    /// Whether the kernel has a module, or has it built in.
    pub fn has(&self, name: &str) -> bool {
        let name = canonical(name);
        self.files.contains_key(&name) || self.builtin.contains(&name)
    }

    /// The files of `wanted` and all they depend on, in the order in which they load.
    ///
    /// # Errors
    /// When a module is neither there nor built in, or the dependencies go round in a circle.
    pub fn load_order(&self, wanted: &[&str]) -> Result<Vec<PathBuf>> {
        order(wanted, |name| {
            if self.builtin.contains(name) {
                return Ok(None);
            }
            let file = self.files.get(name).with_context(|| format!("the kernel has no module {name}"))?;
            let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            let needs = dependencies(&bytes).with_context(|| format!("{} is no module", file.display()))?;
            Ok(Some(needs))
        })
        .map(|names| names.iter().filter_map(|name| self.files.get(name).cloned()).collect())
    }
}

/// Depth first; `needs` gives a module's dependencies, or `None` where it is built in.
fn order(wanted: &[&str], mut needs: impl FnMut(&str) -> Result<Option<Vec<String>>>) -> Result<Vec<String>> {
    enum Visit {
        Enter(String),
        Leave(String),
    }
    let mut ordered = Vec::new();
    let (mut open, mut settled) = (BTreeSet::new(), BTreeSet::new());
    let mut stack: Vec<Visit> = wanted.iter().rev().map(|name| Visit::Enter(canonical(name))).collect();
    while let Some(visit) = stack.pop() {
        match visit {
            Visit::Leave(name) => {
                open.remove(&name);
                settled.insert(name.clone());
                ordered.push(name);
            }
            Visit::Enter(name) if settled.contains(&name) => {}
            Visit::Enter(name) if open.contains(&name) => bail!("module {name} depends on itself"),
            Visit::Enter(name) => {
                let Some(dependencies) = needs(&name)? else {
                    settled.insert(name);
                    continue;
                };
                open.insert(name.clone());
                stack.push(Visit::Leave(name));
                stack.extend(dependencies.iter().rev().map(|name| Visit::Enter(canonical(name))));
            }
        }
    }
    Ok(ordered)
}

/// The `depends=` entry of a module's `.modinfo`; soft dependencies name aliases and are the
/// business of whoever asks for the module.
fn dependencies(module: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(module).context("not an ELF file")?;
    let section = file.section_by_name(".modinfo").context("no section .modinfo")?;
    Ok(parse_depends(section.data().context("the section .modinfo cannot be read")?))
}

fn parse_depends(modinfo: &[u8]) -> Vec<String> {
    modinfo
        .split(|byte| *byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok())
        .filter_map(|entry| entry.strip_prefix("depends="))
        .flat_map(|list| list.split(','))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// File names use dashes and underscores as their authors liked; the kernel treats them alike.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

fn name_of_path(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    file.strip_suffix(".ko").map(canonical)
}

fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if let Some(name) = path.to_str().and_then(name_of_path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(wanted: &[&str], graph: &[(&str, &[&str])]) -> Result<Vec<String>> {
        order(wanted, |name| {
            let (_, needs) = graph.iter().find(|(known, _)| *known == name).context("unknown module")?;
            Ok(Some(needs.iter().map(|name| (*name).to_owned()).collect()))
        })
    }

    #[test]
    fn dependencies_load_first_and_once() {
        let graph: &[(&str, &[&str])] = &[
            ("nvme", &["nvme-core"]),
            ("nvme_core", &["t10-pi"]),
            ("t10_pi", &["crc64"]),
            ("crc64", &[]),
            ("ext4", &["jbd2", "crc64"]),
            ("jbd2", &[]),
        ];
        let loaded = load(&["nvme", "ext4"], graph).expect("no circle");
        assert_eq!(loaded, ["crc64", "t10_pi", "nvme_core", "nvme", "jbd2", "ext4"]);
    }

    #[test]
    fn what_is_built_in_needs_no_file() {
        let loaded = order(&["e1000e"], |name| Ok((name == "e1000e").then(|| vec!["ptp".to_owned()])));
        assert_eq!(loaded.expect("ptp is built in"), ["e1000e"]);
    }

    #[test]
    fn a_circle_is_an_error() {
        assert!(load(&["a"], &[("a", &["b"]), ("b", &["a"])]).is_err());
    }

    #[test]
    fn a_missing_module_is_an_error() {
        assert!(load(&["a"], &[("a", &["b"])]).is_err());
    }

    #[test]
    fn modinfo_names_the_dependencies() {
        let modinfo = b"license=GPL\0depends=jbd2,mbcache,crc16\0retpoline=Y\0";
        assert_eq!(parse_depends(modinfo), ["jbd2", "mbcache", "crc16"]);
        assert!(parse_depends(b"depends=\0name=e1000e\0").is_empty());
    }

    #[test]
    fn names_from_lists_are_canonical() {
        assert_eq!(name_of_path("kernel/drivers/nvme/host/nvme-core.ko").as_deref(), Some("nvme_core"));
        assert_eq!(name_of_path("kernel/Makefile"), None);
    }

    #[test]
    fn what_is_no_module_is_refused() {
        assert!(dependencies(b"#!/bin/sh").is_err());
    }
}
