//! The one console: a serial port, the framebuffer and a history in memory show the same
//! lines.
//!
//! Guests and the hypervisor share it by lines: `owner| text` is a line or the end
//! of one, `owner> text` a part whose line goes on in the owner's next piece.
//!
//! Whoever writes puts a line into its owner's ring and goes on. Until guests run, and once
//! they are over, it is sent at once; in between the housekeeping CPU sends, as the port takes it
//! ([`turn`]). A panic sends by polling, past every lock.

pub mod framebuffer;
pub mod history;
pub mod log;
#[cfg(target_os = "none")]
pub mod panic;
pub mod picture;
pub mod serial;
pub mod symbols;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::*};

use consoles::filter::{Filter, LONGEST_TEXT};
use consoles::output::{Output, Pumped, Source};
use consoles::port::{Cause, SerialPort};
use consoles::presence::Absent;
use consoles::ring::{Flags, Ring, Taken};
use spec::Hpa;
use spin::mutex::{SpinMutex, TicketMutex};

use crate::cpu::{apic, processor};
use framebuffer::Screen;
use history::History;
use serial::{COM1, PC_DIVISOR, POLLS, Port, Registers};

pub use consoles::HYPERVISOR;

const LOG_BYTES: usize = 32 * 1024;
/// Bytes of a guest's ring: what a Linux prints while it boots; less where many guests share
/// what there is.
const GUEST_BYTES: usize = 64 * 1024;
const ALL_GUESTS_BYTES: usize = 1 << 20;
/// Lines, and characters on the screen, that the housekeeping CPU writes before it looks at something
/// else.
const LINES_AT_ONCE: usize = 4;
const CHARACTERS_AT_ONCE: usize = 32;
/// Turns in a row at whose ends a port still asks for something, until it is looked at by the
/// timer instead.
const ASKS: u32 = 10_000;
/// How long a port may take nothing before lines pass it by, in seconds.
const PATIENCE_SECONDS: u64 = 5;
/// Parts of a second after which the housekeeping CPU looks at a port that works without interrupts:
/// while there is something to send, and for something typed.
const SENDS_PER_SECOND: u64 = 1000;
const LOOKS_PER_SECOND: u64 = 50;
/// Tries for a lock that is held for a few hundred instructions at a time. Who does not get
/// it has interrupted its holder.
const LOCK_TRIES: u32 = 100_000;

/// What of the console its sender has.
struct Shown {
    output: Output,
    port: Option<Port>,
    /// The port's interrupts reach the housekeeping CPU.
    has_line: bool,
    /// How often in a row it still asked for something after its turn.
    asked: u32,
    screen: Option<Screen>,
    history: History,
    /// TSC since when the port took nothing.
    stuck_since: Option<u64>,
}

/// The lines of one console of a guest's, on their way through its filter.
struct GuestLines {
    name: String,
    lines: TicketMutex<(Filter, Ring<Box<[u8]>>)>,
}

/// Who writes lines.
#[expect(clippy::large_enum_variant, reason = "a list of one log and all guests, made once")]
enum Owner {
    Log,
    Guest(GuestLines),
}

static SHOWN: SpinMutex<Shown> = SpinMutex::new(Shown {
    output: Output::new(),
    port: None,
    has_line: false,
    asked: 0,
    screen: None,
    history: History::new(),
    stuck_since: None,
});
static LOG: SpinMutex<Ring<[u8; LOG_BYTES]>> = SpinMutex::new(Ring::new([0; LOG_BYTES]));
/// The log, then the guests' consoles by number.
static OWNERS: spin::Once<Box<[Owner]>> = spin::Once::new();
static ONLY_LOG: [Owner; 1] = [Owner::Log];
static LINES: AtomicU64 = AtomicU64::new(0);

/// Where a panic writes: the ports of boot, and what the configuration chose.
static EARLY: spin::Once<Registers> = spin::Once::new();
static CHOSEN: spin::Once<Option<Registers>> = spin::Once::new();

/// Who sends.
static MODE: AtomicU8 = AtomicU8::new(AT_ONCE);
const AT_ONCE: u8 = 0;
const BY_HOUSEKEEPING: u8 = 1;
const PANIC: u8 = 2;
/// The housekeeping CPU will look at the rings again by itself.
static SERVED: AtomicBool = AtomicBool::new(false);
/// The vector that wakes it, and the TSC's rate.
static WAKE_VECTOR: AtomicU8 = AtomicU8::new(0);
static TSC_HZ: AtomicU64 = AtomicU64::new(1);

impl Source for Owner {
    fn name(&self) -> &str {
        match self {
            Self::Log => HYPERVISOR,
            Self::Guest(guest) => &guest.name,
        }
    }

    fn take(&self, text: &mut [u8; LONGEST_TEXT]) -> Option<Taken> {
        match self {
            Self::Log => try_log()?.take(text),
            Self::Guest(guest) => guest.lines.lock().1.take(text),
        }
    }
}

impl Owner {
    fn is_empty(&self) -> bool {
        match self {
            Self::Log => LOG.try_lock().is_some_and(|ring| ring.is_empty()),
            Self::Guest(guest) => guest.lines.lock().1.is_empty(),
        }
    }
}

fn owners() -> &'static [Owner] {
    OWNERS.get().map_or(&ONLY_LOG, |owners| owners)
}

/// The log's ring, unless its holder cannot go on: it is interrupted by whoever asks.
fn try_log() -> Option<spin::mutex::SpinMutexGuard<'static, Ring<[u8; LOG_BYTES]>>> {
    (0..LOCK_TRIES).find_map(|_| {
        core::hint::spin_loop();
        LOG.try_lock()
    })
}

impl Shown {
    /// Sends what there is as far as the port takes it.
    fn pump(&mut self, most: usize) -> Pumped {
        let Self { output, port, screen, history, .. } = self;
        output.pump(owners(), port.as_mut(), most, |line, shown| {
            LINES.fetch_add(1, Relaxed);
            history.push(line);
            if let Some(screen) = screen.as_mut().filter(|_| shown) {
                screen.put(line);
            }
        })
    }

    fn refresh(&mut self, most: usize) -> bool {
        self.screen.as_mut().is_some_and(|screen| screen.refresh(most))
    }

    /// Sends everything, by polling. A port that takes nothing has failed.
    fn send_all(&mut self) {
        let mut polls = 0;
        while let Pumped::Busy { moved } = self.pump(LINES_AT_ONCE) {
            polls = if moved { 0 } else { polls + 1 };
            if polls == POLLS {
                self.output.fail();
            }
        }
        self.refresh(usize::MAX);
    }

    fn release_screen(&mut self, start: Hpa, bytes: u64) -> bool {
        let Some(screen) = self.screen.as_mut().filter(|screen| screen.is_in(start, bytes)) else {
            return false;
        };
        screen.scrub();
        self.screen = None;
        true
    }

    fn use_port(&mut self, port: Option<Port>) {
        self.port = port;
        self.has_line = false;
    }

    /// Sends what was written so far, by polling, to a port that has not seen it.
    fn tell(&self, registers: Registers) {
        let mut back = self.history.start_of_last(usize::MAX);
        while back > 0 {
            let byte = self.history.back(back);
            if byte.is_some_and(|byte| !registers.send_anyway(&[byte])) {
                return;
            }
            back -= 1;
        }
    }
}

/// Looks for COM1. The log starts here.
pub fn init_serial() {
    let mut shown = SHOWN.lock();
    shown.use_port(Port::probe(Registers::Ports(COM1), Some(PC_DIVISOR)).ok());
    if let Some(port) = &shown.port {
        EARLY.call_once(|| port.registers());
    }
}

/// Writes to this port from now on, which divides its clock by `divisor` or by what it does
/// already; first what was written so far, if it is another than before.
///
/// # Errors
/// Nothing answers there, and then all stays as it was.
pub fn use_port(registers: Registers, divisor: Option<u16>) -> Result<(), Absent> {
    let is_new = !matches!(registers, Registers::Ports(COM1)) || EARLY.get().is_none();
    let port = Port::probe(registers, divisor)?;
    CHOSEN.call_once(|| Some(registers));
    let mut shown = SHOWN.lock();
    if is_new {
        shown.tell(registers);
    }
    shown.use_port(Some(port));
    Ok(())
}

/// Whether there is a port.
pub fn has_port() -> bool {
    SHOWN.lock().port.is_some()
}

/// Writes nothing more to a serial port, as the configuration asks; the screen goes on.
pub fn leave_serial() {
    CHOSEN.call_once(|| None);
    SHOWN.lock().use_port(None);
}

/// Shows every further line on `screen` too, and the lines so far.
pub fn attach_screen(mut screen: Screen) {
    let mut shown = SHOWN.lock();
    let mut back = shown.history.start_of_last(screen.rows());
    while back > 0 {
        if let Some(byte) = shown.history.back(back) {
            screen.put(&[byte]);
        }
        back -= 1;
    }
    screen.refresh(usize::MAX);
    shown.screen = Some(screen);
}

/// The `bytes` bytes from `start` become somebody's: where the screen is in them, it is
/// scrubbed, for it shows what all guests print, and never written to again. Whether it was.
pub fn release_screen(start: Hpa, bytes: u64) -> bool {
    SHOWN.lock().release_screen(start, bytes)
}

/// Makes a ring for each console of the guests', by its number. Allocates.
pub fn add_guests<'a>(names: impl ExactSizeIterator<Item = &'a str>) {
    let bytes = (ALL_GUESTS_BYTES / names.len().max(1)).min(GUEST_BYTES);
    let guest = |name: &str| {
        let ring = Ring::new(vec![0; bytes].into_boxed_slice());
        Owner::Guest(GuestLines { name: name.into(), lines: TicketMutex::new((Filter::new(), ring)) })
    };
    let owners: Vec<Owner> = core::iter::once(Owner::Log).chain(names.map(guest)).collect();
    OWNERS.call_once(|| owners.into_boxed_slice());
}

/// Takes part of a line of the guests' console of this number; `complete` ends it. What a terminal
/// would obey in it is shown. Never waits for what is sent.
pub fn write_guest(console: usize, complete: bool, bytes: &[u8]) {
    let Some(Owner::Guest(guest)) = owners().get(console + 1) else { return };
    let is_owner = |text: &[u8]| owners().iter().any(|owner| text.ends_with(owner.name().as_bytes()));
    {
        let mut lines = guest.lines.lock();
        let (filter, ring) = &mut *lines;
        filter.feed(bytes, complete, is_owner, |text, complete| {
            ring.push(text, Flags { complete, hidden: false });
        });
    }
    written();
}

/// Writes text of the hypervisor, one line for each of its lines, each beginning
/// with `prefix`.
pub fn write_log(prefix: &str, text: fmt::Arguments) {
    write(prefix, text, false);
}

/// As [`write_log`], but not on the screen: a line that a tool reads and nobody else.
pub fn write_for_tools(text: fmt::Arguments) {
    write("", text, true);
}

fn write(prefix: &str, text: fmt::Arguments, hidden: bool) {
    let mut lines = LogLines { prefix, text: [0; LONGEST_TEXT], used: 0, hidden };
    lines.append(prefix);
    // `LogLines` never fails; a `Display` that does loses its own text only.
    let _ = fmt::write(&mut lines, text);
    lines.end(true);
    written();
}

/// Lines of the log on their way into its ring.
struct LogLines<'a> {
    prefix: &'a str,
    text: [u8; LONGEST_TEXT],
    used: usize,
    hidden: bool,
}

impl LogLines<'_> {
    fn append(&mut self, text: &str) {
        for byte in text.bytes() {
            if self.used == LONGEST_TEXT {
                self.end(false);
            }
            if let Some(place) = self.text.get_mut(self.used) {
                // Names out of a bundle or of the firmware's may be in it.
                *place = if byte < b' ' || byte == 0x7f { b'?' } else { byte };
                self.used += 1;
            }
        }
    }

    fn end(&mut self, complete: bool) {
        let text = self.text.get(..self.used).unwrap_or_default();
        let ring = if MODE.load(Acquire) == PANIC { None } else { try_log() };
        match ring {
            Some(mut ring) => ring.push(text, Flags { complete, hidden: self.hidden }),
            // A panic, or a machine check amid a line.
            None => {
                write_anyway(&[HYPERVISOR.as_bytes(), if complete { b"| " } else { b"> " }, text, b"\r\n"])
            }
        }
        self.used = 0;
    }
}

impl fmt::Write for LogLines<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (index, line) in text.split('\n').enumerate() {
            if index > 0 {
                self.end(true);
                self.append(self.prefix);
            }
            self.append(line);
        }
        Ok(())
    }
}

/// Something is in a ring: whoever sends has to know.
fn written() {
    match MODE.load(Acquire) {
        AT_ONCE => {
            // Who holds it sends everything before it lets go, or is interrupted by this.
            let shown = (0..LOCK_TRIES).find_map(|_| SHOWN.try_lock());
            shown.into_iter().for_each(|mut shown| shown.send_all());
        }
        BY_HOUSEKEEPING if !SERVED.swap(true, SeqCst) => wake(),
        _ => {}
    }
}

fn wake() {
    if let Some(id) = processor::apic_id(0) {
        apic::send_interrupt(id, WAKE_VECTOR.load(Relaxed));
    }
}

/// From here on the housekeeping CPU sends, whom `vector` wakes. `tsc_hz` is the TSC's rate.
pub fn leave_to_housekeeping(vector: u8, tsc_hz: u64) {
    WAKE_VECTOR.store(vector, Relaxed);
    TSC_HZ.store(tsc_hz.max(1), Relaxed);
    SERVED.store(true, SeqCst);
    MODE.store(BY_HOUSEKEEPING, Release);
}

/// From here on lines are sent at once again, those that wait first.
pub fn take_from_housekeeping() {
    MODE.store(AT_ONCE, Release);
    let mut shown = SHOWN.lock();
    if let Some(port) = &mut shown.port {
        port.set_interrupts(false, false);
    }
    shown.send_all();
}

/// Says whether the port's interrupts reach the housekeeping CPU.
pub fn set_line(has_line: bool) {
    SHOWN.lock().has_line = has_line;
}

/// Has the port raise its interrupt, if it can: its transmitter is empty. To find out where
/// that arrives.
pub fn raise_interrupt(raise: bool) {
    if let Some(port) = &mut SHOWN.lock().port {
        port.set_interrupts(false, raise);
        if !raise {
            port.cause();
        }
    }
}

/// What a turn of the housekeeping CPU's came to.
pub struct Turn {
    /// Bytes that were received.
    pub received: usize,
    /// TSC at which the next turn is due if no interrupt comes before.
    pub next: u64,
}

/// The housekeeping CPU's turn: receives into `typed` if `may_receive`, else has the other side wait,
/// and sends what the port takes. Never waits.
pub fn turn(now: u64, typed: &mut [u8], may_receive: bool) -> Turn {
    let mut shown = SHOWN.lock();
    let mut received = 0;
    let mut pumped = Pumped::Idle;
    let mut asks = false;
    // Until the port asks for nothing more: its line must fall before it can rise again.
    for _ in 0..LINES_AT_ONCE {
        if let Some(port) = &mut shown.port {
            port.set_ready(may_receive);
            asks = port.cause() != Cause::None;
            while may_receive && let Some(place) = typed.get_mut(received) {
                let Some(byte) = port.receive() else { break };
                *place = byte;
                received += 1;
            }
        }
        pumped = shown.pump(LINES_AT_ONCE);
        if !asks || received == typed.len() {
            break;
        }
    }
    if pumped == Pumped::Idle {
        SERVED.store(false, SeqCst);
        // Whoever wrote before that believed that somebody looks.
        if !owners().iter().all(Owner::is_empty) {
            SERVED.store(true, SeqCst);
            pumped = Pumped::Busy { moved: true };
        }
    }
    let busy = pumped != Pumped::Idle;
    shown.asked = if asks && received == 0 { shown.asked + 1 } else { 0 };
    if shown.asked == ASKS && shown.has_line {
        // Its line would never fall again.
        shown.has_line = false;
        shown.port.iter_mut().for_each(|port| port.set_interrupts(false, false));
    }
    let has_line = shown.has_line;
    if let Some(port) = shown.port.as_mut().filter(|_| has_line) {
        port.set_interrupts(may_receive, busy);
    }
    shown.watch(now, pumped);
    let more = shown.refresh(CHARACTERS_AT_ONCE) || received == typed.len() || has_line && asks;
    Turn { received, next: shown.next(now, more, busy, may_receive) }
}

impl Shown {
    /// Gives a port up that takes nothing for too long.
    fn watch(&mut self, now: u64, pumped: Pumped) {
        if pumped != (Pumped::Busy { moved: false }) {
            self.stuck_since = None;
            return;
        }
        let since = *self.stuck_since.get_or_insert(now);
        if now.saturating_sub(since) > PATIENCE_SECONDS * TSC_HZ.load(Relaxed) {
            self.output.fail();
        }
    }

    /// When the next turn is due.
    fn next(&self, now: u64, more: bool, busy: bool, may_receive: bool) -> u64 {
        let hz = TSC_HZ.load(Relaxed);
        let after = match (&self.port, self.has_line) {
            _ if more => return now,
            (None, _) if busy => return now,
            (None, _) => return u64::MAX,
            (Some(_), false) if busy => hz / SENDS_PER_SECOND,
            (Some(_), true) if !busy && may_receive => return u64::MAX,
            // With interrupts, in case that one got lost.
            (Some(_), _) => hz / LOOKS_PER_SECOND,
        };
        now.saturating_add(after)
    }
}

/// Waits until everything written has left the machine.
pub fn drain() {
    let mut shown = SHOWN.lock();
    shown.send_all();
    if let Some(port) = &mut shown.port {
        port.drain();
    }
}

/// Number of lines so far, for a watchdog to see life.
pub fn lines_written() -> u64 {
    LINES.load(Relaxed)
}

/// Writes by polling to the port and the screen, past every lock.
fn write_anyway(pieces: &[&[u8]]) {
    static DEAD: AtomicBool = AtomicBool::new(false);
    let registers = match CHOSEN.get() {
        Some(chosen) => *chosen,
        None => EARLY.get().copied(),
    };
    for piece in pieces {
        if let Some(registers) = registers
            && !DEAD.load(Relaxed)
            && !registers.send_anyway(piece)
        {
            DEAD.store(true, Relaxed);
        }
    }
    // In a panic it is free, for its holder is stopped; else whoever has it is left alone.
    if let Some(mut shown) = SHOWN.try_lock()
        && let Some(screen) = &mut shown.screen
    {
        if MODE.load(Acquire) == PANIC {
            screen.show_log();
        }
        pieces.iter().for_each(|piece| screen.put(piece));
        screen.refresh(usize::MAX);
    }
}

/// Takes the console from whoever holds it. For the panic path: the other processors
/// are stopped by then, maybe one of them amid a line.
pub fn break_lock() {
    MODE.store(PANIC, Release);
    // At once, and first: what follows may not come to its end.
    write_anyway(&[b"\r\n", HYPERVISOR.as_bytes(), b"| error: the hypervisor has failed\r\n"]);
    if !(0..LOCK_TRIES).any(|_| SHOWN.try_lock().is_some()) {
        // SAFETY: the holder is stopped for ever or is this processor itself, which
        // panicked amid a line and will not go back to it.
        unsafe { SHOWN.force_unlock() };
    }
    if try_log().is_none() {
        // SAFETY: as above.
        unsafe { LOG.force_unlock() };
    }
}

/// Shows the last `lines` lines again, and what of the log was not shown yet, with `- `
/// before each. For the panic report.
pub fn replay(lines: usize) {
    const AGAIN: &[u8] = b"hypervisor| - ";
    let mut line = [0; 2 * LONGEST_TEXT];
    let mut used = 0;
    let (mut back, byte_at) = {
        let shown = SHOWN.lock();
        (shown.history.start_of_last(lines), |back| SHOWN.lock().history.back(back))
    };
    while back > 0 {
        let Some(byte) = byte_at(back) else { break };
        if let Some(place) = line.get_mut(used) {
            *place = byte;
            used += 1;
        }
        if byte == b'\n' {
            write_anyway(&[AGAIN, line.get(..used).unwrap_or_default()]);
            used = 0;
        }
        back -= 1;
    }
    let mut text = [0; LONGEST_TEXT];
    while let Some(Taken::Line(length, _)) = Owner::Log.take(&mut text) {
        write_anyway(&[AGAIN, b"hypervisor| ", text.get(..length).unwrap_or_default(), b"\r\n"]);
    }
}

#[cfg(test)]
mod tests;
