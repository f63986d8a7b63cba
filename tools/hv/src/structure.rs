//! `cargo hv structure`: whether what runs in ring 0 keeps its shape. No file is too long, no crate uses one
//! that stands above it, and no two files need each other.
//!
//! Files and crates are those of `hypervisor/`, `drivers/` and `boot/`; the order of the crates and the
//! circles that are left stand in `docs/structure.toml`.

mod arrows;
mod circles;
mod files;
mod layers;
mod modules;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::cli;
use crate::project::Project;
use arrows::Arrow;
use circles::Circle;
use layers::Layers;
use modules::Crate;

/// What this check is called among the tests.
pub const NAME: &str = "image/structure";

/// The order of the crates, and the circles that are left.
const SHAPE: &str = "docs/structure.toml";
/// The folders whose code this is about.
const FOLDERS: [&str; 3] = ["hypervisor", "drivers", "boot"];
/// The longest that a file may be, in lines of whatever kind.
const LONGEST_FILE: usize = 600;

/// `docs/structure.toml`.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Shape {
    layers: Layers,
    #[serde(default)]
    circle: Vec<Known>,
}

/// A circle that is left, and why.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
struct Known {
    #[serde(rename = "crate")]
    krate: String,
    files: Vec<String>,
    why: String,
}

/// What was looked at, and what is wrong with it.
#[derive(Default, Debug)]
struct Findings {
    crates: Vec<Looked>,
    problems: Vec<String>,
}

/// What was found in one crate.
#[derive(Debug)]
struct Looked {
    name: String,
    layer: usize,
    files: usize,
    arrows: Vec<Arrow>,
    circles: Vec<Circle>,
}

/// Prints the layers with their crates, and the circles.
///
/// # Errors
/// When something is wrong, or a file cannot be read.
pub fn run(project: &Project, options: &cli::Structure) -> Result<()> {
    let findings = look(project)?;
    print!("{}", table(&findings));
    if options.arrows {
        print!("{}", arrows_of(&findings));
    }
    ensure!(findings.problems.is_empty(), "{}", findings.problems.join("\n  "));
    Ok(())
}

/// What is wrong.
///
/// # Errors
/// When cargo or a file cannot be read.
pub fn problems(project: &Project) -> Result<Vec<String>> {
    Ok(look(project)?.problems)
}

fn look(project: &Project) -> Result<Findings> {
    let root = project.root();
    let path = root.join(SHAPE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let shape: Shape =
        toml::from_str(&text).with_context(|| format!("{} is not what it should be", path.display()))?;
    examine(root, &shape, &metadata(root)?)
}

/// Holds the tree at `root` against `shape`; `metadata` is what cargo says of it.
fn examine(root: &Path, shape: &Shape, metadata: &str) -> Result<Findings> {
    let packages = layers::packages(root, metadata, &FOLDERS)?;
    let mut problems = files::too_long(root, &FOLDERS, LONGEST_FILE)?;
    problems.extend(layers::compare(&shape.layers, &packages, SHAPE));
    let mut crates = Vec::new();
    for package in &packages {
        let krate = Crate::read(&package.root)?;
        let arrows = arrows::of(&krate);
        let circles = circles::find(krate.files(), &arrows);
        let layer = shape.layers.of(&package.name).unwrap_or(0);
        let files = krate.files().len();
        crates.push(Looked { name: package.name.clone(), layer, files, arrows, circles });
    }
    crates.sort_by_key(|krate| (krate.layer, krate.name.clone()));
    problems.extend(compare(&shape.circle, &crates));
    Ok(Findings { crates, problems })
}

/// The circles that are not known, and those that are known in vain.
fn compare(known: &[Known], crates: &[Looked]) -> Vec<String> {
    let mut problems = Vec::new();
    let is = |known: &Known, krate: &Looked, circle: &Circle| {
        let (mut a, mut b) = (known.files.clone(), circle.files.clone());
        a.sort_unstable();
        b.sort_unstable();
        known.krate == krate.name && a == b
    };
    for krate in crates {
        let unknown = |circle: &&Circle| !known.iter().any(|known| is(known, krate, circle));
        for circle in krate.circles.iter().filter(unknown) {
            problems.push(format!("in `{}`, files need each other in a circle: {circle}", krate.name));
        }
    }
    for known in known {
        let names = format!("the circle of {} in `{}`", known.files.join(", "), known.krate);
        if known.why.trim().is_empty() {
            problems.push(format!("{SHAPE} does not say why {names} is left"));
        }
        if !crates.iter().any(|krate| krate.circles.iter().any(|circle| is(known, krate, circle))) {
            problems.push(format!(
                "{names} is not there (any more, or not with these files): take it out of {SHAPE}, or put \
                 what is left of it there"
            ));
        }
    }
    problems
}

fn table(findings: &Findings) -> String {
    let mut text = "| layer | crate | files | circles |\n|---:|---|---:|---:|\n".to_owned();
    for Looked { name, layer, files, circles, .. } in &findings.crates {
        let _ = writeln!(text, "| {layer} | {name} | {files} | {} |", circles.len());
    }
    for krate in &findings.crates {
        for circle in &krate.circles {
            let _ = writeln!(text, "circle in {}: {}", krate.name, circle.files.join(", "));
        }
    }
    text
}

fn arrows_of(findings: &Findings) -> String {
    let mut text = String::new();
    for krate in &findings.crates {
        for arrow in &krate.arrows {
            let _ = writeln!(text, "{}: {arrow}", krate.name);
        }
    }
    text
}

fn metadata(root: &Path) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--no-deps"]).current_dir(root);
    let output = command.output().context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo metadata failed:\n{said}");
    String::from_utf8(output.stdout).context("cargo said what is no text")
}
