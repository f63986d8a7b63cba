//! `cargo hv count --profile ring3`: the own lines of ring 0 that are left when nothing is linked into it that can be
//! in ring 3, by the ELF that is built so.
//!
//! A file counts with all its lines, as in [`super`], unless two things hold: `docs/ring0.toml` says that it leaves,
//! and why, and the ELF's line table has no line of it. So what the linker throws away counts as long as nobody has
//! argued that it leaves, and what was argued and is linked all the same counts too. What only declares something has
//! no line there in any ELF, and counts. How many lines are in the table stands beside it: that is
//! less, since signatures, types and constants are not, and it moves with the compiler.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::linked::{self, Linked};
use super::{LIMITS, Package, Part, ROOT, cargo, compare_parts_of, count_packages, over, tree};
use crate::kernel;
use crate::project::Project;

/// What this profile may have at most, and what leaves in it.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Own lines, but for those of parts.
    own: usize,
    /// Own lines that are counted apart, with a limit of their own.
    #[serde(default)]
    part: Vec<Part>,
    /// What leaves.
    #[serde(default)]
    leaves: Vec<Leaves>,
}

/// Files that leave.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaves {
    why: String,
    /// Files and folders, from the project's root.
    paths: Vec<PathBuf>,
}

impl Limits {
    /// All files and folders that are named.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let parts = self.part.iter().flat_map(|part| &part.paths);
        parts.chain(self.leaves.iter().flat_map(|leaves| &leaves.paths))
    }
}

/// What becomes of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Stays,
    /// It stays, and counts in the part of this number.
    Apart(usize),
    /// It leaves, by the reason of this number.
    Leaves(usize),
}

/// A file of the project's.
#[derive(Clone, PartialEq, Eq, Debug)]
struct File {
    /// From the project's root.
    path: PathBuf,
    package: String,
    /// Lines with code.
    code: usize,
    /// Those in the ELF's line table.
    in_elf: usize,
    fate: Fate,
}

/// Prints lines by package, the sums, and each file where that `shows_files`.
///
/// # Errors
/// When cargo or a file cannot be read, or a limit is passed.
pub fn run(project: &Project, elf: &Path, shows_files: bool) -> Result<()> {
    let all = super::limits(project)?;
    let limits = &all.ring3;
    let bytes = std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let linked = linked::read(&bytes).with_context(|| elf.display().to_string())?;
    let root = project.root();
    let metadata: Value = serde_json::from_str(&cargo(root, &["metadata", "--format-version", "1"])?)?;
    let packages = count_packages(tree(root, ROOT, kernel::RING3_FEATURES)?, &metadata)?;
    let (own, others): (Vec<_>, Vec<_>) = packages.into_iter().partition(|package| package.is_own);
    let files = files(&own, root, &linked, limits);
    let others = others.iter().flat_map(|package| &package.files).map(|(_, lines)| lines.code).sum();
    print!("{}", table(&files, limits, &all.part, others));
    if shows_files {
        print!("\n{}", table_of_files(&files));
    }
    let problems = problems(&files, limits);
    ensure!(problems.is_empty(), "{}", problems.join("\n  "));
    Ok(())
}

/// The files of these packages, and what becomes of each.
fn files(packages: &[Package], root: &Path, linked: &Linked, limits: &Limits) -> Vec<File> {
    let mut files = Vec::new();
    for package in packages {
        for (path, lines) in &package.files {
            let path = path.strip_prefix(root).unwrap_or(path).to_owned();
            let in_elf = linked.get(&path).map_or(0, std::collections::BTreeSet::len);
            let leaves = limits.leaves.iter().position(|leaves| is_below(&path, &leaves.paths));
            let fate = match (leaves, limits.part.iter().position(|part| part.holds(&path))) {
                (Some(number), _) if in_elf == 0 => Fate::Leaves(number),
                (_, Some(number)) => Fate::Apart(number),
                (_, None) => Fate::Stays,
            };
            files.push(File { path, package: package.name.clone(), code: lines.code, in_elf, fate });
        }
    }
    files
}

fn is_below(file: &Path, paths: &[PathBuf]) -> bool {
    paths.iter().any(|path| file.starts_with(path))
}

/// Lines with code, and those in the ELF's line table, of the files for which `is_wanted`.
fn sum(files: &[File], is_wanted: impl Fn(&File) -> bool) -> (usize, usize) {
    let wanted = files.iter().filter(|file| is_wanted(file));
    wanted.fold((0, 0), |(code, with), file| (code + file.code, with + file.in_elf))
}

fn problems(files: &[File], limits: &Limits) -> Vec<String> {
    let own = sum(files, |file| file.fate == Fate::Stays).0;
    let mut problems = Vec::new();
    if own > limits.own {
        problems.push(over("own lines of the profile ring3", own, limits.own));
    }
    let count = |number| sum(files, |file| file.fate == Fate::Apart(number)).0;
    problems.extend(compare_parts_of(&limits.part, count));
    for (number, leaves) in limits.leaves.iter().enumerate() {
        for path in &leaves.paths {
            if !files.iter().any(|file| file.fate == Fate::Leaves(number) && file.path.starts_with(path)) {
                problems.push(format!("nothing of {} leaves, which {LIMITS} says", path.display()));
            }
        }
    }
    problems
}

fn table(files: &[File], limits: &Limits, parts: &[Part], others: usize) -> String {
    let mut text = "| ring 0, profile ring3 | lines | in the ELF |\n|---|---:|---:|\n".to_owned();
    let mut row = |name: &str, (code, with): (usize, usize)| {
        let _ = writeln!(text, "| {name} | {code} | {with} |");
    };
    let stays = |file: &File| file.fate == Fate::Stays;
    let mut packages: Vec<&str> = files.iter().map(|file| file.package.as_str()).collect();
    packages.sort_unstable();
    packages.dedup();
    let of_package = |name: &&str| sum(files, |file| stays(file) && file.package == *name);
    packages.sort_by_key(|name| std::cmp::Reverse(of_package(name)));
    packages.iter().filter(|name| of_package(name).0 > 0).for_each(|name| row(name, of_package(name)));
    row("**own**", sum(files, stays));
    for part in parts {
        row(&format!("of them {}", part.name), sum(files, |file| stays(file) && part.holds(&file.path)));
    }
    for (number, part) in limits.part.iter().enumerate() {
        row(&format!("**{}**", part.name), sum(files, |file| file.fate == Fate::Apart(number)));
    }
    for (number, leaves) in limits.leaves.iter().enumerate() {
        row(&format!("left out: {}", leaves.why), sum(files, |file| file.fate == Fate::Leaves(number)));
    }
    row("**left out**", sum(files, |file| matches!(file.fate, Fate::Leaves(_))));
    let _ = writeln!(text, "| **others'**, all that is compiled | **{others}** | |");
    text
}

/// Each file that stays, the longest first.
fn table_of_files(files: &[File]) -> String {
    let mut files: Vec<&File> = files.iter().filter(|file| !matches!(file.fate, Fate::Leaves(_))).collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.code));
    let mut text = "| file | lines | in the ELF |\n|---|---:|---:|\n".to_owned();
    for File { path, code, in_elf, .. } in files {
        let _ = writeln!(text, "| {} | {code} | {in_elf} |", path.display());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::source::Lines;
    use super::*;

    /// A package of five files, of which two are linked.
    fn counted(limits: &Limits) -> Vec<File> {
        let file = |(name, code): (&str, usize)| {
            (Path::new("/project").join(name), Lines { code, unsafe_blocks: 0 })
        };
        let files =
            [("a/lib.rs", 5), ("a/words.rs", 7), ("a/model.rs", 11), ("a/model/in.rs", 13), ("b/lib.rs", 17)];
        let files = files.map(file).to_vec();
        let package = Package { name: "a".to_owned(), version: String::new(), is_own: true, files };
        let linked = [("a/lib.rs", 3), ("a/model/in.rs", 2)]
            .map(|(name, lines)| (PathBuf::from(name), (1..=lines).collect()))
            .into();
        super::files(&[package], Path::new("/project"), &linked, limits)
    }

    fn limits(own: usize, planner: usize, leaves: &[&str]) -> Limits {
        let part = Part { name: "planner".to_owned(), paths: vec!["b".into()], lines: planner };
        let paths = leaves.iter().map(PathBuf::from).collect();
        Limits { own, part: vec![part], leaves: vec![Leaves { why: "it is a model".to_owned(), paths }] }
    }

    #[test]
    fn what_is_linked_counts_whatever_is_said_to_leave() {
        let limits = limits(25, 17, &["a/model.rs", "a/model"]);
        let files = counted(&limits);
        let fates: Vec<Fate> = files.iter().map(|file| file.fate).collect();
        assert_eq!(fates, [Fate::Stays, Fate::Stays, Fate::Leaves(0), Fate::Stays, Fate::Apart(0)]);
        assert_eq!(sum(&files, |file| file.fate == Fate::Stays), (25, 5));
        // Of `a/model` nothing leaves.
        assert_eq!(problems(&files, &limits).len(), 1);
    }

    #[test]
    fn what_is_not_said_to_leave_counts_without_code_too() {
        for (own, planner, is_told) in [(36, 17, false), (35, 17, true), (36, 16, true)] {
            let limits = Limits { leaves: Vec::new(), ..limits(own, planner, &[]) };
            assert_eq!(!problems(&counted(&limits), &limits).is_empty(), is_told, "{own} {planner}");
        }
    }

    #[test]
    fn the_table_has_what_stays_and_what_leaves() {
        let limits = limits(0, 0, &["a/model.rs"]);
        let part = Part { name: "functions".to_owned(), paths: vec!["a/model".into()], lines: 0 };
        let table = table(&counted(&limits), &limits, &[part], 19);
        assert!(
            table.ends_with(
                "| a | 25 | 5 |\n| **own** | 25 | 5 |\n| of them functions | 13 | 2 |\n\
                 | **planner** | 17 | 0 |\n| left out: it is a model | 11 | 0 |\n\
                 | **left out** | 11 | 0 |\n| **others'**, all that is compiled | **19** | |\n"
            ),
            "{table}"
        );
        let files = table_of_files(&counted(&limits));
        assert!(files.contains("| b/lib.rs | 17 | 0 |\n| a/model/in.rs | 13 | 2 |\n"), "{files}");
    }
}
