//! The Ctrl-T menu: who has the keyboard, who is stopped, who starts again.
//!
//! | after Ctrl-T | |
//! |---|---|
//! | a guest's number | the keyboard is that guest's |
//! | Ctrl-T | the keyboard is the next guest's |
//! | `n` | the keyboard is the next console's of the same guest |
//! | `d` | the screen shows that guest's display, or the log again |
//! | `s` and a number, then `y` | that guest is stopped |
//! | `r` and a number, then `y` | that guest starts again |
//! | `f` and a number, then `y` | that guest is frozen |
//! | `c` and a number, then `y` | that guest goes on, after it was frozen |
//! | `t` | types a Ctrl-T |
//! | anything else | nothing |

/// Opens the menu.
pub const KEY: u8 = 0x14;

/// What to do with a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// It gets the keyboard.
    Focus,
    /// It is stopped.
    Stop,
    /// It starts again.
    Restart,
    /// It is frozen.
    Freeze,
    /// It goes on after it was frozen.
    Continue,
}

impl Verb {
    /// The one that asks for a guest's number next.
    const fn of(letter: u8) -> Option<Self> {
        Some(match letter.to_ascii_lowercase() {
            b's' => Self::Stop,
            b'r' => Self::Restart,
            b'f' => Self::Freeze,
            b'c' => Self::Continue,
            _ => return None,
        })
    }
}

/// What a key asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// The byte is the guest's.
    Type(u8),
    /// Show the guests and what can be done.
    Show,
    /// Give the keyboard to the next guest.
    Next,
    /// Give the keyboard to the next console of the guest that has it.
    NextConsole,
    /// Show the display of the guest that has the keyboard on the screen, or the log again.
    Display,
    /// Do this with the guest of this number, from 0.
    Do(Verb, usize),
    /// Ask for the number of a guest.
    AskWhich(Verb),
    /// Ask whether this shall be done with the guest of this number.
    AskSure(Verb, usize),
    /// The menu is closed, and nothing was done.
    Close,
    /// More is to come.
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Closed,
    Open,
    /// The digits so far.
    Number(Verb, usize),
    Sure(Verb, usize),
}

/// The menu.
#[derive(Debug)]
pub struct Menu {
    state: State,
    guests: usize,
}

impl Menu {
    /// A closed menu for this many guests.
    pub const fn new(guests: usize) -> Self {
        Self { state: State::Closed, guests }
    }

    /// Whether keys go to the menu.
    pub fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// Takes a typed byte.
    pub fn key(&mut self, byte: u8) -> Action {
        let (state, action) = match (self.state, byte) {
            (State::Closed, KEY) => (State::Open, Action::Show),
            (State::Closed, byte) => (State::Closed, Action::Type(byte)),
            (State::Open, KEY) => (State::Closed, Action::Next),
            (State::Open, b't' | b'T') => (State::Closed, Action::Type(KEY)),
            (State::Open, b'n' | b'N') => (State::Closed, Action::NextConsole),
            (State::Open, b'd' | b'D') => (State::Closed, Action::Display),
            (State::Open, b'0'..=b'9') => self.digit(Verb::Focus, 0, byte),
            (State::Open, letter) => Verb::of(letter).map_or((State::Closed, Action::Close), |verb| {
                (State::Number(verb, 0), Action::AskWhich(verb))
            }),
            (State::Number(verb, number), b'0'..=b'9') => self.digit(verb, number, byte),
            (State::Number(verb, number), b'\r' | b'\n') if number > 0 => self.chosen(verb, number),
            (State::Sure(verb, guest), b'y' | b'Y') => (State::Closed, Action::Do(verb, guest)),
            _ => (State::Closed, Action::Close),
        };
        self.state = state;
        action
    }

    /// A number is complete where no further digit can make it a guest's.
    fn digit(&self, verb: Verb, number: usize, digit: u8) -> (State, Action) {
        let number = number.saturating_mul(10).saturating_add(usize::from(digit.saturating_sub(b'0')));
        if number > 0 && number.saturating_mul(10) <= self.guests {
            (State::Number(verb, number), Action::None)
        } else {
            self.chosen(verb, number)
        }
    }

    fn chosen(&self, verb: Verb, number: usize) -> (State, Action) {
        match (number.checked_sub(1).filter(|guest| *guest < self.guests), verb) {
            (None, _) => (State::Closed, Action::Close),
            (Some(guest), Verb::Focus) => (State::Closed, Action::Do(verb, guest)),
            (Some(guest), _) => (State::Sure(verb, guest), Action::AskSure(verb, guest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn keys(guests: usize, keys: &[u8]) -> Vec<Action> {
        let mut menu = Menu::new(guests);
        keys.iter().map(|key| menu.key(*key)).collect()
    }

    #[test]
    fn what_is_typed_is_the_guests_until_control_t() {
        assert_eq!(keys(2, b"a\x14"), [Action::Type(b'a'), Action::Show]);
        assert_eq!(keys(2, b"\x14tx"), [Action::Show, Action::Type(KEY), Action::Type(b'x')]);
        assert_eq!(keys(2, b"\x14\x1bx"), [Action::Show, Action::Close, Action::Type(b'x')]);
    }

    #[test]
    fn the_keyboard_goes_to_a_guest_by_its_number_or_to_the_next() {
        assert_eq!(keys(2, b"\x142x"), [Action::Show, Action::Do(Verb::Focus, 1), Action::Type(b'x')]);
        assert_eq!(keys(2, b"\x14\x14x"), [Action::Show, Action::Next, Action::Type(b'x')]);
        assert_eq!(keys(2, b"\x14nx"), [Action::Show, Action::NextConsole, Action::Type(b'x')]);
        assert_eq!(keys(2, b"\x14dx"), [Action::Show, Action::Display, Action::Type(b'x')]);
        assert_eq!(keys(2, b"\x143"), [Action::Show, Action::Close]);
        assert_eq!(keys(2, b"\x140"), [Action::Show, Action::Close]);
    }

    #[test]
    fn a_guest_is_stopped_or_started_again_only_after_a_yes() {
        let (stop, restart) = (Verb::Stop, Verb::Restart);
        assert_eq!(
            keys(2, b"\x14s1y"),
            [Action::Show, Action::AskWhich(stop), Action::AskSure(stop, 0), Action::Do(stop, 0)]
        );
        assert_eq!(
            keys(2, b"\x14r2n"),
            [Action::Show, Action::AskWhich(restart), Action::AskSure(restart, 1), Action::Close]
        );
        assert_eq!(keys(2, b"\x14r\r"), [Action::Show, Action::AskWhich(restart), Action::Close]);
        assert_eq!(keys(2, b"\x14s9"), [Action::Show, Action::AskWhich(stop), Action::Close]);
    }

    #[test]
    fn a_guest_is_frozen_and_goes_on_only_after_a_yes() {
        for (typed, verb) in [(b"\x14f1y", Verb::Freeze), (b"\x14C1Y", Verb::Continue)] {
            let asked = [Action::Show, Action::AskWhich(verb), Action::AskSure(verb, 0), Action::Do(verb, 0)];
            assert_eq!(keys(2, typed), asked);
        }
    }

    #[test]
    fn with_many_guests_a_number_may_have_more_digits() {
        assert_eq!(keys(12, b"\x141\r"), [Action::Show, Action::None, Action::Do(Verb::Focus, 0)]);
        assert_eq!(keys(12, b"\x1412"), [Action::Show, Action::None, Action::Do(Verb::Focus, 11)]);
        assert_eq!(keys(12, b"\x142"), [Action::Show, Action::Do(Verb::Focus, 1)]);
        assert_eq!(keys(12, b"\x1413"), [Action::Show, Action::None, Action::Close]);
    }

    #[test]
    fn without_guests_there_is_nothing_to_choose() {
        assert_eq!(keys(0, b"\x141"), [Action::Show, Action::Close]);
    }

    proptest! {
        /// Whatever is typed, only guests that there are are named, and three keys that mean
        /// nothing lead out.
        #[test]
        fn only_what_is_there(guests in 0usize..120, typed in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut menu = Menu::new(guests);
            for byte in typed {
                match menu.key(byte) {
                    Action::Do(_, guest) | Action::AskSure(_, guest) => prop_assert!(guest < guests),
                    _ => {}
                }
            }
            menu.key(0);
            prop_assert!(!menu.is_open());
        }
    }
}
