//! Running other programs: their output feeds the progress line, and its tail the error.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};

use crate::progress::Step;

/// Lines of output that an error repeats.
const TAIL_LINES: usize = 60;

/// Runs `command` to its end; every line it writes becomes a note of `step`.
///
/// # Errors
/// When it cannot be started or ends with a status other than 0; the error holds the last lines.
pub fn run(command: &mut Command, step: &mut Step) -> Result<()> {
    run_briefly(command, step, |line| line)
}

/// As `run`, but a note is only what `brief` takes of a line.
///
/// # Errors
/// As `run`.
pub fn run_briefly(command: &mut Command, step: &mut Step, brief: fn(&str) -> &str) -> Result<()> {
    let step = Mutex::new(step);
    let note = |line: &str| lock(&step).note(brief(line));
    drive(command, note, |pipe| last_lines(pipe, note))
}

/// As `run`, but `each` gets the lines of standard output, which no error repeats.
///
/// # Errors
/// As `run`.
pub fn stream(command: &mut Command, step: &mut Step, each: impl FnMut(&str) + Send) -> Result<()> {
    let note = |line: &str| step.note(line);
    drive(command, note, |pipe| {
        last_lines(pipe, each);
        VecDeque::new()
    })
}

/// Runs `command`: `note` gets the lines of its standard error, `take` the pipe of its standard
/// output and gives the lines that an error shall repeat.
fn drive(
    command: &mut Command,
    note: impl FnMut(&str),
    take: impl FnOnce(ChildStdout) -> VecDeque<String> + Send,
) -> Result<()> {
    let shown = show(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Standard output drains on its own thread: a program that fills one pipe while we read
    // the other would wait for ever.
    let mut tail = std::thread::scope(|scope| {
        let output = scope.spawn(move || stdout.map(take).unwrap_or_default());
        let mut tail = stderr.map(|pipe| last_lines(pipe, note)).unwrap_or_default();
        tail.extend(output.join().unwrap_or_default());
        tail
    });
    let status = child.wait().with_context(|| format!("cannot wait for `{shown}`"))?;
    if status.success() {
        return Ok(());
    }
    bail!("`{shown}` ended with {status}\n{}", tail.make_contiguous().join("\n"))
}

/// Runs `command` and gives its standard output.
///
/// # Errors
/// As `run`.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!(
            "`{shown}` ended with {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `command` as a person would type it (without its environment).
pub fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| quote(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A note is text only: nothing is half done when a thread panics over it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn last_lines(pipe: impl Read, mut each: impl FnMut(&str)) -> VecDeque<String> {
    let mut tail = VecDeque::with_capacity(TAIL_LINES);
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.is_empty() {
            continue;
        }
        each(line.trim_start());
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_can_be_pasted_into_a_shell() {
        let mut command = Command::new("apt-get");
        command.args(["-o", "Acquire::Retries=3", "it's here", ""]);
        assert_eq!(show(&command), r"apt-get -o Acquire::Retries=3 'it'\''s here' ''");
    }

    #[test]
    fn a_failure_repeats_what_the_program_said() {
        let mut step = Step::start("failing on purpose");
        let error = run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]), &mut step)
            .expect_err("status 3 is a failure")
            .to_string();
        assert!(error.contains("out") && error.contains("err"), "{error}");
        step.done("");
    }

    #[test]
    fn only_the_tail_is_kept() {
        let text = (0..100).map(|n| format!("{n}\n")).collect::<String>();
        let tail = last_lines(text.as_bytes(), |_| {});
        assert_eq!(tail.len(), TAIL_LINES);
        assert_eq!(tail.back().map(String::as_str), Some("99"));
    }
}
