//! Walking a TOML document by the tables that `config` declares.

use super::diagnostic::{Diagnostic, SourceMap};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A table of the configuration.
pub trait Table: Sized {
    /// Its documentation, line by line.
    const DOC: &'static [&'static str];
    /// Older names of its keys, each with today's.
    const RENAMED: &'static [(&'static str, &'static str)];
    /// Its keys, in order.
    fn keys() -> Vec<Key>;
    /// Reads it; `None` where something is missing or wrong, which was told.
    fn read(table: &mut TableReader<'_, '_>) -> Option<Self>;
}

/// A key that takes one of some words.
pub trait Choice: Copy + PartialEq + 'static {
    /// Each choice, its word, and what it means.
    const WORDS: &'static [(Self, &'static str, &'static [&'static str])];
}

/// What a key can hold.
pub trait Value: Sized {
    /// What it is, for messages and for the reference: `a number`.
    fn kind() -> String;
    /// What one looks like, for messages: `1`.
    fn example() -> String;
    /// Reads it; `None` where it is wrong, which was told.
    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self>;
    /// A default as the configuration would write it.
    fn text(&self) -> String;
    /// The tables it leads to, as the reference lists them, with their headers.
    fn tables(_header: &str, _list: &mut Vec<TableDoc>) {}
    /// What each word means, for a choice.
    fn words() -> Vec<(&'static str, &'static [&'static str])> {
        Vec::new()
    }
}

/// A table as the reference describes it.
pub struct TableDoc {
    /// What stands between the outer brackets of its header.
    pub header: String,
    /// Its documentation, line by line.
    pub doc: &'static [&'static str],
    /// Its keys, in order.
    pub keys: Vec<Key>,
}

/// A key as the reference describes it.
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its documentation, line by line.
    pub doc: &'static [&'static str],
    /// What it looks like.
    pub example: String,
    /// Its default; `None` where it is required.
    pub default: Option<String>,
    /// What each of its words means.
    pub words: Vec<(&'static str, &'static [&'static str])>,
    /// Lists the tables that it leads to.
    pub(super) tables: fn(&str, &mut Vec<TableDoc>),
}

impl Key {
    /// The key `name` that holds a `V`.
    pub fn of<V: Value>(name: &'static str, doc: &'static [&'static str], default: Option<V>) -> Self {
        let default = default.map(|value| value.text());
        Self { name, doc, example: V::example(), default, words: V::words(), tables: V::tables }
    }
}

/// Reads a document; collects every diagnostic and the place of every key.
pub struct Reader<'m> {
    map: &'m mut SourceMap,
    path: String,
    diagnostics: Vec<Diagnostic>,
}

impl<'m> Reader<'m> {
    pub(super) fn new(map: &'m mut SourceMap) -> Self {
        Self { map, path: String::new(), diagnostics: Vec::new() }
    }

    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
        self.diagnostics
    }

    /// Tells what works as it is and should be changed.
    fn warn(&mut self, span: Range<usize>, message: String, help: String) {
        let warning = self.map.diagnostic(self.path.clone(), message, help, span);
        self.map.warnings.push(warning);
    }

    /// Tells what is wrong with the current key.
    pub fn tell(&mut self, span: Range<usize>, message: String, help: String) {
        let diagnostic = self.map.diagnostic(self.path.clone(), message, help, span);
        self.diagnostics.push(diagnostic);
    }

    /// Reads a part of the current key: `.name` or `[index]`.
    pub(super) fn part<T>(&mut self, part: &str, span: Range<usize>, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(part);
        if self.path.starts_with('.') {
            self.path.remove(0);
        }
        self.map.spans.insert(self.path.clone(), span);
        let result = read(self);
        self.path.truncate(length);
        result
    }

    pub(super) fn read_table<T: Table>(&mut self, table: &DeTable<'_>, span: Range<usize>) -> Option<T> {
        let keys = T::keys();
        let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref();
            if let Some((old, new)) = T::RENAMED.iter().find(|(old, _)| *old == name.as_ref()) {
                let both = table.keys().any(|key| key.get_ref().as_ref() == *new);
                self.part(&format!(".{old}"), key.span(), |reader| match both {
                    true => {
                        let message = format!("`{old}` is an older name of `{new}`, which is here too");
                        reader.tell(key.span(), message, format!("leave `{old}` out"));
                    }
                    false => {
                        let message = format!("`{old}` is called `{new}` now");
                        reader.warn(
                            key.span(),
                            message,
                            format!("write `{new}`; the older name still works"),
                        );
                    }
                });
                continue;
            }
            let help = match closest(name, &known) {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!("the keys here are {}", list(&known)),
            };
            self.part(&format!(".{name}"), key.span(), |reader| {
                reader.tell(key.span(), format!("unknown key `{name}`"), help);
            });
        }
        T::read(&mut TableReader { table, span, reader: self, renamed: T::RENAMED })
    }
}

/// Reads the keys of one table.
pub struct TableReader<'r, 'm> {
    table: &'r DeTable<'r>,
    span: Range<usize>,
    reader: &'r mut Reader<'m>,
    renamed: &'static [(&'static str, &'static str)],
}

impl TableReader<'_, '_> {
    /// The value of key `name`, or its default; `None` where it is missing or wrong,
    /// which was told.
    pub fn key<V: Value>(&mut self, name: &'static str, default: Option<V>) -> Option<V> {
        let named = |name: &str| self.table.iter().find(|(key, _)| key.get_ref().as_ref() == name);
        let older = || self.renamed.iter().filter(|(_, new)| *new == name).find_map(|(old, _)| named(old));
        let Some((_, value)) = named(name).or_else(older) else {
            if default.is_none() {
                let help = format!("add {name} = {}", V::example());
                self.reader.tell(self.span.clone(), format!("the key `{name}` is missing"), help);
            }
            return default;
        };
        self.reader.part(&format!(".{name}"), value.span(), |reader| V::read(value, reader))
    }
}

/// The known name that was probably meant: at most a third of it is wrong, or it
/// begins as the other does.
pub(super) fn closest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let wanted = plain(name);
    let distance = |candidate: &str| strsim::damerau_levenshtein(&plain(candidate), &wanted);
    let best = known.iter().copied().min_by_key(|candidate| distance(candidate))?;
    if distance(best) <= (best.len() / 3).max(1) {
        return Some(best);
    }
    let is_start = |candidate: &&str| {
        let candidate = plain(candidate);
        wanted.len() > 2 && (candidate.starts_with(&wanted) || wanted.starts_with(&candidate))
    };
    known.iter().copied().find(is_start)
}

/// `` `a`, `b` and `c` ``.
pub(super) fn list(names: &[&str]) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        let separator = match index {
            0 => "",
            _ if index + 1 == names.len() => " and ",
            _ => ", ",
        };
        text += &format!("{separator}`{name}`");
    }
    text
}

/// Tells that a value is of another type than `V`.
pub(super) fn wrong_type<V: Value>(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<V> {
    let found = value.get_ref().type_str();
    let article = if found.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let message = format!("{article} {found} does not fit here: expected {}", V::kind());
    reader.tell(value.span(), message, format!("write it as {}", V::example()));
    None
}

/// A table by its keys.
impl<V: Value> Value for BTreeMap<String, V> {
    fn kind() -> String {
        "tables by name".to_string()
    }
    fn example() -> String {
        format!("{{ NAME = {} }}", V::example())
    }
    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            return wrong_type(value, reader);
        };
        // Every entry is read before any is missed.
        let entries: Vec<_> = table
            .iter()
            .map(|(key, value)| {
                let part = format!(".{}", key.get_ref());
                // A name's place is where it is named.
                let read = reader.part(&part, key.span(), |reader| V::read(value, reader));
                Some((key.get_ref().to_string(), read?))
            })
            .collect();
        entries.into_iter().collect()
    }
    fn text(&self) -> String {
        "none".to_string()
    }
    fn tables(header: &str, list: &mut Vec<TableDoc>) {
        V::tables(&format!("{header}.NAME"), list);
    }
}
