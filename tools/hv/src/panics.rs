//! `cargo hv panics`: which places of the source can panic once guests run, by the call graph
//! of the hypervisor's ELF.
//!
//! From the roots (what runs after the first guest has started) everything that can be called is
//! followed. A function that names a place of the source for the message of a panic can panic
//! there; one that calls what panics and names none counts by its own name. All of them are held
//! against `docs/panics.toml`, where each is argued.

mod graph;
mod image;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::cli;
use crate::workshop::Workshop;
use graph::Graph;
use image::{Image, Location};

/// The arguments.
const ARGUMENTS: &str = "docs/panics.toml";

/// What this check is called among the tests.
pub const NAME: &str = "image/panics";

/// Functions, by the start of their names, that panic when they are called.
const PANICKING: &[&str] = &[
    "core::panicking::",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "core::slice::index::slice_",
    "core::slice::copy_from_slice_impl::len_mismatch_fail",
    "core::slice::sort::shared::smallsort::panic_on_ord_violation",
    "core::str::slice_error_fail",
    "core::cell::panic_",
    "alloc::alloc::handle_alloc_error",
    "alloc::raw_vec::capacity_overflow",
    "alloc::raw_vec::handle_error",
];

/// `docs/panics.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    root: Vec<Argued>,
    boot: Vec<Argued>,
    #[serde(default)]
    panic: Vec<Panic>,
}

/// A function, and why it is where it stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Argued {
    function: String,
    why: String,
}

/// A place that can panic by the call graph, and why it does not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Panic {
    file: String,
    code: Codes,
    why: String,
}

/// One place, or several of a file for which the same holds.
#[derive(Deserialize)]
#[serde(untagged)]
enum Codes {
    One(String),
    Several(Vec<String>),
}

impl Panic {
    fn sites(&self) -> Vec<Site> {
        let codes = match &self.code {
            Codes::One(code) => std::slice::from_ref(code),
            Codes::Several(codes) => codes,
        };
        codes.iter().map(|code| Site { file: self.file.clone(), code: code.clone() }).collect()
    }
}

/// Where something can panic, in words that an edit elsewhere does not change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Site {
    /// The file, from the root of the project, or of the library that it is in.
    file: String,
    /// The line of the source; outside the project, the function.
    code: String,
}

/// A place that was found, and how it is reached.
struct Found {
    /// Lines where the text stands.
    lines: Vec<u32>,
    /// Functions from a root to one that can panic there.
    path: Vec<String>,
    /// How many functions can panic there.
    functions: usize,
}

type Sites = BTreeMap<Site, Found>;

/// Prints each place with its path, and what the arguments lack.
///
/// # Errors
/// When the hypervisor does not build, or places and arguments differ.
pub fn run(workshop: &Workshop, options: &cli::Panics) -> Result<()> {
    let (sites, problems) = examine(workshop, options.elf.as_deref())?;
    for (site, found) in &sites {
        println!("{} {:?} in {} functions", site.file, found.lines, found.functions);
        println!("    {}\n    {}", site.code, found.path.join("\n      > "));
    }
    println!("{} places can panic by the call graph", sites.len());
    ensure!(problems.is_empty(), "{ARGUMENTS}:\n  {}", problems.join("\n  "));
    Ok(())
}

/// Whether places and arguments agree.
///
/// # Errors
/// When the hypervisor does not build or the arguments cannot be read.
pub fn problems(workshop: &Workshop) -> Result<Vec<String>> {
    Ok(examine(workshop, None)?.1)
}

/// Why the image that was built is not the one that is shipped; `None` if it is.
pub fn other_profile() -> Option<&'static str> {
    let settings = ["CARGO_PROFILE_RELEASE_LTO", "CARGO_PROFILE_RELEASE_CODEGEN_UNITS"];
    let is_set = settings.iter().any(|name| std::env::var_os(name).is_some());
    is_set.then_some("the environment changes the profile `release`")
}

fn examine(workshop: &Workshop, elf: Option<&Path>) -> Result<(Sites, Vec<String>)> {
    let root = workshop.project().root();
    let path = root.join(ARGUMENTS);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let arguments: Arguments =
        toml::from_str(&text).with_context(|| format!("{} is not what it should be", path.display()))?;
    let elf = match elf {
        Some(elf) => elf,
        None => workshop.hypervisor()?,
    };
    let bytes = std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let image = Image::read(&bytes)?;
    let mut problems = Vec::new();
    let sites = find(&image, &arguments, &Sources { root }, &mut problems);
    compare(&sites, &arguments, &mut problems);
    Ok((sites, problems))
}

/// What the places found and the arguments have against each other.
fn compare(sites: &Sites, arguments: &Arguments, problems: &mut Vec<String>) {
    let argued: Vec<Site> = arguments.panic.iter().flat_map(Panic::sites).collect();
    for (site, found) in sites {
        if !argued.contains(site) {
            let path = found.path.join(" > ");
            problems.push(format!("not argued: {} {:?}: `{}`, by {path}", site.file, found.lines, site.code));
        }
    }
    for (index, site) in argued.iter().enumerate() {
        if !sites.contains_key(site) {
            problems.push(format!("nothing panics there any more: {}: `{}`", site.file, site.code));
        }
        if argued.iter().take(index).any(|other| other == site) {
            problems.push(format!("argued twice: {}: `{}`", site.file, site.code));
        }
    }
    let functions =
        arguments.root.iter().chain(&arguments.boot).map(|argued| (&argued.function, &argued.why));
    for (name, why) in functions.chain(arguments.panic.iter().map(|argued| (&argued.file, &argued.why))) {
        if why.trim().is_empty() {
            problems.push(format!("no word why: {name}"));
        }
    }
}

/// The sources of the project.
struct Sources<'a> {
    root: &'a Path,
}

impl Sources<'_> {
    /// The site of a location in `function`; `None` for one that a line of the log carries, which
    /// names itself and does not panic.
    fn site(&self, location: &Location, function: &str) -> Option<Site> {
        let (file, is_ours) = shorten(&location.file);
        let text = if is_ours { std::fs::read_to_string(self.root.join(&file)).ok() } else { None };
        let line = text.as_deref().and_then(|text| text.lines().nth(location.line as usize - 1));
        let Some(line) = line else { return Some(Site { file, code: function.to_owned() }) };
        let from = line.chars().skip(location.column as usize - 1).collect::<String>();
        let is_log = from.starts_with("log::");
        // Where the line only opens something, the next one says what.
        let opens = line.trim_end().ends_with('(');
        let next = text.as_deref().and_then(|text| text.lines().nth(location.line as usize));
        let code = match next.filter(|_| opens) {
            Some(next) => format!("{}{}", line.trim(), next.trim()),
            None => line.trim().to_owned(),
        };
        (!is_log).then_some(Site { file, code })
    }
}

/// A path that is the same on every machine, and whether it is one of the project.
fn shorten(file: &str) -> (String, bool) {
    if let Some((_, inside)) = file.rsplit_once("/library/") {
        return (format!("library/{inside}"), false);
    }
    if let Some((_, registry)) = file.split_once("/registry/src/") {
        let inside = registry.split_once('/').map_or(registry, |(_, inside)| inside);
        // Without the version, which a mere update changes.
        let (package, rest) = inside.split_once('/').unwrap_or((inside, ""));
        let name = package.rsplit_once('-').map_or(package, |(name, _)| name);
        return (format!("{name}/{rest}"), false);
    }
    (file.trim_start_matches("./").to_owned(), true)
}

/// Everything that can panic once guests run.
fn find(image: &Image, arguments: &Arguments, sources: &Sources, problems: &mut Vec<String>) -> Sites {
    let graph = Graph::of(image);
    let mut named = |argued: &[Argued]| {
        let mut all = Vec::new();
        for name in argued.iter().map(|argued| &argued.function) {
            let before = all.len();
            let functions = image.functions.iter().enumerate();
            all.extend(functions.filter(|(_, function)| function.name == *name).map(|(index, _)| index));
            if all.len() == before {
                problems.push(format!("there is no function {name}"));
            }
        }
        all
    };
    let (roots, mut cut) = (named(&arguments.root), named(&arguments.boot));
    let panics = |index: usize| {
        image
            .functions
            .get(index)
            .is_some_and(|function| PANICKING.iter().any(|start| function.name.starts_with(start)))
    };
    let allocation_fails = |index: usize| {
        image.functions.get(index).is_some_and(|function| function.name.starts_with("alloc::"))
            && panics(index)
    };
    // What a panic does after it has begun is no matter here.
    cut.extend((0..image.functions.len()).filter(|index| panics(*index)));
    let by = graph.reach(&roots, &cut);
    let mut sites = Sites::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let Some(function) = image.functions.get(index) else { continue };
        if by.get(index).copied().flatten().is_none() {
            continue;
        }
        let mut found: Vec<(Site, Option<u32>)> = node
            .locations
            .iter()
            .filter_map(|location| Some((sources.site(location, &function.name)?, Some(location.line))))
            .collect();
        // What finds no memory says so without a place.
        let allocates = node.calls.iter().any(|callee| allocation_fails(*callee));
        if allocates || found.is_empty() && node.calls.iter().any(|callee| panics(*callee)) {
            let code = function.name.clone();
            found.push((Site { file: "-".to_owned(), code }, None));
        }
        for (site, line) in found {
            let entry = sites.entry(site).or_insert_with(|| Found {
                lines: Vec::new(),
                path: path_to(image, &by, index),
                functions: 0,
            });
            let path = path_to(image, &by, index);
            if path.len() < entry.path.len() {
                entry.path = path;
            }
            entry.lines.extend(line.filter(|line| !entry.lines.contains(line)));
            entry.functions += 1;
        }
    }
    sites
}

/// The names from a root to a function.
fn path_to(image: &Image, by: &[Option<usize>], mut index: usize) -> Vec<String> {
    let mut path = Vec::new();
    loop {
        path.extend(image.functions.get(index).map(|function| function.name.clone()));
        match by.get(index).copied().flatten() {
            Some(before) if before != index => index = before,
            _ => break,
        }
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_same_on_every_machine() {
        let ours = ("hypervisor/devices/src/pit.rs".to_owned(), true);
        assert_eq!(shorten("./hypervisor/devices/src/pit.rs"), ours);
        assert_eq!(shorten("hypervisor/devices/src/pit.rs"), ours);
        let library = ("library/core/src/fmt/mod.rs".to_owned(), false);
        assert_eq!(shorten("/usr/lib/rustlib/src/rust/library/core/src/fmt/mod.rs"), library);
        assert_eq!(shorten("/rustc/0123abcd/library/core/src/fmt/mod.rs"), library);
        let spin = ("spin/src/once.rs".to_owned(), false);
        assert_eq!(shorten("/home/x/.cargo/registry/src/index.crates.io-1949/spin-0.12.0/src/once.rs"), spin);
    }

    fn arguments(panics: &[(&str, &str)]) -> Arguments {
        let panic = |&(code, why): &(&str, &str)| Panic {
            file: "a.rs".to_owned(),
            code: Codes::One(code.to_owned()),
            why: why.to_owned(),
        };
        Arguments { root: Vec::new(), boot: Vec::new(), panic: panics.iter().map(panic).collect() }
    }

    #[test]
    fn what_is_new_and_what_is_gone_are_problems() {
        let site = Site { file: "a.rs".to_owned(), code: "x[i]".to_owned() };
        let found = Found { lines: vec![1], path: vec!["root".to_owned()], functions: 1 };
        let sites = Sites::from([(site, found)]);
        let count = |panics: &[(&str, &str)]| {
            let mut problems = Vec::new();
            compare(&sites, &arguments(panics), &mut problems);
            problems.len()
        };
        assert_eq!(count(&[("x[i]", "i is below 4")]), 0);
        assert_eq!(count(&[]), 1);
        assert_eq!(count(&[("x[i]", "i is below 4"), ("y[i]", "gone")]), 1);
        assert_eq!(count(&[("x[i]", " ")]), 1);
        assert_eq!(count(&[("x[i]", "once"), ("x[i]", "again")]), 1);
    }

    #[test]
    fn a_line_of_the_log_is_no_panic() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let sources = Sources { root };
        let file = "tools/hv/src/panics.rs";
        let text = std::fs::read_to_string(root.join(file)).expect("this file");
        let place = |marker: &str, offset: usize| {
            let index = text.lines().position(|line| line.trim() == marker).expect("a line");
            let line = text.lines().nth(index).expect("a line");
            let column = (line.len() - line.trim_start().len() + 1 + offset) as u32;
            Location { file: file.to_owned(), line: index as u32 + 1, column }
        };
        const SAMPLE: &str = "
log::warn!(sample[0]);
";
        assert!(SAMPLE.starts_with('\n'));
        assert_eq!(sources.site(&place("log::warn!(sample[0]);", 0), "f"), None);
        let inside = sources.site(&place("log::warn!(sample[0]);", 11), "f").expect("an index in it");
        assert_eq!(inside.code, "log::warn!(sample[0]);");
    }
}
