//! Progress of the long steps: a spinner on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a step that says nothing new repeats itself where there is no terminal.
/// Continuous integration kills jobs that stay silent for long.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// One long step, shown from `start` until `done`.
///
/// Dropping a step that was not `done` marks it as failed, so `?` needs no care.
pub struct Step {
    title: String,
    started: Instant,
    spoke: Instant,
    bar: Option<ProgressBar>,
    finished: bool,
}

impl Step {
    /// Announces the step.
    pub fn start(title: impl Into<String>) -> Self {
        let title = title.into();
        let bar = std::io::stderr().is_terminal().then(|| spinner(&title));
        if bar.is_none() {
            eprintln!("  .. {title}");
        }
        let now = Instant::now();
        Self { title, started: now, spoke: now, bar, finished: false }
    }

    /// Says what the step is busy with.
    pub fn note(&mut self, detail: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(detail.to_owned()),
            None if self.spoke.elapsed() >= HEARTBEAT => {
                eprintln!("  .. {}: {detail} ({} s)", self.title, self.started.elapsed().as_secs());
                self.spoke = Instant::now();
            }
            None => {}
        }
    }

    /// Ends the step well; `result` says in a few words what came out.
    pub fn done(mut self, result: &str) {
        self.finish("ok", result);
    }

    fn finish(&mut self, status: &str, result: &str) {
        self.finished = true;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let result = if result.is_empty() { String::new() } else { format!(": {result}") };
        eprintln!("  {status} {}{result} ({seconds:.1} s)", self.title);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished {
            self.finish("!!", "failed");
        }
    }
}

fn spinner(title: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    // A malformed template is a programming error; the default style is good enough then.
    if let Ok(style) = ProgressStyle::with_template("  {spinner} {prefix} [{elapsed}] {wide_msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(title.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
