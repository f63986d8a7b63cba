//! What calls a processor out of its guest: a time that is due, and what is typed.
//!
//! The thread that runs the processor says until when it stays in the guest; another one, which waits
//! here, sends it a signal then. A signal that comes before KVM_RUN has begun is lost, so
//! it comes again until the processor is out.

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

/// After this time a signal comes again.
const AGAIN: Duration = Duration::from_millis(1);

/// Where the processor is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Place {
    /// With its monitor.
    #[default]
    Outside,
    /// In its guest, until a time at most.
    Inside(Option<Instant>),
    /// It has ended.
    Gone,
}

#[derive(Default)]
struct State {
    place: Place,
    typed: VecDeque<u8>,
    /// Something was typed that nobody has looked at yet.
    is_fresh: bool,
    quits: bool,
    /// Until when whoever sends the signal waits; `None` for ever.
    waits_until: Option<Instant>,
}

/// The bell of one processor.
#[derive(Default)]
pub struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

impl Bell {
    /// Lets the signal interrupt system calls, and do nothing else.
    ///
    /// # Errors
    /// The host refuses.
    pub fn prepare() -> Result<()> {
        extern "C" fn nothing<T>(_: c_int, _: *mut T, _: *mut c_void) {}
        register_signal_handler(SIGRTMIN(), nothing).context("no signal")
    }

    /// The processor enters its guest, for `time` at most. False where somebody waits for it already.
    pub fn enter(&self, time: Option<Duration>) -> bool {
        let mut state = self.lock();
        if state.is_fresh || state.quits {
            return false;
        }
        let due = time.map(|time| Instant::now() + time);
        state.place = Place::Inside(due);
        // Where the other thread looks earlier than it need, it looks again.
        if due.is_some_and(|due| state.waits_until.is_none_or(|until| due < until)) {
            self.changed.notify_all();
        }
        true
    }

    /// The processor has left its guest.
    pub fn leave(&self) {
        self.lock().place = Place::Outside;
    }

    /// The processor has left its guest for ever.
    pub fn end(&self) {
        self.lock().place = Place::Gone;
        self.changed.notify_all();
    }

    /// Waits, in the place of a processor that halts, for something to be typed, for `time` at most.
    pub fn halt(&self, time: Option<Duration>) {
        let due = time.map(|time| Instant::now() + time);
        let mut state = self.lock();
        while !state.is_fresh && !state.quits {
            let Some(left) = left(due) else { return };
            state = self.wait(state, left);
        }
    }

    /// Whether whoever types wants the guest to end.
    pub fn quits(&self) -> bool {
        self.lock().quits
    }

    /// The guest is to end.
    pub fn quit(&self) {
        self.lock().quits = true;
        self.changed.notify_all();
    }

    /// Gives what was typed to `take`, until that has no room any more: the rest waits for the next call.
    pub fn take_typed(&self, mut take: impl FnMut(u8) -> bool) {
        let mut state = self.lock();
        state.is_fresh = false;
        while let Some(byte) = state.typed.front()
            && take(*byte)
        {
            state.typed.pop_front();
        }
    }

    /// Calls the processor that `thread` runs, when it has to come out, until it ends.
    pub fn ring<T>(&self, thread: &JoinHandle<T>) {
        let mut state = self.lock();
        loop {
            let due = match state.place {
                Place::Gone => return,
                Place::Outside => None,
                Place::Inside(_) if state.is_fresh || state.quits => Some(Instant::now()),
                Place::Inside(due) => due,
            };
            let mut left = left(due);
            if left.is_none() {
                // A thread that is gone has said so, or panicked; either is seen by whoever joins it.
                if thread.kill(SIGRTMIN()).is_err() || thread.is_finished() {
                    return;
                }
                left = Some(Some(AGAIN));
            }
            let left = left.flatten();
            state.waits_until = left.map(|left| Instant::now() + left);
            state = self.wait(state, left);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Option<Duration>) -> MutexGuard<'a, State> {
        match time {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(time) => self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
        }
    }
}

/// How long it is until `due`: `None` where that is now, `Some(None)` where it is never.
fn left(due: Option<Instant>) -> Option<Option<Duration>> {
    match due {
        None => Some(None),
        Some(due) => due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).map(Some),
    }
}

impl Write for &Bell {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut state = self.lock();
        state.typed.extend(bytes);
        state.is_fresh = true;
        self.changed.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_finds_no_room_waits_and_keeps_nobody_out() {
        let bell = Bell::default();
        (&bell).write_all(b"abc").expect("typed");
        assert!(!bell.enter(None), "it is to be looked at first");
        let mut taken = Vec::new();
        bell.take_typed(|byte| {
            let has_room = taken.len() < 2;
            has_room.then(|| taken.push(byte));
            has_room
        });
        assert_eq!(taken, b"ab");
        assert!(bell.enter(None));
        bell.leave();
        bell.take_typed(|byte| {
            taken.push(byte);
            true
        });
        assert_eq!(taken, b"abc");
    }

    #[test]
    fn a_halt_ends_by_time_or_by_a_key() {
        let bell = Arc::new(Bell::default());
        bell.halt(Some(Duration::from_millis(2)));
        let typist = Arc::clone(&bell);
        let typing = std::thread::spawn(move || (&*typist).write_all(b"x"));
        bell.halt(None);
        typing.join().expect("no panic").expect("typed");
        bell.take_typed(|_| true);
        bell.quit();
        bell.halt(None);
        assert!(bell.quits() && !bell.enter(None));
    }

    #[test]
    fn the_signal_comes_until_the_processor_is_out() {
        Bell::prepare().expect("a signal");
        let bell = Arc::new(Bell::default());
        let inside = Arc::clone(&bell);
        let thread = std::thread::spawn(move || {
            assert!(inside.enter(Some(Duration::from_millis(1))));
            // What a processor in its guest is: a call that ends by a signal alone.
            rustix::event::pause();
            inside.end();
        });
        bell.ring(&thread);
        thread.join().expect("no panic");
    }
}
