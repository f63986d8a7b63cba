//! The configuration as TOML: reading it with positions, and its reference.
//!
//! Reading goes on after a mistake, so that one run tells them all. Every key's
//! place is kept, so that a [`Problem`] which only the machine shows points at its
//! line too.

mod reader;
mod reference;
#[cfg(test)]
mod tests;
mod values;

use crate::config::Config;
use crate::problem::Problem;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;

pub use reader::{Choice, Key, Reader, Table, TableDoc, TableReader, Value};
pub use reference::reference;

/// A problem with its place in the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// The key, such as `guest.net.memory`; empty where the text is no TOML.
    pub path: String,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// The smallest fix; empty where none is known.
    pub help: String,
    /// Where, in bytes.
    pub span: Range<usize>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// Where each key of a configuration is.
#[derive(Clone, Default, Debug)]
pub struct SourceMap {
    text: String,
    spans: BTreeMap<String, Range<usize>>,
    warnings: Vec<Diagnostic>,
}

impl SourceMap {
    /// What works as it is and should be changed: keys by their older names.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Gives a problem its place: that of its key, or where the text does not have
    /// it, of the nearest table around it.
    pub fn locate(&self, problem: &Problem) -> Diagnostic {
        let mut path = problem.path.as_str();
        let span = loop {
            if let Some(span) = self.spans.get(path) {
                break span.clone();
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => break 0..0,
            }
        };
        self.diagnostic(problem.path.clone(), problem.message.clone(), problem.help.clone(), span)
    }

    fn diagnostic(&self, path: String, message: String, help: String, span: Range<usize>) -> Diagnostic {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = before.matches('\n').count() + 1;
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        Diagnostic { path, message, help, span, line, column }
    }
}

/// Reads a configuration. Either it is whole and every key is known and makes sense
/// by itself, or there is at least one diagnostic.
pub fn parse(text: &str) -> Result<(Config, SourceMap), Vec<Diagnostic>> {
    let mut map = SourceMap { text: text.to_string(), ..SourceMap::default() };
    let (document, errors) = toml::de::DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let of = |error: &toml::de::Error| {
            let span = error.span().unwrap_or(0..0);
            map.diagnostic(String::new(), error.message().to_string(), String::new(), span)
        };
        return Err(errors.iter().map(of).collect());
    }
    let mut reader = reader::Reader::new(&mut map);
    let span = document.span();
    let config = reader.read_table(document.get_ref(), span);
    let diagnostics = reader.finish();
    map.warnings.sort_by_key(|warning| warning.span.start);
    match config {
        Some(config) if diagnostics.is_empty() => Ok((config, map)),
        _ => Err(diagnostics),
    }
}
