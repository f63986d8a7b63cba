use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A folder with files that a test has made up.
struct Tree(PathBuf);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let tree = Self(std::env::temp_dir().join(format!("hv-structure-{}-{number}", std::process::id())));
        for (name, text) in files {
            let file = tree.0.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        tree
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn arrows(files: &[(&str, &str)]) -> Vec<String> {
    let tree = Tree::new(files);
    let arrows = arrows::of(&Crate::read(&tree.0.join("lib.rs")).unwrap());
    arrows.iter().map(|arrow| format!("{} -> {}: {}", arrow.from, arrow.to, arrow.name)).collect()
}

fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let tree = Tree::new(files);
    let krate = Crate::read(&tree.0.join("lib.rs")).unwrap();
    circles::find(krate.files(), &arrows::of(&krate)).into_iter().map(|circle| circle.files).collect()
}

#[test]
fn names_lead_to_the_file_where_they_are_made() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\nmod c;\npub use a::Made;\n"),
        ("a.rs", "pub struct Made;\npub fn make() {}\npub enum Kind { One }\n"),
        ("b.rs", "use crate::{Made, a::{self, Kind::One}};\nfn f() -> Made { a::make(); One; Made }\n"),
        (
            "c.rs",
            "use super::a::*;\nfn f(_: Made) { inner::g(); }\nmod inner { pub fn g() { super::super::b::f() } }\n",
        ),
    ];
    let expected = [
        "b.rs -> a.rs: Kind",
        "b.rs -> a.rs: Made",
        "b.rs -> a.rs: make",
        "c.rs -> a.rs: Made",
        "c.rs -> a.rs: a",
        "c.rs -> b.rs: f",
    ];
    assert_eq!(arrows(&files), expected);
}

#[test]
fn passing_a_name_on_needs_nothing() {
    let files = [
        ("lib.rs", "mod a;\npub use a::make;\npub struct Root;\npub use spec::Hpa;\n"),
        ("a.rs", "pub fn make(_: crate::Root, _: crate::Hpa) {}\n"),
    ];
    assert_eq!(arrows(&files), ["a.rs -> lib.rs: Root"]);
}

#[test]
fn a_trait_is_needed_for_its_methods() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\n"),
        ("a.rs", "pub trait Wide { fn w(&self) {} }\nimpl Wide for u8 {}\n"),
        ("b.rs", "use crate::a::Wide as _;\nfn f() { 1u8.w() }\n"),
    ];
    assert_eq!(arrows(&files), ["b.rs -> a.rs: Wide"]);
}

#[test]
fn what_macros_are_given_counts() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\n"),
        ("a.rs", "pub const X: u8 = 1;\npub fn level() -> u8 { 0 }\n"),
        (
            "b.rs",
            "use crate::a::level;\nfn f(level: u8) { assert!(level == crate::a::X); }\nfn g() { level(); }\n",
        ),
    ];
    assert_eq!(arrows(&files), ["b.rs -> a.rs: X", "b.rs -> a.rs: level"]);
}

#[test]
fn other_crates_tests_and_documentation_do_not_count() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\n"),
        ("a.rs", "pub fn f() {}\n"),
        (
            "b.rs",
            "use core::fmt;\npub(in crate::a) fn g(_: ::a::X, _: fmt::Error) {}\n#[cfg(test)]\nuse crate::a::f;\n\
             #[cfg(doc)]\nuse crate::a::X;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nfn h() { crate::a::f() }\n",
        ),
        ("b/tests.rs", "use super::*;\n#[test]\nfn t() { crate::a::f() }\n"),
    ];
    assert_eq!(arrows(&files), [""; 0]);
}

#[test]
fn two_files_that_need_each_other_are_a_circle() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\nmod c;\nfn f() { a::f(); c::f(); }\n"),
        ("a.rs", "pub fn f() { crate::b::f() }\n"),
        ("b/mod.rs", "mod deep;\npub fn f() { deep::f() }\n"),
        ("b/deep.rs", "pub fn f() { crate::a::f() }\n"),
        ("c.rs", "pub fn f() { crate::a::f() }\n"),
    ];
    assert_eq!(circles(&files), [["a.rs", "b/mod.rs", "b/deep.rs"]]);
}

#[test]
fn the_methods_of_a_type_may_be_in_several_files() {
    let child = "use super::{Vcpu, LIMIT};\nimpl Vcpu {\n    pub fn run(&self) -> u8 { super::LIMIT + LIMIT }\n}\n\
                 pub fn help() {}\n";
    let parent = "mod child;\npub struct Vcpu;\nconst LIMIT: u8 = 1;\nfn f() { child::help() }\n";
    assert_eq!(circles(&[("lib.rs", parent), ("child.rs", child)]), [[""; 0]; 0]);
    // Outside of them it is the same arrow as any other.
    let child = &format!("{child}fn g(_: Vcpu) {{}}\n");
    assert_eq!(circles(&[("lib.rs", parent), ("child.rs", child)]), [["lib.rs", "child.rs"]]);
}

#[test]
fn names_of_each_other_end() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\npub use a::*;\n"),
        ("a.rs", "pub use crate::b::*;\npub use crate::b::X;\nfn f() { X }\n"),
        ("b.rs", "pub use crate::a::*;\npub use crate::a::X;\nfn f() { X; Y }\n"),
    ];
    assert_eq!(circles(&files), [[""; 0]; 0]);
}

#[test]
fn a_crate_that_is_no_rust_is_an_error() {
    let tree = Tree::new(&[("lib.rs", "mod gone;\n"), ("odd.rs", "fn {")]);
    let said = |file: &str| format!("{:#}", Crate::read(&tree.0.join(file)).err().unwrap());
    assert!(said("lib.rs").contains("gone"), "{}", said("lib.rs"));
    assert!(said("odd.rs").contains("odd.rs is not Rust"), "{}", said("odd.rs"));
}

/// `hypervisor/low`, `hypervisor/high` and `drivers/odd`, where `low` uses what is in `uses`.
fn metadata(tree: &Tree, uses: &str) -> String {
    let root = tree.0.display();
    let package = |folder: &str, name: &str, uses: &str| {
        format!(
            r#"{{"name": "{name}", "manifest_path": "{root}/{folder}/{name}/Cargo.toml", "dependencies": [{uses}],
            "targets": [{{"kind": ["lib"], "src_path": "{root}/{folder}/{name}/src/lib.rs"}}]}}"#
        )
    };
    let high = r#"{"name": "low", "path": "x", "kind": null}, {"name": "serde", "path": null, "kind": null}"#;
    let packages = [
        package("hypervisor", "low", uses),
        package("hypervisor", "high", high),
        package("drivers", "odd", ""),
        package("tools", "hv", ""),
    ];
    format!(r#"{{"packages": [{}]}}"#, packages.join(","))
}

fn tree() -> Tree {
    Tree::new(&[
        ("hypervisor/low/src/lib.rs", "mod a;\nmod b;\n"),
        ("hypervisor/low/src/a.rs", "pub fn f() { crate::b::f() }\n"),
        ("hypervisor/low/src/b.rs", "pub fn f() { crate::a::f() }\n"),
        ("hypervisor/high/src/lib.rs", ""),
        ("drivers/odd/src/lib.rs", ""),
        ("drivers/odd/target/built.rs", &"\n".repeat(601)),
        ("tools/hv/src/main.rs", &"\n".repeat(601)),
    ])
}

/// A shape that the tree has.
const SHAPE_OF_TREE: &str = r#"
    layers = [["low"], ["high", "odd"]]
    [[circle]]
    crate = "low"
    files = ["b.rs", "a.rs"]
    why = "they are two halves of one parser"
"#;

fn examined(tree: &Tree, shape: &str, uses: &str) -> Vec<String> {
    examine(&tree.0, &toml::from_str(shape).unwrap(), &metadata(tree, uses)).unwrap().problems
}

fn assert_one(problems: &[String], parts: &[&str]) {
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(parts.iter().all(|part| problems[0].contains(part)), "{problems:?}");
}

#[test]
fn a_tree_of_its_shape_has_no_problem() {
    assert_eq!(examined(&tree(), SHAPE_OF_TREE, ""), [""; 0]);
}

#[test]
fn arrows_upward_and_aside_are_told() {
    let used = |name: &str, kind: &str| format!(r#"{{"name": "{name}", "path": "x", "kind": {kind}}}"#);
    let tree = tree();
    let problems = examined(&tree, SHAPE_OF_TREE, &used("high", "null"));
    assert_one(&problems, &["`low` of layer 1 uses `high` of layer 2"]);
    assert_one(&examined(&tree, SHAPE_OF_TREE, &used("high", "\"build\"")), &["uses `high`"]);
    assert_eq!(examined(&tree, SHAPE_OF_TREE, &used("high", "\"dev\"")), [""; 0]);
    assert_one(&examined(&tree, SHAPE_OF_TREE, &used("hv", "null")), &["`low` uses `hv`", "in no layer"]);
    let aside = SHAPE_OF_TREE.replace(r#"["low"], ["high", "odd"]"#, r#"["low", "high"], ["odd"]"#);
    assert_one(&examined(&tree, &aside, ""), &["`high` of layer 1 uses `low` of layer 1"]);
}

#[test]
fn every_crate_has_one_layer() {
    let tree = tree();
    let with = |layers: &str| SHAPE_OF_TREE.replace(r#"[["low"], ["high", "odd"]]"#, layers);
    assert_one(&examined(&tree, &with(r#"[["low"], ["high"]]"#), ""), &["`odd` stands in no layer"]);
    let gone = with(r#"[["low"], ["high", "odd", "gone"]]"#);
    assert_one(&examined(&tree, &gone, ""), &["`gone`", "no such crate"]);
    let twice = with(r#"[["low"], ["high", "odd"], ["odd"]]"#);
    assert_one(&examined(&tree, &twice, ""), &["`odd` stands in two layers"]);
}

#[test]
fn a_circle_is_known_with_all_of_its_files_and_a_reason() {
    let tree = tree();
    let (layers, _) = SHAPE_OF_TREE.split_once("[[circle]]").unwrap();
    let problems = examined(&tree, layers, "");
    assert_one(&problems, &["in `low`", "a.rs:1 names `f` of b.rs; b.rs:1 names `f` of a.rs"]);
    let why = SHAPE_OF_TREE.replace("they are two halves of one parser", " ");
    assert_one(&examined(&tree, &why, ""), &["does not say why"]);
    let more = SHAPE_OF_TREE.replace(r#""b.rs", "#, r#""b.rs", "c.rs", "#);
    let problems = examined(&tree, &more, "");
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[1].contains("the circle of b.rs, c.rs, a.rs in `low` is not there"), "{problems:?}");
}

#[test]
fn a_circle_that_is_gone_is_told() {
    let tree = tree();
    std::fs::write(tree.0.join("hypervisor/low/src/b.rs"), "pub fn f() {}\n").unwrap();
    assert_one(&examined(&tree, SHAPE_OF_TREE, ""), &["is not there", "take it out of docs/structure.toml"]);
}

#[test]
fn a_file_of_601_lines_is_too_long() {
    let tree = tree();
    let file = tree.0.join("hypervisor/high/src/lib.rs");
    std::fs::write(&file, "\n".repeat(600)).unwrap();
    assert_eq!(examined(&tree, SHAPE_OF_TREE, ""), [""; 0]);
    std::fs::write(&file, "\n".repeat(601)).unwrap();
    assert_one(&examined(&tree, SHAPE_OF_TREE, ""), &["hypervisor/high/src/lib.rs has 601 lines"]);
}
