//! The one console: COM1, the framebuffer and a ring in memory show the same lines.
//!
//! Guests and the hypervisor share it by lines: `owner| text` is a line or the end
//! of one, `owner> text` a part whose line goes on in the owner's next piece. A line
//! goes out whole, under one lock.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::framebuffer::Screen;
use crate::serial::Serial;
use spec::Hpa;

/// The owner of the hypervisor's own lines.
pub const HYPERVISOR: &str = "hypervisor";

const RING_BYTES: usize = 16 * 1024;

/// The last bytes that were written, for the panic report and for machines without
/// any console.
struct Ring {
    bytes: [u8; RING_BYTES],
    written: usize,
}

impl Ring {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.bytes[self.written % RING_BYTES] = *byte;
            self.written = self.written.wrapping_add(1);
        }
    }

    /// The byte `back` places before the end, 1 being the last.
    fn back(&self, back: usize) -> Option<u8> {
        (back <= self.written.min(RING_BYTES))
            .then(|| self.bytes[self.written.wrapping_sub(back) % RING_BYTES])
    }

    /// How far back the last `lines` whole lines start.
    fn start_of_last(&self, lines: usize) -> usize {
        let mut ends = 0;
        let mut back = 0;
        while let Some(byte) = self.back(back + 1) {
            if byte == b'\n' {
                ends += 1;
                if ends > lines {
                    break;
                }
            }
            back += 1;
        }
        back
    }
}

struct Console {
    serial: Option<Serial>,
    screen: Option<Screen>,
    ring: Ring,
}

static CONSOLE: spin::Mutex<Console> = spin::Mutex::new(Console {
    serial: None,
    screen: None,
    ring: Ring { bytes: [0; RING_BYTES], written: 0 },
});
static LINES: AtomicU64 = AtomicU64::new(0);

impl Console {
    fn put(&mut self, bytes: &[u8]) {
        self.ring.push(bytes);
        self.show(bytes);
    }

    fn show(&mut self, bytes: &[u8]) {
        if let Some(serial) = &mut self.serial {
            serial.send(bytes);
        }
        if let Some(screen) = &mut self.screen {
            screen.put(bytes);
        }
    }

    fn begin(&mut self, owner: &str, complete: bool) {
        self.put(owner.as_bytes());
        self.put(if complete { b"| " } else { b"> " });
    }

    /// Puts text that its owner chose. Line ends in it would let an owner write lines
    /// in another's name, so they become spaces.
    fn put_text(&mut self, text: &[u8]) {
        for (index, part) in text.split(|byte| matches!(byte, b'\n' | b'\r')).enumerate() {
            if index > 0 {
                self.put(b" ");
            }
            self.put(part);
        }
    }

    fn release_screen(&mut self, start: Hpa, bytes: u64) -> bool {
        let Some(screen) = self.screen.as_mut().filter(|screen| screen.is_in(start, bytes)) else {
            return false;
        };
        screen.scrub();
        self.screen = None;
        true
    }

    fn end(&mut self) {
        self.put(b"\r\n");
        LINES.fetch_add(1, Ordering::Relaxed);
    }
}

/// Looks for COM1. The log starts here.
pub fn init_serial() {
    CONSOLE.lock().serial = Serial::probe();
}

/// Writes nothing more to COM1, as the configuration asks; the screen goes on.
pub fn leave_serial() {
    CONSOLE.lock().serial = None;
}

/// Shows every further line on `screen` too, and the lines so far.
pub fn attach_screen(mut screen: Screen) {
    let mut console = CONSOLE.lock();
    let mut back = console.ring.start_of_last(screen.rows());
    while back > 0 {
        if let Some(byte) = console.ring.back(back) {
            screen.put(&[byte]);
        }
        back -= 1;
    }
    console.screen = Some(screen);
}

/// The `bytes` bytes from `start` become somebody's: where the screen is in them, it is
/// scrubbed, for it shows what all guests print, and never written to again. Whether it was.
pub fn release_screen(start: Hpa, bytes: u64) -> bool {
    CONSOLE.lock().release_screen(start, bytes)
}

/// Writes a line of `owner` (`complete`), or a part of one that has not ended yet.
pub fn write_line(owner: &str, complete: bool, bytes: &[u8]) {
    let mut console = CONSOLE.lock();
    console.begin(owner, complete);
    console.put_text(bytes);
    console.end();
}

/// Writes text of the hypervisor, one line for each of its lines, each beginning
/// with `prefix`.
pub fn write_log(prefix: &str, text: fmt::Arguments) {
    write_to(&mut CONSOLE.lock(), prefix, text);
}

/// As [`write_log`], but not on the screen: a line that a tool reads and nobody else.
pub fn write_for_tools(text: fmt::Arguments) {
    let mut console = CONSOLE.lock();
    let screen = console.screen.take();
    write_to(&mut console, "", text);
    console.screen = screen;
}

fn write_to(console: &mut Console, prefix: &str, text: fmt::Arguments) {
    struct Lines<'a> {
        console: &'a mut Console,
        prefix: &'a str,
    }
    impl fmt::Write for Lines<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for (index, line) in text.split('\n').enumerate() {
                if index > 0 {
                    self.console.end();
                    self.console.begin(HYPERVISOR, true);
                    self.console.put(self.prefix.as_bytes());
                }
                self.console.put(line.as_bytes());
            }
            Ok(())
        }
    }
    console.begin(HYPERVISOR, true);
    console.put(prefix.as_bytes());
    let mut lines = Lines { console, prefix };
    // `Lines` never fails; a `Display` that does loses its own text only.
    let _ = fmt::write(&mut lines, text);
    lines.console.end();
}

/// Waits until everything written has left the machine.
pub fn drain() {
    if let Some(serial) = &mut CONSOLE.lock().serial {
        serial.drain();
    }
}

/// A character that somebody typed, if there is one. Never waits.
pub fn read_byte() -> Option<u8> {
    CONSOLE.try_lock()?.serial.as_mut()?.receive()
}

/// Number of lines so far, for a watchdog to see life.
pub fn lines_written() -> u64 {
    LINES.load(Ordering::Relaxed)
}

/// Takes the console from whoever holds it. For the panic path: the other processors
/// are stopped by then, maybe one of them amid a line.
pub fn break_lock() {
    for _ in 0..1_000_000 {
        if CONSOLE.try_lock().is_some() {
            return;
        }
        core::hint::spin_loop();
    }
    // SAFETY: the holder is stopped for ever or is this processor itself, which
    // panicked amid a line and will not go back to it.
    unsafe { CONSOLE.force_unlock() };
}

/// Shows the last `lines` lines again, with `- ` before each. For the panic report.
pub fn replay(lines: usize) {
    let mut console = CONSOLE.lock();
    // Nothing is pushed to the ring meanwhile, so positions stay.
    let mut back = console.ring.start_of_last(lines);
    let mut fresh = true;
    while back > 0 {
        let Some(byte) = console.ring.back(back) else { break };
        if fresh {
            console.show(b"hypervisor| - ");
        }
        console.show(&[byte]);
        fresh = byte == b'\n';
        back -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::string::String;
    use std::vec::Vec;

    fn console() -> Box<Console> {
        Box::new(Console { serial: None, screen: None, ring: Ring { bytes: [0; RING_BYTES], written: 0 } })
    }

    fn text(console: &Console) -> String {
        let length = console.ring.written.min(RING_BYTES);
        let bytes: Vec<u8> = (1..=length).rev().filter_map(|back| console.ring.back(back)).collect();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn each_line_of_the_log_begins_with_its_owner_and_prefix() {
        let mut console = console();
        write_to(&mut console, "warning: ", format_args!("one\ntwo {}", 3));
        assert_eq!(text(&console), "hypervisor| warning: one\r\nhypervisor| warning: two 3\r\n");
    }

    #[test]
    fn a_screen_that_becomes_a_guests_keeps_nothing_and_is_left_alone() {
        let memory = std::vec![0xaa_u8; 48 * 170 * 4 + 64].leak();
        let start: *const u8 = memory.as_ptr();
        let length = memory.len();
        // SAFETY: the vector was leaked, and only this thread touches it.
        let dots = || unsafe { core::slice::from_raw_parts(start, length) };
        let mut console = console();
        console.screen = Some(Screen::in_memory(memory, Hpa(0xfd00_0000)));
        write_to(&mut console, "", format_args!("a secret"));
        assert!(dots().iter().any(|dot| *dot != 0));
        // Somebody else's BARs before and behind it.
        assert!(!console.release_screen(Hpa(0xfc00_0000), 0x100_0000));
        assert!(!console.release_screen(Hpa(0xfd10_0000), 0x1000));
        assert!(console.screen.is_some());
        assert!(console.release_screen(Hpa(0xfd00_0000), 0x100_0000));
        assert!(dots().iter().all(|dot| *dot == 0), "not even where nobody sees it");
        write_to(&mut console, "", format_args!("what others print"));
        assert!(dots().iter().all(|dot| *dot == 0));
    }

    #[test]
    fn a_guest_cannot_write_a_line_in_another_name() {
        let mut console = console();
        console.begin("net", true);
        console.put_text(b"hello\r\nhypervisor| all is well\rx");
        console.end();
        assert_eq!(text(&console), "net| hello  hypervisor| all is well x\r\n");
    }

    #[test]
    fn the_ring_finds_the_last_lines_also_after_it_wrapped() {
        let mut console = console();
        for line in 0..2000 {
            write_to(&mut console, "", format_args!("line {line}"));
        }
        let back = console.ring.start_of_last(2);
        let expected = "hypervisor| line 1998\r\nhypervisor| line 1999\r\n";
        assert_eq!(back, expected.len());
        assert!(text(&console).ends_with(expected));
        assert_eq!(console.ring.start_of_last(100_000), RING_BYTES);
    }
}
