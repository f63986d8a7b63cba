//! The modules of a crate, the names that they have, and what a path means in one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ExprLit, Item, ItemUse, Lit, Meta, UseTree, Visibility};

/// How many names a name may lead to before it is given up: names can be each other's.
const LONGEST_CHAIN: usize = 16;

/// A crate's sources.
#[derive(Default)]
pub struct Crate {
    files: Vec<String>,
    modules: Vec<Module>,
}

/// One module, in a file of its own or in braces.
pub struct Module {
    /// Its file, as an index into [`Crate::files`].
    pub file: usize,
    /// What stands in it, without what is for tests and documentation.
    pub items: Vec<Item>,
    /// What its `use`s bring in.
    pub uses: Vec<Use>,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    /// The names of what is made here.
    names: BTreeSet<String>,
}

/// A name that a `use` brings in.
#[derive(Clone, Debug)]
pub struct Use {
    /// The name; `None` stands for all of them.
    pub name: Option<String>,
    /// What it is the name of.
    pub path: Vec<String>,
    /// Whether it only passes the name on.
    pub is_public: bool,
    /// The line that it ends on.
    pub line: usize,
}

/// What a path leads to: a file of the crate, and the name there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    /// As an index into [`Crate::files`].
    pub file: usize,
    /// The name; the last module's if it is no item's.
    pub name: &'a str,
}

impl Crate {
    /// Reads the crate whose first file is `root`, from module to module.
    ///
    /// # Errors
    /// When a file of it cannot be read, or is not Rust.
    pub fn read(root: &Path) -> Result<Self> {
        let folder = root.parent().unwrap_or(Path::new(""));
        let mut krate = Self::default();
        krate.read_file(root, folder, folder, None)?;
        Ok(krate)
    }

    /// The files, by their names in the crate's `src`.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// The modules.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// Reads `file`, a module of `parent` whose own modules' files are in `folder`.
    fn read_file(&mut self, file: &Path, folder: &Path, src: &Path, parent: Option<usize>) -> Result<usize> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let parsed = syn::parse_file(&text).with_context(|| format!("{} is not Rust", file.display()))?;
        self.files.push(file.strip_prefix(src).unwrap_or(file).display().to_string());
        let index = self.files.len() - 1;
        self.add(parsed.items, Location { file, folder, src, index }, parent)
    }

    /// Adds a module with these items.
    fn add(&mut self, items: Vec<Item>, at: Location, parent: Option<usize>) -> Result<usize> {
        let own = self.modules.len();
        let (mut children, mut kept) = (Vec::new(), Vec::new());
        let mut module = Module {
            file: at.index,
            parent,
            items: Vec::new(),
            uses: Vec::new(),
            children: BTreeMap::new(),
            names: BTreeSet::new(),
        };
        for item in items.into_iter().filter(|item| !is_left_out(attributes(item))) {
            match item {
                Item::Mod(child) => children.push(child),
                item => {
                    module.names.extend(name_of(&item));
                    UsesOf(&mut module.uses).visit_item(&item);
                    kept.push(item);
                }
            }
        }
        module.items = kept;
        self.modules.push(module);
        for child in children {
            let name = child.ident.to_string().trim_start_matches("r#").to_owned();
            let inner = at.folder.join(&name);
            let index = match child.content {
                Some((_, items)) => self.add(items, Location { folder: &inner, ..at }, Some(own))?,
                None => {
                    let (file, folder) = file_of(&child.attrs, &name, at, &inner);
                    self.read_file(&file, &folder, at.src, Some(own))?
                }
            };
            self.modules[own].children.insert(name, index);
        }
        Ok(own)
    }

    /// What `path` leads to from module `from`; `None` for another crate's, and for what is unknown.
    pub fn resolve<'a>(&'a self, from: usize, path: &'a [String]) -> Option<Place<'a>> {
        self.follow(from, path, true, LONGEST_CHAIN)
    }

    /// `path` from `module`; `is_first` until it has left the module where it is written.
    fn follow<'a>(
        &'a self,
        module: usize,
        path: &'a [String],
        is_first: bool,
        left: usize,
    ) -> Option<Place<'a>> {
        let left = left.checked_sub(1)?;
        let Some((name, rest)) = path.split_first() else {
            return Some(Place { file: self.modules[module].file, name: "" });
        };
        let here = &self.modules[module];
        let next = match name.as_str() {
            "crate" => Some(0),
            "self" => Some(module),
            "super" => Some(here.parent?),
            other => here.children.get(other).copied(),
        };
        if let Some(next) = next {
            let place = self.follow(next, rest, false, left)?;
            return Some(if place.name.is_empty() { Place { name, ..place } } else { place });
        }
        if here.names.contains(name) {
            return Some(Place { file: here.file, name });
        }
        let named = || here.uses.iter().filter(|named| named.name.as_ref() == Some(name));
        for named in named() {
            if let Some(place) = self.follow(module, &named.path, true, left) {
                // What it is in is known; if that is a module, the rest of the path is there.
                let within = self.module_at(module, &named.path, left);
                let deeper = within.filter(|_| !rest.is_empty());
                return deeper.map_or(Some(place), |within| self.follow(within, rest, false, left));
            }
        }
        let all = here.uses.iter().filter(|named| named.name.is_none());
        for within in all.filter_map(|named| self.module_at(module, &named.path, left)) {
            if within != module && self.has(within, name, left) {
                return self.follow(within, path, false, left);
            }
        }
        // Another crate's, which this module passes on or begins with; else a macro has made it.
        (!is_first && named().next().is_none()).then_some(Place { file: here.file, name })
    }

    /// The module that `path` is the name of.
    fn module_at(&self, module: usize, path: &[String], left: usize) -> Option<usize> {
        let left = left.checked_sub(1)?;
        let Some((name, rest)) = path.split_first() else { return Some(module) };
        let here = &self.modules[module];
        let next = match name.as_str() {
            "crate" => Some(0),
            "self" => Some(module),
            "super" => here.parent,
            other => here.children.get(other).copied(),
        };
        let named = || here.uses.iter().find(|named| named.name.as_ref() == Some(name));
        let next = next.or_else(|| self.module_at(module, &named()?.path, left))?;
        self.module_at(next, rest, left)
    }

    /// Whether `module` has the name.
    fn has(&self, module: usize, name: &str, left: usize) -> bool {
        let Some(left) = left.checked_sub(1) else { return false };
        let here = &self.modules[module];
        let named = |named: &Use| match &named.name {
            Some(own) => own == name,
            None => self
                .module_at(module, &named.path, left)
                .is_some_and(|within| within != module && self.has(within, name, left)),
        };
        here.names.contains(name) || here.children.contains_key(name) || here.uses.iter().any(named)
    }
}

/// Where a module's items are written.
#[derive(Clone, Copy)]
struct Location<'a> {
    file: &'a Path,
    /// Where the files of its modules are.
    folder: &'a Path,
    src: &'a Path,
    index: usize,
}

/// The file of module `name`, and the folder of its own modules.
fn file_of(attributes: &[Attribute], name: &str, at: Location, inner: &Path) -> (PathBuf, PathBuf) {
    if let Some(path) = path_of(attributes) {
        let file = at.file.parent().unwrap_or(Path::new("")).join(path);
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        return (file, folder);
    }
    let beside = at.folder.join(format!("{name}.rs"));
    (if beside.exists() { beside } else { inner.join("mod.rs") }, inner.to_owned())
}

/// The path of `#[path = "..."]`.
fn path_of(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(path), .. }) => Some(path.value()),
            _ => None,
        },
        _ => None,
    })
}

/// Whether something is compiled for tests or the documentation alone.
pub fn is_left_out(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is = |path: syn::Path| path.is_ident("test") || path.is_ident("doc");
        let condition = || attribute.parse_args::<syn::Path>().is_ok_and(is);
        attribute.path().is_ident("test") || attribute.path().is_ident("cfg") && condition()
    })
}

/// An item's attributes.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn name_of(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Macro(item) => item.ident.as_ref()?.to_string(),
        Item::Static(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        Item::Union(item) => item.ident.to_string(),
        _ => return None,
    })
}

/// Collects what `use`s bring in, also those in functions.
struct UsesOf<'a>(&'a mut Vec<Use>);

impl<'ast> Visit<'ast> for UsesOf<'_> {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_some() || is_left_out(&item.attrs) {
            return;
        }
        let is_public = !matches!(item.vis, Visibility::Inherited);
        let line = item.semi_token.span.start().line;
        spread(&item.tree, &mut Vec::new(), &mut |name, path| {
            self.0.push(Use { name, path: path.to_vec(), is_public, line });
        });
        visit::visit_item_use(self, item);
    }
}

/// Gives each name that `tree`, which stands behind `path`, brings in.
fn spread(tree: &UseTree, path: &mut Vec<String>, on: &mut impl FnMut(Option<String>, &[String])) {
    match tree {
        UseTree::Path(inner) => {
            path.push(inner.ident.to_string());
            spread(&inner.tree, path, on);
            path.pop();
        }
        UseTree::Name(last) if last.ident == "self" => on(path.last().cloned(), path),
        UseTree::Rename(last) if last.ident == "self" => on(Some(last.rename.to_string()), path),
        UseTree::Name(last) => {
            path.push(last.ident.to_string());
            on(path.last().cloned(), path);
            path.pop();
        }
        UseTree::Rename(last) => {
            path.push(last.ident.to_string());
            on(Some(last.rename.to_string()), path);
            path.pop();
        }
        UseTree::Glob(_) => on(None, path),
        UseTree::Group(group) => group.items.iter().for_each(|tree| spread(tree, path, on)),
    }
}
