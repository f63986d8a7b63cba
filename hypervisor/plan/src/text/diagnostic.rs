//! What is told about a configuration, and where in its text.

use crate::problem::Problem;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

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
    pub(super) text: String,
    pub(super) spans: BTreeMap<String, Range<usize>>,
    pub(super) warnings: Vec<Diagnostic>,
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

    pub(super) fn diagnostic(
        &self,
        path: String,
        message: String,
        help: String,
        span: Range<usize>,
    ) -> Diagnostic {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = before.matches('\n').count() + 1;
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        Diagnostic { path, message, help, span, line, column }
    }
}
