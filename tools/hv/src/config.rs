//! Reading a configuration, and showing what is wrong with it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report, Severity,
};
use plan::text::{Diagnostic, SourceMap};

use crate::text_file;

/// A configuration that is right by itself.
pub struct Source {
    /// What it says.
    pub config: plan::Config,
    /// Where it says it.
    pub map: SourceMap,
    /// Its text.
    pub text: String,
    /// Its file, or a name for it.
    pub name: String,
}

/// Every problem of a configuration, ready to be printed.
#[derive(Debug)]
pub struct Refused {
    /// The problems, with their lines.
    pub text: String,
    /// How many there are.
    pub count: usize,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = if self.count == 1 { "" } else { "s" };
        write!(f, "{} problem{plural} in the configuration\n{}", self.count, self.text.trim_end())
    }
}

impl std::error::Error for Refused {}

impl Source {
    /// Reads the configuration at `path`.
    ///
    /// # Errors
    /// When it cannot be read; `Refused` when it is no configuration.
    pub fn read(path: &Path) -> Result<Self> {
        let text = text_file::read(path, "the configuration")?;
        let source = Self::parse(text, path.display().to_string())?;
        eprint!("{}", source.warnings());
        Ok(source)
    }

    /// Reads the configuration `text`; `name` stands in messages.
    ///
    /// # Errors
    /// `Refused` when it is no configuration.
    pub fn parse(text: String, name: String) -> Result<Self> {
        match plan::text::parse(&text) {
            Ok((config, map)) => Ok(Self { config, map, text, name }),
            Err(diagnostics) => Err(refuse(&diagnostics, &text, &name).into()),
        }
    }

    /// The same where all runs there of which no table of its own says it.
    pub fn with_default_place(mut self, place: plan::RunsIn) -> Self {
        self.config.hypervisor.runs_in = Some(place);
        self
    }

    /// Has these compartments ended, beside those that it names itself.
    ///
    /// # Errors
    /// When one is not there.
    pub fn kill(&mut self, kills: &[plan::Kill]) -> Result<()> {
        for kill in kills {
            if let Some((message, help)) = self.config.missing_compartment(&kill.compartment) {
                bail!("--kill {kill}: {message}; {help}");
            }
        }
        self.config.hypervisor.kill.extend_from_slice(kills);
        Ok(())
    }

    /// What works as it is and should be changed, ready to be printed; empty where nothing is.
    pub fn warnings(&self) -> String {
        let show = |warning| render(warning, Severity::Warning, &self.text, &self.name);
        self.map.warnings().iter().map(show).collect()
    }

    /// Gives problems their places.
    pub fn refuse<'a>(&self, problems: impl Iterator<Item = &'a plan::Problem>) -> Refused {
        let mut diagnostics: Vec<_> = problems.map(|problem| self.map.locate(problem)).collect();
        diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
        refuse(&diagnostics, &self.text, &self.name)
    }
}

fn refuse(diagnostics: &[Diagnostic], text: &str, name: &str) -> Refused {
    let text = diagnostics.iter().map(|diagnostic| render(diagnostic, Severity::Error, text, name)).collect();
    Refused { text, count: diagnostics.len() }
}

/// One problem with its line, as a compiler shows it; the frame's first line has the usual
/// `FILE:LINE:COLUMN`, which editors find.
fn render(diagnostic: &Diagnostic, severity: Severity, text: &str, name: &str) -> String {
    let key = if diagnostic.path.is_empty() { "the text" } else { &diagnostic.path };
    let place = format!("{name}:{}:{}", diagnostic.line, diagnostic.column);
    let length = diagnostic.span.len().min(text.len().saturating_sub(diagnostic.span.start));
    let label = LabeledSpan::new(Some("here".to_owned()), diagnostic.span.start.min(text.len()), length);
    let mut report = MietteDiagnostic::new(format!("{key}: {}", diagnostic.message))
        .with_severity(severity)
        .with_label(label);
    if !diagnostic.help.is_empty() {
        report = report.with_help(diagnostic.help.clone());
    }
    let report = Report::new(report).with_source_code(NamedSource::new(name, text.to_owned()));
    let theme = if colourful() { GraphicalTheme::unicode() } else { GraphicalTheme::none() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(width()).with_links(false);
    let mut shown = String::new();
    match handler.render_report(&mut shown, report.as_ref()) {
        Ok(()) => shown,
        Err(_) => format!("{place}: {key}: {}; {}\n", diagnostic.message, diagnostic.help),
    }
}

/// In a pipe or a file nothing is wrapped, so that a message can be searched for.
fn width() -> usize {
    use std::io::IsTerminal as _;
    if std::io::stderr().is_terminal() { 110 } else { 10_000 }
}

fn colourful() -> bool {
    use std::io::IsTerminal as _;
    std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal()
}

/// The folders in which files that a configuration names are looked for, in order.
pub struct Shelves(Vec<PathBuf>);

impl Shelves {
    /// Shelves in this order.
    pub fn new(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(folders.into_iter().collect())
    }

    /// The file `name`, if it is there.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        self.0.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
    }
}

/// The folder that a configuration's own files are beside.
pub fn folder_of(config: &Path) -> PathBuf {
    match config.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        match Source::parse(text.to_owned(), "x.toml".to_owned()) {
            Ok(_) => panic!("this is no configuration"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_problem_is_shown_with_line_column_and_help() {
        let text = refused("[hypervisor]\nconsol = \"com1\"\n");
        assert!(text.contains("x.toml:2:1"), "{text}");
        assert!(text.contains("did you mean `console`?"), "{text}");
    }

    #[test]
    fn a_key_by_its_older_name_is_a_warning_with_its_line_and_column() {
        let text = "[guest.a]\ncpus = [1]\nmemory = \"1 GiB\"\nkernel = \"k\"\n  stray_access = \"crash\"\n";
        let source = Source::parse(text.to_owned(), "x.toml".to_owned()).expect("a configuration");
        let shown = source.warnings();
        assert!(shown.contains("x.toml:5:3"), "{shown}");
        assert!(shown.contains("`stray_access` is called `unmapped_access` now"), "{shown}");
        assert!(shown.contains("write `unmapped_access`"), "{shown}");
        let text = text.replace("stray_access", "unmapped_access");
        let source = Source::parse(text, "x.toml".to_owned()).expect("a configuration");
        assert_eq!(source.warnings(), "");
    }

    #[test]
    fn what_is_no_toml_has_a_place_too() {
        let text = refused("[hypervisor\n");
        assert!(text.contains("x.toml:1:"), "{text}");
    }

    /// Whoever is ended by the command line is there, and the configuration's own stay.
    #[test]
    fn a_compartment_is_ended_by_its_name() {
        let text = "[hypervisor]\nkill = [\"a:01.0@5\"]\n[guest.a]\ncpus = [1]\nmemory = \"1 GiB\"\nkernel = \"k\"\n\
                    [[guest.a.pci]]\nslot = \"01.0\"\nemulate = \"virtio-rng\"\nruns_in = \"ring3\"\n\
                    [[guest.a.pci]]\nslot = \"02.0\"\nemulate = \"virtio-rng\"\nruns_in = \"hypervisor\"\n";
        let mut source = Source::parse(text.to_owned(), "x.toml".to_owned()).expect("a configuration");
        let kill = |text: &str| [text.parse::<plan::Kill>().expect("a kill")];
        for (wrong, why) in
            [("b:01.0@7", "there is no compartment `b:01.0`"), ("a:02.0@7", "in the hypervisor")]
        {
            let error = source.kill(&kill(wrong)).expect_err("not there").to_string();
            assert!(error.starts_with(&format!("--kill {wrong}: ")) && error.contains(why), "{error}");
            assert!(error.ends_with("the only one is `a:01.0`"), "{error}");
        }
        source.kill(&kill("a:01.0@7")).expect("it is there");
        let kills: Vec<_> = source.config.hypervisor.kill.iter().map(ToString::to_string).collect();
        assert_eq!(kills, ["a:01.0@5", "a:01.0@7"]);
    }

    #[test]
    fn every_problem_is_shown() {
        let text = refused("[hypervisor]\na = 1\nb = 2\n");
        assert!(text.starts_with("2 problems"), "{text}");
    }

    #[test]
    fn a_configuration_without_a_folder_is_in_this_one() {
        assert_eq!(folder_of(Path::new("x.toml")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/x.toml")), Path::new("a"));
    }
}
