//! `cargo hv count`: the lines that run in ring 0, own ones and others', and the limits that a
//! change may not pass without saying so.
//!
//! A line counts if it has code on it that is compiled for the machine: no comment, no blank, no
//! test, nothing behind a feature that is off. Of others' packages everything that is compiled
//! counts, whether or not anybody calls it; modules that a macro declares are not followed, which
//! leaves most of serde out. `core`, `alloc` and `compiler_builtins` are not counted.
//!
//! What the limits' file names as a part is counted apart from the rest of the own lines. Drivers are counted
//! whether or not something is linked with them already.
//!
//! `--profile ring3` counts what is left where neither a driver nor a model is linked into ring 0 ([`ring3`]).

mod conditions;
mod linked;
pub mod ring3;
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

/// Where crates are that count without being linked in.
const DRIVERS: &str = "drivers";

/// `docs/ring0.toml`: a table a build profile, and parts of the own lines.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    default: Limit,
    ring3: ring3::Limits,
    #[serde(default)]
    part: Vec<Part>,
    /// What else is told the lines of, which count elsewhere.
    #[serde(default)]
    table: Vec<Part>,
}

/// What a profile may have at most.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
struct Limit {
    own: usize,
    others: usize,
    unsafe_blocks: usize,
}

/// Own lines that have a row and a limit of their own.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
struct Part {
    name: String,
    /// Files and folders, from the project's root.
    paths: Vec<PathBuf>,
    lines: usize,
}

/// What a row belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The project's, and of no part.
    Own,
    /// The part of this number.
    Part(usize),
    /// A package of others.
    Others,
}

impl Part {
    /// Whether `file`, from the project's root, is of it.
    fn holds(&self, file: &Path) -> bool {
        self.paths.iter().any(|path| file.starts_with(path))
    }
}

/// A package with its files.
struct Package {
    name: String,
    version: String,
    is_own: bool,
    files: Vec<(PathBuf, Lines)>,
}

/// A package, or what a part has of it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Row {
    name: String,
    version: String,
    kind: Kind,
    lines: Lines,
}

/// Prints lines by package, and the sums.
///
/// # Errors
/// When cargo or a file cannot be read, or a limit is passed.
pub fn run(project: &Project) -> Result<()> {
    let limits = limits(project)?;
    let rows = count(project, &limits.part)?;
    let selected = count(project, &limits.table)?;
    print!("{}\n{}", table(&rows, &limits.part), table_of_parts(&selected, &limits.table));
    let problems = [compare(&rows, &limits), compare_parts(&selected, &limits.table)].concat();
    ensure!(problems.is_empty(), "{}", problems.join("\n  "));
    Ok(())
}

/// What is over its limit.
///
/// # Errors
/// When cargo or a file cannot be read.
pub fn problems(project: &Project) -> Result<Vec<String>> {
    let limits = limits(project)?;
    let over = compare(&count(project, &limits.part)?, &limits);
    Ok([over, compare_parts(&count(project, &limits.table)?, &limits.table)].concat())
}

fn limits(project: &Project) -> Result<Limits> {
    let path = project.root().join(LIMITS);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let limits: Limits =
        toml::from_str(&text).with_context(|| format!("{} is not what it should be", path.display()))?;
    let parts = limits.part.iter().chain(&limits.table).flat_map(|part| &part.paths);
    for file in parts.chain(limits.ring3.paths()) {
        ensure!(project.root().join(file).exists(), "{LIMITS} names {}, which is not there", file.display());
    }
    Ok(limits)
}

fn sum(rows: &[Row], kind: Kind) -> Lines {
    rows.iter().filter(|row| row.kind == kind).map(|row| row.lines).sum()
}

fn compare(rows: &[Row], limits: &Limits) -> Vec<String> {
    let own_unsafe: usize =
        rows.iter().filter(|row| row.kind != Kind::Others).map(|row| row.lines.unsafe_blocks).sum();
    let limit = limits.default;
    let mut counts = vec![
        ("own lines".to_owned(), sum(rows, Kind::Own).code, limit.own),
        ("lines of others".to_owned(), sum(rows, Kind::Others).code, limit.others),
        ("own unsafe blocks".to_owned(), own_unsafe, limit.unsafe_blocks),
    ];
    counts.retain(|(_, count, limit)| count > limit);
    let over = counts.into_iter().map(|(what, count, limit)| over(&what, count, limit));
    over.chain(compare_parts(rows, &limits.part)).collect()
}

/// The parts that are over their limits.
fn compare_parts(rows: &[Row], parts: &[Part]) -> Vec<String> {
    compare_parts_of(parts, |number| sum(rows, Kind::Part(number)).code)
}

/// The same, where the part of a number has as many lines as `count` says.
fn compare_parts_of(parts: &[Part], count: impl Fn(usize) -> usize) -> Vec<String> {
    let counts = parts.iter().enumerate().map(|(number, part)| (part, count(number)));
    let over_limit = counts.filter(|(part, count)| *count > part.lines);
    over_limit.map(|(part, count)| over(&format!("lines of {}", part.name), count, part.lines)).collect()
}

fn over(what: &str, count: usize, limit: usize) -> String {
    format!("{count} {what} in ring 0, {limit} in {LIMITS}: raise it in a commit that says why")
}

/// The sums of parts alone, beside their limits.
fn table_of_parts(rows: &[Row], parts: &[Part]) -> String {
    let mut text = "| drivers and models | lines | at most |\n|---|---:|---:|\n".to_owned();
    for (number, part) in parts.iter().enumerate() {
        let _ = writeln!(text, "| {} | {} | {} |", part.name, sum(rows, Kind::Part(number)).code, part.lines);
    }
    text
}

fn table(rows: &[Row], parts: &[Part]) -> String {
    let mut text = "| ring 0 | lines | unsafe blocks |\n|---|---:|---:|\n".to_owned();
    let parts = parts.iter().enumerate().map(|(number, part)| (part.name.as_str(), Kind::Part(number)));
    let kinds = std::iter::once(("own", Kind::Own)).chain(parts).chain([("others'", Kind::Others)]);
    for (title, kind) in kinds {
        for row in rows.iter().filter(|row| row.kind == kind) {
            let version = if kind == Kind::Others { format!(" {}", row.version) } else { String::new() };
            let Lines { code, unsafe_blocks } = row.lines;
            let _ = writeln!(text, "| {}{version} | {code} | {unsafe_blocks} |", row.name);
        }
        let sum = sum(rows, kind);
        let _ = writeln!(text, "| **{title}** | **{}** | **{}** |", sum.code, sum.unsafe_blocks);
    }
    text
}

/// Counts what is linked into the hypervisor, and the drivers.
fn count(project: &Project, parts: &[Part]) -> Result<Vec<Row>> {
    let root = project.root();
    let metadata: Value = serde_json::from_str(&cargo(root, &["metadata", "--format-version", "1"])?)?;
    let mut lines = tree(root, ROOT, &[])?;
    for driver in packages(&metadata).filter(|package| is_below(package, &root.join(DRIVERS))) {
        lines.extend(tree(root, driver["name"].as_str().unwrap_or_default(), &[])?);
    }
    let counted = count_packages(lines, &metadata)?;
    let mut rows: Vec<Row> = counted.iter().flat_map(|package| rows_of(package, root, parts)).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.lines.code));
    Ok(rows)
}

/// Counts the packages of these lines `NAME vVERSION (FOLDER)|FEATURES`, each once.
fn count_packages(mut lines: Vec<String>, metadata: &Value) -> Result<Vec<Package>> {
    lines.sort_unstable();
    lines.dedup();
    lines.iter().map(|line| count_package(line, metadata)).collect()
}

/// What `package` is linked with, itself included: lines `NAME vVERSION (FOLDER)|FEATURES`.
fn tree(root: &Path, package: &str, features: &[&str]) -> Result<Vec<String>> {
    let tree = cargo(
        root,
        &[
            &[
                "tree",
                "--package",
                package,
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
            features,
        ]
        .concat(),
    )?;
    Ok(tree.lines().map(str::to_owned).collect())
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn is_below(package: &Value, folder: &Path) -> bool {
    package["manifest_path"].as_str().is_some_and(|path| Path::new(path).starts_with(folder))
}

/// Counts the package of a line `NAME vVERSION (FOLDER)|FEATURES`.
fn count_package(line: &str, metadata: &Value) -> Result<Package> {
    let (package, features) = line.split_once('|').unwrap_or((line, ""));
    let mut words = package.split(' ');
    let name = words.next().unwrap_or_default().to_owned();
    let version = words.next().unwrap_or_default().trim_start_matches('v').to_owned();
    let found = packages(metadata)
        .find(|package| package["name"] == name.as_str() && package["version"] == version.as_str());
    let found = found.with_context(|| format!("cargo does not say where {name} {version} is"))?;
    let conditions = Conditions::new(features.split(',').map(str::to_owned));
    let files = source::count_crate(&root_of(found)?, &conditions)?;
    Ok(Package { name, version, is_own: found["source"].is_null(), files })
}

/// The rows of a package: one, and one for each part that has files of it.
fn rows_of(package: &Package, root: &Path, parts: &[Part]) -> Vec<Row> {
    let Package { name, version, is_own, files } = package;
    let kind_of = |file: &Path| {
        let file = file.strip_prefix(root).unwrap_or(file);
        match parts.iter().position(|part| part.holds(file)) {
            _ if !is_own => Kind::Others,
            Some(number) => Kind::Part(number),
            None => Kind::Own,
        }
    };
    divide(files, kind_of)
        .into_iter()
        .map(|(kind, lines)| Row { name: name.clone(), version: version.clone(), kind, lines })
        .collect()
}

/// The lines of `files` by what each belongs to.
fn divide(files: &[(PathBuf, Lines)], kind_of: impl Fn(&Path) -> Kind) -> Vec<(Kind, Lines)> {
    let mut sums: Vec<(Kind, Lines)> = Vec::new();
    for (file, lines) in files {
        let kind = kind_of(file);
        match sums.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, sum)) => *sum = [*sum, *lines].into_iter().sum(),
            None => sums.push((kind, *lines)),
        }
    }
    sums
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

    fn rows() -> Vec<Row> {
        let row = |name: &str, kind, code, unsafe_blocks| Row {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            kind,
            lines: Lines { code, unsafe_blocks },
        };
        vec![
            row("machine", Kind::Own, 70, 7),
            row("nvme", Kind::Part(0), 40, 1),
            row("plan", Kind::Own, 30, 0),
            row("spin", Kind::Others, 20, 9),
        ]
    }

    fn limits(own: usize, others: usize, unsafe_blocks: usize, lines: usize) -> Limits {
        let part = Part { name: "drivers".to_owned(), paths: vec!["drivers".into()], lines };
        let ring3 = ring3::Limits::default();
        Limits { default: Limit { own, others, unsafe_blocks }, ring3, part: vec![part], table: Vec::new() }
    }

    #[test]
    fn what_grows_past_its_limit_is_told() {
        assert!(compare(&rows(), &limits(100, 20, 8, 40)).is_empty());
        for less in
            [limits(99, 20, 8, 40), limits(100, 19, 8, 40), limits(100, 20, 7, 40), limits(100, 20, 8, 39)]
        {
            assert_eq!(compare(&rows(), &less).len(), 1);
        }
    }

    #[test]
    fn own_lines_parts_of_them_and_others_stand_apart() {
        let table = table(&rows(), &limits(0, 0, 0, 0).part);
        assert!(
            table.ends_with(
                "| machine | 70 | 7 |\n| plan | 30 | 0 |\n| **own** | **100** | **7** |\n\
                 | nvme | 40 | 1 |\n| **drivers** | **40** | **1** |\n\
                 | spin 1.0.0 | 20 | 9 |\n| **others'** | **20** | **9** |\n"
            ),
            "{table}"
        );
    }

    #[test]
    fn a_crate_is_divided_by_its_files() {
        let lines = |code| Lines { code, unsafe_blocks: 1 };
        let files = [("a/lib.rs", 5), ("a/apart.rs", 7), ("a/apart/b.rs", 11), ("a/c.rs", 13)]
            .map(|(f, n)| (f.into(), lines(n)));
        let kind = |file: &Path| {
            if file.starts_with("a/apart.rs") || file.starts_with("a/apart") {
                Kind::Part(2)
            } else {
                Kind::Own
            }
        };
        let divided = divide(&files, kind);
        let sums = [(Kind::Own, 18), (Kind::Part(2), 18)]
            .map(|(kind, code)| (kind, Lines { code, unsafe_blocks: 2 }));
        assert_eq!(divided, sums);
    }
}
