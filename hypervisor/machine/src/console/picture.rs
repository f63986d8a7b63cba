//! A guest's picture on the screen, for whoever shows it.

use super::SHOWN;
use super::framebuffer::{CHARACTER, Letter, Screen};

/// Width and height of a character, in dots.
pub const CHARACTER_DOTS: (usize, usize) = CHARACTER;

fn with_screen<R>(call: impl FnOnce(&mut Screen) -> R) -> Option<R> {
    SHOWN.lock().screen.as_mut().map(call)
}

/// Dots of the screen in width and height; `None` where there is none.
pub fn screen_size() -> Option<(usize, usize)> {
    with_screen(|screen| screen.size())
}

/// Shows a picture instead of the log, from now on. Whether there is a screen.
pub fn show_picture() -> bool {
    with_screen(Screen::show_picture).is_some()
}

/// Shows the log again.
pub fn show_log() {
    with_screen(Screen::show_log);
}

/// Makes at most `most` bytes more of the screen black; whether more are left.
pub fn wipe(most: usize) -> bool {
    with_picture(|screen| screen.wipe(most)).unwrap_or(false)
}

/// See [`Screen::put_dots`]; nothing where the log is shown.
pub fn put_dots(x: usize, y: usize, dots: &[u8], is_big_endian: bool) {
    with_picture(|screen| screen.put_dots(x, y, dots, is_big_endian));
}

/// See [`Screen::put_letter`]; nothing where the log is shown.
pub fn put_letter(x: usize, y: usize, letter: &Letter) {
    with_picture(|screen| screen.put_letter(x, y, letter));
}

fn with_picture<R>(call: impl FnOnce(&mut Screen) -> R) -> Option<R> {
    with_screen(|screen| screen.shows_picture().then(|| call(screen))).flatten()
}
