//! Whether something that is compiled under a condition is part of what runs in ring 0.

use std::collections::BTreeSet;

use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Lit, Meta, Token};

/// What conditions are asked about: the bare machine, without tests, with some features.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    features: BTreeSet<String>,
}

impl Conditions {
    /// Those of a package that is built with `features`.
    pub fn new(features: impl IntoIterator<Item = String>) -> Self {
        Self { features: features.into_iter().collect() }
    }

    /// Whether something with these attributes is compiled.
    pub fn hold(&self, attributes: &[Attribute]) -> bool {
        attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).all(|attribute| {
            // What cannot be read counts: nothing is to look smaller than it is.
            attribute.parse_args::<Meta>().ok().is_none_or(|condition| self.holds(&condition) != Some(false))
        })
    }

    /// `None` for what this does not know.
    fn holds(&self, condition: &Meta) -> Option<bool> {
        match condition {
            Meta::Path(path) => path.get_ident().and_then(|name| word(&name.to_string())),
            Meta::NameValue(pair) => {
                let Expr::Lit(ExprLit { lit: Lit::Str(value), .. }) = &pair.value else { return None };
                self.has(&pair.path.get_ident()?.to_string(), &value.value())
            }
            Meta::List(list) => {
                let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
                let mut answers = parts.iter().map(|part| self.holds(part));
                match list.path.get_ident()?.to_string().as_str() {
                    "not" => answers.next()?.map(|holds| !holds),
                    "all" => all(answers),
                    "any" => all(answers.map(|answer| answer.map(|holds| !holds))).map(|none| !none),
                    _ => None,
                }
            }
        }
    }

    fn has(&self, name: &str, value: &str) -> Option<bool> {
        match name {
            "feature" => Some(self.features.contains(value)),
            "target_os" => Some(value == "none"),
            "target_arch" => Some(value == "x86_64"),
            "target_pointer_width" => Some(value == "64"),
            "panic" => Some(value == "abort"),
            _ => None,
        }
    }
}

fn word(name: &str) -> Option<bool> {
    match name {
        "test" | "doctest" | "doc" | "docsrs" | "debug_assertions" | "miri" | "fuzzing" | "loom" | "unix"
        | "windows" => Some(false),
        _ => None,
    }
}

/// Whether all hold; one that does not settles it whatever the unknown ones are.
fn all(answers: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut known = Some(true);
    for answer in answers {
        match answer {
            Some(false) => return Some(false),
            Some(true) => {}
            None => known = None,
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    #[test]
    fn conditions_are_those_of_the_bare_machine() {
        let conditions = Conditions::new(["toml".to_owned()]);
        for (attribute, holds) in [
            (parse_quote!(#[cfg(test)]), false),
            (parse_quote!(#[cfg(not(test))]), true),
            (parse_quote!(#[cfg(feature = "toml")]), true),
            (parse_quote!(#[cfg(feature = "fakes")]), false),
            (parse_quote!(#[cfg(any(test, feature = "fakes"))]), false),
            (parse_quote!(#[cfg(any(test, target_os = "none"))]), true),
            (parse_quote!(#[cfg(all(test, something))]), false),
            (parse_quote!(#[cfg(all(target_os = "none", something))]), true),
            (parse_quote!(#[cfg(target_os = "linux")]), false),
            (parse_quote!(#[inline]), true),
        ] {
            let attribute: Attribute = attribute;
            let words = syn::spanned::Spanned::span(&attribute).source_text();
            assert_eq!(conditions.hold(std::slice::from_ref(&attribute)), holds, "{words:?}");
        }
    }
}
