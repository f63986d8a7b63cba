//! The lines of a crate that are compiled, without comments, blanks and tests.

use std::collections::BTreeSet;
use std::iter::Sum;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ExprLit, Item, ItemMod, Lit, Meta};

use super::conditions::Conditions;

/// What was counted.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Lines {
    /// Lines with code on them.
    pub code: usize,
    /// Blocks that are `unsafe`, those in the bodies of macros included.
    pub unsafe_blocks: usize,
}

impl Sum for Lines {
    fn sum<I: Iterator<Item = Self>>(lines: I) -> Self {
        lines.fold(Self::default(), |sum, each| Self {
            code: sum.code + each.code,
            unsafe_blocks: sum.unsafe_blocks + each.unsafe_blocks,
        })
    }
}

/// Counts the crate whose first file is `root`, from module to module: each file, and what is in it.
///
/// # Errors
/// When a file of it cannot be read, or is not Rust.
pub fn count_crate(root: &Path, conditions: &Conditions) -> Result<Vec<(PathBuf, Lines)>> {
    let folder = root.parent().unwrap_or(Path::new(""));
    let mut files = Vec::new();
    count_file(root, folder, conditions, &mut files)?;
    Ok(files)
}

/// Counts a file, and the files of its modules, which are in `folder`, into `files`.
fn count_file(
    file: &Path,
    folder: &Path,
    conditions: &Conditions,
    files: &mut Vec<(PathBuf, Lines)>,
) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let parsed = syn::parse_file(&text).with_context(|| format!("{} is not Rust", file.display()))?;
    if !conditions.hold(&parsed.attrs) {
        return Ok(());
    }
    let mut walk =
        Walk { conditions, file, folder: folder.to_owned(), left_out: Vec::new(), modules: Vec::new() };
    walk.visit_file(&parsed);
    let tokens: TokenStream = text.parse().map_err(|_| anyhow::anyhow!("{} is not Rust", file.display()))?;
    let mut counter = Counter { left_out: &walk.left_out, lines: BTreeSet::new(), unsafe_blocks: 0 };
    counter.take(tokens);
    files.push((file.to_owned(), Lines { code: counter.lines.len(), unsafe_blocks: counter.unsafe_blocks }));
    walk.modules.iter().try_for_each(|(file, folder)| count_file(file, folder, conditions, files))
}

/// Finds what is left out of a file, and the modules that have files of their own.
struct Walk<'a> {
    conditions: &'a Conditions,
    file: &'a Path,
    /// Where the files of modules are.
    folder: PathBuf,
    left_out: Vec<RangeInclusive<usize>>,
    modules: Vec<(PathBuf, PathBuf)>,
}

impl Walk<'_> {
    /// Whether what has these attributes counts; what does not is noted.
    fn counts(&mut self, attributes: &[Attribute], item: &impl Spanned) -> bool {
        let holds = self.conditions.hold(attributes);
        if !holds {
            let first = attributes.first().map_or_else(|| item.span(), Spanned::span).start().line;
            self.left_out.push(first..=item.span().end().line);
        }
        holds
    }

    fn module(&mut self, module: &ItemMod) {
        let name = module.ident.to_string();
        let name = name.trim_start_matches("r#");
        let inner = self.folder.join(name);
        if module.content.is_some() {
            let outer = std::mem::replace(&mut self.folder, inner);
            visit::visit_item_mod(self, module);
            self.folder = outer;
            return;
        }
        if let Some(path) = path_of(&module.attrs) {
            let file = self.file.parent().unwrap_or(Path::new("")).join(path);
            let folder = file.parent().unwrap_or(Path::new("")).to_owned();
            self.modules.push((file, folder));
            return;
        }
        let beside = self.folder.join(format!("{name}.rs"));
        let file = if beside.exists() { beside } else { inner.join("mod.rs") };
        self.modules.push((file, inner));
    }
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

macro_rules! conditional {
    ($($method:ident $type:ident;)*) => {$(
        fn $method(&mut self, item: &'ast syn::$type) {
            if self.counts(&item.attrs, item) {
                visit::$method(self, item);
            }
        }
    )*};
}

impl<'ast> Visit<'ast> for Walk<'_> {
    conditional! {
        visit_item_const ItemConst; visit_item_enum ItemEnum; visit_item_extern_crate ItemExternCrate;
        visit_item_fn ItemFn; visit_item_foreign_mod ItemForeignMod; visit_item_impl ItemImpl;
        visit_item_macro ItemMacro; visit_item_static ItemStatic; visit_item_struct ItemStruct;
        visit_item_trait ItemTrait; visit_item_type ItemType; visit_item_union ItemUnion;
        visit_item_use ItemUse; visit_impl_item_const ImplItemConst; visit_impl_item_fn ImplItemFn;
        visit_impl_item_type ImplItemType; visit_trait_item_fn TraitItemFn; visit_field Field;
        visit_variant Variant; visit_arm Arm; visit_local Local; visit_expr_block ExprBlock;
        visit_expr_if ExprIf; visit_expr_macro ExprMacro; visit_stmt_macro StmtMacro; visit_expr_unsafe ExprUnsafe; visit_expr_match ExprMatch; visit_expr_call ExprCall; visit_expr_method_call ExprMethodCall; visit_expr_assign ExprAssign; visit_field_value FieldValue;
    }

    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Mod(module) => {
                if self.counts(&module.attrs, module) {
                    self.module(module);
                }
            }
            other => visit::visit_item(self, other),
        }
    }
}

/// Counts lines with tokens on them.
struct Counter<'a> {
    left_out: &'a [RangeInclusive<usize>],
    lines: BTreeSet<usize>,
    unsafe_blocks: usize,
}

impl Counter<'_> {
    fn take(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            let (first, last) = (token.span().start().line, token.span().end().line);
            if self.left_out.iter().any(|range| range.contains(&first)) {
                continue;
            }
            match token {
                // A comment for the documentation: `#[doc = "..."]`, `#![doc = "..."]`.
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    let inner =
                        tokens.next_if(|next| matches!(next, TokenTree::Punct(p) if p.as_char() == '!'));
                    if tokens.next_if(is_documentation).is_none() {
                        self.lines.insert(first);
                        self.lines.extend(inner.map(|punct| punct.span().start().line));
                    }
                }
                TokenTree::Group(group) => {
                    // Delimiters that are not written have the place of what is between them.
                    if group.delimiter() != Delimiter::None {
                        self.lines.extend([first, last]);
                    }
                    self.take(group.stream());
                }
                TokenTree::Ident(ident) => {
                    self.lines.insert(first);
                    let block = |next: &TokenTree| matches!(next, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
                    self.unsafe_blocks += usize::from(ident == "unsafe" && tokens.peek().is_some_and(block));
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => self.lines.extend(first..=last),
            }
        }
    }
}

fn is_documentation(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Bracket && matches!(first, Some(TokenTree::Ident(name)) if name == "doc")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(files: &[(&str, &str)]) -> Lines {
        let folder = tempfile();
        for (name, text) in files {
            let file = folder.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let counted = count_crate(&folder.join("lib.rs"), &Conditions::default()).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        counted.into_iter().map(|(_, lines)| lines).sum()
    }

    fn tempfile() -> PathBuf {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        std::env::temp_dir().join(format!("hv-count-{}-{number}", std::process::id()))
    }

    #[test]
    fn comments_blanks_and_tests_do_not_count() {
        let text = "//! Doc.\n\n/// Doc.\n#[inline]\nfn a() {\n    // why\n    b(\"x\ny\");\n}\n\n\
                    #[cfg(test)]\nmod tests {\n    fn c() {}\n}\n/* x\n*/\n";
        assert_eq!(count(&[("lib.rs", text)]), Lines { code: 5, unsafe_blocks: 0 });
    }

    #[test]
    fn modules_are_followed_where_they_are_compiled() {
        let files = [
            (
                "lib.rs",
                "mod a;\n#[cfg(test)]\nmod gone;\nmod inline {\n    mod b;\n}\n#[path = \"odd.rs\"]\nmod c;\n",
            ),
            ("a.rs", "mod deep;\n"),
            ("a/deep.rs", "const X: u8 = 1;\n"),
            ("inline/b/mod.rs", "const X: u8 = 1;\n\nconst Y: u8 = 1;\n"),
            ("odd.rs", "const X: u8 = 1;\n"),
            ("not_a_module.rs", "const X: u8 = 1;\n"),
        ];
        assert_eq!(count(&files).code, 6 + 1 + 1 + 2 + 1);
    }

    #[test]
    fn unsafe_blocks_count_also_in_macros() {
        let text = "unsafe fn f() {}\nmacro_rules! m {\n    () => { unsafe { f() } };\n}\n\
                    fn g() {\n    unsafe { f() };\n    #[cfg(test)]\n    unsafe { f() };\n}\n";
        assert_eq!(count(&[("lib.rs", text)]).unsafe_blocks, 2);
    }

    #[test]
    fn conditions_of_fields_and_arms_count() {
        let text = "struct A {\n    a: u8,\n    #[cfg(test)]\n    b: u8,\n}\nfn f(x: u8) {\n    match x {\n        \
                    0 => {}\n        #[cfg(test)]\n        1 => {}\n        _ => {}\n    }\n}\n";
        assert_eq!(count(&[("lib.rs", text)]).code, 3 + 6);
    }
}
