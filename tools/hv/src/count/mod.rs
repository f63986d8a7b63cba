//! `cargo hv count`: the lines that run in ring 0, own ones and others', and the limits that a
//! change may not pass without saying so.
//!
//! A line counts if it has code on it that is compiled for the machine: no comment, no blank, no
//! test, nothing behind a feature that is off. Of others' packages everything that is compiled
//! counts, whether or not anybody calls it; modules that a macro declares are not followed, which
//! leaves most of serde out. `core`, `alloc` and `compiler_builtins` are not counted.

mod conditions;
mod source;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::project::Project;
use conditions::Conditions;
use source::Lines;

/// The limits.
const LIMITS: &str = "docs/ring0.toml";

/// What this check is called among the tests.
pub const NAME: &str = "image/lines";

/// The package that everything in ring 0 is linked into.
const ROOT: &str = "kernel";
/// Only conditions on the operating system and the processor matter, which these have alike.
const TARGET: &str = "x86_64-unknown-none";

/// `docs/ring0.toml`: a table a build profile.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    default: Limit,
}

/// What a profile may have at most.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
struct Limit {
    own: usize,
    others: usize,
    unsafe_blocks: usize,
}

/// A package that is linked in.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Package {
    name: String,
    version: String,
    is_own: bool,
    lines: Lines,
}

/// Prints lines by package, and the sums.
///
/// # Errors
/// When cargo or a file cannot be read, or a limit is passed.
pub fn run(project: &Project) -> Result<()> {
    let packages = count(project)?;
    print!("{}", table(&packages));
    let problems = compare(&packages, limits(project)?);
    ensure!(problems.is_empty(), "{}", problems.join("\n  "));
    Ok(())
}

/// What is over its limit.
///
/// # Errors
/// When cargo or a file cannot be read.
pub fn problems(project: &Project) -> Result<Vec<String>> {
    Ok(compare(&count(project)?, limits(project)?))
}

fn limits(project: &Project) -> Result<Limit> {
    let path = project.root().join(LIMITS);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let limits: Limits =
        toml::from_str(&text).with_context(|| format!("{} is not what it should be", path.display()))?;
    Ok(limits.default)
}

/// Own lines, and others'.
fn sums(packages: &[Package]) -> (Lines, Lines) {
    let sum = |own: bool| packages.iter().filter(|package| package.is_own == own).map(|p| p.lines).sum();
    (sum(true), sum(false))
}

fn compare(packages: &[Package], limit: Limit) -> Vec<String> {
    let (own, others) = sums(packages);
    let rows = [
        ("own lines", own.code, limit.own),
        ("lines of others", others.code, limit.others),
        ("own unsafe blocks", own.unsafe_blocks, limit.unsafe_blocks),
    ];
    let over = rows.into_iter().filter(|(_, count, limit)| count > limit);
    over.map(|(what, count, limit)| {
        format!("{count} {what} in ring 0, {limit} in {LIMITS}: raise it in a commit that says why")
    })
    .collect()
}

fn table(packages: &[Package]) -> String {
    let mut text = "| ring 0 | lines | unsafe blocks |\n|---|---:|---:|\n".to_owned();
    let (own, others) = sums(packages);
    for (title, is_own, sum) in [("own", true, own), ("others'", false, others)] {
        for package in packages.iter().filter(|package| package.is_own == is_own) {
            let version = if is_own { String::new() } else { format!(" {}", package.version) };
            let Lines { code, unsafe_blocks } = package.lines;
            let _ = writeln!(text, "| {}{version} | {code} | {unsafe_blocks} |", package.name);
        }
        let _ = writeln!(text, "| **{title}** | **{}** | **{}** |", sum.code, sum.unsafe_blocks);
    }
    text
}

/// Counts what is linked into the hypervisor.
fn count(project: &Project) -> Result<Vec<Package>> {
    let root = project.root();
    let tree = cargo(
        root,
        &[
            "tree",
            "--package",
            ROOT,
            "--target",
            TARGET,
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
            "--no-dedupe",
            "--format",
            "{p}|{f}",
        ],
    )?;
    let metadata: Value = serde_json::from_str(&cargo(root, &["metadata", "--format-version", "1"])?)?;
    let mut lines: Vec<&str> = tree.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    let mut packages = lines.into_iter().map(|line| package(line, &metadata)).collect::<Result<Vec<_>>>()?;
    packages.sort_by_key(|package| std::cmp::Reverse(package.lines.code));
    Ok(packages)
}

/// The package of a line `NAME vVERSION (FOLDER)|FEATURES`.
fn package(line: &str, metadata: &Value) -> Result<Package> {
    let (package, features) = line.split_once('|').unwrap_or((line, ""));
    let mut words = package.split(' ');
    let name = words.next().unwrap_or_default().to_owned();
    let version = words.next().unwrap_or_default().trim_start_matches('v').to_owned();
    let found = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == name.as_str() && package["version"] == version.as_str());
    let found = found.with_context(|| format!("cargo does not say where {name} {version} is"))?;
    let conditions = Conditions::new(features.split(',').map(str::to_owned));
    let lines = source::count_crate(&root_of(found)?, &conditions)?;
    Ok(Package { is_own: found["source"].is_null(), name, version, lines })
}

/// The first file of the package's library, or of its program.
fn root_of(package: &Value) -> Result<PathBuf> {
    let targets = || package["targets"].as_array().into_iter().flatten();
    let of = |kind: &str| {
        targets().find(|target| target["kind"].as_array().is_some_and(|kinds| kinds.contains(&kind.into())))
    };
    let target = of("lib").or_else(|| of("rlib")).or_else(|| of("bin"));
    let path = target.and_then(|target| target["src_path"].as_str());
    path.map(PathBuf::from).with_context(|| format!("{} has no library", package["name"]))
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output =
        Command::new(cargo).args(arguments).current_dir(root).output().context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo {} failed:\n{said}", arguments.first().unwrap_or(&""));
    String::from_utf8(output.stdout).context("cargo said what is no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages() -> Vec<Package> {
        let package = |name: &str, is_own, code, unsafe_blocks| Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            is_own,
            lines: Lines { code, unsafe_blocks },
        };
        vec![package("machine", true, 70, 7), package("spin", false, 20, 9), package("plan", true, 30, 0)]
    }

    #[test]
    fn what_grows_past_its_limit_is_told() {
        let limit = Limit { own: 100, others: 20, unsafe_blocks: 7 };
        assert!(compare(&packages(), limit).is_empty());
        for less in
            [Limit { own: 99, ..limit }, Limit { others: 19, ..limit }, Limit { unsafe_blocks: 6, ..limit }]
        {
            assert_eq!(compare(&packages(), less).len(), 1, "{less:?}");
        }
    }

    #[test]
    fn own_and_others_lines_stand_apart() {
        let table = table(&packages());
        assert!(
            table.contains("| machine | 70 | 7 |\n| plan | 30 | 0 |\n| **own** | **100** | **7** |\n"),
            "{table}"
        );
        assert!(table.ends_with("| spin 1.0.0 | 20 | 9 |\n| **others'** | **20** | **9** |\n"), "{table}");
    }
}
