//! What of a guest's text reaches the console: control characters are shown, not obeyed.
//!
//! | in the text | on the console |
//! |---|---|
//! | printable characters, tab, well-formed UTF-8 | as they are |
//! | `ESC [ ... m`, colours | as they are; each line ends them |
//! | other C0 control characters, DEL | `^H`, `^[`, `^?` |
//! | CR before a line's end or at its start | nothing |
//! | bytes that are no UTF-8 | `\x9b` |
//! | C1 control characters, line separators, marks of writing direction | `\u{9b}` |
//! | `\|` and `>` behind the name of an owner | with `\` before, so that a terminal that breaks a long line shows no line in another's name |
//!
//! The terminal on the other side is taken for one that reads UTF-8.

use crate::LONGEST_NAME;
use core::fmt::Write;

/// Longest text of a line on the serial port, without its owner; a longer one goes on in the
/// next, whose mark says so.
pub const LONGEST_TEXT: usize = 240;
/// Ends all colours.
const RESET: &[u8] = b"\x1b[0m";
/// Longest sequence of colours that passes.
const LONGEST_SEQUENCE: usize = 32;

/// What a sequence of bytes may yet become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Ground,
    /// CR, perhaps before the end of the line.
    Return,
    /// ESC.
    Escape,
    /// `ESC [` and what follows.
    Control,
    /// A character of UTF-8 of so many bytes.
    Character(usize),
}

/// A guest's text on its way to the console, with what of it is not decided yet.
#[derive(Clone, Debug)]
pub struct Filter {
    state: State,
    /// The bytes of a sequence that is not complete.
    held: [u8; LONGEST_SEQUENCE],
    held_bytes: usize,
    /// The last characters that a name may have.
    word: [u8; LONGEST_NAME],
    word_bytes: usize,
    /// Nothing of the line was shown yet.
    at_start: bool,
    coloured: bool,
    text: [u8; LONGEST_TEXT],
    text_bytes: usize,
}

impl Filter {
    /// At the start of a line.
    pub const fn new() -> Self {
        Self {
            state: State::Ground,
            held: [0; LONGEST_SEQUENCE],
            held_bytes: 0,
            word: [0; LONGEST_NAME],
            word_bytes: 0,
            at_start: true,
            coloured: false,
            text: [0; LONGEST_TEXT],
            text_bytes: 0,
        }
    }

    /// Takes part of a line, without its end; `complete` ends it. Calls `emit` with each
    /// piece of text that shall stand on a line of its own, and whether that ends the
    /// guest's line. `is_owner` knows whether a text ends with the name of an owner.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        complete: bool,
        is_owner: impl Fn(&[u8]) -> bool,
        mut emit: impl FnMut(&[u8], bool),
    ) {
        for byte in bytes {
            self.take(*byte, &is_owner, &mut emit);
        }
        if complete {
            if self.state != State::Return {
                self.show_held(&is_owner, &mut emit);
            }
            self.state = State::Ground;
            self.held_bytes = 0;
            self.end(true, &mut emit);
            self.at_start = true;
            self.word_bytes = 0;
        } else if self.text_bytes > 0 {
            self.end(false, &mut emit);
        }
    }

    fn take(&mut self, byte: u8, is_owner: &impl Fn(&[u8]) -> bool, emit: &mut impl FnMut(&[u8], bool)) {
        let goes_on = match self.state {
            State::Ground => false,
            State::Return => {
                self.state = State::Ground;
                if byte == b'\r' {
                    self.state = State::Return;
                    return;
                }
                if !self.at_start {
                    self.show_control(b'\r', emit);
                }
                false
            }
            State::Escape => byte == b'[',
            State::Control => matches!(byte, b'0'..=b'9' | b';' | b':' | b'm'),
            State::Character(_) => byte & 0xc0 == 0x80,
        };
        if !goes_on || self.held_bytes >= LONGEST_SEQUENCE {
            self.show_held(is_owner, emit);
            return self.begin(byte, is_owner, emit);
        }
        self.hold(byte);
        match self.state {
            State::Escape => self.state = State::Control,
            State::Control if byte == b'm' => self.pass_colours(emit),
            State::Character(bytes) if self.held_bytes == bytes => self.pass_character(emit),
            _ => {}
        }
    }

    /// A byte that continues nothing.
    fn begin(&mut self, byte: u8, is_owner: &impl Fn(&[u8]) -> bool, emit: &mut impl FnMut(&[u8], bool)) {
        let state = match byte {
            b'\r' => {
                self.state = State::Return;
                return;
            }
            0x1b => State::Escape,
            0xc2..=0xdf => State::Character(2),
            0xe0..=0xef => State::Character(3),
            0xf0..=0xf4 => State::Character(4),
            b'\t' | b' '..=b'~' => return self.show_plain(byte, is_owner, emit),
            _ if byte < 0x80 => return self.show_control(byte, emit),
            _ => return self.show_byte(byte, emit),
        };
        self.state = state;
        self.hold(byte);
    }

    fn hold(&mut self, byte: u8) {
        if let Some(place) = self.held.get_mut(self.held_bytes) {
            *place = byte;
            self.held_bytes += 1;
        }
    }

    /// Shows what turned out to be nothing that passes.
    fn show_held(&mut self, is_owner: &impl Fn(&[u8]) -> bool, emit: &mut impl FnMut(&[u8], bool)) {
        let (held, bytes) = (self.held, core::mem::take(&mut self.held_bytes));
        self.state = State::Ground;
        for byte in held.iter().take(bytes) {
            match byte {
                b' '..=b'~' => self.show_plain(*byte, is_owner, emit),
                0..=0x7f => self.show_control(*byte, emit),
                _ => self.show_byte(*byte, emit),
            }
        }
    }

    fn pass_colours(&mut self, emit: &mut impl FnMut(&[u8], bool)) {
        let (held, bytes) = (self.held, core::mem::take(&mut self.held_bytes));
        self.state = State::Ground;
        let sequence = held.get(..bytes).unwrap_or_default();
        self.put(sequence, emit);
        // Behind `ESC [`, without the `m`.
        let parameters = sequence.get(2..bytes.saturating_sub(1)).unwrap_or_default();
        self.coloured = parameters.iter().any(|byte| *byte != b'0');
    }

    fn pass_character(&mut self, emit: &mut impl FnMut(&[u8], bool)) {
        let (held, bytes) = (self.held, core::mem::take(&mut self.held_bytes));
        self.state = State::Ground;
        self.word_bytes = 0;
        let character = held.get(..bytes).unwrap_or_default();
        match core::str::from_utf8(character).ok().and_then(|text| text.chars().next()) {
            Some(found) if may_pass(found) => self.put(character, emit),
            Some(found) => self.show(format_args!("\\u{{{:x}}}", u32::from(found)), emit),
            None => character.iter().for_each(|byte| self.show_byte(*byte, emit)),
        }
    }

    fn show_plain(
        &mut self,
        byte: u8,
        is_owner: &impl Fn(&[u8]) -> bool,
        emit: &mut impl FnMut(&[u8], bool),
    ) {
        let word = self.word.get(..self.word_bytes).unwrap_or_default();
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b':' | b'.' => {
                self.remember(byte);
                self.put(&[byte], emit);
            }
            b'|' | b'>' if is_owner(word) => {
                self.word_bytes = 0;
                self.put(&[b'\\', byte], emit);
            }
            _ => {
                self.word_bytes = 0;
                self.put(&[byte], emit);
            }
        }
    }

    /// Keeps the last characters: a terminal may break the line before any of them.
    fn remember(&mut self, byte: u8) {
        if self.word_bytes == LONGEST_NAME {
            self.word.rotate_left(1);
            self.word_bytes -= 1;
        }
        if let Some(place) = self.word.get_mut(self.word_bytes) {
            *place = byte;
            self.word_bytes += 1;
        }
    }

    fn show_control(&mut self, byte: u8, emit: &mut impl FnMut(&[u8], bool)) {
        self.word_bytes = 0;
        self.put(&[b'^', (byte ^ 0x40) & 0x7f], emit);
    }

    fn show_byte(&mut self, byte: u8, emit: &mut impl FnMut(&[u8], bool)) {
        self.show(format_args!("\\x{byte:02x}"), emit);
    }

    fn show(&mut self, text: core::fmt::Arguments<'_>, emit: &mut impl FnMut(&[u8], bool)) {
        struct Short([u8; 16], usize);
        impl Write for Short {
            fn write_str(&mut self, text: &str) -> core::fmt::Result {
                let end = self.1 + text.len();
                self.0.get_mut(self.1..end).ok_or(core::fmt::Error)?.copy_from_slice(text.as_bytes());
                self.1 = end;
                Ok(())
            }
        }
        let mut short = Short([0; 16], 0);
        // What is written here has 10 bytes at most.
        let _ = short.write_fmt(text);
        self.word_bytes = 0;
        let Short(bytes, end) = short;
        self.put(bytes.get(..end).unwrap_or_default(), emit);
    }

    /// Adds what belongs together to the text; where it does not fit, a new piece begins.
    fn put(&mut self, bytes: &[u8], emit: &mut impl FnMut(&[u8], bool)) {
        if self.text_bytes + bytes.len() > LONGEST_TEXT - RESET.len() {
            self.end(false, emit);
        }
        self.at_start = false;
        self.append(bytes);
    }

    fn append(&mut self, bytes: &[u8]) {
        let end = self.text_bytes + bytes.len();
        if let Some(place) = self.text.get_mut(self.text_bytes..end) {
            place.copy_from_slice(bytes);
            self.text_bytes = end;
        }
    }

    /// Ends the piece, and the colours in it.
    fn end(&mut self, complete: bool, emit: &mut impl FnMut(&[u8], bool)) {
        if core::mem::take(&mut self.coloured) {
            self.append(RESET);
        }
        emit(self.text.get(..self.text_bytes).unwrap_or_default(), complete);
        self.text_bytes = 0;
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::new()
    }
}

/// No control character, nothing that ends a line, nothing that turns its direction.
fn may_pass(character: char) -> bool {
    !matches!(
        character,
        '\0'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;
    use std::vec::Vec;

    const OWNERS: [&str; 3] = ["hypervisor", "net", "net:06.0"];

    fn is_owner(text: &[u8]) -> bool {
        OWNERS.iter().any(|name| text.ends_with(name.as_bytes()))
    }

    /// The pieces of one line that is fed in `parts`.
    fn pieces(parts: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let (mut filter, mut pieces) = (Filter::new(), Vec::new());
        for (index, part) in parts.iter().enumerate() {
            let last = index + 1 == parts.len();
            filter.feed(part, last, is_owner, |text, complete| pieces.push((text.to_vec(), complete)));
        }
        pieces
    }

    fn line(text: &[u8]) -> String {
        let pieces = pieces(&[text]);
        assert_eq!(pieces.len(), 1, "{pieces:?}");
        String::from_utf8(pieces[0].0.clone()).expect("text")
    }

    #[test]
    fn plain_text_and_colours_pass_and_colours_end_with_their_line() {
        assert_eq!(line(b"a\tb ~"), "a\tb ~");
        assert_eq!(
            line("Gr\u{fc}\u{df}e \u{25cf} \u{1f600}".as_bytes()),
            "Gr\u{fc}\u{df}e \u{25cf} \u{1f600}"
        );
        assert_eq!(line(b"\x1b[31mred\x1b[0m"), "\x1b[31mred\x1b[0m");
        assert_eq!(line(b"\x1b[1;38:5:9mred"), "\x1b[1;38:5:9mred\x1b[0m");
        assert_eq!(line(b"\x1b[mplain"), "\x1b[mplain");
    }

    #[test]
    fn other_control_characters_are_shown() {
        assert_eq!(line(b"a\x08\x0b\x0c\x07\x00\x7fb"), "a^H^K^L^G^@^?b");
        assert_eq!(line(b"\x1b[2J\x1b[1;1Hx\x1bc\x1b]0;t\x07"), "^[[2J^[[1;1Hx^[c^[]0;t^G");
        assert_eq!(line(b"\x9b2J\xc2\x9b2J\x85"), "\\x9b2J\\u{9b}2J\\x85");
        assert_eq!(line("a\u{202e}b\u{2028}c\u{feff}".as_bytes()), "a\\u{202e}b\\u{2028}c\\u{feff}");
        assert_eq!(line(b"\x1b\x1b[\x1b[3\x1b[31m"), "^[^[[^[[3\x1b[31m\x1b[0m");
        assert_eq!(
            line(&[b"\x1b[".as_slice(), &[b'1'; 40], b"m"].concat()),
            std::format!("^[[{}m", "1".repeat(40))
        );
    }

    #[test]
    fn what_breaks_off_is_shown_at_the_end_of_the_line() {
        assert_eq!(line(b"a\x1b"), "a^[");
        assert_eq!(line(b"a\x1b[3"), "a^[[3");
        assert_eq!(line(b"a\xe2\x97"), "a\\xe2\\x97");
        assert_eq!(
            line(b"\xe2\x28\xa1\xf4\x90\x80\x80\xed\xa0\x80"),
            "\\xe2(\\xa1\\xf4\\x90\\x80\\x80\\xed\\xa0\\x80"
        );
    }

    #[test]
    fn a_carriage_return_goes_at_the_ends_of_a_line_and_is_shown_within() {
        assert_eq!(line(b"a\r"), "a");
        assert_eq!(line(b"a\r\r"), "a");
        assert_eq!(line(b"\ra"), "a");
        assert_eq!(line(b"\r"), "");
        assert_eq!(line(b"10%\r20%\r"), "10%^M20%");
    }

    #[test]
    fn nobody_writes_a_line_in_anothers_name() {
        assert_eq!(line(b"hypervisor| all is well"), "hypervisor\\| all is well");
        assert_eq!(line(b"xhypervisor> y a| b | c"), "xhypervisor\\> y a| b | c");
        assert_eq!(line(b"hyper\x1b[0mvisor| y"), "hyper\x1b[0mvisor\\| y");
        assert_eq!(line(b"hyper visor| y"), "hyper visor| y");
        let split = pieces(&[b"hypervis", b"or", b"| y"]);
        assert_eq!(split[2], (b"\\| y".to_vec(), true));
        let long = [&[b'a'; 100][..], b"net| z"].concat();
        assert!(line(&long).ends_with("anet\\| z"));
    }

    #[test]
    fn a_sequence_may_come_in_parts() {
        assert_eq!(
            pieces(&[b"a\x1b", b"[31", b"mb"]),
            [(b"a".to_vec(), false), (b"\x1b[31mb\x1b[0m".to_vec(), true)]
        );
        assert_eq!(pieces(&[b"\xe2\x97", b"\x8f"]), [(b"\xe2\x97\x8f".to_vec(), true)]);
        assert_eq!(pieces(&[b"a\r", b"", b""]), [(b"a".to_vec(), false), (b"".to_vec(), true)]);
    }

    #[test]
    fn a_long_line_comes_in_pieces() {
        let found = pieces(&[&[b'a'; 500]]);
        assert_eq!(found.iter().map(|(text, _)| text.len()).sum::<usize>(), 500);
        assert_eq!(found.iter().map(|(_, complete)| *complete).collect::<Vec<_>>(), [false, false, true]);
        assert!(found.iter().all(|(text, _)| text.len() <= LONGEST_TEXT));
    }

    /// What a terminal would obey in a piece: control characters that are not part of colours.
    fn obeyed(text: &[u8]) -> Option<u8> {
        let text = std::str::from_utf8(text).expect("UTF-8");
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if c == '\x1b' {
                assert_eq!(rest.next(), Some('['));
                assert!(rest.by_ref().find(|c| !matches!(c, '0'..='9' | ';' | ':')) == Some('m'));
            } else if c.is_control() && c != '\t' {
                return Some(c as u8);
            }
        }
        None
    }

    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let words: &[&[u8]] =
            &[b"\x1b[", b"\x1b[31m", b"hypervisor", b"| ", b"net> ", b"\r", b"\xc2", b"\x9b", b"m"];
        let word = prop::sample::select(words).prop_map(<[u8]>::to_vec);
        prop::collection::vec(prop_oneof![word, prop::collection::vec(any::<u8>(), 0..9)], 0..60)
            .prop_map(|parts| parts.concat().into_iter().filter(|byte| *byte != b'\n').collect())
    }

    proptest! {
        /// Whatever comes and however it is cut, nothing but colours is obeyed, pieces are
        /// short, colours end, and exactly the last piece ends the line.
        #[test]
        fn nothing_is_obeyed(text in hostile(), cuts in prop::collection::vec(1usize..50, 0..9)) {
            let (mut parts, mut rest) = (Vec::new(), &text[..]);
            for cut in cuts {
                let (part, after) = rest.split_at(cut.min(rest.len()));
                parts.push(part);
                rest = after;
            }
            parts.push(rest);
            let found = pieces(&parts);
            for (index, (text, complete)) in found.iter().enumerate() {
                prop_assert_eq!(obeyed(text), None);
                prop_assert!(text.len() <= LONGEST_TEXT);
                prop_assert_eq!(*complete, index + 1 == found.len());
                for name in OWNERS {
                    for mark in ["| ", "> "] {
                        let forged = std::format!("{name}{mark}");
                        prop_assert!(!text.windows(forged.len()).any(|part| part == forged.as_bytes()));
                    }
                }
                if let Some(last) = text.iter().rposition(|byte| *byte == b'm' )
                    .filter(|_| text.contains(&0x1b)) {
                    prop_assert!(last > 0);
                }
            }
        }

        /// Text without control characters is the same behind it, however it is cut.
        #[test]
        fn plain_text_stays(text in "[a-z0-9 \u{e4}\u{20ac}.]{0,600}", cut in 0usize..600) {
            let bytes = text.as_bytes();
            let (one, two) = bytes.split_at(cut.min(bytes.len()));
            let joined: Vec<u8> = pieces(&[one, two]).into_iter().flat_map(|(text, _)| text).collect();
            prop_assert_eq!(joined, bytes);
        }
    }
}
