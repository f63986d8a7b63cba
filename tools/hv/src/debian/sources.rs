//! The machine's own Debian sources, read and never written.

use std::fmt::Write as _;
use std::path::Path;

/// One archive of the machine's apt configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where the archive is.
    pub uri: String,
    /// Distribution, as `bookworm-updates`.
    pub suite: String,
    /// Components, as `main`.
    pub components: Vec<String>,
    /// A keyring's path or an embedded key; apt's trusted keys where absent.
    pub signed_by: Option<String>,
    /// What of it is wanted.
    pub kind: Kind,
}

/// Kinds of packages in an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Those to install.
    #[default]
    Binary,
    /// What they are made of.
    Source,
}

impl Source {
    /// The same archive with another suite.
    pub fn with_suite(&self, suite: &str) -> Self {
        Self { suite: suite.to_owned(), ..self.clone() }
    }

    /// The sources of the packages in the same archive.
    pub fn of_sources(&self) -> Self {
        Self { kind: Kind::Source, ..self.clone() }
    }

    /// As a stanza of a `.sources` file.
    pub fn stanza(&self) -> String {
        let types = match self.kind {
            Kind::Binary => "deb",
            Kind::Source => "deb-src",
        };
        let mut text = format!(
            "Types: {types}\nURIs: {}\nSuites: {}\nComponents: {}\n",
            self.uri,
            self.suite,
            self.components.join(" ")
        );
        if let Some(key) = &self.signed_by {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "Signed-By: {key}");
        }
        text.push('\n');
        text
    }
}

/// The sources of release `codename` (its updates and security updates too) that the machine
/// uses; other vendors' archives are left out, they only add ways to fail.
pub fn of_machine(folder: &Path, codename: &str) -> Vec<Source> {
    let mut files = vec![folder.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(folder.join("sources.list.d")) {
        let mut more: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        more.sort();
        files.extend(more);
    }
    let mut found = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let sources = match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => parse_stanzas(&text),
            Some("list") => parse_lines(&text),
            _ => continue,
        };
        for source in sources {
            let ours = source.suite == codename || source.suite.strip_prefix(codename).is_some_and(is_update);
            if ours && source.components.iter().any(|c| c == "main") && !found.contains(&source) {
                found.push(source);
            }
        }
    }
    found
}

fn is_update(suffix: &str) -> bool {
    matches!(suffix, "-updates" | "-security" | "-backports" | "/updates")
}

/// deb822 style: `.sources` files.
pub fn parse_stanzas(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let without_comments: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in without_comments.split(|line| line.trim().is_empty()) {
        let field = |name: &str| field(stanza, name);
        let words = |name: &str| -> Vec<String> {
            field(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        let disabled = field("Enabled").is_some_and(|value| value.trim().eq_ignore_ascii_case("no"));
        if disabled || !words("Types").iter().any(|kind| kind == "deb") {
            continue;
        }
        for uri in words("URIs") {
            for suite in words("Suites") {
                sources.push(Source {
                    uri: uri.clone(),
                    suite,
                    components: words("Components"),
                    signed_by: field("Signed-By"),
                    kind: Kind::Binary,
                });
            }
        }
    }
    sources
}

/// A field's value with its continuation lines, which an embedded key is made of.
fn field(stanza: &[&str], name: &str) -> Option<String> {
    let mut lines = stanza
        .iter()
        .skip_while(|line| !line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name)));
    let (_, first) = lines.next()?.split_once(':')?;
    let mut value = first.trim().to_owned();
    for line in lines.take_while(|line| line.starts_with([' ', '\t'])) {
        value.push('\n');
        value.push_str(line);
    }
    Some(value)
}

/// One line per source: `deb [options] uri suite component...`.
pub fn parse_lines(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let mut rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t']) {
        return None;
    }
    let mut signed_by = None;
    rest = rest.trim_start();
    if let Some(options) = rest.strip_prefix('[') {
        let (options, after) = options.split_once(']')?;
        signed_by = options
            .split_whitespace()
            .filter_map(|option| option.split_once('='))
            .find(|(key, _)| key.eq_ignore_ascii_case("signed-by"))
            .map(|(_, value)| value.to_owned());
        rest = after;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    let (uri, suite) = (words.next()?, words.next()?);
    Some(Source { uri, suite, components: words.collect(), signed_by, kind: Kind::Binary })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANZAS: &str = "\
Types: deb deb-src
# a comment inside a stanza
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb
Enabled: no
URIs: http://mirror.example/off
Suites: bookworm
Components: main
";

    #[test]
    fn a_stanza_gives_one_source_per_suite() {
        let sources = parse_stanzas(STANZAS);
        let suites: Vec<_> = sources.iter().map(|source| source.suite.as_str()).collect();
        assert_eq!(suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(sources[0].components, ["main", "contrib"]);
        assert_eq!(sources[0].signed_by.as_deref(), Some("/usr/share/keyrings/archive.gpg"));
    }

    #[test]
    fn an_embedded_key_keeps_its_lines() {
        let text = "Types: deb\nURIs: u\nSuites: s\nComponents: main\nSigned-By:\n -----BEGIN\n .\n AB\n";
        let sources = parse_stanzas(text);
        assert_eq!(sources[0].signed_by.as_deref(), Some("\n -----BEGIN\n .\n AB"));
        assert_eq!(parse_stanzas(&sources[0].stanza()), sources);
    }

    #[test]
    fn a_line_may_have_options() {
        let text = "deb [arch=amd64 signed-by=/k.gpg] http://m.example/debian bookworm main # why\n\
                    deb-src http://m.example/debian bookworm main\n# deb http://m.example/x y main";
        let sources = parse_lines(text);
        assert_eq!(sources.len(), 1);
        assert_eq!(sources[0].uri, "http://m.example/debian");
        assert_eq!(sources[0].signed_by.as_deref(), Some("/k.gpg"));
    }

    #[test]
    fn a_stanza_survives_its_own_writing() {
        let source = parse_stanzas(STANZAS).remove(0).with_suite("bookworm-backports");
        assert_eq!(parse_stanzas(&source.stanza()), [source]);
    }

    #[test]
    fn sources_are_asked_for_by_another_type() {
        let source = parse_stanzas(STANZAS).remove(0).with_suite("trixie").of_sources();
        assert!(source.stanza().starts_with("Types: deb-src\n"), "{}", source.stanza());
        assert_eq!(parse_stanzas(&source.stanza()), [], "nothing to install from");
    }

    #[test]
    fn other_vendors_are_left_out() {
        let folder = std::env::temp_dir().join(format!("hv-sources-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("sources.list.d")).expect("a folder in the temporary one");
        std::fs::write(folder.join("sources.list"), "deb http://v.example/x vendor-bookworm main\n")
            .expect("written");
        std::fs::write(folder.join("sources.list.d/debian.sources"), STANZAS).expect("written");
        let suites: Vec<_> = of_machine(&folder, "bookworm").into_iter().map(|s| s.suite).collect();
        std::fs::remove_dir_all(&folder).expect("removed");
        assert_eq!(suites, ["bookworm", "bookworm-updates"]);
    }
}
