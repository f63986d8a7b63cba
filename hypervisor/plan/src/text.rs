//! The configuration as TOML: reading it with positions, and its reference.
//!
//! Reading goes on after a mistake, so that one run tells them all. Every key's
//! place is kept, so that a [`Problem`] which only the machine shows points at its
//! line too.

mod diagnostic;
mod reader;
mod reference;
#[cfg(test)]
mod tests;
mod values;

use crate::config::Config;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub use diagnostic::{Diagnostic, SourceMap};
pub use reader::{Choice, Key, Reader, Table, TableDoc, TableReader, Value};
pub use reference::reference;

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
