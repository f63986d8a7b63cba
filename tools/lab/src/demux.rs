//! Several consoles on one serial line.
//!
//! The hypervisor writes `name| text` for a whole line of a guest (or of itself)
//! and `name> text` for a part of a line that has no end yet; a later piece of
//! the same owner goes on with it. What carries no prefix is firmware's.

use std::collections::BTreeMap;

/// The owner of what no prefix claims: firmware, loaders, garbage.
pub const FIRMWARE: &str = "firmware";
/// The hypervisor's own name.
pub const HYPERVISOR: &str = "hypervisor";

/// Longest name of a guest.
const LONGEST_NAME: usize = 32;
/// A line of more bytes is cut here, so that garbage cannot fill memory.
const LONGEST_LINE: usize = 16 * 1024;

/// A piece of an owner's console as it arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Whose it is.
    pub owner: String,
    /// The new text, without an end of line.
    pub text: String,
    /// Whether it ends its line.
    pub ends_line: bool,
}

/// A whole line of an owner's console.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Whose it is.
    pub owner: String,
    /// The text, without the end of line.
    pub text: String,
}

/// Splits the bytes of the serial line into pieces and lines.
#[derive(Default, Debug)]
pub struct Demux {
    /// The physical line so far.
    partial: Vec<u8>,
    /// Per owner the line so far.
    open: BTreeMap<String, String>,
}

impl Demux {
    /// Nothing received yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes received bytes and gives what they complete: every piece, and with a
    /// piece that ends its owner's line that line.
    pub fn receive(&mut self, bytes: &[u8], mut on: impl FnMut(Piece, Option<Line>)) {
        for &byte in bytes {
            match byte {
                b'\n' => self.end_physical_line(&mut on),
                _ => {
                    self.partial.push(byte);
                    if self.partial.len() >= LONGEST_LINE {
                        self.end_physical_line(&mut on);
                    }
                }
            }
        }
    }

    /// The serial line is closed: gives what had no end.
    pub fn finish(&mut self, mut on: impl FnMut(Piece, Option<Line>)) {
        if !self.partial.is_empty() {
            self.end_physical_line(&mut on);
        }
        for (owner, text) in std::mem::take(&mut self.open) {
            let piece = Piece { owner: owner.clone(), text: String::new(), ends_line: true };
            on(piece, Some(Line { owner, text }));
        }
    }

    fn end_physical_line(&mut self, on: &mut impl FnMut(Piece, Option<Line>)) {
        let mut bytes = std::mem::take(&mut self.partial);
        while bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        let text = String::from_utf8_lossy(&bytes);
        let (owner, text, ends_line) = parse(&text).unwrap_or((FIRMWARE, &text, true));
        let open = self.open.entry(owner.to_owned()).or_default();
        open.push_str(text);
        let ends_line = ends_line || open.len() >= LONGEST_LINE;
        let piece = Piece { owner: owner.to_owned(), text: text.to_owned(), ends_line };
        let line = ends_line.then(|| Line { owner: owner.to_owned(), text: std::mem::take(open) });
        if ends_line {
            self.open.remove(&piece.owner);
        }
        on(piece, line);
    }
}

/// Owner, text, and whether it ends the line; `None` without a prefix. Bytes that
/// firmware left on the line before the first prefix (terminal control sequences,
/// a message without an end) do not hide it: they end where the name begins.
fn parse(line: &str) -> Option<(&str, &str, bool)> {
    let line = line.trim_start_matches(|c: char| c.is_control());
    let mark = line.find(['|', '>'])?;
    let (name, rest) = line.split_at(mark);
    let ends_line = rest.starts_with('|');
    let text = rest.get(1..)?;
    let text = match text.strip_prefix(' ') {
        Some(text) => text,
        None if text.is_empty() => text,
        None => return None,
    };
    is_name(name).then_some((name, text, ends_line))
}

/// Whether it is a guest's, or with the slot of a function behind it that of a console of its functions.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_slot = |slot: &str| {
        let digit = |at: usize| slot.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
        slot.len() == 4 && slot.get(2..3) == Some(".") && digit(0) && digit(1) && digit(3)
    };
    let name = match name.split_once(':') {
        Some((guest, slot)) if is_slot(slot) => guest,
        _ => name,
    };
    (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(allowed) && name != FIRMWARE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<(String, String)> {
        let mut demux = Demux::new();
        let mut lines = Vec::new();
        let mut take = |_: Piece, line: Option<Line>| lines.extend(line.map(|line| (line.owner, line.text)));
        // Byte by byte, so that no test leans on how the bytes were cut.
        for byte in input {
            demux.receive(&[*byte], &mut take);
        }
        demux.finish(&mut take);
        lines
    }

    fn line(owner: &str, text: &str) -> (String, String) {
        (owner.to_owned(), text.to_owned())
    }

    #[test]
    fn joins_the_pieces_of_a_line_across_other_owners() {
        let input = b"net> log\ndisk| up\nnet> in: \nhypervisor| fault\nnet| root\n";
        let expected = [line("disk", "up"), line("hypervisor", "fault"), line("net", "login: root")];
        assert_eq!(lines(input), expected);
    }

    #[test]
    fn a_guest_may_have_several_consoles() {
        let input = b"net> log\nnet:1f.0| second\nnet| in\nnet:xx.0| none\nnet:1f| none\n";
        let none = |text| line(FIRMWARE, text);
        let expected =
            [line("net:1f.0", "second"), line("net", "login"), none("net:xx.0| none"), none("net:1f| none")];
        assert_eq!(lines(input), expected);
    }

    #[test]
    fn text_without_a_prefix_is_firmware() {
        let input = b"SeaBIOS (version 1.16)\r\n\x1b[2J\r\nBooting | from disk\nnet| hello\r\n";
        let expected = [
            line("firmware", "SeaBIOS (version 1.16)"),
            line("firmware", "\u{1b}[2J"),
            line("firmware", "Booting | from disk"),
            line("net", "hello"),
        ];
        assert_eq!(lines(input), expected);
    }

    #[test]
    fn a_guest_cannot_speak_for_another() {
        let input = b"net| hypervisor| summary guest=net end=off\n";
        assert_eq!(lines(input), [line("net", "hypervisor| summary guest=net end=off")]);
    }

    #[test]
    fn an_empty_line_and_one_without_its_space_count() {
        assert_eq!(lines(b"net| \nnet|\n"), [line("net", ""), line("net", "")]);
    }

    #[test]
    fn names_that_are_no_names_are_firmware() {
        for input in ["../x| y", "a b| y", "| y", "x|y", &format!("{}| y", "n".repeat(33))] {
            assert_eq!(lines(input.as_bytes()), [line("firmware", input)]);
        }
    }

    #[test]
    fn bytes_that_are_no_text_survive() {
        let found = lines(b"\xff\xfe\x00\nnet| \xc3\x28\n");
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].0, "net");
    }

    #[test]
    fn garbage_without_an_end_is_cut() {
        let found = lines(&vec![b'x'; 3 * LONGEST_LINE]);
        assert_eq!(found.len(), 3);
        let endless: Vec<u8> = b"net> 0123456789abcdef\n".repeat(2 * LONGEST_LINE / 16);
        assert!(lines(&endless).len() >= 2);
    }

    #[test]
    fn pieces_tell_where_a_line_ends() {
        let mut demux = Demux::new();
        let mut pieces = Vec::new();
        demux.receive(b"net> $ \nnet| ls\n", |piece, _| pieces.push((piece.text, piece.ends_line)));
        assert_eq!(pieces, [("$ ".to_owned(), false), ("ls".to_owned(), true)]);
    }
}
