//! The reference of the configuration, from the declarations of its tables.

use super::reader::{Table, TableDoc};
use crate::config::Config;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The reference of every key, in Markdown.
pub fn reference() -> String {
    let mut text = String::from(
        "# Configuration reference\n\nA configuration is one TOML file. Every key that is not in these \
         tables is an error.\n",
    );
    let mut tables = Vec::new();
    for key in Config::keys() {
        (key.tables)(key.name, &mut tables);
    }
    for TableDoc { header, doc, keys } in tables {
        text += &format!(
            "\n## `[{header}]`\n\n{}\n\n| key | what | example | default |\n|---|---|---|---|\n",
            join(doc)
        );
        for key in keys {
            let default = match &key.default {
                None => "required".to_string(),
                Some(default) if default == "none" || default == "see below" => default.clone(),
                Some(default) => format!("`{default}`"),
            };
            let mut what = join(key.doc);
            for (word, doc) in &key.words {
                what += &format!(" `\"{word}\"`: {}.", join(doc));
            }
            text += &format!("| `{}` | {what} | `{}` | {default} |\n", key.name, key.example);
        }
    }
    text
}

/// Lines of documentation as one paragraph.
fn join(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}
