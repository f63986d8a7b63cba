//! The user's terminal: raw while a session runs, restored whatever happens.

use anyhow::Result;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use std::io::{IsTerminal, Read, Write, stdin};

/// What a key does to a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// Goes to the machine's serial line; Ctrl-T, which opens its menu, too.
    Type(u8),
    /// Ends the session: Ctrl-] or Ctrl-A x.
    Quit,
}

/// Tells typed keys from those that are the session's own.
#[derive(Default, Debug)]
pub struct Keys {
    after_control_a: bool,
}

impl Keys {
    /// Takes one typed byte. Ctrl-A is held back until the next key: `x` quits,
    /// another Ctrl-A types one, anything else is typed behind its Ctrl-A.
    pub fn take(&mut self, byte: u8, mut on: impl FnMut(Key)) {
        const CONTROL_A: u8 = 1;
        const CONTROL_CLOSING_BRACKET: u8 = 0x1d;
        if std::mem::take(&mut self.after_control_a) {
            match byte {
                b'x' | b'X' | 0x18 => on(Key::Quit),
                CONTROL_A => on(Key::Type(CONTROL_A)),
                _ => {
                    on(Key::Type(CONTROL_A));
                    on(Key::Type(byte));
                }
            }
            return;
        }
        match byte {
            CONTROL_A => self.after_control_a = true,
            CONTROL_CLOSING_BRACKET => on(Key::Quit),
            _ => on(Key::Type(byte)),
        }
    }
}

/// A terminal in raw mode; dropping it restores what was before.
#[derive(Debug)]
pub struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Makes standard input raw, Ctrl-C included; `None` if it is no terminal.
    /// Output processing stays on, so a line feed still starts a new line.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn enter() -> Result<Option<Self>> {
        if !stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
        raw.input_modes &= !(InputModes::ICRNL | InputModes::IXON | InputModes::INLCR | InputModes::ISTRIP);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(stdin(), OptionalActions::Drain, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.before);
        // Colours that a guest left on.
        let _ = std::io::stdout().write_all(b"\x1b[0m");
    }
}

/// Forwards standard input to `machine` until it closes, or calls `quit` at the key
/// for that. Blocks; run it in a thread, which may be left behind at the end.
pub fn forward(mut machine: impl Write, quit: impl FnOnce()) {
    let mut keys = Keys::default();
    let mut bytes = [0; 256];
    loop {
        let Ok(count) = stdin().lock().read(&mut bytes) else { return };
        if count == 0 {
            return;
        }
        let (mut typed, mut leave) = (Vec::new(), false);
        for &byte in &bytes[..count] {
            keys.take(byte, |key| match key {
                Key::Type(byte) => typed.push(byte),
                Key::Quit => leave = true,
            });
        }
        if leave {
            return quit();
        }
        if machine.write_all(&typed).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(input: &[u8]) -> Vec<Key> {
        let (mut keys, mut found) = (Keys::default(), Vec::new());
        for &byte in input {
            keys.take(byte, |key| found.push(key));
        }
        found
    }

    #[test]
    fn control_t_and_control_c_go_to_the_machine() {
        assert_eq!(keys(b"\x14\x03a"), [Key::Type(0x14), Key::Type(3), Key::Type(b'a')]);
    }

    #[test]
    fn both_ways_out() {
        assert_eq!(keys(b"\x1d"), [Key::Quit]);
        assert_eq!(keys(b"\x01x"), [Key::Quit]);
    }

    #[test]
    fn control_a_can_be_typed() {
        assert_eq!(keys(b"\x01\x01x"), [Key::Type(1), Key::Type(b'x')]);
        assert_eq!(keys(b"\x01b"), [Key::Type(1), Key::Type(b'b')]);
    }
}
