//! Where consoles go: a log file per owner, and one view for the terminal.

use crate::demux::{Demux, FIRMWARE, HYPERVISOR, Line, Piece};
use crate::summary;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Log files, one per owner: FOLDER/net.log, FOLDER/hypervisor.log, ...
#[derive(Debug)]
pub struct Logs {
    folder: PathBuf,
    files: BTreeMap<String, File>,
}

impl Logs {
    /// Logs into `folder`, made if absent; files of an earlier run are replaced when
    /// their owner first speaks.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), files: BTreeMap::new() })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn write(&mut self, piece: &Piece) -> Result<()> {
        if !self.files.contains_key(&piece.owner) {
            // Owners' names have no dots and slashes.
            let path = self.folder.join(format!("{}.log", piece.owner));
            let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
            self.files.insert(piece.owner.clone(), file);
        }
        if let Some(file) = self.files.get_mut(&piece.owner) {
            let end = if piece.ends_line { "\n" } else { "" };
            file.write_all(format!("{}{end}", piece.text).as_bytes())?;
        }
        Ok(())
    }
}

/// What of the consoles is shown. The lines of the hypervisor's summary, which it writes for tools, are
/// in its log file alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum View {
    /// Nothing.
    Nothing,
    /// Whole lines with their owner's name before them.
    Lines,
    /// The same in colour, and parts of lines as they come, so that one can type.
    Terminal,
}

impl View {
    /// [`View::Terminal`] if standard output is one.
    pub fn of_stdout() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some() || !io::stdout().is_terminal();
        if plain { Self::Lines } else { Self::Terminal }
    }
}

/// All consoles of a machine.
pub struct Consoles<W: Write> {
    demux: Demux,
    logs: Option<Logs>,
    painter: Painter<W>,
}

impl Consoles<io::Stdout> {
    /// Shown on standard output as `view` says, and logged to `logs`.
    pub fn on_stdout(view: View, logs: Option<Logs>) -> Self {
        Self::new(view, logs, io::stdout())
    }
}

impl<W: Write> Consoles<W> {
    /// Shown on `output` as `view` says, and logged to `logs`.
    pub fn new(view: View, logs: Option<Logs>, output: W) -> Self {
        let painter =
            Painter { view, output, owners: Vec::new(), open: None, starts_line: true, hidden: false };
        Self { demux: Demux::new(), logs, painter }
    }

    /// The folder of the log files.
    pub fn folder(&self) -> Option<&Path> {
        self.logs.as_ref().map(Logs::folder)
    }

    /// Takes bytes of the machine's serial line; `on_line` gets every whole line.
    ///
    /// # Errors
    /// A log file or the output cannot be written.
    pub fn receive(&mut self, bytes: &[u8], on_line: impl FnMut(&Line)) -> Result<()> {
        let mut sink = Sink { logs: &mut self.logs, painter: &mut self.painter, result: Ok(()), on_line };
        self.demux.receive(bytes, |piece, line| sink.take(piece, line));
        sink.result
    }

    /// The serial line is closed: gives what had no end.
    ///
    /// # Errors
    /// A log file or the output cannot be written.
    pub fn finish(&mut self, on_line: impl FnMut(&Line)) -> Result<()> {
        let mut sink = Sink { logs: &mut self.logs, painter: &mut self.painter, result: Ok(()), on_line };
        self.demux.finish(|piece, line| sink.take(piece, line));
        sink.result
    }
}

/// Both outlets of one piece; keeps the first error and goes on.
struct Sink<'a, W: Write, F: FnMut(&Line)> {
    logs: &'a mut Option<Logs>,
    painter: &'a mut Painter<W>,
    result: Result<()>,
    on_line: F,
}

impl<W: Write, F: FnMut(&Line)> Sink<'_, W, F> {
    fn take(&mut self, piece: Piece, line: Option<Line>) {
        let logged = self.logs.as_mut().map_or(Ok(()), |logs| logs.write(&piece));
        let shown = self.painter.paint(&piece, line.as_ref()).context("cannot write to the terminal");
        if self.result.is_ok() {
            self.result = logged.and(shown);
        }
        if let Some(line) = line {
            (self.on_line)(&line);
        }
    }
}

/// Shows pieces on a terminal or a pipe.
struct Painter<W: Write> {
    view: View,
    output: W,
    /// Guests in the order in which they first spoke, for their colours.
    owners: Vec<String>,
    /// Whose unfinished line the cursor is on.
    open: Option<String>,
    /// Whether the hypervisor's next piece starts a line of its own.
    starts_line: bool,
    /// Whether the hypervisor's line is one that is not shown.
    hidden: bool,
}

impl<W: Write> Painter<W> {
    fn paint(&mut self, piece: &Piece, line: Option<&Line>) -> io::Result<()> {
        if self.hides(piece) {
            return Ok(());
        }
        match (self.view, line) {
            (View::Nothing, _) | (View::Lines, None) => Ok(()),
            (View::Lines, Some(line)) => {
                writeln!(self.output, "{}| {}", line.owner, printable(&line.text))?;
                self.output.flush()
            }
            (View::Terminal, _) => self.paint_piece(piece),
        }
    }

    /// Whether `piece` belongs to a line that is not shown. A long one comes in several pieces.
    fn hides(&mut self, piece: &Piece) -> bool {
        if piece.owner != HYPERVISOR {
            return false;
        }
        if self.starts_line {
            self.hidden = summary::is_part(&piece.owner, &piece.text);
        }
        self.starts_line = piece.ends_line;
        self.hidden
    }

    /// Goes on in the line that the cursor is on if it is the owner's, else starts a
    /// new one behind the owner's name.
    fn paint_piece(&mut self, piece: &Piece) -> io::Result<()> {
        if self.open.as_ref() != Some(&piece.owner) {
            if self.open.take().is_some() {
                writeln!(self.output)?;
            }
            let colour = self.colour(&piece.owner);
            write!(self.output, "\x1b[{colour}m{:>10}|\x1b[0m ", piece.owner)?;
        }
        write!(self.output, "{}", printable(&piece.text))?;
        if piece.ends_line {
            writeln!(self.output, "\x1b[0m")?;
            self.open = None;
        } else {
            self.open = Some(piece.owner.clone());
        }
        self.output.flush()
    }

    fn colour(&mut self, owner: &str) -> &'static str {
        const GUESTS: [&str; 6] = ["32", "36", "33", "35", "34", "31"];
        match owner {
            HYPERVISOR => return "1;37",
            FIRMWARE => return "2;37",
            _ => {}
        }
        let index = self.owners.iter().position(|other| other == owner).unwrap_or_else(|| {
            self.owners.push(owner.to_owned());
            self.owners.len() - 1
        });
        GUESTS[index % GUESTS.len()]
    }
}

/// A guest's text without what could repaint the user's terminal: of control
/// characters only tab, backspace and bell remain, of escape sequences those that
/// colour, erase in the line, or move the cursor in it.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\t' | '\x08' | '\x07' => shown.push(c),
            '\x1b' => shown.push_str(&escape_sequence(&mut rest).unwrap_or_default()),
            c if c.is_control() => {}
            c => shown.push(c),
        }
    }
    shown
}

/// Takes what follows ESC; gives the sequence whole if it is harmless. A sequence
/// that breaks off is dropped.
fn escape_sequence(rest: &mut std::str::Chars<'_>) -> Option<String> {
    let mut ahead = rest.clone();
    if ahead.next() != Some('[') {
        return None;
    }
    let mut sequence = String::from("\x1b[");
    for c in ahead.by_ref() {
        sequence.push(c);
        match c {
            '0'..='9' | ';' => {}
            'm' | 'K' | 'C' | 'D' | 'G' | 'P' | '@' => {
                *rest = ahead;
                return Some(sequence);
            }
            _ => break,
        }
    }
    *rest = ahead;
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(view: View, input: &[u8]) -> String {
        let mut output = Vec::new();
        let mut consoles = Consoles::new(view, None, &mut output);
        consoles.receive(input, |_| ()).unwrap();
        consoles.finish(|_| ()).unwrap();
        drop(consoles);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn lines_carry_their_owner() {
        let input = b"net> a\nhypervisor| b\nnet| c\nlost";
        assert_eq!(shown(View::Lines, input), "hypervisor| b\nnet| ac\nfirmware| lost\n");
    }

    #[test]
    fn the_terminal_goes_on_in_an_open_line() {
        let text = shown(View::Terminal, b"net> $ \nnet> l\nnet| s\n");
        assert_eq!(text, "\x1b[32m       net|\x1b[0m $ ls\x1b[0m\n");
    }

    #[test]
    fn the_terminal_breaks_a_line_for_another_owner() {
        let text = shown(View::Terminal, b"net> $ \ndisk| up\nnet| ls\n");
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[0].ends_with("$ ") && lines[1].contains("disk|") && lines[2].contains("net|"),
            "{text:?}"
        );
    }

    #[test]
    fn guests_cannot_repaint_the_terminal() {
        assert_eq!(printable("a\x1b[31mb\x1b[0m\tc\x08"), "a\x1b[31mb\x1b[0m\tc\x08");
        assert_eq!(printable("a\x1b[2Jb\x1b[10;10Hc"), "abc");
        assert_eq!(printable("a\x1b]0;title\x07b"), "a]0;title\x07b");
        assert_eq!(printable("a\rb\x1bc\u{9b}2J"), "abc2J");
        assert_eq!(printable("\x1b["), "");
    }

    #[test]
    fn a_summary_is_in_the_log_and_not_on_the_screen() {
        // The first line is long, and a guest speaks in the middle of it.
        let input = "hypervisor| net: ended: power-off\nhypervisor> summary guest=net end=power-off\n\
                     net| summary guest=net\nhypervisor|  exits.cpuid=1\n\
                     hypervisor| summary hypervisor guests=1\nhypervisor| power off\n";
        for view in [View::Lines, View::Terminal] {
            let text = shown(view, input.as_bytes());
            assert!(text.contains("net: ended: power-off") && !text.contains("end="), "{text}");
            assert!(!text.contains("exits.") && !text.contains("guests="), "{text}");
            assert!(text.contains("power off"), "{text}");
            assert!(text.contains("summary guest=net"), "a guest may say what it likes: {text}");
        }
        let folder = std::env::temp_dir().join(format!("lab-summary-{}", std::process::id()));
        let logs = Logs::new(&folder).unwrap();
        let mut consoles = Consoles::new(View::Lines, Some(logs), io::sink());
        let mut taken = 0;
        consoles
            .receive(input.as_bytes(), |line| taken += usize::from(summary::is_part(&line.owner, &line.text)))
            .unwrap();
        let log = std::fs::read_to_string(folder.join("hypervisor.log")).unwrap();
        assert!(log.contains("summary guest=net end=power-off exits.cpuid=1\n"), "{log}");
        assert!(log.contains("summary hypervisor guests=1\n"), "{log}");
        assert_eq!(taken, 2);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn every_owner_has_a_log() {
        let folder = std::env::temp_dir().join(format!("lab-logs-{}", std::process::id()));
        let logs = Logs::new(&folder).unwrap();
        let mut consoles = Consoles::new(View::Nothing, Some(logs), io::sink());
        let mut lines = 0;
        consoles.receive(b"BIOS\nnet> a\ndisk| d\nnet| b\n../evil| x\n", |_| lines += 1).unwrap();
        consoles.finish(|_| lines += 1).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!((read("net.log"), read("disk.log")), ("ab\n".into(), "d\n".into()));
        assert_eq!(read("firmware.log"), "BIOS\n../evil| x\n");
        assert_eq!(lines, 4);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
