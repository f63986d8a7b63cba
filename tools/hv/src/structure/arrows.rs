//! Which file of a crate needs which.
//!
//! A file needs another if it names something there, outside of the `impl` blocks of a type of that other
//! file: a type's methods may be spread over files. A `use` that only passes a name on needs nothing; one
//! whose name is not written again (a trait's, for its methods) needs what it is the name of.

use std::collections::BTreeSet;
use std::fmt;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemImpl, Macro, Path, Type, Visibility};

use super::modules::{Crate, attributes, is_left_out};

/// One file needs another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Arrow {
    /// The file that needs, by its name in the crate's `src`.
    pub from: String,
    /// The file that is needed.
    pub to: String,
    /// What for.
    pub name: String,
    /// Where it says so first.
    pub line: usize,
}

impl fmt::Display for Arrow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{} names `{}` of {}", self.from, self.line, self.name, self.to)
    }
}

/// The arrows between the files of `krate`, each once a name.
pub fn of(krate: &Crate) -> Vec<Arrow> {
    let mut found = Vec::new();
    for (index, module) in krate.modules().iter().enumerate() {
        let mut reader =
            Reader { krate, module: index, home: None, written: BTreeSet::new(), found: &mut found };
        module.items.iter().for_each(|item| reader.visit_item(item));
        let written = std::mem::take(&mut reader.written);
        for named in module.uses.iter().filter(|named| !named.is_public) {
            if named.name.as_ref().is_none_or(|name| !written.contains(name)) {
                reader.take(&named.path, named.line);
            }
        }
    }
    found.sort();
    found.dedup_by(|next, first| (&next.from, &next.to, &next.name) == (&first.from, &first.to, &first.name));
    found
}

/// Reads what a module names.
struct Reader<'a> {
    krate: &'a Crate,
    module: usize,
    /// The file of the type whose `impl` block this is in.
    home: Option<usize>,
    /// First names of paths, wherever they lead.
    written: BTreeSet<String>,
    found: &'a mut Vec<Arrow>,
}

impl Reader<'_> {
    fn take(&mut self, path: &[String], line: usize) {
        let own = self.krate.modules()[self.module].file;
        let Some(place) = self.krate.resolve(self.module, path) else { return };
        if place.file == own || self.home == Some(place.file) {
            return;
        }
        let file = |index: usize| self.krate.files()[index].clone();
        self.found.push(Arrow { from: file(own), to: file(place.file), name: place.name.to_owned(), line });
    }

    /// Paths in what a macro is given, which may be no Rust.
    fn take_tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut line) = (Vec::new(), 0);
        let (mut colons, mut is_field) = (0, false);
        for token in tokens {
            match &token {
                TokenTree::Ident(ident) if path.is_empty() || colons == 2 => {
                    line = ident.span().start().line;
                    if !is_field {
                        path.push(ident.to_string());
                    }
                    (colons, is_field) = (0, false);
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() && colons < 2 => {
                    colons += 1;
                    continue;
                }
                _ => {}
            }
            self.end(&mut path, line);
            (colons, is_field) = (0, matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '.'));
            match token {
                TokenTree::Group(group) => self.take_tokens(group.stream()),
                TokenTree::Ident(ident) => {
                    line = ident.span().start().line;
                    path.push(ident.to_string());
                }
                _ => {}
            }
        }
        self.end(&mut path, line);
    }

    /// A single lower-case name is more likely a variable's.
    fn end(&mut self, path: &mut Vec<String>, line: usize) {
        let path = std::mem::take(path);
        let Some(first) = path.first() else { return };
        self.written.insert(first.clone());
        if path.len() > 1 || first.starts_with(char::is_uppercase) {
            self.take(&path, line);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_left_out(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let home = match &*item.self_ty {
            Type::Path(of) if of.qself.is_none() => {
                self.krate.resolve(self.module, &words(&of.path)).map(|place| place.file)
            }
            _ => None,
        };
        let outer = std::mem::replace(&mut self.home, home);
        visit::visit_item_impl(self, item);
        self.home = outer;
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if path.leading_colon.is_none() {
            let words = words(path);
            self.written.extend(words.first().cloned());
            self.take(&words, path.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.take_tokens(call.tokens.clone());
    }

    // `pub(in path)` names nothing that is needed, and attributes are others'.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

fn words(path: &Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}
