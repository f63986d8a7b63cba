//! Which crate may use which.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// Crates by layer, the lowest first. Those of one layer do not know each other.
#[derive(Deserialize, Debug)]
#[serde(transparent)]
pub struct Layers(Vec<Vec<String>>);

impl Layers {
    /// The layer of `krate`, from 1.
    pub fn of(&self, krate: &str) -> Option<usize> {
        let layer = self.0.iter().position(|layer| layer.iter().any(|name| name == krate))?;
        Some(layer + 1)
    }
}

/// A crate of the workspace.
#[derive(Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// The first file of its library, or of its program.
    pub root: PathBuf,
    /// The crates of the project that it is built from; its tests' are not among them.
    pub uses: Vec<String>,
}

/// The crates whose manifest is in one of `folders` below `root`.
///
/// # Errors
/// When `metadata` is not what `cargo metadata` prints.
pub fn packages(root: &Path, metadata: &str, folders: &[&str]) -> Result<Vec<Package>> {
    let metadata: Value = serde_json::from_str(metadata).context("cargo says what is no JSON")?;
    let mut found = Vec::new();
    for package in array(&metadata["packages"]) {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let inside = |folder: &&str| manifest.starts_with(root.join(folder));
        if !folders.iter().any(inside) {
            continue;
        }
        let name = package["name"].as_str().context("cargo names no package")?.to_owned();
        let target = |wanted: &str| {
            let is = |target: &&Value| array(&target["kind"]).any(|kind| kind == wanted);
            array(&package["targets"]).find(is)?["src_path"].as_str()
        };
        let file = target("lib").or_else(|| target("rlib")).or_else(|| target("bin"));
        let file = file.with_context(|| format!("cargo does not say where {name} begins"))?;
        let own = |dependency: &&Value| !dependency["path"].is_null() && dependency["kind"] != "dev";
        let uses = array(&package["dependencies"]).filter(own).filter_map(|used| used["name"].as_str());
        found.push(Package { uses: uses.map(str::to_owned).collect(), root: file.into(), name });
    }
    Ok(found)
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// What `packages` do that `layers`, which stand in the file `shape`, do not allow.
pub fn compare(layers: &Layers, packages: &[Package], shape: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for package in packages {
        let Package { name, uses, .. } = package;
        let Some(own) = layers.of(name) else {
            problems.push(format!("`{name}` stands in no layer of {shape}"));
            continue;
        };
        for used in uses {
            match layers.of(used) {
                Some(layer) if layer < own => {}
                Some(layer) => problems.push(format!(
                    "`{name}` of layer {own} uses `{used}` of layer {layer}: nothing may point upward or aside"
                )),
                None => problems.push(format!("`{name}` uses `{used}`, which stands in no layer of {shape}")),
            }
        }
    }
    let mut seen = Vec::new();
    for name in layers.0.iter().flatten() {
        if !packages.iter().any(|package| package.name == *name) {
            problems.push(format!("{shape} has a layer for `{name}`, and there is no such crate"));
        }
        if seen.contains(&name) {
            problems.push(format!("`{name}` stands in two layers of {shape}"));
        }
        seen.push(name);
    }
    problems
}
